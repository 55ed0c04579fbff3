//! Other people's packagers and readers, from npm at versions that are written down: shaka-packager and mp4box.js.
//!
//! They are installed once, into the build's target directory, with the digests of `npm/package-lock.json`. Where there is no npm, or it
//! reaches no registry, tests that need them say so.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::clips;
use crate::tool::{self, Run};

const FILES: [(&str, &str); 3] = [
    ("package.json", include_str!("../npm/package.json")),
    (
        "package-lock.json",
        include_str!("../npm/package-lock.json"),
    ),
    ("boxes.mjs", include_str!("../npm/boxes.mjs")),
];

/// The folder with both, installed.
#[derive(Debug)]
pub struct Witnesses(PathBuf);

/// Installs what is absent, or says aloud that the test is skipped; blocks while npm runs.
///
/// # Panics
/// When they cannot be had and the environment has `STRICT=1`.
#[must_use]
pub fn witnesses() -> Option<Witnesses> {
    tool::require_node()?;
    match install() {
        Ok(folder) => Some(Witnesses(folder)),
        Err(why) => {
            tool::absent(&format!("npm's shaka-packager and mp4box ({why})"));
            None
        }
    }
}

fn install() -> Result<PathBuf, String> {
    let said = |error: &dyn std::error::Error| tool::chain(error);
    let all: String = FILES.iter().map(|(_, content)| *content).collect();
    let name = format!("npm-{:016x}", clips::fingerprint(all.as_bytes()));
    let cache = clips::folder();
    let folder = cache.join(name);
    if folder.exists() {
        return Ok(folder);
    }
    fs::create_dir_all(&cache).map_err(|error| said(&error))?;
    let aside = TempDir::with_prefix_in("making-", &cache).map_err(|error| said(&error))?;
    for (name, content) in FILES {
        fs::write(aside.path().join(name), content).map_err(|error| said(&error))?;
    }
    let run = Run::npm().arg("--prefix").arg(aside.path());
    let run = run.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
    run.run().map_err(|error| said(&error))?;
    // Another process may have been sooner, with the same.
    if let Err(error) = fs::rename(aside.path(), &folder)
        && !folder.exists()
    {
        return Err(said(&error));
    }
    Ok(folder)
}

impl Witnesses {
    /// Starts a run of shaka-packager.
    #[must_use]
    pub fn shaka_packager(&self) -> Run {
        Run::node().arg(self.0.join("node_modules/shaka-packager/index.js"))
    }

    /// What mp4box.js reads in whole fragmented files, each with one track; blocks until it has.
    pub fn boxes(&self, files: &[&Path]) -> Result<serde_json::Value, tool::Error> {
        let modules = self.0.join("node_modules/");
        let run = Run::node().arg(self.0.join("boxes.mjs")).arg(modules);
        run.args(files).json()
    }
}
