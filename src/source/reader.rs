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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Size;
    use std::collections::HashSet;

    /// Delivers what it is told through a channel, and says when it is asked for more.
    struct Told {
        pictures: Receiver<Result<bool>>,
        asked: Sender<()>,
    }

    impl Pictures for Told {
        fn read(&mut self, frame: &mut Frame) -> Result<bool> {
            let _ = self.asked.send(());
            let told = self.pictures.recv().unwrap_or(Ok(false))?;
            frame.reshape(Size::new(8, 8))?;
            Ok(told)
        }

        fn describe(&self) -> String {
            "told".into()
        }

        fn interval(&self) -> Duration {
            Duration::ZERO
        }
    }

    fn told(keep: Keep) -> (Reader, Sender<Result<bool>>, Receiver<()>) {
        let (tell, pictures) = bounded(100);
        let (asked, ask) = bounded(1000);
        let reader = Reader::start(keep, || Ok(Box::new(Told { pictures, asked }))).unwrap();
        (reader, tell, ask)
    }

    /// The next step that is not waiting.
    fn next(reader: &mut Reader, frame: &mut Frame) -> Result<Step> {
        loop {
            match reader.next(frame) {
                Ok(Step::Waiting) => {}
                step => return step,
            }
        }
    }

    #[test]
    fn every_picture_of_a_recording_arrives_in_order_in_buffers_that_are_used_again() {
        let (mut reader, tell, _ask) = told(Keep::All);
        (0..50).for_each(|_| tell.send(Ok(true)).unwrap());
        drop(tell);
        let mut frame = Frame::empty();
        let mut buffers = HashSet::new();
        for sequence in 0..50 {
            assert_eq!(next(&mut reader, &mut frame), Ok(Step::Frame));
            assert_eq!(frame.sequence, sequence);
            buffers.insert(frame.rgb.as_ptr());
        }
        assert_eq!(next(&mut reader, &mut frame), Ok(Step::End));
        assert!(buffers.len() <= BUFFERS + 1);
    }

    #[test]
    fn of_a_live_stream_only_the_newest_picture_arrives() {
        let (mut reader, tell, ask) = told(Keep::Newest);
        (0..20).for_each(|_| tell.send(Ok(true)).unwrap());
        // It asks for the 21st when it has handed over the 20th.
        (0..21).for_each(|_| ask.recv().unwrap());
        let mut frame = Frame::empty();
        assert_eq!(next(&mut reader, &mut frame), Ok(Step::Frame));
        assert_eq!(frame.sequence, 19);
        assert_eq!(reader.next(&mut frame), Ok(Step::Waiting));
    }

    #[test]
    fn a_broken_picture_is_skipped_and_counted() {
        let (mut reader, tell, _ask) = told(Keep::All);
        for picture in [Ok(true), Err(Error::skip("broken")), Ok(true)] {
            tell.send(picture).unwrap();
        }
        let mut frame = Frame::empty();
        assert_eq!(next(&mut reader, &mut frame), Ok(Step::Frame));
        assert_eq!(next(&mut reader, &mut frame), Err(Error::skip("broken")));
        assert_eq!(next(&mut reader, &mut frame), Ok(Step::Frame));
        assert_eq!(frame.sequence, 2);
    }

    #[test]
    fn nothing_comes_after_a_stream_has_failed() {
        for keep in [Keep::All, Keep::Newest] {
            let (mut reader, tell, _ask) = told(keep);
            tell.send(Err(Error::invalid("torn"))).unwrap();
            let mut frame = Frame::empty();
            assert_eq!(next(&mut reader, &mut frame), Err(Error::invalid("torn")));
            assert_eq!(next(&mut reader, &mut frame), Ok(Step::End));
        }
    }

    #[test]
    fn the_thread_ends_when_nobody_wants_its_pictures() {
        for keep in [Keep::All, Keep::Newest] {
            let (reader, tell, ask) = told(keep);
            drop(reader);
            // It may still ask for a few, until it notices.
            while tell.send(Ok(true)).is_ok() {
                ask.try_iter().for_each(drop);
            }
        }
    }

    #[test]
    fn a_stream_that_cannot_be_opened_says_why() {
        let error = Reader::start(Keep::All, || Err(Error::invalid("no stream"))).unwrap_err();
        assert_eq!(error, Error::invalid("no stream"));
    }
}
