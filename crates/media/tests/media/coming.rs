//! Sources whose end is not known while they are read.

use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rungs_media::{CancelToken, Changed, Error, Identity, Lasting, Reading, Source, Supply};

use crate::clips::{make, open, packets};

/// Bytes that come in small pieces and do not say how many they are; each reader counts how far anybody has read.
#[derive(Clone)]
struct Coming {
    bytes: Arc<[u8]>,
    reached: Arc<AtomicU64>,
}

struct Piece {
    bytes: Cursor<Arc<[u8]>>,
    reached: Arc<AtomicU64>,
}

impl Supply for Coming {
    fn name(&self) -> String {
        "bytes".to_owned()
    }

    fn open(&self, _: &CancelToken) -> io::Result<Box<dyn Reading>> {
        Ok(Box::new(Piece {
            bytes: Cursor::new(Arc::clone(&self.bytes)),
            reached: Arc::clone(&self.reached),
        }))
    }

    fn is_whole(&self) -> bool {
        false
    }

    fn identity(&self) -> io::Result<Identity> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn lasting(&self) -> Lasting {
        Lasting::Never
    }
}

impl Read for Piece {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len().min(1000);
        let count = self.bytes.read(&mut buffer[..wanted])?;
        self.reached
            .fetch_max(self.bytes.position(), Ordering::SeqCst);
        Ok(count)
    }
}

impl Seek for Piece {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        assert!(!matches!(to, SeekFrom::End(_)), "nobody knows the end");
        self.bytes.seek(to)
    }
}

impl Reading for Piece {
    fn length(&self) -> Option<u64> {
        None
    }
}

/// The index of the sound in the clips.
const SOUND: usize = 1;
const FILM: &str = "-f lavfi -i testsrc2=s=640x360:r=25:d=20 -f lavfi -i sine=d=20 -c:v mpeg4 -b:v 6M -c:a aac -shortest";

#[test]
fn packets_are_those_of_the_whole_file_and_come_before_its_end() {
    for (name, options, streams) in [
        ("a.ts", "", true),
        ("a.mkv", "", true),
        ("a.mp4", "-movflags +frag_keyframe+empty_moov", true),
        ("a.mp4", "-movflags +faststart", true),
        // Its index stands at the end.
        ("a.mp4", "", false),
        ("a.avi", "", false),
        ("a.flv", "-c:v flv -ar 44100", true),
    ] {
        let Some(clip) = make(&format!("{FILM} {options}"), name) else {
            return;
        };
        let coming = Coming {
            bytes: clip.bytes().into(),
            reached: Arc::default(),
        };
        let source = Source::Supply(Arc::new(coming.clone()));
        let mut demuxer = open(&source).unwrap();
        let reached = coming.reached.load(Ordering::SeqCst);
        let length = coming.bytes.len() as u64;
        assert_eq!(
            reached < length,
            streams,
            "{name} {options}: {reached} of {length}"
        );
        assert!(!demuxer.seeks_exactly());
        let whole = packets(&mut clip.open()).unwrap();
        let come = packets(&mut demuxer).unwrap();
        assert_eq!(whole.len(), come.len(), "{name} {options}");
        for (one, other) in whole.iter().zip(&come) {
            assert_eq!(one.stream(), other.stream(), "{name} {options}");
            assert!(one.data() == other.data(), "{name} {options}");
            // FFmpeg spreads the time of several packets of sound over them, and rounds otherwise where it has looked for the end.
            let time = |packet: &rungs_media::Packet| packet.pts().or(packet.dts());
            let same = match (time(one), time(other)) {
                (Some(whole), Some(come)) => (whole - come).abs() <= 1,
                // Of packets of sound that come together it may tell the first one's time only.
                (_, other) => other.is_none() && one.stream() == SOUND,
            };
            assert!(same, "{name} {options}: {one:?} {other:?}");
        }
    }
}

#[test]
fn a_source_that_has_changed_is_an_error_of_its_own() {
    let what = "it is another".to_owned();
    let error = Error::from(io::Error::from(Changed { what }));
    assert!(matches!(error, Error::Changed(_)), "{error:?}");
    let error = Error::from(io::Error::other("no luck"));
    assert!(matches!(error, Error::Io(_)), "{error:?}");
}
