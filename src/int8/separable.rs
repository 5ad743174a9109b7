//! A depthwise convolution with the pointwise ones around it, as one operator.

use super::convolution::{Convolution, Plan};
use super::isa::{Joins, Kernels, Matrix, Output, Project, Scratch, Source, Strip};
use super::{Isa, Shape, Window, expect_len, parallel};

/// Bytes of a picture from which on storing it and fetching it again takes longer than what an expansion
/// loses where it is joined: its tiles are smaller, and it goes through the weights more often.
const LARGE: usize = 160 * 1024;

/// A depthwise convolution, joined with the pointwise one that expands the channels of its input, with
/// the one that projects its output on fewer channels, or with both: an inverted residual (Sandler et
/// al., "MobileNetV2", CVPR 2018).
///
/// What the expansion puts out, the largest picture by far, is never stored: some rows of some of its
/// channels at a time are made where the depthwise convolution takes them. What that puts out for the
/// projection is stored a register of channels after the other.
#[derive(Debug, Clone)]
pub struct Separable {
    isa: Isa,
    expansion: Option<(Matrix, Output)>,
    kernels: Kernels,
    window: Window,
    channels: usize,
    output: Output,
    projection: Option<(Matrix, Output)>,
}

impl Separable {
    /// Whether a joined expansion takes less time than one on its own: what it puts out, of this shape, is
    /// large, and the kernels see few rows of it twice, where a thread's rows of outputs meet another's.
    pub fn pays(expanded: Shape, depthwise: &Convolution) -> bool {
        let shared = depthwise.window.extent(0) - 1;
        expanded.len() >= LARGE && expanded.height >= 4 * shared
    }

    /// The convolutions as one, where they are such, and the instruction set has the kernels for it: those
    /// that multiply groups of four bytes as they are, and for a projection with registers of sixteen
    /// channels.
    pub fn of<'a>(
        expansion: Option<&'a Convolution>,
        depthwise: &Convolution,
        projection: Option<&'a Convolution>,
    ) -> Option<Self> {
        let Plan::Depthwise(kernels) = &depthwise.plan else { return None };
        let (isa, channels) = (depthwise.isa, depthwise.output_channels);
        let pointwise = |convolution: &'a Convolution| match &convolution.plan {
            Plan::Dense(dense) if convolution.isa == isa => {
                Some((dense.pointwise()?, &convolution.output))
            }
            _ => None,
        };
        let (expanded, projected) = (expansion.and_then(pointwise), projection.and_then(pointwise));
        let padding = kernels.padding();
        let expands = expanded.is_some_and(|(matrix, output)| {
            output.residual.is_none()
                && matrix.outputs() == channels
                // What padding is, an expanded pixel of no rows is.
                && output.zero_point == padding
                && (output.clamp.low..=output.clamp.high).contains(&padding)
        });
        let projects = projected.is_some_and(|(matrix, _)| matrix.inputs() == channels);
        let all = expands == expansion.is_some() && projects == projection.is_some();
        if !all || !(expands || projects) {
            return None;
        }
        let mut joins = false;
        let matrix = expanded.map(|(matrix, _)| matrix);
        isa.run(Joins { expansion: matrix, kernels, projects, joins: &mut joins });
        joins.then(|| Self {
            isa,
            expansion: expanded.map(|(matrix, output)| (matrix.clone(), output.clone())),
            kernels: kernels.clone(),
            window: depthwise.window,
            channels,
            output: depthwise.output.clone(),
            projection: projected.map(|(matrix, output)| (matrix.planar(), output.clone())),
        })
    }

    /// Channels of the input.
    pub fn input_channels(&self) -> usize {
        self.expansion.as_ref().map_or(self.channels, |(matrix, _)| matrix.inputs())
    }

    /// The shape of the output for an input; without pixels where the kernel does not fit.
    pub fn output_shape(&self, shape: Shape) -> Shape {
        let [height, width] = self.window.places(shape);
        let projected = self.projection.as_ref().map(|(matrix, _)| matrix.outputs());
        Shape { height, width, channels: projected.unwrap_or(self.channels) }
    }

    /// Multiply-accumulates for an input.
    pub fn multiplications(&self, shape: Shape) -> usize {
        let [height, width] = self.window.kernel;
        let to = self.output_shape(shape);
        let expansion = self.expansion.as_ref().map_or(0, |_| shape.len());
        let projection = self.projection.as_ref().map_or(0, |_| to.len());
        (expansion + to.pixels() * height * width + projection) * self.channels
    }

    /// Convolves a picture.
    ///
    /// # Panics
    /// If the channels of `shape` are not the input's, if a buffer is not as long as its shape says, or if a
    /// residual is given where the projection adds none or the other way round.
    pub fn run(&self, input: &[u8], shape: Shape, residual: Option<&[u8]>, output: &mut [u8]) {
        let to = self.output_shape(shape);
        assert_eq!(shape.channels, self.input_channels(), "channels of the input");
        expect_len("input", input.len(), shape.len());
        expect_len("output", output.len(), to.len());
        let adds = self.projection.as_ref().is_some_and(|(_, output)| output.residual.is_some());
        assert_eq!(residual.is_some(), adds, "a residual is given if and only if one is added");
        if let Some(residual) = residual {
            expect_len("residual", residual.len(), to.len());
        }
        if to.is_empty() {
            return;
        }
        let threads = parallel::threads(self.multiplications(shape));
        // Rows on either side of a border between two threads are expanded by both. An odd number of rows
        // takes the kernels longer, but leaves the threads even parts of the projection.
        let rows = to.height.div_ceil(threads);
        let chunk = rows * to.width * to.channels;
        parallel::for_each_chunk(output, chunk, threads, |i, output| {
            let Some((matrix, of)) = &self.projection else {
                self.convolve(input, shape, to.width, i * rows, false, output);
                return;
            };
            Scratch::with_picture(|picture| {
                let picture = picture.elements(output.len() / to.channels * self.channels);
                self.convolve(input, shape, to.width, i * rows, true, picture);
                let residual = residual.map(|all| &all[i * chunk..][..output.len()]);
                self.isa.run(Project { matrix, picture, output: of, residual, to: output });
            });
        });
    }

    /// Some rows of the depthwise convolution.
    fn convolve(
        &self,
        input: &[u8],
        shape: Shape,
        width: usize,
        first: usize,
        planar: bool,
        to: &mut [u8],
    ) {
        let shape = Shape { channels: self.channels, ..shape };
        let strip = |source, to: &mut [u8]| {
            Scratch::with(|scratch| {
                self.isa.run(Strip {
                    kernels: &self.kernels,
                    scratch,
                    source,
                    shape,
                    width,
                    first,
                    output: &self.output,
                    planar,
                    to,
                });
            });
        };
        match &self.expansion {
            None => strip(Source::Picture(input), to),
            Some((matrix, output)) => {
                for panel in 0..matrix.panels() {
                    strip(Source::Expansion { matrix, panel, input, output }, to);
                }
            }
        }
    }
}
