//! AV1: temporal units in, samples and sequence headers out (AV1 bitstream §5, AV1-ISOBMFF §2).
//!
//! A sample is a temporal unit less the OBUs that a file must not carry. The sequence header gives
//! the codec string, the `av1C` box and the [`Contract`] that all segments of one rendition share.

mod obu;
mod sequence;

pub use obu::{sample_from_temporal_unit, sequence_headers};
pub use sequence::{ColorConfig, Contract, SequenceHeader};

/// Why AV1 data could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Av1Error {
    /// The data ends inside an OBU's header or size.
    #[error("the data ends inside the OBU at byte {offset}")]
    TruncatedObu {
        /// Where the OBU starts.
        offset: usize,
    },
    /// The forbidden bit is set: this is no OBU.
    #[error("byte {offset} does not start an OBU")]
    NotAnObu {
        /// Where an OBU was expected.
        offset: usize,
    },
    /// The data ends inside the sequence header.
    #[error("the sequence header is cut short")]
    TruncatedSequenceHeader,
    /// A field of the sequence header has a value that the specification reserves.
    #[error("the sequence header has the reserved {field} {value}")]
    Reserved {
        /// The field, in the specification's words.
        field: &'static str,
        /// Its value.
        value: u8,
    },
    /// There is no sequence header in the data.
    #[error("there is no sequence header")]
    NoSequenceHeader,
    /// A temporal delimiter follows other OBUs: the data holds more than one temporal unit.
    #[error("a second temporal unit starts at byte {offset}")]
    SecondTemporalUnit {
        /// Where its delimiter starts.
        offset: usize,
    },
    /// Nothing is left after the OBUs that a sample must not carry are gone.
    #[error("the temporal unit holds no frame")]
    Empty,
}
