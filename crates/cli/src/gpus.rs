//! The GPUs of this machine: found, tried, and told to a person as a table with a reason for each no.

use std::collections::BTreeSet;
use std::env;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use rungs_engine::gpu::trial::{Line, Proof, Table, Trial, Trials, Verdict};
use rungs_engine::gpu::{Gpu, Waiting, detect};
use rungs_engine::process::own_program;

use crate::failure::{Problem, clean};

/// Columns at which a reason goes on in the next line.
const WIDTH: usize = 100;

/// Finds and tries the GPUs, or takes what is known of them unless `afresh`.
pub(crate) fn tables(afresh: bool) -> Result<Vec<Table>, Problem> {
    let gpus = detect();
    if gpus.is_empty() {
        return Ok(Vec::new());
    }
    let program =
        own_program().map_err(|error| Problem::system("way to its own program", &error))?;
    let trials = Trials {
        program,
        cache: cache(),
    };
    let waited = Mutex::new(BTreeSet::new());
    let tables = trials.run_watched(&gpus, afresh, &|waiting| {
        let mut waited = waited.lock().unwrap_or_else(PoisonError::into_inner);
        waited.insert(waiting.device.clone());
        say_waiting(waiting);
    });
    let waited = waited.into_inner();
    let waited = waited.unwrap_or_else(PoisonError::into_inner);
    for table in tables
        .iter()
        .filter(|table| waited.contains(&table.gpu.name))
    {
        say_what_came(table);
    }
    Ok(tables)
}

/// Says that a GPU takes long to answer.
#[expect(clippy::print_stderr, reason = "waits are told here")]
pub(crate) fn say_waiting(waiting: &Waiting) {
    eprintln!("note: {}", clean(&waiting.to_string()));
}

/// Says of a GPU that was waited for in vain what it gave no answer to.
#[expect(clippy::print_stderr, reason = "what came of a wait is told here")]
fn say_what_came(table: &Table) {
    // What is left out after it names it too, and was not tried.
    let in_vain = |line: &&Line| matches!(&line.verdict, Verdict::Fails { reason } if reason.starts_with("no answer within"));
    if let Some(line) = table.lines.iter().find(in_vain) {
        let device = &table.gpu.name;
        let text = format!("{device} cannot {}: {}", line.trial, told(&line.verdict));
        eprintln!(
            "warning: {} (`rungs devices` shows all, --refresh tries again)",
            clean(&text)
        );
    }
}

/// Where the user's programs keep what can be found out again (XDG Base Directory Specification).
fn cache() -> Option<PathBuf> {
    let folder = |name: &str| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let base = folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")))?;
    Some(base.join("rungs/devices.json"))
}

/// Writes a paragraph for each GPU, or a line that there is none.
pub(crate) fn write(out: &mut Vec<u8>, tables: &[Table]) -> io::Result<()> {
    if tables.is_empty() {
        return writeln!(out, "\nno GPU was found");
    }
    for table in tables {
        writeln!(out, "\n{}", title(&table.gpu))?;
        if let Some(reason) = &table.gpu.missing {
            wrapped(out, "  not used: ", reason)?;
        }
        for line in &table.lines {
            wrapped(out, &head(line), &told(&line.verdict))?;
        }
    }
    Ok(())
}

/// `nvidia:0  NVIDIA H200, 140.4 GiB, driver nvidia 550.1, at 0000:1b:00.0`.
fn title(gpu: &Gpu) -> String {
    let mut parts = vec![gpu.model.clone()];
    parts.extend(
        gpu.memory
            .map(|bytes| format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))),
    );
    if !gpu.driver.name.is_empty() {
        let version = gpu.driver.version.as_deref().unwrap_or_default();
        parts.push(
            format!("driver {} {version}", gpu.driver.name)
                .trim_end()
                .to_owned(),
        );
    }
    parts.extend(gpu.pci.as_ref().map(|pci| format!("at {pci}")));
    parts.retain(|part| !part.is_empty());
    format!("{}  {}", gpu.name, parts.join(", "))
}

fn head(line: &Line) -> String {
    let way = line.way.as_ref().map_or("", |way| way.kind.name());
    let (what, depth) = match &line.trial {
        Trial::Decode { coding, depth } => (format!("decodes {coding} ({way})"), Some(depth)),
        Trial::Scale { depth } => (format!("scales ({way})"), Some(depth)),
        Trial::Encode { encoder, depth, .. } => (format!("encodes with {encoder}"), Some(depth)),
        Trial::Sessions { encoder, .. } => (format!("sessions of {encoder}"), None),
    };
    let depth = depth.map_or_else(String::new, |depth| format!("{} bits", depth.bits()));
    format!("  {what:<26} {depth:>7}  ")
}

fn told(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Fails { reason } => format!("no: {reason}"),
        Verdict::Untried { reason } => format!("not tried: {reason}"),
        Verdict::Busy { reason } => format!("no room now: {reason}"),
        Verdict::Works(Proof {
            sessions: Some(count),
            ..
        }) => format!("{count} at once"),
        Verdict::Works(proof) => {
            let quality = proof.psnr.map_or_else(
                || "the same to the bit".to_owned(),
                |psnr| format!("{psnr:.1} dB"),
            );
            let speed = proof
                .speed
                .map(|speed| format!("{speed:.0} pictures of 1080p a second"));
            let smallest = proof
                .smallest
                .map(|size| format!("no picture below {size}"));
            let parts = [Some(quality), speed, smallest].into_iter().flatten();
            let parts: Vec<_> = parts.collect();
            format!("yes: {}", parts.join(", "))
        }
    }
}

/// Writes a text behind its head, and goes on below it at the width of the page.
fn wrapped(out: &mut Vec<u8>, head: &str, text: &str) -> io::Result<()> {
    let mut line = head.to_owned();
    let mut empty = true;
    for word in text.split_whitespace() {
        if !empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
            writeln!(out, "{line}")?;
            line = " ".repeat(head.chars().count());
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(word);
        empty = false;
    }
    writeln!(out, "{}", line.trim_end())
}

#[cfg(test)]
mod tests {
    use rungs_engine::device::{DeviceName, Vendor};
    use rungs_engine::gpu::{Driver, Way};
    use rungs_media::encode::Codec;
    use rungs_media::frame::BitDepth;
    use rungs_media::hardware::DeviceKind;
    use rungs_media::sample::Coding;

    use super::*;

    fn line(trial: Trial, verdict: Verdict) -> Line {
        Line {
            way: Some(Way {
                kind: DeviceKind::Cuda,
                address: "0".to_owned(),
            }),
            trial,
            verdict,
        }
    }

    fn h200() -> Table {
        let gpu = Gpu {
            name: DeviceName::new("nvidia:0"),
            vendor: Vendor::Nvidia,
            pci: Some("0000:1b:00.0".to_owned()),
            uuid: None,
            model: "NVIDIA H200".to_owned(),
            memory: Some(150_754_820_096),
            driver: Driver {
                name: "nvidia".to_owned(),
                version: Some("550.127.05".to_owned()),
            },
            ways: Vec::new(),
            missing: None,
        };
        let decode = Trial::Decode {
            coding: Coding::Hevc,
            depth: BitDepth::Ten,
        };
        let encode = Trial::Encode {
            codec: Codec::Av1,
            encoder: "av1_nvenc".to_owned(),
            depth: BitDepth::Eight,
        };
        let proof = Proof {
            psnr: None,
            speed: Some(911.6),
            ..Proof::default()
        };
        let reason = "cuda:0 cannot open av1_nvenc (OpenEncodeSessionEx failed: unsupported device (2): (no details); \
                      No capable devices found): Invalid argument (FFmpeg error -22)";
        let refused = Verdict::Fails {
            reason: reason.to_owned(),
        };
        Table {
            gpu,
            lines: vec![line(decode, Verdict::Works(proof)), line(encode, refused)],
        }
    }

    fn text(tables: &[Table]) -> String {
        let mut out = Vec::new();
        write(&mut out, tables).expect("written to memory");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn every_no_has_its_reason_within_the_page() {
        let text = text(&[h200()]);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines[1],
            "nvidia:0  NVIDIA H200, 140.4 GiB, driver nvidia 550.127.05, at 0000:1b:00.0"
        );
        assert_eq!(
            lines[2],
            "  decodes hevc (cuda)        10 bits  yes: the same to the bit, 912 pictures of 1080p a second"
        );
        assert!(
            lines[3].starts_with("  encodes with av1_nvenc      8 bits  no: cuda:0 cannot open")
        );
        assert!(
            text.contains("No capable") && lines.iter().all(|line| line.chars().count() <= WIDTH)
        );
    }

    #[test]
    fn a_machine_without_a_gpu_gets_one_line() {
        assert_eq!(text(&[]), "\nno GPU was found\n");
    }

    #[test]
    fn a_gpu_without_a_way_says_why() {
        let mut table = h200();
        table.lines.clear();
        table.gpu.missing = Some("NVIDIA's driver is not installed".to_owned());
        assert!(text(&[table]).contains("not used: NVIDIA's driver is not installed"));
    }
}
