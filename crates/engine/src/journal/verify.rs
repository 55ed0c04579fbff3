//! A package on disk in, what is wrong with it out: against its journal, its plan, its boxes, and a decoder.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::Path;

use rungs_media::audio::AudioDecoder;
use rungs_media::decode::{DecodeOptions, Received, Sent, VideoDecoder};
use rungs_media::demux::{Demuxer, StreamKind};
use rungs_media::{Limits, Packet, Source};
use rungs_package::cmaf::read_segment;
use rungs_package::output::StoredSegment;
use rungs_package::tree::Tree;
use rungs_package::{Digest, is_still, single_name};

use super::check::{is_on_spans, lies_on};
use super::database::{Database, Phase, Rows};
use super::expected::is_due;
use super::folder::{check_rows, read_record, segment_path, tracks};
use super::lock::Lock;
use super::shelf::Shelf;
use super::{JOURNAL, JournalError, PRIVATE, RECORD};
use crate::cancel::Cancel;
use crate::plan::Plan;

/// The playlists in the folder of a track.
const PLAYLISTS: [&str; 2] = ["playlist.m3u8", "iframes.m3u8"];

/// How deep a package is looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Files, hashes, boxes, times, playlists.
    Boxes,
    /// The same, and every segment is decoded.
    Pictures,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file, relative to the package.
    pub file: String,
    /// What is wrong with it, in words.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file, self.what)
    }
}

/// What was looked at, and what was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Segments in the journal.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Pictures and packets of sound that were decoded.
    pub decoded: u64,
    /// All that is wrong, at least one line for each file that is; empty when all is well.
    pub findings: Vec<Finding>,
}

/// Checks the package in a folder. Blocks while all of it is read, and decoded if that is asked for; a cancelled check ends with what
/// it has found. Changes nothing.
///
/// Fails when there is nothing to check against, or when a run works there.
pub fn verify(root: &Path, depth: Depth, cancel: &Cancel) -> Result<Verified, JournalError> {
    let no_job = || JournalError::NoJob {
        root: root.to_owned(),
    };
    if !Tree::open(root).is_ok_and(|tree| tree.is_file(RECORD)) {
        return Err(no_job());
    }
    let _lock = Lock::share(root)?;
    let record = read_record(root)?.ok_or_else(no_job)?;
    let rows = Database::open(&root.join(JOURNAL))?.rows()?;
    check_rows(root, &record.plan, &rows)?;
    let shelf = Shelf::of(root, &record.plan, &rows).map_err(|source| JournalError::Plan {
        path: root.join(RECORD),
        source: Box::new(source),
    })?;
    let done = if record.plan.single_file {
        Phase::Placed
    } else {
        Phase::Finished
    };
    let mut check = Verify {
        shelf: &shelf,
        plan: &record.plan,
        rows: &rows,
        unfinished: rows.phase != done,
        unable: None,
        out: Verified::default(),
    };
    check.whole();
    check.known_files();
    check.phase();
    check.coverage();
    for segment in &rows.segments {
        if cancel.is_cancelled() {
            break;
        }
        check.segment(segment, (depth, cancel));
        if let Some(source) = check.unable.take() {
            return Err(JournalError::Undecoded { source });
        }
    }
    Ok(check.out)
}

struct Verify<'a> {
    shelf: &'a Shelf,
    plan: &'a Plan,
    rows: &'a Rows,
    unfinished: bool,
    /// Why nothing can be decoded here, which is no fault of the package.
    unable: Option<rungs_media::Error>,
    out: Verified,
}

impl Verify<'_> {
    fn find(&mut self, file: impl Into<String>, what: impl Into<String>) {
        self.out.findings.push(Finding {
            file: file.into(),
            what: what.into(),
        });
    }

    /// What the journal says comes to a package.
    fn whole(&mut self) {
        if let Some(error) = &self.shelf.unfinished {
            let what = format!("it says that the package is finished, and {error}");
            self.find(JOURNAL, what);
        }
        for (track, single) in &self.shelf.singles {
            if let Some(what) = self.shelf.head_fault(track, single) {
                self.find(single_name(track), what);
            }
        }
    }

    /// Every file is one that should be there, and every file that should be there is.
    fn known_files(&mut self) {
        let expected = &self.shelf.lists;
        let segments = self.rows.segments.iter();
        let mut known: BTreeSet<String> = segments.map(|one| self.shelf.file(one)).collect();
        known.extend(expected.keys().cloned());
        known.insert("report.json".to_owned());
        let folder = self.shelf.folder();
        let found = match folder.and_then(|folder| folder.files_below(&[PRIVATE])) {
            Ok(found) => found,
            Err(error) => {
                return self.find(".", format!("the folder cannot be listed: {error}"));
            }
        };
        let in_work = self.rows.phase < Phase::Finished;
        for file in found {
            // Playlists of a run that has not ended are looked at below, by what they name.
            let own = in_work && is_playlist(&file);
            if !known.contains(&file) && !own {
                self.find(file, "nothing of the package is known by this name");
            }
        }
        if in_work {
            return;
        }
        for (file, bytes) in expected {
            match self.shelf.bytes(file) {
                Ok(found) if is_due(file, bytes, &found) => {}
                Ok(_) => self.find(file, "it is not what follows from plan and journal"),
                Err(error) => self.find(file, missing(&error)),
            }
        }
        if !self.shelf.has("report.json") {
            self.find("report.json", "it is missing");
        }
    }

    fn phase(&mut self) {
        if self.unfinished {
            self.find(
                ".",
                "the package is not finished; `rungs resume` goes on with it",
            );
            for track in tracks(self.plan) {
                self.playlist_so_far(&track);
            }
        }
    }

    /// The playlists of an unfinished package name nothing that is absent.
    fn playlist_so_far(&mut self, track: &str) {
        for list in PLAYLISTS {
            let file = format!("{track}/{list}");
            let Ok(text) = self.shelf.bytes(&file) else {
                continue;
            };
            let text = String::from_utf8_lossy(&text);
            for name in text.lines().filter(|line| !line.starts_with('#')) {
                if !self.shelf.has(&format!("{track}/{name}")) {
                    self.find(&file, format!("it names {name}, which is not there"));
                }
            }
        }
    }

    /// The last span, and no other, is said to be the last.
    fn last_span(&mut self) {
        let last = self.rows.spans.iter().map(|span| span.index).max();
        let is_open = self.rows.phase == Phase::Open;
        let wrong = self.rows.spans.iter().find(|span| {
            let is_last = Some(span.index) == last;
            span.last && !is_last || is_last && !span.last && !is_open
        });
        if let Some(span) = wrong {
            let what = format!(
                "it says the wrong thing of span {}: whether it is the last",
                span.index
            );
            self.find(JOURNAL, what);
        }
    }

    /// Each track's segments follow each other without a hole, and those of pictures lie on the spans.
    fn coverage(&mut self) {
        let spans: BTreeMap<u32, _> = self
            .rows
            .spans
            .iter()
            .map(|span| (span.index, span))
            .collect();
        self.last_span();
        let mut before: Option<&StoredSegment> = None;
        for segment in &self.rows.segments {
            let path = segment_path(segment);
            let follows = before.filter(|before| before.track == segment.track);
            let due = follows.map_or((0, 0), |before| {
                (before.index + 1, before.decode_time + before.duration)
            });
            let in_work = self.rows.phase < Phase::Finished;
            let hole = in_work && segment.index > due.0;
            if !hole && (segment.index, segment.decode_time) != due {
                let what = format!(
                    "it is segment {} at tick {}, where segment {} at tick {} is due",
                    segment.index, segment.decode_time, due.0, due.1
                );
                self.find(path.clone(), what);
            }
            let span = spans.get(&segment.index);
            if is_on_spans(segment) && !span.is_some_and(|span| lies_on(segment, span)) {
                self.find(path, "its time or its number of pictures is not its span's");
            }
            before = Some(segment);
        }
    }

    fn segment(&mut self, segment: &StoredSegment, (depth, cancel): (Depth, &Cancel)) {
        let path = self.shelf.file(segment);
        self.out.segments += 1;
        self.out.bytes += segment.bytes;
        let bytes = match self.shelf.read(segment) {
            Ok(bytes) => bytes,
            Err(error) => return self.find(path, missing(&error)),
        };
        if let Err(what) = compare(segment, &bytes) {
            let what = match self.shelf.singles.get(&segment.track) {
                Some(_) => format!("of its segment {}: {what}", segment.index),
                None => what,
            };
            return self.find(path, what);
        }
        if depth == Depth::Boxes || is_text(segment) || is_still(&segment.track) {
            return;
        }
        let init = self.shelf.init(&segment.track);
        let whole = [init, &bytes].concat();
        match decode(&Source::from(whole), cancel) {
            Ok(count) => {
                self.out.decoded += count;
                if count != u64::from(segment.samples) {
                    let what = format!("{count} of its {} samples decode", segment.samples);
                    self.find(path, what);
                }
            }
            Err(rungs_media::Error::Cancelled) => {}
            Err(error) if error.is_capacity() => self.unable = Some(error),
            Err(error) => self.find(path, format!("it does not decode: {error}")),
        }
    }
}

/// Holds a segment's bytes and boxes against its row; the first difference in words.
pub(super) fn compare(segment: &StoredSegment, bytes: &[u8]) -> Result<(), String> {
    let length = bytes.len() as u64;
    if length != segment.bytes {
        let due = segment.bytes;
        return Err(format!("it has {length} bytes, and the journal says {due}"));
    }
    let digest = Digest::of(bytes);
    if digest != segment.sha256 {
        let due = segment.sha256;
        return Err(format!(
            "its SHA-256 is {digest}, and the journal says {due}"
        ));
    }
    if is_text(segment) || is_still(&segment.track) {
        return Ok(());
    }
    let facts = read_segment(bytes).map_err(|error| error.to_string())?;
    if segment.key_end.is_none() && segment.track.starts_with("video/") {
        return Err("the journal does not say where its keyframe ends".to_owned());
    }
    let pairs = [
        (
            "number",
            u64::from(facts.number),
            u64::from(segment.index) + 1,
        ),
        ("time", facts.decode_time, segment.decode_time),
        ("duration", facts.duration, segment.duration),
        (
            "samples",
            u64::from(facts.samples),
            u64::from(segment.samples),
        ),
    ];
    let end = segment
        .key_end
        .map(|due| ("end of the keyframe", facts.first_end, due));
    let last = segment
        .last_sample
        .map(|due| ("duration of the last sample", facts.last_duration, due));
    let mut pairs = pairs.into_iter().chain(end).chain(last);
    match pairs.find(|(_, found, due)| found != due) {
        None => Ok(()),
        Some((what, found, due)) => Err(format!(
            "its boxes say {what} {found}, and the journal says {due}"
        )),
    }
}

/// Subtitles have no boxes: they are what they were written as.
fn is_text(segment: &StoredSegment) -> bool {
    segment.track.starts_with("text/")
}

pub(super) fn missing(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::NotFound {
        "it is missing".to_owned()
    } else {
        format!("it cannot be read: {error}")
    }
}

fn is_playlist(file: &str) -> bool {
    let name = file.rsplit('/').next().unwrap_or(file);
    [
        "master.m3u8",
        "manifest.mpd",
        "images.m3u8",
        "thumbnails.vtt",
    ]
    .contains(&name)
        || PLAYLISTS.contains(&name)
}

/// Decodes a whole file of one track; gives the number of pictures, or of packets of sound.
fn decode(source: &Source, cancel: &Cancel) -> Result<u64, rungs_media::Error> {
    let limits = Limits::default();
    let mut demuxer = Demuxer::open(source, &limits, cancel.media())?;
    let stream = demuxer
        .streams()
        .first()
        .cloned()
        .ok_or(rungs_media::Error::NoStream {
            kind: "known",
            index: 0,
        })?;
    demuxer.keep_only(&[0]);
    let mut packets = 0;
    if matches!(stream.kind, StreamKind::Audio(_)) {
        let mut decoder = AudioDecoder::open(&stream)?;
        while let Some(packet) = demuxer.read()? {
            packets += 1;
            feed(&packet, &mut decoder, AudioDecoder::send, |decoder| {
                Ok(matches!(decoder.receive()?, Received::Frame(_)))
            })?;
        }
        return Ok(packets);
    }
    let options = DecodeOptions {
        threads: 0,
        strict: true,
        max_pixels: limits.max_pixels,
    };
    let mut decoder = VideoDecoder::open(&stream, &options)?;
    let receive = |decoder: &mut VideoDecoder| Ok(matches!(decoder.receive()?, Received::Frame(_)));
    let mut pictures = 0;
    while let Some(packet) = demuxer.read()? {
        pictures += feed(&packet, &mut decoder, VideoDecoder::send, receive)?;
    }
    while decoder.send(None)? == Sent::Full {
        pictures += u64::from(receive(&mut decoder)?);
    }
    while receive(&mut decoder)? {
        pictures += 1;
    }
    Ok(pictures)
}

/// Sends a packet, making room for it as often as needed; gives how much came out.
fn feed<D>(
    packet: &Packet,
    decoder: &mut D,
    give: impl Fn(&mut D, Option<&Packet>) -> Result<Sent, rungs_media::Error>,
    take: impl Fn(&mut D) -> Result<bool, rungs_media::Error>,
) -> Result<u64, rungs_media::Error> {
    let mut out = 0;
    loop {
        let sent = give(decoder, Some(packet))?;
        while take(decoder)? {
            out += 1;
        }
        if sent == Sent::Accepted {
            return Ok(out);
        }
    }
}
