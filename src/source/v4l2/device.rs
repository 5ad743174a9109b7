//! Video devices: which there are, what opens them, and what their errors mean.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use v4l::v4l_sys::{
    V4L2_CAP_DEVICE_CAPS, V4L2_CAP_STREAMING, V4L2_CAP_VIDEO_CAPTURE,
    V4L2_CAP_VIDEO_CAPTURE_MPLANE, V4L2_CAP_VIDEO_M2M, v4l2_capability,
};
use v4l::{Device, FourCC};

use super::{modes, queue};
use crate::error::{Error, Result};
use crate::source::camera::{CameraInfo, Mode, Wanted};

/// The cameras of this machine in the order of their numbers, and the devices that could not be
/// opened to see. Left out are nodes that deliver no pictures (metadata, outputs, codecs), or none
/// of a kind that camlive reads.
pub fn cameras() -> Vec<CameraInfo> {
    let mut numbers: Vec<u32> = fs::read_dir("/dev")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.strip_prefix("video")?.parse().ok())
        .collect();
    numbers.sort_unstable();
    let wanted = Wanted::default();
    let camera = |number| {
        let path = path_of(number);
        let (name, modes) = match connect(&path) {
            Ok(device) => {
                let capability = queue::capability(&device).ok()?;
                check(&path, &capability).ok()?;
                (text(&capability.card), Ok(modes_of(&path, &device, &wanted).ok()?))
            }
            Err(error) => {
                let name = format!("/sys/class/video4linux/video{number}/name");
                (fs::read_to_string(name).unwrap_or_default().trim().to_owned(), Err(error))
            }
        };
        let by_id = by_id(&path);
        Some(CameraInfo { path, name, by_id, modes })
    };
    numbers.into_iter().filter_map(camera).collect()
}

/// The device of a number.
pub fn path_of(number: u32) -> PathBuf {
    PathBuf::from(format!("/dev/video{number}"))
}

/// The name of a USB camera that stays the same whichever socket it is plugged into.
fn by_id(path: &Path) -> Option<PathBuf> {
    fs::read_dir("/dev/v4l/by-id")
        .ok()?
        .flatten()
        .map(|entry| entry.path())
        .find(|link| fs::canonicalize(link).is_ok_and(|target| target == path))
}

/// Opens a camera; the device and its name.
///
/// # Errors
/// As [`connect`], and `Invalid` where it is no camera that can be read.
pub fn open_device(path: &Path) -> Result<(Device, String)> {
    let device = connect(path)?;
    let capability = queue::capability(&device).map_err(|error| failure(path, &error))?;
    check(path, &capability)?;
    Ok((device, text(&capability.card)))
}

/// The modes that camlive reads, those near `wanted` where the camera offers a range: one at least.
///
/// # Errors
/// `Invalid`, with the formats that the camera offers instead.
pub fn modes_of(path: &Path, device: &Device, wanted: &Wanted) -> Result<Vec<Mode>> {
    let modes = modes::modes(device, wanted);
    if modes.is_empty() {
        let codes = queue::pixel_formats(device);
        if codes.is_empty() {
            return Err(Error::invalid(format!(
                "{}: offers no pictures; if it is a virtual camera, start what feeds it",
                path.display()
            )));
        }
        let codes: Vec<String> =
            codes.into_iter().map(|code| FourCC::from(code).to_string()).collect();
        return Err(Error::invalid(format!(
            "{}: offers the formats [{}], none of which camlive reads; on a Raspberry Pi, pipe \
             its camera in: rpicam-vid -n -t 0 --codec mjpeg -o - | camlive run -",
            path.display(),
            codes.join(" ")
        )));
    }
    Ok(modes)
}

/// Opens a character device.
///
/// # Errors
/// `Gone` where it is not there or busy, `Invalid` where it is something else or forbidden.
fn connect(path: &Path) -> Result<Device> {
    let metadata = fs::metadata(path).map_err(|error| failure(path, &error))?;
    if !metadata.file_type().is_char_device() {
        return Err(no_camera(path, "not a video device"));
    }
    let device = Device::with_path(path).map_err(|error| failure(path, &error))?;
    queue::close_on_exec(&device);
    Ok(device)
}

/// Refuses what is no camera that delivers whole pictures in one plane each.
fn check(path: &Path, capability: &v4l2_capability) -> Result<()> {
    // A driver of several nodes says under `device_caps` what this one can do.
    let flags = match capability.capabilities & V4L2_CAP_DEVICE_CAPS {
        0 => capability.capabilities,
        _ => capability.device_caps,
    };
    if flags & V4L2_CAP_VIDEO_CAPTURE_MPLANE != 0 {
        return Err(Error::invalid(format!(
            "{}: delivers pictures in several planes, which camlive does not read; pipe them in as \
             MJPEG or YUV4MPEG2: ... | camlive run -",
            path.display()
        )));
    }
    if flags & V4L2_CAP_VIDEO_CAPTURE == 0 || flags & V4L2_CAP_VIDEO_M2M != 0 {
        return Err(no_camera(
            path,
            "a video device that takes no pictures (a virtual camera does once it is fed)",
        ));
    }
    if flags & V4L2_CAP_STREAMING == 0 {
        return Err(no_camera(path, "a video device without streaming"));
    }
    // The Raspberry Pi's image processor: its outputs look like cameras on every Pi, and wait for
    // ever for an input.
    if text(&capability.driver) == "bcm2835-isp" {
        return Err(no_camera(path, "the Raspberry Pi's image processor"));
    }
    Ok(())
}

fn no_camera(path: &Path, what: &str) -> Error {
    Error::invalid(format!(
        "{}: {what}; `camlive doctor` lists the cameras of this machine",
        path.display()
    ))
}

/// What the kernel's error on a camera that delivered until now means.
pub fn stopped(path: &Path, error: &io::Error) -> Error {
    match error.raw_os_error() {
        Some(libc::ENODEV | libc::ENXIO) => failure(path, error),
        _ => Error::gone(format!(
            "{}: the camera stopped ({error}); unplug it and plug it in again",
            path.display()
        )),
    }
}

/// What the kernel's error on opening a camera means, and what to do about it.
pub fn failure(path: &Path, error: &io::Error) -> Error {
    let path = path.display();
    match error.raw_os_error() {
        Some(libc::ENOENT) => Error::gone(format!(
            "{path}: there is no such camera; `camlive doctor` lists those of this machine"
        )),
        Some(libc::ENODEV | libc::ENXIO) => {
            Error::gone(format!("{path}: the camera was unplugged; plug it in again"))
        }
        Some(libc::EIO | libc::EPROTO | libc::EPIPE) => Error::gone(format!(
            "{path}: the camera does not work ({error}); unplug it and plug it in again"
        )),
        Some(libc::EBUSY) => Error::gone(format!(
            "{path}: another program uses the camera; close it (`fuser -v {path}` names it)"
        )),
        Some(libc::ENOSPC) => Error::gone(format!(
            "{path}: the USB has no room for the camera's stream; move it to another socket, away \
             from other cameras"
        )),
        Some(libc::EACCES | libc::EPERM) => Error::invalid(format!(
            "{path}: you may not use the camera; join the group `video` (sudo usermod -aG video \
             $USER) and log in again"
        )),
        _ => Error::invalid(format!("{path}: cannot use the camera: {error}")),
    }
}

/// A name in a fixed number of bytes, which the driver may have cut off within a letter.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).trim_end_matches('\u{fffd}').trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn of(errno: i32) -> Error {
        failure(Path::new("/dev/video0"), &io::Error::from_raw_os_error(errno))
    }

    fn capability(driver: &[u8], capabilities: u32, device_caps: u32) -> v4l2_capability {
        let mut name = [0; 16];
        name[..driver.len()].copy_from_slice(driver);
        v4l2_capability {
            driver: name,
            card: [0; 32],
            bus_info: [0; 32],
            version: 0,
            capabilities,
            device_caps,
            reserved: [0; 3],
        }
    }

    fn is_camera(capability: &v4l2_capability) -> bool {
        check(Path::new("/dev/video0"), capability).is_ok()
    }

    const CAMERA: u32 = V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_STREAMING;

    #[test]
    fn the_metadata_node_of_a_camera_is_no_camera() {
        let all = CAMERA | V4L2_CAP_DEVICE_CAPS | 0x0080_0000;
        assert!(is_camera(&capability(b"uvcvideo", all, CAMERA)));
        assert!(!is_camera(&capability(b"uvcvideo", all, V4L2_CAP_STREAMING | 0x0080_0000)));
    }

    #[test]
    fn a_driver_without_node_capabilities_is_believed_as_a_whole() {
        assert!(is_camera(&capability(b"old", CAMERA, 0)));
    }

    #[test]
    fn outputs_codecs_and_the_image_processor_are_no_cameras() {
        assert!(!is_camera(&capability(b"loopback", 2 | V4L2_CAP_STREAMING, 0)));
        assert!(!is_camera(&capability(b"codec", CAMERA | V4L2_CAP_VIDEO_M2M, 0)));
        assert!(!is_camera(&capability(b"bcm2835-isp", CAMERA, 0)));
    }

    #[test]
    fn several_planes_are_refused_by_name() {
        let planes = capability(b"x", V4L2_CAP_VIDEO_CAPTURE_MPLANE | V4L2_CAP_STREAMING, 0);
        let error = check(Path::new("/dev/video9"), &planes).unwrap_err();
        assert!(error.to_string().starts_with("/dev/video9: delivers pictures in several planes"));
    }

    #[test]
    fn errors_say_what_to_do_next() {
        for (errno, kind, advice) in [
            (libc::ENODEV, ErrorKind::Gone, "plug it in again"),
            (libc::EIO, ErrorKind::Gone, "plug it in again"),
            (libc::EBUSY, ErrorKind::Gone, "another program uses the camera"),
            (libc::ENOSPC, ErrorKind::Gone, "another socket"),
            (libc::ENOENT, ErrorKind::Gone, "no such camera"),
            (libc::EACCES, ErrorKind::Invalid, "join the group `video`"),
        ] {
            assert_eq!(of(errno).kind(), kind, "{}", of(errno));
            assert!(of(errno).to_string().contains(advice), "{}", of(errno));
        }
    }

    #[test]
    fn whatever_stops_a_stream_opening_again_may_help() {
        for errno in [libc::ENODEV, libc::EIO, libc::EINVAL] {
            let error = io::Error::from_raw_os_error(errno);
            assert_eq!(stopped(Path::new("/dev/video0"), &error).kind(), ErrorKind::Gone);
        }
    }

    #[test]
    fn paths_that_are_no_devices_are_refused() {
        let kind = |path: &str| open_device(Path::new(path)).map(|_| ()).unwrap_err().kind();
        assert_eq!(kind("/dev/video-that-is-not-there"), ErrorKind::Gone);
        assert_eq!(kind("/"), ErrorKind::Invalid);
        assert_eq!(kind("/dev/null"), ErrorKind::Invalid);
        assert_eq!(kind("/dev/\0"), ErrorKind::Invalid);
    }

    #[test]
    fn a_name_that_was_cut_off_within_a_letter_is_still_a_name() {
        assert_eq!(text(b"Kamera \xc3\xa4\0rest"), "Kamera ä");
        assert_eq!(text(b"Kamera \xc3"), "Kamera");
    }
}
