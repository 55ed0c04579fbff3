//! Sources on a server that errs, stalls, lies and leads elsewhere.

use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rungs_fetch::{Address, FetchError, Fetched, Keep, Patience};
use rungs_media::{CancelToken, Error, Lasting, Supply};
use rungs_testkit::server::{Answer, Asked, Server};

const QUICK: Patience = Patience {
    attempt: Duration::from_secs(20),
    read: Duration::from_mins(1),
    opening: Duration::from_secs(20),
    pause: Duration::from_millis(1),
    longest_pause: Duration::from_millis(20),
};

fn bytes() -> Vec<u8> {
    (0..3_000_000_u32).map(|n| (n % 251) as u8).collect()
}

fn server(behaviour: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Server {
    Server::start(bytes(), behaviour).unwrap()
}

fn open(server: &Server, patience: Patience) -> Result<Fetched, FetchError> {
    let address = Address::parse(&server.url("film.mp4")).unwrap();
    let near = tempfile::tempdir().unwrap();
    Fetched::open(&address, patience, (near.path(), &CancelToken::default()))
}

fn read(fetched: &Fetched) -> Result<Vec<u8>, Error> {
    let mut all = Vec::new();
    let mut reader = fetched.open(&CancelToken::default())?;
    reader.read_to_end(&mut all)?;
    Ok(all)
}

#[test]
fn what_a_server_has_is_read_from_any_place() {
    let server = server(|_| Answer::Honest);
    let fetched = open(&server, QUICK).unwrap();
    assert!(fetched.is_whole());
    let mark = "\"one\"".to_owned();
    let len = 3_000_000;
    assert_eq!(fetched.lasting(), Lasting::Marked { len, mark });
    let mut reader = fetched.open(&CancelToken::default()).unwrap();
    assert_eq!(reader.length(), Some(len));
    reader.seek(SeekFrom::End(-2)).unwrap();
    let mut end = Vec::new();
    reader.read_to_end(&mut end).unwrap();
    assert_eq!(end, &bytes()[2_999_998..]);
    assert!(read(&fetched).unwrap() == bytes());
    drop(fetched);
    // Three blocks of it, each once.
    assert_eq!(server.asked().len(), 3);
}

#[test]
fn a_server_that_errs_and_hangs_up_costs_tries() {
    let server = server(|asked| match asked.number {
        0 | 1 | 3 => Answer::Status(503),
        4 => Answer::Cut(400_000),
        6 => Answer::Cut(0),
        _ => Answer::Honest,
    });
    let fetched = open(&server, QUICK).unwrap();
    assert!(read(&fetched).unwrap() == bytes());
    let asked = server.asked();
    // What had come before the connection was lost is not asked for again.
    let after_cut = asked.iter().find(|asked| asked.number == 5).unwrap();
    assert_eq!(after_cut.range.unwrap().0 % (1 << 20), 400_000);
}

#[test]
fn a_server_that_is_busy_is_left_alone_as_long_as_it_asks() {
    for number in [0, 1] {
        let server = server(move |asked| {
            if asked.number == number {
                Answer::Busy(503, "1")
            } else {
                Answer::Honest
            }
        });
        let begun = Instant::now();
        assert!(read(&open(&server, QUICK).unwrap()).unwrap() == bytes());
        assert!(begun.elapsed() >= Duration::from_secs(1), "{number}");
        assert_eq!(server.asked().len(), 4);
    }
    // Longer than there is time, so nobody waits.
    let server = server(|_| Answer::Busy(429, "3600"));
    let begun = Instant::now();
    let error = open(&server, QUICK).err().unwrap();
    assert!(begun.elapsed() < QUICK.opening);
    let told = error.to_string();
    assert!(told.ends_with(" and asks to wait 3600 s"), "{told}");
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn a_server_without_ranges_is_read_once_also_when_it_hangs_up() {
    let server = server(|asked| match asked.number {
        1 => Answer::WholeCut(1_234_567),
        2 => Answer::Status(500),
        _ => Answer::Whole,
    });
    let fetched = open(&server, QUICK).unwrap();
    assert!(!fetched.is_whole());
    assert_eq!(fetched.lasting(), Lasting::Never);
    assert!(fetched.still_to_keep() <= bytes().len() as u64);
    assert!(read(&fetched).unwrap() == bytes());
    assert_eq!(fetched.still_to_keep(), 0);
    assert!(read(&fetched).unwrap() == bytes());
    assert_eq!(server.asked().len(), 4);
}

#[test]
fn a_source_that_changes_on_the_server_is_an_error() {
    for (answer, other) in [
        (Answer::Honest, Answer::Tagged("two")),
        (Answer::Honest, Answer::Whole),
    ] {
        let server = server(move |asked| {
            if asked.number == 0 {
                answer.clone()
            } else {
                other.clone()
            }
        });
        let error = read(&open(&server, QUICK).unwrap()).unwrap_err();
        assert!(matches!(error, Error::Changed(_)), "{error:?}");
        assert_eq!(server.asked()[1].headers["if-range"], "\"one\"");
    }
    let downloaded = server(|asked| match asked.number {
        0 => Answer::Whole,
        1 => Answer::WholeCut(1000),
        _ => Answer::Tagged("two"),
    });
    let error = read(&open(&downloaded, QUICK).unwrap()).unwrap_err();
    assert!(matches!(error, Error::Changed(_)), "{error:?}");
}

#[test]
fn only_the_host_that_was_typed_is_asked() {
    let elsewhere = server(|_| Answer::Honest);
    let place = elsewhere.url("other.mp4?secret");
    let leads = server(move |_| Answer::Elsewhere(place.clone()));
    let error = open(&leads, QUICK).err().unwrap();
    let FetchError::Redirect { target } = error else {
        panic!("{error:?}");
    };
    assert_eq!(target.to_string(), elsewhere.url("other.mp4"));
    assert_eq!(target.to_type(), elsewhere.url("other.mp4?secret"));
    assert!(elsewhere.asked().is_empty());

    let moved = server(|asked| match asked.path.as_str() {
        "/film.mp4" => Answer::Elsewhere("/there?x".to_owned()),
        _ => Answer::Honest,
    });
    assert!(read(&open(&moved, QUICK).unwrap()).unwrap() == bytes());
    let around = server(|_| Answer::Elsewhere("/film.mp4".to_owned()));
    let error = open(&around, QUICK).err().unwrap();
    assert!(matches!(error, FetchError::Redirects(_)), "{error:?}");
}

#[test]
fn a_server_that_gives_drops_is_left_in_time() {
    let patience = Patience {
        read: Duration::from_millis(600),
        ..QUICK
    };
    let drops = Answer::Drops(Duration::from_millis(5));
    let server = server(move |asked| match asked.number {
        0 => Answer::Honest,
        _ => drops.clone(),
    });
    let begun = Instant::now();
    let error = read(&open(&server, patience).unwrap()).unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(10));
    let told = std::error::Error::source(&error).unwrap().to_string();
    assert!(told.contains("of 1048576 in 0.6 s"), "{told}");
}

#[test]
fn slow_servers_are_told_from_silent_ones() {
    let patience = Patience {
        read: Duration::from_millis(600),
        opening: Duration::from_millis(600),
        ..QUICK
    };
    // Without ranges.
    let drops = Answer::Drops(Duration::from_millis(5));
    let trickles = server(move |asked| match asked.number {
        0 => Answer::Whole,
        _ => drops.clone(),
    });
    let error = read(&open(&trickles, patience).unwrap()).unwrap_err();
    let told = std::error::Error::source(&error).unwrap().to_string();
    assert!(told.starts_with("the server sends too slowly"), "{told}");
    let silent = server(|_| Answer::Silence);
    let error = open(&silent, patience).err().unwrap();
    assert!(matches!(error, FetchError::NoAnswer { .. }), "{error:?}");
}

#[test]
fn other_schemes_are_refused_by_name_and_nobody_is_asked() {
    for (place, name) in [
        ("file:///etc/passwd", "file"),
        ("ftp://127.0.0.1/x", "ftp"),
        ("gopher://127.0.0.1/x", "gopher"),
    ] {
        let server = server(move |_| Answer::Elsewhere(place.to_owned()));
        let error = open(&server, QUICK).err().unwrap();
        let FetchError::OtherScheme { scheme } = error else {
            panic!("{error:?}");
        };
        assert_eq!((scheme.as_str(), server.asked().len()), (name, 1));
    }
    for place in ["http://127.0.0.1:0/", "http://127.0.0.1:65536/", "http://"] {
        let server = server(move |_| Answer::Elsewhere(place.to_owned()));
        let error = open(&server, QUICK).err().unwrap();
        assert!(matches!(error, FetchError::Location(_)), "{error:?}");
    }
}

#[test]
fn what_is_downloaded_has_a_limit() {
    let near = tempfile::tempdir().unwrap();
    let open = |server: &Server, most| {
        let address = Address::parse(&server.url("film.mp4")).unwrap();
        let keep = Keep {
            folder: near.path(),
            most: Some(most),
        };
        Fetched::open(&address, QUICK, (keep, &CancelToken::default()))
    };
    let whole = server(|_| Answer::Whole);
    let error = open(&whole, 2_999_999).err().unwrap();
    assert!(matches!(error, FetchError::TooLarge(_)), "{error:?}");
    assert!(read(&open(&whole, 3_000_000).unwrap()).unwrap() == bytes());
    // Where the length is not announced, as much is read as may be kept.
    let endless = server(|_| Answer::Unannounced);
    let fetched = open(&endless, 2_000_000).unwrap();
    let error = read(&fetched).unwrap_err();
    assert!(matches!(error, Error::SourceLimit(_)), "{error:?}");
    // Blocks are not kept, so they have none.
    let ranges = server(|_| Answer::Honest);
    assert!(read(&open(&ranges, 10).unwrap()).unwrap() == bytes());
}

#[test]
fn refusals_are_final_and_told() {
    let server = server(|_| Answer::Status(404));
    let error = open(&server, QUICK).err().unwrap();
    assert!(
        matches!(error, FetchError::Status { status, .. } if status == 404),
        "{error:?}"
    );
    assert_eq!(server.asked().len(), 1);
    let address = Address::parse(&server.url("")).unwrap();
    drop(server);
    let near = std::env::temp_dir();
    let begun = Instant::now();
    let nobody = Fetched::open(&address, QUICK, (&near, &CancelToken::default()));
    let error = nobody.err().unwrap();
    assert!(matches!(error, FetchError::Connection(_)), "{error:?}");
    assert!(begun.elapsed() < QUICK.opening);
    let broken = Patience {
        opening: Duration::from_millis(500),
        ..QUICK
    };
    let server = Server::start(bytes(), |_| Answer::Status(503)).unwrap();
    let error = open(&server, broken).err().unwrap();
    assert!(
        matches!(error, FetchError::Status { status, .. } if status == 503),
        "{error:?}"
    );
    assert!(server.asked().len() > 1);
}

#[test]
fn who_waits_for_a_silent_server_is_woken() {
    let server = server(|asked| match asked.number {
        0 => Answer::Honest,
        _ => Answer::Silence,
    });
    let fetched = Arc::new(open(&server, QUICK).unwrap());
    let cancel = CancelToken::default();
    thread::scope(|scope| {
        let waits = scope.spawn(|| {
            let mut reader = fetched.open(&cancel).unwrap();
            reader.seek(SeekFrom::Start(2_000_000)).unwrap();
            reader.read(&mut [0; 1])
        });
        cancel.cancel();
        assert!(waits.join().unwrap().is_err());
    });
    // Returns only when the thread that asks has ended.
    drop(fetched);
    let silent = Server::start(bytes(), |_| Answer::Silence).unwrap();
    let address = Address::parse(&silent.url("")).unwrap();
    let cancel = CancelToken::default();
    let near = std::env::temp_dir();
    thread::scope(|scope| {
        let opens = scope.spawn(|| Fetched::open(&address, QUICK, (&near, &cancel)).err());
        cancel.cancel();
        let error = opens.join().unwrap();
        assert!(matches!(error, Some(FetchError::Closed)), "{error:?}");
    });
}

#[test]
fn a_name_and_a_password_are_sent_and_not_told() {
    let server = server(|_| Answer::Honest);
    let url = server.url("film.mp4");
    // The colon and the @ are of the password.
    let url = url.replace("http://", "http://me:w%3Ao%40d@");
    let address = Address::parse(&url).unwrap();
    let near = tempfile::tempdir().unwrap();
    let fetched = Fetched::open(&address, QUICK, (near.path(), &CancelToken::default())).unwrap();
    assert_eq!(fetched.name(), server.url("film.mp4"));
    let asked = server.asked();
    assert_eq!(asked[0].headers["authorization"], "Basic bWU6dzpvQGQ=");
}
