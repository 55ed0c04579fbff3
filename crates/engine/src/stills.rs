//! Stored segments in, images out: thumbnails on tiles, and a poster.
//!
//! ```text
//! segments of one rendition ─► decoder ─► the first picture at or after each moment ─► JPEG ─► packager
//! ```
//!
//! They are made at the end, of what players get, so their bytes follow from the segments alone, whatever the schedule, and a run that goes on
//! comes to the same ones. A segment is decoded up to the last picture that is wanted of it: with thumbnails at the starts of segments that is one picture.

use std::collections::VecDeque;
use std::time::Duration;

use rungs_media::decode::{DecodeOptions, Received, Sent, VideoDecoder};
use rungs_media::demux::Demuxer;
use rungs_media::frame::Frame;
use rungs_media::hdr::{self, ToneMap};
use rungs_media::still::{self, Developer, Tile};
use rungs_media::{Limits, Source};
use rungs_package::storyboard::Board;
use rungs_package::{Packager, Stills, TrackId};
use serde::{Deserialize, Serialize};

use crate::cancel::Cancel;
use crate::error::{Error, Failure, Refusal};
use crate::plan::{Plan, Rendition};
use crate::publish::AnyOutput;

/// Seconds from one thumbnail to the next that can be asked for.
pub const INTERVAL: std::ops::RangeInclusive<f64> = 0.5..=3600.0;
/// The quantizers of thumbnails and of the poster, on FFmpeg's scale from 2 to 31.
const THUMBNAIL_QUANTIZER: u8 = 4;
const POSTER_QUANTIZER: u8 = 2;
/// A picture with less contrast than this is black, white, or a title on a plain ground: the poster is another one if there is.
const PLAIN: f64 = 20.0;
/// The poster is looked for at as many places, evenly over the presentation.
const PLACES: u64 = 9;

/// Which images are made of the finished package.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StillsSpec {
    /// The thumbnails.
    pub storyboard: Option<Every>,
    /// The poster.
    pub poster: Option<PosterTime>,
}

/// From one thumbnail to the next.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Every {
    /// As few whole segments as give no more than 720 thumbnails.
    Auto,
    /// So many seconds.
    Seconds(f64),
}

/// Which picture becomes the poster.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PosterTime {
    /// The first with some contrast of those that start the segments at each tenth of the presentation; if none has, the one that has most.
    Auto,
    /// The first at or after so many seconds of the presentation, else the last.
    At(f64),
}

impl StillsSpec {
    /// The settings with their options on the command line and their values in words.
    pub(crate) fn settings(&self) -> [(&'static str, String); 2] {
        let storyboard = self
            .storyboard
            .map_or("off".to_owned(), |every| match every {
                Every::Auto => "on".to_owned(),
                Every::Seconds(seconds) => seconds.to_string(),
            });
        let poster = self.poster.map_or("off".to_owned(), |time| match time {
            PosterTime::Auto => "on".to_owned(),
            PosterTime::At(seconds) => seconds.to_string(),
        });
        [("--storyboard", storyboard), ("--poster", poster)]
    }

    fn is_empty(&self) -> bool {
        self.storyboard.is_none() && self.poster.is_none()
    }

    /// What the packager has to know of them.
    pub(crate) fn packaged(&self) -> Stills {
        let interval = match self.storyboard {
            Some(Every::Seconds(seconds)) => Some(Duration::from_secs_f64(seconds)),
            Some(Every::Auto) | None => None,
        };
        Stills {
            storyboard: self.storyboard.is_some(),
            interval,
            poster: self.poster.is_some(),
        }
    }
}

/// Refuses images that this FFmpeg cannot make of the plan's renditions.
pub(crate) fn check(plan: &Plan) -> Result<(), Refusal> {
    if plan.stills.is_empty() {
        return Ok(());
    }
    let mut renditions = plan.renditions().iter();
    let hdr = renditions.any(|rendition| hdr::is_hdr(rendition.encoder.color));
    let filter = hdr.then(ToneMap::missing).flatten();
    match still::missing().or(filter) {
        Some(missing) => Err(Refusal::Stills { missing }),
        None => Ok(()),
    }
}

/// Makes the images that the plan asks for and gives them to a packager that has all segments. Blocks meanwhile.
pub(crate) fn make(
    packager: &mut Packager<AnyOutput>,
    plan: &Plan,
    (tracks, cancel): (&[TrackId], &Cancel),
) -> Result<(), Error> {
    let board = packager.board();
    let renditions: Vec<_> = plan
        .renditions()
        .iter()
        .zip(tracks.iter().copied())
        .collect();
    let largest = renditions.first();
    if let (Some(board), Some(&of)) = (board, fitting(&renditions, board).or(largest)) {
        let mut stage = Stage::new(packager, of, cancel);
        stage.thumbnails(&board)?;
    }
    if let (Some(time), Some(&of)) = (plan.stills.poster, largest) {
        let mut stage = Stage::new(packager, of, cancel);
        let jpeg = stage.poster(time)?;
        packager.put_poster(&jpeg)?;
    }
    Ok(())
}

/// The smallest rendition from which thumbnails need not be enlarged.
fn fitting<'a, 'b>(
    renditions: &'a [(&'b Rendition, TrackId)],
    board: Option<Board>,
) -> Option<&'a (&'b Rendition, TrackId)> {
    let (width, height) = board?.thumbnail;
    let fits =
        |rendition: &Rendition| rendition.size.width >= width && rendition.size.height >= height;
    renditions
        .iter()
        .filter(|(rendition, _)| fits(rendition))
        .min_by_key(|(rendition, _)| rendition.size.pixels())
}

/// A rendition of which images are made.
struct Stage<'a> {
    packager: &'a mut Packager<AnyOutput>,
    rendition: &'a Rendition,
    track: TrackId,
    cancel: &'a Cancel,
}

impl<'a> Stage<'a> {
    fn new(
        packager: &'a mut Packager<AnyOutput>,
        (rendition, track): (&'a Rendition, TrackId),
        cancel: &'a Cancel,
    ) -> Self {
        Self {
            packager,
            rendition,
            track,
            cancel,
        }
    }

    fn developer(&self, size: (u32, u32)) -> Developer {
        let encoder = &self.rendition.encoder;
        Developer::new(size, encoder.color, encoder.light.peak())
    }

    fn failed(&self, source: rungs_media::Error) -> Error {
        Failure::Still {
            rendition: self.rendition.name.clone(),
            source,
        }
        .into()
    }

    /// Ticks of the track in a time since the start of the presentation.
    fn ticks(&self, time: Duration) -> u64 {
        let track = self.packager.track(self.track);
        let timescale = track.map_or(1, rungs_package::track::Track::timescale);
        let ticks = time.as_nanos() * u128::from(timescale) / 1_000_000_000;
        u64::try_from(ticks).unwrap_or(u64::MAX)
    }

    /// Makes and stores all tiles, one after the other.
    fn thumbnails(&mut self, board: &Board) -> Result<(), Error> {
        let moments = (0..board.count).map(|place| self.ticks(board.time(place)));
        let moments: Vec<_> = moments.collect();
        let mut developer = self.developer(board.thumbnail);
        let mut tile = Tile::new(board.tile_size());
        let mut place = 0;
        self.pictures(&moments, &mut |stage, frame| {
            let small = developer
                .apply(frame)
                .map_err(|error| stage.failed(error))?;
            tile.put(board.corner(place), &small);
            place += 1;
            let index = (place - 1) / (board.columns * board.rows);
            if board.on(index).end == place {
                let whole = std::mem::replace(&mut tile, Tile::new(board.tile_size())).frame();
                let jpeg = whole.and_then(|whole| still::jpeg(&whole, THUMBNAIL_QUANTIZER));
                let jpeg = jpeg.map_err(|error| stage.failed(error))?;
                stage.packager.put_tile(index, &jpeg)?;
            }
            Ok(())
        })
    }

    fn poster(&mut self, time: PosterTime) -> Result<Vec<u8>, Error> {
        let size = (self.rendition.size.width, self.rendition.size.height);
        let mut developer = self.developer(size);
        let candidates = match time {
            PosterTime::At(seconds) => {
                // A moment beyond all time is after the last picture.
                let time = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
                vec![self.ticks(time)]
            }
            PosterTime::Auto => self.places(),
        };
        let mut best: Option<(f64, Frame)> = None;
        for moment in candidates {
            self.pictures(&[moment], &mut |stage, frame| {
                let frame = developer
                    .apply(frame)
                    .map_err(|error| stage.failed(error))?;
                let contrast = still::contrast(&frame);
                if best.as_ref().is_none_or(|(most, _)| contrast > *most) {
                    best = Some((contrast, frame));
                }
                Ok(())
            })?;
            if best
                .as_ref()
                .is_some_and(|(contrast, _)| *contrast >= PLAIN)
            {
                break;
            }
        }
        let nothing = || rungs_media::Error::NoStream {
            kind: "video",
            index: 0,
        };
        let jpeg = best
            .ok_or_else(nothing)
            .and_then(|(_, frame)| still::jpeg(&frame, POSTER_QUANTIZER));
        jpeg.map_err(|error| self.failed(error))
    }

    /// The starts of the segments at each tenth of the presentation, in ticks.
    fn places(&self) -> Vec<u64> {
        let extents = self.packager.extents(self.track);
        let end = extents
            .last()
            .map_or(0, |(_, start, duration)| start + duration);
        let at = |place: u64| {
            let moment = end / (PLACES + 1) * place;
            let before = extents.iter().rev();
            let own = before
                .map(|(_, start, _)| *start)
                .find(|start| *start <= moment);
            own.unwrap_or(0)
        };
        let mut places: Vec<_> = (1..=PLACES).map(at).collect();
        places.dedup();
        places
    }

    /// Gives for each of the moments, which are in order, the first picture that is shown at or after it; after the last one, that one.
    fn pictures(
        &mut self,
        moments: &[u64],
        give: &mut dyn FnMut(&mut Self, &Frame) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let extents = self.packager.extents(self.track);
        let mut wanted: VecDeque<u64> = moments.iter().copied().collect();
        let last = extents.last().map(|(index, ..)| *index);
        for (index, start, duration) in extents {
            let Some(next) = wanted.front() else {
                break;
            };
            if *next >= start + duration && Some(index) != last {
                continue;
            }
            if self.cancel.is_cancelled() {
                return Err(Error::Interrupted);
            }
            let bytes = self.packager.read(self.track, index)?;
            let opened = Shown::open(bytes, self.cancel);
            let mut shown = opened.map_err(|error| self.failed(error))?;
            let mut before = None;
            while wanted.front().is_some_and(|next| *next < start + duration) || Some(index) == last
            {
                let frame = shown.next().map_err(|error| self.failed(error))?;
                let Some((since, frame)) = frame else {
                    break;
                };
                while wanted.front().is_some_and(|next| *next <= start + since) {
                    wanted.pop_front();
                    give(self, &frame)?;
                }
                if wanted.is_empty() {
                    break;
                }
                before = Some(frame);
            }
            // What comes after the last picture has started is the next segment's first, if there is one.
            if let (true, Some(frame)) = (Some(index) == last, before) {
                for _ in wanted.drain(..) {
                    give(self, &frame)?;
                }
            }
        }
        Ok(())
    }
}

/// The pictures of one segment in the order in which they are shown.
struct Shown {
    demuxer: Demuxer,
    decoder: VideoDecoder,
    first: Option<i64>,
}

impl Shown {
    fn open(bytes: Vec<u8>, cancel: &Cancel) -> Result<Self, rungs_media::Error> {
        let limits = Limits::default();
        let mut demuxer = Demuxer::open(&Source::from(bytes), &limits, cancel.media())?;
        let stream = demuxer.streams().first().cloned();
        let stream = stream.ok_or(rungs_media::Error::NoStream {
            kind: "video",
            index: 0,
        })?;
        demuxer.keep_only(&[0]);
        // One thread gives a picture as soon as it can be known.
        let options = DecodeOptions {
            threads: 1,
            strict: true,
            max_pixels: limits.max_pixels,
        };
        let decoder = VideoDecoder::open(&stream, &options)?;
        Ok(Self {
            demuxer,
            decoder,
            first: None,
        })
    }

    /// The next picture, and how long after the segment's first it is shown, in ticks.
    fn next(&mut self) -> Result<Option<(u64, Frame)>, rungs_media::Error> {
        loop {
            match self.decoder.receive()? {
                Received::Frame(frame) => {
                    let time = frame.pts().unwrap_or(0);
                    let since = time - *self.first.get_or_insert(time);
                    return Ok(Some((since.max(0).unsigned_abs(), frame)));
                }
                Received::End => return Ok(None),
                Received::NeedsInput => {
                    let packet = self.demuxer.read()?;
                    while self.decoder.send(packet.as_ref())? == Sent::Full {
                        // It has just asked for input, so it has room.
                    }
                }
            }
        }
    }
}
