//! Decides how the sound is made, and finds out what its packets will look like.

use std::collections::BTreeMap;

use rungs_media::audio::{AudioCodec, AudioConfig, AudioEncoder, Format};
use rungs_media::bitstream::{AAC_ADTS_TO_ASC, PacketFilter};
use rungs_media::demux::{AudioInfo, Stream, StreamKind};
use rungs_media::{Error, Packet, Source};
use rungs_package::language::bcp47;
use rungs_package::{dolby, mp3, track};

use super::listen::{self, Listener, Reading, Viewer};
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
/// Most samples of a copied track before the presentation: Opus states them in 16 bits (RFC 7845 §5.1).
const MOST_PRIMING: i64 = u16::MAX as i64;
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
    /// Whether a track that cannot be made ends the job.
    pub(crate) strict: bool,
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
    let of = &wanted.sound.tracks;
    let taken = of.of(tracks).map_err(|pick| no_track(&pick, tracks))?;
    let mut starts = look_at_starts(source, &taken, wanted);
    let mut drafts = Vec::new();
    for (place, track) in taken.iter().enumerate() {
        let others = taken.iter().filter(|other| other.index != track.index);
        let others = others.filter(|other| wanted.keeps(other));
        let codec = web_codec(others.map(|other| other.codec.as_str()));
        let plan = choose_for(&mut starts, track, (wanted, codec));
        drafts.push(Draft { track, place, plan });
    }
    listen(source, &mut drafts, wanted)?;
    let mut chosen = Chosen::default();
    let mut again = Vec::new();
    for Draft { track, place, plan } in drafts {
        match plan {
            Ok(mut plan) => {
                plan.label = menu_name(track, &taken[..place]);
                chosen.add(track, plan);
                again.push((track, place));
            }
            Err(Refusal::Audio { reason, source }) if wanted.does_without() => {
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
                && let Ok(mut plan) = plan_copy(&mut starts, track, wanted)
            {
                plan.label = menu_name(track, &taken[..place]);
                chosen.add(track, plan);
            }
        }
    }
    Ok(chosen)
}

/// What becomes of a track, so far.
struct Draft<'a> {
    track: &'a Stream,
    /// Its place among those that are taken.
    place: usize,
    plan: Result<AudioPlan, Refusal>,
}

/// Tries the tracks that will be encoded, or measures them where they are to have a loudness. One that cannot be decoded is refused.
fn listen(source: &Source, drafts: &mut [Draft<'_>], wanted: &Wanted<'_>) -> Result<(), Refusal> {
    let encoded = drafts.iter_mut().filter_map(|draft| match &mut draft.plan {
        Ok(plan) if plan.mode != AudioMode::Copy => Some((draft.track, &mut draft.plan)),
        _ => None,
    });
    let mut encoded: Vec<_> = encoded.collect();
    let listeners = encoded.iter().filter_map(|(track, plan)| {
        let plan = plan.as_ref().ok()?;
        Some(Listener::new(track, plan))
    });
    let mut listeners: Vec<_> = listeners.collect();
    if listeners.is_empty() {
        return Ok(());
    }
    let reading = |from| Reading {
        source,
        from,
        cancel: wanted.cancel,
    };
    let cannot = because(CANNOT_READ);
    let from = wanted.starts_inside.then_some(wanted.origin);
    let tried = listen::try_all(reading(from), wanted.origin, &mut listeners).map_err(&cannot)?;
    for ((_, plan), error) in encoded.iter_mut().zip(tried) {
        if let Some(error) = error {
            **plan = Err(because("it cannot be decoded")(error));
        }
    }
    let Some(target) = wanted.sound.loudness else {
        return Ok(());
    };
    encoded.retain(|(_, plan)| plan.is_ok());
    let listeners = encoded.iter().filter_map(|(track, plan)| {
        let plan = plan.as_ref().ok()?;
        Some(Listener::new(track, plan))
    });
    let gains = listen::measure_all(reading(None), target, listeners.collect()).map_err(&cannot)?;
    for ((_, plan), gain) in encoded.into_iter().zip(gains) {
        match (gain, &mut *plan) {
            (Ok(gain), Ok(plan)) => plan.gain = gain,
            (Err(error), plan) => {
                *plan = Err(because("its loudness cannot be measured")(error));
            }
            (Ok(_), Err(_)) => {}
        }
    }
    Ok(())
}

impl Chosen {
    fn add(&mut self, track: &Stream, mut plan: AudioPlan) {
        let taken = |name: &str| self.plans.iter().any(|plan| plan.name == name);
        plan.name = choice::folder(track, plan.codec.short_name(), taken);
        self.plans.push(plan);
    }
}

impl Wanted<'_> {
    /// Whether a track that cannot be made is left out with a warning: nobody asked for it by name, or for all of it to be right.
    fn does_without(&self) -> bool {
        let may_be_made = self.choice != AudioChoice::Copy;
        may_be_made && !self.strict && !self.sound.tracks.is_listed() && !self.cancel.is_cancelled()
    }

    /// Whether a track may pass through, as far as is known without its packets.
    fn may_copy(&self, track: &Stream) -> bool {
        let sampled = track
            .audio()
            .is_some_and(|info| info.sample_rate > 0 && info.channels > 0);
        let chosen = matches!(self.choice, AudioChoice::Copy | AudioChoice::Auto);
        let passes = self.passes(track) || is_dolby(track);
        sampled && chosen && passes && !track.encrypted && self.keeps(track)
    }

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
    starts: &mut Starts<'_>,
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
    let encode = |codec| plan_encode((stream, info), codec, wanted);
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
        AudioChoice::Copy => plan_copy(starts, stream, wanted),
        AudioChoice::Auto if wanted.passes(stream) && keeps => plan_copy(starts, stream, wanted)
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

fn plan_copy(
    starts: &mut Starts<'_>,
    stream: &Stream,
    wanted: &Wanted<'_>,
) -> Result<AudioPlan, Refusal> {
    let info = stream
        .audio()
        .ok_or_else(|| refuse("the track is no sound"))?;
    let opus = stream.codec == "opus";
    let adts = is_adts(stream, info);
    let sample_rate = copied_rate(stream, info);
    let seen = starts.get_mut(&stream.index);
    let mut start = seen.map_or_else(|| Err(refuse(NO_START)), StartViewer::result)?;
    if start.first > (f64::from(sample_rate) * LATE_SECONDS) as i64 {
        return Err(refuse("the track starts long after the picture"));
    }
    if start.first < -MOST_PRIMING {
        // The container lies about the length of the first packet.
        return Err(refuse("its first packet begins long before the video"));
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

/// Whether a track's packets have headers that MP4 takes away.
fn is_adts(stream: &Stream, info: &AudioInfo) -> bool {
    stream.codec == "aac" && info.extradata.is_empty()
}

/// Samples a second by which a track that passes through is timed.
fn copied_rate(stream: &Stream, info: &AudioInfo) -> u32 {
    if stream.codec == "opus" {
        48_000
    } else {
        info.sample_rate
    }
}

const NO_START: &str = "its first packets do not say how to decode it";

/// What is known of the starts of tracks, by their stream.
type Starts<'a> = BTreeMap<usize, StartViewer<'a>>;

/// Looks at the first packets of a track that may pass through.
struct StartViewer<'a> {
    stream: &'a Stream,
    info: &'a AudioInfo,
    origin: f64,
    filter: Option<PacketFilter>,
    packets: usize,
    found: Option<Result<Start, Refusal>>,
}

/// Looks at the first packets of all tracks that may pass through. Blocks meanwhile.
fn look_at_starts<'a>(source: &Source, tracks: &[&'a Stream], wanted: &Wanted<'_>) -> Starts<'a> {
    let tracks = tracks.iter().filter(|track| wanted.may_copy(track));
    let viewers = tracks.filter_map(|track| StartViewer::new(track, wanted.origin));
    let mut viewers: Vec<_> = viewers.collect();
    let reading = Reading {
        source,
        from: wanted.starts_inside.then_some(wanted.origin),
        cancel: wanted.cancel,
    };
    if let Err(error) = reading.show(&mut viewers, |_| false) {
        let mut error = Some(error);
        for viewer in viewers.iter_mut().filter(|viewer| viewer.found.is_none()) {
            viewer.found = Some(Err(Refusal::Audio {
                reason: CANNOT_READ.to_owned(),
                source: error.take(),
            }));
        }
    }
    let viewers = viewers.into_iter();
    viewers
        .map(|viewer| (viewer.stream.index, viewer))
        .collect()
}

impl<'a> StartViewer<'a> {
    fn new(stream: &'a Stream, origin: f64) -> Option<Self> {
        let info = stream.audio()?;
        let filter = is_adts(stream, info).then(|| PacketFilter::new(AAC_ADTS_TO_ASC, stream));
        let (filter, found) = match filter.transpose() {
            Ok(filter) => (filter, None),
            Err(error) => (None, Some(Err(because(CANNOT_READ)(error)))),
        };
        Some(Self {
            stream,
            info,
            origin,
            filter,
            packets: 0,
            found,
        })
    }

    /// What was found, once.
    fn result(&mut self) -> Result<Start, Refusal> {
        self.found.take().unwrap_or_else(|| Err(refuse(NO_START)))
    }

    /// Whether this packet says enough; `None` for the next one.
    fn look(&mut self, packet: &Packet) -> Result<Option<Start>, Refusal> {
        let stream = self.stream;
        let rate = f64::from(copied_rate(stream, self.info));
        let opus = stream.codec == "opus";
        let preroll = match stream.codec.as_str() {
            "opus" => OPUS_PREROLL,
            "mp3" => MP3_PREROLL,
            _ => i64::from(AAC_FRAME),
        };
        let pts = packet.pts();
        let seconds = pts.map_or(self.origin, |pts| stream.time_base.seconds(pts));
        let ticks = (stream.time_base.seconds(packet.duration()) * rate).round() as u32;
        let data = packet.data();
        let frame = match stream.codec.as_str() {
            _ if is_dolby(stream) => dolby::FRAME_SAMPLES,
            "mp3" => mp3_frame(data)?.samples,
            _ if self.info.frame_size > 0 && !opus => self.info.frame_size,
            _ if ticks > 0 => ticks,
            _ => AAC_FRAME,
        };
        let first = ((seconds - self.origin) * rate).round() as i64;
        let configuration = if let Some(filter) = &mut self.filter {
            let cannot = because(CANNOT_READ);
            filter
                .apply(packet.share().map_err(&cannot)?)
                .map_err(&cannot)?;
            filter.configuration().to_vec()
        } else {
            configuration_of(stream, data)?
        };
        let enough = first + i64::from(frame) > -preroll && !configuration.is_empty();
        Ok(enough.then_some(Start {
            first,
            frame,
            configuration,
        }))
    }
}

impl Viewer for StartViewer<'_> {
    fn stream(&self) -> &Stream {
        self.stream
    }

    fn is_done(&self) -> bool {
        self.found.is_some() || self.packets >= LOOK_PACKETS
    }

    fn take(&mut self, packet: &Packet) {
        self.packets += 1;
        self.found = self.look(packet).transpose();
    }
}

const CANNOT_READ: &str = "its packets cannot be read";

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
