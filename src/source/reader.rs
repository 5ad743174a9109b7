//! Reads a byte stream's pictures on a thread of its own, so that a read which blocks holds up
//! nobody who asks for a picture.

use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, TrySendError, bounded};

use super::{PATIENCE, Step};
use crate::error::{Error, ErrorKind, Result};
use crate::frame::Frame;

/// The longest time of one picture that a stream may ask for.
pub const LONGEST_INTERVAL: Duration = Duration::from_secs(10);

/// How long a stream may take to begin.
pub const BEGINNING: Duration = Duration::from_secs(15);

/// Pictures on their way between the threads.
const BUFFERS: usize = 3;

/// A stream of pictures that is read with blocking calls.
pub trait Pictures: Send {
    /// Fills `frame` with the next picture and sets when it arrived; `false` at the end.
    ///
    /// # Errors
    /// `Skip` loses this picture only.
    fn read(&mut self, frame: &mut Frame) -> Result<bool>;

    /// Format, size and rate, as far as they are known.
    fn describe(&self) -> String;

    /// The time of one picture; zero where the stream does not say.
    fn interval(&self) -> Duration;
}

/// Whether pictures may be lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Every picture waits until it is asked for.
    All,
    /// A picture that nobody asked for gives way to the next.
    Newest,
}

/// Hands over the pictures of a thread that reads them.
///
/// Dropping it does not wait for the thread: that ends when its next read returns.
#[derive(Debug)]
pub struct Reader {
    keep: Keep,
    filled: Receiver<Result<Frame>>,
    empty: Sender<Frame>,
    about: String,
    interval: Duration,
}

impl Reader {
    /// Starts the thread, which calls `open` and then reads; returns when the stream has begun.
    ///
    /// # Errors
    /// What `open` says; `Gone` where it takes longer than [`BEGINNING`].
    pub fn start(
        keep: Keep,
        open: impl FnOnce() -> Result<Box<dyn Pictures>> + Send + 'static,
    ) -> Result<Self> {
        let (filled_in, filled) = bounded(BUFFERS);
        let (empty, empty_out) = bounded(BUFFERS);
        for _ in 0..BUFFERS {
            // Cannot fail: there is room for all of them.
            let _ = empty.try_send(Frame::empty());
        }
        let (opened_in, opened) = bounded(1);
        let worker = Worker {
            filled: filled_in,
            overtaken: (keep == Keep::Newest).then(|| filled.clone()),
            empty: empty_out,
        };
        thread::Builder::new()
            .name("reader".into())
            .spawn(move || match open() {
                Ok(pictures) => {
                    let begun = (pictures.describe(), pictures.interval());
                    if opened_in.send(Ok(begun)).is_ok() {
                        worker.read(pictures);
                    }
                }
                // Nobody listens where the stream took too long to begin.
                Err(e) => drop(opened_in.send(Err(e))),
            })
            .map_err(|e| Error::invalid(format!("cannot start a thread: {e}")))?;
        let (about, interval) = match opened.recv_timeout(BEGINNING) {
            Ok(begun) => begun?,
            Err(_) => {
                return Err(Error::gone(format!("no picture within {} s", BEGINNING.as_secs())));
            }
        };
        Ok(Self { keep, filled, empty, about, interval })
    }

    /// As [`Source::next`](super::Source::next).
    pub fn next(&mut self, frame: &mut Frame) -> Result<Step> {
        let mut arrived = match self.filled.recv_timeout(PATIENCE) {
            Ok(arrived) => arrived?,
            Err(RecvTimeoutError::Timeout) => return Ok(Step::Waiting),
            Err(RecvTimeoutError::Disconnected) => return Ok(Step::End),
        };
        match self.keep {
            Keep::All => arrived.captured = Instant::now(),
            Keep::Newest => {
                while let Ok(newer) = self.filled.try_recv() {
                    let overtaken = std::mem::replace(&mut arrived, newer?);
                    let _ = self.empty.try_send(overtaken);
                }
            }
        }
        std::mem::swap(frame, &mut arrived);
        let _ = self.empty.try_send(arrived);
        Ok(Step::Frame)
    }

    /// Format, size and rate of the stream.
    pub fn describe(&self) -> &str {
        &self.about
    }

    /// The time of one picture; zero where the stream does not say.
    pub fn interval(&self) -> Duration {
        self.interval
    }
}

/// The thread's ends of the channels.
struct Worker {
    filled: Sender<Result<Frame>>,
    /// Where pictures that nobody asked for are taken back, if they may be lost.
    overtaken: Option<Receiver<Result<Frame>>>,
    empty: Receiver<Frame>,
}

impl Worker {
    /// Reads until the end, an error, or until nobody wants a picture any more.
    fn read(&self, mut pictures: Box<dyn Pictures>) {
        let mut spare = None;
        for sequence in 0.. {
            let Some(mut frame) = spare.take().or_else(|| self.buffer()) else { return };
            let read = pictures.read(&mut frame);
            frame.sequence = sequence;
            let item = match read {
                Ok(false) => return,
                Ok(true) => Ok(frame),
                Err(e) => {
                    spare = Some(frame);
                    Err(e)
                }
            };
            // After an error other than the loss of one picture there is nothing to read.
            let last = item.as_ref().is_err_and(|e| e.kind() != ErrorKind::Skip);
            if !self.hand_over(item) || last {
                return;
            }
        }
    }

    /// A frame to fill; `None` where nobody wants it.
    fn buffer(&self) -> Option<Frame> {
        let Some(overtaken) = &self.overtaken else { return self.empty.recv().ok() };
        match self.empty.try_recv() {
            Ok(frame) => Some(frame),
            Err(TryRecvError::Disconnected) => None,
            Err(TryRecvError::Empty) => match overtaken.try_recv() {
                Ok(Ok(oldest)) => Some(oldest),
                _ => Some(Frame::empty()),
            },
        }
    }

    /// `false` where nobody wants it.
    fn hand_over(&self, mut item: Result<Frame>) -> bool {
        let Some(overtaken) = &self.overtaken else { return self.filled.send(item).is_ok() };
        while let Err(TrySendError::Full(back)) = self.filled.try_send(item) {
            let _ = overtaken.try_recv();
            item = back;
        }
        true
    }
}
