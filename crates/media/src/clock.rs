//! When each picture of a decoder is shown: its own timestamp, unless a file's timestamps are of no use.

/// Pictures in a row whose timestamps are good until those before are forgiven.
const CLEAN: u32 = 48;
/// Timestamps of pictures that do not ascend, more than of decoding, which are put up with. Where two streams were put together a few may not; where decoding times were
/// written for those of pictures, every few pictures one does not.
const FORGIVEN: u32 = 3;

/// Tells when pictures are shown, in the order in which the decoder gives them.
///
/// FFmpeg's own best effort takes the times of decoding for good after one timestamp that does not ascend. A reader that starts behind that place would give other times than
/// one that came past it, so here a few are put up with, and forgotten in time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Clock {
    pts: Track,
    dts: Track,
    /// Good ones in a row.
    clean: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Track {
    last: Option<i64>,
    faults: u32,
}

impl Track {
    /// Whether it ascends.
    fn see(&mut self, time: i64) -> bool {
        let ascends = self.last.is_none_or(|last| time > last);
        self.last = Some(time);
        self.faults += u32::from(!ascends);
        ascends
    }
}

impl Clock {
    /// When a picture with this timestamp, of a packet with this time of decoding, is shown.
    pub(crate) fn tell(&mut self, pts: Option<i64>, dts: Option<i64>) -> Option<i64> {
        let by_decoding = dts.map(|dts| self.dts.see(dts));
        let by_showing = pts.map(|pts| self.pts.see(pts));
        // The one that is missing goes along, so that it is not at fault when it comes again.
        match (pts, dts) {
            (Some(pts), None) => self.dts.last = Some(pts),
            (None, Some(dts)) => self.pts.last = Some(dts),
            _ => {}
        }
        if by_showing == Some(false) || by_decoding == Some(false) {
            self.clean = 0;
        } else {
            self.clean += 1;
        }
        if self.clean >= CLEAN {
            (self.clean, self.pts.faults, self.dts.faults) = (0, 0, 0);
        }
        let useless = self.pts.faults > self.dts.faults + FORGIVEN;
        match (pts, dts) {
            (Some(_), Some(dts)) if useless => Some(dts),
            (pts, dts) => pts.or(dts),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(times: impl IntoIterator<Item = (i64, i64)>) -> Vec<i64> {
        let mut clock = Clock::default();
        let tell = |(pts, dts)| clock.tell(Some(pts), Some(dts)).expect("a time");
        times.into_iter().map(tell).collect()
    }

    #[test]
    fn a_stumble_where_streams_meet_changes_no_other_time() {
        let good = |from: i64| (from..from + 100).map(|time| (time, time - 2));
        // The last pictures of one, the first of the next: one timestamp twice, one missing.
        let joints =
            (0..40).flat_map(|part| good(part * 100).chain([(part * 100 + 99, part * 100 + 98)]));
        let expected: Vec<i64> = joints.clone().map(|(pts, _)| pts).collect();
        assert_eq!(told(joints), expected);
    }

    #[test]
    fn where_decoding_times_stand_for_those_of_pictures_they_are_taken() {
        // Three of four pictures come out in another order than their stamps.
        let stamps = [0, 3, 1, 2, 4, 7, 5, 6];
        let mixed = (0..30).flat_map(|group| stamps.map(|stamp| group * 8 + stamp));
        let times: Vec<i64> = told(mixed.zip(0..));
        let settled = &times[20..];
        assert!(
            settled.windows(2).all(|pair| pair[1] == pair[0] + 1),
            "{times:?}"
        );
    }

    #[test]
    fn a_picture_without_one_gets_the_other() {
        let mut clock = Clock::default();
        assert_eq!(clock.tell(None, Some(7)), Some(7));
        assert_eq!(clock.tell(Some(9), None), Some(9));
        assert_eq!(clock.tell(None, None), None);
        assert_eq!(clock.tell(Some(10), Some(10)), Some(10));
        assert_eq!((clock.pts.faults, clock.dts.faults), (0, 0));
    }
}
