//! Text of playlists in, their lines as values out (RFC 8216): a reader for the checker and the watching reader.

/// Why a text is not a playlist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// The first line is another.
    #[error("it does not start with #EXTM3U")]
    Start,
    /// The last line has no end.
    #[error("its last line is cut off")]
    Cut,
    /// A line makes no sense.
    #[error("line {line} makes no sense: {text}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// The line.
        text: String,
    },
}

/// An attribute list (RFC 8216 §4.2), quotation marks taken off.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Attributes(Vec<(String, String)>);

impl Attributes {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(own, _)| own == name)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.get(name)?.parse().ok()
    }

    /// Splits at commas outside quotation marks; `None` where a part has no `=`.
    fn parse(text: &str) -> Option<Self> {
        let mut quoted = false;
        let parts = text.split(|letter| {
            quoted ^= letter == '"';
            letter == ',' && !quoted
        });
        let pairs = parts.map(|part| {
            let (name, value) = part.split_once('=')?;
            Some((name.trim().to_owned(), value.trim_matches('"').to_owned()))
        });
        pairs.collect::<Option<Vec<_>>>().map(Self)
    }
}

/// One variant stream of a multivariant playlist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Variant {
    pub(crate) attributes: Attributes,
    pub(crate) uri: String,
}

/// A multivariant playlist.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Master {
    pub(crate) variants: Vec<Variant>,
    pub(crate) media: Vec<Attributes>,
    /// `EXT-X-I-FRAME-STREAM-INF`.
    pub(crate) frames: Vec<Attributes>,
    /// `EXT-X-IMAGE-STREAM-INF`.
    pub(crate) images: Vec<Attributes>,
    pub(crate) independent: bool,
}

/// One segment of a media playlist.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) seconds: f64,
    pub(crate) uri: String,
    /// `EXT-X-BYTERANGE`.
    pub(crate) range: Option<ByteRange>,
    /// `EXT-X-TILES`.
    pub(crate) tiles: Option<Attributes>,
}

/// A part of a file: its first byte, and the number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ByteRange {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

impl ByteRange {
    /// Reads `length@offset`. An offset that is left out would follow from the entry before: no playlist here does so.
    fn parse(text: &str) -> Option<Self> {
        let (length, offset) = text.split_once('@')?;
        Some(Self {
            offset: offset.parse().ok()?,
            length: length.parse().ok()?,
        })
    }
}

/// What stands before a segment's URI.
#[derive(Default)]
struct Waiting {
    seconds: Option<f64>,
    range: Option<ByteRange>,
    tiles: Option<Attributes>,
}

impl Waiting {
    /// Takes in a tag about the next segment; tells whether it was one.
    fn take(&mut self, (name, value): (&str, &str)) -> Option<bool> {
        match name {
            "EXTINF" => self.seconds = Some(value.split(',').next()?.parse().ok()?),
            "EXT-X-BYTERANGE" => self.range = Some(ByteRange::parse(value)?),
            "EXT-X-TILES" => self.tiles = Some(Attributes::parse(value)?),
            _ => return Some(false),
        }
        Some(true)
    }
}

/// What the segments of a media playlist are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Content {
    /// All there is.
    #[default]
    All,
    /// `EXT-X-I-FRAMES-ONLY`.
    Keyframes,
    /// `EXT-X-IMAGES-ONLY`.
    Images,
}

/// A media playlist.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Media {
    pub(crate) version: u32,
    pub(crate) target: Option<u64>,
    pub(crate) kind: Option<String>,
    pub(crate) map: Option<String>,
    /// The part of the file that the initialisation segment is.
    pub(crate) map_range: Option<ByteRange>,
    pub(crate) content: Content,
    pub(crate) first: u64,
    pub(crate) entries: Vec<Entry>,
    pub(crate) ended: bool,
    pub(crate) independent: bool,
    /// Tags that have no place in a playlist of whole files without breaks, such as `EXT-X-DISCONTINUITY`.
    pub(crate) odd: Vec<String>,
}

/// Splits a tag's line into name and value.
fn tag(line: &str) -> Option<(&str, &str)> {
    let line = line.strip_prefix('#')?;
    line.starts_with("EXT")
        .then(|| line.split_once(':').unwrap_or((line, "")))
}

fn lines(text: &str) -> Result<impl Iterator<Item = (usize, &str)>, Error> {
    if !text.ends_with('\n') {
        return Err(if text.is_empty() {
            Error::Start
        } else {
            Error::Cut
        });
    }
    let mut lines = text.lines().enumerate();
    if lines.next().is_none_or(|(_, line)| line != "#EXTM3U") {
        return Err(Error::Start);
    }
    Ok(lines
        .map(|(index, line)| (index + 1, line.trim_end()))
        .filter(|(_, line)| !line.is_empty()))
}

pub(crate) fn master(text: &str) -> Result<Master, Error> {
    let mut master = Master::default();
    let mut waiting: Option<Attributes> = None;
    let mut last = (1, "");
    for (line, text) in lines(text)? {
        let nonsense = || Error::Line {
            line,
            text: text.to_owned(),
        };
        last = (line, text);
        match tag(text) {
            Some(("EXT-X-STREAM-INF", value)) => {
                waiting = Some(Attributes::parse(value).ok_or_else(nonsense)?);
            }
            Some(("EXT-X-MEDIA", value)) => master
                .media
                .push(Attributes::parse(value).ok_or_else(nonsense)?),
            Some(("EXT-X-I-FRAME-STREAM-INF", value)) => master
                .frames
                .push(Attributes::parse(value).ok_or_else(nonsense)?),
            Some(("EXT-X-IMAGE-STREAM-INF", value)) => master
                .images
                .push(Attributes::parse(value).ok_or_else(nonsense)?),
            Some(("EXT-X-INDEPENDENT-SEGMENTS", _)) => master.independent = true,
            Some(_) => {}
            None if text.starts_with('#') => {}
            None => {
                let attributes = waiting.take().ok_or_else(nonsense)?;
                master.variants.push(Variant {
                    attributes,
                    uri: text.to_owned(),
                });
            }
        }
    }
    match waiting {
        Some(_) => Err(Error::Line {
            line: last.0,
            text: last.1.to_owned(),
        }),
        None => Ok(master),
    }
}

pub(crate) fn media(text: &str) -> Result<Media, Error> {
    let mut media = Media {
        version: 1,
        ..Media::default()
    };
    let mut waiting = Waiting::default();
    let mut last = (1, "");
    for (line, text) in lines(text)? {
        let nonsense = || Error::Line {
            line,
            text: text.to_owned(),
        };
        last = (line, text);
        match tag(text) {
            Some(tag) => {
                if !waiting.take(tag).ok_or_else(nonsense)? {
                    media.head(tag).ok_or_else(nonsense)?;
                }
            }
            None if text.starts_with('#') => {}
            None => {
                let Waiting {
                    seconds,
                    range,
                    tiles,
                } = std::mem::take(&mut waiting);
                media.entries.push(Entry {
                    seconds: seconds.ok_or_else(nonsense)?,
                    uri: text.to_owned(),
                    range,
                    tiles,
                });
            }
        }
    }
    match waiting.seconds {
        Some(_) => Err(Error::Line {
            line: last.0,
            text: last.1.to_owned(),
        }),
        None => Ok(media),
    }
}

impl Media {
    /// Takes in a tag that is not about one segment; `None` when its value makes no sense.
    fn head(&mut self, (name, value): (&str, &str)) -> Option<()> {
        match name {
            "EXT-X-VERSION" => self.version = value.parse().ok()?,
            "EXT-X-TARGETDURATION" => self.target = Some(value.parse().ok()?),
            "EXT-X-MEDIA-SEQUENCE" => self.first = value.parse().ok()?,
            "EXT-X-PLAYLIST-TYPE" => self.kind = Some(value.to_owned()),
            "EXT-X-MAP" => {
                let attributes = Attributes::parse(value)?;
                let map = attributes.get("URI")?.to_owned();
                if let Some(range) = attributes.get("BYTERANGE") {
                    self.map_range = Some(ByteRange::parse(range)?);
                }
                if self.map.replace(map).is_some() {
                    self.odd.push("a second EXT-X-MAP".to_owned());
                }
            }
            "EXT-X-ENDLIST" => self.ended = true,
            "EXT-X-INDEPENDENT-SEGMENTS" => self.independent = true,
            "EXT-X-I-FRAMES-ONLY" => self.content = Content::Keyframes,
            "EXT-X-IMAGES-ONLY" => self.content = Content::Images,
            "EXT-X-DISCONTINUITY" | "EXT-X-GAP" | "EXT-X-KEY" => {
                self.odd.push(name.to_owned());
            }
            _ => {}
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_in_quotation_marks_do_not_split() {
        let text =
            "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=12,CODECS=\"a,b\",RESOLUTION=4x2\nv/p.m3u8\n";
        let master = master(text).unwrap();
        let attributes = &master.variants[0].attributes;
        assert_eq!(attributes.get("CODECS"), Some("a,b"));
        assert_eq!(attributes.number::<u64>("BANDWIDTH"), Some(12));
        assert_eq!(
            (
                attributes.get("RESOLUTION"),
                master.variants[0].uri.as_str()
            ),
            (Some("4x2"), "v/p.m3u8")
        );
    }

    #[test]
    fn a_playlist_cut_anywhere_is_noticed_or_shorter() {
        let text = "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4.000,\ns0\n#EXTINF:2.500,\ns1\n#EXT-X-ENDLIST\n";
        let whole = media(text).unwrap();
        assert_eq!(
            (whole.entries.len(), whole.ended, whole.entries[1].seconds),
            (2, true, 2.5)
        );
        for end in 0..text.len() {
            if let Ok(cut) = media(&text[..end]) {
                assert!(text[..end].ends_with('\n') && !cut.ended, "{end}");
            }
        }
    }

    #[test]
    fn a_line_without_its_tag_makes_no_sense() {
        assert_eq!(
            media("#EXTM3U\ns0\n"),
            Err(Error::Line {
                line: 2,
                text: "s0".to_owned()
            })
        );
        assert_eq!(master("s0\n"), Err(Error::Start));
    }
}
