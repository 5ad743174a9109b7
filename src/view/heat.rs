//! Class activation maps mixed into a picture.

use super::canvas::{Area, Canvas};
use super::colormap::Colormap;
use crate::localize::map::Map;

/// How opaque the hottest place is, of 255. The picture must shine through.
const OPACITY: f32 = 190.0;

/// The part of the maximum from which on the colours have their full opacity.
const FULL: f32 = 0.55;

/// What sampling a map on another grid needs, kept from picture to picture.
#[derive(Debug, Default)]
pub struct HeatPainter {
    /// For every column of the area: the map's column to its left, and how far beyond it is.
    columns: Vec<(usize, f32)>,
    /// One row of the map, interpolated between two of its rows.
    row: Vec<f32>,
}

impl HeatPainter {
    /// Mixes a map that spans `area` into the picture there, sampled bilinearly and as a part of
    /// its maximum. Values of 0 and less leave the picture as it is; the higher a value the more
    /// it covers the picture, so that the colours show where the network looked and the rest
    /// stays natural.
    pub fn paint(&mut self, canvas: &mut Canvas, area: Area, map: &Map, colours: Colormap) {
        let maximum = map.values.iter().copied().fold(0.0, f32::max);
        if maximum <= 0.0 || !maximum.is_finite() || area.width <= 0 || area.height <= 0 {
            return;
        }
        let tints = tints(colours);
        let levels = 255.0 / maximum;
        self.columns.clear();
        self.columns.extend((0..area.width).map(|x| source(x, area.width, map.width)));
        for y in 0..area.height {
            let (above, part) = source(y, area.height, map.height);
            let below = (above + 1).min(map.height - 1);
            let [above, below] =
                [above, below].map(|y| &map.values[y * map.width..(y + 1) * map.width]);
            self.row.clear();
            self.row.extend(above.iter().zip(below).map(|(a, b)| (a + (b - a) * part) * levels));
            // The last column has itself as its neighbour.
            self.row.push(self.row[map.width - 1]);
            let pixels = canvas.row_mut(area.y + y, area.x, area.right());
            for (pixel, &(left, part)) in pixels.iter_mut().zip(&self.columns) {
                let (a, b) = (self.row[left], self.row[left + 1]);
                // A cast from float saturates, and makes 0 of NaN.
                let level = (a + (b - a) * part + 0.5) as u8;
                *pixel = tints[usize::from(level)].over(*pixel);
            }
        }
    }
}

/// A colour multiplied by its opacity, and what is left for the picture, both of 255.
#[derive(Clone, Copy)]
struct Tint {
    colour: [u32; 3],
    rest: u32,
}

impl Tint {
    fn over(self, pixel: u32) -> u32 {
        let [r, g, b] = self.colour;
        let mixed = |colour: u32, shift: u32| {
            (colour + (pixel >> shift & 0xff) * self.rest + 127) / 255 << shift
        };
        mixed(r, 16) | mixed(g, 8) | mixed(b, 0)
    }
}

fn tints(colours: Colormap) -> [Tint; 256] {
    let mut level = 0.0;
    colours.colours().map(|colour| {
        let part = (level / 255.0 / FULL).min(1.0);
        level += 1.0;
        let opacity = (OPACITY * part * part * (3.0 - 2.0 * part)).round() as u32;
        let [_, r, g, b] = colour.to_be_bytes();
        Tint { colour: [r, g, b].map(|c| u32::from(c) * opacity), rest: 255 - opacity }
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
    fn a_coarse_map_is_sampled_between_the_centres_of_its_cells() {
        assert_eq!(source(0, 8, 2), (0, 0.0));
        assert_eq!(source(3, 8, 2), (0, 0.375));
        assert_eq!(source(4, 8, 2), (0, 0.625));
        assert_eq!(source(7, 8, 2), (1, 0.0));
    }
}
