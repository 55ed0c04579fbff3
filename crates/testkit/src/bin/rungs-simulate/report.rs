//! How good the placement is, as a table: makespan over the lower bound, of the engine's schedule and of two simple ones.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rungs_engine::schedule::{Decision, Event, Schedule, Tick};
use rungs_testkit::sim::baselines::{Baseline, Kind};
use rungs_testkit::sim::quality::{self, Row};
use rungs_testkit::sim::{Scenario, Scheduler, Settings, run};

/// Segments a device of a long and of a short source.
const LONG: u32 = 20;
const SHORT: u32 = 2;

/// Whether spans need more or less than foreseen, and whether devices fail, for each table.
const TABLES: [(bool, bool); 3] = [(false, false), (true, false), (true, true)];
const HEADS: [&str; 3] = [
    "Without faults",
    "Without faults, spans need up to a quarter more or less than their length says",
    "The same with faults, against the capacity that was up",
];

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    /// How many times as many seeds as is usual.
    pub(crate) effort: f64,
    /// Devices of the largest machine.
    pub(crate) most: u32,
}

/// Median and 95th percentile of one schedule in a row.
#[derive(Clone, Copy, Debug, Default)]
struct Quality {
    median: f64,
    high: f64,
}

/// A row with what was measured.
struct Measured {
    row: Row,
    seeds: usize,
    ours: Quality,
    bound: Quality,
    queue: Quality,
}

/// The rows of the table, in its order.
fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (surprises, faults) in TABLES {
        for devices in [1, 2, 4, 10, 100, 1000] {
            for mixed in [false, true] {
                for segments in [LONG, SHORT] {
                    for rungs in [1, 3, 6] {
                        let row = Row {
                            devices,
                            mixed,
                            rungs,
                            segments,
                            surprises,
                            faults,
                        };
                        if !(mixed && devices == 1) {
                            rows.push(row);
                        }
                    }
                }
            }
        }
    }
    rows
}

/// Measures the rows and writes the tables in Markdown.
pub(crate) fn tables(extent: Extent) -> String {
    let mut rows = rows();
    rows.retain(|row| row.devices <= extent.most);
    let next = AtomicUsize::new(0);
    let measured: Mutex<Vec<(usize, Measured)>> = Mutex::new(Vec::new());
    let work = || {
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            // The largest first, so that no core waits for the last.
            let Some(place) = rows.len().checked_sub(place + 1) else {
                return;
            };
            let done = measure(rows[place], extent.effort);
            if let Ok(mut measured) = measured.lock() {
                measured.push((place, done));
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        for n in 1..threads {
            let started = thread::Builder::new()
                .name(format!("report-{n}"))
                .spawn_scoped(scope, work);
            drop(started);
        }
        work();
    });
    let mut measured = measured.into_inner().unwrap_or_default();
    measured.sort_by_key(|(place, _)| *place);
    let mut text = String::new();
    for ((surprises, faults), head) in TABLES.into_iter().zip(HEADS) {
        let of = |m: &&Measured| (m.row.surprises, m.row.faults) == (surprises, faults);
        table(&mut text, head, measured.iter().map(|(_, m)| m).filter(of));
    }
    text.push_str(&decisions(extent.most));
    text
}

fn table<'a>(text: &mut String, head: &str, rows: impl Iterator<Item = &'a Measured>) {
    let _ = write!(
        text,
        "### {head}\n\n\
        | devices | speeds | rungs | segments a device | seeds | rungs: median | 95 % | bound to rungs: median | 95 % | queue: median | 95 % |\n\
        |--:|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n"
    );
    for Measured {
        row,
        seeds,
        ours,
        bound,
        queue,
    } in rows
    {
        let speeds = if row.mixed { "10 : 1" } else { "equal" };
        let _ = writeln!(
            text,
            "| {} | {speeds} | {} | {} | {seeds} | {:.3} | {:.3} | {:.3} | {:.3} | {:.3} | {:.3} |",
            row.devices,
            row.rungs,
            row.segments,
            ours.median,
            ours.high,
            bound.median,
            bound.high,
            queue.median,
            queue.high
        );
    }
    text.push('\n');
}

/// Seeds of a row: fewer where a run is long.
fn seeds(row: Row, effort: f64) -> usize {
    let usual = match row.devices {
        0..=4 => 200.0,
        5..=10 => 100.0,
        11..=100 => 20.0,
        _ => 5.0,
    };
    (usual * effort).ceil() as usize
}

fn measure(row: Row, effort: f64) -> Measured {
    let seeds = seeds(row, effort);
    let mut ratios = [const { Vec::new() }; 3];
    for seed in 0..seeds as u64 {
        let scenario = quality::scenario(row, seed);
        let bound = quality::lower_bound(&scenario);
        let machine = || scenario.machine.clone();
        ratios[0].push(makespan(&scenario, Schedule::new(machine())) / bound);
        ratios[1].push(makespan(&scenario, Baseline::new(Kind::Bound, machine())) / bound);
        ratios[2].push(makespan(&scenario, Baseline::new(Kind::Queue, machine())) / bound);
    }
    let [ours, bound, queue] = ratios.map(quality_of);
    Measured {
        row,
        seeds,
        ours,
        bound,
        queue,
    }
}

/// Seconds that a schedule takes; infinite if it did something wrong or gave up.
fn makespan(scenario: &Scenario, schedule: impl Scheduler) -> f64 {
    let outcome = run(
        scenario,
        schedule,
        Settings {
            log: false,
            audit: false,
            until: None,
        },
    );
    let well = outcome.violation.is_none() && outcome.given_up == 0;
    let end = outcome.finished.first().copied().flatten().filter(|_| well);
    end.map_or(f64::INFINITY, |end| end as f64 / 1e9)
}

fn quality_of(mut ratios: Vec<f64>) -> Quality {
    ratios.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let place =
            ((ratios.len() as f64 * share).ceil() as usize).clamp(1, ratios.len().max(1)) - 1;
        ratios.get(place).copied().unwrap_or(f64::NAN)
    };
    Quality {
        median: at(0.5),
        high: at(0.95),
    }
}

/// The engine's schedule with a stop watch.
struct Timed<'a> {
    schedule: Schedule,
    took: &'a RefCell<Vec<Duration>>,
}

impl Scheduler for Timed<'_> {
    fn handle(&mut self, now: Tick, event: Event) -> Vec<Decision> {
        let start = Instant::now();
        let decisions = self.schedule.handle(now, event);
        self.took.borrow_mut().push(start.elapsed());
        decisions
    }

    fn wake_at(&self) -> Option<Tick> {
        self.schedule.wake_at()
    }

    fn charged(&self) -> Option<u64> {
        None
    }

    fn free_leases(&self) -> Option<usize> {
        None
    }

    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

/// How long the schedule takes over an event at 1000 devices.
fn decisions(most: u32) -> String {
    let mut text = "### Time for a decision\n\n| devices | speeds | rungs | events | median | 99 % |\n|--:|---|--:|--:|--:|--:|\n".to_owned();
    for devices in [1, 100, 1000]
        .into_iter()
        .filter(|devices| *devices <= most)
    {
        for mixed in [false, true] {
            let row = Row {
                devices,
                mixed,
                rungs: 6,
                segments: LONG,
                surprises: true,
                faults: false,
            };
            let scenario = quality::scenario(row, 0);
            let took = RefCell::new(Vec::new());
            let schedule = Timed {
                schedule: Schedule::new(scenario.machine.clone()),
                took: &took,
            };
            run(
                &scenario,
                schedule,
                Settings {
                    log: false,
                    audit: false,
                    until: None,
                },
            );
            let mut took = took.into_inner();
            took.sort_unstable();
            let middle = took.get(took.len() / 2).map_or(0.0, Duration::as_secs_f64);
            let high = took
                .get(took.len() * 99 / 100)
                .map_or(0.0, Duration::as_secs_f64);
            let speeds = if mixed { "10 : 1" } else { "equal" };
            let _ = writeln!(
                text,
                "| {devices} | {speeds} | 6 | {} | {:.1} µs | {:.1} µs |",
                took.len(),
                middle * 1e6,
                high * 1e6
            );
        }
    }
    text
}
