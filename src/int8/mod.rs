//! Quantized kernels: the operators of an int8 network, for several instruction sets.
//!
//! Every activation is a picture of unsigned bytes, channels last (NHWC), batch 1: the channels of a
//! pixel lie side by side, the pixels of a row one after the other. A byte `q` of a tensor stands
//! for the real number `scale * (q - zero_point)` ([`Quantization`]); a tensor of signed bytes is
//! the same tensor with 128 added to its bytes and to its zero point. Weights are signed bytes with
//! zero point 0 and one scale, or one scale an output channel. Biases are `i32` at the scale
//! `input scale * weight scale`.
//!
//! An operator is built once: `new` checks all that can be checked and packs the weights for one
//! [`Isa`]. It is run many times, by `&self` and without allocating in the steady state: scratch
//! memory belongs to the thread and only grows. `run` divides its work among the threads of
//! the [`Team`] that it is called in; outside of one it works alone.
//!
//! The results are those of ONNX Runtime with all its optimisations on x86 (AVX2 and FMA), bit for
//! bit, on every instruction set. Each operator states its equation. In them, `round` takes ties to
//! even, `clamp` is to the clamp of the operator, and arithmetic outside of sums of integers is in
//! `f32`.
//!
//! [`Isa::Scalar`] runs the naive definitions of the operators. They are what the tests compare
//! every instruction set against.

mod add;
mod arithmetic;
mod concat;
mod convolution;
mod dense;
mod fully_connected;
mod isa;
mod parallel;
mod pool;
mod quantize;
mod reference;
mod requantize;
mod separable;
mod team;
#[cfg(test)]
mod tests;
mod window;

pub use add::{Add, AddSpec};
pub use concat::Concat;
pub use convolution::{Convolution, ConvolutionSpec, Operand, Residual};
pub use fully_connected::{FullyConnected, FullyConnectedSpec};
pub use isa::Isa;
pub use pool::{AveragePool, GlobalAveragePool, MaxPool};
pub use quantize::Quantize;
pub use requantize::Requantize;
pub use separable::Separable;
pub use team::Team;
pub use window::Window;

/// How bytes stand for real numbers: `real = scale * (byte - zero_point)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quantization {
    /// The step between two bytes: positive and finite.
    pub scale: f32,
    /// The byte that stands for 0.
    pub zero_point: u8,
}

impl Quantization {
    fn check(&self, name: &str) -> Result<(), String> {
        if self.scale.is_finite() && self.scale > 0.0 {
            Ok(())
        } else {
            Err(format!("the scale of {name} is {}, not a positive number", self.scale))
        }
    }
}

/// The size of a picture of bytes, channels last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Rows.
    pub height: usize,
    /// Pixels of a row.
    pub width: usize,
    /// Bytes of a pixel.
    pub channels: usize,
}

impl Shape {
    /// The number of pixels.
    pub fn pixels(&self) -> usize {
        self.height * self.width
    }

    /// The number of bytes.
    pub fn len(&self) -> usize {
        self.pixels() * self.channels
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The bytes that an operator may put out: an activation function that only clips, as ReLU and
/// ReLU6 do, is a clamp of the quantized output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clamp {
    /// The lowest.
    pub low: u8,
    /// The highest; not less than `low`.
    pub high: u8,
}

impl Clamp {
    /// Every byte may come out.
    pub const NONE: Self = Self { low: 0, high: 255 };

    fn check(&self) -> Result<(), String> {
        if self.low <= self.high {
            Ok(())
        } else {
            Err(format!("the clamp {}..={} is empty", self.low, self.high))
        }
    }
}

/// Panics unless a buffer is as long as its picture.
#[track_caller]
fn expect_len(what: &str, actual: usize, expected: usize) {
    assert!(actual == expected, "the {what} holds {actual} values, not {expected}");
}
