//! The options about the picture, and what they ask of the engine.

use clap::{Args, ValueEnum};
use rungs_engine::picture::{ColorChoice, DepthChoice, FrameRate, OverlaySpec, PictureSpec};
use rungs_media::filters::Chain;
use rungs_media::normalise::Deinterlace;
use rungs_media::scale::Kernel;

/// What becomes of the picture before it is encoded.
#[derive(Debug, Args)]
pub(crate) struct PictureArgs {
    /// Deinterlace pictures that the source marks as interlaced, all, or none; each gives one picture (bwdif)
    #[arg(long, value_enum, default_value_t = DeinterlaceArg::Auto, help_heading = "Picture")]
    pub(crate) deinterlace: DeinterlaceArg,

    /// The source is film that was made into video of 30 pictures a second: make it 24 again. One decoder reads it from the start
    #[arg(long, help_heading = "Picture")]
    pub(crate) telecine: bool,

    /// Most pictures a second; those that come too soon after another one are dropped
    #[arg(long, value_name = "RATE", help_heading = "Picture")]
    pub(crate) max_fps: Option<FrameRate>,

    /// Pictures a second, evenly: some are repeated or dropped [default: the source's, at its own times]
    #[arg(
        long,
        value_name = "RATE",
        conflicts_with = "max_fps",
        help_heading = "Picture"
    )]
    pub(crate) fps: Option<FrameRate>,

    /// Bits of a sample in what is made: auto is 10 where HDR is kept, otherwise 8
    #[arg(long, value_enum, default_value_t = DepthArg::Auto, value_name = "BITS", help_heading = "Picture")]
    pub(crate) bit_depth: DepthArg,

    /// HDR (PQ, HLG): sdr makes standard range of it, keep leaves it as it is. Other sources keep their colours in any case
    #[arg(long, value_enum, default_value_t = ColorArg::Sdr, help_heading = "Picture")]
    pub(crate) color: ColorArg,

    /// How pictures are brought to the size of each rung
    #[arg(long, value_enum, default_value_t = ScalerArg::Bicubic, value_name = "KERNEL", help_heading = "Picture")]
    pub(crate) scaler: ScalerArg,

    /// Filters in FFmpeg's syntax, applied once to upright pictures before all rungs: crop, eq, gblur, hflip, hqdn3d, hue, nlmeans,
    /// pad, rotate, transpose, unsharp, vflip. Repeat it for more. With hqdn3d one decoder reads the source from the start
    #[arg(long = "filter", value_name = "CHAIN", help_heading = "Picture")]
    pub(crate) filters: Vec<Chain>,

    /// An image (PNG, JPEG, WebP, BMP) over all pictures, and where its upper left corner is
    #[arg(long, value_name = "FILE:X:Y", help_heading = "Picture")]
    pub(crate) overlay: Option<OverlaySpec>,
}

impl PictureArgs {
    /// What was typed, as the engine understands it.
    pub(crate) fn spec(&self) -> PictureSpec {
        PictureSpec {
            deinterlace: self.deinterlace.into(),
            telecine: self.telecine,
            max_fps: self.max_fps,
            fps: self.fps,
            bit_depth: self.bit_depth.into(),
            color: self.color.into(),
            kernel: self.scaler.into(),
            filters: self
                .filters
                .iter()
                .cloned()
                .fold(Chain::default(), |mut all, next| {
                    all.append(next);
                    all
                }),
            overlay: self.overlay.clone().map(whole),
        }
    }
}

/// The same image wherever the job is gone on with.
fn whole(overlay: OverlaySpec) -> OverlaySpec {
    match std::path::absolute(&overlay.path) {
        Ok(path) => OverlaySpec { path, ..overlay },
        // Of an empty name or without a folder to be in: what reads the image says so.
        Err(_) => overlay,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DeinterlaceArg {
    /// Pictures that the source marks as interlaced
    Auto,
    /// All pictures
    On,
    /// None
    Off,
}

impl From<DeinterlaceArg> for Deinterlace {
    fn from(choice: DeinterlaceArg) -> Self {
        match choice {
            DeinterlaceArg::Auto => Self::Auto,
            DeinterlaceArg::On => Self::On,
            DeinterlaceArg::Off => Self::Off,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DepthArg {
    /// What suits the source and the codec
    Auto,
    /// 8
    #[value(name = "8")]
    Eight,
    /// 10
    #[value(name = "10")]
    Ten,
}

impl From<DepthArg> for DepthChoice {
    fn from(choice: DepthArg) -> Self {
        match choice {
            DepthArg::Auto => Self::Auto,
            DepthArg::Eight => Self::Eight,
            DepthArg::Ten => Self::Ten,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorArg {
    /// Standard range, BT.709
    Sdr,
    /// As the source has it
    Keep,
}

impl From<ColorArg> for ColorChoice {
    fn from(choice: ColorArg) -> Self {
        match choice {
            ColorArg::Sdr => Self::Sdr,
            ColorArg::Keep => Self::Keep,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ScalerArg {
    /// The mean of the area that a pixel covers: soft, and never rings
    Area,
    /// Sharp, and rings little
    Bicubic,
    /// Soft
    Bilinear,
    /// Softer still
    Gauss,
    /// The sharpest, and rings at hard edges
    Lanczos,
    /// The nearest pixel, for what is drawn pixel by pixel
    Neighbor,
    /// As sharp as lanczos
    Spline,
}

impl From<ScalerArg> for Kernel {
    fn from(scaler: ScalerArg) -> Self {
        match scaler {
            ScalerArg::Area => Self::Area,
            ScalerArg::Bicubic => Self::Bicubic,
            ScalerArg::Bilinear => Self::Bilinear,
            ScalerArg::Gauss => Self::Gauss,
            ScalerArg::Lanczos => Self::Lanczos,
            ScalerArg::Neighbor => Self::Neighbor,
            ScalerArg::Spline => Self::Spline,
        }
    }
}
