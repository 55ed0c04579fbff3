//! The table at the end: what was made.

use std::io::{self, Write};

use rungs_engine::Report;
use rungs_package::{MediaSummary, TrackSummary};

const HEAD: [&str; 5] = ["rendition", "size", "bitrate", "segments", "bytes"];

/// Writes a line for each rendition, with PSNR where it was measured.
pub(crate) fn write(out: &mut Vec<u8>, report: &Report) -> io::Result<()> {
    let measured = !report.quality.is_empty();
    let mut rows = vec![HEAD.map(str::to_owned).to_vec()];
    if measured {
        rows[0].push("PSNR Y/U/V".to_owned());
    }
    for track in &report.tracks {
        let mut row = row(track);
        if measured {
            row.push(quality(report, track));
        }
        rows.push(row);
    }
    let widths: Vec<usize> = (0..rows[0].len())
        .map(|column| {
            rows.iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    for row in rows {
        let cells =
            row.iter()
                .zip(&widths)
                .enumerate()
                .map(|(column, (cell, width))| match column {
                    0 | 1 => format!("{cell:<width$}"),
                    _ => format!("{cell:>width$}"),
                });
        writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

fn row(track: &TrackSummary) -> Vec<String> {
    let size = match track.media {
        MediaSummary::Video { width, height, .. } => format!("{width}x{height}"),
        MediaSummary::Text { .. } => "subtitles".to_owned(),
        MediaSummary::Audio {
            sample_rate,
            channels,
        } => format!("{sample_rate} Hz, {channels} ch"),
    };
    vec![
        track.name.clone(),
        size,
        bit_rate(track.bandwidth.average),
        track.segments.to_string(),
        track.bytes.to_string(),
    ]
}

fn quality(report: &Report, track: &TrackSummary) -> String {
    let name = track.name.rsplit('/').next().unwrap_or_default();
    let Some(quality) = report.quality.iter().find(|quality| quality.track == name) else {
        return "-".to_owned();
    };
    let decibel = |value: Option<f64>| {
        value.map_or_else(|| "equal".to_owned(), |value| format!("{value:.2}"))
    };
    [quality.psnr_y, quality.psnr_u, quality.psnr_v]
        .map(decibel)
        .join(" / ")
}

/// Bits a second as people say it.
pub(crate) fn bit_rate(bits: u64) -> String {
    match bits {
        0..1_000_000 => format!("{} kb/s", bits.div_ceil(1000)),
        _ => format!("{:.2} Mb/s", bits as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::bit_rate;

    #[test]
    fn rates_are_readable() {
        assert_eq!(bit_rate(0), "0 kb/s");
        assert_eq!(bit_rate(95_400), "96 kb/s");
        assert_eq!(bit_rate(2_345_678), "2.35 Mb/s");
    }
}
