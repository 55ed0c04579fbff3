//! One media playlist and the files that it names in, the rendition's segments with their true times out.
//!
//! Findings made here concern one rendition alone: its boxes, its playlist, its coverage and its own timeline.

use std::fs;
use std::path::Path;

use super::{Expectation, Findings, Rule, av1, nal, playlist, segment, single};
use crate::hls;
use crate::mp4::{self, SampleEntry};

/// What a rendition carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Video,
    Audio,
}

/// One rendition, without the bytes of its segments.
#[derive(Debug)]
pub(super) struct Rendition {
    pub(super) kind: Kind,
    /// Its folder, relative to the package, `/` between the parts.
    pub(super) folder: String,
    pub(super) playlist_file: String,
    pub(super) playlist: hls::Media,
    pub(super) init_file: String,
    pub(super) init_bytes: Vec<u8>,
    pub(super) init: mp4::Init,
    pub(super) track: mp4::Track,
    pub(super) entry: SampleEntry,
    /// The sequence header in `av1C`, for AV1.
    pub(super) sequence: Option<av1::Sequence>,
    /// The payload of the sequence header in each sample entry.
    pub(super) headers: Vec<Vec<u8>>,
    /// What the sample entry says of its parameter sets, for H.264 and HEVC.
    pub(super) sets: Option<nal::Sets>,
    pub(super) segments: Vec<Segment>,
}

/// One segment of a rendition.
#[derive(Debug)]
pub(super) struct Segment {
    /// Relative to the package.
    pub(super) file: String,
    pub(super) bytes: u64,
    /// Decode time of the first sample, in ticks.
    pub(super) start: u64,
    /// Durations of the samples in the order in which they are shown, in ticks.
    pub(super) durations: Vec<u32>,
    /// `EXTINF`.
    pub(super) seconds: f64,
    /// Where the first sample ends in the segment.
    pub(super) first_end: u64,
    /// The part of the file that it is; `None` for the whole.
    pub(super) range: Option<hls::ByteRange>,
}

impl Segment {
    /// Reads its bytes.
    pub(super) fn read(&self, root: &Path) -> std::io::Result<Vec<u8>> {
        single::part(&root.join(&self.file), self.range)
    }

    pub(super) fn ticks(&self) -> u64 {
        self.durations.iter().map(|&ticks| u64::from(ticks)).sum()
    }

    pub(super) fn end(&self) -> u64 {
        self.start + self.ticks()
    }
}

impl Rendition {
    /// Reads a rendition; `None` when there is too little of it to go on.
    pub(super) fn load(
        root: &Path,
        uri: &str,
        expect: &Expectation,
        findings: &mut Findings,
    ) -> Option<Self> {
        let text = findings.note((Rule::Files, uri), fs::read_to_string(root.join(uri)))?;
        let playlist = findings.note((Rule::Playlist, uri), hls::media(&text))?;
        let folder = uri
            .rsplit_once('/')
            .map_or("", |(folder, _)| folder)
            .to_owned();
        let Some(map) = &playlist.map else {
            findings.add(Rule::Playlist, uri, "there is no EXT-X-MAP");
            return None;
        };
        let init_file = join(&folder, map);
        let init_bytes = single::part(&root.join(&init_file), playlist.map_range);
        let init_bytes = findings.note((Rule::Files, &init_file), init_bytes)?;
        let init = findings.note((Rule::Validity, &init_file), mp4::init(&init_bytes))?;
        let Some(track) = init.tracks.first().cloned() else {
            findings.add(Rule::Validity, &init_file, "there is no track");
            return None;
        };
        let Some(entry) = track.entries.first().cloned() else {
            findings.add(Rule::Validity, &init_file, "there is no sample entry");
            return None;
        };
        let kind = if track.handler == *b"vide" {
            Kind::Video
        } else {
            Kind::Audio
        };
        let playlist_file = uri.to_owned();
        let segments = Vec::new();
        let mut rendition = Self {
            kind,
            folder,
            playlist_file,
            playlist,
            init_file,
            init_bytes,
            init,
            track,
            entry,
            sequence: None,
            headers: Vec::new(),
            sets: None,
            segments,
        };
        rendition.check_init(findings);
        rendition.load_segments(root, findings);
        playlist::check(&rendition, expect, findings);
        single::check(root, &rendition, findings);
        (!rendition.segments.is_empty()).then_some(rendition)
    }

    pub(super) fn size(&self) -> (u32, u32) {
        self.entry.size
    }

    pub(super) fn samples(&self) -> u64 {
        self.segments
            .iter()
            .map(|segment| segment.durations.len() as u64)
            .sum()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.init_bytes.len() as u64
            + self
                .segments
                .iter()
                .map(|segment| segment.bytes)
                .sum::<u64>()
    }

    /// Returns what the edit list takes off the time of a segment: priming. What it takes off pictures, their composition offsets add.
    fn cut(&self) -> i64 {
        if self.sets.is_some() {
            0
        } else {
            self.track.media_start()
        }
    }

    /// Returns when a segment is first shown or heard, in ticks of the presentation: priming comes before zero.
    pub(super) fn presented_from(&self, segment: &Segment) -> u64 {
        segment.start.saturating_add_signed(-self.cut())
    }

    /// Returns when a segment's presentation ends, in ticks.
    pub(super) fn presented_until(&self, segment: &Segment) -> u64 {
        segment.end().saturating_add_signed(-self.cut())
    }

    pub(super) fn seconds(&self, ticks: u64) -> f64 {
        ticks as f64 / f64::from(self.track.timescale)
    }

    pub(super) fn start_seconds(&self) -> f64 {
        self.segments
            .first()
            .map_or(0.0, |segment| self.seconds(self.presented_from(segment)))
    }

    pub(super) fn end_seconds(&self) -> f64 {
        self.segments
            .last()
            .map_or(0.0, |segment| self.seconds(self.presented_until(segment)))
    }

    /// Returns the longest sample's duration in seconds.
    pub(super) fn longest_sample(&self) -> f64 {
        let durations = self.segments.iter().flat_map(|segment| &segment.durations);
        self.seconds(u64::from(durations.copied().max().unwrap_or(0)))
    }

    /// Returns the start of each frame in ticks of the presentation, with its segment's index.
    pub(super) fn frame_times(&self) -> Vec<(usize, u64)> {
        let mut times = Vec::new();
        for (index, segment) in self.segments.iter().enumerate() {
            let mut time = self.presented_from(segment);
            for &duration in &segment.durations {
                times.push((index, time));
                time += u64::from(duration);
            }
        }
        times
    }

    /// Returns the codec string that the sample entry asks for.
    pub(super) fn codec_string(&self) -> String {
        if let Some(sets) = &self.sets {
            return sets.codec.clone();
        }
        match (&self.sequence, &self.entry.esds, &self.entry.kind.0) {
            (Some(sequence), ..) => sequence.codec_string(),
            (None, Some(esds), _) => {
                // audioObjectType, five bits; 31 escapes to six more.
                let first = esds.config.first().copied().unwrap_or(0);
                let second = esds.config.get(1).copied().unwrap_or(0);
                let short = u16::from(first >> 3);
                let long = 32 + (u16::from(first & 7) << 3 | u16::from(second >> 5));
                format!(
                    "mp4a.{:x}.{}",
                    esds.object_type,
                    if short == 31 { long } else { short }
                )
            }
            (None, None, b"Opus") => "opus".to_owned(),
            (None, None, b"fLaC") => "flac".to_owned(),
            _ => self.entry.kind.to_string(),
        }
    }

    fn check_init(&mut self, findings: &mut Findings) {
        let file = self.init_file.clone();
        let mut wrong = |rule, message: &str| findings.add(rule, &file, message);
        if !self.init.brands.has(*b"cmfc") && !self.init.brands.has(*b"cmf2") {
            wrong(Rule::Validity, "its brands name neither cmfc nor cmf2");
        }
        if !self.init.fragmented {
            wrong(
                Rule::Validity,
                "there is no mvex, so fragments are not allowed",
            );
        }
        if self.init.tracks.len() != 1 {
            wrong(Rule::Validity, "there is more than one track");
        }
        if self.track.own_samples != 0 {
            wrong(Rule::Validity, "it has samples of its own");
        }
        if self.kind == Kind::Audio {
            let priming = self.entry.opus_pre_skip.map(i64::from);
            if priming.is_some_and(|skip| skip != self.track.media_start()) {
                wrong(
                    Rule::Validity,
                    "dOps and the edit list state different primings",
                );
            }
            return;
        }
        let parsed = match (&self.entry.avcc, &self.entry.hvcc) {
            (Some(config), _) => Some(nal::Sets::avc(config)),
            (None, Some(config)) => Some(nal::Sets::hevc(config)),
            (None, None) => None,
        };
        if let Some(parsed) = parsed {
            match &parsed {
                None => wrong(Rule::Codec, "the parameter sets cannot be read"),
                Some(sets) => {
                    if let Some(what) = sets.contradiction {
                        wrong(
                            Rule::Codec,
                            &format!(
                                "the configuration and its sequence parameter set differ in their {what}"
                            ),
                        );
                    }
                }
            }
            self.sets = parsed;
            return;
        }
        if self.track.media_start() != 0 {
            wrong(Rule::Timeline, "the edit list moves the picture's start");
        }
        if self.entry.kind == *b"av01" {
            if !self.init.brands.has(*b"av01") {
                wrong(Rule::Validity, "its brands do not name av01");
            }
            for entry in self.track.entries.clone() {
                self.check_av1(&entry, findings);
            }
        }
    }

    fn check_av1(&mut self, entry: &SampleEntry, findings: &mut Findings) {
        let file = self.init_file.clone();
        let Some(config) = &entry.av1c else {
            return findings.add(Rule::Codec, &file, "there is no av1C");
        };
        let obus = av1::obus(&config.obus);
        let header = obus
            .as_deref()
            .and_then(|obus| obus.first())
            .filter(|obu| obu.kind == av1::SEQUENCE_HEADER);
        let parsed =
            header.and_then(|header| Some((header.payload, av1::Sequence::parse(header.payload)?)));
        let Some((payload, sequence)) = parsed else {
            return findings.add(
                Rule::Codec,
                &file,
                "av1C holds no sequence header that can be read",
            );
        };
        if let Some(field) = sequence.contradiction(config) {
            findings.add(
                Rule::Codec,
                &file,
                format!("av1C and its sequence header differ in their {field}"),
            );
        }
        if sequence.size != entry.size {
            let message = format!(
                "the sample entry says {:?}, the sequence header {:?}",
                entry.size, sequence.size
            );
            findings.add(Rule::Codec, &file, message);
        }
        if entry.nclx.is_some_and(|nclx| nclx != sequence.color) {
            let message = format!(
                "colr says {:?}, the sequence header {:?}",
                entry.nclx, sequence.color
            );
            findings.add(Rule::Codec, &file, message);
        }
        self.headers.push(payload.to_vec());
        let first = self.sequence.get_or_insert_with(|| sequence.clone());
        if let Some(field) = first.difference(&sequence) {
            findings.add(
                Rule::Codec,
                &file,
                format!("its sample entries differ in their {field}"),
            );
        }
    }

    fn load_segments(&mut self, root: &Path, findings: &mut Findings) {
        let mut last_number = 0;
        for entry in &self.playlist.entries {
            let file = join(&self.folder, &entry.uri);
            let read = single::part(&root.join(&file), entry.range);
            let Some(bytes) = findings.note((Rule::Files, &file), read) else {
                continue;
            };
            let Some(parsed) =
                findings.note((Rule::Validity, &file), mp4::segment(&bytes, &self.init))
            else {
                continue;
            };
            for fragment in &parsed.fragments {
                if fragment.sequence <= last_number {
                    findings.add(
                        Rule::Validity,
                        &file,
                        "its sequence number in mfhd is not above the last one",
                    );
                }
                last_number = fragment.sequence;
            }
            let read = segment::Read {
                file,
                bytes: &bytes,
                parsed: &parsed,
                seconds: entry.seconds,
                range: entry.range,
            };
            if let Some(segment) = read.check(self, findings) {
                self.segments.push(segment);
            }
        }
        self.check_times(findings);
    }

    fn check_times(&self, findings: &mut Findings) {
        for pair in self.segments.windows(2) {
            let (end, start) = (pair[0].end(), pair[1].start);
            if end != start {
                let message =
                    format!("it starts at tick {start}, and the segment before ends at {end}");
                findings.add(Rule::Timeline, &pair[1].file, message);
            }
        }
        if let Some(first) = self.segments.first()
            && first.start != 0
        {
            findings.add(
                Rule::Timeline,
                &first.file,
                format!("the first segment starts at tick {}", first.start),
            );
        }
    }
}

/// Resolves a URI that is relative to a folder of the package.
pub(super) fn join(folder: &str, uri: &str) -> String {
    if let Some(beside) = uri.strip_prefix("../") {
        let above = folder.rsplit_once('/').map_or("", |(above, _)| above);
        return join(above, beside);
    }
    if folder.is_empty() {
        uri.to_owned()
    } else {
        format!("{folder}/{uri}")
    }
}
