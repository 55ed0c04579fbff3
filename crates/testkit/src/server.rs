//! A web server on the loopback that gives one file, and the faults that it is told to have.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// A request.
#[derive(Clone, Debug)]
pub struct Asked {
    /// How many came before it.
    pub number: usize,
    /// With the query.
    pub path: String,
    /// The first byte and the last, where a range is asked for.
    pub range: Option<(u64, u64)>,
    /// By their names in small letters.
    pub headers: BTreeMap<String, String>,
}

/// What is done about a request.
#[derive(Clone, Debug)]
pub enum Answer {
    /// What was asked for.
    Honest,
    /// The same, under this entity tag.
    Tagged(&'static str),
    /// All of the file, whatever was asked for.
    Whole,
    /// All of the file, without its length: the end of the connection is its end.
    Unannounced,
    /// All of it, and the connection is closed after so many bytes.
    WholeCut(usize),
    /// What was asked for, and the connection is closed after so many bytes of it.
    Cut(usize),
    /// What was asked for, a byte at a time.
    Drops(Duration),
    /// Nothing, and the connection stays open.
    Silence,
    /// Only a status.
    Status(u16),
    /// Only a status, and how long to wait: `Retry-After`.
    Busy(u16, &'static str),
    /// It is elsewhere.
    Elsewhere(String),
}

type Behaviour = dyn Fn(&Asked) -> Answer + Send + Sync;

/// The server. Dropping it closes all its connections.
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    bytes: Vec<u8>,
    behaviour: Box<Behaviour>,
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Default)]
struct State {
    asked: Vec<Asked>,
    connections: Vec<TcpStream>,
    over: bool,
}

impl Server {
    /// Starts to give `bytes`, each time as the behaviour says.
    ///
    /// # Errors
    /// When the loopback has no port.
    pub fn start(
        bytes: Vec<u8>,
        behaviour: impl Fn(&Asked) -> Answer + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            bytes,
            behaviour: Box::new(behaviour),
            state: Mutex::default(),
            ended: Condvar::new(),
        });
        let serving = Arc::clone(&shared);
        let thread = thread::Builder::new().name("server".to_owned());
        Ok(Self {
            address,
            shared,
            thread: Some(thread.spawn(move || serving.accept(&listener))?),
        })
    }

    /// The address of the file, `name` of which is free.
    #[must_use]
    pub fn url(&self, name: &str) -> String {
        format!("http://{}/{name}", self.address)
    }

    /// What was asked so far.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.state().asked.clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.over = true;
        for connection in &state.connections {
            connection.shutdown(Shutdown::Both).ok();
        }
        drop(state);
        self.shared.ended.notify_all();
        // Whoever accepts sees that it is over.
        TcpStream::connect(self.address).ok();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept(&self, listener: &TcpListener) {
        thread::scope(|scope| {
            for connection in listener.incoming().map_while(Result::ok) {
                let mut state = self.state();
                if state.over {
                    break;
                }
                state.connections.extend(connection.try_clone());
                drop(state);
                scope.spawn(move || self.serve(&connection));
            }
        });
    }

    /// Serves a connection until it is closed or an answer closes it.
    fn serve(&self, connection: &TcpStream) {
        let mut lines = BufReader::new(connection);
        while let Some(asked) = self.hear(&mut lines) {
            let answer = (self.behaviour)(&asked);
            if !self.answer(connection, &asked, &answer).unwrap_or(false) {
                break;
            }
        }
        connection.shutdown(Shutdown::Both).ok();
    }

    fn hear(&self, lines: &mut impl BufRead) -> Option<Asked> {
        let mut line = || {
            let mut line = String::new();
            let count = lines.read_line(&mut line).ok()?;
            (count > 0).then(|| line.trim_end().to_owned())
        };
        let path = line()?.split(' ').nth(1)?.to_owned();
        let mut headers = BTreeMap::new();
        loop {
            let line = line()?;
            let Some((name, value)) = line.split_once(':') else {
                break;
            };
            headers.insert(name.to_lowercase(), value.trim().to_owned());
        }
        let range = headers.get("range").and_then(|range| {
            let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
            Some((first.parse().ok()?, last.parse().ok()?))
        });
        let mut state = self.state();
        let asked = Asked {
            number: state.asked.len(),
            path,
            range,
            headers,
        };
        state.asked.push(asked.clone());
        Some(asked)
    }

    /// Answers; whether the connection is good for another request.
    fn answer(&self, mut to: &TcpStream, asked: &Asked, answer: &Answer) -> io::Result<bool> {
        let empty = |status: &str| format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
        match answer {
            Answer::Status(status) => {
                to.write_all(empty(&format!("{status} Told")).as_bytes())?;
                Ok(true)
            }
            Answer::Busy(status, wait) => {
                let head = format!("{status} Told\r\nRetry-After: {wait}");
                to.write_all(empty(&head).as_bytes())?;
                Ok(true)
            }
            Answer::Elsewhere(place) => {
                let head = format!("302 Found\r\nLocation: {place}");
                to.write_all(empty(&head).as_bytes())?;
                Ok(true)
            }
            Answer::Silence => {
                self.wait(Duration::from_mins(5));
                Ok(false)
            }
            Answer::Unannounced => {
                to.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
                to.write_all(&self.bytes)?;
                Ok(false)
            }
            _ => self.give(to, asked, answer),
        }
    }

    /// Answers with the file, or a part of it.
    fn give(&self, mut to: &TcpStream, asked: &Asked, answer: &Answer) -> io::Result<bool> {
        let whole = matches!(answer, Answer::Whole | Answer::WholeCut(_));
        let tag = match answer {
            Answer::Tagged(tag) => tag,
            _ => "one",
        };
        let length = self.bytes.len();
        let (head, body) = match asked.range.filter(|_| !whole) {
            Some((first, last)) => {
                let last = usize::try_from(last).unwrap_or(length).min(length - 1);
                let first = usize::try_from(first).unwrap_or(length).min(last);
                let range = format!("Content-Range: bytes {first}-{last}/{length}\r\n");
                (
                    format!("206 Partial Content\r\n{range}"),
                    &self.bytes[first..=last],
                )
            }
            None => ("200 OK\r\n".to_owned(), &self.bytes[..]),
        };
        let size = body.len();
        let head = format!("HTTP/1.1 {head}ETag: \"{tag}\"\r\nContent-Length: {size}\r\n\r\n");
        to.write_all(head.as_bytes())?;
        match answer {
            Answer::Cut(bytes) | Answer::WholeCut(bytes) => {
                to.write_all(&body[..size.min(*bytes)])?;
                return Ok(*bytes >= size);
            }
            Answer::Drops(every) => {
                for byte in body {
                    to.write_all(&[*byte])?;
                    if self.wait(*every) {
                        return Ok(false);
                    }
                }
            }
            _ => to.write_all(body)?,
        }
        Ok(true)
    }

    /// Waits, and says whether the server has ended meanwhile.
    fn wait(&self, time: Duration) -> bool {
        let waited = self
            .ended
            .wait_timeout_while(self.state(), time, |state| !state.over);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.over
    }
}
