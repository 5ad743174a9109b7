//! Where frames come from. Knows nothing of networks.

pub mod camera;
pub mod decode;
pub mod demo;
pub mod mjpeg_stream;
#[cfg(any(feature = "nokhwa", not(target_os = "linux")))]
pub mod nokhwa;
mod reader;
mod spec;
pub mod stdin;
pub mod still;
#[cfg(target_os = "linux")]
pub mod v4l2;
pub mod video;
pub mod y4m;

pub use spec::Spec;

use std::time::Duration;

use crate::error::Result;
use crate::frame::Frame;

/// What [`Source::next`] brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The frame was filled.
    Frame,
    /// Nothing yet; ask again.
    Waiting,
    /// There will be no more frames.
    End,
}

/// How a source relates to time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Frames come by themselves (camera, stream, demo): whoever is late misses some.
    Live,
    /// Frames wait to be read (files): every one of them is analysed. Where somebody watches, each
    /// is shown for at least this long.
    Recorded(Duration),
    /// As recorded; and the last picture stays for as long as somebody watches, analysed again
    /// where the settings change.
    Slides(Duration),
}

/// A stream of frames.
pub trait Source: Send {
    /// Fills `frame` with the newest picture, reusing its buffer.
    ///
    /// Returns within about [`PATIENCE`], with [`Step::Waiting`] where no picture came: so that
    /// whoever calls it can always be stopped.
    ///
    /// # Errors
    /// `Skip` loses this picture only; after any other error the source is done for.
    fn next(&mut self, frame: &mut Frame) -> Result<Step>;

    /// Live, or read at the reader's pace.
    fn pace(&self) -> Pace;

    /// One line for the user: what it is, format, size, rate.
    fn describe(&self) -> String;
}

/// The longest that [`Source::next`] waits for a picture.
pub const PATIENCE: Duration = Duration::from_millis(100);

/// How long a live source may be silent before it is given up.
pub const SILENCE: Duration = Duration::from_secs(5);

/// Opens what [`Spec::parse`] understood. `None` where the first camera is asked for and there is
/// none.
///
/// # Errors
/// As the source that is opened.
pub fn open(spec: &Spec) -> Result<Option<Box<dyn Source>>> {
    Ok(Some(match spec {
        Spec::Camera(camera) => return camera::open_camera(camera, &camera::Wanted::default()),
        Spec::Demo => Box::new(demo::Demo::open()?),
        Spec::Stills(path) => Box::new(still::Stills::open(path)?),
        Spec::Video(path) => Box::new(video::Video::open_file(path)?),
        Spec::Rtsp(address) => Box::new(video::Video::open_rtsp(address)?),
        Spec::Stdin => Box::new(stdin::Stdin::open()?),
    }))
}
