//! What goes over the pipes of an encoder's process, which the engine shows to nobody.
#![no_main]

#[allow(dead_code)]
#[path = "../../crates/engine/src/process/wire.rs"]
mod wire;

/// Where the file expects what it takes from the engine.
mod gpu {
    pub(crate) use rungs_engine::gpu::Way;
}

use rungs_media::frame::BitDepth;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    wire::parse::<wire::Reply>(data).ok();
    wire::read_head::<wire::Order>(&mut &data[..]).ok();
    for depth in [BitDepth::Eight, BitDepth::Ten] {
        let mut input = data;
        while let Ok(Some(_)) = wire::read_picture(&mut input, ((16, 8), depth)) {}
    }
});
