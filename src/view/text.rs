//! Anti-aliased text.

use std::collections::HashMap;

use fontdue::{Font, FontSettings};

use super::canvas::Canvas;
use crate::error::{Error, Result};

/// Latin, Greek and Cyrillic of DejaVu Sans; how it was made: `font/README.md`.
static FONT: &[u8] = include_bytes!("font/DejaVuSans-subset.ttf");

/// So many glyphs are kept; a window that is resized all day meets ever new sizes.
const MAX_GLYPHS: usize = 2048;

/// The font and the glyphs that were rasterized so far.
pub struct Text {
    font: Font,
    glyphs: HashMap<(char, u32), Glyph>,
}

struct Glyph {
    /// How far the pen moves on, in whole pixels.
    advance: i32,
    /// From the pen to the left column, and from the base line up to the bottom row.
    left: i32,
    bottom: i32,
    width: usize,
    /// `width` bytes a row, from the top: 255 where the pixel is wholly inside the glyph.
    coverage: Vec<u8>,
}

impl Text {
    /// Loads the font that is part of the program.
    ///
    /// # Errors
    /// Where the font cannot be read.
    pub fn new() -> Result<Self> {
        let font = Font::from_bytes(FONT, FontSettings::default())
            .map_err(|error| Error::invalid(format!("the built-in font is broken: {error}")))?;
        Ok(Self { font, glyphs: HashMap::new() })
    }

    /// Width of the text in pixels, at `size` pixels an em.
    pub fn measure(&mut self, text: &str, size: u32) -> i32 {
        text.chars().map(|c| self.glyph(c, size).advance).sum()
    }

    /// Height of capitals and digits in pixels, at `size` pixels an em.
    pub fn cap_height(&mut self, size: u32) -> i32 {
        let glyph = self.glyph('H', size);
        (glyph.coverage.len() / glyph.width.max(1)) as i32
    }

    /// Draws the text with its pen starting at column `x` of the base line `y`; returns where the
    /// pen stops.
    pub fn draw(
        &mut self,
        canvas: &mut Canvas,
        text: &str,
        size: u32,
        (x, y): (i32, i32),
        colour: u32,
    ) -> i32 {
        let mut pen = x;
        for c in text.chars() {
            let glyph = self.glyph(c, size);
            let rows = glyph.coverage.chunks_exact(glyph.width.max(1));
            let top = y - glyph.bottom - rows.len() as i32;
            for (row, y) in rows.zip(top..) {
                for (&alpha, x) in row.iter().zip(pen + glyph.left..) {
                    if alpha > 0 {
                        canvas.blend(x, y, colour, alpha);
                    }
                }
            }
            pen += glyph.advance;
        }
        pen
    }

    /// The longest beginning of the text that is at most `width` pixels wide, in bytes, leaving
    /// room for an ellipsis where something is left out.
    pub fn fitting(&mut self, text: &str, size: u32, width: i32) -> usize {
        let ellipsis = self.glyph('…', size).advance;
        let (mut pen, mut fits) = (0, 0);
        for (at, c) in text.char_indices() {
            if pen + ellipsis <= width {
                fits = at;
            }
            pen += self.glyph(c, size).advance;
        }
        if pen <= width { text.len() } else { fits }
    }

    fn glyph(&mut self, c: char, size: u32) -> &Glyph {
        let c = if c.is_control() { ' ' } else { c };
        if self.glyphs.len() >= MAX_GLYPHS && !self.glyphs.contains_key(&(c, size)) {
            self.glyphs.clear();
        }
        self.glyphs.entry((c, size)).or_insert_with(|| {
            let (metrics, coverage) = self.font.rasterize(c, size as f32);
            Glyph {
                advance: metrics.advance_width.round() as i32,
                left: metrics.xmin,
                bottom: metrics.ymin,
                width: metrics.width,
                coverage,
            }
        })
    }
}

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Text").field("glyphs", &self.glyphs.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Size;

    #[test]
    fn digits_are_equally_wide_so_that_changing_numbers_stand_still() {
        let mut text = Text::new().unwrap();
        for size in [14, 28] {
            let widths: Vec<_> =
                ('0'..='9').map(|c| text.measure(c.encode_utf8(&mut [0; 4]), size)).collect();
            assert!(widths.iter().all(|w| *w == widths[0]), "{widths:?}");
        }
    }

    #[test]
    fn twice_the_size_is_about_twice_as_wide() {
        let mut text = Text::new().unwrap();
        let (one, two) =
            (text.measure("Egyptian cat 62 %", 14), text.measure("Egyptian cat 62 %", 28));
        assert!((f64::from(two) / f64::from(one) - 2.0).abs() < 0.1, "{one} {two}");
    }

    #[test]
    fn text_is_drawn_where_it_was_measured() {
        let mut text = Text::new().unwrap();
        let mut canvas = Canvas::default();
        canvas.reshape(Size::new(200, 40));
        let width = text.measure("HHH", 20);
        assert_eq!(text.draw(&mut canvas, "HHH", 20, (10, 30), 0xffffff), 10 + width);
        let lit = |x: i32, y: i32| canvas.pixels()[(y * 200 + x) as usize] != 0;
        let columns: Vec<_> = (0..200).filter(|&x| (0..40).any(|y| lit(x, y))).collect();
        let rows: Vec<_> = (0..40).filter(|&y| (0..200).any(|x| lit(x, y))).collect();
        assert!(columns[0] >= 10 && *columns.last().unwrap() < 10 + width, "{columns:?}");
        assert_eq!((rows[0], *rows.last().unwrap()), (30 - text.cap_height(20), 29));
    }

    #[test]
    fn every_letter_of_the_covered_alphabets_has_a_glyph() {
        let text = Text::new().unwrap();
        for c in "AZaz09%éßøŁžΑωЖяё–—‘’“”…←↑→↓−•·".chars() {
            assert!(text.font.has_glyph(c), "{c}");
        }
    }

    #[test]
    fn a_text_that_does_not_fit_leaves_room_for_the_ellipsis() {
        let mut text = Text::new().unwrap();
        let name = "Großglockner";
        let whole = text.measure(name, 14);
        assert_eq!(text.fitting(name, 14, whole), name.len());
        let cut = text.fitting(name, 14, whole - 1);
        assert!(cut < name.len() && name.is_char_boundary(cut));
        assert!(text.measure(&name[..cut], 14) + text.measure("…", 14) < whole);
        assert_eq!(text.fitting(name, 14, 0), 0);
    }

    #[test]
    fn the_glyphs_that_are_kept_are_bounded() {
        let mut text = Text::new().unwrap();
        for size in 10..80 {
            (' '..='~').for_each(|c| _ = text.glyph(c, size));
        }
        assert!(text.glyphs.len() <= MAX_GLYPHS);
    }
}
