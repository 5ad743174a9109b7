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

use super::{Output, Scratch, Simd, unrolled};
use crate::int8::reference::Filters;
use crate::int8::{Shape, Window};

/// Columns of a tile: the widths of the usual feature maps are multiples of 7.
const COLUMNS: usize = 7;

/// Elements of scratch for a strip, so that it stays in the L1 cache.
const STRIP: usize = 10 * 1024;

/// Kernels packed for one instruction set.
#[derive(Debug, Clone)]
pub(in crate::int8) struct Kernels {
    window: Window,
    zero_point: u8,
    /// The first channel of each register; the last may overlap the one before it.
    blocks: Vec<usize>,
    /// Block, group of rows, column, row of outputs, channel, row of the group.
    weights: Vec<i8>,
    /// By block; the input's zero point is folded in.
    bias: Vec<i32>,
    scales: Vec<f32>,
    /// Rows of outputs of a tile.
    rows: usize,
    /// Groups of rows that a tile sees.
    groups: usize,
    /// Elements of a group of every channel of a register.
    group: usize,
}

impl Kernels {
    /// Packs the kernels, unless their kind has no fast path: fewer channels than a register, a
    /// vertical stride above 2, or 2 together with a dilation.
    pub fn new<S: Simd>(filters: &Filters, scales: &[f32]) -> Option<Self> {
        let window = filters.window;
        let channels = filters.output_channels();
        let rows = match (window.strides[0], window.dilations[0]) {
            (1, _) => 2,
            (2, 1) => 1,
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
        let (mut weights, mut bias, mut packed_scales) = (Vec::new(), Vec::new(), Vec::new());
        for &first in &blocks {
            let block = first..first + S::LANES;
            for group in 0..groups {
                for column in 0..width {
                    for row in 0..rows {
                        for channel in block.clone() {
                            let kernel = &filters.weights[channel * height * width..];
                            weights.extend((group * S::GROUP..(group + 1) * S::GROUP).map(|at| {
                                match at.checked_sub(row) {
                                    Some(tap) if tap < height => kernel[tap * width + column],
                                    _ => 0,
                                }
                            }));
                        }
                    }
                }
            }
            for channel in block {
                let kernel = &filters.weights[channel * height * width..][..height * width];
                let sum: i32 = kernel.iter().map(|&weight| i32::from(weight)).sum();
                let zero = i32::from(filters.input_zero_point) * sum;
                bias.push(filters.bias[channel].wrapping_sub(zero));
                packed_scales.push(scales[channel]);
            }
        }
        let (zero_point, group) = (filters.input_zero_point, S::LANES * S::GROUP);
        Some(Self {
            window,
            zero_point,
            blocks,
            weights,
            bias,
            scales: packed_scales,
            rows,
            groups,
            group,
        })
    }

    /// How many rows of outputs to compute together: as many as find place in the L1 cache, and a
    /// whole number of tiles.
    pub fn strip(&self, to: Shape) -> usize {
        let period = self.rows * self.window.dilations[0];
        let group = self.columns(to.width) * self.group;
        let tiles = (STRIP / group).saturating_sub(self.groups).max(1);
        tiles * period
    }

    /// Columns of interleaved groups for so many outputs across.
    fn columns(&self, width: usize) -> usize {
        let span = (self.window.kernel[1] - 1) * self.window.dilations[1];
        (width.max(COLUMNS) - 1) * self.window.strides[1] + span + 1
    }

    /// Computes the rows of outputs from `first`, as many as `to` holds; `residual` holds the same
    /// rows.
    #[inline(always)]
    pub fn convolve<S: Simd>(
        &self,
        simd: S,
        scratch: &mut Scratch,
        input: &[u8],
        shape: Shape,
        width: usize,
        first: usize,
        output: &Output,
        residual: Option<&[u8]>,
        to: &mut [u8],
    ) {
        let channels = shape.channels;
        assert!(input.len() >= shape.len() && width > 0);
        assert!(residual.map_or(output.residual.is_none(), |residual| residual.len() == to.len()));
        let strip = Strip {
            kernels: self,
            input,
            shape,
            width,
            columns: self.columns(width),
            output,
            residual,
        };
        let rows = to.len() / (width * channels);
        let dilation = self.window.dilations[0];
        for phase in 0..dilation.min(rows) {
            // The rows of outputs of this phase, and the groups of rows that they see.
            let outputs = (rows - phase).div_ceil(dilation);
            let tiles = outputs.div_ceil(self.rows);
            let groups = tiles - 1 + (self.groups - 1) * (S::GROUP / 2) + 1;
            let size = S::LANES * S::GROUP;
            let elements = scratch.elements(groups * strip.columns * size);
            for (block, &channel) in self.blocks.iter().enumerate() {
                for (group, row) in elements.chunks_exact_mut(strip.columns * size).enumerate() {
                    strip.interleave(simd, first + phase, group, channel, row);
                }
                for tile in 0..tiles {
                    let place = [phase + tile * self.rows * dilation, outputs - tile * self.rows];
                    let elements = &elements[tile * strip.columns * size..];
                    match (self.rows, residual.is_some()) {
                        (2, false) => strip.row::<S, false, 2>(simd, elements, block, place, to),
                        (2, true) => strip.row::<S, true, 2>(simd, elements, block, place, to),
                        (_, false) => strip.row::<S, false, 1>(simd, elements, block, place, to),
                        (_, true) => strip.row::<S, true, 1>(simd, elements, block, place, to),
                    }
                }
            }
        }
    }
}

struct Strip<'a> {
    kernels: &'a Kernels,
    input: &'a [u8],
    shape: Shape,
    width: usize,
    columns: usize,
    output: &'a Output,
    residual: Option<&'a [u8]>,
}

impl Strip<'_> {
    /// Interleaves the rows of the picture that make up a group, for one register of channels.
    #[inline(always)]
    fn interleave<S: Simd>(
        &self,
        simd: S,
        first: usize,
        group: usize,
        channel: usize,
        to: &mut [S::Element],
    ) {
        let window = &self.kernels.window;
        let size = S::LANES * S::GROUP;
        let padding = [self.kernels.zero_point; 16];
        // Each row's first pixel, and how far it is to the next: nowhere in padding.
        let rows: [(*const u8, usize); 4] = std::array::from_fn(|row| {
            let row = (group * 2 + row.min(S::GROUP - 1)) * window.dilations[0];
            match (first * window.strides[0] + row).checked_sub(window.pads[0]) {
                Some(y) if y < self.shape.height => {
                    let start = y * self.shape.width * self.shape.channels + channel;
                    (self.input[start..].as_ptr(), self.shape.channels)
                }
                _ => (padding.as_ptr(), 0),
            }
        });
        let left = window.pads[1].min(self.columns);
        let right = (left + self.shape.width).min(self.columns);
        to[..left * size].fill(S::element(self.kernels.zero_point));
        to[right * size..].fill(S::element(self.kernels.zero_point));
        for (column, to) in to[left * size..right * size].chunks_exact_mut(size).enumerate() {
            let pixels = rows.map(|(start, step)| start.wrapping_add(column * step));
            // SAFETY: `channel` begins a register of channels, `column` is less than the width of
            // the picture, and a register of padding has at most 16 bytes.
            unsafe { simd.interleave(pixels, to.as_mut_ptr()) };
        }
    }

    /// Computes one tile's rows of outputs: `place` is the first of them and how many are left.
    #[inline(always)]
    fn row<S: Simd, const ADD: bool, const R: usize>(
        &self,
        simd: S,
        elements: &[S::Element],
        block: usize,
        [first, left]: [usize; 2],
        to: &mut [u8],
    ) {
        let kernels = self.kernels;
        let [kernel, stride] = [kernels.window.kernel[1], kernels.window.strides[1]];
        let size = S::LANES * S::GROUP;
        let channel = kernels.blocks[block];
        let weights = &kernels.weights[block * kernels.groups * kernel * R * size..];
        let weights = &weights[..kernels.groups * kernel * R * size];
        let bias = &kernels.bias[block * S::LANES..][..S::LANES];
        let scales = &kernels.scales[block * S::LANES..][..S::LANES];
        let last = ((kernels.groups - 1) * (S::GROUP / 2) + 1) * self.columns * size;
        assert!(elements.len() >= last);
        let step = self.shape.channels;
        let pitch = self.width * step * kernels.window.dilations[0];
        let rows = left.min(R);
        let start = first * self.width * step + channel;
        assert!(start + (rows - 1) * pitch + (self.width - 1) * step + S::LANES <= to.len());
        let mut column = 0;
        loop {
            // The last tile ends with the row; it may overlap the one before it.
            let column_of_tile = column.min(self.width.saturating_sub(COLUMNS));
            let columns = self.width.min(COLUMNS);
            // SAFETY: a tile reads `groups` groups of rows, every second or fourth row, of which
            // `elements` holds the last whole row; `columns` counted how far it reaches in a row.
            // The weights of a block are as many as there are taps.
            let sums = unsafe {
                let at = elements.as_ptr().add(column_of_tile * stride * size);
                self.sums::<S, R>(simd, at, weights.as_ptr(), bias.as_ptr())
            };
            let mut nowhere = [0u8; 16];
            let from = start + column_of_tile * step;
            let to = to.as_mut_ptr();
            let mut place = |row: usize, column: usize| {
                if row < rows && column < columns {
                    let at = from + row * pitch + column * step;
                    let residual = self.residual.map_or(std::ptr::null(), |r| r[at..].as_ptr());
                    // SAFETY: asserted above to lie in the output.
                    (residual, unsafe { to.add(at) })
                } else {
                    let nowhere = nowhere.as_mut_ptr();
                    (nowhere.cast_const(), nowhere)
                }
            };
            // SAFETY: a register of scales, and places of a register of bytes.
            unsafe {
                let scales = [simd.floats(scales.as_ptr()); 2];
                let limits = self.output.limits(simd);
                // Two by two: the same column of two rows, or two columns of a row.
                unrolled!(i < (COLUMNS * R).div_ceil(2) => {
                    let second = (2 * i + 1).min(COLUMNS * R - 1);
                    let (a, b) = ((2 * i % R, 2 * i / R), (second % R, second / R));
                    let pair = [sums[a.0][a.1], sums[b.0][b.1]];
                    let (a, b) = (place(a.0, a.1), place(b.0, b.1));
                    self.output.finish::<S, ADD>(
                        simd, pair, scales, limits, [a.0, b.0], [a.1, b.1],
                    );
                });
            }
            column += COLUMNS;
            if column >= self.width {
                break;
            }
        }
    }

    /// The accumulators of a tile.
    ///
    /// # Safety
    /// As for [`Simd`]: `elements` holds the groups of rows of the tile, `weights` all taps.
    #[inline(always)]
    unsafe fn sums<S: Simd, const R: usize>(
        &self,
        simd: S,
        elements: *const S::Element,
        mut weights: *const i8,
        bias: *const i32,
    ) -> [[S::Sum; COLUMNS]; R] {
        let window = &self.kernels.window;
        let size = S::LANES * S::GROUP;
        let step = window.strides[1] * size;
        let (next, dilation) = (self.columns * size * (S::GROUP / 2), window.dilations[1] * size);
        // SAFETY: the caller's promise.
        unsafe {
            let mut sums = [[simd.sums(bias); COLUMNS]; R];
            for group in 0..self.kernels.groups {
                let row = elements.add(group * next);
                for tap in 0..window.kernel[1] {
                    let at = row.add(tap * dilation);
                    let mut taps = [simd.weights(weights); R];
                    for r in 1..R {
                        taps[r] = simd.weights(weights.add(r * size));
                    }
                    weights = weights.add(R * size);
                    for c in 0..COLUMNS {
                        let element = simd.operand(at.add(c * step));
                        for r in 0..R {
                            sums[r][c] = simd.dot(sums[r][c], element, taps[r]);
                        }
                    }
                }
            }
            sums
        }
    }
}
