//! Bytes of an ISO base media file in, its boxes as plain values out (ISO/IEC 14496-12): a reader of its own, so that
//! a mistake in the writer under test is not repeated here.
//!
//! It reads what CMAF uses and steps over the rest. Bad bytes give an [`Error`] that says where, never a panic.

use std::fmt;

/// Why bytes are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A field or box goes past the end of what holds it.
    #[error("{what} at byte {at} goes past the end")]
    Short {
        /// What was being read.
        what: &'static str,
        /// Where it starts, from the start of the file.
        at: usize,
    },
    /// A box says that it is smaller than its own header.
    #[error("the box `{kind}` at byte {at} claims a size of {size} bytes")]
    Size {
        /// The box's type.
        kind: FourCc,
        /// Where it starts.
        at: usize,
        /// The size it claims.
        size: u64,
    },
    /// A box that must be there is not.
    #[error("there is no `{0}`")]
    Missing(FourCc),
    /// A number is out of any sensible range.
    #[error("{what} at byte {at} is absurd")]
    Absurd {
        /// What was being read.
        what: &'static str,
        /// Where it is.
        at: usize,
    },
}

/// Four letters that name a box, a brand or a codec.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FourCc(pub [u8; 4]);

impl fmt::Display for FourCc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

impl fmt::Debug for FourCc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl PartialEq<[u8; 4]> for FourCc {
    fn eq(&self, other: &[u8; 4]) -> bool {
        &self.0 == other
    }
}

/// One box of a file, and the boxes inside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The box's type.
    pub kind: FourCc,
    /// Where its header starts, from the start of the file.
    pub at: usize,
    /// Bytes of the header.
    pub header: usize,
    /// Bytes of all of it, the header included.
    pub size: usize,
    /// The boxes inside; empty where the type holds none.
    pub children: Vec<Node>,
}

impl Node {
    /// Returns where the box ends.
    #[must_use]
    pub fn end(&self) -> usize {
        self.at + self.size
    }

    /// Returns the first box of that type directly inside.
    #[must_use]
    pub fn child(&self, kind: [u8; 4]) -> Option<&Node> {
        self.children.iter().find(|child| child.kind == kind)
    }

    /// Returns the box at the end of a path of types.
    #[must_use]
    pub fn path(&self, kinds: &[[u8; 4]]) -> Option<&Node> {
        kinds.iter().try_fold(self, |node, &kind| node.child(kind))
    }

    fn cursor<'a>(&self, bytes: &'a [u8]) -> Cursor<'a> {
        Cursor {
            bytes: &bytes[..self.end().min(bytes.len())],
            at: self.at + self.header,
        }
    }
}

/// Brands of a file or segment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Brands(pub Vec<FourCc>);

impl Brands {
    /// Says whether a brand is named, as the major one or among the compatible ones.
    #[must_use]
    pub fn has(&self, brand: [u8; 4]) -> bool {
        self.0.iter().any(|own| *own == brand)
    }
}

/// An initialisation segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Init {
    /// Brands of `ftyp`.
    pub brands: Brands,
    /// Whether `moov` has `mvex`, that is, expects fragments.
    pub fragmented: bool,
    /// The tracks.
    pub tracks: Vec<Track>,
}

/// One track of an initialisation segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Track {
    /// Its number.
    pub id: u32,
    /// `vide` or `soun`.
    pub handler: FourCc,
    /// Ticks in a second.
    pub timescale: u32,
    /// Language of `mdhd`, three letters.
    pub language: String,
    /// Width and height of `tkhd` in whole pixels.
    pub display: (u32, u32),
    /// The edit list.
    pub edits: Vec<Edit>,
    /// The sample entries of `stsd`.
    pub entries: Vec<SampleEntry>,
    /// Samples listed in `moov` itself: none in a CMAF header.
    pub own_samples: u32,
    /// What fragments leave unsaid.
    pub defaults: Defaults,
}

impl Track {
    /// Returns the media time at which the presentation starts: the first edit that is not empty.
    #[must_use]
    pub fn media_start(&self) -> i64 {
        self.edits
            .iter()
            .map(|edit| edit.media_time)
            .find(|&time| time >= 0)
            .unwrap_or(0)
    }
}

/// One edit of an edit list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edit {
    /// Duration in the film's timescale.
    pub duration: u64,
    /// Start in the track's timescale; −1 is an empty edit.
    pub media_time: i64,
}

/// Duration, size and flags of samples for which nothing else is said (`trex`, `tfhd`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Defaults {
    /// Ticks.
    pub duration: u32,
    /// Bytes.
    pub size: u32,
    /// Flags of ISO/IEC 14496-12 §8.8.3.1.
    pub flags: u32,
}

/// How a track is coded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampleEntry {
    /// The codec's four letters: `av01`, `Opus`, `mp4a`.
    pub kind: FourCc,
    /// Width and height; zero for sound.
    pub size: (u32, u32),
    /// Channels; zero for pictures.
    pub channels: u32,
    /// Samples a second; zero for pictures.
    pub sample_rate: u32,
    /// What `av1C` holds.
    pub av1c: Option<Av1c>,
    /// The payload of `avcC`.
    pub avcc: Option<Vec<u8>>,
    /// The payload of `hvcC`.
    pub hvcc: Option<Vec<u8>>,
    /// Colours of `colr`, when it has the type `nclx`.
    pub nclx: Option<Nclx>,
    /// Sample aspect ratio of `pasp`.
    pub pasp: Option<(u32, u32)>,
    /// Samples to skip, of `dOps`.
    pub opus_pre_skip: Option<u32>,
    /// What `esds` holds.
    pub esds: Option<Esds>,
}

/// The fields of `av1C` (AV1-ISOBMFF §2.3.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Av1c {
    /// `seq_profile`.
    pub profile: u8,
    /// `seq_level_idx_0`.
    pub level: u8,
    /// `seq_tier_0`.
    pub tier: u8,
    /// `high_bitdepth` and `twelve_bit` together: 8, 10 or 12.
    pub bit_depth: u8,
    /// `mono_chrome`.
    pub monochrome: bool,
    /// `chroma_subsampling_x` and `_y`.
    pub subsampling: (u8, u8),
    /// `chroma_sample_position`.
    pub chroma_position: u8,
    /// The OBUs that hold for every sample.
    pub obus: Vec<u8>,
}

/// Colours as code points of ITU-T H.273.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nclx {
    /// Colour primaries.
    pub primaries: u16,
    /// Transfer characteristics.
    pub transfer: u16,
    /// Matrix coefficients.
    pub matrix: u16,
    /// Whether the full range is used.
    pub full_range: bool,
}

/// The decoder's configuration of MPEG-4 audio.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Esds {
    /// `objectTypeIndication`: 0x40 is MPEG-4 audio.
    pub object_type: u8,
    /// `AudioSpecificConfig`.
    pub config: Vec<u8>,
}

/// A media segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Brands of `styp`; `None` without one.
    pub brands: Option<Brands>,
    /// The segment indexes.
    pub indexes: Vec<Index>,
    /// The fragments, in order.
    pub fragments: Vec<Fragment>,
    /// Where each `mdat`'s payload starts and ends.
    pub payloads: Vec<(usize, usize)>,
    /// Bytes of the file.
    pub bytes: usize,
}

/// A segment index, `sidx`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// The track that it speaks of.
    pub track: u32,
    /// Ticks in a second.
    pub timescale: u32,
    /// Earliest presentation time in ticks.
    pub earliest: u64,
    /// Where the first reference starts, from the start of the file.
    pub anchor: u64,
    /// What is referred to.
    pub references: Vec<Reference>,
}

/// One reference of a segment index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reference {
    /// Bytes.
    pub bytes: u32,
    /// Ticks.
    pub duration: u32,
    /// Whether it starts with a stream access point.
    pub starts_with_sap: bool,
    /// The access point's type.
    pub sap_type: u8,
}

/// A movie fragment, `moof`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment {
    /// Sequence number of `mfhd`.
    pub sequence: u32,
    /// Where it starts in the file.
    pub at: usize,
    /// Its track fragments.
    pub tracks: Vec<TrackFragment>,
}

/// A track's part in a movie fragment, `traf`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackFragment {
    /// The track's number.
    pub track: u32,
    /// The sample entry that describes it, from 1.
    pub description: u32,
    /// Decode time of the first sample, of `tfdt`.
    pub decode_time: Option<u64>,
    /// The samples, in decoding order.
    pub samples: Vec<Sample>,
}

/// One sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Ticks.
    pub duration: u32,
    /// Bytes.
    pub bytes: u32,
    /// Flags of ISO/IEC 14496-12 §8.8.3.1.
    pub flags: u32,
    /// Presentation time less decode time, in ticks.
    pub composition_offset: i64,
    /// Where its bytes start in the file.
    pub at: u64,
}

impl Sample {
    /// Says whether decoding may start here, by the flags.
    #[must_use]
    pub fn is_sync(&self) -> bool {
        self.flags & 0x0001_0000 == 0
    }
}

/// Most samples that one run may claim: a run of samples without fields costs no bytes of the file.
const MOST_SAMPLES: u32 = 1 << 20;
/// Deepest nesting of boxes that is followed.
const DEEPEST: u32 = 16;

/// Reads the boxes of a whole file, and those inside the types that hold boxes.
pub fn tree(bytes: &[u8]) -> Result<Vec<Node>, Error> {
    nodes(bytes, (0, bytes.len()), 0)
}

fn nodes(bytes: &[u8], (mut at, end): (usize, usize), depth: u32) -> Result<Vec<Node>, Error> {
    let mut list = Vec::new();
    while at < end {
        let mut node = node(bytes, at, end)?;
        if depth < DEEPEST
            && let Some(fixed) = fixed_fields(node.kind)
        {
            let start = node.at + node.header + fixed;
            if start > node.end() {
                return Err(Error::Short {
                    what: "a box's fields",
                    at: node.at,
                });
            }
            node.children = nodes(bytes, (start, node.end()), depth + 1)?;
        }
        at = node.end();
        list.push(node);
    }
    Ok(list)
}

fn node(bytes: &[u8], at: usize, end: usize) -> Result<Node, Error> {
    let mut cursor = Cursor {
        bytes: &bytes[..end],
        at,
    };
    let small = cursor.u32("a box's size")?;
    let kind = FourCc(cursor.four("a box's type")?);
    let size = match small {
        0 => (end - at) as u64,
        1 => cursor.u64("a box's large size")?,
        _ => u64::from(small),
    };
    let header = cursor.at - at;
    if size < header as u64 {
        return Err(Error::Size { kind, at, size });
    }
    if size > (end - at) as u64 {
        return Err(Error::Short { what: "a box", at });
    }
    Ok(Node {
        kind,
        at,
        header,
        size: size as usize,
        children: Vec::new(),
    })
}

/// Bytes of fields before the boxes inside, for the types that hold boxes.
fn fixed_fields(kind: FourCc) -> Option<usize> {
    match &kind.0 {
        b"moov" | b"trak" | b"mdia" | b"minf" | b"stbl" | b"mvex" | b"edts" | b"moof" | b"traf" => {
            Some(0)
        }
        b"stsd" => Some(8),
        b"av01" | b"avc1" | b"avc3" | b"hvc1" | b"hev1" | b"vp09" => Some(78),
        b"Opus" | b"mp4a" | b"fLaC" | b"ac-3" | b"ec-3" => Some(28),
        _ => None,
    }
}

/// Reads an initialisation segment: `ftyp` and `moov`.
pub fn init(bytes: &[u8]) -> Result<Init, Error> {
    let tree = tree(bytes)?;
    let moov = find(&tree, *b"moov")?;
    let ftyp = find(&tree, *b"ftyp")?;
    let mvex = moov.child(*b"mvex");
    let mut tracks = Vec::new();
    for trak in moov.children.iter().filter(|child| child.kind == *b"trak") {
        let mut track = track(bytes, trak)?;
        let trexes = mvex
            .into_iter()
            .flat_map(|mvex| &mvex.children)
            .filter(|child| child.kind == *b"trex");
        for trex in trexes {
            let mut cursor = trex.cursor(bytes);
            cursor.skip(4);
            if cursor.u32("trex")? == track.id {
                cursor.skip(4);
                let (duration, size, flags) = (
                    cursor.u32("trex")?,
                    cursor.u32("trex")?,
                    cursor.u32("trex")?,
                );
                track.defaults = Defaults {
                    duration,
                    size,
                    flags,
                };
            }
        }
        tracks.push(track);
    }
    Ok(Init {
        brands: brands(bytes, ftyp)?,
        fragmented: mvex.is_some(),
        tracks,
    })
}

/// Reads a media segment; what its fragments leave unsaid is taken from the initialisation segment.
pub fn segment(bytes: &[u8], init: &Init) -> Result<Segment, Error> {
    let tree = tree(bytes)?;
    let mut segment = Segment {
        brands: None,
        indexes: Vec::new(),
        fragments: Vec::new(),
        payloads: Vec::new(),
        bytes: bytes.len(),
    };
    for node in &tree {
        match &node.kind.0 {
            b"styp" => segment.brands = Some(brands(bytes, node)?),
            b"sidx" => segment.indexes.push(index(bytes, node)?),
            b"moof" => segment.fragments.push(fragment(bytes, node, init)?),
            b"mdat" => segment.payloads.push((node.at + node.header, node.end())),
            _ => {}
        }
    }
    if segment.fragments.is_empty() {
        return Err(Error::Missing(FourCc(*b"moof")));
    }
    Ok(segment)
}

fn find(nodes: &[Node], kind: [u8; 4]) -> Result<&Node, Error> {
    nodes
        .iter()
        .find(|node| node.kind == kind)
        .ok_or(Error::Missing(FourCc(kind)))
}

fn inside<'a>(node: &'a Node, kinds: &[[u8; 4]]) -> Result<&'a Node, Error> {
    kinds.iter().try_fold(node, |node, &kind| {
        node.child(kind).ok_or(Error::Missing(FourCc(kind)))
    })
}

fn brands(bytes: &[u8], node: &Node) -> Result<Brands, Error> {
    let mut cursor = node.cursor(bytes);
    let mut brands = vec![FourCc(cursor.four("brands")?)];
    cursor.skip(4);
    while cursor.left() > 0 {
        brands.push(FourCc(cursor.four("brands")?));
    }
    Ok(Brands(brands))
}

fn track(bytes: &[u8], trak: &Node) -> Result<Track, Error> {
    let (id, display) = tkhd(bytes, inside(trak, &[*b"tkhd"])?)?;
    let (timescale, language) = mdhd(bytes, inside(trak, &[*b"mdia", *b"mdhd"])?)?;
    let mut handler = inside(trak, &[*b"mdia", *b"hdlr"])?.cursor(bytes);
    handler.skip(8);
    let stbl = inside(trak, &[*b"mdia", *b"minf", *b"stbl"])?;
    let own_samples = match stbl.child(*b"stsz") {
        Some(stsz) => {
            let mut cursor = stsz.cursor(bytes);
            cursor.skip(8);
            cursor.u32("stsz")?
        }
        None => 0,
    };
    let edits = trak
        .path(&[*b"edts", *b"elst"])
        .map(|elst| self::edits(bytes, elst))
        .transpose()?;
    let stsd = inside(stbl, &[*b"stsd"])?;
    let entries = stsd
        .children
        .iter()
        .map(|entry| sample_entry(bytes, entry))
        .collect::<Result<_, _>>()?;
    Ok(Track {
        id,
        handler: FourCc(handler.four("hdlr")?),
        timescale,
        language,
        display,
        edits: edits.unwrap_or_default(),
        entries,
        own_samples,
        defaults: Defaults::default(),
    })
}

fn tkhd(bytes: &[u8], node: &Node) -> Result<(u32, (u32, u32)), Error> {
    let mut cursor = node.cursor(bytes);
    let version = cursor.u8("tkhd")?;
    cursor.skip(3);
    cursor.skip(if version == 1 { 16 } else { 8 });
    let id = cursor.u32("tkhd")?;
    // A reserved word, the duration, two reserved words, layer, group, volume, a reserved half-word, the matrix.
    cursor.skip(if version == 1 { 12 } else { 8 } + 8 + 8 + 36);
    Ok((id, (cursor.u32("tkhd")? >> 16, cursor.u32("tkhd")? >> 16)))
}

fn mdhd(bytes: &[u8], node: &Node) -> Result<(u32, String), Error> {
    let mut cursor = node.cursor(bytes);
    let version = cursor.u8("mdhd")?;
    cursor.skip(3);
    cursor.skip(if version == 1 { 16 } else { 8 });
    let timescale = cursor.u32("mdhd")?;
    if timescale == 0 {
        return Err(Error::Absurd {
            what: "the timescale of mdhd",
            at: node.at,
        });
    }
    cursor.skip(if version == 1 { 8 } else { 4 });
    let packed = cursor.u16("mdhd")?;
    let letter = |shift: u16| char::from((packed >> shift & 31) as u8 + 0x60);
    Ok((
        timescale,
        [letter(10), letter(5), letter(0)].iter().collect(),
    ))
}

fn edits(bytes: &[u8], node: &Node) -> Result<Vec<Edit>, Error> {
    let mut cursor = node.cursor(bytes);
    let version = cursor.u8("elst")?;
    cursor.skip(3);
    let count = cursor.u32("elst")?;
    let mut edits = Vec::new();
    for _ in 0..count {
        let (duration, media_time) = if version == 1 {
            (cursor.u64("elst")?, cursor.u64("elst")? as i64)
        } else {
            (
                u64::from(cursor.u32("elst")?),
                i64::from(cursor.u32("elst")? as i32),
            )
        };
        cursor.u32("elst")?;
        edits.push(Edit {
            duration,
            media_time,
        });
    }
    Ok(edits)
}

fn sample_entry(bytes: &[u8], node: &Node) -> Result<SampleEntry, Error> {
    let mut entry = SampleEntry {
        kind: node.kind,
        size: (0, 0),
        channels: 0,
        sample_rate: 0,
        av1c: None,
        avcc: None,
        hvcc: None,
        nclx: None,
        pasp: None,
        opus_pre_skip: None,
        esds: None,
    };
    let mut cursor = node.cursor(bytes);
    match fixed_fields(node.kind) {
        Some(78) => {
            cursor.skip(24);
            entry.size = (
                u32::from(cursor.u16("a sample entry")?),
                u32::from(cursor.u16("a sample entry")?),
            );
        }
        Some(28) => {
            cursor.skip(16);
            entry.channels = u32::from(cursor.u16("a sample entry")?);
            cursor.skip(6);
            entry.sample_rate = cursor.u32("a sample entry")? >> 16;
        }
        _ => {}
    }
    for child in &node.children {
        let mut cursor = child.cursor(bytes);
        match &child.kind.0 {
            b"av1C" => entry.av1c = Some(av1c(&mut cursor)?),
            b"avcC" => entry.avcc = Some(cursor.rest().to_vec()),
            b"hvcC" => entry.hvcc = Some(cursor.rest().to_vec()),
            b"colr" if cursor.four("colr")? == *b"nclx" => entry.nclx = Some(nclx(&mut cursor)?),
            b"pasp" => entry.pasp = Some((cursor.u32("pasp")?, cursor.u32("pasp")?)),
            b"dOps" => {
                cursor.skip(2);
                entry.opus_pre_skip = Some(u32::from(cursor.u16("dOps")?));
            }
            b"esds" => entry.esds = Some(esds(&mut cursor)?),
            _ => {}
        }
    }
    Ok(entry)
}

fn av1c(cursor: &mut Cursor<'_>) -> Result<Av1c, Error> {
    let at = cursor.at;
    let head = [
        cursor.u8("av1C")?,
        cursor.u8("av1C")?,
        cursor.u8("av1C")?,
        cursor.u8("av1C")?,
    ];
    if head[0] != 0x81 {
        return Err(Error::Absurd {
            what: "marker and version of av1C",
            at,
        });
    }
    let bit = |shift: u8| head[2] >> shift & 1;
    Ok(Av1c {
        profile: head[1] >> 5,
        level: head[1] & 31,
        tier: bit(7),
        bit_depth: [8, 10, 10, 12][usize::from(bit(6) + (bit(6) & bit(5)) * 2)],
        monochrome: bit(4) == 1,
        subsampling: (bit(3), bit(2)),
        chroma_position: head[2] & 3,
        obus: cursor.rest().to_vec(),
    })
}

fn nclx(cursor: &mut Cursor<'_>) -> Result<Nclx, Error> {
    Ok(Nclx {
        primaries: cursor.u16("colr")?,
        transfer: cursor.u16("colr")?,
        matrix: cursor.u16("colr")?,
        full_range: cursor.u8("colr")? & 0x80 != 0,
    })
}

fn esds(cursor: &mut Cursor<'_>) -> Result<Esds, Error> {
    let mut found = Esds {
        object_type: 0,
        config: Vec::new(),
    };
    cursor.skip(4);
    while cursor.left() > 1 {
        let tag = cursor.u8("esds")?;
        let mut length = 0_usize;
        for _ in 0..4 {
            let byte = cursor.u8("esds")?;
            length = length << 7 | usize::from(byte & 0x7F);
            if byte & 0x80 == 0 {
                break;
            }
        }
        match tag {
            // ES_Descriptor: its number, flags, and what the flags add; the next descriptors are inside it.
            3 => {
                cursor.skip(2);
                let flags = cursor.u8("esds")?;
                cursor.skip(if flags & 0x80 == 0 { 0 } else { 2 });
                let url = if flags & 0x40 == 0 {
                    0
                } else {
                    usize::from(cursor.u8("esds")?)
                };
                cursor.skip(url + if flags & 0x20 == 0 { 0 } else { 2 });
            }
            // DecoderConfigDescriptor, with the decoder's own inside it.
            4 => {
                found.object_type = cursor.u8("esds")?;
                cursor.skip(12);
            }
            5 => found.config = cursor.take(length, "esds")?.to_vec(),
            _ => cursor.skip(length),
        }
    }
    Ok(found)
}

fn index(bytes: &[u8], node: &Node) -> Result<Index, Error> {
    let mut cursor = node.cursor(bytes);
    let version = cursor.u8("sidx")?;
    cursor.skip(3);
    let (track, timescale) = (cursor.u32("sidx")?, cursor.u32("sidx")?);
    let (earliest, first) = if version == 0 {
        (
            u64::from(cursor.u32("sidx")?),
            u64::from(cursor.u32("sidx")?),
        )
    } else {
        (cursor.u64("sidx")?, cursor.u64("sidx")?)
    };
    cursor.skip(2);
    let count = cursor.u16("sidx")?;
    let mut references = Vec::new();
    for _ in 0..count {
        let (bytes, duration, sap) = (
            cursor.u32("sidx")?,
            cursor.u32("sidx")?,
            cursor.u32("sidx")?,
        );
        references.push(Reference {
            bytes: bytes & 0x7FFF_FFFF,
            duration,
            starts_with_sap: sap >> 31 == 1,
            sap_type: (sap >> 28 & 7) as u8,
        });
    }
    Ok(Index {
        track,
        timescale,
        earliest,
        anchor: (node.end() as u64).saturating_add(first),
        references,
    })
}

fn fragment(bytes: &[u8], moof: &Node, init: &Init) -> Result<Fragment, Error> {
    let mut mfhd = inside(moof, &[*b"mfhd"])?.cursor(bytes);
    mfhd.skip(4);
    let sequence = mfhd.u32("mfhd")?;
    let trafs = moof.children.iter().filter(|child| child.kind == *b"traf");
    let tracks = trafs
        .map(|traf| track_fragment(bytes, (moof, traf), init))
        .collect::<Result<_, _>>()?;
    Ok(Fragment {
        sequence,
        at: moof.at,
        tracks,
    })
}

fn track_fragment(
    bytes: &[u8],
    (moof, traf): (&Node, &Node),
    init: &Init,
) -> Result<TrackFragment, Error> {
    let mut cursor = inside(traf, &[*b"tfhd"])?.cursor(bytes);
    let flags = cursor.u32("tfhd")? & 0x00FF_FFFF;
    let track = cursor.u32("tfhd")?;
    let known = init.tracks.iter().find(|known| known.id == track);
    let mut defaults = known.map(|known| known.defaults).unwrap_or_default();
    let base = if flags & 1 == 0 {
        moof.at as u64
    } else {
        cursor.u64("tfhd")?
    };
    // Writers of fragments that leave it out mean the first, as `trex` of this project says.
    let description = if flags & 2 == 0 {
        1
    } else {
        cursor.u32("tfhd")?
    };
    for (bit, field) in [
        (8, &mut defaults.duration),
        (0x10, &mut defaults.size),
        (0x20, &mut defaults.flags),
    ] {
        if flags & bit != 0 {
            *field = cursor.u32("tfhd")?;
        }
    }
    let decode_time = traf.child(*b"tfdt").map(|tfdt| {
        let mut cursor = tfdt.cursor(bytes);
        let version = cursor.u8("tfdt")?;
        cursor.skip(3);
        if version == 1 {
            cursor.u64("tfdt")
        } else {
            cursor.u32("tfdt").map(u64::from)
        }
    });
    let mut run = Run {
        base,
        at: base,
        defaults,
        samples: Vec::new(),
    };
    for trun in traf.children.iter().filter(|child| child.kind == *b"trun") {
        run.read(&mut trun.cursor(bytes))?;
    }
    Ok(TrackFragment {
        track,
        description,
        decode_time: decode_time.transpose()?,
        samples: run.samples,
    })
}

/// The track runs of a track fragment, as they are read.
struct Run {
    base: u64,
    at: u64,
    defaults: Defaults,
    samples: Vec<Sample>,
}

impl Run {
    fn read(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Error> {
        let start = cursor.at;
        let head = cursor.u32("trun")?;
        let count = cursor.u32("trun")?;
        if count > MOST_SAMPLES {
            return Err(Error::Absurd {
                what: "the number of samples of trun",
                at: start,
            });
        }
        let has = |bit: u32| head & bit != 0;
        if has(1) {
            let offset = i64::from(cursor.u32("trun")? as i32);
            self.at = self.base.wrapping_add_signed(offset);
        }
        let mut first_flags = if has(4) {
            Some(cursor.u32("trun")?)
        } else {
            None
        };
        for _ in 0..count {
            let duration = if has(0x100) {
                cursor.u32("trun")?
            } else {
                self.defaults.duration
            };
            let bytes = if has(0x200) {
                cursor.u32("trun")?
            } else {
                self.defaults.size
            };
            let own = if has(0x400) {
                cursor.u32("trun")?
            } else {
                self.defaults.flags
            };
            let flags = first_flags.take().unwrap_or(own);
            let composition_offset = match (has(0x800), head >> 24) {
                (false, _) => 0,
                (true, 0) => i64::from(cursor.u32("trun")?),
                (true, _) => i64::from(cursor.u32("trun")? as i32),
            };
            self.samples.push(Sample {
                duration,
                bytes,
                flags,
                composition_offset,
                at: self.at,
            });
            self.at = self.at.wrapping_add(u64::from(bytes));
        }
        Ok(())
    }
}

/// A place in bytes that is read forward.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], Error> {
        let short = Error::Short { what, at: self.at };
        let end = self.at.checked_add(count).ok_or(short.clone())?;
        let taken = self.bytes.get(self.at..end).ok_or(short)?;
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Error> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N, what)?);
        Ok(array)
    }

    fn four(&mut self, what: &'static str) -> Result<[u8; 4], Error> {
        self.array(what)
    }

    fn u8(&mut self, what: &'static str) -> Result<u8, Error> {
        self.array::<1>(what).map(|[byte]| byte)
    }

    fn u16(&mut self, what: &'static str) -> Result<u16, Error> {
        self.array(what).map(u16::from_be_bytes)
    }

    fn u32(&mut self, what: &'static str) -> Result<u32, Error> {
        self.array(what).map(u32::from_be_bytes)
    }

    fn u64(&mut self, what: &'static str) -> Result<u64, Error> {
        self.array(what).map(u64::from_be_bytes)
    }

    /// Steps over bytes; a step past the end shows in the next read.
    fn skip(&mut self, count: usize) {
        self.at = self.at.saturating_add(count);
    }

    fn left(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }
}
