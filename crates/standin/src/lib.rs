//! What the stand-ins for NVIDIA's driver share.
//!
//! ```text
//! environment ─► settings ─► what a card is and can do
//!            └─► faults   ─► what goes wrong, in which call, when
//! each call   ─► log      ─► what was asked, what was planned to fail, and misuse: what a real driver refuses
//! frames      ─► wire     ─► the encoder program, and packets back
//! ```
//!
//! All settings are environment variables that begin with `RUNGS_STANDIN`. Where a variable is of one card, a suffix names
//! the card: `RUNGS_STANDIN_SESSIONS_1` comes before `RUNGS_STANDIN_SESSIONS`.
//!
//! | variable | |
//! |---|---|
//! | `RUNGS_STANDIN=1` | without it, no library initialises |
//! | `RUNGS_STANDIN_LOG` | the file that the log is appended to |
//! | `RUNGS_STANDIN_STATE` | a folder for what the processes of one machine share: sessions, and cards that were lost |
//! | `RUNGS_STANDIN_ENCODER` | the program that encodes |
//! | `RUNGS_STANDIN_CARDS` | how many cards there are; 1 |
//! | `RUNGS_STANDIN_MODEL` | what stands behind `stand-in` in the model of a card |
//! | `RUNGS_STANDIN_DRIVER` | the driver's version; `535.183.01` |
//! | `RUNGS_STANDIN_API` | the newest NVENC interface of the driver; `12.1` |
//! | `RUNGS_STANDIN_MEMORY` | MiB of a card; 8192 |
//! | `RUNGS_STANDIN_CODECS` | what a card encodes: `h264,hevc,av1`, or `none` |
//! | `RUNGS_STANDIN_TEN_BITS` | `0`: a card encodes 8 bits only |
//! | `RUNGS_STANDIN_SESSIONS` | sessions of a card at once; without it there is no limit |
//! | `RUNGS_STANDIN_SESSIONS_ANSWER` | what one too many is answered: `memory` (10), `device` (2) or `key` (21) |
//! | `RUNGS_STANDIN_FAULTS` | faults on demand, see [`faults`] |

mod edge;
pub mod faults;
pub mod log;
pub mod settings;
pub mod wire;

pub use edge::{Given, Wanted};
