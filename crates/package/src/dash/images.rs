//! Thumbnails in, their `AdaptationSet` out (DASH-IF IOP, "Tiles of thumbnail images").

use std::io;
use std::time::Duration;

use super::{Xml, descriptor};

/// Ticks a second of the tiles' durations.
const TIMESCALE: u32 = 1000;

/// Thumbnails on tiles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSet {
    /// Unique in the manifest, without white space.
    pub id: String,
    /// Where the tiles are, relative to the manifest, with `$Number$` counted from 0.
    pub tiles: String,
    /// How many tiles there are.
    pub count: u32,
    /// Width and height of a tile.
    pub size: (u32, u32),
    /// Thumbnails in a row of a tile, and rows.
    pub layout: (u32, u32),
    /// How long the stretch of a tile is.
    pub duration: Duration,
    /// Bits a second at the peak.
    pub bandwidth: u64,
}

impl ImageSet {
    pub(super) fn write(&self, writer: &mut Xml, id: usize) -> io::Result<()> {
        let set = writer.create_element("AdaptationSet").with_attributes([
            ("id", id.to_string().as_str()),
            ("contentType", "image"),
            ("mimeType", "image/jpeg"),
        ]);
        let ticks = self.duration.as_millis().to_string();
        // Sound may last longer than the pictures, and there are no thumbnails for that.
        let last = self.count.saturating_sub(1).to_string();
        set.write_inner_content(|writer| {
            writer
                .create_element("SegmentTemplate")
                .with_attributes([
                    ("timescale", TIMESCALE.to_string().as_str()),
                    ("media", self.tiles.as_str()),
                    ("duration", ticks.as_str()),
                    ("startNumber", "0"),
                    ("endNumber", last.as_str()),
                ])
                .write_empty()?;
            let (width, height) = self.size;
            let representation = writer.create_element("Representation").with_attributes([
                ("id", self.id.as_str()),
                ("bandwidth", self.bandwidth.to_string().as_str()),
                ("width", width.to_string().as_str()),
                ("height", height.to_string().as_str()),
            ]);
            representation.write_inner_content(|writer| {
                let (columns, rows) = self.layout;
                let scheme = "http://dashif.org/guidelines/thumbnail_tile";
                descriptor(
                    writer,
                    "EssentialProperty",
                    scheme,
                    &format!("{columns}x{rows}"),
                )
            })?;
            Ok(())
        })?;
        Ok(())
    }
}
