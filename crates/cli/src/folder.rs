//! The output folder: is it one, may it be written, is it empty; and how a package that is there makes room.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use rungs_engine::journal::{Belongings, JobFolder, PRIVATE};
use rustix::fs::{Access, access, statvfs};

use crate::failure::Problem;

/// Refuses an output path that cannot work, before anything is read or written. A folder may hold the job of an earlier run, and
/// one that holds nothing but the traces of a run that had not begun is as good as empty.
pub(crate) fn check(out: &Path, force: bool) -> Result<(), Problem> {
    let name = out.display();
    match fs::metadata(out) {
        Ok(found) if !found.is_dir() => Err(Problem::refused(
            format!("the output {name} is a file"),
            "give a folder with -o; it is made if it does not exist",
        )),
        Ok(_) => {
            let mut entries = fs::read_dir(out)
                .map_err(|error| cannot(out, &error))?
                .flatten()
                .filter(|entry| entry.file_name() != PRIVATE);
            if entries.next().is_some() && !force && !JobFolder::is_one(out) {
                return Err(Problem::refused(
                    format!("the output folder {name} is not empty"),
                    "give another folder, or --force to write into this one: files that are no package of rungs stay",
                ));
            }
            writable(out)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => writable(existing_parent(out)),
        Err(error) => Err(cannot(out, &error)),
    }
}

pub(crate) fn writable(folder: &Path) -> Result<(), Problem> {
    access(folder, Access::WRITE_OK | Access::EXEC_OK)
        .map_err(|error| cannot(folder, &error.into()))
}

pub(crate) fn cannot(folder: &Path, error: &io::Error) -> Problem {
    Problem::refused(
        format!("the output folder cannot be written: {}", folder.display()),
        "give a folder that you may write to with -o",
    )
    .because(error.to_string())
}

/// Bytes that are free for this user where a path is, or will be; `None` where that cannot be told.
pub(crate) fn free(path: &Path) -> Option<u64> {
    let there = if path.exists() {
        path
    } else {
        existing_parent(path)
    };
    let found = statvfs(there).ok()?;
    found.f_bavail.checked_mul(found.f_frsize)
}

/// Bytes of the package that an earlier run left in the folder.
pub(crate) fn package_bytes(out: &Path) -> u64 {
    Belongings::of(out).map_or(0, |own| own.bytes())
}

/// Bytes of a file, or of all files below a folder. What cannot be looked at counts for nothing.
pub(crate) fn bytes(path: &Path) -> u64 {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => {
            let entries = fs::read_dir(path).into_iter().flatten().flatten();
            entries.map(|entry| bytes(&entry.path())).sum()
        }
        Ok(found) => found.len(),
        Err(_) => 0,
    }
}

/// The folder itself, or what is there of its parents.
pub(crate) fn existing(path: &Path) -> &Path {
    if path.is_dir() {
        path
    } else {
        existing_parent(path)
    }
}

fn existing_parent(path: &Path) -> &Path {
    let mut ancestors = path
        .ancestors()
        .skip(1)
        .filter(|parent| !parent.as_os_str().is_empty());
    ancestors
        .find(|parent| parent.exists())
        .unwrap_or(Path::new("."))
}

/// The folder that a file lies in.
pub(crate) fn of(file: &Path) -> &Path {
    let parent = file.parent();
    let named = parent.filter(|parent| !parent.as_os_str().is_empty());
    named.unwrap_or(Path::new("."))
}

/// Makes the names in a folder durable.
pub(crate) fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Writes a file that is whole or as it was before, and durable. What is no file, such as a pipe, is written to, and so is a file that cannot be
/// replaced, as in a folder that may not be written to.
pub(crate) fn replace(file: &Path, bytes: &[u8]) -> io::Result<()> {
    // Names of what is open, such as `/dev/stdout`, lead to files that others still write to.
    let is_open = ["/dev", "/proc"]
        .iter()
        .any(|folder| file.starts_with(folder));
    if is_open || fs::metadata(file).is_ok_and(|found| !found.is_file()) {
        return fs::write(file, bytes);
    }
    // A link stays one.
    let file = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    let name = file.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let aside = of(&file).join(format!(".{}.rungs-part", name.to_string_lossy()));
    let written = File::create(&aside).and_then(|mut part| {
        part.write_all(bytes)?;
        part.sync_all()?;
        fs::rename(&aside, &file)
    });
    if let Err(error) = written {
        fs::remove_file(&aside).ok();
        // Only where no file can be put in its place: one that the disk has no room for would be lost.
        let fixed = matches!(
            error.kind(),
            io::ErrorKind::PermissionDenied
                | io::ErrorKind::ReadOnlyFilesystem
                | io::ErrorKind::ResourceBusy
        );
        return if fixed && file.exists() {
            fs::write(&file, bytes)
        } else {
            Err(error)
        };
    }
    sync(of(&file))
}

/// Removes the job that an earlier run left in the folder, and nothing else: neither files that it has not written, nor the lock.
pub(crate) fn make_room(out: &Path) -> Result<(), Problem> {
    Ok(Belongings::of(out)?.remove()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_a_link_stays_one() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (
            folder.path().join("report.json"),
            folder.path().join("link"),
        );
        replace(&file, b"one").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        replace(&link, b"two").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"two");
        assert!(link.is_symlink());
        assert_eq!(bytes(folder.path()), 3 + bytes(&link));
        // What cannot be put into place leaves nothing.
        let taken = folder.path().join("none/report.json");
        assert!(replace(&taken, b"three").is_err());
        replace(Path::new("/dev/null"), b"four").unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
