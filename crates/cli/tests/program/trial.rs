//! Devices are tried by the program itself, started again.

use std::path::PathBuf;

use rungs_engine::device::{DeviceName, Vendor};
use rungs_engine::gpu::trial::{Trials, Verdict, trials};
use rungs_engine::gpu::{Driver, Gpu, Way};
use rungs_media::hardware::DeviceKind;

#[test]
fn a_device_that_is_not_there_gets_a_reason_for_each_trial() {
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
        // The driver, or an FFmpeg without CUDA: either is said by the process, not about it.
        let said = reason.contains("cuda:987") || reason.contains("devices of kind cuda");
        assert!(said, "{reason}");
    }
}
