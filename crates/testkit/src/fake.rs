//! Pictures, a plan and an encoder that cost next to nothing: thousands of segments go through the real engine in a second, and
//! anything can fail at any step.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use rungs_engine::Cancel;
use rungs_engine::device::{Device, DeviceName, Lease, Vendor};
use rungs_engine::error::EncodeError;
use rungs_engine::ladder::Size;
use rungs_engine::plan::{Estimate, Plan, PlanParts, RenditionDraft, SourceFacts};
use rungs_engine::read::{Entered, Material, Opened, Picture, ReadCounts, Reader, Start};
use rungs_engine::span::{Encoded, Task};
use rungs_engine::timeline::{Grid, Timescale};
use rungs_engine::worker::Backend;
use rungs_media::Error;
use rungs_media::encode::{self, EncodedPacket};
use rungs_media::frame::{BitDepth, Frame};
use rungs_media::hdr::Light;
use rungs_media::normalise;
use rungs_media::scale::Kernel;
use rungs_media::time::TimeBase;
use rungs_media::{ChromaLocation, Color};
use rungs_package::Digest;

/// Pictures a second of every fake source; its timestamps count pictures.
pub const RATE: u32 = 25;
/// A sequence header that SVT-AV1 1.4.1 gave for 320x180 pixels.
const HEADER: &[u8] = b"\x0a\x0b\0\0\0\x04\x3c\xfe\xcc\xfb\xf9\0\x40";
const SIZE: Size = Size {
    width: 320,
    height: 180,
};

/// What a fake job is made of.
#[derive(Clone, Copy, Debug)]
pub struct FakeJob {
    /// Pictures in the source.
    pub frames: u64,
    /// Pictures in a segment.
    pub frames_per_segment: u32,
    /// Renditions.
    pub renditions: usize,
    /// Sessions of the one device.
    pub sessions: u32,
    /// Memory for spans and encoders in bytes. A picture counts as it does in FFmpeg, an encoder as 1 000 bytes.
    pub memory: u64,
}

impl FakeJob {
    /// Makes the plan.
    #[must_use]
    pub fn plan(&self) -> Plan {
        let timescale = Timescale::for_time_base(1, RATE);
        let seconds = f64::from(self.frames_per_segment) / f64::from(RATE);
        let parts = PlanParts {
            source: SourceFacts {
                format: "fake".to_owned(),
                promised_seconds: Some(self.frames as f64 / f64::from(RATE)),
                promised_by_track: true,
                promised_frames: Some(self.frames),
                video_stream: 0,
                codec: "fake".to_owned(),
                shown: SIZE,
                pixel_format: "yuv420p".to_owned(),
                frame_rate: Some(f64::from(RATE)),
                origin: 0,
                time_base: time_base(),
            },
            grid: Grid::new(timescale, seconds),
            nominal_duration: timescale.from_seconds(1.0 / f64::from(RATE)),
            frame_bytes: picture(0).bytes() as u64,
            normalise: normalise::Config::default(),
            devices: self.devices(),
            memory: self.memory,
        };
        let drafts = (0..self.renditions).map(|place| RenditionDraft {
            name: format!("fake-{place}"),
            size: SIZE,
            kernel: Kernel::default(),
            encoder: config(),
            gop: None,
            configuration: HEADER.to_vec(),
            working_set: 1000,
            trial_speed: 1.0,
            estimate: Estimate {
                peak: 1000,
                average: 1000,
            },
            fingerprint: Digest::of(HEADER),
            others: Vec::new(),
            spare: Vec::new(),
            successors: Vec::new(),
        });
        Plan::new(parts, drafts.collect())
    }

    /// The one device.
    #[must_use]
    pub fn devices(&self) -> Vec<Device> {
        vec![Device {
            id: DeviceName::cpu(),
            vendor: Vendor::Cpu,
            encoder: None,
            also: Vec::new(),
            offers: Vec::new(),
            asked: false,
            idle: false,
            sessions: self.sessions,
            threads: self.sessions,
        }]
    }

    /// Segments that the job comes to.
    #[must_use]
    pub fn segments(&self) -> u32 {
        u32::try_from(self.frames.div_ceil(u64::from(self.frames_per_segment))).unwrap_or(u32::MAX)
    }
}

fn time_base() -> TimeBase {
    TimeBase::new(1, RATE).expect("both are above zero")
}

fn config() -> encode::Config {
    encode::Config {
        encoder: "fake".to_owned(),
        width: SIZE.width,
        height: SIZE.height,
        time_base: time_base(),
        frame_rate: None,
        color: Color {
            primaries: 2,
            transfer: 2,
            matrix: 2,
            full_range: false,
            chroma_location: ChromaLocation::Unspecified,
        },
        gop: 1,
        threads: 1,
        crf: 35,
        speed: 10,
        depth: BitDepth::Eight,
        light: Light::default(),
        rate: encode::Rate::Quality,
    }
}

fn picture(n: u64) -> Frame {
    let luma = u8::try_from(16 + n % 200).unwrap_or(16);
    Frame::filled(16, 16, [luma, 128, 128]).expect("256 pixels can be had")
}

/// How a fake source ends before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFault {
    /// It gives an error.
    Error,
    /// It panics.
    Panic,
}

/// Gives pictures of one colour each, as many as it was told. As material it opens copies of itself.
#[derive(Clone, Debug)]
pub struct FakeReader {
    frames: u64,
    next: u64,
    given: u64,
    /// Pictures from one keyframe to the next; `None` if a place cannot be sought.
    keyframes: Option<u64>,
    fault: Option<(u64, ReadFault)>,
}

impl FakeReader {
    /// Makes a source of `frames` pictures.
    #[must_use]
    pub fn new(frames: u64) -> Self {
        Self {
            frames,
            next: 0,
            given: 0,
            keyframes: Some(10),
            fault: None,
        }
    }

    /// Gives it a keyframe every so many pictures, or `None` to be read from its beginning always.
    #[must_use]
    pub fn keyframes(mut self, every: Option<u64>) -> Self {
        self.keyframes = every;
        self
    }

    /// The last keyframe at or before a timestamp.
    fn keyframe(&self, timestamp: i64) -> Option<u64> {
        let every = self.keyframes?;
        let last = u64::try_from(timestamp)
            .ok()?
            .min(self.frames.checked_sub(1)?);
        Some(last / every * every)
    }

    /// Makes it fail when picture `at` is asked for.
    #[must_use]
    pub fn failing(mut self, at: u64, fault: ReadFault) -> Self {
        self.fault = Some((at, fault));
        self
    }
}

impl Material for FakeReader {
    fn open(&self, start: Option<Start>) -> Result<Opened, Error> {
        let keyframe = start.and_then(|start| self.keyframe(start.timestamp));
        Ok(Opened {
            reader: Box::new(Self {
                next: keyframe.unwrap_or(0),
                ..self.clone()
            }),
            entered: keyframe.map_or(Entered::Beginning, |keyframe| {
                Entered::Keyframe(keyframe.cast_signed())
            }),
        })
    }

    fn keyframe_before(&self, timestamp: i64) -> Option<i64> {
        self.keyframe(timestamp).map(u64::cast_signed)
    }
}

impl Reader for FakeReader {
    fn look_ahead(&mut self, from: i64, until: i64) -> Result<u64, Error> {
        let from = u64::try_from(from).unwrap_or(0).max(self.next);
        let until = u64::try_from(until).unwrap_or(0).min(self.frames);
        Ok(until.saturating_sub(from))
    }

    fn next(&mut self) -> Result<Option<Picture>, Error> {
        match self.fault {
            Some((at, ReadFault::Error)) if at == self.next => {
                return Err(Error::Unsupported {
                    what: "picture that was to fail".to_owned(),
                });
            }
            Some((at, ReadFault::Panic)) if at == self.next => {
                panic!("the source was told to panic")
            }
            _ => {}
        }
        if self.next == self.frames {
            return Ok(None);
        }
        let n = self.next;
        self.next += 1;
        self.given += 1;
        Ok(Some(Picture {
            frame: picture(n),
            timestamp: i64::try_from(n).ok(),
            duration: Some(1),
        }))
    }

    fn counts(&self) -> ReadCounts {
        ReadCounts {
            decoded: self.given,
            errors: 0,
            bytes: 0,
        }
    }
}

/// How one try of a task goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodeFault {
    /// It gives an error.
    Error,
    /// It panics.
    Panic,
    /// The packets carry another codec configuration than the plan's.
    OtherConfiguration,
    /// What comes out is no AV1.
    Garbage,
}

/// Decides from the segment, the rendition's name and the number of the try (from 1) whether it goes wrong.
pub type Faults = Box<dyn Fn(u32, &str, u32) -> Option<EncodeFault> + Send + Sync>;

/// Encodes nothing: each packet says which picture of which segment it stands for.
pub struct FakeBackend {
    faults: Faults,
    tries: Mutex<BTreeMap<(u32, String), u32>>,
}

impl FakeBackend {
    /// Makes one that never fails.
    #[must_use]
    pub fn sound() -> Self {
        Self::with(Box::new(|_, _, _| None))
    }

    /// Makes one that fails as it is told.
    #[must_use]
    pub fn with(faults: Faults) -> Self {
        Self {
            faults,
            tries: Mutex::default(),
        }
    }

    /// How often each task was tried, by segment and rendition's name.
    #[must_use]
    pub fn tries(&self) -> BTreeMap<(u32, String), u32> {
        self.tries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Backend for FakeBackend {
    fn encode(&self, _: &Lease, task: &Task, cancel: &Cancel) -> Result<Encoded, EncodeError> {
        let (segment, name) = (task.footage.index().get(), task.rendition.name.as_str());
        let attempt = {
            let mut tries = self.tries.lock().unwrap_or_else(PoisonError::into_inner);
            let attempt = tries.entry((segment, name.to_owned())).or_default();
            *attempt += 1;
            *attempt
        };
        if cancel.is_cancelled() {
            return Err(EncodeError::Cancelled);
        }
        let fault = (self.faults)(segment, name, attempt);
        match fault {
            Some(EncodeFault::Error) => {
                return Err(EncodeError::Backend("was told to fail".to_owned()));
            }
            Some(EncodeFault::Panic) => panic!("the encoder was told to panic"),
            _ => {}
        }
        let mut pictures = task.pictures();
        let (mut times, mut start) = (Vec::new(), None);
        while let Some(picture) = pictures.next(cancel)? {
            times.push(picture.time - *start.get_or_insert(picture.time));
        }
        let packets = times.iter().zip(0..).map(|(time, place)| EncodedPacket {
            data: data(segment, place, fault),
            pts: *time,
            dts: *time,
            duration: 0,
            key: place == 0,
        });
        Ok(Encoded {
            packets: packets.collect(),
            configuration: HEADER.to_vec(),
            difference: None,
            used: None,
            inspected: None,
        })
    }
}

fn data(segment: u32, place: usize, fault: Option<EncodeFault>) -> Vec<u8> {
    const TEMPORAL_DELIMITER: [u8; 2] = [0x12, 0];
    const FRAME_WITH_SIZE: u8 = 0x32;
    if fault == Some(EncodeFault::Garbage) {
        return vec![0xff; 8];
    }
    let mut data = TEMPORAL_DELIMITER.to_vec();
    if place == 0 {
        data.extend(HEADER);
        if fault == Some(EncodeFault::OtherConfiguration) {
            // The level stands in the last bits of this byte and the first of the next.
            let level = data.len() - HEADER.len() + 5;
            data[level] ^= 0x08;
        }
    }
    let body = [
        segment.to_be_bytes(),
        u32::try_from(place).unwrap_or(u32::MAX).to_be_bytes(),
    ]
    .concat();
    data.push(FRAME_WITH_SIZE);
    data.push(u8::try_from(body.len()).unwrap_or(0));
    data.extend(body);
    data
}
