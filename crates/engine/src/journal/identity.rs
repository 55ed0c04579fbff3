//! Which source a job was begun with: length, time of change, and a digest of samples of its bytes.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::time::UNIX_EPOCH;

use rungs_media::{CancelToken, Lasting, Source};
use rungs_package::Digest;
use rungs_package::digest::Hasher;
use serde::{Deserialize, Serialize};

/// Bytes of each block that is read, and how many blocks are read between the first and the last.
const BLOCK: u64 = 64 * 1024;
const BETWEEN: u64 = 16;

/// What tells a source from another one. Length and digest decide; a file that was only touched is the same.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct SourceIdentity {
    /// Its length in bytes.
    pub bytes: u64,
    /// When it was changed, in seconds since 1970, where that is known. For people.
    pub modified: Option<u64>,
    /// The digest of its first and last 64 KiB and of 16 blocks in between, or of all of a short one.
    pub sha256: Digest,
}

impl PartialEq for SourceIdentity {
    fn eq(&self, other: &Self) -> bool {
        (self.bytes, self.sha256) == (other.bytes, other.sha256)
    }
}

impl SourceIdentity {
    /// Looks at a source; blocks while a megabyte is read. A source that comes once has none, and is an error.
    pub fn of(source: &Source) -> io::Result<Self> {
        Self::read(source, &CancelToken::default())
    }

    /// The same; the token ends the wait for a server.
    pub fn read(source: &Source, cancel: &CancelToken) -> io::Result<Self> {
        let marked = |bytes, sha256| Self {
            bytes,
            modified: None,
            sha256,
        };
        match source.lasting()? {
            Lasting::File(path) => {
                let mut file = File::open(path)?;
                let metadata = file.metadata()?;
                let modified = metadata.modified().ok();
                let since = modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
                Ok(Self {
                    modified: since.map(|time| time.as_secs()),
                    ..marked(metadata.len(), sample(&mut file, metadata.len())?)
                })
            }
            Lasting::Read { len } => {
                let mut reader = source.open(cancel)?;
                Ok(marked(len, sample(&mut reader, len)?))
            }
            Lasting::Marked { len, mark } => Ok(marked(len, Digest::of(mark.as_bytes()))),
            Lasting::Never => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "it comes once and is not known again",
            )),
        }
    }
}

fn sample(file: &mut (impl Read + Seek), length: u64) -> io::Result<Digest> {
    let mut hasher = Hasher::default();
    let mut block = Vec::new();
    let mut take = |from: u64, bytes: u64| {
        file.seek(SeekFrom::Start(from))?;
        block.clear();
        file.by_ref().take(bytes).read_to_end(&mut block)?;
        hasher.add(&block);
        Ok::<_, io::Error>(())
    };
    if length <= (BETWEEN + 2) * BLOCK {
        take(0, length)?;
    } else {
        // The first block is number 0, the last BETWEEN + 1.
        for place in 0..=BETWEEN + 1 {
            take((length - BLOCK) / (BETWEEN + 1) * place, BLOCK)?;
        }
        take(length - BLOCK, BLOCK)?;
    }
    Ok(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: Vec<u8>) -> SourceIdentity {
        SourceIdentity::of(&Source::from(bytes)).expect("memory can be read")
    }

    #[test]
    fn a_file_is_itself_until_its_length_or_its_ends_change() {
        for length in [0, 1, 100_000, 3_000_000_usize] {
            let bytes: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
            assert_eq!(of(bytes.clone()), of(bytes.clone()));
            let mut longer = bytes.clone();
            longer.push(0);
            assert_ne!(of(longer), of(bytes.clone()));
            for place in [0, length / 2, length.saturating_sub(1)] {
                let mut other = bytes.clone();
                if let Some(byte) = other.get_mut(place) {
                    *byte ^= 1;
                    let middle = place == length / 2 && length > 2_000_000;
                    assert_eq!(of(other) == of(bytes.clone()), middle, "{length}, {place}");
                }
            }
        }
    }

    #[test]
    fn a_touched_file_is_the_same() {
        let one = of(vec![1, 2, 3]);
        let touched = SourceIdentity {
            modified: Some(7),
            ..one
        };
        assert_eq!(one, touched);
    }
}
