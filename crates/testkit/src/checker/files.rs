//! The folder and what the playlists name in, files too many or too few out.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use super::rendition::join;
use super::{Expectation, Findings, Package, Rule};

/// Where plan, journal and temporary files are.
const PRIVATE: &str = ".rungs";

pub(super) fn check(package: &Package, expect: &Expectation, findings: &mut Findings) {
    let mut found = Vec::new();
    if findings
        .note((Rule::Files, "."), walk(&package.root, "", &mut found))
        .is_none()
    {
        return;
    }
    let mut known: BTreeSet<String> = ["master.m3u8", "manifest.mpd", "report.json"]
        .into_iter()
        .map(str::to_owned)
        .collect();
    for rendition in &package.renditions {
        known.insert(rendition.playlist_file.clone());
        known.insert(rendition.init_file.clone());
        known.extend(
            rendition
                .playlist
                .entries
                .iter()
                .map(|entry| join(&rendition.folder, &entry.uri)),
        );
    }
    let frames = package.master.frames.iter();
    known.extend(frames.filter_map(|frames| Some(frames.get("URI")?.to_owned())));
    known.extend(super::images::files(package));
    known.extend(package.texts.iter().flat_map(super::text::Text::files));
    if !expect.complete {
        return;
    }
    for file in &found {
        if file.starts_with(&format!("{PRIVATE}/tmp/")) {
            findings.add(
                Rule::Files,
                file,
                "it is a temporary file that was left behind",
            );
        } else if !file.starts_with(&format!("{PRIVATE}/")) && !known.contains(file) {
            findings.add(Rule::Files, file, "no playlist names it");
        }
    }
    let report = fs::read(package.root.join("report.json"));
    if let Some(report) = findings.note((Rule::Files, "report.json"), report) {
        findings.note(
            (Rule::Files, "report.json"),
            serde_json::from_slice::<serde_json::Value>(&report),
        );
    }
}

fn walk(root: &Path, folder: &str, found: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(root.join(folder))? {
        let entry = entry?;
        let path = join(folder, &entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            walk(root, &path, found)?;
        } else {
            found.push(path);
        }
    }
    found.sort();
    Ok(())
}
