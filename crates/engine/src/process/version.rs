//! Which program a process is, and which libraries it has loaded: what both ends of a pipe must have in common.

use std::fmt;
use std::fs;

use serde::{Deserialize, Serialize};

/// Changes whenever other words go over the pipes.
const PROTOCOL: u32 = 1;
/// How the files of encoders' libraries begin. FFmpeg does not report their versions.
const ENCODERS: [&str; 5] = ["libSvtAv1Enc", "libx264", "libx265", "libaom", "librav1e"];

/// The version of a program and of all that decides what its encoders make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    program: String,
    protocol: u32,
    ffmpeg: String,
    /// FFmpeg's libraries with their versions, then the files of the encoders' libraries.
    libraries: Vec<String>,
}

impl Version {
    /// That of this process.
    #[must_use]
    pub fn own() -> Self {
        let ffmpeg = rungs_media::versions().into_iter();
        let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
        Self {
            program: env!("CARGO_PKG_VERSION").to_owned(),
            protocol: PROTOCOL,
            ffmpeg: rungs_media::ffmpeg_version(),
            libraries: ffmpeg
                .map(|library| format!("{} {}", library.name, library.version))
                .chain(encoders(&maps))
                .collect(),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            program,
            protocol,
            ffmpeg,
            libraries,
        } = self;
        write!(
            formatter,
            "rungs {program} (protocol {protocol}, FFmpeg {ffmpeg}, {})",
            libraries.join(", ")
        )
    }
}

/// The names of the encoders' files in the memory of a process, in order and each once. They carry
/// the versions: `libSvtAv1Enc.so.1.4.1`.
fn encoders(maps: &str) -> Vec<String> {
    let files = maps.lines().filter_map(|line| {
        let path = line.get(line.find('/')?..)?;
        // A file that was replaced since.
        let path = path.strip_suffix(" (deleted)").unwrap_or(path);
        let name = path.rsplit('/').next()?;
        let is_encoder = ENCODERS.iter().any(|start| name.starts_with(start));
        is_encoder.then(|| name.to_owned())
    });
    let mut files: Vec<String> = files.collect();
    files.sort();
    files.dedup();
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoders_are_found_by_the_files_that_are_mapped() {
        let maps = "\
            55d0-55d1 r--p 0 08:01 1 /usr/bin/rungs\n\
            7f00-7f01 r--p 0 08:01 2 /usr/lib/libx265.so.199\n\
            7f01-7f02 r-xp 0 08:01 2 /usr/lib/libx265.so.199\n\
            7f02-7f03 r-xp 0 08:01 3 /usr/lib/libSvtAv1Enc.so.1.4.1 (deleted)\n\
            7f03-7f04 rw-p 0 00:00 0 \n\
            7f04-7f05 rw-p 0 00:00 0 [heap]\n";
        assert_eq!(encoders(maps), ["libSvtAv1Enc.so.1.4.1", "libx265.so.199"]);
    }

    #[test]
    fn a_version_names_the_program_the_protocol_and_the_libraries() {
        let own = Version::own();
        assert_eq!(own, Version::own());
        let shown = own.to_string();
        for part in [
            env!("CARGO_PKG_VERSION"),
            "protocol 1",
            "FFmpeg ",
            "libavcodec ",
        ] {
            assert!(shown.contains(part), "{shown}");
        }
    }
}
