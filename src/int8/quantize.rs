//! Real numbers to bytes.

use super::{Isa, Quantization, expect_len, reference};

/// Real numbers to bytes: `y = clamp(round(x / scale) + zero_point)`, clamped to 0..=255.
/// Not-a-number becomes 0.
#[derive(Debug, Clone)]
pub struct Quantize {
    to: Quantization,
}

impl Quantize {
    /// A quantization.
    ///
    /// # Errors
    /// A scale that is not positive and finite.
    pub fn new(to: Quantization, isa: Isa) -> Result<Self, String> {
        to.check("the output")?;
        isa.checked()?;
        Ok(Self { to })
    }

    /// Quantizes number by number.
    ///
    /// # Panics
    /// If the buffers are not of one length.
    pub fn run(&self, input: &[f32], output: &mut [u8]) {
        expect_len("output", output.len(), input.len());
        reference::quantize_all(self.to, input, output);
    }
}
