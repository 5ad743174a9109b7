//! Pixels to draw on.

use std::io::Write;

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};

use crate::error::{Error, Result};
use crate::geometry::Size;

/// A place on a canvas, in pixels; it may lie outside, where nothing is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Area {
    pub x: i32,
    pub y: i32,
    pub width: i32,
    pub height: i32,
}

impl Area {
    pub const fn new(x: i32, y: i32, width: i32, height: i32) -> Self {
        Self { x, y, width, height }
    }

    /// The column after the last.
    pub const fn right(self) -> i32 {
        self.x + self.width
    }

    /// The row after the last.
    pub const fn bottom(self) -> i32 {
        self.y + self.height
    }

    /// Larger by `by` on each side.
    pub const fn grown(self, by: i32) -> Self {
        Self::new(self.x - by, self.y - by, self.width + 2 * by, self.height + 2 * by)
    }

    /// Whether they share a pixel.
    pub const fn overlaps(self, other: Self) -> bool {
        self.x < other.right()
            && other.x < self.right()
            && self.y < other.bottom()
            && other.y < self.bottom()
    }

    /// The part of it on a picture of this size.
    fn clipped(self, size: Size) -> (std::ops::Range<i32>, std::ops::Range<i32>) {
        let (width, height) = (size.width as i32, size.height as i32);
        (self.x.clamp(0, width)..self.right().clamp(0, width), {
            self.y.clamp(0, height)..self.bottom().clamp(0, height)
        })
    }
}

/// A picture of `0x00RRGGBB` pixels, rows from the top.
#[derive(Debug, Clone, Default)]
pub struct Canvas {
    size: Size,
    pixels: Vec<u32>,
}

impl Canvas {
    /// Sets the size; the content is unspecified. Allocates only for a size larger than any before.
    pub fn reshape(&mut self, size: Size) {
        self.size = size;
        self.pixels.resize(size.area() as usize, 0);
    }

    pub fn size(&self) -> Size {
        self.size
    }

    pub fn pixels(&self) -> &[u32] {
        &self.pixels
    }

    /// The part of row `y` in the columns `x0..x1`.
    ///
    /// # Panics
    /// Where it is not on the canvas.
    pub fn row_mut(&mut self, y: i32, x0: i32, x1: i32) -> &mut [u32] {
        let start = y as usize * self.size.width as usize;
        &mut self.pixels[start + x0 as usize..start + x1 as usize]
    }

    /// Mixes `colour` into one pixel, 255 being opaque.
    pub fn blend(&mut self, x: i32, y: i32, colour: u32, alpha: u8) {
        if (0..self.size.width as i32).contains(&x) && (0..self.size.height as i32).contains(&y) {
            let pixel = &mut self.row_mut(y, x, x + 1)[0];
            *pixel = mix(*pixel, colour, alpha);
        }
    }

    /// Fills a rectangle.
    pub fn fill(&mut self, area: Area, colour: u32) {
        let (columns, rows) = area.clipped(self.size);
        for y in rows {
            self.row_mut(y, columns.start, columns.end).fill(colour);
        }
    }

    /// Mixes a rectangle with round corners into the picture.
    pub fn fill_round(&mut self, area: Area, radius: i32, colour: u32, alpha: u8) {
        let (columns, rows) = area.clipped(self.size);
        for y in rows {
            let straight = y >= area.y + radius && y < area.bottom() - radius;
            for x in columns.clone() {
                let straight = straight || x >= area.x + radius && x < area.right() - radius;
                let inside = if straight { 1.0 } else { 0.5 - distance(area, radius, x, y) };
                self.blend(x, y, colour, covered(alpha, inside));
            }
        }
    }

    /// Draws the outline of a rectangle with round corners: a line of `width` pixels inside `area`.
    pub fn stroke_round(&mut self, area: Area, radius: i32, width: i32, colour: u32, alpha: u8) {
        let (columns, rows) = area.clipped(self.size);
        let margin = radius.max(width);
        let mut line = |x: i32, y: i32| {
            let outside = distance(area, radius, x, y);
            let inside =
                (0.5 - outside).clamp(0.0, 1.0) - (0.5 - width as f32 - outside).clamp(0.0, 1.0);
            self.blend(x, y, colour, covered(alpha, inside));
        };
        for y in rows {
            let left = (area.x + margin).clamp(columns.start, columns.end);
            let right = (area.right() - margin).clamp(left, columns.end);
            if y < area.y + margin || y >= area.bottom() - margin {
                columns.clone().for_each(|x| line(x, y));
            } else {
                (columns.start..left).chain(right..columns.end).for_each(|x| line(x, y));
            }
        }
    }

    /// Writes the picture as PNG.
    ///
    /// # Errors
    /// What the writer or the encoder says.
    pub fn write_png(&self, to: impl Write) -> Result<()> {
        let rgb: Vec<u8> = self
            .pixels
            .iter()
            .flat_map(|pixel| {
                let [_, r, g, b] = pixel.to_be_bytes();
                [r, g, b]
            })
            .collect();
        PngEncoder::new_with_quality(to, CompressionType::Fast, FilterType::Adaptive)
            .write_image(&rgb, self.size.width, self.size.height, ExtendedColorType::Rgb8)
            .map_err(|error| Error::invalid(error.to_string()))
    }
}

/// `alpha` of 255 parts of `over`, the rest `under`, every channel rounded to the nearest.
fn mix(under: u32, over: u32, alpha: u8) -> u32 {
    let channel = |shift: u32| {
        let (under, over) = (under >> shift & 0xff, over >> shift & 0xff);
        (over * u32::from(alpha) + under * (255 - u32::from(alpha)) + 127) / 255 << shift
    };
    channel(16) | channel(8) | channel(0)
}

/// `alpha` where a pixel is covered by the part `inside` only.
fn covered(alpha: u8, inside: f32) -> u8 {
    (f32::from(alpha) * inside.clamp(0.0, 1.0)).round() as u8
}

/// Distance of a pixel's centre from the edge of a rectangle with round corners; negative inside.
fn distance(area: Area, radius: i32, x: i32, y: i32) -> f32 {
    let radius = radius.min(area.width / 2).min(area.height / 2) as f32;
    let beyond = |at: i32, start: i32, length: i32| {
        let half = length as f32 / 2.0;
        (at as f32 + 0.5 - start as f32 - half).abs() - half + radius
    };
    let dx = beyond(x, area.x, area.width);
    let dy = beyond(y, area.y, area.height);
    dx.max(0.0).hypot(dy.max(0.0)) + dx.max(dy).min(0.0) - radius
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canvas(width: u32, height: u32, colour: u32) -> Canvas {
        let mut canvas = Canvas::default();
        canvas.reshape(Size::new(width, height));
        canvas.fill(Area::new(0, 0, width as i32, height as i32), colour);
        canvas
    }

    #[test]
    fn blending_is_exact_at_both_ends_and_rounds_to_the_nearest_between() {
        assert_eq!(mix(0x123456, 0xfedcba, 0), 0x123456);
        assert_eq!(mix(0x123456, 0xfedcba, 255), 0xfedcba);
        assert_eq!(mix(0x000000, 0xff0001, 127), 0x7f0000);
        assert_eq!(mix(0x000000, 0xff0001, 128), 0x800001);
    }

    #[test]
    fn nothing_is_drawn_outside_the_canvas() {
        let mut canvas = canvas(4, 3, 0);
        for area in [Area::new(-9, -9, 5, 5), Area::new(7, 0, 3, 3), Area::new(-5, 1, 99, 1)] {
            canvas.fill(area, 0xffffff);
            canvas.fill_round(area, 2, 0xffffff, 255);
            canvas.stroke_round(area, 2, 2, 0xffffff, 255);
        }
        canvas.blend(4, 0, 0xffffff, 255);
        canvas.blend(0, -1, 0xffffff, 255);
        let row = |y: usize| canvas.pixels()[4 * y..4 * y + 4].to_vec();
        assert_eq!((row(0), row(1), row(2)), (vec![0; 4], vec![0xffffff; 4], vec![0; 4]));
    }

    #[test]
    fn an_outline_lies_inside_its_area_and_leaves_the_middle_alone() {
        let mut canvas = canvas(12, 12, 0);
        canvas.stroke_round(Area::new(1, 1, 10, 10), 0, 2, 0xffffff, 255);
        for (i, &pixel) in canvas.pixels().iter().enumerate() {
            let (x, y) = (i % 12, i / 12);
            let from_edge = x.min(y).min(11 - x).min(11 - y);
            let expected = if (1..3).contains(&from_edge) { 0xffffff } else { 0 };
            assert_eq!(pixel, expected, "at {x}, {y}");
        }
    }

    #[test]
    fn round_corners_leave_the_corner_out() {
        let mut canvas = canvas(20, 20, 0);
        canvas.fill_round(Area::new(0, 0, 20, 20), 8, 0xffffff, 255);
        assert_eq!(canvas.pixels()[0], 0);
        assert_eq!(canvas.pixels()[10], 0xffffff);
        assert_eq!(canvas.pixels()[10 * 20], 0xffffff);
    }

    #[test]
    fn a_png_holds_the_same_pixels() {
        let mut canvas = canvas(3, 2, 0x102030);
        canvas.blend(2, 1, 0xff8000, 255);
        let mut file = Vec::new();
        canvas.write_png(&mut file).unwrap();
        let back = image::load_from_memory(&file).unwrap().to_rgb8();
        assert_eq!(back.dimensions(), (3, 2));
        assert_eq!(back.get_pixel(0, 0).0, [0x10, 0x20, 0x30]);
        assert_eq!(back.get_pixel(2, 1).0, [0xff, 0x80, 0x00]);
    }
}
