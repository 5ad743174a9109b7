//! Dense and grouped convolutions as products of matrices.

use std::borrow::Cow;

use super::isa::{Kernel, Matrix, Output, Scratch, Simd, convert};
use super::reference::Filters;
use super::{Shape, Window};

/// Bytes that a run of pixels may take up between input and output, so that it stays in the L2
/// cache while all panels of weights go by.
const RUN: usize = 128 * 1024;

/// A convolution whose inputs are gathered, a row a pixel, and multiplied.
#[derive(Debug, Clone)]
pub(super) struct Dense {
    window: Window,
    zero_point: u8,
    input_channels: usize,
    output_channels: usize,
    /// One a group.
    matrices: Vec<Matrix>,
}

impl Dense {
    pub fn new<S: Simd>(filters: &Filters, scales: &[f32]) -> Self {
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
        let matrix = |group: usize| {
            let channels = group * outputs..(group + 1) * outputs;
            let weights = &rows[group * outputs * inputs..];
            let bias = &filters.bias[channels.clone()];
            let scales = &scales[channels];
            Matrix::new::<S>(weights, inputs, bias, scales, filters.input_zero_point)
        };
        Self {
            window: filters.window,
            zero_point: filters.input_zero_point,
            input_channels: filters.input_channels,
            output_channels: filters.output_channels(),
            matrices: (0..filters.groups).map(matrix).collect(),
        }
    }

    /// About how many pixels to compute together at most.
    pub fn longest_run(&self) -> usize {
        let area = self.window.kernel[0] * self.window.kernel[1];
        (RUN / (2 * area * self.input_channels + self.output_channels)).max(1)
    }

    fn is_pointwise(&self) -> bool {
        self.window == Window::POINT && self.matrices.len() == 1
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
        let stride = self.dense.output_channels;
        let pixels = self.to.len() / stride;
        let outputs = stride / self.dense.matrices.len();
        for (group, matrix) in self.dense.matrices.iter().enumerate() {
            let channel = group * outputs;
            let residual = self.residual.map(|residual| &residual[channel..]);
            let to = &mut self.to[channel..];
            let row = matrix.row::<S>();
            let inputs = self.dense.input_channels;
            let bytes = match self.dense.is_pointwise() && row == inputs {
                true => &self.input[self.first * inputs..][..pixels * inputs],
                false => &[],
            };
            match S::elements(bytes).filter(|elements| !elements.is_empty()) {
                Some(elements) => {
                    let wide = self.scratch.elements(matrix.wide::<S>());
                    matrix.multiply(simd, elements, wide, self.output, stride, residual, to);
                }
                None => {
                    let [elements, wide] = self.scratch.two(pixels * row, matrix.wide::<S>());
                    if bytes.is_empty() {
                        let place = [group, self.first, self.width];
                        self.dense.gather(simd, self.input, self.shape, place, row, elements);
                    } else {
                        convert(simd, bytes, elements);
                    }
                    matrix.multiply(simd, elements, wide, self.output, stride, residual, to);
                }
            }
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
        row: usize,
        elements: &mut [S::Element],
    ) {
        let window = &self.window;
        let depth = self.input_channels / self.matrices.len();
        let segment = window.kernel[1] * depth;
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
                let taps = tap_y * segment..(tap_y + 1) * segment;
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
                        && let Some(bytes) = line.get(left * depth..left * depth + segment)
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
            self.matrices.push(Matrix::new::<S>(weights, inputs, bias, scales, zero_point));
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
