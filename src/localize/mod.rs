//! From feature maps to boxes.

pub mod map;

use crate::geometry::{Point, Rect};

/// One thing that was found in a frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Detection {
    /// Index of the class in the network's labels.
    pub class: usize,
    /// Softmax score of the class, 0 to 1.
    pub score: f32,
    /// Where it is, in the frame's pixels.
    pub rect: Rect,
    /// Where its class activation map is highest, in the frame's pixels.
    pub peak: Point,
    /// The same number for the same thing from frame to frame.
    pub track: u64,
}

/// Which connected components of the thresholded map become boxes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boxes {
    /// The largest one.
    Largest,
    /// Every one.
    All,
}

/// What a user may change while frames are analysed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Fraction of the map's maximum from which on a place belongs to the thing, 0 to 1.
    pub threshold: f32,
    pub boxes: Boxes,
    /// Which of the localized classes has its map shown, counted from the highest score.
    pub shown: usize,
}
