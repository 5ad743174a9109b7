//! From a frame to what the network takes: stretched to its input size, normalized.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

use crate::error::{Error, Result};
use crate::frame::Frame;
use crate::geometry::Size;

/// How a network wants its pixels.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Format {
    pub(super) size: Size,
    /// `[height, width, 3]`; else `[3, height, width]`.
    pub(super) channels_last: bool,
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
    /// What a byte becomes, a channel of the network.
    tables: [[f32; 256]; 3],
}

impl Preprocess {
    pub(super) fn new(format: Format) -> Self {
        let tables = std::array::from_fn(|c| {
            std::array::from_fn(|byte| (byte as f32 - format.mean[c]) / format.std[c])
        });
        Self {
            resizer: Resizer::new(),
            // Bilinear, widened to the source's pixels where it shrinks: antialiased.
            options: ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear)),
            resized: Image::new(format.size.width, format.size.height, PixelType::U8x3),
            format,
            tables,
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
        self.write(tensor, |c, byte| self.tables[c][usize::from(byte)]);
    }

    /// Writes the resized picture as bytes.
    pub(super) fn copy(&self, tensor: &mut [u8]) {
        self.write(tensor, |_, byte| byte);
    }

    fn write<T>(&self, tensor: &mut [T], value: impl Fn(usize, u8) -> T) {
        let pixels = self.resized.buffer().as_chunks::<3>().0;
        let source = if self.format.bgr { [2, 1, 0] } else { [0, 1, 2] };
        if self.format.channels_last {
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
        Format { size, channels_last: false, bgr: false, mean, std }
    }

    fn run(format: Format, frame: &Frame) -> Vec<f32> {
        let mut tensor = vec![f32::NAN; 3 * format.size.area() as usize];
        let mut preprocess = Preprocess::new(format);
        preprocess.resize(frame).unwrap();
        preprocess.normalize(&mut tensor);
        tensor
    }

    #[test]
    fn a_frame_of_the_input_size_is_normalized_channel_by_channel() {
        let size = Size::new(2, 1);
        let frame = frame(size, &[255, 100, 3, 127, 150, 4]);
        assert_eq!(run(format(size), &frame), [1.0, 0.0, 0.0, 1.0, 3.0, 4.0]);
        let last = Format { channels_last: true, ..format(size) };
        assert_eq!(run(last, &frame), [1.0, 0.0, 3.0, 0.0, 1.0, 4.0]);
        let bgr = Format { bgr: true, ..format(size) };
        assert_eq!(run(bgr, &frame), [-124.0 / 128.0, -123.0 / 128.0, 0.0, 1.0, 255.0, 127.0]);
    }

    #[test]
    fn a_larger_frame_is_averaged_not_sampled() {
        let stripes: Vec<u8> = [[0; 3], [200; 3]].concat().repeat(16 * 32);
        let values = run(format(Size::new(4, 4)), &frame(Size::new(32, 32), &stripes));
        assert!(values[32..].iter().all(|v| (v - 100.0).abs() <= 8.0), "{values:?}");
    }

    #[test]
    fn a_frame_with_too_few_pixels_loses_only_itself() {
        let mut preprocess = Preprocess::new(format(Size::new(4, 4)));
        let error = preprocess.resize(&frame(Size::new(9, 9), &[0; 12])).unwrap_err();
        assert_eq!(error.kind(), crate::error::ErrorKind::Skip);
    }
}
