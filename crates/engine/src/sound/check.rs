//! Whether the packets of a track that passes through are whole: each is decoded before it is published.

use rungs_media::Error;
use rungs_media::check::PacketChecker;
use rungs_package::track::AudioCodec;

use crate::plan::AudioPlan;

/// Opens what checks the packets of a track as they are published, with the configuration that players get. `None` if this FFmpeg cannot decode the
/// codec: then no packet is known to be damaged.
pub(super) fn open(plan: &AudioPlan) -> Result<Option<PacketChecker>, Error> {
    let (codec, configuration) = match &plan.codec {
        AudioCodec::Opus { head } => ("opus", &head[..]),
        AudioCodec::Aac { config } => ("aac", &config[..]),
        AudioCodec::Ac3 { .. } => ("ac3", &[][..]),
        AudioCodec::Eac3 { .. } => ("eac3", &[][..]),
        AudioCodec::Mp3 { .. } => ("mp3", &[][..]),
    };
    match PacketChecker::open(codec, configuration) {
        Err(Error::Unsupported { .. }) => Ok(None),
        opened => opened.map(Some),
    }
}

/// Sees where packets are missing: their times step by whole packets there. A step that is nothing of the kind is a container's rounding or jitter.
#[derive(Debug, Default)]
pub(super) struct Steps {
    /// By how many samples the packet before was later than those before it ended.
    drift: Option<i64>,
}

impl Steps {
    /// Forgets what was before, as after a hole that is filled.
    pub(super) fn begin_again(&mut self) {
        self.drift = None;
    }

    /// Samples that are missing before a packet of `length` samples which is `late` samples later than those before it ended; `tick` is what one unit of
    /// its clock takes. Always a multiple of `length`.
    pub(super) fn missing(&mut self, late: i64, (length, tick): (i64, i64)) -> i64 {
        let step = self.drift.map_or(0, |drift| late - drift);
        let count = (step + length / 2).div_euclid(length.max(1));
        let missing = count * length;
        let missing = if count > 0 && (step - missing).abs() <= 2 * tick {
            missing
        } else {
            0
        };
        self.drift = Some(late - missing);
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_missing_where_times_step_by_whole_ones() {
        let mut steps = Steps::default();
        let mut missing = |late| steps.missing(late, (1024, 48));
        // The first is where it is; rounding and drift are no steps.
        assert_eq!(missing(300), 0);
        assert_eq!([missing(340), missing(270), missing(330)], [0; 3]);
        // One is missing, then two, to the millisecond; what is filled is not there any more.
        assert_eq!([missing(1350), missing(330)], [1024, 0]);
        assert_eq!([missing(2370), missing(320)], [2048, 0]);
        // Half a packet is jitter, and so is what comes back.
        assert_eq!([missing(900), missing(-400), missing(320)], [0; 3]);
    }
}
