//! The sum of two pictures.

use super::arithmetic::Adder;
use super::isa::{Kernel, Simd};
use super::{Clamp, Isa, Quantization, expect_len, reference};

/// What an [`Add`] adds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AddSpec {
    /// Of the first operand.
    pub first: Quantization,
    /// Of the second operand.
    pub second: Quantization,
    /// Of the sum.
    pub output: Quantization,
    /// The bytes that may come out.
    pub clamp: Clamp,
}

/// The sum of two pictures of one shape.
///
/// `y = clamp(round(fma(a, sa / sy, fma(b, sb / sy, zy - fma(sa / sy, za, sb / sy * zb)))))` for
/// operands `a`, `b` with scales `sa`, `sb` and zero points `za`, `zb`; `fma(x, y, z)` is
/// `x * y + z` rounded once. The operands do not commute in the last bit.
#[derive(Debug, Clone)]
pub struct Add {
    adder: Adder,
    isa: Isa,
}

impl Add {
    /// An addition.
    ///
    /// # Errors
    /// A scale that is not positive and finite or a million times the output's, or an empty clamp.
    pub fn new(spec: &AddSpec, isa: Isa) -> Result<Self, String> {
        Ok(Self { adder: Adder::new(spec)?, isa: isa.checked()? })
    }

    /// Adds byte by byte.
    ///
    /// # Panics
    /// If the three buffers are not of one length.
    pub fn run(&self, first: &[u8], second: &[u8], output: &mut [u8]) {
        expect_len("second operand", second.len(), first.len());
        expect_len("output", output.len(), first.len());
        match self.isa {
            Isa::Scalar => reference::add(&self.adder, first, second, output),
            isa => isa.run(Bytes { adder: self.adder, first, second, output }),
        }
    }
}

/// The bytes of an addition; the compiler vectorises it.
struct Bytes<'a> {
    adder: Adder,
    first: &'a [u8],
    second: &'a [u8],
    output: &'a mut [u8],
}

impl Kernel for Bytes<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for ((output, &first), &second) in self.output.iter_mut().zip(self.first).zip(self.second) {
            *output = self.adder.apply(first, second);
        }
    }
}
