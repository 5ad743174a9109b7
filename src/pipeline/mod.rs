//! Threads, hand-offs and timings.
//!
//! Two threads and whoever calls: one takes frames from the source, one analyses them, and the
//! caller takes the results. At each hand-off of a live source the newest frame wins; frames and
//! findings travel back to be filled again, so that nothing is allocated once all are in use.

pub mod analyse;
pub mod batch;
pub mod event;
pub mod handoff;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::error::{Error, ErrorKind, Result};
use crate::frame::Frame;
use crate::localize::tracks::Tracker;
use crate::localize::{Findings, Settings};
use crate::source::{PATIENCE, Pace, Source, Step};
use analyse::{Analyser, Stages};
use handoff::{Newest, newest};

/// A frame together with what was found in it.
#[derive(Debug)]
pub struct Analysed {
    pub frame: Frame,
    pub findings: Findings,
    /// Frames lost so far: not delivered, not readable, or overtaken by a newer one.
    pub dropped: u64,
    pub stages: Stages,
}

/// Asks threads to end; clones ask the same.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks for the end.
    pub fn request(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the end was asked for.
    pub fn requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Settings that the caller may change while frames are analysed.
#[derive(Debug, Clone)]
pub struct SharedSettings(Arc<Mutex<Settings>>);

impl SharedSettings {
    /// Starts from `settings`.
    pub fn new(settings: Settings) -> Self {
        Self(Arc::new(Mutex::new(settings)))
    }

    /// The settings of the next frame.
    pub fn get(&self) -> Settings {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the settings from the next frame on.
    pub fn set(&self, settings: Settings) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = settings;
    }
}

/// How a pipeline runs.
#[derive(Debug)]
pub struct Options {
    /// Ends after so many analysed frames.
    pub frames: Option<u64>,
    /// Whether somebody watches: recorded frames then come no faster than they are to be shown.
    pub watched: bool,
    pub settings: SharedSettings,
    pub stop: Stop,
}

/// Gets an analysed frame; an error ends the run.
pub type OnAnalysed = Box<dyn FnMut(&Analysed) -> Result<()> + Send>;

/// What a pipeline calls, on threads of its own.
pub struct Hooks {
    /// Gets every analysed frame, in order.
    pub analysed: OnAnalysed,
    /// Gets the loss of a single frame.
    pub lost: Box<dyn FnMut(&Error) + Send>,
}

impl std::fmt::Debug for Hooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hooks")
    }
}

/// What a run came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Frames analysed.
    pub analysed: u64,
    /// Frames lost; see [`Analysed::dropped`].
    pub dropped: u64,
}

/// A running pipeline.
#[derive(Debug)]
pub struct Pipeline {
    /// The newest analysed frame; disconnected after the last one.
    pub results: Receiver<Analysed>,
    back: Sender<Analysed>,
    stop: Stop,
    capture: JoinHandle<Result<()>>,
    analysis: JoinHandle<Result<Summary>>,
}

/// How often changed settings are looked for.
const TICK: Duration = Duration::from_millis(20);

/// How long threads may take to end once asked.
const GRACE: Duration = Duration::from_secs(5);

/// Frames on their way back. More are never under way: one being filled, one handed over, one
/// analysed, one handed over, two with the caller.
const RECYCLED: usize = 6;

impl Pipeline {
    /// Starts the threads.
    ///
    /// # Errors
    /// The system has no threads left.
    pub fn start(
        source: Box<dyn Source>,
        analyser: Analyser,
        options: Options,
        hooks: Hooks,
    ) -> Result<Self> {
        let (frames_in, frames_out) = newest();
        let (results_in, results_out) = newest();
        let (used_in, used_out) = bounded(RECYCLED);
        let (back_in, back_out) = bounded(RECYCLED);
        let stop = options.stop.clone();
        let capture = Capture {
            source,
            frames: frames_in,
            used: used_out,
            lost: hooks.lost,
            watched: options.watched,
            settings: options.settings.clone(),
            stop: stop.clone(),
        };
        let analysis = Analysis {
            analyser,
            frames: frames_out,
            used: used_in,
            results: results_in,
            back: back_out,
            analysed: hooks.analysed,
            options,
        };
        Ok(Self {
            results: results_out,
            back: back_in,
            stop,
            capture: spawn("capture", move || capture.run())?,
            analysis: spawn("analysis", move || analysis.run())?,
        })
    }

    /// Gives a result's buffers back to be filled again.
    pub fn recycle(&self, analysed: Analysed) {
        // Where the queue is full or its reader gone, the buffers are freed.
        let _ = self.back.try_send(analysed);
    }

    /// Ends the threads and says what the run came to.
    ///
    /// # Errors
    /// What ended the source or the analysis; a thread that does not end in time.
    pub fn finish(self) -> Result<Summary> {
        self.stop.request();
        drop(self.results);
        let analysis = join(self.analysis, "the analysis")?;
        join(self.capture, "the source")??;
        analysis
    }
}

fn spawn<T: Send + 'static>(
    name: &str,
    run: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>> {
    std::thread::Builder::new()
        .name(name.into())
        .spawn(run)
        .map_err(|e| Error::invalid(format!("cannot start the {name} thread: {e}")))
}

fn join<T>(thread: JoinHandle<T>, what: &str) -> Result<T> {
    let start = Instant::now();
    while !thread.is_finished() {
        if start.elapsed() > GRACE {
            return Err(Error::gone(format!(
                "{what} did not end within {} s of being asked; leaving without it",
                GRACE.as_secs()
            )));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    thread.join().map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
        Error::invalid(format!("{what} failed inside camlive: {text}; please report it"))
    })
}

/// The thread that takes frames from the source.
struct Capture {
    source: Box<dyn Source>,
    frames: Newest<Frame>,
    used: Receiver<Frame>,
    lost: Box<dyn FnMut(&Error) + Send>,
    watched: bool,
    settings: SharedSettings,
    stop: Stop,
}

impl Capture {
    fn run(mut self) -> Result<()> {
        let mut frame = Frame::empty();
        let mut last = None;
        let mut due = Instant::now();
        while !self.stop.requested() {
            match self.source.next(&mut frame) {
                Ok(Step::Waiting) => continue,
                Ok(Step::End) => {
                    if let Some((last, settings)) = last {
                        self.linger(last, settings);
                    }
                    break;
                }
                Ok(Step::Frame) => {}
                Err(error) if error.kind() == ErrorKind::Skip => {
                    (self.lost)(&error);
                    continue;
                }
                Err(error) => return Err(error),
            }
            let pace = self.source.pace();
            if self.watched && matches!(pace, Pace::Slides(_)) {
                last = Some((frame.clone(), self.settings.get()));
            }
            let overtaken = match pace {
                Pace::Live => self.frames.put(frame),
                Pace::Recorded(shown) | Pace::Slides(shown) => {
                    if self.watched {
                        self.wait_until(due);
                        due = Instant::now().max(due + shown);
                        frame.captured = Instant::now();
                    }
                    self.put_behind(frame);
                    None
                }
            };
            frame = overtaken.or_else(|| self.used.try_recv().ok()).unwrap_or_else(Frame::empty);
        }
        Ok(())
    }

    /// Has the last frame analysed again whenever the settings change, until the end is asked for.
    fn linger(&self, last: Frame, mut settings: Settings) {
        while !self.stop.requested() {
            std::thread::sleep(TICK);
            let now = self.settings.get();
            if now != settings {
                settings = now;
                self.put_behind(Frame { captured: Instant::now(), ..last.clone() });
            }
        }
    }

    fn wait_until(&self, due: Instant) {
        while !self.stop.requested() {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            std::thread::sleep(left.min(PATIENCE));
        }
    }

    fn put_behind(&self, mut frame: Frame) {
        while !self.stop.requested() {
            match self.frames.put_behind(frame, PATIENCE) {
                Ok(()) => break,
                Err(back) => frame = back,
            }
        }
    }
}

/// The thread that analyses frames.
struct Analysis {
    analyser: Analyser,
    frames: Receiver<Frame>,
    used: Sender<Frame>,
    results: Newest<Analysed>,
    back: Receiver<Analysed>,
    analysed: OnAnalysed,
    options: Options,
}

impl Analysis {
    fn run(mut self) -> Result<Summary> {
        let mut summary = Summary { analysed: 0, dropped: 0 };
        let mut tracker = Tracker::default();
        let mut last = None;
        let mut idle = None;
        while !self.options.stop.requested() && self.options.frames != Some(summary.analysed) {
            let frame = match self.frames.recv_timeout(PATIENCE) {
                Ok(frame) => frame,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            // A source that starts to count anew has lost nothing that could be told.
            let gap = last.map_or(0, |last| frame.sequence.saturating_sub(last + 1));
            last = Some(frame.sequence);
            summary.dropped += gap;

            let mut result = match idle.take().or_else(|| self.back.try_recv().ok()) {
                Some(result) => self.refill(result, frame),
                None => Analysed {
                    frame,
                    findings: Findings::default(),
                    dropped: 0,
                    stages: Stages::default(),
                },
            };
            result.dropped = summary.dropped;
            let settings = self.options.settings.get();
            result.stages =
                self.analyser.analyse(&result.frame, &settings, &mut result.findings)?;
            tracker.number(&mut result.findings.detections);
            (self.analysed)(&result)?;
            summary.analysed += 1;
            idle = self.results.put(result);
        }
        Ok(summary)
    }

    /// Puts `frame` into a used result and sends the frame that was in it back to the source.
    fn refill(&self, mut result: Analysed, frame: Frame) -> Analysed {
        let used = std::mem::replace(&mut result.frame, frame);
        // Where the queue is full or the source gone, the buffer is freed.
        let _ = self.used.try_send(used);
        result
    }
}
