//! What a measurement depends on besides the programs' arguments: the machine and the versions.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::error::Error;
use crate::measure;

/// Returns the number of cores that this process may use.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Describes the machine and the versions of what runs on it, as Markdown.
pub(crate) fn describe(rungs: &Path) -> Result<String, Error> {
    let lines = [
        ("CPU", format!("{}, {} cores", cpu_model(), cores())),
        ("Memory", memory()),
        ("System", format!("{}, Linux {}", os_name(), kernel())),
        (
            "rungs",
            first_line(&measure::ask(Command::new(rungs).arg("--version"))?.stdout),
        ),
        (
            "Rust",
            first_line(&measure::ask(Command::new("rustc").arg("--version"))?.stdout),
        ),
        (
            "FFmpeg",
            ffmpeg_version(&measure::ask(Command::new("ffmpeg").arg("-version"))?.stdout),
        ),
        ("SVT-AV1", svt_version()?),
    ];
    let rows: Vec<String> = lines
        .iter()
        .map(|(what, value)| format!("| {what} | {value} |"))
        .collect();
    Ok(format!("| | |\n|---|---|\n{}\n", rows.join("\n")))
}

fn cpu_model() -> String {
    field("/proc/cpuinfo", "model name", ':')
}

fn memory() -> String {
    let kibibytes: Option<u64> = field("/proc/meminfo", "MemTotal", ':')
        .trim_end_matches(" kB")
        .parse()
        .ok();
    kibibytes.map_or_else(unknown, |kibibytes| {
        format!("{:.1} GiB", kibibytes as f64 / 1_048_576.0)
    })
}

fn os_name() -> String {
    field("/etc/os-release", "PRETTY_NAME", '=')
        .trim_matches('"')
        .to_owned()
}

fn kernel() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease")
        .map_or_else(|_| unknown(), |text| text.trim().to_owned())
}

/// Returns the value behind the first line of `file` that begins with `key`.
fn field(file: &str, key: &str, separator: char) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines()
        .filter(|line| line.starts_with(key))
        .find_map(|line| line.split_once(separator))
        .map_or_else(unknown, |(_, value)| value.trim().to_owned())
}

fn unknown() -> String {
    "unknown".to_owned()
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim().to_owned()
}

/// Reads `5.1.9-0+deb12u1` out of FFmpeg's banner.
fn ffmpeg_version(banner: &str) -> String {
    banner
        .split_whitespace()
        .nth(2)
        .map_or_else(unknown, str::to_owned)
}

/// Returns the version that the AV1 encoder prints when it starts, from an encode of one tiny frame.
fn svt_version() -> Result<String, Error> {
    let mut command = Command::new("ffmpeg");
    command.args([
        "-hide_banner",
        "-nostdin",
        "-f",
        "lavfi",
        "-i",
        "color=size=128x128:rate=1:duration=1",
    ]);
    command.args([
        "-pix_fmt",
        "yuv420p",
        "-c:v",
        "libsvtav1",
        "-frames:v",
        "1",
        "-f",
        "null",
        "-",
    ]);
    command.env("SVT_LOG", "3");
    let said = measure::ask(&mut command)?.stderr;
    Ok(parse_svt_version(&said).unwrap_or_else(unknown))
}

/// Reads `1.4.1` out of `Svt[info]: SVT [version]:\tSVT-AV1 Encoder Lib v1.4.1`.
fn parse_svt_version(said: &str) -> Option<String> {
    let line = said.lines().find(|line| line.contains("[version]"))?;
    let (_, version) = line.rsplit_once("Lib ")?;
    Some(version.trim().trim_start_matches('v').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_versions_out_of_banners() {
        let banner = "ffmpeg version 5.1.9-0+deb12u1 Copyright (c) 2000-2026 the FFmpeg developers\nbuilt with";
        assert_eq!(ffmpeg_version(banner), "5.1.9-0+deb12u1");
        let said =
            "x\nSvt[info]: SVT [version]:\tSVT-AV1 Encoder Lib v1.4.1\nSvt[info]: SVT [build]";
        assert_eq!(parse_svt_version(said).as_deref(), Some("1.4.1"));
        assert_eq!(parse_svt_version("quiet"), None);
    }
}
