//! The CPU as a device: scale each picture, encode it with FFmpeg's software encoders, and look at what came out.

use std::path::PathBuf;

use rungs_media::Packet;
use rungs_media::decode::{Received, VideoDecoder};
use rungs_media::encode::{self, EncodedPacket, VideoEncoder};
use rungs_media::frame::Frame;
use rungs_media::scale::{self, Scaler};

use crate::cancel::Cancel;
use crate::device::Lease;
use crate::error::EncodeError;
use crate::plan::Rendition;
use crate::process::{Processes, Remote};
use crate::span::{Difference, Encoded, Outline, Span, Task};
use crate::worker::Backend;

/// Encodes with the software encoders of the linked FFmpeg. Every task gets a fresh scaler and a fresh encoder.
pub struct Software {
    /// `None` for encoders in this process.
    processes: Option<Processes>,
}

impl Software {
    /// Encoders in this process. As [`process`](crate::process) tells, SVT-AV1 does not bear company: use it with one session.
    #[must_use]
    pub fn in_process() -> Self {
        Self { processes: None }
    }

    /// Encoders in processes of their own, one for each session. `program` calls [`process::serve`](crate::process::serve) when its only argument is
    /// [`process::ENCODER_ARGUMENT`](crate::process::ENCODER_ARGUMENT).
    #[must_use]
    pub fn in_processes(program: PathBuf) -> Self {
        Self {
            processes: Some(Processes::new(program)),
        }
    }
}

impl Backend for Software {
    fn encode(&self, lease: &Lease, task: &Task, cancel: &Cancel) -> Result<Encoded, EncodeError> {
        let mut config = task.rendition.encoder.clone();
        config.threads = task.threads;
        config.gop = task.rendition.gop_frames();
        let encoder = match &self.processes {
            None => Encoder::Here(Box::new((config, None))),
            Some(processes) => Encoder::There(Box::new(processes.open(lease, config, cancel)?)),
        };
        let mut result = encode_span(task, encoder, cancel)?;
        let outline = task.footage.outline().ok_or(EncodeError::Starved)?;
        check(&outline, &result.packets)?;
        if task.measure
            && let Some(span) = task.footage.whole()
        {
            result.difference = Some(compare((task, span), &result, cancel)?);
        }
        Ok(result)
    }
}

/// One open encoder, here or elsewhere.
enum Encoder<'a> {
    /// It is opened with the first picture.
    Here(Box<(encode::Config, Option<VideoEncoder>)>),
    There(Box<Remote<'a>>),
}

impl Encoder<'_> {
    fn send(&mut self, frame: &Frame, time: i64) -> Result<(), EncodeError> {
        match self {
            Self::Here(here) => match &mut here.1 {
                None => here.1 = Some(VideoEncoder::open(&here.0, (frame, time))?),
                Some(encoder) => encoder.send(frame, time)?,
            },
            Self::There(remote) => remote.send(frame, time)?,
        }
        Ok(())
    }

    fn finish(self) -> Result<Encoded, EncodeError> {
        match self {
            Self::Here(here) => {
                let Some(mut encoder) = here.1 else {
                    return Ok(Encoded::default());
                };
                Ok(Encoded {
                    packets: encoder.finish()?,
                    configuration: encoder.configuration().to_vec(),
                    ..Encoded::default()
                })
            }
            Self::There(remote) => remote.finish(),
        }
    }
}

fn scaler(rendition: &Rendition) -> Scaler {
    Scaler::new(scale::Config {
        width: rendition.size.width,
        height: rendition.size.height,
    })
}

fn encode_span(
    task: &Task,
    mut encoder: Encoder<'_>,
    cancel: &Cancel,
) -> Result<Encoded, EncodeError> {
    let mut scaler = scaler(&task.rendition);
    let mut pictures = task.footage.pictures();
    let mut start = None;
    while let Some(placed) = pictures.next(cancel)? {
        // Times start at 0 in each segment, so that its bytes do not depend on where it stands.
        let start = *start.get_or_insert(placed.time);
        encoder.send(&scaler.apply(&placed.item)?, placed.time - start)?;
    }
    encoder.finish()
}

/// Checks that each picture became one packet with its time.
fn check(outline: &Outline, packets: &[EncodedPacket]) -> Result<(), EncodeError> {
    if packets.len() != outline.times.len() {
        return Err(EncodeError::Count {
            sent: outline.times.len(),
            received: packets.len(),
        });
    }
    for (place, (time, packet)) in outline.times.iter().zip(packets).enumerate() {
        let expected = time - outline.start();
        if packet.pts != expected {
            return Err(EncodeError::Time {
                place,
                expected,
                received: packet.pts,
            });
        }
    }
    Ok(())
}

/// Decodes the packets and compares each picture with what was encoded.
fn compare(
    (task, span): (&Task, &Span),
    encoded: &Encoded,
    cancel: &Cancel,
) -> Result<Difference, EncodeError> {
    let mut scaler = scaler(&task.rendition);
    let mut decoder = VideoDecoder::for_av1(task.threads)?;
    let mut originals = span.frames.iter();
    let mut difference = Difference::default();
    let mut received = 0;
    let mut packets = encoded.packets.iter();
    loop {
        match decoder.receive()? {
            Received::Frame(frame) => {
                if cancel.is_cancelled() {
                    return Err(EncodeError::Cancelled);
                }
                received += 1;
                if let Some(original) = originals.next() {
                    difference.add(&picture_difference(&scaler.apply(&original.item)?, &frame));
                }
            }
            Received::NeedsInput => {
                let packet = packets
                    .next()
                    .map(|packet| Packet::copy_of(&packet.data))
                    .transpose()?;
                // It asked for input, so it takes it.
                let _accepted = decoder.send(packet.as_ref())?;
            }
            Received::End => break,
        }
    }
    if received != span.frames.len() {
        return Err(EncodeError::Count {
            sent: span.frames.len(),
            received,
        });
    }
    Ok(difference)
}

fn picture_difference(a: &Frame, b: &Frame) -> Difference {
    let mut difference = Difference::default();
    for plane in 0..3 {
        let halved = |length: u32| if plane == 0 { length } else { length.div_ceil(2) } as usize;
        let (width, height) = (halved(a.width()), halved(a.height()));
        let rows = a
            .plane(plane)
            .chunks(a.stride(plane))
            .zip(b.plane(plane).chunks(b.stride(plane)));
        for (left, right) in rows.take(height) {
            let square = |(l, r): (&u8, &u8)| u64::from(l.abs_diff(*r)).pow(2);
            difference.squares[plane] +=
                left.iter().zip(right).take(width).map(square).sum::<u64>();
        }
        difference.samples[plane] = (width * height) as u64;
    }
    difference
}
