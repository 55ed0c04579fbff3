//! What earlier runs found out, in one file. It counts for the same card with the same driver and the same FFmpeg.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Table, Verdict};
use crate::gpu::{Gpu, Way};

/// Goes up when the trials change: what an earlier program found out is then no answer.
const VERSION: u32 = 3;

/// The file.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Known {
    version: u32,
    /// The releases of FFmpeg's libraries.
    ffmpeg: Vec<String>,
    tables: Vec<Table>,
}

impl Known {
    /// A device that had no room for all trials is tried again.
    fn of(tables: &[Table]) -> Self {
        let busy = |table: &Table| {
            let mut lines = table.lines.iter();
            lines.any(|line| matches!(line.verdict, Verdict::Busy { .. }))
        };
        Self {
            version: VERSION,
            ffmpeg: ffmpeg(),
            tables: tables
                .iter()
                .filter(|table| !busy(table))
                .cloned()
                .collect(),
        }
    }

    /// What is known of a device as it is now.
    pub(super) fn table(&self, gpu: &Gpu) -> Option<Table> {
        if self.version != VERSION || self.ffmpeg != ffmpeg() {
            return None;
        }
        let same = |table: &&Table| {
            let ways = |gpu: &Gpu| -> Vec<Way> { gpu.ways.clone() };
            table.gpu.identity() == gpu.identity()
                && table.gpu.driver == gpu.driver
                && ways(&table.gpu) == ways(gpu)
        };
        let table = self.tables.iter().find(same)?;
        Some(Table {
            // Its number may be another one now.
            gpu: gpu.clone(),
            lines: table.lines.clone(),
        })
    }
}

fn ffmpeg() -> Vec<String> {
    let libraries = rungs_media::versions().into_iter();
    let named = libraries.map(|library| format!("{} {}", library.name, library.version));
    named.chain([rungs_media::ffmpeg_version()]).collect()
}

/// Reads the file; one that is not there or damaged says nothing.
pub(super) fn read(file: &Path) -> Known {
    let bytes = fs::read(file).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

/// Writes the file aside and puts it into place. Without it the next run tries again, so a failure is none.
pub(super) fn write(file: &Path, tables: &[Table]) {
    put(file, tables).ok();
}

fn put(file: &Path, tables: &[Table]) -> io::Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    let aside = file.with_extension(format!("{}.tmp", std::process::id()));
    fs::write(&aside, serde_json::to_vec_pretty(&Known::of(tables))?)?;
    fs::rename(&aside, file)
}
