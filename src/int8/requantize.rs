//! Bytes of one quantization to bytes of another.

use super::arithmetic::{dequantize, quantize};
use super::{Clamp, Quantization, expect_len};

/// Bytes of one quantization to bytes of another, by a table of 256 entries:
/// `y = clamp(round(sx * (x - zx) / sy) + zy)`. Between equal quantizations it only clamps, which
/// is a ReLU or any other clipping.
#[derive(Debug, Clone)]
pub struct Requantize {
    table: Box<[u8; 256]>,
}

impl Requantize {
    /// A requantization.
    ///
    /// # Errors
    /// A scale that is not positive and finite, or an empty clamp.
    pub fn new(from: Quantization, to: Quantization, clamp: Clamp) -> Result<Self, String> {
        from.check("the input")?;
        to.check("the output")?;
        clamp.check()?;
        let byte = |byte: usize| {
            if from == to {
                (byte as u8).clamp(clamp.low, clamp.high)
            } else {
                quantize(dequantize(byte as u8, from), to, clamp)
            }
        };
        Ok(Self { table: Box::new(std::array::from_fn(byte)) })
    }

    /// Requantizes byte by byte.
    ///
    /// # Panics
    /// If the buffers are not of one length.
    pub fn run(&self, input: &[u8], output: &mut [u8]) {
        expect_len("output", output.len(), input.len());
        for (output, &input) in output.iter_mut().zip(input) {
            *output = self.table[usize::from(input)];
        }
    }
}
