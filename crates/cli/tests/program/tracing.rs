//! What a run says of its own time: a trace for people's eyes, and where the session-seconds went.

use std::collections::BTreeMap;
use std::fs;

use rungs_testkit::clips::{Audio, Clip};
use serde_json::Value;

use crate::support::{Made, ready};

const RUNGS: [&str; 4] = ["--rung", "180p", "--rung", "90p"];
/// Times are rounded to the nanosecond in seconds and read in microseconds.
const ROUNDING: f64 = 0.01;

fn clip() -> std::path::PathBuf {
    Clip::new()
        .size(320, 180)
        .seconds(5.0)
        .gop(24)
        .audio(Audio::Stereo)
        .make()
}

fn float(value: &Value, path: &str) -> f64 {
    let number = value.pointer(path).and_then(Value::as_f64);
    number.unwrap_or_else(|| panic!("{path} is no number in {value}"))
}

/// Beginning and end of each bar, by row, and the rows' names.
type Rows = BTreeMap<u64, Vec<(f64, f64)>>;

fn read(trace: &[Value]) -> (Rows, BTreeMap<u64, String>) {
    let (mut rows, mut names) = (Rows::new(), BTreeMap::new());
    for event in trace {
        let tid = event["tid"].as_u64().unwrap_or(0);
        match event["ph"].as_str() {
            Some("X") => {
                let begin = float(event, "/ts");
                let end = begin + float(event, "/dur");
                assert!(begin >= 0.0 && end >= begin, "{event}");
                rows.entry(tid).or_default().push((begin, end));
            }
            Some("M") if event["name"] == "thread_name" => {
                let name = event["args"]["name"].as_str().expect("a name");
                assert!(names.insert(tid, name.to_owned()).is_none(), "{event}");
            }
            Some("M") => {}
            other => panic!("{other:?}: {event}"),
        }
    }
    (rows, names)
}

#[test]
fn a_trace_has_a_row_for_each_session_and_pump() {
    if !ready() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("trace.json");
    let trace = ["--trace", file.to_str().expect("a path"), "--jobs", "2"];
    let made = Made::of(&clip(), &[&RUNGS[..], &trace].concat());
    let text = fs::read(&file).expect("a trace");
    let events: Vec<Value> = serde_json::from_slice(&text).expect("a list in JSON");
    let (mut rows, names) = read(&events);
    let mut titles: Vec<_> = names.values().map(String::as_str).collect();
    titles.sort_unstable();
    assert_eq!(titles, ["cpu session 0", "cpu session 1", "pump 0"]);
    let whole = float(&made.report, "/cost/wall_seconds") * 1e6;
    let mut count = 0;
    for (tid, bars) in &mut rows {
        assert!(names.contains_key(tid), "a row without a name: {tid}");
        count += bars.len();
        bars.sort_by(|a, b| a.0.total_cmp(&b.0));
        for pair in bars.windows(2) {
            assert!(
                pair[0].1 <= pair[1].0 + ROUNDING,
                "{}: {pair:?} overlap",
                names[tid]
            );
        }
        let last = bars.last().map_or(0.0, |bar| bar.1);
        assert!(
            last <= whole + 1e3,
            "{}: {last} after the end {whole}",
            names[tid]
        );
    }
    // Five spans and their tasks in two renditions, and second attempts if there were any.
    assert!(count >= 15, "{count} bars");
}

#[test]
fn every_session_second_is_accounted_for() {
    if !ready() {
        return;
    }
    for jobs in [1_u32, 3] {
        let number = jobs.to_string();
        let made = Made::of(&clip(), &[&RUNGS[..], &["--jobs", &number]].concat());
        let efficiency = &made.report["efficiency"];
        let makespan = float(efficiency, "/makespan_seconds");
        let devices = efficiency["devices"].as_array().expect("a list");
        assert_eq!(devices.len(), 1);
        let spent = devices[0].as_object().expect("an object");
        let all: f64 = spent.values().filter_map(Value::as_f64).sum();
        let whole = f64::from(jobs) * makespan;
        assert!(
            (all - whole).abs() <= whole / 100.0,
            "{all} of {whole}: {spent:?}"
        );
        assert!(float(&devices[0], "/work") > 0.0);
        let bound = float(efficiency, "/bound_seconds");
        let over = float(efficiency, "/over_bound");
        assert!((over - makespan / bound).abs() < 1e-6);
        assert!((0.999..5.0).contains(&over), "{over}");
    }
}
