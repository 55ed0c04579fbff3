//! Pumps alone: a film or a file in, and what they say out.

use super::*;
use crate::feed;
use crate::ids::{JobId, PumpId};
use crate::message::Message;
use crate::read::{Opened, ReadCounts, ReadOptions, VideoMaterial};
use crate::seam::Seams;
use crate::span::Outline;
use crossbeam_channel::unbounded;
use rungs_media::demux::Demuxer;
use rungs_media::{CancelToken, Error, Limits, Source, normalise};
use rungs_testkit::clips::{self, Clip};
use rungs_testkit::tool;
use std::path::{Path, PathBuf};

/// Pictures of one colour each, a keyframe every five.
#[derive(Clone)]
struct Film {
    stamps: Vec<i64>,
    next: usize,
    given: u64,
    /// What a reader that starts inside adds to each colour.
    false_by: u8,
    fails_at: Option<usize>,
    bytes: Bytes,
}

impl Film {
    fn new(stamps: Vec<i64>) -> Self {
        Self {
            stamps,
            next: 0,
            given: 0,
            false_by: 0,
            fails_at: None,
            bytes: Bytes::Any,
        }
    }

    fn constant(count: i64) -> Self {
        Self::new((0..count).map(|n| 100 + n).collect())
    }
}

impl Material for Film {
    fn open(&self, start: Option<Start>) -> Result<Opened, Error> {
        let mut reader = self.clone();
        let Some(Start { timestamp }) = start else {
            reader.false_by = 0;
            return Ok(Opened {
                reader: Box::new(reader),
                entered: Entered::Beginning,
            });
        };
        let before = self.stamps.partition_point(|stamp| *stamp <= timestamp);
        reader.next = before.saturating_sub(1) / 5 * 5;
        Ok(Opened {
            entered: Entered::Keyframe(self.stamps[reader.next]),
            reader: Box::new(reader),
        })
    }

    fn keyframe_before(&self, _: i64) -> Option<i64> {
        None
    }

    fn bytes(&self) -> Bytes {
        self.bytes
    }
}

impl Reader for Film {
    fn look_ahead(&mut self, from: i64, until: i64) -> Result<u64, Error> {
        let left = self.stamps[self.next..].iter();
        Ok(left.filter(|stamp| (from..until).contains(stamp)).count() as u64)
    }

    fn next(&mut self) -> Result<Option<Picture>, Error> {
        if self.fails_at == Some(self.next) {
            return Err(Error::Cancelled);
        }
        let Some(timestamp) = self.stamps.get(self.next).copied() else {
            return Ok(None);
        };
        let colour = (self.next % 200) as u8 + self.false_by;
        self.next += 1;
        self.given += 1;
        Ok(Some(Picture {
            frame: Frame::filled(16, 16, [colour, 128, 128])?,
            timestamp: Some(timestamp),
            duration: Some(1),
        }))
    }

    fn counts(&self) -> ReadCounts {
        ReadCounts {
            decoded: self.given,
            errors: 0,
            bytes: 0,
        }
    }
}

/// What a pump said.
#[derive(Default)]
struct Said {
    spans: Vec<Span>,
    last: Vec<bool>,
    seams: Vec<Seam>,
    asked: Vec<(u32, u64)>,
    summary: Option<PumpSummary>,
    failed_at: Option<i64>,
}

/// Cells of a film have ten pictures.
fn film_plan(film: &Film) -> PumpPlan {
    let grid = Grid::new(Timescale::for_time_base(1, 10), 1.0);
    PumpPlan {
        grid,
        nominal: 1000,
        frame_bytes: 1,
        offset: grid.timescale().from_source(film.stamps[0]),
    }
}

/// A line as the engine makes it, and its end.
fn line() -> (Line<PumpMessage>, Receiver<Message>) {
    let (inbox, messages) = unbounded();
    let (job, pump) = (JobId::new(0), PumpId::new(7));
    let wrap = move |message| Message::Pump { job, pump, message };
    (Line::new(inbox, wrap), messages)
}

fn word(message: Message) -> PumpMessage {
    match message {
        Message::Pump { message, .. } => message,
        other => panic!("{other:?}"),
    }
}

/// Runs a pump over a film; it is told to end before the span `end`.
fn pump(film: &Film, stretch: (u32, Option<u32>), end: Option<u32>) -> Said {
    drive(film, film_plan(film), stretch, end)
}

fn drive(
    material: &dyn Material,
    plan: PumpPlan,
    (from, until): (u32, Option<u32>),
    end: Option<u32>,
) -> Said {
    let order = PumpOrder {
        stretch: Stretch {
            from: SegmentIndex::new(from),
            until: until.map(SegmentIndex::new),
        },
        plan,
    };
    let (out, inbox) = line();
    let (credit, granted) = unbounded();
    let mut said = Said::default();
    std::thread::scope(|scope| {
        let lines = PumpLines {
            credit: granted,
            out,
            cancel: Cancel::new(),
        };
        scope.spawn(move || run(material, order, &lines));
        for message in &inbox {
            match word(message) {
                PumpMessage::CreditAsked { span, bytes } => {
                    said.asked.push((span.get(), bytes));
                    let ends = end.is_some_and(|end| span.get() >= end);
                    let answer = if ends { Credit::End } else { Credit::Decode };
                    credit.send(answer).expect("the pump waits");
                }
                PumpMessage::Span { span, last } => {
                    said.spans.push(span);
                    said.last.push(last);
                }
                PumpMessage::Fed { .. } => panic!("nothing is fed"),
                PumpMessage::Seam(seam) => said.seams.push(seam),
                PumpMessage::Ended(summary) => said.summary = Some(summary),
                PumpMessage::Failed { at, .. } => said.failed_at = Some(at),
                PumpMessage::Lost => panic!("it says so itself"),
            }
        }
    });
    said
}

/// Index, start, end, and time and digest of each picture.
type Facts = (u32, i64, i64, u32, Seen);

fn facts(spans: &[Span]) -> Vec<Facts> {
    let picture = |placed: &Placed<Frame>| (placed.time, placed.item.digest());
    let fact = |span: &Span| {
        let pictures = span.frames.iter().map(picture).collect();
        (span.index.get(), span.start, span.end, span.held, pictures)
    };
    spans.iter().map(fact).collect()
}

fn films() -> Vec<Film> {
    let slides = [
        0, 3, 4, 5, 6, 7, 19, 23, 41, 42, 43, 60, 61, 62, 63, 64, 65, 99, 120,
    ];
    vec![
        Film::constant(43),
        Film::constant(40),
        Film::new(slides.to_vec()),
        Film::new((0..30).map(|n| 5 + n * 3).collect()),
    ]
}

#[test]
fn stretches_that_meet_give_the_spans_of_the_whole() {
    for film in films() {
        let whole = pump(&film, (0, None), None);
        let summary = whole.summary.expect("an end");
        let count = summary.spans_in_all.expect("the source has ended");
        assert_eq!(summary.spans, count);
        assert_eq!((summary.dropped, whole.seams.len()), (0, 0));
        assert_eq!(
            whole.last.iter().position(|last| *last),
            Some(count as usize - 1)
        );
        for cut in 1..count + 2 {
            for told in [false, true] {
                let first = if told {
                    pump(&film, (0, None), Some(cut))
                } else {
                    pump(&film, (0, Some(cut)), None)
                };
                let second = pump(&film, (cut, None), None);
                let mut both = facts(&first.spans);
                both.extend(facts(&second.spans));
                assert!(both == facts(&whole.spans), "cut at {cut}");
                let mut seams = Seams::default();
                // A pump that meets the end before it is told to stop has no end to report.
                assert!(first.seams.len() == 1 || told && cut >= count);
                assert_eq!(second.seams.len(), 1);
                for seam in first.seams.iter().chain(&second.seams) {
                    assert_eq!(seam.span.get(), cut);
                    assert_eq!(seams.meet(*seam), Ok(()));
                }
                let summary = second.summary.expect("an end");
                assert_eq!(summary.spans_in_all, Some(count), "cut at {cut}");
                let ended = first.summary.expect("an end").spans_in_all;
                assert!(ended.is_none_or(|spans| spans == count));
            }
        }
    }
}

#[test]
fn a_few_bytes_do_not_become_days() {
    // Pictures of a tenth of a second: three at the beginning, then one in many minutes.
    let stamps = [0, 1, 2, 12_000, 30_000, 35_990, 40_000, 60_000];
    let sparse = |bytes| Film {
        bytes,
        ..Film::new(stamps.to_vec())
    };
    for (bytes, seconds, is_cut) in [
        (Bytes::Known(0), 3599.1, true),
        (Bytes::AsRead, 3599.1, true),
        (Bytes::Known(40_100), 4000.1, true),
        (Bytes::Known(300_000), 6000.1, false),
        (Bytes::Any, 6000.1, false),
    ] {
        let film = sparse(bytes);
        let whole = pump(&film, (0, None), None);
        let summary = whole.summary.expect("an end");
        let end = film_plan(&film).grid.timescale().seconds(summary.end);
        assert_eq!((end, summary.is_cut), (seconds, is_cut), "{bytes:?}");
        let count = summary.spans_in_all;
        assert_eq!(count, Some(seconds.ceil() as u32));
        // Whoever reads the end from the middle comes to the same one.
        for cut in [1300, 3599] {
            let rest = pump(&film, (cut, None), None);
            let summary = rest.summary.expect("an end");
            assert_eq!((summary.spans_in_all, summary.is_cut), (count, is_cut));
            let same = facts(&rest.spans) == facts(&whole.spans[cut as usize..]);
            assert!(same, "{bytes:?} from {cut}");
        }
    }
}

#[test]
fn a_pump_says_what_it_decoded_in_vain() {
    let film = Film::constant(43);
    let said = pump(&film, (1, Some(3)), None);
    let summary = said.summary.expect("an end");
    // The keyframe is at the boundary itself; the picture after the stretch was decoded to see where it ends.
    assert_eq!(
        (summary.spans, summary.counts.decoded, summary.dropped),
        (2, 21, 1)
    );
    assert_eq!(summary.spans_in_all, None);
    let film = Film::new((0..43).map(|n| n * 3).collect());
    let summary = pump(&film, (1, Some(2)), None).summary.expect("an end");
    // Pictures 0 to 3 and 7 are not in it.
    assert_eq!((summary.counts.decoded, summary.dropped), (8, 5));
}

#[test]
fn credit_is_asked_for_the_pictures_of_the_span_alone() {
    let said = pump(&Film::constant(43), (2, None), None);
    assert_eq!(said.asked, [(2, 10), (3, 10), (4, 3)]);
    let said = pump(&Film::constant(43), (0, None), None);
    assert_eq!(said.asked, [(0, 10), (1, 10), (2, 10), (3, 10), (4, 3)]);
}

#[test]
fn other_pictures_at_a_seam_are_noticed() {
    let mut film = Film::constant(43);
    film.false_by = 1;
    let (first, second) = (
        pump(&film, (0, Some(2)), None),
        pump(&film, (2, None), None),
    );
    let mut seams = Seams::default();
    assert_eq!(seams.meet(first.seams[0]), Ok(()));
    assert!(seams.meet(second.seams[0]).is_err());
}

#[test]
fn an_error_is_told_with_its_place() {
    let mut film = Film::constant(43);
    film.fails_at = Some(35);
    let said = pump(&film, (1, None), None);
    assert_eq!(said.spans.len(), 2);
    assert_eq!(said.failed_at, Some(said.spans[1].end));
    assert!(said.summary.is_none());
}

#[test]
fn a_pump_that_is_not_answered_any_more_ends() {
    let film = Film::constant(43);
    let (out, inbox) = line();
    let (_, granted) = unbounded();
    let lines = PumpLines {
        credit: granted,
        out,
        cancel: Cancel::new(),
    };
    let order = PumpOrder {
        stretch: Stretch::WHOLE,
        plan: film_plan(&film),
    };
    run(&film, order, &lines);
    drop(lines);
    let last = inbox.iter().last().map(word);
    assert!(matches!(last, Some(PumpMessage::Ended(summary)) if summary.spans_in_all.is_none()));
}

/// Time and digest of each picture.
type Seen = Vec<(i64, u64)>;

/// Runs a pump over the whole whose every span is fed to two consumers; what each of them saw, and what the pump said of the spans.
fn fed(film: &Film) -> (Vec<Seen>, Vec<Outline>, Said) {
    let order = PumpOrder {
        stretch: Stretch::WHOLE,
        plan: film_plan(film),
    };
    let (out, inbox) = line();
    let (credit, granted) = unbounded();
    let (mut said, mut outlines) = (Said::default(), Vec::new());
    let cancel = Cancel::new();
    let seen = std::thread::scope(|scope| {
        let lines = PumpLines {
            credit: granted,
            out,
            cancel: cancel.clone(),
        };
        scope.spawn(move || run(film, order, &lines));
        let mut consumers = Vec::new();
        for message in &inbox {
            match word(message) {
                PumpMessage::CreditAsked { span, .. } => {
                    let cancels = [cancel.clone(), cancel.clone()];
                    let (feeder, feeds) = feed::broadcast(span, 1, &cancels);
                    credit.send(Credit::Feed(feeder)).expect("the pump waits");
                    for feed in feeds {
                        let cancel = cancel.clone();
                        consumers.push(scope.spawn(move || {
                            let mut seen = Vec::new();
                            while let Ok(Some(picture)) = feed.next(&cancel, None) {
                                seen.push((picture.time, picture.item.digest()));
                            }
                            (seen, feed.outline())
                        }));
                    }
                }
                PumpMessage::Fed { outline, last } => {
                    outlines.push(outline);
                    said.last.push(last);
                }
                PumpMessage::Ended(summary) => said.summary = Some(summary),
                PumpMessage::Failed { at, .. } => said.failed_at = Some(at),
                other => panic!("{other:?}"),
            }
        }
        let ends = consumers
            .into_iter()
            .map(|consumer| consumer.join().unwrap());
        let ends = ends.enumerate().map(|(place, (seen, outline))| {
            assert_eq!(outline.as_ref(), outlines.get(place / 2));
            seen
        });
        ends.collect()
    });
    (seen, outlines, said)
}

#[test]
fn fed_spans_are_the_spans_of_the_whole() {
    for film in films() {
        let whole = pump(&film, (0, None), None);
        let (seen, outlines, said) = fed(&film);
        let spans = facts(&whole.spans);
        assert_eq!(seen.len(), 2 * spans.len());
        for (place, pictures) in seen.iter().enumerate() {
            assert!(*pictures == spans[place / 2].4);
        }
        let expected: Vec<_> = whole.spans.iter().map(Span::outline).collect();
        assert_eq!(outlines, expected);
        assert_eq!(said.last, whole.last);
        let (fed, whole) = (said.summary.unwrap(), whole.summary.unwrap());
        assert_eq!(
            (fed.spans, fed.held, fed.dropped),
            (whole.spans, whole.held, 0)
        );
    }
}

#[test]
fn an_error_in_the_middle_of_a_fed_span_starves_its_tasks() {
    let mut film = Film::constant(43);
    film.fails_at = Some(25);
    let (seen, outlines, said) = fed(&film);
    let counts: Vec<_> = seen.iter().map(Vec::len).collect();
    assert_eq!(counts, [10, 10, 10, 10, 5, 5]);
    assert_eq!(outlines.len(), 2);
    assert_eq!(said.failed_at, Some(outlines[1].end));
}

/// A clip, and how it is cut in cells of 0.7 seconds.
fn clip(path: &Path) -> (VideoMaterial, PumpPlan) {
    let source = Source::from(path);
    let cancel = CancelToken::default();
    let options = ReadOptions {
        normalise: normalise::Config::default(),
        strict: false,
        threads: 2,
    };
    let demuxer = Demuxer::open(&source, &Limits::default(), &cancel).unwrap();
    let base = demuxer.streams()[0].time_base;
    let material = VideoMaterial::new(&source, 0, options, &cancel).unwrap();
    let timescale = Timescale::for_time_base(base.num(), base.den());
    let first = material.open(None).unwrap().reader.next().unwrap();
    let origin = first.and_then(|picture| picture.timestamp).unwrap();
    let plan = PumpPlan {
        grid: Grid::new(timescale, 0.7),
        nominal: timescale.from_seconds(0.04),
        frame_bytes: 1,
        offset: timescale.from_source(origin),
    };
    (material, plan)
}

/// Files with cells of 0.7 seconds, and whether they can be read from the middle.
fn files() -> Vec<(bool, PathBuf)> {
    let small = || Clip::new().size(128, 96).rate("25").frames(60).gop(9);
    let straight = small().container("ts").make();
    let jumps = clips::concatenate(&[&straight, &straight]).unwrap();
    vec![
        (true, small().b_frames(3).open_gop().make()),
        (true, small().codec("libx265").b_frames(3).open_gop().make()),
        (true, small().vfr().b_frames(2).make()),
        (true, small().rate("30000/1001").container("mkv").make()),
        (false, straight),
        (false, jumps),
    ]
}

fn repaired(summary: &PumpSummary) -> u64 {
    summary.repairs.nudged + summary.repairs.discontinuities
}

#[test]
fn stretches_of_real_files_meet_too() {
    if tool::require("ffmpeg").is_none() {
        return;
    }
    for (sought, path) in files() {
        let (material, plan) = clip(&path);
        let whole = drive(&material, plan, (0, None), None);
        let summary = whole.summary.unwrap();
        assert!(summary.spans >= 3);
        for cut in 1..summary.spans {
            let first = drive(&material, plan, (0, None), Some(cut));
            let second = drive(&material, plan, (cut, None), None);
            let mut both = facts(&first.spans);
            both.extend(facts(&second.spans));
            assert!(both == facts(&whole.spans), "{} at {cut}", path.display());
            let mut seams = Seams::default();
            assert_eq!(seams.meet(first.seams[0]), Ok(()));
            assert_eq!(seams.meet(second.seams[0]), Ok(()));
            let ends = [&first, &second].map(|said| said.summary.unwrap());
            assert_eq!(ends[1].spans_in_all, Some(summary.spans));
            assert_eq!(repaired(&ends[0]) + repaired(&ends[1]), repaired(&summary));
            if sought {
                let decoded = ends[0].counts.decoded + ends[1].counts.decoded;
                // At most a group of pictures and what the decoder has beyond the cut.
                assert!(decoded <= summary.counts.decoded + 12, "{decoded}");
            }
        }
    }
}

#[test]
fn what_a_start_costs_is_known_before_it() {
    if tool::require("ffmpeg").is_none() {
        return;
    }
    for (sought, path) in files() {
        let (material, plan) = clip(&path);
        let spans = drive(&material, plan, (0, None), None).spans.len();
        let cuts = cuts(&material, &plan, spans as u32);
        assert_eq!(cuts.len(), if sought { spans - 1 } else { 0 });
        // A header that promises years is not believed.
        let years = super::cuts(&material, &plan, u32::MAX);
        assert!(years.len() < MOST_CUTS as usize);
        // No keyframe is further away than nine pictures, half of which may be missing.
        assert!(cuts.iter().all(|cut| (0.0..0.81).contains(&cut.waste)));
        for cut in cuts {
            let said = drive(&material, plan, (cut.span.get(), None), None);
            for ((index, bytes), span) in said.asked.iter().zip(&said.spans) {
                assert_eq!(span.index.get(), *index);
                let pictures = span.frames.len() as u64;
                assert!(bytes.abs_diff(pictures) <= 1, "{bytes} for {pictures}");
            }
        }
    }
}
