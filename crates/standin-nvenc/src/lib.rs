//! A stand-in for `libnvidia-encode.so.1`: the sessions of the cards that [`rungs_standin`] describes, with a software encoder in a
//! process of its own behind each.
//!
//! ```text
//! api ─► session ─► states of buffers, maps and outputs; what a real driver refuses
//!           ├─► settings ─► what is asked for, as the encoder program takes it
//!           ├─► cuda     ─► frames in a card's memory, and whether a context is alive
//!           └─► encoder  ─► the encoder program: frames in, packets out
//! ```
//!
//! It speaks versions 11.1 and 12.1 of the NVENC interface, which have the same layouts as far as they are read here. What it
//! encodes says nothing of a card: not its quality, nor its speed, nor the form of its bitstreams.

#![allow(
    unsafe_code,
    reason = "functions of a C library; where pointers are followed, the reason stands there"
)]

mod api;
mod cuda;
mod encoder;
mod frames;
mod layout;
mod session;
mod settings;
mod status;
