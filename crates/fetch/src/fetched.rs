//! A source on a server: opened once, then fetched in blocks, or downloaded where the server gives no ranges.

use std::io::{self, Read};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

use rungs_media::{CancelToken, Changed, Identity, Lasting, Reading, Supply};
use ureq::Body;
use ureq::http::{Response, StatusCode, header};

use crate::address::Address;
use crate::blocks::{BLOCK, Blocks};
use crate::client::{Client, Known, Mark, Patience, Range, Time, Tries, content_range, text};
use crate::error::FetchError;
use crate::spool::{Keep, Producer, Spool};
use crate::trouble::Trouble;

/// Redirections that are followed.
const REDIRECTS: u32 = 5;
/// Bytes that are downloaded at a time.
const PIECE: usize = 256 << 10;

/// A source on a server. Bytes are fetched by a thread of its own, a few blocks ahead of the readers; where the server gives no ranges, all are
/// downloaded once, into a file without a name.
pub struct Fetched {
    address: Address,
    client: Arc<Client>,
    way: Way,
    thread: Option<JoinHandle<()>>,
}

/// How the bytes come.
enum Way {
    /// From any place.
    Blocks(Arc<Blocks>, Mark),
    /// From the first to the last, which are so many if the server says it.
    Download(Spool, Option<u64>),
}

impl Fetched {
    /// Asks the server for the source. Blocks until it has answered. What has to be kept is kept as `keep` says.
    ///
    /// # Errors
    /// Any [`FetchError`]; [`FetchError::Closed`] if the token was cancelled meanwhile.
    pub fn open<'a>(
        address: &Address,
        patience: Patience,
        (keep, cancel): (impl Into<Keep<'a>>, &CancelToken),
    ) -> Result<Self, FetchError> {
        let client = Client::new(address, patience)?;
        let closing = Arc::clone(&client);
        let _wake = cancel.when_cancelled(move || closing.close());
        let opened = first_answer(&client, address);
        let (found, mut response) = match opened {
            Err(_) if cancel.is_cancelled() => return Err(FetchError::Closed),
            opened => opened?,
        };
        let mark = Mark::of(&response);
        let length = length(&response)?;
        let (way, thread) = if let Some(length) = length {
            let known = Known {
                address: found,
                length,
                mark: mark.clone(),
            };
            let blocks = Blocks::new(length);
            let mut first = Vec::new();
            let body = response.body_mut().as_reader();
            // What is cut off is fetched when it is asked for.
            if body.take(BLOCK).read_to_end(&mut first).is_ok()
                && first.len() as u64 == length.min(BLOCK)
            {
                blocks.put(0, &first);
            }
            let thread = start_fetching(&client, known, &blocks)?;
            (Way::Blocks(blocks, mark), thread)
        } else {
            let announced = response.body().content_length();
            let (spool, producer) = keep.into().spool(announced)?;
            let download = Download {
                client: Arc::clone(&client),
                address: found,
                mark,
            };
            (Way::Download(spool, announced), download.start(producer)?)
        };
        Ok(Self {
            address: address.clone(),
            client,
            way,
            thread: Some(thread),
        })
    }
}

impl Drop for Fetched {
    fn drop(&mut self) {
        if let Way::Blocks(blocks, _) = &self.way {
            blocks.close();
        }
        self.client.close();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

impl Supply for Fetched {
    fn name(&self) -> String {
        self.address.to_string()
    }

    fn open(&self, cancel: &CancelToken) -> io::Result<Box<dyn Reading>> {
        Ok(match &self.way {
            Way::Blocks(blocks, _) => blocks.reader(cancel),
            Way::Download(spool, _) => spool.reader(cancel),
        })
    }

    fn is_whole(&self) -> bool {
        matches!(self.way, Way::Blocks(..))
    }

    /// Every answer is checked for being of the same source.
    fn identity(&self) -> io::Result<Identity> {
        Ok(Identity {
            len: self.length(),
            modified: None,
            inode: None,
        })
    }

    fn lasting(&self) -> Lasting {
        match (&self.way, self.length()) {
            (Way::Blocks(_, mark), Some(len)) => match mark.words() {
                Some(mark) => Lasting::Marked {
                    len,
                    mark: mark.to_owned(),
                },
                None => Lasting::Read { len },
            },
            _ => Lasting::Never,
        }
    }

    fn still_to_keep(&self) -> u64 {
        match &self.way {
            Way::Blocks(..) => 0,
            Way::Download(spool, length) => length.unwrap_or(0).saturating_sub(spool.bytes()),
        }
    }
}

impl Fetched {
    fn length(&self) -> Option<u64> {
        match &self.way {
            Way::Blocks(blocks, _) => Some(blocks.length()),
            Way::Download(..) => None,
        }
    }
}

/// How long a source is that comes in ranges; `None` where all of it comes at once.
fn length(response: &Response<Body>) -> Result<Option<u64>, FetchError> {
    if response.status() != StatusCode::PARTIAL_CONTENT {
        return Ok(None);
    }
    let (from, length) = content_range(response)?;
    if from != 0 {
        return Err(FetchError::Answer(
            "it has another range than was asked for",
        ));
    }
    // Places in files are signed.
    if length.is_some_and(|length| i64::try_from(length).is_err()) {
        return Err(FetchError::Answer("nothing is as long as it says"));
    }
    Ok(length)
}

/// Asks until there is an answer, and follows where it leads; gives the place where the source is. The answer has all of it, or its first block.
fn first_answer(
    client: &Client,
    address: &Address,
) -> Result<(Address, Response<Body>), FetchError> {
    let mut place = address.clone();
    for _ in 0..=REDIRECTS {
        let patience = client.patience();
        let mut tries = Tries::new(patience.opening, patience, 0);
        let response = loop {
            match first_try(client, &place) {
                Ok(response) => break response,
                Err(error) if error.is_passing() && !error.is_refusal() => {
                    client.pause(&mut tries, error)?;
                }
                Err(error) => return Err(error),
            }
        };
        if !response.status().is_redirection() {
            return Ok((place, response));
        }
        let location = text(&response, header::LOCATION);
        let location = location.ok_or_else(|| FetchError::status(&response))?;
        place = place.follow(&location)?;
    }
    Err(FetchError::Redirects(REDIRECTS))
}

fn first_try(client: &Client, place: &Address) -> Result<Response<Body>, FetchError> {
    let first = Range {
        from: 0,
        until: BLOCK,
    };
    // What has not come of the first block by then is fetched when it is asked for.
    let patience = client.patience();
    let time = Time::Whole(patience.opening.min(patience.attempt));
    let response = client.ask(place, (Some(first), &Mark::default()), time)?;
    match response.status() {
        // Of a length that is not said: better all at once.
        StatusCode::PARTIAL_CONTENT if content_range(&response)?.1.is_none() => {
            client.ask(place, (None, &Mark::default()), time)
        }
        StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(response),
        StatusCode::RANGE_NOT_SATISFIABLE => Err(FetchError::Answer("the source is empty")),
        status if status.is_redirection() => Ok(response),
        _ => Err(FetchError::status(&response)),
    }
}

/// Starts the thread that brings blocks.
fn start_fetching(
    client: &Arc<Client>,
    known: Known,
    blocks: &Arc<Blocks>,
) -> Result<JoinHandle<()>, FetchError> {
    let (client, blocks) = (Arc::clone(client), Arc::clone(blocks));
    let fetch = move || {
        let _last_word = LastWord(Arc::clone(&blocks));
        while let Some(number) = blocks.next() {
            match client.fetch(&known, blocks.range(number)) {
                Ok(bytes) => blocks.put(number, &bytes),
                Err(error) => return blocks.fail(Trouble::from(io::Error::from(error))),
            }
        }
    };
    start("fetch", fetch)
}

/// Tells readers that no more comes when the thread ends, however it ends. What was said before counts.
struct LastWord(Arc<Blocks>);

impl Drop for LastWord {
    fn drop(&mut self) {
        let error = io::Error::other("whoever fetched the source has stopped");
        self.0.fail(error.into());
    }
}

fn start(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, FetchError> {
    let thread = Builder::new().name(name.to_owned());
    thread.spawn(work).map_err(FetchError::Thread)
}

/// A source that is read once, from the first byte to the last.
struct Download {
    client: Arc<Client>,
    address: Address,
    mark: Mark,
}

impl Download {
    /// Starts the thread that keeps what comes. The first answer was only to see what the server gives.
    fn start(self, producer: Producer) -> Result<JoinHandle<()>, FetchError> {
        start("download", move || {
            let result = self.run(&producer);
            producer.finish(result.map_err(io::Error::from));
        })
    }

    fn run(&self, producer: &Producer) -> Result<(), FetchError> {
        let patience = self.client.patience();
        let tries = || Tries::new(patience.read, patience, BLOCK);
        let mut left = tries();
        loop {
            let before = producer.bytes();
            let error = match self.once(producer) {
                Ok(()) => return Ok(()),
                Err(error) if error.is_passing() => error,
                Err(error) => return Err(error),
            };
            if producer.bytes() > before {
                left = tries();
            }
            // Without a mark nobody knows whether what would come next is of the same source.
            if producer.bytes() > 0 && self.mark.words().is_none() {
                return Err(error);
            }
            self.client.pause(&mut left, error)?;
        }
    }

    /// Asks for all, passes over what is there already, and keeps the rest.
    fn once(&self, producer: &Producer) -> Result<(), FetchError> {
        let patience = *self.client.patience();
        let time = Time::EachRead(patience.attempt.min(patience.read));
        let mut response = self.client.ask(&self.address, (None, &self.mark), time)?;
        match response.status() {
            StatusCode::OK if Mark::of(&response) == self.mark => {}
            StatusCode::OK => {
                let what = format!("{} was changed on the server", self.address);
                return Err(Changed { what }.into());
            }
            _ => return Err(FetchError::status(&response)),
        }
        let mut body = response.body_mut().with_config().limit(u64::MAX).reader();
        let mut over = producer.bytes();
        let mut piece = vec![0; PIECE];
        let (mut since, mut came) = (Instant::now(), 0);
        loop {
            let count = body.read(&mut piece).map_err(FetchError::Lost)?;
            if count == 0 && over > 0 {
                let what = format!("{} is shorter now on the server", self.address);
                return Err(Changed { what }.into());
            }
            if count == 0 {
                return Ok(());
            }
            let passed = over.min(count as u64);
            over -= passed;
            let new = &piece[usize::try_from(passed).unwrap_or(0)..count];
            producer.append(new)?;
            came += count as u64;
            if came >= BLOCK {
                (since, came) = (Instant::now(), 0);
            } else if since.elapsed() > patience.read {
                return Err(FetchError::Trickle {
                    bytes: came,
                    wanted: BLOCK,
                    within: patience.read,
                });
            }
        }
    }
}
