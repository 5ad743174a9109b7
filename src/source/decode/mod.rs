//! Pixels of cameras and videos to interleaved RGB.
//!
//! Every function fills a [`Frame`]'s pixels and size and leaves its time and number alone. Data
//! that is too short or broken is an error of the kind `Skip`: the next picture may be fine.

mod mjpeg;
mod packed;
mod yuv;

pub use mjpeg::Mjpeg;
pub use packed::{bgr3, grey, rgb3};
pub use yuv::{Coding, Plane, Range, nv12, planar, yuyv};

use crate::error::{Error, Result};
use crate::frame::Frame;
use crate::geometry::Size;

/// How a camera codes its pixels, from the cheapest to decode to the dearest; without colour last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PixelFormat {
    /// Red, green, blue: one byte each.
    Rgb3,
    /// Blue, green, red: one byte each.
    Bgr3,
    /// Y'CbCr 4:2:0: a plane of luma, then a plane of Cb and Cr in turn.
    Nv12,
    /// Y'CbCr 4:2:2: Y0 Cb Y1 Cr.
    Yuyv,
    /// One baseline JPEG a picture.
    Mjpeg,
    /// Luma alone.
    Grey,
}

impl PixelFormat {
    pub const ALL: [Self; 6] =
        [Self::Rgb3, Self::Bgr3, Self::Nv12, Self::Yuyv, Self::Mjpeg, Self::Grey];
}

impl std::fmt::Display for PixelFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Rgb3 => "RGB3",
            Self::Bgr3 => "BGR3",
            Self::Nv12 => "NV12",
            Self::Yuyv => "YUYV",
            Self::Mjpeg => "MJPEG",
            Self::Grey => "GREY",
        })
    }
}

/// What a camera says about the pictures that it delivers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Layout {
    pub format: PixelFormat,
    pub size: Size,
    /// Bytes from one row (of the first plane) to the next; 0 where rows follow each other without
    /// a gap. Has no meaning for MJPEG.
    pub stride: usize,
    /// Has a meaning for Y'CbCr only.
    pub coding: Coding,
}

/// Turns a camera's buffers into frames.
#[derive(Debug)]
pub struct Decoder {
    layout: Layout,
    mjpeg: Mjpeg,
}

impl Decoder {
    pub fn new(layout: Layout) -> Self {
        Self { layout, mjpeg: Mjpeg::default() }
    }

    /// Fills `frame` from one picture's bytes.
    ///
    /// # Errors
    /// `Skip` where the bytes are too few, broken, or a JPEG of another size than agreed.
    pub fn decode(&mut self, data: &[u8], frame: &mut Frame) -> Result<()> {
        let Layout { format, size, stride, coding } = self.layout;
        match format {
            PixelFormat::Rgb3 => rgb3(frame, size, data, stride),
            PixelFormat::Bgr3 => bgr3(frame, size, data, stride),
            PixelFormat::Nv12 => nv12(frame, size, data, stride, &coding),
            PixelFormat::Yuyv => yuyv(frame, size, data, stride, &coding),
            PixelFormat::Mjpeg => self.mjpeg.decode(frame, data, Some(size)),
            PixelFormat::Grey => grey(frame, size, data, stride),
        }
    }
}

/// The bytes from row to row that really hold a row of `row` bytes.
fn stride_of(stride: usize, row: usize) -> usize {
    if stride < row { row } else { stride }
}

/// Refuses fewer bytes than `rows` rows need.
fn check_length(data: &[u8], stride: usize, row: usize, rows: usize) -> Result<()> {
    let expected = stride.saturating_mul(rows.saturating_sub(1)).saturating_add(row);
    if data.len() < expected {
        return Err(Error::skip(format!(
            "a picture is short: {expected} bytes expected, {} came",
            data.len()
        )));
    }
    Ok(())
}
