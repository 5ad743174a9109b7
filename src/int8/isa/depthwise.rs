//! Depthwise convolutions: each channel has a kernel of its own.
//!
//! The rows of a strip of the picture are first interleaved: a group holds a channel of one column
//! in `GROUP` successive rows. A vertical stretch of the kernel is then one `dot`. Padding is filled
//! in here, and only here. A tile is two rows of outputs at stride 1, or one at stride 2; the lower
//! one's weights are shifted down by a row.
//!
//! The next tile begins two rows further down: with a group of two rows, or in the middle of one of
//! four. There either the weights are shifted down too, or, where the tile would see a group more, the
//! halves of two groups are put together.
//!
//! Of the last group of four (in the middle: the first) a tile may see two rows only. Two columns of
//! them are put together, then, for one `dot`: five columns of six rows take eight instead of ten.
//!
//! With a vertical dilation `d` (and stride 1) the rows of every remainder modulo `d` are convolved
//! as a picture of their own.

use std::ops::Range;

use super::scratch::Weights;
use super::{Kernel, Matrix, Output, PLANE, Scratch, Simd, opaque, prefetch, start, unrolled};
use crate::int8::reference::Filters;
use crate::int8::{Shape, Window};

/// Columns of a tile: the widths of the usual feature maps are multiples of 7.
const COLUMNS: usize = 7;

/// Pairs of columns of a kernel that is five columns wide; the last holds a column too many.
const PAIRS: usize = 3;

/// Columns that a tile sees at most, of a kernel that is five columns wide.
const REACH: usize = 2 * (COLUMNS - 1) + 2 * PAIRS;

/// Bytes of interleaved rows that stay in the L1 cache, with the weights.
const INTERLEAVED: usize = 24 * 1024;

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
    /// By block: whether the sums are raised: see [`super::RAISE`].
    raised: Vec<bool>,
    /// Where in a group a tile begins, block, whole groups of rows by column and then pairs of columns,
    /// row of outputs, channel, row of the group.
    weights: Weights,
    /// By block; the input's zero point is folded in.
    bias: Vec<i32>,
    scales: Vec<f32>,
    /// Rows of outputs of a tile.
    rows: usize,
    /// Whole groups of rows that a tile is computed from.
    groups: usize,
    /// Whether these are put together from halves where a tile begins in the middle of one.
    halves: bool,
    /// The width of the kernels, 3 or 5, if a tile loads each column of a group once for all taps; 5 only
    /// where it sees half a group besides the whole ones. Otherwise 0.
    unrolled: usize,
}

impl Kernels {
    /// Packs the kernels, unless their kind has no fast path: fewer channels than a register, strides
    /// that are not 1 or 2 both ways, or 2 together with a vertical dilation.
    pub fn new<S: Simd>(filters: &Filters, scales: &[f32], raisable: &[bool]) -> Option<Self> {
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
        let seen = height + rows - 1;
        // There are registers for the columns that a tile sees.
        let known = S::PANEL == 4 && window.dilations[1] == 1;
        let unrolled = match width {
            3 if known => 3,
            5 if known && matches!(seen % 4, 1 | 2) => 5,
            _ => 0,
        };
        let paired = unrolled == 5;
        let pairs = if paired { PAIRS } else { 0 };
        let groups = if paired { seen / 4 } else { seen.div_ceil(S::GROUP) };
        let halves = S::GROUP == 4 && !paired && (2 + seen).div_ceil(4) > groups;
        let blocks: Vec<usize> =
            (0..channels).step_by(S::LANES).map(|c| c.min(channels - S::LANES)).collect();
        let zero: i32 = S::element(filters.input_zero_point).into();
        let (mut bias, mut packed_scales) = (Vec::new(), Vec::new());
        let taps = (groups * width + pairs) * rows * S::LANES * S::GROUP;
        let mut weights = Weights::new(S::GROUP / 2 * blocks.len() * taps);
        let mut packed = weights.chunks_exact_mut(S::GROUP);
        for (middle, &first) in
            (0..S::GROUP / 2).flat_map(|middle| blocks.iter().map(move |first| (middle, first)))
        {
            // Packs the weights of the pixels of one register, whose rows and columns are counted from the
            // tile's first group on.
            let mut pack = |pixels: [[usize; 2]; 4]| {
                for row in 0..rows {
                    for (channel, packed) in (first..first + S::LANES).zip(&mut packed) {
                        let kernel = &filters.weights[channel * height * width..];
                        for (packed, [y, x]) in packed.iter_mut().zip(pixels) {
                            let tap = y.wrapping_sub(2 * middle + row);
                            if tap < height && x < width {
                                *packed = kernel[tap * width + x];
                            }
                        }
                    }
                }
            };
            for (group, column) in (0..groups).flat_map(|g| (0..width).map(move |x| (g, x))) {
                pack(std::array::from_fn(|at| {
                    let below = middle == 1 && (paired || halves && at < 2);
                    [(group + usize::from(below)) * S::GROUP + at, column]
                }));
            }
            for pair in 0..pairs {
                let row = if middle == 1 { 2 } else { groups * 4 };
                pack(std::array::from_fn(|at| [row + at % 2, 2 * pair + at / 2]));
            }
        }
        let raised: Vec<bool> = blocks
            .iter()
            .map(|&first| raisable[first..][..S::LANES].iter().all(|&raisable| raisable))
            .collect();
        for (&first, &raised) in blocks.iter().zip(&raised) {
            for channel in first..first + S::LANES {
                let kernel = &filters.weights[channel * height * width..][..height * width];
                bias.push(start(filters.bias[channel], kernel, zero, raised));
                packed_scales.push(scales[channel]);
            }
        }
        let padding = vec![filters.input_zero_point; channels];
        let scales = packed_scales;
        Some(Self {
            window,
            padding,
            blocks,
            raised,
            weights,
            bias,
            scales,
            rows,
            groups,
            halves,
            unrolled,
        })
    }

    /// A byte outside of the picture: the input's zero point.
    pub fn padding(&self) -> u8 {
        self.padding[0]
    }

    /// What the number of rows of outputs that are computed together is a multiple of.
    pub fn rows(&self) -> usize {
        self.rows * self.window.dilations[0]
    }

    /// Columns of interleaved groups for so many outputs across.
    fn columns(&self, width: usize) -> usize {
        // The last pair may hold a column too many.
        let extent = self.window.extent(1).max(2 * self.pairs());
        (width.max(COLUMNS) - 1) * self.window.strides[1] + extent
    }

    /// The most groups that a tile sees.
    #[inline(always)]
    fn seen(&self) -> usize {
        self.groups + usize::from(self.halves || self.pairs() > 0)
    }

    /// Pairs of columns of half a group that a tile sees.
    #[inline(always)]
    fn pairs(&self) -> usize {
        if self.unrolled == 5 { PAIRS } else { 0 }
    }
}

/// The picture that a kernel slides over.
#[derive(Debug, Clone, Copy)]
pub(in crate::int8) enum Source<'a> {
    /// It lies there.
    Picture(&'a [u8]),
    /// It is what a pointwise convolution, here one panel of it, makes of another one.
    Expansion { matrix: &'a Matrix, panel: usize, input: &'a [u8], output: &'a Output },
}

/// Tells whether kernels can slide over an expansion, and be followed by a projection.
pub(in crate::int8) struct Joins<'a> {
    pub expansion: Option<&'a Matrix>,
    pub kernels: &'a Kernels,
    pub projects: bool,
    pub joins: &'a mut bool,
}

impl Kernel for Joins<'_> {
    fn run<S: Simd>(self, _: S) {
        let channels = self.kernels.padding.len();
        // Pixels are multiplied where they lie, and no register of channels overlaps another.
        *self.joins = S::GROUP == 4
            && S::elements(&[]).is_some()
            && channels.is_multiple_of(S::LANES)
            && self.expansion.is_none_or(Matrix::is_filled::<S>)
            && (!self.projects || S::LANES == PLANE);
    }
}

/// Some rows of outputs of a depthwise convolution; of an expansion, those channels that its panel makes.
pub(in crate::int8) struct Strip<'a> {
    pub kernels: &'a Kernels,
    pub scratch: &'a mut Scratch,
    pub source: Source<'a>,
    /// Of the picture that the kernels slide over.
    pub shape: Shape,
    /// Pixels of a row of the output.
    pub width: usize,
    /// The first row.
    pub first: usize,
    pub output: &'a Output,
    /// Whether the registers of channels lie one after the other in `to`, each of all pixels.
    pub planar: bool,
    /// The rows.
    pub to: &'a mut [u8],
}

impl Kernel for Strip<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        // The width of tile that leaves the least over.
        let waste = |columns: usize| self.width.next_multiple_of(columns) - self.width;
        macro_rules! run {
            ($rows:literal, $columns:literal) => {
                match self.planar {
                    true => simd.run(Tiled::<$rows, $columns, true>(self)),
                    false => simd.run(Tiled::<$rows, $columns, false>(self)),
                }
            };
        }
        match self.kernels.rows {
            1 => run!(1, 7),
            _ if S::PANEL == 4 && waste(7) <= waste(6).min(waste(5)) => run!(2, 7),
            _ if waste(6) <= waste(5).min(waste(4)) => run!(2, 6),
            _ if waste(5) <= waste(4) => run!(2, 5),
            _ => run!(2, 4),
        }
    }
}

/// A [`Strip`] in tiles of `R` rows by `C` columns; a function of its own, since the compiler would keep
/// what all the shapes of tiles need at hand for each of them.
struct Tiled<'a, const R: usize, const C: usize, const PLANAR: bool>(Strip<'a>);

impl<const R: usize, const C: usize, const PLANAR: bool> Kernel for Tiled<'_, R, C, PLANAR> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        if PLANAR && S::LANES != PLANE {
            return;
        }
        let Strip { kernels, scratch, source, shape, width, first, output, to, .. } = self.0;
        assert!(width > 0 && output.residual.is_none());
        let columns = kernels.columns(width);
        let size = S::LANES * S::GROUP;
        let rows = to.len() / (width * shape.channels);
        let dilation = kernels.window.dilations[0];
        // The groups of rows that a tile sees lie in a ring.
        let seen = kernels.seen();
        let plane = seen * columns * size;
        // The registers of channels, and how many of them together.
        let (blocks, batch) = match source {
            Source::Picture(_) => {
                let blocks = kernels.blocks.len();
                let batch = (INTERLEAVED / (plane * size_of::<S::Element>())).max(BATCH);
                (0..blocks, blocks.div_ceil(blocks.div_ceil(batch)).next_multiple_of(2))
            }
            Source::Expansion { matrix, panel, .. } => {
                let blocks = matrix.registers::<S>(panel);
                (blocks.clone(), blocks.len())
            }
        };
        let elements = scratch.elements::<S::Element>(batch * plane);
        // The columns of groups that are in the picture. The others never change.
        let left = kernels.window.pads[1].min(columns);
        let right = (left + shape.width).min(columns);
        let zero = S::element(kernels.padding[0]);
        for row in elements.chunks_exact_mut(columns * size) {
            row[..left * size].fill(zero);
            row[right * size..].fill(zero);
        }
        let mut aside = [[0; 16]; 2 * COLUMNS];
        for phase in 0..dilation.min(rows) {
            // The rows of outputs of this phase.
            let outputs = (rows - phase).div_ceil(dilation);
            let tiles = outputs.div_ceil(kernels.rows);
            for first_block in blocks.clone().step_by(batch) {
                let batch = first_block..blocks.end.min(first_block + batch);
                let mut interleaved = 0;
                // All registers of a batch before the next tile: what they read and write is a part of
                // the same cache lines.
                for tile in 0..tiles {
                    // A tile begins with every second row.
                    let (group, middle) = (tile / (S::GROUP / 2), tile % (S::GROUP / 2) == 1);
                    let halves = kernels.halves && middle;
                    let end = group + kernels.groups + usize::from(halves || kernels.pairs() > 0);
                    for group in interleaved..end {
                        let row = (first + phase) * kernels.window.strides[0]
                            + group * S::GROUP * dilation;
                        let to = &mut elements[(group % seen * columns + left) * size..];
                        let to = (to, plane);
                        kernels.fill(simd, source, shape, row, right - left, batch.clone(), to);
                    }
                    interleaved = end.max(interleaved);
                    if !PLANAR {
                        let channels =
                            kernels.blocks[batch.start]..kernels.blocks[batch.end - 1] + S::LANES;
                        for row in (tile * kernels.rows..outputs).take(kernels.rows) {
                            let first = (phase + row * dilation) * width;
                            let row = &to[first * shape.channels..][..width * shape.channels];
                            prefetch_channels(row, shape.channels, channels.clone());
                        }
                    }
                    let rows = Rows {
                        kernels,
                        elements,
                        slot: group % seen,
                        middle,
                        blocks: batch.clone(),
                        columns,
                        width,
                        channels: shape.channels,
                        first: (phase + tile * kernels.rows * dilation) * width,
                        // The lower row of the last tile may be one too many.
                        lower: tile * kernels.rows + 1 < outputs,
                        output,
                        to: &mut *to,
                        aside: &mut aside,
                    };
                    match (kernels.unrolled, halves) {
                        (5, _) if S::PANEL == 4 => rows.run::<S, R, C, 5, PLANAR, false>(simd),
                        (3, true) if S::PANEL == 4 => rows.run::<S, R, C, 3, PLANAR, true>(simd),
                        (3, false) if S::PANEL == 4 => rows.run::<S, R, C, 3, PLANAR, false>(simd),
                        (_, true) => rows.run::<S, R, C, 0, PLANAR, true>(simd),
                        (_, false) => rows.run::<S, R, C, 0, PLANAR, false>(simd),
                    }
                }
            }
        }
    }
}

/// Fetches some channels of pixels that are about to be written: each register of them would wait for its
/// cache line.
#[inline(always)]
fn prefetch_channels(pixels: &[u8], channels: usize, some: Range<usize>) {
    // All channels of all pixels lie side by side.
    let all = some.len() == channels;
    let (step, length) = if all { (pixels.len(), pixels.len()) } else { (channels, some.len()) };
    let Range { start, end } = pixels.as_ptr_range();
    let mut pixel = start.wrapping_add(some.start);
    while pixel < end {
        let mut line = pixel;
        while line < pixel.wrapping_add(length) {
            prefetch(line);
            line = line.wrapping_add(64);
        }
        pixel = pixel.wrapping_add(step);
    }
}

impl Kernels {
    /// Puts together the groups that begin with row `first` of the padded picture, for some registers of
    /// channels. Each has its row of `columns` groups in `to`, `plane` elements apart.
    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "a picture in, groups out")]
    fn fill<S: Simd>(
        &self,
        simd: S,
        source: Source,
        shape: Shape,
        first: usize,
        columns: usize,
        blocks: Range<usize>,
        (to, plane): (&mut [S::Element], usize),
    ) {
        // The rows of the group that are in the picture.
        let place = |row: &usize| {
            let y = first + row * self.window.dilations[0];
            y.checked_sub(self.window.pads[0]).filter(|&y| y < shape.height)
        };
        let start = (0..S::GROUP).find(|row| place(row).is_some()).unwrap_or(S::GROUP);
        let end = (start..S::GROUP).find(|row| place(row).is_none()).unwrap_or(S::GROUP);
        let top = place(&start).unwrap_or(0) * shape.width;
        let pitch = self.window.dilations[0] * shape.width;
        match source {
            Source::Picture(input) => {
                let mut rows = [None; 4];
                for row in start..end {
                    rows[row] = Some(&input[(top + (row - start) * pitch) * shape.channels..]);
                }
                self.interleave(simd, rows, columns, &self.blocks[blocks], (to, plane));
            }
            Source::Expansion { matrix, panel, input, output } => {
                let channels = matrix.inputs();
                matrix.expand(
                    simd,
                    panel,
                    (&input[top * channels..], pitch * channels),
                    start..end,
                    columns,
                    output,
                    (to, plane),
                );
            }
        }
    }

    /// Interleaves `columns` pixels of rows, or of padding where there is none.
    #[inline(always)]
    fn interleave<S: Simd>(
        &self,
        simd: S,
        rows: [Option<&[u8]>; 4],
        columns: usize,
        blocks: &[usize],
        (to, plane): (&mut [S::Element], usize),
    ) {
        let size = S::LANES * S::GROUP;
        let channels = self.padding.len();
        assert!(rows.iter().flatten().all(|row| row.len() >= columns * channels));
        assert!(to.len() >= (blocks.len() - 1) * plane + columns * size);
        // How far it is to the next pixel: nowhere in padding.
        let steps = rows.map(|row| if row.is_some() { channels } else { 0 });
        let mut rows = rows.map(|row| row.unwrap_or(&self.padding).as_ptr());
        // Two registers at a time, but for those that do not follow the one before, and an odd one.
        let following = blocks.iter().zip((blocks[0]..).step_by(S::LANES));
        let paired = following.take_while(|(block, next)| *block == next).count() & !1;
        // Pixel by pixel: a cache line holds the channels of several registers.
        for column in 0..columns {
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

/// The rows of outputs of one tile, for some registers of channels.
struct Rows<'a, E> {
    kernels: &'a Kernels,
    /// Of each register, a ring of groups of rows.
    elements: &'a [E],
    /// Where in the ring the first one is.
    slot: usize,
    /// Whether the tile begins in the middle of it.
    middle: bool,
    blocks: Range<usize>,
    columns: usize,
    width: usize,
    /// Of a pixel of the output.
    channels: usize,
    /// The first pixel.
    first: usize,
    /// Whether there is a lower row.
    lower: bool,
    output: &'a Output,
    to: &'a mut [u8],
    /// Where a tile goes that is wider than its rows.
    aside: &'a mut [[u8; 16]; 2 * COLUMNS],
}

/// What the rows of a register of channels are computed from, and where they go.
struct Register<E> {
    weights: *const i8,
    /// From these weights to those of the next register.
    taps: usize,
    bias: *const i32,
    scales: *const f32,
    elements: *const E,
    to: *mut u8,
    /// From a pixel to the next, and from a row to the next.
    steps: [usize; 2],
}

impl<E> Rows<'_, E> {
    /// Computes them, `R` rows by `C` columns at a time; `HALVES` if the groups are to be put together
    /// from halves. `K` is [`Kernels::unrolled`].
    #[inline(always)]
    fn run<
        S: Simd<Element = E>,
        const R: usize,
        const C: usize,
        const K: usize,
        const PLANAR: bool,
        const HALVES: bool,
    >(
        self,
        simd: S,
    ) {
        let kernels = self.kernels;
        let size = S::LANES * S::GROUP;
        let taps = (kernels.groups * kernels.window.kernel[1] + kernels.pairs()) * R * size;
        let plane = kernels.seen() * self.columns * size;
        let Range { start, end } = self.blocks;
        let count = end - start;
        let at = usize::from(self.middle) * kernels.blocks.len() + start;
        let weights = &kernels.weights[at * taps..][..count * taps];
        let bias = &kernels.bias[start * S::LANES..][..count * S::LANES];
        let scales = &kernels.scales[start * S::LANES..][..count * S::LANES];
        assert!(R == kernels.rows && C <= COLUMNS && K == kernels.unrolled);
        assert!(self.slot < kernels.seen() && self.elements.len() >= count * plane);
        // From a pixel of the output to the next, and from a register to the next.
        let (step, planes) = match PLANAR {
            true => (S::LANES, self.to.len() / kernels.blocks.len()),
            false => (self.channels, 0),
        };
        // A lower row that is one too many is written first, where the upper one then is.
        let pitch = match R == 2 && self.lower {
            true => self.width * step * kernels.window.dilations[0],
            false => 0,
        };
        let narrow = self.width < C;
        let blocks = kernels.blocks[start..end].iter().zip(&kernels.raised[start..end]);
        for (i, (&channel, &raised)) in blocks.enumerate() {
            let offset = if PLANAR { (start + i) * planes } else { channel };
            let to = &mut self.to[self.first * step + offset..];
            assert!(pitch + (self.width - 1) * step + S::LANES <= to.len());
            let (place, steps) = match narrow {
                true => (self.aside.as_mut_ptr().cast(), [16, 16 * C]),
                false => (to.as_mut_ptr(), [step, pitch]),
            };
            // SAFETY: there are weights, biases, scales and elements for so many registers. The output
            // holds the last pixel of the lower row, and `aside` a tile.
            unsafe {
                let register = Register {
                    weights: weights.as_ptr().add(i * taps),
                    taps,
                    bias: bias.as_ptr().add(i * S::LANES),
                    scales: scales.as_ptr().add(i * S::LANES),
                    elements: self.elements.as_ptr().add(i * plane),
                    to: place,
                    steps,
                };
                match raised {
                    false => self.register::<S, R, C, K, PLANAR, HALVES, false>(simd, register),
                    true => self.register::<S, R, C, K, PLANAR, HALVES, true>(simd, register),
                }
            }
            if narrow {
                let to = &mut self.to[self.first * step + offset..];
                for row in 0..if pitch == 0 { 1 } else { 2 } {
                    for (column, bytes) in self.aside[row * C..][..self.width].iter().enumerate() {
                        to[row * pitch + column * step..][..S::LANES]
                            .copy_from_slice(&bytes[..S::LANES]);
                    }
                }
            }
        }
    }

    /// Computes the rows of one register.
    ///
    /// # Safety
    /// As for [`Simd`]: `register` holds what belongs to a register, and has room for its rows, and for
    /// a tile.
    #[inline(always)]
    unsafe fn register<
        S: Simd<Element = E>,
        const R: usize,
        const C: usize,
        const K: usize,
        const PLANAR: bool,
        const HALVES: bool,
        const RAISED: bool,
    >(
        &self,
        simd: S,
        register: Register<E>,
    ) {
        let [step, pitch] = register.steps;
        let pixel = self.kernels.window.strides[1] * S::LANES * S::GROUP;
        // SAFETY: the caller's promise. A tile reads `groups` groups of rows, of the `seen` of the ring;
        // `columns` counted how far it reaches in a row.
        unsafe {
            let (scales, limits) = (simd.scales(register.scales), self.output.limits(simd));
            let mut column = 0;
            while column < self.width {
                // The last tile ends with the row; it may overlap the one before it.
                let first = column.min(self.width.saturating_sub(C));
                let sums = self.sums::<S, R, C, K, HALVES>(simd, &register, first * pixel);
                let tile = register.to.add(first * step);
                if PLANAR {
                    unrolled!(row < R => {
                        let row = R - 1 - row;
                        unrolled!(i < C.div_ceil(4) => {
                            let mut four = [sums[row][0]; 4];
                            unrolled!(j < 4 => {
                                let column = (4 * i + j).min(C - 1);
                                four[j] = simd.scale::<RAISED>(sums[row][column], scales);
                            });
                            let to = tile.add(row * pitch + 4 * i * S::LANES);
                            simd.store_row::<RAISED>(four, limits, (C - 4 * i).min(4), to);
                        });
                    });
                } else {
                    // Four by four; the last four may repeat the last register.
                    unrolled!(i < (C * R).div_ceil(4) => {
                        let mut four = [sums[0][0]; 4];
                        let mut to = [std::ptr::null_mut::<u8>(); 4];
                        unrolled!(j < 4 => {
                            let at = (4 * i + j).min(C * R - 1);
                            let (row, column) = (R - 1 - at % R, at / R);
                            four[j] = simd.scale::<RAISED>(sums[row][column], scales);
                            to[j] = tile.add(row * pitch + column * step);
                        });
                        simd.store::<RAISED>(four, limits, to);
                    });
                }
                column += C;
            }
        }
    }

    /// The accumulators of a tile.
    ///
    /// # Safety
    /// As for [`Simd`]: `register` holds what belongs to a register, and the groups of rows of the tile
    /// that begins at element `first`.
    #[inline(always)]
    unsafe fn sums<
        S: Simd<Element = E>,
        const R: usize,
        const C: usize,
        const K: usize,
        const HALVES: bool,
    >(
        &self,
        simd: S,
        register: &Register<E>,
        first: usize,
    ) -> [[S::Sum; C]; R] {
        let window = &self.kernels.window;
        let size = S::LANES * S::GROUP;
        let (row, dilation) = (self.columns * size, window.dilations[1] * size);
        // Two rows of outputs have a stride of 1, one has 2.
        let step = 3 - R;
        let next = |slot: usize| if slot + 1 < self.kernels.seen() { slot + 1 } else { 0 };
        // With pairs, the ring has one group besides the whole ones: in the middle, the first.
        let mut slot = if K == 5 && self.middle { next(self.slot) } else { self.slot };
        // SAFETY: the caller's promise.
        unsafe {
            let mut weights = register.weights;
            let elements = register.elements.add(first);
            let mut sums = [[simd.sums(register.bias); C]; R];
            for _ in 0..self.kernels.groups {
                let mut at = opaque(elements.add(slot * row));
                slot = next(slot);
                let mut below = opaque(elements.add(slot * row));
                let element = |at: *const E, below: *const E| match HALVES {
                    true => simd.halves(simd.operand(at), simd.operand(below)),
                    false => simd.operand(at),
                };
                if K == 0 {
                    for _ in 0..window.kernel[1] {
                        let column = |c| c * step * size;
                        let element = |c| element(at.add(column(c)), below.add(column(c)));
                        Self::tap(simd, &mut sums, &mut weights, register.taps, element);
                        at = at.wrapping_add(dilation);
                        below = below.wrapping_add(dilation);
                    }
                } else {
                    let mut columns = [element(at, below); REACH];
                    unrolled!(x < (C - 1) * (3 - R) + K => {
                        columns[x] = element(at.add(x * size), below.add(x * size));
                    });
                    unrolled!(x < K => {
                        let element = |c| columns[c * step + x];
                        Self::tap(simd, &mut sums, &mut weights, register.taps, element);
                    });
                }
            }
            if K == 5 {
                let at = opaque(elements.add(slot * row));
                let mut columns = [simd.operand(at); REACH];
                unrolled!(x < (C - 1) * (3 - R) + 2 * PAIRS => {
                    columns[x] = simd.operand(at.add(x * size));
                });
                // What the last column would be put together with is never used.
                let two = |x: usize| [columns[x], columns[(x + 1).min(REACH - 1)]];
                let mut pairs = columns;
                if self.middle {
                    unrolled!(x < REACH => {
                        pairs[x] = simd.pairs::<true>(two(x));
                    });
                } else {
                    unrolled!(x < REACH => {
                        pairs[x] = simd.pairs::<false>(two(x));
                    });
                }
                unrolled!(x < PAIRS => {
                    let element = |c| pairs[c * step + 2 * x];
                    Self::tap(simd, &mut sums, &mut weights, register.taps, element);
                });
            }
            sums
        }
    }

    /// Adds the products of a register of weights for each row of outputs, and of an element for each
    /// column. Goes on to the next weights, and fetches the next register's: those are `taps` ahead.
    ///
    /// # Safety
    /// As for [`Simd`]: `weights` holds a register for each row.
    #[inline(always)]
    unsafe fn tap<S: Simd<Element = E>, const R: usize, const C: usize>(
        simd: S,
        sums: &mut [[S::Sum; C]; R],
        weights: &mut *const i8,
        taps: usize,
        element: impl Fn(usize) -> S::Operand,
    ) {
        let size = S::LANES * S::GROUP;
        // SAFETY: the caller's promise.
        unsafe {
            let mut of = [simd.weights(*weights); R];
            unrolled!(r < R => {
                of[r] = simd.weights(weights.add(r * size));
                prefetch(weights.wrapping_add(taps + r * size).cast());
            });
            *weights = weights.add(R * size);
            unrolled!(c < C => {
                let element = element(c);
                unrolled!(r < R => {
                    sums[r][c] = simd.dot(sums[r][c], element, of[r]);
                });
            });
        }
    }
}
