//! The encoder program behind the stand-in for NVENC: frames in, packets out, by FFmpeg's software encoders.

use std::io::{self, BufReader, BufWriter, ErrorKind, Read, Write};

use rungs_media::direct::{Config, DirectEncoder};
use rungs_media::frame::{BitDepth, Frame};
use rungs_media::{Color, Error, Rational};
use rungs_standin::wire::{Answer, Order, Rate, Spec};

const ENCODERS: [&str; 3] = ["libx264", "libx265", "libaom-av1"];
const AV1: u32 = 2;

/// Serves one session on two pipes, until the first ends.
pub fn serve(from: impl Read, to: impl Write) -> io::Result<()> {
    let (mut from, mut to) = (BufReader::new(from), BufWriter::new(to));
    let spec = Spec::read(&mut from)?;
    let mut encoder = match DirectEncoder::open(config(&spec)) {
        Ok(encoder) => encoder,
        Err(error) => return Answer::Failed(in_words(&error)).write(&mut to),
    };
    Answer::Open(headers(&spec, &encoder)).write(&mut to)?;
    let mut session = Session {
        spec,
        sent: 0,
        last_key: 0,
        tokens: Vec::new(),
    };
    while let Some(order) = Order::read(&mut from)? {
        let done = session.follow(order, &mut encoder, &mut from);
        for packet in encoder.take_packets() {
            let token = session.tokens.get(packet.pts as usize);
            let token = *token.ok_or(ErrorKind::InvalidData)?;
            let answer = Answer::Packet {
                token,
                key: packet.key,
                data: packet.data,
            };
            answer.write(&mut to)?;
        }
        match done {
            Ok(()) => Answer::Done,
            Err(error) => Answer::Failed(in_words(&error)),
        }
        .write(&mut to)?;
    }
    Ok(())
}

struct Session {
    spec: Spec,
    sent: i64,
    last_key: i64,
    /// What each frame is known by.
    tokens: Vec<u64>,
}

impl Session {
    fn follow(
        &mut self,
        order: Order,
        encoder: &mut DirectEncoder,
        from: &mut dyn Read,
    ) -> Result<(), Error> {
        let Order::Frame { key, token } = order else {
            return encoder.finish();
        };
        let spec = self.spec;
        let depth = depth(&spec);
        let sample = if depth == BitDepth::Ten { 2 } else { 1 };
        let row = spec.width as usize * sample;
        let chroma = spec.width.div_ceil(2) as usize * sample;
        let size = (spec.width, spec.height);
        let frame = Frame::read((size, depth), [row, chroma, chroma], from)?;
        // libaom does not hold its groups to a length in this mode.
        let due = spec.gop > 0 && self.sent - self.last_key >= i64::from(spec.gop);
        let key = key || due || self.sent == 0;
        if key {
            self.last_key = self.sent;
        }
        self.tokens.push(token);
        self.sent += 1;
        encoder.send(&frame, (self.sent - 1, key))
    }
}

fn depth(spec: &Spec) -> BitDepth {
    if spec.bits > 8 {
        BitDepth::Ten
    } else {
        BitDepth::Eight
    }
}

/// What stands before a stream: of AV1 the sequence header without the record around it.
fn headers(spec: &Spec, encoder: &DirectEncoder) -> Vec<u8> {
    match encoder.headers() {
        [0x81, _, _, _, header @ ..] if spec.codec == AV1 => header.to_vec(),
        headers => headers.to_vec(),
    }
}

fn config(spec: &Spec) -> Config {
    let [primaries, transfer, matrix, full] = spec.color;
    let [num, den] = spec.frame_rate.map(|part| part.clamp(1, 1 << 24) as i32);
    let gop = if spec.gop == 0 { 1 << 20 } else { spec.gop };
    let code = |value: u32| u8::try_from(value).unwrap_or(2);
    let mut options = rates(spec);
    options.extend(match spec.codec {
        0 => x264(spec, gop),
        1 => x265(spec, gop),
        _ => aom(spec),
    });
    Config {
        encoder: ENCODERS[spec.codec.min(AV1) as usize].to_owned(),
        size: (spec.width, spec.height),
        depth: depth(spec),
        frame_rate: Rational { num, den },
        color: Color {
            primaries: code(primaries),
            transfer: code(transfer),
            matrix: code(matrix),
            full_range: full == 1,
            ..Color::default()
        },
        gop,
        b_frames: spec.b_frames,
        options,
    }
}

fn rates(spec: &Spec) -> Vec<(&'static str, String)> {
    let [average, most, buffer] = spec.rates;
    let cap = (most > 0 && spec.codec != AV1).then(|| {
        // Where nothing is said of the buffer, it holds two seconds.
        let buffer = if buffer > 0 {
            buffer
        } else {
            most.saturating_mul(2)
        };
        [
            ("maxrate", most.to_string()),
            ("bufsize", buffer.to_string()),
        ]
    });
    match spec.rate {
        Rate::Quantizers([_, p, _]) if spec.codec == AV1 => {
            // The quantizer's index on the encoder's scale.
            let crf = ((p * 63 + 127) / 255).to_string();
            vec![
                ("crf", crf.clone()),
                ("qmin", crf.clone()),
                ("qmax", crf),
                ("b", "0".to_owned()),
            ]
        }
        Rate::Quantizers([_, p, _]) => vec![("qp", p.to_string())],
        Rate::Quality(quality) => {
            let crf = f64::from(quality) / 256.0;
            let crf = if spec.codec == AV1 {
                crf.round().to_string()
            } else {
                format!("{crf:.2}")
            };
            let mut options = vec![("crf", crf)];
            if spec.codec == AV1 {
                options.push(("b", "0".to_owned()));
            }
            options.extend(cap.into_iter().flatten());
            options
        }
        Rate::Average => {
            let mut options = vec![("b", average.to_string())];
            options.extend(cap.into_iter().flatten());
            options
        }
    }
}

/// What makes x264 and x265 use these quantizers for I, P and B frames.
fn ratios(spec: &Spec) -> String {
    let Rate::Quantizers([i, p, b]) = spec.rate else {
        return String::new();
    };
    let ratio = |from: u32, to: u32| ((f64::from(from) - f64::from(to)) / 6.0).exp2();
    format!(":ipratio={:.4}:pbratio={:.4}", ratio(p, i), ratio(b, p))
}

/// No frame waits for another but for its B frames.
fn x264(spec: &Spec, gop: u32) -> Vec<(&'static str, String)> {
    let settings = format!(
        "rc-lookahead=0:sync-lookahead=0:mbtree=0:scenecut=0:keyint={gop}:min-keyint=1:b-adapt=0:b-pyramid=none\
         :bframes={}{}",
        spec.b_frames,
        ratios(spec)
    );
    vec![
        ("preset", "superfast".to_owned()),
        ("profile", "high".to_owned()),
        ("forced-idr", "1".to_owned()),
        ("x264-params", settings),
    ]
}

fn x265(spec: &Spec, gop: u32) -> Vec<(&'static str, String)> {
    let lookahead = if spec.b_frames > 0 {
        spec.b_frames + 1
    } else {
        0
    };
    let settings = format!(
        "log-level=none:info=0:b-adapt=0:rc-lookahead={lookahead}:scenecut=0:cutree=0:frame-threads=1:pools=1\
         :keyint={gop}:min-keyint=1:open-gop=0:bframes={}{}",
        spec.b_frames,
        ratios(spec)
    );
    vec![
        ("preset", "ultrafast".to_owned()),
        ("forced-idr", "1".to_owned()),
        ("x265-params", settings),
    ]
}

fn aom(_: &Spec) -> Vec<(&'static str, String)> {
    [
        ("usage", "realtime"),
        ("cpu-used", "8"),
        ("lag-in-frames", "0"),
        ("row-mt", "1"),
    ]
    .map(|(name, value)| (name, value.to_owned()))
    .to_vec()
}

/// An error with its causes, in one line.
fn in_words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
