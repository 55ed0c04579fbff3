//! The bytes of a package depend on the plan and the pictures alone: not on sessions, pumps, delays, errors, second attempts, memory, or
//! on how often the job was gone on with.

use std::path::Path;
use std::time::Duration;

use rungs_engine::read::Entered;
use rungs_engine::{Error, Event};
use rungs_package::Digest;
use rungs_testkit::checker::Expectation;
use rungs_testkit::clips::{Audio, Clip, Timing};
use rungs_testkit::digest::package_digest;
use rungs_testkit::faulty::{Fault, Script, seeded};

use crate::stage::{Job, PLENTY, Run, Way, folder, mixed};
use crate::support::{check, ready};

/// A clip and whether a decoder can start inside it.
struct Kind {
    clip: Clip,
    seeks: bool,
}

/// Most pictures from one keyframe to the next: keyframes lie inside segments too.
const GOP: u32 = 36;

/// Eight segments.
fn film() -> Clip {
    Clip::new()
        .size(640, 360)
        .rate("24")
        .seconds(8.0)
        .gop(GOP)
        .b_frames(3)
        .open_gop()
        .audio(Audio::Stereo)
}

fn uneven() -> Clip {
    film().gop(24).vfr().audio_codec("opus")
}

/// What the decoder takes for each picture where it is to be slower than the encoders.
const SLOW: Duration = Duration::from_millis(12);

fn same_each_way(kind: &Kind, seed: u64) {
    let path = kind.clip.make();
    let job = Job::of(&path);
    let whole = undisturbed(&job, &path);
    for way in ways(&job, seed) {
        let (name, decoders, memory) = (way.name, way.decoders, way.memory);
        let folder = folder();
        let run = job.run(folder.path(), way);
        let report = run.report(name);
        assert_eq!(digest(folder.path()), whole, "{name}: other bytes");
        match name {
            "three pumps" if kind.seeks => assert!(run.pumps() > 1, "{name}: nothing was split"),
            "little memory" | "three pumps, little memory" => {
                assert!(run.fed > 0, "{name}: nothing was fed");
            }
            "a second attempt that wins" => assert!(run.wasted() > 0, "{name}: none was cancelled"),
            "errors" => assert!(run.wasted() > 0, "{name}: none happened"),
            _ => {}
        }
        if decoders == 1 && memory == PLENTY {
            assert_eq!(
                report.read.frames_decoded + report.read.frames_held,
                report.read.frames_packaged
            );
        }
    }
    same_after_ends(&job, kind, (whole, seed));
}

fn undisturbed(job: &Job, path: &Path) -> Digest {
    let folder = folder();
    let run = job.run(folder.path(), Way::default());
    let report = run.report("undisturbed");
    assert_eq!(run.fed + run.wasted(), 0);
    assert!(report.tracks.iter().all(|track| track.segments >= 8));
    let expect = Expectation {
        source: Some(path.to_owned()),
        segment_seconds: Some(1.0),
        ..Expectation::default()
    };
    check(folder.path(), &expect);
    digest(folder.path())
}

fn digest(out: &Path) -> Digest {
    package_digest(out).expect("a package")
}

fn ways(job: &Job, seed: u64) -> Vec<Way> {
    let hang: Script = Box::new(|attempt| {
        let here = attempt.segment == 5 && attempt.rendition == "av1-90p";
        (here && attempt.attempt == 1).then_some(Fault::Hang)
    });
    let errors = vec![
        Fault::Error,
        Fault::Panic,
        Fault::Short,
        Fault::OutOfSessions,
    ];
    let mut ways = vec![
        Way {
            name: "two sessions",
            sessions: 2,
            ..Way::default()
        },
        Way {
            name: "three pumps",
            sessions: 4,
            decoders: 3,
            decode: Some(SLOW),
            ..Way::default()
        },
        Way {
            name: "delays",
            sessions: 4,
            delay: Some(Duration::from_millis(150)),
            ..Way::default()
        },
        Way {
            name: "errors",
            sessions: 2,
            script: Some(seeded(seed, 0.3, errors)),
            ..Way::default()
        },
        Way {
            name: "a second attempt that wins",
            sessions: 2,
            script: Some(hang),
            ..Way::default()
        },
    ];
    ways.extend(ways_with_little(job));
    ways
}

/// With less memory than some or all spans need.
fn ways_with_little(job: &Job) -> [Way; 3] {
    [
        Way {
            name: "little memory",
            sessions: 2,
            memory: job.tight(),
            ..Way::default()
        },
        // Some spans fit and some do not, where they are uneven.
        Way {
            name: "three pumps, uneven room",
            sessions: 3,
            decoders: 3,
            memory: job.tight() + 7 * job.plan.frame_bytes,
            decode: Some(SLOW / 2),
            ..Way::default()
        },
        Way {
            name: "three pumps, little memory",
            sessions: 4,
            decoders: 3,
            memory: job.tight(),
            delay: Some(Duration::from_millis(20)),
            ..Way::default()
        },
    ]
}

/// The job is cancelled somewhere and gone on with in other ways, twice.
fn same_after_ends(job: &Job, kind: &Kind, (whole, seed): (Digest, u64)) {
    let folder = folder();
    let root = folder.path();
    for (turn, sessions) in [(0, 2), (1, 1)] {
        let run = job.run(
            root,
            Way {
                sessions,
                cancel_after: Some(4 + mixed(&[seed, turn]) as usize % 3),
                ..Way::default()
            },
        );
        assert!(
            matches!(run.result, Err(Error::Interrupted)),
            "{:?}",
            run.result
        );
    }
    let run = job.run(
        root,
        Way {
            sessions: 2,
            ..Way::default()
        },
    );
    run.report("gone on with");
    assert_eq!(digest(root), whole, "gone on with: other bytes");
    decodes_the_gaps(job, &run, kind);
}

/// What was decoded is what was missing, and what lies between that and the keyframe before it.
fn decodes_the_gaps(job: &Job, run: &Run, kind: &Kind) {
    let names = || {
        job.plan
            .renditions()
            .iter()
            .map(|rendition| &rendition.name)
    };
    let missing = |segment: u32| names().any(|name| !run.known.contains(&(name.clone(), segment)));
    let segments = job.plan.expected_segments().expect("a length");
    let first = (0..segments).find(|segment| missing(*segment));
    let first = first.expect("it was not finished");
    let read = &run.report("gone on with").read;
    if !kind.seeks {
        assert_eq!(run.entered, [Entered::Beginning]);
        return;
    }
    assert!(
        first > 2,
        "{first}: the job was cancelled too early to tell"
    );
    assert!(
        matches!(run.entered[..], [Entered::Keyframe(_), ..]),
        "{:?}",
        run.entered
    );
    let told = run.events.iter().filter_map(|event| match event {
        Event::Decoded { frames, .. } => Some(*frames as u64),
        _ => None,
    });
    let wanted: u64 = told.sum::<u64>() - read.frames_held;
    let decoded = read.frames_decoded;
    // A few more come out of the decoder's threads before the pump ends.
    let most = wanted + u64::from(GOP) + 8;
    assert!(
        (wanted..=most).contains(&decoded),
        "{decoded} decoded for {wanted}"
    );
    assert!(
        decoded < read.frames_packaged - read.frames_held,
        "all was decoded"
    );
}

#[test]
fn films_with_open_groups_of_pictures_give_the_same_bytes_each_way() {
    if ready() {
        let (clip, seeks) = (film(), true);
        same_each_way(&Kind { clip, seeks }, 1);
    }
}

#[test]
fn uneven_frame_rates_give_the_same_bytes_each_way() {
    if ready() {
        let (clip, seeks) = (uneven(), true);
        same_each_way(&Kind { clip, seeks }, 2);
    }
}

#[test]
#[ignore = "ten kinds of source; `make test-full` runs it"]
fn ten_kinds_of_source_give_the_same_bytes_each_way() {
    if !ready() {
        return;
    }
    let kind = |clip: Clip, seeks: bool| Kind { clip, seeks };
    let kinds = [
        kind(film().container("mkv"), true),
        kind(film().codec("libx265"), true),
        kind(
            film().codec("libx265").container("mkv").rate("30000/1001"),
            true,
        ),
        kind(
            film()
                .b_frames(0)
                .codec("libvpx-vp9")
                .container("webm")
                .audio_codec("opus"),
            true,
        ),
        kind(
            film().codec("mpeg2video").b_frames(2).container("mkv"),
            true,
        ),
        kind(film().container("ts"), false),
        kind(film().rotate(90), true),
        kind(film().pixel_format("yuv420p10le").size(638, 358), true),
        kind(
            film().extra(&["-movflags", "+frag_keyframe+empty_moov"]),
            true,
        ),
        kind(
            film()
                .timing(Timing::Slides { every: 2 })
                .container("mkv")
                .audio(Audio::Surround51)
                .audio_codec("ac3"),
            true,
        ),
    ];
    for (kind, seed) in kinds.iter().zip(3..) {
        same_each_way(kind, seed);
    }
}
