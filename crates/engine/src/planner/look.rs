//! What the source is, and its first pictures.

use rungs_media::demux::{Demuxer, Stream, StreamKind, VideoInfo};
use rungs_media::hdr;
use rungs_media::normalise;
use rungs_media::overlay::{self, Overlay};
use rungs_media::{Limits, Source};

use crate::cancel::Cancel;
use crate::error::Refusal;
use crate::ladder::{self, Size, Stored};
use crate::picture::{self, PicturePlan};
use crate::plan::Warning;
use crate::read::{Material, Picture, ReadOptions, Reader, VideoMaterial, VideoReader};
use crate::window::{Window, Windowed};

use super::Planner;
use super::color::complete_color;

/// Pictures of the source that each encoder is tried on.
const TRIAL_PICTURES: usize = 6;

/// What is known about the source after a first look.
pub(super) struct Look {
    pub(super) format: String,
    pub(super) promised_seconds: Option<f64>,
    pub(super) promised_by_track: bool,
    pub(super) video: Stream,
    pub(super) info: VideoInfo,
    pub(super) audio: Vec<Stream>,
    pub(super) subtitles: Vec<Stream>,
}

impl Planner<'_> {
    /// Looks at the source, and decides what becomes of its pictures.
    pub(super) fn look(&self, source: &Source) -> Result<(Look, PicturePlan), Refusal> {
        let mut look = look(source, self.cancel)?;
        let (width, height) = (look.info.width, look.info.height);
        if width.min(height) == 1 {
            return Err(Refusal::TooSmall { width, height });
        }
        let media = self.cancel.media();
        if hdr::is_hdr(look.info.color) {
            let first = hdr::first_light(source, look.video.index, media);
            let first = first.map_err(|error| Refusal::NoPicture(Some(error)))?;
            look.info.light = look.info.light.or(first.light);
        }
        let mut picture = picture::plan(&self.spec.picture, &look.info, look.video.time_base)?;
        look.info.frame_rate = picture.frame_rate;
        look.video.time_base = picture.time_base;
        look.info.color = complete_color(picture.color, shown_size(&look.info));
        picture.normalise.overlay = self.overlay(look.info.color.matrix)?;
        Ok((look, picture))
    }

    /// Reads the image that is to lie over the pictures, whose matrix this is.
    fn overlay(&self, matrix: u8) -> Result<Option<Overlay>, Refusal> {
        let Some(wanted) = &self.spec.picture.overlay else {
            return Ok(None);
        };
        let image = overlay::read_image(&wanted.path).map_err(|source| Refusal::Overlay {
            path: wanted.path.clone(),
            source,
        })?;
        Ok(Some(Overlay {
            path: wanted.path.clone(),
            x: wanted.x,
            y: wanted.y,
            matrix,
            digest: image.digest(),
        }))
    }

    /// The part of the source that is asked for, on its own clock.
    pub(super) fn window(
        &self,
        source: &Source,
        seen: (&Look, &PicturePlan),
    ) -> Result<Option<Window>, Refusal> {
        if self.spec.cut.is_whole() {
            return Ok(None);
        }
        let mut reader = self.reader(source, seen)?;
        let first = reader.next().map_err(|e| Refusal::NoPicture(Some(e)))?;
        let first = first.ok_or(Refusal::NoPicture(None))?;
        let origin = first.timestamp.unwrap_or(0);
        Ok(self.spec.cut.window(origin, seen.0.video.time_base))
    }

    fn read_options(&self, picture: &PicturePlan) -> ReadOptions {
        ReadOptions {
            normalise: picture.normalise.clone(),
            strict: self.spec.strict,
            threads: 0,
        }
    }

    fn reader(
        &self,
        source: &Source,
        (look, picture): (&Look, &PicturePlan),
    ) -> Result<VideoReader, Refusal> {
        let options = self.read_options(picture);
        VideoReader::open(source, look.video.index, options, self.cancel.media())
            .map_err(Refusal::Source)
    }

    pub(super) fn first_pictures(
        &self,
        source: &Source,
        (look, picture): (&Look, &PicturePlan),
        window: Option<Window>,
    ) -> Result<Vec<Picture>, Refusal> {
        let mut reader: Box<dyn Reader> = match window {
            None => Box::new(self.reader(source, (look, picture))?),
            Some(window) => {
                let (stream, options) = (look.video.index, self.read_options(picture));
                let material = VideoMaterial::new(source, stream, options, self.cancel.media())
                    .map_err(Refusal::Source)?;
                let windowed = Windowed {
                    material: &material,
                    window,
                };
                windowed.open(None).map_err(Refusal::Source)?.reader
            }
        };
        let filters = !picture.normalise.filters.is_empty();
        let mut pictures = Vec::new();
        while pictures.len() < TRIAL_PICTURES {
            match reader.next() {
                Ok(Some(picture)) => pictures.push(picture),
                Err(source @ rungs_media::Error::Filter { .. })
                    if pictures.is_empty() && filters =>
                {
                    let filters = picture.normalise.filters.to_string();
                    return Err(Refusal::Filters { filters, source });
                }
                Err(error) if pictures.is_empty() => return Err(Refusal::NoPicture(Some(error))),
                // An error further on is met by the job itself, which says where.
                Ok(None) | Err(_) => break,
            }
        }
        if !pictures.is_empty() {
            Ok(pictures)
        } else if window.is_some() {
            Err(Refusal::NothingThere)
        } else {
            Err(Refusal::NoPicture(None))
        }
    }
}

/// What a series of images lacks.
pub(super) fn missing_images(source: &Source) -> Option<Warning> {
    let Source::Images(images) = source else {
        return None;
    };
    images.missing().map(|missing| Warning::ImagesMissing {
        count: missing.count,
        first: missing.first,
    })
}

fn look(source: &Source, cancel: &Cancel) -> Result<Look, Refusal> {
    let demuxer =
        Demuxer::open(source, &Limits::default(), cancel.media()).map_err(Refusal::Source)?;
    let of_kind = |wanted: fn(&StreamKind) -> bool| {
        demuxer
            .streams()
            .iter()
            .filter(move |stream| wanted(&stream.kind))
    };
    let pictures = of_kind(|kind| matches!(kind, StreamKind::Video(_)))
        .filter(|stream| !stream.attached_picture);
    // The default track if one is marked, otherwise the first.
    let video = pictures.min_by_key(|stream| !stream.is_default).cloned();
    let Some(video) = video else {
        return Err(Refusal::NoVideo {
            found: found(&demuxer),
        });
    };
    if video.encrypted || starts_encrypted(source, &video, cancel) {
        return Err(Refusal::Encrypted { codec: video.codec });
    }
    let StreamKind::Video(info) = video.kind.clone() else {
        return Err(Refusal::NoVideo {
            found: found(&demuxer),
        });
    };
    if let Some(dolby_vision) = info.dolby_vision
        && !dolby_vision.has_compatible_base()
    {
        let profile = dolby_vision.profile;
        return Err(Refusal::DolbyVision { profile });
    }
    let track = video.duration.map(|ticks| video.time_base.seconds(ticks));
    let whole = demuxer.duration().map(|duration| duration.as_secs_f64());
    Ok(Look {
        format: demuxer.format().to_owned(),
        promised_by_track: track.is_some(),
        promised_seconds: track.or(whole).filter(|seconds| *seconds > 0.0),
        info,
        audio: of_kind(|kind| matches!(kind, StreamKind::Audio(_)))
            .cloned()
            .collect(),
        subtitles: of_kind(|kind| matches!(kind, StreamKind::Subtitle))
            .cloned()
            .collect(),
        video,
    })
}

/// Whether the first packet of the video is encrypted, which some files say nowhere else: decoders would make noise of it. A source that can be read
/// once only is not asked.
fn starts_encrypted(source: &Source, video: &Stream, cancel: &Cancel) -> bool {
    if !matches!(source, Source::Path(_) | Source::Bytes(_)) {
        return false;
    }
    let Ok(mut demuxer) = Demuxer::open(source, &Limits::default(), cancel.media()) else {
        return false;
    };
    demuxer.keep_only(&[video.index]);
    let first = demuxer.read().ok().flatten();
    first.is_some_and(|packet| packet.is_encrypted())
}

fn found(demuxer: &Demuxer) -> String {
    let names = demuxer.streams().iter().map(|stream| match &stream.kind {
        StreamKind::Video(_) => format!("a cover picture ({})", stream.codec),
        StreamKind::Audio(_) => format!("sound ({})", stream.codec),
        StreamKind::Subtitle => format!("subtitles ({})", stream.codec),
        StreamKind::Data | StreamKind::Other => "data".to_owned(),
    });
    let names: Vec<String> = names.collect();
    if names.is_empty() {
        "it has no tracks at all".to_owned()
    } else {
        format!("it has {}", names.join(", "))
    }
}

fn positive(n: i32) -> u32 {
    u32::try_from(n).unwrap_or(1).max(1)
}

/// The size at which normalised pictures are shown, of which this is the first.
pub(super) fn normalised_size(
    info: &VideoInfo,
    (config, first): (&normalise::Config, &Picture),
) -> Size {
    if config.filters.is_empty() {
        return shown_size(info);
    }
    let (frame, aspect) = (&first.frame, first.frame.sample_aspect());
    let stored = Stored {
        size: Size {
            width: frame.width(),
            height: frame.height(),
        },
        pixel_aspect: (positive(aspect.num), positive(aspect.den)),
        sideways: false,
    };
    stored.shown()
}

pub(super) fn shown_size(info: &VideoInfo) -> Size {
    let stored = Stored {
        size: Size {
            width: info.width,
            height: info.height,
        },
        pixel_aspect: (
            positive(info.sample_aspect.num),
            positive(info.sample_aspect.den),
        ),
        sideways: info.rotation.quarter_turns_clockwise % 2 == 1,
    };
    stored.shown()
}

/// Pixels that claim an absurd shape make absurd pictures.
pub(super) fn check_shown(shown: Size) -> Result<(), Refusal> {
    let longest = shown.width.max(shown.height);
    if shown.pixels() <= Limits::default().max_pixels && longest <= ladder::LONGEST_SIDE {
        return Ok(());
    }
    Err(Refusal::Source(rungs_media::Error::TooLarge {
        width: shown.width,
        height: shown.height,
    }))
}
