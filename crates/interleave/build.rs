//! Chooses the stand-ins for channels and threads in the engine's source.

fn main() {
    println!("cargo::rustc-cfg=shuttle");
    println!("cargo::rerun-if-changed=build.rs");
}
