//! The encoder's side: orders and pictures in, packets out. One order after another, each with a fresh encoder.

use std::io::{self, BufReader, BufWriter, Read, Write};

use rungs_media::encode::EncodedPacket;
use rungs_media::frame::BitDepth;

use super::version::Version;
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
    let input = BufReader::with_capacity(BUFFER, io::stdin().lock());
    let output = BufWriter::with_capacity(BUFFER, io::stdout().lock());
    serve_on(input, output)
}

fn serve_on(mut input: impl Read, mut output: impl Write) -> io::Result<()> {
    let mut bench = Bench::default();
    wire::reply(&mut output, &Reply::Hello(Version::own()), &[])?;
    output.flush()?;
    while let Some(order) = wire::read_head::<Order>(&mut input)? {
        host::forget_peak_memory();
        let before = host::cpu_time();
        let mut encoding = Encoding {
            order,
            bench: &mut bench,
            encoder: None,
            output: &mut output,
        };
        let last = match encoding.run(&mut input) {
            Ok(configuration) => Reply::Done(Used {
                configuration,
                cpu: host::cpu_time().saturating_sub(before),
                peak_memory: host::peak_memory(),
            }),
            Err(Stop::Encoder(error)) => {
                let reply = Reply::Failed {
                    capacity: error.is_capacity(),
                    reason: in_words(&error),
                };
                // Told before the encoder is closed, which may hang; and there is no other task for a process in which something failed.
                wire::reply(encoding.output, &reply, &[])?;
                encoding.output.flush()?;
                return encoding.drain(&mut input);
            }
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
    /// Encodes one order to its end and returns the codec configuration.
    fn run(&mut self, input: &mut impl Read) -> Result<Vec<u8>, Stop> {
        while let Some((frame, time)) = wire::read_picture(input, self.form())? {
            self.send(&frame, time)?;
        }
        let Some(mut encoder) = self.encoder.take() else {
            return Ok(Vec::new());
        };
        self.write(encoder.finish()?)?;
        Ok(encoder.configuration().to_vec())
    }

    fn form(&self) -> ((u32, u32), BitDepth) {
        let config = &self.order.config;
        ((config.width, config.height), config.depth)
    }

    /// Reads what is left of the order, so that the engine does not find the pipe broken before it has read why.
    fn drain(&self, input: &mut impl Read) -> io::Result<()> {
        while wire::read_picture(input, self.form())?.is_some() {}
        Ok(())
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
