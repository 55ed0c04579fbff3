//! Finds FFmpeg's libraries through pkg-config and makes Rust declarations of their headers with bindgen.
//!
//! What differs between the supported versions reaches the crate as `cfg` names, each decided here from the
//! version of the library that it belongs to.

use std::env;
use std::panic::catch_unwind;
use std::path::PathBuf;

/// Each library with the oldest version supported, that of FFmpeg 5.1.
const LIBRARIES: [(&str, (u32, u32)); 6] = [
    ("libavutil", (57, 28)),
    ("libavcodec", (59, 37)),
    ("libavformat", (59, 27)),
    ("libavfilter", (8, 44)),
    ("libswscale", (6, 7)),
    ("libswresample", (4, 7)),
];

/// `cfg` name, library, and the version from which it holds.
const FEATURES: [(&str, &str, (u32, u32)); 5] = [
    ("frame_duration", "libavutil", (57, 30)),
    ("frame_flags", "libavutil", (58, 7)),
    ("coded_side_data", "libavcodec", (60, 31)),
    ("frame_cropping", "libavcodec", (61, 19)),
    ("buffer_colour", "libavfilter", (10, 0)),
];

const HEADER: &str = "src/ffi/ffmpeg.h";

fn main() {
    println!("cargo:rerun-if-changed={HEADER}");
    let mut include = Vec::new();
    let mut versions = Vec::new();
    for (name, (major, minor)) in LIBRARIES {
        let oldest = format!("{major}.{minor}");
        let library = pkg_config::Config::new()
            .atleast_version(&oldest)
            .probe(name)
            .unwrap_or_else(|error| {
                panic!(
                    "rungs needs FFmpeg 5.1 or later with its development files, found through pkg-config \
                     (Debian: apt install pkg-config libavcodec-dev libavformat-dev libavfilter-dev \
                     libswscale-dev libswresample-dev): {error}"
                )
            });
        versions.push((name, parse(&library.version)));
        include.extend(library.include_paths);
    }
    for (cfg, library, since) in FEATURES {
        println!("cargo:rustc-check-cfg=cfg({cfg})");
        if versions
            .iter()
            .any(|(name, version)| *name == library && *version >= since)
        {
            println!("cargo:rustc-cfg={cfg}");
        }
    }
    generate(&include);
}

fn parse(version: &str) -> (u32, u32) {
    let mut numbers = version.split('.').map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn generate(include: &[PathBuf]) {
    catch_unwind(bindgen::clang_version)
        .expect("rungs needs libclang to read FFmpeg's headers (Debian: apt install libclang-dev)");
    let out =
        PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("bindings.rs");
    bindgen::Builder::default()
        .header(HEADER)
        .clang_args(include.iter().map(|path| format!("-I{}", path.display())))
        .allowlist_function("(av|avio|avcodec|avformat|avfilter|sws|swr)_.*")
        .allowlist_function("av(codec|format|filter|util|subtitle)_.*|sw(scale|resample)_version")
        .allowlist_type("AV.*|Sws.*|Swr.*")
        .allowlist_var("RUNGS_.*|AV_.*|AVERROR.*|AVFMT_.*|AVINDEX_.*|AVSEEK_.*|AVIO_.*|FF_COMPLIANCE_.*|FF_THREAD_.*|SWS_.*|SEEK_.*")
        .blocklist_function(".*_v[a-z]*printf|av_(vlog|log_format_line.*|log_default_callback|log_set_callback|bprint.*)")
        .default_enum_style(bindgen::EnumVariation::NewType { is_bitfield: false, is_global: false })
        .rust_edition(bindgen::RustEdition::Edition2024)
        .layout_tests(false)
        .generate_comments(false)
        .merge_extern_blocks(true)
        .generate()
        .unwrap_or_else(|error| panic!("cannot read FFmpeg's headers: {error}"))
        .write_to_file(&out)
        .unwrap_or_else(|error| panic!("cannot write {}: {error}", out.display()));
}
