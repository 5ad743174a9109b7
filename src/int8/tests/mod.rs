//! The reference against sums done by hand, and every instruction set against the reference.

mod by_hand;
mod convolutions;
mod onnxruntime;
mod others;
mod random;
mod separable;
mod threads;
