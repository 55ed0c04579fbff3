//! What a run may use, and how it shows what it does.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum, ValueHint};
use rungs_engine::Terms;
use rungs_engine::policy::{DecodePolicy, Policy, ScalePolicy, Sessions, Wanted};

/// What a run may use. But for where pictures are scaled, none of it changes what is made.
#[derive(Debug, Args)]
pub(crate) struct MachineArgs {
    /// Encoders open at once [default: one and a half for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024), help_heading = "Machine")]
    pub(crate) jobs: Option<u32>,

    /// Encode on these: auto, a vendor (nvidia, intel, amd), devices by name; cpu/libaom-av1 is the CPU with another encoder [default:
    /// auto, all that can, see `rungs devices`]
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        help_heading = "Machine"
    )]
    pub(crate) devices: Vec<Wanted>,

    /// Encoders open at once on a device, such as cpu/libaom-av1=2. Repeat it for each [default: what suits it]
    #[arg(long, value_name = "NAME=N", help_heading = "Machine")]
    pub(crate) sessions: Vec<Sessions>,

    /// Decode on this device, or refuse; cpu for none [default: auto, the GPUs that decode the source to the bit, or else the CPU]
    #[arg(long, value_name = "NAME", help_heading = "Machine")]
    pub(crate) decode_device: Option<DecodePolicy>,

    /// Bring pictures to the rungs' sizes on these GPUs (nvidia, intel, amd, or one by name), or refuse; cpu for none [default: auto, the
    /// GPUs that decode the source where its pictures can stay there, or else the CPU]
    #[arg(long, value_name = "NAME", help_heading = "Machine")]
    pub(crate) scale_device: Option<ScalePolicy>,

    /// Decoders that may read the source at once, each from a keyframe of its own, when the encoders starve [default: one for every
    /// eight cores, four at most; three for each GPU that decodes, if that is more]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64), help_heading = "Machine")]
    pub(crate) decoders: Option<u32>,

    /// Memory for pictures and encoders, in bytes or as 512M, 4G [default: half of what is available]
    #[arg(long, value_name = "BYTES", help_heading = "Machine")]
    pub(crate) memory: Option<Bytes>,

    /// Memory of each GPU for pictures that stay there, in bytes or as 512M, 4G [default: half of it]
    #[arg(long, value_name = "BYTES", help_heading = "Machine")]
    pub(crate) video_memory: Option<Bytes>,

    /// Write what every session and pump did when, for Chrome's or Perfetto's trace viewer
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Machine")]
    pub(crate) trace: Option<PathBuf>,
}

impl MachineArgs {
    /// How the job uses them.
    pub(crate) fn terms(&self) -> Terms {
        Terms {
            decoders: self.decoders,
            ..Terms::default()
        }
    }

    /// Which devices are used.
    pub(crate) fn policy(&self) -> Policy {
        Policy {
            devices: self.devices.clone(),
            sessions: self.sessions.clone(),
            decode: self.decode_device.clone().unwrap_or_default(),
            scale: self.scale_device.clone().unwrap_or_default(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressArg {
    /// Bars on a terminal, nothing in pipes
    Auto,
    /// Bars
    Bars,
    /// One JSON event a line
    Json,
    /// Nothing
    None,
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bytes(pub(crate) u64);

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || {
            "use a number of bytes, or one with K, M, G or T (powers of 1024), such as 4G"
                .to_owned()
        };
        let trimmed = text.trim_end_matches(['B', 'b']).trim_end_matches('i');
        let digits = trimmed.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let shift = match &trimmed[digits.len()..] {
            "" => 0,
            "K" | "k" => 10,
            "M" | "m" => 20,
            "G" | "g" => 30,
            "T" | "t" => 40,
            _ => return Err(bad()),
        };
        let number: u64 = digits.trim().parse().map_err(|_| bad())?;
        number.checked_mul(1 << shift).map(Self).ok_or_else(bad)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read() {
        assert_eq!("4096".parse(), Ok(Bytes(4096)));
        assert_eq!("512M".parse(), Ok(Bytes(512 << 20)));
        assert_eq!("4GiB".parse(), Ok(Bytes(4 << 30)));
        for bad in ["", "G", "-1", "1X", "99999999999T", "1.5G"] {
            assert!(bad.parse::<Bytes>().is_err(), "{bad:?}");
        }
    }
}
