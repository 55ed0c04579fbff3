//! What a file says about itself: tags in, `udta` out; chapters in, a text track out.

use super::boxes::{boxed, full, words};

/// Ticks in a second of the chapters' track.
pub(super) const CHAPTER_TIMESCALE: u32 = 1000;
/// Says that the text is UTF-8.
const UTF_8: [u8; 12] = *b"\0\0\0\x0cencd\0\0\x01\0";

/// A tag of the whole file that players show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tag {
    /// Its title.
    Title,
    /// Who made it.
    Artist,
    /// The collection that it belongs to.
    Album,
    /// When it was made.
    Date,
    /// A remark.
    Comment,
    /// What is in it.
    Description,
    /// Its kind.
    Genre,
    /// Who has the rights.
    Copyright,
}

impl Tag {
    /// All tags.
    pub const ALL: [Self; 8] = [
        Self::Title,
        Self::Artist,
        Self::Album,
        Self::Date,
        Self::Comment,
        Self::Description,
        Self::Genre,
        Self::Copyright,
    ];

    /// FFmpeg's name of it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Title => "title",
            Self::Artist => "artist",
            Self::Album => "album",
            Self::Date => "date",
            Self::Comment => "comment",
            Self::Description => "description",
            Self::Genre => "genre",
            Self::Copyright => "copyright",
        }
    }

    fn kind(self) -> [u8; 4] {
        match self {
            Self::Title => *b"\xa9nam",
            Self::Artist => *b"\xa9ART",
            Self::Album => *b"\xa9alb",
            Self::Date => *b"\xa9day",
            Self::Comment => *b"\xa9cmt",
            Self::Description => *b"desc",
            Self::Genre => *b"\xa9gen",
            Self::Copyright => *b"cprt",
        }
    }
}

/// A stretch of the presentation with a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chapter {
    /// When it starts, in milliseconds. Chapters are in order and do not overlap.
    pub start: u64,
    /// When it ends, in milliseconds.
    pub end: u64,
    /// Its name.
    pub title: String,
}

/// What a file says about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct About {
    /// Its tags, each once.
    pub tags: Vec<(Tag, String)>,
    /// Its chapters.
    pub chapters: Vec<Chapter>,
}

impl About {
    /// Writes `udta` in the form of iTunes, which all players read; nothing if there are no tags.
    pub(super) fn user_data(&self) -> Vec<u8> {
        /// The type of a text in UTF-8.
        const TEXT: u32 = 1;
        if self.tags.is_empty() {
            return Vec::new();
        }
        let mut list = Vec::new();
        for (tag, text) in &self.tags {
            let mut data = words(&[TEXT, 0]);
            data.extend(text.as_bytes());
            list.extend(boxed(tag.kind(), &boxed(*b"data", &data)));
        }
        let mut handler = words(&[0]);
        handler.extend(b"mdirappl\0\0\0\0\0\0\0\0\0");
        let mut meta = full(*b"hdlr", (0, 0), &handler);
        meta.extend(boxed(*b"ilst", &list));
        boxed(*b"udta", &full(*b"meta", (0, 0), &meta))
    }
}

/// The chapters' samples: the length and the duration of each, and all their bytes. What lies between two chapters belongs to the earlier one.
pub(super) fn chapter_samples(chapters: &[Chapter]) -> (Vec<(u32, u32)>, Vec<u8>) {
    let mut bytes = Vec::new();
    let ends = chapters.iter().skip(1).map(|next| next.start);
    let ends = ends.chain(chapters.last().map(|last| last.end));
    let samples = chapters.iter().zip(ends).map(|(chapter, end)| {
        let title = short(&chapter.title).as_bytes();
        let before = bytes.len();
        bytes.extend((title.len() as u16).to_be_bytes());
        bytes.extend(title);
        bytes.extend(UTF_8);
        let duration = end.saturating_sub(chapter.start);
        (
            (bytes.len() - before) as u32,
            u32::try_from(duration).unwrap_or(u32::MAX),
        )
    });
    (samples.collect(), bytes)
}

/// As much of a text as has a length of 16 bits.
fn short(text: &str) -> &str {
    let most = text.len().min(1 << 15);
    let end = (0..=most).rev().find(|at| text.is_char_boundary(*at));
    &text[..end.unwrap_or(0)]
}

/// Describes chapters (QuickTime's text media, which is what players take chapters from): the sample entry and the media header.
pub(super) fn chapter_description() -> (Vec<u8>, Vec<u8>) {
    // In a sample entry: reserved, the data reference.
    let mut entry = vec![0, 0, 0, 0, 0, 0, 0, 1];
    // Display flags; justification, background, box; then the style: from and to which letter, the first font, how.
    entry.extend(words(&[1]));
    entry.extend([0; 14]);
    entry.extend([0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    // A table of one font without a name.
    entry.extend(b"\0\0\0\x0dftab\0\x01\0\x01\0");
    let mut list = words(&[1]);
    list.extend(boxed(*b"text", &entry));
    // Graphics mode "copy with dither", grey, no balance.
    let general = full(*b"gmin", (0, 0), b"\0\x40\x80\0\x80\0\x80\0\0\0\0\0");
    // The matrix that changes nothing.
    let matrix = words(&[0x1_0000, 0, 0, 0, 0x1_0000, 0, 0, 0, 0x4000_0000]);
    let mut header = general;
    header.extend(boxed(*b"text", &matrix));
    (full(*b"stsd", (0, 0), &list), boxed(*b"gmhd", &header))
}
