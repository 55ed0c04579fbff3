//! A stand-in for `libcuda.so.1`: devices, contexts and memory of the cards that [`rungs_standin`] describes.
//!
//! ```text
//! api ─► contexts ─► which card a call is for, or that its context is dead
//!    ├─► memory   ─► blocks of bytes, by addresses that no program can read itself
//!    └─► kernels  ─► FFmpeg's functions for scaling, known by their names and done on the CPU
//! ```
//!
//! Work is done before a call returns, also where the interface allows it later. Codes and layouts are those of NVIDIA's
//! CUDA Driver API.

#![allow(
    unsafe_code,
    reason = "functions with the names of a C library; where pointers are followed, the reason stands there"
)]

mod api;
mod contexts;
mod kernels;
mod layout;
mod memory;
mod status;
