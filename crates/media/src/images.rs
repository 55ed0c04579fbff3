//! Numbered images as one source: a pattern or a folder in, files in their order out. FFmpeg opens none of them by name.

use std::cmp::Ordering;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::iter::Peekable;
use std::path::{Path, PathBuf};
use std::str::Chars;
use std::sync::Arc;

use crate::source::{Identity, Reading};
use crate::time::TimeBase;

/// The kinds of image by the end of their names, each with all that is usual for it.
const KINDS: [&[&str]; 7] = [
    &["png"],
    &["jpg", "jpeg"],
    &["webp"],
    &["bmp"],
    &["tif", "tiff"],
    &["dpx"],
    &["exr"],
];

/// Images that are shown one after the other, each as long as the others.
#[derive(Clone, Debug)]
pub struct Images {
    typed: PathBuf,
    files: Vec<PathBuf>,
    picture: TimeBase,
    missing: Option<Missing>,
}

/// Numbers that a pattern skips.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    /// How many.
    pub count: u64,
    /// The first of them.
    pub first: u64,
}

/// Why there are no images.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImagesError {
    /// The folder cannot be read.
    #[error("the folder {} cannot be read", folder.display())]
    Folder {
        /// Which.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is neither a folder nor a pattern.
    #[error("{} is neither a folder nor a name with %d or %05d in it", .0.display())]
    Pattern(PathBuf),
    /// No file fits.
    #[error("there is no image of the kinds that are read in {}", .0.display())]
    None(PathBuf),
    /// Images of unlike kinds lie together.
    #[error("there are images of several kinds, such as {} and {}", one.display(), other.display())]
    Mixed {
        /// One file.
        one: PathBuf,
        /// One of another kind.
        other: PathBuf,
    },
}

impl Images {
    /// Lists the images: those of a folder in the order of their names, where numbers in names count as numbers, or those that fit a name with `%d`
    /// or `%05d` in its last part, in the order of these numbers. Each is shown for `picture`. Blocks on the folder.
    pub fn find(typed: &Path, picture: TimeBase) -> Result<Self, ImagesError> {
        let (files, missing) = if typed.is_dir() {
            (of_folder(typed)?, None)
        } else {
            of_pattern(typed)?
        };
        let Some(first) = files.first() else {
            return Err(ImagesError::None(typed.to_owned()));
        };
        let kind = kind_of(first);
        if let Some(other) = files.iter().find(|file| kind_of(file) != kind) {
            return Err(ImagesError::Mixed {
                one: first.clone(),
                other: other.clone(),
            });
        }
        Ok(Self {
            typed: typed.to_owned(),
            files,
            picture,
            missing,
        })
    }

    /// The folder or pattern.
    #[must_use]
    pub fn typed(&self) -> &Path {
        &self.typed
    }

    /// The files in their order.
    #[must_use]
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.files.len()
    }

    /// Numbers that are missing between the first and the last. They are passed over.
    #[must_use]
    pub fn missing(&self) -> Option<Missing> {
        self.missing
    }

    /// How long each is shown.
    #[must_use]
    pub fn picture(&self) -> TimeBase {
        self.picture
    }

    pub(crate) fn file(&self, place: usize) -> Option<&Path> {
        self.files.get(place).map(PathBuf::as_path)
    }

    /// The bytes of an image, of which there may be no more than `limit`.
    pub(crate) fn bytes(&self, place: usize, limit: u64) -> io::Result<Option<Vec<u8>>> {
        let Some(path) = self.file(place) else {
            return Ok(None);
        };
        let read = || {
            let file = File::open(path)?;
            let mut bytes = Vec::new();
            file.take(limit + 1).read_to_end(&mut bytes)?;
            if bytes.len() as u64 > limit {
                return Err(io::Error::new(
                    io::ErrorKind::FileTooLarge,
                    "it is too large",
                ));
            }
            Ok(bytes)
        };
        let named =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        read().map(Some).map_err(named)
    }

    /// The length of them all, and the last change to any.
    pub(crate) fn identity(&self) -> io::Result<Identity> {
        let mut identity = Identity {
            len: Some(0),
            modified: None,
            inode: None,
        };
        for file in &self.files {
            let metadata = fs::metadata(file)?;
            identity.len = identity.len.map(|len| len + metadata.len());
            identity.modified = identity.modified.max(metadata.modified().ok());
        }
        Ok(identity)
    }

    /// All of them one after the other, as bytes.
    pub(crate) fn all(self: &Arc<Self>) -> io::Result<Box<dyn Reading>> {
        let mut ends = Vec::with_capacity(self.files.len());
        let mut end = 0;
        for file in &self.files {
            end += fs::metadata(file)?.len();
            ends.push(end);
        }
        Ok(Box::new(All {
            images: Arc::clone(self),
            ends,
            place: 0,
            open: None,
        }))
    }
}

/// Which of the kinds a file's name says.
fn kind_of(file: &Path) -> Option<usize> {
    let end = file.extension()?.to_str()?.to_lowercase();
    KINDS.iter().position(|kind| kind.contains(&end.as_str()))
}

/// The names in a folder that are not hidden, with what they stand for.
fn names(folder: &Path) -> Result<Vec<(String, PathBuf)>, ImagesError> {
    let failed = |source| ImagesError::Folder {
        folder: folder.to_owned(),
        source,
    };
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if let Some(name) = name.filter(|name| !name.starts_with('.')) {
            names.push((name.to_owned(), path));
        }
    }
    Ok(names)
}

fn of_folder(folder: &Path) -> Result<Vec<PathBuf>, ImagesError> {
    let mut found = names(folder)?;
    found.retain(|(_, path)| kind_of(path).is_some() && path.is_file());
    found.sort_by(|(one, _), (other, _)| natural(one, other));
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// Compares names so that `2` comes before `10`.
fn natural(one: &str, other: &str) -> Ordering {
    let (mut left, mut right) = (one.chars().peekable(), other.chars().peekable());
    loop {
        let digit =
            |chars: &mut Peekable<Chars<'_>>| chars.peek().is_some_and(char::is_ascii_digit);
        let order = if digit(&mut left) && digit(&mut right) {
            let (left, right) = (number(&mut left), number(&mut right));
            // Without leading zeros the longer one is greater.
            left.len().cmp(&right.len()).then(left.cmp(&right))
        } else {
            match (left.next(), right.next()) {
                // Names that count the same differ in their zeros.
                (None, None) => return one.cmp(other),
                (left, right) => left.cmp(&right),
            }
        };
        if order.is_ne() {
            return order;
        }
    }
}

/// Takes the digits that stand next, without leading zeros.
fn number(chars: &mut Peekable<Chars<'_>>) -> String {
    let mut digits = String::new();
    while let Some(digit) = chars.next_if(char::is_ascii_digit) {
        if digit != '0' || !digits.is_empty() {
            digits.push(digit);
        }
    }
    digits
}

/// A name with a number in it.
#[derive(Debug, PartialEq, Eq)]
struct Pattern<'a> {
    before: &'a str,
    after: &'a str,
    /// Digits that a number has at least, with zeros before it.
    width: usize,
}

impl<'a> Pattern<'a> {
    fn parse(name: &'a str) -> Option<Self> {
        let (before, rest) = name.split_once('%')?;
        let (width, after) = rest.split_once('d')?;
        let width = match width.strip_prefix('0') {
            Some(width) => width
                .parse()
                .ok()
                .filter(|width| (1..=18).contains(width))?,
            None if width.is_empty() => 1,
            None => return None,
        };
        (!after.contains('%')).then_some(Self {
            before,
            after,
            width,
        })
    }

    /// The number of a name that fits.
    fn number(&self, name: &str) -> Option<u64> {
        let digits = name.strip_prefix(self.before)?.strip_suffix(self.after)?;
        let plain = digits.bytes().all(|digit| digit.is_ascii_digit());
        // As printf writes it: zeros stand only where there would be too few digits.
        let fits =
            digits.len() == self.width || digits.len() > self.width && !digits.starts_with('0');
        if !plain || !fits {
            return None;
        }
        digits.parse().ok()
    }
}

fn of_pattern(typed: &Path) -> Result<(Vec<PathBuf>, Option<Missing>), ImagesError> {
    let bad = || ImagesError::Pattern(typed.to_owned());
    let name = typed.file_name().and_then(|name| name.to_str());
    let pattern = name.and_then(Pattern::parse).ok_or_else(bad)?;
    let folder = typed.parent().filter(|folder| *folder != Path::new(""));
    let mut found = Vec::new();
    for (name, path) in names(folder.unwrap_or(Path::new(".")))? {
        let number = pattern.number(&name);
        if let Some(number) = number.filter(|_| kind_of(&path).is_some() && path.is_file()) {
            found.push((number, path));
        }
    }
    found.sort();
    let mut missing: Option<Missing> = None;
    for pair in found.windows(2) {
        let (before, after) = (pair[0].0, pair[1].0);
        let count = after - before - 1;
        if count > 0 {
            let first = before + 1;
            let known = missing.get_or_insert(Missing { count: 0, first });
            known.count += count;
        }
    }
    Ok((found.into_iter().map(|(_, path)| path).collect(), missing))
}

/// All images one after the other.
struct All {
    images: Arc<Images>,
    /// Where each ends.
    ends: Vec<u64>,
    place: u64,
    /// The image that was read last.
    open: Option<(usize, File)>,
}

impl Read for All {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let number = self.ends.partition_point(|end| *end <= self.place);
        let Some(path) = self.images.file(number) else {
            return Ok(0);
        };
        let held = self.open.take().filter(|(held, _)| *held == number);
        let mut file = match held {
            Some((_, file)) => file,
            None => File::open(path)?,
        };
        let start = number.checked_sub(1).map_or(0, |before| self.ends[before]);
        file.seek(SeekFrom::Start(self.place - start))?;
        let left = self.ends[number] - self.place;
        let wanted = buffer
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        let count = file.read(&mut buffer[..wanted])?;
        self.place += count as u64;
        self.open = Some((number, file));
        Ok(count)
    }
}

impl Seek for All {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let end = self.ends.last().copied().unwrap_or(0);
        let place = match to {
            SeekFrom::Start(place) => Some(place),
            SeekFrom::Current(by) => self.place.checked_add_signed(by),
            SeekFrom::End(by) => end.checked_add_signed(by),
        };
        self.place = place.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.place)
    }
}

impl Reading for All {
    fn length(&self) -> Option<u64> {
        self.ends.last().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            fs::write(folder.path().join(name), name).unwrap();
        }
        folder
    }

    fn find(folder: &Path, typed: &str) -> Result<Images, ImagesError> {
        Images::find(&folder.join(typed), TimeBase::new(1, 25).unwrap())
    }

    fn listed(images: &Images) -> Vec<&str> {
        let name = |path: &PathBuf| path.file_name().unwrap().to_str().map(String::from);
        let names: Vec<_> = images.files.iter().filter_map(name).collect();
        names.into_iter().map(|name| &*name.leak()).collect()
    }

    #[test]
    fn a_pattern_finds_numbers_in_their_order_and_what_is_missing() {
        let names = [
            "a-0008.png",
            "a-0009.png",
            "a-0012.png",
            "a-10000.png",
            "a-013.png",
            "b-0001.png",
            "a-0010.txt",
        ];
        let folder = folder(&names);
        let images = find(folder.path(), "a-%04d.png").unwrap();
        assert_eq!(
            listed(&images),
            ["a-0008.png", "a-0009.png", "a-0012.png", "a-10000.png"]
        );
        let missing = images.missing().unwrap();
        assert_eq!((missing.first, missing.count), (10, 2 + 9987));
        assert!(matches!(
            find(folder.path(), "c-%d.png"),
            Err(ImagesError::None(_))
        ));
        for bad in [
            "a.png",
            "a%s.png",
            "a%5d.png",
            "%d-%d.png",
            "%0d.png",
            "%099d.png",
        ] {
            assert!(
                matches!(find(folder.path(), bad), Err(ImagesError::Pattern(_))),
                "{bad}"
            );
        }
        let plain = Pattern::parse("x%d.png").unwrap();
        assert_eq!(plain.number("x10.png"), Some(10));
        assert_eq!(plain.number("x010.png"), None);
        assert_eq!(plain.number("x+1.png"), None);
    }

    #[test]
    fn a_folder_is_read_in_natural_order() {
        let made = folder(&[
            "p10.jpg",
            "p9.JPEG",
            "p2.jpg",
            ".p1.jpg",
            "notes.txt",
            "p02.jpg",
        ]);
        let images = find(made.path(), "").unwrap();
        assert_eq!(listed(&images), ["p02.jpg", "p2.jpg", "p9.JPEG", "p10.jpg"]);
        assert_eq!(images.missing(), None);
        let mixed = folder(&["a.png", "b.jpg"]);
        assert!(matches!(
            find(mixed.path(), ""),
            Err(ImagesError::Mixed { .. })
        ));
        assert!(matches!(
            find(folder(&[]).path(), ""),
            Err(ImagesError::None(_))
        ));
    }

    #[test]
    fn all_bytes_stand_one_after_the_other() {
        let folder = folder(&["1.png", "22.png", "333.png"]);
        let images = Arc::new(find(folder.path(), "%d.png").unwrap());
        let mut all = images.all().unwrap();
        assert_eq!(all.length(), Some(18));
        let mut text = String::new();
        all.read_to_string(&mut text).unwrap();
        assert_eq!(text, "1.png22.png333.png");
        all.seek(SeekFrom::Start(4)).unwrap();
        let mut three = [0; 3];
        all.read_exact(&mut three).unwrap();
        assert_eq!(&three, b"g22");
        assert_eq!(images.identity().unwrap().len, Some(18));
        assert!(images.bytes(2, 3).is_err());
        assert_eq!(images.bytes(3, 9).unwrap(), None);
    }
}
