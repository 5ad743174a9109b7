//! Real numbers to bytes.

use super::arithmetic::quantize;
use super::isa::{Kernel, Simd};
use super::{Clamp, Isa, Quantization, expect_len, reference};

/// Real numbers to bytes: `y = clamp(round(x / scale) + zero_point)`, clamped to 0..=255.
/// Not-a-number becomes 0.
#[derive(Debug, Clone)]
pub struct Quantize {
    to: Quantization,
    isa: Isa,
}

impl Quantize {
    /// A quantization.
    ///
    /// # Errors
    /// A scale that is not positive and finite.
    pub fn new(to: Quantization, isa: Isa) -> Result<Self, String> {
        to.check("the output")?;
        Ok(Self { to, isa: isa.checked()? })
    }

    /// Quantizes number by number.
    ///
    /// # Panics
    /// If the buffers are not of one length.
    pub fn run(&self, input: &[f32], output: &mut [u8]) {
        expect_len("output", output.len(), input.len());
        match self.isa {
            Isa::Scalar => reference::quantize_all(self.to, input, output),
            isa => isa.run(Numbers { to: self.to, input, output }),
        }
    }
}

/// The numbers of a quantization; the compiler vectorises it.
struct Numbers<'a> {
    to: Quantization,
    input: &'a [f32],
    output: &'a mut [u8],
}

impl Kernel for Numbers<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for (output, &real) in self.output.iter_mut().zip(self.input) {
            *output = quantize(real, self.to, Clamp::NONE);
        }
    }
}
