//! Progress bars: one for each rendition, and one for the whole with its speed and the time left.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use rungs_engine::Event;
use rungs_engine::event::Announced;

use crate::failure::clean;
use crate::table::bit_rate;

/// Seconds are shown in bars as thousandths, which are whole numbers.
const STEP: f64 = 1000.0;

struct Bar {
    name: String,
    pixels: f64,
    line: ProgressBar,
    seconds: f64,
    bytes: u64,
}

/// All bars of a job.
pub(crate) struct Bars {
    screen: MultiProgress,
    tracks: Vec<Bar>,
    whole: ProgressBar,
    ticker: Option<Ticker>,
    started: Instant,
    promised: Option<f64>,
    playable: bool,
}

impl Default for Bars {
    fn default() -> Self {
        Self {
            screen: MultiProgress::with_draw_target(ProgressDrawTarget::stderr()),
            tracks: Vec::new(),
            whole: ProgressBar::hidden(),
            ticker: None,
            started: Instant::now(),
            promised: None,
            playable: false,
        }
    }
}

impl Bars {
    pub(crate) fn show(&mut self, event: &Event) {
        match event {
            Event::Started {
                renditions,
                promised_seconds,
                ..
            } => self.start(renditions, *promised_seconds),
            Event::Segment {
                track,
                bytes,
                seconds,
                ..
            }
            | Event::Resumed {
                track,
                bytes,
                seconds,
                ..
            } => self.segment(track, *bytes, *seconds),
            Event::SourceEnded { seconds, .. } => {
                self.promised = Some(*seconds);
                let style = style(self.width(), self.promised);
                for track in &self.tracks {
                    track.line.set_length((*seconds * STEP) as u64);
                    track.line.set_style(style.clone());
                }
            }
            Event::Playable { .. } => self.playable = true,
            Event::Warning { message, .. } => {
                self.screen
                    .println(format!("warning: {}", clean(message)))
                    .ok();
            }
            Event::DeviceBack { device } => {
                let told = format!("{device} has passed its test and gets work again");
                self.screen.println(clean(&told)).ok();
            }
            Event::Written { file, .. } => {
                self.screen.println(clean(&format!("written: {file}"))).ok();
            }
            Event::Decoded { .. } | Event::Encoded { .. } | Event::Finished { .. } => {}
        }
        self.whole_line();
    }

    fn start(&mut self, renditions: &[Announced], promised: Option<f64>) {
        self.promised = promised;
        let names = renditions.iter().map(|rendition| rendition.name.len());
        let style = style(names.max().unwrap_or(0), promised);
        for rendition in renditions {
            let bar = self
                .screen
                .add(ProgressBar::new((promised.unwrap_or(0.0) * STEP) as u64));
            bar.set_style(style.clone());
            bar.set_prefix(rendition.name.clone());
            bar.set_message(format!("{}x{}", rendition.width, rendition.height));
            bar.tick();
            self.tracks.push(Bar {
                name: rendition.name.clone(),
                pixels: f64::from(rendition.width) * f64::from(rendition.height),
                line: bar,
                seconds: 0.0,
                bytes: 0,
            });
        }
        self.whole = self.screen.add(ProgressBar::new(1));
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            self.whole.set_style(style);
        }
        self.ticker = Ticker::start(self.whole.clone());
    }

    /// Of the longest name.
    fn width(&self) -> usize {
        let names = self.tracks.iter().map(|track| track.name.len());
        names.max().unwrap_or(0)
    }

    fn segment(&mut self, name: &str, bytes: u64, seconds: f64) {
        let Some(track) = self.tracks.iter_mut().find(|track| track.name == name) else {
            return;
        };
        track.seconds += seconds;
        track.bytes += bytes;
        track.line.set_position((track.seconds * STEP) as u64);
        let rate = bit_rate((track.bytes as f64 * 8.0 / track.seconds) as u64);
        track.line.set_message(match self.promised {
            Some(_) => rate,
            None => format!("{} done, {rate}", clock(track.seconds as u64)),
        });
    }

    /// Progress is counted in pixels: a second of a large rendition is more work than one of a small.
    fn whole_line(&self) {
        let pixels: f64 = self.tracks.iter().map(|track| track.pixels).sum();
        let done: f64 = self
            .tracks
            .iter()
            .map(|track| track.pixels * track.seconds)
            .sum();
        if pixels <= 0.0 || done <= 0.0 {
            self.whole.set_message("starting".to_owned());
            return;
        }
        let elapsed = self.started.elapsed().as_secs_f64();
        let seconds = done / pixels;
        let speed = seconds / elapsed.max(0.001);
        let mut line = format!("{speed:.2} × real time");
        if let Some(promised) = self.promised {
            let left = ((promised - seconds).max(0.0) / speed).round();
            line = format!("{line}, {} left", clock(left as u64));
        }
        if self.playable {
            line.push_str(", playable");
        }
        self.whole.set_message(line);
    }

    /// Takes the bars away.
    pub(crate) fn close(&mut self) {
        self.ticker = None;
        self.whole.finish_and_clear();
        for track in &self.tracks {
            track.line.finish_and_clear();
        }
    }
}

/// Draws the last line now and then, so that a person sees the program at work. A thread of its own
/// does it, as `indicatif`'s panics where the system gives none; without one the line stands still.
struct Ticker {
    alive: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    const STEP: Duration = Duration::from_millis(200);

    fn start(line: ProgressBar) -> Option<Self> {
        let (alive, ended) = channel();
        let tick = move || {
            // Nobody sends on this line; it is cut when the bars close.
            while ended.recv_timeout(Self::STEP) == Err(RecvTimeoutError::Timeout) {
                line.tick();
            }
        };
        let thread = Builder::new().name("bars".to_owned()).spawn(tick);
        thread.ok().map(|thread| Self {
            alive: Some(alive),
            thread: Some(thread),
        })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        drop(self.alive.take());
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// How the line of a rendition looks: with a bar only where it is known how much there is to do.
fn style(width: usize, promised: Option<f64>) -> ProgressStyle {
    let done = match promised {
        Some(_) => "{bar:32} {percent:>3} %  ",
        None => "",
    };
    let template = format!("{{prefix:>{width}}}  {done}{{msg}}");
    // The template is ours and is tested by being drawn.
    let style = ProgressStyle::with_template(&template);
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("━━╌")
}

fn clock(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{}:{:02} min", seconds / 60, seconds % 60),
        _ => format!("{}:{:02} h", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::clock;

    #[test]
    fn time_left_is_readable() {
        assert_eq!(clock(59), "59 s");
        assert_eq!(clock(61), "1:01 min");
        assert_eq!(clock(7384), "2:03 h");
    }
}
