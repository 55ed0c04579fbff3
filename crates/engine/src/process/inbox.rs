//! What an encoder's process sends, as far as it can be true. Nothing is allocated because the process claims it, and the first
//! thing that cannot be true ends the process.

use std::io;
use std::time::Duration;

use rungs_media::encode::EncodedPacket;

use super::version::Version;
use super::wire::{self, Reply, Used};

/// Packets beyond one for each frame that are counted rather than refused: the count is checked later.
const SPARE_PACKETS: usize = 16;
/// Bytes of a packet beyond twice those of its frame.
const SPARE_BYTES: usize = 1 << 20;
/// No time, in ticks, is further from 0.
const FURTHEST: u64 = 1 << 48;
/// No process has held more memory, in bytes.
const MOST_MEMORY: u64 = 1 << 48;
/// No order has taken more processor time.
const LONGEST: Duration = Duration::from_secs(1 << 32);

/// What an encoder's process sent that cannot be true.
#[derive(Debug, thiserror::Error)]
pub enum ProtocolError {
    /// The process is another program than this one, or has other libraries.
    #[error("it is {theirs}, and this is {own}")]
    Version {
        /// This process.
        own: Box<Version>,
        /// The encoder's.
        theirs: Box<Version>,
    },
    /// It sent something else before its version.
    #[error("it does not begin with its version")]
    NoVersion,
    /// It sent what is no message.
    #[error("it sent what is no message")]
    Message(#[source] io::Error),
    /// A packet is larger than packets are.
    #[error("it announced a packet of {length} bytes, where {most} are the most")]
    Packet {
        /// The bytes that were announced.
        length: usize,
        /// The most that a packet of this job can have.
        most: usize,
    },
    /// There are more packets than frames.
    #[error("it sent more than {most} packets for {frames} frames")]
    Packets {
        /// The most that are taken.
        most: usize,
        /// The frames that it got.
        frames: usize,
    },
    /// A number is out of range.
    #[error("it sent {0} out of range")]
    Number(&'static str),
    /// It sent something when nothing was due.
    #[error("it sent something after its last message, or its last message too early")]
    OutOfTurn,
}

/// The replies of one process.
pub(super) struct Inbox {
    own: Version,
    /// What was read and is not a whole reply yet.
    unread: Vec<u8>,
    greeted: bool,
    order: Received,
}

/// What came of the order that is under way.
#[derive(Default)]
struct Received {
    /// The most bytes of a packet.
    largest: usize,
    /// Frames that were sent.
    frames: usize,
    /// No more frames follow.
    is_closed: bool,
    packets: Vec<EncodedPacket>,
    last: Option<Last>,
}

/// The last message of an order.
pub(super) enum Last {
    /// All packets are out.
    Done(Used),
    /// The encoder refused.
    Failed { reason: String, capacity: bool },
}

impl Inbox {
    pub(super) fn new(own: Version) -> Self {
        Self {
            own,
            unread: Vec::new(),
            greeted: false,
            order: Received::default(),
        }
    }

    /// Begins an order whose frames have so many bytes.
    pub(super) fn begin(&mut self, frame: usize) {
        self.order = Received {
            largest: frame.saturating_mul(2).saturating_add(SPARE_BYTES),
            ..Received::default()
        };
    }

    /// Notes that a frame goes out.
    pub(super) fn sends_frame(&mut self) {
        self.order.frames += 1;
    }

    /// Notes that the order has all its frames.
    pub(super) fn closes(&mut self) {
        self.order.is_closed = true;
    }

    /// The last message of the order, if it has come.
    pub(super) fn last(&self) -> Option<&Last> {
        self.order.last.as_ref()
    }

    /// Takes what came of the order.
    pub(super) fn take(&mut self) -> (Vec<EncodedPacket>, Option<Last>) {
        let order = std::mem::take(&mut self.order);
        (order.packets, order.last)
    }

    /// Takes in what was read.
    pub(super) fn receive(&mut self, bytes: &[u8]) -> Result<(), ProtocolError> {
        self.unread.extend_from_slice(bytes);
        let mut taken = 0;
        while let Some(length) = self.next(taken)? {
            taken += length;
        }
        self.unread.drain(..taken);
        Ok(())
    }

    /// Reads the reply at a place, and returns how many bytes it has; `None` if it is not whole yet.
    fn next(&mut self, from: usize) -> Result<Option<usize>, ProtocolError> {
        let bytes = &self.unread[from..];
        let parsed = wire::parse::<Reply>(bytes).map_err(ProtocolError::Message)?;
        let Some((reply, head)) = parsed else {
            return Ok(None);
        };
        if self.order.last.is_some() {
            return Err(ProtocolError::OutOfTurn);
        }
        let mut whole = head;
        match reply {
            Reply::Hello(_) if self.greeted => return Err(ProtocolError::OutOfTurn),
            Reply::Hello(theirs) if theirs == self.own => self.greeted = true,
            Reply::Hello(theirs) => {
                return Err(ProtocolError::Version {
                    own: Box::new(self.own.clone()),
                    theirs: Box::new(theirs),
                });
            }
            _ if !self.greeted => return Err(ProtocolError::NoVersion),
            Reply::Packet {
                pts,
                dts,
                duration,
                key,
                length,
            } => {
                self.order.check([pts, dts, duration], length)?;
                whole += length;
                let Some(data) = bytes.get(head..whole) else {
                    return Ok(None);
                };
                let data = data.to_vec();
                self.order.packets.push(EncodedPacket {
                    data,
                    pts,
                    dts,
                    duration,
                    key,
                });
            }
            Reply::Done(used) => {
                if !self.order.is_closed {
                    return Err(ProtocolError::OutOfTurn);
                }
                self.order.last = Some(Last::Done(checked(used)?));
            }
            Reply::Failed { reason, capacity } => {
                self.order.last = Some(Last::Failed { reason, capacity });
            }
        }
        Ok(Some(whole))
    }
}

impl Received {
    fn check(&self, times: [i64; 3], length: usize) -> Result<(), ProtocolError> {
        if length > self.largest {
            return Err(ProtocolError::Packet {
                length,
                most: self.largest,
            });
        }
        let most = self.frames.saturating_add(SPARE_PACKETS);
        if self.packets.len() >= most {
            let frames = self.frames;
            return Err(ProtocolError::Packets { most, frames });
        }
        if times.iter().any(|time| time.unsigned_abs() > FURTHEST) {
            return Err(ProtocolError::Number("a time"));
        }
        Ok(())
    }
}

/// What was used, if anything can have used it.
fn checked(used: Used) -> Result<Used, ProtocolError> {
    if used.cpu > LONGEST {
        return Err(ProtocolError::Number("a processor time"));
    }
    if used.peak_memory.is_some_and(|bytes| bytes > MOST_MEMORY) {
        return Err(ProtocolError::Number("a size of memory"));
    }
    Ok(used)
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const FRAME: usize = 1000;

    fn version() -> Version {
        static OWN: LazyLock<Version> = LazyLock::new(Version::own);
        OWN.clone()
    }

    fn packet(length: usize, time: i64) -> Reply {
        Reply::Packet {
            pts: time,
            dts: time,
            duration: 1,
            key: false,
            length,
        }
    }

    fn done(cpu: Duration, peak_memory: Option<u64>) -> Reply {
        Reply::Done(Used {
            configuration: vec![1, 2],
            cpu,
            peak_memory,
        })
    }

    fn bytes(replies: &[(Reply, &[u8])]) -> Vec<u8> {
        let mut all = Vec::new();
        for (reply, data) in replies {
            wire::reply(&mut all, reply, data).expect("a vector takes it");
        }
        all
    }

    /// An inbox that knows the version of its process, with an order of two frames.
    fn inbox() -> Inbox {
        let mut inbox = Inbox::new(version());
        inbox.begin(FRAME);
        inbox.sends_frame();
        inbox.sends_frame();
        inbox.closes();
        let hello = bytes(&[(Reply::Hello(version()), &[])]);
        inbox.receive(&hello).expect("the same version");
        inbox
    }

    fn refused(replies: &[(Reply, &[u8])]) -> ProtocolError {
        let refused = inbox().receive(&bytes(replies));
        refused.expect_err("it cannot be true")
    }

    #[test]
    fn what_is_true_is_taken_wherever_it_is_cut() {
        let second = Duration::from_secs(1);
        let all = bytes(&[
            (packet(3, 0), b"abc"),
            (packet(0, 1), b""),
            (done(second, Some(1 << 30)), b""),
        ]);
        for cut in 0..=all.len() {
            let mut inbox = inbox();
            inbox.receive(&all[..cut]).expect("true");
            inbox.receive(&all[cut..]).expect("true");
            let (packets, last) = inbox.take();
            assert_eq!((packets.len(), &packets[0].data[..]), (2, &b"abc"[..]));
            assert!(matches!(last, Some(Last::Done(used)) if used.cpu == second));
        }
    }

    #[test]
    fn another_version_is_refused_and_both_are_named() {
        let mut other = serde_json::to_value(version()).expect("JSON");
        other["program"] = "0.0.9".into();
        let other: Version = serde_json::from_value(other).expect("a version");
        let mut inbox = Inbox::new(version());
        let hello = bytes(&[(Reply::Hello(other.clone()), &[])]);
        let error = inbox.receive(&hello).expect_err("another version");
        let told = error.to_string();
        assert!(
            told.contains(&other.to_string()) && told.contains(&version().to_string()),
            "{told}"
        );
        let silent = Inbox::new(version()).receive(&bytes(&[(packet(0, 0), &[])]));
        assert!(matches!(silent, Err(ProtocolError::NoVersion)));
    }

    #[test]
    fn what_cannot_be_true_is_refused_before_it_is_waited_for() {
        use ProtocolError::{Message, Number, OutOfTurn, Packet, Packets};
        let largest = 2 * FRAME + SPARE_BYTES;
        for length in [largest + 1, 1 << 62, usize::MAX] {
            assert!(matches!(
                refused(&[(packet(length, 0), b"")]),
                Packet { .. }
            ));
        }
        let most = 2 + SPARE_PACKETS;
        let many: Vec<_> = (0..=most).map(|_| (packet(0, 0), &b""[..])).collect();
        assert!(inbox().receive(&bytes(&many[..most])).is_ok());
        assert!(matches!(refused(&many), Packets { frames: 2, .. }));
        for time in [i64::MIN, i64::MAX] {
            assert!(matches!(refused(&[(packet(0, time), b"")]), Number(_)));
        }
        let used = [
            done(Duration::MAX, None),
            done(Duration::ZERO, Some(u64::MAX)),
        ];
        for used in used {
            assert!(matches!(refused(&[(used, b"")]), Number(_)));
        }
        let twice = [(done(Duration::ZERO, None), &b""[..]), (packet(0, 0), b"")];
        assert!(matches!(refused(&twice), OutOfTurn));
        let again = [(Reply::Hello(version()), &b""[..])];
        assert!(matches!(refused(&again), OutOfTurn));
        let mut early = inbox();
        early.order.is_closed = false;
        let done = bytes(&[(done(Duration::ZERO, None), b"")]);
        assert!(matches!(early.receive(&done), Err(OutOfTurn)));
        assert!(matches!(inbox().receive(&[0xff; 8]), Err(Message(_))));
        assert!(matches!(inbox().receive(b"\x02\0\0\0{}"), Err(Message(_))));
    }

    fn any_reply() -> impl Strategy<Value = Vec<u8>> {
        let number = prop_oneof![Just(0), Just(1), Just(i64::MAX), any::<i64>()];
        let length = prop_oneof![0..40_usize, Just(1 << 40), any::<usize>()];
        let data = vec(any::<u8>(), 0..40);
        let packet = (vec(number, 3), length, data).prop_map(|(times, length, data)| {
            let reply = Reply::Packet {
                pts: times[0],
                dts: times[1],
                duration: times[2],
                key: true,
                length,
            };
            bytes(&[(reply, &data)])
        });
        let last = (any::<u64>(), any::<Option<u64>>());
        let last = last.prop_map(|(seconds, memory)| {
            bytes(&[(done(Duration::from_secs(seconds), memory), b"")])
        });
        let hello = Just(bytes(&[(Reply::Hello(version()), b"")]));
        let failed = any::<String>().prop_map(|reason| {
            let capacity = false;
            bytes(&[(Reply::Failed { reason, capacity }, b"")])
        });
        prop_oneof![6 => packet, 1 => last, 1 => hello, 1 => failed, 1 => vec(any::<u8>(), 0..60)]
    }

    proptest! {
        #[test]
        fn whatever_comes_no_more_is_held_than_came(
            replies in vec(any_reply(), 0..40), cuts in 1..200_usize, greeted in any::<bool>(),
        ) {
            let mut inbox = if greeted { inbox() } else { Inbox::new(version()) };
            // What its own greeting took.
            let mut came = inbox.unread.capacity();
            for part in replies.concat().chunks(cuts) {
                came += part.len();
                if inbox.receive(part).is_err() {
                    break;
                }
                let data = inbox.order.packets.iter().map(|packet| packet.data.capacity());
                prop_assert!(data.sum::<usize>() + inbox.unread.len() <= came);
                prop_assert!(inbox.unread.capacity() <= 2 * came.max(8));
                prop_assert!(inbox.order.packets.len() <= 2 + SPARE_PACKETS);
            }
        }
    }
}
