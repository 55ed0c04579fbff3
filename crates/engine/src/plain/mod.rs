//! A finished job's folder in, plain files out: one for each rendition, each with the sound.
//!
//! ```text
//! init.mp4, seg-*.m4s of a rendition and of the sound ─► tables ─► head ─► a file beside it all, flushed
//!                                          └─► the same segments again, copied piece by piece
//! ```
//!
//! The segments' samples are copied as they are. The file is written under the name that it is given and flushed; whoever calls renames it.

mod placing;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use rungs_media::demux::Demuxer;
pub use rungs_media::remux::Container;
use rungs_media::remux::{self, remux};
use rungs_media::{Limits, Source};
use rungs_package::Digest;
use rungs_package::digest::Hasher;
use rungs_package::mp4::{
    About, Chapter, MediaTrack, Piece, Plain, PlainError, Tag, TextAbout, TextMedia, front, plain,
};
use rungs_package::output::{Disk, StoredSegment};
use rungs_package::text::{self, Cue};

use crate::cancel::Cancel;
use crate::done::{sound_track_name, text_track_name, video_track_name};
use crate::journal::{JobFolder, JournalError};
use crate::plan::{Plan, Rendition, TextPlan};

pub use placing::{Placing, Stands};

/// Why a plain file was not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlainFileError {
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A segment cannot be read.
    #[error("the segment {} cannot be read", path.display())]
    Read {
        /// Its file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The segments make no plain file.
    #[error("the segments of {track} make no plain file")]
    Mux {
        /// The track.
        track: String,
        /// Why.
        source: PlainError,
    },
    /// The file cannot be written.
    #[error("{} cannot be written", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// FFmpeg does not make the other container.
    #[error("{} cannot be written", path.display())]
    Remux {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rungs_media::Error,
    },
    /// The job was cancelled.
    #[error("the writing of {} was interrupted", path.display())]
    Cancelled {
        /// The file.
        path: PathBuf,
    },
}

/// What a plain file is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// MP4.
    Mp4,
    /// Another container, which FFmpeg makes of the MP4 file.
    Other(Container),
}

/// A plain file that was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// Its length in bytes.
    pub bytes: u64,
    /// How long it is presented, in seconds.
    pub seconds: f64,
    /// The digest of its bytes.
    pub sha256: Digest,
}

/// Reads what a source says about itself: its tags, and its chapters as far as they lie in the presentation, which starts where the plan says and
/// lasts `seconds`. Blocks on the source.
pub fn about(
    (source, cancel): (&Source, &Cancel),
    plan: &Plan,
    seconds: f64,
) -> Result<About, rungs_media::Error> {
    let demuxer = Demuxer::open(source, &Limits::default(), cancel.media())?;
    let own: BTreeMap<String, &String> = demuxer
        .tags()
        .iter()
        .map(|(name, text)| (name.to_lowercase(), text))
        .collect();
    let tag = |tag: Tag| Some((tag, (*own.get(tag.name())?).clone()));
    let origin = plan.source.time_base.seconds(plan.source.origin);
    // Of several sources, the first is the one that is told of.
    let ends = plan.joined.first().map(|next| next.start);
    let ends = ends.map_or(seconds, |end| plan.source.time_base.seconds(end) - origin);
    let chapters = demuxer.chapters().into_iter().map(|chapter| Chapter {
        start: milliseconds(chapter.start - origin),
        end: milliseconds((chapter.end - origin).min(ends)),
        title: chapter.title,
    });
    let mut chapters: Vec<Chapter> = chapters.filter(|one| one.start < one.end).collect();
    chapters.sort_by_key(|chapter| chapter.start);
    Ok(About {
        tags: Tag::ALL.into_iter().filter_map(tag).collect(),
        chapters,
    })
}

fn milliseconds(seconds: f64) -> u64 {
    (seconds.max(0.0) * 1000.0).round() as u64
}

/// How long the presentation of a finished job is, in seconds.
pub fn seconds<D: Disk>(folder: &JobFolder<D>, plan: &Plan) -> Result<f64, JournalError> {
    let segments = folder.segments(plan)?;
    let named = plan.renditions().first();
    let name = named.map(|rendition| video_track_name(&rendition.name));
    let own = segments
        .iter()
        .filter(|segment| Some(&segment.track) == name.as_ref());
    let ticks = own
        .map(|segment| segment.decode_time + segment.duration)
        .max();
    let ticks = i64::try_from(ticks.unwrap_or(0)).unwrap_or(i64::MAX);
    Ok(plan.grid.timescale().seconds(ticks))
}

/// A finished job, of which plain files are made.
pub struct Finished<'a> {
    /// Its folder.
    pub root: &'a Path,
    /// The segments that its journal has.
    pub segments: &'a [StoredSegment],
    /// Its plan.
    pub plan: &'a Plan,
    /// What the files are to be.
    pub shape: Shape,
    /// What its files say about themselves.
    pub about: &'a About,
    /// Ends the writing early from any thread.
    pub cancel: &'a Cancel,
}

impl Finished<'_> {
    /// Writes the plain file of a rendition of the plan and flushes it; replaces what has its name. Blocks meanwhile. What was written when it
    /// fails stays. Another container than MP4 is made of an MP4 file beside it, which goes; FFmpeg writes it, past the disk that is given.
    pub fn write(
        &self,
        rendition: &Rendition,
        to: &Path,
        disk: &mut dyn Disk,
    ) -> Result<Written, PlainFileError> {
        let Shape::Other(container) = self.shape else {
            return self.write_mp4(rendition, &self.texts()?, Part { disk, path: to });
        };
        let mut between = to.as_os_str().to_owned();
        between.push(".mp4");
        let between = PathBuf::from(between);
        let part = Part {
            disk: &mut *disk,
            path: &between,
        };
        let written = self.write_mp4(rendition, &[], part)?;
        let texts = self.texts()?;
        let texts: Vec<_> = texts
            .into_iter()
            .map(|text| text.alone(written.seconds))
            .collect();
        placing::remove(disk, to).map_err(unwritten(to))?;
        let token = self.cancel.media();
        remux((&between, to), (container, &texts), token).map_err(|source| match source {
            rungs_media::Error::Cancelled => PlainFileError::Cancelled {
                path: to.to_owned(),
            },
            source => PlainFileError::Remux {
                path: to.to_owned(),
                source,
            },
        })?;
        let mut flushed = || -> io::Result<Written> {
            disk.flush(to.into())?;
            disk.remove((&between).into())?;
            Ok(Written {
                bytes: std::fs::metadata(to)?.len(),
                seconds: written.seconds,
                sha256: placing::digest(to)?,
            })
        };
        flushed().map_err(unwritten(to))
    }

    /// The tracks of subtitles as the job has left them.
    fn texts(&self) -> Result<Vec<Text<'_>>, PlainFileError> {
        self.plan.text.iter().map(|plan| self.text(plan)).collect()
    }

    fn text<'p>(&self, plan: &'p TextPlan) -> Result<Text<'p>, PlainFileError> {
        let name = format!("{}/all.vtt", text_track_name(&plan.name));
        let path = self.root.join(name);
        let whole = std::fs::read_to_string(&path).map_err(unreadable(&path))?;
        let cues = text::parse(&whole)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
            .map_err(unreadable(&path))?;
        Ok(Text { plan, cues })
    }

    fn write_mp4(
        &self,
        rendition: &Rendition,
        texts: &[Text<'_>],
        part: Part<'_>,
    ) -> Result<Written, PlainFileError> {
        let mut segments: Vec<&StoredSegment> = self.segments.iter().collect();
        segments.sort_by_key(|segment| segment.index);
        let mut tracks = vec![video_track_name(&rendition.name)];
        tracks.extend(
            self.plan
                .audio
                .iter()
                .map(|audio| sound_track_name(&audio.name)),
        );
        let mut media = tracks
            .iter()
            .map(|name| self.collect(name, &segments))
            .collect::<Result<Vec<_>, _>>()?;
        let texts = texts.iter().filter_map(|text| text.over(&media[0]));
        let texts: Vec<TextMedia> = texts.collect();
        media.extend(texts.iter().map(|text| text.media.clone()));
        let whole = plain(&media, self.about).map_err(|source| PlainFileError::Mux {
            track: tracks[0].clone(),
            source,
        })?;
        drop(media);
        let samples = Samples {
            tracks: &tracks,
            texts: &texts,
        };
        let sha256 = self.copy(&whole, &samples, part)?;
        Ok(Written {
            bytes: whole.bytes,
            seconds: whole.seconds,
            sha256,
        })
    }

    /// Reads the tables of a track's segments.
    fn collect(
        &self,
        track: &str,
        segments: &[&StoredSegment],
    ) -> Result<MediaTrack, PlainFileError> {
        let failed = |source| PlainFileError::Mux {
            track: track.to_owned(),
            source,
        };
        let path = self.root.join(format!("{track}/init.mp4"));
        let init = std::fs::read(&path).map_err(unreadable(&path))?;
        let mut media = MediaTrack::new(&init).map_err(failed)?;
        for segment in segments.iter().filter(|segment| segment.track == track) {
            let path = self.segment(track, segment.index);
            let file = File::open(&path).map_err(unreadable(&path))?;
            let front = front(&mut BufReader::new(file)).map_err(unreadable(&path))?;
            media.push(segment.index, &front).map_err(failed)?;
        }
        Ok(media)
    }

    fn segment(&self, track: &str, index: u32) -> PathBuf {
        self.root.join(format!("{track}/seg-{index:05}.m4s"))
    }

    fn copy(
        &self,
        whole: &Plain,
        samples: &Samples<'_>,
        part: Part<'_>,
    ) -> Result<Digest, PlainFileError> {
        let Samples { tracks, texts } = samples;
        let to = part.path;
        let mut out = part.create().map_err(unwritten(to))?;
        out.add(&whole.head).map_err(unwritten(to))?;
        // A segment of each track is open: its pieces follow in order, with the other tracks' between them.
        let mut open: Vec<Option<(u32, File)>> = tracks.iter().map(|_| None).collect();
        let mut buffer = Vec::new();
        for piece in &whole.pieces {
            if self.cancel.is_cancelled() {
                return Err(PlainFileError::Cancelled {
                    path: to.to_owned(),
                });
            }
            if let Some(text) = texts.get(piece.track.wrapping_sub(tracks.len())) {
                out.add(part_of(&text.data, piece)).map_err(unwritten(to))?;
                continue;
            }
            let path = self.segment(&tracks[piece.track], piece.segment);
            let slot = &mut open[piece.track];
            if slot
                .as_ref()
                .is_none_or(|(segment, _)| *segment != piece.segment)
            {
                *slot = Some((piece.segment, File::open(&path).map_err(unreadable(&path))?));
            }
            if let Some((_, file)) = slot {
                read_piece(file, piece, &mut buffer).map_err(unreadable(&path))?;
            }
            out.add(&buffer).map_err(unwritten(to))?;
        }
        out.finish().map_err(unwritten(to))
    }
}

/// Where the samples of a plain file come from.
struct Samples<'a> {
    /// Tracks of the job, whose segments are files.
    tracks: &'a [String],
    texts: &'a [TextMedia],
}

/// Where a file is written to.
struct Part<'a> {
    disk: &'a mut dyn Disk,
    path: &'a Path,
}

impl<'a> Part<'a> {
    /// Creates the file. What has its name goes first, so that nothing is written through a link.
    fn create(self) -> io::Result<PartFile<'a>> {
        placing::remove(self.disk, self.path)?;
        self.disk.write(self.path.into(), &[])?;
        Ok(PartFile {
            part: self,
            buffer: Vec::with_capacity(BUFFER),
            hasher: Hasher::default(),
        })
    }
}

/// Bytes of a file that are written at once.
const BUFFER: usize = 1 << 20;

/// A file that is being written, and the digest of what was.
struct PartFile<'a> {
    part: Part<'a>,
    buffer: Vec<u8>,
    hasher: Hasher,
}

impl PartFile<'_> {
    fn add(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.add(bytes);
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() < BUFFER {
            return Ok(());
        }
        self.drain()
    }

    fn drain(&mut self) -> io::Result<()> {
        self.part.disk.append(self.part.path.into(), &self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    /// Makes the file durable.
    fn finish(mut self) -> io::Result<Digest> {
        self.drain()?;
        self.part.disk.flush(self.part.path.into())?;
        Ok(self.hasher.finish())
    }
}

/// A track of subtitles with what it shows.
struct Text<'a> {
    plan: &'a TextPlan,
    cues: Vec<Cue>,
}

impl Text<'_> {
    /// As a track of MP4 over the track of pictures; `None` if it shows nothing.
    fn over(&self, pictures: &MediaTrack) -> Option<TextMedia> {
        let about = TextAbout {
            language: self.plan.language.clone(),
            label: self.plan.label.clone(),
            forced: self.plan.forced,
        };
        TextMedia::new(&about, &self.cues, pictures)
    }

    /// As a track that FFmpeg writes, and that must not outlast the pictures, which end after so many seconds.
    fn alone(self, seconds: f64) -> remux::Text {
        let end = milliseconds(seconds);
        let shown = self.cues.into_iter().filter(|cue| cue.start < end);
        let cues = shown.map(|cue| remux::Cue {
            start: cue.start,
            end: cue.end.min(end),
            text: cue.text,
        });
        remux::Text {
            language: self.plan.language.clone(),
            title: self.plan.label.clone(),
            forced: self.plan.forced,
            cues: cues.collect(),
        }
    }
}

/// The bytes of a piece among those of its track.
fn part_of<'a>(data: &'a [u8], piece: &Piece) -> &'a [u8] {
    let from = usize::try_from(piece.offset).unwrap_or(usize::MAX);
    let length = usize::try_from(piece.bytes).unwrap_or(usize::MAX);
    let rest = data.get(from..).unwrap_or_default();
    &rest[..length.min(rest.len())]
}

fn read_piece(file: &mut File, piece: &Piece, buffer: &mut Vec<u8>) -> io::Result<()> {
    buffer.clear();
    file.seek(SeekFrom::Start(piece.offset))?;
    let read = file.take(piece.bytes).read_to_end(buffer)?;
    if read as u64 == piece.bytes {
        Ok(())
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

fn unwritten(path: &Path) -> impl Fn(io::Error) -> PlainFileError {
    move |source| PlainFileError::Write {
        path: path.to_owned(),
        source,
    }
}

fn unreadable(path: &Path) -> impl Fn(io::Error) -> PlainFileError {
    move |source| PlainFileError::Read {
        path: path.to_owned(),
        source,
    }
}
