//! The scalar arithmetic that all operators share.

use super::{AddSpec, Clamp, Quantization};

/// `round(clamp(accumulator * scale))` around a zero point.
#[derive(Debug, Clone)]
pub(super) struct Requantizer {
    /// One an output channel.
    pub scales: Vec<f32>,
    pub zero_point: u8,
    pub clamp: Clamp,
}

impl Requantizer {
    /// The byte of an accumulator of an output channel.
    #[inline(always)]
    pub fn apply(&self, accumulator: i32, channel: usize) -> u8 {
        requantize(accumulator, self.scales[channel], self.zero_point, self.clamp)
    }
}

/// `clamp(round(accumulator * scale) + zero_point)`.
#[inline(always)]
pub(super) fn requantize(accumulator: i32, scale: f32, zero_point: u8, clamp: Clamp) -> u8 {
    round_to_byte(accumulator as f32 * scale, zero_point, clamp)
}

/// `clamp(round(value) + zero_point)`; clamped before it is rounded, which comes to the same and
/// keeps the conversion in range. Not-a-number comes out as the lowest byte.
#[inline(always)]
pub(super) fn round_to_byte(value: f32, zero_point: u8, clamp: Clamp) -> u8 {
    let zero = i32::from(zero_point);
    let low = (i32::from(clamp.low) - zero) as f32;
    let high = (i32::from(clamp.high) - zero) as f32;
    (value.max(low).min(high).round_ties_even() as i32 + zero) as u8
}

/// `clamp(round(real / scale) + zero_point)`. It divides: a product with the reciprocal of the
/// scale rounds differently.
#[inline(always)]
pub(super) fn quantize(real: f32, to: Quantization, clamp: Clamp) -> u8 {
    round_to_byte(real / to.scale, to.zero_point, clamp)
}

/// `scale * (byte - zero_point)`.
#[inline(always)]
pub(super) fn dequantize(byte: u8, from: Quantization) -> f32 {
    from.scale * (i32::from(byte) - i32::from(from.zero_point)) as f32
}

/// The sum of two bytes of different quantizations, as `first * a + (second * b + c)`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Adder {
    pub first: f32,
    pub second: f32,
    pub constant: f32,
    pub clamp: Clamp,
}

impl Adder {
    pub fn new(spec: &AddSpec) -> Result<Self, String> {
        spec.first.check("the first operand")?;
        spec.second.check("the second operand")?;
        spec.output.check("the output")?;
        spec.clamp.check()?;
        let first = spec.first.scale / spec.output.scale;
        let second = spec.second.scale / spec.output.scale;
        // Of the ways to round this, the one of ONNX Runtime's AVX2 kernel, where the compiler
        // fuses the first product with the sum.
        let shift = first
            .mul_add(f32::from(spec.first.zero_point), second * f32::from(spec.second.zero_point));
        let constant = f32::from(spec.output.zero_point) - shift;
        // Within these limits no sum leaves the range of i32 on its way to a byte.
        let limit = 1e6;
        if first > limit || second > limit {
            return Err(format!(
                "the scales {} and {} of the operands are too large for the output scale {}",
                spec.first.scale, spec.second.scale, spec.output.scale
            ));
        }
        Ok(Self { first, second, constant, clamp: spec.clamp })
    }

    #[inline(always)]
    pub fn apply(&self, first: u8, second: u8) -> u8 {
        let sum = f32::from(second).mul_add(self.second, self.constant);
        let sum = f32::from(first).mul_add(self.first, sum);
        round_to_byte(sum, 0, self.clamp)
    }
}
