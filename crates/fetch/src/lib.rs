//! Sources whose bytes still come.
//!
//! ```text
//! pipe ───► Piped ────┐ a thread copies                   ┌─► reader of the pictures
//! file ───► Followed ─┼─ a thread watches ──► Spool ──────┼─► reader of the sound
//! server ─► Fetched ──┤ a thread downloads  (a file, and  └─► …
//!             │       ┘                      how far it goes)
//!             └─ a thread fetches blocks ──► a few blocks ──► readers that may begin anywhere
//! ```
//!
//! Each is a [`Supply`](rungs_media::Supply): any number of readers, each with a place of its own, wait where there is nothing yet. Readers wait on a
//! condition; the threads wait on descriptors with one more that wakes them, so all of them end at once when they are told to. No thread
//! outlives its source: dropping it wakes and joins its thread.

mod address;
mod blocks;
mod client;
mod error;
mod fetched;
mod follow;
mod later;
mod names;
mod pipe;
mod spool;
mod trouble;

pub use address::{Address, AddressError};
pub use client::Patience;
pub use error::FetchError;
pub use fetched::Fetched;
pub use follow::{FollowError, Followed};
pub use pipe::Piped;
pub use spool::{Keep, Spool};
