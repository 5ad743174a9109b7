//! Cameras of macOS and Windows (and, behind the feature `nokhwa`, of Linux), through the crate
//! `nokhwa`.
//!
//! Its calls wait for as long as the system's driver likes, so they are made on a thread of their
//! own, which hands over the newest picture. A driver that never answers costs that thread, and
//! neither hangs nor takes down the program.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use nokhwa::utils::{
    ApiBackend, CameraFormat, CameraIndex, FrameFormat, RequestedFormat, RequestedFormatType,
    Resolution,
};
use nokhwa::{Buffer, NokhwaError};

use crate::error::{Error, Result};
use crate::frame::Frame;
use crate::geometry::Size;
use crate::source::camera::{CameraInfo, Interval, Mode, Wanted, choose, silent};
use crate::source::decode::{Coding, Decoder, Layout, PixelFormat, Range};
use crate::source::{PATIENCE, Pace, SILENCE, Source, Step};

/// How long a dropped camera may take to close before its thread is left to itself.
const FAREWELL: Duration = Duration::from_millis(500);

const FORMATS: [FrameFormat; 6] = [
    FrameFormat::RAWRGB,
    FrameFormat::RAWBGR,
    FrameFormat::NV12,
    FrameFormat::YUYV,
    FrameFormat::MJPEG,
    FrameFormat::GRAY,
];

/// A picture as nokhwa delivers it.
struct Picture {
    buffer: Buffer,
    sequence: u64,
    captured: Instant,
}

/// A camera that streams on a thread of its own.
#[derive(Debug)]
pub struct Camera {
    path: PathBuf,
    name: String,
    mode: Mode,
    decoder: Decoder,
    pictures: Receiver<Result<Picture>>,
    stop: Arc<AtomicBool>,
    heard: Instant,
}

impl Camera {
    /// Opens the camera at `path` (its number; on Linux a device) in the mode nearest to `wanted`.
    ///
    /// # Errors
    /// `Gone` where the camera is not there, busy or does not answer; `Invalid` where it may not be
    /// used, or `path` names none.
    pub fn open(path: &Path, wanted: &Wanted) -> Result<Self> {
        let index = index_of(path)?;
        permission()?;
        let wanted = *wanted;
        let stop = Arc::new(AtomicBool::new(false));
        let (opened, answer) = bounded(1);
        let (sender, pictures) = bounded(1);
        let (place, stopped) = (path.display().to_string(), Arc::clone(&stop));
        let older = pictures.clone();
        spawn(move || match connect(&place, index, &wanted) {
            Ok((camera, name, mode)) => {
                if opened.send(Ok((name, mode))).is_ok() {
                    deliver(&place, camera, &stopped, &sender, &older);
                }
            }
            // Nobody waits any more where this fails.
            Err(error) => drop(opened.send(Err(error))),
        })?;
        let (name, mode) = match answer.recv_timeout(SILENCE) {
            Ok(result) => result?,
            Err(RecvTimeoutError::Timeout) => return Err(silent(&path.display().to_string())),
            Err(RecvTimeoutError::Disconnected) => return Err(broken(path)),
        };
        let decoder = Decoder::new(layout(mode.format, mode.size));
        let heard = Instant::now();
        Ok(Self { path: path.to_owned(), name, mode, decoder, pictures, stop, heard })
    }
}

impl Source for Camera {
    fn next(&mut self, frame: &mut Frame) -> Result<Step> {
        let picture = match self.pictures.recv_timeout(PATIENCE) {
            Ok(picture) => picture?,
            Err(RecvTimeoutError::Timeout) if self.heard.elapsed() >= SILENCE => {
                return Err(silent(&self.path.display().to_string()));
            }
            Err(RecvTimeoutError::Timeout) => return Ok(Step::Waiting),
            Err(RecvTimeoutError::Disconnected) => return Err(broken(&self.path)),
        };
        self.heard = Instant::now();
        frame.sequence = picture.sequence;
        frame.captured = picture.captured;
        let start = Instant::now();
        self.decoder
            .decode(picture.buffer.buffer(), frame)
            .map_err(|e| Error::skip(format!("{}: {e}", self.path.display())))?;
        frame.decoding = start.elapsed();
        Ok(Step::Frame)
    }

    fn pace(&self) -> Pace {
        Pace::Live
    }

    fn describe(&self) -> String {
        format!("{} ({}): {}", self.path.display(), self.name, self.mode)
    }
}

impl Drop for Camera {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let deadline = Instant::now() + FAREWELL;
        // The channel closes when the thread has closed the camera.
        while self.pictures.recv_deadline(deadline).is_ok() {}
    }
}

/// The cameras that nokhwa finds. Each is opened for its modes.
pub fn cameras() -> Vec<CameraInfo> {
    let (sender, found) = bounded(1);
    let list = move || {
        let cameras = nokhwa::query(ApiBackend::Auto).unwrap_or_default();
        let mut numbered: Vec<_> = cameras
            .iter()
            .filter_map(|camera| Some((camera.index().as_index().ok()?, camera.human_name())))
            .collect();
        numbered.sort_unstable();
        let list = numbered.into_iter().map(|(index, name)| {
            let path = path_of(index);
            let modes = start(&path.display().to_string(), index).and_then(|mut camera| {
                modes(&mut camera).map_err(|e| failure(&path.display().to_string(), &e))
            });
            CameraInfo { path, name, by_id: None, modes }
        });
        drop(sender.send(list.collect()));
    };
    if permission().is_err() || spawn(list).is_err() {
        return Vec::new();
    }
    found.recv_timeout(SILENCE).unwrap_or_default()
}

/// What opens the camera of a number.
pub fn path_of(number: u32) -> PathBuf {
    if cfg!(target_os = "linux") {
        PathBuf::from(format!("/dev/video{number}"))
    } else {
        PathBuf::from(number.to_string())
    }
}

/// The inverse of [`path_of`], through links.
fn index_of(path: &Path) -> Result<u32> {
    let target = std::fs::canonicalize(path);
    let name = target.as_deref().unwrap_or(path).file_name().and_then(|name| name.to_str());
    name.map(|name| name.strip_prefix("video").unwrap_or(name))
        .and_then(|number| number.parse().ok())
        .ok_or_else(|| {
            Error::invalid(format!(
                "{}: not a camera; `camlive doctor` lists those of this machine",
                path.display()
            ))
        })
}

/// Asks the user, where the system wants that.
#[cfg(target_os = "macos")]
fn permission() -> Result<()> {
    if nokhwa::nokhwa_check() {
        return Ok(());
    }
    let (sender, granted) = bounded(1);
    nokhwa::nokhwa_initialize(move |yes| {
        let _ = sender.try_send(yes);
    });
    if granted.recv_timeout(Duration::from_secs(60)) == Ok(true) {
        return Ok(());
    }
    Err(Error::invalid(
        "you may not use the camera; allow it under System Settings, Privacy & Security, Camera",
    ))
}

#[cfg(not(target_os = "macos"))]
fn permission() -> Result<()> {
    Ok(())
}

fn spawn(work: impl FnOnce() + Send + 'static) -> Result<()> {
    thread::Builder::new()
        .name("camera".into())
        .spawn(work)
        .map(drop)
        .map_err(|e| Error::gone(format!("no thread for the camera: {e}")))
}

/// Opens a camera in the first mode that it offers.
fn start(place: &str, index: u32) -> Result<nokhwa::Camera> {
    let any = RequestedFormat::with_formats(RequestedFormatType::None, &FORMATS);
    nokhwa::Camera::new(CameraIndex::Index(index), any).map_err(|e| failure(place, &e))
}

/// Opens a camera in the mode nearest to `wanted` and starts its stream.
fn connect(place: &str, index: u32, wanted: &Wanted) -> Result<(nokhwa::Camera, String, Mode)> {
    let fail = |e: NokhwaError| failure(place, &e);
    let mut camera = start(place, index)?;
    let modes = modes(&mut camera).map_err(fail)?;
    let mode = choose(&modes, wanted)
        .ok_or_else(|| Error::invalid(format!("{place}: no format that camlive reads")))?;
    let exact = RequestedFormatType::Exact(CameraFormat::new(
        Resolution::new(mode.size.width, mode.size.height),
        frame_format(mode.format),
        mode.interval.map_or(wanted.rate, |interval| interval.denominator),
    ));
    camera.set_camera_requset(RequestedFormat::with_formats(exact, &FORMATS)).map_err(fail)?;
    camera.open_stream().map_err(fail)?;
    let (name, mode) = (camera.info().human_name(), mode_of(&camera.camera_format()));
    Ok((camera, name, mode))
}

/// Hands pictures over until told to stop or the camera fails. One that has not been fetched when
/// the next comes is lost, and its number makes the gap.
fn deliver(
    place: &str,
    mut camera: nokhwa::Camera,
    stop: &AtomicBool,
    newest: &Sender<Result<Picture>>,
    older: &Receiver<Result<Picture>>,
) {
    let mut sequence = 0;
    while !stop.load(Ordering::Relaxed) {
        let mut item = camera.frame().map_err(|e| failure(place, &e)).map(|buffer| {
            let captured = captured(buffer.capture_timestamp());
            Picture { buffer, sequence, captured }
        });
        sequence += 1;
        let failed = item.is_err();
        while let Err(TrySendError::Full(back)) = newest.try_send(item) {
            drop(older.try_recv());
            item = back;
        }
        if failed {
            return;
        }
    }
}

/// The instant of a time of day, where it is a believable one.
fn captured(time: Option<Duration>) -> Instant {
    let now = Instant::now();
    time.and_then(|time| SystemTime::now().duration_since(UNIX_EPOCH + time).ok())
        .filter(|&age| age < SILENCE)
        .and_then(|age| now.checked_sub(age))
        .unwrap_or(now)
}

fn modes(camera: &mut nokhwa::Camera) -> std::result::Result<Vec<Mode>, NokhwaError> {
    Ok(camera.compatible_camera_formats()?.iter().map(mode_of).collect())
}

fn mode_of(format: &CameraFormat) -> Mode {
    Mode {
        format: pixel_format(format.format()),
        size: Size::new(format.width(), format.height()),
        interval: Some(Interval { numerator: 1, denominator: format.frame_rate() }),
    }
}

fn layout(format: PixelFormat, size: Size) -> Layout {
    Layout { format, size, stride: 0, coding: Coding::bt601(Range::Limited) }
}

fn pixel_format(format: FrameFormat) -> PixelFormat {
    match format {
        FrameFormat::RAWRGB => PixelFormat::Rgb3,
        FrameFormat::RAWBGR => PixelFormat::Bgr3,
        FrameFormat::NV12 => PixelFormat::Nv12,
        FrameFormat::YUYV => PixelFormat::Yuyv,
        FrameFormat::MJPEG => PixelFormat::Mjpeg,
        FrameFormat::GRAY => PixelFormat::Grey,
    }
}

fn frame_format(format: PixelFormat) -> FrameFormat {
    match format {
        PixelFormat::Rgb3 => FrameFormat::RAWRGB,
        PixelFormat::Bgr3 => FrameFormat::RAWBGR,
        PixelFormat::Nv12 => FrameFormat::NV12,
        PixelFormat::Yuyv => FrameFormat::YUYV,
        PixelFormat::Mjpeg => FrameFormat::MJPEG,
        PixelFormat::Grey => FrameFormat::GRAY,
    }
}

/// nokhwa tells no kinds of errors apart, so each is one after which opening again may help.
fn failure(place: &str, error: &NokhwaError) -> Error {
    Error::gone(format!(
        "{place}: {error}; plug the camera in again, and close other programs that use it"
    ))
}

/// The thread panicked.
fn broken(path: &Path) -> Error {
    Error::gone(format!("{}: the camera's driver failed; plug it in again", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_its_number() {
        assert_eq!(index_of(&path_of(7)), Ok(7));
        assert!(index_of(Path::new("/dev/null")).is_err());
        assert!(index_of(Path::new("front door")).is_err());
    }

    #[test]
    fn a_time_of_day_that_makes_no_sense_is_now() {
        let before = Instant::now();
        assert!(captured(None) >= before);
        assert!(captured(Some(Duration::ZERO)) >= before);
        assert!(captured(Some(Duration::from_secs(u32::MAX.into()))) >= before);
    }

    #[test]
    fn formats_keep_their_meaning() {
        for format in FORMATS {
            assert_eq!(frame_format(pixel_format(format)), format);
        }
    }
}
