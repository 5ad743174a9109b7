//! What was found, drawn into the picture: heat map, boxes, labels.

use std::fmt::Write;

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

use super::canvas::{Area, Canvas};
use super::colormap::Colormap;
use super::heat::HeatPainter;
use super::text::Text;
use crate::error::{Error, Result};
use crate::frame::Frame;
use crate::geometry::{Point, Size};
use crate::localize::Detection;
use crate::localize::map::Map;

/// Colours of boxes, told apart on most pictures and from each other.
const PALETTE: [u32; 10] = [
    0x2ee6a6, 0xffb000, 0x4cc9ff, 0xff5fa2, 0xc6ff4d, 0xb79cff, 0xff7a45, 0x00e5e5, 0xffe14d,
    0xff9ef2,
];

const DARK: u32 = 0x0b0e11;
const WHITE: u32 = 0xffffff;

/// Draws frames and what was found in them. Keeps its buffers from frame to frame.
#[derive(Debug)]
pub struct Painter {
    pub text: Text,
    heat: HeatPainter,
    resizer: Resizer,
    resized: Vec<u8>,
    tags: Vec<Area>,
    label: String,
}

/// The size of text, in pixels an em, that is well legible on a picture of this size.
pub fn text_size(picture: Size) -> u32 {
    (picture.height / 34).min(picture.width / 40).clamp(14, 160)
}

impl Painter {
    /// # Errors
    /// Where the built-in font cannot be read.
    pub fn new() -> Result<Self> {
        Ok(Self {
            text: Text::new()?,
            heat: HeatPainter::default(),
            resizer: Resizer::new(),
            resized: Vec::new(),
            tags: Vec::new(),
            label: String::new(),
        })
    }

    /// Draws a frame scaled to `area`, over it a map that spans the whole frame, over that the
    /// boxes; `size` is the text's, in pixels an em, and sets the width of lines too.
    ///
    /// # Errors
    /// Where the frame has fewer bytes than its size says.
    ///
    /// # Panics
    /// Where `area` reaches beyond the canvas.
    #[expect(clippy::too_many_arguments)]
    pub fn scene<'n>(
        &mut self,
        canvas: &mut Canvas,
        area: Area,
        size: u32,
        frame: &Frame,
        heat: Option<(&Map, Colormap)>,
        detections: &[Detection],
        names: &dyn Fn(usize) -> &'n str,
    ) -> Result<()> {
        if area.width <= 0 || area.height <= 0 {
            return Ok(());
        }
        self.picture(canvas, area, frame)?;
        if let Some((map, colours)) = heat {
            self.heat.paint(canvas, area, map, colours);
        }
        // The surest box lies on top.
        for detection in detections.iter().rev() {
            outline(canvas, on_canvas(detection, area, frame.size), size, colour(detection.class));
        }
        for detection in detections {
            peak(canvas, at(detection.peak, area, frame.size), size);
        }
        self.tags.clear();
        for detection in detections {
            self.tag(canvas, area, on_canvas(detection, area, frame.size), size, detection, names);
        }
        Ok(())
    }

    fn picture(&mut self, canvas: &mut Canvas, area: Area, frame: &Frame) -> Result<()> {
        let Size { width, height } = Size::new(area.width as u32, area.height as u32);
        let rgb = if frame.size == Size::new(width, height) {
            &frame.rgb
        } else {
            self.resized.resize(3 * width as usize * height as usize, 0);
            let from =
                ImageRef::new(frame.size.width, frame.size.height, &frame.rgb, PixelType::U8x3)
                    .map_err(broken)?;
            let mut to = Image::from_slice_u8(width, height, &mut self.resized, PixelType::U8x3)
                .map_err(broken)?;
            let options =
                ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
            self.resizer.resize(&from, &mut to, &options).map_err(broken)?;
            &self.resized
        };
        for (y, row) in (area.y..).zip(rgb.chunks_exact(3 * width as usize)) {
            let pixels = canvas.row_mut(y, area.x, area.right());
            for (pixel, rgb) in pixels.iter_mut().zip(row.chunks_exact(3)) {
                *pixel = u32::from_be_bytes([0, rgb[0], rgb[1], rgb[2]]);
            }
        }
        Ok(())
    }

    /// Draws the filled label of a box: above it, else inside, below the labels that are in the
    /// way already; never beyond the picture's sides.
    fn tag<'n>(
        &mut self,
        canvas: &mut Canvas,
        area: Area,
        frame: Area,
        size: u32,
        detection: &Detection,
        names: &dyn Fn(usize) -> &'n str,
    ) {
        let padding = size as i32 * 2 / 5;
        let name = names(detection.class);
        self.label.clear();
        // Writing to a String cannot fail.
        _ = write!(self.label, " {:.0} %", 100.0 * detection.score);
        let room = area.width - 2 * padding - self.text.measure(&self.label, size);
        let fitting = self.text.fitting(name, size, room);
        if fitting < name.len() {
            self.label.insert(0, '…');
        }
        self.label.insert_str(0, &name[..fitting]);

        let width = self.text.measure(&self.label, size) + 2 * padding;
        let height = size as i32 * 3 / 2;
        let tag = place(Area::new(frame.x, frame.y - height, width, height), area, &self.tags);
        self.tags.push(tag);
        let colour = colour(detection.class);
        canvas.fill_round(tag.grown(1), padding, DARK, 120);
        canvas.fill_round(tag, padding, colour, 255);
        let base = tag.y + (height + self.text.cap_height(size)) / 2;
        self.text.draw(canvas, &self.label, size, (tag.x + padding, base), DARK);
    }
}

fn broken(error: impl std::fmt::Display) -> Error {
    Error::invalid(format!("the picture cannot be drawn: {error}"))
}

/// The same colour for the same class every time; neighbours in the list of classes differ.
fn colour(class: usize) -> u32 {
    PALETTE[class % PALETTE.len()]
}

/// Width of lines that go with text of this size.
fn line_width(size: u32) -> i32 {
    (size as i32 / 6).max(2)
}

fn on_canvas(detection: &Detection, area: Area, frame: Size) -> Area {
    let rect = detection.rect;
    let (x0, y0) = at(Point { x: rect.x0, y: rect.y0 }, area, frame);
    let (x1, y1) = at(Point { x: rect.x1, y: rect.y1 }, area, frame);
    Area::new(x0, y0, x1 - x0, y1 - y0)
}

/// Where a corner between the frame's pixels comes to lie.
fn at(point: Point, area: Area, frame: Size) -> (i32, i32) {
    let scaled = |v: u32, to: i32, from: u32| {
        let from = u64::from(from.max(1));
        ((u64::from(v) * to as u64 + from / 2) / from).min(to as u64) as i32
    };
    (area.x + scaled(point.x, area.width, frame.width), {
        area.y + scaled(point.y, area.height, frame.height)
    })
}

/// A line with a dark rim, so that it stands out from every background.
fn outline(canvas: &mut Canvas, area: Area, size: u32, colour: u32) {
    let (width, radius) = (line_width(size), size as i32 / 4);
    canvas.stroke_round(area.grown(1), radius + 1, width + 2, DARK, 150);
    canvas.stroke_round(area, radius, width, colour, 255);
}

/// A small cross.
fn peak(canvas: &mut Canvas, (x, y): (i32, i32), size: u32) {
    let (width, arm) = (line_width(size), size as i32 / 2);
    let half = width / 2;
    let across = Area::new(x - arm - half, y - half, 2 * arm + width, width);
    let along = Area::new(x - half, y - arm - half, width, 2 * arm + width);
    for area in [across, along] {
        canvas.fill_round(area.grown(1), 1, DARK, 150);
    }
    for area in [across, along] {
        canvas.fill_round(area, 0, WHITE, 255);
    }
}

/// Moves a label into the picture and, where others lie already, down until it is free of them;
/// where there is no free place it covers what it must.
fn place(wanted: Area, picture: Area, others: &[Area]) -> Area {
    let x = wanted.x.min(picture.right() - wanted.width).max(picture.x);
    let last = (picture.bottom() - wanted.height).max(picture.y);
    let top = if wanted.y < picture.y { wanted.bottom() } else { wanted.y };
    let mut tag = Area { x, y: top.clamp(picture.y, last), ..wanted };
    while let Some(other) = others.iter().find(|other| other.overlaps(tag)) {
        if other.bottom() + 1 > last {
            break;
        }
        tag.y = other.bottom() + 1;
    }
    tag
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Rect;
    use proptest::prelude::*;

    const PICTURE: Area = Area::new(10, 20, 300, 200);

    fn inside(tag: Area) -> bool {
        tag.x >= PICTURE.x
            && tag.y >= PICTURE.y
            && tag.right() <= PICTURE.right()
            && tag.bottom() <= PICTURE.bottom()
    }

    #[test]
    fn a_label_lies_above_its_box_where_there_is_room() {
        let wanted = Area::new(50, 60, 80, 20);
        assert_eq!(place(wanted, PICTURE, &[]), wanted);
    }

    #[test]
    fn a_label_of_a_box_at_the_top_lies_inside_the_box() {
        let frame = Area::new(50, 22, 100, 100);
        let wanted = Area::new(frame.x, frame.y - 20, 80, 20);
        assert_eq!(place(wanted, PICTURE, &[]), Area { y: frame.y, ..wanted });
    }

    proptest! {
        #[test]
        fn labels_stay_inside_the_picture(
            x in 0i32..400, y in 0i32..300, width in 1i32..=300, taken in 0i32..200,
        ) {
            let others = [Area::new(10, 20 + taken, 300, 30)];
            prop_assert!(inside(place(Area::new(x, y, width, 20), PICTURE, &others)));
        }
    }

    #[test]
    fn labels_of_boxes_in_the_same_place_do_not_cover_each_other() {
        let mut tags = Vec::new();
        for _ in 0..5 {
            let tag = place(Area::new(50, 60, 80, 20), PICTURE, &tags);
            assert!(tags.iter().all(|other| !tag.overlaps(*other)));
            tags.push(tag);
        }
    }

    fn drawn(picture: Size, name: &str, rect: Rect) -> Canvas {
        let mut frame = Frame::empty();
        frame.reshape(picture).unwrap();
        frame.rgb.fill(0x40);
        let mut canvas = Canvas::default();
        canvas.reshape(picture);
        let area = Area::new(0, 0, picture.width as i32, picture.height as i32);
        let peak = Point { x: rect.x0, y: rect.y0 };
        let detection = Detection { class: 0, score: 0.624, rect, peak, track: 1 };
        let size = text_size(picture);
        Painter::new()
            .unwrap()
            .scene(&mut canvas, area, size, &frame, None, &[detection], &|_| name)
            .unwrap();
        canvas
    }

    #[test]
    fn a_box_is_drawn_along_its_edges_and_leaves_the_inside_alone() {
        let canvas = drawn(Size::new(200, 100), "cat", Rect::new(20, 30, 180, 90));
        let pixel = |x: usize, y: usize| canvas.pixels()[y * 200 + x];
        for (x, y) in [(100, 30), (100, 89), (20, 60), (179, 60)] {
            assert_eq!(pixel(x, y), PALETTE[0], "at {x}, {y}");
        }
        assert_eq!(pixel(100, 60), 0x404040);
        assert_eq!(pixel(190, 95), 0x404040);
    }

    #[test]
    fn a_name_too_long_for_the_picture_is_shortened_and_keeps_its_score() {
        let mut painter = Painter::new().unwrap();
        let mut canvas = Canvas::default();
        canvas.reshape(Size::new(120, 60));
        let rect = Rect::new(0, 0, 120, 60);
        let detection =
            Detection { class: 0, score: 0.624, rect, peak: Point::default(), track: 1 };
        let area = Area::new(0, 0, 120, 60);
        painter.tag(&mut canvas, area, area, 14, &detection, &|_| "a very long name of a class");
        assert!(painter.label.starts_with("a v") && painter.label.ends_with("… 62 %"));
        assert!(painter.tags[0].width <= 120);
    }

    #[test]
    fn the_smallest_pictures_can_be_drawn() {
        for (width, height) in [(1, 1), (1, 300), (300, 1), (7, 7)] {
            drawn(Size::new(width, height), "Egyptian cat", Rect::new(0, 0, width, height));
        }
    }

    #[test]
    fn a_frame_without_its_bytes_is_an_error() {
        let mut frame = Frame::empty();
        frame.size = Size::new(4, 4);
        let mut canvas = Canvas::default();
        canvas.reshape(Size::new(8, 8));
        let area = Area::new(0, 0, 8, 8);
        let result =
            Painter::new().unwrap().scene(&mut canvas, area, 14, &frame, None, &[], &|_| "");
        assert!(result.is_err());
    }
}
