//! What all cameras share: how one is named, which of its modes is best, and how one is opened.

use std::fmt;
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::geometry::Size;
use crate::source::Source;
use crate::source::decode::PixelFormat;

#[cfg(any(feature = "nokhwa", not(target_os = "linux")))]
use crate::source::nokhwa as backend;
#[cfg(all(target_os = "linux", not(feature = "nokhwa")))]
use crate::source::v4l2 as backend;

/// The picture that a camera is asked for; it gives what comes nearest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    pub size: Size,
    /// Pictures a second.
    pub rate: u32,
}

impl Default for Wanted {
    fn default() -> Self {
        Self { size: Size::new(640, 480), rate: 30 }
    }
}

/// The time from one picture to the next, as a fraction of a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    pub numerator: u32,
    pub denominator: u32,
}

impl Interval {
    /// Pictures a second; 0 where the fraction makes no sense.
    pub fn rate(self) -> f64 {
        if self.numerator == 0 {
            0.0
        } else {
            f64::from(self.denominator) / f64::from(self.numerator)
        }
    }
}

/// One way in which a camera can deliver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mode {
    pub format: PixelFormat,
    pub size: Size,
    /// `None` where the camera does not say.
    pub interval: Option<Interval>,
}

/// Written as `MJPEG 640x480 at 30/s`.
impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.format, self.size)?;
        match self.interval.map(Interval::rate) {
            Some(rate) => write!(f, " at {}/s", (rate * 100.0).round() / 100.0),
            None => Ok(()),
        }
    }
}

/// The best of `modes`: one that reaches the wanted size and rate, else the size, else the rate;
/// then the nearest size, then what is cheap to decode, then the nearest rate. Grey is taken only
/// from a camera without colour.
///
/// USB 2 carries 640x480 uncompressed at 30/s at the most, so cameras offer more as MJPEG only, and
/// that is then what is chosen.
pub fn choose(modes: &[Mode], wanted: &Wanted) -> Option<Mode> {
    let cost = |mode: &Mode| {
        let Size { width, height } = mode.size;
        let reaches = width >= wanted.size.width && height >= wanted.size.height;
        let distance =
            width.abs_diff(wanted.size.width) as u64 + height.abs_diff(wanted.size.height) as u64;
        // In hundredths, as rates such as 30000/1001 are meant to be whole ones.
        let wanted_rate = 100 * u64::from(wanted.rate);
        let rate = mode.interval.map_or(wanted_rate, |i| (100.0 * i.rate()).round() as u64);
        let missing = if 100 * rate >= 99 * wanted_rate { 0 } else { wanted_rate - rate };
        (
            mode.format == PixelFormat::Grey,
            !(reaches && missing == 0),
            !reaches,
            distance,
            missing,
            mode.format,
            rate.abs_diff(wanted_rate),
        )
    };
    modes.iter().min_by_key(|mode| cost(mode)).copied()
}

/// A camera of this machine.
#[derive(Debug, Clone)]
pub struct CameraInfo {
    /// What opens it: `/dev/video0`, or a number.
    pub path: PathBuf,
    /// What its maker calls it.
    pub name: String,
    /// A path that stays the same whichever socket the camera is plugged into.
    pub by_id: Option<PathBuf>,
    /// The modes that camlive can read, those near [`Wanted::default`] where the camera offers a
    /// range; or why the camera cannot be used.
    pub modes: Result<Vec<Mode>>,
}

/// Which camera.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CameraSpec {
    /// The first one that works.
    First,
    /// By number, as the system counts them.
    Index(u32),
    /// By device: `/dev/video0`, `/dev/v4l/by-id/...`.
    Path(PathBuf),
}

/// The cameras of this machine, in the order of their numbers.
pub fn cameras() -> Vec<CameraInfo> {
    backend::cameras()
}

/// Opens a camera in the mode nearest to `wanted`. `None` where the first camera is asked for and
/// there is none.
///
/// # Errors
/// `Gone` where the camera is not there, busy or broken; `Invalid` where it may not be opened, or
/// delivers nothing that camlive reads.
pub fn open_camera(spec: &CameraSpec, wanted: &Wanted) -> Result<Option<Box<dyn Source>>> {
    let path = match spec {
        CameraSpec::First => {
            let cameras = cameras();
            match (cameras.iter().find(|camera| camera.modes.is_ok()), cameras.first()) {
                (Some(usable), _) => usable.path.clone(),
                (None, Some(CameraInfo { modes: Err(reason), .. })) => return Err(reason.clone()),
                (None, _) => return Ok(None),
            }
        }
        CameraSpec::Index(index) => backend::path_of(*index),
        CameraSpec::Path(path) => path.clone(),
    };
    Ok(Some(Box::new(backend::Camera::open(&path, wanted)?)))
}

/// A camera that is there but has not delivered for [`SILENCE`](crate::source::SILENCE).
pub(crate) fn silent(name: &str) -> Error {
    Error::gone(format!(
        "{name}: no picture for {} seconds; unplug the camera and plug it in again",
        crate::source::SILENCE.as_secs()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use PixelFormat::{Grey, Mjpeg, Nv12, Yuyv};

    fn mode(format: PixelFormat, width: u32, height: u32, rate: u32) -> Mode {
        let interval = Some(Interval { numerator: 1, denominator: rate });
        Mode { format, size: Size::new(width, height), interval }
    }

    fn chosen(modes: &[Mode]) -> String {
        choose(modes, &Wanted::default()).unwrap().to_string()
    }

    #[test]
    fn what_reaches_size_and_rate_and_is_cheap_to_decode_is_best() {
        let modes = [
            mode(Mjpeg, 640, 480, 30),
            mode(Yuyv, 1280, 720, 30),
            mode(Yuyv, 640, 480, 15),
            mode(Yuyv, 640, 480, 30),
            mode(Yuyv, 320, 240, 30),
        ];
        assert_eq!(chosen(&modes), "YUYV 640x480 at 30/s");
    }

    #[test]
    fn mjpeg_is_best_where_uncompressed_pictures_come_slowly() {
        let modes = [
            mode(Yuyv, 640, 480, 10),
            mode(Yuyv, 320, 240, 30),
            mode(Mjpeg, 640, 480, 30),
            mode(Mjpeg, 1280, 720, 30),
        ];
        assert_eq!(chosen(&modes), "MJPEG 640x480 at 30/s");
        let wanted = Wanted { size: Size::new(1280, 720), rate: 30 };
        assert_eq!(choose(&modes, &wanted).unwrap().to_string(), "MJPEG 1280x720 at 30/s");
    }

    #[test]
    fn a_larger_picture_at_the_rate_beats_the_size_at_less() {
        let modes = [mode(Yuyv, 640, 480, 10), mode(Mjpeg, 800, 600, 30)];
        assert_eq!(chosen(&modes), "MJPEG 800x600 at 30/s");
    }

    #[test]
    fn without_the_rate_the_size_counts_then_speed() {
        let modes = [
            mode(Nv12, 1280, 720, 10),
            mode(Yuyv, 640, 480, 5),
            mode(Mjpeg, 640, 480, 15),
            mode(Yuyv, 320, 240, 30),
        ];
        assert_eq!(chosen(&modes), "MJPEG 640x480 at 15/s");
    }

    #[test]
    fn a_camera_that_is_too_small_gives_its_largest() {
        let modes = [mode(Yuyv, 160, 120, 30), mode(Yuyv, 320, 240, 30), mode(Yuyv, 352, 288, 15)];
        assert_eq!(chosen(&modes), "YUYV 352x288 at 15/s");
    }

    #[test]
    fn the_broadcast_rates_count_as_whole_ones() {
        let ntsc = Interval { numerator: 1001, denominator: 30000 };
        let ntsc = Mode { interval: Some(ntsc), ..mode(Yuyv, 640, 480, 30) };
        assert_eq!(chosen(&[mode(Mjpeg, 640, 480, 30), ntsc]), "YUYV 640x480 at 29.97/s");
    }

    #[test]
    fn a_rate_far_above_the_wanted_one_is_not_sought() {
        let modes = [mode(Yuyv, 640, 480, 120), mode(Yuyv, 640, 480, 30), mode(Yuyv, 640, 480, 60)];
        assert_eq!(chosen(&modes), "YUYV 640x480 at 30/s");
    }

    #[test]
    fn an_unknown_rate_is_trusted() {
        let unknown = Mode { interval: None, ..mode(Yuyv, 640, 480, 1) };
        assert_eq!(chosen(&[mode(Mjpeg, 640, 480, 30), unknown]), "YUYV 640x480");
    }

    #[test]
    fn colour_comes_before_everything() {
        let modes = [mode(Grey, 640, 480, 30), mode(Mjpeg, 320, 240, 10)];
        assert_eq!(chosen(&modes), "MJPEG 320x240 at 10/s");
        assert_eq!(chosen(&modes[..1]), "GREY 640x480 at 30/s");
        assert_eq!(choose(&[], &Wanted::default()), None);
    }
}
