//! A finished package and what is expected of it in, a report or everything that is wrong with it out.
//!
//! ```text
//! master.m3u8 ─► renditions: boxes, times, playlists ─► across renditions: cuts, bandwidths, codecs
//!                     │                                        manifest.mpd, files on disk
//!                     └─► ffmpeg: each segment alone ─► against the source: times, pictures
//! ```
//!
//! Nothing here knows how the package was made: the boxes are read by [`mp4`](crate::mp4), the pictures by the
//! `ffmpeg` program, the manifest by a public MPD reader. All findings are collected before it answers.

mod av1;
mod bandwidth;
mod decode;
mod files;
mod frames;
mod images;
mod manifest;
mod master;
mod nal;
mod playlist;
mod quality;
mod rendition;
mod segment;
mod single;
mod source;
mod text;
mod timeline;

use std::fmt;
use std::path::{Path, PathBuf};

use rendition::{Kind, Rendition};
use text::Text;

pub use text::ShownText;

/// What a package should be. The default asks for a complete package and nothing that depends on its source.
#[derive(Debug, Clone)]
pub struct Expectation {
    /// The file that it was made from: frames, times, aspect, colours and pictures are compared with it.
    pub source: Option<PathBuf>,
    /// Frames in each video rendition, those included that are repeated where a picture was held over a cut.
    /// With a source and without this, every frame of the source must be there once, and repeats only at cuts.
    pub frames: Option<u64>,
    /// The least PSNR of the largest video rendition against the source, in dB, all planes together. Smaller
    /// renditions, compared with the scaled source, may have 3 dB less. Without it the pictures must still be the
    /// right ones: each more like its own source frame than like the next or the last.
    pub psnr_floor: Option<f64>,
    /// The segment duration that was asked for: segment `k` starts with the first frame at or after `k` times that.
    pub segment_seconds: Option<f64>,
    /// Whether the job is done: end marks, true bandwidths, the manifest, the report, and no file too many.
    pub complete: bool,
    /// Whether there must be sound (`Some(true)`), must be none, or either will do.
    pub audio: Option<bool>,
    /// How far the sound's end may be from the picture's, in seconds; one audio frame when `None`.
    pub audio_end_slack: Option<f64>,
    /// The number of video renditions.
    pub renditions: Option<usize>,
    /// Whether every segment is decoded by itself. Only a test of something else turns it off, for speed.
    pub decode: bool,
}

impl Default for Expectation {
    fn default() -> Self {
        Self {
            source: None,
            frames: None,
            psnr_floor: None,
            segment_seconds: None,
            complete: true,
            audio: None,
            audio_end_slack: None,
            renditions: None,
            decode: true,
        }
    }
}

/// Which promise a finding breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rule {
    /// A file that is named is absent, or one is there that nobody named.
    Files,
    /// Segments are exactly 0 to n−1, in order, the same number in each rendition.
    Coverage,
    /// Segments follow each other to the tick; all renditions are cut at the same times; sound ends with picture.
    Timeline,
    /// Boxes are whole and agree with each other; CMAF's brands and rules; samples start where they should.
    Validity,
    /// Codec configuration, codec strings, colours and dimensions tell one truth.
    Codec,
    /// Playlists are well-formed and true.
    Playlist,
    /// Stated bit rates are those of the files.
    Bandwidth,
    /// The DASH manifest tells the same as the playlists.
    Manifest,
    /// Each segment decodes by itself into the frames that it claims.
    Decoding,
    /// Frames, times, shape and colours are the source's.
    Source,
    /// Pictures are like the source's.
    Quality,
    /// A tool that the check needs failed.
    Tool,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The promise that is broken.
    pub rule: Rule,
    /// The file that shows it, relative to the package.
    pub file: String,
    /// What is wrong, in a plain sentence.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} [{:?}]", self.file, self.message, self.rule)
    }
}

/// What a package that has nothing wrong with it holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// All renditions: video in the order of the multivariant playlist, then audio.
    pub renditions: Vec<RenditionReport>,
    /// The subtitles by their folder, with all that is shown.
    pub text: Vec<(String, Vec<ShownText>)>,
    /// Frames of each video rendition.
    pub frames: u64,
    /// Segments of each rendition.
    pub segments: usize,
    /// Frames that repeat a picture held over a cut; zero when no source was given.
    pub held: u64,
    /// The lowest PSNR of all video renditions, in dB; `None` when no source was given.
    pub min_psnr: Option<f64>,
}

/// One rendition of a [`Report`].
#[derive(Debug, Clone, PartialEq)]
pub struct RenditionReport {
    /// Its folder in the package.
    pub name: String,
    /// Its codec string.
    pub codec: String,
    /// Width and height in pixels; `None` for sound.
    pub size: Option<(u32, u32)>,
    /// Frames or packets.
    pub samples: u64,
    /// Presented seconds.
    pub seconds: f64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Bits a second at the peak (RFC 8216 §4.3.4.2).
    pub peak: u64,
    /// Bits a second over all.
    pub average: u64,
    /// PSNR over all frames against the source, in dB.
    pub psnr: Option<f64>,
    /// PSNR of the worst frame.
    pub worst_psnr: Option<f64>,
}

/// Checks the package in a folder; blocks while it reads and decodes all of it.
///
/// Returns what is there when nothing is wrong, and otherwise all findings, at least one.
pub fn check(out: &Path, expect: &Expectation) -> Result<Report, Vec<Finding>> {
    let mut findings = Findings::default();
    let package = Package::load(out, expect, &mut findings);
    let report = package.and_then(|package| package.judge(expect, &mut findings));
    match report {
        Some(report) if findings.list.is_empty() => Ok(report),
        None if findings.list.is_empty() => {
            findings.add(Rule::Files, "master.m3u8", "nothing could be checked");
            Err(findings.list)
        }
        _ => Err(findings.list),
    }
}

/// All that was found wrong so far.
#[derive(Debug, Default)]
struct Findings {
    list: Vec<Finding>,
}

impl Findings {
    fn add(&mut self, rule: Rule, file: &str, message: impl Into<String>) {
        self.list.push(Finding {
            rule,
            file: file.to_owned(),
            message: message.into(),
        });
    }

    /// Keeps a failure as a finding and goes on without the value.
    fn note<T>(
        &mut self,
        (rule, file): (Rule, &str),
        result: Result<T, impl std::error::Error>,
    ) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.add(rule, file, crate::tool::chain(&error));
                None
            }
        }
    }
}

/// A package as it lies in its folder.
struct Package {
    root: PathBuf,
    master: crate::hls::Master,
    /// Video renditions in the order of the multivariant playlist, then audio.
    renditions: Vec<Rendition>,
    /// In the order of the multivariant playlist.
    texts: Vec<Text>,
}

impl Package {
    fn load(root: &Path, expect: &Expectation, findings: &mut Findings) -> Option<Self> {
        let file = "master.m3u8";
        let text = findings.note(
            (Rule::Files, file),
            std::fs::read_to_string(root.join(file)),
        )?;
        let master = findings.note((Rule::Playlist, file), crate::hls::master(&text))?;
        let mut uris: Vec<(Kind, &str)> = Vec::new();
        let variants = master
            .variants
            .iter()
            .map(|variant| (Kind::Video, variant.uri.as_str()));
        let media = master
            .media
            .iter()
            .filter(|media| media.get("TYPE") == Some("AUDIO"))
            .filter_map(|media| media.get("URI"))
            .map(|uri| (Kind::Audio, uri));
        for entry in variants.chain(media) {
            if !uris.iter().any(|(_, uri)| *uri == entry.1) {
                uris.push(entry);
            }
        }
        let load = |&(_, uri): &(Kind, &str)| Rendition::load(root, uri, expect, findings);
        let renditions = uris.iter().filter_map(load).collect();
        let subtitles = master
            .media
            .iter()
            .filter(|media| media.get("TYPE") == Some("SUBTITLES"))
            .filter_map(|media| media.get("URI"));
        let texts = subtitles.filter_map(|uri| Text::load(root, uri, expect, findings));
        let texts = texts.collect();
        Some(Self {
            root: root.to_owned(),
            renditions,
            texts,
            master,
        })
    }

    fn videos(&self) -> impl Iterator<Item = &Rendition> {
        self.renditions
            .iter()
            .filter(|rendition| rendition.kind == Kind::Video)
    }

    fn audios(&self) -> impl Iterator<Item = &Rendition> {
        self.renditions
            .iter()
            .filter(|rendition| rendition.kind == Kind::Audio)
    }

    /// Looks up the rendition of a playlist that the multivariant playlist names.
    fn named(&self, uri: &str) -> Option<&Rendition> {
        self.renditions
            .iter()
            .find(|rendition| rendition.playlist_file == uri)
    }

    fn judge(&self, expect: &Expectation, findings: &mut Findings) -> Option<Report> {
        if let Some(wanted) = expect.renditions
            && wanted != self.videos().count()
        {
            let message = format!(
                "there are {} video renditions, not {wanted}",
                self.videos().count()
            );
            findings.add(Rule::Coverage, "master.m3u8", message);
        }
        timeline::across(self, expect, findings);
        text::check(self, expect, findings);
        master::check(self, expect, findings);
        files::check(self, expect, findings);
        if expect.complete {
            manifest::check(self, findings);
        }
        frames::check(self, expect, findings);
        images::check(self, findings);
        if expect.decode {
            decode::check(self, findings);
        }
        let pictures = source::check(self, expect, findings);
        let first = self.renditions.first()?;
        let psnr = |rendition: &Rendition| {
            let all = pictures.qualities.iter();
            all.clone()
                .find(|quality| quality.rendition == rendition.folder)
        };
        let reports = self.renditions.iter().map(|rendition| {
            let quality = psnr(rendition);
            let bandwidth = bandwidth::measure(rendition);
            RenditionReport {
                name: rendition.folder.clone(),
                codec: rendition.codec_string(),
                size: (rendition.kind == Kind::Video).then(|| rendition.size()),
                samples: rendition.samples(),
                seconds: rendition.end_seconds() - rendition.start_seconds(),
                bytes: rendition.bytes(),
                peak: bandwidth.peak.ceil() as u64,
                average: bandwidth.average.ceil() as u64,
                psnr: quality.map(|quality| quality.average),
                worst_psnr: quality.map(|quality| quality.worst),
            }
        });
        let renditions: Vec<_> = reports.collect();
        let min_psnr = renditions
            .iter()
            .filter_map(|rendition| rendition.psnr)
            .reduce(f64::min);
        Some(Report {
            frames: self.videos().map(Rendition::samples).next().unwrap_or(0),
            segments: first.segments.len(),
            held: pictures.held,
            min_psnr,
            renditions,
            text: text::shown(self),
        })
    }
}
