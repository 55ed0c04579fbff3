//! The thread that owns the packager: encoded segments in, published files out. It keeps slow disks away from control.

use rungs_media::encode::EncodedPacket;
use rungs_package::coding::CodingError;
use rungs_package::order::decode_times;
use rungs_package::output::{Fact, Output};
use rungs_package::track::{Sample, Segment, Track, VideoTrack};
use rungs_package::{Committed, PackageError, Packager, TrackId};

use crate::cancel::Cancel;
use crate::ids::SegmentIndex;
use crate::message::{Content, Line, Order, PublishError, Published};
use crate::sync::Receiver;

/// What the packager writes to.
pub(crate) type AnyOutput = Box<dyn Output>;

/// Publishes until it is hung up on, then gives the packager back. Blocks on the output. After a failure, or once the job is to
/// stop, orders are dropped.
pub(crate) fn run(
    mut packager: Packager<AnyOutput>,
    orders: &Receiver<Order>,
    (out, stop): (&Line<Published>, &Cancel),
) -> Packager<AnyOutput> {
    let mut broken = false;
    while let Ok(order) = orders.recv() {
        if broken || stop.is_cancelled() {
            continue;
        }
        let answer = publish(&mut packager, order).unwrap_or_else(Published::Failed);
        broken = matches!(answer, Published::Failed(_));
        out.send(answer);
    }
    packager
}

fn publish(packager: &mut Packager<AnyOutput>, order: Order) -> Result<Published, PublishError> {
    let segment = match order.content {
        Content::Text(segment) => {
            let done = packager.commit_text(order.track, order.index.get(), &segment);
            let done = done.map_err(PublishError::Package)?;
            return Ok(told((order.track, order.index), &done));
        }
        Content::WholeText(cues) => {
            packager
                .commit_whole(order.track, &cues)
                .map_err(PublishError::Package)?;
            return Ok(Published::Whole);
        }
        Content::TakenOver { track, by } => {
            packager
                .take_over(order.track, *track, &by)
                .map_err(PublishError::Package)?;
            return Ok(Published::TakenOver);
        }
        Content::Sound(segment) => segment,
        Content::Pictures {
            start,
            packets,
            durations,
            span,
        } => {
            packager
                .note(&Fact::Span(span))
                .map_err(PublishError::Package)?;
            let track = packager.track(order.track);
            let Some(Track::Video(video)) = track else {
                return Err(PublishError::Package(PackageError::ForeignTrack));
            };
            picture_segment((video, start), &packets, &durations)
                .map_err(PublishError::Bitstream)?
        }
    };
    let done = packager
        .commit(order.track, order.index.get(), segment)
        .map_err(PublishError::Package)?;
    Ok(told((order.track, order.index), &done))
}

fn told((track, index): (TrackId, SegmentIndex), done: &Committed) -> Published {
    Published::Done {
        track,
        index,
        bytes: done.bytes,
        duration: done.duration,
        duplicate: done.duplicate,
        frontier_moved: done.frontier_moved,
    }
}

fn picture_segment(
    (video, start): (&VideoTrack, i64),
    packets: &[EncodedPacket],
    durations: &[i64],
) -> Result<Segment, CodingError> {
    let codec = video.coding.codec();
    let shown: Vec<i64> = packets.iter().map(|packet| packet.pts).collect();
    let times = decode_times(&shown, video.delay);
    let end = durations.iter().sum();
    let next = times.iter().copied().skip(1).chain([end]);
    let mut samples = Vec::with_capacity(packets.len());
    for ((packet, time), next) in packets.iter().zip(&times).zip(next) {
        // A segment is far shorter than 2³² ticks.
        let ticks = |ticks: i64| u32::try_from(ticks).unwrap_or(u32::MAX);
        samples.push(Sample {
            data: codec.sample(&packet.data)?,
            duration: ticks(next - time),
            offset: ticks(packet.pts + i64::from(video.delay) - time),
            key: packet.key,
        });
    }
    Ok(Segment {
        decode_time: start.unsigned_abs(),
        samples,
    })
}
