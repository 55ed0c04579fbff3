//! The inputs of a command in, a refusal out if an output is one of them: the same file by whatever path, link or mount.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rungs_engine::journal::{Names, PRIVATE};
use rungs_engine::{Plan, Spec};
use rungs_media::Source;

use crate::args::InputArgs;
use crate::failure::Problem;
use crate::input::{Input, STANDARD_INPUT};

/// Which file it is, whatever path leads to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// The number of a regular file. Devices and pipes are not changed by being written to.
    fn of(found: &Metadata) -> Option<Self> {
        found.is_file().then(|| Self {
            device: found.dev(),
            inode: found.ino(),
        })
    }
}

/// The files that a command reads, which it must not write to.
#[derive(Debug, Default)]
pub(crate) struct Inputs {
    files: BTreeMap<FileId, PathBuf>,
}

impl Inputs {
    /// The inputs that were typed. Those that cannot be looked at are left out: opening them will fail.
    pub(crate) fn typed(from: &InputArgs, spec: &Spec) -> Self {
        let mut inputs = Self::default();
        if from.comes_once() {
            inputs.add_standard_input().ok();
        } else {
            inputs.add(&from.input);
        }
        for file in &spec.joined {
            inputs.add(file);
        }
        if let Some(overlay) = &spec.picture.overlay {
            inputs.add(&overlay.path);
        }
        inputs
    }

    /// The same with the files that were found when the input was opened.
    pub(crate) fn opened(from: &InputArgs, spec: &Spec, input: &Input) -> Self {
        let mut inputs = Self::typed(from, spec);
        if let Source::Images(images) = input.source() {
            for file in images.files() {
                inputs.add(file);
            }
        }
        inputs
    }

    fn add(&mut self, path: &Path) {
        if let Some(id) = fs::metadata(path).ok().as_ref().and_then(FileId::of) {
            self.files.insert(id, path.to_owned());
        }
    }

    /// A file may be on standard input.
    fn add_standard_input(&mut self) -> io::Result<()> {
        let stdin = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        if let Some(id) = FileId::of(&stdin.metadata()?) {
            self.files.insert(id, STANDARD_INPUT.into());
        }
        Ok(())
    }

    /// Refuses to write to a file that is an input.
    pub(crate) fn check_file(&self, output: &Path) -> Result<(), Problem> {
        let found = fs::metadata(output).ok();
        let id = found.as_ref().and_then(FileId::of);
        match id.and_then(|id| self.files.get(&id)) {
            None => Ok(()),
            Some(input) => {
                let (output, input) = (output.display(), input.display());
                Err(Problem::refused(
                    format!("the output {output} is the input {input}"),
                    "give another output: an input is never written to, nor with --force",
                ))
            }
        }
    }

    /// Refuses to write to files, such as a trace or a report, that are an input.
    pub(crate) fn check_files(
        &self,
        outputs: impl IntoIterator<Item = impl AsRef<Path>>,
    ) -> Result<(), Problem> {
        let mut outputs = outputs.into_iter();
        outputs.try_for_each(|output| self.check_file(output.as_ref()))
    }

    /// Refuses to work in a folder with an input in it, as in the private one of a package.
    pub(crate) fn check_below(&self, folder: &Path) -> Result<(), Problem> {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => self.check_below(&path)?,
                _ => self.check_file(&path)?,
            }
        }
        Ok(())
    }

    /// Refuses a package whose private files are an input, before the folder is claimed.
    pub(crate) fn check_private(&self, out: &Path) -> Result<(), Problem> {
        self.check_below(&out.join(PRIVATE))
    }

    /// Refuses a package whose files would cover an input.
    pub(crate) fn check_package(&self, out: &Path, plan: &Plan) -> Result<(), Problem> {
        self.check_private(out)?;
        let names = Names::of(plan);
        for name in names.fixed() {
            self.check_file(&out.join(name))?;
        }
        for folder in names.folders() {
            let entries = fs::read_dir(out.join(folder)).into_iter().flatten();
            for entry in entries.flatten() {
                let name = format!("{folder}/{}", entry.file_name().to_string_lossy());
                if names.contain(&name) {
                    self.check_file(&entry.path())?;
                }
            }
        }
        // The one segment that lies in no folder of a track.
        self.check_file(&out.join("poster.jpg"))
    }
}
