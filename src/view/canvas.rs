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
            *pixel = Tint::new(colour, alpha).over(*pixel);
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
        let inner = self.corners(area, radius, radius, |outside| {
            Tint::new(colour, covered(alpha, 0.5 - outside))
        });
        let tint = Tint::new(colour, alpha);
        self.mix(Area { y: area.y, height: inner.y - area.y, ..inner }, tint);
        self.mix(Area { y: inner.y, height: inner.height, ..area }, tint);
        self.mix(Area { y: inner.bottom(), height: area.bottom() - inner.bottom(), ..inner }, tint);
    }

    /// Draws the outline of a rectangle with round corners: a line of `width` pixels inside `area`.
    pub fn stroke_round(&mut self, area: Area, radius: i32, width: i32, colour: u32, alpha: u8) {
        let inner = self.corners(area, radius, radius.max(width), |outside| {
            let beyond_line = (0.5 - width as f32 - outside).clamp(0.0, 1.0);
            Tint::new(colour, covered(alpha, (0.5 - outside).clamp(0.0, 1.0) - beyond_line))
        });
        let tint = Tint::new(colour, alpha);
        let (left, right) = (inner.x - area.x, area.right() - inner.right());
        let (top, bottom) = (inner.y - area.y, area.bottom() - inner.bottom());
        let [left, right, top, bottom] = [left, right, top, bottom].map(|side| width.min(side));
        self.mix(Area { y: area.y, height: top, ..inner }, tint);
        self.mix(Area { y: area.bottom() - bottom, height: bottom, ..inner }, tint);
        self.mix(Area { x: area.x, width: left, ..inner }, tint);
        self.mix(Area { x: area.right() - right, width: right, ..inner }, tint);
    }

    /// Mixes one colour into a rectangle.
    fn mix(&mut self, area: Area, tint: Tint) {
        let (columns, rows) = area.clipped(self.size);
        for y in rows {
            for pixel in self.row_mut(y, columns.start, columns.end) {
                *pixel = tint.over(*pixel);
            }
        }
    }

    /// Paints the corners of a rectangle, squares with sides of `zone` pixels, each pixel by its
    /// centre's distance from the edge, which is negative inside; returns the columns and rows
    /// between the corners.
    fn corners(&mut self, area: Area, radius: i32, zone: i32, paint: impl Fn(f32) -> Tint) -> Area {
        let between = |start: i32, length: i32| {
            let first = start + zone.min(length / 2);
            (first, (start + length - zone).max(first))
        };
        let (left, right) = between(area.x, area.width);
        let (top, bottom) = between(area.y, area.height);
        let (columns, rows) = area.clipped(self.size);
        for y in rows.filter(|y| !(top..bottom).contains(y)) {
            for x in columns.clone().filter(|x| !(left..right).contains(x)) {
                let pixel = &mut self.row_mut(y, x, x + 1)[0];
                *pixel = paint(distance(area, radius, x, y)).over(*pixel);
            }
        }
        Area::new(left, top, right - left, bottom - top)
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

/// A colour to be mixed into pixels: its channels times its opacity, in two words of two 16-bit
/// lanes, and what it leaves of the pixel.
#[derive(Debug, Clone, Copy)]
pub struct Tint {
    red_blue: u32,
    green: u32,
    rest: u32,
}

const LANES: u32 = 0x00ff_00ff;

impl Tint {
    /// `alpha` of 255 parts of `colour`.
    pub fn new(colour: u32, alpha: u8) -> Self {
        let alpha = u32::from(alpha);
        Self {
            red_blue: (colour & LANES) * alpha,
            green: (colour >> 8 & LANES) * alpha,
            rest: 255 - alpha,
        }
    }

    /// The pixel with the colour mixed in, every channel rounded to the nearest.
    pub fn over(self, pixel: u32) -> u32 {
        // n / 255 rounded is (m + m / 256) / 256 with m = n + 128, for every n up to 255 * 255.
        let mixed = |tint: u32, under: u32| {
            let sum = tint + under * self.rest + 0x0080_0080;
            (sum + (sum >> 8 & LANES)) >> 8 & LANES
        };
        mixed(self.red_blue, pixel & LANES) | mixed(self.green, pixel >> 8 & LANES) << 8
    }
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
    let (beyond_x, beyond_y) = (dx.max(0.0), dy.max(0.0));
    (beyond_x * beyond_x + beyond_y * beyond_y).sqrt() + dx.max(dy).min(0.0) - radius
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
        let mix = |under, over, alpha| Tint::new(over, alpha).over(under);
        assert_eq!(mix(0x123456, 0xfedcba, 0), 0x123456);
        assert_eq!(mix(0x123456, 0xfedcba, 255), 0xfedcba);
        for (under, over) in [(0u32, 255u32), (255, 0), (17, 200), (255, 255)] {
            for alpha in 0..=255u8 {
                let part = f64::from(alpha) / 255.0;
                let exact = f64::from(over) * part + f64::from(under) * (1.0 - part);
                let grey = exact.round() as u32 * 0x010101;
                assert_eq!(mix(under * 0x010101, over * 0x010101, alpha), grey, "{alpha}");
            }
        }
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
    fn no_pixel_of_a_small_rectangle_is_mixed_twice() {
        for (width, height) in [(1, 1), (3, 3), (2, 9), (9, 5), (5, 20)] {
            let mut canvas = canvas(20, 20, 0);
            canvas.fill_round(Area::new(0, 0, width, height), 4, 0xffffff, 128);
            canvas.stroke_round(Area::new(10, 0, width, height), 4, 2, 0xffffff, 128);
            assert!(canvas.pixels().iter().all(|pixel| *pixel <= 0x808080), "{width}x{height}");
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
