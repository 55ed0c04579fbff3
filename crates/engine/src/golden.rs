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

/// Width and height of the spot, and how far it moves from one picture to the next.
const SPOT: u32 = 16;
const STEP: u32 = 6;

/// A bright spot on a grey slope, further down each time: what is swapped, frozen or late is found, and so is a picture that shows
/// something else.
fn picture(n: u8) -> Result<Frame, rungs_media::Error> {
    let spot = u32::from(n) * STEP..u32::from(n) * STEP + SPOT;
    let luma = |place: u32| {
        let (x, y) = (place % EDGE, place / EDGE);
        if spot.contains(&x) && spot.contains(&y) {
            210
        } else {
            40 + x as u8
        }
    };
    let luma: Vec<u8> = (0..EDGE * EDGE).map(luma).collect();
    let chroma = vec![100 + 4 * n; (EDGE * EDGE / 4) as usize];
    Frame::from_planes(EDGE, EDGE, &[&luma, &chroma, &chroma])
}

/// Makes the golden task for a rendition.
pub(crate) fn task(rendition: &Arc<Rendition>, depth: Depth) -> Result<Task, rungs_media::Error> {
    let tick = i64::from(rendition.encoder.time_base.den())
        / i64::from(rendition.encoder.time_base.num()).max(1)
        / 25;
    let tick = tick.max(1);
    let pictures = (0..PICTURES).map(|n| {
        Ok(Placed {
            time: i64::from(n) * tick,
            item: picture(n)?,
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
        scaling: Arc::default(),
        threads: 1,
        measure: false,
        depth,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::{Signature, judge};

    #[test]
    fn a_device_that_mixes_the_pictures_up_is_found_out() {
        let sent: Vec<Signature> = (0..PICTURES)
            .map(|n| Signature::of(&picture(n).expect("a picture")))
            .collect();
        assert!(judge(&sent, &sent).is_ok());
        let mut swapped = sent.clone();
        swapped.swap(3, 4);
        let late: Vec<_> = (0..sent.len())
            .map(|place| sent[place.saturating_sub(1)].clone())
            .collect();
        let frozen: Vec<_> = (0..sent.len())
            .map(|place| sent[place.min(2)].clone())
            .collect();
        for wrong in [swapped, late, frozen] {
            assert!(judge(&wrong, &sent).is_err());
        }
    }
}
