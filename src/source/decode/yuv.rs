//! Y'CbCr to RGB in integers.
//!
//! With luma Y and chroma U, V centred and stretched to the full range, and the luma weights
//! Kr + Kg + Kb = 1 of ITU-R BT.601, BT.709 or BT.2020:
//! R = Y + 2(1-Kr) V, B = Y + 2(1-Kb) U, G = Y - 2 Kb(1-Kb)/Kg U - 2 Kr(1-Kr)/Kg V.
//! Chroma is repeated over the pixels that share it.

use super::{check_length, stride_of};
use crate::error::Result;
use crate::frame::Frame;
use crate::geometry::Size;

/// Fraction bits of the coefficients, which then fit 16 bits: products of two such numbers are
/// what vector units are good at.
const BITS: u32 = 13;

/// Pixels that are converted at a time, enough to fill the vectors of any instruction set.
const BLOCK: usize = 32;

/// The values that black and white have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range {
    /// Luma 16 to 235, chroma 16 to 240.
    Limited,
    /// 0 to 255.
    Full,
}

/// The coefficients from Y'CbCr to RGB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Coding {
    black: i16,
    luma: i16,
    red_v: i16,
    green_u: i16,
    green_v: i16,
    blue_u: i16,
}

impl Coding {
    /// ITU-R BT.601: standard definition, and what cameras use unless they say otherwise.
    pub fn bt601(range: Range) -> Self {
        Self::from_weights(0.299, 0.114, range)
    }

    /// ITU-R BT.709: high definition.
    pub fn bt709(range: Range) -> Self {
        Self::from_weights(0.2126, 0.0722, range)
    }

    /// ITU-R BT.2020, non-constant luminance: ultra high definition.
    pub fn bt2020(range: Range) -> Self {
        Self::from_weights(0.2627, 0.0593, range)
    }

    fn from_weights(kr: f64, kb: f64, range: Range) -> Self {
        let kg = 1.0 - kr - kb;
        let (black, luma, chroma) = match range {
            Range::Limited => (16, 255.0 / 219.0, 255.0 / 224.0),
            Range::Full => (0, 1.0, 1.0),
        };
        let fixed = |v: f64| (v * f64::from(1 << BITS)).round() as i16;
        Self {
            black,
            luma: fixed(luma),
            red_v: fixed(chroma * 2.0 * (1.0 - kr)),
            green_u: fixed(chroma * 2.0 * kb * (1.0 - kb) / kg),
            green_v: fixed(chroma * 2.0 * kr * (1.0 - kr) / kg),
            blue_u: fixed(chroma * 2.0 * (1.0 - kb)),
        }
    }

    #[inline(always)]
    fn rgb(&self, y: u8, u: u8, v: u8) -> [u8; 3] {
        let times = |a: i16, b: i16| i32::from(a) * i32::from(b);
        let y = times(i16::from(y) - self.black, self.luma) + (1 << (BITS - 1));
        let (u, v) = (i16::from(u) - 128, i16::from(v) - 128);
        [
            y + times(v, self.red_v),
            y - times(u, self.green_u) - times(v, self.green_v),
            y + times(u, self.blue_u),
        ]
        .map(|c| (c >> BITS).clamp(0, 255) as u8)
    }

    /// Converts a row. `gather(first, block)` fetches the samples of the pixels from `first` on: as
    /// many as the block has, or as the row has left.
    #[inline(always)]
    fn row(&self, out: &mut [u8], gather: impl Fn(usize, &mut Block)) {
        let mut block = Block { y: [0; BLOCK], u: [0; BLOCK], v: [0; BLOCK] };
        for (i, out) in out.chunks_mut(3 * BLOCK).enumerate() {
            gather(BLOCK * i, &mut block);
            // Planes first, as the loop over planes is the one that becomes vector code.
            let [mut r, mut g, mut b] = [[0; BLOCK]; 3];
            for i in 0..BLOCK {
                [r[i], g[i], b[i]] = self.rgb(block.y[i], block.u[i], block.v[i]);
            }
            for (i, out) in out.as_chunks_mut::<3>().0.iter_mut().enumerate() {
                *out = [r[i], g[i], b[i]];
            }
        }
    }
}

/// The samples of neighbouring pixels.
struct Block {
    y: [u8; BLOCK],
    u: [u8; BLOCK],
    v: [u8; BLOCK],
}

impl Block {
    /// Chroma that two pixels share.
    fn take_halved(&mut self, samples: impl Iterator<Item = [u8; 2]>) {
        let pairs = self.u.as_chunks_mut::<2>().0.iter_mut().zip(self.v.as_chunks_mut::<2>().0);
        for ((u2, v2), [u, v]) in pairs.zip(samples) {
            (*u2, *v2) = ([u; 2], [v; 2]);
        }
    }
}

/// Copies what there is.
fn take(to: &mut [u8; BLOCK], from: &[u8]) {
    let count = from.len().min(BLOCK);
    to[..count].copy_from_slice(&from[..count]);
}

/// Four bytes for two pixels: Y0 U Y1 V.
///
/// # Errors
/// `Skip` where `data` is too short; a size that no frame may have.
pub fn yuyv(
    frame: &mut Frame,
    size: Size,
    data: &[u8],
    stride: usize,
    coding: &Coding,
) -> Result<()> {
    frame.reshape(size)?;
    let (width, height) = (size.width as usize, size.height as usize);
    let row = 4 * width.div_ceil(2);
    let stride = stride_of(stride, row);
    check_length(data, stride, row, height)?;
    for (row, out) in data.chunks(stride).zip(frame.rgb.chunks_exact_mut(3 * width)) {
        let quads = row.as_chunks::<4>().0;
        coding.row(out, |first, block| {
            let quads = &quads[first / 2..];
            for (y2, &[y0, _, y1, _]) in block.y.as_chunks_mut::<2>().0.iter_mut().zip(quads) {
                *y2 = [y0, y1];
            }
            block.take_halved(quads.iter().map(|&[_, u, _, v]| [u, v]));
        });
    }
    Ok(())
}

/// A plane of luma, then a plane of U and V in turn at half the width and height, with the same
/// stride.
///
/// # Errors
/// `Skip` where `data` is too short; a size that no frame may have.
pub fn nv12(
    frame: &mut Frame,
    size: Size,
    data: &[u8],
    stride: usize,
    coding: &Coding,
) -> Result<()> {
    frame.reshape(size)?;
    let (width, height) = (size.width as usize, size.height as usize);
    let row = 2 * width.div_ceil(2);
    let stride = stride_of(stride, row);
    check_length(data, stride, row, height + height.div_ceil(2))?;
    let (luma, chroma) = data.split_at(stride * height);
    for (j, out) in frame.rgb.chunks_exact_mut(3 * width).enumerate() {
        let y = &luma[j * stride..][..width];
        let uv = chroma[j / 2 * stride..][..row].as_chunks::<2>().0;
        coding.row(out, |first, block| {
            take(&mut block.y, &y[first..]);
            block.take_halved(uv[first / 2..].iter().copied());
        });
    }
    Ok(())
}

/// One plane of samples.
#[derive(Debug, Clone, Copy)]
pub struct Plane<'a> {
    pub data: &'a [u8],
    /// Bytes from one row to the next; 0 where rows follow each other without a gap.
    pub stride: usize,
}

/// Planes of luma, U and V, where U and V have `size` divided by 2 to the power of `shift`
/// (horizontal, vertical), rounded up: (1, 1) is 4:2:0, (1, 0) 4:2:2, (0, 0) 4:4:4. Without
/// `chroma` the picture is grey.
///
/// # Errors
/// `Skip` where a plane is too short; a size that no frame may have.
pub fn planar(
    frame: &mut Frame,
    size: Size,
    luma: Plane<'_>,
    chroma: Option<[Plane<'_>; 2]>,
    shift: (u32, u32),
    coding: &Coding,
) -> Result<()> {
    frame.reshape(size)?;
    let (width, height) = (size.width as usize, size.height as usize);
    let luma = Plane { stride: stride_of(luma.stride, width), ..luma };
    check_length(luma.data, luma.stride, width, height)?;
    let (columns, rows) = (width.div_ceil(1 << shift.0), height.div_ceil(1 << shift.1));
    let chroma = chroma.map(|planes| {
        planes.map(|plane| Plane { stride: stride_of(plane.stride, columns), ..plane })
    });
    for plane in chroma.iter().flatten() {
        check_length(plane.data, plane.stride, columns, rows)?;
    }
    for (j, out) in frame.rgb.chunks_exact_mut(3 * width).enumerate() {
        let y = &luma.data[j * luma.stride..][..width];
        let Some(chroma) = chroma else {
            coding.row(out, |first, block| {
                take(&mut block.y, &y[first..]);
                (block.u, block.v) = ([128; BLOCK], [128; BLOCK]);
            });
            continue;
        };
        let [u, v] = chroma.map(|p| &p.data[(j >> shift.1) * p.stride..][..columns]);
        match shift.0 {
            0 => coding.row(out, |first, block| {
                take(&mut block.y, &y[first..]);
                take(&mut block.u, &u[first..]);
                take(&mut block.v, &v[first..]);
            }),
            1 => coding.row(out, |first, block| {
                take(&mut block.y, &y[first..]);
                let (u, v) = (&u[first / 2..], &v[first / 2..]);
                block.take_halved(u.iter().zip(v).map(|(&u, &v)| [u, v]));
            }),
            shift => coding.row(out, |first, block| {
                take(&mut block.y, &y[first..]);
                for i in 0..BLOCK.min(width - first) {
                    let at = (first + i) >> shift;
                    (block.u[i], block.v[i]) = (u[at], v[at]);
                }
            }),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    /// The equations of the standards, in floating point.
    fn exact(kr: f64, kb: f64, range: Range, y: u8, u: u8, v: u8) -> [f64; 3] {
        let (y, u, v) = (f64::from(y), f64::from(u) - 128.0, f64::from(v) - 128.0);
        let (y, u, v) = match range {
            Range::Limited => ((y - 16.0) / 219.0, u / 224.0, v / 224.0),
            Range::Full => (y / 255.0, u / 255.0, v / 255.0),
        };
        let (r, b) = (y + 2.0 * (1.0 - kr) * v, y + 2.0 * (1.0 - kb) * u);
        let g = (y - kr * r - kb * b) / (1.0 - kr - kb);
        [r, g, b].map(|c| (255.0 * c).clamp(0.0, 255.0))
    }

    /// A value that is unlike its neighbours'.
    fn sample(i: usize) -> u8 {
        (i as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0]
    }

    #[test]
    fn every_colour_is_within_one_of_the_equations() {
        for range in [Range::Limited, Range::Full] {
            for (coding, kr, kb) in [
                (Coding::bt601(range), 0.299, 0.114),
                (Coding::bt709(range), 0.2126, 0.0722),
                (Coding::bt2020(range), 0.2627, 0.0593),
            ] {
                for y in 0..=255 {
                    for (u, v) in (0..=255u8).step_by(5).zip((0..=255u8).rev().step_by(5)) {
                        for v in [v, v ^ 0x5a, u] {
                            let expected = exact(kr, kb, range, y, u, v);
                            let got = coding.rgb(y, u, v).map(f64::from);
                            for (e, g) in expected.into_iter().zip(got) {
                                assert!((e - g).abs() <= 1.0, "{y} {u} {v}: {e} {g}");
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn black_and_white_are_exact() {
        let limited = Coding::bt601(Range::Limited);
        assert_eq!(limited.rgb(16, 128, 128), [0; 3]);
        assert_eq!(limited.rgb(235, 128, 128), [255; 3]);
        let full = Coding::bt709(Range::Full);
        assert_eq!(full.rgb(0, 128, 128), [0; 3]);
        assert_eq!(full.rgb(255, 128, 128), [255; 3]);
    }

    /// Each layout of odd and even sizes, with padded rows, against one pixel at a time.
    #[test]
    fn every_layout_finds_each_pixels_samples() {
        let coding = Coding::bt601(Range::Limited);
        let mut frame = Frame::empty();
        for (width, height) in
            [(1, 1), (2, 1), (1, 2), (5, 3), (8, 4), (7, 6), (31, 2), (32, 3), (65, 5)]
        {
            let size = Size::new(width as u32, height as u32);
            let data: Vec<u8> = (0..4 * (width + 9) * (height + 3)).map(sample).collect();
            let check = |frame: &Frame, name: &str, at: &dyn Fn(usize, usize) -> [u8; 3]| {
                assert_eq!(frame.size, size);
                for (i, pixel) in frame.rgb.chunks(3).enumerate() {
                    let [y, u, v] = at(i % width, i / width);
                    assert_eq!(pixel, coding.rgb(y, u, v), "{name} {size} pixel {i}");
                }
            };

            let stride = 4 * width.div_ceil(2) + 4;
            yuyv(&mut frame, size, &data, stride, &coding).unwrap();
            check(&frame, "yuyv", &|x, y| {
                let quad = y * stride + 4 * (x / 2);
                [data[quad + 2 * (x % 2)], data[quad + 1], data[quad + 3]]
            });

            let stride = width + 3;
            nv12(&mut frame, size, &data, stride, &coding).unwrap();
            check(&frame, "nv12", &|x, y| {
                let pair = (height + y / 2) * stride + 2 * (x / 2);
                [data[y * stride + x], data[pair], data[pair + 1]]
            });

            for shift in [(0, 0), (1, 0), (1, 1), (2, 0), (2, 2)] {
                let plane = |from: usize| Plane { data: &data[from..], stride };
                let planes = [plane(1), plane(2)];
                planar(&mut frame, size, plane(0), Some(planes), shift, &coding).unwrap();
                check(&frame, "planar", &|x, y| {
                    let chroma = (y >> shift.1) * stride + (x >> shift.0);
                    [data[y * stride + x], data[1 + chroma], data[2 + chroma]]
                });
            }

            let luma = Plane { data: &data, stride };
            planar(&mut frame, size, luma, None, (0, 0), &coding).unwrap();
            check(&frame, "mono", &|x, y| [data[y * stride + x], 128, 128]);
        }
    }

    #[test]
    fn a_buffer_short_of_one_byte_is_skipped() {
        let (coding, size) = (Coding::bt601(Range::Limited), Size::new(3, 3));
        let frame = &mut Frame::empty();
        let skipped = |result: Result<()>| {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::Skip);
        };
        yuyv(frame, size, &[0; 24], 0, &coding).unwrap();
        skipped(yuyv(frame, size, &[0; 23], 0, &coding));
        nv12(frame, size, &[0; 20], 0, &coding).unwrap();
        skipped(nv12(frame, size, &[0; 19], 0, &coding));
        let plane = |length| Plane { data: &[0; 9][..length], stride: 0 };
        let mut i420 =
            |y, u, v| planar(frame, size, plane(y), Some([plane(u), plane(v)]), (1, 1), &coding);
        i420(9, 4, 4).unwrap();
        skipped(i420(8, 4, 4));
        skipped(i420(9, 3, 4));
        skipped(i420(9, 4, 3));
    }
}
