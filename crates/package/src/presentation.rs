//! All renditions of a package in, what the multivariant playlist and the manifest say of them out.

use std::cmp::Reverse;
use std::time::Duration;

use crate::bandwidth::Bandwidth;
use crate::dash::{
    AdaptationSet, Addressing, Content, ImageSet, Manifest, Media, Representation, TextSet,
};
use crate::hls::{
    AudioRendition, FramesVariant, ImagesVariant, MasterPlaylist, SubtitleRendition, Variant,
    VideoRange,
};
use crate::language;
use crate::output::StoredSegment;
use crate::packager::{Layout, TrackSpec};
use crate::single::SingleFile;
use crate::storyboard::{Board, tile_name};
use crate::text::TextTrack;
use crate::track::{AudioTrack, Track, VideoTrack};

/// A track as manifests see it.
pub(crate) struct Rendition<'a> {
    pub(crate) spec: &'a TrackSpec,
    pub(crate) codec: &'a str,
    pub(crate) bandwidth: Bandwidth,
    /// The rates of the I-frame playlist; of no meaning without pictures.
    pub(crate) frames: Bandwidth,
    /// Presentation times and durations of the segments, in ticks.
    pub(crate) timeline: Vec<(u64, u64)>,
    /// The file that all segments are in, if they are.
    pub(crate) single: Option<&'a SingleFile>,
}

/// Name of the initialisation segment in a track's folder.
pub(crate) const INIT: &str = "init.mp4";
/// Name of the media playlist in a track's folder.
pub(crate) const PLAYLIST: &str = "playlist.m3u8";
/// Name of the I-frame playlist in the folder of a track of pictures.
pub(crate) const FRAMES: &str = "iframes.m3u8";
/// Folder of the thumbnails, and with it the track as whose segments the tiles are recorded.
pub(crate) const STORYBOARD: &str = "storyboard";
/// Name of the image playlist in the folder of the thumbnails.
pub(crate) const IMAGES: &str = "images.m3u8";
/// Name of the list of thumbnails in their folder.
pub(crate) const THUMBNAILS: &str = "thumbnails.vtt";
/// The track as whose one segment the poster is recorded, and its file.
pub(crate) const POSTER: &str = "poster";
pub(crate) const POSTER_FILE: &str = "poster.jpg";
/// The tiles' names, as DASH templates have it.
const TILES: &str = "storyboard/tile-$Number%05d$.jpg";
/// The segments' names, as DASH templates have it.
const TEMPLATE: &str = "seg-$Number%05d$.m4s";

/// What the whole file of subtitles is called, in its folder and with it as a track of one segment.
pub(crate) const WHOLE: &str = "all";

/// Returns the name under which the whole file of a track of subtitles is recorded.
#[must_use]
pub fn whole_text_name(track: &str) -> String {
    format!("{track}/{WHOLE}")
}

/// The file that holds all segments of a track, beside its folder.
#[must_use]
pub fn single_name(track: &str) -> String {
    format!("{track}.mp4")
}

/// Name of a segment in a track's folder.
pub(crate) fn segment_name(index: u32) -> String {
    format!("seg-{index:05}.m4s")
}

/// Name of a segment of subtitles in a track's folder.
pub(crate) fn text_name(index: u32) -> String {
    format!("seg-{index:05}.vtt")
}

/// Returns where a stored segment's file is, relative to the package.
#[must_use]
pub fn stored_path(segment: &StoredSegment) -> String {
    segment_path(&segment.track, segment.index)
}

/// Returns where the segment of a track with this number is stored, relative to the package.
#[must_use]
pub fn segment_path(track: &str, index: u32) -> String {
    if track == STORYBOARD {
        return format!("{STORYBOARD}/{}", tile_name(index));
    }
    if track == POSTER {
        return POSTER_FILE.to_owned();
    }
    match track.strip_prefix("text/") {
        None => format!("{track}/{}", segment_name(index)),
        Some(name) if name.ends_with(&format!("/{WHOLE}")) => format!("{track}.vtt"),
        Some(_) => format!("{track}/{}", text_name(index)),
    }
}

/// Splits the path of a stored segment into its track and its number; `None` if no segment is stored there.
#[must_use]
pub fn parse_segment_path(path: &str) -> Option<(String, u32)> {
    if path == POSTER_FILE {
        return Some((POSTER.to_owned(), 0));
    }
    let (folder, name) = path.rsplit_once('/')?;
    if name == format!("{WHOLE}.vtt") {
        let track = whole_text_name(folder);
        return (segment_path(&track, 0) == path).then_some((track, 0));
    }
    let digits = name.rsplit_once('.')?.0.rsplit_once('-')?.1;
    let index = digits.parse().ok()?;
    // Other spellings of the number or the name are the names of other files.
    (segment_path(folder, index) == path).then(|| (folder.to_owned(), index))
}

/// Lists the files that the track of this name always has in its folder, relative to the package.
#[must_use]
pub fn track_files(track: &str) -> Vec<String> {
    let names: &[&str] = if track.starts_with("text/") {
        &[PLAYLIST]
    } else {
        &[FRAMES, PLAYLIST, INIT]
    };
    names.iter().map(|name| format!("{track}/{name}")).collect()
}

/// Tells whether a file that is recorded as a segment of this track is an image.
#[must_use]
pub fn is_still(track: &str) -> bool {
    [STORYBOARD, POSTER].contains(&track)
}

/// Describes the multivariant playlist: the first codec's tallest video first, each with each group of audio.
pub(crate) fn master(renditions: &[Rendition<'_>]) -> MasterPlaylist {
    let videos = videos(renditions);
    let groups = audio_groups(renditions);
    let subtitles = subtitles(renditions);
    if videos.is_empty() {
        let sound = audios(renditions).map(|(rendition, _)| rendition);
        let variants = sound.map(|rendition| Variant {
            uri: rendition.playlist(),
            bandwidth: rendition.bandwidth,
            codecs: vec![rendition.codec.to_owned()],
            resolution: None,
            frame_rate: None,
            range: None,
            audio_group: None,
        });
        return MasterPlaylist {
            subtitles,
            variants: variants.collect(),
            ..MasterPlaylist::default()
        };
    }
    let mut variants: Vec<_> = if groups.is_empty() {
        videos
            .iter()
            .map(|&(rendition, video)| variant(rendition, video, None))
            .collect()
    } else {
        let pairs = groups
            .iter()
            .flat_map(|group| videos.iter().map(move |video| (group, video)));
        pairs
            .map(|(group, &(rendition, video))| variant(rendition, video, Some(group)))
            .collect()
    };
    let text = texts(renditions).map(|(rendition, _)| rendition.bandwidth);
    let text = text.fold(Bandwidth::default(), Bandwidth::most);
    for variant in &mut variants {
        variant.bandwidth = variant.bandwidth.plus(text);
    }
    MasterPlaylist {
        audio: groups.iter().flat_map(AudioGroup::renditions).collect(),
        subtitles,
        variants,
        frames: videos.iter().map(|&video| frames(video)).collect(),
        images: None,
    }
}

/// Describes the keyframes of a video, which are played without sound.
fn frames((rendition, video): (&Rendition<'_>, &VideoTrack)) -> FramesVariant {
    FramesVariant {
        uri: rendition.frames_playlist(),
        bandwidth: rendition.frames,
        codec: rendition.codec.to_owned(),
        resolution: video.display_size(),
        range: VideoRange::of(video.effective_color()),
    }
}

fn variant(
    rendition: &Rendition<'_>,
    video: &VideoTrack,
    group: Option<&AudioGroup<'_>>,
) -> Variant {
    let mut codecs = vec![rendition.codec.to_owned()];
    let mut largest = Bandwidth::default();
    for (audio, _) in group.iter().flat_map(|group| &group.members) {
        largest = largest.most(audio.bandwidth);
        if !codecs.iter().any(|codec| codec == audio.codec) {
            codecs.push(audio.codec.to_owned());
        }
    }
    Variant {
        uri: rendition.playlist(),
        bandwidth: rendition.bandwidth.plus(largest),
        codecs,
        resolution: Some(video.display_size()),
        frame_rate: rendition.spec.frame_rate,
        range: Some(VideoRange::of(video.effective_color())),
        audio_group: group.map(|group| group.id.clone()),
    }
}

/// Describes the thumbnails for the multivariant playlist.
pub(crate) fn images(board: &Board, bandwidth: Bandwidth) -> ImagesVariant {
    ImagesVariant {
        uri: format!("{STORYBOARD}/{IMAGES}"),
        bandwidth,
        resolution: board.thumbnail,
    }
}

/// Describes the thumbnails for the manifest.
pub(crate) fn image_set(board: &Board, bandwidth: Bandwidth) -> ImageSet {
    ImageSet {
        id: STORYBOARD.to_owned(),
        tiles: TILES.to_owned(),
        count: board.tiles(),
        size: board.tile_size(),
        layout: (board.columns, board.rows),
        duration: board.tile_duration(),
        bandwidth: bandwidth.peak,
    }
}

/// Describes the manifest.
pub(crate) fn manifest(renditions: &[Rendition<'_>], layout: Layout) -> Manifest {
    let ends = renditions.iter().filter_map(Rendition::end);
    Manifest {
        duration: ends.max().unwrap_or_default(),
        min_buffer_time: layout.segment_duration,
        max_segment_duration: renditions
            .iter()
            .map(Rendition::longest)
            .max()
            .unwrap_or_default(),
        sets: video_sets(renditions)
            .into_iter()
            .chain(audio_sets(renditions))
            .collect(),
        text: texts(renditions).map(text_set).collect(),
        images: None,
    }
}

/// Players switch between videos of one codec and one set of colours.
fn video_sets(renditions: &[Rendition<'_>]) -> Vec<AdaptationSet> {
    let mut sets: Vec<(&str, AdaptationSet)> = Vec::new();
    for (rendition, video) in videos(renditions) {
        let media = Media::Video {
            width: video.width,
            height: video.height,
            frame_rate: rendition.spec.frame_rate,
            pixel_aspect: video.pixel_aspect,
        };
        let (codec, color) = (rendition.family(), video.effective_color());
        let representation = rendition.representation(media);
        if let Some((_, set)) = sets
            .iter_mut()
            .find(|(other, set)| *other == codec && set.color == color)
        {
            set.representations.push(representation);
        } else {
            let set = AdaptationSet {
                content: Content::Video,
                language: None,
                label: None,
                main: true,
                color,
                representations: vec![representation],
            };
            sets.push((codec, set));
        }
    }
    sets.into_iter().map(|(_, set)| set).collect()
}

/// Players switch between renditions of the same sound: language, label, channels and codec.
fn audio_sets(renditions: &[Rendition<'_>]) -> Vec<AdaptationSet> {
    let mut sets: Vec<((&str, u16), AdaptationSet)> = Vec::new();
    for (rendition, audio) in audios(renditions) {
        let media = Media::Audio {
            sample_rate: audio.sample_rate,
            channels: audio.channels,
        };
        let key = (rendition.family(), audio.channels);
        let (language, label) = (language_of(audio), rendition.spec.label.clone());
        let representation = rendition.representation(media);
        let same = |(other, set): &&mut ((&str, u16), AdaptationSet)| {
            *other == key && set.language == language && set.label == label
        };
        if let Some((_, set)) = sets.iter_mut().find(same) {
            set.representations.push(representation);
        } else {
            // The first of a codec is the one to play where the user wants no language of the others.
            let main = !sets.iter().any(|((codec, _), _)| *codec == key.0);
            let set = AdaptationSet {
                content: Content::Audio,
                language,
                label,
                main,
                color: None,
                representations: vec![representation],
            };
            sets.push((key, set));
        }
    }
    sets.into_iter().map(|(_, set)| set).collect()
}

/// The videos, codec by codec in the order in which the codecs were added, tallest first; of the same height, in the order of addition.
fn videos<'a>(renditions: &'a [Rendition<'_>]) -> Vec<(&'a Rendition<'a>, &'a VideoTrack)> {
    let mut videos: Vec<_> = renditions
        .iter()
        .filter_map(|rendition| match &rendition.spec.track {
            Track::Video(video) => Some((rendition, video)),
            Track::Audio(_) | Track::Text(_) => None,
        })
        .collect();
    let codecs: Vec<_> = videos
        .iter()
        .map(|(_, video)| video.coding.codec())
        .collect();
    videos.sort_by_key(|(_, video)| {
        let codec = video.coding.codec();
        let first = codecs.iter().position(|other| *other == codec);
        (first, Reverse(video.height))
    });
    videos
}

fn audios<'a>(
    renditions: &'a [Rendition<'_>],
) -> impl Iterator<Item = (&'a Rendition<'a>, &'a AudioTrack)> {
    renditions
        .iter()
        .filter_map(|rendition| match &rendition.spec.track {
            Track::Audio(audio) => Some((rendition, audio)),
            Track::Video(_) | Track::Text(_) => None,
        })
}

fn texts<'a>(
    renditions: &'a [Rendition<'_>],
) -> impl Iterator<Item = (&'a Rendition<'a>, &'a TextTrack)> {
    renditions
        .iter()
        .filter_map(|rendition| match &rendition.spec.track {
            Track::Text(text) => Some((rendition, text)),
            Track::Video(_) | Track::Audio(_) => None,
        })
}

fn subtitles(renditions: &[Rendition<'_>]) -> Vec<SubtitleRendition> {
    let mut listed: Vec<SubtitleRendition> = Vec::new();
    for (rendition, text) in texts(renditions) {
        let language = text.language.as_deref().and_then(language::bcp47);
        let plain = rendition.spec.label.clone().or(language.clone());
        let plain = plain.unwrap_or_else(|| "Subtitles".to_owned());
        let taken = |name: &str| listed.iter().any(|other| other.name == name);
        listed.push(SubtitleRendition {
            name: free_name(&plain, taken),
            language,
            forced: text.forced,
            uri: rendition.playlist(),
        });
    }
    listed
}

fn text_set((rendition, text): (&Rendition<'_>, &TextTrack)) -> TextSet {
    let name = &rendition.spec.name;
    TextSet {
        id: name.clone(),
        language: text.language.as_deref().and_then(language::bcp47),
        label: rendition.spec.label.clone(),
        forced: text.forced,
        bandwidth: rendition.bandwidth.peak,
        file: format!("{name}/{WHOLE}.vtt"),
    }
}

/// The name, with a number where it is taken.
fn free_name(plain: &str, taken: impl Fn(&str) -> bool) -> String {
    let mut name = plain.to_owned();
    let mut count = 1;
    while taken(&name) {
        count += 1;
        name = format!("{plain} {count}");
    }
    name
}

fn language_of(audio: &AudioTrack) -> Option<String> {
    audio.language.as_deref().and_then(language::bcp47)
}

impl Rendition<'_> {
    fn frames_playlist(&self) -> String {
        format!("{}/{FRAMES}", self.spec.name)
    }

    fn playlist(&self) -> String {
        format!("{}/{PLAYLIST}", self.spec.name)
    }

    /// The codec without its parameters.
    fn family(&self) -> &str {
        self.codec.split('.').next().unwrap_or(self.codec)
    }

    /// The longest segment; never less than it is.
    fn longest(&self) -> Duration {
        let ticks = self.timeline.iter().map(|(_, duration)| *duration).max();
        self.seconds_up(ticks.unwrap_or(0))
    }

    fn end(&self) -> Option<Duration> {
        let &(start, duration) = self.timeline.last()?;
        Some(self.seconds_up(start + duration))
    }

    /// Ticks as time, rounded up to what manifests write.
    fn seconds_up(&self, ticks: u64) -> Duration {
        let timescale = u128::from(self.spec.track.timescale().max(1));
        let micros = (u128::from(ticks) * 1_000_000).div_ceil(timescale);
        Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    fn representation(&self, media: Media) -> Representation {
        let name = &self.spec.name;
        Representation {
            id: name.clone(),
            codecs: self.codec.to_owned(),
            bandwidth: self.bandwidth.peak,
            media,
            addressing: match self.single {
                None => Addressing::Files {
                    timescale: self.spec.track.timescale(),
                    initialization: format!("{name}/{INIT}"),
                    segments: format!("{name}/{TEMPLATE}"),
                    timeline: self.timeline.clone(),
                },
                Some(single) => Addressing::OneFile {
                    timescale: self.spec.track.timescale(),
                    url: single_name(name),
                    init: single.init,
                    index: single.index,
                },
            },
        }
    }
}

/// Audio that players choose from by language and name. Its members share the codec, so that each
/// variant can say what it needs.
struct AudioGroup<'a> {
    id: String,
    family: &'a str,
    members: Vec<(&'a Rendition<'a>, &'a AudioTrack)>,
}

impl<'a> AudioGroup<'a> {
    /// The member with the same language and label.
    fn of(
        &self,
        rendition: &Rendition<'_>,
        audio: &AudioTrack,
    ) -> Option<(&'a Rendition<'a>, &'a AudioTrack)> {
        let mut members = self.members.iter().copied();
        members.find(|(other, member)| {
            other.spec.label == rendition.spec.label && language_of(member) == language_of(audio)
        })
    }

    fn has(&self, rendition: &Rendition<'_>, audio: &AudioTrack) -> bool {
        self.of(rendition, audio).is_some()
    }

    fn renditions(&self) -> Vec<AudioRendition> {
        let mut listed: Vec<AudioRendition> = Vec::new();
        for (rendition, audio) in &self.members {
            let language = language_of(audio);
            let plain = rendition.spec.label.clone().or(language.clone());
            let plain = plain.unwrap_or_else(|| "Audio".to_owned());
            let taken = |name: &str| listed.iter().any(|other| other.name == name);
            listed.push(AudioRendition {
                group: self.id.clone(),
                name: free_name(&plain, taken),
                language,
                default: listed.is_empty(),
                channels: audio.channels,
                uri: rendition.playlist(),
            });
        }
        listed
    }
}

/// Sorts audio into groups: by codec, and a second rendition of the same language and label into a
/// group of its own, because a group holds different sound, not different qualities of it.
fn audio_groups<'a>(renditions: &'a [Rendition<'_>]) -> Vec<AudioGroup<'a>> {
    let mut groups: Vec<AudioGroup<'a>> = Vec::new();
    for (rendition, audio) in audios(renditions) {
        let family = rendition.family();
        let fits =
            |group: &&mut AudioGroup<'_>| group.family == family && !group.has(rendition, audio);
        if let Some(group) = groups.iter_mut().find(fits) {
            group.members.push((rendition, audio));
            continue;
        }
        let name = if family == "mp4a" { "aac" } else { family };
        let earlier = groups.iter().filter(|group| group.family == family).count();
        let id = if earlier == 0 {
            name.to_owned()
        } else {
            format!("{name}-{}", earlier + 1)
        };
        groups.push(AudioGroup {
            id,
            family,
            members: vec![(rendition, audio)],
        });
    }
    complete(groups)
}

/// Gives each group that only has tracks of the first group in another encoding the others too, in the first group's order: groups that
/// offer the same choice must have the same members (RFC 8216 §4.3.4.1.1).
fn complete(mut groups: Vec<AudioGroup<'_>>) -> Vec<AudioGroup<'_>> {
    let Some((first, others)) = groups.split_first_mut() else {
        return groups;
    };
    for group in others {
        let known =
            |(rendition, audio): &(&Rendition<'_>, &AudioTrack)| first.has(rendition, audio);
        if group.members.iter().all(known) {
            let either =
                |&(rendition, audio)| group.of(rendition, audio).unwrap_or((rendition, audio));
            group.members = first.members.iter().map(either).collect();
        }
    }
    groups
}
