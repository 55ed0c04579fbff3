//! An open folder, and the files below it: whatever lies in it, nothing outside is reached through it.
//!
//! Names are resolved by the kernel from the open folder on, without following a symbolic link and without leaving it. So a folder
//! that somebody else has prepared can be read, written to and swept.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

/// Why a path below a folder was not followed.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// A symbolic link is in the way.
    #[error("it is, or lies behind, a symbolic link, and none is followed here")]
    Link,
    /// The path would lead out of the folder.
    #[error("it is no path below the folder")]
    Outside,
    /// It is a folder, a pipe, or something else that is no file.
    #[error("it is no regular file")]
    NoFile,
}

impl From<TreeError> for io::Error {
    fn from(error: TreeError) -> Self {
        Self::new(io::ErrorKind::InvalidInput, error)
    }
}

/// What lies at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link, a pipe, a device.
    Other,
}

/// What is known of something below a folder without opening it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// What it is.
    pub kind: Kind,
    /// Its length in bytes.
    pub bytes: u64,
    /// How many names it has.
    pub links: u64,
    /// Its number on its device, and that of the device.
    pub number: (u64, u64),
}

/// An entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: OsString,
    /// What it is.
    pub kind: Kind,
}

/// An open folder.
#[derive(Debug)]
pub struct Tree {
    folder: OwnedFd,
    path: PathBuf,
}

/// Where something lies.
#[derive(Debug, Clone, Copy)]
pub enum At<'a> {
    /// Below an open folder.
    Below {
        /// The folder.
        tree: &'a Tree,
        /// The path in it, relative; empty for the folder itself.
        path: &'a Path,
    },
    /// At a path whose folder is trusted, as one that the user has given. The last name is no link.
    Path(&'a Path),
}

impl<'a> From<&'a Path> for At<'a> {
    fn from(path: &'a Path) -> Self {
        Self::Path(path)
    }
}

impl<'a> From<&'a PathBuf> for At<'a> {
    fn from(path: &'a PathBuf) -> Self {
        Self::Path(path)
    }
}

impl At<'_> {
    /// Does something in the open folder.
    pub fn on<T>(self, act: impl FnOnce(&Tree, &Path) -> io::Result<T>) -> io::Result<T> {
        match self {
            Self::Below { tree, path } => act(tree, path),
            Self::Path(path) => {
                let name = path.file_name().ok_or(TreeError::Outside)?;
                let folder = path.parent().unwrap_or(Path::new(""));
                act(&Tree::open(folder)?, Path::new(name))
            }
        }
    }
}

impl Tree {
    /// Opens a folder. Links in the path that leads to it are followed: whoever gives it is trusted.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        let named = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            &path
        };
        let folder = rustix::fs::openat(CWD, named, FOLDER, Mode::empty())?;
        Ok(Self { folder, path })
    }

    /// Returns the path by which the folder was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Names something in the folder.
    #[must_use]
    pub fn at<'a>(&'a self, path: &'a (impl AsRef<Path> + ?Sized)) -> At<'a> {
        At::Below {
            tree: self,
            path: path.as_ref(),
        }
    }

    /// Opens a regular file for reading. Does not block on pipes.
    pub fn file(&self, path: impl AsRef<Path>) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        regular(self.resolve(path.as_ref(), flags)?)
    }

    /// Reads a regular file.
    pub fn read(&self, path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.file(path)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Opens a regular file that has no other name for reading and writing, and makes it if it is not there.
    pub fn own_file(&self, path: impl AsRef<Path>) -> io::Result<File> {
        let (folder, name) = self.parent(path.as_ref())?;
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CREATE | EVER;
        let file = regular(rustix::fs::openat(folder, name, flags, FILE_MODE).map_err(link)?)?;
        match file.metadata()?.nlink() {
            0 | 1 => Ok(file),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "it has another name elsewhere, and may be somebody else's",
            )),
        }
    }

    /// Creates a file for writing; fails if there is something of that name.
    pub fn create(&self, path: impl AsRef<Path>) -> io::Result<File> {
        let (folder, name) = self.parent(path.as_ref())?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | EVER;
        Ok(File::from(rustix::fs::openat(
            folder, name, flags, FILE_MODE,
        )?))
    }

    /// Opens a regular file to add to its end.
    pub fn append(&self, path: impl AsRef<Path>) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::NONBLOCK;
        regular(self.resolve(path.as_ref(), flags)?)
    }

    /// Tells what lies at a path, a link itself if it is one.
    pub fn look(&self, path: impl AsRef<Path>) -> io::Result<Found> {
        let (folder, name) = self.parent(path.as_ref())?;
        let found = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(Found {
            kind: kind(&found),
            bytes: u64::try_from(found.st_size).unwrap_or(0),
            #[allow(clippy::useless_conversion, reason = "its type differs by system")]
            links: u64::from(found.st_nlink),
            number: (found.st_dev, found.st_ino),
        })
    }

    /// Whether there is a regular file.
    #[must_use]
    pub fn is_file(&self, path: impl AsRef<Path>) -> bool {
        self.look(path).is_ok_and(|found| found.kind == Kind::File)
    }

    /// Whether there is a folder, or the path is empty.
    #[must_use]
    pub fn is_folder(&self, path: impl AsRef<Path>) -> bool {
        let path = path.as_ref();
        path.as_os_str().is_empty()
            || self
                .look(path)
                .is_ok_and(|found| found.kind == Kind::Folder)
    }

    /// Lists a folder, in the order of names.
    pub fn list(&self, path: impl AsRef<Path>) -> io::Result<Vec<Entry>> {
        let folder = self.resolve(path.as_ref(), FOLDER)?;
        let mut entries = Vec::new();
        for entry in Dir::read_from(&folder)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::RegularFile => Kind::File,
                FileType::Directory => Kind::Folder,
                // Not all file systems say.
                FileType::Unknown => kind(&rustix::fs::statat(
                    &folder,
                    name,
                    AtFlags::SYMLINK_NOFOLLOW,
                )?),
                _ => Kind::Other,
            };
            entries.push(Entry {
                name: name.to_owned(),
                kind,
            });
        }
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(entries)
    }

    /// Lists all that is no folder, relative to this one and separated by `/`, in order. Leaves out the files and folders at its top
    /// that are named in `aside`. Blocks.
    pub fn files_below(&self, aside: &[&str]) -> io::Result<Vec<String>> {
        let mut found = Vec::new();
        let mut folders = vec![PathBuf::new()];
        while let Some(below) = folders.pop() {
            for entry in self.list(&below)? {
                let path = below.join(&entry.name);
                let name = path.to_string_lossy();
                if aside.contains(&&*name) {
                    continue;
                }
                if entry.kind == Kind::Folder {
                    folders.push(path);
                } else {
                    found.push(name.into_owned());
                }
            }
        }
        found.sort();
        Ok(found)
    }

    /// Opens a folder below this one.
    pub fn below(&self, path: impl AsRef<Path>) -> io::Result<Self> {
        Ok(Self {
            folder: self.resolve(path.as_ref(), FOLDER)?,
            path: self.path.join(path),
        })
    }

    /// Creates a folder. It is no error if it is there.
    pub fn create_folder(&self, path: &Path) -> io::Result<()> {
        let (folder, name) = self.parent(path)?;
        match rustix::fs::mkdirat(folder, name, FOLDER_MODE) {
            Err(Errno::EXIST) if self.is_folder(path) => Ok(()),
            Err(Errno::EXIST) => self.resolve(path, FOLDER).map(|_| ()),
            result => Ok(result?),
        }
    }

    /// Gives a file another name in a folder, which may be this one; replaces what has that name.
    pub fn rename(&self, from: &Path, (tree, to): (&Self, &Path)) -> io::Result<()> {
        let (from_folder, from) = self.parent(from)?;
        let (to_folder, to) = tree.parent(to)?;
        Ok(rustix::fs::renameat(from_folder, from, to_folder, to)?)
    }

    /// Removes a file, or a link itself.
    pub fn remove(&self, path: &Path) -> io::Result<()> {
        let (folder, name) = self.parent(path)?;
        Ok(rustix::fs::unlinkat(folder, name, AtFlags::empty())?)
    }

    /// Removes a folder that is empty.
    pub fn remove_folder(&self, path: &Path) -> io::Result<()> {
        let (folder, name) = self.parent(path)?;
        Ok(rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR)?)
    }

    /// Makes the names in a folder durable.
    pub fn flush_folder(&self, path: &Path) -> io::Result<()> {
        let folder = self.resolve(path, FOLDER)?;
        File::from(folder).sync_all()
    }

    /// The open folder in which something lies, and its name there.
    fn parent<'a>(&self, path: &'a Path) -> io::Result<(OwnedFd, &'a OsStr)> {
        let name = path.file_name().ok_or(TreeError::Outside)?;
        let parent = path.parent().unwrap_or(Path::new(""));
        Ok((self.resolve(parent, FOLDER)?, name))
    }

    /// Opens what lies at a path.
    fn resolve(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let is_name = |part: Component<'_>| matches!(part, Component::Normal(_));
        if !path.components().all(is_name) {
            return Err(TreeError::Outside.into());
        }
        let here = path.as_os_str().is_empty();
        let named = if here { Path::new(".") } else { path };
        beneath(self.folder.as_fd(), named, flags | EVER).map_err(link)
    }
}

/// Whatever is opened is not inherited by other programs, and is no link.
const EVER: OFlags = OFlags::CLOEXEC.union(OFlags::NOFOLLOW);
const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);
const FILE_MODE: Mode = Mode::from_raw_mode(0o666);
const FOLDER_MODE: Mode = Mode::from_raw_mode(0o777);

/// Opens a path below a folder in one call, where the kernel has it and lets it be used.
#[cfg(target_os = "linux")]
fn beneath(folder: impl AsFd, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    use rustix::fs::{ResolveFlags, openat2};
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    loop {
        match openat2(&folder, path, flags, Mode::empty(), resolve) {
            // Whether it is a link that is no folder, the walk says.
            Err(Errno::NOSYS | Errno::PERM | Errno::NOTDIR) => return walk(folder, path, flags),
            // Something was renamed meanwhile.
            Err(Errno::AGAIN | Errno::INTR) => {}
            result => return result,
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn beneath(folder: impl AsFd, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    walk(folder, path, flags)
}

/// The same name by name. No name is `..`.
fn walk(folder: impl AsFd, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let mut names = path.iter().peekable();
    let mut here: Option<OwnedFd> = None;
    loop {
        let name = names.next().unwrap_or(OsStr::new("."));
        let is_last = names.peek().is_none();
        let flags = if is_last { flags } else { FOLDER | EVER };
        let above = here.as_ref().map_or(folder.as_fd(), |here| here.as_fd());
        let next = rustix::fs::openat(above, name, flags, Mode::empty()).map_err(|error| {
            // A link that should be a folder is told as no folder.
            match rustix::fs::statat(above, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(found) if file_type(&found) == FileType::Symlink => Errno::LOOP,
                _ => error,
            }
        })?;
        if is_last {
            return Ok(next);
        }
        here = Some(next);
    }
}

fn link(error: Errno) -> io::Error {
    if error == Errno::LOOP {
        TreeError::Link.into()
    } else {
        error.into()
    }
}

fn file_type(found: &Stat) -> FileType {
    FileType::from_raw_mode(found.st_mode)
}

fn kind(found: &Stat) -> Kind {
    match file_type(found) {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Folder,
        _ => Kind::Other,
    }
}

fn regular(file: OwnedFd) -> io::Result<File> {
    let file = File::from(file);
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(TreeError::NoFile.into())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// A folder beside one that is nobody's business.
    fn folders() -> (tempfile::TempDir, Tree) {
        let all = tempfile::tempdir().unwrap();
        for name in ["in/deep", "out"] {
            fs::create_dir_all(all.path().join(name)).unwrap();
        }
        fs::write(all.path().join("out/secret"), "secret").unwrap();
        fs::write(all.path().join("in/deep/file"), "file").unwrap();
        symlink("../out", all.path().join("in/link")).unwrap();
        symlink("deep", all.path().join("in/inner")).unwrap();
        symlink("../out/secret", all.path().join("in/file")).unwrap();
        let tree = Tree::open(all.path().join("in")).unwrap();
        (all, tree)
    }

    fn is_link(result: io::Result<impl Sized>) -> bool {
        let Err(error) = result else { return false };
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
        matches!(inner, Some(TreeError::Link))
    }

    #[test]
    fn no_link_is_followed_for_reading_or_writing() {
        let (all, tree) = folders();
        for path in ["link/secret", "inner/file", "file"] {
            assert!(is_link(tree.read(path)), "{path}");
            assert!(is_link(tree.append(path)), "{path}");
            assert!(is_link(tree.own_file(path)), "{path}");
        }
        assert!(is_link(tree.create("link/new")));
        assert!(is_link(tree.create_folder(Path::new("link/new"))));
        assert!(is_link(tree.list("link")));
        assert!(is_link(tree.remove(Path::new("link/secret"))));
        assert!(is_link(tree.remove_folder(Path::new("link/secret"))));
        assert!(is_link(tree.rename(
            Path::new("deep/file"),
            (&tree, Path::new("link/file"))
        )));
        assert!(is_link(
            tree.rename(Path::new("link/secret"), (&tree, Path::new("secret")))
        ));
        assert!(is_link(tree.flush_folder(Path::new("link"))));
        assert!(tree.create("file").is_err());
        assert!(tree.create_folder(Path::new("inner")).is_err());
        let out = fs::read_dir(all.path().join("out")).unwrap();
        assert_eq!(out.count(), 1);
        let listed = ["deep/file", "file", "inner", "link"];
        assert_eq!(tree.files_below(&[]).unwrap(), listed);
        // A link goes, what it leads to stays.
        tree.remove(Path::new("file")).unwrap();
        assert_eq!(fs::read(all.path().join("out/secret")).unwrap(), b"secret");
    }

    #[test]
    fn no_path_leads_out() {
        let (all, tree) = folders();
        let absolute = all.path().join("out/secret");
        for path in [
            "../out/secret",
            "deep/../../out/secret",
            "..",
            "./deep/..",
            absolute.to_str().unwrap(),
        ] {
            assert!(tree.read(path).is_err(), "{path}");
            assert!(tree.create(path).is_err(), "{path}");
            assert!(tree.remove(Path::new(path)).is_err(), "{path}");
        }
        assert!(absolute.is_file());
    }

    #[test]
    fn name_by_name_is_the_same() {
        let (_all, tree) = folders();
        let walk = |path: &str, flags| walk(&tree.folder, Path::new(path), flags | EVER);
        assert!(walk("deep/file", OFlags::RDONLY).is_ok());
        assert!(walk(".", FOLDER).is_ok());
        assert!(walk("deep", FOLDER).is_ok());
        let none = walk("deep/none", OFlags::RDONLY);
        assert_eq!(none.unwrap_err(), Errno::NOENT);
        for (path, flags) in [
            ("link/secret", OFlags::RDONLY),
            ("inner/file", OFlags::RDONLY),
            ("file", OFlags::RDONLY),
            ("link", FOLDER),
        ] {
            assert_eq!(walk(path, flags).unwrap_err(), Errno::LOOP, "{path}");
        }
    }

    #[test]
    fn a_pipe_does_not_block_and_a_second_name_is_seen() {
        let (all, tree) = folders();
        let pipe = all.path().join("in/pipe");
        rustix::fs::mkfifoat(CWD, &pipe, FILE_MODE).unwrap();
        assert!(tree.read("pipe").is_err());
        assert!(tree.append("pipe").is_err());
        assert!(tree.own_file("pipe").is_err());
        assert!(tree.read("deep").is_err());
        fs::hard_link(all.path().join("out/secret"), all.path().join("in/hard")).unwrap();
        assert!(tree.own_file("hard").is_err());
        assert!(tree.own_file("deep/file").is_ok());
        assert_eq!(tree.look("hard").unwrap().links, 2);
    }
}
