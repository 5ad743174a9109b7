//! One JPEG a picture, as cameras send them.

use std::panic::{AssertUnwindSafe, catch_unwind};

use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

use crate::error::{Error, Result};
use crate::frame::{Frame, check_size};
use crate::geometry::Size;

/// The start of an AVI's JPEG. The decoder takes it as leave to use the Huffman tables of the JPEG
/// standard (ITU-T T.81, K.3.3) where the picture brings none.
const AVI: [u8; 11] = [0xff, 0xd8, 0xff, 0xe0, 0, 7, b'A', b'V', b'I', b'1', 0];

/// Decodes a camera's JPEGs, whole ones only. A picture may leave out its Huffman tables.
///
/// Bytes that were lost between a picture's start and its end marker are noticed only where they
/// break the Huffman code: otherwise the rest of that picture is wrong.
#[derive(Debug, Default)]
pub struct Mjpeg {
    /// A picture without Huffman tables, with [`AVI`] before it.
    completed: Vec<u8>,
}

impl Mjpeg {
    /// Fills `frame` from the JPEG at the start of `data`; what follows its end is ignored.
    ///
    /// # Errors
    /// `Skip` where the JPEG is broken or cut off, where it is neither grey nor three colours of
    /// 8 bits, and where its size is not `expected`.
    pub fn decode(&mut self, frame: &mut Frame, data: &[u8], expected: Option<Size>) -> Result<()> {
        let header = Header::read(data)
            .ok_or_else(|| Error::skip("a picture is not a JPEG that a camera may send"))?;
        if let Some(expected) = expected
            && header.size != expected
        {
            return Err(Error::skip(format!(
                "a picture is {} where {expected} was agreed",
                header.size
            )));
        }
        check_size(header.size).map_err(|e| Error::skip(e.to_string()))?;
        let end = data[header.scan..]
            .windows(2)
            .rposition(|marker| marker == [0xff, 0xd9])
            .ok_or_else(|| Error::skip("a JPEG is cut off"))?;
        let mut jpeg = &data[..header.scan + end + 2];
        if !header.huffman {
            self.completed.clear();
            self.completed.extend_from_slice(&AVI);
            self.completed.extend_from_slice(&jpeg[2..]);
            jpeg = &self.completed;
        }
        frame.reshape(header.size)?;
        let out = &mut frame.rgb;
        // Unwinding leaves nothing behind but bytes of the frame, which any values may have.
        match catch_unwind(AssertUnwindSafe(|| decode_into(jpeg, header.size, out))) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(reason)) => Err(Error::skip(format!("a JPEG is broken: {reason}"))),
            Err(_) => Err(Error::skip("a JPEG is broken: the decoder panicked")),
        }
    }
}

fn decode_into(jpeg: &[u8], size: Size, out: &mut [u8]) -> std::result::Result<(), String> {
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(size.width as usize)
        .set_max_height(size.height as usize)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(jpeg), options);
    decoder.decode_headers().map_err(|e| e.to_string())?;
    if decoder.output_buffer_size() != Some(out.len()) {
        return Err("its size is contradictory".into());
    }
    decoder.decode_into(out).map_err(|e| e.to_string())
}

/// What is known of a JPEG before it is decoded.
#[derive(Debug)]
struct Header {
    size: Size,
    /// Whether a Huffman table comes before the first scan.
    huffman: bool,
    /// Where the first scan's segment begins.
    scan: usize,
}

impl Header {
    /// Walks the segments up to the first scan; `None` unless they are those of a Huffman-coded
    /// JPEG (baseline, extended or progressive) of 8 bits with one or three components.
    fn read(data: &[u8]) -> Option<Self> {
        let mut size = None;
        let mut huffman = false;
        if data.get(..2)? != [0xff, 0xd8] {
            return None;
        }
        let mut at = 2;
        loop {
            if *data.get(at)? != 0xff {
                return None;
            }
            // A marker may be preceded by fill bytes.
            let marker = *data.get(at + 1)?;
            if marker == 0xff {
                at += 1;
                continue;
            }
            let length = usize::from(u16::from_be_bytes([*data.get(at + 2)?, *data.get(at + 3)?]));
            let segment = data.get(at + 4..at + 2 + length)?;
            match marker {
                0xc0..=0xc2 => {
                    let &[bits, h1, h0, w1, w0, components, ..] = segment else { return None };
                    if bits != 8 || !matches!(components, 1 | 3) || size.is_some() {
                        return None;
                    }
                    let side = |high, low| u32::from(u16::from_be_bytes([high, low]));
                    size = Some(Size::new(side(w1, w0), side(h1, h0)));
                }
                0xc4 => huffman = true,
                0xda => return Some(Self { size: size?, huffman, scan: at }),
                // Other frames, markers that stand alone, and the end.
                0xc3 | 0xc5..=0xcf | 0x00..=0x01 | 0xd0..=0xd9 => return None,
                _ => {}
            }
            at += 2 + length;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use image::codecs::jpeg::JpegEncoder;
    use image::{ExtendedColorType, ImageEncoder};
    use proptest::prelude::*;

    /// A smooth picture, so that JPEG changes it little.
    fn picture(size: Size) -> Vec<u8> {
        (0..size.height)
            .flat_map(|y| (0..size.width).map(move |x| (x, y)))
            .flat_map(|(x, y)| [4 * x as u8, 3 * y as u8, 200 - (x + y) as u8])
            .collect()
    }

    fn jpeg(size: Size) -> Vec<u8> {
        let mut bytes = Vec::new();
        JpegEncoder::new_with_quality(&mut bytes, 95)
            .write_image(&picture(size), size.width, size.height, ExtendedColorType::Rgb8)
            .unwrap();
        bytes
    }

    /// The same JPEG without its DHT segments.
    fn without_tables(jpeg: &[u8]) -> Vec<u8> {
        let mut short = jpeg[..2].to_vec();
        let mut at = 2;
        while jpeg[at + 1] != 0xda {
            let next = at + 2 + usize::from(u16::from_be_bytes([jpeg[at + 2], jpeg[at + 3]]));
            if jpeg[at + 1] != 0xc4 {
                short.extend_from_slice(&jpeg[at..next]);
            }
            at = next;
        }
        short.extend_from_slice(&jpeg[at..]);
        short
    }

    fn difference(a: &[u8], b: &[u8]) -> f64 {
        assert_eq!(a.len(), b.len());
        let sum: u64 = a.iter().zip(b).map(|(&a, &b)| u64::from(a.abs_diff(b))).sum();
        sum as f64 / a.len() as f64
    }

    const SIZE: Size = Size::new(37, 29);

    #[test]
    fn a_jpeg_becomes_its_picture() {
        let mut frame = Frame::empty();
        Mjpeg::default().decode(&mut frame, &jpeg(SIZE), Some(SIZE)).unwrap();
        assert_eq!(frame.size, SIZE);
        assert!(difference(&frame.rgb, &picture(SIZE)) < 4.0);
    }

    #[test]
    fn a_camera_may_leave_out_the_huffman_tables() {
        let (whole, short) = (jpeg(SIZE), without_tables(&jpeg(SIZE)));
        assert!(short.len() + 400 < whole.len());
        let (mut expected, mut got) = (Frame::empty(), Frame::empty());
        let mut mjpeg = Mjpeg::default();
        mjpeg.decode(&mut expected, &whole, None).unwrap();
        mjpeg.decode(&mut got, &short, None).unwrap();
        assert_eq!(got.rgb, expected.rgb);
    }

    #[test]
    fn a_grey_jpeg_becomes_grey_pixels() {
        let mut bytes = Vec::new();
        JpegEncoder::new(&mut bytes).write_image(&[90; 64], 8, 8, ExtendedColorType::L8).unwrap();
        let mut frame = Frame::empty();
        Mjpeg::default().decode(&mut frame, &bytes, None).unwrap();
        assert_eq!(frame.rgb.len(), 192);
        assert!(frame.rgb.iter().all(|&v| v.abs_diff(90) <= 1));
    }

    #[test]
    fn padding_after_the_end_is_ignored() {
        let mut bytes = jpeg(SIZE);
        bytes.extend_from_slice(&[0; 4096]);
        Mjpeg::default().decode(&mut Frame::empty(), &bytes, Some(SIZE)).unwrap();
    }

    #[test]
    fn a_truncated_jpeg_is_skipped_wherever_it_ends() {
        let (bytes, mut mjpeg, mut frame) = (jpeg(SIZE), Mjpeg::default(), Frame::empty());
        for length in 0..bytes.len() - 1 {
            let error = mjpeg.decode(&mut frame, &bytes[..length], None).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Skip);
        }
    }

    #[test]
    fn a_jpeg_of_another_size_than_agreed_is_skipped() {
        let error = Mjpeg::default()
            .decode(&mut Frame::empty(), &jpeg(SIZE), Some(Size::new(640, 480)))
            .unwrap_err();
        assert_eq!(error.to_string(), "a picture is 37x29 where 640x480 was agreed");
    }

    #[test]
    fn a_header_cannot_ask_for_more_memory_than_a_frame_may_have() {
        let mut bytes = jpeg(SIZE);
        let sof = bytes.windows(2).position(|m| m == [0xff, 0xc0]).unwrap();
        bytes[sof + 5..sof + 9].fill(0xff);
        let mut frame = Frame::empty();
        let error = Mjpeg::default().decode(&mut frame, &bytes, None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Skip);
        assert_eq!(frame.rgb.capacity(), 0);
    }

    proptest! {
        #[test]
        fn damage_never_panics_and_loses_at_most_the_picture(
            damage in prop::collection::vec((0usize..4000, any::<u8>()), 1..12),
        ) {
            let mut bytes = jpeg(SIZE);
            let length = bytes.len();
            for (at, value) in damage {
                bytes[at % length] = value;
            }
            let mut frame = Frame::empty();
            if let Err(error) = Mjpeg::default().decode(&mut frame, &bytes, Some(SIZE)) {
                prop_assert_eq!(error.kind(), ErrorKind::Skip);
            }
        }
    }
}
