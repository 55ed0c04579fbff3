//! Where the stretches of two pumps meet: what each of them saw there goes in, and whether it is the same comes out.

use std::collections::BTreeMap;
use std::fmt;

use crate::ids::SegmentIndex;

/// The start of a span as one pump saw it, at one end of its stretch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seam {
    /// The span.
    pub(crate) span: SegmentIndex,
    /// Its first picture; `None` if the presentation ends before the span.
    pub(crate) first: Option<FirstPicture>,
    /// Where the presentation starts on the source's clock, in ticks.
    pub(crate) offset: i64,
}

/// What tells a span's first picture from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FirstPicture {
    /// When it is shown, in ticks.
    pub(crate) time: i64,
    /// Digest of its samples; `None` if they were lost with their device.
    pub(crate) digest: Option<u64>,
}

impl FirstPicture {
    /// Whether nothing speaks against their being the same.
    fn is_like(self, other: Self) -> bool {
        let differ = self
            .digest
            .zip(other.digest)
            .is_some_and(|(one, two)| one != two);
        self.time == other.time && !differ
    }
}

/// Two pumps saw different pictures where their stretches meet: spans made by one of them are not what the other would have made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("one decoder saw {0}, the other {1}")]
pub struct Unlike(Side, Side);

/// What one pump saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Side(Seam);

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.first {
            Some(first) => {
                let digest = first.digest.unwrap_or_default();
                let (time, clock) = (first.time, self.0.offset);
                write!(f, "picture {digest:016x} at {time} (clock at {clock})")
            }
            None => f.write_str("the end"),
        }
    }
}

/// The seams of a job that one pump has reported and the other has not.
#[derive(Debug, Default)]
pub(crate) struct Seams {
    open: BTreeMap<SegmentIndex, Seam>,
}

impl Seams {
    /// Takes what a pump saw, and compares it with what the other one has seen there, if it has come so far.
    pub(crate) fn meet(&mut self, seam: Seam) -> Result<(), Unlike> {
        let Some(other) = self.open.remove(&seam.span) else {
            self.open.insert(seam.span, seam);
            return Ok(());
        };
        // Where the presentation has ended, there is no clock left to agree on.
        let alike = match (other.first, seam.first) {
            (Some(one), Some(two)) => one.is_like(two) && other.offset == seam.offset,
            (one, two) => one == two,
        };
        if alike {
            Ok(())
        } else {
            Err(Unlike(Side(other), Side(seam)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEN: Seam = Seam {
        span: SegmentIndex::new(3),
        first: Some(FirstPicture {
            time: 30,
            digest: Some(7),
        }),
        offset: 0,
    };

    #[test]
    fn both_must_have_seen_the_same() {
        let mut seams = Seams::default();
        assert_eq!(seams.meet(SEEN), Ok(()));
        assert_eq!(seams.meet(SEEN), Ok(()));
        let changes: [fn(&mut Seam); 4] = [
            |seam| seam.first = None,
            |seam| seam.first.as_mut().unwrap().time += 1,
            |seam| seam.first.as_mut().unwrap().digest = Some(8),
            |seam| seam.offset += 1,
        ];
        for change in changes {
            let mut other = SEEN;
            change(&mut other);
            assert_eq!(seams.meet(SEEN), Ok(()));
            assert!(seams.meet(other).is_err(), "{other:?}");
        }
    }

    #[test]
    fn a_picture_that_was_lost_is_known_by_its_time() {
        let lost = |time| Seam {
            first: Some(FirstPicture { time, digest: None }),
            ..SEEN
        };
        for (time, alike) in [(30, true), (31, false)] {
            let mut seams = Seams::default();
            assert_eq!(seams.meet(lost(time)), Ok(()));
            assert_eq!(seams.meet(SEEN).is_ok(), alike);
        }
    }

    #[test]
    fn other_spans_are_other_seams() {
        let mut seams = Seams::default();
        let later = Seam {
            span: SegmentIndex::new(4),
            first: None,
            ..SEEN
        };
        assert_eq!(seams.meet(SEEN), Ok(()));
        assert_eq!(seams.meet(later), Ok(()));
        assert_eq!(seams.meet(later), Ok(()));
        assert_eq!(seams.meet(SEEN), Ok(()));
    }
}
