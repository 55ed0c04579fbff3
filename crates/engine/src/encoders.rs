//! The CPU as a device: scale each picture, encode it with FFmpeg's software encoders.

use std::path::PathBuf;

use rungs_media::encode::{self, Rate, VideoEncoder};
use rungs_media::frame::Frame;
use rungs_media::scale::Scaler;

use crate::cancel::Cancel;
use crate::device::Lease;
use crate::error::EncodeError;
use crate::inspect::check_times;
use crate::process::{Processes, Remote};
use crate::span::{Encoded, Task};
use crate::worker::Backend;

/// Above so many pixels, SVT-AV1 1.4.1 gives other bytes on one thread than on two or three: it does at 3840×2160, and does not at 2560×1440.
const MOST_PIXELS_ON_ANY_THREADS: u64 = 2560 * 1440;

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
        config.threads = threads(task);
        config.gop = task.rendition.gop_frames();
        let encoder = match &self.processes {
            None => Encoder::Here(Box::new((config, None))),
            Some(processes) => Encoder::There(Box::new(processes.open(lease, config, cancel)?)),
        };
        let result = encode_span(task, encoder, cancel)?;
        let outline = task.footage.outline().ok_or(EncodeError::Starved)?;
        check_times(task.rendition.codec(), &outline, &result.packets)?;
        Ok(result)
    }
}

/// Threads that the encoder gets: as many as it may have, unless their number shows in the bytes. With a rate to keep it shows with every
/// encoder that was tried; and always with x264 and x265, in what they decide or in what they say of themselves.
fn threads(task: &Task) -> u32 {
    let rendition = &task.rendition;
    let shows = rendition.encoder.rate != Rate::Quality
        || match rendition.encoder.encoder.as_str() {
            "libsvtav1" => rendition.size.pixels() > MOST_PIXELS_ON_ANY_THREADS,
            "libx264" | "libx265" => true,
            _ => false,
        };
    if shows { 1 } else { task.threads }
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

fn encode_span(
    task: &Task,
    mut encoder: Encoder<'_>,
    cancel: &Cancel,
) -> Result<Encoded, EncodeError> {
    let mut scaler = Scaler::new(task.rendition.scaling());
    let mut pictures = task.pictures();
    let mut start = None;
    while let Some(placed) = pictures.next(cancel)? {
        // Times start at 0 in each segment, so that its bytes do not depend on where it stands.
        let start = *start.get_or_insert(placed.time);
        encoder.send(&scaler.apply(&placed.item)?, placed.time - start)?;
    }
    encoder.finish()
}
