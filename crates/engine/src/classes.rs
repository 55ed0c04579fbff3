//! Which class of encoders makes which rendition, where not all may share it: pure.
//!
//! A class is the encoders whose segments may stand in one rendition. Every rendition is kept within one class, and the renditions are spread
//! over the classes so that the last encoder is through as soon as can be.

/// Ways of spreading the renditions that are all looked at. Beyond, they are placed one after another.
const EXACT: usize = 1 << 16;
/// What is no difference between two ends, as a share.
const ALIKE: f64 = 1e-9;

/// What a short trial of one encoder showed for one rendition.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Trial {
    pub(crate) pixels: u64,
    /// The encoder's setting between slow and fast.
    pub(crate) preset: u8,
    /// Seconds of the rendition that a session made in a second; 0 if it failed.
    pub(crate) speed: f64,
}

/// What an encoder's speeds are at least, given all its trials: the first one of a session pays for its start, and a machine is never quiet. At one
/// preset a smaller picture takes no longer than a larger one, and no more for each pixel than one that is smaller still.
pub(crate) fn steady(trials: &[Trial]) -> Vec<f64> {
    let at_least = |own: &Trial| {
        let alike = trials.iter().filter(|other| other.preset == own.preset);
        let shown = alike.map(|other| {
            let larger = other.pixels as f64 / own.pixels.max(1) as f64;
            other.speed * larger.min(1.0)
        });
        shown.fold(own.speed, f64::max)
    };
    trials
        .iter()
        .map(|own| if own.speed > 0.0 { at_least(own) } else { 0.0 })
        .collect()
}

/// One class that could make a rendition: how long each of its encoders is busy with a second of the source, in seconds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Choice {
    busy: Vec<(usize, f64)>,
}

impl Choice {
    /// A class of encoders, each with its place in any fixed list and the seconds of the source that all its sessions together make in a
    /// second. They share the work so that they end at the same time.
    pub(crate) fn of(speeds: &[(usize, f64)]) -> Self {
        let together: f64 = speeds.iter().map(|(_, speed)| speed).sum();
        let seconds = together.max(f64::MIN_POSITIVE).recip();
        Self {
            busy: speeds
                .iter()
                .map(|(encoder, _)| (*encoder, seconds))
                .collect(),
        }
    }

    /// How long its slowest encoder is busy.
    pub(crate) fn seconds(&self) -> f64 {
        self.busy
            .iter()
            .map(|(_, seconds)| *seconds)
            .fold(0.0, f64::max)
    }
}

/// How long each encoder is busy.
#[derive(Clone, Debug, Default)]
struct Load(Vec<f64>);

impl Load {
    fn add(&mut self, choice: &Choice) {
        for (encoder, seconds) in &choice.busy {
            if self.0.len() <= *encoder {
                self.0.resize(encoder + 1, 0.0);
            }
            self.0[*encoder] += seconds;
        }
    }

    fn with(&self, choice: &Choice) -> Self {
        let mut load = self.clone();
        load.add(choice);
        load
    }

    /// When the last is through, and the work of all: the less of it the better, where the end is the same.
    fn end(&self) -> (f64, f64) {
        let last = self.0.iter().copied().fold(0.0, f64::max);
        (last, self.0.iter().sum())
    }
}

fn is_sooner(one: (f64, f64), other: (f64, f64)) -> bool {
    let limit = other.0 * (1.0 - ALIKE);
    one.0 < limit || one.0 * (1.0 - ALIKE) <= other.0 && one.1 < other.1 * (1.0 - ALIKE)
}

/// Picks a class for each rendition, by its place among the rendition's choices, of which there is at least one. Of equally good picks it is
/// the one with the earlier choices.
pub(crate) fn spread(renditions: &[Vec<Choice>]) -> Vec<usize> {
    let ways = renditions.iter().try_fold(1_usize, |ways, choices| {
        ways.checked_mul(choices.len().max(1))
    });
    if ways.is_some_and(|ways| ways <= EXACT) {
        let mut search = Search {
            renditions,
            picks: Vec::new(),
            best: None,
        };
        search.go_on(&Load::default());
        search.best.map(|(_, picks)| picks).unwrap_or_default()
    } else {
        one_by_one(renditions)
    }
}

struct Search<'a> {
    renditions: &'a [Vec<Choice>],
    picks: Vec<usize>,
    best: Option<((f64, f64), Vec<usize>)>,
}

impl Search<'_> {
    fn go_on(&mut self, load: &Load) {
        let end = load.end();
        // More renditions only make it later.
        if self
            .best
            .as_ref()
            .is_some_and(|(best, _)| !is_sooner(end, *best))
        {
            return;
        }
        let Some(choices) = self.renditions.get(self.picks.len()) else {
            self.best = Some((end, self.picks.clone()));
            return;
        };
        for (place, choice) in choices.iter().enumerate() {
            self.picks.push(place);
            self.go_on(&load.with(choice));
            self.picks.pop();
        }
    }
}

/// The rendition that takes longest first, each where the end is soonest then.
fn one_by_one(renditions: &[Vec<Choice>]) -> Vec<usize> {
    let least = |choices: &[Choice]| choices.iter().map(Choice::seconds).fold(f64::MAX, f64::min);
    let mut order: Vec<usize> = (0..renditions.len()).collect();
    order.sort_by(|a, b| least(&renditions[*b]).total_cmp(&least(&renditions[*a])));
    let mut picks = vec![0; renditions.len()];
    let mut load = Load::default();
    for rendition in order {
        let mut best: Option<(usize, Load)> = None;
        for (place, choice) in renditions[rendition].iter().enumerate() {
            let with = load.with(choice);
            if best
                .as_ref()
                .is_none_or(|(_, best)| is_sooner(with.end(), best.end()))
            {
                best = Some((place, with));
            }
        }
        if let Some((place, with)) = best {
            picks[rendition] = place;
            load = with;
        }
    }
    picks
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn alone(speeds: &[f64]) -> Vec<Choice> {
        let one = |(place, speed): (usize, &f64)| Choice::of(&[(place, *speed)]);
        speeds.iter().enumerate().map(one).collect()
    }

    fn end(renditions: &[Vec<Choice>], picks: &[usize]) -> f64 {
        let mut load = Load::default();
        for (choices, pick) in renditions.iter().zip(picks) {
            load.add(&choices[*pick]);
        }
        load.end().0
    }

    #[test]
    fn equal_classes_share_the_renditions() {
        // Seconds of work: 6, 4, 2, 2 on either.
        let renditions: Vec<_> = [6.0, 4.0, 2.0, 2.0]
            .map(|work: f64| alone(&[work.recip(), work.recip()]))
            .into();
        let picks = spread(&renditions);
        assert!((end(&renditions, &picks) - 8.0).abs() < 1e-6, "{picks:?}");
        assert!(picks[0] == 0, "the earlier of equal choices: {picks:?}");
    }

    #[test]
    fn a_class_that_would_end_later_gets_nothing() {
        let renditions = vec![alone(&[1.0, 0.1]), alone(&[2.0, 0.2])];
        assert_eq!(spread(&renditions), [0, 0]);
        let renditions = vec![alone(&[1.0, 0.1]), alone(&[2.0, 1.9])];
        assert_eq!(spread(&renditions), [0, 1]);
    }

    #[test]
    fn encoders_that_share_a_rendition_are_one_class() {
        // The first and the second may share both renditions; the third may not, and is as fast as both.
        let both = || vec![Choice::of(&[(0, 1.0), (1, 1.0)]), Choice::of(&[(2, 2.0)])];
        let renditions = vec![both(), both()];
        let picks = spread(&renditions);
        assert_ne!(picks[0], picks[1]);
        assert!((end(&renditions, &picks) - 0.5).abs() < 1e-6);
    }

    #[test]
    fn a_slow_start_is_seen_through() {
        let trial = |pixels, preset, speed| Trial {
            pixels,
            preset,
            speed,
        };
        // The first took the start, another the noise; the last failed.
        let trials = [
            trial(4000, 8, 0.1),
            trial(1000, 8, 8.0),
            trial(500, 8, 1.0),
            trial(500, 2, 0.5),
            trial(250, 8, 0.0),
        ];
        assert_eq!(steady(&trials), [2.0, 8.0, 8.0, 0.5, 0.0]);
    }

    #[test]
    fn nothing_to_spread_and_nothing_to_choose() {
        assert!(spread(&[]).is_empty());
        assert_eq!(spread(&[alone(&[1.0])]), [0]);
        // Far too many ways for all of them.
        let many = vec![alone(&[1.0, 1.0, 1.0]); 60];
        let picks = spread(&many);
        assert!((end(&many, &picks) - 20.0).abs() < 1e-6);
    }

    proptest! {
        #[test]
        fn the_best_is_found_and_one_by_one_is_not_far(
            speeds in proptest::collection::vec(proptest::collection::vec(0.1..10.0f64, 1..4), 1..6)
        ) {
            let renditions: Vec<_> = speeds.iter().map(|speeds| alone(speeds)).collect();
            let mut all = vec![Vec::new()];
            for choices in &renditions {
                all = all
                    .iter()
                    .flat_map(|picks: &Vec<usize>| {
                        (0..choices.len()).map(move |place| [&picks[..], &[place]].concat())
                    })
                    .collect();
            }
            let best = all.iter().map(|picks| end(&renditions, picks)).fold(f64::MAX, f64::min);
            let found = end(&renditions, &spread(&renditions));
            prop_assert!(found <= best * (1.0 + 1e-6), "{} over {}", found, best);
            prop_assert!(end(&renditions, &one_by_one(&renditions)) <= best * 3.0);
        }
    }
}
