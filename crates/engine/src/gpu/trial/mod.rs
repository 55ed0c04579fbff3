//! What a device can do, found out by doing it: each codec decoded and encoded for a moment, and what comes out compared with what went in.
//!
//! The trials of a device run in a process of its own, one after the other, each with a deadline. A driver that crashes or hangs takes the process
//! with it; the trial at fault costs a line of the table, and the rest go on in another process.
//!
//! ```text
//! Trials::run ─► a thread for each device ─► process: Order in, a Reply for each trial out ─► Table ─► kept by Trials until something changes
//! ```

mod cache;
mod check;
mod process;

use std::fmt;
use std::path::PathBuf;

use rungs_media::encode::Codec;
use rungs_media::frame::BitDepth;
use rungs_media::hardware;
use rungs_media::sample::Coding;
use serde::{Deserialize, Serialize};

use super::{Gpu, Waiting, Way};
use crate::ladder::Size;
use crate::sync::{spawn_scoped, thread};

pub use process::serve;
use process::{Order, Wait, untried};

/// The only argument with which a trial's process is started.
pub const TRIAL_ARGUMENT: &str = "--rungs-device-trial";

/// One thing to try on a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trial {
    /// Decode a stream.
    Decode {
        /// What it is coded in.
        coding: Coding,
        /// Its samples.
        depth: BitDepth,
    },
    /// Keep pictures in its memory, and bring them to other sizes there.
    Scale {
        /// Their samples.
        depth: BitDepth,
    },
    /// Encode with an encoder.
    Encode {
        /// What it makes.
        codec: Codec,
        /// FFmpeg's name of the encoder.
        encoder: String,
        /// The samples.
        depth: BitDepth,
    },
    /// Open as many encoders at once as the device allows, each on a context of its own.
    Sessions {
        /// What they make.
        codec: Codec,
        /// FFmpeg's name of the encoder.
        encoder: String,
    },
}

impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Decode { coding, depth } => write!(f, "decode {coding} in {} bits", depth.bits()),
            Self::Scale { depth } => write!(f, "scale in {} bits", depth.bits()),
            Self::Encode { encoder, depth, .. } => {
                write!(f, "encode with {encoder} in {} bits", depth.bits())
            }
            Self::Sessions { encoder, .. } => write!(f, "sessions of {encoder}"),
        }
    }
}

/// What came of a trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It works.
    Works(Proof),
    /// It does not, for a reason in words.
    Fails {
        /// What the device, its driver or FFmpeg said, or what was wrong with the result.
        reason: String,
    },
    /// It could not be tried.
    Untried {
        /// What was missing.
        reason: String,
    },
    /// The device had no room for it. It is tried again the next time.
    Busy {
        /// What the device or its driver said.
        reason: String,
    },
}

/// What was seen of something that works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Proof {
    /// How close the pictures are to those of the CPU (decoding, scaling) or to those that went in (encoding): PSNR in dB, of the worst picture; `None` if all are the same to the bit.
    pub psnr: Option<f64>,
    /// Pictures of 1920×1080 a second, of one decoder, encoder or thread that scales, where it was measured.
    pub speed: Option<f64>,
    /// Encoders that were open at once, of a trial for that.
    pub sessions: Option<u32>,
    /// The smallest width and height that an encoder takes; `None` if it takes all, or where that was not looked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smallest: Option<Size>,
}

/// A trial with what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// How the device was reached; `None` if there is no way.
    pub way: Option<Way>,
    /// What was tried.
    pub trial: Trial,
    /// What came of it.
    pub verdict: Verdict,
}

/// All that was tried on a device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// The device.
    pub gpu: Gpu,
    /// The trials, each of the ways in its order of preference.
    pub lines: Vec<Line>,
}

impl Table {
    /// The best way to decode a stream on the device, if it can.
    #[must_use]
    pub fn decodes(&self, coding: Coding, depth: BitDepth) -> Option<&Way> {
        let wanted = Trial::Decode { coding, depth };
        let mut lines = self.lines.iter();
        let works =
            |line: &&Line| line.trial == wanted && matches!(line.verdict, Verdict::Works(_));
        lines.find(works)?.way.as_ref()
    }

    /// The best way to decode a stream on the device to the very pictures of the CPU, if there is one; otherwise why not, of each way that was tried.
    pub fn decodes_exactly(&self, coding: Coding, depth: BitDepth) -> Result<&Way, String> {
        self.best(&Trial::Decode { coding, depth }, |proof| match proof.psnr {
            None => Ok(()),
            Some(psnr) => Err(format!(
                "decodes other pictures than the CPU ({psnr:.1} dB at worst)"
            )),
        })
    }

    /// The best way to keep and scale pictures on the device, if there is one; otherwise why not, of each way that was tried.
    pub fn scales(&self, depth: BitDepth) -> Result<&Way, String> {
        self.best(&Trial::Scale { depth }, |_| Ok(()))
    }

    /// The first way in which a trial worked, and well enough.
    fn best(
        &self,
        wanted: &Trial,
        enough: impl Fn(&Proof) -> Result<(), String>,
    ) -> Result<&Way, String> {
        let mut reasons = Vec::new();
        for line in self.lines.iter().filter(|line| line.trial == *wanted) {
            let reason = match (&line.verdict, &line.way) {
                (Verdict::Works(proof), Some(way)) => match enough(proof) {
                    Ok(()) => return Ok(way),
                    Err(reason) => reason,
                },
                (Verdict::Works(_), None) => continue,
                (Verdict::Fails { reason }, _) => reason.clone(),
                (Verdict::Untried { reason }, _) => format!("not tried: {reason}"),
                (Verdict::Busy { reason }, _) => format!("no room now: {reason}"),
            };
            let way = line.way.as_ref().map_or("no way", |way| way.kind.name());
            reasons.push(format!("{way}: {reason}"));
        }
        if reasons.is_empty() {
            let missing = self.gpu.missing.as_deref();
            reasons.push(missing.unwrap_or("nothing could be tried").to_owned());
        }
        Err(reasons.join("; "))
    }

    /// The best encoder of the device for a codec, by FFmpeg's name, and the way to it, if there is one.
    #[must_use]
    pub fn encodes(&self, codec: Codec, depth: BitDepth) -> Option<(&Way, &str)> {
        self.lines.iter().find_map(|line| match &line.trial {
            Trial::Encode {
                codec: made,
                encoder,
                depth: bits,
            } if (*made, *bits) == (codec, depth) => match line.verdict {
                Verdict::Works(_) => Some((line.way.as_ref()?, encoder.as_str())),
                _ => None,
            },
            _ => None,
        })
    }

    /// Encoders of a kind that were open at once, by FFmpeg's name, if that was seen.
    #[must_use]
    pub fn sessions(&self, wanted: &str) -> Option<u32> {
        self.lines.iter().find_map(|line| match &line.trial {
            Trial::Sessions { encoder, .. } if encoder == wanted => match line.verdict {
                Verdict::Works(proof) => proof.sessions,
                _ => None,
            },
            _ => None,
        })
    }

    /// The smallest width and height that an encoder takes, by FFmpeg's name, if it does not take all.
    #[must_use]
    pub fn smallest(&self, wanted: &str) -> Option<Size> {
        self.lines.iter().find_map(|line| match &line.trial {
            Trial::Encode { encoder, .. } if encoder == wanted => match line.verdict {
                Verdict::Works(proof) => proof.smallest,
                _ => None,
            },
            _ => None,
        })
    }

    /// Why the device does not encode a codec, of each encoder that was tried.
    #[must_use]
    pub fn refusals(&self, codec: Codec) -> Vec<(&str, &str)> {
        let refused = self
            .lines
            .iter()
            .filter_map(|line| match (&line.trial, &line.verdict) {
                (
                    Trial::Encode {
                        codec: made,
                        encoder,
                        ..
                    },
                    Verdict::Fails { reason }
                    | Verdict::Untried { reason }
                    | Verdict::Busy { reason },
                ) if *made == codec => Some((encoder.as_str(), reason.as_str())),
                _ => None,
            });
        refused.collect()
    }
}

/// Everything to try on a device that is reached in one way.
#[must_use]
pub fn trials(way: &Way) -> Vec<Trial> {
    let mut trials = Vec::new();
    for coding in Coding::ALL {
        let of_depth = |depth: &BitDepth| Trial::Decode {
            coding,
            depth: *depth,
        };
        trials.extend(coding.depths().iter().map(of_depth));
    }
    trials.extend([BitDepth::Eight, BitDepth::Ten].map(|depth| Trial::Scale { depth }));
    for codec in Codec::ALL {
        for encoder in hardware::candidates(codec, way.kind) {
            for depth in [BitDepth::Eight, BitDepth::Ten] {
                trials.push(Trial::Encode {
                    codec,
                    encoder: encoder.clone(),
                    depth,
                });
            }
            trials.push(Trial::Sessions { codec, encoder });
        }
    }
    trials
}

/// What trials take.
#[derive(Clone, Debug)]
pub struct Trials {
    /// The program that answers [`TRIAL_ARGUMENT`] with [`serve`].
    pub program: PathBuf,
    /// Where results are kept from one run to the next; `None` to try each time.
    pub cache: Option<PathBuf>,
}

impl Trials {
    /// Tries all devices, those at once, or takes what is known of them unless `afresh`. Blocks for as long as the slowest takes: seconds for a device
    /// that works, a minute for a device whose driver hangs, on which nothing more is tried then.
    #[must_use]
    pub fn run(&self, gpus: &[Gpu], afresh: bool) -> Vec<Table> {
        self.run_watched(gpus, afresh, &|_| {})
    }

    /// The same, where somebody is told of each trial that takes long.
    #[must_use]
    pub fn run_watched(
        &self,
        gpus: &[Gpu],
        afresh: bool,
        waiting: &(dyn Fn(&Waiting) + Sync),
    ) -> Vec<Table> {
        let known = if afresh {
            cache::Known::default()
        } else {
            self.cache.as_deref().map(cache::read).unwrap_or_default()
        };
        let tables: Vec<Table> = thread::scope(|scope| {
            let start = |gpu| {
                let thread = move || self.table(gpu, waiting);
                // What is known needs no thread.
                let start = || spawn_scoped(scope, "devices", thread);
                known.table(gpu).is_none().then(start)
            };
            let started: Vec<_> = gpus.iter().map(start).collect();
            let joined = gpus.iter().zip(started).map(|(gpu, thread)| {
                let tried = thread.and_then(|thread| match thread {
                    Ok(thread) => thread.join().ok(),
                    // Without a thread it is done on this one.
                    Err(_) => Some(self.table(gpu, waiting)),
                });
                let table = tried.or_else(|| known.table(gpu));
                // A thread that panicked has found out nothing.
                table.unwrap_or_else(|| Table {
                    gpu: gpu.clone(),
                    lines: Vec::new(),
                })
            });
            joined.collect()
        });
        if let Some(file) = &self.cache {
            cache::write(file, &tables);
        }
        tables
    }

    fn table(&self, gpu: &Gpu, waiting: &(dyn Fn(&Waiting) + Sync)) -> Table {
        let tell = |trial: &Trial, most| {
            waiting(&Waiting {
                device: gpu.name.clone(),
                what: trial.to_string(),
                most,
            });
        };
        let wait = Wait::telling(&tell);
        let mut lines = Vec::new();
        let mut hung: Option<String> = None;
        for way in &gpu.ways {
            let trials = trials(way);
            if let Some(reason) = &hung {
                lines.extend(untried(way, trials, reason));
                continue;
            }
            let way = way.clone();
            let (tried, reason) = process::run(&self.program, Order { way, trials }, &wait);
            lines.extend(tried);
            hung = reason;
        }
        Table {
            gpu: gpu.clone(),
            lines,
        }
    }
}

#[cfg(test)]
mod tests;
