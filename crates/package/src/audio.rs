//! Audio decoder configurations in, what boxes and codec strings need of them out.

use crate::bits::{BitReader, EndOfData};

/// Why an audio decoder's configuration could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AudioConfigError {
    /// The bytes do not start with `OpusHead` of version 1.
    #[error("the Opus configuration is no OpusHead of version 1")]
    NotOpusHead,
    /// The bytes end inside a field.
    #[error("the audio configuration of {length} bytes is cut short")]
    Truncated {
        /// How many bytes there are.
        length: usize,
    },
    /// The configuration names no audio object type.
    #[error("the AAC configuration names no audio object type")]
    NoObjectType,
}

/// Returns the audio object type of an `AudioSpecificConfig` (ISO/IEC 14496-3 §1.6.2.1): 2 for
/// AAC-LC.
pub(crate) fn object_type(config: &[u8]) -> Result<u8, AudioConfigError> {
    let truncated = |EndOfData| AudioConfigError::Truncated {
        length: config.len(),
    };
    let mut reader = BitReader::new(config);
    let mut object_type = reader.small(5).map_err(truncated)?;
    if object_type == 31 {
        object_type = 32 + reader.small(6).map_err(truncated)?;
    }
    if object_type == 0 {
        return Err(AudioConfigError::NoObjectType);
    }
    Ok(object_type)
}

/// Turns `OpusHead` (RFC 7845 §5.1, little-endian) into the payload of `dOps` (Opus in ISOBMFF
/// §4.3.2, big-endian).
///
/// `pre_skip` replaces the header's, so that the box and the edit list agree.
pub(crate) fn dops_payload(head: &[u8], pre_skip: u16) -> Result<Vec<u8>, AudioConfigError> {
    let Some(fields) = head.strip_prefix(b"OpusHead") else {
        return Err(AudioConfigError::NotOpusHead);
    };
    let Some((
        &[
            version,
            channels,
            _,
            _,
            rate_0,
            rate_1,
            rate_2,
            rate_3,
            gain_0,
            gain_1,
            family,
        ],
        mapping,
    )) = fields.split_first_chunk()
    else {
        return Err(AudioConfigError::Truncated { length: head.len() });
    };
    // The upper four bits are for changes that old readers cannot follow.
    if version & 0xf0 != 0 {
        return Err(AudioConfigError::NotOpusHead);
    }
    let mut payload = vec![0, channels];
    payload.extend(pre_skip.to_be_bytes());
    payload.extend([rate_3, rate_2, rate_1, rate_0, gain_1, gain_0, family]);
    if family != 0 {
        // Stream count, coupled count, and one byte a channel.
        let table = mapping.get(..2 + usize::from(channels));
        payload.extend(table.ok_or(AudioConfigError::Truncated { length: head.len() })?);
    }
    Ok(payload)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::track::AudioCodec;

    /// What libopus gives for 5.1: family 1, four streams, two of them coupled.
    const SURROUND: &[u8] =
        b"OpusHead\x01\x06\x38\x01\x80\xbb\0\0\0\0\x01\x04\x02\0\x04\x01\x02\x03\x05";

    #[test]
    fn configurations_are_checked_before_they_are_written() {
        let opus = |head: &[u8]| {
            let head = head.to_vec();
            AudioCodec::Opus { head }.check()
        };
        assert_eq!(opus(SURROUND), Ok(()));
        assert_eq!(opus(b"OpusHeaf"), Err(AudioConfigError::NotOpusHead));
        assert!(opus(&SURROUND[..22]).is_err());
        let config = vec![0x07];
        assert!(AudioCodec::Aac { config }.check().is_err());
    }

    #[test]
    fn object_types_have_an_escape() {
        assert_eq!(object_type(&[0x11, 0x90]), Ok(2));
        // 31, then 10 → 42: xHE-AAC.
        assert_eq!(object_type(&[0b1111_1001, 0b0100_0000]), Ok(42));
        assert_eq!(
            object_type(&[]),
            Err(AudioConfigError::Truncated { length: 0 })
        );
        assert_eq!(object_type(&[0x07]), Err(AudioConfigError::NoObjectType));
    }

    #[test]
    fn opus_fields_change_their_byte_order() {
        let head = b"OpusHead\x01\x02\x38\x01\x44\xac\0\0\0\xff\0";
        let payload = dops_payload(head, 312).unwrap();
        assert_eq!(payload, [0, 2, 0x01, 0x38, 0, 0, 0xac, 0x44, 0xff, 0, 0]);
    }

    #[test]
    fn opus_keeps_the_channel_mapping() {
        let payload = dops_payload(SURROUND, 312).unwrap();
        assert_eq!(payload[10..], [1, 4, 2, 0, 4, 1, 2, 3, 5]);
        let cut = &SURROUND[..SURROUND.len() - 1];
        assert_eq!(
            dops_payload(cut, 312),
            Err(AudioConfigError::Truncated { length: cut.len() })
        );
    }

    #[test]
    fn other_bytes_are_no_opus_head() {
        assert_eq!(
            dops_payload(b"OpusTags", 0),
            Err(AudioConfigError::NotOpusHead)
        );
        assert_eq!(
            dops_payload(b"OpusHead\x10\x02\0\0\0\0\0\0\0\0\0", 0),
            Err(AudioConfigError::NotOpusHead)
        );
        assert_eq!(
            dops_payload(b"OpusHead\x01", 0),
            Err(AudioConfigError::Truncated { length: 9 })
        );
    }
}
