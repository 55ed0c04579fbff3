//! `--trace FILE`: what every session and every pump did when, in the trace event format that Chrome and Perfetto show.
//!
//! One complete event ("ph": "X") for each attempt of a task and each decoded span, a row for each session and pump. Written as it
//! comes, so that it does not grow in memory and a killed job leaves what it has: the format allows the closing bracket to be missing.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use rungs_engine::Event;
use serde_json::json;

/// A trace that is being written.
pub(crate) struct Trace {
    file: BufWriter<File>,
    /// The rows that have been named, with their numbers.
    rows: BTreeMap<String, u32>,
    /// The first error; nothing is written after it.
    broken: Option<io::Error>,
}

impl Trace {
    /// Creates the file.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let mut file = BufWriter::new(File::create(path)?);
        file.write_all(b"[\n")?;
        Ok(Self {
            file,
            rows: BTreeMap::new(),
            broken: None,
        })
    }

    /// Writes what belongs into a trace.
    pub(crate) fn tell(&mut self, event: &Event) {
        let result = match event {
            Event::Encoded {
                device,
                session,
                track,
                segment,
                begin,
                seconds,
                used,
            } => self.bar(
                &format!("{device} session {session}"),
                (*begin, *seconds),
                &json!({ "name": format!("{track} {segment}"), "args": { "used": used } }),
            ),
            Event::Decoded {
                pump,
                segment,
                frames,
                begin,
                seconds,
                ..
            } => self.bar(
                &format!("pump {pump}"),
                (*begin, *seconds),
                &json!({ "name": format!("span {segment}"), "args": { "frames": frames } }),
            ),
            _ => return,
        };
        if let Err(error) = result {
            self.broken.get_or_insert(error);
        }
    }

    /// Writes a bar; `what` has its name and what belongs to it.
    fn bar(
        &mut self,
        row: &str,
        (begin, seconds): (f64, f64),
        what: &serde_json::Value,
    ) -> io::Result<()> {
        if self.broken.is_some() {
            return Ok(());
        }
        let next = u32::try_from(self.rows.len()).unwrap_or(u32::MAX);
        let known = self.rows.get(row).copied();
        let tid = known.unwrap_or(next);
        if known.is_none() {
            self.rows.insert(row.to_owned(), tid);
            let named = json!({ "name": "thread_name", "ph": "M", "pid": 1, "tid": tid, "args": { "name": row } });
            writeln!(self.file, "{named},")?;
        }
        let bar = json!({
            "name": what["name"], "ph": "X", "pid": 1, "tid": tid,
            "ts": begin * 1e6, "dur": seconds * 1e6, "args": what["args"],
        });
        writeln!(self.file, "{bar},")
    }

    /// Ends the file and tells whether all of it was written.
    pub(crate) fn close(mut self) -> io::Result<()> {
        if let Some(error) = self.broken.take() {
            return Err(error);
        }
        // After the last comma stands an event, as the array may not end with one.
        let end =
            json!({ "name": "process_name", "ph": "M", "pid": 1, "args": { "name": "rungs" } });
        writeln!(self.file, "{end}\n]")?;
        self.file.flush()
    }
}
