//! The sum of two pictures.

use super::arithmetic::Adder;
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
}

impl Add {
    /// An addition.
    ///
    /// # Errors
    /// A scale that is not positive and finite or a million times the output's, or an empty clamp.
    pub fn new(spec: &AddSpec, isa: Isa) -> Result<Self, String> {
        isa.checked()?;
        Ok(Self { adder: Adder::new(spec)? })
    }

    /// Adds byte by byte.
    ///
    /// # Panics
    /// If the three buffers are not of one length.
    pub fn run(&self, first: &[u8], second: &[u8], output: &mut [u8]) {
        expect_len("second operand", second.len(), first.len());
        expect_len("output", output.len(), first.len());
        reference::add(&self.adder, first, second, output);
    }
}
