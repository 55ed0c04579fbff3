//! What is muxed, as plain data: a track's configuration, and the segments of samples that follow.

use serde::{Deserialize, Serialize};

use crate::audio::{AudioConfigError, dops_payload, object_type};
use crate::av1::{ColorConfig, SequenceHeader};
use crate::coding::Coding;
use crate::text::TextTrack;

/// Colours as a container states them in `colr` of type `nclx`: code points of ISO/IEC 23091-2
/// (H.273).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Nclx {
    /// Colour primaries; 2 is unspecified.
    pub primaries: u8,
    /// Transfer characteristics; 2 is unspecified.
    pub transfer: u8,
    /// Matrix coefficients; 2 is unspecified.
    pub matrix: u8,
    /// Whether samples use the full range of their bit depth.
    pub full_range: bool,
}

impl From<ColorConfig> for Nclx {
    fn from(color: ColorConfig) -> Self {
        let ColorConfig {
            primaries,
            transfer,
            matrix,
            full_range,
        } = color;
        Self {
            primaries,
            transfer,
            matrix,
            full_range,
        }
    }
}

/// What a container states of the light of a video with a high dynamic range.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Light {
    /// The display on which it was graded: `mdcv`.
    pub mastering: Option<MasteringDisplay>,
    /// The light in it: `clli`.
    pub content: Option<ContentLight>,
}

/// The display on which a video was graded (ISO/IEC 14496-12 §12.1.8): chromaticities x and y in units of 0.00002, luminances in
/// units of 0.0001 cd/m².
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MasteringDisplay {
    /// The primaries: green, blue, red.
    pub primaries: [[u16; 2]; 3],
    /// The white point.
    pub white: [u16; 2],
    /// The highest luminance.
    pub max_luminance: u32,
    /// The lowest luminance.
    pub min_luminance: u32,
}

/// The light in a video in cd/m² (ISO/IEC 14496-12 §12.1.7); 0 is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentLight {
    /// The brightest pixel of all pictures.
    pub max: u16,
    /// The mean of the brightest picture.
    pub average: u16,
}

/// A video track.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VideoTrack {
    /// Codec and configuration.
    pub coding: Coding,
    /// Width of the picture in pixels, as encoded and before [`pixel_aspect`](Self::pixel_aspect).
    pub width: u32,
    /// Height of the picture in pixels.
    pub height: u32,
    /// Ticks a second of all this track's times.
    pub timescale: u32,
    /// Colours to state where the codec's headers leave them unspecified; they may not contradict
    /// the headers.
    pub color: Option<Nclx>,
    /// Width to height of one pixel.
    pub pixel_aspect: (u32, u32),
    /// What to state of the light of a video with a high dynamic range.
    #[serde(default)]
    pub light: Light,
    /// Ticks from when the first picture of a segment is decoded to its composition time, which the edit list takes off again: it is shown
    /// when it is decoded. Others need the room, where they are decoded after pictures that are shown later. 0 where decoding
    /// order is presentation order; else a tick for each place at least by which a picture moves forward.
    pub delay: u32,
}

impl VideoTrack {
    /// Returns AV1's headers, of which the first one's contract is that of all; none for another codec, or where there is none, which
    /// cannot be muxed.
    #[must_use]
    pub fn sequence_headers(&self) -> &[SequenceHeader] {
        match &self.coding {
            Coding::Av1(headers) => headers,
            Coding::Avc(_) | Coding::Hevc(_) => &[],
        }
    }

    /// Returns the number of the sample entry, from 1, that describes an AV1 keyframe with this header; `None` where there is none.
    ///
    /// With a single entry that is the one, as long as the contract holds: decoders take the header from the keyframe.
    #[must_use]
    pub fn entry_of(&self, header: &SequenceHeader) -> Option<u32> {
        let headers = self.sequence_headers();
        if let [only] = headers {
            return (only.contract() == header.contract()).then_some(1);
        }
        let place = headers.iter().position(|known| known.raw == header.raw)?;
        u32::try_from(place + 1).ok()
    }

    /// Returns the colours that players are told: the track's own, else the codec's headers', else
    /// none.
    #[must_use]
    pub fn effective_color(&self) -> Option<Nclx> {
        let Some(header) = self.coding.color().map(Nclx::from) else {
            return self.color;
        };
        let said = (header.primaries, header.transfer, header.matrix) != (2, 2, 2);
        self.color.or(said.then_some(header))
    }

    /// Returns the codec string. That of AV1 has the track's colours where the headers state none: players choose by it, before they
    /// see `colr`. It holds for all headers, as all it says is in their contract. Empty if there is no header.
    #[must_use]
    pub fn codec_string(&self) -> String {
        let headers = match &self.coding {
            Coding::Avc(sets) => return sets.codec_string(),
            Coding::Hevc(sets) => return sets.codec_string(),
            Coding::Av1(headers) => headers,
        };
        let Some(mut header) = headers.first().cloned() else {
            return String::new();
        };
        if let Some(color) = self.effective_color() {
            let either = |header, track| if header == 2 { track } else { header };
            header.color.primaries = either(header.color.primaries, color.primaries);
            header.color.transfer = either(header.color.transfer, color.transfer);
            header.color.matrix = either(header.color.matrix, color.matrix);
        }
        header.codec_string()
    }

    /// Returns the size in square pixels at which to show the picture: the encoded height, and the
    /// width that the pixels' aspect makes of the encoded one.
    #[must_use]
    pub fn display_size(&self) -> (u32, u32) {
        let (horizontal, vertical) = self.pixel_aspect;
        if horizontal == 0 || vertical == 0 || horizontal == vertical {
            return (self.width, self.height);
        }
        let scaled = u64::from(self.width) * u64::from(horizontal);
        let width = (scaled + u64::from(vertical) / 2) / u64::from(vertical);
        (u32::try_from(width).unwrap_or(u32::MAX), self.height)
    }
}

/// An audio codec and its decoder's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AudioCodec {
    /// Opus (RFC 6716).
    Opus {
        /// The identification header `OpusHead` (RFC 7845 §5.1), which encoders give as extradata.
        head: Vec<u8>,
    },
    /// MPEG-4 AAC.
    Aac {
        /// The `AudioSpecificConfig` (ISO/IEC 14496-3 §1.6.2.1), which encoders give as extradata.
        config: Vec<u8>,
    },
    /// AC-3 (ETSI TS 102 366).
    Ac3 {
        /// The payload of `dac3`, see [`ac3_config`](crate::dolby::ac3_config).
        config: Vec<u8>,
    },
    /// Enhanced AC-3 (ETSI TS 102 366, annex E).
    Eac3 {
        /// The payload of `dec3`, see [`eac3_config`](crate::dolby::eac3_config).
        config: Vec<u8>,
    },
    /// MP3 (ISO/IEC 11172-3 and 13818-3, layer III).
    Mp3 {
        /// The header of the first frame.
        header: [u8; 4],
    },
}

impl AudioCodec {
    /// Checks that the configuration can be written into boxes, so that this is known before there is anything to write.
    pub fn check(&self) -> Result<(), AudioConfigError> {
        match self {
            Self::Opus { head } => dops_payload(head, 0).map(drop),
            Self::Aac { config } => object_type(config).map(drop),
            _ => Ok(()),
        }
    }

    /// A name for people and folders: `opus`, `aac`.
    #[must_use]
    pub fn short_name(&self) -> &'static str {
        match self {
            Self::Opus { .. } => "opus",
            Self::Aac { .. } => "aac",
            Self::Ac3 { .. } => "ac3",
            Self::Eac3 { .. } => "eac3",
            Self::Mp3 { .. } => "mp3",
        }
    }
}

/// An audio track.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AudioTrack {
    /// Codec and configuration.
    pub codec: AudioCodec,
    /// Samples a second; 48000 with Opus.
    pub sample_rate: u32,
    /// Channels.
    pub channels: u16,
    /// Ticks a second of all this track's times: the sample rate.
    pub timescale: u32,
    /// Ticks of decoder delay at the front, which players drop through the edit list. Decode times
    /// count them: the first segment's decode time is 0 and its presentation starts at 0, `priming`
    /// ticks into its samples.
    pub priming: u32,
    /// Language, as BCP 47 ("en", "pt-BR") or ISO 639-2 ("eng") writes it; `None` or "und" when
    /// unknown.
    pub language: Option<String>,
}

impl AudioTrack {
    /// Returns the object type of MP3 in a sample entry: MPEG-1's for the three high rates, MPEG-2's for the others.
    pub(crate) fn mp3_object_type(&self) -> u8 {
        if self.sample_rate > 24_000 {
            0x6b
        } else {
            0x69
        }
    }
}

/// A track of a presentation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Track {
    /// Video.
    Video(VideoTrack),
    /// Audio.
    Audio(AudioTrack),
    /// Subtitles, which are no fragmented MP4.
    Text(TextTrack),
}

impl Track {
    /// Returns the `codecs` parameter (RFC 6381): `av01…` in full, `avc1…`, `hvc1…`, `opus`, `mp4a.40.N`, `ac-3`, `ec-3`, `mp4a.6B` or `mp4a.69`;
    /// `wvtt` for subtitles.
    ///
    /// Fails on an AAC configuration that cannot be read.
    pub fn codec_string(&self) -> Result<String, AudioConfigError> {
        match self {
            Self::Video(video) => Ok(video.codec_string()),
            Self::Text(_) => Ok("wvtt".to_owned()),
            Self::Audio(audio) => Ok(match &audio.codec {
                AudioCodec::Opus { .. } => "opus".to_owned(),
                AudioCodec::Aac { config } => format!("mp4a.40.{}", object_type(config)?),
                AudioCodec::Ac3 { .. } => "ac-3".to_owned(),
                AudioCodec::Eac3 { .. } => "ec-3".to_owned(),
                AudioCodec::Mp3 { .. } => format!("mp4a.{:X}", audio.mp3_object_type()),
            }),
        }
    }

    /// Returns the ticks a second of the track's times.
    #[must_use]
    pub fn timescale(&self) -> u32 {
        match self {
            Self::Video(video) => video.timescale,
            Self::Audio(audio) => audio.timescale,
            Self::Text(text) => text.timescale,
        }
    }

    /// Returns the ticks of decode time that lie before presentation time 0.
    #[must_use]
    pub fn priming(&self) -> u32 {
        match self {
            Self::Video(_) | Self::Text(_) => 0,
            Self::Audio(audio) => audio.priming,
        }
    }

    /// Returns when a stretch of decode time is presented: its start and its length, both in ticks,
    /// less what the edit list cuts from the front.
    #[must_use]
    pub fn presentation(&self, decode_time: u64, duration: u64) -> (u64, u64) {
        let priming = u64::from(self.priming());
        let start = decode_time.saturating_sub(priming);
        let end = decode_time.saturating_add(duration).saturating_sub(priming);
        (start, end - start)
    }
}

/// One access unit: a picture, or an audio frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// The bytes as the file carries them; for pictures what [`VideoCodec::sample`](crate::coding::VideoCodec::sample) makes.
    pub data: Vec<u8>,
    /// Ticks until the next sample is decoded. Exact for the last one too.
    pub duration: u32,
    /// Ticks from when it is decoded to its composition time, which is the track's [`delay`](VideoTrack::delay) after it is shown. 0 where
    /// decoding order is presentation order.
    pub offset: u32,
    /// Whether decoding can start here.
    pub key: bool,
}

/// A stretch of one track's samples, which becomes one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// When the first sample is decoded and shown, in ticks since the track's start (`tfdt`).
    pub decode_time: u64,
    /// The samples in decoding order, see [`decode_times`](crate::order::decode_times).
    pub samples: Vec<Sample>,
}

impl Segment {
    /// Returns the sum of the samples' durations, in ticks.
    #[must_use]
    pub fn duration(&self) -> u64 {
        self.samples
            .iter()
            .map(|sample| u64::from(sample.duration))
            .sum()
    }
}
