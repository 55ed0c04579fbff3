//! How soon a job could have ended at best: a time that no schedule can beat, to hold a real one against.
//!
//! Work, speeds and the moments at which spans became ready go in; the bound comes out. It is the largest of these:
//!
//! - for each moment k, the moment itself and the least time in which all that became ready from then on can be done, if
//!   tasks could be divided at will among the sessions (the linear relaxation of scheduling on unrelated machines, with the
//!   restriction of Lenstra, Shmoys and Tardos, Math. Programming 46, 1990: no session may take part in a task that would
//!   not end in time on it);
//! - the same with what sessions cannot do while fewer tasks than sessions have become ready: a task is on one session at a time;
//! - for each task, when it became ready and its time on the device that is fastest at it;
//! - by the pigeonhole principle, j tasks in a row on some session, if there are more than (j − 1) tasks a session;
//! - whole tasks: a session does no more of them in a time than fit into it.
//!
//! The first numbers come from prices (a solution of the dual program) that are made feasible before use, so rounding can make the
//! bound lower, never wrong.

use std::cmp::Ordering;

/// Sessions that are equally fast at everything.
#[derive(Clone, Debug, PartialEq)]
pub struct Class {
    /// How many there are.
    pub sessions: u32,
    /// Seconds that one of them takes for a unit of work, by rendition; `None` where it cannot.
    pub seconds: Vec<Option<f64>>,
}

/// The tasks of one span.
#[derive(Clone, Debug, PartialEq)]
pub struct Demand {
    /// When the span became ready, or could have at the earliest, in seconds.
    pub ready: f64,
    /// The work in it by rendition, in any unit: often seconds of the source. 0 where there is nothing to do.
    pub work: Vec<f64>,
}

/// Gives a time in seconds before which no schedule of `classes` can have done all of `demands`. Infinite if nothing can do some
/// of the work; 0 if there is none.
#[must_use]
pub fn lower_bound(classes: &[Class], demands: &[Demand]) -> f64 {
    let mut demands: Vec<&Demand> = demands
        .iter()
        .filter(|d| d.work.iter().any(|w| *w > 0.0))
        .collect();
    demands.sort_by(|a, b| a.ready.total_cmp(&b.ready));
    if demands.is_empty() {
        return 0.0;
    }
    let classes: Vec<&Class> = classes.iter().filter(|class| class.sessions > 0).collect();
    let longest = longest_task(&classes, &demands);
    if longest.is_infinite() {
        return longest;
    }
    longest
        .max(in_a_row(&classes, &demands))
        .max(counted(&classes, &demands))
        .max(divided(&classes, &demands))
}

fn fastest(classes: &[&Class], rendition: usize) -> f64 {
    let able = classes
        .iter()
        .filter_map(|class| class.seconds.get(rendition).copied().flatten());
    able.fold(f64::INFINITY, f64::min)
}

fn longest_task(classes: &[&Class], demands: &[&Demand]) -> f64 {
    let speeds: Vec<f64> = (0..renditions(demands))
        .map(|r| fastest(classes, r))
        .collect();
    let times = demands.iter().flat_map(|demand| {
        let tasks = demand
            .work
            .iter()
            .zip(&speeds)
            .filter(|(work, _)| **work > 0.0);
        tasks.map(|(work, seconds)| demand.ready + work * seconds)
    });
    times.fold(0.0, f64::max)
}

fn renditions(demands: &[&Demand]) -> usize {
    demands
        .iter()
        .map(|demand| demand.work.len())
        .max()
        .unwrap_or(0)
}

/// Of the (j − 1) m + 1 longest tasks, j are done on one of m sessions.
fn in_a_row(classes: &[&Class], demands: &[&Demand]) -> f64 {
    let speeds: Vec<f64> = (0..renditions(demands))
        .map(|r| fastest(classes, r))
        .collect();
    let times = demands.iter().flat_map(|d| {
        d.work
            .iter()
            .zip(&speeds)
            .map(|(work, seconds)| work * seconds)
    });
    let mut times: Vec<f64> = times.filter(|time| *time > 0.0).collect();
    times.sort_by(|a, b| b.total_cmp(a));
    let sessions: usize = classes.iter().map(|class| class.sessions as usize).sum();
    let ready = demands.first().map_or(0.0, |demand| demand.ready);
    let mut most: f64 = 0.0;
    let mut row = 1;
    while let Some(chosen) = times.get(..=(row - 1) * sessions) {
        // The j shortest of them.
        let shortest: f64 = chosen.iter().rev().take(row).sum();
        most = most.max(ready + shortest);
        row += 1;
    }
    most
}

/// Sessions do whole tasks: in some time, each does no more of those that are at least as long as most than fit into it.
fn counted(classes: &[&Class], demands: &[&Demand]) -> f64 {
    let count = renditions(demands);
    let of = |rendition: usize| {
        let work = demands
            .iter()
            .filter_map(move |demand| demand.work.get(rendition).copied());
        work.filter(|work| *work > 0.0)
    };
    let middle = |rendition: usize| {
        let mut work: Vec<f64> = of(rendition).collect();
        work.sort_by(f64::total_cmp);
        work.get(work.len() / 2).copied().unwrap_or(0.0)
    };
    // The bound of some of the tasks is a bound of all.
    let least: Vec<f64> = (0..count).map(|r| middle(r) * (1.0 - 1e-9)).collect();
    let tasks: usize = (0..count)
        .map(|r| of(r).filter(|work| *work >= least[r]).count())
        .sum();
    let shortest = |class: &&Class| {
        let able = (0..count).filter(|r| least[*r] > 0.0);
        let times = able.filter_map(|r| Some(class.seconds.get(r).copied().flatten()? * least[r]));
        (
            f64::from(class.sessions),
            times.fold(f64::INFINITY, f64::min),
        )
    };
    let sessions: Vec<(f64, f64)> = classes.iter().map(shortest).collect();
    let fits = |time: f64| {
        let done: f64 = sessions
            .iter()
            .map(|(count, each)| count * (time / each).floor())
            .sum();
        done >= tasks as f64
    };
    let mut high = sessions
        .iter()
        .map(|(_, each)| *each)
        .fold(f64::INFINITY, f64::min)
        * tasks as f64;
    let mut low = 0.0;
    for _ in 0..60 {
        let between = f64::midpoint(low, high);
        if fits(between) {
            high = between;
        } else {
            low = between;
        }
    }
    demands.first().map_or(0.0, |demand| demand.ready) + low
}

/// What is to be done from a moment on.
struct Rest {
    /// Place of the first span of it.
    from: usize,
    ready: f64,
    work: Vec<f64>,
    /// The smallest task of each rendition.
    least: Vec<f64>,
}

/// Sums the work from the end, so that each moment has all that became ready from then on.
fn rests(demands: &[&Demand]) -> Vec<Rest> {
    let count = renditions(demands);
    let mut work = vec![0.0; count];
    let mut least = vec![f64::INFINITY; count];
    let rest = |(from, demand): (usize, &&Demand)| {
        for (place, amount) in demand
            .work
            .iter()
            .enumerate()
            .filter(|(_, amount)| **amount > 0.0)
        {
            work[place] += amount;
            least[place] = least[place].min(*amount);
        }
        Rest {
            from,
            ready: demand.ready,
            work: work.clone(),
            least: least.clone(),
        }
    };
    demands.iter().enumerate().rev().map(rest).collect()
}

/// The bound if tasks could be divided. Prices that fit all of the work are tried on each moment; those of the moment that
/// turns out worst are tried again.
fn divided(classes: &[&Class], demands: &[&Demand]) -> f64 {
    let rests = rests(demands);
    let Some(mut at) = rests.last() else {
        return 0.0;
    };
    let mut best: f64 = 0.0;
    for _ in 0..4 {
        let before = best;
        best = best.max(restricted(classes, at));
        let prices = prices(classes, &at.work, None);
        let value = |rest: &Rest| rest.ready + dot(&prices.work, &rest.work);
        best = best.max(ramped(classes, &prices, &demands[at.from..]));
        if let Some(worst) = rests.iter().max_by(|a, b| value(a).total_cmp(&value(b))) {
            best = best.max(value(worst));
            at = worst;
        }
        if best.total_cmp(&before) != Ordering::Greater {
            break;
        }
    }
    best
}

/// The least time in which the work of `demands` pays its price, if at each moment at most as many sessions are busy as tasks
/// have become ready, the dearest first.
fn ramped(classes: &[&Class], prices: &Prices, demands: &[&Demand]) -> f64 {
    let mut sessions: Vec<(f64, f64)> = prices
        .session
        .iter()
        .zip(classes)
        .map(|(price, class)| (*price, f64::from(class.sessions)))
        .collect();
    sessions.sort_by(|a, b| b.0.total_cmp(&a.0));
    let pay = |tasks: usize| {
        let mut left = tasks as f64;
        let mut sum = 0.0;
        for (price, count) in &sessions {
            sum += price * count.min(left);
            left = (left - count).max(0.0);
        }
        sum
    };
    let mut owed: f64 = demands
        .iter()
        .map(|demand| dot(&prices.work, &demand.work))
        .sum();
    let mut now = demands.first().map_or(0.0, |demand| demand.ready);
    let (mut tasks, mut rate) = (0, 0.0);
    for demand in demands {
        let paid = rate * (demand.ready - now);
        if paid >= owed {
            break;
        }
        owed -= paid;
        now = demand.ready;
        tasks += demand.work.iter().filter(|work| **work > 0.0).count();
        rate = pay(tasks);
    }
    if rate > 0.0 { now + owed / rate } else { now }
}

fn dot(prices: &[f64], work: &[f64]) -> f64 {
    prices
        .iter()
        .zip(work)
        .map(|(price, work)| price * work)
        .sum()
}

/// The least time such that no class takes part in a rendition of which even the smallest task takes longer on it.
fn restricted(classes: &[&Class], rest: &Rest) -> f64 {
    let time = |class: &Class, rendition: usize| {
        let seconds = class.seconds.get(rendition).copied().flatten();
        seconds
            .filter(|_| rest.work[rendition] > 0.0)
            .map(|seconds| seconds * rest.least[rendition])
    };
    let pairs = classes
        .iter()
        .flat_map(|class| (0..rest.work.len()).filter_map(|r| time(class, r)));
    let mut limits: Vec<f64> = pairs.collect();
    limits.sort_by(f64::total_cmp);
    limits.dedup();
    let mut least = f64::INFINITY;
    for limit in limits {
        if limit >= least {
            break;
        }
        let allowed: Vec<Vec<bool>> = classes
            .iter()
            .map(|class| {
                (0..rest.work.len())
                    .map(|r| time(class, r).is_some_and(|t| t <= limit))
                    .collect()
            })
            .collect();
        let prices = prices(classes, &rest.work, Some(&allowed));
        least = least.min(limit.max(dot(&prices.work, &rest.work)));
    }
    if least.is_finite() {
        rest.ready + least
    } else {
        0.0
    }
}

/// A solution of the dual programme.
struct Prices {
    /// Of a unit of work of each rendition.
    work: Vec<f64>,
    /// Of a second of a session, by class.
    session: Vec<f64>,
}

/// What a unit of work of each rendition costs at the least, when a second of all sessions together costs 1 in all. The prices of
/// the sessions' seconds solve the dual of the relaxation as well as rounding allows; any prices give a bound.
fn prices(classes: &[&Class], work: &[f64], allowed: Option<&[Vec<bool>]>) -> Prices {
    let may = |class: usize, rendition: usize| {
        let able = classes[class].seconds.get(rendition).copied().flatten();
        able.filter(|_| allowed.is_none_or(|allowed| allowed[class][rendition]))
    };
    let (renditions, count) = (work.len(), classes.len());
    // Variables: the price of each rendition, then that of each class.
    let mut table = Simplex::new(renditions + count);
    for (place, amount) in work.iter().enumerate() {
        table.gain[place] = *amount;
    }
    let mut total = vec![0.0; renditions + count];
    for (place, class) in classes.iter().enumerate() {
        total[renditions + place] = f64::from(class.sessions);
        for rendition in (0..renditions).filter(|r| work[*r] > 0.0) {
            if let Some(seconds) = may(place, rendition) {
                let mut row = vec![0.0; renditions + count];
                row[rendition] = 1.0;
                row[renditions + place] = -seconds;
                table.at_most(row, 0.0);
            }
        }
    }
    table.at_most(total, 1.0);
    let solution = table.solve();
    let raw = solution[renditions..].iter().map(|price| price.max(0.0));
    let sum: f64 = raw
        .clone()
        .zip(classes)
        .map(|(price, class)| price * f64::from(class.sessions))
        .sum();
    let session: Vec<f64> = raw
        .map(|price| if sum > 0.0 { price / sum } else { 0.0 })
        .collect();
    let price = |rendition: usize| {
        if work[rendition] <= 0.0 {
            return 0.0;
        }
        let able = (0..count)
            .filter_map(|class| may(class, rendition).map(|seconds| session[class] * seconds));
        // Nothing is allowed to do it: not in this time.
        able.fold(f64::INFINITY, f64::min)
    };
    let work = (0..renditions).map(price).collect();
    Prices { work, session }
}

/// A dense simplex table: largest gain under rows of the form a·x ≤ b with x ≥ 0 and b ≥ 0, so that x = 0 is where it starts.
struct Simplex {
    gain: Vec<f64>,
    rows: Vec<Vec<f64>>,
    limits: Vec<f64>,
}

/// What counts as nothing in the table.
const NOTHING: f64 = 1e-11;

impl Simplex {
    fn new(variables: usize) -> Self {
        Self {
            gain: vec![0.0; variables],
            rows: Vec::new(),
            limits: Vec::new(),
        }
    }

    fn at_most(&mut self, row: Vec<f64>, limit: f64) {
        self.rows.push(row);
        self.limits.push(limit);
    }

    /// Pivots by Bland's rule, which never goes round in circles. Gives the variables.
    fn solve(mut self) -> Vec<f64> {
        let variables = self.gain.len();
        // Which variable each column and each row stands for; slacks come behind the variables.
        let mut columns: Vec<usize> = (0..variables).collect();
        let mut basis: Vec<usize> = (variables..variables + self.rows.len()).collect();
        let scale = self
            .gain
            .iter()
            .fold(1e-300, |most: f64, gain| most.max(gain.abs()));
        for _ in 0..50 * (variables + basis.len()) {
            let entering = (0..variables).filter(|c| self.gain[*c] > NOTHING * scale);
            let Some(column) = entering.min_by_key(|c| columns[*c]) else {
                break;
            };
            let Some(row) = self.leaving(column, &basis) else {
                break;
            };
            self.pivot(row, column);
            std::mem::swap(&mut columns[column], &mut basis[row]);
        }
        let mut solution = vec![0.0; variables];
        for (variable, limit) in basis.iter().zip(&self.limits) {
            if let Some(value) = solution.get_mut(*variable) {
                *value = *limit;
            }
        }
        solution
    }

    fn leaving(&self, column: usize, basis: &[usize]) -> Option<usize> {
        let able = (0..self.rows.len()).filter(|row| self.rows[*row][column] > NOTHING);
        able.min_by(|a, b| {
            let ratio = |row: usize| self.limits[row] / self.rows[row][column];
            ratio(*a)
                .total_cmp(&ratio(*b))
                .then(basis[*a].cmp(&basis[*b]))
        })
    }

    fn pivot(&mut self, row: usize, column: usize) {
        let by = 1.0 / self.rows[row][column];
        for value in &mut self.rows[row] {
            *value *= by;
        }
        self.rows[row][column] = by;
        self.limits[row] *= by;
        let pivot = self.rows[row].clone();
        let limit = self.limits[row];
        for other in (0..self.rows.len()).filter(|other| *other != row) {
            let factor = self.rows[other][column];
            if factor != 0.0 {
                eliminate(&mut self.rows[other], &pivot, column, factor);
                self.limits[other] = (self.limits[other] - factor * limit).max(0.0);
            }
        }
        let factor = self.gain[column];
        eliminate(&mut self.gain, &pivot, column, factor);
    }
}

/// Takes `factor` times the pivot's row from a row.
fn eliminate(row: &mut [f64], pivot: &[f64], column: usize, factor: f64) {
    for (place, (value, from)) in row.iter_mut().zip(pivot).enumerate() {
        *value = if place == column {
            -factor * from
        } else {
            *value - factor * from
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn class(sessions: u32, seconds: &[f64]) -> Class {
        Class {
            sessions,
            seconds: seconds.iter().map(|s| Some(*s)).collect(),
        }
    }

    fn demand(ready: f64, work: &[f64]) -> Demand {
        Demand {
            ready,
            work: work.to_vec(),
        }
    }

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() <= 1e-9 * a.abs().max(1.0)
    }

    #[test]
    fn equal_sessions_share_equal_work() {
        let demands = vec![demand(0.0, &[4.0]); 10];
        assert!(near(lower_bound(&[class(2, &[0.5])], &demands), 10.0));
    }

    #[test]
    fn unequal_sessions_share_by_their_speed() {
        let demands = vec![demand(0.0, &[1.0]); 11];
        let classes = [class(1, &[1.0]), class(1, &[10.0])];
        assert!(near(lower_bound(&classes, &demands), 10.0));
    }

    #[test]
    fn each_takes_what_it_is_best_at() {
        let demands = vec![demand(0.0, &[1.0, 1.0]); 10];
        let classes = [class(1, &[1.0, 9.0]), class(1, &[9.0, 1.0])];
        assert!(near(lower_bound(&classes, &demands), 10.0));
    }

    #[test]
    fn a_device_that_cannot_end_a_task_in_time_is_no_help() {
        let classes = [class(1, &[1.0]), class(1, &[10.0])];
        assert!(near(
            lower_bound(&classes, &[demand(0.0, &[4.0]), demand(0.0, &[4.0])]),
            8.0
        ));
    }

    #[test]
    fn a_slow_session_does_whole_tasks() {
        let classes = [class(1, &[1.0]), class(1, &[10.0])];
        let bound = lower_bound(&classes, &vec![demand(0.0, &[1.0]); 19]);
        assert!((bound - 18.0).abs() < 1e-6);
    }

    #[test]
    fn three_tasks_on_two_sessions_take_two_rounds() {
        let demands = vec![demand(0.0, &[1.0]); 3];
        assert!(near(lower_bound(&[class(2, &[1.0])], &demands), 2.0));
    }

    #[test]
    fn a_slow_pump_is_what_is_waited_for() {
        let demands: Vec<Demand> = (1..=5)
            .map(|k| demand(f64::from(k) * 3.0, &[1.0]))
            .collect();
        assert!(near(lower_bound(&[class(4, &[1.0])], &demands), 16.0));
    }

    #[test]
    fn sessions_without_a_task_yet_do_nothing() {
        // Four sessions, a span of one task each second: 3, 2 and 1 of them have nothing to do in the first seconds.
        let demands: Vec<Demand> = (0..12)
            .map(|k| demand(f64::from(k.min(3)), &[4.0]))
            .collect();
        assert!(near(
            lower_bound(&[class(4, &[1.0])], &demands),
            12.0 + 6.0 / 4.0
        ));
    }

    #[test]
    fn work_that_comes_late_counts_from_then_on() {
        let mut demands = vec![demand(0.0, &[1.0])];
        demands.extend(vec![demand(10.0, &[1.0]); 8]);
        assert!(near(lower_bound(&[class(2, &[1.0])], &demands), 14.0));
    }

    #[test]
    fn no_work_takes_no_time_and_what_nobody_can_do_takes_for_ever() {
        assert_eq!(lower_bound(&[], &[]).to_bits(), 0.0f64.to_bits());
        let nobody = Class {
            sessions: 1,
            seconds: vec![None],
        };
        assert!(lower_bound(&[nobody], &[demand(0.0, &[1.0])]).is_infinite());
    }

    /// The exact optimum: every way to give tasks to sessions; on each session in the order in which they become ready, which is
    /// best there.
    fn optimum(
        sessions: &[Vec<Option<f64>>],
        tasks: &[(f64, usize, f64)],
        ends: &mut Vec<f64>,
    ) -> f64 {
        let Some(((ready, rendition, work), rest)) = tasks.split_first() else {
            return ends.iter().copied().fold(0.0, f64::max);
        };
        let mut best = f64::INFINITY;
        for place in 0..sessions.len() {
            let Some(seconds) = sessions[place][*rendition] else {
                continue;
            };
            let before = ends[place];
            ends[place] = before.max(*ready) + seconds * work;
            best = best.min(optimum(sessions, rest, ends));
            ends[place] = before;
        }
        best
    }

    proptest! {
        #[test]
        fn no_schedule_beats_it(
            seconds in prop::collection::vec(prop::collection::vec(prop::option::weighted(0.8, 1u32..12), 2), 1..4),
            spans in prop::collection::vec((0u32..10, prop::collection::vec(0u32..6, 2)), 1..4),
        ) {
            let sessions: Vec<Vec<Option<f64>>> =
                seconds.iter().map(|s| s.iter().map(|s| s.map(f64::from)).collect()).collect();
            let classes: Vec<Class> =
                sessions.iter().map(|seconds| Class { sessions: 1, seconds: seconds.clone() }).collect();
            let mut demands: Vec<Demand> = spans
                .iter()
                .map(|(ready, work)| demand(f64::from(*ready), &work.iter().map(|w| f64::from(*w)).collect::<Vec<_>>()))
                .collect();
            demands.sort_by(|a, b| a.ready.total_cmp(&b.ready));
            let tasks: Vec<(f64, usize, f64)> = demands
                .iter()
                .flat_map(|d| d.work.iter().enumerate().map(|(r, w)| (d.ready, r, *w)))
                .filter(|(_, _, work)| *work > 0.0)
                .collect();
            let best = optimum(&sessions, &tasks, &mut vec![0.0; sessions.len()]);
            let bound = lower_bound(&classes, &demands);
            prop_assert!(bound <= best * (1.0 + 1e-9), "bound {} above the optimum {}", bound, best);
        }

        #[test]
        fn related_sessions_with_divisible_work_meet_it(
            speeds in prop::collection::vec(1u32..20, 1..6),
            count in 200u32..400,
        ) {
            let classes: Vec<Class> = speeds.iter().map(|s| class(1, &[f64::from(*s)])).collect();
            let rate: f64 = speeds.iter().map(|s| 1.0 / f64::from(*s)).sum();
            let demands = vec![demand(0.0, &[0.01]); count as usize];
            let divided = f64::from(count) * 0.01 / rate;
            let bound = lower_bound(&classes, &demands);
            prop_assert!(bound >= divided * (1.0 - 1e-9) && bound <= divided * 1.0 + 0.2);
        }
    }
}
