//! The encoder's side: orders and pictures in, packets out. One order after another, each with a fresh encoder.

use std::io::{self, BufReader, BufWriter, Read, Write};

use rungs_media::encode::EncodedPacket;

use super::wire::{self, Order, Reply, Used};
use crate::error::in_words;
use crate::host;
use crate::opened::{Bench, Opened};

/// Bytes that are taken from a pipe at once.
const BUFFER: usize = 1 << 20;

/// Encodes what comes in on standard input until it ends. To be called in `main`, before any thread is started, by a program that
/// was started with [`ENCODER_ARGUMENT`](super::ENCODER_ARGUMENT) as its only argument.
pub fn serve() -> io::Result<()> {
    rungs_media::init();
    rungs_media::heap::share_heaps();
    rungs_media::heap::clean_heaps();
    let input = BufReader::with_capacity(BUFFER, io::stdin().lock());
    let output = BufWriter::with_capacity(BUFFER, io::stdout().lock());
    serve_on(input, output)
}

fn serve_on(mut input: impl Read, mut output: impl Write) -> io::Result<()> {
    let mut bench = Bench::default();
    while let Some(order) = wire::read_head::<Order>(&mut input)? {
        host::forget_peak_memory();
        let before = host::cpu_time();
        let mut encoding = Encoding {
            order,
            bench: &mut bench,
            encoder: None,
            output: &mut output,
        };
        let done = encoding.run(&mut input);
        drop(encoding);
        if done.is_err() {
            bench.leave();
        }
        let last = match done {
            Ok(configuration) => Reply::Done(Used {
                configuration,
                cpu: host::cpu_time().saturating_sub(before),
                peak_memory: host::peak_memory(),
            }),
            Err(Stop::Encoder(error)) => Reply::Failed {
                capacity: error.is_capacity(),
                reason: in_words(&error),
            },
            Err(Stop::Pipe(error)) => return Err(error),
        };
        wire::reply(&mut output, &last, &[])?;
        output.flush()?;
    }
    Ok(())
}

enum Stop {
    Encoder(rungs_media::Error),
    Pipe(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Pipe(error)
    }
}

impl From<rungs_media::Error> for Stop {
    fn from(error: rungs_media::Error) -> Self {
        Self::Encoder(error)
    }
}

struct Encoding<'a, W> {
    order: Order,
    bench: &'a mut Bench,
    encoder: Option<Opened>,
    output: &'a mut W,
}

impl<W: Write> Encoding<'_, W> {
    /// Encodes one order to its end and returns the codec configuration. Pictures after an error are read and dropped.
    fn run(&mut self, input: &mut impl Read) -> Result<Vec<u8>, Stop> {
        let config = &self.order.config;
        let form = ((config.width, config.height), config.depth);
        let mut failed = None;
        while let Some((frame, time)) = wire::read_picture(input, form)? {
            if failed.is_none() {
                match self.send(&frame, time) {
                    Err(Stop::Encoder(error)) => failed = Some(error),
                    done => done?,
                }
            }
        }
        if let Some(error) = failed {
            return Err(error.into());
        }
        let Some(mut encoder) = self.encoder.take() else {
            return Ok(Vec::new());
        };
        self.write(encoder.finish()?)?;
        Ok(encoder.configuration().to_vec())
    }

    fn send(&mut self, frame: &rungs_media::frame::Frame, time: i64) -> Result<(), Stop> {
        let packets = match &mut self.encoder {
            None => {
                let Order { config, way } = &self.order;
                let encoder = self.bench.open(config, way.as_ref(), (frame, time))?;
                self.encoder.insert(encoder).take_packets()
            }
            Some(encoder) => {
                encoder.send(frame, time)?;
                encoder.take_packets()
            }
        };
        self.write(packets)
    }

    fn write(&mut self, packets: Vec<EncodedPacket>) -> Result<(), Stop> {
        for packet in packets {
            let head = Reply::Packet {
                pts: packet.pts,
                dts: packet.dts,
                duration: packet.duration,
                key: packet.key,
                length: packet.data.len(),
            };
            wire::reply(self.output, &head, &packet.data)?;
        }
        // What is out tells the engine that the encoder is alive.
        self.output.flush()?;
        Ok(())
    }
}
