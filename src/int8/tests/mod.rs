//! The reference against sums done by hand, and every instruction set against the reference.

mod by_hand;
mod convolutions;
mod expanded;
mod onnxruntime;
mod others;
mod random;
mod threads;
