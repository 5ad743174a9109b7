//! Dense and grouped convolutions as products of matrices.

use std::borrow::Cow;

use super::isa::{Kernel, Matrix, Output, Pixels, Scratch, Simd, convert, tile_pixels};
use super::reference::Filters;
use super::{Shape, Window};

/// Bytes that a run of pixels may take up between input and output, so that it stays in the L2
/// cache while all panels of weights go by.
const RUN: usize = 128 * 1024;

/// Weights at most of a convolution whose inputs are multiplied where they lie, row by row of the
/// picture: they all go by for each, and so stay in the L1 cache.
const FEW: usize = 16 * 1024;

/// A convolution whose inputs are gathered, a row a pixel, and multiplied. Where each row of the window
/// is a segment of the input, and there are few weights, the inputs need not be gathered.
#[derive(Debug, Clone)]
pub(super) struct Dense {
    window: Window,
    zero_point: u8,
    input_channels: usize,
    output_channels: usize,
    /// Segments of a row: 1, or one a row of the window.
    segments: usize,
    /// Pixels of a tile.
    tile: usize,
    /// One a group.
    matrices: Vec<Matrix>,
}

impl Dense {
    pub fn new<S: Simd>(filters: &Filters, scales: &[f32], raisable: &[bool]) -> Self {
        let depth = filters.depth();
        let outputs = filters.output_channels() / filters.groups;
        let area = filters.window.kernel[0] * filters.window.kernel[1];
        let inputs = area * depth;
        // A row holds the channels of the first tap, then those of the next.
        let rows = match area {
            1 => Cow::Borrowed(&filters.weights),
            _ => Cow::Owned(
                filters
                    .weights
                    .chunks(inputs.max(1))
                    .flat_map(|row| {
                        (0..area).flat_map(move |tap| row.iter().skip(tap).step_by(area).copied())
                    })
                    .collect(),
            ),
        };
        let segmented = filters.groups == 1
            && filters.window.dilations[1] == 1
            && outputs * inputs <= FEW
            && S::elements(&[]).is_some();
        let segments = if segmented { filters.window.kernel[0] } else { 1 };
        let matrix = |group: usize| {
            let channels = group * outputs..(group + 1) * outputs;
            let weights = &rows[group * outputs * inputs..];
            let bias = &filters.bias[channels.clone()];
            let (scales, raisable) = (&scales[channels.clone()], &raisable[channels]);
            let size = [segments, inputs / segments];
            Matrix::new::<S>(weights, size, bias, scales, raisable, filters.input_zero_point)
        };
        Self {
            window: filters.window,
            zero_point: filters.input_zero_point,
            input_channels: filters.input_channels,
            output_channels: filters.output_channels(),
            segments,
            tile: tile_pixels::<S>(),
            matrices: (0..filters.groups).map(matrix).collect(),
        }
    }

    /// The matrix of a pointwise convolution whose rows are pixels as they are.
    pub fn pointwise(&self) -> Option<&Matrix> {
        match &self.matrices[..] {
            [matrix] if self.window == Window::POINT => Some(matrix),
            _ => None,
        }
    }

    /// Of how many pixels a run is best a multiple.
    pub fn tile(&self) -> usize {
        self.tile
    }

    /// About how many pixels to compute together at most.
    pub fn longest_run(&self) -> usize {
        let area = self.window.kernel[0] * self.window.kernel[1];
        (RUN / (2 * area * self.input_channels + self.output_channels)).max(1)
    }

    /// Where what the first of `pixels` pixels from `first` on sees begins in the input, if it lies there
    /// as a matrix takes it; and for how many of them the answer is alike.
    fn stretch(
        &self,
        shape: Shape,
        width: usize,
        first: usize,
        pixels: usize,
    ) -> (usize, Option<usize>) {
        let window = &self.window;
        if *window == Window::POINT && self.matrices.len() == 1 {
            return (pixels, Some(first * shape.channels));
        }
        if self.segments == 1 {
            return (pixels, None);
        }
        let (y, x) = (first / width, first % width);
        let [rows, columns] = [window.inside(0, shape.height), window.inside(1, shape.width)];
        let (end, at) = if !rows.contains(&y) || x >= columns.end {
            (width, None)
        } else if x < columns.start {
            (columns.start, None)
        } else {
            let row = y * window.strides[0] - window.pads[0];
            let column = x * window.strides[1] - window.pads[1];
            (columns.end, Some((row * shape.width + column) * shape.channels))
        };
        (pixels.min(end - x), at)
    }
}

/// A run of pixels of a [`Dense`] convolution.
pub(super) struct Run<'a> {
    pub dense: &'a Dense,
    pub scratch: &'a mut Scratch,
    pub input: &'a [u8],
    pub shape: Shape,
    /// Pixels of a row of the output.
    pub width: usize,
    /// The first pixel.
    pub first: usize,
    pub output: &'a Output,
    /// Of the same pixels as `to`.
    pub residual: Option<&'a [u8]>,
    pub to: &'a mut [u8],
}

impl Kernel for Run<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { dense, scratch, input, shape, width, first, output, residual, to } = self;
        let stride = dense.output_channels;
        let outputs = stride / dense.matrices.len();
        let pixels = to.len() / stride;
        let mut done = 0;
        while done < pixels {
            let (count, at) = dense.stretch(shape, width, first + done, pixels - done);
            for (group, matrix) in dense.matrices.iter().enumerate() {
                let channel = done * stride + group * outputs;
                let residual = residual.map(|residual| &residual[channel..]);
                let to = &mut to[channel..];
                let [row, segment, wide] =
                    [matrix.row::<S>(), matrix.segment::<S>(), matrix.wide::<S>()];
                let lying = at.and_then(|at| {
                    let elements = S::elements(&input[at..])?;
                    let step = dense.window.strides[1] * shape.channels;
                    let line = dense.window.dilations[0] * shape.width * shape.channels;
                    // What fills up the last group lies behind it.
                    let end = (count - 1) * step + (dense.segments - 1) * line + segment;
                    (elements.len() >= end).then_some(Pixels { elements, count, step, line })
                });
                let gathered = if lying.is_some() { 0 } else { count * row };
                let [elements, wide] = scratch.two(gathered, wide);
                match at {
                    _ if lying.is_some() => {}
                    Some(at) if dense.segments == 1 && row == shape.channels => {
                        convert(simd, &input[at..][..gathered], elements);
                    }
                    _ => {
                        let place = [group, first + done, width];
                        dense.gather(simd, input, shape, place, [row, segment], elements);
                    }
                }
                let pixels = match lying {
                    Some(pixels) => pixels,
                    None => Pixels { elements, count, step: row, line: segment },
                };
                matrix.multiply(simd, pixels, wide, output, stride, residual, to);
            }
            done += count;
        }
    }
}

impl Dense {
    /// What each pixel from `first` on sees, tap by tap, for a group.
    #[inline(always)]
    fn gather<S: Simd>(
        &self,
        simd: S,
        input: &[u8],
        shape: Shape,
        [group, first, width]: [usize; 3],
        [row, segment]: [usize; 2],
        elements: &mut [S::Element],
    ) {
        let window = &self.window;
        let depth = self.input_channels / self.matrices.len();
        let length = window.kernel[1] * depth;
        // From the taps of a row of the window to those of the next.
        let pitch = if self.segments > 1 { segment } else { length };
        let zero = S::element(self.zero_point);
        // The taps of a row lie side by side in the input too, unless there is padding between.
        let together = depth == self.input_channels && window.dilations[1] == 1;
        let mut place = first;
        let mut rest = elements;
        while !rest.is_empty() {
            // The pixels that lie in one row of outputs, all of whose taps are in the same rows.
            let (y, x) = (place / width, place % width);
            let pixels = (width - x).min(rest.len() / row);
            let (line_of_outputs, others) = rest.split_at_mut(pixels * row);
            (rest, place) = (others, place + pixels);
            for tap_y in 0..window.kernel[0] {
                let taps = tap_y * pitch..tap_y * pitch + length;
                let Some(line) = window.tap(0, y, tap_y, shape.height) else {
                    for elements in line_of_outputs.chunks_exact_mut(row) {
                        elements[taps.clone()].fill(zero);
                    }
                    continue;
                };
                let line = &input[line * shape.width * shape.channels..];
                let line = &line[..shape.width * shape.channels];
                for (i, elements) in line_of_outputs.chunks_exact_mut(row).enumerate() {
                    let elements = &mut elements[taps.clone()];
                    let left = ((x + i) * window.strides[1]).wrapping_sub(window.pads[1]);
                    if together
                        && left < shape.width
                        && let Some(bytes) = line.get(left * depth..left * depth + length)
                    {
                        convert(simd, bytes, elements);
                        continue;
                    }
                    for tap_x in 0..window.kernel[1] {
                        let elements = &mut elements[tap_x * depth..][..depth];
                        match window.tap(1, x + i, tap_x, shape.width) {
                            Some(column) => {
                                let at = column * shape.channels + group * depth;
                                convert(simd, &line[at..][..depth], elements);
                            }
                            None => elements.fill(zero),
                        }
                    }
                }
            }
        }
    }
}

/// Packs a linear layer for an instruction set, a matrix for every `part` outputs.
pub(super) struct PackMatrices<'a> {
    pub weights: &'a [i8],
    pub inputs: usize,
    pub bias: &'a [i32],
    pub scales: &'a [f32],
    pub zero_point: u8,
    pub part: usize,
    pub matrices: &'a mut Vec<Matrix>,
}

impl Kernel for PackMatrices<'_> {
    fn run<S: Simd>(self, _: S) {
        let Self { inputs, part, zero_point, .. } = self;
        for (i, (bias, scales)) in self.bias.chunks(part).zip(self.scales.chunks(part)).enumerate()
        {
            let weights = &self.weights[i * part * inputs..];
            // Sums that become real numbers are not raised.
            let raisable = vec![false; bias.len()];
            let size = [1, inputs];
            let matrix = Matrix::new::<S>(weights, size, bias, scales, &raisable, zero_point);
            self.matrices.push(matrix);
        }
    }
}

/// One vector through a part of a linear layer.
pub(super) struct RunMatrix<'a> {
    pub matrix: &'a Matrix,
    pub scratch: &'a mut Scratch,
    pub input: &'a [u8],
    pub to: &'a mut [f32],
}

impl Kernel for RunMatrix<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let elements = self.scratch.elements(self.matrix.row::<S>());
        convert(simd, self.input, &mut elements[..self.input.len()]);
        self.matrix.multiply_to_floats(simd, elements, self.to);
    }
}
