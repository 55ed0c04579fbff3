//! How a reader goes on when the device on which it decodes has failed: in software, from the keyframe before the last picture that it has given, and
//! without those that were given. As only devices are used that decode to the bit, nobody sees where that was.

use rungs_media::Error;
use rungs_media::frame::Frame;

use super::VideoReader;

/// Whether an error is of the decoder, rather than of the source or its container.
pub(super) fn is_of_decoder(error: &Error) -> bool {
    let of_decoder = matches!(
        error,
        Error::Unsupported { .. } | Error::OpenCodec { .. } | Error::Filter { .. }
    );
    of_decoder || error.is_decode() || error.is_device() || error.is_capacity()
}

/// What came of decoding from a keyframe.
enum Again {
    /// The next picture, or the end.
    Next(Option<Frame>),
    /// It is not surely what a straight decode would give.
    Unsure,
}

impl VideoReader {
    /// Goes on in software after that error, and gives the next picture.
    pub(super) fn recover(&mut self, error: &Error) -> Result<Option<Frame>, Error> {
        self.decoder.failed(error);
        let before = match self.given.count {
            0 => self.given.entered,
            _ => self.given.last,
        };
        if let Some(time) = before
            && let Again::Next(next) = self.again_from(time)?
        {
            return Ok(next);
        }
        self.again_from_beginning()
    }

    /// Decodes from the keyframe at or before `time`.
    fn again_from(&mut self, time: i64) -> Result<Again, Error> {
        self.start_over()?;
        let Some(keyframe) = self.find_entry(time)? else {
            return Ok(Again::Unsure);
        };
        let mut met = false;
        loop {
            let decoded = match self.decode_here() {
                Err(error) if error.is_decode() => return Ok(Again::Unsure),
                decoded => decoded?,
            };
            // How damage is hidden may depend on more than what comes after the keyframe.
            let frame = match decoded {
                _ if self.counts.errors > 0 || self.decoder.has_complained() => {
                    return Ok(Again::Unsure);
                }
                Some(frame) => frame,
                None if met => return Ok(Again::Next(None)),
                None => return Ok(Again::Unsure),
            };
            let Some(shown) = frame.pts() else {
                return Ok(Again::Unsure);
            };
            // Pictures that refer back over the keyframe, where the decoder gives them at all, were given before.
            met |= shown == keyframe;
            if shown > keyframe && !met {
                return Ok(Again::Unsure);
            }
            if met && !self.was_given(&frame) {
                return Ok(Again::Next(Some(frame)));
            }
        }
    }

    /// Decodes all again.
    fn again_from_beginning(&mut self) -> Result<Option<Frame>, Error> {
        self.demuxer = self.origin.demuxer()?;
        self.start_over()?;
        let mut left = self.given.count;
        loop {
            let Some(frame) = self.decode_here()? else {
                return Ok(None);
            };
            // Of a reader that began there the count tells, whatever the timestamps are.
            let was_given = match self.given.entered {
                Some(_) => self.was_given(&frame),
                None => left > 0,
            };
            if !was_given {
                return Ok(Some(frame));
            }
            left = left.saturating_sub(1);
        }
    }

    /// Whether a picture is not after the last that was given, or is before the keyframe at which the reader has entered.
    fn was_given(&self, frame: &Frame) -> bool {
        let last = self.given.last.filter(|_| self.given.count > 0);
        let entered = self.given.entered;
        frame.pts().is_some_and(|time| {
            last.is_some_and(|last| time <= last) || entered.is_some_and(|first| time < first)
        })
    }

    /// Takes a fresh decoder on the CPU, and forgets what was read ahead.
    fn start_over(&mut self) -> Result<(), Error> {
        let options = self.origin.options.decode();
        self.decoder = self.origin.places.open_on_cpu(&self.track, &options)?;
        self.ahead.clear();
        self.ahead_bytes = 0;
        self.inside.clear();
        (self.file_ended, self.flushed) = (false, false);
        // What could not be read is met again.
        self.counts.errors = 0;
        Ok(())
    }
}
