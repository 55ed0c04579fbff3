//! What is done to the picture before it is encoded, seen from outside: the same bytes however many decoders read, and what an independent
//! decoder shows of it.

use std::path::{Path, PathBuf};

use rungs_testkit::checker::Expectation;
use rungs_testkit::clips::Clip;
use rungs_testkit::tool;
use serde_json::Value;

use crate::support::{Made, check, package_line, published, ready, rungs};

/// A small clip of three seconds, with a keyframe every half second.
fn small() -> Clip {
    Clip::new().size(320, 180).rate("24").gop(12).seconds(3.0)
}

/// The same in two fields a picture, 50 a second.
fn fields() -> Clip {
    Clip::new()
        .size(320, 180)
        .rate("50")
        .gop(12)
        .seconds(6.0)
        .extra(&[
            "-vf",
            "interlace=scan=tff:lowpass=0",
            "-flags:v",
            "+ilme+ildct",
        ])
}

/// The first video stream of a file or of what a playlist names, and its first frame.
fn stream(path: &Path) -> Value {
    let run = tool::ffprobe().args(["-of", "json", "-select_streams", "v:0"]);
    let run = run.args(["-show_streams", "-show_frames", "-read_intervals", "%+#1"]);
    run.arg(path).json().expect("it can be probed")
}

fn master(made: &Made) -> PathBuf {
    made.out().join("master.m3u8")
}

fn frames(made: &Made) -> u64 {
    made.report["read"]["frames_packaged"]
        .as_u64()
        .expect("a number")
}

/// Packages with one decoder and with several, and asks for the same bytes.
fn alike(source: &Path, options: &[&str]) -> Made {
    let with = |decoders: &str| {
        let more = ["--decoders", decoders, "--jobs", "2", "--crf", "40"];
        Made::of(source, &[options, &more].concat())
    };
    let (one, three) = (with("1"), with("3"));
    let (a, b) = (published(&one.out()), published(&three.out()));
    assert!(a.keys().eq(b.keys()));
    for (name, bytes) in &a {
        assert!(b[name] == *bytes, "{} differs", name.display());
    }
    one
}

#[test]
fn interlaced_pictures_are_made_whole() {
    if !ready() {
        return;
    }
    let source = fields().make();
    let made = alike(&source, &[]);
    assert_eq!(frames(&made), 150);
    assert!(made.warnings().is_empty(), "{:?}", made.warnings());
    let left = Made::of(&source, &["--deinterlace", "off"]);
    assert_eq!(left.warnings(), ["interlaced"]);
}

#[test]
fn rungs_are_scaled_as_asked_for() {
    if !ready() {
        return;
    }
    let source = small().seconds(1.0).make();
    let made = |scaler: &[&str]| {
        Made::of(
            &source,
            &[&["--rung", "120p", "--crf", "20"], scaler].concat(),
        )
    };
    let segment =
        |made: &Made| published(&made.out())[Path::new("video/av1-120p/seg-00000.m4s")].clone();
    let (usual, bicubic, lanczos) = (
        made(&[]),
        made(&["--scaler", "bicubic"]),
        made(&["--scaler", "lanczos"]),
    );
    assert!(segment(&usual) == segment(&bicubic));
    assert!(segment(&usual) != segment(&lanczos));
    assert_eq!(lanczos.report["plan"]["renditions"][0]["kernel"], "lanczos");
    // Who goes on has to scale alike.
    let answer = rungs(package_line(
        &source,
        &lanczos.out(),
        &["--rung", "120p", "--crf", "20"],
    ));
    assert_eq!(answer.code, Some(3), "{}", answer.stderr);
    assert!(answer.stderr.contains("--scaler"), "{}", answer.stderr);
}

#[test]
fn the_rate_of_pictures_is_what_was_asked_for() {
    if !ready() {
        return;
    }
    let source = small().make();
    for (option, rate, count, stated) in [
        ("--max-fps", "12", 36, "12/1"),
        ("--max-fps", "60", 72, "24/1"),
        ("--fps", "30", 90, "30/1"),
        ("--fps", "8", 24, "8/1"),
    ] {
        let made = alike(&source, &[option, rate]);
        assert_eq!(frames(&made), count, "{option} {rate}");
        assert_eq!(made.report["seconds"], 3.0, "{option} {rate}");
        let found = stream(&master(&made));
        assert_eq!(
            found["streams"][0]["r_frame_rate"], stated,
            "{option} {rate}"
        );
    }
    // An AVI counts time in pictures: the new ones start between its ticks.
    let coarse = small().container("avi").make();
    let made = Made::of(&coarse, &["--fps", "30"]);
    assert_eq!((frames(&made), &made.report["seconds"]), (90, &3.0.into()));
    let expect = Expectation {
        frames: Some(90),
        segment_seconds: Some(1.0),
        ..Expectation::default()
    };
    assert_eq!(check(&made.out(), &expect).frames, 90);
}

#[test]
fn ten_bits_stay_ten() {
    if !ready() || tool::require_encoder("libx265").is_none() {
        return;
    }
    let source = small().codec("libx265").pixel_format("yuv420p10le").make();
    let rungs = ["--rung", "180p@crf=20", "--rung", "90p@crf=20"];
    let options = ["--bit-depth", "10", "--measure", "--inspect", "all"];
    let made = alike(&source, &[&rungs[..], &options].concat());
    assert!(made.warnings().is_empty(), "{:?}", made.warnings());
    made.check(&Expectation {
        source: Some(source.clone()),
        psnr_floor: Some(38.0),
        renditions: Some(2),
        ..Expectation::default()
    });
    let found = stream(&master(&made));
    assert_eq!(found["streams"][0]["pix_fmt"], "yuv420p10le");
    let told = made.report["quality"][0]["psnr_y"]
        .as_f64()
        .expect("a number");
    assert!((36.0..60.0).contains(&told), "{told} dB");
    let master = std::fs::read_to_string(made.out().join("master.m3u8")).expect("a playlist");
    assert!(master.contains("M.10"), "{master}");
    let eight = Made::of(&source, &["--bit-depth", "8"]);
    assert_eq!(eight.warnings(), ["depth_reduced"]);
}

/// A film in PQ that says how bright it is.
fn hdr10() -> Clip {
    small()
        .codec("libx265")
        .pixel_format("yuv420p10le")
        .color("bt2020", "smpte2084", "bt2020nc")
        .extra(&[
            "-x265-params",
            "open-gop=0:log-level=error:colorprim=9:transfer=16:colormatrix=9:hdr10=1:max-cll=620,180:\
             master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)",
        ])
}

/// The side data of one kind.
fn side_data<'a>(of: &'a Value, kind: &str) -> &'a Value {
    let list = of["side_data_list"].as_array().expect("there is side data");
    let found = list.iter().find(|data| data["side_data_type"] == kind);
    found.unwrap_or_else(|| panic!("no {kind} in {list:?}"))
}

#[test]
fn a_high_range_is_kept_and_told_everywhere() {
    if !ready() || tool::require_encoder("libx265").is_none() {
        return;
    }
    let source = hdr10().make();
    let options = ["--color", "keep", "--rung", "180p", "--rung", "90p"];
    let made = alike(&source, &[&options[..], &["--inspect", "all"]].concat());
    assert!(made.warnings().is_empty(), "{:?}", made.warnings());
    made.check(&Expectation {
        source: Some(source.clone()),
        psnr_floor: Some(33.0),
        renditions: Some(2),
        ..Expectation::default()
    });
    let found = stream(&master(&made));
    let (video, frame) = (&found["streams"][0], &found["frames"][0]);
    for (name, value) in [
        ("pix_fmt", "yuv420p10le"),
        ("color_primaries", "bt2020"),
        ("color_transfer", "smpte2084"),
        ("color_space", "bt2020nc"),
    ] {
        assert_eq!(video[name], value);
    }
    // The frame's come from the stream itself, the track's from the container.
    for of in [
        frame,
        &stream(&made.out().join("video/av1-180p/init.mp4"))["streams"][0],
    ] {
        let display = side_data(of, "Mastering display metadata");
        let number = |name: &str| {
            let (num, den) = display[name]
                .as_str()
                .and_then(|text| text.split_once('/'))
                .expect(name);
            num.parse::<f64>().expect(name) / den.parse::<f64>().expect(name)
        };
        assert!((number("red_x") - 0.68).abs() < 1e-3, "{display}");
        assert!((number("green_y") - 0.69).abs() < 1e-3, "{display}");
        assert!((number("max_luminance") - 1000.0).abs() < 0.1, "{display}");
        let light = side_data(of, "Content light level metadata");
        assert_eq!(
            (&light["max_content"], &light["max_average"]),
            (&620.into(), &180.into())
        );
    }
    let read = |name: &str| std::fs::read_to_string(made.out().join(name)).expect("it is there");
    // The two variants, and the keyframes of each.
    assert_eq!(read("master.m3u8").matches("VIDEO-RANGE=PQ").count(), 4);
    assert!(read("master.m3u8").contains(".09.16.09.0"));
    let essential = "<EssentialProperty schemeIdUri=\"urn:mpeg:mpegB:cicp:TransferCharacteristics\" value=\"16\"/>";
    assert!(read("manifest.mpd").contains(essential));
}

#[test]
fn a_high_range_becomes_standard_range() {
    if !ready() || tool::require_encoder("libx265").is_none() {
        return;
    }
    let made = alike(&hdr10().make(), &[]);
    assert!(made.warnings().is_empty(), "{:?}", made.warnings());
    let found = stream(&master(&made));
    let video = &found["streams"][0];
    for (name, value) in [
        ("pix_fmt", "yuv420p"),
        ("color_primaries", "bt709"),
        ("color_transfer", "bt709"),
        ("color_space", "bt709"),
    ] {
        assert_eq!(video[name], value);
    }
    assert!(found["frames"][0]["side_data_list"].is_null());
    let master = std::fs::read_to_string(made.out().join("master.m3u8")).expect("a playlist");
    assert!(master.contains("VIDEO-RANGE=SDR"), "{master}");
    let hlg = small()
        .codec("libx265")
        .pixel_format("yuv420p10le")
        .color("bt2020", "arib-std-b67", "bt2020nc")
        .make();
    let kept = Made::of(&hlg, &["--color", "keep"]);
    let master = std::fs::read_to_string(kept.out().join("master.m3u8")).expect("a playlist");
    assert!(master.contains("VIDEO-RANGE=HLG"), "{master}");
    let narrow = Made::of(&hlg, &["--color", "keep", "--bit-depth", "8"]);
    assert_eq!(narrow.warnings(), ["depth_reduced", "hdr_in_eight_bits"]);
}

/// Four stripes, as red, green and blue.
const STRIPES: [[u8; 3]; 4] = [[200, 30, 30], [30, 160, 60], [40, 60, 200], [128, 128, 128]];

/// Stripes in some format, the conversion and the tags of which are FFmpeg's.
fn stripes(folder: &Path, (name, convert, tags): (&str, &str, &[&str])) -> PathBuf {
    let colour = |[r, g, b]: [u8; 3]| {
        format!("color=c=0x{r:02x}{g:02x}{b:02x}:s=80x180:r=24:d=1,format=rgb24")
    };
    let stripe = |(place, rgb)| format!("{}[s{place}];", colour(rgb));
    let sources: String = STRIPES.into_iter().enumerate().map(stripe).collect();
    let graph = format!("{sources}[s0][s1][s2][s3]hstack=4,{convert}[out]");
    let path = folder.join(name);
    let run = tool::ffmpeg().args(["-filter_complex", &graph, "-map", "[out]"]);
    run.args(tags).arg(&path).run().expect("FFmpeg makes it");
    path
}

/// What FFmpeg shows of the middle of each stripe.
fn shown(out: &Path) -> Vec<[u8; 3]> {
    let run = tool::ffmpeg().arg("-i").arg(out.join("master.m3u8"));
    let run = run.args([
        "-frames:v",
        "1",
        "-vf",
        "scale=320:180:flags=accurate_rnd+full_chroma_int,format=rgb24",
    ]);
    let pixels = run
        .args(["-f", "rawvideo", "pipe:1"])
        .run()
        .expect("it plays")
        .stdout;
    let at = |x: usize| {
        let place = (90 * 320 + x) * 3;
        [pixels[place], pixels[place + 1], pixels[place + 2]]
    };
    [40, 120, 200, 280].map(at).to_vec()
}

/// A file name, the conversion of stripes to what is in it, and the options for its encoder.
type Source = (&'static str, String, Vec<&'static str>);

/// Matrices, ranges, samplings and depths; red, green and blue in several orders; and a palette.
fn sources() -> Vec<Source> {
    let ffv1 = |more: &[&'static str]| [&["-c:v", "ffv1"], more].concat();
    let tags = |matrix, range| {
        ffv1(&[
            "-colorspace",
            matrix,
            "-color_primaries",
            matrix,
            "-color_trc",
            matrix,
            "-color_range",
            range,
        ])
    };
    let scale = |matrix: &str, range: &str, format: &str| {
        format!(
            "scale=out_color_matrix={matrix}:out_range={range}:flags=accurate_rnd+full_chroma_int,format={format}"
        )
    };
    let (b709, b601) = ("bt709", "smpte170m");
    vec![
        ("a.mkv", scale(b709, "tv", "yuv420p"), tags(b709, "tv")),
        ("b.mkv", scale(b601, "tv", "yuv422p"), tags(b601, "tv")),
        ("c.mkv", scale(b709, "pc", "yuv444p"), tags(b709, "pc")),
        ("d.mkv", scale(b601, "pc", "yuv420p10le"), tags(b601, "pc")),
        ("e.mkv", scale(b709, "tv", "yuv444p12le"), tags(b709, "tv")),
        (
            "f.mkv",
            scale("bt2020", "tv", "yuv420p10le"),
            ffv1(&[
                "-colorspace",
                "bt2020nc",
                "-color_primaries",
                "bt2020",
                "-color_trc",
                "bt2020-10",
                "-color_range",
                "tv",
            ]),
        ),
        ("g.mkv", "format=bgr0".to_owned(), ffv1(&[])),
        ("h.mkv", "format=gbrp10le".to_owned(), ffv1(&[])),
        ("i.mov", "format=rgb24".to_owned(), vec!["-c:v", "qtrle"]),
        (
            "j.gif",
            "split[x][y];[x]palettegen[p];[y][p]paletteuse=dither=none".to_owned(),
            vec![],
        ),
        ("k.mov", "format=rgb24".to_owned(), vec!["-c:v", "png"]),
    ]
}

#[test]
fn colours_come_out_as_they_went_in() {
    if !ready() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    for (name, convert, tags) in &sources() {
        let source = stripes(folder.path(), (name, convert, tags));
        let depths: &[&str] = if name.starts_with(['a', 'd', 'g']) {
            &["8", "10"]
        } else {
            &["8"]
        };
        for depth in depths {
            let made = Made::of(&source, &["--crf", "10", "--bit-depth", depth]);
            for (wanted, found) in STRIPES.iter().zip(shown(&made.out())) {
                let off = wanted.iter().zip(found).map(|(a, b)| a.abs_diff(b)).max();
                assert!(
                    off <= Some(5),
                    "{name}, {depth} bits: {wanted:?} became {found:?}"
                );
            }
        }
    }
}

#[test]
fn what_cannot_be_had_together_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("any.mp4");
    std::fs::write(&source, "nothing").expect("a file");
    for (options, code, word) in [
        (&["--fps", "0"][..], 2, "no rate of pictures"),
        (&["--fps", "30", "--max-fps", "20"], 2, "--max-fps"),
        (&["--telecine", "--deinterlace", "on"], 3, "--telecine"),
    ] {
        let out = folder.path().join("out");
        let answer = rungs(package_line(&source, &out, options));
        assert_eq!(answer.code, Some(code), "{}", answer.stderr);
        assert!(answer.stderr.contains(word), "{}", answer.stderr);
        assert!(!out.exists());
    }
}

#[test]
fn filters_are_applied_once_before_the_rungs() {
    if !ready() {
        return;
    }
    let source = small().make();
    for (filter, rungs, size) in [
        (
            "crop=300:160:10:10,hflip",
            &["--rung", "160p", "--rung", "90p"][..],
            (300, 160),
        ),
        (
            "pad=iw+40:ih+20:20:10:color=red",
            &["--rung", "200p"],
            (360, 200),
        ),
        ("transpose=clock", &["--rung", "180p"], (180, 320)),
        ("crop=201:101:0:0:exact=1", &[], (200, 100)),
        (
            "unsharp=5:5:1,hue=h=20:s=1.2,gblur=sigma=0.5",
            &["--rung", "180p"],
            (320, 180),
        ),
        ("hqdn3d=4:3:6:4.5", &["--rung", "180p"], (320, 180)),
    ] {
        let made = alike(&source, &[rungs, &["--filter", filter]].concat());
        let found = stream(&master(&made));
        let video = &found["streams"][0];
        let shown = (&video["width"], &video["height"]);
        assert_eq!(shown, (&size.0.into(), &size.1.into()), "{filter}");
    }
}

/// Stripes of BT.709 and an image of one colour, in files.
fn stripes_and_logo(folder: &Path) -> (PathBuf, PathBuf) {
    let format = "scale=out_color_matrix=bt709:out_range=tv:flags=accurate_rnd+full_chroma_int,format=yuv420p";
    let tags =
        "-c:v ffv1 -colorspace bt709 -color_primaries bt709 -color_trc bt709 -color_range tv";
    let tags: Vec<_> = tags.split(' ').collect();
    let logo = folder.join("logo.png");
    let image = "color=c=0x0A64C8:s=60x60,format=rgba";
    let run = tool::ffmpeg().args(["-f", "lavfi", "-i", image, "-frames:v", "1"]);
    run.arg(&logo).run().expect("FFmpeg makes it");
    (stripes(folder, ("source.mkv", format, &tags)), logo)
}

#[test]
fn filters_and_an_image_do_what_they_say() {
    if !ready() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (source, logo) = stripes_and_logo(folder.path());
    let image = [10, 100, 200];
    let [red, green, blue, grey] = STRIPES;
    for (options, wanted) in [
        ("--filter hflip", [grey, blue, green, red]),
        ("--filter hflip,vflip --filter hflip", STRIPES),
        ("--overlay LOGO:10:60", [image, green, blue, grey]),
        (
            "--filter hflip --overlay LOGO:250:60",
            [grey, blue, green, image],
        ),
        (
            "--overlay LOGO:90:60 --bit-depth 10",
            [red, image, blue, grey],
        ),
        ("--overlay LOGO:-1000:-1000", STRIPES),
    ] {
        let text = options.replace("LOGO", &logo.display().to_string());
        let options: Vec<&str> = text.split(' ').collect();
        let made = Made::of(&source, &[&options[..], &["--crf", "10"]].concat());
        for (wanted, found) in wanted.iter().zip(shown(&made.out())) {
            let off = wanted.iter().zip(found).map(|(a, b)| a.abs_diff(b)).max();
            assert!(off <= Some(6), "{text}: {wanted:?} became {found:?}");
        }
    }
}

#[test]
fn filters_that_are_not_on_the_list_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("any.mp4");
    std::fs::write(&source, "nothing").expect("a file");
    for (option, text) in [
        ("--filter", "movie=/etc/passwd"),
        ("--filter", "hflip;movie=/etc/passwd"),
        ("--filter", "drawtext=textfile=/etc/passwd"),
        ("--filter", "crop=w=320:h='180'"),
        ("--overlay", "logo.png"),
        ("--overlay", "logo.png:1:x"),
        ("--overlay", ":1:1"),
    ] {
        let out = folder.path().join("out");
        let answer = rungs(package_line(&source, &out, &[option, text]));
        assert_eq!(answer.code, Some(2), "{text}: {}", answer.stderr);
        assert!(!out.exists());
    }
    if !ready() {
        return;
    }
    let clip = small().make();
    for (options, word) in [
        (&["--overlay", "nowhere.png:0:0"][..], "nowhere.png"),
        (&["--overlay", "/dev/null:0:0"], "/dev/null"),
        (
            &["--filter", "eq=gamma=2", "--bit-depth", "10"],
            "--bit-depth 8",
        ),
        (&["--filter", "crop=9000:9000"], "crop"),
    ] {
        let out = folder.path().join("out");
        let answer = rungs(package_line(&clip, &out, options));
        assert_eq!(answer.code, Some(3), "{options:?}: {}", answer.stderr);
        assert!(answer.stderr.contains(word), "{}", answer.stderr);
        assert!(!out.exists());
    }
}
