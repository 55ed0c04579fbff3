//! The audio and the subtitles of a job: one reader of the source, and a few workers that make segments of what it reads.
//!
//! ```text
//!                                 Cue (a boundary of the video)
//!                                              │
//!                     ┌── packets, unbounded ──▼── worker ── its followers: tracks of audio ──► segments
//! source ── reader ───┤
//!                     └── packets, unbounded ───── worker ── its followers: audio, subtitles ──► segments
//!              ▲                                     │
//!              └──────── Report: bytes used, wish ───┘
//! ```
//!
//! The reader has one demuxer for all of them, since a demuxer looks at every stream of the file and takes memory for each. It reads on when
//! a follower wants more, and stops when too much of what it has read is not used yet; [`flow`] decides.
//!
//! # Why nobody waits for ever
//!
//! A worker waits for two things only: boundaries, and what the reader sends. It takes both at any time, and what one of its followers
//! cannot use yet is kept by that follower, so the reader never waits for a boundary. The reader waits for reports only, in three cases:
//!
//! - No follower wants more. A boundary makes one want more, and it reports that. When there are no more boundaries, the followers end, and so do the reports.
//! - Much is held, and a follower works on what it was given. It reports when it has used it.
//! - Much is held, and only subtitles want more. The audio has enough up to the last boundary. The next one comes from the video, which waits
//!   for neither, and either has held packets used or makes audio want more.
//!
//! Streams that lie far apart in the file cannot stop each other: packets of a follower that has enough are passed over while much is held,
//! and read again from the beginning when it wants them. So such a file is read about once for each [`HELD_BYTES`] of audio, and no other more than once.

mod flow;
mod reader;
mod worker;

use rungs_media::demux::Stream;
use rungs_media::{AvError, Error, Packet, Source};
use rungs_package::TrackId;

use crate::cancel::Cancel;
use crate::control::CueLine;
use crate::message::Cue;
use crate::sync::{Receiver, Sender, spawn_scoped, thread, unbounded};

use self::flow::Wish;
use self::reader::Reader;
use self::worker::Worker;

/// Bytes of packets that are held for followers, about, before the source is read on with care.
const HELD_BYTES: u64 = 48 << 20;

/// Bytes that a track of audio takes while it is made: a decoder, a resampler, an encoder, and what is on its way. Two contexts of AAC take 1.1 MB.
const AUDIO_BYTES: u64 = 3 << 19;
/// The share of a job's memory that its audio may take, as a divisor.
const MEMORY_SHARE: u64 = 4;

/// What a follower is given of the source.
#[derive(Debug)]
pub(crate) enum Given {
    /// The next packet of one of its streams.
    Packet(Packet),
    /// There is no more; with the error if the rest cannot be read.
    End(Option<AvError>),
}

/// How a follower stands after it has worked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stand {
    /// It has made all segments up to the last boundary that it knows.
    Waits,
    /// It needs more of the source to reach the boundary.
    Hungry,
    /// It has sent its last message.
    Over,
}

/// One that makes segments of some streams of the source: a track of audio, or all tracks of subtitles.
pub(crate) trait Follower: Send {
    /// The streams whose packets it is given.
    fn streams(&self) -> Vec<usize>;

    /// The stream whose times it is told, without its packets.
    fn watches(&self) -> Option<usize> {
        None
    }

    /// The source is open: these are all of its streams.
    fn begin(&mut self, streams: &[Stream]);

    /// Takes what the source has next. Does not block.
    fn give(&mut self, given: Given);

    /// The stream that it watches was read up to here, in ticks of the stream.
    fn reached(&mut self, _time: i64) {}

    /// Takes the next boundary. Does not block.
    fn cue(&mut self, cue: Cue);

    /// All boundaries are known, or the job ends.
    fn last_cue(&mut self);

    /// Makes what can be made, and tells `used` now and then how many bytes of packets it has used. Blocks while it computes.
    fn work(&mut self, used: &mut dyn FnMut(u64)) -> Stand;

    /// Nothing comes any more, since the job is ending. Sends the last message.
    fn stop(&mut self);
}

/// A boundary for one of the followers of a worker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FollowerCue {
    slot: usize,
    cue: Cue,
}

/// Where the boundaries for a follower are sent.
#[derive(Clone, Debug)]
pub(crate) struct CueSender {
    slot: usize,
    sender: Sender<FollowerCue>,
}

impl CueSender {
    /// Sends a boundary. A follower that is over does not want it, and has said so itself.
    pub(crate) fn send(&self, cue: Cue) {
        let slot = self.slot;
        self.sender.send(FollowerCue { slot, cue }).ok();
    }
}

/// Who is reached how: the worker, and the follower's place there.
struct Seat {
    worker: usize,
    slot: usize,
}

/// What the reader sends to a worker.
enum Delivery {
    Begin { slot: usize, streams: Vec<Stream> },
    Given { slot: usize, given: Given },
    Reached { slot: usize, time: i64 },
}

/// What a worker reports to the reader.
struct Report {
    follower: usize,
    used: u64,
    wish: Wish,
}

/// Which part of the source is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    /// Start of the presentation on the source's clock, in seconds.
    pub(crate) origin: f64,
    /// Whether reading starts close to it, where the container says where that is.
    pub(crate) from_there: bool,
}

/// A reader with its workers, to be run on a thread.
pub(crate) struct Crew<'a> {
    reader: Reader<'a>,
    workers: Vec<Worker<'a>>,
}

/// A follower with what its boundaries look like.
pub(crate) struct Following<'a> {
    pub(crate) follower: Box<dyn Follower + 'a>,
    /// Its track of audio; `None` for the subtitles.
    pub(crate) track: Option<TrackId>,
    /// Ticks a second, in which boundaries are given.
    pub(crate) rate: u32,
}

/// Puts tracks of audio into groups that are made one after the other, as many in each as the memory of a job lets.
pub(crate) fn groups(mut audio: Vec<Following<'_>>, memory: u64) -> Vec<Vec<Following<'_>>> {
    let at_once = (memory / MEMORY_SHARE / AUDIO_BYTES).max(1);
    let at_once = usize::try_from(at_once).unwrap_or(usize::MAX);
    let mut groups = Vec::new();
    while !audio.is_empty() {
        let rest = audio.split_off(at_once.min(audio.len()));
        groups.push(std::mem::replace(&mut audio, rest));
    }
    groups
}

impl<'a> Crew<'a> {
    /// Puts followers before a source, and gives where the boundaries for each are sent.
    pub(crate) fn new(
        (source, part): (&'a Source, Part),
        followings: Vec<Following<'a>>,
        (failed, cancel): (Failed, &Cancel),
    ) -> (Self, Vec<CueLine>) {
        let (reports, reported) = unbounded();
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let count = cores.min(followings.len()).max(1);
        let mut crew: Vec<Worker<'a>> = Vec::new();
        let mut deliveries = Vec::new();
        let mut boundaries = Vec::new();
        for _ in 0..count {
            let (deliver, delivered) = unbounded();
            let (cue, cues) = unbounded();
            crew.push(Worker::new((cues, delivered), reports.clone(), cancel));
            deliveries.push(deliver);
            boundaries.push(cue);
        }
        let mut reader = Reader::new((source, part), (deliveries, reported), (failed, cancel));
        let mut lines = Vec::new();
        for (index, following) in followings.into_iter().enumerate() {
            let worker = index % count;
            let slot = crew[worker].len();
            reader.serve(following.follower.as_ref(), Seat { worker, slot });
            crew[worker].take(index, following.follower);
            let sender = boundaries[worker].clone();
            lines.push(CueLine {
                track: following.track,
                rate: following.rate,
                cues: CueSender { slot, sender },
            });
        }
        (
            Self {
                reader,
                workers: crew,
            },
            lines,
        )
    }

    /// Runs until every follower is over. `guard` runs the body of a worker's thread, and ends the job if it panics.
    pub(crate) fn run(self, guard: &(dyn Fn(&mut dyn FnMut()) + Sync)) {
        let Self { reader, workers } = self;
        thread::scope(|scope| {
            for mut worker in workers {
                let work = move || guard(&mut || worker.run());
                if let Err(error) = spawn_scoped(scope, "tracks", work) {
                    // The other workers end when the reader is gone.
                    return reader.fail(error.into());
                }
            }
            reader.run();
        });
    }
}

/// Takes what the reader failed of, and at which second of the presentation.
pub(crate) type Failed = Box<dyn Fn(f64, Error) + Send>;

/// What the reader hears of its workers, and says to them.
type Lines = (Vec<Sender<Delivery>>, Receiver<Report>);

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::time::Duration;

    use rungs_media::demux::Demuxer;
    use rungs_media::{CancelToken, Limits};
    use rungs_testkit::clips::{Audio, Clip};
    use rungs_testkit::tool;

    use super::*;
    use crate::ids::SegmentIndex;

    /// Keeps the times of the packets of a stream, all of which it wants once it knows of a boundary.
    struct Collector {
        stream: usize,
        packets: VecDeque<Packet>,
        cue: bool,
        ended: bool,
        complete: bool,
        times: Vec<Option<i64>>,
        out: Sender<(usize, Vec<Option<i64>>)>,
    }

    impl Collector {
        fn new(stream: usize, out: &Sender<(usize, Vec<Option<i64>>)>) -> Self {
            Self {
                stream,
                packets: VecDeque::new(),
                cue: false,
                ended: false,
                complete: false,
                times: Vec::new(),
                out: out.clone(),
            }
        }
    }

    impl Follower for Collector {
        fn streams(&self) -> Vec<usize> {
            vec![self.stream]
        }

        fn begin(&mut self, streams: &[Stream]) {
            assert_eq!(streams[0].index, self.stream);
        }

        fn give(&mut self, given: Given) {
            match given {
                Given::Packet(packet) => self.packets.push_back(packet),
                Given::End(_) => self.ended = true,
            }
        }

        fn cue(&mut self, _: Cue) {
            self.cue = true;
        }

        fn last_cue(&mut self) {
            self.complete = true;
        }

        fn work(&mut self, used: &mut dyn FnMut(u64)) -> Stand {
            if self.cue {
                for packet in self.packets.drain(..) {
                    self.times.push(packet.pts());
                    used(packet.data().len() as u64);
                }
                if !self.ended {
                    return Stand::Hungry;
                }
                self.cue = false;
                self.out
                    .send((self.stream, std::mem::take(&mut self.times)))
                    .ok();
            }
            if self.complete {
                Stand::Over
            } else {
                Stand::Waits
            }
        }

        fn stop(&mut self) {}
    }

    #[test]
    fn what_was_passed_over_is_read_again() {
        if tool::require("ffmpeg").is_none() {
            return;
        }
        let clip = Clip::new().size(64, 64).seconds(1.0).container("mkv");
        let clip = clip.audio(Audio::Stereo).extra(&["-map", "1:a"]).make();
        let source = Source::from(clip.as_path());
        let all = |stream: usize| {
            let token = CancelToken::default();
            let mut demuxer = Demuxer::open(&source, &Limits::default(), &token).unwrap();
            demuxer.keep_only(&[stream]);
            let packets = std::iter::from_fn(|| demuxer.read().unwrap());
            packets.map(|packet| packet.pts()).collect::<Vec<_>>()
        };
        let (out, collected) = unbounded();
        let following = |stream| Following {
            follower: Box::new(Collector::new(stream, &out)) as Box<dyn Follower>,
            track: None,
            rate: 1,
        };
        let part = Part {
            origin: 0.0,
            from_there: false,
        };
        let failed: Failed = Box::new(|_, error| panic!("{error}"));
        let cancel = Cancel::new();
        let followings = vec![following(1), following(2)];
        let (mut crew, lines) = Crew::new((&source, part), followings, (failed, &cancel));
        // A packet or two fill it, so nothing of the second track is kept while only the first wants something.
        crew.reader.limit = 1;
        let cue = Cue {
            index: SegmentIndex::FIRST,
            end: 1,
            last: true,
        };
        let wait = || collected.recv_timeout(Duration::from_mins(1));
        thread::scope(|scope| {
            scope.spawn(|| crew.run(&|body| body()));
            lines[0].cues.send(cue);
            assert_eq!(wait(), Ok((1, all(1))));
            lines[1].cues.send(cue);
            assert_eq!(wait(), Ok((2, all(2))));
            drop(lines);
        });
        assert!(all(2).len() > 10);
    }
}
