//! Plain files: what FFmpeg reads in them, what stays when a run is killed, and what is refused.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rungs_testkit::clips::{Audio, Clip};
use rungs_testkit::dice::Dice;
use rungs_testkit::{mp4, tool};
use serde_json::Value;

use crate::support::{Answer, Running, ready, rungs};

/// A source of 5 s with sound.
fn clip() -> PathBuf {
    Clip::new()
        .size(320, 180)
        .seconds(5.0)
        .audio(Audio::Stereo)
        .make()
}

fn line(source: &Path, out: &Path, options: &[&str]) -> Vec<OsString> {
    let mut line: Vec<OsString> = vec!["transcode".into(), source.into(), "-o".into(), out.into()];
    for (name, value) in [("--segment", "1"), ("--speed", "12")] {
        if !options.contains(&name) {
            line.extend([name.into(), value.into()]);
        }
    }
    line.extend(options.iter().map(Into::into));
    line
}

fn transcode(source: &Path, out: &Path, options: &[&str]) -> Answer {
    let answer = rungs(line(source, out, options));
    assert_eq!(answer.code, Some(0), "{}{}", answer.stdout, answer.stderr);
    answer
}

fn refused(answer: &Answer, reason: &str) {
    assert_eq!(answer.code, Some(3), "{}{}", answer.stdout, answer.stderr);
    for part in ["error: ", "  try: ", reason] {
        assert!(answer.stderr.contains(part), "{part:?}: {}", answer.stderr);
    }
}

fn probe(file: &Path) -> Value {
    let run = tool::ffprobe().args(["-show_format", "-show_streams", "-show_chapters"]);
    let run = run.args(["-count_frames", "-of", "json"]).arg(file);
    run.json().expect("ffprobe reads it")
}

fn number(value: &Value) -> f64 {
    let text = value.as_str().expect("a number as text");
    text.parse().expect("a number")
}

/// The PSNR of each picture of a file against the source's from one to before another.
fn psnrs(file: &Path, source: &Path, (from, until): (u32, u32)) -> Vec<f64> {
    let scale = format!(
        "[0:v]settb=1/24000[a];[1:v]trim=start_frame={from}:end_frame={until},setpts=PTS-STARTPTS,settb=1/24000[b];[a][b]psnr=stats_file=-"
    );
    let run = tool::ffmpeg().arg("-i").arg(file).arg("-i").arg(source);
    let run = run.args(["-lavfi", &scale, "-f", "null", "-"]);
    let answer = run.run().expect("both can be decoded");
    let text = String::from_utf8_lossy(&answer.stdout);
    let psnr = |line: &str| {
        let (_, rest) = line.split_once("psnr_avg:")?;
        let value = rest.split_whitespace().next()?;
        Some(value.parse().unwrap_or(f64::INFINITY))
    };
    text.lines().filter_map(psnr).collect()
}

fn worst_psnr(file: &Path, source: &Path, part: (u32, u32)) -> f64 {
    let each = psnrs(file, source, part);
    each.into_iter().fold(f64::INFINITY, f64::min)
}

/// How loud the difference of the sounds of a file and of its source from a moment on is, in dB. It is low only if none is late.
fn level_of_difference(file: &Path, source: &Path, from: f64) -> f64 {
    let form = "aformat=sample_rates=48000:channel_layouts=stereo";
    let graph = format!(
        "[0:a]{form}[a];[1:a]atrim=start={from},asetpts=PTS-STARTPTS,{form},volume=-1[b];\
         [a][b]amix=normalize=0:duration=shortest,volumedetect"
    );
    let run = tool::ffmpeg().args(["-loglevel", "info", "-i"]).arg(file);
    let run = run.arg("-i").arg(source).args(["-filter_complex", &graph]);
    let answer = run
        .args(["-f", "null", "-"])
        .run()
        .expect("both have sound");
    let (_, text) = answer.stderr.split_once("mean_volume: ").expect("a level");
    let text = text.split(' ').next().expect("a number");
    text.parse().expect("a number")
}

/// What lies in a folder, hidden or not.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder").flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn kinds(file: &Path) -> Vec<String> {
    let bytes = fs::read(file).expect("a file");
    let boxes = mp4::tree(&bytes).expect("boxes");
    boxes.iter().map(|node| node.kind.to_string()).collect()
}

#[test]
fn one_rendition_becomes_a_file_that_is_right_to_the_picture() {
    if !ready() {
        return;
    }
    let (source, folder) = (clip(), tempfile::tempdir().expect("a folder"));
    let out = folder.path().join("film.mp4");
    let answer = transcode(&source, &out, &[]);
    assert!(answer.stdout.contains("film.mp4"), "{}", answer.stdout);
    assert_eq!(names(folder.path()), ["film.mp4"]);
    assert_eq!(kinds(&out), ["ftyp", "moov", "mdat"]);
    let probe = probe(&out);
    let [video, sound] = [0, 1].map(|place| &probe["streams"][place]);
    assert_eq!(
        (
            &video["codec_name"],
            &video["width"],
            &video["nb_read_frames"]
        ),
        (&"av1".into(), &320.into(), &"120".into())
    );
    for stream in [video, sound] {
        assert!(number(&stream["start_time"]).abs() < 1e-6, "{stream}");
        assert!((number(&stream["duration"]) - 5.0).abs() < 1e-3, "{stream}");
    }
    let worst = worst_psnr(&out, &source, (0, 120));
    assert!(worst > 28.0, "{worst} dB");
}

#[test]
fn sound_and_picture_stay_together() {
    if !ready() {
        return;
    }
    let (source, folder) = (clip(), tempfile::tempdir().expect("a folder"));
    let out = folder.path().join("film.mp4");
    transcode(&source, &out, &["--audio", "opus"]);
    let level = level_of_difference(&out, &source, 0.0);
    assert!(level < -35.0, "{level} dB of the sound are left");
}

#[test]
fn several_renditions_become_files_of_a_folder() {
    if !ready() {
        return;
    }
    let (source, folder) = (clip(), tempfile::tempdir().expect("a folder"));
    let (copy, out) = (folder.path().join("film.mov"), folder.path().join("made"));
    fs::copy(source, &copy).expect("a copy");
    let report = folder.path().join("report.json");
    let report_path = report.to_str().expect("a plain path");
    let rungs = ["--rung", "180p", "--rung", "90p", "--progress", "json"];
    let answer = transcode(
        &copy,
        &out,
        &[&rungs[..], &["--report", report_path]].concat(),
    );
    assert_eq!(names(&out), ["film-180p.mp4", "film-90p.mp4"]);
    let events = answer.stdout.lines();
    let events: Vec<Value> = events
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect();
    let written = events.iter().filter(|event| event["event"] == "written");
    let written: Vec<_> = written.collect();
    assert_eq!(written.len(), 2);
    for event in written {
        let file = Path::new(event["file"].as_str().expect("a path"));
        let bytes = fs::metadata(file).expect("it is there").len();
        assert_eq!(event["bytes"], bytes);
        assert_eq!(probe(file)["streams"][0]["nb_read_frames"], "120");
    }
    let report: Value = serde_json::from_slice(&fs::read(report).expect("a report")).expect("JSON");
    assert_eq!(report["read"]["frames_decoded"], 120);
}

#[test]
fn tags_and_chapters_are_kept() {
    if !ready() {
        return;
    }
    let (source, folder) = (clip(), tempfile::tempdir().expect("a folder"));
    let (told, about) = (folder.path().join("told.mkv"), folder.path().join("about"));
    let text = ";FFMETADATA1\ntitle=Über alles\nartist=Jemand\ndate=2024\ncomment=Ein Wort\n\
        [CHAPTER]\nTIMEBASE=1/1000\nSTART=1000\nEND=3000\ntitle=Erstes\n\
        [CHAPTER]\nTIMEBASE=1/1000\nSTART=3000\nEND=9000\ntitle=Zweites Kapitel\n";
    fs::write(&about, text).expect("a file");
    let run = tool::ffmpeg().arg("-i").arg(&source).arg("-i").arg(about);
    let run = run.args(["-map", "0", "-map_metadata", "1", "-map_chapters", "1"]);
    let run = run.args(["-metadata:s:a:0", "language=deu", "-c", "copy"]);
    run.arg(&told).run().expect("a clip");
    let out = folder.path().join("film.mp4");
    transcode(&told, &out, &[]);
    let probe = probe(&out);
    let tags = &probe["format"]["tags"];
    for (name, text) in [
        ("title", "Über alles"),
        ("artist", "Jemand"),
        ("date", "2024"),
        ("comment", "Ein Wort"),
    ] {
        assert_eq!(tags[name], text, "{tags}");
    }
    assert_eq!(probe["streams"][1]["tags"]["language"], "deu");
    let chapters = probe["chapters"].as_array().expect("a list");
    let titles: Vec<_> = chapters.iter().map(|one| &one["tags"]["title"]).collect();
    assert_eq!(titles, ["Erstes", "Zweites Kapitel"]);
    // FFmpeg's Matroska has the picture start a packet of sound later than the chapters' clock.
    for (chapter, start) in chapters.iter().zip([1.0, 3.0]) {
        let told = number(&chapter["start_time"]);
        assert!((told - start).abs() < 0.03, "{told}");
    }
}

#[test]
fn a_run_that_is_killed_anywhere_ends_with_the_same_file() {
    if !ready() {
        return;
    }
    let (source, folder) = (clip(), tempfile::tempdir().expect("a folder"));
    let whole = folder.path().join("whole.mp4");
    transcode(&source, &whole, &[]);
    let whole = fs::read(whole).expect("a file");
    let mut dice = Dice::new(4);
    for round in 0..6 {
        let out = folder.path().join(format!("killed-{round}.mp4"));
        let mut kills = 0;
        loop {
            let start = Running::start(line(&source, &out, &["--progress", "json"]));
            // Some runs are killed right after the end of the job: while the file is written.
            let events = dice.below(40) as usize + kills * 8;
            let told = start.kill_after(events, Duration::from_secs(30));
            if let Ok(bytes) = fs::read(&out) {
                assert!(bytes == whole, "round {round}: it is not whole");
                break;
            }
            let written = told.iter().any(|event| event["event"] == "written");
            assert!(!written, "round {round}: it was told as there");
            kills += 1;
            assert!(kills < 10, "round {round}: no run comes further");
        }
        // Whatever the last one has left goes.
        if names(folder.path())
            .iter()
            .any(|name| name.starts_with('.'))
        {
            transcode(&source, &out, &[]);
        }
        assert!(fs::read(&out).expect("a file") == whole, "round {round}");
    }
    let hidden = names(folder.path());
    assert!(
        hidden.iter().all(|name| !name.starts_with('.')),
        "{hidden:?}"
    );
}

#[test]
fn a_file_that_a_killed_run_of_other_settings_has_left_is_made_anew() {
    if !ready() {
        return;
    }
    let (source, folder) = (clip(), tempfile::tempdir().expect("a folder"));
    let rungs = ["--rung", "180p", "--rung", "90p"];
    let with = |more: &[&'static str]| [&rungs[..], more].concat();
    let (whole, out) = (folder.path().join("whole"), folder.path().join("out"));
    for path in [&whole, &out] {
        fs::create_dir(path).expect("a folder");
    }
    transcode(&source, &whole, &with(&["--crf", "50"]));
    let whole_files = names(&whole);
    let mut start = Running::start(line(&source, &out, &with(&["--progress", "json"])));
    start.wait_for("written");
    start.kill_after(0, Duration::ZERO);
    let there = out.join(&whole_files[0]).exists() || out.join(&whole_files[1]).exists();
    assert!(there, "it was written");
    let other = with(&["--crf", "50"]);
    refused(
        &self::rungs(line(&source, &out, &other)),
        "is there already",
    );
    transcode(&source, &out, &[&other[..], &["--force"]].concat());
    assert_eq!(names(&out), whole_files);
    for name in whole_files {
        let [made, due] =
            [&out, &whole].map(|folder| fs::read(folder.join(&name)).expect("a file"));
        assert!(made == due, "{name} is another job's");
    }
}

#[test]
fn what_is_in_the_way_stays_unless_forced() {
    if !ready() {
        return;
    }
    let (source, folder) = (clip(), tempfile::tempdir().expect("a folder"));
    let out = folder.path().join("film.mp4");
    fs::write(&out, "mine").expect("a file");
    let options = ["--rung", "90p"];
    refused(&rungs(line(&source, &out, &options)), "is there already");
    assert_eq!(fs::read(&out).expect("a file"), b"mine");
    assert_eq!(names(folder.path()), ["film.mp4"]);
    transcode(&source, &out, &["--rung", "90p", "--force"]);
    assert_eq!(probe(&out)["streams"][0]["height"], 90);
    // The parts of another job are somebody's work.
    let other = folder.path().join("other.mp4");
    let start = Running::start(line(&source, &other, &["--progress", "json"]));
    start.kill_after(4, Duration::from_secs(30));
    let answer = rungs(line(&source, &other, &["--crf", "50"]));
    refused(&answer, "--crf was 35 and is 50");
    transcode(&source, &other, &["--crf", "50", "--force"]);
    assert_eq!(names(folder.path()), ["film.mp4", "other.mp4"]);
}

#[test]
fn what_cannot_be_written_is_refused_first() {
    if !ready() {
        return;
    }
    let (source, folder) = (clip(), tempfile::tempdir().expect("a folder"));
    let at = |name: &str| folder.path().join(name);
    let two = ["--rung", "180p", "--rung", "90p"];
    for (out, options, reason) in [
        ("film.avi", &[][..], "no name of a file"),
        ("film", &["--rung", "9000p"], "larger than the source"),
        ("none/film.mp4", &[], "there is no folder"),
        ("film.mp4", &two, "2 rungs do not go into the one file"),
    ] {
        refused(&rungs(line(&source, &at(out), options)), reason);
    }
    assert_eq!(names(folder.path()), Vec::<String>::new());
}

#[test]
fn a_part_is_exact_to_the_picture() {
    if !ready() {
        return;
    }
    // Keyframes far apart, and a container that cannot be sought.
    for container in ["mp4", "mkv", "ts"] {
        let source = Clip::new().size(320, 180).seconds(8.0).gop(60);
        let source = source.audio(Audio::Stereo).container(container).make();
        let folder = tempfile::tempdir().expect("a folder");
        let out = folder.path().join("part.mp4");
        // Pictures 85 to 157 of 24 a second.
        let times = ["--start", "3.542", "--end", "00:00:06.583"];
        transcode(&source, &out, &[&times[..], &["--audio", "opus"]].concat());
        let probe = probe(&out);
        assert_eq!(probe["streams"][0]["nb_read_frames"], "73", "{container}");
        for stream in [0, 1].map(|place| &probe["streams"][place]) {
            let seconds = number(&stream["duration"]);
            assert!(
                (seconds - 73.0 / 24.0).abs() < 2e-3,
                "{container}: {seconds}"
            );
        }
        let worst = worst_psnr(&out, &source, (85, 158));
        assert!(worst > 28.0, "{container}: {worst} dB");
        if container == "mkv" {
            // Its times are rounded to the millisecond, which is much for a tone.
            continue;
        }
        // FFmpeg counts from what comes first, which may be the sound.
        let own = self::probe(&source);
        let first = number(&own["streams"][0]["start_time"]) - number(&own["format"]["start_time"]);
        let level = level_of_difference(&out, &source, first + 85.0 / 24.0);
        assert!(level < -33.0, "{container}: {level} dB");
    }
}

#[test]
fn parts_that_meet_have_every_picture_once() {
    if !ready() {
        return;
    }
    let source = Clip::new().size(320, 180).seconds(3.0).rate("30000/1001");
    let source = source.make();
    let folder = tempfile::tempdir().expect("a folder");
    let mut pictures = 0;
    for (place, times) in [["--end", "1.3"], ["--start", "1.3"]].iter().enumerate() {
        let out = folder.path().join(format!("{place}.mp4"));
        transcode(&source, &out, times);
        let count = probe(&out)["streams"][0]["nb_read_frames"].clone();
        pictures += count
            .as_str()
            .expect("text")
            .parse::<u32>()
            .expect("a number");
    }
    assert_eq!(pictures, 90);
    let out = folder.path().join("none.mp4");
    refused(
        &rungs(line(&source, &out, &["--start", "4"])),
        "no picture in the part",
    );
    let answer = rungs(line(&source, &out, &["--start", "2", "--end", "1"]));
    refused(&answer, "nothing between");
    assert_eq!(names(folder.path()), ["0.mp4", "1.mp4"]);
}

#[test]
fn other_containers_hold_the_same() {
    if !ready() {
        return;
    }
    let (source, folder) = (clip(), tempfile::tempdir().expect("a folder"));
    let told = folder.path().join("told.mp4");
    let run = tool::ffmpeg().arg("-i").arg(&source);
    let run = run.args([
        "-metadata",
        "title=Der Film",
        "-metadata:s:a:0",
        "language=deu",
    ]);
    run.args(["-c", "copy"]).arg(&told).run().expect("a clip");
    for (name, sound) in [("film.mkv", "aac"), ("film.webm", "opus")] {
        let out = folder.path().join(name);
        transcode(&told, &out, &["--progress", "json"]);
        let probe = probe(&out);
        let [video, audio] = [0, 1].map(|place| &probe["streams"][place]);
        assert_eq!(
            (&video["codec_name"], &video["nb_read_frames"]),
            (&"av1".into(), &"120".into())
        );
        assert_eq!(audio["codec_name"], sound);
        assert_eq!(probe["format"]["tags"]["title"], "Der Film");
        assert_eq!(audio["tags"]["language"], "deu");
        let worst = worst_psnr(&out, &source, (0, 120));
        assert!(worst > 28.0, "{name}: {worst} dB");
        let start = |stream: &Value| number(&stream["start_time"]);
        // Priming of the sound comes first, where the container says nothing of it.
        let first = start(video) - number(&probe["format"]["start_time"]);
        assert!((0.0..0.03).contains(&first), "{name}: {first}");
        let again = folder.path().join(format!("again-{name}"));
        transcode(&told, &again, &[]);
        assert!(fs::read(&out).expect("a file") == fs::read(&again).expect("a file"));
    }
    let out = folder.path().join("refused.webm");
    let answer = rungs(line(&told, &out, &["--audio", "aac"]));
    refused(&answer, "WebM takes Opus");
    let left = [
        "again-film.mkv",
        "again-film.webm",
        "film.mkv",
        "film.webm",
        "told.mp4",
    ];
    assert_eq!(names(folder.path()), left);
}

fn join(sources: &[&Path], out: &Path, options: &[&str]) -> Answer {
    let mut line = line(sources[0], out, options);
    line[0] = "join".into();
    for (place, source) in sources[1..].iter().enumerate() {
        line.insert(2 + place, source.into());
    }
    rungs(line)
}

/// The smallest PSNR of the pictures of a file from one to before another, of which each is one of a source's, at 320x180.
fn least_psnr_of_part(file: &Path, source: &Path, (from, until): (u32, u32)) -> f64 {
    let graph = format!(
        "[0:v]trim=start_frame={from}:end_frame={until},setpts=N/24/TB[a];\
         [1:v]scale=320:180:flags=bicubic,setpts=N/24/TB[b];[a][b]psnr"
    );
    let run = tool::ffmpeg().args(["-loglevel", "info", "-i"]).arg(file);
    let run = run.arg("-i").arg(source).args(["-lavfi", &graph]);
    let answer = run.args(["-f", "null", "-"]).run();
    let text = answer.expect("both can be decoded").stderr;
    let (_, least) = text.split_once("min:").expect("a figure");
    let least = least.split(' ').next().expect("a figure");
    least.parse().expect("a number")
}

/// How loud a file is from one second to another, in dB.
fn level(file: &Path, (from, until): (f64, f64)) -> f64 {
    let filter = format!("atrim={from}:{until},volumedetect");
    let run = tool::ffmpeg().args(["-loglevel", "info", "-i"]).arg(file);
    let answer = run.args(["-af", &filter, "-f", "null", "-"]).run();
    let text = answer.expect("it has sound").stderr;
    let (_, level) = text.split_once("mean_volume: ").expect("a level");
    let level = level.split(' ').next().expect("a number");
    level.parse().expect("a number")
}

/// The digest of each packet of sound in a file, and when it is played.
fn sound_packets(file: &Path) -> Vec<(f64, String)> {
    let run = tool::ffprobe().args(["-select_streams", "a:0", "-show_packets"]);
    let run = run
        .args(["-show_data_hash", "md5", "-of", "json"])
        .arg(file);
    let told = run.json().expect("ffprobe reads it");
    let packets = told["packets"].as_array().expect("a list").iter();
    let packet = |packet: &Value| {
        let hash = packet["data_hash"].as_str().expect("a digest");
        (number(&packet["pts_time"]), hash.to_owned())
    };
    packets.map(packet).collect()
}

#[test]
fn mp3_passes_into_plain_files() {
    if !ready() || tool::require_encoder("libmp3lame").is_none() {
        return;
    }
    for (rate, container) in [("44100", "mkv"), ("22050", "mp4")] {
        let clip = Clip::new().size(320, 180).seconds(3.0).container(container);
        let clip = clip.audio(Audio::Stereo).audio_codec("mp3");
        let source = clip.audio_seconds(2.0).extra(&["-ar", rate]).make();
        let folder = tempfile::tempdir().expect("a folder");
        let packets = sound_packets(&source);
        let start = |probe: &Value| number(&probe["streams"][0]["start_time"]);
        let starts = start(&probe(&source));
        for name in ["film.mp4", "film.mkv"] {
            let out = folder.path().join(name);
            let answer = transcode(&source, &out, &["--crf", "40"]);
            assert!(answer.stderr.contains("silence"), "{}", answer.stderr);
            let probe = probe(&out);
            assert_eq!(probe["streams"][1]["codec_name"], "mp3", "{name}");
            assert_eq!(probe["streams"][1]["sample_rate"], rate, "{name}");
            // The source's own packets at their own times, and silence after them.
            let made = sound_packets(&out);
            assert!(made.len() > packets.len(), "{name}");
            for ((time, hash), (own, kept)) in packets.iter().zip(&made) {
                assert_eq!(hash, kept, "{name}: {own}");
                // Matroska moves picture and sound together by what is before the start.
                let moved = start(&probe) - starts;
                assert!(
                    (own - moved - time).abs() < 2e-3,
                    "{name}: {own} for {time}"
                );
            }
            assert!(level(&out, (0.2, 1.9)) > -40.0);
            assert!(level(&out, (2.2, 2.9)) < -80.0);
        }
        let out = folder.path().join("package");
        let answer = rungs([
            "package".as_ref(),
            source.as_os_str(),
            "-o".as_ref(),
            out.as_os_str(),
            "--audio".as_ref(),
            "copy".as_ref(),
        ]);
        refused(&answer, "mp3 cannot pass through: packages take");
    }
}

#[test]
fn sources_are_joined_one_after_the_other() {
    if !ready() {
        return;
    }
    // Another size, rate, container and sound; one is silent.
    let one = Clip::new().size(320, 180).seconds(2.5).audio(Audio::Stereo);
    let two = Clip::new()
        .size(640, 360)
        .rate("25")
        .seconds(2.0)
        .container("mkv");
    let three = Clip::new()
        .size(160, 90)
        .rate("30")
        .seconds(1.5)
        .audio(Audio::Mono);
    let three = three.audio_codec("libmp3lame").container("mkv");
    let clips = [one.make(), two.make(), three.make()];
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("all.mp4");
    let sources: Vec<&Path> = clips.iter().map(PathBuf::as_path).collect();
    let answer = join(&sources, &out, &[]);
    assert_eq!(answer.code, Some(0), "{}{}", answer.stdout, answer.stderr);
    assert_eq!(names(folder.path()), ["all.mp4"]);
    let probe = probe(&out);
    // 60 pictures, 50, and 45.
    assert_eq!(probe["streams"][0]["nb_read_frames"], "155");
    assert_eq!(probe["streams"][1]["codec_name"], "opus");
    for stream in [0, 1].map(|place| &probe["streams"][place]) {
        let seconds = number(&stream["duration"]);
        assert!((seconds - 6.0).abs() < 4e-3, "{seconds}");
    }
    let run = tool::ffprobe().args(["-select_streams", "v", "-show_entries", "frame=pts_time"]);
    let times = run.args(["-of", "csv=p=0"]).arg(&out).run().expect("times");
    let times: Vec<f64> = String::from_utf8_lossy(&times.stdout)
        .lines()
        .filter_map(|line| line.trim_end_matches(',').parse().ok())
        .collect();
    for (place, time) in [
        (59, 59.0 / 24.0),
        (60, 2.5),
        (109, 4.46),
        (110, 4.5),
        (154, 5.967),
    ] {
        assert!(
            (times[place] - time).abs() < 2e-3,
            "{place}: {}",
            times[place]
        );
    }
    // Each part against its own source, at the size of the first.
    for (source, from, until) in [(0, 0, 60), (1, 60, 110), (2, 110, 155)] {
        let least = least_psnr_of_part(&out, sources[source], (from, until));
        assert!(least > 24.0, "{source}: {least} dB");
    }
    // Sound, silence, sound.
    for (from, until, loud) in [(0.2, 2.45, true), (2.6, 4.45, false), (4.6, 5.9, true)] {
        let level = level(&out, (from, until));
        assert_eq!(level > -40.0, loud, "{from}: {level} dB");
    }
}

#[test]
fn what_cannot_be_joined_is_refused() {
    if !ready() {
        return;
    }
    let (source, folder) = (clip(), tempfile::tempdir().expect("a folder"));
    let out = folder.path().join("all.mp4");
    let square = Clip::new().size(180, 180).seconds(1.0).make();
    let other = Clip::new().size(320, 180).seconds(1.0);
    let other = other.color("bt709", "bt709", "bt709").make();
    let text = rungs_testkit::clips::text().expect("a text");
    for (second, options, reason) in [
        (&square, &[][..], "which has not the shape of 320x180"),
        (&other, &[], "its colours are not those of the first"),
        (&text, &[], "it cannot be taken"),
        (&source, &["--audio", "copy"], "cannot pass through as one"),
        (&source, &["--start", "1"], "of one source only"),
    ] {
        refused(&join(&[&source, second], &out, options), reason);
    }
    assert_eq!(names(folder.path()), Vec::<String>::new());
}

#[test]
fn a_join_that_is_killed_goes_on() {
    if !ready() {
        return;
    }
    let (source, folder) = (clip(), tempfile::tempdir().expect("a folder"));
    let sources = [source.as_path(), source.as_path()];
    let [whole, out] = ["whole.mp4", "killed.mp4"].map(|name| folder.path().join(name));
    assert_eq!(join(&sources, &whole, &[]).code, Some(0));
    let mut killed = line(&source, &out, &["--progress", "json"]);
    killed[0] = "join".into();
    killed.insert(2, source.clone().into());
    Running::start(killed).kill_after(20, Duration::from_secs(30));
    assert!(!out.exists());
    let answer = join(&sources, &out, &[]);
    assert_eq!(answer.code, Some(0), "{}{}", answer.stdout, answer.stderr);
    assert!(fs::read(&out).expect("a file") == fs::read(&whole).expect("a file"));
}

/// Four seconds of pictures that change little by little.
fn slow_pictures(folder: &Path) -> PathBuf {
    let path = folder.join("slow.mp4");
    let run = tool::ffmpeg().args(["-f", "lavfi", "-i", "mandelbrot=s=320x180:r=24:maxiter=300"]);
    let run = run.args([
        "-t", "4", "-c:v", "libx264", "-crf", "8", "-preset", "veryfast",
    ]);
    run.arg(&path).run().expect("a clip");
    path
}

/// Whether the qualities of neighbours, in dB, differ where two segments of a second meet by no more than elsewhere, but for half a dB: x264 quantizes
/// what it predicts from other pictures a little coarser than keyframes. Gives the largest differences at seams and inside.
fn is_even(quality: &[f64]) -> (bool, f64, f64) {
    let (mut seams, mut inside) = (0.0_f64, 0.0_f64);
    for (place, pair) in (1..).zip(quality.windows(2)) {
        let of_these = if place % 24 == 0 {
            &mut seams
        } else {
            &mut inside
        };
        *of_these = of_these.max((pair[1] - pair[0]).abs());
    }
    (seams <= inside + 0.5 && seams < 2.5, seams, inside)
}

#[test]
fn quality_is_even_across_seams_with_a_constant_quantizer() {
    if !ready() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let source = slow_pictures(folder.path());
    for (codec, rung, better) in [
        ("av1", "source@crf=40", "source@crf=30"),
        ("h264", "source@crf=30", "source@crf=27"),
    ] {
        let quality = |seams: &str, rung: &str| {
            let out = folder.path().join(format!("{codec}-{seams}-{rung}.mp4"));
            let options = ["--codec", codec, "--rung", rung, "--seams", seams];
            transcode(&source, &out, &options);
            let quality = psnrs(&out, &source, (0, 96));
            assert_eq!(quality.len(), 96);
            quality
        };
        let even = quality("constqp", rung);
        let found = is_even(&even);
        assert!(found.0, "{codec}: {found:?}");
        // Encoders that think their first pictures worth more, and one segment that is made otherwise, are seen.
        let found = is_even(&quality("parallel", rung));
        assert!(!found.0, "{codec}: {found:?}");
        let other = quality("constqp", better);
        let mixed = [&even[..48], &other[48..72], &even[72..]].concat();
        let found = is_even(&mixed);
        assert!(!found.0, "{codec}: {found:?}");
    }
}

#[test]
fn a_serial_job_has_one_encoder_for_the_whole_file() {
    if !ready() {
        return;
    }
    let source = Clip::new()
        .size(320, 180)
        .seconds(12.0)
        .audio(Audio::Stereo);
    let source = source.make();
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("serial.mp4");
    let mut line = line(&source, &out, &["--seams", "serial", "--progress", "json"]);
    line.retain(|word| word != "--segment" && word != "1");
    let answer = rungs(line);
    assert_eq!(answer.code, Some(0), "{}{}", answer.stdout, answer.stderr);
    let segment = |line: &&str| line.contains("\"event\":\"segment\"") && line.contains("av1-");
    assert_eq!(answer.stdout.lines().filter(segment).count(), 1);
    assert_eq!(probe(&out)["streams"][0]["nb_read_frames"], "288");
    let run = tool::ffprobe().args(["-select_streams", "v", "-show_entries", "packet=flags"]);
    let flags = run
        .args(["-of", "csv=p=0"])
        .arg(&out)
        .run()
        .expect("packets");
    let flags = String::from_utf8_lossy(&flags.stdout);
    // One every five seconds.
    assert_eq!(
        flags.lines().filter(|line| line.starts_with('K')).count(),
        3
    );
    assert!(worst_psnr(&out, &source, (0, 288)) > 26.0);
}

#[test]
fn codecs_with_reordered_pictures_come_out_in_time() {
    if !ready() || tool::require_encoder("libx265").is_none() {
        return;
    }
    let (source, folder) = (clip(), tempfile::tempdir().expect("a folder"));
    for (name, codec, seams) in [
        ("a.mp4", "h264", "parallel"),
        ("b.mp4", "hevc", "constqp"),
        ("c.mkv", "h264", "constqp"),
    ] {
        let out = folder.path().join(name);
        transcode(&source, &out, &["--codec", codec, "--seams", seams]);
        let found = probe(&out);
        let video = &found["streams"][0];
        assert_eq!(video["codec_name"], codec, "{name}");
        assert_eq!(video["nb_read_frames"], "120", "{name}");
        let start = number(&video["start_time"]);
        if name == "c.mkv" {
            // It has no times below zero: the sound's priming moves all of it by a packet.
            assert!(start < 0.025, "{name}: {start}");
            continue;
        }
        assert!(start.abs() < 0.002, "{name}: {start}");
        assert!(worst_psnr(&out, &source, (0, 120)) > 30.0, "{name}");
        assert!(level_of_difference(&out, &source, 0.0) < -35.0, "{name}");
    }
    let webm = folder.path().join("d.webm");
    refused(
        &rungs(line(&source, &webm, &["--codec", "h264"])),
        "WebM takes AV1",
    );
    let one = folder.path().join("e.mp4");
    refused(
        &rungs(line(&source, &one, &["--codec", "h264,av1"])),
        "2 codecs",
    );
}
