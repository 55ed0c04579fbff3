//! What the stand-in cards are: read from the environment, once where it costs time.

use std::env;
use std::path::PathBuf;

/// Whether the libraries may initialise.
#[must_use]
pub fn enabled() -> bool {
    env::var("RUNGS_STANDIN").is_ok_and(|value| value == "1")
}

/// The value of `RUNGS_STANDIN_<name>` for a card: that with the card's suffix, or the one without.
#[must_use]
pub fn text(name: &str, card: u32) -> Option<String> {
    let all = format!("RUNGS_STANDIN_{name}");
    let value = env::var(format!("{all}_{card}")).or_else(|_| env::var(all));
    value.ok().filter(|value| !value.is_empty())
}

/// The same as a number.
///
/// # Panics
/// If it is none: a test that is set up wrongly must not pass.
#[must_use]
pub fn number(name: &str, card: u32) -> Option<u64> {
    let parse = |value: String| {
        let number = value.parse();
        number.unwrap_or_else(|_| panic!("RUNGS_STANDIN_{name} is {value}, which is no number"))
    };
    text(name, card).map(parse)
}

/// How many cards the machine has.
#[must_use]
pub fn cards() -> u32 {
    number("CARDS", 0).map_or(1, |cards| cards as u32)
}

/// The model of a card: `stand-in`, and what is to stand behind that.
#[must_use]
pub fn model(card: u32) -> String {
    text("MODEL", card).map_or_else(|| "stand-in".to_owned(), |own| format!("stand-in {own}"))
}

/// Bytes of a card's memory.
#[must_use]
pub fn memory(card: u32) -> u64 {
    number("MEMORY", card).unwrap_or(8192) << 20
}

/// What a card is known by: the same for a card of the same number that can do the same, whatever is free of it and
/// whatever faults are planned.
#[must_use]
pub fn uuid(card: u32) -> [u8; 16] {
    let mut state = 0xcbf2_9ce4_8422_2325_u64;
    let mut mix = |text: &str| {
        for byte in text.bytes().chain([0]) {
            state = (state ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
        state
    };
    mix(&card.to_string());
    for name in ["MODEL", "MEMORY", "CODECS", "TEN_BITS"] {
        mix(&text(name, card).unwrap_or_default());
    }
    let (high, low) = (mix("high"), mix("low"));
    (u128::from(high) << 64 | u128::from(low)).to_be_bytes()
}

/// The folder that the processes of one machine share.
#[must_use]
pub fn state() -> PathBuf {
    env::var_os("RUNGS_STANDIN_STATE").map_or_else(env::temp_dir, PathBuf::from)
}

/// Whether a card encodes a codec, by its name in `RUNGS_STANDIN_CODECS`.
#[must_use]
pub fn encodes(card: u32, codec: &str) -> bool {
    text("CODECS", card).is_none_or(|list| list.split(',').any(|listed| listed == codec))
}
