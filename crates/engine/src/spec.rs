//! What is asked for: the settings of one job, before anything is known about its source.

use std::path::PathBuf;

use rungs_media::encode::{Codec, Rate};
use serde::{Deserialize, Serialize};

use crate::choice::TrackChoice;
use crate::inspect::Inspect;
use crate::ladder::Rung;
use crate::picture::{PictureError, PictureSpec};
use crate::stills::{Every, INTERVAL, StillsSpec};
use crate::window::Cut;

/// Shortest and longest segment, in seconds.
pub const SEGMENT_SECONDS: std::ops::RangeInclusive<f64> = 0.5..=30.0;
/// Length of a segment of a serial job, in seconds.
pub const SERIAL_SECONDS: f64 = 600.0;
/// Longest time between keyframes of a serial job that says nothing of it, in seconds.
pub const SERIAL_GOP_SECONDS: f64 = 5.0;
/// Most rungs that a ladder may have.
pub const MOST_RUNGS: usize = 32;

/// How good the picture should be, by name; each codec has a constant rate factor behind each name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quality {
    /// For a look at the result: small files, visible loss.
    Draft,
    /// For watching.
    Standard,
    /// Close to the source.
    High,
}

impl Quality {
    /// The constant rate factor behind the name, on the codec's own scale.
    #[must_use]
    pub const fn crf(self, codec: Codec) -> u8 {
        let (draft, standard, high) = match codec {
            Codec::H264 => (29, 23, 18),
            Codec::Hevc => (34, 28, 22),
            _ => (45, 35, 26),
        };
        match self {
            Self::Draft => draft,
            Self::Standard => standard,
            Self::High => high,
        }
    }
}

/// What becomes of the sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AudioChoice {
    /// AAC and Opus pass through, anything else becomes Opus, or AAC where that is what other tracks have; AC-3 and E-AC-3 pass through besides.
    Auto,
    /// The track passes through, or the job is refused.
    Copy,
    /// Opus.
    Opus,
    /// AAC.
    Aac,
    /// No sound.
    None,
}

/// Loudness that tracks can be brought to, in LUFS.
pub const LOUDNESS: std::ops::RangeInclusive<f64> = -40.0..=-5.0;

/// What becomes of the tracks of sound, besides their codec.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sound {
    /// Which of them are taken.
    pub tracks: TrackChoice,
    /// What becomes of their channels.
    pub downmix: Downmix,
    /// The loudness that each track is brought to, in LUFS; `None` for its own.
    pub loudness: Option<f64>,
    /// Whether it is for plain files, whose players and editors take AC-3, E-AC-3 and MP3 as they are. If not, what every browser plays is made
    /// besides or instead.
    #[serde(default)]
    pub for_files: bool,
}

impl Sound {
    /// Every setting with its option on the command line and its value in words.
    fn settings(&self) -> [(&'static str, String); 3] {
        let Self {
            tracks,
            downmix,
            loudness,
            // It follows from what is made.
            for_files: _,
        } = self;
        let loudness = loudness.map_or("off".to_owned(), |loudness| loudness.to_string());
        [
            ("--audio-tracks", tracks.to_string()),
            ("--downmix", format!("{downmix:?}").to_lowercase()),
            ("--loudness", loudness),
        ]
    }
}

/// What becomes of the channels of a track.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Downmix {
    /// They stay as they are.
    #[default]
    Off,
    /// More than two become two, by the levels that libswresample mixes with: the centre and what is behind 3 dB lower, without the low-frequency
    /// channel.
    Stereo,
}

impl Downmix {
    /// The channels that come out of so many.
    #[must_use]
    pub fn channels(self, channels: u32) -> u32 {
        match self {
            Self::Off => channels,
            Self::Stereo => channels.min(2),
        }
    }
}

/// What is done about the places where one encoder's work ends and the next one's begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seams {
    /// A fresh encoder for each segment.
    #[default]
    Parallel,
    /// The same, and all pictures are quantized alike, so that none is better or worse for its place in its segment.
    ConstQp,
    /// Segments of many minutes: one encoder for most files.
    Serial,
}

impl Seams {
    /// The longest segment, in seconds. With serial encoders it is bounded by what the boxes of a segment can say: 2 GiB.
    #[must_use]
    pub const fn longest_segment(self) -> f64 {
        match self {
            Self::Parallel | Self::ConstQp => *SEGMENT_SECONDS.end(),
            Self::Serial => SERIAL_SECONDS,
        }
    }
}

/// The settings of one job. [`Spec::default`] gives what `rungs package` does without options.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    /// The ladder; empty for the default one.
    pub rungs: Vec<Rung>,
    /// Duration of a segment in seconds, see [`SEGMENT_SECONDS`].
    pub segment_seconds: f64,
    /// Longest time between two keyframes in seconds; `None` for the segment's.
    pub gop_seconds: Option<f64>,
    /// Quality of rungs that have no constant rate factor of their own.
    pub quality: Quality,
    /// Their constant rate factor, on the scale of the one codec, instead of the one behind their quality.
    pub crf: Option<u8>,
    /// Encoder speed of rungs that have none of their own, 0 (slowest) to 13.
    pub speed: u8,
    /// The encoder by FFmpeg's name; `None` for the best that is there.
    pub encoder: Option<String>,
    /// What becomes of the sound.
    pub audio: AudioChoice,
    /// Whether damage in the source fails the job.
    pub strict: bool,
    /// Whether each segment is decoded again and its distance from its source measured.
    pub measure: bool,
    /// Which segments are decoded before they are committed.
    pub inspect: Inspect,
    /// Which part of the source is taken.
    #[serde(default)]
    pub cut: Cut,
    /// What becomes of the picture before it is encoded.
    #[serde(default)]
    pub picture: PictureSpec,
    /// More about the sound.
    pub sound: Sound,
    /// The codecs, at least one. Each rung becomes a rendition of each.
    pub codecs: Vec<Codec>,
    /// Sources that follow the first, one after the other.
    #[serde(default)]
    pub joined: Vec<PathBuf>,
    /// Which tracks of subtitles are taken.
    pub subtitles: TrackChoice,
    /// What decides on the bits of rungs that have no rate of their own, besides their quality.
    pub rate: Rate,
    /// What is done about the places where segments meet.
    #[serde(default)]
    pub seams: Seams,
    /// Which images are made in the end.
    #[serde(default)]
    pub stills: StillsSpec,
    /// Whether all segments of a rendition go into one file in the end:
    /// [`JobFolder::put_together`](crate::journal::JobFolder::put_together) does that after the run.
    #[serde(default)]
    pub single_file: bool,
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            rungs: Vec::new(),
            segment_seconds: 4.0,
            gop_seconds: None,
            quality: Quality::Standard,
            crf: None,
            speed: 8,
            encoder: None,
            audio: AudioChoice::Auto,
            strict: false,
            measure: false,
            inspect: Inspect::default(),
            cut: Cut::default(),
            picture: PictureSpec::default(),
            sound: Sound::default(),
            codecs: vec![Codec::Av1],
            joined: Vec::new(),
            subtitles: TrackChoice::default(),
            rate: Rate::Quality,
            seams: Seams::Parallel,
            stills: StillsSpec::default(),
            single_file: false,
        }
    }
}

/// Why settings cannot be used, whatever the source.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SpecError {
    /// The segment is too short or too long.
    #[error("segments of {0} s cannot be made: use {start} to {end} s", start = SEGMENT_SECONDS.start(), end = SEGMENT_SECONDS.end())]
    Segment(f64),
    /// The distance of keyframes is not above zero, or longer than a segment.
    #[error(
        "a keyframe every {gop} s does not fit segments of {segment} s: each segment starts with one"
    )]
    Gop {
        /// What was asked for.
        gop: f64,
        /// The segment.
        segment: f64,
    },
    /// Both a rate and a quantizer that does not change are asked for.
    #[error("a quantizer that does not change cannot hold a rate")]
    RatedQuantizer,
    /// The source is to be taken from a moment to one that is not after it.
    #[error("there is nothing between the start and the end that were given")]
    Cut,
    /// The loudness is out of reach.
    #[error("a loudness of {0} LUFS cannot be made: use {start} to {end}", start = LOUDNESS.start(), end = LOUDNESS.end())]
    Loudness(f64),
    /// A part is asked for of several sources.
    #[error("a part can be taken of one source only, not of several that are joined")]
    CutJoined,
    /// Thumbnails too close to each other, or too far apart.
    #[error("a thumbnail every {0} s cannot be made: use {start} to {end} s", start = INTERVAL.start(), end = INTERVAL.end())]
    Interval(f64),
    /// Too many rungs.
    #[error("{0} rungs are too many: {MOST_RUNGS} at most")]
    Rungs(usize),
    /// No codec, or one of them twice.
    #[error("{0} is no list of codecs: give each once")]
    Codecs(String),
    /// A constant rate factor for several codecs, whose scales differ.
    #[error("a constant rate factor of {0} cannot be for {1}, whose scales differ")]
    CrfOfSeveral(u8, String),
    /// A number outside its range.
    #[error("{name} is {value}, and must be {least} to {most}")]
    Range {
        /// The setting.
        name: &'static str,
        /// Its value.
        value: u64,
        /// Its lowest value.
        least: u64,
        /// Its highest value.
        most: u64,
    },
    /// The picture cannot be had like that.
    #[error(transparent)]
    Picture(#[from] PictureError),
}

impl Spec {
    /// Every setting with its option on the command line and its value in words.
    pub(crate) fn settings(&self) -> Vec<(&'static str, String)> {
        let Self {
            rungs,
            segment_seconds,
            gop_seconds,
            // What follows from them is told.
            quality: _,
            crf: _,
            speed,
            encoder,
            audio,
            strict,
            measure,
            // It changes no bytes, and another look is welcome.
            inspect: _,
            cut,
            picture,
            sound,
            codecs,
            // Which files they are stands in the plan; they may have been moved.
            joined: _,
            subtitles,
            rate,
            seams,
            stills,
            single_file,
        } = self;
        let rungs: Vec<_> = rungs.iter().map(ToString::to_string).collect();
        let rungs = match &rungs[..] {
            [] => "the default ladder".to_owned(),
            rungs => rungs.join(" "),
        };
        let gop = gop_seconds.map_or("the segment's".to_owned(), |seconds| seconds.to_string());
        let on = |given: bool| if given { "on" } else { "off" }.to_owned();
        let mut settings = vec![
            ("--rung", rungs),
            ("--segment", segment_seconds.to_string()),
            ("--gop", gop),
            (
                "--crf",
                words(codecs.iter().map(|codec| self.crf_of(*codec))),
            ),
            ("--speed", speed.to_string()),
            (
                "--encoder",
                encoder.clone().unwrap_or("the best there is".to_owned()),
            ),
            ("--audio", format!("{audio:?}").to_lowercase()),
            ("--strict", on(*strict)),
            ("--measure", on(*measure)),
            ("--seams", format!("{seams:?}").to_lowercase()),
            ("--subtitles", subtitles.to_string()),
            ("--single-file", on(*single_file)),
            ("--codec", words(codecs)),
            ("--maxrate", rated(*rate, true)),
            ("--bitrate", rated(*rate, false)),
        ];
        settings.extend(cut.settings());
        settings.extend(sound.settings());
        settings.extend(picture.settings());
        settings.extend(stills.settings());
        settings
    }

    /// The constant rate factor of rungs that have none of their own, for one of the codecs.
    #[must_use]
    pub fn crf_of(&self, codec: Codec) -> u8 {
        self.crf.unwrap_or_else(|| self.quality.crf(codec))
    }

    /// Checks what can be checked without the source.
    pub fn check(&self) -> Result<(), SpecError> {
        let longest = self.seams.longest_segment();
        if !(*SEGMENT_SECONDS.start()..=longest).contains(&self.segment_seconds) {
            return Err(SpecError::Segment(self.segment_seconds));
        }
        if let Some(gop) = self.gop_seconds
            && !(gop > 0.0 && gop <= self.segment_seconds)
        {
            return Err(SpecError::Gop {
                gop,
                segment: self.segment_seconds,
            });
        }
        let rated = self.rungs.iter().any(|rung| rung.rate.is_some()) || self.rate != Rate::Quality;
        if self.seams == Seams::ConstQp && rated {
            return Err(SpecError::RatedQuantizer);
        }
        if !self.cut.is_possible() {
            return Err(SpecError::Cut);
        }
        if let Some(loudness) = self.sound.loudness
            && !LOUDNESS.contains(&loudness)
        {
            return Err(SpecError::Loudness(loudness));
        }
        if !self.cut.is_whole() && !self.joined.is_empty() {
            return Err(SpecError::CutJoined);
        }
        if let Some(Every::Seconds(seconds)) = self.stills.storyboard
            && !INTERVAL.contains(&seconds)
        {
            return Err(SpecError::Interval(seconds));
        }
        if self.rungs.len() > MOST_RUNGS {
            return Err(SpecError::Rungs(self.rungs.len()));
        }
        self.check_codecs()?;
        within("the speed", self.speed, 13)
    }

    fn check_codecs(&self) -> Result<(), SpecError> {
        let codecs = &self.codecs;
        let twice = |(place, codec)| codecs[..place].contains(codec);
        if codecs.is_empty() || codecs.iter().enumerate().any(twice) {
            return Err(SpecError::Codecs(words(codecs)));
        }
        let own = self.rungs.iter().map(|rung| rung.crf);
        for crf in own.chain([self.crf]).flatten() {
            let [codec] = codecs[..] else {
                return Err(SpecError::CrfOfSeveral(crf, words(codecs)));
            };
            within("the constant rate factor", crf, codec.worst_crf())?;
        }
        Ok(self.picture.check()?)
    }
}

/// The highest or the average rate in words.
fn rated(rate: Rate, highest: bool) -> String {
    match rate {
        Rate::Capped(bits) if highest => bits.to_string(),
        Rate::Average(bits) if !highest => bits.to_string(),
        _ => "none".to_owned(),
    }
}

fn words<T: ToString>(list: impl IntoIterator<Item = T>) -> String {
    let words: Vec<String> = list.into_iter().map(|item| item.to_string()).collect();
    words.join(" and ")
}

fn within(name: &'static str, value: u8, most: u8) -> Result<(), SpecError> {
    if value <= most {
        return Ok(());
    }
    Err(SpecError::Range {
        name,
        value: value.into(),
        least: 0,
        most: most.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_is_refused() {
        let bad = |change: fn(&mut Spec)| {
            let mut spec = Spec::default();
            change(&mut spec);
            spec.check().is_err()
        };
        assert!(Spec::default().check().is_ok());
        assert!(bad(|s| s.segment_seconds = 0.001));
        assert!(bad(|s| s.segment_seconds = f64::NAN));
        assert!(bad(|s| s.gop_seconds = Some(5.0)));
        assert!(bad(|s| s.gop_seconds = Some(f64::NAN)));
        assert!(bad(|s| s.crf = Some(64)));
        assert!(bad(|s| s.codecs = Vec::new()));
        assert!(bad(|s| s.codecs = vec![Codec::H264, Codec::H264]));
        assert!(bad(|s| {
            s.codecs = vec![Codec::H264];
            s.crf = Some(52);
        }));
        assert!(bad(|s| {
            s.codecs = vec![Codec::Av1, Codec::H264];
            s.rungs = vec!["720p@crf=30".parse().expect("a rung")];
        }));
        assert!(bad(|s| s.rungs = vec!["64p".parse().expect("a rung"); 33]));
    }
}
