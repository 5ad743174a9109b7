//! Motion JPEG without a container: JPEG pictures one after the other.
//!
//! Source: ITU-T T.81, annex B (markers, segments, entropy-coded data).

use std::io::{BufRead, ErrorKind};

use crate::error::{Error, Result};

/// The largest picture that is accepted, in bytes.
pub const LARGEST_PICTURE: usize = 64 << 20;

/// What every picture begins with: the marker SOI.
pub const MAGIC: &[u8] = &[0xFF, SOI];

const TEM: u8 = 0x01;
const RST0: u8 = 0xD0;
const RST7: u8 = 0xD7;
const SOI: u8 = 0xD8;
const EOI: u8 = 0xD9;
const SOS: u8 = 0xDA;

/// Splits a byte stream into JPEG pictures.
///
/// Bytes between pictures are passed over. Segments are skipped by their length, so that a
/// thumbnail inside of one does not end the picture.
#[derive(Debug)]
pub struct Splitter<R> {
    input: R,
    /// The marker that began the next picture has been read already.
    begun: bool,
}

/// Why a picture ended before its EOI.
enum Cut {
    End,
    /// The next picture began within this one.
    Begun,
    Malformed(&'static str),
    Input(std::io::Error),
}

impl<R: BufRead> Splitter<R> {
    pub fn new(input: R) -> Self {
        Self { input, begun: false }
    }

    /// Puts the next picture, from SOI to EOI, into `picture`; `false` at the end of the stream.
    ///
    /// # Errors
    /// `Skip` where a picture is cut short, malformed or larger than [`LARGEST_PICTURE`]: the
    /// next call looks for the next one. `Invalid` where the input cannot be read.
    pub fn read_picture(&mut self, picture: &mut Vec<u8>) -> Result<bool> {
        picture.clear();
        match self.find_soi() {
            Ok(()) => picture.extend_from_slice(MAGIC),
            Err(Cut::Input(e)) => return Err(Error::invalid(format!("MJPEG: {e}"))),
            Err(_) => return Ok(false),
        }
        match self.read_segments(picture) {
            Ok(()) => Ok(true),
            Err(Cut::End) => Err(Error::skip("the last JPEG picture is cut short")),
            Err(Cut::Begun) => {
                self.begun = true;
                Err(Error::skip("a JPEG picture is cut short"))
            }
            Err(Cut::Malformed(how)) => Err(Error::skip(format!("broken JPEG picture: {how}"))),
            Err(Cut::Input(e)) => Err(Error::invalid(format!("MJPEG: {e}"))),
        }
    }

    /// Passes over everything up to and with the next SOI.
    fn find_soi(&mut self) -> std::result::Result<(), Cut> {
        if std::mem::take(&mut self.begun) {
            return Ok(());
        }
        let mut previous = 0;
        loop {
            let byte = self.byte()?;
            if previous == 0xFF && byte == SOI {
                return Ok(());
            }
            previous = byte;
        }
    }

    /// Copies what stands between SOI and EOI, and EOI itself.
    fn read_segments(&mut self, picture: &mut Vec<u8>) -> std::result::Result<(), Cut> {
        if self.byte()? != 0xFF {
            return Err(Cut::Malformed("no marker where one should be"));
        }
        loop {
            // 0xFF may be repeated before a marker.
            let mut marker = self.byte()?;
            while marker == 0xFF {
                marker = self.byte()?;
            }
            match marker {
                SOI => return Err(Cut::Begun),
                0x00 => return Err(Cut::Malformed("no marker where one should be")),
                _ => picture.extend_from_slice(&[0xFF, marker]),
            }
            match marker {
                EOI => return Ok(()),
                TEM | RST0..=RST7 => {}
                _ => self.copy_segment(picture)?,
            }
            if marker == SOS {
                self.copy_entropy_coded(picture)?;
            } else if self.byte()? != 0xFF {
                return Err(Cut::Malformed("no marker where one should be"));
            }
        }
    }

    /// Copies a segment's length and content.
    fn copy_segment(&mut self, picture: &mut Vec<u8>) -> std::result::Result<(), Cut> {
        let length = [self.byte()?, self.byte()?];
        picture.extend_from_slice(&length);
        let mut left = usize::from(u16::from_be_bytes(length))
            .checked_sub(2)
            .ok_or(Cut::Malformed("a segment's length is less than 2"))?;
        while left > 0 {
            let part = self.buffered()?;
            let part = &part[..part.len().min(left)];
            let copied = part.len();
            append(picture, part)?;
            self.input.consume(copied);
            left -= copied;
        }
        Ok(())
    }

    /// Copies entropy-coded data up to the marker that ends it; that marker's 0xFF is consumed and
    /// not copied.
    fn copy_entropy_coded(&mut self, picture: &mut Vec<u8>) -> std::result::Result<(), Cut> {
        loop {
            let part = self.buffered()?;
            match part.iter().position(|b| *b == 0xFF) {
                None => {
                    let copied = part.len();
                    append(picture, part)?;
                    self.input.consume(copied);
                }
                Some(at) => {
                    append(picture, &part[..at])?;
                    self.input.consume(at + 1);
                    match self.peek()? {
                        // A stuffed 0xFF of data, or a restart within it.
                        next @ (0x00 | RST0..=RST7) => {
                            append(picture, &[0xFF, next])?;
                            self.input.consume(1);
                        }
                        _ => return Ok(()),
                    }
                }
            }
        }
    }

    fn byte(&mut self) -> std::result::Result<u8, Cut> {
        let byte = self.peek()?;
        self.input.consume(1);
        Ok(byte)
    }

    fn peek(&mut self) -> std::result::Result<u8, Cut> {
        Ok(self.buffered()?[0])
    }

    /// What can be read at once: at least one byte.
    fn buffered(&mut self) -> std::result::Result<&[u8], Cut> {
        // Asked twice, because the borrow of a slice that is returned outlasts the loop.
        while let Err(e) = self.input.fill_buf() {
            if e.kind() != ErrorKind::Interrupted {
                return Err(Cut::Input(e));
            }
        }
        match self.input.fill_buf() {
            Ok([]) => Err(Cut::End),
            Ok(bytes) => Ok(bytes),
            Err(e) => Err(Cut::Input(e)),
        }
    }
}

fn append(picture: &mut Vec<u8>, bytes: &[u8]) -> std::result::Result<(), Cut> {
    if picture.len() + bytes.len() > LARGEST_PICTURE {
        return Err(Cut::Malformed("it is larger than 64 MiB"));
    }
    picture.extend_from_slice(bytes);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind as Kind;
    use proptest::prelude::*;
    use std::io::Read;

    /// A picture with a thumbnail's end marker in a segment, stuffed bytes and restarts in its
    /// data, fill bytes before a marker, and a second scan.
    const PICTURE: &[u8] = &[
        0xFF, 0xD8, 0xFF, 0xE1, 0, 8, 0xFF, 0xD8, 1, 2, 0xFF, 0xD9, 0xFF, 0xDA, 0, 3, 9, 1, 0xFF,
        0x00, 2, 0xFF, 0xD3, 3, 0xFF, 0xDA, 0, 2, 7, 0xFF, 0xD9,
    ];

    type Step = std::result::Result<Vec<u8>, Kind>;

    fn split(bytes: &[u8]) -> Vec<Step> {
        let mut splitter = Splitter::new(bytes);
        let mut picture = Vec::new();
        let mut steps = Vec::new();
        loop {
            match splitter.read_picture(&mut picture) {
                Ok(true) => steps.push(Ok(picture.clone())),
                Ok(false) => return steps,
                Err(e) => steps.push(Err(e.kind())),
            }
        }
    }

    #[test]
    fn pictures_are_whole_whatever_their_segments_hold_and_stands_between_them() {
        let stream = [b"\r\n--boundary", PICTURE, &[0; 7], PICTURE, b"end"].concat();
        assert_eq!(split(&stream), [Ok(PICTURE.to_vec()), Ok(PICTURE.to_vec())]);
    }

    #[test]
    fn the_size_of_the_readers_buffer_does_not_matter() {
        let stream = PICTURE.repeat(3);
        for size in 1..40 {
            let mut splitter = Splitter::new(std::io::BufReader::with_capacity(size, &stream[..]));
            let mut picture = Vec::new();
            for _ in 0..3 {
                assert!(splitter.read_picture(&mut picture).unwrap());
                assert_eq!(picture, PICTURE, "buffer of {size}");
            }
            assert!(!splitter.read_picture(&mut picture).unwrap());
        }
    }

    #[test]
    fn fill_bytes_before_a_marker_are_left_out() {
        let stream = [&PICTURE[..12], &[0xFF, 0xFF], &PICTURE[12..]].concat();
        assert_eq!(split(&stream), [Ok(PICTURE.to_vec())]);
    }

    #[test]
    fn a_picture_that_is_cut_off_by_the_next_is_skipped_and_the_next_is_whole() {
        // Cut within the entropy-coded data.
        let stream = [&PICTURE[..18], PICTURE].concat();
        assert_eq!(split(&stream), [Err(Kind::Skip), Ok(PICTURE.to_vec())]);
    }

    #[test]
    fn a_stream_that_ends_within_a_picture_says_so() {
        for length in 2..PICTURE.len() {
            assert_eq!(split(&PICTURE[..length]), [Err(Kind::Skip)], "{length} bytes");
        }
    }

    #[test]
    fn a_segment_without_a_length_is_skipped() {
        let stream = [&[0xFF, 0xD8, 0xFF, 0xE0, 0, 1], PICTURE].concat();
        assert_eq!(split(&stream), [Err(Kind::Skip), Ok(PICTURE.to_vec())]);
    }

    #[test]
    fn a_picture_without_an_end_does_not_fill_the_memory() {
        let start = &PICTURE[..18];
        let input = std::io::BufReader::new(Read::chain(start, std::io::repeat(1)));
        let mut picture = Vec::new();
        let error = Splitter::new(input).read_picture(&mut picture).unwrap_err();
        assert!(error.to_string().contains("64 MiB"), "{error}");
        assert!(picture.len() <= LARGEST_PICTURE);
    }

    proptest! {
        #[test]
        fn any_bytes_end_with_whole_pictures_or_errors(
            parts in prop::collection::vec(
                prop_oneof![Just(PICTURE.to_vec()), prop::collection::vec(any::<u8>(), 0..40)],
                0..8,
            ),
        ) {
            for picture in split(&parts.concat()).into_iter().flatten() {
                prop_assert!(picture.starts_with(MAGIC) && picture.ends_with(&[0xFF, EOI]));
            }
        }
    }
}
