//! A span too large to be held whole, on its way to its tasks: pictures from one pump in, the same pictures to every task out.
//!
//! Each consumer has a short line of its own. The pump waits for the slowest, so no more pictures are held than one line has room for, and a
//! consumer that is gone or told to stop holds nobody. How many pictures there are, and when the span ends, is known at its end.

use std::fmt;
use std::sync::Arc;

use rungs_media::frame::Frame;

use crate::cancel::Cancel;
use crate::error::EncodeError;
use crate::ids::SegmentIndex;
use crate::inspect::Signature;
use crate::scaling::Scaling;
use crate::span::Outline;
use crate::sync::{Mutex, PoisonError, Receiver, Sender, bounded, select};
use crate::timeline::Placed;

/// What goes over a line. One that ends without `End` was cut.
enum Item {
    Picture(Placed<Frame>, Look),
    End { end: i64, held: u32 },
}

/// What a picture looks like from afar, found once for all consumers.
type Look = Arc<Mutex<Option<Signature>>>;

/// A consumer's end: the pictures of one span, once.
pub struct Feed {
    index: SegmentIndex,
    line: Receiver<Item>,
    taken: Mutex<Taken>,
}

/// What a consumer has seen so far.
#[derive(Default)]
struct Taken {
    times: Vec<i64>,
    signatures: Vec<Signature>,
    end: Option<(i64, u32)>,
}

impl Feed {
    /// Place of the span.
    #[must_use]
    pub fn index(&self) -> SegmentIndex {
        self.index
    }

    /// Waits for the next picture; `None` after the last. Keeps what it looks like from afar if the task is looked at so closely: `looks` brings it here for that.
    pub(crate) fn next(
        &self,
        cancel: &Cancel,
        looks: Option<&Scaling>,
    ) -> Result<Option<Placed<Frame>>, EncodeError> {
        let item = select! {
            recv(self.line) -> item => item,
            recv(cancel.signal()) -> _ => return Err(EncodeError::Cancelled),
        };
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        match item {
            Ok(Item::Picture(picture, look)) => {
                if let Some(scaling) = looks {
                    let mut look = look.lock().unwrap_or_else(PoisonError::into_inner);
                    let signature = match look.take() {
                        Some(known) => known,
                        None => Signature::of(&scaling.bring(&picture.item)?),
                    };
                    taken.signatures.push(signature.clone());
                    *look = Some(signature);
                }
                taken.times.push(picture.time);
                Ok(Some(picture))
            }
            Ok(Item::End { end, held }) => {
                taken.end = Some((end, held));
                Ok(None)
            }
            Err(_) if taken.end.is_some() => Ok(None),
            // Whoever ends a job ends its pump and its tasks in any order.
            Err(_) if cancel.is_cancelled() => Err(EncodeError::Cancelled),
            Err(_) => Err(EncodeError::Starved),
        }
    }

    /// What the pictures that were taken look like from afar.
    pub(crate) fn signatures(&self) -> Vec<Signature> {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.signatures.clone()
    }

    /// Place and times of the span, once it was taken to its end.
    pub(crate) fn outline(&self) -> Option<Outline> {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.end.map(|(end, held)| Outline {
            index: self.index,
            times: taken.times.clone(),
            end,
            held,
        })
    }
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Feed({})", self.index)
    }
}

/// The pump's end. Dropping it before [`end`](Self::end) tells the consumers that the span will not be completed.
pub(crate) struct Feeder {
    index: SegmentIndex,
    consumers: Vec<Consumer>,
    times: Vec<i64>,
}

struct Consumer {
    line: Sender<Item>,
    cancel: Cancel,
}

/// The job is being ended.
pub(crate) struct Stopped;

/// Makes the lines for a span: a consumer for each of `cancels`, which tell the consumers to stop, with room for so many pictures each.
pub(crate) fn broadcast(
    index: SegmentIndex,
    room: usize,
    cancels: &[Cancel],
) -> (Feeder, Vec<Feed>) {
    let pair = |cancel: &Cancel| {
        let (sender, line) = bounded(room.max(1));
        let consumer = Consumer {
            line: sender,
            cancel: cancel.clone(),
        };
        let feed = Feed {
            index,
            line,
            taken: Mutex::default(),
        };
        (consumer, feed)
    };
    let (consumers, feeds) = cancels.iter().map(pair).unzip();
    let feeder = Feeder {
        index,
        consumers,
        times: Vec::new(),
    };
    (feeder, feeds)
}

impl Feeder {
    /// Hands a picture to every consumer that is still there. Blocks while the slowest has no room, unless `stop` is set.
    pub(crate) fn give(&mut self, picture: &Placed<Frame>, stop: &Cancel) -> Result<(), Stopped> {
        self.times.push(picture.time);
        let look = Look::default();
        self.tell(stop, || Item::Picture(picture.clone(), Arc::clone(&look)))
    }

    /// Ends the span and says what it was.
    pub(crate) fn outline(&self, end: i64, held: u32) -> Outline {
        Outline {
            index: self.index,
            times: self.times.clone(),
            end,
            held,
        }
    }

    /// Tells the consumers where the span ends. Blocks like [`give`](Self::give).
    pub(crate) fn end(mut self, outline: &Outline, stop: &Cancel) -> Result<(), Stopped> {
        let (end, held) = (outline.end, outline.held);
        self.tell(stop, || Item::End { end, held })
    }

    fn tell(&mut self, stop: &Cancel, item: impl Fn() -> Item) -> Result<(), Stopped> {
        let mut stopped = false;
        self.consumers.retain(|consumer| {
            !stopped
                && select! {
                    send(consumer.line, item()) -> sent => sent.is_ok(),
                    recv(consumer.cancel.signal()) -> _ => false,
                    recv(stop.signal()) -> _ => { stopped = true; true }
                }
        });
        if stopped { Err(Stopped) } else { Ok(()) }
    }
}

impl fmt::Debug for Feeder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Feeder({} to {})", self.index, self.consumers.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Lease;
    use crate::encoders::Encoders;
    use crate::ids::{DeviceId, RenditionId};
    use crate::ladder::Size;
    use crate::plan::{Estimate, Rendition};
    use crate::span::{Footage, Span, Task};
    use crate::timeline::Cell;
    use crate::worker::Backend;
    use rungs_media::encode;
    use rungs_media::frame::BitDepth;
    use rungs_media::hdr::Light;
    use rungs_media::scale::Kernel;
    use rungs_media::time::TimeBase;
    use rungs_media::{ChromaLocation, Color, Rational};
    use rungs_package::Digest;

    const SPAN: SegmentIndex = SegmentIndex::new(3);
    const SIZE: (u32, u32) = (128, 96);

    /// A picture with something to encode in it, unlike that at any other place.
    fn picture(place: u32) -> Placed<Frame> {
        let sample = |n: u32| (n.wrapping_mul(2_654_435_761) >> 27) as u8 * 4;
        let (width, height) = SIZE;
        let luma: Vec<u8> = (0..width * height)
            .map(|n| sample((n % width + place) / 8 + (n / width / 8) * 31))
            .collect();
        let chroma = vec![100 + place as u8; (width * height / 4) as usize];
        Placed {
            time: 4000 + i64::from(place) * 40,
            item: Frame::from_planes(width, height, &[&luma, &chroma, &chroma]).unwrap(),
        }
    }

    fn span(count: u32) -> Span {
        Span::new(Cell {
            index: SPAN,
            start: 4000,
            end: 4000 + i64::from(count) * 40,
            pictures: (0..count).map(picture).collect(),
            held: 0,
        })
    }

    /// Feeds a whole span.
    fn feed(mut feeder: Feeder, span: &Span, stop: &Cancel) -> Result<(), Stopped> {
        for picture in &span.frames {
            feeder.give(picture, stop)?;
        }
        let outline = feeder.outline(span.end, span.held);
        assert_eq!(outline, span.outline());
        feeder.end(&outline, stop)
    }

    /// Takes all that comes: the times, and whether it came to the end.
    fn take(feed: &Feed, cancel: &Cancel) -> (Vec<i64>, Result<(), EncodeError>) {
        let mut times = Vec::new();
        loop {
            match feed.next(cancel, None) {
                Ok(Some(picture)) => times.push(picture.time),
                Ok(None) => return (times, Ok(())),
                Err(error) => return (times, Err(error)),
            }
        }
    }

    fn rendition(encoder: &str, gop: Option<u32>) -> Arc<Rendition> {
        Arc::new(Rendition {
            id: RenditionId::new(0),
            name: "small".to_owned(),
            size: Size {
                width: SIZE.0,
                height: SIZE.1,
            },
            kernel: Kernel::default(),
            encoder: encode::Config {
                encoder: encoder.to_owned(),
                width: SIZE.0,
                height: SIZE.1,
                time_base: TimeBase::new(1, 1000).unwrap(),
                frame_rate: Some(Rational { num: 25, den: 1 }),
                color: Color {
                    primaries: 1,
                    transfer: 1,
                    matrix: 1,
                    full_range: false,
                    chroma_location: ChromaLocation::Left,
                },
                gop: 1,
                threads: 1,
                crf: 35,
                speed: 12,
                depth: BitDepth::Eight,
                light: Light::default(),
                rate: encode::Rate::Quality,
            },
            gop,
            configuration: Vec::new(),
            working_set: 0,
            trial_speed: 1.0,
            estimate: Estimate {
                peak: 0,
                average: 0,
            },
            fingerprint: Digest::of(&[]),
            others: Vec::new(),
            spare: Vec::new(),
            successors: Vec::new(),
        })
    }

    fn task(rendition: &Arc<Rendition>, footage: Footage) -> Task {
        Task {
            rendition: Arc::clone(rendition),
            footage,
            scaling: Arc::default(),
            threads: 1,
            measure: false,
            depth: crate::inspect::Depth::Pictures,
        }
    }

    #[test]
    fn fed_pictures_give_the_bytes_of_a_whole_span() {
        rungs_media::init();
        let software = Encoders::in_process();
        let lease = Lease::new(DeviceId::new(0), 0);
        let cancel = Cancel::new();
        for encoder in ["libsvtav1", "libaom-av1", "librav1e"] {
            if !encode::candidates(encode::Codec::Av1).contains(&encoder) {
                continue;
            }
            for (count, gop) in [(30, None), (1, None), (30, Some(12))] {
                let rendition = rendition(encoder, gop);
                let whole = Arc::new(span(count));
                let straight = task(&rendition, Footage::Whole(Arc::clone(&whole)));
                let straight = software.encode(&lease, &straight, &cancel).unwrap();
                let (feeder, mut feeds) = broadcast(SPAN, 2, std::slice::from_ref(&cancel));
                let fed = task(&rendition, Footage::Fed(Box::new(feeds.remove(0))));
                let result = std::thread::scope(|scope| {
                    scope.spawn(|| feed(feeder, &whole, &cancel).ok());
                    software.encode(&lease, &fed, &cancel).unwrap()
                });
                let bytes = |encoded: &crate::span::Encoded| -> Vec<_> {
                    let packets = encoded.packets.iter();
                    packets
                        .map(|packet| (packet.pts, packet.data.clone()))
                        .collect()
                };
                assert!(
                    bytes(&straight) == bytes(&result),
                    "{encoder}, {count} pictures"
                );
                assert_eq!(result.packets.len(), count as usize);
                let keys = result.packets.iter().filter(|packet| packet.key).count();
                assert_eq!(
                    keys > 1,
                    gop.is_some() && count > 12,
                    "{encoder}: {keys} keyframes"
                );
                assert_eq!(fed.footage.outline(), Some(whole.outline()));
                assert_eq!(
                    *fed.signatures(usize::MAX).unwrap(),
                    *whole.signatures(usize::MAX, &Scaling::default()).unwrap()
                );
            }
        }
    }

    #[test]
    fn every_consumer_gets_every_picture_and_the_slowest_sets_the_pace() {
        const ROOM: usize = 3;
        let span = span(40);
        let stop = Cancel::new();
        let (mut feeder, feeds) = broadcast(SPAN, ROOM, &[Cancel::new(), Cancel::new()]);
        let [quick, slow] = &feeds[..] else {
            panic!("two feeds");
        };
        std::thread::scope(|scope| {
            let quick = scope.spawn(|| take(quick, &stop));
            // The slow one takes nothing yet: its line fills, and nothing goes beyond.
            for picture in &span.frames[..ROOM] {
                assert!(feeder.give(picture, &stop).is_ok());
            }
            assert_eq!(slow.line.len(), ROOM);
            let rest = scope.spawn(|| {
                for picture in &span.frames[ROOM..] {
                    assert!(feeder.give(picture, &stop).is_ok());
                }
                let outline = feeder.outline(span.end, 0);
                assert!(feeder.end(&outline, &stop).is_ok());
            });
            let mut times = Vec::new();
            while let Some(picture) = slow.next(&stop, None).unwrap() {
                assert!(slow.line.len() <= ROOM);
                times.push(picture.time);
            }
            rest.join().unwrap();
            let (all, end) = quick.join().unwrap();
            assert_eq!(all, times);
            assert_eq!(times, span.outline().times);
            assert!(end.is_ok());
            assert_eq!(slow.outline(), Some(span.outline()));
        });
    }

    #[test]
    fn a_consumer_that_is_gone_or_told_to_stop_holds_nobody() {
        let span = span(20);
        let stop = Cancel::new();
        let told = Cancel::new();
        let (feeder, mut feeds) = broadcast(SPAN, 1, &[Cancel::new(), told.clone(), stop.clone()]);
        let stays = feeds.pop().unwrap();
        let hangs = feeds.pop().unwrap();
        drop(feeds);
        std::thread::scope(|scope| {
            let feeding = scope.spawn(|| feed(feeder, &span, &stop).is_ok());
            assert!(stays.next(&stop, None).unwrap().is_some());
            told.cancel();
            let (times, end) = take(&stays, &stop);
            assert_eq!(times.len(), span.frames.len() - 1);
            assert!(end.is_ok());
            assert!(feeding.join().unwrap());
        });
        // What was in its line can still be had; then it ends without an end.
        let (times, end) = take(&hangs, &stop);
        assert!(times.len() <= 2);
        assert!(matches!(end, Err(EncodeError::Starved)));
        assert_eq!(hangs.outline(), None);
    }

    #[test]
    fn a_feed_that_is_cut_is_no_end() {
        let stop = Cancel::new();
        let (mut feeder, feeds) = broadcast(SPAN, 4, std::slice::from_ref(&stop));
        assert!(feeder.give(&picture(0), &stop).is_ok());
        drop(feeder);
        let (times, end) = take(&feeds[0], &stop);
        assert_eq!(times, [4000]);
        assert!(matches!(end, Err(EncodeError::Starved)));
    }

    #[test]
    fn the_end_of_a_job_wakes_both_ends() {
        let stop = Cancel::new();
        let (mut feeder, feeds) = broadcast(SPAN, 1, &[Cancel::new(), Cancel::new()]);
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| {
                let given = |feeder: &mut Feeder| feeder.give(&picture(0), &stop);
                while given(&mut feeder).is_ok() {}
                drop(feeder);
            });
            assert!(feeds[0].next(&stop, None).unwrap().is_some());
            stop.cancel();
            waits.join().unwrap();
        });
        let (times, end) = take(&feeds[0], &stop);
        assert!(times.len() <= 1);
        assert!(matches!(end, Err(EncodeError::Cancelled)));
    }
}
