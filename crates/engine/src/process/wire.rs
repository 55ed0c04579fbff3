//! What goes over the pipes between the engine and an encoder's process. Heads are JSON with their length before them (32 bits,
//! little endian); pictures and packets follow as they are.
//!
//! ```text
//! process ─► engine   Reply::Hello, once
//! engine ─► process   Order, then for each picture 1 · time · 3 strides · planes, then 0
//! process ─► engine   Reply::Packet · data, …, then Reply::Done or Reply::Failed
//! ```
//!
//! What a process sends is believed by [`Inbox`](super::inbox::Inbox) alone.

use std::io::{self, ErrorKind, Read, Write};
use std::time::Duration;

use rungs_media::encode;
use rungs_media::frame::{BitDepth, Frame};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::version::Version;
use crate::gpu::Way;

/// A head larger than this is no head of ours.
const LARGEST_HEAD: usize = 1 << 20;
/// Bytes before a picture's planes: the mark, the time and three strides.
pub(super) const PICTURE_HEAD: usize = 1 + 8 + 3 * 4;
const PICTURE: u8 = 1;
const END: u8 = 0;

/// What is to be encoded.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) config: encode::Config,
    /// The device that has the encoder; `None` for one in software.
    pub(crate) way: Option<Way>,
}

/// What comes of it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    /// Which program this is, before anything else.
    Hello(Version),
    /// A packet; its data follows.
    Packet {
        pts: i64,
        dts: i64,
        duration: i64,
        key: bool,
        length: usize,
    },
    /// All packets are out.
    Done(Used),
    /// The encoder refused; nothing of this order is to be used.
    Failed { reason: String, capacity: bool },
}

/// What the process has used, and what it learned.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Used {
    /// The encoder's codec configuration.
    pub(super) configuration: Vec<u8>,
    /// Processor time of the order.
    pub(super) cpu: Duration,
    /// The most memory that the process ever held, in bytes, where the kernel tells.
    pub(super) peak_memory: Option<u64>,
}

/// Appends a head with its length before it.
pub(super) fn head(value: &impl Serialize) -> io::Result<Vec<u8>> {
    let body = serde_json::to_vec(value)?;
    let length = u32::try_from(body.len()).map_err(|_| invalid())?;
    Ok([&length.to_le_bytes()[..], &body].concat())
}

/// Reads a head from the start of `bytes`, with the number of bytes that it took; `None` if it is not all there yet.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<Option<(T, usize)>> {
    let Some(length) = bytes.first_chunk::<4>() else {
        return Ok(None);
    };
    let length = u32::from_le_bytes(*length) as usize;
    if length > LARGEST_HEAD {
        return Err(invalid());
    }
    let Some(body) = bytes.get(4..4 + length) else {
        return Ok(None);
    };
    Ok(Some((serde_json::from_slice(body)?, 4 + length)))
}

/// Reads a head; `None` if the other side has hung up before it.
pub(super) fn read_head<T: DeserializeOwned>(input: &mut impl Read) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    match input.read_exact(&mut length) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        done => done?,
    }
    let length = u32::from_le_bytes(length) as usize;
    if length > LARGEST_HEAD {
        return Err(invalid());
    }
    let mut body = vec![0; length];
    input.read_exact(&mut body)?;
    Ok(Some(serde_json::from_slice(&body)?))
}

/// What stands before a picture's planes.
pub(super) fn picture_head(frame: &Frame, time: i64) -> [u8; PICTURE_HEAD] {
    let mut head = [PICTURE; PICTURE_HEAD];
    head[1..9].copy_from_slice(&time.to_le_bytes());
    for plane in 0..3 {
        let stride = u32::try_from(frame.stride(plane)).unwrap_or(u32::MAX);
        head[9 + plane * 4..13 + plane * 4].copy_from_slice(&stride.to_le_bytes());
    }
    head
}

/// What follows the last picture.
pub(super) const fn end() -> [u8; 1] {
    [END]
}

/// Reads the next picture with its time; `None` after the last. The inner error is FFmpeg's.
pub(super) fn read_picture(
    input: &mut impl Read,
    form: ((u32, u32), BitDepth),
) -> io::Result<Option<(Frame, i64)>> {
    let mut mark = [0; 1];
    input.read_exact(&mut mark)?;
    if mark[0] == END {
        return Ok(None);
    }
    let mut rest = [0; PICTURE_HEAD - 1];
    input.read_exact(&mut rest)?;
    let number = |at: usize| {
        u32::from_le_bytes([rest[at], rest[at + 1], rest[at + 2], rest[at + 3]]) as usize
    };
    let time = rest
        .first_chunk::<8>()
        .map_or(0, |bytes| i64::from_le_bytes(*bytes));
    let strides = [number(8), number(12), number(16)];
    let frame = Frame::read(form, strides, input).map_err(io::Error::other)?;
    Ok(Some((frame, time)))
}

/// Writes a reply, and the data of a packet after it.
pub(super) fn reply(output: &mut impl Write, reply: &Reply, data: &[u8]) -> io::Result<()> {
    output.write_all(&head(reply)?)?;
    output.write_all(data)
}

fn invalid() -> io::Error {
    ErrorKind::InvalidData.into()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pictures_travel_whole() {
        let luma: Vec<u8> = (0..70 * 66).map(|n| (n % 251) as u8).collect();
        let chroma: Vec<u8> = (0..35 * 33).map(|n| (n % 13) as u8).collect();
        let frame = Frame::from_planes(70, 66, &[&luma, &chroma, &chroma]).expect("a picture");
        let mut bytes = picture_head(&frame, -5).to_vec();
        for plane in 0..3 {
            bytes.extend(frame.plane(plane));
        }
        bytes.extend(end());
        let mut input = bytes.as_slice();
        let form = ((70, 66), BitDepth::Eight);
        let (read, time) = read_picture(&mut input, form)
            .expect("whole")
            .expect("a picture");
        assert_eq!(time, -5);
        for plane in 0..3 {
            let width = if plane == 0 { 70 } else { 35 };
            let rows = frame.plane(plane).chunks(frame.stride(plane));
            for (a, b) in rows.zip(read.plane(plane).chunks(read.stride(plane))) {
                assert_eq!(a[..width], b[..width]);
            }
        }
        assert!(read_picture(&mut input, form).expect("whole").is_none());
        assert!(read_picture(&mut input, form).is_err());
    }

    proptest! {
        #[test]
        fn no_noise_is_taken_for_more_than_it_is(noise in vec(any::<u8>(), 0..200), length in 0..200_u32) {
            let mut data = length.to_le_bytes().to_vec();
            data.extend(noise);
            prop_assert!(!matches!(parse::<Reply>(&data), Ok(Some(_))));
            prop_assert!(!matches!(read_head::<Order>(&mut &data[..]), Ok(Some(_))));
            let mut input = &data[..];
            // Every picture takes some of it, so this ends.
            while let Ok(Some(_)) = read_picture(&mut input, ((16, 8), BitDepth::Eight)) {}
        }
    }

    #[test]
    fn heads_wait_for_all_their_bytes() {
        let failed = Reply::Failed {
            reason: "because".to_owned(),
            capacity: true,
        };
        let bytes = head(&failed).expect("JSON");
        for cut in 0..bytes.len() {
            assert!(
                parse::<Reply>(&bytes[..cut])
                    .expect("not wrong yet")
                    .is_none()
            );
        }
        let (read, taken) = parse::<Reply>(&bytes).expect("JSON").expect("whole");
        assert_eq!(taken, bytes.len());
        assert!(matches!(read, Reply::Failed { capacity: true, .. }));
        assert!(parse::<Reply>(&[0xff; 8]).is_err());
    }
}
