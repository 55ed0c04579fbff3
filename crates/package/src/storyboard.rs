//! How long a presentation is in, where its thumbnails lie out, and what `WebVTT` and HLS say of them: pure functions.
//!
//! A **tile** is one image file with many thumbnails, row by row. All tiles have one shape; what is left over in the last is black.

use std::fmt::Write as _;
use std::ops::Range;
use std::time::Duration;

use crate::hls::{Attributes, microseconds};

/// The longer side of a thumbnail, in pixels.
const SIDE: u32 = 160;
/// The most thumbnails in a row of a tile, and the most rows.
const ACROSS: u32 = 5;
/// Where nothing is said of the interval: no more thumbnails than these.
const USUAL: u128 = 720;

/// The thumbnails of a presentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Board {
    /// Width and height of a thumbnail in pixels, both even.
    pub thumbnail: (u32, u32),
    /// How many stand in a row of a tile.
    pub columns: u32,
    /// How many rows a tile has.
    pub rows: u32,
    /// How many thumbnails there are, at least one.
    pub count: u32,
    /// From one to the next.
    pub interval: Duration,
    /// How long the presentation is.
    pub end: Duration,
}

impl Board {
    /// Lays out the thumbnails of a presentation: one for each stretch of `every`, by default of as few whole segments as give no more than 720.
    /// Pictures of `size` are fitted into a square of 160.
    #[must_use]
    pub fn new(
        (end, segment): (Duration, Duration),
        size: (u32, u32),
        every: Option<Duration>,
    ) -> Self {
        let end = end.max(Duration::from_millis(1));
        let segment = segment.max(Duration::from_millis(1));
        let segments = end.as_nanos().div_ceil(segment.as_nanos()).div_ceil(USUAL);
        let usual = segment * u32::try_from(segments).unwrap_or(u32::MAX);
        let interval = every.unwrap_or(usual).max(Duration::from_millis(1));
        let count = end.as_nanos().div_ceil(interval.as_nanos());
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let columns = count.min(ACROSS);
        Self {
            thumbnail: fitted(size),
            columns,
            rows: count.div_ceil(columns).min(ACROSS),
            count,
            interval,
            end,
        }
    }

    /// Returns how many tiles there are.
    #[must_use]
    pub fn tiles(&self) -> u32 {
        self.count.div_ceil(self.columns * self.rows)
    }

    /// Returns the thumbnails on a tile.
    #[must_use]
    pub fn on(&self, tile: u32) -> Range<u32> {
        let each = self.columns * self.rows;
        let first = tile.saturating_mul(each).min(self.count);
        first..first.saturating_add(each).min(self.count)
    }

    /// Returns when the stretch begins that a thumbnail stands for; the number of all thumbnails stands for the end.
    #[must_use]
    pub fn time(&self, thumbnail: u32) -> Duration {
        self.interval.saturating_mul(thumbnail).min(self.end)
    }

    /// Returns the upper left corner of a thumbnail on its tile, in pixels.
    #[must_use]
    pub fn corner(&self, thumbnail: u32) -> (u32, u32) {
        let place = thumbnail % (self.columns * self.rows);
        let (width, height) = self.thumbnail;
        (place % self.columns * width, place / self.columns * height)
    }

    /// Returns width and height of a tile in pixels.
    #[must_use]
    pub fn tile_size(&self) -> (u32, u32) {
        let (width, height) = self.thumbnail;
        (self.columns * width, self.rows * height)
    }

    /// Returns how long the stretch of a tile without a black rest is.
    #[must_use]
    pub fn tile_duration(&self) -> Duration {
        self.interval.saturating_mul(self.columns * self.rows)
    }

    /// Writes the thumbnails as cues of `WebVTT`, each with the part of a tile as a media fragment (`#xywh=`).
    #[must_use]
    pub fn vtt(&self) -> String {
        let mut text = "WEBVTT\n".to_owned();
        let (width, height) = self.thumbnail;
        for tile in 0..self.tiles() {
            let name = tile_name(tile);
            for thumbnail in self.on(tile) {
                let (from, until) = (self.time(thumbnail), self.time(thumbnail + 1));
                let (x, y) = self.corner(thumbnail);
                // Writing to a string does not fail.
                let _ = write!(
                    text,
                    "\n{} --> {}\n{name}#xywh={x},{y},{width},{height}\n",
                    clock(from),
                    clock(until)
                );
            }
        }
        text
    }

    /// Writes the image playlist: `EXT-X-IMAGES-ONLY`, with `EXT-X-TILES` for each tile. It is written once, when all is there.
    #[must_use]
    pub fn playlist(&self) -> String {
        let whole = self.tile_duration();
        let target = whole.as_secs() + u64::from(whole.subsec_nanos() > 0);
        let mut text = format!(
            "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:{target}\n#EXT-X-MEDIA-SEQUENCE:0\n\
             #EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-IMAGES-ONLY\n"
        );
        let (width, height) = self.thumbnail;
        for tile in 0..self.tiles() {
            let on = self.on(tile);
            let lasts = self.time(on.end).saturating_sub(self.time(on.start));
            let mut tiles = Attributes::new("EXT-X-TILES");
            tiles.plain("RESOLUTION", &format!("{width}x{height}"));
            tiles.plain("LAYOUT", &format!("{}x{}", self.columns, self.rows));
            tiles.plain("DURATION", &seconds(self.interval));
            let name = tile_name(tile);
            // Writing to a string does not fail.
            let _ = write!(
                text,
                "#EXTINF:{},\n{}{name}\n",
                seconds(lasts),
                tiles.finish()
            );
        }
        text.push_str("#EXT-X-ENDLIST\n");
        text
    }
}

/// Name of a tile in the folder of the storyboard.
pub(crate) fn tile_name(index: u32) -> String {
    format!("tile-{index:05}.jpg")
}

/// The largest even size of this shape whose longer side is that of a thumbnail.
fn fitted((width, height): (u32, u32)) -> (u32, u32) {
    let longer = width.max(height).max(1);
    let scaled = |side: u32| {
        let side = u64::from(side) * u64::from(SIDE / 2);
        let halved = (side + u64::from(longer) / 2) / u64::from(longer);
        u32::try_from(halved).unwrap_or(SIDE / 2).max(1) * 2
    };
    (scaled(width), scaled(height))
}

fn seconds(duration: Duration) -> String {
    let micros = microseconds(duration.as_nanos() as u64, 1_000_000_000);
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

/// A time as `WebVTT` has it.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    format!(
        "{:02}:{:02}:{:02}.{:03}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        time.subsec_millis()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOUR: Duration = Duration::from_secs(4);

    fn board(seconds: u64, every: Option<u64>) -> Board {
        let times = (Duration::from_secs(seconds), FOUR);
        Board::new(times, (1920, 1080), every.map(Duration::from_secs))
    }

    #[test]
    fn a_short_film_has_one_tile_that_is_no_larger_than_it_needs() {
        let one = board(3, None);
        assert_eq!((one.count, one.columns, one.rows), (1, 1, 1));
        let seven = board(28, None);
        assert_eq!((seven.count, seven.columns, seven.rows), (7, 5, 2));
        assert_eq!(seven.tile_size(), (800, 180));
        assert_eq!(seven.corner(6), (160, 90));
    }

    #[test]
    fn a_long_film_has_no_more_thumbnails_than_are_usual() {
        let two_hours = board(7200, None);
        assert_eq!(two_hours.interval, Duration::from_secs(12));
        assert_eq!((two_hours.count, two_hours.tiles()), (600, 24));
        assert_eq!(board(7200, Some(2)).count, 3600);
    }

    #[test]
    fn thumbnails_keep_the_shape_in_even_pixels() {
        assert_eq!(fitted((1920, 1080)), (160, 90));
        assert_eq!(fitted((1080, 1920)), (90, 160));
        assert_eq!(fitted((1920, 800)), (160, 66));
        assert_eq!(fitted((10_000, 2)), (160, 2));
    }

    #[test]
    fn cues_follow_each_other_to_the_end() {
        let board = board(105, None);
        assert_eq!((board.count, board.tiles()), (27, 2));
        assert_eq!(
            (board.on(0), board.on(1), board.on(2)),
            (0..25, 25..27, 27..27)
        );
        let text = board.vtt();
        assert!(text.starts_with(
            "WEBVTT\n\n00:00:00.000 --> 00:00:04.000\ntile-00000.jpg#xywh=0,0,160,90\n"
        ));
        assert!(
            text.ends_with("00:01:44.000 --> 00:01:45.000\ntile-00001.jpg#xywh=160,0,160,90\n")
        );
        assert_eq!(text.matches("-->").count(), 27);
        insta::assert_snapshot!(board.playlist());
    }
}
