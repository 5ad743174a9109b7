//! Class activation maps mixed into a picture.

use super::canvas::{Area, Canvas, Tint};
use super::colormap::Colormap;
use crate::localize::map::Map;

/// How opaque the hottest place is, of 255. The picture must shine through.
const OPACITY: f32 = 150.0;

/// The part of the maximum from which on the colours have their full opacity.
const FULL: f32 = 0.45;

/// What sampling a map on another grid needs, kept from picture to picture.
#[derive(Debug, Default)]
pub struct HeatPainter {
    /// For every column of the area: the map's column to its left, and how far beyond it is.
    columns: Vec<(usize, f32)>,
    /// Two rows of the map, sampled at the columns of the area.
    above: Vec<f32>,
    below: Vec<f32>,
    levels: Vec<u8>,
}

impl HeatPainter {
    /// Mixes a map that spans `area` into the picture there, sampled bilinearly and as a part of
    /// its maximum. Values of 0 and less leave the picture as it is; the higher a value the more
    /// it covers the picture, so that the colours show where the network looked and the rest
    /// stays natural.
    ///
    /// # Panics
    /// Where `area` reaches beyond the canvas.
    pub fn paint(&mut self, canvas: &mut Canvas, area: Area, map: &Map, colours: Colormap) {
        let maximum = map.highest();
        if maximum <= 0.0 || !maximum.is_finite() || area.width <= 0 || area.height <= 0 {
            return;
        }
        let Self { columns, above, below, levels } = self;
        let tints = tints(colours);
        columns.clear();
        columns.extend((0..area.width).map(|x| source(x, area.width, map.width)));
        let mut sampled = None;
        for y in 0..area.height {
            let (row, part) = source(y, area.height, map.height);
            if sampled != Some(row) {
                if row > 0 && sampled == Some(row - 1) {
                    std::mem::swap(above, below);
                } else {
                    sample(map, row, 255.0 / maximum, columns, above);
                }
                sample(map, row + 1, 255.0 / maximum, columns, below);
                sampled = Some(row);
            }
            levels.clear();
            // A cast from float saturates, and makes 0 of NaN.
            levels.extend(above.iter().zip(&*below).map(|(a, b)| (a + (b - a) * part + 0.5) as u8));
            let pixels = canvas.row_mut(area.y + y, area.x, area.right());
            for (pixel, &level) in pixels.iter_mut().zip(&*levels) {
                *pixel = tints[usize::from(level)].over(*pixel);
            }
        }
    }
}

/// Fills `to` with a row of the map times `factor`, at the given columns; below its last row the
/// map goes on unchanged, and so it does beyond its last column.
fn sample(map: &Map, row: usize, factor: f32, columns: &[(usize, f32)], to: &mut Vec<f32>) {
    let start = row.min(map.height - 1) * map.width;
    let row = &map.values[start..start + map.width];
    to.clear();
    to.extend(columns.iter().map(|&(left, part)| {
        let (a, b) = (row[left], row[(left + 1).min(row.len() - 1)]);
        (a + (b - a) * part) * factor
    }));
}

fn tints(colours: Colormap) -> [Tint; 256] {
    let mut level = 0.0;
    colours.colours().map(|colour| {
        let part = (level / 255.0 / FULL).min(1.0);
        level += 1.0;
        let opacity = (OPACITY * part * part * (3.0 - 2.0 * part)).round() as u8;
        Tint::new(colour, opacity)
    })
}

/// Where the centre of pixel `at` of `pixels` lies among the centres of `cells` that span the same
/// length: the cell before it, and the part of the way to the next one.
fn source(at: i32, pixels: i32, cells: usize) -> (usize, f32) {
    let position = (at as f32 + 0.5) * cells as f32 / pixels as f32 - 0.5;
    let position = position.clamp(0.0, (cells - 1) as f32);
    (position as usize, position.fract())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Size;

    fn painted(map: &Map, width: u32, height: u32) -> Vec<u32> {
        let mut canvas = Canvas::default();
        canvas.reshape(Size::new(width, height));
        let area = Area::new(0, 0, width as i32, height as i32);
        canvas.fill(area, 0x808080);
        HeatPainter::default().paint(&mut canvas, area, map, Colormap::Jet);
        canvas.pixels().to_vec()
    }

    #[test]
    fn cold_places_keep_the_picture_and_the_hottest_is_red() {
        let map = Map { width: 3, height: 1, values: vec![-5.0, 0.0, 2.0] };
        let pixels = painted(&map, 3, 1);
        assert_eq!(pixels[..2], [0x808080; 2]);
        let [_, r, g, b] = pixels[2].to_be_bytes();
        assert!(r == 0x80 && g < 0x40 && b < 0x40, "{:06x}", pixels[2]);
    }

    #[test]
    fn only_the_proportions_of_a_map_count() {
        let map = Map { width: 2, height: 2, values: vec![0.1, 0.2, 0.3, 0.4] };
        let larger = Map { values: map.values.iter().map(|v| v * 1024.0).collect(), ..map };
        assert_eq!(painted(&map, 16, 12), painted(&larger, 16, 12));
    }

    #[test]
    fn a_map_without_anything_positive_leaves_the_picture_alone() {
        for value in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            let map = Map { width: 2, height: 1, values: vec![value; 2] };
            assert_eq!(painted(&map, 4, 4), [0x808080; 16], "{value}");
        }
        assert_eq!(painted(&Map::default(), 4, 4), [0x808080; 16]);
    }

    #[test]
    fn every_pixel_has_the_colour_of_the_value_between_its_four_neighbours() {
        let values = (0..12).map(|i| [0.1, 0.9, 0.4, 0.7, 1.0][i % 5]).collect();
        let map = Map { width: 4, height: 3, values };
        let tints = tints(Colormap::Jet);
        for (width, height) in [(4, 3), (9, 17), (3, 2), (1, 1)] {
            let pixels = painted(&map, width, height);
            for (i, &pixel) in pixels.iter().enumerate() {
                let (x, y) = (i as i32 % width as i32, i as i32 / width as i32);
                let ((x, px), (y, py)) = (source(x, width as i32, 4), source(y, height as i32, 3));
                let at = |x: usize, y: usize| map.values[y.min(2) * 4 + x.min(3)];
                let value = (at(x, y) * (1.0 - px) + at(x + 1, y) * px) * (1.0 - py)
                    + (at(x, y + 1) * (1.0 - px) + at(x + 1, y + 1) * px) * py;
                let near = |level: f32| tints[level as usize].over(0x808080);
                let level = (255.0 * value).round();
                // Rounding may fall to either side.
                let allowed = [level - 1.0, level, (level + 1.0).min(255.0)].map(near);
                assert!(allowed.contains(&pixel), "{i} of {width}x{height}");
            }
        }
    }

    #[test]
    fn a_coarse_map_is_sampled_between_the_centres_of_its_cells() {
        assert_eq!(source(0, 8, 2), (0, 0.0));
        assert_eq!(source(3, 8, 2), (0, 0.375));
        assert_eq!(source(4, 8, 2), (0, 0.625));
        assert_eq!(source(7, 8, 2), (1, 0.0));
    }
}
