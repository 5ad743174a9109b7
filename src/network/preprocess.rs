//! From a frame to what the network takes: stretched to its input size, normalized.

use super::backend::{Picture, Takes, Values};
use super::resize::{Pixel, Resizer};
use crate::error::{Error, Result};
use crate::frame::Frame;
use crate::geometry::Size;
use crate::int8::Quantization;

/// How a network wants its pixels.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Format {
    pub(super) size: Size,
    /// The first channel is blue.
    pub(super) bgr: bool,
    /// In the order of the network's channels: `(pixel - mean) / std`.
    pub(super) mean: [f32; 3],
    pub(super) std: [f32; 3],
}

/// Resizes frames and writes them as a network wants them.
#[derive(Debug)]
pub(super) struct Preprocess {
    resizer: Resizer,
    format: Format,
    channels_last: bool,
    /// What a byte becomes, a channel of the network.
    numbers: [[f32; 256]; 3],
    bytes: [[u8; 256]; 3],
    /// Every byte becomes itself.
    verbatim: bool,
}

impl Preprocess {
    /// For the input tensor of a network.
    pub(super) fn new(format: Format, takes: Takes) -> Self {
        let number = |c: usize, byte: usize| (byte as f32 - format.mean[c]) / format.std[c];
        let byte = |c: usize, byte: usize| match takes.values {
            Values::Quantized(Quantization { scale, zero_point }) => {
                let steps = (number(c, byte) / scale).round_ties_even() + f32::from(zero_point);
                steps.clamp(0.0, 255.0) as u8
            }
            Values::Pixels | Values::Normalized => byte as u8,
        };
        let numbers = std::array::from_fn(|c| std::array::from_fn(|pixel| number(c, pixel)));
        let bytes = std::array::from_fn(|c| std::array::from_fn(|pixel| byte(c, pixel)));
        Self {
            verbatim: bytes.iter().all(|bytes| bytes.iter().copied().eq(0..=255)),
            resizer: Resizer::new(format.size),
            format,
            channels_last: takes.channels_last,
            numbers,
            bytes,
        }
    }

    pub(super) fn format(&self) -> &Format {
        &self.format
    }

    /// Refuses a frame whose size and pixels do not agree.
    ///
    /// # Errors
    /// `Skip`: the next frame may be fine.
    pub(super) fn check(&self, frame: &Frame) -> Result<()> {
        let (size, bytes) = (frame.size, frame.rgb.len() as u64);
        if bytes == 0 || bytes != 3 * size.area() {
            return Err(Error::skip(format!("a frame of {size} came with {bytes} bytes")));
        }
        Ok(())
    }

    /// Stretches the whole of a frame that was checked, and writes its `3 * width * height` values.
    pub(super) fn write(&mut self, frame: &Frame, tensor: Picture) {
        let Self { resizer, format, channels_last, numbers, bytes, verbatim } = self;
        let layout = (&*format, *channels_last);
        match tensor {
            Picture::Bytes(tensor) => resizer.resize(&frame.rgb, frame.size, |y, row| {
                if *verbatim {
                    write_row(row, y, layout, |_, byte| byte, tensor);
                } else {
                    write_row(row, y, layout, |c, byte| bytes[c][usize::from(byte)], tensor);
                }
            }),
            Picture::Floats(tensor) => resizer.resize(&frame.rgb, frame.size, |y, row| {
                write_row(row, y, layout, |c, byte| numbers[c][usize::from(byte)], tensor);
            }),
        }
    }
}

/// Writes row `y` of a picture into a tensor of a format, whose channels may lie last; `value` tells what
/// a byte of a channel becomes.
fn write_row<T>(
    row: &[Pixel],
    y: usize,
    (format, channels_last): (&Format, bool),
    value: impl Fn(usize, u8) -> T,
    tensor: &mut [T],
) {
    let start = y * row.len();
    let values = row.iter().map(|&[red, green, blue, ..]| {
        let [first, last] = if format.bgr { [blue, red] } else { [red, blue] };
        [value(0, first), value(1, green), value(2, last)]
    });
    if channels_last {
        let to = &mut tensor.as_chunks_mut::<3>().0[start..];
        to.iter_mut().zip(values).for_each(|(to, values)| *to = values);
    } else {
        let area = format.size.area() as usize;
        for (i, values) in values.enumerate() {
            for (c, value) in values.into_iter().enumerate() {
                tensor[c * area + start + i] = value;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(size: Size, rgb: &[u8]) -> Frame {
        Frame { rgb: rgb.to_vec(), size, ..Frame::empty() }
    }

    fn format(size: Size) -> Format {
        let (mean, std) = ([127.0, 100.0, 0.0], [128.0, 50.0, 1.0]);
        Format { size, bgr: false, mean, std }
    }

    const NORMALIZED: Takes = Takes { values: Values::Normalized, channels_last: false };

    fn run(format: Format, takes: Takes, frame: &Frame) -> Vec<f32> {
        let mut tensor = vec![f32::NAN; 3 * format.size.area() as usize];
        let mut preprocess = Preprocess::new(format, takes);
        preprocess.write(frame, Picture::Floats(&mut tensor));
        tensor
    }

    #[test]
    fn a_frame_of_the_input_size_is_normalized_channel_by_channel() {
        let size = Size::new(2, 1);
        let frame = frame(size, &[255, 100, 3, 127, 150, 4]);
        assert_eq!(run(format(size), NORMALIZED, &frame), [1.0, 0.0, 0.0, 1.0, 3.0, 4.0]);
        let last = Takes { channels_last: true, ..NORMALIZED };
        assert_eq!(run(format(size), last, &frame), [1.0, 0.0, 3.0, 0.0, 1.0, 4.0]);
        let bgr = Format { bgr: true, ..format(size) };
        assert_eq!(
            run(bgr, NORMALIZED, &frame),
            [-124.0 / 128.0, -123.0 / 128.0, 0.0, 1.0, 255.0, 127.0]
        );
    }

    #[test]
    fn quantized_bytes_stand_for_normalized_pixels() {
        let size = Size::new(2, 1);
        let values = Values::Quantized(Quantization { scale: 1.0 / 64.0, zero_point: 100 });
        let mut preprocess = Preprocess::new(format(size), Takes { values, channels_last: true });
        let mut bytes = [0; 6];
        preprocess.write(&frame(size, &[255, 100, 3, 127, 150, 4]), Picture::Bytes(&mut bytes));
        assert_eq!(bytes, [164, 100, 255, 100, 164, 255]);
    }

    #[test]
    fn pixels_that_are_quantized_as_they_are_keep_their_bytes() {
        let size = Size::new(3, 1);
        let values = Values::Quantized(Quantization { scale: 1.0 / 128.0, zero_point: 127 });
        let run = |bgr, channels_last| {
            let format = Format { size, bgr, mean: [127.0; 3], std: [128.0; 3] };
            let mut preprocess = Preprocess::new(format, Takes { values, channels_last });
            let mut bytes = [0; 9];
            let frame = frame(size, &[0, 1, 2, 3, 254, 255, 6, 7, 8]);
            preprocess.write(&frame, Picture::Bytes(&mut bytes));
            bytes
        };
        assert_eq!(run(false, true), [0, 1, 2, 3, 254, 255, 6, 7, 8]);
        assert_eq!(run(true, true), [2, 1, 0, 255, 254, 3, 8, 7, 6]);
        assert_eq!(run(false, false), [0, 3, 6, 1, 254, 7, 2, 255, 8]);
    }

    #[test]
    fn a_larger_frame_is_averaged_not_sampled() {
        let stripes: Vec<u8> = [[0; 3], [200; 3]].concat().repeat(16 * 32);
        let values = run(format(Size::new(4, 4)), NORMALIZED, &frame(Size::new(32, 32), &stripes));
        assert!(values[32..].iter().all(|v| (v - 100.0).abs() <= 8.0), "{values:?}");
    }

    #[test]
    fn a_frame_with_too_few_pixels_loses_only_itself() {
        let preprocess = Preprocess::new(format(Size::new(4, 4)), NORMALIZED);
        let error = preprocess.check(&frame(Size::new(9, 9), &[0; 12])).unwrap_err();
        assert_eq!(error.kind(), crate::error::ErrorKind::Skip);
    }
}
