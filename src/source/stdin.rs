//! Pictures on standard input: YUV4MPEG2 or MJPEG, told apart by how they begin.

use std::io::{self, BufRead, BufReader, Cursor, IsTerminal, Read};
use std::time::{Duration, Instant};

use super::decode::Mjpeg;
use super::mjpeg_stream::{self, Splitter};
use super::reader::{Keep, Pictures, Reader};
use super::y4m;
use super::{Pace, Source, Step};
use crate::error::{Error, Result};
use crate::frame::Frame;

/// Standard input, of which every picture is wanted.
#[derive(Debug)]
pub struct Stdin {
    reader: Reader,
}

impl Stdin {
    /// Waits until the stream has begun.
    ///
    /// # Errors
    /// `Usage` where standard input is a terminal; `Invalid` where it is neither YUV4MPEG2 nor
    /// MJPEG; `Gone` where nothing comes.
    pub fn open() -> Result<Self> {
        if io::stdin().is_terminal() {
            return Err(Error::usage(
                "standard input is a terminal; pipe a video into it: \
                 ffmpeg -i FILE -f yuv4mpegpipe -pix_fmt yuv420p - | camlive run -",
            ));
        }
        let reader = Reader::start(Keep::All, || pictures(BufReader::new(io::stdin())))
            .map_err(|e| e.within("standard input"))?;
        Ok(Self { reader })
    }
}

impl Source for Stdin {
    fn next(&mut self, frame: &mut Frame) -> Result<Step> {
        self.reader.next(frame).map_err(|e| e.within("standard input"))
    }

    fn pace(&self) -> Pace {
        Pace::Recorded(self.reader.interval())
    }

    fn describe(&self) -> String {
        format!("standard input, {}", self.reader.describe())
    }
}

/// The pictures of a stream of either kind.
///
/// # Errors
/// `Invalid` where it is of neither.
fn pictures(mut input: impl BufRead + Send + 'static) -> Result<Box<dyn Pictures>> {
    let mut start = Vec::new();
    (&mut input)
        .take(y4m::MAGIC.len() as u64)
        .read_to_end(&mut start)
        .map_err(|e| Error::invalid(format!("cannot be read: {e}")))?;
    let is_y4m = start == y4m::MAGIC;
    let is_mjpeg = start.starts_with(mjpeg_stream::MAGIC);
    let is_empty = start.is_empty();
    let input = Cursor::new(start).chain(input);
    if is_y4m {
        Ok(Box::new(y4m::Stream::open(input)?))
    } else if is_mjpeg {
        Ok(Box::new(MjpegStream {
            splitter: Splitter::new(input),
            jpeg: Vec::new(),
            decoder: Mjpeg::default(),
        }))
    } else if is_empty {
        Err(Error::invalid("empty; the program that should write a video wrote nothing"))
    } else {
        Err(Error::invalid(
            "neither YUV4MPEG2 nor MJPEG; write it with ffmpeg -f yuv4mpegpipe -pix_fmt yuv420p -",
        ))
    }
}

/// A stream of JPEGs, decoded.
#[derive(Debug)]
struct MjpegStream<R> {
    splitter: Splitter<R>,
    jpeg: Vec<u8>,
    decoder: Mjpeg,
}

impl<R: BufRead + Send> Pictures for MjpegStream<R> {
    fn read(&mut self, frame: &mut Frame) -> Result<bool> {
        if !self.splitter.read_picture(&mut self.jpeg)? {
            return Ok(false);
        }
        let arrived = Instant::now();
        frame.captured = arrived;
        self.decoder.decode(frame, &self.jpeg, None)?;
        frame.decoding = arrived.elapsed();
        Ok(true)
    }

    fn describe(&self) -> String {
        "MJPEG".into()
    }

    /// A stream of bare JPEGs does not say.
    fn interval(&self) -> Duration {
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Size;
    use image::codecs::jpeg::JpegEncoder;

    fn refusal(bytes: &'static [u8]) -> String {
        pictures(bytes).err().map(|e| e.to_string()).unwrap_or_default()
    }

    #[test]
    fn yuv4mpeg2_is_known_by_how_it_begins() {
        let mut pictures = pictures(&b"YUV4MPEG2 W2 H1 F25:1 Cmono\nFRAME\n\x10\xEB"[..]).unwrap();
        assert_eq!(pictures.interval(), Duration::from_millis(40));
        assert_eq!(pictures.describe(), "YUV4MPEG2 2x1 at 25 fps");
        let mut frame = Frame::empty();
        assert!(pictures.read(&mut frame).unwrap());
        assert_eq!(frame.rgb, [0, 0, 0, 255, 255, 255]);
        assert!(!pictures.read(&mut frame).unwrap());
    }

    #[test]
    fn mjpeg_is_known_by_how_it_begins_and_a_broken_picture_costs_no_other() {
        let mut jpeg = Vec::new();
        JpegEncoder::new(&mut jpeg)
            .encode(&[90; 192], 8, 8, image::ExtendedColorType::Rgb8)
            .unwrap();
        let stream = [&jpeg[..], &jpeg[..jpeg.len() - 2], &jpeg[..]].concat();
        let mut pictures = pictures(Cursor::new(stream)).unwrap();
        let mut frame = Frame::empty();
        assert!(pictures.read(&mut frame).unwrap());
        assert_eq!(frame.size, Size::new(8, 8));
        assert_eq!(pictures.read(&mut frame).unwrap_err().kind(), crate::error::ErrorKind::Skip);
        assert!(pictures.read(&mut frame).unwrap());
        assert!(!pictures.read(&mut frame).unwrap());
    }

    #[test]
    fn anything_else_is_refused_in_one_line_that_says_what_to_do() {
        assert!(refusal(b"").contains("empty"));
        for other in [&b"YUV4MPEG"[..], b"RIFF\0\0\0\0AVI ", b"\x89PNG\r\n\x1a\n..."] {
            assert!(refusal(other).contains("ffmpeg -f yuv4mpegpipe"));
        }
    }
}
