//! Tables of tracks in, the head of a plain file and the order of its data out.

use super::PlainError;
use super::about::{About, CHAPTER_TIMESCALE, chapter_description, chapter_samples};
use super::boxes::{boxed, extend_run, full, run_box, time, version_for, words};
use super::collect::{Chunk, MediaTrack};

/// Bytes of a segment's file that follow in the plain file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Place of the track among those given.
    pub track: usize,
    /// The segment, as it was pushed.
    pub segment: u32,
    /// Where the bytes start in its file.
    pub offset: u64,
    /// How many they are.
    pub bytes: u64,
}

/// A plain file: its first bytes, and where the others come from.
#[derive(Debug, Clone, PartialEq)]
pub struct Plain {
    /// `ftyp`, `moov`, and the start of `mdat`.
    pub head: Vec<u8>,
    /// What follows, in order.
    pub pieces: Vec<Piece>,
    /// Bytes of the whole file.
    pub bytes: u64,
    /// How long it is presented, in seconds.
    pub seconds: f64,
}

const TRACK_ENABLED: u32 = 1;
const TRACK_IN_MOVIE: u32 = 2;
/// The matrix that changes nothing.
const MATRIX: [u32; 9] = [0x1_0000, 0, 0, 0, 0x1_0000, 0, 0, 0, 0x4000_0000];
/// An edit in which nothing is presented.
const EMPTY: u64 = u64::MAX;

/// Lays a plain file out: picture and sound interleaved by time, half a second of each. The first track's picture says how long the file is:
/// sound that goes on after it is not presented. The bytes depend on the arguments alone.
///
/// Fails without samples, and where a table outgrows its box.
pub fn plain(tracks: &[MediaTrack], about: &About) -> Result<Plain, PlainError> {
    if tracks.is_empty() || tracks.iter().any(|track| track.samples == 0) {
        return Err(PlainError::Empty);
    }
    let order = interleave(tracks);
    let (chapters, names) = chapter_samples(&about.chapters);
    let data: u64 = order.iter().map(|(_, chunk)| chunk.bytes).sum();
    let data = data + names.len() as u64;
    let header = data_header(data);
    let file_type = file_type(tracks);
    let movie = Movie::new(tracks, (about, &chapters));

    // Offsets have a fixed width, so the index is as long with any of them.
    let before = |long: bool, base: u64| movie.write(&places(&order, tracks.len()), (long, base));
    let fixed = (file_type.len() + header.len()) as u64;
    let mut index = before(false, 0)?;
    let mut long = false;
    if fixed + index.len() as u64 + data > u64::from(u32::MAX) {
        long = true;
        index = before(long, 0)?;
    }
    let base = fixed + index.len() as u64;
    let index = before(long, base)?;

    let mut head = file_type;
    head.extend(index);
    head.extend(header);
    head.extend(&names);
    let piece = |(track, chunk): &(usize, Chunk)| Piece {
        track: *track,
        segment: chunk.segment,
        offset: chunk.offset,
        bytes: chunk.bytes,
    };
    Ok(Plain {
        bytes: base + data,
        pieces: order.iter().map(piece).collect(),
        seconds: movie.duration as f64 / f64::from(movie.timescale),
        head,
    })
}

/// The chunks of all tracks with their track's place, by the time at which they are presented.
fn interleave(tracks: &[MediaTrack]) -> Vec<(usize, Chunk)> {
    let mut order: Vec<(u128, usize, Chunk)> = Vec::new();
    for (place, track) in tracks.iter().enumerate() {
        let nanoseconds = |chunk: &Chunk| {
            let ticks = chunk.time.saturating_sub(track.skip);
            u128::from(ticks) * 1_000_000_000 / u128::from(track.timescale)
        };
        order.extend(track.chunks.iter().map(|c| (nanoseconds(c), place, *c)));
    }
    order.sort_by_key(|(time, place, _)| (*time, *place));
    order
        .into_iter()
        .map(|(_, place, chunk)| (place, chunk))
        .collect()
}

/// Where each track's chunks start, counted from the end of the chapters' names.
fn places(order: &[(usize, Chunk)], tracks: usize) -> Vec<Vec<u64>> {
    let mut places = vec![Vec::new(); tracks];
    let mut at = 0;
    for (track, chunk) in order {
        places[*track].push(at);
        at += chunk.bytes;
    }
    places
}

fn data_header(payload: u64) -> Vec<u8> {
    match u32::try_from(payload + 8) {
        Ok(size) => [&size.to_be_bytes()[..], b"mdat"].concat(),
        Err(_) => [
            &1u32.to_be_bytes()[..],
            b"mdat",
            &(payload + 16).to_be_bytes(),
        ]
        .concat(),
    }
}

fn file_type(tracks: &[MediaTrack]) -> Vec<u8> {
    let mut payload = b"isom\0\0\x02\0isomiso2iso4mp41".to_vec();
    for track in tracks {
        // The kind of the first sample entry; these two are brands as well (AV1-ISOBMFF §2.1, ISO/IEC 14496-15 §5).
        if let Some(kind) = track.entries.get(20..24)
            && [*b"av01", *b"avc1"].iter().any(|brand| brand == kind)
        {
            payload.extend(kind);
        }
    }
    boxed(*b"ftyp", &payload)
}

/// What the index is written from.
struct Movie<'a> {
    tracks: &'a [MediaTrack],
    about: &'a About,
    /// Length and duration of each chapter's sample.
    chapters: &'a [(u32, u32)],
    /// Ticks in a second of the file's own times: those of the picture.
    timescale: u32,
    duration: u64,
}

impl<'a> Movie<'a> {
    fn new(tracks: &'a [MediaTrack], (about, chapters): (&'a About, &'a [(u32, u32)])) -> Self {
        let leads = tracks.iter().find(|track| track.handler == *b"vide");
        let leads = leads.unwrap_or(&tracks[0]);
        let mut movie = Self {
            tracks,
            about,
            chapters,
            timescale: leads.timescale,
            duration: 0,
        };
        let (empty, presented) = movie.edit(leads, u64::MAX);
        movie.duration = empty + presented;
        movie
    }

    /// Ticks of a track in the file's own.
    fn scaled(&self, ticks: u64, timescale: u32) -> u64 {
        let scaled = u128::from(ticks) * u128::from(self.timescale);
        u64::try_from(scaled.div_ceil(u128::from(timescale))).unwrap_or(u64::MAX)
    }

    /// How long nothing of a track is presented, and how long it is then, in the file's ticks; at most to `end`.
    fn edit(&self, track: &MediaTrack, end: u64) -> (u64, u64) {
        let first = track.first.unwrap_or(0);
        let (late, hidden) = (
            first.saturating_sub(track.skip),
            track.skip.saturating_sub(first),
        );
        let empty = self.scaled(late, track.timescale);
        // What is skipped in pictures that are decoded in another order is the time by which all of them are composed later: the last ones, too.
        let reordered = track.offsets.iter().any(|(_, offset)| *offset != 0);
        let ticks = if reordered {
            track.duration()
        } else {
            track.duration().saturating_sub(hidden)
        };
        let presented = self.scaled(ticks, track.timescale);
        (empty, presented.min(end.saturating_sub(empty)))
    }

    /// Writes `moov`. `places` are those of the chunks of each track after the chapters' names, and `base` is where these are in the file.
    fn write(&self, places: &[Vec<u64>], (long, base): (bool, u64)) -> Result<Vec<u8>, PlainError> {
        let chapter_id = self.tracks.len() as u32 + 1;
        let has_chapters = !self.chapters.is_empty();
        let version = version_for(&[self.duration]);
        let mut header = [time(version, 0), time(version, 0)].concat();
        header.extend(words(&[self.timescale]));
        header.extend(time(version, self.duration));
        // Rate 1, volume 1, reserved.
        header.extend(words(&[0x1_0000, 0x0100_0000, 0, 0]));
        header.extend(words(&MATRIX));
        header.extend(words(&[0, 0, 0, 0, 0, 0]));
        header.extend(words(&[chapter_id + u32::from(has_chapters)]));
        let mut movie = full(*b"mvhd", (version, 0), &header);
        let names: u64 = self.chapters.iter().map(|(size, _)| u64::from(*size)).sum();
        for ((track, places), id) in self.tracks.iter().zip(places).zip(1..) {
            let offsets = places.iter().map(|place| base + names + place);
            let offsets = offset_box(long, offsets);
            let refers = (has_chapters && id == 1).then_some(chapter_id);
            movie.extend(self.track(track, (id, refers), &offsets)?);
        }
        if has_chapters {
            movie.extend(self.chapter_track(chapter_id, &offset_box(long, [base].into_iter()))?);
        }
        movie.extend(self.about.user_data());
        checked(*b"moov", &movie)
    }

    fn track(
        &self,
        track: &MediaTrack,
        (id, chapters): (u32, Option<u32>),
        offsets: &[u8],
    ) -> Result<Vec<u8>, PlainError> {
        let (empty, presented) = self.edit(track, self.duration);
        let mut tail = track.header_tail.clone();
        if track.handler == *b"soun" {
            // Tracks of sound are alternatives (ISO/IEC 14496-12 §8.3.2.3).
            tail[10..12].copy_from_slice(&[0, 1]);
        }
        // Subtitles are there for who asks for them.
        let flags = if track.handler == *b"sbtl" {
            TRACK_IN_MOVIE
        } else {
            TRACK_ENABLED | TRACK_IN_MOVIE
        };
        let mut whole = track_header((id, flags), empty + presented, &tail);
        if let Some(chapters) = chapters {
            let reference = boxed(*b"chap", &words(&[chapters]));
            whole.extend(boxed(*b"tref", &reference));
        }
        let hidden = track.skip.saturating_sub(track.first.unwrap_or(0));
        whole.extend(edits(empty, (presented, hidden)));

        let mut table = track.entries.clone();
        table.extend(run_box(*b"stts", 0, &track.durations));
        if track.offsets.iter().any(|(_, offset)| *offset != 0) {
            let negative = track.offsets.iter().any(|(_, offset)| offset >> 31 != 0);
            table.extend(run_box(*b"ctts", u8::from(negative), &track.offsets));
        }
        if track.sync.len() != track.sizes.len() {
            let listed = [words(&[track.sync.len() as u32]), words(&track.sync)].concat();
            table.extend(full(*b"stss", (0, 0), &listed));
        }
        table.extend(chunk_box(&track.chunks));
        table.extend(size_box(&track.sizes));
        table.extend(offsets);
        if let Some(group) = &track.pre_roll {
            table.extend(group);
            let mut all = b"roll".to_vec();
            all.extend(words(&[1, track.samples, 1]));
            table.extend(full(*b"sbgp", (0, 0), &all));
        }
        let mut information = track.media_header.clone();
        information.extend(checked(*b"stbl", &table)?);
        let header = media_header((track.timescale, &track.language), track.duration());
        let mut media = [&header[..], &track.described].concat();
        media.extend(checked(*b"minf", &information)?);
        whole.extend(checked(*b"mdia", &media)?);
        checked(*b"trak", &whole)
    }

    /// The track of the chapters' names; all of them lie in one chunk.
    fn chapter_track(&self, id: u32, offsets: &[u8]) -> Result<Vec<u8>, PlainError> {
        let start = self.about.chapters.first().map_or(0, |first| first.start);
        let length: u64 = self
            .chapters
            .iter()
            .map(|(_, length)| u64::from(*length))
            .sum();
        let empty = self.scaled(start, CHAPTER_TIMESCALE);
        let presented = self.scaled(length, CHAPTER_TIMESCALE);
        let mut tail = words(&[0, 0, 0, 0]);
        tail.extend(words(&MATRIX));
        tail.extend(words(&[0, 0]));
        let mut whole = track_header((id, TRACK_IN_MOVIE), empty + presented, &tail);
        whole.extend(edits(empty, (presented, 0)));
        let (mut table, mut information) = chapter_description();
        let mut durations = Vec::new();
        for (_, duration) in self.chapters {
            extend_run(&mut durations, *duration);
        }
        table.extend(run_box(*b"stts", 0, &durations));
        let count = self.chapters.len() as u32;
        table.extend(full(*b"stsc", (0, 0), &words(&[1, 1, count, 1])));
        let sizes: Vec<u32> = self.chapters.iter().map(|(size, _)| *size).collect();
        table.extend(size_box(&sizes));
        table.extend(offsets);
        let reference = full(*b"url ", (0, 1), &[]);
        let references = [words(&[1]), reference].concat();
        information.extend(boxed(*b"dinf", &full(*b"dref", (0, 0), &references)));
        information.extend(checked(*b"stbl", &table)?);
        // No language: "und" in three times five bits.
        let mut media = media_header((CHAPTER_TIMESCALE, &[0x55, 0xc4, 0, 0]), length);
        media.extend(full(
            *b"hdlr",
            (0, 0),
            b"\0\0\0\0text\0\0\0\0\0\0\0\0\0\0\0\0chapters\0",
        ));
        media.extend(checked(*b"minf", &information)?);
        whole.extend(checked(*b"mdia", &media)?);
        checked(*b"trak", &whole)
    }
}

fn checked(kind: [u8; 4], payload: &[u8]) -> Result<Vec<u8>, PlainError> {
    if payload.len() as u64 + 8 > u64::from(u32::MAX) {
        return Err(PlainError::TooLong);
    }
    Ok(boxed(kind, payload))
}

fn track_header((id, flags): (u32, u32), duration: u64, tail: &[u8]) -> Vec<u8> {
    let version = version_for(&[duration]);
    let mut payload = [time(version, 0), time(version, 0)].concat();
    payload.extend(words(&[id, 0]));
    payload.extend(time(version, duration));
    payload.extend(tail);
    full(*b"tkhd", (version, flags), &payload)
}

fn media_header((timescale, language): (u32, &[u8]), duration: u64) -> Vec<u8> {
    let version = version_for(&[duration]);
    let mut payload = [time(version, 0), time(version, 0)].concat();
    payload.extend(words(&[timescale]));
    payload.extend(time(version, duration));
    payload.extend(language);
    full(*b"mdhd", (version, 0), &payload)
}

/// Says that a track is presented after `empty` ticks of the file, for as long as is given, from a place in its media on.
fn edits(empty: u64, (presented, from): (u64, u64)) -> Vec<u8> {
    let version = version_for(&[empty, presented, from]);
    let mut listed: Vec<(u64, u64)> = vec![(presented, from)];
    if empty > 0 {
        listed.insert(0, (empty, EMPTY));
    }
    let mut payload = words(&[listed.len() as u32]);
    for (duration, from) in listed {
        payload.extend(time(version, duration));
        payload.extend(time(version, from));
        // At its own speed.
        payload.extend(words(&[0x1_0000]));
    }
    boxed(*b"edts", &full(*b"elst", (version, 0), &payload))
}

/// Says how many samples the chunks have, in runs of chunks that are alike.
fn chunk_box(chunks: &[Chunk]) -> Vec<u8> {
    let mut runs: Vec<[u32; 3]> = Vec::new();
    for (chunk, place) in chunks.iter().zip(1..) {
        let alike = |run: &[u32; 3]| run[1..] == [chunk.samples, chunk.entry];
        if !runs.last().is_some_and(alike) {
            runs.push([place, chunk.samples, chunk.entry]);
        }
    }
    let mut payload = words(&[runs.len() as u32]);
    payload.extend(words(runs.as_flattened()));
    full(*b"stsc", (0, 0), &payload)
}

fn size_box(sizes: &[u32]) -> Vec<u8> {
    let mut payload = words(&[0, sizes.len() as u32]);
    payload.reserve_exact(sizes.len() * 4);
    payload.extend(sizes.iter().flat_map(|size| size.to_be_bytes()));
    full(*b"stsz", (0, 0), &payload)
}

fn offset_box(long: bool, offsets: impl ExactSizeIterator<Item = u64>) -> Vec<u8> {
    let mut payload = words(&[offsets.len() as u32]);
    for offset in offsets {
        payload.extend(time(u8::from(long), offset));
    }
    let kind = if long { *b"co64" } else { *b"stco" };
    full(kind, (0, 0), &payload)
}
