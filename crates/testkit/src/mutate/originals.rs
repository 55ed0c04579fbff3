//! The files that are damaged: tiny, of many containers, each with pictures and most with sound.

use std::fs;
use std::path::Path;

use crate::clips::{Audio, Clip, Error};
use crate::tool;

/// A file that nothing is wrong with.
#[derive(Clone, Debug)]
pub struct Original {
    /// Container and codecs in words.
    pub name: &'static str,
    /// The size of its packets, where the container has packets of one size.
    pub packet: Option<usize>,
    /// Whether its bytes are damaged anywhere; if not, it is there for its structure alone.
    pub any_byte: bool,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl Original {
    /// The file extension of its container.
    #[must_use]
    pub fn container(&self) -> &'static str {
        extension(self.name)
    }
}

/// Pictures of each: more than one segment of the shortest length.
const FRAMES: u32 = 16;

/// Container, picture, sound (`-` for none), in words of [`Clip`].
const KINDS: [&str; 20] = [
    "mp4 libx264 aac",
    "mkv libx264 ac3",
    "ts libx264 aac",
    "avi mpeg4 mp3",
    "flv flv mp3",
    "mp4+fragments libx264 aac",
    "webm libvpx-vp9 opus",
    "ogv libtheora libvorbis",
    "mxf mpeg2video pcm",
    "mov prores_ks pcm",
    "ts mpeg2video eac3",
    "wmv wmv2 wmav2",
    "mp4 libx265 eac3",
    "gif gif -",
    "mp4 libsvtav1 opus",
    "mkv ffv1 flac",
    "vob mpeg2video ac3",
    "flv libx264 aac",
    "avi libx264 mp3",
    "mp4+alone libx264 -",
];
/// The first of those whose bytes are damaged anywhere.
const ANY_BYTE: usize = 16;

/// Writes originals into a folder, for other processes to [`load`].
pub fn store(originals: &[Original], folder: &Path) -> Result<(), Error> {
    for (place, name) in KINDS.iter().enumerate() {
        if let Some(original) = originals.iter().find(|original| original.name == *name) {
            let path = folder.join(place.to_string());
            fs::write(&path, &original.bytes).map_err(|source| Error::Io { path, source })?;
        }
    }
    Ok(())
}

/// Reads what was stored in a folder: the same originals in the same order.
pub fn load(folder: &Path) -> Result<Vec<Original>, Error> {
    let stored = |(place, name): (usize, &'static str)| {
        let path = folder.join(place.to_string());
        path.exists().then(|| original(name, &path))
    };
    KINDS.into_iter().enumerate().filter_map(stored).collect()
}

fn original(name: &'static str, path: &Path) -> Result<Original, Error> {
    let bytes = fs::read(path).map_err(|source| Error::Io {
        path: path.to_owned(),
        source,
    })?;
    Ok(Original {
        name,
        packet: name.starts_with("ts ").then_some(188),
        any_byte: KINDS[..ANY_BYTE].contains(&name),
        bytes,
    })
}

/// Makes them, or finds them where they were made before; leaves out what this FFmpeg cannot make. Blocks while `ffmpeg` runs.
pub fn originals() -> Result<Vec<Original>, Error> {
    let mut made = Vec::new();
    for name in KINDS {
        let words: Vec<&'static str> = name.split(' ').collect();
        let [container, picture, sound] = words[..] else {
            continue;
        };
        if !tool::has_encoder(picture) {
            continue;
        }
        let path = clip(container, picture, sound).try_make()?;
        made.push(original(name, &path)?);
    }
    Ok(made)
}

fn extension(name: &'static str) -> &'static str {
    name.split(['+', ' ']).next().unwrap_or(name)
}

fn clip(container: &'static str, picture: &str, sound: &str) -> Clip {
    // SVT-AV1 makes no smaller pictures.
    let clip = Clip::new()
        .size(96, 64)
        .rate("25")
        .frames(FRAMES)
        .gop(6)
        .container(extension(container))
        .codec(picture)
        .pixel_format(match picture {
            "prores_ks" => "yuv422p10le",
            "gif" => "rgb8",
            _ => "yuv420p",
        })
        .extra(match (container, picture) {
            ("mp4+fragments", _) => &["-movflags", "+frag_keyframe+empty_moov"],
            ("flv", _) => &["-ar", "44100"],
            // A track of text has a parser too.
            ("mkv", "libx264") => &["-metadata", "title=tags have lengths as well"],
            _ => &[],
        });
    let clip = if (container, picture) == ("mkv", "libx264") {
        clip.subtitles("ass", "eng", "1\n00:00:00,100 --> 00:00:00,400\nText\n")
    } else {
        clip
    };
    match sound {
        "-" => clip,
        codec => clip.audio(Audio::Stereo).audio_codec(codec),
    }
}
