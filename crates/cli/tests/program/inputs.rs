//! Many kinds of files: each container, codec of pictures and of sound, and form of samples becomes a whole package.
//!
//! A kind is a line of words: container, picture codec, sound codec or `-`, and the form of the samples if it is not `yuv420p`. With
//! `RUNGS_SUPPORT` set to a folder, what has passed is written there, a file for each test; `make support` makes the tables of
//! `docs/support.md` of them.

use std::fmt::Write as _;
use std::path::Path;

use rungs_testkit::checker::Expectation;
use rungs_testkit::clips::{Audio, Clip};
use rungs_testkit::tool;

use crate::support::{Made, ready};

/// Pictures of each clip but those of a codec that wants its own size.
const SIZE: (u32, u32) = (192, 112);
const FRAMES: u32 = 12;

/// What a line says.
struct Kind<'a> {
    line: &'a str,
    container: &'a str,
    picture: &'a str,
    sound: &'a str,
    format: &'a str,
}

impl<'a> Kind<'a> {
    fn of(line: &'a str) -> Self {
        let mut words = line.split(' ');
        let mut word = |usual| words.next().unwrap_or(usual);
        Self {
            line,
            container: word(""),
            picture: word(""),
            sound: word("-"),
            format: word("yuv420p"),
        }
    }

    fn clip(&self) -> Clip {
        let (width, height) = match self.picture {
            "dvvideo" => (720, 576),
            "h263" => (176, 144),
            "dnxhd" => (256, 144),
            _ => SIZE,
        };
        let clip = Clip::new()
            .size(width, height)
            .rate("25")
            .frames(FRAMES)
            .container(self.container.split('+').next().unwrap_or_default())
            .codec(self.picture)
            .pixel_format(self.format)
            .extra(self.extra());
        match self.sound {
            "-" => clip,
            codec => clip.audio(Audio::Stereo).audio_codec(codec),
        }
    }

    /// What `ffmpeg` needs besides to make it.
    fn extra(&self) -> &'static [&'static str] {
        match (self.container, self.picture, self.sound) {
            ("mp4+fragments", ..) => &["-movflags", "+frag_keyframe+empty_moov"],
            ("mp4+first", ..) => &["-movflags", "+faststart"],
            // FFmpeg's reader of MXF takes the order of decoding for that of showing.
            ("mxf", "libx264", _) => &["-bf", "0"],
            ("m2ts", ..) => &["-mpegts_m2ts_mode", "1"],
            (_, "dnxhd", _) => &["-profile:v", "dnxhr_sq"],
            (_, "dvvideo", _) => &["-ar", "48000"],
            (_, "vc2" | "snow" | "cfhd", _) | (_, _, "dca" | "truehd") => &["-strict", "-2"],
            ("flv" | "rm", ..) => &["-ar", "44100"],
            _ => &[],
        }
    }
}

/// Whether this FFmpeg can make it.
fn can_make(kind: &Kind) -> bool {
    let has = |codec: &str| tool::require_encoder(codec).is_some();
    let sound = match kind.sound {
        "-" => true,
        "opus" => has("libopus"),
        "mp3" => has("libmp3lame"),
        "pcm" => has("pcm_s16le"),
        codec => has(codec),
    };
    sound && has(kind.picture)
}

/// Packages each kind, and asks the checker for a whole package with the source's pictures.
fn whole(test: &str, lines: &[&str]) {
    if !ready() {
        return;
    }
    let mut passed = String::new();
    for line in lines {
        let kind = Kind::of(line);
        if !can_make(&kind) {
            continue;
        }
        let source = kind.clip().make();
        let made = Made::of(&source, &["--crf", "30", "--rung", "source"]);
        made.check(&Expectation {
            source: Some(source),
            segment_seconds: Some(1.0),
            audio: Some(kind.sound != "-"),
            renditions: Some(1),
            ..Expectation::default()
        });
        let _ = writeln!(passed, "{}", kind.line);
    }
    assert!(!passed.is_empty(), "none could be made here");
    if let Some(folder) = std::env::var_os("RUNGS_SUPPORT") {
        let file = Path::new(&folder).join(test);
        std::fs::write(&file, passed).expect("the folder for what has passed can be written");
    }
}

#[test]
fn containers_of_the_web() {
    whole(
        "web",
        &[
            "mp4+first libx264 aac",
            "mp4+fragments libx264 aac",
            "mp4 libx265 aac",
            "mp4 libsvtav1 opus",
            "mp4 libvpx-vp9 opus",
            "mp4 mpeg4 mp3",
            "mov libx264 aac",
            "mkv libx264 ac3",
            "mkv libx265 eac3",
            "mkv libsvtav1 flac",
            "webm libvpx libvorbis",
            "webm libvpx-vp9 opus",
            "webm libsvtav1 opus",
            "flv libx264 aac",
            "flv flv mp3",
            "3gp h263 aac",
        ],
    );
}

#[test]
fn containers_of_broadcast() {
    whole(
        "broadcast",
        &[
            "ts libx264 aac",
            "ts libx265 ac3",
            "ts mpeg2video mp2",
            "m2ts libx264 ac3",
            "mpg mpeg1video mp2",
            "mpg mpeg2video mp2",
            "vob mpeg2video ac3",
            "mxf mpeg2video pcm",
            "mxf libx264 pcm",
            "mxf dnxhd pcm_s24le yuv422p",
            "mov dvvideo pcm",
            "avi dvvideo pcm",
        ],
    );
}

#[test]
fn containers_of_the_past() {
    whole(
        "past",
        &[
            "avi mpeg4 mp3",
            "avi msmpeg4 mp3",
            "avi mjpeg pcm yuvj420p",
            "avi cinepak - rgb24",
            "wmv wmv2 wmav2",
            "asf wmv1 wmav1",
            "rm rv20 ac3",
            "ogv libtheora libvorbis",
            "nut mpeg4 mp2",
            "gif gif - rgb8",
            "mov svq1 - yuv410p",
            "avi zmbv - rgb24",
        ],
    );
}

#[test]
fn codecs_of_studios() {
    whole(
        "studio",
        &[
            "mov prores_ks pcm yuv422p10le",
            "mov prores_ks pcm_s24le yuva444p10le",
            "mov dnxhd pcm yuv422p",
            "mov qtrle pcm rgb24",
            "mov png - rgb24",
            "mov jpeg2000 pcm yuv444p",
            "mov cfhd pcm yuv422p10le",
            "mkv ffv1 flac yuv422p10le",
            "mkv ffv1 pcm gray",
            "mkv ffv1 - bgr0",
            "avi ffv1 pcm yuv411p",
            "avi huffyuv pcm yuv422p",
            "avi utvideo pcm gbrp",
            "avi magicyuv pcm yuv444p",
            "avi rawvideo pcm yuv420p",
            "mkv libx264 alac yuv444p",
            "mkv libx264 wavpack yuv422p10le",
            "mov mjpeg alac yuvj422p",
        ],
    );
}

#[test]
#[ignore = "more kinds of the same; `make test-full` runs it"]
fn rarer_kinds() {
    whole("rarer", RARER);
}

const RARER: &[&str] = &[
    "mkv vc2 - yuv422p",
    "avi snow -",
    "avi asv1 -",
    "avi asv2 -",
    "avi ljpeg - yuvj420p",
    "avi rawvideo pcm_alaw yuv422p",
    "mov rawvideo pcm_s32le rgb24",
    "nut rawvideo pcm nv12",
    "nut rawvideo - yuv440p",
    "nut rawvideo - gray10le",
    "nut rawvideo - gbrp10le",
    "nut rawvideo - p010le",
    "nut rawvideo - monob",
    "nut rawvideo - rgb565le",
    "mkv ffv1 - yuv420p12le",
    "mkv ffv1 - yuv444p16le",
    "mkv ffv1 - yuva420p",
    "mkv libx264 truehd",
    "mkv libx264 dca",
    "mkv libx264 tta",
    "mkv libx264 libvorbis",
    "mkv libx264 pcm_f32le",
    "mkv libx264 adpcm_ms",
    "mkv libx265 aac yuv420p10le",
    "mkv libx265 aac yuv444p12le",
    "mp4 libx265 alac yuv422p10le",
    "mp4 libvpx-vp9 aac yuv444p",
    "webm libvpx-vp9 opus yuv420p10le",
    "mp4 libsvtav1 aac yuv420p10le",
    "mp4 libaom-av1 opus yuv444p",
    "mp4 mpeg4 ac3",
    "mp4 mpeg2video mp3",
    "mp4 mjpeg aac yuvj420p",
    "mkv mpeg4 mp3",
    "mkv mpeg1video mp2",
    "mkv msmpeg4v2 mp3",
    "mkv wmv2 wmav2",
    "mkv libtheora flac",
    "mkv libvpx opus",
    "mkv prores_ks pcm yuv422p10le",
    "mkv huffyuv pcm rgb24",
    "mkv mjpeg flac yuvj444p",
    "mov libx265 aac",
    "mov mpeg2video pcm_s16be",
    "mov mpeg4 aac",
    "mov libx264 pcm_s24be",
    "avi libx264 ac3",
    "avi wmv1 mp3",
    "avi msmpeg4v2 mp2",
    "avi mpeg2video mp2",
    "avi png - rgba",
    "avi flashsv - bgr24",
    "ts libx264 mp3",
    "ts libx264 eac3",
    "ts libx264 opus",
    "ts mpeg4 mp2",
    "ts mpeg1video mp2",
    "mxf jpeg2000 pcm yuv422p",
    "mxf prores_aw pcm yuv422p10le",
    "flv flashsv adpcm_swf bgr24",
    "flv flv nellymoser",
    "ogv libtheora flac",
    "ogv libtheora opus",
    "wmv msmpeg4 wmav1",
    "asf mpeg4 mp3",
    "nut libx264 libvorbis",
    "nut ffv1 flac",
    "3gp mpeg4 aac",
    "3gp libx264 aac",
    "rm rv10 ac3",
    "m2ts mpeg2video ac3",
    "m2ts libx265 eac3",
    "mpg libx264 ac3",
    "vob mpeg1video mp2",
    "webm libaom-av1 libvorbis",
];
