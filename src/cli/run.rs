//! `camlive run`: a source, live.

use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use crossbeam_channel::RecvTimeoutError;

use crate::cli::model::Model;
use crate::cli::output::{Output, say};
use crate::cli::{open_source, seconds, stop_on_signal};
use crate::clock::WallClock;
use crate::error::{Error, Result};
use crate::geometry::Size;
use crate::pipeline::event::FrameEvent;
use crate::pipeline::{Analysed, Hooks, Options, Pipeline, SharedSettings};
use crate::source::{Pace, Spec};
use crate::view::window::Window;

/// Find things in a live picture: window, JSON lines, or both.
#[derive(Debug, Args)]
#[command(after_long_help = HELP)]
pub struct Arguments {
    /// Where frames come from [default: the first camera, or the demo where there is none]
    #[arg(long_help = SOURCES)]
    source: Option<String>,

    /// Show a window, or nothing; `auto` shows a window where there is a display
    #[arg(long, value_enum, default_value_t = View::Auto)]
    view: View,

    /// End after so many analysed frames
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    frames: Option<u64>,

    /// End after so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    duration: Option<Duration>,

    /// Append one JSON line for each analysed frame to a file, or print it with `-`
    #[arg(long, value_name = "FILE|-")]
    events: Option<String>,

    #[command(flatten)]
    model: Model,
}

const SOURCES: &str = "\
Where frames come from [default: the first camera, or the demo where there is none]:
  camera                the first camera
  0, /dev/video0, /dev/v4l/by-id/...
                        that camera
  demo                  a moving camera over built-in photographs
  PHOTO, FOLDER         a photograph; all photographs of a folder
  VIDEO, rtsp://...     a video file or network camera, read by ffmpeg
  -                     YUV4MPEG2 or MJPEG on standard input";

const HELP: &str = "\
Every frame of a live source is as new as can be: one that is overtaken by a newer one before its
turn comes is dropped and counted. Frames of files are all analysed.

Each event is one JSON line; boxes are [x0, y0, x1, y1] in pixels, x1 and y1 excluded:
  {\"frame\":7,\"captured_at\":\"2026-01-31T12:00:00.000Z\",\"age_ms\":71.3,\"size\":[640,480],
   \"detections\":[{\"class\":\"espresso\",\"index\":967,\"score\":0.83,\"box\":[105,60,480,400],
   \"peak\":[291,214],\"track\":1}],\"dropped\":0}

In the window, `h` shows the keys.";

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum View {
    Auto,
    Window,
    None,
}

/// The size of the window where the first frame's is not known yet.
const VIEW: Size = Size::new(960, 720);

/// How often the window looks for keys, and the run for its end.
const TICK: Duration = Duration::from_millis(10);

/// Runs the command.
///
/// # Errors
/// A source, model or output that cannot be used or that fails on the way.
pub fn run(arguments: &Arguments) -> Result<()> {
    let spec = Spec::parse(arguments.source.as_deref().unwrap_or("camera"))?;
    // The network first: a camera that is open while it loads would fill its buffers.
    let analyser = arguments.model.load()?;
    say(format_args!("network: {}", analyser.network().describe()));
    let source = open_source(&spec)?;
    let pace = source.pace();
    say(format_args!("source: {}", source.describe()));
    let labels = analyser.network().labels().clone();
    let stop = stop_on_signal()?;
    let clock = WallClock::start();
    let mut window = match arguments.view {
        View::None => None,
        View::Window => Some(Window::open("camlive", VIEW)?),
        View::Auto => Window::open("camlive", VIEW)
            .map_err(|error| say(format_args!("going on without a window: {error}")))
            .ok(),
    };
    let mut events = arguments.events.as_deref().map(Output::open).transpose()?;

    let watched = window.is_some();
    let settings = SharedSettings::new(arguments.model.settings());
    let options = Options {
        frames: arguments.frames,
        watched,
        settings: settings.clone(),
        stop: stop.clone(),
    };
    let hooks = Hooks {
        lost: Box::new(reporter(pace)),
        analysed: Box::new({
            let (labels, stop) = (labels.clone(), stop.clone());
            move |analysed| {
                let Some(output) = &mut events else { return Ok(()) };
                let age = analysed.frame.captured.elapsed();
                output.json(&FrameEvent { analysed, age, labels: &labels, clock })?;
                if output.is_closed() {
                    stop.request();
                }
                Ok(())
            }
        }),
    };

    let mut watch = |fresh: Option<Analysed>| -> Result<Option<Analysed>> {
        let Some(window) = &mut window else { return Ok(fresh) };
        let mut changed = settings.get();
        let spent =
            window.update(fresh, &mut changed, &|class| labels.name(class), &|analysed| {
                let age = analysed.frame.captured.elapsed();
                serde_json::json!(FrameEvent { analysed, age, labels: &labels, clock })
            })?;
        settings.set(changed);
        if !window.is_open() {
            stop.request();
        }
        Ok(spent)
    };
    let start = Instant::now();
    let out_of_time = || arguments.duration.is_some_and(|limit| start.elapsed() >= limit);
    let pipeline = Pipeline::start(source, analyser, options, hooks)?;
    while !stop.requested() && !out_of_time() {
        let fresh = match pipeline.results.recv_timeout(TICK) {
            Ok(fresh) => Some(fresh),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => break,
        };
        if let Some(spent) = watch(fresh)? {
            pipeline.recycle(spent);
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    let summary = pipeline.finish()?;
    say(format_args!(
        "{} frames in {seconds:.1} s ({:.1} a second), {} dropped",
        summary.analysed,
        summary.analysed as f64 / seconds,
        summary.dropped
    ));
    Ok(())
}

/// Tells of lost frames: each one of files, at most one a second of a live source.
fn reporter(pace: Pace) -> impl FnMut(&Error) + Send {
    let mut last: Option<Instant> = None;
    let mut silent = 0;
    move |error| {
        let now = Instant::now();
        if pace == Pace::Live && last.is_some_and(|last| now - last < Duration::from_secs(1)) {
            silent += 1;
            return;
        }
        last = Some(now);
        match std::mem::take(&mut silent) {
            0 => say(format_args!("warning: {error}")),
            n => say(format_args!("warning: {error} (and {n} more like it)")),
        }
    }
}
