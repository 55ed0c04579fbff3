//! When pictures are shown, in the order in which they are decoded, in; when each is decoded, out.

/// Places the decoding of one segment's pictures in time.
///
/// `shown` has the time at which each is shown, in decoding order, from the segment's start: all unlike, and the first picture of all is
/// decoded and shown first, at 0. `delay` is the track's, see [`VideoTrack::delay`](crate::track::VideoTrack::delay).
///
/// Decoding follows the grid on which pictures are shown: the picture at a place is decoded when the picture of that place is shown, so a
/// segment is decoded from its start for exactly its duration. It is earlier only where pictures of unlike duration would make
/// it too late: no picture is decoded after it is due, as long as the delay has a tick for each place by which one moves forward. The
/// times rise by a tick at least.
#[must_use]
pub fn decode_times(shown: &[i64], delay: u32) -> Vec<i64> {
    let mut times = shown.to_vec();
    times.sort_unstable();
    let mut due = i64::MAX;
    for (time, shown) in times.iter_mut().zip(shown).rev() {
        due = (due.saturating_sub(1)).min(shown + i64::from(delay));
        *time = (*time).min(due);
    }
    times
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn without_reordering_it_is_when_they_are_shown() {
        assert_eq!(decode_times(&[0, 5, 6, 90], 0), [0, 5, 6, 90]);
    }

    #[test]
    fn even_pictures_are_decoded_on_the_grid() {
        // I P B b b P B b b, two places forward at most.
        let shown: Vec<i64> = [0, 4, 2, 1, 3, 8, 6, 5, 7].map(|n| n * 1001).into();
        let grid: Vec<i64> = (0..9).map(|n| n * 1001).collect();
        assert_eq!(decode_times(&shown, 2002), grid);
    }

    #[test]
    fn a_long_picture_brings_decoding_forward() {
        // The third is shown at 900, and decoded third: on the grid it would be too late by 700 ticks.
        assert_eq!(decode_times(&[0, 1000, 100, 200], 200), [0, 100, 200, 400]);
    }

    proptest! {
        #[test]
        fn each_is_decoded_in_time_and_after_the_one_before(
            steps in proptest::collection::vec(1_i64..5000, 1..60),
            jumps in proptest::collection::vec(0_usize..4, 1..20),
            frame in 3_u32..2000,
        ) {
            let mut shown = vec![0];
            for step in &steps {
                shown.push(shown.last().unwrap() + step);
            }
            // Groups in which the last picture is decoded first: none moves forward by more than one place, and the last by as many as it has.
            let mut at = 1;
            for jump in jumps {
                if let Some(group) = shown.get_mut(at..=at + jump) {
                    group.rotate_right(1);
                }
                at += jump + 1;
            }
            let times = decode_times(&shown, frame);
            prop_assert_eq!(times[0], 0);
            prop_assert!(times.windows(2).all(|pair| pair[0] < pair[1]));
            let mut grid = shown.clone();
            grid.sort_unstable();
            for ((time, shown), grid) in times.iter().zip(&shown).zip(&grid) {
                prop_assert!(time <= grid && *time <= shown + i64::from(frame));
            }
        }
    }
}
