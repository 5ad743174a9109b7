//! Formats whose pixels are RGB or grey already.

use super::{check_length, stride_of};
use crate::error::Result;
use crate::frame::Frame;
use crate::geometry::Size;

/// Three bytes a pixel: red, green, blue.
///
/// # Errors
/// `Skip` where `data` is too short; a size that no frame may have.
pub fn rgb3(frame: &mut Frame, size: Size, data: &[u8], stride: usize) -> Result<()> {
    rows::<3>(frame, size, data, stride, |row, out| out.copy_from_slice(row))
}

/// Three bytes a pixel: blue, green, red.
///
/// # Errors
/// As [`rgb3`].
pub fn bgr3(frame: &mut Frame, size: Size, data: &[u8], stride: usize) -> Result<()> {
    rows::<3>(frame, size, data, stride, |row, out| {
        for (pixel, out) in row.as_chunks::<3>().0.iter().zip(out.as_chunks_mut::<3>().0) {
            *out = [pixel[2], pixel[1], pixel[0]];
        }
    })
}

/// One byte a pixel.
///
/// # Errors
/// As [`rgb3`].
pub fn grey(frame: &mut Frame, size: Size, data: &[u8], stride: usize) -> Result<()> {
    rows::<1>(frame, size, data, stride, |row, out| {
        for (&luma, out) in row.iter().zip(out.as_chunks_mut::<3>().0) {
            *out = [luma; 3];
        }
    })
}

/// Converts row by row, from `N` bytes a pixel.
fn rows<const N: usize>(
    frame: &mut Frame,
    size: Size,
    data: &[u8],
    stride: usize,
    convert: impl Fn(&[u8], &mut [u8]),
) -> Result<()> {
    frame.reshape(size)?;
    let (width, height) = (size.width as usize, size.height as usize);
    let stride = stride_of(stride, N * width);
    check_length(data, stride, N * width, height)?;
    for (row, out) in data.chunks(stride).zip(frame.rgb.chunks_exact_mut(3 * width)) {
        convert(&row[..N * width], out);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn rows_lose_their_padding() {
        let mut frame = Frame::empty();
        let data = [1, 2, 3, 4, 5, 6, 99, 99, 7, 8, 9, 10, 11, 12];
        rgb3(&mut frame, Size::new(2, 2), &data, 8).unwrap();
        assert_eq!(frame.rgb, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
        bgr3(&mut frame, Size::new(2, 2), &data, 8).unwrap();
        assert_eq!(frame.rgb, [3, 2, 1, 6, 5, 4, 9, 8, 7, 12, 11, 10]);
    }

    #[test]
    fn a_stride_of_zero_means_no_padding() {
        let mut frame = Frame::empty();
        grey(&mut frame, Size::new(1, 2), &[5, 6], 0).unwrap();
        assert_eq!(frame.rgb, [5, 5, 5, 6, 6, 6]);
    }

    #[test]
    fn a_short_buffer_names_both_lengths() {
        let error = rgb3(&mut Frame::empty(), Size::new(2, 2), &[0; 13], 8).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Skip);
        assert_eq!(error.to_string(), "a picture is short: 14 bytes expected, 13 came");
    }

    #[test]
    fn a_size_beyond_the_limit_is_refused_before_memory_is_asked_for() {
        assert!(grey(&mut Frame::empty(), Size::new(u32::MAX, u32::MAX), &[0; 9], 0).is_err());
    }
}
