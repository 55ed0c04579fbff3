//! Cues in, a track of timed text out (`tx3g`, 3GPP TS 26.245), which is what players of MP4 files show as subtitles.
//!
//! Such a track shows one text at a time: where cues overlap, a sample has the lines of all, and where there is none it is empty.

use std::collections::BTreeSet;

use super::boxes::{boxed, extend_run, full, words};
use super::collect::{Chunk, MediaTrack};
use crate::language;
use crate::text::Cue;

/// Ticks a second: those of cues.
const MILLISECONDS: u32 = 1000;
/// Height of letters, and their font: those that FFmpeg takes for no wish at all, so that other kinds made of it have none either.
const FONT_SIZE: u8 = 16;
const BOLD: u8 = 1;
const ITALIC: u8 = 2;
const UNDERLINED: u8 = 4;

/// What a track of subtitles says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TextAbout {
    /// Language, as BCP 47 or ISO 639-2 writes it.
    pub language: Option<String>,
    /// Its name in menus.
    pub label: Option<String>,
    /// Whether it is shown to those who want no subtitles, too.
    pub forced: bool,
}

/// A track of subtitles: its tables, and all bytes of its samples, in which its pieces' offsets count.
#[derive(Debug, Clone)]
pub struct TextMedia {
    /// The tables.
    pub media: MediaTrack,
    /// The samples.
    pub data: Vec<u8>,
}

impl TextMedia {
    /// Makes a track of cues, which are in order; `None` if there are none. `leads` is the track of pictures over which it is shown.
    #[must_use]
    pub fn new(about: &TextAbout, cues: &[Cue], leads: &MediaTrack) -> Option<Self> {
        let moments: BTreeSet<u64> = cues.iter().flat_map(|cue| [cue.start, cue.end]).collect();
        let last = moments.last().copied().filter(|last| *last > 0)?;
        let mut text = Self {
            media: described(about, leads),
            data: Vec::new(),
        };
        let mut moments: Vec<u64> = moments
            .into_iter()
            .filter(|moment| *moment < last)
            .collect();
        if moments.first().is_none_or(|first| *first > 0) {
            moments.insert(0, 0);
        }
        let ends = moments.iter().skip(1).copied().chain([last]);
        let ends: Vec<u64> = ends.collect();
        let mut coming = cues.iter().peekable();
        let mut shown: Vec<&Cue> = Vec::new();
        for (from, until) in moments.into_iter().zip(ends) {
            shown.retain(|cue| cue.end > from);
            while let Some(cue) = coming.next_if(|cue| cue.start <= from) {
                shown.extend((cue.end > from).then_some(cue));
            }
            let lines: Vec<&str> = shown.iter().map(|cue| cue.text.as_str()).collect();
            text.push(&lines.join("\n"), (from, until));
        }
        Some(text)
    }

    fn push(&mut self, shown: &str, (from, until): (u64, u64)) {
        let sample = sample(shown);
        let (offset, bytes) = (self.data.len() as u64, sample.len() as u64);
        self.data.extend(sample);
        let media = &mut self.media;
        media.samples += 1;
        media.sizes.push(bytes as u32);
        media.sync.push(media.samples);
        let duration = u32::try_from(until - from).unwrap_or(u32::MAX);
        extend_run(&mut media.durations, duration);
        extend_run(&mut media.offsets, 0);
        media.next += u64::from(duration);
        media.chunks.push(Chunk {
            segment: 0,
            offset,
            bytes,
            samples: 1,
            entry: 1,
            time: from,
        });
    }
}

/// A track without samples.
fn described(about: &TextAbout, leads: &MediaTrack) -> MediaTrack {
    // As large as the picture, in a group of alternatives of its own, and silent (ISO/IEC 14496-12 §8.3.2).
    let mut header_tail = leads.header_tail.clone();
    header_tail[10..14].copy_from_slice(&[0, 2, 0, 0]);
    let code = about.language.as_deref().and_then(language::bcp47);
    let code = code.as_deref().and_then(language::iso639_2);
    let letters = code.unwrap_or("und").bytes();
    // Three times five bits (§8.4.2.3).
    let packed = letters.fold(0_u16, |packed, letter| packed << 5 | u16::from(letter & 31));
    let mut handler = words(&[0]);
    handler.extend(b"sbtl");
    handler.extend(words(&[0, 0, 0]));
    let label = about.label.as_deref().unwrap_or_default();
    handler.extend(label.bytes().filter(|byte| *byte != 0));
    handler.push(0);
    let reference = [words(&[1]), full(*b"url ", (0, 1), &[])].concat();
    let mut media_header = full(*b"nmhd", (0, 0), &[]);
    media_header.extend(boxed(*b"dinf", &full(*b"dref", (0, 0), &reference)));
    MediaTrack {
        timescale: MILLISECONDS,
        handler: *b"sbtl",
        header_tail,
        language: [&packed.to_be_bytes()[..], &[0, 0]].concat(),
        described: full(*b"hdlr", (0, 0), &handler),
        media_header,
        entries: entries(about.forced),
        pre_roll: None,
        skip: 0,
        first: Some(0),
        next: 0,
        samples: 0,
        durations: Vec::new(),
        offsets: Vec::new(),
        sizes: Vec::new(),
        sync: Vec::new(),
        chunks: Vec::new(),
    }
}

/// `stsd` (§5.16): white letters in the middle of the lower edge.
fn entries(forced: bool) -> Vec<u8> {
    /// Some samples are forced, and all are: Apple's format has the second with the first only.
    const FORCED: u32 = 0xc000_0000;
    let mut entry = vec![0, 0, 0, 0, 0, 0, 0, 1];
    entry.extend(words(&[if forced { FORCED } else { 0 }]));
    // In the middle across, at the end down; no colour behind; the whole track's box.
    entry.extend([1, 0xff, 0, 0, 0, 0]);
    entry.extend([0; 8]);
    entry.extend(style((0, 0), 0));
    let font = b"\0\x01\0\x01\x05Arial";
    entry.extend(boxed(*b"ftab", font));
    let list = [words(&[1]), boxed(*b"tx3g", &entry)].concat();
    full(*b"stsd", (0, 0), &list)
}

/// A style record (§5.17.1.1): from and up to which letter, how.
fn style((from, until): (u16, u16), face: u8) -> Vec<u8> {
    let mut record = from.to_be_bytes().to_vec();
    record.extend(until.to_be_bytes());
    record.extend([0, 1, face, FONT_SIZE, 0xff, 0xff, 0xff, 0xff]);
    record
}

/// A sample (§5.17): the text with its length, and a box of styles where there are any.
fn sample(cue: &str) -> Vec<u8> {
    let plain = Plain::of(cue);
    let length = u16::try_from(plain.text.len()).unwrap_or(0);
    let mut sample = length.to_be_bytes().to_vec();
    if length == 0 {
        return sample;
    }
    sample.extend(plain.text.as_bytes());
    if !plain.styles.is_empty() {
        let mut styles = (plain.styles.len() as u16).to_be_bytes().to_vec();
        for (range, face) in &plain.styles {
            styles.extend(style(*range, *face));
        }
        sample.extend(boxed(*b"styl", &styles));
    }
    sample
}

/// The text of a cue without tags, and which letters looked how.
#[derive(Default)]
struct Plain {
    text: String,
    letters: u16,
    styles: Vec<((u16, u16), u8)>,
}

impl Plain {
    fn of(cue: &str) -> Self {
        let mut plain = Self::default();
        let mut open = [0_u32; 3];
        let mut rest = cue;
        while let Some(first) = rest.chars().next() {
            let tag = rest.strip_prefix('<').and_then(|rest| rest.split_once('>'));
            let entity = rest.strip_prefix('&').and_then(|rest| rest.split_once(';'));
            let entity = entity.and_then(|(name, after)| Some((letter(name)?, after)));
            let (text, after) = match (tag, entity) {
                (Some((tag, after)), _) => {
                    turn(&mut open, tag);
                    (None, after)
                }
                (None, Some((letter, after))) => (Some(letter), after),
                (None, None) => (Some(first), &rest[first.len_utf8()..]),
            };
            if let Some(letter) = text {
                plain.push(letter, face(open));
            }
            rest = after;
        }
        plain
    }

    fn push(&mut self, letter: char, face: u8) {
        self.text.push(letter);
        let at = self.letters;
        self.letters = at.saturating_add(1);
        match self.styles.last_mut() {
            Some(((_, until), last)) if *until == at && *last == face => *until = self.letters,
            _ if face != 0 => self.styles.push(((at, self.letters), face)),
            _ => {}
        }
    }
}

/// What an entity of `WebVTT` stands for.
fn letter(name: &str) -> Option<char> {
    Some(match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "nbsp" => '\u{a0}',
        "lrm" => '\u{200e}',
        "rlm" => '\u{200f}',
        _ => return None,
    })
}

/// Counts the looks that a tag begins or ends; other tags change nothing.
fn turn(open: &mut [u32; 3], tag: &str) {
    let (name, ends) = tag
        .strip_prefix('/')
        .map_or((tag, false), |name| (name, true));
    let name = name.split(['.', ' ', '\t']).next().unwrap_or_default();
    let Some(look) = ["b", "i", "u"].iter().position(|look| *look == name) else {
        return;
    };
    open[look] = if ends {
        open[look].saturating_sub(1)
    } else {
        open[look] + 1
    };
}

fn face(open: [u32; 3]) -> u8 {
    let looks = open.into_iter().zip([BOLD, ITALIC, UNDERLINED]);
    looks
        .filter(|(open, _)| *open > 0)
        .fold(0, |face, (_, look)| face | look)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_has_its_text_and_the_looks_of_its_letters() {
        assert_eq!(sample(""), [0, 0]);
        assert_eq!(sample("a &lt; b"), b"\0\x05a < b");
        let told = sample("<i>Öl</i> &amp; <b.loud>x</b>");
        let (length, rest) = told.split_at(2);
        assert_eq!(length, [0, 7]);
        let (text, styles) = rest.split_at(7);
        assert_eq!(text, "Öl & x".as_bytes());
        // Letters count, not bytes.
        assert_eq!(&styles[4..8], b"styl");
        assert_eq!(&styles[8..10], [0, 2]);
        assert_eq!(&styles[10..17], [0, 0, 0, 2, 0, 1, ITALIC]);
        assert_eq!(&styles[22..29], [0, 5, 0, 6, 0, 1, BOLD]);
    }

    #[test]
    fn what_is_forced_says_so_of_some_samples_and_of_all() {
        assert_eq!(entries(true)[32..36], [0xc0, 0, 0, 0]);
        assert_eq!(entries(false)[32..36], [0, 0, 0, 0]);
    }

    #[test]
    fn unknown_entities_stay_and_unknown_tags_go() {
        assert_eq!(Plain::of("a &b; c & <").text, "a &b; c & <");
        assert_eq!(Plain::of("<v Ann>x</v>").text, "x");
    }
}
