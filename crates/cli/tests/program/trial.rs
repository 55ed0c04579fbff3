//! Devices are tried by the program itself, started again.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use rungs_engine::device::{DeviceName, Vendor};
use rungs_engine::error::{EncodeError, Refusal};
use rungs_engine::gpu::trial::{Line, Proof, Table, Trial, Trials, Verdict, trials};
use rungs_engine::gpu::{Driver, Gpu, Way};
use rungs_engine::inspect::Inspect;
use rungs_engine::policy::{DecodePolicy, Policy, Wanted};
use rungs_engine::{Cancel, Engine, Error, Options, Spec};
use rungs_media::Source;
use rungs_media::encode::Codec;
use rungs_media::frame::BitDepth;
use rungs_media::hardware::DeviceKind;
use rungs_testkit::clips::Clip;
use rungs_testkit::faulty::small_job;

use crate::support::ready;

/// A card that is not there, and the way to it.
fn absent() -> (Gpu, Way) {
    let way = Way {
        kind: DeviceKind::Cuda,
        address: "987".to_owned(),
    };
    let gpu = Gpu {
        name: DeviceName::new("nvidia:987"),
        vendor: Vendor::Nvidia,
        pci: None,
        uuid: None,
        model: String::new(),
        memory: None,
        driver: Driver::default(),
        ways: vec![way.clone()],
        missing: None,
    };
    (gpu, way)
}

/// The driver, or an FFmpeg without CUDA: either is said by the process, not about it.
fn is_said_of_it(reason: &str) -> bool {
    reason.contains("cuda:987") || reason.contains("devices of kind cuda")
}

#[test]
fn a_device_that_is_not_there_gets_a_reason_for_each_trial() {
    let (gpu, way) = absent();
    let program = Trials {
        program: PathBuf::from(env!("CARGO_BIN_EXE_rungs")),
        cache: None,
    };
    let tables = program.run(&[gpu], false);
    let lines = &tables[0].lines;
    let tried: Vec<_> = lines.iter().map(|line| line.trial.clone()).collect();
    assert_eq!(tried, trials(&way));
    for line in lines {
        let Verdict::Fails { reason } = &line.verdict else {
            panic!("{line:?}");
        };
        assert!(is_said_of_it(reason), "{reason}");
    }
}

#[test]
fn an_encoder_on_a_device_that_is_gone_is_refused_in_its_drivers_words() {
    if !ready() {
        return;
    }
    let (gpu, way) = absent();
    let line = Line {
        way: Some(way),
        trial: Trial::Encode {
            codec: Codec::H264,
            encoder: "h264_nvenc".to_owned(),
            depth: BitDepth::Eight,
        },
        verdict: Verdict::Works(Proof::default()),
    };
    let wanted = Wanted::Device {
        name: gpu.name.clone(),
        encoder: None,
    };
    let options = Options {
        policy: Policy {
            devices: vec![wanted],
            decode: DecodePolicy::Cpu,
            ..Policy::default()
        },
        gpus: vec![Table {
            gpu,
            lines: vec![line],
        }],
        encoder_program: Some(PathBuf::from(env!("CARGO_BIN_EXE_rungs"))),
        ..Options::default()
    };
    let engine = Engine::new(options).expect("a device");
    let clip = Clip::new().size(320, 180).seconds(1.0).make();
    let spec = Spec {
        codecs: vec![Codec::H264],
        ..small_job(Inspect::Off)
    };
    let planned = engine.plan(&Source::from(clip), &spec, &Cancel::new());
    let Err(Error::Refused(refusal)) = planned else {
        panic!("{planned:?}");
    };
    let Refusal::Trial {
        source: EncodeError::Refused { reason, capacity },
        ..
    } = *refusal
    else {
        panic!("{refusal:?}");
    };
    assert!(is_said_of_it(&reason) && !capacity, "{reason}");
}

/// Plans a job with encoders whose processes die at so many of their first starts.
fn planned_where_encoders_die(times: u32) -> Result<rungs_engine::Plan, Error> {
    let folder = tempfile::tempdir().expect("a folder");
    let program = folder.path().join("program");
    let words = format!(
        "#!/bin/sh\necho >> \"$0.starts\"\n\
         [ $(wc -l < \"$0.starts\") -le {times} ] && kill -SEGV $$\nexec {} \"$@\"\n",
        env!("CARGO_BIN_EXE_rungs")
    );
    fs::write(&program, words).expect("written");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("made a program");
    let options = Options {
        sessions: Some(1),
        encoder_program: Some(program),
        ..Options::default()
    };
    let engine = Engine::new(options).expect("a device");
    let clip = Clip::new().size(320, 180).seconds(1.0).make();
    let spec = small_job(Inspect::Off);
    engine.plan(&Source::from(clip), &spec, &Cancel::new())
}

#[test]
fn an_encoder_that_dies_in_the_plan_is_tried_again_and_not_for_ever() {
    if !ready() {
        return;
    }
    planned_where_encoders_die(2).expect("the third process lives");
    let planned = planned_where_encoders_die(1000);
    let Err(Error::Refused(refusal)) = planned else {
        panic!("{planned:?}");
    };
    let Refusal::Trial {
        source: EncodeError::Died { status },
        ..
    } = *refusal
    else {
        panic!("{refusal:?}");
    };
    assert!(status.contains("signal: 11"), "{status}");
}
