//! Linux cameras, through Video4Linux 2.

mod device;
mod modes;
mod queue;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use v4l::video::Capture;
use v4l::video::capture::Parameters;
use v4l::{Device, FourCC, Fraction};

pub use self::device::{cameras, path_of};
use self::device::{failure, modes_of, open_device, stopped};
use self::queue::{Picture, Queue};
use crate::error::{Error, Result};
use crate::frame::{Frame, check_size};
use crate::geometry::Size;
use crate::source::camera::{Interval, Mode, Wanted, choose, silent};
use crate::source::decode::{Decoder, Layout};
use crate::source::{PATIENCE, Pace, SILENCE, Source, Step};

/// A camera that streams.
#[derive(Debug)]
pub struct Camera {
    path: PathBuf,
    name: String,
    mode: Mode,
    queue: Queue,
    decoder: Decoder,
    /// When the driver last delivered anything.
    heard: Instant,
}

impl Camera {
    /// Opens the camera at `path` in the mode nearest to `wanted`.
    ///
    /// # Errors
    /// `Gone` where the camera is not there, busy or broken; `Invalid` where it may not be opened,
    /// is no camera, or delivers nothing that camlive reads.
    pub fn open(path: &Path, wanted: &Wanted) -> Result<Self> {
        let (device, name) = open_device(path)?;
        let modes = modes_of(path, &device, wanted)?;
        let mode = choose(&modes, wanted)
            .ok_or_else(|| Error::invalid(format!("{}: no sizes on offer", path.display())))?;
        Self::start(path, device, name, mode)
    }

    /// Opens the camera at `path` in `mode`, or what its driver makes of it.
    ///
    /// # Errors
    /// As [`Camera::open`].
    pub fn with_mode(path: &Path, mode: Mode) -> Result<Self> {
        let (device, name) = open_device(path)?;
        Self::start(path, device, name, mode)
    }

    fn start(path: &Path, device: Device, name: String, mode: Mode) -> Result<Self> {
        let fail = |error| failure(path, &error);
        let asked = modes::code(mode.format).into();
        let got =
            queue::set_format(&device, asked, mode.size.width, mode.size.height).map_err(fail)?;
        let format = modes::format(FourCC::from(got.code)).ok_or_else(|| {
            Error::invalid(format!(
                "{}: asked for {}, the camera answers with {}, which camlive does not read",
                path.display(),
                mode.format,
                FourCC::from(got.code)
            ))
        })?;
        let size = Size::new(got.width, got.height);
        check_size(size).map_err(|e| Error::invalid(format!("{}: {e}", path.display())))?;
        let interval = set_interval(&device, mode.interval);
        let coding = modes::coding(got.colorspace, got.ycbcr_enc, got.quantization);
        let stride = got.bytes_per_line as usize;
        let queue = Queue::start(device).map_err(fail)?;
        Ok(Self {
            path: path.to_owned(),
            name,
            mode: Mode { format, size, interval },
            queue,
            decoder: Decoder::new(Layout { format, size, stride, coding }),
            heard: Instant::now(),
        })
    }

    /// What the camera really delivers.
    pub fn mode(&self) -> Mode {
        self.mode
    }
}

impl Source for Camera {
    fn next(&mut self, frame: &mut Frame) -> Result<Step> {
        let decoder = &mut self.decoder;
        let read = |picture: Picture<'_>| {
            frame.sequence = picture.sequence;
            frame.captured = captured(Instant::now(), picture.age);
            if picture.corrupt {
                return Err(Error::skip("the camera flags a picture as damaged"));
            }
            let start = Instant::now();
            let decoded = decoder.decode(picture.data, frame);
            frame.decoding = start.elapsed();
            decoded
        };
        match self.queue.newest(PATIENCE, read) {
            Ok(Some(result)) => {
                self.heard = Instant::now();
                let lost = |e: Error| Error::skip(format!("{}: {e}", self.path.display()));
                result.map(|()| Step::Frame).map_err(lost)
            }
            Ok(None) if self.heard.elapsed() >= SILENCE => {
                Err(silent(&self.path.display().to_string()))
            }
            Ok(None) => Ok(Step::Waiting),
            Err(error) => Err(stopped(&self.path, &error)),
        }
    }

    fn pace(&self) -> Pace {
        Pace::Live
    }

    fn describe(&self) -> String {
        format!("{} ({}): {}", self.path.display(), self.name, self.mode)
    }
}

/// The instant of a picture that came `now` and was taken `age` ago. An age beyond [`SILENCE`] is
/// another clock's: the picture then counts as taken when it came.
fn captured(now: Instant, age: Option<Duration>) -> Instant {
    age.filter(|&age| age < SILENCE).and_then(|age| now.checked_sub(age)).unwrap_or(now)
}

/// Asks for an interval and says which one the driver chose; `None` where it does not say.
fn set_interval(device: &Device, interval: Option<Interval>) -> Option<Interval> {
    let chosen = match interval {
        Some(Interval { numerator, denominator }) => {
            device.set_params(&Parameters::new(Fraction::new(numerator, denominator)))
        }
        None => device.params(),
    };
    let Fraction { numerator, denominator } = chosen.ok()?.interval;
    (numerator != 0 && denominator != 0).then_some(Interval { numerator, denominator })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_was_taken_its_age_before_it_came() {
        let now = Instant::now() + Duration::from_secs(60);
        let age = Duration::from_millis(70);
        assert_eq!(captured(now, Some(age)), now - age);
    }

    #[test]
    fn a_picture_without_a_believable_age_was_taken_when_it_came() {
        let now = Instant::now() + Duration::from_secs(60);
        assert_eq!(captured(now, None), now);
        assert_eq!(captured(now, Some(SILENCE)), now);
        assert_eq!(captured(now, Some(Duration::MAX)), now);
    }
}
