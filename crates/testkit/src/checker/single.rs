//! A file that holds all segments of a rendition in, where its index tells another story than the playlist out.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use super::rendition::Rendition;
use super::{Findings, Rule};
use crate::hls::ByteRange;
use crate::mp4;

/// Reads a part of a file, or all of it.
pub(super) fn part(path: &Path, range: Option<ByteRange>) -> io::Result<Vec<u8>> {
    let Some(ByteRange { offset, length }) = range else {
        return std::fs::read(path);
    };
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == length {
        Ok(bytes)
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

/// Holds the index of a single file against the ranges of its playlist; does nothing for files of segments.
pub(super) fn check(root: &Path, rendition: &Rendition, findings: &mut Findings) {
    if rendition.playlist.map_range.is_none() {
        return;
    }
    let file = &rendition.init_file;
    let ranges = rendition.playlist.entries.iter();
    let ranges: Vec<_> = ranges.filter_map(|entry| entry.range).collect();
    let head = rendition.init_bytes.len() as u64;
    let first = ranges.first().map_or(head, |range| range.offset);
    let index = first.saturating_sub(head);
    // With the first segment behind it: an index alone is no segment.
    let read = ByteRange {
        offset: head,
        length: index + ranges.first().map_or(0, |range| range.length),
    };
    let path = root.join(file);
    let Some(bytes) = findings.note((Rule::Files, file), part(&path, Some(read))) else {
        return;
    };
    let parsed = mp4::segment(&bytes, &rendition.init);
    let Some(parsed) = findings.note((Rule::Validity, file), parsed) else {
        return;
    };
    match parsed.indexes.as_slice() {
        [sidx] => check_index(rendition, (sidx, index), findings),
        _ => findings.add(Rule::Validity, file, "there is not one sidx behind moov"),
    }
    let mut end = first;
    for range in &ranges {
        if range.offset != end {
            let message = format!("a segment starts at byte {}, not at {end}", range.offset);
            findings.add(Rule::Validity, file, message);
        }
        end = range.offset + range.length;
    }
    let length = path.metadata().map_or(0, |found| found.len());
    if length != end {
        let message = format!("it has {length} bytes, and the playlist names {end}");
        findings.add(Rule::Validity, file, message);
    }
}

fn check_index(rendition: &Rendition, (sidx, length): (&mp4::Index, u64), findings: &mut Findings) {
    let mut wrong = |what: &str| findings.add(Rule::Validity, &rendition.init_file, what);
    if sidx.anchor != length || sidx.timescale != rendition.track.timescale {
        wrong("sidx is not followed by the first segment, or has another timescale");
    }
    let ranges = rendition.playlist.entries.iter();
    let ranges = ranges.filter_map(|entry| entry.range);
    let listed = sidx.references.iter();
    if !ranges
        .map(|range| range.length)
        .eq(listed.map(|reference| u64::from(reference.bytes)))
    {
        wrong("sidx has other sizes than the playlist");
    }
    let times = rendition
        .segments
        .iter()
        .map(|segment| rendition.presented_until(segment) - rendition.presented_from(segment));
    let stated = sidx.references.iter();
    if !times.eq(stated.map(|reference| u64::from(reference.duration))) {
        wrong("sidx has other durations than the segments");
    }
    let start = rendition.segments.first();
    if start.map(|segment| rendition.presented_from(segment)) != Some(sidx.earliest) {
        wrong("sidx starts at another time than the first segment");
    }
    if !sidx
        .references
        .iter()
        .all(|reference| reference.starts_with_sap && reference.sap_type == 1)
    {
        wrong("sidx does not promise a stream access point of type 1");
    }
}
