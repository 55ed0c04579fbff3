//! The golden task: a few pictures with a known result, which a device in doubt has to encode before it gets work again.

use std::sync::Arc;

use rungs_media::frame::Frame;

use crate::ids::SegmentIndex;
use crate::inspect::Depth;
use crate::plan::Rendition;
use crate::span::{Footage, Span, Task};
use crate::timeline::{Cell, Placed};

/// Pictures of the golden task.
const PICTURES: u8 = 8;
/// Their width and height. They are scaled like any others.
const EDGE: u32 = 64;

/// Makes the golden task for a rendition: pictures of one grey each, every one brighter than the one before.
pub(crate) fn task(rendition: &Arc<Rendition>, depth: Depth) -> Result<Task, rungs_media::Error> {
    let tick = i64::from(rendition.encoder.time_base.den())
        / i64::from(rendition.encoder.time_base.num()).max(1)
        / 25;
    let tick = tick.max(1);
    let pictures = (0..PICTURES).map(|n| {
        Ok(Placed {
            time: i64::from(n) * tick,
            item: Frame::filled(EDGE, EDGE, [40 + 20 * n, 128, 128])?,
        })
    });
    let span = Span::new(Cell {
        index: SegmentIndex::FIRST,
        start: 0,
        end: i64::from(PICTURES) * tick,
        pictures: pictures.collect::<Result<_, rungs_media::Error>>()?,
        held: 0,
    });
    Ok(Task {
        rendition: Arc::clone(rendition),
        footage: Footage::Whole(Arc::new(span)),
        threads: 1,
        measure: false,
        depth,
    })
}
