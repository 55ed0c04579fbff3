//! The parsers take any bytes: noise, and what they like with a few bytes changed. `make fuzz` goes on from here.

use proptest::collection::vec;
use proptest::prelude::*;
use rungs_testkit::parsers::{PARSERS, Parser};

/// Bytes that were found by a fuzzer and broke a parser.
const REGRESSIONS: [(&str, &[u8]); 0] = [];

fn parser(name: &str) -> Parser {
    let found = PARSERS.iter().find(|parser| parser.name == name);
    *found.expect("a parser of this name")
}

#[test]
fn examples_are_taken() {
    for parser in PARSERS {
        (parser.run)(parser.example);
    }
    assert!(rungs_package::av1::SequenceHeader::parse(parser("av1_sequence").example).is_ok());
    assert!(rungs_package::nal::AvcConfiguration::parse(parser("avc").example).is_ok());
    assert!(rungs_package::nal::HevcConfiguration::parse(parser("hevc").example).is_ok());
}

#[test]
fn what_broke_a_parser_once_does_not_again() {
    for (name, data) in REGRESSIONS {
        (parser(name).run)(data);
    }
}

proptest! {
    #[test]
    fn no_noise_breaks_a_parser(data in vec(any::<u8>(), 0..300)) {
        for parser in PARSERS {
            (parser.run)(&data);
        }
    }

    #[test]
    fn no_change_breaks_a_parser(changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), keep in any::<prop::sample::Index>()) {
        for parser in PARSERS {
            let mut data = parser.example.to_vec();
            for (at, byte) in &changes {
                let at = at.index(data.len());
                data[at] = *byte;
            }
            (parser.run)(&data);
            data.truncate(keep.index(data.len()));
            (parser.run)(&data);
        }
    }

    #[test]
    fn no_words_break_a_parser(text in "[0-9a-z@=:,x.+*/ \\\\{}<>&-]{0,40}") {
        (parser("words").run)(text.as_bytes());
        (parser("subtitle").run)(text.as_bytes());
    }
}
