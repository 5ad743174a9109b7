//! One picture of a source.

use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::geometry::Size;

/// The largest picture that is accepted, in pixels: 64 Mpx, 192 MB as RGB. It bounds the memory
/// that a hostile header can ask for.
pub const MAX_PIXELS: u64 = 64 << 20;

/// A picture as interleaved 8-bit sRGB, rows from the top, without padding.
///
/// Frames are reused: a source fills the buffer of a frame that has made its way through the
/// pipeline, so that no frame is allocated once the largest size has been seen.
#[derive(Debug, Clone)]
pub struct Frame {
    /// `3 * width * height` bytes.
    pub rgb: Vec<u8>,
    pub size: Size,
    /// Counts every picture that the source produced, also those that were lost on the way:
    /// a gap is a loss.
    pub sequence: u64,
    /// When the light fell on the sensor, as near as the source can tell.
    pub captured: Instant,
    /// How long it took to make RGB of what the source delivered.
    pub decoding: Duration,
}

impl Frame {
    /// A frame without pixels, ready to be filled.
    pub fn empty() -> Self {
        Self {
            rgb: Vec::new(),
            size: Size::default(),
            sequence: 0,
            captured: Instant::now(),
            decoding: Duration::ZERO,
        }
    }

    /// Sets the size and makes room for the pixels; their content is unspecified.
    ///
    /// # Errors
    /// A side of 0, or more than [`MAX_PIXELS`].
    pub fn reshape(&mut self, size: Size) -> Result<()> {
        check_size(size)?;
        self.rgb.resize(3 * size.area() as usize, 0);
        self.size = size;
        Ok(())
    }
}

/// Refuses a picture without pixels or with more than [`MAX_PIXELS`].
///
/// # Errors
/// Says the size and the limit.
pub fn check_size(size: Size) -> Result<()> {
    if size.area() == 0 {
        return Err(Error::invalid(format!("the picture has no pixels ({size})")));
    }
    if size.area() > MAX_PIXELS {
        return Err(Error::invalid(format!(
            "the picture is too large ({size}); the limit is {} million pixels",
            MAX_PIXELS >> 20
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_without_pixels_or_beyond_the_limit_are_refused() {
        let mut frame = Frame::empty();
        assert!(frame.reshape(Size::new(0, 5)).is_err());
        assert!(frame.reshape(Size::new(u32::MAX, u32::MAX)).is_err());
        assert!(frame.rgb.is_empty());
        frame.reshape(Size::new(4, 2)).unwrap();
        assert_eq!(frame.rgb.len(), 24);
    }
}
