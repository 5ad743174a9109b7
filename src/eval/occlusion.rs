//! Occlusion maps: how much a class's score falls where the picture is hidden.

use crate::error::Result;
use crate::frame::Frame;
use crate::localize::map::Map;
use crate::network::Network;
use crate::network::activations::Activations;

/// Rows and columns of places, at each of which the network runs once.
const SIDE: usize = 14;

/// What hides a place is so many times as wide and high as the distance between places.
const REACH: f32 = 3.5;

/// What hides it: the middle of the pixels' range.
const GREY: u8 = 127;

/// Computes occlusion maps: what a map is that needs no look into the network, only its score for a
/// class. It needs no gradients either, and so stands in for the paper's comparison with
/// back-propagation.
///
/// # Source
/// Zeiler and Fergus: Visualizing and Understanding Convolutional Networks, ECCV 2014, section 4.2.
#[derive(Debug, Clone)]
pub struct Occlusion {
    hidden: Frame,
    activations: Activations,
    map: Map,
}

impl Default for Occlusion {
    fn default() -> Self {
        Self { hidden: Frame::empty(), activations: Activations::default(), map: Map::default() }
    }
}

impl Occlusion {
    /// The map of `class`: by how much its logit falls below `logit`, that of the whole picture, when a
    /// grey rectangle of a quarter of the picture's width and height hides what is around each of
    /// 14x14 places.
    ///
    /// # Errors
    /// Where the network cannot be run.
    pub fn map(
        &mut self,
        network: &mut Network,
        frame: &Frame,
        class: usize,
        logit: f32,
    ) -> Result<&Map> {
        self.map.reset(SIDE, SIDE);
        self.hidden.clone_from(frame);
        let (width, height) = (frame.size.width as usize, frame.size.height as usize);
        for place in 0..SIDE * SIDE {
            let (columns, rows) = (span(place % SIDE, width), span(place / SIDE, height));
            let lines =
                rows.map(|y| 3 * (y * width + columns.start)..3 * (y * width + columns.end));
            lines.clone().for_each(|line| self.hidden.rgb[line].fill(GREY));
            network.prepare(&self.hidden)?;
            network.run(&mut self.activations)?;
            self.map.values[place] = logit - self.activations.logits[class];
            lines.for_each(|line| self.hidden.rgb[line.clone()].copy_from_slice(&frame.rgb[line]));
        }
        Ok(&self.map)
    }
}

/// The pixels around a place's middle, of so many a side.
fn span(place: usize, pixels: usize) -> std::ops::Range<usize> {
    let at = |place: f32| (place / SIDE as f32 * pixels as f32).round().max(0.0) as usize;
    let middle = place as f32 + 0.5;
    at(middle - REACH / 2.0)..at(middle + REACH / 2.0).min(pixels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hides_a_place_is_a_quarter_of_the_side_and_ends_at_the_border() {
        assert_eq!(span(7, 560), 230..370);
        assert_eq!(span(0, 560), 0..90);
        assert_eq!(span(13, 560), 470..560);
        assert_eq!(span(0, 1), 0..0);
    }
}
