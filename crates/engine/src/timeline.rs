//! Where each picture stands in time, and where segments are cut: timestamps in, whole cells out.
//!
//! Boundaries come from time alone. Cell `k` holds the pictures that start in `[k·S, (k+1)·S)`, `S` being the segment
//! duration, and it starts with the first of them. Where the source holds one picture across a boundary for longer than the
//! slack, the held picture is repeated at the boundary, so that no cell is empty and no segment outgrows the target duration.
//! Pure: no media types, no clock.

use serde::{Deserialize, Serialize};

use crate::ids::SegmentIndex;

/// Longest time for which a picture may stand before the gap counts as a broken timeline, in seconds.
const LONGEST_HOLD: i64 = 3600;
/// A step back by less than this many milliseconds is jitter; by more, the clock of the source has started again.
const JITTER_MS: i64 = 500;
/// How far a picture may start after a boundary before the picture before it is repeated there, in milliseconds.
const SLACK_MS: i64 = 250;

/// The unit in which a presentation counts time, and how it follows from the source's time base.
///
/// One tick is `1 / ticks_per_second` seconds. The unit is chosen so that every timestamp of the source is a whole number
/// of ticks, and at least 10 000 ticks make a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timescale {
    ticks_per_second: u32,
    source_num: u32,
    source_den: u32,
}

impl Timescale {
    /// Chooses the unit for a source whose timestamps count `num / den` seconds each. Both are above zero.
    #[must_use]
    pub fn for_time_base(num: u32, den: u32) -> Self {
        const FINEST: u32 = 1_000_000;
        let mut ticks = den.max(1);
        if ticks > FINEST {
            ticks = FINEST;
        }
        while ticks < 10_000 {
            ticks *= 2;
        }
        Self {
            ticks_per_second: ticks,
            source_num: num.max(1),
            source_den: den.max(1),
        }
    }

    /// Whether nothing is divided by zero with it. Only one that was read from a file may be otherwise.
    pub(crate) const fn is_usable(self) -> bool {
        self.ticks_per_second > 0 && self.source_num > 0 && self.source_den > 0
    }

    /// Ticks in one second: the timescale of every video track.
    #[must_use]
    pub const fn ticks_per_second(self) -> u32 {
        self.ticks_per_second
    }

    /// Converts a timestamp of the source to ticks.
    #[must_use]
    pub fn from_source(self, timestamp: i64) -> i64 {
        let scaled =
            i128::from(timestamp) * i128::from(self.source_num) * i128::from(self.ticks_per_second);
        clamp(div_round(scaled, i128::from(self.source_den)))
    }

    /// Converts ticks to the source's unit, rounding to the nearest.
    #[must_use]
    pub fn to_source(self, ticks: i64) -> i64 {
        let scaled = i128::from(ticks) * i128::from(self.source_den);
        let unit = i128::from(self.source_num) * i128::from(self.ticks_per_second);
        clamp(div_round(scaled, unit))
    }

    /// Converts seconds to ticks, rounding to the nearest.
    #[must_use]
    pub fn from_seconds(self, seconds: f64) -> i64 {
        (seconds * f64::from(self.ticks_per_second)).round() as i64
    }

    /// Converts ticks to seconds.
    #[must_use]
    pub fn seconds(self, ticks: i64) -> f64 {
        ticks as f64 / f64::from(self.ticks_per_second)
    }

    fn milliseconds(self, ms: i64) -> i64 {
        i64::from(self.ticks_per_second) * ms / 1000
    }
}

fn div_round(value: i128, by: i128) -> i128 {
    let half = if value < 0 { -(by / 2) } else { by / 2 };
    (value + half) / by
}

fn clamp(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 {
        i64::MIN / 4
    } else {
        i64::MAX / 4
    })
}

/// The rule by which time is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grid {
    timescale: Timescale,
    segment: i64,
}

impl Grid {
    /// Makes the grid of segments of `seconds` each; `seconds` is above zero.
    #[must_use]
    pub fn new(timescale: Timescale, seconds: f64) -> Self {
        Self {
            timescale,
            segment: timescale.from_seconds(seconds).max(1),
        }
    }

    /// The unit of all times on this grid.
    #[must_use]
    pub const fn timescale(self) -> Timescale {
        self.timescale
    }

    /// Duration of one cell in ticks.
    #[must_use]
    pub const fn segment(self) -> i64 {
        self.segment
    }

    /// Ticks by which a cell's first picture may be late before the one before it is repeated at the boundary.
    #[must_use]
    pub fn slack(self) -> i64 {
        self.timescale.milliseconds(SLACK_MS).min(self.segment / 8)
    }

    /// The longest that a segment can become, in seconds.
    #[must_use]
    pub fn longest(self) -> f64 {
        self.timescale.seconds(self.segment + self.slack())
    }

    /// The last timestamp of the source at or before the start of a cell; `offset` is where the presentation starts, in ticks of the source's
    /// clock.
    #[must_use]
    pub fn source_boundary(self, index: SegmentIndex, offset: i64) -> i64 {
        let ticks = self.boundary(index).saturating_add(offset);
        let nearest = self.timescale.to_source(ticks);
        nearest - i64::from(self.timescale.from_source(nearest) > ticks)
    }

    /// The start of a cell, in ticks; its first picture may be a little later.
    #[must_use]
    pub fn boundary(self, index: SegmentIndex) -> i64 {
        i64::from(index.get()) * self.segment
    }

    fn cell(self, time: i64) -> SegmentIndex {
        SegmentIndex::new(u32::try_from(time / self.segment).unwrap_or(u32::MAX - 1))
    }
}

/// A picture with the time at which it starts, in ticks from the start of the presentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed<T> {
    /// Start in ticks.
    pub time: i64,
    /// The picture.
    pub item: T,
}

/// One complete stretch of time: the pictures of one segment. Never empty, unless pictures were [taken out](Timeline::take_open) before it was
/// complete; times strictly increase from `start` to below `end`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell<T> {
    /// Place of the cell.
    pub index: SegmentIndex,
    /// Time of the first picture, in ticks.
    pub start: i64,
    /// Time at which the next cell starts or the presentation ends, in ticks.
    pub end: i64,
    /// The pictures, in order of time.
    pub pictures: Vec<Placed<T>>,
    /// How many of them repeat the one before, because the source holds it over a boundary.
    pub held: u32,
}

/// What the timeline had to repair in the source's timestamps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repairs {
    /// Pictures that had no timestamp, or one that did not increase; each got the next possible time.
    pub nudged: u64,
    /// Places where the source's clock jumped; the pictures after each were joined to those before.
    pub discontinuities: u64,
}

#[derive(Clone, Copy)]
enum Repair {
    Nudge,
    Discontinuity,
}

struct Last<T> {
    time: i64,
    duration: i64,
    item: T,
}

/// Where a timeline begins that does not begin with the presentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The first cell to make.
    pub from: SegmentIndex,
    /// Source ticks (in the presentation's unit) at the start of the presentation.
    pub offset: i64,
    /// Timestamp of the first picture, in the source's unit.
    pub first: Option<i64>,
}

/// Why a timeline cannot begin inside the presentation with some picture: the cells might differ from those of the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// The first picture has no timestamp.
    #[error("the first picture has no timestamp")]
    NoTimestamp,
    /// The first picture stands before the presentation, or beyond the start of its cell; what is shown there is not known.
    #[error("the first picture is {distance} ticks away from the stretch that it should start")]
    Away {
        /// By how many ticks.
        distance: i64,
    },
}

/// Places pictures in time and closes cells. Feed [`push`](Self::push) with pictures in presentation order, then call
/// [`finish`](Self::finish) once.
pub struct Timeline<T> {
    grid: Grid,
    /// Source ticks (in the presentation's unit) at time zero; known from the first picture on.
    offset: Option<i64>,
    nominal: i64,
    /// Cells before this one are not made.
    from: SegmentIndex,
    last: Option<Last<T>>,
    /// Time of the open cell's first picture.
    start: Option<i64>,
    open: Vec<Placed<T>>,
    index: SegmentIndex,
    held: u32,
    repairs: Repairs,
    /// The presentation ends before this time, whatever comes.
    most: i64,
    is_over: bool,
}

impl<T: Clone> Timeline<T> {
    /// Starts an empty timeline; `nominal` is the duration of a picture whose own is not known, in ticks, above zero.
    #[must_use]
    pub fn new(grid: Grid, nominal: i64) -> Self {
        Self {
            grid,
            offset: None,
            nominal: nominal.max(1),
            from: SegmentIndex::FIRST,
            last: None,
            start: None,
            open: Vec::new(),
            index: SegmentIndex::FIRST,
            held: 0,
            repairs: Repairs::default(),
            most: i64::MAX,
            is_over: false,
        }
    }

    /// Lets the presentation end before `most`, in ticks. A picture at that time or later [ends](Self::is_over) it with the picture before; those that
    /// follow must not be pushed any more.
    pub fn limit(&mut self, most: i64) {
        self.most = most;
    }

    /// Whether the presentation was ended by its [limit](Self::limit).
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.is_over
    }

    /// Leaves out the cells before `from`: pictures in them are placed and let go. For a timeline without pictures.
    #[must_use]
    pub fn skipping_to(self, from: SegmentIndex) -> Self {
        Self { from, ..self }
    }

    /// Starts a timeline inside the presentation, to be fed from a picture at or before the start of its first cell on. The cells are the same as
    /// those of a timeline over the whole, if the first picture's own timestamp is what places it there and the source's clock
    /// does not jump before it.
    pub fn starting_at(grid: Grid, nominal: i64, entry: Entry) -> Result<Self, EntryError> {
        let Entry {
            from,
            offset,
            first,
        } = entry;
        let first = first.ok_or(EntryError::NoTimestamp)?;
        let time = grid.timescale.from_source(first).saturating_sub(offset);
        let boundary = grid.boundary(from);
        if time < 0 || time > boundary {
            let distance = if time < 0 { -time } else { time - boundary };
            return Err(EntryError::Away { distance });
        }
        Ok(Self {
            offset: Some(offset),
            index: grid.cell(time),
            ..Self::new(grid, nominal).skipping_to(from)
        })
    }

    /// The cell that is being filled.
    #[must_use]
    pub const fn current(&self) -> SegmentIndex {
        self.index
    }

    /// Whether the pictures so far all stand before the first cell that is made.
    #[must_use]
    pub fn is_running_in(&self) -> bool {
        self.index < self.from
    }

    /// The pictures of the open cell so far, in order, but for those that were taken out.
    #[must_use]
    pub fn open(&self) -> &[Placed<T>] {
        &self.open
    }

    /// Takes the pictures out of the open cell; it will be closed without them.
    pub fn take_open(&mut self) -> Vec<Placed<T>> {
        std::mem::take(&mut self.open)
    }

    /// Source ticks (in the presentation's unit) at time zero, once there is a picture.
    #[must_use]
    pub const fn offset(&self) -> Option<i64> {
        self.offset
    }

    /// What was repaired so far.
    #[must_use]
    pub const fn repairs(&self) -> Repairs {
        self.repairs
    }

    /// Takes the next picture, with its timestamp and duration in the source's unit where they are known, and returns the
    /// cells that it completes: none, one, or several when the picture before was held over several boundaries.
    pub fn push(&mut self, item: T, timestamp: Option<i64>, duration: Option<i64>) -> Vec<Cell<T>> {
        let timescale = self.grid.timescale;
        let (time, repair) = self.time_for(timestamp.map(|t| timescale.from_source(t)));
        if time >= self.most && self.last.is_some() {
            self.is_over = true;
            return Vec::new();
        }
        let duration = duration
            .map(|d| timescale.from_source(d))
            .filter(|d| (1..=self.longest_hold()).contains(d));
        let mut done = Vec::new();
        let target = self.grid.cell(time);
        if target >= self.from {
            self.count(repair);
        }
        while self.index < target {
            let next = self.index.next();
            let boundary = self.grid.boundary(next);
            if next == target && time - boundary <= self.grid.slack() {
                done.extend(self.close(time));
            } else {
                done.extend(self.close(boundary));
                self.hold(boundary);
            }
        }
        // A held picture may stand exactly where this one starts only if the loop above closed at `time`, so times increase.
        self.place(time, item.clone());
        self.last = Some(Last {
            time,
            duration: duration.unwrap_or(self.nominal),
            item,
        });
        done
    }

    /// Ends the presentation after the last picture's duration and returns the remaining cells; none if there was no picture.
    pub fn finish(&mut self) -> Vec<Cell<T>> {
        let Some(last) = &self.last else {
            return Vec::new();
        };
        let mut end = last.time + last.duration;
        if end > self.most {
            self.is_over = true;
            end = self.most.max(last.time + 1);
        }
        let mut done = Vec::new();
        loop {
            let boundary = self.grid.boundary(self.index.next());
            if end - boundary <= self.grid.slack() {
                done.extend(self.close(end));
                return done;
            }
            done.extend(self.close(boundary));
            self.hold(boundary);
        }
    }

    /// In ticks.
    fn longest_hold(&self) -> i64 {
        LONGEST_HOLD * i64::from(self.grid.timescale.ticks_per_second)
    }

    /// The time of the next picture, and what had to be repaired for it.
    fn time_for(&mut self, ticks: Option<i64>) -> (i64, Option<Repair>) {
        let timescale = self.grid.timescale;
        let offset = *self.offset.get_or_insert(ticks.unwrap_or(0));
        let Some(last) = &self.last else {
            return (ticks.map_or(0, |ticks| ticks - offset), None);
        };
        let expected = last.time + last.duration;
        let Some(ticks) = ticks else {
            return (expected, Some(Repair::Nudge));
        };
        let time = ticks.saturating_sub(offset);
        let longest = self.longest_hold();
        if last.time - time > timescale.milliseconds(JITTER_MS) || time - last.time > longest {
            self.offset = Some(ticks.saturating_sub(expected));
            return (expected, Some(Repair::Discontinuity));
        }
        if time <= last.time {
            return (last.time + 1, Some(Repair::Nudge));
        }
        (time, None)
    }

    fn count(&mut self, repair: Option<Repair>) {
        match repair {
            Some(Repair::Nudge) => self.repairs.nudged += 1,
            Some(Repair::Discontinuity) => self.repairs.discontinuities += 1,
            None => {}
        }
    }

    fn place(&mut self, time: i64, item: T) {
        if self.index >= self.from {
            self.start.get_or_insert(time);
            self.open.push(Placed { time, item });
        }
    }

    fn close(&mut self, end: i64) -> Option<Cell<T>> {
        let index = self.index;
        self.index = index.next();
        let pictures = std::mem::take(&mut self.open);
        // None only before the first cell that is made.
        let start = self.start.take()?;
        Some(Cell {
            index,
            start,
            end,
            pictures,
            held: std::mem::take(&mut self.held),
        })
    }

    fn hold(&mut self, time: i64) {
        let Some(last) = &mut self.last else { return };
        last.duration = (last.duration - (time - last.time)).max(1);
        last.time = time;
        let item = last.item.clone();
        self.held += u32::from(self.index >= self.from);
        self.place(time, item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn grid(den: u32, seconds: f64) -> Grid {
        Grid::new(Timescale::for_time_base(1, den), seconds)
    }

    fn cells(grid: Grid, times: &[(i64, i64)]) -> Vec<Cell<usize>> {
        let mut timeline = Timeline::new(grid, 1);
        let mut out = Vec::new();
        for (n, (pts, duration)) in times.iter().enumerate() {
            out.extend(timeline.push(n, Some(*pts), Some(*duration)));
        }
        out.extend(timeline.finish());
        out
    }

    #[test]
    fn source_units_stay_whole_ticks() {
        let film = Timescale::for_time_base(1001, 24000);
        assert_eq!(film.ticks_per_second(), 24000);
        assert_eq!(film.from_source(7), 7007);
        assert_eq!(film.to_source(7007), 7);
        assert_eq!(Timescale::for_time_base(1, 25).ticks_per_second(), 12800);
        assert_eq!(
            Timescale::for_time_base(1, 1_000_000_000).ticks_per_second(),
            1_000_000
        );
    }

    #[test]
    fn constant_rate_is_cut_on_the_grid() {
        let times: Vec<_> = (0..250).map(|n| (n * 512 + 1024, 512)).collect();
        let cells = cells(grid(12288, 4.0), &times);
        let counts: Vec<_> = cells.iter().map(|c| c.pictures.len()).collect();
        assert_eq!(counts, [96, 96, 58]);
        assert_eq!(cells[1].start, 4 * 12288);
        assert_eq!(cells[2].end, 250 * 512);
        assert!(cells.iter().all(|c| c.held == 0));
    }

    #[test]
    fn first_picture_after_the_boundary_starts_the_cell() {
        let times: Vec<_> = (0..180).map(|n| (n * 1001, 1001)).collect();
        let cells = cells(grid(30000, 4.0), &times);
        assert_eq!(cells[0].pictures.len(), 120);
        assert_eq!(cells[1].start, 120 * 1001);
        assert_eq!(cells[0].end, cells[1].start);
    }

    #[test]
    fn a_held_picture_is_repeated_at_each_boundary() {
        let cells = cells(
            grid(10000, 4.0),
            &[(0, 100), (30000, 95000), (125_000, 100)],
        );
        let starts: Vec<_> = cells.iter().map(|c| c.start).collect();
        assert_eq!(starts, [0, 40000, 80000, 120_000]);
        assert_eq!(cells[3].pictures.len(), 2);
        assert_eq!(cells.iter().map(|c| c.held).sum::<u32>(), 3);
        assert_eq!(cells[3].end, 125_100);
    }

    #[test]
    fn one_picture_fills_its_whole_duration() {
        let cells = cells(grid(10000, 4.0), &[(500, 100_000)]);
        assert_eq!(cells.len(), 3);
        assert_eq!(cells[2].end, 100_000);
        assert_eq!(cells[2].held, 1);
    }

    #[test]
    fn a_clock_that_starts_again_is_joined() {
        let grid = grid(10000, 4.0);
        let mut timeline = Timeline::new(grid, 400);
        for n in 0..50 {
            timeline.push(n, Some(n * 400), Some(400));
        }
        for n in 0..50 {
            timeline.push(n, Some(n * 400), Some(400));
        }
        let rest = timeline.finish();
        assert_eq!(timeline.repairs().discontinuities, 1);
        assert_eq!(rest.last().map(|c| c.end), Some(100 * 400));
    }

    #[test]
    fn an_absurd_duration_is_not_believed() {
        let seconds = i64::from(i32::MAX);
        let grid = grid(10000, 4.0);
        let mut timeline = Timeline::new(grid, 400);
        timeline.push(0, Some(0), Some(seconds * 10000));
        assert!(
            timeline
                .push(1, Some(seconds * 10000), Some(400))
                .is_empty()
        );
        assert_eq!(timeline.finish().len(), 1);
        assert_eq!(timeline.repairs().discontinuities, 1);
    }

    /// The cells from `from` on, made from picture `first` on.
    fn split(
        grid: Grid,
        stamps: &[(Option<i64>, i64)],
        (from, first): (u32, usize),
    ) -> Result<(Vec<Cell<usize>>, SegmentIndex), EntryError> {
        let offset = stamps[0].0.map_or(0, |t| grid.timescale.from_source(t));
        let entry = Entry {
            from: SegmentIndex::new(from),
            offset,
            first: stamps[first].0,
        };
        let mut timeline = Timeline::starting_at(grid, 400, entry)?;
        let mut out = Vec::new();
        for (n, (stamp, duration)) in stamps.iter().enumerate().skip(first) {
            out.extend(timeline.push(n, *stamp, Some(*duration)));
        }
        out.extend(timeline.finish());
        Ok((out, timeline.current()))
    }

    #[test]
    fn a_start_that_would_be_a_guess_is_refused() {
        let grid = grid(10000, 4.0);
        let at = |first| {
            let entry = Entry {
                from: SegmentIndex::new(2),
                offset: 500,
                first,
            };
            Timeline::<u8>::starting_at(grid, 400, entry).map(|_| ())
        };
        assert_eq!(at(None), Err(EntryError::NoTimestamp));
        assert_eq!(at(Some(499)), Err(EntryError::Away { distance: 1 }));
        assert_eq!(at(Some(80_501)), Err(EntryError::Away { distance: 1 }));
        assert_eq!(at(Some(80_500)), Ok(()));
        assert_eq!(at(Some(500)), Ok(()));
    }

    #[test]
    fn boundaries_in_the_source_are_never_late() {
        let scale = Timescale::for_time_base(1001, 30000);
        let grid = Grid::new(scale, 4.0);
        for n in 0..50 {
            let index = SegmentIndex::new(n);
            let stamp = grid.source_boundary(index, 7);
            assert!(scale.from_source(stamp) <= grid.boundary(index) + 7);
            assert!(scale.from_source(stamp + 1) > grid.boundary(index) + 7);
        }
    }

    #[test]
    fn a_presentation_ends_at_its_limit() {
        let ends = |stamps: &[(i64, i64)]| {
            let mut timeline = Timeline::new(grid(10000, 4.0), 400);
            let mut cells = Vec::new();
            for (n, (stamp, duration)) in stamps.iter().enumerate() {
                timeline.limit(100_000);
                cells.extend(timeline.push(n, Some(*stamp), Some(*duration)));
                if timeline.is_over() {
                    break;
                }
            }
            cells.extend(timeline.finish());
            let pictures: usize = cells.iter().map(|cell| cell.pictures.len()).sum();
            let end = cells.last().map(|cell| cell.end);
            (end, pictures, timeline.is_over())
        };
        assert_eq!(ends(&[(0, 400), (99_000, 400)]), (Some(99_400), 4, false));
        // A picture beyond it is not shown, and the one before is not held until then.
        assert_eq!(ends(&[(0, 400), (100_000, 400)]), (Some(400), 1, true));
        // Nor is the last one shown beyond it.
        assert_eq!(ends(&[(0, 400), (99_000, 4000)]), (Some(100_000), 4, true));
    }

    #[test]
    fn no_picture_makes_no_cell() {
        assert!(Timeline::<u8>::new(grid(1000, 4.0), 40).finish().is_empty());
    }

    /// Pictures whose times go up, mostly: gaps of all lengths, some on the boundaries, some without a timestamp.
    fn stamps() -> impl Strategy<Value = Vec<(Option<i64>, i64)>> {
        let step = prop_oneof![
            4 => 300i64..500,
            2 => Just(400),
            1 => 0i64..3,
            1 => 1000i64..4000,
            1 => 5000i64..50_000,
        ];
        let duration = prop_oneof![3 => Just(400i64), 1 => 0i64..50_000];
        let picture = (step, duration, prop::bool::weighted(0.95));
        (0i64..3, prop::collection::vec(picture, 1..40)).prop_map(|(start, pictures)| {
            let mut time = start * 777;
            let place = |(place, (step, duration, stamped)): (usize, (i64, i64, bool))| {
                time += if place == 0 { 0 } else { step };
                ((stamped || place == 0).then_some(time), duration)
            };
            pictures.into_iter().enumerate().map(place).collect()
        })
    }

    proptest! {
        #[test]
        fn a_timeline_split_anywhere_makes_the_cells_of_the_whole(stamps in stamps(), seconds in 1u8..5) {
            let grid = grid(10000, f64::from(seconds));
            let mut timeline = Timeline::new(grid, 400);
            let mut whole = Vec::new();
            let mut own = Vec::new();
            for (n, (stamp, duration)) in stamps.iter().enumerate() {
                whole.extend(timeline.push(n, *stamp, Some(*duration)));
                let time = timeline.last.as_ref().unwrap().time;
                own.push(stamp.is_some_and(|stamp| stamp - stamps[0].0.unwrap() == time));
            }
            whole.extend(timeline.finish());
            for from in 0..=timeline.current().get() {
                let boundary = grid.boundary(SegmentIndex::new(from));
                let wanted: Vec<_> = whole.iter().filter(|cell| cell.index.get() >= from).cloned().collect();
                let mut skipping = Timeline::new(grid, 400).skipping_to(SegmentIndex::new(from));
                let mut rest = Vec::new();
                for (n, (stamp, duration)) in stamps.iter().enumerate() {
                    rest.extend(skipping.push(n, *stamp, Some(*duration)));
                }
                rest.extend(skipping.finish());
                prop_assert_eq!(&rest, &wanted);
                for first in (0..stamps.len()).filter(|first| own[*first]) {
                    let late = stamps[first].0.unwrap() - stamps[0].0.unwrap() > boundary;
                    match split(grid, &stamps, (from, first)) {
                        Ok((cells, count)) => {
                            prop_assert!(!late);
                            prop_assert_eq!(&cells, &wanted);
                            prop_assert_eq!(count, timeline.current());
                        }
                        Err(_) => prop_assert!(late),
                    }
                }
            }
        }

        #[test]
        fn any_timestamps_make_whole_cells(
            stamps in prop::collection::vec((prop::option::of(-100_000i64..10_000_000), prop_oneof![0i64..200_000, Just(i64::MAX)]), 1..200),
            seconds in 1u8..10,
        ) {
            let grid = grid(10000, f64::from(seconds));
            let mut timeline = Timeline::new(grid, 400);
            let mut out = Vec::new();
            for (n, (pts, duration)) in stamps.iter().enumerate() {
                out.extend(timeline.push(n, *pts, Some(*duration)));
            }
            out.extend(timeline.finish());
            let mut expected = 0;
            let mut held = 0;
            for (n, cell) in out.iter().enumerate() {
                prop_assert_eq!(cell.index.get() as usize, n);
                prop_assert_eq!(cell.start, expected);
                prop_assert_eq!(cell.pictures[0].time, cell.start);
                prop_assert!(cell.pictures.windows(2).all(|w| w[0].time < w[1].time));
                prop_assert!(cell.pictures.last().unwrap().time < cell.end);
                prop_assert!(cell.end - cell.start <= grid.segment() + grid.slack());
                expected = cell.end;
                held += u64::from(cell.held);
            }
            let pictures: usize = out.iter().map(|c| c.pictures.len()).sum();
            prop_assert_eq!(pictures as u64, stamps.len() as u64 + held);
        }
    }
}
