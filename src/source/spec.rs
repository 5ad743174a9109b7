//! What the user names as SOURCE.

use std::path::{Path, PathBuf};

use super::camera::CameraSpec;
use super::still::is_photograph;
use crate::error::{Error, Result};

/// All that SOURCE can be, for an error's line.
const CHOICES: &str = "a source is a photo, a folder, a video file, `camera`, a camera's number, \
                       /dev/video0, `demo`, rtsp://..., or `-` for standard input";

/// Where frames shall come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spec {
    Camera(CameraSpec),
    Demo,
    /// A photograph, or a folder of them.
    Stills(PathBuf),
    /// A video file.
    Video(PathBuf),
    /// A camera on the network.
    Rtsp(String),
    /// YUV4MPEG2 or MJPEG.
    Stdin,
}

impl Spec {
    /// Understands the command line's SOURCE; nothing means the first camera. A file is a
    /// photograph or a video by its content, not by its name. A file that is named like one of the
    /// words is reached as `./demo`.
    ///
    /// # Errors
    /// `Usage` where there is no such thing, `Invalid` where a file cannot be read.
    pub fn parse(source: &str) -> Result<Self> {
        match source {
            "" | "camera" => return Ok(Self::Camera(CameraSpec::First)),
            "demo" => return Ok(Self::Demo),
            "-" => return Ok(Self::Stdin),
            _ => {}
        }
        if source.bytes().all(|b| b.is_ascii_digit()) {
            let number = source
                .parse()
                .map_err(|_| Error::usage(format!("no camera has the number {source}")))?;
            return Ok(Self::Camera(CameraSpec::Index(number)));
        }
        if let Some((scheme, _)) = source.split_once("://") {
            return match scheme {
                "rtsp" | "rtsps" => Ok(Self::Rtsp(source.to_owned())),
                _ => Err(Error::usage(format!(
                    "cannot read {scheme}:// addresses; pipe it: ffmpeg -i ADDRESS \
                     -f yuv4mpegpipe -pix_fmt yuv420p - | camlive run -"
                ))),
            };
        }
        Self::parse_path(Path::new(source))
    }

    fn parse_path(path: &Path) -> Result<Self> {
        let name = path.display();
        let failed = |e| Error::invalid(format!("{name}: cannot be read: {e}"));
        let metadata = match path.metadata() {
            Ok(metadata) => metadata,
            // A camera that is unplugged has no device; the camera's own error says more.
            Err(_) if path.starts_with("/dev") => {
                return Ok(Self::Camera(CameraSpec::Path(path.to_owned())));
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::usage(format!("{name}: no such file; {CHOICES}")));
            }
            Err(e) => return Err(failed(e)),
        };
        if metadata.is_dir() {
            Ok(Self::Stills(path.to_owned()))
        } else if is_device(&metadata) {
            Ok(Self::Camera(CameraSpec::Path(path.to_owned())))
        } else if !metadata.is_file() {
            Err(Error::usage(format!("{name}: not a file; {CHOICES}")))
        } else if metadata.len() == 0 {
            Err(Error::invalid(format!("{name}: the file is empty")))
        } else if is_photograph(path).map_err(failed)? {
            Ok(Self::Stills(path.to_owned()))
        } else {
            Ok(Self::Video(path.to_owned()))
        }
    }
}

#[cfg(unix)]
fn is_device(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::FileTypeExt;
    metadata.file_type().is_char_device()
}

#[cfg(not(unix))]
fn is_device(_: &std::fs::Metadata) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn words_numbers_and_addresses_name_their_source() {
        let camera = |c| Spec::Camera(c);
        for (source, spec) in [
            ("", camera(CameraSpec::First)),
            ("camera", camera(CameraSpec::First)),
            ("0", camera(CameraSpec::Index(0))),
            ("12", camera(CameraSpec::Index(12))),
            ("/dev/no-camera7", camera(CameraSpec::Path("/dev/no-camera7".into()))),
            ("demo", Spec::Demo),
            ("-", Spec::Stdin),
            ("rtsp://host/stream", Spec::Rtsp("rtsp://host/stream".into())),
        ] {
            assert_eq!(Spec::parse(source), Ok(spec), "{source:?}");
        }
    }

    #[test]
    fn a_name_that_is_no_source_is_bad_usage_and_the_line_lists_what_is() {
        for source in ["no-such-file.jpg", "http://host/x.mp4", "99999999999"] {
            let error = Spec::parse(source).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Usage, "{source}");
        }
        let line = Spec::parse("no-such-file.jpg").unwrap_err().to_string();
        for choice in ["camera", "/dev/video0", "demo", "folder", "video", "rtsp://", "`-`"] {
            assert!(line.contains(choice), "{choice} in {line}");
        }
    }

    #[test]
    fn files_are_told_apart_by_their_content() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        let parse = |path: &Path| Spec::parse(path.to_str().unwrap());
        let photo = file("photo.mp4", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR");
        assert_eq!(parse(&photo), Ok(Spec::Stills(photo.clone())));
        let video = file("video.jpg", b"YUV4MPEG2 W2 H2\n");
        assert_eq!(parse(&video), Ok(Spec::Video(video.clone())));
        assert_eq!(parse(folder.path()), Ok(Spec::Stills(folder.path().to_owned())));
        let empty = file("empty.jpg", b"");
        assert!(parse(&empty).unwrap_err().to_string().contains("is empty"));
    }
}
