//! The text of a user's filters in, filters with checked values out: a closed list in FFmpeg's syntax.
//!
//! A chain is `name=value:value:option=value,name…`, as FFmpeg writes it. Only the filters and options of the list below are taken, and only values of
//! plain characters: nothing that could end a filter, name a file or depend on the time. What is handed to FFmpeg is written
//! anew from what was read.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::inspect;

/// A filter with its options, each checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Filter {
    known: &'static Known,
    options: Vec<(&'static str, String)>,
}

/// Filters that are applied one after another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Chain(Vec<Filter>);

/// Why a text is no chain of filters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// The list has no such filter.
    #[error("{0:?} is none of the filters that can be used: {known}", known = names())]
    Filter(String),
    /// The filter has no such option, or not so many.
    #[error(
        "the filter {filter} has no option {option:?}: it has {}",
        options(filter)
    )]
    Option {
        /// The filter.
        filter: &'static str,
        /// The option.
        option: String,
    },
    /// The option stands there twice.
    #[error("the filter {filter} has the option {option} twice")]
    Twice {
        /// The filter.
        filter: &'static str,
        /// The option.
        option: &'static str,
    },
    /// The value is none that the option takes.
    #[error("the option {option} of the filter {filter} cannot be {value:?}: it takes {takes}")]
    Value {
        /// The filter.
        filter: &'static str,
        /// The option.
        option: &'static str,
        /// The value.
        value: String,
        /// What it takes.
        takes: String,
    },
}

/// A filter of the list.
#[derive(Debug, PartialEq)]
struct Known {
    name: &'static str,
    /// In the order in which values without a name are taken.
    options: &'static [Choice],
    /// Whether each picture depends on a bounded number of others.
    forgets: bool,
    /// Whether it takes 10 bits a sample.
    deep: bool,
}

// The list has one entry for each name.
impl Eq for Known {}

/// An option: its name, other names of it, and its values.
#[derive(Debug, PartialEq)]
struct Choice(&'static str, &'static [&'static str], Takes);

#[derive(Debug, PartialEq)]
enum Takes {
    /// A number from the first to the second.
    Number(f64, f64),
    /// A sum or product of numbers and these words.
    Sum(&'static [&'static str]),
    /// One of these.
    Word(&'static [&'static str]),
    /// A colour's name, or 0x and its parts; after an @ how opaque it is.
    Color,
}

const SIZES: &[&str] = &["iw", "ih", "in_w", "in_h", "ow", "oh", "out_w", "out_h"];
const TURN: &[&str] = &["PI"];
const YES_NO: &[&str] = &["0", "1"];

/// All filters that can be used, in alphabetical order.
const KNOWN: [Known; 12] = [
    Known {
        name: "crop",
        options: &[
            Choice("w", &["out_w"], Takes::Sum(SIZES)),
            Choice("h", &["out_h"], Takes::Sum(SIZES)),
            Choice("x", &[], Takes::Sum(SIZES)),
            Choice("y", &[], Takes::Sum(SIZES)),
            Choice("keep_aspect", &[], Takes::Word(YES_NO)),
            Choice("exact", &[], Takes::Word(YES_NO)),
        ],
        forgets: true,
        deep: true,
    },
    Known {
        name: "eq",
        options: &[
            Choice("contrast", &[], Takes::Number(-1000.0, 1000.0)),
            Choice("brightness", &[], Takes::Number(-1.0, 1.0)),
            Choice("saturation", &[], Takes::Number(0.0, 3.0)),
            Choice("gamma", &[], Takes::Number(0.1, 10.0)),
            Choice("gamma_r", &[], Takes::Number(0.1, 10.0)),
            Choice("gamma_g", &[], Takes::Number(0.1, 10.0)),
            Choice("gamma_b", &[], Takes::Number(0.1, 10.0)),
            Choice("gamma_weight", &[], Takes::Number(0.0, 1.0)),
        ],
        forgets: true,
        deep: false,
    },
    Known {
        name: "gblur",
        options: &[
            Choice("sigma", &[], Takes::Number(0.0, 1024.0)),
            Choice("steps", &[], Takes::Number(1.0, 6.0)),
            Choice("planes", &[], Takes::Number(0.0, 15.0)),
            Choice("sigmaV", &[], Takes::Number(-1.0, 1024.0)),
        ],
        forgets: true,
        deep: true,
    },
    Known {
        name: "hflip",
        options: &[],
        forgets: true,
        deep: true,
    },
    Known {
        name: "hqdn3d",
        options: &[
            Choice("luma_spatial", &[], Takes::Number(0.0, 255.0)),
            Choice("chroma_spatial", &[], Takes::Number(0.0, 255.0)),
            Choice("luma_tmp", &[], Takes::Number(0.0, 255.0)),
            Choice("chroma_tmp", &[], Takes::Number(0.0, 255.0)),
        ],
        forgets: false,
        deep: true,
    },
    Known {
        name: "hue",
        options: &[
            Choice("h", &[], Takes::Number(-360.0, 360.0)),
            Choice("s", &[], Takes::Number(-10.0, 10.0)),
            Choice("H", &[], Takes::Number(-7.0, 7.0)),
            Choice("b", &[], Takes::Number(-10.0, 10.0)),
        ],
        forgets: true,
        deep: true,
    },
    Known {
        name: "nlmeans",
        options: &[
            Choice("s", &[], Takes::Number(1.0, 30.0)),
            Choice("p", &[], Takes::Number(0.0, 99.0)),
            Choice("pc", &[], Takes::Number(0.0, 99.0)),
            Choice("r", &[], Takes::Number(0.0, 99.0)),
            Choice("rc", &[], Takes::Number(0.0, 99.0)),
        ],
        forgets: true,
        deep: false,
    },
    Known {
        name: "pad",
        options: &[
            Choice("w", &["width"], Takes::Sum(SIZES)),
            Choice("h", &["height"], Takes::Sum(SIZES)),
            Choice("x", &[], Takes::Sum(SIZES)),
            Choice("y", &[], Takes::Sum(SIZES)),
            Choice("color", &[], Takes::Color),
        ],
        forgets: true,
        deep: true,
    },
    Known {
        name: "rotate",
        options: &[
            Choice("angle", &["a"], Takes::Sum(TURN)),
            Choice("out_w", &["ow"], Takes::Sum(SIZES)),
            Choice("out_h", &["oh"], Takes::Sum(SIZES)),
            Choice("fillcolor", &["c"], Takes::Color),
            Choice("bilinear", &[], Takes::Word(YES_NO)),
        ],
        forgets: true,
        deep: true,
    },
    Known {
        name: "transpose",
        options: &[Choice(
            "dir",
            &[],
            Takes::Word(&[
                "0",
                "1",
                "2",
                "3",
                "cclock_flip",
                "clock",
                "cclock",
                "clock_flip",
            ]),
        )],
        forgets: true,
        deep: true,
    },
    Known {
        name: "unsharp",
        options: &[
            Choice("lx", &["luma_msize_x"], Takes::Number(3.0, 23.0)),
            Choice("ly", &["luma_msize_y"], Takes::Number(3.0, 23.0)),
            Choice("la", &["luma_amount"], Takes::Number(-2.0, 5.0)),
            Choice("cx", &["chroma_msize_x"], Takes::Number(3.0, 23.0)),
            Choice("cy", &["chroma_msize_y"], Takes::Number(3.0, 23.0)),
            Choice("ca", &["chroma_amount"], Takes::Number(-2.0, 5.0)),
        ],
        forgets: true,
        deep: true,
    },
    Known {
        name: "vflip",
        options: &[],
        forgets: true,
        deep: true,
    },
];

fn names() -> String {
    KNOWN.map(|known| known.name).join(", ")
}

fn options(filter: &str) -> String {
    let known = KNOWN.iter().find(|known| known.name == filter);
    let names: Vec<_> = known
        .into_iter()
        .flat_map(|known| known.options)
        .map(|choice| choice.0)
        .collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

impl Takes {
    fn accepts(&self, value: &str) -> bool {
        match self {
            Self::Number(least, most) => {
                let plain = |c: char| c.is_ascii_digit() || "+-.".contains(c);
                let number = value.parse::<f64>().ok();
                value.chars().all(plain) && number.is_some_and(|n| (*least..=*most).contains(&n))
            }
            Self::Sum(words) => is_sum(value, words),
            Self::Word(words) => words.contains(&value),
            Self::Color => {
                let plain = |c: char| c.is_ascii_alphanumeric() || c == '@' || c == '.';
                (1..=40).contains(&value.len()) && value.chars().all(plain)
            }
        }
    }
}

impl fmt::Display for Takes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(least, most) => write!(f, "a number from {least} to {most}"),
            Self::Sum(words) => write!(f, "a sum or product of numbers, {}", words.join(", ")),
            Self::Word(words) => write!(f, "one of {}", words.join(", ")),
            Self::Color => write!(f, "a colour such as black or 0x1040FF"),
        }
    }
}

/// Whether the text is made of numbers, the words, and what adds and multiplies them. FFmpeg says what is no sum.
fn is_sum(text: &str, words: &[&str]) -> bool {
    let separates = |c: char| "+-*/()".contains(c);
    let is_term = |term: &str| {
        let number = term.chars().all(|c| c.is_ascii_digit() || c == '.');
        number || words.contains(&term)
    };
    (1..=100).contains(&text.len()) && text.split(separates).all(is_term)
}

impl Filter {
    /// FFmpeg's name of it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.known.name
    }

    /// Whether it takes pictures of 10 bits.
    #[must_use]
    pub fn is_deep(&self) -> bool {
        self.known.deep
    }
}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        let (name, rest) = text.split_once('=').unwrap_or((text, ""));
        let known = KNOWN.iter().find(|known| known.name == name);
        let known = known.ok_or_else(|| FilterError::Filter(name.to_owned()))?;
        let mut filter = Self {
            known,
            options: Vec::new(),
        };
        let values = rest.split(':').filter(|_| !rest.is_empty());
        for (place, value) in values.enumerate() {
            filter.take(place, value)?;
        }
        Ok(filter)
    }
}

impl Filter {
    fn take(&mut self, place: usize, text: &str) -> Result<(), FilterError> {
        let (filter, choices) = (self.known.name, self.known.options);
        let (choice, value) = match text.split_once('=') {
            Some((name, value)) => {
                let named = |choice: &&Choice| choice.0 == name || choice.1.contains(&name);
                (choices.iter().find(named), value)
            }
            None => (choices.get(place), text),
        };
        let Some(Choice(option, _, takes)) = choice else {
            let option = text.to_owned();
            return Err(FilterError::Option { filter, option });
        };
        if self.options.iter().any(|(taken, _)| taken == option) {
            return Err(FilterError::Twice { filter, option });
        }
        if !takes.accepts(value) {
            return Err(FilterError::Value {
                filter,
                option,
                value: value.to_owned(),
                takes: takes.to_string(),
            });
        }
        self.options.push((option, value.to_owned()));
        Ok(())
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.known.name)?;
        for (place, (option, value)) in self.options.iter().enumerate() {
            let before = if place == 0 { '=' } else { ':' };
            write!(f, "{before}{option}={value}")?;
        }
        Ok(())
    }
}

impl From<Filter> for String {
    fn from(filter: Filter) -> Self {
        filter.to_string()
    }
}

impl TryFrom<String> for Filter {
    type Error = FilterError;

    fn try_from(text: String) -> Result<Self, FilterError> {
        text.parse()
    }
}

impl Chain {
    /// The filters, in order.
    #[must_use]
    pub fn filters(&self) -> &[Filter] {
        &self.0
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts others behind these.
    pub fn append(&mut self, mut others: Self) {
        self.0.append(&mut others.0);
    }

    /// Whether what each picture becomes depends on a bounded number of others.
    #[must_use]
    pub fn forgets(&self) -> bool {
        self.0.iter().all(|filter| filter.known.forgets)
    }

    /// Whether width and height change places.
    #[must_use]
    pub fn swap_sides(&self) -> bool {
        let turns = |filter: &&Filter| filter.known.name == "transpose";
        self.0.iter().filter(turns).count() % 2 == 1
    }

    /// The first filter that this FFmpeg lacks.
    #[must_use]
    pub fn missing(&self) -> Option<&'static str> {
        let mut names = self.0.iter().map(Filter::name);
        names.find(|name| !inspect::has_filter(name))
    }
}

impl FromStr for Chain {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        text.split(',')
            .map(str::parse)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let filters: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&filters.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_are_read_as_ffmpeg_reads_them() {
        for (text, written) in [
            ("hflip", "hflip"),
            ("crop=320:180", "crop=w=320:h=180"),
            ("crop=iw-16:ih-2*8:8:y=8", "crop=w=iw-16:h=ih-2*8:x=8:y=8"),
            (
                "pad=w=(iw+20):h=ih:x=10:color=0x102030@0.5,vflip",
                "pad=w=(iw+20):h=ih:x=10:color=0x102030@0.5,vflip",
            ),
            (
                "rotate=PI/4,transpose=clock",
                "rotate=angle=PI/4,transpose=dir=clock",
            ),
            ("unsharp=5:5:0.8", "unsharp=lx=5:ly=5:la=0.8"),
            ("eq=contrast=1.1:gamma=0.9", "eq=contrast=1.1:gamma=0.9"),
        ] {
            let chain: Chain = text.parse().expect(text);
            assert_eq!(chain.to_string(), written);
            assert_eq!(written.parse(), Ok(chain));
        }
        assert!(
            "hflip,gblur=2"
                .parse::<Chain>()
                .is_ok_and(|chain| chain.forgets())
        );
        assert!(
            "hflip,hqdn3d"
                .parse::<Chain>()
                .is_ok_and(|chain| !chain.forgets())
        );
    }

    #[test]
    fn nothing_else_gets_in() {
        for text in [
            "",
            ",",
            "hflip,",
            "movie=/etc/passwd",
            "hflip;vflip",
            "hflip[a]",
            "[in]hflip",
            "drawtext=textfile=/etc/passwd",
            "crop=320:180:sin(t):0",
            "crop=320:180:x=n",
            "crop=w='320'",
            "crop=320\\:180",
            "crop=w=320:w=320",
            "crop=320:w=320",
            "crop=1:2:3:4:0:0:9",
            "crop=random(1)",
            "pad=320:180:color=red,movie=x",
            "pad=color=a:b",
            "pad=color=/tmp/x",
            "pad=color=",
            "eq=contrast=nan",
            "eq=contrast=inf",
            "eq=contrast=1e9",
            "eq=contrast=1+1",
            "eq=gamma=0",
            "gblur=sigma=2\n",
            "transpose=4",
            "scale=320:180",
            "hflip=1",
            "HFLIP",
            "crop=%d",
        ] {
            assert!(text.parse::<Chain>().is_err(), "{text:?}");
        }
        let long = format!("crop={}", "1+".repeat(200));
        assert!(long.parse::<Chain>().is_err());
        let error = "blur=3"
            .parse::<Chain>()
            .expect_err("no such filter")
            .to_string();
        assert!(
            error.contains("gblur") && error.contains("\"blur\""),
            "{error}"
        );
    }
}
