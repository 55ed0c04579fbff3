//! One segment's bytes and boxes in, its samples' times out; findings concern that one file.

use super::rendition::{Rendition, Segment};
use super::{Findings, Rule, av1, nal};
use crate::mp4;

/// A segment's file as it was read.
pub(super) struct Read<'a> {
    /// Relative to the package.
    pub(super) file: String,
    pub(super) bytes: &'a [u8],
    pub(super) parsed: &'a mp4::Segment,
    /// `EXTINF`.
    pub(super) seconds: f64,
    /// The part of the file that it is, if it is one.
    pub(super) range: Option<crate::hls::ByteRange>,
}

impl Read<'_> {
    /// Checks all that one segment can be checked for by itself; `None` when it has no place in time.
    pub(super) fn check(self, rendition: &Rendition, findings: &mut Findings) -> Option<Segment> {
        let runs: Vec<_> = self
            .parsed
            .fragments
            .iter()
            .flat_map(|fragment| &fragment.tracks)
            .collect();
        let samples: Vec<_> = runs
            .iter()
            .flat_map(|run| run.samples.iter().copied())
            .collect();
        self.check_boxes(rendition, findings);
        self.check_samples(rendition, &samples, findings);
        let Some(start) = runs.first().and_then(|run| run.decode_time) else {
            findings.add(Rule::Timeline, &self.file, "there is no tfdt");
            return None;
        };
        let time = self.end(&runs, start, findings);
        let durations = if rendition.sets.is_some() {
            let cut = rendition.track.media_start();
            self.shown((start, time), (&samples, cut), findings)
        } else {
            if samples.iter().any(|sample| sample.composition_offset != 0) {
                let message = "a sample has a composition offset";
                findings.add(Rule::Validity, &self.file, message);
            }
            samples.iter().map(|sample| sample.duration).collect()
        };
        let Self {
            file,
            bytes,
            parsed,
            seconds,
            range,
        } = self;
        let segment = Segment {
            file,
            bytes: bytes.len() as u64,
            start,
            durations,
            seconds,
            first_end: samples
                .first()
                .map_or(0, |first| first.at + u64::from(first.bytes)),
            range,
        };
        if range.is_none() {
            check_index(rendition, (&segment, parsed), findings);
        } else if !parsed.indexes.is_empty() {
            let message = "a segment has an index of its own in a file that has one for all";
            findings.add(Rule::Validity, &segment.file, message);
        }
        Some(segment)
    }

    /// When the last fragment ends, if each starts where the one before ends.
    fn end(&self, runs: &[&mp4::TrackFragment], start: u64, findings: &mut Findings) -> u64 {
        let mut time = start;
        for run in runs {
            if run.decode_time != Some(time) {
                findings.add(
                    Rule::Timeline,
                    &self.file,
                    "a fragment's tfdt is not the end of the last fragment",
                );
            }
            let samples = run.samples.iter();
            let ticks: u64 = samples.map(|sample| u64::from(sample.duration)).sum();
            time = time.saturating_add(ticks);
        }
        time
    }

    fn check_boxes(&self, rendition: &Rendition, findings: &mut Findings) {
        let segment = self.parsed;
        let mut wrong = |message: &str| findings.add(Rule::Validity, &self.file, message);
        match &segment.brands {
            None if self.range.is_none() => wrong("there is no styp"),
            Some(brands) if !brands.has(*b"cmfs") && !brands.has(*b"msdh") => {
                wrong("the brands of styp name neither cmfs nor msdh");
            }
            None | Some(_) => {}
        }
        if segment
            .fragments
            .iter()
            .any(|fragment| fragment.tracks.len() != 1)
        {
            wrong("a fragment does not hold exactly one track");
        }
        let runs = segment
            .fragments
            .iter()
            .flat_map(|fragment| &fragment.tracks);
        if runs.clone().any(|run| run.track != rendition.track.id) {
            wrong("a fragment is for a track that the initialisation segment does not have");
        }
        let entries = rendition.track.entries.len();
        let known = |run: &&mp4::TrackFragment| (1..=entries).contains(&(run.description as usize));
        if !runs.clone().all(|run| known(&run)) {
            wrong("a fragment names a sample entry that the initialisation segment does not have");
        }
        if runs
            .clone()
            .any(|run| run.description != self.description())
        {
            wrong("its fragments name unlike sample entries");
        }
        let samples: Vec<_> = runs.flat_map(|run| &run.samples).collect();
        let inside = |sample: &mp4::Sample| {
            let end = sample.at.saturating_add(u64::from(sample.bytes));
            segment
                .payloads
                .iter()
                .any(|&(from, until)| sample.at >= from as u64 && end <= until as u64)
        };
        if !samples.iter().all(|sample| inside(sample)) {
            wrong("a sample lies outside of mdat");
        }
        let held: u64 = segment
            .payloads
            .iter()
            .map(|&(from, until)| (until - from) as u64)
            .sum();
        let used: u64 = samples.iter().map(|sample| u64::from(sample.bytes)).sum();
        if held != used {
            wrong(&format!("mdat has {held} bytes and the samples {used}"));
        }
        if samples.iter().any(|sample| sample.duration == 0) {
            wrong("a sample lasts no time");
        }
    }

    /// The sample entry that the segment names.
    fn description(&self) -> u32 {
        let fragments = self.parsed.fragments.iter();
        let mut runs = fragments.flat_map(|fragment| &fragment.tracks);
        runs.next().map_or(1, |run| run.description)
    }

    fn check_samples(
        &self,
        rendition: &Rendition,
        samples: &[mp4::Sample],
        findings: &mut Findings,
    ) {
        let file = &self.file;
        if samples.is_empty() {
            return findings.add(Rule::Validity, file, "there are no samples");
        }
        if !samples[0].is_sync() {
            findings.add(
                Rule::Validity,
                file,
                "the first sample is not a sync sample",
            );
        }
        if let Some(sets) = &rendition.sets {
            return self.check_units(sets, samples, findings);
        }
        let Some(sequence) = &rendition.sequence else {
            return;
        };
        for (index, sample) in samples.iter().enumerate() {
            let data = usize::try_from(sample.at)
                .ok()
                .and_then(|at| self.bytes.get(at..at + sample.bytes as usize));
            let Some(obus) = data.and_then(av1::obus) else {
                findings.add(
                    Rule::Validity,
                    file,
                    format!("sample {index} is no row of OBUs"),
                );
                continue;
            };
            let unwanted = [av1::TEMPORAL_DELIMITER, av1::TILE_LIST, av1::PADDING];
            if obus
                .iter()
                .any(|obu| !obu.sized || unwanted.contains(&obu.kind))
            {
                findings.add(
                    Rule::Validity,
                    file,
                    format!("sample {index} has an OBU that may not be in a sample"),
                );
            }
            match av1::starts_with_key(sequence, &obus) {
                None => findings.add(Rule::Validity, file, format!("sample {index} has no frame")),
                Some(key) if key != sample.is_sync() => {
                    let message = format!(
                        "the flags of sample {index} and its frame disagree on being a key frame"
                    );
                    findings.add(Rule::Validity, file, message);
                }
                Some(_) => {}
            }
            for header in obus.iter().filter(|obu| obu.kind == av1::SEQUENCE_HEADER) {
                if let Some(what) = self.wrong_header(rendition, header.payload) {
                    let message = format!("the sequence header in sample {index} {what}");
                    findings.add(Rule::Codec, file, message);
                }
            }
        }
    }

    /// Checks samples of H.264 or HEVC.
    fn check_units(&self, sets: &nal::Sets, samples: &[mp4::Sample], findings: &mut Findings) {
        for (index, sample) in samples.iter().enumerate() {
            let data = usize::try_from(sample.at)
                .ok()
                .and_then(|at| self.bytes.get(at..at + sample.bytes as usize));
            let what = match data.and_then(|data| sets.contents(data)) {
                None => "is no row of NAL units",
                Some(contents) if !contents.pictures => "has no picture",
                Some(contents) if contents.unwanted => "has a NAL unit that may not be in a sample",
                Some(contents) if contents.idr != sample.is_sync() => {
                    "and its flags disagree on being an IDR picture"
                }
                Some(_) => continue,
            };
            findings.add(Rule::Validity, &self.file, format!("sample {index} {what}"));
        }
    }

    /// How long each picture is shown, in the order in which they are: what is shown first is shown when decoding starts, and nothing before it is
    /// decoded.
    fn shown(
        &self,
        (start, end): (u64, u64),
        (samples, cut): (&[mp4::Sample], i64),
        findings: &mut Findings,
    ) -> Vec<u32> {
        let mut decoded = start as i64;
        let mut times = Vec::new();
        for sample in samples {
            times.push(decoded + sample.composition_offset - cut);
            if sample.composition_offset < 0 {
                let message = "a picture is decoded after its composition time";
                findings.add(Rule::Timeline, &self.file, message);
            }
            decoded += i64::from(sample.duration);
        }
        if times.first() != Some(&(start as i64)) {
            let message = "the first picture is not shown when the segment starts";
            findings.add(Rule::Timeline, &self.file, message);
        }
        times.sort_unstable();
        let next = times.iter().skip(1).copied().chain([end as i64]);
        let steps: Vec<i64> = times
            .iter()
            .zip(next)
            .map(|(time, next)| next - time)
            .collect();
        if steps.iter().any(|step| *step <= 0) {
            let message = "two pictures are shown at one time, or one after the segment's end";
            findings.add(Rule::Timeline, &self.file, message);
        }
        steps
            .into_iter()
            .map(|step| u32::try_from(step).unwrap_or(0))
            .collect()
    }

    /// What is wrong with a keyframe's sequence header.
    fn wrong_header(&self, rendition: &Rendition, payload: &[u8]) -> Option<String> {
        let entry = self.description().checked_sub(1);
        let described = entry.and_then(|entry| rendition.headers.get(entry as usize));
        // With a single entry only what players are told must agree.
        if rendition.headers.len() > 1 && described.is_none_or(|described| described != payload) {
            return Some("is not that of its sample entry".to_owned());
        }
        let own = av1::Sequence::parse(payload);
        let sequence = rendition.sequence.as_ref()?;
        let field = own.map_or(Some("whole header"), |own| sequence.difference(&own))?;
        Some(format!("differs from av1C's in its {field}"))
    }
}

fn check_index(
    rendition: &Rendition,
    (segment, parsed): (&Segment, &mp4::Segment),
    findings: &mut Findings,
) {
    let [index] = parsed.indexes.as_slice() else {
        let message = format!("there are {} sidx, not one", parsed.indexes.len());
        return findings.add(Rule::Validity, &segment.file, message);
    };
    let mut wrong = |message: String| findings.add(Rule::Validity, &segment.file, message);
    if index.timescale != rendition.track.timescale || index.track != rendition.track.id {
        wrong("sidx has another timescale or track than the initialisation segment".to_owned());
    }
    let (from, until) = (
        rendition.presented_from(segment),
        rendition.presented_until(segment),
    );
    if index.earliest != from {
        wrong(format!(
            "sidx starts at tick {}, the fragment at {from}",
            index.earliest
        ));
    }
    let ticks: u64 = index
        .references
        .iter()
        .map(|reference| u64::from(reference.duration))
        .sum();
    if ticks != until - from {
        wrong(format!(
            "sidx lasts {ticks} ticks, the samples {}",
            until - from
        ));
    }
    let bytes: u64 = index
        .references
        .iter()
        .map(|reference| u64::from(reference.bytes))
        .sum();
    let moof = parsed.fragments.first().map(|fragment| fragment.at as u64);
    if moof != Some(index.anchor) || index.anchor.saturating_add(bytes) != parsed.bytes as u64 {
        wrong("sidx does not cover the bytes from moof to the end".to_owned());
    }
    if !index
        .references
        .iter()
        .all(|reference| reference.starts_with_sap && reference.sap_type == 1)
    {
        wrong("sidx does not promise a stream access point of type 1".to_owned());
    }
}
