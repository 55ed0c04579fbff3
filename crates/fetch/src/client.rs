//! One server, asked again and again: requests for ranges, what must not change between them, and how long to wait.

use std::io::Read;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rungs_media::Changed;
use ureq::http::{Response, StatusCode, header};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::unversioned::transport::DefaultConnector;
use ureq::{Agent, Body, Proxy, ProxyProtocol};

use crate::address::Address;
use crate::error::FetchError;
use crate::names::Names;

/// How long a server may take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Patience {
    /// For one request with its answer; what has come by then is kept.
    pub attempt: Duration,
    /// For a mebibyte, with all tries for it.
    pub read: Duration,
    /// For the first answer: each try for it may take so long, and none begins later than that.
    pub opening: Duration,
    /// Until the second try. It doubles with each further one that has brought nothing.
    pub pause: Duration,
    /// Until a further try, at most.
    pub longest_pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            attempt: Duration::from_secs(30),
            read: Duration::from_mins(2),
            opening: Duration::from_secs(10),
            pause: Duration::from_millis(250),
            longest_pause: Duration::from_secs(8),
        }
    }
}

/// By what a source is known to be the same from one answer to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    etag: Option<String>,
    modified: Option<String>,
}

impl Mark {
    pub(crate) fn of(response: &Response<Body>) -> Self {
        Self {
            etag: text(response, header::ETAG),
            modified: text(response, header::LAST_MODIFIED),
        }
    }

    /// The better of what there is.
    pub(crate) fn words(&self) -> Option<&str> {
        self.etag.as_deref().or(self.modified.as_deref())
    }

    /// What servers compare to the byte, RFC 9110 §13.1.5.
    fn strong(&self) -> Option<&str> {
        let etag = self.etag.as_deref();
        etag.filter(|etag| !etag.starts_with("W/"))
    }
}

/// A range of bytes that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) from: u64,
    /// The first byte after it.
    pub(crate) until: u64,
}

/// A server and a place on it. Any thread may ask; [`close`](Self::close) ends what is under way.
pub(crate) struct Client {
    agent: Agent,
    patience: Patience,
    gate: Gate,
}

/// Where pauses are spent, until it is shut.
#[derive(Default)]
struct Gate {
    shut: Mutex<bool>,
    changed: Condvar,
}

impl Client {
    pub(crate) fn new(address: &Address, patience: Patience) -> Result<Arc<Self>, FetchError> {
        // It would be passed over, and the server asked directly.
        let proxy = Proxy::try_from_env();
        if proxy.is_some_and(|proxy| is_socks(&proxy) && !proxy.is_no_proxy(address.uri())) {
            return Err(FetchError::Proxy);
        }
        let certificates = certificates();
        if certificates.is_empty() && address.is_secret() {
            return Err(FetchError::Certificates);
        }
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // They are followed where they stay on the host, and named where they do not.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .accept_encoding("identity")
            .accept("*/*")
            .user_agent(concat!("rungs/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(patience.opening.min(patience.attempt)))
            // Also where none was asked for: a redirection or a proxy may lead to encryption.
            .tls_config(tls(&certificates));
        Ok(Arc::new(Self {
            agent: Agent::with_parts(config.build(), DefaultConnector::default(), Names),
            patience,
            gate: Gate::default(),
        }))
    }

    pub(crate) fn patience(&self) -> &Patience {
        &self.patience
    }

    /// Ends what is under way on any thread, and all that would follow. Does not block.
    pub(crate) fn close(&self) {
        *self
            .gate
            .shut
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = true;
        self.gate.changed.notify_all();
        self.agent.clone().shutdown();
    }

    /// Waits before the next try.
    pub(crate) fn pause(&self, tries: &mut Tries, error: FetchError) -> Result<(), FetchError> {
        let pause = tries.pause(error)?;
        let shut = self
            .gate
            .shut
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .gate
            .changed
            .wait_timeout_while(shut, pause, |shut| !*shut);
        let (shut, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if *shut {
            return Err(FetchError::Closed);
        }
        Ok(())
    }

    /// Asks for a range, or for all. The answer may be of any kind.
    pub(crate) fn ask(
        &self,
        address: &Address,
        (range, mark): (Option<Range>, &Mark),
        time: Time,
    ) -> Result<Response<Body>, FetchError> {
        let mut request = self.agent.get(address.uri().clone());
        if let Some(secrets) = address.authorization() {
            request = request.header(header::AUTHORIZATION, secrets);
        }
        if let Some(Range { from, until }) = range {
            let last = until.saturating_sub(1);
            request = request.header(header::RANGE, format!("bytes={from}-{last}"));
            if let Some(strong) = mark.strong() {
                request = request.header(header::IF_RANGE, strong);
            }
        }
        let config = request.config();
        let config = match time {
            Time::Whole(time) => config.timeout_global(Some(time)),
            Time::EachRead(time) => config
                .timeout_recv_response(Some(time))
                .timeout_per_read(Some(time)),
        };
        Ok(config.build().call()?)
    }

    /// Fetches a range of a source that is known, however many tries it takes; all of it, or an error.
    pub(crate) fn fetch(&self, known: &Known, range: Range) -> Result<Vec<u8>, FetchError> {
        let wanted = range.until - range.from;
        let mut bytes = Vec::with_capacity(usize::try_from(wanted).unwrap_or(0));
        let mut tries = Tries::new(self.patience.read, &self.patience, wanted);
        loop {
            let before = bytes.len();
            let error = match self.part(known, range, (&mut bytes, tries.left())) {
                Ok(()) if bytes.len() as u64 == wanted => return Ok(bytes),
                Ok(()) => FetchError::Answer("it is shorter than it says"),
                Err(error) if error.is_passing() => error,
                Err(error) => return Err(error),
            };
            tries.got((bytes.len() - before) as u64);
            self.pause(&mut tries, error)?;
        }
    }

    /// Asks for what is missing of a range, once, and adds what comes.
    fn part(
        &self,
        known: &Known,
        range: Range,
        (bytes, left): (&mut Vec<u8>, Duration),
    ) -> Result<(), FetchError> {
        let missing = Range {
            from: range.from + bytes.len() as u64,
            ..range
        };
        let time = Time::Whole(left.min(self.patience.attempt));
        let mut response = self.ask(&known.address, (Some(missing), &known.mark), time)?;
        known.check(&response, missing)?;
        let body = response.body_mut().as_reader();
        let read = body.take(missing.until - missing.from).read_to_end(bytes);
        read.map(drop).map_err(FetchError::Lost)
    }
}

/// How long an answer may take.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Time {
    /// All of it.
    Whole(Duration),
    /// Each piece of it: it may be of any length.
    EachRead(Duration),
}

/// A source that was found on a server.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) address: Address,
    pub(crate) length: u64,
    pub(crate) mark: Mark,
}

impl Known {
    /// Whether an answer has the range that was asked for, of the source that is known.
    fn check(&self, response: &Response<Body>, asked: Range) -> Result<(), FetchError> {
        let changed = |what: &str| Changed {
            what: format!("{} {what}", self.address),
        };
        match response.status() {
            StatusCode::PARTIAL_CONTENT => {}
            // The answer to a condition that is not met any more.
            StatusCode::OK
            | StatusCode::PRECONDITION_FAILED
            | StatusCode::RANGE_NOT_SATISFIABLE => {
                return Err(changed("was changed on the server").into());
            }
            _ => return Err(FetchError::status(response)),
        }
        let (from, length) = content_range(response)?;
        if length != Some(self.length) {
            return Err(changed("has another length now").into());
        }
        if Mark::of(response) != self.mark {
            return Err(changed("was changed on the server").into());
        }
        if from != asked.from {
            return Err(FetchError::Answer(
                "it has another range than was asked for",
            ));
        }
        Ok(())
    }
}

/// Reads `Content-Range: bytes FROM-LAST/LENGTH`, RFC 9110 §14.4: the first byte, and the length of the whole if it is said.
pub(crate) fn content_range(response: &Response<Body>) -> Result<(u64, Option<u64>), FetchError> {
    let read = |text: &str| {
        let (range, length) = text.strip_prefix("bytes ")?.split_once('/')?;
        let (from, _) = range.split_once('-')?;
        Some((from.trim().parse().ok()?, length.trim().parse().ok()))
    };
    let range = text(response, header::CONTENT_RANGE);
    let range = range.as_deref().and_then(read);
    range.ok_or(FetchError::Answer("it does not say which range it has"))
}

pub(crate) fn text(response: &Response<Body>, name: header::HeaderName) -> Option<String> {
    let value = response.headers().get(name)?.to_str().ok()?;
    Some(value.to_owned())
}

/// The tries for one thing, until its time is over.
pub(crate) struct Tries {
    until: Instant,
    within: Duration,
    next: Duration,
    first: Duration,
    longest: Duration,
    bytes: u64,
    wanted: u64,
}

impl Tries {
    pub(crate) fn new(within: Duration, patience: &Patience, wanted: u64) -> Self {
        Self {
            until: Instant::now() + within,
            within,
            next: patience.pause,
            first: patience.pause,
            longest: patience.longest_pause,
            bytes: 0,
            wanted,
        }
    }

    /// The time that is left, which is never none at all.
    pub(crate) fn left(&self) -> Duration {
        let left = self.until.saturating_duration_since(Instant::now());
        left.max(Duration::from_millis(1))
    }

    /// Notes that a try has brought something.
    pub(crate) fn got(&mut self, bytes: u64) {
        self.bytes += bytes;
        if bytes > 0 {
            self.next = self.first;
        }
    }

    /// How long to wait after an error, or what to say when the time is over, or would be when the server wants to be asked again.
    fn pause(&mut self, error: FetchError) -> Result<Duration, FetchError> {
        let own = self.next.min(self.longest);
        let asked = match &error {
            FetchError::Status { wait, .. } => wait.unwrap_or_default(),
            _ => Duration::ZERO,
        };
        let pause = own.max(asked);
        if Instant::now() + pause >= self.until {
            let within = self.within;
            return Err(match error {
                // One that says it all.
                error @ FetchError::Status { .. } => error,
                error if self.wanted == 0 && error.is_late() => FetchError::NoAnswer { within },
                error if self.wanted == 0 => error,
                error if self.bytes > 0 && error.is_late() => FetchError::Trickle {
                    bytes: self.bytes,
                    wanted: self.wanted,
                    within,
                },
                error => FetchError::Slow {
                    bytes: self.bytes,
                    wanted: self.wanted,
                    within,
                    source: Box::new(error),
                },
            });
        }
        self.next = own * 2;
        Ok(pause)
    }
}

fn is_socks(proxy: &Proxy) -> bool {
    !matches!(proxy.protocol(), ProxyProtocol::Http | ProxyProtocol::Https)
}

/// The system's own list of whom to trust.
fn certificates() -> Vec<Certificate<'static>> {
    let found = rustls_native_certs::load_native_certs();
    found
        .certs
        .iter()
        .map(|certificate| Certificate::from_der(certificate).to_owned())
        .collect()
}

/// Encryption that trusts these; nobody, if there are none.
fn tls(certificates: &[Certificate<'static>]) -> TlsConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(certificates))
        .unversioned_rustls_crypto_provider(provider)
        .build()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    #[test]
    fn who_asks_without_encryption_is_ready_for_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let address = |scheme: &str| {
            let text = format!("{scheme}://127.0.0.1:{port}/");
            Address::parse(&text).unwrap()
        };
        let client = Client::new(&address("http"), Patience::default()).unwrap();
        let (mark, time) = (Mark::default(), Time::Whole(Duration::from_secs(20)));
        thread::scope(|scope| {
            scope.spawn(|| drop(listener.accept().unwrap()));
            // As a redirection does it.
            let answer = client.ask(&address("https"), (None, &mark), time);
            let error = answer.err().unwrap();
            assert!(matches!(error, FetchError::Connection(_)), "{error:?}");
        });
    }
}
