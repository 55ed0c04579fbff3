//! A package's folder and a few expectations in, a short report or all findings out; exit status 0 or 1.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use rungs_testkit::checker::{self, Expectation, Finding, RenditionReport, Report};

/// Checks a package made by rungs, with ffmpeg and ffprobe as its witnesses.
#[derive(Debug, Parser)]
#[command(name = "rungs-check")]
struct Arguments {
    /// The package's folder
    out: PathBuf,
    /// The file it was made from: frames, times and pictures are compared with it
    #[arg(long, value_name = "FILE")]
    source: Option<PathBuf>,
    /// The least PSNR of the largest rendition in dB; the others may have 3 dB less
    #[arg(long, value_name = "DB")]
    psnr: Option<f64>,
    /// The segment duration that was asked for, in seconds
    #[arg(long, value_name = "SECONDS")]
    segment: Option<f64>,
    /// The job is not done: check what is published so far
    #[arg(long)]
    unfinished: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let expect = Expectation {
        source: arguments.source,
        psnr_floor: arguments.psnr,
        segment_seconds: arguments.segment,
        complete: !arguments.unfinished,
        ..Expectation::default()
    };
    match checker::check(&arguments.out, &expect) {
        Ok(report) => {
            print(&report);
            ExitCode::SUCCESS
        }
        Err(findings) => {
            complain(&findings);
            ExitCode::FAILURE
        }
    }
}

#[allow(clippy::print_stdout, reason = "the report is what the program is for")]
fn print(report: &Report) {
    for rendition in &report.renditions {
        println!("{}", line(rendition));
    }
    let held = if report.held > 0 {
        format!(", {} of them held", report.held)
    } else {
        String::new()
    };
    println!(
        "{} segments, {} frames{held}: all checks passed.",
        report.segments, report.frames
    );
}

fn line(rendition: &RenditionReport) -> String {
    let size = rendition.size.map_or_else(
        || "sound".to_owned(),
        |(width, height)| format!("{width}x{height}"),
    );
    let (samples, seconds, average) = (
        rendition.samples,
        rendition.seconds,
        rendition.average / 1000,
    );
    let name = &rendition.name;
    let mut line =
        format!("{name:<20} {size:>9} {samples:>6} samples {seconds:>8.3} s {average:>6} kb/s");
    if let (Some(psnr), Some(worst)) = (rendition.psnr, rendition.worst_psnr) {
        // Writing to a string does not fail.
        let _ = write!(line, "  PSNR {psnr:.2} dB (worst frame {worst:.2})");
    }
    format!("{line}  {}", rendition.codec)
}

#[allow(
    clippy::print_stderr,
    reason = "the findings are what the program is for"
)]
fn complain(findings: &[Finding]) {
    for finding in findings {
        eprintln!("{finding}");
    }
    eprintln!("{} findings.", findings.len());
}
