//! From a frame to what the network takes: stretched to its input size, normalized.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

use super::backend::{Takes, Values};
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
    options: ResizeOptions,
    resized: Image<'static>,
    format: Format,
    channels_last: bool,
    /// What a byte becomes, a channel of the network.
    numbers: [[f32; 256]; 3],
    bytes: [[u8; 256]; 3],
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
            resizer: Resizer::new(),
            // Bilinear, widened to the source's pixels where it shrinks: antialiased.
            options: ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear)),
            resized: Image::new(format.size.width, format.size.height, PixelType::U8x3),
            format,
            channels_last: takes.channels_last,
            numbers,
            bytes,
        }
    }

    pub(super) fn format(&self) -> &Format {
        &self.format
    }

    /// Stretches the whole frame to the input size.
    pub(super) fn resize(&mut self, frame: &Frame) -> Result<()> {
        ImageRef::new(frame.size.width, frame.size.height, &frame.rgb, PixelType::U8x3)
            .map_err(|error| error.to_string())
            .and_then(|source| {
                self.resizer
                    .resize(&source, &mut self.resized, &self.options)
                    .map_err(|error| error.to_string())
            })
            .map_err(|error| {
                Error::skip(format!("cannot resize a frame of {}: {error}", frame.size))
            })
    }

    /// Writes the resized picture, normalized, into `3 * width * height` values.
    pub(super) fn normalize(&self, tensor: &mut [f32]) {
        self.write(tensor, |c, byte| self.numbers[c][usize::from(byte)]);
    }

    /// Writes the resized picture, as pixels or quantized.
    pub(super) fn write_bytes(&self, tensor: &mut [u8]) {
        self.write(tensor, |c, byte| self.bytes[c][usize::from(byte)]);
    }

    fn write<T>(&self, tensor: &mut [T], value: impl Fn(usize, u8) -> T) {
        let pixels = self.resized.buffer().as_chunks::<3>().0;
        let source = if self.format.bgr { [2, 1, 0] } else { [0, 1, 2] };
        if self.channels_last {
            for (to, pixel) in tensor.as_chunks_mut::<3>().0.iter_mut().zip(pixels) {
                *to = std::array::from_fn(|c| value(c, pixel[source[c]]));
            }
        } else {
            for (c, plane) in tensor.chunks_exact_mut(pixels.len()).enumerate() {
                for (to, pixel) in plane.iter_mut().zip(pixels) {
                    *to = value(c, pixel[source[c]]);
                }
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
        preprocess.resize(frame).unwrap();
        preprocess.normalize(&mut tensor);
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
        preprocess.resize(&frame(size, &[255, 100, 3, 127, 150, 4])).unwrap();
        let mut bytes = [0; 6];
        preprocess.write_bytes(&mut bytes);
        assert_eq!(bytes, [164, 100, 255, 100, 164, 255]);
    }

    #[test]
    fn a_larger_frame_is_averaged_not_sampled() {
        let stripes: Vec<u8> = [[0; 3], [200; 3]].concat().repeat(16 * 32);
        let values = run(format(Size::new(4, 4)), NORMALIZED, &frame(Size::new(32, 32), &stripes));
        assert!(values[32..].iter().all(|v| (v - 100.0).abs() <= 8.0), "{values:?}");
    }

    #[test]
    fn a_frame_with_too_few_pixels_loses_only_itself() {
        let mut preprocess = Preprocess::new(format(Size::new(4, 4)), NORMALIZED);
        let error = preprocess.resize(&frame(Size::new(9, 9), &[0; 12])).unwrap_err();
        assert_eq!(error.kind(), crate::error::ErrorKind::Skip);
    }
}
