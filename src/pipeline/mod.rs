//! Threads, hand-offs and timings.

use crate::frame::Frame;
use crate::localize::Detection;
use crate::localize::map::Map;

/// A frame together with what was found in it.
#[derive(Debug)]
pub struct Analysed {
    pub frame: Frame,
    /// From the highest score down.
    pub detections: Vec<Detection>,
    /// The class whose map is shown.
    pub shown: usize,
    /// Its class activation map, upsampled to the network's input grid; it spans the whole frame.
    pub heat: Map,
    /// Frames lost so far: not delivered, not readable, or overtaken by a newer one.
    pub dropped: u64,
}
