//! Depthwise convolutions: each channel has a kernel of its own.
//!
//! The rows of a strip of the picture are first interleaved: a group holds a channel of one column
//! in `GROUP` successive rows. A vertical stretch of the kernel is then one `dot`. Padding is filled
//! in here, and only here. Groups start at every second row, so that two rows of outputs at stride
//! 1, or one at stride 2, find theirs; with two rows of outputs, the lower one's weights are shifted
//! down by a row.
//!
//! With a vertical dilation `d` (and stride 1) the rows of every remainder modulo `d` are convolved
//! as a picture of their own.

use super::scratch::Weights;
use super::{Kernel, Output, Scratch, Simd, unrolled};
use crate::int8::reference::Filters;
use crate::int8::{Shape, Window};

/// Columns of a tile: the widths of the usual feature maps are multiples of 7.
const COLUMNS: usize = 7;

/// Bytes of interleaved rows that stay in the L2 cache, with what else is there.
const INTERLEAVED: usize = 64 * 1024;

/// Registers of channels that are interleaved together, whatever they take up: about a cache line of
/// the picture.
const BATCH: usize = 8;

/// Kernels packed for one instruction set.
#[derive(Debug, Clone)]
pub(in crate::int8) struct Kernels {
    window: Window,
    /// A pixel outside of the picture: the input's zero point in every channel.
    padding: Vec<u8>,
    /// The first channel of each register; the last may overlap the one before it.
    blocks: Vec<usize>,
    /// Block, group of rows, column, row of outputs, channel, row of the group.
    weights: Weights,
    /// By block; the input's zero point is folded in.
    bias: Vec<i32>,
    scales: Vec<f32>,
    /// Rows of outputs of a tile.
    rows: usize,
    /// Groups of rows that a tile sees.
    groups: usize,
}

impl Kernels {
    /// Packs the kernels, unless their kind has no fast path: fewer channels than a register, strides
    /// that are not 1 or 2 both ways, or 2 together with a vertical dilation.
    pub fn new<S: Simd>(filters: &Filters, scales: &[f32]) -> Option<Self> {
        let window = filters.window;
        let channels = filters.output_channels();
        let rows = match (window.strides, window.dilations[0]) {
            ([1, 1], _) => 2,
            ([2, 2], 1) => 1,
            _ => return None,
        };
        let depthwise = filters.groups == channels && filters.input_channels == channels;
        if !depthwise || channels < S::LANES {
            return None;
        }
        let [height, width] = window.kernel;
        let groups = (height + rows - 1).div_ceil(S::GROUP);
        let blocks: Vec<usize> =
            (0..channels).step_by(S::LANES).map(|c| c.min(channels - S::LANES)).collect();
        let zero: i32 = S::element(filters.input_zero_point).into();
        let (mut bias, mut packed_scales) = (Vec::new(), Vec::new());
        let mut weights = Weights::new(blocks.len() * groups * width * rows * S::LANES * S::GROUP);
        let mut packed = weights.iter_mut();
        for &first in &blocks {
            let block = first..first + S::LANES;
            for group in 0..groups {
                for column in 0..width {
                    for row in 0..rows {
                        for channel in block.clone() {
                            let kernel = &filters.weights[channel * height * width..];
                            let taps = group * S::GROUP..(group + 1) * S::GROUP;
                            for (at, packed) in taps.zip(&mut packed) {
                                if let Some(tap) = at.checked_sub(row).filter(|&tap| tap < height) {
                                    *packed = kernel[tap * width + column];
                                }
                            }
                        }
                    }
                }
            }
            for channel in block {
                let kernel = &filters.weights[channel * height * width..][..height * width];
                let sum: i32 = kernel.iter().map(|&weight| i32::from(weight)).sum();
                bias.push(filters.bias[channel].wrapping_sub(zero * sum));
                packed_scales.push(scales[channel]);
            }
        }
        let padding = vec![filters.input_zero_point; channels];
        Some(Self { window, padding, blocks, weights, bias, scales: packed_scales, rows, groups })
    }

    /// What the number of rows of outputs that are computed together is a multiple of.
    pub fn rows(&self) -> usize {
        self.rows * self.window.dilations[0]
    }

    /// Columns of interleaved groups for so many outputs across.
    fn columns(&self, width: usize) -> usize {
        (width.max(COLUMNS) - 1) * self.window.strides[1] + self.window.extent(1)
    }

    /// Groups from the first to the last that a tile sees; of groups of four rows it sees every second.
    #[inline(always)]
    fn seen<S: Simd>(&self) -> usize {
        (self.groups - 1) * (S::GROUP / 2) + 1
    }
}

/// Some rows of outputs of a depthwise convolution.
pub(in crate::int8) struct Strip<'a> {
    pub kernels: &'a Kernels,
    pub scratch: &'a mut Scratch,
    pub input: &'a [u8],
    pub shape: Shape,
    /// Pixels of a row of the output.
    pub width: usize,
    /// The first row.
    pub first: usize,
    pub output: &'a Output,
    /// The rows.
    pub to: &'a mut [u8],
}

impl Kernel for Strip<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { kernels, scratch, input, shape, width, first, output, to } = self;
        assert!(input.len() >= shape.len() && width > 0 && output.residual.is_none());
        let columns = kernels.columns(width);
        let size = S::LANES * S::GROUP;
        let rows = to.len() / (width * shape.channels);
        let dilation = kernels.window.dilations[0];
        // The groups of rows that a tile sees lie in a ring.
        let seen = kernels.seen::<S>();
        let plane = seen * columns * size;
        let batch = (INTERLEAVED / (plane * size_of::<S::Element>())).max(BATCH);
        let batches = kernels.blocks.len().div_ceil(batch);
        let batch = kernels.blocks.len().div_ceil(batches).next_multiple_of(2);
        let elements = scratch.elements::<S::Element>(batch * plane);
        for phase in 0..dilation.min(rows) {
            // The rows of outputs of this phase.
            let outputs = (rows - phase).div_ceil(dilation);
            let tiles = outputs.div_ceil(kernels.rows);
            for first_block in (0..kernels.blocks.len()).step_by(batch) {
                let batch = first_block..kernels.blocks.len().min(first_block + batch);
                let mut interleaved = 0;
                // All registers of a batch before the next tile: what they read and write is a part of
                // the same cache lines.
                for tile in 0..tiles {
                    for group in interleaved..tile + seen {
                        kernels.interleave(
                            simd,
                            (input, shape),
                            [(first + phase) * kernels.window.strides[0], group],
                            &kernels.blocks[batch.clone()],
                            [columns, plane],
                            &mut elements[group % seen * columns * size..],
                        );
                    }
                    interleaved = tile + seen;
                    for (block, plane) in batch.clone().zip(elements.chunks_exact(plane)) {
                        let mut rows = Rows {
                            kernels,
                            elements: plane,
                            slot: tile % seen,
                            block,
                            columns,
                            width,
                            channels: shape.channels,
                            first: phase + tile * kernels.rows * dilation,
                            // The lower row of the last tile may be one too many.
                            lower: tile * kernels.rows + 1 < outputs,
                            output,
                            to: &mut *to,
                        };
                        // The width of tile that leaves the least over.
                        let waste = |columns: usize| width.next_multiple_of(columns) - width;
                        match kernels.rows {
                            1 => rows.run::<S, 1, 7>(simd),
                            _ if S::PANEL == 4 && waste(7) <= waste(6).min(waste(5)) => {
                                rows.run::<S, 2, 7>(simd);
                            }
                            _ if waste(6) <= waste(5).min(waste(4)) => rows.run::<S, 2, 6>(simd),
                            _ if waste(5) <= waste(4) => rows.run::<S, 2, 5>(simd),
                            _ => rows.run::<S, 2, 4>(simd),
                        }
                    }
                }
            }
        }
    }
}

impl Kernels {
    /// Interleaves the rows of the picture that make up a group, for some registers of channels.
    /// Each has its row of `columns` groups in `to`, `plane` elements apart.
    #[inline(always)]
    fn interleave<S: Simd>(
        &self,
        simd: S,
        (input, shape): (&[u8], Shape),
        [first, group]: [usize; 2],
        blocks: &[usize],
        [columns, plane]: [usize; 2],
        to: &mut [S::Element],
    ) {
        let size = S::LANES * S::GROUP;
        assert!(to.len() >= (blocks.len() - 1) * plane + columns * size);
        // Each row's first pixel, and how far it is to the next: nowhere in padding.
        let mut rows = [self.padding.as_ptr(); 4];
        let mut steps = [0; 4];
        for row in 0..S::GROUP {
            let y = first + (group * 2 + row) * self.window.dilations[0];
            if let Some(y) = y.checked_sub(self.window.pads[0]).filter(|&y| y < shape.height) {
                rows[row] = input[y * shape.width * shape.channels..].as_ptr();
                steps[row] = shape.channels;
            }
        }
        let left = self.window.pads[1].min(columns);
        let right = (left + shape.width).min(columns);
        let zero = S::element(self.padding[0]);
        for (block, _) in blocks.iter().enumerate() {
            let row = &mut to[block * plane..][..columns * size];
            row[..left * size].fill(zero);
            row[right * size..].fill(zero);
        }
        // Two registers at a time, but for those that do not follow the one before, and an odd one.
        let following = blocks.iter().zip((blocks[0]..).step_by(S::LANES));
        let paired = following.take_while(|(block, next)| *block == next).count() & !1;
        // Pixel by pixel: a cache line holds the channels of several registers.
        for column in left..right {
            // SAFETY: each of the blocks begins a register of channels, of which each pixel of a
            // row has one, and so has the pixel of padding. That `to` holds the groups was
            // asserted.
            unsafe {
                let mut to = to.as_mut_ptr().add(column * size);
                let mut pixels = rows.map(|row| row.wrapping_add(blocks[0]));
                for _ in 0..paired / 2 {
                    simd.interleave_two(pixels, [to, to.add(plane)]);
                    for row in 0..S::GROUP {
                        pixels[row] = pixels[row].wrapping_add(2 * S::LANES);
                    }
                    to = to.wrapping_add(2 * plane);
                }
                for &block in &blocks[paired..] {
                    simd.interleave(rows.map(|row| row.wrapping_add(block)), to);
                    to = to.wrapping_add(plane);
                }
            }
            for row in 0..S::GROUP {
                rows[row] = rows[row].wrapping_add(steps[row]);
            }
        }
    }
}

/// The rows of outputs of one tile, for one register of channels.
struct Rows<'a, E> {
    kernels: &'a Kernels,
    /// A ring of groups of rows.
    elements: &'a [E],
    /// Where in the ring the first one is.
    slot: usize,
    block: usize,
    columns: usize,
    width: usize,
    channels: usize,
    first: usize,
    lower: bool,
    output: &'a Output,
    to: &'a mut [u8],
}

impl<E> Rows<'_, E> {
    /// Computes them, `R` rows by `C` columns at a time.
    #[inline(always)]
    fn run<S: Simd<Element = E>, const R: usize, const C: usize>(&mut self, simd: S) {
        let kernels = self.kernels;
        let [kernel, stride] = [kernels.window.kernel[1], kernels.window.strides[1]];
        let size = S::LANES * S::GROUP;
        let taps = kernels.groups * kernel * R * size;
        let weights = &kernels.weights[self.block * taps..][..taps];
        let bias = &kernels.bias[self.block * S::LANES..][..S::LANES];
        let scales = &kernels.scales[self.block * S::LANES..][..S::LANES];
        let seen = kernels.seen::<S>();
        assert!(R == kernels.rows && C <= COLUMNS && self.slot < seen);
        assert!(self.elements.len() >= seen * self.columns * size);
        let pitch = self.width * self.channels * kernels.window.dilations[0];
        let start = self.first * self.width * self.channels + kernels.blocks[self.block];
        let rows = if R == 2 && self.lower { 2 } else { 1 };
        let end = start + (rows - 1) * pitch + (self.width - 1) * self.channels + S::LANES;
        assert!(end <= self.to.len());
        // SAFETY: there is a register of scales.
        let (scales, limits) =
            unsafe { ([simd.floats(scales.as_ptr()); 4], self.output.limits(simd)) };
        // Where registers do not belong in the output, they go here: a lower row that is one too
        // many, and rows that are narrower than a tile.
        let mut aside = [[[0u8; 16]; COLUMNS]; 2];
        let narrow = self.width < C;
        let mut place = [aside[0].as_mut_ptr().cast::<u8>(), aside[1].as_mut_ptr().cast()];
        // From a column to the next, and from a tile to the next.
        let (mut step, mut advance) = ([16; 2], [0; 2]);
        for row in 0..if narrow { 0 } else { rows } {
            place[row] = self.to[start + row * pitch..].as_mut_ptr();
            (step[row], advance[row]) = (self.channels, self.channels);
        }
        let mut column = 0;
        while column < self.width {
            // The last tile ends with the row; it may overlap the one before it.
            let first = column.min(self.width.saturating_sub(C));
            // SAFETY: a tile reads `groups` groups of rows, of the `seen` that `elements` holds;
            // `columns` counted how far it reaches in a row. There are weights for every tap, and a
            // register of biases.
            let sums = unsafe {
                let at = self.elements.as_ptr().add(first * stride * size);
                self.sums::<S, R, C>(simd, at, weights.as_ptr(), bias.as_ptr())
            };
            let tile = [0, 1].map(|row| place[row].wrapping_add(first * advance[row]));
            // Four by four; the last four may repeat the last register.
            unrolled!(i < (C * R).div_ceil(4) => {
                let mut four = [sums[0][0]; 4];
                let mut to = [std::ptr::null_mut::<u8>(); 4];
                unrolled!(j < 4 => {
                    let at = (4 * i + j).min(C * R - 1);
                    let (row, column) = (at % R, at / R);
                    four[j] = sums[row][column];
                    to[j] = tile[row].wrapping_add(column * step[row]);
                });
                let residual = [std::ptr::null(); 4];
                // SAFETY: the output holds `C` columns of the rows, as asserted above; otherwise
                // `aside` does.
                unsafe {
                    self.output.finish::<S, false>(simd, four, scales, limits, residual, to);
                }
            });
            column += C;
        }
        for row in 0..if narrow { rows } else { 0 } {
            for (column, bytes) in aside[row].iter().take(self.width).enumerate() {
                let at = start + row * pitch + column * self.channels;
                self.to[at..][..S::LANES].copy_from_slice(&bytes[..S::LANES]);
            }
        }
    }

    /// The accumulators of a tile.
    ///
    /// # Safety
    /// As for [`Simd`]: `elements` holds the groups of rows of the tile, `weights` all taps, `bias`
    /// a register.
    #[inline(always)]
    unsafe fn sums<S: Simd<Element = E>, const R: usize, const C: usize>(
        &self,
        simd: S,
        elements: *const E,
        mut weights: *const i8,
        bias: *const i32,
    ) -> [[S::Sum; C]; R] {
        let window = &self.kernels.window;
        let size = S::LANES * S::GROUP;
        // Two rows of outputs have a stride of 1, one has 2.
        let step = (3 - R) * size;
        let (row, dilation) = (self.columns * size, window.dilations[1] * size);
        let seen = self.kernels.seen::<S>();
        let mut slot = self.slot;
        // SAFETY: the caller's promise.
        unsafe {
            let mut sums = [[simd.sums(bias); C]; R];
            for _ in 0..self.kernels.groups {
                let mut at = elements.add(slot * row);
                for _ in 0..window.kernel[1] {
                    let mut taps = [simd.weights(weights); R];
                    for r in 1..R {
                        taps[r] = simd.weights(weights.add(r * size));
                    }
                    weights = weights.add(R * size);
                    for c in 0..C {
                        let element = simd.operand(at.add(c * step));
                        for r in 0..R {
                            sums[r][c] = simd.dot(sums[r][c], element, taps[r]);
                        }
                    }
                    at = at.wrapping_add(dilation);
                }
                slot += S::GROUP / 2;
                if slot >= seen {
                    slot -= seen;
                }
            }
            sums
        }
    }
}
