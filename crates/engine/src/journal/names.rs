//! A plan in, the names of all files that its job can write out, relative to the output folder.

use std::collections::BTreeSet;

use rungs_package::{is_still, parse_segment_path, single_name, track_files, whole_text_name};

use super::folder::{REPORT, STORYBOARD, TOP, tracks};
use super::shelf::PARTS;
use crate::done::text_track_name;
use crate::plan::Plan;

/// The names that the job of a plan can give to files of its package. Its private files are not among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// Names that follow from the plan alone.
    fixed: BTreeSet<String>,
    /// The tracks whose segments are files of their own.
    tracks: BTreeSet<String>,
    /// The tracks whose segments are put into one file in the end.
    joined: BTreeSet<String>,
}

impl Names {
    /// The names of a plan's job.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        let text = plan.text.iter().map(|text| text_track_name(&text.name));
        let whole = text.map(|track| whole_text_name(&track));
        let board = plan.stills.storyboard.map(|_| "storyboard".to_owned());
        let poster = plan.stills.poster.map(|_| "poster".to_owned());
        let all = tracks(plan).into_iter().chain(whole);
        Self::of_tracks(all.chain(board).chain(poster), plan.single_file)
    }

    /// The names of a job with these tracks.
    pub(super) fn of_tracks(all: impl Iterator<Item = String>, single_file: bool) -> Self {
        let is_joined =
            |track: &String| single_file && !is_still(track) && !track.starts_with("text/");
        let (joined, tracks): (BTreeSet<_>, BTreeSet<_>) = all.partition(is_joined);
        let has_board = tracks.contains("storyboard");
        let lists = TOP.iter().map(|name| (*name).to_owned());
        let lists = lists.filter(|name| has_board || !name.starts_with(STORYBOARD));
        let mut fixed: BTreeSet<String> = lists.collect();
        fixed.insert(REPORT.to_owned());
        let own = tracks.iter().chain(&joined);
        let own = own.filter(|track| !is_still(track) && !track.ends_with("/all"));
        fixed.extend(own.flat_map(|track| track_files(track)));
        fixed.extend(joined.iter().map(|track| single_name(track)));
        Self {
            fixed,
            tracks,
            joined,
        }
    }

    /// Tells whether the job can give a file this name.
    #[must_use]
    pub fn contain(&self, path: &str) -> bool {
        let part = path
            .strip_prefix(PARTS)
            .and_then(|path| path.strip_prefix('/'));
        self.fixed.contains(path)
            || self.has_segment(path, false)
            || part.is_some_and(|path| self.fixed.contains(path) || self.has_segment(path, true))
    }

    /// Tells whether the job has a track of this name.
    #[must_use]
    pub fn have_track(&self, track: &str) -> bool {
        self.tracks.contains(track) || self.joined.contains(track)
    }

    fn has_segment(&self, path: &str, is_part: bool) -> bool {
        parse_segment_path(path).is_some_and(|(track, _)| {
            self.tracks.contains(&track) || is_part && self.joined.contains(&track)
        })
    }

    /// The names that do not depend on the number of segments.
    pub fn fixed(&self) -> impl Iterator<Item = &str> {
        self.fixed.iter().map(String::as_str)
    }

    /// The folders that files lie in, and those above them.
    pub(super) fn above(&self) -> BTreeSet<&str> {
        let tracks = self.folders().filter(|track| *track != "poster");
        let own = tracks.flat_map(|track| [track.split('/').next().unwrap_or(track), track]);
        own.filter(|folder| !folder.ends_with("/all"))
            .chain([".rungs", ".rungs/tmp", PARTS])
            .collect()
    }

    /// The folders that segments lie in.
    pub fn folders(&self) -> impl Iterator<Item = &str> {
        let tracks = self.tracks.iter().chain(&self.joined);
        tracks.map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(single_file: bool) -> Names {
        let tracks = ["video/av1-90p", "audio/opus", "text/eng", "text/eng/all"];
        let tracks = tracks.into_iter().chain(["storyboard", "poster"]);
        Names::of_tracks(tracks.map(str::to_owned), single_file)
    }

    #[test]
    fn exactly_what_a_job_can_write_is_its_own() {
        let own = [
            "master.m3u8",
            "manifest.mpd",
            "report.json",
            "poster.jpg",
            "storyboard/images.m3u8",
            "storyboard/thumbnails.vtt",
            "storyboard/tile-00007.jpg",
            "video/av1-90p/init.mp4",
            "video/av1-90p/iframes.m3u8",
            "video/av1-90p/seg-00000.m4s",
            "audio/opus/seg-123456.m4s",
            "text/eng/seg-00003.vtt",
            "text/eng/all.vtt",
            "text/eng/playlist.m3u8",
        ];
        let others = [
            "",
            "video",
            "video/film.mp4",
            "video/av1-90p",
            "video/av1-90p.mp4",
            "video/av1-90p/seg-1.m4s",
            "video/av1-90p/seg-000001.m4s",
            "video/av1-90p/seg-+0001.m4s",
            "video/av1-90p/seg-99999999999.m4s",
            "video/av1-90p/seg-00001.vtt",
            "video/av1-90p/seg-mine.m4s",
            "video/av1-90p/all.vtt",
            "video/av1-180p/seg-00001.m4s",
            "video/av1-90p/../av1-90p/seg-00001.m4s",
            "/video/av1-90p/seg-00001.m4s",
            "poster.png",
            "poster/seg-00000.m4s",
            "text/eng.vtt",
            ".rungs/plan.json",
        ];
        for name in own {
            assert!(names(false).contain(name), "{name}");
        }
        for name in others {
            assert!(!names(false).contain(name), "{name}");
        }
    }

    #[test]
    fn parts_of_single_files_are_private() {
        let names = names(true);
        for name in [
            "video/av1-90p.mp4",
            ".rungs/parts/video/av1-90p/seg-00000.m4s",
            ".rungs/parts/text/eng/seg-00000.vtt",
            "text/eng/seg-00000.vtt",
        ] {
            assert!(names.contain(name), "{name}");
        }
        assert!(!names.contain("video/av1-90p/seg-00000.m4s"));
    }
}
