//! Score maps: what the measures of `wsolevaluation` are taken from.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use npyz::WriterBuilder;

use crate::error::{Error, Result};
use crate::geometry::{Rect, Size};
use crate::localize::map::Map;

/// Rows and columns of every score map; ground truth is scaled to them.
pub const SIDE: u32 = 224;

/// A map of a class, from 0 at its lowest to 1 at its highest place.
#[derive(Debug, Default)]
pub struct ScoreMap {
    /// `SIDE * SIDE` values, rows from the top.
    pub scores: Vec<f32>,
    /// The scores times 255, rounded down.
    pub bytes: Vec<u8>,
}

impl ScoreMap {
    /// Takes the values of `map`: less the lowest, and then divided by the highest. A map that is
    /// flat, or not of numbers, becomes 0 everywhere.
    ///
    /// # Panics
    /// Where the map has another size.
    pub fn fill(&mut self, map: &Map) {
        let side = SIDE as usize;
        assert!(map.width == side && map.height == side, "not a map of {SIDE}x{SIDE}");
        let mut range = [f32::INFINITY, f32::NEG_INFINITY];
        for &value in &map.values {
            range = [range[0].min(value), range[1].max(value)];
        }
        let [lowest, highest] = range;
        let span = highest - lowest;
        self.scores.clear();
        if span > 0.0 && span.is_finite() && !map.values.iter().any(|value| value.is_nan()) {
            self.scores.extend(map.values.iter().map(|value| (value - lowest) / span));
        } else {
            self.scores.resize(side * side, 0.0);
        }
        self.bytes.clear();
        self.bytes.extend(self.scores.iter().map(|&score| (f64::from(score) * 255.0) as u8));
    }

    /// Writes the scores as float32 `[rows, columns]`, and makes the folders they lie in.
    ///
    /// # Errors
    /// A folder or the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let write = || -> std::io::Result<()> {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            let mut file = BufWriter::new(File::create(path)?);
            let shape = [u64::from(SIDE); 2];
            let options = npyz::WriteOptions::new().default_dtype().shape(&shape);
            let mut writer = options.writer(&mut file).begin_nd()?;
            writer.extend(self.scores.iter().copied())?;
            writer.finish()?;
            file.flush()
        };
        write().map_err(|e| Error::invalid(format!("cannot write {}: {e}", path.display())))
    }
}

/// A box of a picture of `size` in the score map's grid: its first and its last pixel are scaled and
/// rounded down.
pub fn on_grid(rect: Rect, size: Size) -> Rect {
    let scaled =
        |pixel: u32, pixels: u32| (f64::from(pixel) * f64::from(SIDE) / f64::from(pixels)) as u32;
    Rect {
        x0: scaled(rect.x0, size.width),
        y0: scaled(rect.y0, size.height),
        x1: scaled(rect.x1.saturating_sub(1), size.width) + 1,
        y1: scaled(rect.y1.saturating_sub(1), size.height) + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: impl Fn(usize) -> f32) -> ScoreMap {
        let side = SIDE as usize;
        let values = (0..side * side).map(value).collect();
        let mut scores = ScoreMap::default();
        scores.fill(&Map { width: side, height: side, values });
        scores
    }

    #[test]
    fn scores_go_from_0_at_the_lowest_to_1_at_the_highest_place() {
        let map = of(|i| [-3.0, 1.0, 5.0][i.min(2)]);
        assert_eq!(map.scores[..4], [0.0, 0.5, 1.0, 1.0]);
        assert_eq!(map.bytes[..4], [0, 127, 255, 255]);
    }

    #[test]
    fn a_map_that_is_flat_or_not_of_numbers_is_0_everywhere() {
        for map in [
            of(|_| 7.0),
            of(|_| f32::NAN),
            of(|i| if i == 5 { f32::NAN } else { i as f32 }),
            of(|i| if i == 5 { f32::INFINITY } else { 0.0 }),
        ] {
            assert!(map.scores.iter().all(|&score| score == 0.0));
            assert!(map.bytes.iter().all(|&byte| byte == 0) && map.bytes.len() == map.scores.len());
        }
    }

    #[test]
    fn boxes_are_scaled_by_their_first_and_last_pixel() {
        // 1, 2 to 4, 3 of a picture of 10x20, both included.
        let rect = on_grid(Rect::new(1, 2, 5, 4), Size::new(10, 20));
        assert_eq!(rect, Rect::new(22, 22, 90, 34));
    }
}
