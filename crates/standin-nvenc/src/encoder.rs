//! The encoder program of a session.

use std::env;
use std::io::{self, BufReader, BufWriter, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use rungs_standin::wire::{Answer, Order, Spec};

use crate::status::{GENERIC, Refusal};

/// A packet.
#[derive(Debug)]
pub(crate) struct Packet {
    pub(crate) token: u64,
    pub(crate) key: bool,
    pub(crate) data: Vec<u8>,
}

pub(crate) struct Encoder {
    child: Child,
    to: Option<BufWriter<ChildStdin>>,
    from: BufReader<ChildStdout>,
    headers: Vec<u8>,
    repeats: bool,
}

impl Encoder {
    /// Starts the program that `RUNGS_STANDIN_ENCODER` names.
    pub(crate) fn start(spec: &Spec) -> Result<Self, Refusal> {
        let fails =
            |error: io::Error| Refusal::new(GENERIC, format!("the encoder program: {error}"));
        let program = env::var_os("RUNGS_STANDIN_ENCODER")
            .ok_or_else(|| Refusal::new(GENERIC, "RUNGS_STANDIN_ENCODER names no program"))?;
        let mut child = Command::new(program)
            // It must not find this library in its turn.
            .env_remove("LD_LIBRARY_PATH")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(fails)?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let Some((to, from)) = pipes else {
            return Err(Refusal::new(GENERIC, "the encoder program has no pipes"));
        };
        let mut encoder = Self {
            child,
            to: Some(BufWriter::new(to)),
            from: BufReader::new(from),
            headers: Vec::new(),
            repeats: spec.repeat_headers && spec.codec < 2,
        };
        let answer = encoder.open(spec).map_err(fails)?;
        match answer {
            Answer::Open(headers) => {
                encoder.headers = headers;
                Ok(encoder)
            }
            Answer::Failed(reason) => Err(Refusal::new(GENERIC, reason)),
            other => Err(Refusal::new(GENERIC, format!("it answers {other:?}"))),
        }
    }

    fn open(&mut self, spec: &Spec) -> io::Result<Answer> {
        if let Some(to) = &mut self.to {
            spec.write(to)?;
        }
        Answer::read(&mut self.from)
    }

    /// Parameter sets, or the sequence header.
    pub(crate) fn headers(&self) -> &[u8] {
        &self.headers
    }

    /// Encodes a frame; gives the packets that are ready.
    pub(crate) fn encode(
        &mut self,
        (token, key): (u64, bool),
        frame: &[u8],
    ) -> Result<Vec<Packet>, Refusal> {
        self.ask(Order::Frame { key, token }, frame)
    }

    /// Gives all packets that are left.
    pub(crate) fn end(&mut self) -> Result<Vec<Packet>, Refusal> {
        self.ask(Order::End, &[])
    }

    fn ask(&mut self, order: Order, frame: &[u8]) -> Result<Vec<Packet>, Refusal> {
        let mut packets = Vec::new();
        let done = self.exchange(order, frame, &mut packets);
        match done {
            Ok(None) => Ok(packets),
            Ok(Some(reason)) => Err(Refusal::new(GENERIC, reason)),
            Err(error) => Err(Refusal::new(
                GENERIC,
                format!("the encoder program: {error}"),
            )),
        }
    }

    fn exchange(
        &mut self,
        order: Order,
        frame: &[u8],
        packets: &mut Vec<Packet>,
    ) -> io::Result<Option<String>> {
        if let Some(to) = &mut self.to {
            order.write(to)?;
            to.write_all(frame)?;
            to.flush()?;
        }
        loop {
            match Answer::read(&mut self.from)? {
                Answer::Done => return Ok(None),
                Answer::Failed(reason) => return Ok(Some(reason)),
                Answer::Open(_) => return Ok(Some("it was open already".to_owned())),
                Answer::Packet { token, key, data } => {
                    let headers = if key && self.repeats {
                        self.headers.as_slice()
                    } else {
                        &[]
                    };
                    packets.push(Packet {
                        token,
                        key,
                        data: [headers, &data].concat(),
                    });
                }
            }
        }
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        // The program ends with its input.
        drop(self.to.take());
        if let Err(error) = self.child.wait() {
            rungs_standin::asked!("the encoder program is not waited for: {error}");
        }
    }
}
