//! A good package, one thing in it spoilt at a time: the checker must say which promise is broken, and where.

mod fixture;

use std::fs;
use std::path::Path;

use fixture::Plan;
use rungs_testkit::checker::{self, Expectation, Finding, Rule};
use rungs_testkit::{mp4, tool};

const TOP: &str = "video/av1-180p";
const LOW: &str = "video/av1-90p";
const SOUND: &str = "audio/und-aac";
const FLOOR: f64 = 40.0;

fn absent() -> bool {
    tool::require("ffmpeg").is_none() || tool::require_encoder("libsvtav1").is_none()
}

fn expectation() -> Expectation {
    Expectation {
        source: Some(fixture::source()),
        psnr_floor: Some(FLOOR),
        segment_seconds: Some(1.0),
        audio: Some(true),
        renditions: Some(2),
        ..Expectation::default()
    }
}

#[test]
fn a_good_package_passes_and_is_reported() {
    if absent() {
        return;
    }
    let report = checker::check(fixture::good(), &expectation()).unwrap();
    assert_eq!(
        (report.frames, report.segments, report.held),
        (u64::from(fixture::FRAMES), 3, 0)
    );
    assert_eq!(report.renditions.len(), 3);
    assert_eq!(report.renditions[0].size, Some(fixture::SIZES[0]));
    assert!(report.min_psnr.unwrap() > FLOOR, "{report:?}");
}

/// One way to spoil a package.
struct Damage {
    what: &'static str,
    rule: Rule,
    /// Where the finding must point.
    file: &'static str,
    spoil: fn(&Path),
}

fn text(out: &Path, file: &str, (from, to): (&str, &str)) {
    let path = out.join(file);
    let old = fs::read_to_string(&path).unwrap();
    let new = old.replacen(from, to, 1);
    assert_ne!(old, new, "{file} has no {from}: {old}");
    fs::write(path, new).unwrap();
}

/// Changes a number that stands behind a name in a text file.
fn number(out: &Path, (file, name): (&str, &str), change: fn(f64) -> f64) {
    let path = out.join(file);
    let old = fs::read_to_string(&path).unwrap();
    let start = old.find(name).unwrap() + name.len();
    let end = start
        + old[start..]
            .find(|letter: char| !letter.is_ascii_digit() && letter != '.')
            .unwrap();
    let value = change(old[start..end].parse().unwrap());
    fs::write(path, format!("{}{value}{}", &old[..start], &old[end..])).unwrap();
}

/// Overwrites bytes at an offset in the payload of the first box of a type.
fn boxed(out: &Path, (file, kind): (&str, [u8; 4]), (offset, bytes): (usize, &[u8])) {
    fn find(nodes: &[mp4::Node], kind: [u8; 4]) -> Option<&mp4::Node> {
        nodes.iter().find_map(|node| {
            if node.kind == kind {
                Some(node)
            } else {
                find(&node.children, kind)
            }
        })
    }
    let path = out.join(file);
    let mut data = fs::read(&path).unwrap();
    let tree = mp4::tree(&data).unwrap();
    let node = find(&tree, kind).unwrap();
    let at = node.at + node.header + offset;
    assert_ne!(
        &data[at..at + bytes.len()],
        bytes,
        "nothing would change in {file}"
    );
    data[at..at + bytes.len()].copy_from_slice(bytes);
    fs::write(path, data).unwrap();
}

fn swap(out: &Path, one: &str, two: &str) {
    let (a, b) = (
        fs::read(out.join(one)).unwrap(),
        fs::read(out.join(two)).unwrap(),
    );
    fs::write(out.join(one), b).unwrap();
    fs::write(out.join(two), a).unwrap();
}

const MASTER: &str = "master.m3u8";
const MPD: &str = "manifest.mpd";
const TOP_LIST: &str = "video/av1-180p/playlist.m3u8";
const LOW_LIST: &str = "video/av1-90p/playlist.m3u8";
const TOP_INIT: &str = "video/av1-180p/init.mp4";
const TOP_1: &str = "video/av1-180p/seg-00001.m4s";
const LOW_1: &str = "video/av1-90p/seg-00001.m4s";

#[rustfmt::skip]
const FILES: &[Damage] = &[
    Damage { what: "a segment is gone", rule: Rule::Files, file: TOP_1, spoil: |out| fs::remove_file(out.join(TOP_1)).unwrap() },
    Damage { what: "the initialisation segment is gone", rule: Rule::Files, file: TOP_INIT, spoil: |out| fs::remove_file(out.join(TOP_INIT)).unwrap() },
    Damage { what: "a playlist is gone", rule: Rule::Files, file: LOW_LIST, spoil: |out| fs::remove_file(out.join(LOW_LIST)).unwrap() },
    Damage { what: "the manifest is gone", rule: Rule::Files, file: MPD, spoil: |out| fs::remove_file(out.join(MPD)).unwrap() },
    Damage { what: "there is a segment too many", rule: Rule::Files, file: "video/av1-90p/seg-00003.m4s", spoil: |out| {
        fs::copy(out.join(LOW_1), out.join("video/av1-90p/seg-00003.m4s")).unwrap();
    } },
    Damage { what: "a temporary file is left", rule: Rule::Files, file: ".rungs/tmp/7", spoil: |out| {
        fs::create_dir_all(out.join(".rungs/tmp")).unwrap();
        fs::write(out.join(".rungs/tmp/7"), "half").unwrap();
    } },
    Damage { what: "the report is cut", rule: Rule::Files, file: "report.json", spoil: |out| fs::write(out.join("report.json"), "{\"a\":").unwrap() },
    Damage { what: "two segments are swapped", rule: Rule::Timeline, file: TOP_1, spoil: |out| swap(out, TOP_1, "video/av1-180p/seg-00000.m4s") },
    Damage { what: "a segment is another rendition's", rule: Rule::Codec, file: TOP_1, spoil: |out| {
        fs::copy(out.join(LOW_1), out.join(TOP_1)).unwrap();
    } },
    Damage { what: "a segment is cut", rule: Rule::Validity, file: TOP_1, spoil: |out| {
        let bytes = fs::read(out.join(TOP_1)).unwrap();
        fs::write(out.join(TOP_1), &bytes[..bytes.len() - 1]).unwrap();
    } },
    Damage { what: "a segment is empty", rule: Rule::Validity, file: TOP_1, spoil: |out| fs::write(out.join(TOP_1), "").unwrap() },
];

#[rustfmt::skip]
const BOXES: &[Damage] = &[
    Damage { what: "tfdt is a tick late", rule: Rule::Timeline, file: TOP_1, spoil: |out| boxed(out, (TOP_1, *b"tfdt"), (11, &[0xE1])) },
    Damage { what: "the sequence number is old", rule: Rule::Validity, file: TOP_1, spoil: |out| boxed(out, (TOP_1, *b"mfhd"), (7, &[1])) },
    Damage { what: "sidx starts elsewhere", rule: Rule::Validity, file: TOP_1, spoil: |out| {
        // Version 0 has four bytes where version 1 has eight: the lowest byte is set in either.
        boxed(out, (TOP_1, *b"sidx"), (15, &[0xAA]));
        boxed(out, (TOP_1, *b"sidx"), (19, &[0xAA]));
    } },
    Damage { what: "styp has no known brand", rule: Rule::Validity, file: TOP_1, spoil: |out| {
        let path = out.join(TOP_1);
        let bytes = fs::read(&path).unwrap();
        let size = bytes[3] as usize;
        let blank = [&bytes[..8], &vec![b'x'; size - 8], &bytes[size..]].concat();
        fs::write(path, blank).unwrap();
    } },
    Damage { what: "ftyp has no known brand", rule: Rule::Validity, file: TOP_INIT, spoil: |out| {
        let path = out.join(TOP_INIT);
        let bytes = fs::read(&path).unwrap();
        let size = bytes[3] as usize;
        fs::write(path, [&bytes[..8], &vec![b'x'; size - 8], &bytes[size..]].concat()).unwrap();
    } },
    Damage { what: "av1C states another level", rule: Rule::Codec, file: TOP_INIT, spoil: |out| boxed(out, (TOP_INIT, *b"av1C"), (1, &[0x1F])) },
    Damage { what: "the sample entry has another width", rule: Rule::Codec, file: TOP_INIT, spoil: |out| boxed(out, (TOP_INIT, *b"av01"), (24, &[9])) },
    Damage { what: "the timescale is another", rule: Rule::Playlist, file: TOP_LIST, spoil: |out| boxed(out, (TOP_INIT, *b"mdhd"), (14, &[0])) },
    Damage { what: "a sample is longer", rule: Rule::Validity, file: TOP_1, spoil: |out| {
        // The first field of the first sample, behind the count and the data offset.
        boxed(out, (TOP_1, *b"trun"), (4, &[0, 0, 0, 23]));
    } },
    Damage { what: "a frame's bytes are noise", rule: Rule::Decoding, file: TOP_1, spoil: |out| boxed(out, (TOP_1, *b"mdat"), (40, &[0x5A; 200])) },
    Damage { what: "the first sample is a delimiter", rule: Rule::Validity, file: TOP_1, spoil: |out| boxed(out, (TOP_1, *b"mdat"), (0, &[0x12, 0])) },
];

#[rustfmt::skip]
const PLAYLISTS: &[Damage] = &[
    Damage { what: "a duration is untrue", rule: Rule::Playlist, file: TOP_LIST, spoil: |out| text(out, TOP_LIST, ("#EXTINF:1.000000", "#EXTINF:1.000100")) },
    Damage { what: "the target is too short", rule: Rule::Playlist, file: TOP_LIST, spoil: |out| text(out, TOP_LIST, ("TARGETDURATION:1", "TARGETDURATION:0")) },
    Damage { what: "the end mark is gone", rule: Rule::Playlist, file: TOP_LIST, spoil: |out| text(out, TOP_LIST, ("#EXT-X-ENDLIST\n", "")) },
    Damage { what: "the type is another", rule: Rule::Playlist, file: TOP_LIST, spoil: |out| text(out, TOP_LIST, ("EVENT", "VOD")) },
    Damage { what: "a segment is named twice", rule: Rule::Coverage, file: TOP_LIST, spoil: |out| text(out, TOP_LIST, ("seg-00001", "seg-00000")) },
    Damage { what: "the last entry is gone", rule: Rule::Coverage, file: LOW_LIST, spoil: |out| text(out, LOW_LIST, ("#EXTINF:0.500000,\nseg-00002.m4s\n", "")) },
    Damage { what: "BANDWIDTH is too low", rule: Rule::Bandwidth, file: MASTER, spoil: |out| number(out, (MASTER, ":BANDWIDTH="), |rate| (rate * 0.99).round()) },
    Damage { what: "BANDWIDTH is too high", rule: Rule::Bandwidth, file: MASTER, spoil: |out| number(out, (MASTER, ":BANDWIDTH="), |rate| (rate * 1.02).round()) },
    Damage { what: "AVERAGE-BANDWIDTH is untrue", rule: Rule::Bandwidth, file: MASTER, spoil: |out| number(out, (MASTER, "AVERAGE-BANDWIDTH="), |rate| (rate * 0.98).round()) },
    Damage { what: "CODECS has another level", rule: Rule::Codec, file: MASTER, spoil: |out| text(out, MASTER, ("M.08", "M.10")) },
    Damage { what: "CODECS leaves out the sound", rule: Rule::Codec, file: MASTER, spoil: |out| text(out, MASTER, (",mp4a.40.2", "")) },
    Damage { what: "RESOLUTION is another's", rule: Rule::Codec, file: MASTER, spoil: |out| text(out, MASTER, ("320x180", "320x182")) },
    Damage { what: "FRAME-RATE is untrue", rule: Rule::Playlist, file: MASTER, spoil: |out| text(out, MASTER, ("FRAME-RATE=24.000", "FRAME-RATE=25.000")) },
    Damage { what: "VIDEO-RANGE is untrue", rule: Rule::Codec, file: MASTER, spoil: |out| text(out, MASTER, ("VIDEO-RANGE=SDR", "VIDEO-RANGE=PQ")) },
    Damage { what: "the audio group is another", rule: Rule::Playlist, file: MASTER, spoil: |out| text(out, MASTER, ("GROUP-ID=\"", "GROUP-ID=\"x")) },
    Damage { what: "CHANNELS is untrue", rule: Rule::Playlist, file: MASTER, spoil: |out| text(out, MASTER, ("CHANNELS=\"2\"", "CHANNELS=\"6\"")) },
    Damage { what: "a rendition is left out", rule: Rule::Files, file: LOW_LIST, spoil: |out| {
        let path = out.join(MASTER);
        let text = fs::read_to_string(&path).unwrap();
        let mut lines: Vec<_> = text.lines().collect();
        let place = lines.iter().position(|line| *line == LOW_LIST).unwrap();
        lines.drain(place - 1..=place);
        fs::write(path, lines.join("\n") + "\n").unwrap();
    } },
    Damage { what: "a segment is shorter in the manifest", rule: Rule::Manifest, file: MPD, spoil: |out| number(out, (MPD, " d=\""), |ticks| ticks - 20.0) },
    Damage { what: "the manifest is shorter", rule: Rule::Manifest, file: MPD, spoil: |out| number(out, (MPD, "mediaPresentationDuration=\"PT"), |_| 2.0) },
    Damage { what: "the manifest has another codec", rule: Rule::Codec, file: MPD, spoil: |out| text(out, MPD, ("M.08", "M.10")) },
    Damage { what: "the manifest has another width", rule: Rule::Codec, file: MPD, spoil: |out| text(out, MPD, ("width=\"320\"", "width=\"322\"")) },
    Damage { what: "the manifest's bandwidth is too low", rule: Rule::Bandwidth, file: MPD, spoil: |out| number(out, (MPD, "bandwidth=\""), |rate| (rate * 0.99).round()) },
    Damage { what: "the manifest counts from one", rule: Rule::Manifest, file: MPD, spoil: |out| text(out, MPD, ("startNumber=\"0\"", "startNumber=\"1\"")) },
    Damage { what: "the manifest has another frame rate", rule: Rule::Manifest, file: MPD, spoil: |out| text(out, MPD, ("frameRate=\"24\"", "frameRate=\"30\"")) },
    Damage { what: "the manifest is cut", rule: Rule::Manifest, file: MPD, spoil: |out| text(out, MPD, ("</MPD>", "")) },
];

/// Spoils copies of the good package and lists what was not found, and what was found elsewhere instead.
fn missed(damages: &[Damage]) -> Vec<String> {
    let expect = Expectation {
        source: None,
        psnr_floor: None,
        ..expectation()
    };
    // Whatever the undamaged package is blamed for says nothing about the damage.
    let known = checker::check(fixture::good(), &expect)
        .err()
        .unwrap_or_default();
    let mut missed = Vec::new();
    for damage in damages {
        let folder = fixture::copy(fixture::good());
        (damage.spoil)(folder.path());
        let mut findings = checker::check(folder.path(), &expect)
            .err()
            .unwrap_or_default();
        findings.retain(|finding| !known.contains(finding));
        if !findings
            .iter()
            .any(|finding| finding.rule == damage.rule && finding.file == damage.file)
        {
            missed.push(format!("{}: {}", damage.what, list(&findings)));
        }
    }
    missed
}

fn list(findings: &[Finding]) -> String {
    findings
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

#[test]
fn damage_to_files_is_found() {
    if !absent() {
        assert_eq!(missed(FILES), Vec::<String>::new());
    }
}

#[test]
fn damage_to_boxes_is_found() {
    if !absent() {
        assert_eq!(missed(BOXES), Vec::<String>::new());
    }
}

#[test]
fn damage_to_playlists_and_manifest_is_found() {
    if !absent() {
        assert_eq!(missed(PLAYLISTS), Vec::<String>::new());
    }
}

/// What is done to the largest rendition's second segment: a filter over it, or frames by which it is taken too early.
type Picture = (&'static str, Option<&'static str>, u32, &'static str);

#[rustfmt::skip]
const PICTURES: &[Picture] = &[
    ("two frames change places", Some("shuffleframes=0 2 1 3"), 0, TOP_1),
    ("every fourth frame is frozen", Some("shuffleframes=0 1 1 3"), 0, TOP_1),
    ("a segment is one frame early", None, 1, TOP_1),
    ("a segment is mirrored", Some("hflip"), 0, TOP_1),
    ("a segment is black", Some("lutyuv=y=16:u=128:v=128"), 0, TOP_1),
    ("colours are shifted", Some("hue=h=6"), 0, TOP_1),
    ("a plane is shifted by a pixel", Some("chromashift=cbh=2"), 0, TOP_1),
    ("the range is another", Some("lutyuv=y=val*0.86+16"), 0, TOP_1),
];

#[test]
fn pictures_that_are_not_the_sources_are_found() {
    if absent() {
        return;
    }
    for &(what, filter, early, file) in PICTURES {
        let plan = Plan {
            filter,
            early,
            ..Plan::default()
        };
        let folder = tempfile::tempdir().unwrap();
        fixture::make(folder.path(), plan);
        let findings = checker::check(folder.path(), &expectation())
            .err()
            .unwrap_or_default();
        let found = findings
            .iter()
            .any(|finding| finding.rule == Rule::Quality && finding.file == file);
        assert!(found, "{what}: {}", list(&findings));
    }
}

#[test]
fn cuts_and_ends_that_differ_are_found() {
    if absent() {
        return;
    }
    let plans = [
        (
            "a rendition is cut a frame late",
            Plan {
                late_cut: 1,
                ..Plan::default()
            },
            format!("{LOW}/seg-00001.m4s"),
        ),
        (
            "the sound ends early",
            Plan {
                silent: 3,
                ..Plan::default()
            },
            format!("{SOUND}/playlist.m3u8"),
        ),
    ];
    for (what, plan, file) in plans {
        let folder = tempfile::tempdir().unwrap();
        fixture::make(folder.path(), plan);
        let findings = checker::check(folder.path(), &expectation())
            .err()
            .unwrap_or_default();
        let found = findings
            .iter()
            .any(|finding| finding.rule == Rule::Timeline && finding.file == file);
        assert!(found, "{what}: {}", list(&findings));
    }
}

#[test]
fn a_package_of_another_source_is_found() {
    if absent() {
        return;
    }
    let longer = rungs_testkit::clips::Clip::new()
        .size(320, 180)
        .frames(fixture::FRAMES + 1)
        .make();
    let expect = Expectation {
        source: Some(longer),
        ..expectation()
    };
    let findings = checker::check(fixture::good(), &expect).unwrap_err();
    let missing =
        |finding: &Finding| finding.rule == Rule::Source && finding.message.contains("missing");
    assert!(
        findings
            .iter()
            .any(|finding| finding.file == TOP_LIST && missing(finding)),
        "{}",
        list(&findings)
    );
    let expect = Expectation {
        frames: Some(61),
        source: None,
        ..expectation()
    };
    let findings = checker::check(fixture::good(), &expect).unwrap_err();
    assert!(
        findings.iter().all(|finding| finding.rule == Rule::Source),
        "{}",
        list(&findings)
    );
    assert_eq!(findings.len(), 2);
}

#[test]
fn another_muxers_habits_are_findings_and_no_panic() {
    if absent() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let playlist = folder.path().join("playlist.m3u8");
    let run = tool::ffmpeg()
        .arg("-i")
        .arg(fixture::source())
        .args(["-map", "0:v", "-c:v", "libx264", "-b:v", "300k"]);
    let run = run.args([
        "-f",
        "hls",
        "-hls_segment_type",
        "fmp4",
        "-hls_playlist_type",
        "event",
        "-hls_time",
        "1",
    ]);
    run.args(["-master_pl_name", "master.m3u8"])
        .arg(playlist)
        .run()
        .unwrap();
    let findings = checker::check(folder.path(), &Expectation::default()).unwrap_err();
    let has = |text: &str| {
        findings
            .iter()
            .any(|finding| finding.message.contains(text))
    };
    assert!(has("sidx") && has("cmfc"), "{}", list(&findings));
    assert!(
        findings
            .iter()
            .any(|finding| finding.rule == Rule::Files && finding.file == MPD)
    );
    assert!(
        findings
            .iter()
            .all(|finding| !finding.file.starts_with(TOP))
    );
}

#[test]
fn unlike_encoders_may_share_a_rendition_that_names_both() {
    if absent() || tool::require_encoder("libaom-av1").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let plan = Plan {
        unlike: true,
        ..Plan::default()
    };
    fixture::make(folder.path(), plan);
    let expect = Expectation {
        source: None,
        psnr_floor: None,
        ..expectation()
    };
    if let Err(findings) = checker::check(folder.path(), &expect) {
        panic!("{}", list(&findings));
    }
    let file = "video/av1-180p/seg-00001.m4s";
    for (entry, rule) in [(1, Rule::Codec), (3, Rule::Validity)] {
        // Behind flags and the track's number.
        boxed(folder.path(), (file, *b"tfhd"), (8, &[0, 0, 0, entry]));
        let findings = checker::check(folder.path(), &expect).unwrap_err();
        let found = findings
            .iter()
            .any(|finding| finding.rule == rule && finding.file == file);
        assert!(found, "{}", list(&findings));
    }
}
