//! Sources on a server of the loopback.

use std::fs;
use std::path::Path;

use rungs_testkit::checker::Expectation;
use rungs_testkit::clips::{Audio, Clip};
use rungs_testkit::server::{Answer, Asked, Server};

use crate::support::{Made, Running, package_line, published, ready, rungs};

fn clip() -> Clip {
    let clip = Clip::new().size(320, 180).seconds(4.0).gop(24);
    clip.audio(Audio::Stereo)
}

/// A server that has the clip.
fn server(source: &Path, behaviour: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Server {
    let bytes = fs::read(source).expect("the clip is there");
    Server::start(bytes, behaviour).expect("the loopback is there")
}

#[test]
fn what_a_server_has_is_packaged_as_the_file_is() {
    if !ready() {
        return;
    }
    let source = clip().make();
    let options = ["--rung", "source"];
    let file = Made::of(&source, &options);
    for answer in [Answer::Honest, Answer::Whole] {
        let server = server(&source, move |asked| match asked.number {
            0 | 2 => Answer::Status(503),
            3 => Answer::Cut(10_000),
            _ => answer.clone(),
        });
        let url = server.url("film.mp4?token=secret");
        let url = url.replace("http://", "http://me:word@");
        let made = Made::of(Path::new(&url), &options);
        made.check(&Expectation {
            source: Some(source.clone()),
            segment_seconds: Some(1.0),
            audio: Some(true),
            ..Expectation::default()
        });
        let (one, other) = (published(&made.out()), published(&file.out()));
        assert!(one.keys().eq(other.keys()));
        for (name, bytes) in one {
            let list = name
                .extension()
                .is_some_and(|kind| kind == "m3u8" || kind == "mpd");
            assert!(list || other[&name] == bytes, "{}", name.display());
        }
        for file in ["plan.json", "journal.sqlite"] {
            let kept = fs::read(made.out().join(".rungs").join(file)).expect("it is there");
            let kept = String::from_utf8_lossy(&kept);
            assert!(
                !kept.contains("secret") && !kept.contains("word@"),
                "{file}"
            );
        }
    }
}

#[test]
fn a_job_on_a_server_is_gone_on_with_if_it_is_the_same() {
    if !ready() {
        return;
    }
    let source = clip().seconds(8.0).make();
    let same = server(&source, |_| Answer::Honest);
    let url = same.url("film.mp4");
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out");
    let options = ["--rung", "source", "--speed", "5", "--progress", "json"];
    let mut running = Running::start(package_line(Path::new(&url), &out, &options));
    running.wait_for("segment");
    running.interrupt();
    assert_eq!(running.end().code, Some(130));
    let other = server(&source, |_| Answer::Tagged("two"));
    let resume = |more: &[&str]| {
        let line = ["resume", out.to_str().expect("text")];
        rungs(line.iter().chain(more))
    };
    let refused = resume(&["--source", &other.url("film.mp4")]);
    assert_eq!(refused.code, Some(3), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("another source"),
        "{}",
        refused.stderr
    );
    // Anybody may have written the address into the folder.
    let unasked = resume(&[]);
    assert_eq!(unasked.code, Some(3), "{}", unasked.stderr);
    assert!(unasked.stderr.contains("--source"), "{}", unasked.stderr);
    let resumed = resume(&["--source", &url]);
    assert_eq!(resumed.code, Some(0), "{}", resumed.stderr);
    let again = resume(&[]);
    assert!(again.stdout.contains("nothing to do"), "{}", again.stdout);
}

#[test]
fn a_server_that_leads_elsewhere_is_named() {
    if !ready() {
        return;
    }
    let source = clip().make();
    let elsewhere = server(&source, |_| Answer::Honest);
    // As signed addresses are.
    let place = elsewhere.url(&format!("other.mp4?key={}", "a".repeat(1500)));
    let typed = place.replace("http://", "http://me:word@");
    let leads = server(&source, move |_| Answer::Elsewhere(typed.clone()));
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out");
    let url = leads.url("film.mp4");
    let answer = rungs(package_line(Path::new(&url), &out, &[]));
    assert_eq!(answer.code, Some(3), "{}", answer.stderr);
    assert!(
        answer.stderr.contains(&place) && !answer.stderr.contains("me:word"),
        "{}",
        answer.stderr
    );
    assert!(elsewhere.asked().is_empty() && !out.exists());
    let playlist = Server::start(b"#EXTM3U\n#EXTINF:1,\nfilm.mp4\n".to_vec(), |_| {
        Answer::Honest
    });
    let playlist = playlist.expect("the loopback is there");
    let answer = rungs(package_line(
        Path::new(&playlist.url("film.mp4")),
        &out,
        &[],
    ));
    assert_eq!(answer.code, Some(3), "{}", answer.stderr);
    assert!(
        playlist
            .asked()
            .iter()
            .all(|asked| asked.path == "/film.mp4")
    );
}

#[test]
fn addresses_that_nothing_is_fetched_from_are_refused_by_what_is_wrong() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out");
    let refusal = |address: &str| {
        let answer = rungs(package_line(Path::new(address), &out, &[]));
        assert_eq!(answer.code, Some(3), "{address}: {}", answer.stderr);
        assert!(!out.exists());
        answer.stderr
    };
    let server = Server::start(Vec::new(), |_| Answer::Silence).expect("the loopback is there");
    // The port that the number would wrap to.
    let at: u32 = server
        .url("")
        .trim_end_matches('/')
        .rsplit(':')
        .next()
        .expect("a port")
        .parse()
        .expect("a number");
    for port in [(at + 65_536).to_string(), "0".to_owned(), String::new()] {
        let told = refusal(&format!("http://127.0.0.1:{port}/film.mp4"));
        assert!(
            told.contains("its port is not a number from 1 to 65535"),
            "{told}"
        );
    }
    let told = refusal("http:///film.mp4");
    assert!(told.contains("it names no host"), "{told}");
    assert!(server.asked().is_empty());
    for (place, name) in [
        ("file:///etc/passwd", "file"),
        ("gopher://127.0.0.1/x", "gopher"),
    ] {
        let leads = Server::start(Vec::new(), move |_| Answer::Elsewhere(place.to_owned()));
        let leads = leads.expect("the loopback is there");
        let told = refusal(&leads.url("film.mp4"));
        assert!(told.contains(&format!("of the scheme {name}")), "{told}");
        assert_eq!(leads.asked().len(), 1);
    }
}
