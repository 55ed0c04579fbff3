//! The crate against real files, made by the `ffmpeg` program where it is there.

mod clips;

mod coming;
mod decoding;
mod demuxing;
mod encoding;
mod hostile;
mod kept;
mod on_gpu;
mod pictures;
mod reordering;
mod series;
mod sound;
