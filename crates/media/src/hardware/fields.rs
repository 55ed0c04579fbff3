//! Interlaced pictures on a device in, progressive ones out, which lie there too.

use super::scale::{HELD, drain};
use super::{DeviceKind, HardwareDevice};
use crate::error::Error;
use crate::ffi::{AvFrame, FilterGraph, Inlet, Shape, has_filter};
use crate::fields::Deinterlace;
use crate::frame::Frame;
use crate::time::Rational;

/// Deinterlaces pictures of one stream on their device. Each picture gives one, at its own time; it looks at the pictures around, so a picture comes
/// out when its follower has gone in.
pub struct HardwareDeinterlacer {
    device: HardwareDevice,
    mode: Deinterlace,
    filter: &'static str,
    time_base: Rational,
    graph: Option<FilterGraph>,
}

impl HardwareDeinterlacer {
    /// Makes a deinterlacer for pictures whose times are in units of `time_base` seconds; nothing is built before the first picture.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if this FFmpeg cannot deinterlace on devices of the kind.
    pub fn new(
        device: &HardwareDevice,
        mode: Deinterlace,
        time_base: Rational,
    ) -> Result<Self, Error> {
        let filters = filters(device.kind());
        let filter = filters.iter().find(|filter| has_filter(filter));
        let filter = filter.ok_or_else(|| Error::Unsupported {
            what: format!("filter {}", filters.join(" or ")),
        })?;
        Ok(Self {
            device: device.clone(),
            mode,
            filter,
            time_base,
            graph: None,
        })
    }

    /// The filter that does it, such as `bwdif_cuda`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.filter
    }

    /// Takes the next picture, or with `None` the end, and gives those that are ready.
    ///
    /// # Errors
    /// [`Error::Device`] if the device cannot or fails, [`Error::Capacity`].
    pub fn send(&mut self, frame: Option<&Frame>) -> Result<Vec<Frame>, Error> {
        if self.mode == Deinterlace::Off {
            return Ok(frame.cloned().into_iter().collect());
        }
        let mut graph = match (self.graph.take(), frame) {
            (Some(graph), _) => graph,
            (None, None) => return Ok(Vec::new()),
            (None, Some(first)) => self.build(first.picture())?,
        };
        let ready = self.device.attempt("deinterlace", || {
            let picture = frame.map(timed).transpose()?;
            graph.push(picture)?;
            drain(&mut graph)
        })?;
        let unit = graph.time_base();
        // After the end it is built anew.
        self.graph = frame.is_some().then_some(graph);
        let frozen = |picture: AvFrame| {
            let time = |ticks: i64| rescale(ticks, unit, self.time_base);
            let (pts, duration) = (picture.pts().map(time), picture.duration().map(time));
            Frame::freeze(picture, pts, duration)
        };
        Ok(ready.into_iter().map(frozen).collect())
    }

    fn build(&self, first: &AvFrame) -> Result<FilterGraph, Error> {
        let inlet = Inlet {
            time_base: self.time_base,
            ..Inlet::of(Shape::of(first))
        };
        let chain = chain((self.device.kind(), self.filter), self.mode);
        self.device.attempt("deinterlace", || {
            FilterGraph::on_device(&inlet, first, (&chain, HELD))
        })
    }
}

impl std::fmt::Debug for HardwareDeinterlacer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "HardwareDeinterlacer({} on {})",
            self.filter, self.device
        )
    }
}

/// Another reference to a picture with all that is known of its fields, at the frame's time.
fn timed(frame: &Frame) -> Result<AvFrame, crate::AvError> {
    let mut picture = frame.picture().reference()?;
    picture.set_pts(frame.pts());
    Ok(picture)
}

/// A time in another unit, to the nearest. The filters count in halves of what they are given.
fn rescale(ticks: i64, from: Rational, to: Rational) -> i64 {
    let over = i128::from(from.den) * i128::from(to.num);
    if over == 0 {
        return ticks;
    }
    let value = i128::from(ticks) * i128::from(from.num) * i128::from(to.den);
    i64::try_from((2 * value + over).div_euclid(2 * over)).unwrap_or(ticks)
}

/// FFmpeg's filters that deinterlace on the kind of device, best first.
const fn filters(kind: DeviceKind) -> &'static [&'static str] {
    match kind {
        DeviceKind::Cuda => &["bwdif_cuda", "yadif_cuda"],
        DeviceKind::Qsv => &["deinterlace_qsv"],
        DeviceKind::Vaapi => &["deinterlace_vaapi"],
        DeviceKind::Vulkan => &["bwdif_vulkan"],
    }
}

fn chain((kind, filter): (DeviceKind, &str), mode: Deinterlace) -> String {
    let all = mode == Deinterlace::On;
    match kind {
        DeviceKind::Cuda | DeviceKind::Vulkan => {
            let which = if all { "all" } else { "interlaced" };
            format!("{filter}=mode=send_frame:parity=auto:deint={which}")
        }
        DeviceKind::Vaapi => format!("{filter}=rate=frame:auto={}", u8::from(!all)),
        DeviceKind::Qsv => format!("{filter}=mode=advanced"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_come_back_in_the_unit_of_the_stream() {
        let (from, to) = (Rational { num: 1, den: 50 }, Rational { num: 1, den: 25 });
        assert_eq!(rescale(14, from, to), 7);
        assert_eq!(rescale(-14, from, to), -7);
        assert_eq!(rescale(7, to, to), 7);
    }

    #[test]
    fn only_what_is_marked_is_deinterlaced_unless_all_is_asked_for() {
        let cuda = (DeviceKind::Cuda, "bwdif_cuda");
        assert!(chain(cuda, Deinterlace::On).ends_with("deint=all"));
        assert!(chain(cuda, Deinterlace::Auto).ends_with("deint=interlaced"));
        let vaapi = (DeviceKind::Vaapi, "deinterlace_vaapi");
        assert!(chain(vaapi, Deinterlace::Auto).ends_with("auto=1"));
        assert!(chain(vaapi, Deinterlace::On).ends_with("auto=0"));
    }
}
