//! `rungs probe`: what is in a file.

use std::io::Write;

use rungs_engine::Cancel;
use rungs_media::demux::{Demuxer, Stream, StreamKind};
use rungs_media::hdr::{self, DolbyVision};
use rungs_media::{Limits, Source};
use serde::Serialize;

use crate::args::{InputArgs, ProbeArgs};
use crate::failure::{Problem, clean};
use crate::input::Input;
use crate::table::bit_rate;
use crate::{print, print_raw};

/// Version of the JSON form.
const PROBE_VERSION: u32 = 1;

#[derive(Serialize)]
struct Probed {
    version: u32,
    format: String,
    seconds: Option<f64>,
    bit_rate: Option<u64>,
    tracks: Vec<ProbedTrack>,
}

#[derive(Serialize)]
struct ProbedTrack {
    index: usize,
    #[serde(flatten)]
    kind: Kind,
    codec: String,
    profile: Option<String>,
    seconds: Option<f64>,
    bit_rate: Option<u64>,
    language: Option<String>,
    title: Option<String>,
    default: bool,
    encrypted: bool,
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Kind {
    Video {
        width: u32,
        height: u32,
        frames_per_second: Option<f64>,
        frames_promised: Option<u64>,
        pixel_format: String,
        bit_depth: u8,
        pixel_aspect: (i32, i32),
        rotation_degrees: u32,
        mirrored: bool,
        /// Code points of H.273.
        primaries: u8,
        transfer: u8,
        matrix: u8,
        full_range: bool,
        dolby_vision: Option<DolbyVision>,
        /// Whether the first frame has metadata of HDR10+; `None` if it cannot be decoded.
        hdr10_plus: Option<bool>,
    },
    CoverPicture {
        width: u32,
        height: u32,
    },
    Audio {
        sample_rate: u32,
        channels: u32,
        layout: String,
    },
    Subtitle,
    Data,
}

pub(crate) fn run(args: &ProbeArgs) -> Result<(), Problem> {
    let cancel = Cancel::new();
    let from = InputArgs::file(args.input.clone());
    let input = Input::open(&from, (&std::env::temp_dir(), &cancel))?;
    let demuxer = Demuxer::open(input.source(), &Limits::default(), cancel.media())
        .map_err(|error| Problem::source(error).about(input.name()))?;
    let probed = Probed {
        version: PROBE_VERSION,
        format: demuxer.format().to_owned(),
        seconds: demuxer.duration().map(|duration| duration.as_secs_f64()),
        bit_rate: demuxer.bit_rate(),
        tracks: demuxer
            .streams()
            .iter()
            .map(|stream| track(stream, (input.source(), &cancel)))
            .collect(),
    };
    if args.json {
        return print_raw(|out| {
            serde_json::to_writer_pretty(&mut *out, &probed)?;
            writeln!(out)
        });
    }
    print(|out| text(out, &probed))
}

fn track(stream: &Stream, from: (&Source, &Cancel)) -> ProbedTrack {
    ProbedTrack {
        index: stream.index,
        kind: kind(stream, from),
        codec: stream.codec.clone(),
        profile: stream.profile.clone(),
        seconds: stream.duration.map(|ticks| stream.time_base.seconds(ticks)),
        bit_rate: stream.bit_rate,
        language: stream.language.clone(),
        title: stream.title.clone(),
        default: stream.is_default,
        encrypted: stream.encrypted,
    }
}

/// Whether the first frame of a video track has metadata of HDR10+. Only frames in PQ have such.
fn hdr10_plus(stream: &Stream, (source, cancel): (&Source, &Cancel)) -> Option<bool> {
    let info = stream.video()?;
    if info.color.transfer != hdr::PQ || stream.encrypted {
        return Some(false);
    }
    let first = hdr::first_light(source, stream.index, cancel.media());
    first.ok().map(|first| first.hdr10_plus)
}

fn kind(stream: &Stream, from: (&Source, &Cancel)) -> Kind {
    match &stream.kind {
        StreamKind::Video(info) if stream.attached_picture => Kind::CoverPicture {
            width: info.width,
            height: info.height,
        },
        StreamKind::Video(info) => Kind::Video {
            width: info.width,
            height: info.height,
            frames_per_second: info.frame_rate.map(rungs_media::Rational::as_f64),
            frames_promised: stream.frames,
            pixel_format: info.pixel_format.clone(),
            bit_depth: info.bit_depth,
            pixel_aspect: (info.sample_aspect.num, info.sample_aspect.den),
            rotation_degrees: u32::from(info.rotation.quarter_turns_clockwise) * 90,
            mirrored: info.rotation.mirrored,
            primaries: info.color.primaries,
            transfer: info.color.transfer,
            matrix: info.color.matrix,
            full_range: info.color.full_range,
            dolby_vision: info.dolby_vision,
            hdr10_plus: hdr10_plus(stream, from),
        },
        StreamKind::Audio(info) => Kind::Audio {
            sample_rate: info.sample_rate,
            channels: info.channels,
            layout: info.layout.clone(),
        },
        StreamKind::Subtitle => Kind::Subtitle,
        StreamKind::Data | StreamKind::Other => Kind::Data,
    }
}

fn text(out: &mut Vec<u8>, probed: &Probed) -> std::io::Result<()> {
    write!(out, "{}", clean(&probed.format))?;
    if let Some(seconds) = probed.seconds {
        write!(out, ", {seconds:.2} s")?;
    }
    if let Some(rate) = probed.bit_rate {
        write!(out, ", {}", bit_rate(rate))?;
    }
    writeln!(out)?;
    for track in &probed.tracks {
        let mut parts = vec![format!("{}: {}", track.index, describe(track))];
        parts.extend(track.bit_rate.map(bit_rate));
        parts.extend(track.seconds.map(|seconds| format!("{seconds:.2} s")));
        parts.extend(track.language.clone());
        parts.extend(track.title.as_ref().map(|title| format!("{title:?}")));
        parts.extend(track.encrypted.then(|| "encrypted".to_owned()));
        writeln!(out, "  {}", clean(&parts.join(", ")))?;
    }
    Ok(())
}

/// Such as `Dolby Vision profile 8.1 level 6`, with what its record says besides.
fn dolby_words(dolby: DolbyVision) -> String {
    let DolbyVision {
        profile,
        level,
        compatibility,
        ..
    } = dolby;
    let base = if dolby.has_compatible_base() {
        ""
    } else {
        " without a compatible base layer"
    };
    let layers = if dolby.has_enhancement_layer {
        " with an enhancement layer"
    } else {
        ""
    };
    format!("Dolby Vision profile {profile}.{compatibility} level {level}{layers}{base}")
}

fn describe(track: &ProbedTrack) -> String {
    let codec = match &track.profile {
        Some(profile) => format!("{} ({profile})", track.codec),
        None => track.codec.clone(),
    };
    match &track.kind {
        Kind::Video {
            width,
            height,
            frames_per_second,
            pixel_format,
            pixel_aspect,
            rotation_degrees,
            dolby_vision,
            hdr10_plus,
            ..
        } => {
            let rate = frames_per_second.map(|rate| format!(" {rate:.3} frames/s"));
            let aspect = (pixel_aspect.0 != pixel_aspect.1)
                .then(|| format!(", pixels {}:{}", pixel_aspect.0, pixel_aspect.1));
            let turned = (*rotation_degrees > 0).then(|| format!(", turned {rotation_degrees}°"));
            let dolby = dolby_vision.map(|dolby| format!(", {}", dolby_words(dolby)));
            let plus = (*hdr10_plus == Some(true)).then(|| ", HDR10+".to_owned());
            let extras = [rate, aspect, turned, dolby, plus]
                .into_iter()
                .flatten()
                .collect::<String>();
            format!("video {codec} {width}x{height} {pixel_format}{extras}")
        }
        Kind::CoverPicture { width, height } => format!("cover picture {codec} {width}x{height}"),
        Kind::Audio {
            sample_rate,
            channels,
            layout,
        } => format!("audio {codec} {sample_rate} Hz {layout} ({channels} ch)"),
        Kind::Subtitle => format!("subtitles {codec}"),
        Kind::Data => format!("data {codec}"),
    }
}
