//! Finds things in a live camera picture with a network that was never shown a box.

#![deny(unsafe_code)]
#![warn(missing_debug_implementations)]

pub mod cli;
pub mod clock;
pub mod error;
pub mod frame;
pub mod geometry;
pub mod localize;
pub mod network;
pub mod pipeline;
pub mod source;
pub mod view;
