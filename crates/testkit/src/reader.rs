//! A player's view of a job: playlists read over and over while they are being written, broken promises out.
//!
//! It follows `master.m3u8` and the media playlists through a whole job on its caller's thread. Whatever a playlist
//! names must be there, whole, and stay as it is; a playlist may only grow (RFC 8216 §6.2.1).

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::checker::{Finding, Rule};
use crate::clips::fingerprint;
use crate::hls;
use crate::mp4;

/// The pause between two looks. A reader of files has nothing to be woken by, and it is the reader that is played here.
const PAUSE: Duration = Duration::from_millis(5);

/// What was seen from the start to the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    /// How often it looked.
    pub looks: u64,
    /// How many different versions of media playlists it saw, all renditions together.
    pub versions: u64,
    /// How many files were named, playlists aside.
    pub files: usize,
    /// Whether playback could have begun before the end: some playlist had segments and no end mark.
    pub early: bool,
    /// Every broken promise, each once.
    pub findings: Vec<Finding>,
}

/// Watches a package until `stop` is set and then looks once more; blocks until then.
///
/// The folder need not exist yet. Set `stop` only after the job has ended, whatever its end was.
pub fn watch(out: &Path, stop: &AtomicBool) -> Watched {
    let mut reader = Reader::new(out);
    loop {
        // Asked before the look, so that the last look comes after the end.
        let last = stop.load(Ordering::Acquire);
        reader.look();
        if last {
            break;
        }
        thread::park_timeout(PAUSE);
    }
    reader.finish()
}

#[derive(Debug)]
struct Reader {
    root: PathBuf,
    looks: u64,
    versions: u64,
    early: bool,
    master: Option<Vec<String>>,
    playlists: BTreeMap<String, Known>,
    files: BTreeMap<String, Print>,
    findings: Vec<Finding>,
}

/// The last version of a media playlist.
#[derive(Debug)]
struct Known {
    text: String,
    media: hls::Media,
}

/// What a file was like when it was first named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Print {
    bytes: u64,
    hash: u64,
}

impl Reader {
    fn new(out: &Path) -> Self {
        Self {
            root: out.to_owned(),
            looks: 0,
            versions: 0,
            early: false,
            master: None,
            playlists: BTreeMap::new(),
            files: BTreeMap::new(),
            findings: Vec::new(),
        }
    }

    fn find(&mut self, rule: Rule, file: &str, message: impl Into<String>) {
        let finding = Finding {
            rule,
            file: file.to_owned(),
            message: message.into(),
        };
        if !self.findings.contains(&finding) {
            self.findings.push(finding);
        }
    }

    fn look(&mut self) {
        self.looks += 1;
        let Some(uris) = self.look_at_master() else {
            return;
        };
        for uri in uris {
            self.look_at_playlist(&uri);
        }
        self.look_at_sizes();
        self.look_at_documents();
    }

    /// Returns the media playlists that are named; `None` as long as there is no multivariant playlist.
    fn look_at_master(&mut self) -> Option<Vec<String>> {
        let file = "master.m3u8";
        let text = match fs::read_to_string(self.root.join(file)) {
            Ok(text) => text,
            Err(error) => {
                if self.master.is_some() || error.kind() != ErrorKind::NotFound {
                    self.find(
                        Rule::Files,
                        file,
                        format!("it cannot be read any more: {error}"),
                    );
                }
                return None;
            }
        };
        let master = match hls::master(&text) {
            Ok(master) => master,
            Err(error) => {
                self.find(Rule::Playlist, file, format!("it is half-written: {error}"));
                return None;
            }
        };
        let variants = master.variants.iter().map(|variant| variant.uri.clone());
        let media = master
            .media
            .iter()
            .filter_map(|media| media.get("URI").map(str::to_owned));
        let frames = master.frames.iter();
        let frames = frames.filter_map(|frames| frames.get("URI").map(str::to_owned));
        let uris: Vec<_> = variants.chain(media).chain(frames).collect();
        if let Some(before) = self.master.replace(uris.clone())
            && before != uris
        {
            self.find(
                Rule::Playlist,
                file,
                format!("it names other playlists than before: {uris:?}, {before:?}"),
            );
        }
        Some(uris)
    }

    fn look_at_playlist(&mut self, uri: &str) {
        let text = match fs::read_to_string(self.root.join(uri)) {
            Ok(text) => text,
            Err(error) => {
                return self.find(
                    Rule::Files,
                    uri,
                    format!("it is named, and cannot be read: {error}"),
                );
            }
        };
        let before = self.playlists.remove(uri);
        if let Some(before) = before.as_ref().filter(|before| before.text == text) {
            let media = before.media.clone();
            self.playlists.insert(uri.to_owned(), Known { text, media });
            return;
        }
        self.versions += 1;
        let media = match hls::media(&text) {
            Ok(media) => media,
            Err(error) => {
                self.playlists
                    .extend(before.map(|before| (uri.to_owned(), before)));
                return self.find(Rule::Playlist, uri, format!("it is half-written: {error}"));
            }
        };
        if let Some(before) = &before {
            self.compare(uri, &before.media, &media);
        }
        self.early |= !media.ended && !media.entries.is_empty();
        let folder = uri.rsplit_once('/').map_or("", |(folder, _)| folder);
        let names = media
            .map
            .iter()
            .chain(media.entries.iter().map(|entry| &entry.uri));
        let names: Vec<_> = names.map(|name| format!("{folder}/{name}")).collect();
        for name in names {
            self.remember(name.trim_start_matches('/'), uri);
        }
        self.playlists.insert(uri.to_owned(), Known { text, media });
    }

    /// A later version of a playlist of type EVENT starts with the earlier one.
    fn compare(&mut self, uri: &str, before: &hls::Media, now: &hls::Media) {
        if !now.entries.starts_with(&before.entries) {
            self.find(Rule::Playlist, uri, "it lost or changed an entry");
        }
        if before.ended {
            self.find(Rule::Playlist, uri, "it changed after its end mark");
        }
        let head = |media: &hls::Media| {
            (
                media.version,
                media.target,
                media.kind.clone(),
                media.map.clone(),
                media.first,
            )
        };
        if head(before) != head(now) {
            self.find(
                Rule::Playlist,
                uri,
                "its head changed: version, target duration, type, map or first number",
            );
        }
    }

    /// Reads a file that is named for the first time.
    fn remember(&mut self, name: &str, by: &str) {
        if self.files.contains_key(name) {
            return;
        }
        match fs::read(self.root.join(name)) {
            Ok(bytes) => {
                if let Err(error) = mp4::tree(&bytes) {
                    self.find(
                        Rule::Files,
                        name,
                        format!("{by} names it, and it is not whole: {error}"),
                    );
                }
                let print = Print {
                    bytes: bytes.len() as u64,
                    hash: fingerprint(&bytes),
                };
                self.files.insert(name.to_owned(), print);
            }
            Err(error) => self.find(
                Rule::Files,
                name,
                format!("{by} names it, and it cannot be read: {error}"),
            ),
        }
    }

    /// A cheap look at every named file: it is still there, and as large as it was.
    fn look_at_sizes(&mut self) {
        let now = |name: &str| fs::metadata(self.root.join(name)).map(|data| data.len());
        let changed = self
            .files
            .iter()
            .filter_map(|(name, print)| match now(name) {
                Ok(bytes) if bytes == print.bytes => None,
                Ok(bytes) => Some((
                    name.clone(),
                    format!("it had {} bytes, and now has {bytes}", print.bytes),
                )),
                Err(error) => Some((name.clone(), format!("it is gone: {error}"))),
            });
        for (name, message) in changed.collect::<Vec<_>>() {
            self.find(Rule::Files, &name, message);
        }
    }

    /// Manifest and report are whole whenever they are there.
    fn look_at_documents(&mut self) {
        if let Ok(text) = fs::read_to_string(self.root.join("manifest.mpd"))
            && let Err(error) = dash_mpd_core::parse(&text)
        {
            self.find(
                Rule::Manifest,
                "manifest.mpd",
                format!("it is half-written: {error}"),
            );
        }
        if let Ok(bytes) = fs::read(self.root.join("report.json"))
            && let Err(error) = serde_json::from_slice::<serde_json::Value>(&bytes)
        {
            self.find(
                Rule::Files,
                "report.json",
                format!("it is half-written: {error}"),
            );
        }
    }

    /// Compares every byte of every named file with what it was.
    fn finish(mut self) -> Watched {
        let now = |name: &str| fs::read(self.root.join(name)).map(|bytes| fingerprint(&bytes));
        let changed = self
            .files
            .iter()
            .filter(|(name, print)| now(name).ok() != Some(print.hash));
        for name in changed.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            self.find(Rule::Files, &name, "its bytes changed after it was named");
        }
        Watched {
            looks: self.looks,
            versions: self.versions,
            files: self.files.len(),
            early: self.early,
            findings: self.findings,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOX: &[u8] = b"\0\0\0\x08free";

    /// A package in a folder of its own, made by hand.
    struct Package {
        folder: tempfile::TempDir,
        reader: Reader,
    }

    impl Package {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let reader = Reader::new(folder.path());
            let package = Self { folder, reader };
            package.put("v/init.mp4", BOX);
            package.put("v/seg-0.m4s", BOX);
            package.playlist("#EXTINF:4,\nseg-0.m4s\n");
            package.put(
                "master.m3u8",
                b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nv/p.m3u8\n",
            );
            package
        }

        fn put(&self, name: &str, bytes: &[u8]) {
            let path = self.folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }

        fn playlist(&self, entries: &str) {
            let head = "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-MAP:URI=\"init.mp4\"\n";
            self.put("v/p.m3u8", format!("{head}{entries}").as_bytes());
        }

        fn messages(mut self) -> Vec<String> {
            self.reader.look();
            let watched = self.reader.finish();
            watched.findings.iter().map(ToString::to_string).collect()
        }
    }

    #[track_caller]
    fn complains(package: Package, about: &str) {
        let messages = package.messages();
        assert!(
            messages.iter().any(|message| message.contains(about)),
            "{messages:?}"
        );
    }

    #[test]
    fn a_playlist_may_grow() {
        let mut package = Package::new();
        package.reader.look();
        package.put("v/seg-1.m4s", BOX);
        package.playlist("#EXTINF:4,\nseg-0.m4s\n#EXTINF:4,\nseg-1.m4s\n#EXT-X-ENDLIST\n");
        assert_eq!(package.messages(), Vec::<String>::new());
    }

    #[test]
    fn a_playlist_may_not_lose_an_entry() {
        let mut package = Package::new();
        package.reader.look();
        package.playlist("");
        complains(package, "lost or changed an entry");
    }

    #[test]
    fn an_entry_may_not_change_its_duration() {
        let mut package = Package::new();
        package.reader.look();
        package.playlist("#EXTINF:3.9,\nseg-0.m4s\n");
        complains(package, "lost or changed an entry");
    }

    #[test]
    fn the_target_duration_may_not_change() {
        let mut package = Package::new();
        package.reader.look();
        package.put("v/p.m3u8", b"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXT-X-MAP:URI=\"init.mp4\"\n#EXTINF:4,\nseg-0.m4s\n");
        complains(package, "its head changed");
    }

    #[test]
    fn nothing_comes_after_the_end() {
        let mut package = Package::new();
        package.playlist("#EXTINF:4,\nseg-0.m4s\n#EXT-X-ENDLIST\n");
        package.reader.look();
        package.playlist("#EXTINF:4,\nseg-0.m4s\n");
        complains(package, "after its end mark");
    }

    #[test]
    fn a_named_file_must_be_there_and_whole() {
        let package = Package::new();
        package.playlist("#EXTINF:4,\nseg-0.m4s\n#EXTINF:4,\nseg-1.m4s\n");
        complains(
            package,
            "v/seg-1.m4s: v/p.m3u8 names it, and it cannot be read",
        );
        let package = Package::new();
        package.put("v/seg-0.m4s", &BOX[..6]);
        complains(package, "it is not whole");
    }

    #[test]
    fn a_named_file_may_not_change() {
        let mut package = Package::new();
        package.reader.look();
        package.put("v/seg-0.m4s", b"\0\0\0\x08skip");
        complains(package, "its bytes changed");
        let mut package = Package::new();
        package.reader.look();
        package.put("v/seg-0.m4s", &[BOX, BOX].concat());
        complains(package, "it had 8 bytes, and now has 16");
    }

    #[test]
    fn half_a_document_is_noticed() {
        let package = Package::new();
        package.playlist("#EXTINF:4,\nseg-0.m4s\n#EXTI");
        complains(package, "half-written");
        let package = Package::new();
        package.put(
            "manifest.mpd",
            b"<?xml version=\"1.0\"?><MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\"><Per",
        );
        complains(package, "half-written");
    }

    #[test]
    fn watching_ends_after_a_last_look() {
        let package = Package::new();
        let stop = AtomicBool::new(false);
        let watched = thread::scope(|scope| {
            let watching = scope.spawn(|| watch(package.folder.path(), &stop));
            stop.store(true, Ordering::Release);
            watching.join().unwrap()
        });
        assert_eq!(
            (watched.files, watched.early, watched.findings),
            (2, true, Vec::new())
        );
    }
}
