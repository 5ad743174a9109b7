//! The operators as they are defined, one output at a time: never optimised, so that they can be
//! read, and the oracle of every test of an instruction set.

use super::arithmetic::{Adder, Requantizer, dequantize, quantize, requantize, round_to_byte};
use super::{Clamp, Quantization, Shape, Window};

/// The weights and sizes of a convolution.
#[derive(Debug, Clone)]
pub(super) struct Filters {
    /// Output channel, input channel of the group, row, column.
    pub weights: Vec<i8>,
    pub bias: Vec<i32>,
    pub window: Window,
    pub groups: usize,
    /// Of the whole input.
    pub input_channels: usize,
    pub input_zero_point: u8,
}

impl Filters {
    pub fn output_channels(&self) -> usize {
        self.bias.len()
    }

    /// Input channels that an output channel sees.
    pub fn depth(&self) -> usize {
        self.input_channels / self.groups
    }

    fn accumulator(&self, input: &[u8], shape: Shape, place: [usize; 2], channel: usize) -> i32 {
        let depth = self.depth();
        let group = channel / (self.output_channels() / self.groups);
        let area = self.window.kernel[0] * self.window.kernel[1];
        let mut sum = i64::from(self.bias[channel]);
        self.window.taps(place, shape, |tap, pixel| {
            for i in 0..depth {
                let byte = input[pixel * self.input_channels + group * depth + i];
                let weight = self.weights[(channel * depth + i) * area + tap];
                sum += (i64::from(byte) - i64::from(self.input_zero_point)) * i64::from(weight);
            }
        });
        sum as i32
    }
}

pub(super) fn convolution(
    filters: &Filters,
    requantizer: &Requantizer,
    residual: Option<(&Adder, bool, &[u8])>,
    input: &[u8],
    shape: Shape,
    output: &mut [u8],
) {
    let [height, width] = filters.window.places(shape);
    let channels = filters.output_channels();
    for place in 0..height * width {
        for channel in 0..channels {
            let at = [place / width, place % width];
            let byte = requantizer.apply(filters.accumulator(input, shape, at, channel), channel);
            let to = place * channels + channel;
            output[to] = match residual {
                None => byte,
                Some((adder, true, other)) => adder.apply(byte, other[to]),
                Some((adder, false, other)) => adder.apply(other[to], byte),
            };
        }
    }
}

pub(super) fn fully_connected(
    weights: &[i8],
    bias: &[i32],
    scales: &[f32],
    zero_point: u8,
    input: &[u8],
    output: &mut [f32],
) {
    for (n, output) in output.iter_mut().enumerate() {
        let mut sum = i64::from(bias[n]);
        for (k, &byte) in input.iter().enumerate() {
            let weight = i64::from(weights[n * input.len() + k]);
            sum += (i64::from(byte) - i64::from(zero_point)) * weight;
        }
        let sum = sum as i32;
        *output = sum as f32 * scales[n];
    }
}

pub(super) fn add(adder: &Adder, first: &[u8], second: &[u8], output: &mut [u8]) {
    for i in 0..output.len() {
        output[i] = adder.apply(first[i], second[i]);
    }
}

pub(super) fn quantize_all(to: Quantization, input: &[f32], output: &mut [u8]) {
    for i in 0..output.len() {
        output[i] = quantize(input[i], to, Clamp::NONE);
    }
}

pub(super) fn average_pool(
    window: &Window,
    count_include_pad: bool,
    [from, to]: [Quantization; 2],
    input: &[u8],
    shape: Shape,
    output: &mut [u8],
) {
    let [height, width] = window.places(shape);
    let area = window.kernel[0] * window.kernel[1];
    for place in 0..height * width {
        for channel in 0..shape.channels {
            let (mut sum, mut count) = (0f32, 0);
            window.taps([place / width, place % width], shape, |_, pixel| {
                sum += dequantize(input[pixel * shape.channels + channel], from);
                count += 1;
            });
            let mean = sum / if count_include_pad { area } else { count } as f32;
            output[place * shape.channels + channel] = average_to_byte(mean, to);
        }
    }
}

/// Unlike elsewhere the zero point is added before rounding.
#[inline(always)]
pub(super) fn average_to_byte(mean: f32, to: Quantization) -> u8 {
    round_to_byte(mean / to.scale + f32::from(to.zero_point), 0, Clamp::NONE)
}

pub(super) fn max_pool(window: &Window, input: &[u8], shape: Shape, output: &mut [u8]) {
    let [height, width] = window.places(shape);
    for place in 0..height * width {
        for channel in 0..shape.channels {
            let mut maximum = 0;
            window.taps([place / width, place % width], shape, |_, pixel| {
                maximum = maximum.max(input[pixel * shape.channels + channel]);
            });
            output[place * shape.channels + channel] = maximum;
        }
    }
}

pub(super) fn global_average_pool(
    [from, to]: [Quantization; 2],
    input: &[u8],
    shape: Shape,
    output: &mut [u8],
) {
    let pixels = shape.pixels();
    let scale = from.scale / (to.scale * pixels as f32);
    for (channel, output) in output.iter_mut().enumerate() {
        let mut sum = 0;
        for pixel in 0..pixels {
            let byte = input[pixel * shape.channels + channel];
            sum += i32::from(byte) - i32::from(from.zero_point);
        }
        *output = requantize(sum, scale, to.zero_point, Clamp::NONE);
    }
}
