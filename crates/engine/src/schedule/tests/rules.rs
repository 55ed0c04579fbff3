//! Each rule by itself.

use std::time::Duration;

use super::world::{Footage, Truth, World, footage, job, machine};
use crate::ids::{DeviceId, JobId, PumpId, RenditionId, SegmentIndex, TaskId};
use crate::schedule::{Decision, Event, JobFacts, Rules, Schedule, Tick};

const FIRST: DeviceId = DeviceId::new(0);
const SECOND: DeviceId = DeviceId::new(1);

fn world(sessions: &[u32]) -> World {
    let truths = vec![Truth::default(); sessions.len()];
    World::new(machine(sessions, 1_000_000), truths, 7)
}

/// A job of one rendition that costs a second a second.
fn plain(spans: u32, devices: usize) -> (JobFacts, Footage) {
    let source = footage(spans, 0.01);
    (job(&[1.0], &vec![1.0; devices], &source), source)
}

fn add(world: &mut World, after: f64, (facts, source): (JobFacts, Footage)) -> JobId {
    world.add_job(after, facts, source)
}

fn at(span: u32, rendition: u16) -> TaskId {
    TaskId {
        span: SegmentIndex::new(span),
        rendition: RenditionId::new(rendition),
    }
}

#[test]
fn earliest_span_first_and_dearest_rendition_first() {
    let mut world = world(&[1]);
    let source = footage(2, 0.001);
    world.add_job(0.0, job(&[1.0, 9.0, 4.0], &[1.0], &source), source);
    world.run();
    let order: Vec<TaskId> = world.starts.iter().map(|start| start.2).collect();
    // Once the source has been read the dearest goes first, whatever the span.
    let tasks = [at(0, 1), at(0, 2), at(1, 1), at(1, 2), at(0, 0), at(1, 0)];
    assert_eq!(order, tasks);
}

#[test]
fn a_task_that_fails_is_tried_elsewhere_and_then_given_up() {
    let mut world = world(&[1, 1]);
    world.truths[0].fails = 1.0;
    world.truths[1].fails = 1.0;
    let job = plain(1, 2);
    let id = add(&mut world, 0.0, job);
    world.run();
    let (task, failed_on) = world.ended[&id].given_up.clone().expect("is given up");
    assert_eq!(task, at(0, 0));
    assert_eq!(failed_on.len(), 3);
    assert_ne!(failed_on[0], failed_on[1]);
    // The task is to blame, not the devices.
    assert_eq!(world.quarantines, 0);
}

#[test]
fn one_device_alone_tries_three_times() {
    let mut world = world(&[2]);
    world.truths[0].fails = 1.0;
    let job = plain(1, 1);
    let id = add(&mut world, 0.0, job);
    world.run();
    let given_up = world.ended[&id].given_up.clone();
    assert_eq!(given_up, Some((at(0, 0), vec![FIRST; 3])));
}

#[test]
fn a_device_that_fails_everything_is_quarantined_and_wastes_little() {
    let mut world = world(&[1, 1]);
    world.truths[0].black_hole = true;
    let job = plain(40, 2);
    let id = add(&mut world, 0.0, job);
    world.run();
    assert_eq!(world.ended[&id].given_up, None);
    let wasted = world.starts.iter().filter(|start| start.3 == FIRST).count();
    assert_eq!(wasted, 3);
    assert!(world.quarantines >= 3, "golden tasks fail, and it stays");
}

#[test]
fn a_device_that_is_well_again_is_let_in_by_a_golden_task() {
    let mut world = world(&[1, 1]);
    world.truths[0].fails = 1.0;
    let job = plain(60, 2);
    let id = add(&mut world, 0.0, job);
    for _ in 0..12 {
        world.step();
    }
    while world.quarantines == 0 {
        world.step();
    }
    world.truths[0].fails = 0.0;
    world.run();
    assert_eq!(world.ended[&id].given_up, None);
    let again = world.starts.iter().filter(|start| start.3 == FIRST).count();
    assert!(again > 10, "{again}");
}

#[test]
fn the_only_device_is_not_kept_waiting() {
    let mut world = world(&[1]);
    world.truths[0].room = 0;
    let job = plain(3, 1);
    let id = add(&mut world, 0.0, job);
    for _ in 0..6 {
        world.step();
    }
    world.truths[0].room = 1;
    world.run();
    assert_eq!(world.ended[&id].given_up, None);
    assert!(world.ended[&id].at < 20.0, "{:?}", world.ended[&id]);
}

#[test]
fn without_room_sessions_are_lowered_and_nothing_is_counted() {
    let mut world = world(&[4]);
    world.truths[0].room = 2;
    let job = plain(40, 1);
    let id = add(&mut world, 0.0, job);
    world.run();
    assert_eq!(world.ended[&id].given_up, None);
    assert_eq!(world.quarantines, 0);
    let in_vain = world.starts.len() - 40;
    assert!((2..12).contains(&in_vain), "{in_vain} found no room");
}

#[test]
fn a_straggler_gets_a_second_attempt_and_the_first_result_counts() {
    let mut world = world(&[1, 1]);
    let job = plain(4, 2);
    let id = add(&mut world, 0.0, job);
    while world.starts.is_empty() {
        world.truths[0].stalls = 1.0;
        world.step();
    }
    world.truths[0].stalls = 0.0;
    world.run();
    assert!(world.starts.iter().any(|start| start.4), "no second one");
    assert!(world.ended[&id].at < 20.0, "{:?}", world.ended[&id]);
}

#[test]
fn an_attempt_that_hangs_is_abandoned_and_its_task_done_elsewhere() {
    let mut world = world(&[1, 1]);
    world.truths[0].hangs = 1.0;
    let job = plain(4, 2);
    let id = add(&mut world, 0.0, job);
    world.run();
    assert_eq!(world.ended[&id].given_up, None);
    // The floor of the deadline and the grace.
    assert!(world.ended[&id].at < 75.0, "{:?}", world.ended[&id]);
}

#[test]
fn a_lost_device_s_tasks_go_elsewhere_at_once() {
    let mut world = world(&[2, 1]);
    let job = plain(9, 2);
    let id = add(&mut world, 0.0, job);
    world.tell(1.0, Event::DeviceLost { device: FIRST });
    world.run();
    assert_eq!(world.ended[&id].given_up, None);
    assert!(world.ended[&id].at < 40.0, "{:?}", world.ended[&id]);
}

#[test]
fn nothing_is_left_that_can_do_it() {
    let mut world = world(&[1, 1]);
    let (mut facts, source) = plain(9, 2);
    facts.loads[0].abilities[1] = None;
    let id = world.add_job(0.0, facts, source);
    world.tell(1.0, Event::DeviceLost { device: FIRST });
    world.run();
    let given_up = world.ended[&id].given_up.clone().expect("is given up");
    assert_eq!(given_up.1, []);
    assert!(world.starts.iter().all(|start| start.3 != SECOND));
}

#[test]
fn jobs_share_session_time_by_weight() {
    let mut world = world(&[2, 2]);
    let heavy = plain(200, 2);
    let (mut facts, source) = plain(200, 2);
    facts.weight = 3.0;
    add(&mut world, 0.0, heavy);
    world.add_job(0.0, facts, source);
    // Over 20 mean tasks for each session.
    while world.now.since_start() < Duration::from_secs(4 * 20) {
        world.step();
    }
    let share =
        world.work[&JobId::new(1)] / (world.work[&JobId::new(0)] + world.work[&JobId::new(1)]);
    assert!((share - 0.75).abs() <= 0.03, "{share}");
}

#[test]
fn a_small_job_is_not_stuck_behind_a_large_one() {
    let mut world = world(&[2]);
    let large = plain(500, 1);
    let small = plain(2, 1);
    add(&mut world, 0.0, large);
    let id = add(&mut world, 100.0, small);
    while !world.ended.contains_key(&id) {
        world.step();
    }
    assert!(world.ended[&id].at < 116.0, "{:?}", world.ended[&id]);
}

#[test]
fn what_is_done_is_not_done_again_and_not_read() {
    let mut world = world(&[2]);
    let source = footage(40, 0.01);
    let mut facts = job(&[1.0, 0.5], &[1.0], &source);
    for span in (0..10).chain(12..30) {
        facts.done.extend([at(span, 0), at(span, 1)]);
    }
    facts.done.insert(at(35, 1));
    let done = facts.done.clone();
    let id = world.add_job(0.0, facts, source);
    world.run();
    assert!(world.starts.iter().all(|start| !done.contains(&start.2)));
    assert_eq!(world.decoded(id), 12);
    let first = world.pumps_started[0];
    assert_eq!(first, (SegmentIndex::new(10), Some(SegmentIndex::new(12))));
}

#[test]
fn a_source_that_decodes_slowly_is_split() {
    let mut world = world(&[4]);
    let source = footage(40, 1.0);
    let mut facts = job(&[1.0], &[1.0], &source);
    facts.decoders = 4;
    let id = world.add_job(0.0, facts, source);
    world.run();
    assert_eq!(world.pumps_started.len(), 4);
    assert_eq!(world.decoded(id), 40);
    // One pump alone needs 160 s.
    assert!(world.ended[&id].at < 60.0, "{:?}", world.ended[&id]);
}

#[test]
fn spans_too_large_for_the_budget_are_fed() {
    for sessions in [1, 2, 3] {
        let truths = vec![Truth::default()];
        let mut world = World::new(machine(&[sessions], 60), truths, 7);
        let source = footage(6, 0.1);
        let mut facts = job(&[1.0, 0.5, 0.2], &[1.0], &source);
        facts.fed_bytes = 10;
        let id = world.add_job(0.0, facts, source);
        world.run();
        assert_eq!(world.ended[&id].given_up, None);
        assert_eq!(world.decoded(id), 0, "none was held");
        assert!(world.most_charged <= 60);
    }
}

#[test]
fn a_fed_attempt_that_fails_is_made_from_another_decode() {
    let mut world = World::new(machine(&[3, 3], 60), vec![Truth::default(); 2], 7);
    world.truths[0].fails = 0.2;
    let source = footage(12, 0.1);
    let mut facts = job(&[1.0, 0.5, 0.2], &[1.0, 1.0], &source);
    facts.fed_bytes = 10;
    let id = world.add_job(0.0, facts, source);
    world.run();
    assert_eq!(world.ended[&id].given_up, None);
    assert!(world.pumps_started.len() > 1);
}

/// How often a task was started.
fn starts_of(world: &World, task: TaskId) -> usize {
    world.starts.iter().filter(|start| start.2 == task).count()
}

#[test]
fn a_lost_span_is_decoded_again_for_what_is_not_done() {
    let mut world = world(&[1]);
    let source = footage(4, 0.01);
    world.loses.insert(at(1, 0), 1);
    let id = world.add_job(0.0, job(&[1.0, 0.5], &[1.0], &source), source);
    world.run();
    assert_eq!(world.ended[&id].given_up, None);
    let span = SegmentIndex::new(1);
    assert_eq!(world.let_go, [span]);
    assert_eq!(world.decoded(id), 5);
    assert_eq!(world.pumps_started[1..], [(span, Some(span.next()))]);
    assert_eq!(starts_of(&world, at(1, 0)), 2);
    assert_eq!(world.starts.len(), 9);
    assert_eq!(world.quarantines, 0);
}

#[test]
fn attempts_that_have_what_they_need_of_a_lost_span_end_well() {
    let mut world = world(&[2]);
    let source = footage(1, 0.01);
    world.loses.insert(at(0, 0), 1);
    let id = world.add_job(0.0, job(&[1.0, 1.5], &[1.0], &source), source);
    world.run();
    assert_eq!(world.ended[&id].given_up, None);
    assert_eq!(starts_of(&world, at(0, 1)), 1);
    // It is not let go before that one is home, after 6 seconds.
    let again = world.starts.last().expect("was tried again");
    assert_eq!(again.2, at(0, 0));
    assert!(again.0 > 6.0, "{again:?}");
}

#[test]
fn pictures_lost_too_often_count_as_failures_of_the_task_alone() {
    for (losses, given_up) in [(3, None), (4, None), (5, None), (6, Some(3))] {
        let mut world = world(&[1]);
        world.loses.insert(at(0, 0), losses);
        let job = plain(3, 1);
        let id = add(&mut world, 0.0, job);
        world.run();
        let expected = given_up.map(|times| (at(0, 0), vec![FIRST; times]));
        assert_eq!(world.ended[&id].given_up, expected, "{losses} losses");
        assert_eq!(world.let_go.len(), losses.min(5) as usize);
        assert_eq!(world.quarantines, 0);
    }
}

#[test]
fn a_task_that_failed_keeps_that_when_its_span_is_decoded_again() {
    let mut world = world(&[1, 1]);
    world.truths[0].fails = 1.0;
    world.loses.insert(at(0, 0), 1);
    let source = footage(1, 0.01);
    let id = world.add_job(0.0, job(&[1.0], &[1.0, 1.2], &source), source);
    world.run();
    assert_eq!(world.ended[&id].given_up, None);
    let devices: Vec<DeviceId> = world.starts.iter().map(|start| start.3).collect();
    assert_eq!(devices, [FIRST, SECOND, SECOND]);
}

#[test]
fn lost_pictures_of_a_stopped_job_are_not_decoded_again() {
    let mut world = world(&[2]);
    let source = footage(1, 0.01);
    world.loses.insert(at(0, 0), 1);
    let id = world.add_job(0.0, job(&[1.0, 1.5], &[1.0], &source), source);
    world.tell(5.0, Event::JobStopped { job: id });
    world.run();
    assert_eq!(starts_of(&world, at(0, 0)), 1);
    assert_eq!(world.let_go, []);
    assert_eq!(world.decoded(id), 1);
}

#[test]
fn a_fed_span_whose_pictures_are_lost_is_fed_again() {
    let mut world = World::new(machine(&[3], 60), vec![Truth::default()], 7);
    world.loses.insert(at(2, 1), 1);
    let source = footage(4, 0.1);
    let mut facts = job(&[1.0, 0.5, 0.2], &[1.0], &source);
    facts.fed_bytes = 10;
    let id = world.add_job(0.0, facts, source);
    world.run();
    assert_eq!(world.ended[&id].given_up, None);
    assert_eq!(starts_of(&world, at(2, 1)), 2);
    assert_eq!(world.starts.len(), 13);
    assert_eq!(world.let_go, []);
    assert_eq!(world.quarantines, 0);
}

#[test]
fn every_session_second_is_accounted_for() {
    let mut world = world(&[2, 1]);
    let source = footage(10, 0.5);
    world.add_job(5.0, job(&[1.0, 0.5], &[1.0, 2.0], &source), source);
    world.run();
    let spent = world.schedule.ledger(world.now);
    let seconds = world.now.since_start().as_secs_f64();
    assert!((spent[0].sum() - 2.0 * seconds).abs() < 1e-6);
    assert!((spent[1].sum() - seconds).abs() < 1e-6);
    assert!((spent[0].no_job - 10.0).abs() < 1e-6);
    let work: f64 = spent.iter().map(|spent| spent.work).sum();
    assert!((work - world.work[&JobId::new(0)]).abs() < 1e-6);
}

#[test]
fn nobody_waits_for_ever_for_a_golden_task() {
    let mut schedule = Schedule::new(machine(&[1, 1], 1_000_000));
    let (job, pump, span) = (JobId::new(0), PumpId::new(0), SegmentIndex::FIRST);
    let facts = Box::new(plain(1, 2).0);
    // What is decided holds leases that never come home.
    let mut decided = Vec::new();
    for event in [
        Event::JobAdded { job, facts },
        Event::CreditAsked {
            pump,
            span,
            bytes: 100,
        },
        Event::SpanReady {
            pump,
            span,
            bytes: 100,
            seconds: 4.0,
        },
        Event::DeviceLost { device: SECOND },
        Event::DeviceBack { device: SECOND },
        Event::DeviceLost { device: FIRST },
    ] {
        decided.extend(schedule.handle(Tick::ZERO, event));
    }
    let golden = |decision: &Decision| matches!(decision, Decision::Golden { .. });
    assert!(decided.iter().any(golden));
    let gives_up = |decision: &Decision| matches!(decision, Decision::GiveUp { .. });
    let mut now = Tick::ZERO;
    while !decided.iter().any(gives_up) {
        now = schedule.wake_at().expect("something is due");
        decided.extend(schedule.handle(now, Event::Woken));
    }
    let rules = Rules::default();
    let waited = now.since(Tick::ZERO);
    assert!(waited <= rules.deadline_floor + rules.grace, "{waited:?}");
}
