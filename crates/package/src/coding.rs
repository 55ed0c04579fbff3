//! The codecs of pictures side by side: what encoders give in, samples, codec strings and differences out.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::av1::{self, Av1Error, ColorConfig, SequenceHeader};
use crate::nal::{AvcConfiguration, Family, HevcConfiguration, NalError};

/// A codec of pictures that can be packaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VideoCodec {
    /// AV1.
    Av1,
    /// H.264, as `avc1`.
    Avc,
    /// HEVC, as `hvc1`.
    Hevc,
}

impl fmt::Display for VideoCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Av1 => "AV1",
            Self::Avc => "H.264",
            Self::Hevc => "HEVC",
        })
    }
}

/// Why pictures could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodingError {
    /// They are no AV1.
    #[error("it is no AV1")]
    Av1(#[from] Av1Error),
    /// They are no H.264 or HEVC.
    #[error("it is no H.264 or HEVC")]
    Nal(#[from] NalError),
    /// There is no configuration.
    #[error("there is no codec configuration")]
    NoConfiguration,
    /// A rendition's configurations are not those of one track.
    #[error("the codec configurations cannot stand in one track: {difference}")]
    Unlike {
        /// The first difference.
        difference: String,
    },
}

impl VideoCodec {
    /// Makes a file's sample from what an encoder gives for one picture: a temporal unit of AV1, or an access unit in Annex B's byte stream.
    pub fn sample(self, unit: &[u8]) -> Result<Vec<u8>, CodingError> {
        match self {
            Self::Av1 => Ok(av1::sample_from_temporal_unit(unit)?),
            Self::Avc => Ok(Family::Avc.sample_from_access_unit(unit)?),
            Self::Hevc => Ok(Family::Hevc.sample_from_access_unit(unit)?),
        }
    }
}

/// A codec with the configuration of one track.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Coding {
    /// AV1 with the real headers of the encoders' output, at least one. All have one [`Contract`](crate::av1::Contract), and every
    /// segment is held against it. Where there are several, as with unlike encoders, each has a sample entry of its own in
    /// this order, and a segment must have one of them, to the bit.
    Av1(Vec<SequenceHeader>),
    /// H.264. All segments share these parameter sets.
    Avc(AvcConfiguration),
    /// HEVC. All segments share these parameter sets.
    Hevc(HevcConfiguration),
}

impl Coding {
    /// Reads what encoders gave as codec configurations: sequence header OBUs, or parameter sets in a byte stream. There is one for each
    /// encoder that makes segments of the track; of H.264 and HEVC all must be the same.
    pub fn parse<'a>(
        codec: VideoCodec,
        configurations: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Self, CodingError> {
        let mut configurations = configurations.into_iter();
        if codec == VideoCodec::Av1 {
            let headers = configurations.map(SequenceHeader::parse);
            return Ok(Self::Av1(headers.collect::<Result<_, _>>()?));
        }
        let first = configurations.next().ok_or(CodingError::NoConfiguration)?;
        let read = |stream| match codec {
            VideoCodec::Hevc => HevcConfiguration::parse(stream).map(Self::Hevc),
            _ => AvcConfiguration::parse(stream).map(Self::Avc),
        };
        let first = read(first)?;
        for other in configurations {
            if let Some(difference) = first.difference(&read(other)?) {
                return Err(CodingError::Unlike { difference });
            }
        }
        Ok(first)
    }

    /// Returns the codec.
    #[must_use]
    pub fn codec(&self) -> VideoCodec {
        match self {
            Self::Av1(_) => VideoCodec::Av1,
            Self::Avc(_) => VideoCodec::Avc,
            Self::Hevc(_) => VideoCodec::Hevc,
        }
    }

    /// Returns the configuration as [`parse`](Self::parse) reads it, without what is no part of it: the first sequence header, or the
    /// parameter sets. Empty for AV1 without a header.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Av1(headers) => headers
                .first()
                .map_or_else(Vec::new, |header| header.raw.clone()),
            Self::Avc(sets) => sets.byte_stream(),
            Self::Hevc(sets) => sets.byte_stream(),
        }
    }

    /// Returns the colours that the configuration states; `None` for AV1 without a header.
    #[must_use]
    pub fn color(&self) -> Option<ColorConfig> {
        match self {
            Self::Av1(headers) => headers.first().map(|header| header.color),
            Self::Avc(sets) => Some(sets.samples.color),
            Self::Hevc(sets) => Some(sets.samples.color),
        }
    }

    /// Returns by how many places at most pictures stand before others in decoding order that are shown before them; 0 for AV1, whose
    /// samples are in presentation order.
    #[must_use]
    pub fn reordered(&self) -> u8 {
        match self {
            Self::Av1(_) => 0,
            Self::Avc(sets) => sets.samples.reordered,
            Self::Hevc(sets) => sets.samples.reordered,
        }
    }

    /// Names the first difference that keeps segments of both out of one rendition, with this one's value first; `None` if they may share
    /// it. AV1 may differ in its coding tools, H.264 and HEVC in nothing.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Option<String> {
        match (self, other) {
            (Self::Av1(own), Self::Av1(other)) => {
                let (own, other) = own.first().zip(other.first())?;
                own.contract().difference(&other.contract())
            }
            (Self::Avc(own), Self::Avc(other)) => own.difference(other),
            (Self::Hevc(own), Self::Hevc(other)) => own.difference(other),
            _ => Some(format!("{} is not {}", self.codec(), other.codec())),
        }
    }

    /// Holds the parameter sets that an access unit carries itself against these; names the first one that is not among them. Those of a
    /// sample are dropped, so they may say nothing else. Always `None` for AV1, whose headers stay in the samples.
    ///
    /// Fails on data that cannot be read.
    pub fn stray_parameter_set(&self, unit: &[u8]) -> Result<Option<String>, CodingError> {
        let (family, known) = match self {
            Self::Av1(_) => return Ok(None),
            Self::Avc(sets) => (Family::Avc, sets.byte_stream()),
            Self::Hevc(sets) => (Family::Hevc, sets.byte_stream()),
        };
        let known = family.parameter_sets(&known)?;
        let sets = family.parameter_sets(unit)?;
        let mut stray = sets.iter().filter(|set| !known.contains(set));
        Ok(stray.next().map(|set| {
            format!(
                "a parameter set of {} bytes is not one of the plan's",
                set.len()
            )
        }))
    }
}
