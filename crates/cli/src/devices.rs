//! `rungs devices`: what can decode and encode here, and with which libraries.

use std::io::Write;

use rungs_engine::gpu::trial::Table;
use rungs_engine::host::Host;
use rungs_media::encode::{self, Codec};
use rungs_media::inspect::{self, CodecEntry, CodecKind};
use serde::Serialize;

use crate::args::DevicesArgs;
use crate::failure::Problem;
use crate::gpus;
use crate::{print, print_raw};

/// Version of the JSON form.
const DEVICES_VERSION: u32 = 1;
/// Columns that a list of names is wrapped at.
const WIDTH: usize = 96;

#[derive(Serialize)]
struct Machine {
    version: u32,
    ffmpeg: String,
    libraries: Vec<Library>,
    devices: Vec<Described>,
    /// The GPUs, with what was tried on each and what came of it.
    gpus: Vec<Table>,
}

#[derive(Serialize)]
struct Library {
    name: String,
    version: String,
}

#[derive(Serialize)]
struct Described {
    id: String,
    cores: u32,
    available_memory: u64,
    sessions: u32,
    /// The encoders that `rungs package` chooses from, best first.
    chosen_encoders: Vec<Choice>,
    encoders: Vec<Named>,
    decoders: Vec<Named>,
}

#[derive(Serialize)]
struct Choice {
    codec: String,
    encoders: Vec<String>,
}

#[derive(Serialize)]
struct Named {
    name: String,
    codec: String,
    kind: &'static str,
}

pub(crate) fn run(args: &DevicesArgs) -> Result<(), Problem> {
    let machine = machine(gpus::tables(args.refresh)?);
    if args.json {
        return print_raw(|out| {
            serde_json::to_writer_pretty(&mut *out, &machine)?;
            writeln!(out)
        });
    }
    print(|out| text(out, &machine, args.all))
}

fn machine(gpus: Vec<Table>) -> Machine {
    let host = Host::detect();
    let library = |library: rungs_media::LibraryVersion| Library {
        name: library.name.to_owned(),
        version: library.version,
    };
    Machine {
        version: DEVICES_VERSION,
        ffmpeg: rungs_media::ffmpeg_version(),
        libraries: rungs_media::versions().into_iter().map(library).collect(),
        devices: vec![Described {
            id: rungs_engine::device::DeviceName::cpu().to_string(),
            cores: host.cores,
            available_memory: host.available_memory,
            sessions: host.default_sessions(),
            chosen_encoders: Codec::ALL.into_iter().map(choice).collect(),
            encoders: on_the_cpu(inspect::encoders()),
            decoders: on_the_cpu(inspect::decoders()),
        }],
        gpus,
    }
}

fn choice(codec: Codec) -> Choice {
    let encoders = encode::candidates(codec).into_iter();
    Choice {
        codec: codec.to_string(),
        encoders: encoders.map(str::to_owned).collect(),
    }
}

fn on_the_cpu(entries: Vec<CodecEntry>) -> Vec<Named> {
    let named = |entry: CodecEntry| {
        let kind = match entry.kind {
            CodecKind::Video => "video",
            CodecKind::Audio => "audio",
            _ => return None,
        };
        (!entry.hardware).then(|| Named {
            name: entry.name.to_string(),
            codec: entry.codec.to_string(),
            kind,
        })
    };
    entries.into_iter().filter_map(named).collect()
}

/// Codecs whose encoders and decoders are listed, unless all are.
const MADE: [&str; 5] = ["av1", "h264", "hevc", "aac", "opus"];

fn text(out: &mut Vec<u8>, machine: &Machine, all: bool) -> std::io::Result<()> {
    let libraries = machine
        .libraries
        .iter()
        .map(|library| format!("{} {}", library.name, library.version));
    writeln!(out, "FFmpeg {}", machine.ffmpeg)?;
    list(out, "libraries", libraries)?;
    for device in &machine.devices {
        writeln!(out, "\n{}", device.id)?;
        writeln!(
            out,
            "  {} cores, {} encoders at once, {:.1} GiB of memory available",
            device.cores,
            device.sessions,
            device.available_memory as f64 / f64::from(1 << 30)
        )?;
        for choice in &device.chosen_encoders {
            let encoders = if choice.encoders.is_empty() {
                "none".to_owned()
            } else {
                choice.encoders.join(", ")
            };
            writeln!(out, "  makes {} with: {encoders}", choice.codec)?;
        }
        for (title, entries) in [
            ("encoders", &device.encoders),
            ("decoders", &device.decoders),
        ] {
            for kind in ["video", "audio"] {
                let names = entries
                    .iter()
                    .filter(|entry| entry.kind == kind)
                    .filter(|entry| all || MADE.contains(&entry.codec.as_str()))
                    .map(|entry| entry.name.clone());
                list(out, &format!("{kind} {title}"), names)?;
            }
        }
    }
    if !all {
        writeln!(
            out,
            "  what FFmpeg decodes and encodes besides: `rungs devices --all`"
        )?;
    }
    gpus::write(out, &machine.gpus)
}

fn list(
    out: &mut Vec<u8>,
    title: &str,
    names: impl Iterator<Item = String>,
) -> std::io::Result<()> {
    let mut line = format!("  {title}:");
    for name in names {
        if line.len() + name.len() + 1 > WIDTH {
            writeln!(out, "{line}")?;
            line.clear();
            line.push_str("   ");
        }
        line.push(' ');
        line.push_str(&name);
    }
    writeln!(out, "{line}")
}
