//! What earlier runs found out, in one file. It counts for the same card with the same driver and the same FFmpeg.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Table, Verdict};
use crate::gpu::Gpu;

/// Goes up when the trials change: what an earlier program found out is then no answer.
const VERSION: u32 = 4;

/// Tables that are kept at the most, those of devices that are not there now among them.
const MOST_TABLES: usize = 64;

/// The file.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Known {
    version: u32,
    /// The releases of FFmpeg's libraries.
    ffmpeg: Vec<String>,
    tables: Vec<Table>,
}

impl Known {
    /// What was found out now, and what is known besides: a device that is hidden or taken out now may be back. One that had no room for all trials is tried again.
    fn of(tables: &[Table], before: &Self) -> Self {
        let busy = |table: &Table| {
            let mut lines = table.lines.iter();
            lines.any(|line| matches!(line.verdict, Verdict::Busy { .. }))
        };
        let found = tables.iter().filter(|table| !busy(table));
        let stale = |table: &&Table| tables.iter().any(|now| is_same(&now.gpu, &table.gpu));
        let others = before.tables.iter().filter(|_| before.counts());
        let others = others.filter(|table| !stale(table));
        Self {
            version: VERSION,
            ffmpeg: ffmpeg(),
            tables: found.chain(others).take(MOST_TABLES).cloned().collect(),
        }
    }

    /// Whether it was found out by trials like these, with this FFmpeg.
    fn counts(&self) -> bool {
        self.version == VERSION && self.ffmpeg == ffmpeg()
    }

    /// What is known of a device as it is now.
    pub(super) fn table(&self, gpu: &Gpu) -> Option<Table> {
        let mut tables = self.tables.iter().filter(|_| self.counts());
        let table = tables.find(|table| is_same(&table.gpu, gpu))?;
        Some(Table {
            // Its number may be another one now.
            gpu: gpu.clone(),
            lines: table.lines.clone(),
        })
    }
}

/// Whether it is the same card, reached and driven in the same way.
fn is_same(one: &Gpu, other: &Gpu) -> bool {
    one.identity() == other.identity() && one.driver == other.driver && one.ways == other.ways
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
    let known = Known::of(tables, &read(file));
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    let aside = file.with_extension(format!("{}.tmp", std::process::id()));
    fs::write(&aside, serde_json::to_vec_pretty(&known)?)?;
    fs::rename(&aside, file)
}
