//! Decides how the sound is made, and finds out what its packets will look like.

use rungs_media::audio::{AudioCodec, AudioConfig, AudioEncoder, Format};
use rungs_media::bitstream::{AAC_ADTS_TO_ASC, PacketFilter};
use rungs_media::demux::{AudioInfo, Demuxer, Stream, StreamKind};
use rungs_media::{Error, Limits, Source};
use rungs_package::language::bcp47;
use rungs_package::{dolby, mp3, track};

use super::loudness;
use crate::cancel::Cancel;
use crate::choice::{self, Pick};
use crate::error::Refusal;
use crate::plan::{AudioMode, AudioPlan, Warning};
use crate::spec::{AudioChoice, Sound};

/// Most channels that are kept.
const MOST_CHANNELS: u32 = 8;
/// A track that starts later than this after the picture is encoded again, with silence before it, rather than copied.
const LATE_SECONDS: f64 = 1.0;
/// Packets that are looked at to learn where a copied track starts: more than an hour of those of 60 ms that come before the video.
const LOOK_PACKETS: usize = 1 << 16;
/// What an Opus decoder needs to hear before its output is right (RFC 7845 §4.6), in samples at 48 kHz.
const OPUS_PREROLL: i64 = 3840;
/// What an AAC decoder needs to hear before its output is right: one frame.
const AAC_FRAME: u32 = 1024;
/// What an MP3 decoder needs to hear before its output is right: one frame, and one more for the bits that it borrows.
const MP3_PREROLL: i64 = 2304;

/// What is asked of the sound.
pub(crate) struct Wanted<'a> {
    pub(crate) choice: AudioChoice,
    pub(crate) sound: &'a Sound,
    /// Start of the presentation in the source's clock, in seconds.
    pub(crate) origin: f64,
    /// Whether the source goes on before that, also for hours.
    pub(crate) starts_inside: bool,
    pub(crate) cancel: &'a Cancel,
}

/// What was decided.
#[derive(Default)]
pub(crate) struct Chosen {
    /// The tracks, the one to play first.
    pub(crate) plans: Vec<AudioPlan>,
    pub(crate) warnings: Vec<Warning>,
}

/// Decides for all tracks that are asked for. No track is no error, unless one was named.
pub(crate) fn choose(
    source: &Source,
    tracks: &[Stream],
    wanted: &Wanted<'_>,
) -> Result<Chosen, Refusal> {
    if wanted.choice == AudioChoice::None {
        return Ok(Chosen::default());
    }
    if wanted.sound.loudness.is_some() && !source.is_whole() {
        return Err(Refusal::OnItsWay {
            option: "--loudness",
        });
    }
    let mut chosen = Chosen::default();
    let of = &wanted.sound.tracks;
    let taken = of.of(tracks).map_err(|pick| no_track(&pick, tracks))?;
    let mut again = Vec::new();
    for (place, track) in taken.iter().enumerate() {
        let others = taken.iter().filter(|other| other.index != track.index);
        let others = others.filter(|other| wanted.keeps(other));
        let codec = web_codec(others.map(|other| other.codec.as_str()));
        match choose_for(source, track, (wanted, codec)) {
            Ok(mut plan) => {
                plan.label = menu_name(track, &taken[..place]);
                chosen.add(track, plan);
                again.push((track, place));
            }
            // Nobody asked for this track in so many words, so its loss is a warning.
            Err(Refusal::Audio { reason, source })
                if wanted.choice == AudioChoice::Auto
                    && !of.is_listed()
                    && !wanted.cancel.is_cancelled() =>
            {
                let reason = source.map_or(reason.clone(), |source| format!("{reason}: {source}"));
                let reason = match tracks {
                    [_] => reason,
                    _ => format!("{}: {reason}", choice::called(track, tracks)),
                };
                chosen.warnings.push(Warning::SoundLeftOut { reason });
            }
            Err(refusal) => return Err(refusal),
        }
    }
    if wanted.choice == AudioChoice::Auto && !wanted.sound.for_files {
        for (track, place) in again {
            // What cannot be copied is there in another codec already.
            if is_dolby(track)
                && wanted.keeps(track)
                && let Ok(mut plan) = plan_copy(source, track, wanted)
            {
                plan.label = menu_name(track, &taken[..place]);
                chosen.add(track, plan);
            }
        }
    }
    Ok(chosen)
}

impl Chosen {
    fn add(&mut self, track: &Stream, mut plan: AudioPlan) {
        let taken = |name: &str| self.plans.iter().any(|plan| plan.name == name);
        plan.name = choice::folder(track, plan.codec.short_name(), taken);
        self.plans.push(plan);
    }
}

impl Wanted<'_> {
    /// Whether a track stays as it is as far as channels and loudness go.
    fn keeps(&self, track: &Stream) -> bool {
        let channels = track.audio().map_or(0, |info| info.channels);
        self.sound.loudness.is_none() && self.sound.downmix.channels(channels) == channels
    }

    /// Whether whoever plays the result plays the track's codec.
    fn passes(&self, track: &Stream) -> bool {
        match track.codec.as_str() {
            "aac" | "opus" => true,
            "mp3" => self.sound.for_files,
            _ => self.sound.for_files && is_dolby(track),
        }
    }
}

/// The codec for what has to be encoded: Opus, or AAC if that is what the other tracks have. Players switch between tracks of one codec best.
fn web_codec<'a>(others: impl Iterator<Item = &'a str>) -> AudioCodec {
    let (mut aac, mut opus) = (false, false);
    for codec in others {
        aac |= codec == "aac";
        opus |= codec == "opus";
    }
    if aac && !opus {
        AudioCodec::Aac
    } else {
        AudioCodec::Opus
    }
}

/// Whether not all browsers play its codec, though MP4 takes it.
fn is_dolby(track: &Stream) -> bool {
    matches!(track.codec.as_str(), "ac3" | "eac3")
}

/// The name of a track in menus, where its language does not tell it from those before it.
fn menu_name(track: &Stream, before: &[&Stream]) -> Option<String> {
    let (label, language) = (choice::label(track), choice::language(track));
    let same =
        |other: &&&Stream| choice::label(other) == label && choice::language(other) == language;
    let count = before.iter().filter(same).count();
    if count == 0 {
        return label;
    }
    let plain = label.or_else(|| language.and_then(bcp47));
    let plain = plain.unwrap_or_else(|| "Audio".to_owned());
    Some(format!("{plain} {}", count + 1))
}

fn no_track(pick: &Pick, tracks: &[Stream]) -> Refusal {
    refuse(pick.missing(tracks, "sound"))
}

fn refuse(reason: impl Into<String>) -> Refusal {
    Refusal::Audio {
        reason: reason.into(),
        source: None,
    }
}

fn because(reason: &'static str) -> impl Fn(Error) -> Refusal {
    move |source| Refusal::Audio {
        reason: reason.to_owned(),
        source: Some(source),
    }
}

fn choose_for(
    source: &Source,
    stream: &Stream,
    (wanted, web): (&Wanted<'_>, AudioCodec),
) -> Result<AudioPlan, Refusal> {
    let info = stream
        .audio()
        .ok_or_else(|| refuse("the track is no sound"))?;
    if info.sample_rate == 0 || info.channels == 0 {
        return Err(refuse("the track does not say how it is sampled"));
    }
    if stream.encrypted {
        return Err(refuse("the track is encrypted"));
    }
    let keeps = wanted.keeps(stream);
    let encode = |codec| {
        let mut plan = plan_encode((stream, info), codec, wanted)?;
        if let Some(target) = wanted.sound.loudness {
            plan.gain = loudness::gain((source, stream), &plan, (target, wanted.cancel))
                .map_err(because("its loudness cannot be measured"))?;
        }
        Ok(plan)
    };
    match wanted.choice {
        AudioChoice::Copy if !wanted.passes(stream) && !is_dolby(stream) => {
            let takes = if wanted.sound.for_files {
                "plain files take AAC, Opus, AC-3, E-AC-3 and MP3"
            } else {
                "packages take AAC, Opus, AC-3 and E-AC-3"
            };
            Err(refuse(format!(
                "{} cannot pass through: {takes}",
                stream.codec
            )))
        }
        AudioChoice::Copy if !keeps => Err(refuse(
            "a track that passes through cannot be changed on the way",
        )),
        AudioChoice::Copy => plan_copy(source, stream, wanted),
        AudioChoice::Auto if wanted.passes(stream) && keeps => plan_copy(source, stream, wanted)
            .or_else(|refusal| match refusal {
                Refusal::Audio { .. } => encode(web),
                other => Err(other),
            }),
        AudioChoice::Auto => encode(web),
        AudioChoice::Opus => encode(AudioCodec::Opus),
        AudioChoice::Aac => encode(AudioCodec::Aac),
        AudioChoice::None => Err(refuse("no sound was asked for")),
    }
}

fn plan_encode(
    (stream, info): (&Stream, &AudioInfo),
    codec: AudioCodec,
    wanted: &Wanted<'_>,
) -> Result<AudioPlan, Refusal> {
    let format = Format {
        sample_rate: codec.sample_rate_for(info.sample_rate),
        channels: wanted
            .sound
            .downmix
            .channels(info.channels.min(MOST_CHANNELS)),
    };
    let bit_rate = bit_rate(codec, format.channels);
    let config = AudioConfig {
        codec,
        format,
        bit_rate,
    };
    let encoder =
        AudioEncoder::open(&config).map_err(because("no encoder for it can be opened"))?;
    let configuration = encoder.configuration().to_vec();
    let codec_config = match codec {
        AudioCodec::Opus => track::AudioCodec::Opus {
            head: configuration,
        },
        AudioCodec::Aac => track::AudioCodec::Aac {
            config: configuration,
        },
        AudioCodec::Ac3 | AudioCodec::Eac3 => {
            return Err(refuse(format!("{codec} is copied only, and not made")));
        }
    };
    Ok(AudioPlan {
        stream: stream.index,
        name: String::new(),
        mode: AudioMode::Encode { codec, bit_rate },
        codec: codec_config,
        sample_rate: format.sample_rate,
        channels: format.channels,
        priming: encoder.priming(),
        frame: encoder.frame_size(),
        language: choice::language(stream).map(str::to_owned),
        label: choice::label(stream),
        adts: false,
        gain: 0,
    })
}

/// Bits a second at which each codec is transparent for most, by channels.
fn bit_rate(codec: AudioCodec, channels: u32) -> u64 {
    let pairs = u64::from(channels / 2);
    let single = u64::from(channels % 2);
    match codec {
        AudioCodec::Opus => pairs * 112_000 + single * 64_000,
        AudioCodec::Aac | AudioCodec::Ac3 | AudioCodec::Eac3 => pairs * 160_000 + single * 96_000,
    }
}

/// What the first packets of a track tell.
struct Start {
    /// Start of the first packet that is kept, in samples of the presentation.
    first: i64,
    /// Its length in samples.
    frame: u32,
    configuration: Vec<u8>,
}

fn plan_copy(source: &Source, stream: &Stream, wanted: &Wanted<'_>) -> Result<AudioPlan, Refusal> {
    let info = stream
        .audio()
        .ok_or_else(|| refuse("the track is no sound"))?;
    let opus = stream.codec == "opus";
    let adts = stream.codec == "aac" && info.extradata.is_empty();
    let sample_rate = if opus { 48_000 } else { info.sample_rate };
    let mut start = look_at_start(
        source,
        stream,
        &Copied {
            sample_rate,
            adts,
            wanted,
        },
    )?;
    if start.first > (f64::from(sample_rate) * LATE_SECONDS) as i64 {
        return Err(refuse("the track starts long after the picture"));
    }
    if opus && !wanted.starts_inside {
        // Matroska rounds the priming to milliseconds; the codec's header has it exactly.
        let skip = opus_skip(&start.configuration);
        if (start.first + skip).abs() <= 48 {
            start.first = -skip;
        }
    }
    let config = start.configuration;
    let codec = match stream.codec.as_str() {
        "opus" => track::AudioCodec::Opus { head: config },
        "ac3" => track::AudioCodec::Ac3 { config },
        "eac3" => track::AudioCodec::Eac3 { config },
        "mp3" => track::AudioCodec::Mp3 {
            header: *config.first_chunk().unwrap_or(&[0; 4]),
        },
        _ => track::AudioCodec::Aac { config },
    };
    codec
        .check()
        .map_err(|error| refuse(format!("the track cannot pass through: {error}")))?;
    let plan = AudioPlan {
        stream: stream.index,
        name: String::new(),
        mode: AudioMode::Copy,
        codec,
        sample_rate,
        channels: info.channels,
        priming: u32::try_from(-start.first.min(0)).unwrap_or(0),
        frame: start.frame,
        language: choice::language(stream).map(str::to_owned),
        label: choice::label(stream),
        adts,
        gain: 0,
    };
    if wanted.choice == AudioChoice::Auto && !super::feed::has_silence(&plan) {
        return Err(refuse("holes in it could not be filled"));
    }
    Ok(plan)
}

fn opus_skip(head: &[u8]) -> i64 {
    // RFC 7845 §5.1: the pre-skip stands at byte 10, little endian.
    head.get(10..12).map_or(0, |bytes| {
        i64::from(u16::from_le_bytes([bytes[0], bytes[1]]))
    })
}

struct Copied<'a> {
    sample_rate: u32,
    adts: bool,
    wanted: &'a Wanted<'a>,
}

fn look_at_start(source: &Source, stream: &Stream, copied: &Copied<'_>) -> Result<Start, Refusal> {
    let cannot = because("its packets cannot be read");
    let mut demuxer =
        Demuxer::open(source, &Limits::default(), copied.wanted.cancel.media()).map_err(&cannot)?;
    demuxer.keep_only(&[stream.index]);
    if copied.wanted.starts_inside {
        super::approach(&mut demuxer, stream, copied.wanted.origin).map_err(&cannot)?;
    }
    let mut filter = copied
        .adts
        .then(|| PacketFilter::new(AAC_ADTS_TO_ASC, stream))
        .transpose()
        .map_err(&cannot)?;
    let rate = f64::from(copied.sample_rate);
    let opus = stream.codec == "opus";
    let preroll = match stream.codec.as_str() {
        "opus" => OPUS_PREROLL,
        "mp3" => MP3_PREROLL,
        _ => i64::from(AAC_FRAME),
    };
    for _ in 0..LOOK_PACKETS {
        let Some(packet) = demuxer.read().map_err(&cannot)? else {
            break;
        };
        if packet.stream() != stream.index {
            continue;
        }
        let seconds = packet
            .pts()
            .map_or(copied.wanted.origin, |pts| stream.time_base.seconds(pts));
        let ticks = (stream.time_base.seconds(packet.duration()) * rate).round() as u32;
        let data = packet.data().to_vec();
        let frame = match &stream.kind {
            _ if is_dolby(stream) => dolby::FRAME_SAMPLES,
            _ if stream.codec == "mp3" => mp3_frame(&data)?.samples,
            StreamKind::Audio(info) if info.frame_size > 0 && !opus => info.frame_size,
            _ if ticks > 0 => ticks,
            _ => AAC_FRAME,
        };
        if let Some(filter) = &mut filter {
            filter.apply(packet).map_err(&cannot)?;
        }
        let first = ((seconds - copied.wanted.origin) * rate).round() as i64;
        let configuration = filter
            .as_ref()
            .map_or(&[][..], |filter| filter.configuration())
            .to_vec();
        let configuration = if copied.adts {
            configuration
        } else {
            configuration_of(stream, &data)?
        };
        if first + i64::from(frame) > -preroll && !configuration.is_empty() {
            return Ok(Start {
                first,
                frame,
                configuration,
            });
        }
    }
    Err(refuse("its first packets do not say how to decode it"))
}

/// The header of a packet that is one frame of MP3.
fn mp3_frame(packet: &[u8]) -> Result<mp3::Header, Refusal> {
    let header = mp3::Header::of(packet).map_err(|error| refuse(error.to_string()))?;
    if packet.len() >= 2 * header.bytes {
        return Err(refuse("its packets hold several frames each"));
    }
    Ok(header)
}

/// What describes the track to decoders: the container's configuration, for MP3 and Dolby's codecs what a packet says.
fn configuration_of(stream: &Stream, packet: &[u8]) -> Result<Vec<u8>, Refusal> {
    let cannot = |error: dolby::DolbyError| refuse(error.to_string());
    match (stream.codec.as_str(), &stream.kind) {
        ("ac3", _) => dolby::ac3_config(packet).map_err(cannot),
        ("eac3", _) => dolby::eac3_config(packet).map_err(cannot),
        ("mp3", _) => Ok(packet[..packet.len().min(4)].to_vec()),
        (_, StreamKind::Audio(info)) => Ok(info.extradata.clone()),
        _ => Ok(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opus_priming_is_read_from_its_header() {
        let head = [
            b"OpusHead".as_slice(),
            &[1, 2, 0x38, 0x01, 0x80, 0xbb, 0, 0, 0, 0, 0],
        ]
        .concat();
        assert_eq!(opus_skip(&head), 312);
        assert_eq!(opus_skip(b"Opus"), 0);
    }

    #[test]
    fn what_is_encoded_has_the_codec_of_the_others() {
        assert_eq!(web_codec(["ac3", "aac"].into_iter()), AudioCodec::Aac);
        assert_eq!(web_codec(["opus", "aac"].into_iter()), AudioCodec::Opus);
        assert_eq!(web_codec(["ac3"].into_iter()), AudioCodec::Opus);
        assert_eq!(web_codec([].into_iter()), AudioCodec::Opus);
    }

    #[test]
    fn surround_gets_more_bits() {
        assert_eq!(bit_rate(AudioCodec::Opus, 1), 64_000);
        assert_eq!(bit_rate(AudioCodec::Opus, 2), 112_000);
        assert_eq!(bit_rate(AudioCodec::Opus, 6), 336_000);
    }
}
