//! A contact sheet: rows of small pictures, each row with its caption.

use image::RgbImage;

use super::canvas::{Area, Canvas};
use super::text::Text;
use crate::error::Result;
use crate::geometry::Size;

/// The longest side of a picture on the sheet, in pixels.
pub const SIDE: u32 = 128;

/// A row of the sheet.
#[derive(Debug)]
pub struct Row<'a> {
    /// Lines of text beside the pictures, the first one larger.
    pub caption: Vec<String>,
    /// Each with a short text that is written into its corner; at most [`SIDE`] wide and high.
    pub pictures: Vec<(&'a RgbImage, String)>,
}

const MARGIN: i32 = 14;
const GAP: i32 = 6;
const CAPTION: i32 = 124;
const HEADING: u32 = 20;
const LARGE: u32 = 16;
const SMALL: u32 = 13;

const BACKGROUND: u32 = 0x16181c;
const BRIGHT: u32 = 0xf2f2f2;
const FAINT: u32 = 0xa6abb3;

/// Draws the sheet. A text that is too long for its place is cut.
///
/// # Errors
/// The built-in font cannot be read.
pub fn draw(heading: &str, rows: &[Row]) -> Result<Canvas> {
    let cell = SIDE as i32 + GAP;
    let columns = rows.iter().map(|row| row.pictures.len()).max().unwrap_or(0) as i32;
    let left = MARGIN + CAPTION;
    let top = MARGIN + HEADING as i32 + MARGIN;
    // Wide enough for a heading over few columns.
    let width = left + (columns * cell).max(3 * cell) - GAP + MARGIN;
    let height = top + rows.len() as i32 * cell - GAP + MARGIN;
    let mut canvas = Canvas::default();
    canvas.reshape(Size::new(width as u32, height.max(top) as u32));
    canvas.fill(Area::new(0, 0, width, height.max(top)), BACKGROUND);
    let mut text = Text::new()?;
    let mut write = |canvas: &mut Canvas, line: &str, size, (x, y), right, colour| {
        let fits = text.fitting(line, size, right - x);
        let x = text.draw(canvas, &line[..fits], size, (x, y), colour);
        if fits < line.len() {
            text.draw(canvas, "…", size, (x, y), colour);
        }
    };
    let base = MARGIN + HEADING as i32;
    write(&mut canvas, heading, HEADING, (MARGIN, base), width - MARGIN, BRIGHT);
    for (row, y) in rows.iter().zip((top..).step_by(cell as usize)) {
        let mut base = y + LARGE as i32 + GAP;
        for (i, line) in row.caption.iter().enumerate() {
            let (size, colour) = if i == 0 { (LARGE, BRIGHT) } else { (SMALL, FAINT) };
            write(&mut canvas, line, size, (MARGIN, base), left - GAP, colour);
            base += LARGE as i32 + GAP;
        }
        for ((picture, note), x) in row.pictures.iter().zip((left..).step_by(cell as usize)) {
            put(&mut canvas, picture, x, y);
            let (x, y) = (x + GAP, y + SIDE as i32 - GAP);
            write(&mut canvas, note, SMALL, (x + 1, y + 1), x + SIDE as i32, BACKGROUND);
            write(&mut canvas, note, SMALL, (x, y), x + SIDE as i32, BRIGHT);
        }
    }
    Ok(canvas)
}

/// Puts a picture into the middle of the square whose corner is given.
fn put(canvas: &mut Canvas, picture: &RgbImage, x: i32, y: i32) {
    let (width, height) = picture.dimensions();
    let (width, height) = (width.min(SIDE), height.min(SIDE));
    let x = x + (SIDE - width) as i32 / 2;
    let y = y + (SIDE - height) as i32 / 2;
    for (row, y) in picture.rows().take(height as usize).zip(y..) {
        let pixels = canvas.row_mut(y, x, x + width as i32);
        for (pixel, rgb) in pixels.iter_mut().zip(row) {
            let [r, g, b] = rgb.0;
            *pixel = u32::from_be_bytes([0, r, g, b]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    #[test]
    fn pictures_lie_in_rows_beside_their_captions() {
        let square = RgbImage::from_pixel(SIDE, SIDE, Rgb([200, 10, 10]));
        let wide = RgbImage::from_pixel(SIDE, 40, Rgb([10, 200, 10]));
        let none = |picture| (picture, String::new());
        let caption = || vec!["1".to_owned(), "a caption that is much too long".to_owned()];
        let rows = [
            Row { caption: caption(), pictures: vec![none(&square), none(&wide)] },
            Row { caption: caption(), pictures: vec![none(&wide)] },
        ];
        let canvas = draw("heading", &rows).unwrap();
        let width = canvas.size().width as usize;
        let count = |colour: u32| canvas.pixels().iter().filter(|&&p| p == colour).count() as u32;
        assert_eq!(count(0xc80a0a), SIDE * SIDE);
        assert_eq!(count(0x0ac80a), 2 * 40 * SIDE);
        // Neither caption nor heading reaches into the pictures; both are there.
        for (i, row) in canvas.pixels().chunks_exact(width).enumerate() {
            let text = row[..(MARGIN + CAPTION) as usize].iter().any(|&p| p != BACKGROUND);
            assert!(!text || i > 10, "text at the edge");
        }
        assert!(canvas.pixels()[..width * 40].contains(&BRIGHT));
    }

    #[test]
    fn a_note_is_written_into_the_corner_of_its_picture() {
        let square = RgbImage::from_pixel(SIDE, SIDE, Rgb([200, 10, 10]));
        let row = |note: &str| Row { caption: vec![], pictures: vec![(&square, note.to_owned())] };
        let pixels = |note| draw("", &[row(note)]).unwrap().pixels().to_vec();
        let width = draw("", &[row("")]).unwrap().size().width as usize;
        let (plain, noted) = (pixels(""), pixels("5.9"));
        let changed: Vec<_> = (0..plain.len()).filter(|&i| plain[i] != noted[i]).collect();
        assert!(changed.len() > 20);
        let top = 48 + SIDE as usize;
        let corner = |i: usize| {
            let (x, y) = (i % width, i / width);
            (138..138 + 64).contains(&x) && (top - 30..top).contains(&y)
        };
        assert!(changed.into_iter().all(corner));
    }

    #[test]
    fn a_sheet_without_pictures_has_its_heading() {
        assert!(draw("nothing", &[]).unwrap().pixels().contains(&BRIGHT));
        let empty = Row { caption: vec!["1".into()], pictures: vec![] };
        assert_eq!(draw("nothing", &[empty]).unwrap().size().height, 48 + SIDE + 14);
    }
}
