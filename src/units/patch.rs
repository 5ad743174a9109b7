//! The part of a photograph that a unit stands for.

use std::path::PathBuf;

use image::imageops::{self, FilterType};
use image::{ImageBuffer, Rgb, RgbImage};

use super::Peak;
use crate::error::Result;
use crate::frame::Frame;
use crate::geometry::{Point, Rect, Size};
use crate::localize::map::{Map, Upsampler};
use crate::network::ReceptiveField;
use crate::pipeline::batch::batch;
use crate::source::still::read_photograph;

/// What is left around the region, as a part of the network's input.
const MARGIN: f32 = 0.04;

/// How bright the surroundings of the region stay.
const DIMMED: f32 = 0.5;

/// The colour of the region's rim.
const RIM: Rgb<u8> = Rgb([255; 3]);

/// A part of a photograph around a unit's peak.
#[derive(Debug, Clone, PartialEq)]
pub struct Patch {
    /// Index among the photographs.
    pub photograph: usize,
    pub activation: f32,
    /// The middle of the highest cell, in pixels of the photograph.
    pub peak: Point,
    /// What the patch shows, in pixels of the photograph.
    pub rect: Rect,
    /// That part, shrunk to what fits into the sheet; the region rimmed, the rest grey and darker.
    pub picture: RgbImage,
}

/// Cuts patches out of photographs.
#[derive(Debug)]
pub struct Cutter {
    /// Of the network that the peaks were found with; none for the whole picture.
    pub receptive_field: Option<ReceptiveField>,
    /// The network's input size.
    pub input: Size,
    /// The region of a unit is where its map exceeds this part of its peak, 0 to 1. A peak that does
    /// not exceed this part of the unit's highest has no patch.
    pub threshold: f32,
    /// The longer side of a patch's picture, in pixels.
    pub side: u32,
}

impl Cutter {
    /// Cuts the patches of peaks that are sorted from the highest down, reading each photograph once.
    ///
    /// # Errors
    /// A photograph that cannot be read any more.
    pub fn cut(
        &self,
        photographs: &[PathBuf],
        peaks: &[Vec<Peak>],
        workers: usize,
    ) -> Result<Vec<Vec<Patch>>> {
        let peaks: Vec<&[Peak]> = peaks.iter().map(|peaks| self.shown(peaks)).collect();
        let mut wanted: Vec<usize> =
            peaks.iter().copied().flatten().map(|peak| peak.photograph).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let work = |frame: &mut Frame, i: usize| {
            read_photograph(&photographs[wanted[i]], frame)?;
            let mut found = Vec::new();
            for (unit, peaks) in peaks.iter().enumerate() {
                for (place, peak) in peaks.iter().enumerate() {
                    if peak.photograph == wanted[i] {
                        found.push((unit, place, self.patch(frame, peak)));
                    }
                }
            }
            Ok(found)
        };
        let found = batch(wanted.len(), vec![Frame::empty(); workers], &work, &mut |_| {})?;
        let mut found: Vec<_> = found.into_iter().flatten().collect();
        found.sort_unstable_by_key(|&(unit, place, _)| (unit, place));
        let mut patches = vec![Vec::new(); peaks.len()];
        found.into_iter().for_each(|(unit, _, patch)| patches[unit].push(patch));
        Ok(patches)
    }

    /// Those of a unit's peaks that have patches.
    fn shown<'a>(&self, peaks: &'a [Peak]) -> &'a [Peak] {
        let highest = peaks.first().map_or(0.0, |peak| peak.activation);
        &peaks[..peaks.partition_point(|peak| peak.activation > self.threshold * highest)]
    }

    fn patch(&self, frame: &Frame, peak: &Peak) -> Patch {
        let region = Region::of(peak, self.receptive_field.as_ref(), self.input, self.threshold);
        let field = region.field.scaled(self.input, frame.size);
        let rect = squared(region.with_margin().scaled(self.input, frame.size), field);
        Patch {
            photograph: peak.photograph,
            activation: peak.activation,
            peak: peak.map.middle(peak.cell, frame.size),
            rect,
            picture: self.picture(frame, rect, &region),
        }
    }

    /// The part `rect` of a photograph, at most `side` long, the region in it rimmed and what is
    /// outside of it dimmed.
    fn picture(&self, frame: &Frame, rect: Rect, region: &Region) -> RgbImage {
        let (width, height) = (rect.x1 - rect.x0, rect.y1 - rect.y0);
        let longer = width.max(height);
        let fit = |side: u32| {
            (u64::from(side) * u64::from(self.side)).div_ceil(u64::from(longer)).max(1) as u32
        };
        let Size { width: columns, height: rows } = frame.size;
        let photograph: ImageBuffer<Rgb<u8>, &[u8]> =
            ImageBuffer::from_raw(columns, rows, &frame.rgb[..])
                .expect("a frame has the pixels of its size");
        let part = imageops::crop_imm(&photograph, rect.x0, rect.y0, width, height);
        let mut picture = imageops::resize(&*part, fit(width), fit(height), FilterType::Triangle);
        let (across, down) = picture.dimensions();
        // From the pixel's centre to the photograph, and from there to the network's input.
        let place = |at: u32, pixels: u32, first: u32, length: u32, whole: u32, grid: u32| {
            let part = (f64::from(at) + 0.5) / f64::from(pixels);
            let place = (f64::from(first) + part * f64::from(length)) / f64::from(whole);
            ((place * f64::from(grid)) as u32).min(grid - 1)
        };
        let inside = |x: u32, y: u32| {
            region.holds(Point {
                x: place(x, across, rect.x0, width, columns, self.input.width),
                y: place(y, down, rect.y0, height, rows, self.input.height),
            })
        };
        for (x, y, pixel) in picture.enumerate_pixels_mut() {
            let (right, below) = ((x + 1).min(across - 1), (y + 1).min(down - 1));
            if !inside(x, y) {
                let [r, g, b] = pixel.0.map(f32::from);
                pixel.0 = [(DIMMED * (0.299 * r + 0.587 * g + 0.114 * b)) as u8; 3];
            } else if !(inside(x.saturating_sub(1), y)
                && inside(right, y)
                && inside(x, y.saturating_sub(1))
                && inside(x, below))
            {
                *pixel = RIM;
            }
        }
        picture
    }
}

/// The rectangle with its shorter side as long as the longer one, as far as `bounds` allow, in which
/// it lies.
fn squared(rect: Rect, bounds: Rect) -> Rect {
    let longer = (rect.x1 - rect.x0).max(rect.y1 - rect.y0);
    let stretch = |(first, end): (u32, u32), (least, most): (u32, u32)| {
        let length = longer.min(most - least);
        let first = first.saturating_sub((length - (end - first)) / 2).clamp(least, most - length);
        (first, first + length)
    };
    let (x0, x1) = stretch((rect.x0, rect.x1), (bounds.x0, bounds.x1));
    let (y0, y1) = stretch((rect.y0, rect.y1), (bounds.y0, bounds.y1));
    Rect { x0, y0, x1, y1 }
}

/// The connected places of the network's input around a peak, in its receptive field, where the
/// upsampled map of the unit exceeds a part of the peak.
struct Region {
    grid: Size,
    /// What the peak's cell sees.
    field: Rect,
    /// The smallest rectangle around the region.
    rect: Rect,
    inside: Vec<bool>,
}

impl Region {
    fn of(peak: &Peak, field: Option<&ReceptiveField>, grid: Size, threshold: f32) -> Self {
        let (x, y) = peak.cell;
        let whole = Rect::new(0, 0, grid.width, grid.height);
        let start = peak.map.middle(peak.cell, grid);
        // The fields of one-sided padding can lie beside the cell.
        let field = field.map_or(whole, |field| field.of(x, y, grid));
        let field = Rect {
            x0: field.x0.min(start.x),
            y0: field.y0.min(start.y),
            x1: field.x1.max(start.x + 1),
            y1: field.y1.max(start.y + 1),
        };
        let (width, height) = (grid.width as usize, grid.height as usize);
        let mut fine = Map::default();
        Upsampler::default().upsample(&peak.map, width, height, &mut fine);
        let limit = threshold * peak.activation;
        let mut region = Self {
            grid,
            field,
            rect: Rect::new(start.x, start.y, start.x + 1, start.y + 1),
            inside: vec![false; width * height],
        };
        let mut waiting = vec![start];
        let first = region.index(start);
        region.inside[first] = true;
        while let Some(Point { x, y }) = waiting.pop() {
            let rect = &mut region.rect;
            *rect =
                Rect::new(rect.x0.min(x), rect.y0.min(y), rect.x1.max(x + 1), rect.y1.max(y + 1));
            for v in y.saturating_sub(1).max(field.y0)..(y + 2).min(field.y1) {
                for u in x.saturating_sub(1).max(field.x0)..(x + 2).min(field.x1) {
                    let next = Point { x: u, y: v };
                    let index = region.index(next);
                    if fine.values[index] > limit
                        && !std::mem::replace(&mut region.inside[index], true)
                    {
                        waiting.push(next);
                    }
                }
            }
        }
        region
    }

    fn index(&self, place: Point) -> usize {
        place.y as usize * self.grid.width as usize + place.x as usize
    }

    fn holds(&self, place: Point) -> bool {
        self.inside[self.index(place)]
    }

    /// The rectangle around the region and a margin, within the receptive field.
    fn with_margin(&self) -> Rect {
        let margin = |side: u32| (MARGIN * side as f32).ceil() as u32;
        let (x, y) = (margin(self.grid.width), margin(self.grid.height));
        Rect {
            x0: self.rect.x0.saturating_sub(x),
            y0: self.rect.y0.saturating_sub(y),
            x1: self.rect.x1 + x,
            y1: self.rect.y1 + y,
        }
        .intersection(self.field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Span;

    const GRID: Size = Size::new(40, 40);

    /// A map of 4x4 cells.
    fn peak(values: [f32; 16], cell: (usize, usize)) -> Peak {
        let activation = values[4 * cell.1 + cell.0];
        let map = Map { width: 4, height: 4, values: values.to_vec() };
        Peak { photograph: 0, activation, around: activation, cell, map }
    }

    #[rustfmt::skip]
    const TWO: [f32; 16] = [
        5.0, 0.0, 0.0, 0.0,
        5.0, 0.0, 0.0, 0.0,
        0.0, 0.0, 0.0, 0.0,
        0.0, 0.0, 0.0, 4.0,
    ];

    #[test]
    fn the_region_is_the_connected_part_around_the_peak() {
        let region = Region::of(&peak(TWO, (0, 0)), None, GRID, 0.2);
        // Above 0.2 of the peak: eight tenths of the way from one cell's centre to the next.
        assert_eq!(region.rect, Rect::new(0, 0, 13, 23));
        assert!(region.holds(Point { x: 4, y: 15 }) && !region.holds(Point { x: 36, y: 36 }));
        assert_eq!(region.with_margin(), Rect::new(0, 0, 15, 25));
        let other = Region::of(&peak(TWO, (3, 3)), None, GRID, 0.2);
        assert!(other.rect.x0 > 25 && other.rect.x1 == 40);
    }

    #[test]
    fn a_patch_ends_where_the_receptive_field_does() {
        let span = Span { size: 12, stride: 10, first: -1 };
        let field = ReceptiveField { down: span, across: span };
        let region = Region::of(&peak([1.0; 16], (1, 2)), Some(&field), GRID, 0.2);
        assert_eq!(region.with_margin(), Rect::new(9, 19, 21, 31));
        let corner = Region::of(&peak([1.0; 16], (0, 0)), Some(&field), GRID, 0.2);
        assert_eq!(corner.with_margin(), Rect::new(0, 0, 11, 11));
    }

    #[test]
    fn a_patch_shows_the_photograph_rims_the_region_and_dims_what_is_outside() {
        let mut frame = Frame::empty();
        frame.reshape(Size::new(80, 160)).unwrap();
        for (i, pixel) in frame.rgb.chunks_exact_mut(3).enumerate() {
            pixel.copy_from_slice(&[(i % 80) as u8, (i / 80) as u8, 200]);
        }
        let cutter = Cutter { receptive_field: None, input: GRID, threshold: 0.2, side: 100 };
        let patch = cutter.patch(&frame, &peak(TWO, (0, 0)));
        assert_eq!(patch.peak, Point { x: 10, y: 20 });
        // The region with its margin is 30 by 100, and the photograph has no more than 80 columns.
        assert_eq!(patch.rect, Rect::new(0, 0, 80, 100));
        assert_eq!(patch.picture.dimensions(), (80, 100));
        assert_eq!(patch.picture.get_pixel(10, 20).0, [10, 20, 200]);
        // The region has 26 columns; the edge of the photograph is no rim.
        assert_eq!(patch.picture.get_pixel(0, 20).0, [0, 20, 200]);
        assert_eq!([24, 25].map(|x| patch.picture.get_pixel(x, 20).0), [[24, 20, 200], [255; 3]]);
        let grey = |x: u32, y: u32| 0.5 * (0.299 * x as f32 + 0.587 * y as f32 + 0.114 * 200.0);
        for (x, y) in [(26, 20), (70, 98)] {
            assert_eq!(patch.picture.get_pixel(x, y).0, [grey(x, y) as u8; 3]);
        }
    }

    #[test]
    fn peaks_below_the_threshold_of_the_highest_have_no_patch() {
        let cutter = Cutter { receptive_field: None, input: GRID, threshold: 0.5, side: 100 };
        let peaks = [6.0, 4.0, 3.0, 1.0].map(|activation| peak([activation; 16], (0, 0)));
        assert_eq!(cutter.shown(&peaks), &peaks[..2]);
        let all = Cutter { threshold: 0.0, ..cutter };
        assert_eq!(all.shown(&peaks), peaks);
        assert!(all.shown(&[]).is_empty());
    }

    #[test]
    fn a_patch_is_square_where_its_bounds_allow() {
        let bounds = Rect::new(10, 10, 100, 40);
        assert_eq!(squared(Rect::new(50, 20, 60, 24), bounds), Rect::new(50, 17, 60, 27));
        assert_eq!(squared(Rect::new(50, 12, 70, 14), bounds), Rect::new(50, 10, 70, 30));
        assert_eq!(squared(Rect::new(20, 20, 80, 24), bounds), Rect::new(20, 10, 80, 40));
        assert_eq!(squared(Rect::new(95, 10, 100, 40), bounds), Rect::new(70, 10, 100, 40));
    }

    #[test]
    fn a_photograph_of_one_pixel_has_patches_too() {
        let mut frame = Frame::empty();
        frame.reshape(Size::new(1, 1)).unwrap();
        let cutter = Cutter { receptive_field: None, input: GRID, threshold: 0.2, side: 5 };
        assert_eq!(cutter.patch(&frame, &peak(TWO, (3, 3))).rect, Rect::new(0, 0, 1, 1));
    }
}
