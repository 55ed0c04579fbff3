//! Pictures a second that GPUs decode and scale to four sizes, against one `ffmpeg` process for each GPU that does the same.
//!
//! Every GPU has the whole film to do, as every `ffmpeg` has. It is cut into stretches, one for each reader of the GPU; each reader decodes its own from a
//! keyframe on, scales every picture to 1080, 720, 480 and 360 rows on the device, and drops it there, or brings the decoded picture or all four to this
//! process's memory. Only pictures inside the stretches count. Time runs from the first opening of a device to the last picture, for both programs. What is
//! done once on a machine, such as the compiling of the scalers for its GPUs, is done before. What comes out is Markdown on standard output.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program's report"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use clap::{Parser, ValueEnum};
use rungs_engine::gpu;
use rungs_media::decode::{DecodeOptions, Received, Sent, VideoDecoder};
use rungs_media::demux::{Demuxer, Stream};
use rungs_media::frame::{BitDepth, Frame};
use rungs_media::hardware::{Bringer, DeviceKind, HardwareDevice, HardwareScaler};
use rungs_media::scale::{self, Kernel};
use rungs_media::{CancelToken, Error, Limits, Source};

/// The sizes, of a film of 1920×1080.
const SIZES: [(u32, u32); 4] = [(1920, 1080), (1280, 720), (854, 480), (640, 360)];
/// Pictures of a decoder that are held at once: the scalers may still read one while the next is decoded.
const HELD: u32 = 4;

/// What becomes of pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Bring {
    /// Four scaled pictures are made and dropped on the device
    None,
    /// The decoded picture is brought here, and nothing is scaled
    Decoded,
    /// Four scaled pictures are made and brought here
    Scaled,
    /// As decoded, through memory that the driver does not know
    DecodedPlain,
    /// As scaled, through such memory
    ScaledPlain,
}

/// Measures decoding and scaling on GPUs against ffmpeg.
#[derive(Debug, Parser)]
struct Args {
    /// The film, in 8 bits; better minutes than seconds of it
    #[arg(long, value_name = "FILE")]
    input: PathBuf,

    /// How many GPUs work at once, in turn [default: 1, 2, 4 and 8, as far as there are so many]
    #[arg(long, value_name = "N", value_delimiter = ',')]
    gpus: Vec<usize>,

    /// Readers of each GPU
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1,3,6")]
    readers: Vec<usize>,

    /// What becomes of pictures
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "none,decoded"
    )]
    bring: Vec<Bring>,

    /// The ffmpeg program to measure against; it is left out if not given
    #[arg(long, value_name = "PATH")]
    ffmpeg: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("error: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), String> {
    let addresses = addresses();
    if addresses.is_empty() {
        return Err("there is no GPU here that CUDA drives; see `rungs devices`".to_owned());
    }
    let film = Film::open(&args.input).map_err(|error| error.to_string())?;
    let counts = match args.gpus.as_slice() {
        [] => [1, 2, 4, 8].to_vec(),
        given => given.to_vec(),
    };
    println!(
        "| GPUs | what | readers a GPU | pictures | seconds | pictures a second | of linear |"
    );
    println!("|--:|---|--:|--:|--:|--:|--:|");
    film.warm_up(&addresses)
        .map_err(|error| error.to_string())?;
    let mut rows = Rows::default();
    for count in counts.into_iter().filter(|count| *count <= addresses.len()) {
        let gpus = &addresses[..count];
        for bring in &args.bring {
            for readers in &args.readers {
                let done = film.read(gpus, *readers, *bring);
                let done = done.map_err(|error| error.to_string())?;
                rows.print(
                    count,
                    (&format!("{bring:?}").to_lowercase(), *readers),
                    done,
                );
            }
        }
        if let Some(program) = &args.ffmpeg {
            let done = ffmpeg(program, &args.input, gpus)?;
            let done = (done.0 * film.pictures, done.1);
            rows.print(count, ("ffmpeg, four scales, dropped", 1), done);
        }
    }
    Ok(())
}

/// CUDA's names of the GPUs.
fn addresses() -> Vec<String> {
    let ways = gpu::detect().into_iter().flat_map(|gpu| gpu.ways);
    let cuda = ways.filter(|way| way.kind == DeviceKind::Cuda);
    cuda.map(|way| way.address).collect()
}

/// Prints rows, and keeps what one GPU did for those of more.
#[derive(Default)]
struct Rows {
    single: Vec<(String, f64)>,
}

impl Rows {
    fn print(
        &mut self,
        gpus: usize,
        (what, readers): (&str, usize),
        (pictures, seconds): (usize, f64),
    ) {
        let rate = pictures as f64 / seconds;
        let key = format!("{what} {readers}");
        if gpus == 1 {
            self.single.push((key.clone(), rate));
        }
        let single = self.single.iter().find(|(name, _)| *name == key);
        let share = single.map_or_else(String::new, |(_, single)| {
            format!("{:.2}", rate / single / gpus as f64)
        });
        println!(
            "| {gpus} | {what} | {readers} | {pictures} | {seconds:.2} | {rate:.0} | {share} |"
        );
    }
}

/// A film with the times of its pictures.
struct Film {
    source: Source,
    track: Stream,
    /// Ascending.
    times: Vec<i64>,
    pictures: usize,
}

impl Film {
    fn open(path: &Path) -> Result<Self, Error> {
        let source = Source::from(path);
        let mut demuxer = open(&source)?;
        let track = demuxer
            .streams()
            .iter()
            .find(|track| track.video().is_some());
        let track = track.cloned().ok_or(Error::NoStream {
            kind: "video",
            index: 0,
        })?;
        demuxer.keep_only(&[track.index]);
        let mut times = Vec::new();
        while let Some(packet) = demuxer.read()? {
            times.extend(packet.pts());
        }
        times.sort_unstable();
        Ok(Self {
            source,
            track,
            pictures: times.len(),
            times,
        })
    }

    /// All of the film on each GPU, by so many readers each: pictures, and seconds.
    fn read(&self, gpus: &[String], readers: usize, bring: Bring) -> Result<(usize, f64), Error> {
        let since = Instant::now();
        let addresses = gpus.iter();
        let devices = at_once(
            addresses.map(|address| move || HardwareDevice::open(DeviceKind::Cuda, address)),
        )?;
        let readers = readers.max(1);
        let stretch = |reader: usize| {
            let at = |reader: usize| self.times.get(reader * self.pictures / readers).copied();
            (at(reader).unwrap_or(0), at(reader + 1).unwrap_or(i64::MAX))
        };
        let work = |number: usize| {
            let device = &devices[number % devices.len()];
            let stretch = stretch(number / devices.len());
            move || self.stretch(device, stretch, bring)
        };
        let counts = at_once((0..readers * devices.len()).map(work))?;
        Ok((counts.into_iter().sum(), since.elapsed().as_secs_f64()))
    }

    /// The first picture on each GPU: what a machine does once is done then.
    fn warm_up(&self, gpus: &[String]) -> Result<(), Error> {
        let start = self.times.first().copied().unwrap_or(0);
        let second = self.times.get(1).copied().unwrap_or(i64::MAX);
        let devices = at_once(
            gpus.iter()
                .map(|address| move || HardwareDevice::open(DeviceKind::Cuda, address)),
        )?;
        let first = devices
            .iter()
            .map(|device| move || self.stretch(device, (start, second), Bring::None));
        at_once(first).map(drop)
    }

    /// The pictures from one time until before another.
    fn stretch(
        &self,
        device: &HardwareDevice,
        (from, until): (i64, i64),
        bring: Bring,
    ) -> Result<usize, Error> {
        let mut demuxer = open(&self.source)?;
        demuxer.keep_only(&[self.track.index]);
        demuxer.seek(self.track.index, from)?;
        let options = DecodeOptions::default();
        let mut decoder = VideoDecoder::open_on(&self.track, &options, (device, HELD))?;
        let mut work = Work {
            scalers: scalers(device)?,
            bringer: Bringer::new(device).reusing(),
            bring,
        };
        let (mut count, mut last) = (0, Vec::new());
        loop {
            match decoder.receive()? {
                Received::Frame(frame) => {
                    let time = frame.pts().unwrap_or(i64::MIN);
                    if time >= until {
                        break;
                    }
                    if time >= from {
                        last = work.handle(&frame)?;
                        count += 1;
                    }
                }
                Received::NeedsInput => {
                    let packet = demuxer.read()?;
                    let sent = decoder.send(packet.as_ref())?;
                    debug_assert_eq!(sent, Sent::Accepted);
                }
                Received::End => break,
            }
        }
        // What was asked of the device is done when the last pictures are here.
        for frame in last {
            frame.download()?;
        }
        Ok(count)
    }
}

/// Does each in a thread of its own.
fn at_once<T: Send, W: FnOnce() -> Result<T, Error> + Send>(
    work: impl Iterator<Item = W>,
) -> Result<Vec<T>, Error> {
    std::thread::scope(|scope| {
        let started: Vec<_> = work.map(|work| scope.spawn(work)).collect();
        let joined = started.into_iter().map(std::thread::ScopedJoinHandle::join);
        joined
            .map(|done| done.unwrap_or(Err(Error::Cancelled)))
            .collect()
    })
}

fn open(source: &Source) -> Result<Demuxer, Error> {
    Demuxer::open(source, &Limits::default(), &CancelToken::default())
}

fn scalers(device: &HardwareDevice) -> Result<Vec<HardwareScaler>, Error> {
    let scaler = |(width, height)| {
        let config = scale::Config {
            width,
            height,
            depth: BitDepth::Eight,
            kernel: Kernel::default(),
        };
        HardwareScaler::new(device, config)
    };
    SIZES.into_iter().map(scaler).collect()
}

/// What one reader does with its pictures.
struct Work {
    scalers: Vec<HardwareScaler>,
    bringer: Bringer,
    bring: Bring,
}

impl Work {
    fn handle(&mut self, frame: &Frame) -> Result<Vec<Frame>, Error> {
        match self.bring {
            Bring::Decoded => return Ok(vec![self.bringer.bring(frame)?]),
            Bring::DecodedPlain => return Ok(vec![frame.download()?]),
            Bring::None | Bring::Scaled | Bring::ScaledPlain => {}
        }
        let mut made = Vec::new();
        for scaler in &mut self.scalers {
            let scaled = scaler.apply(frame)?;
            made.push(match self.bring {
                Bring::Scaled => self.bringer.bring(&scaled)?,
                Bring::ScaledPlain => scaled.download()?,
                _ => scaled,
            });
        }
        Ok(made)
    }
}

/// The whole film by one process for each GPU, at once: how many processes, and seconds.
fn ffmpeg(program: &Path, film: &Path, gpus: &[String]) -> Result<(usize, f64), String> {
    let chain = "split=4[a][b][c][d];[a]scale_cuda=1920:1080[e];[b]scale_cuda=1280:720[f];\
                 [c]scale_cuda=854:480[g];[d]scale_cuda=640:360[h]";
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", program.display());
    let since = Instant::now();
    let mut processes = Vec::new();
    for address in gpus {
        let mut command = Command::new(program);
        command.args(["-v", "error", "-nostdin", "-hwaccel", "cuda"]);
        command.args(["-hwaccel_device", address.as_str()]);
        command.args(["-hwaccel_output_format", "cuda", "-i"]);
        command.arg(film).args(["-an", "-filter_complex", chain]);
        for output in ["[e]", "[f]", "[g]", "[h]"] {
            command.args(["-map", output, "-f", "null", "-"]);
        }
        let process = command.stdout(Stdio::null()).spawn();
        processes.push(process.map_err(|error| failed(&error))?);
    }
    for mut process in processes {
        let status = process.wait().map_err(|error| failed(&error))?;
        if !status.success() {
            return Err(failed(&status));
        }
    }
    Ok((gpus.len(), since.elapsed().as_secs_f64()))
}
