//! Photographs, folders and videos as files bring them, whole and hostile.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use camlive::error::{ErrorKind, Result};
use camlive::frame::Frame;
use camlive::geometry::Size;
use camlive::source::still::{Stills, photographs, read_photograph, read_stored};
use camlive::source::video::Video;
use camlive::source::{Pace, Source, Step};
use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, ExtendedColorType, ImageEncoder, ImageFormat, Rgb, RgbImage};
use tempfile::TempDir;

/// A folder for one test.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }
}

/// Red on the left half, blue on the right.
fn picture() -> DynamicImage {
    RgbImage::from_fn(48, 32, |x, _| Rgb(if x < 24 { [230, 20, 20] } else { [20, 20, 230] })).into()
}

fn encoded(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn jpeg() -> Vec<u8> {
    encoded(&picture(), ImageFormat::Jpeg)
}

fn png() -> Vec<u8> {
    encoded(&picture(), ImageFormat::Png)
}

fn read(path: &Path) -> Result<Frame> {
    let mut frame = Frame::empty();
    read_photograph(path, &mut frame).map(|()| frame)
}

/// The line that a photograph is refused with.
fn refusal(path: &Path) -> String {
    let error = read(path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let line = error.to_string();
    assert!(line.contains(path.file_name().unwrap().to_str().unwrap()), "{line}");
    assert!(!line.contains('\n') && line.len() < 400, "{line}");
    line
}

fn pixel(frame: &Frame, x: u32, y: u32) -> [u8; 3] {
    let at = 3 * (y * frame.size.width + x) as usize;
    [frame.rgb[at], frame.rgb[at + 1], frame.rgb[at + 2]]
}

/// The dominant colour of a pixel.
fn colour(frame: &Frame, x: u32, y: u32) -> &'static str {
    match pixel(frame, x, y) {
        [r, _, b] if r > 180 && b < 80 => "red",
        [r, _, b] if b > 180 && r < 80 => "blue",
        _ => "another",
    }
}

/// All steps of a source up to its end, without the waiting.
fn steps(source: &mut dyn Source) -> Vec<Result<Frame>> {
    let mut steps = Vec::new();
    loop {
        let mut frame = Frame::empty();
        match source.next(&mut frame) {
            Ok(Step::Frame) => steps.push(Ok(frame)),
            Ok(Step::Waiting) => {}
            Ok(Step::End) => return steps,
            Err(e) if e.kind() == ErrorKind::Skip => steps.push(Err(e)),
            Err(e) => {
                steps.push(Err(e));
                return steps;
            }
        }
    }
}

#[test]
fn a_photograph_is_read_by_its_content_whatever_its_name() {
    let folder = Folder::new();
    let formats = [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::Bmp, ImageFormat::WebP];
    for format in formats {
        let frame = read(&folder.file("photo.dat", &encoded(&picture(), format))).unwrap();
        assert_eq!(frame.size, Size::new(48, 32), "{format:?}");
        assert_eq!((colour(&frame, 4, 16), colour(&frame, 44, 16)), ("red", "blue"), "{format:?}");
    }
}

#[test]
fn grey_transparent_and_16_bit_photographs_become_8_bit_rgb() {
    let folder = Folder::new();
    for picture in [
        DynamicImage::from(picture().to_luma8()),
        picture().to_luma_alpha8().into(),
        picture().to_rgba8().into(),
        picture().to_luma16().into(),
        picture().to_rgb16().into(),
        picture().to_rgba16().into(),
    ] {
        let frame = read(&folder.file("photo.png", &encoded(&picture, ImageFormat::Png))).unwrap();
        let expected = picture.to_rgb8();
        assert_eq!(frame.rgb, expected.into_raw(), "{:?}", picture.color());
    }
}

#[test]
fn a_photograph_is_turned_upright_as_its_exif_orientation_says_unless_it_is_wanted_as_stored() {
    // TIFF, little endian, one entry: orientation 6, which is turned by 90 degrees clockwise.
    let exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0".to_vec();
    let mut bytes = Vec::new();
    let mut encoder = JpegEncoder::new(&mut bytes);
    encoder.set_exif_metadata(exif).unwrap();
    encoder.write_image(picture().as_bytes(), 48, 32, ExtendedColorType::Rgb8).unwrap();
    let folder = Folder::new();
    let path = folder.file("turned.jpg", &bytes);
    let mut frame = read(&path).unwrap();
    assert_eq!(frame.size, Size::new(32, 48));
    assert_eq!((colour(&frame, 16, 4), colour(&frame, 16, 44)), ("red", "blue"));
    read_stored(&path, &mut frame).unwrap();
    assert_eq!(frame.size, Size::new(48, 32));
}

#[test]
fn a_photograph_that_is_cut_short_anywhere_is_refused() {
    let folder = Folder::new();
    // A PNG's last chunk holds nothing: 12 bytes that nobody misses.
    for (name, bytes, missed) in [("cut.jpg", jpeg(), 0), ("cut.png", png(), 12)] {
        for length in (0..bytes.len() - missed).step_by(7) {
            refusal(&folder.file(name, &bytes[..length]));
        }
    }
}

#[test]
fn a_photograph_that_is_damaged_is_read_or_refused_but_never_worse() {
    let folder = Folder::new();
    for (name, bytes) in [("damaged.jpg", jpeg()), ("damaged.png", png())] {
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x55;
            let path = folder.file(name, &damaged);
            if read(&path).is_err() {
                refusal(&path);
            }
        }
    }
}

#[test]
fn a_png_with_a_damaged_chunk_is_refused() {
    let mut bytes = png();
    let data = bytes.windows(4).position(|name| name == b"IDAT").unwrap();
    bytes[data + 8] ^= 0xFF;
    assert!(refusal(&Folder::new().file("damaged.png", &bytes)).contains("Png"));
}

#[test]
fn a_header_that_asks_for_too_many_pixels_is_refused_by_its_size() {
    let folder = Folder::new();
    let mut bytes = png();
    bytes[16..24].copy_from_slice(&[0, 1, 0x86, 0xA0, 0, 1, 0x86, 0xA0]);
    let checksum = crc32(&bytes[12..29]).to_be_bytes();
    bytes[29..33].copy_from_slice(&checksum);
    assert!(refusal(&folder.file("huge.png", &bytes)).contains("100000x100000"));

    let mut bytes = jpeg();
    let frame = bytes.windows(2).position(|m| m == [0xFF, 0xC0]).unwrap();
    bytes[frame + 5..frame + 9].fill(0xFF);
    assert!(refusal(&folder.file("huge.jpg", &bytes)).contains("65535x65535"));
}

/// PNG's checksum (ISO 3309).
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc: u32, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 * (crc & 1)))
    })
}

#[test]
fn a_header_without_pixels_is_refused() {
    let folder = Folder::new();
    let mut bytes = png();
    bytes[16..20].fill(0);
    let checksum = crc32(&bytes[12..29]).to_be_bytes();
    bytes[29..33].copy_from_slice(&checksum);
    refusal(&folder.file("flat.png", &bytes));
    let mut bytes = jpeg();
    let frame = bytes.windows(2).position(|m| m == [0xFF, 0xC0]).unwrap();
    bytes[frame + 5..frame + 9].fill(0);
    refusal(&folder.file("flat.jpg", &bytes));
}

#[test]
fn what_is_no_file_or_no_picture_is_refused() {
    let folder = Folder::new();
    assert!(refusal(&folder.file("empty.jpg", b"")).contains("empty"));
    assert!(refusal(&folder.file("text.jpg", b"not a picture at all")).contains("convert it"));
    assert!(refusal(&folder.file("anim.gif", b"GIF89a\x01\0\x01\0\0\0\0;")).contains("Gif"));
    assert!(refusal(&folder.path().join("missing.jpg")).contains("cannot read"));
    fs::create_dir(folder.path().join("folder.jpg")).unwrap();
    assert!(refusal(&folder.path().join("folder.jpg")).contains("not a file"));
}

/// This file can be opened, even by root, but its first page can never be read.
#[cfg(target_os = "linux")]
#[test]
fn a_photograph_that_cannot_be_read_is_refused() {
    assert!(refusal(Path::new("/proc/self/mem")).contains("cannot"));
}

#[cfg(unix)]
#[test]
fn a_named_pipe_is_refused_without_waiting_for_a_writer() {
    let folder = Folder::new();
    let path = folder.path().join("pipe.jpg");
    if !Command::new("mkfifo").arg(&path).status().is_ok_and(|s| s.success()) {
        return common::skip("no mkfifo");
    }
    assert!(refusal(&path).contains("not a file"));
}

#[test]
fn a_folder_gives_its_photographs_by_name_and_leaves_out_the_rest() {
    let folder = Folder::new();
    let last = folder.file("c.jpg", &jpeg());
    let first = folder.file("a.jpg", &jpeg());
    let unnamed = folder.file("b", &png());
    folder.file("notes.txt", b"not a picture");
    fs::create_dir(folder.path().join("aa.jpg")).unwrap();
    assert_eq!(photographs(folder.path()).unwrap(), [first, unnamed, last]);
}

#[test]
fn a_broken_photograph_of_a_folder_is_skipped_by_name_and_counted() {
    let folder = Folder::new();
    folder.file("a.png", &png());
    folder.file("b.jpg", b"");
    folder.file("c.png", &png());
    let mut stills = Stills::open(folder.path()).unwrap();
    assert!(matches!(stills.pace(), Pace::Slides(shown) if shown > Duration::ZERO));
    let steps = steps(&mut stills);
    let [Ok(first), Err(broken), Ok(last)] = &steps[..] else { panic!("{steps:?}") };
    assert_eq!((first.sequence, last.sequence), (0, 2));
    assert_eq!(broken.kind(), ErrorKind::Skip);
    assert!(broken.to_string().contains("b.jpg"), "{broken}");
}

#[test]
fn one_photograph_is_shown_once_and_a_broken_one_is_an_error() {
    let folder = Folder::new();
    let mut stills = Stills::open(&folder.file("a.jpg", &jpeg())).unwrap();
    assert_eq!(steps(&mut stills).len(), 1);
    let mut stills = Stills::open(&folder.file("b.jpg", b"")).unwrap();
    assert_eq!(stills.next(&mut Frame::empty()).unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn a_folder_without_photographs_is_refused() {
    let folder = Folder::new();
    folder.file("notes.txt", b"not a picture");
    let line = Stills::open(folder.path()).unwrap_err().to_string();
    assert!(line.contains("no photographs"), "{line}");
}

/// Ten grey pictures that get brighter.
fn y4m(size: Size) -> Vec<u8> {
    let mut bytes =
        format!("YUV4MPEG2 W{} H{} F25:1 C420jpeg XCOLORRANGE=FULL\n", size.width, size.height)
            .into_bytes();
    for i in 0..10 {
        bytes.extend_from_slice(b"FRAME\n");
        bytes.extend(std::iter::repeat_n(20 * i, size.area() as usize));
        bytes.extend(std::iter::repeat_n(128, size.area() as usize / 2));
    }
    bytes
}

const SMALL: Size = Size::new(64, 48);

#[test]
fn a_yuv4mpeg2_file_is_read_without_ffmpeg_and_loses_no_picture() {
    let folder = Folder::new();
    let mut video = Video::open_file(&folder.file("video.y4m", &y4m(SMALL))).unwrap();
    assert_eq!(video.pace(), Pace::Recorded(Duration::from_millis(40)));
    assert!(video.describe().contains("64x48"), "{}", video.describe());
    let frames: Vec<Frame> = steps(&mut video).into_iter().map(Result::unwrap).collect();
    let brightness: Vec<u8> = frames.iter().map(|f| f.rgb[0]).collect();
    assert_eq!(brightness, [0, 20, 40, 60, 80, 100, 120, 140, 160, 180]);
    assert!(frames.iter().enumerate().all(|(i, f)| f.sequence == i as u64));
}

#[test]
fn a_yuv4mpeg2_file_that_is_cut_short_gives_its_whole_pictures_and_says_so() {
    let folder = Folder::new();
    let bytes = y4m(SMALL);
    let mut video = Video::open_file(&folder.file("cut.y4m", &bytes[..bytes.len() - 1])).unwrap();
    let steps = steps(&mut video);
    assert!(steps.len() == 10 && steps[..9].iter().all(Result::is_ok));
    let cut = steps[9].as_ref().unwrap_err();
    assert!(cut.to_string().contains("cut.y4m") && cut.to_string().contains("cut short"), "{cut}");
}

fn has_ffmpeg() -> bool {
    let runs = Command::new("ffmpeg").arg("-version").stdout(Stdio::null()).status().is_ok();
    if !runs {
        common::skip("no ffmpeg");
    }
    runs
}

/// The same ten pictures in an MP4.
fn encoded_video(folder: &Folder, name: &str, size: Size) -> PathBuf {
    let source = folder.file("source.y4m", &y4m(size));
    let path = folder.path().join(name);
    let mut output = std::ffi::OsString::from("file:");
    output.push(&path);
    let encoded = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-y", "-i"])
        .arg(source)
        .args(["-c:v", "mpeg4", "-q:v", "2", "-f", "mp4"])
        .arg(output)
        .status();
    assert!(encoded.unwrap().success());
    path
}

#[test]
fn ffmpeg_reads_a_video_whatever_its_name_and_loses_no_picture() {
    if !has_ffmpeg() {
        return;
    }
    let folder = Folder::new();
    for name in ["video.mp4", "-i.jpg", "a:b %d.txt"] {
        let mut video = Video::open_file(&encoded_video(&folder, name, SMALL)).unwrap();
        assert_eq!(video.pace(), Pace::Recorded(Duration::from_millis(40)));
        let frames: Vec<Frame> = steps(&mut video).into_iter().map(Result::unwrap).collect();
        assert_eq!(frames.len(), 10, "{name}");
        assert!(frames.windows(2).all(|pair| pair[0].rgb[0] < pair[1].rgb[0]), "{name}");
    }
}

#[test]
fn a_file_that_ffmpeg_does_not_understand_is_refused_in_its_words() {
    if !has_ffmpeg() {
        return;
    }
    let path = Folder::new();
    let path = path.file("notes.txt", b"not a video at all");
    let error = Video::open_file(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let line = error.to_string();
    assert!(line.contains("notes.txt") && line.contains("Invalid data"), "{line}");
}

#[test]
fn a_network_camera_that_cannot_be_reached_may_come_back_and_its_password_is_not_shown() {
    if !has_ffmpeg() {
        return;
    }
    // Nothing listens on port 1.
    let error = Video::open_rtsp("rtsp://user:secret@127.0.0.1:1/stream").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Gone);
    let line = error.to_string();
    assert!(line.contains("127.0.0.1:1/stream") && line.contains("refused"), "{line}");
    assert!(!line.contains("secret"), "{line}");
}

#[cfg(target_os = "linux")]
#[test]
fn an_ffmpeg_whose_video_is_dropped_half_way_leaves_no_process() {
    if !has_ffmpeg() {
        return;
    }
    let folder = Folder::new();
    // Pictures that the pipe and the buffers cannot hold all.
    let path = encoded_video(&folder, "dropped.mp4", Size::new(640, 480));
    let mut video = Video::open_file(&path).unwrap();
    while video.next(&mut Frame::empty()).unwrap() != Step::Frame {}
    let child = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .map(|process| process.path())
        .find(|process| {
            let line = fs::read(process.join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(path.to_str().unwrap())
        })
        .expect("a running ffmpeg");
    drop(video);
    assert!(!child.exists());
}
