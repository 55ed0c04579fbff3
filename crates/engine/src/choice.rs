//! Which tracks of the source are taken: what the user typed in, places in the source out.

use std::fmt;
use std::str::FromStr;

use rungs_media::demux::Stream;
use rungs_package::language::bcp47;
use serde::{Deserialize, Serialize};

/// Which tracks of one kind are taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrackChoice {
    /// All of them.
    #[default]
    All,
    /// The one that the source marks as its default, or else the first.
    First,
    /// None.
    None,
    /// These, in this order.
    Listed(Vec<Pick>),
}

/// One track, or those of one language.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pick {
    /// The track at this place among those of its kind, from 1.
    Number(usize),
    /// All tracks of this language, as BCP 47 writes it.
    Language(String),
}

impl FromStr for Pick {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(0) => Err("tracks count from 1".to_owned()),
            Ok(number) => Ok(Self::Number(number)),
            Err(_) => bcp47(text).map(Self::Language).ok_or_else(|| {
                format!("{text:?} is no number of a track and no language: use 2, or deu")
            }),
        }
    }
}

impl FromStr for TrackChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "all" => Ok(Self::All),
            "first" => Ok(Self::First),
            "none" => Ok(Self::None),
            list => {
                let picks = list.split(',').map(|pick| pick.trim().parse());
                picks.collect::<Result<_, _>>().map(Self::Listed)
            }
        }
    }
}

impl fmt::Display for Pick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Language(language) => f.write_str(language),
        }
    }
}

impl fmt::Display for TrackChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::First => f.write_str("first"),
            Self::None => f.write_str("none"),
            Self::Listed(picks) => {
                let picks: Vec<_> = picks.iter().map(ToString::to_string).collect();
                f.write_str(&picks.join(","))
            }
        }
    }
}

impl TrackChoice {
    /// Whether the user named tracks: what is named and cannot be had is an error, and not a warning.
    pub(crate) fn is_listed(&self) -> bool {
        matches!(self, Self::Listed(_))
    }

    /// Takes the chosen of `tracks`, which are of one kind and in the source's order. The one to play comes first: the source's default, unless
    /// the user gave an order. Each is taken once.
    ///
    /// The error is the first pick that fits no track.
    pub(crate) fn of<'a>(&self, tracks: &'a [Stream]) -> Result<Vec<&'a Stream>, Pick> {
        let mut chosen: Vec<&Stream> = match self {
            Self::None => Vec::new(),
            Self::All | Self::First => tracks.iter().collect(),
            Self::Listed(picks) => {
                let mut listed = Vec::new();
                for pick in picks {
                    let found = pick.of(tracks);
                    if found.is_empty() {
                        return Err(pick.clone());
                    }
                    listed.extend(found);
                }
                listed
            }
        };
        if !self.is_listed() {
            chosen.sort_by_key(|track| !track.is_default);
        }
        if *self == Self::First {
            chosen.truncate(1);
        }
        let mut seen = Vec::new();
        chosen.retain(|track| {
            let new = !seen.contains(&track.index);
            seen.push(track.index);
            new
        });
        Ok(chosen)
    }
}

impl Pick {
    /// Says that it fits none of the tracks, which are of this kind.
    pub(crate) fn missing(&self, tracks: &[Stream], kind: &str) -> String {
        let there: Vec<_> = tracks.iter().map(|track| called(track, tracks)).collect();
        let there = match &there[..] {
            [] => "none".to_owned(),
            there => there.join(", "),
        };
        match self {
            Self::Number(number) => {
                format!("there is no track {number} of {kind}; there is {there}")
            }
            Self::Language(language) => {
                format!("no track of {kind} is tagged {language}; there is {there}")
            }
        }
    }

    fn of<'a>(&self, tracks: &'a [Stream]) -> Vec<&'a Stream> {
        let fits = |(place, track): &(usize, &Stream)| match self {
            Self::Number(number) => place + 1 == *number,
            Self::Language(wanted) => {
                language(track).and_then(bcp47).as_deref() == Some(wanted.as_str())
            }
        };
        let found = tracks.iter().enumerate().filter(fits);
        found.map(|(_, track)| track).collect()
    }
}

/// What people call a track: its number among those of its kind, and its language.
pub(crate) fn called(track: &Stream, tracks: &[Stream]) -> String {
    let place = tracks.iter().position(|other| other.index == track.index);
    let number = place.map_or(0, |place| place + 1);
    let language = language(track).map(|language| format!(" ({language})"));
    format!("track {number}{}", language.unwrap_or_default())
}

/// The language of a track as the source tags it, where it does.
pub(crate) fn language(track: &Stream) -> Option<&str> {
    track
        .language
        .as_deref()
        .filter(|language| *language != "und")
}

/// The name that the source gives a track, fit for a menu: without control characters, and not longer than a line.
pub(crate) fn label(track: &Stream) -> Option<String> {
    const LONGEST: usize = 100;
    let title = track.title.as_deref()?;
    let plain = title.chars().filter(|c| !c.is_control());
    let label: String = plain.take(LONGEST).collect();
    let label = label.trim();
    (!label.is_empty()).then(|| label.to_owned())
}

/// A folder's name for a track: its language and `what` it is, and a number where that is `taken`.
pub(crate) fn folder(track: &Stream, what: &str, taken: impl Fn(&str) -> bool) -> String {
    let plain = |language: &&str| {
        (1..=8).contains(&language.len()) && language.chars().all(|c| c.is_ascii_alphanumeric())
    };
    let language = track.language.as_deref().filter(plain).unwrap_or("und");
    let first = if what.is_empty() {
        language.to_owned()
    } else {
        format!("{language}-{what}")
    };
    let numbered = (2..).map(|number: u32| format!("{first}-{number}"));
    let mut names = std::iter::once(first.clone()).chain(numbered);
    names.find(|name| !taken(name)).unwrap_or(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_read_and_told() {
        let read = |text: &str| text.parse::<TrackChoice>();
        assert_eq!(read("all"), Ok(TrackChoice::All));
        assert_eq!(read("first"), Ok(TrackChoice::First));
        assert_eq!(read("none"), Ok(TrackChoice::None));
        let listed = read("2,deu, en").expect("a list");
        let german = Pick::Language("de".to_owned());
        let english = Pick::Language("en".to_owned());
        assert_eq!(
            listed,
            TrackChoice::Listed(vec![Pick::Number(2), german, english])
        );
        assert_eq!(listed.to_string(), "2,de,en");
        for bad in ["", "0", "1,", "a_b", "-1"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
