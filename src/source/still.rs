//! Photographs: one file, or those of a folder.

use std::fs::File;
use std::io::{Cursor, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};

use super::mjpeg_stream::Splitter;
use super::{Pace, Source, Step};
use crate::error::{Error, Result};
use crate::frame::{Frame, MAX_PIXELS, check_size};
use crate::geometry::Size;

/// How long each photograph of a folder is shown.
const SHOWN: Duration = Duration::from_secs(2);

/// The largest file that is read. It bounds the memory beside that of the pixels.
const LARGEST_FILE: u64 = 256 << 20;

/// One photograph, or the photographs of a folder in the order of their names.
#[derive(Debug)]
pub struct Stills {
    path: PathBuf,
    photographs: Vec<PathBuf>,
    is_folder: bool,
    next: usize,
}

impl Stills {
    /// Looks what there is; the photographs are read one by one later.
    ///
    /// # Errors
    /// `Invalid` where the path cannot be read, or is a folder without photographs.
    pub fn open(path: &Path) -> Result<Self> {
        let is_folder = path.is_dir();
        let photographs = if is_folder { photographs(path)? } else { vec![path.to_owned()] };
        Ok(Self { path: path.to_owned(), photographs, is_folder, next: 0 })
    }
}

impl Source for Stills {
    fn next(&mut self, frame: &mut Frame) -> Result<Step> {
        let Some(path) = self.photographs.get(self.next) else { return Ok(Step::End) };
        frame.sequence = self.next as u64;
        self.next += 1;
        match read_photograph(path, frame) {
            Ok(()) => Ok(Step::Frame),
            Err(e) if self.is_folder => Err(Error::skip(e.to_string())),
            Err(e) => Err(e),
        }
    }

    fn pace(&self) -> Pace {
        Pace::Slides(SHOWN)
    }

    fn describe(&self) -> String {
        let name = self.path.display();
        match self.photographs.len() {
            _ if !self.is_folder => format!("photograph {name}"),
            1 => format!("folder {name}, 1 photograph"),
            n => format!("folder {name}, {n} photographs"),
        }
    }
}

/// The photographs of a folder, sorted by name: the files that begin as a picture does, and those
/// that are named as one. Folders within it are left out.
///
/// # Errors
/// `Invalid` where the folder cannot be read or there is none.
pub fn photographs(folder: &Path) -> Result<Vec<PathBuf>> {
    let unreadable =
        |e| Error::invalid(format!("{}: cannot read the folder: {e}", folder.display()));
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let named = ImageFormat::from_path(&path).is_ok();
        if path.is_file() && (named || is_photograph(&path).unwrap_or(false)) {
            found.push(path);
        }
    }
    if found.is_empty() {
        return Err(Error::invalid(format!(
            "{}: no photographs in this folder; put JPEG, PNG, WebP or BMP files there",
            folder.display()
        )));
    }
    found.sort();
    Ok(found)
}

/// Whether the file begins as a picture does, whatever its name.
///
/// # Errors
/// As reading a file.
pub fn is_photograph(path: &Path) -> std::io::Result<bool> {
    let mut start = Vec::new();
    File::open(path)?.take(16).read_to_end(&mut start)?;
    Ok(image::guess_format(&start).is_ok())
}

/// Reads a photograph, upright as its EXIF orientation says. Transparency is left out.
///
/// # Errors
/// `Invalid`, and names the file, where it cannot be read, is no picture, is cut short or broken,
/// or has more than [`MAX_PIXELS`].
pub fn read_photograph(path: &Path, frame: &mut Frame) -> Result<()> {
    read(path, Turn::Upright, frame)
}

/// Reads a photograph as its pixels are stored, whatever its EXIF orientation: what data sets
/// annotate.
///
/// # Errors
/// As [`read_photograph`].
pub fn read_stored(path: &Path, frame: &mut Frame) -> Result<()> {
    read(path, Turn::AsStored, frame)
}

/// Whether a picture is turned as its EXIF orientation says.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Turn {
    Upright,
    AsStored,
}

fn read(path: &Path, turn: Turn, frame: &mut Frame) -> Result<()> {
    let bytes = read_file(path)?;
    let start = Instant::now();
    let picture =
        decode(bytes, turn).map_err(|e| Error::invalid(format!("{}: {e}", path.display())))?;
    let size = Size::new(picture.width(), picture.height());
    frame.rgb = picture.into_rgb8().into_raw();
    frame.size = size;
    frame.captured = Instant::now();
    frame.decoding = start.elapsed();
    Ok(())
}

fn read_file(path: &Path) -> Result<Vec<u8>> {
    let failed = |e| Error::invalid(format!("{}: cannot read the file: {e}", path.display()));
    // Asked before opening, which would wait for ever at a named pipe.
    let metadata = path.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(Error::invalid(format!("{}: not a file", path.display())));
    }
    if metadata.len() > LARGEST_FILE {
        return Err(Error::invalid(format!(
            "{}: the file is too large ({} MiB); the limit is {} MiB",
            path.display(),
            metadata.len() >> 20,
            LARGEST_FILE >> 20
        )));
    }
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LARGEST_FILE).read_to_end(&mut bytes))
        .map_err(failed)?;
    Ok(bytes)
}

/// Decodes and turns a picture; errors do not name it.
fn decode(bytes: Vec<u8>, turn: Turn) -> Result<DynamicImage> {
    if bytes.is_empty() {
        return Err(Error::invalid("the file is empty"));
    }
    let format = image::guess_format(&bytes).map_err(|_| {
        Error::invalid("not a picture that can be read; convert it to JPEG, PNG, WebP or BMP")
    })?;
    // The decoder fills what is missing with grey and says nothing.
    if format == ImageFormat::Jpeg && !Splitter::new(&bytes[..]).read_picture(&mut Vec::new())? {
        return Err(Error::invalid("the JPEG is cut short"));
    }
    // A decoder's bug on a hostile file must not end the program.
    catch_unwind(AssertUnwindSafe(|| decode_as(format, bytes, turn)))
        .unwrap_or_else(|_| Err(Error::invalid(format!("broken {format:?} picture"))))
}

fn decode_as(format: ImageFormat, bytes: Vec<u8>, turn: Turn) -> Result<DynamicImage> {
    let broken = |e: ImageError| match e {
        ImageError::Unsupported(_) => Error::invalid(format!(
            "cannot read {format:?} pictures of this kind; convert it to JPEG or PNG"
        )),
        e => Error::invalid(format!("broken {format:?} picture: {e}")),
    };
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::default();
    // Up to four channels of 16 bits.
    limits.max_alloc = Some(8 * MAX_PIXELS);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(broken)?;
    let (width, height) = decoder.dimensions();
    check_size(Size::new(width, height))?;
    let orientation = decoder.orientation().map_err(broken)?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(broken)?;
    if turn == Turn::Upright {
        picture.apply_orientation(orientation);
    }
    Ok(picture)
}
