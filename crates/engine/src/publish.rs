//! The thread that owns the packager: encoded segments in, published files out. It keeps slow disks away from control.

use rungs_media::encode::EncodedPacket;
use rungs_package::Packager;
use rungs_package::av1::{self, Av1Error};
use rungs_package::output::{Fact, Output};
use rungs_package::track::{Sample, Segment};

use crate::cancel::Cancel;
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
            picture_segment(start, &packets, &durations).map_err(PublishError::Bitstream)?
        }
    };
    let done = packager
        .commit(order.track, order.index.get(), segment)
        .map_err(PublishError::Package)?;
    Ok(Published::Done {
        track: order.track,
        index: order.index,
        bytes: done.bytes,
        duration: done.duration,
        duplicate: done.duplicate,
        frontier_moved: done.frontier_moved,
    })
}

fn picture_segment(
    start: i64,
    packets: &[EncodedPacket],
    durations: &[i64],
) -> Result<Segment, Av1Error> {
    let samples = packets.iter().zip(durations).map(|(packet, duration)| {
        Ok::<_, Av1Error>(Sample {
            data: av1::sample_from_temporal_unit(&packet.data)?,
            duration: u32::try_from(*duration).unwrap_or(u32::MAX),
            key: packet.key,
        })
    });
    Ok(Segment {
        decode_time: start.unsigned_abs(),
        samples: samples.collect::<Result<_, _>>()?,
    })
}
