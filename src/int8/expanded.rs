//! A pointwise convolution and the depthwise one behind it as one operator.

use super::convolution::{Convolution, Plan};
use super::isa::{Expands, Kernels, Matrix, Output, Scratch, Source, Strip};
use super::{Isa, Shape, Window, expect_len, parallel};

/// Bytes of a picture from which on storing it and fetching it again takes longer than what the one
/// operator loses: its tiles are smaller, and it goes through the weights more often.
const LARGE: usize = 160 * 1024;

/// A pointwise convolution that expands the channels of a picture, and the depthwise convolution of what
/// it puts out: the first two layers of an inverted residual (Sandler et al., "MobileNetV2", CVPR
/// 2018). The picture between them, the largest by far, is never stored: some rows of some of its
/// channels at a time are made where the second convolution takes them.
#[derive(Debug, Clone)]
pub struct Expanded {
    isa: Isa,
    matrix: Matrix,
    /// Of the picture between.
    between: Output,
    kernels: Kernels,
    window: Window,
    channels: usize,
    output: Output,
}

impl Expanded {
    /// Whether one operator takes less time than the two, for the shape of the picture between them.
    pub fn pays(between: Shape) -> bool {
        between.len() >= LARGE
    }

    /// The two as one, where they are two such convolutions, and the instruction set has the kernels for
    /// it: those that multiply groups of four bytes as they are.
    pub fn of(expansion: &Convolution, depthwise: &Convolution) -> Option<Self> {
        let (Plan::Dense(dense), Plan::Depthwise(kernels)) = (&expansion.plan, &depthwise.plan)
        else {
            return None;
        };
        let matrix = dense.pointwise()?;
        let padding = kernels.padding();
        let mut takes = false;
        expansion.isa.run(Expands { matrix, kernels, takes: &mut takes });
        let fits = expansion.isa == depthwise.isa
            && expansion.output.residual.is_none()
            && expansion.output_channels == depthwise.input_channels
            // What padding is, an expanded pixel of no rows is.
            && expansion.output.zero_point == padding
            && (expansion.output.clamp.low..=expansion.output.clamp.high).contains(&padding);
        (takes && fits).then(|| Self {
            isa: expansion.isa,
            matrix: matrix.clone(),
            between: expansion.output.clone(),
            kernels: kernels.clone(),
            window: depthwise.window,
            channels: depthwise.output_channels,
            output: depthwise.output.clone(),
        })
    }

    /// Channels of the input.
    pub fn input_channels(&self) -> usize {
        self.matrix.inputs()
    }

    /// The shape of the output for an input; without pixels where the kernel does not fit.
    pub fn output_shape(&self, shape: Shape) -> Shape {
        let [height, width] = self.window.places(shape);
        Shape { height, width, channels: self.channels }
    }

    /// Multiply-accumulates for an input.
    pub fn multiplications(&self, shape: Shape) -> usize {
        let [height, width] = self.window.kernel;
        let expansion = shape.len() * self.channels;
        expansion + self.output_shape(shape).len() * height * width
    }

    /// Convolves a picture twice.
    ///
    /// # Panics
    /// If the channels of `shape` are not the input's, or if a buffer is not as long as its shape says.
    pub fn run(&self, input: &[u8], shape: Shape, output: &mut [u8]) {
        let to = self.output_shape(shape);
        assert_eq!(shape.channels, self.input_channels(), "channels of the input");
        expect_len("input", input.len(), shape.len());
        expect_len("output", output.len(), to.len());
        if to.is_empty() {
            return;
        }
        let threads = parallel::threads(self.multiplications(shape));
        // Rows on either side of a border between two threads are expanded by both.
        let rows = to.height.div_ceil(threads).next_multiple_of(self.kernels.rows());
        parallel::for_each_chunk(output, rows * to.width * to.channels, threads, |i, output| {
            for panel in 0..self.matrix.panels() {
                Scratch::with(|scratch| {
                    self.isa.run(Strip {
                        kernels: &self.kernels,
                        scratch,
                        source: Source::Expansion {
                            matrix: &self.matrix,
                            panel,
                            input,
                            output: &self.between,
                        },
                        shape: Shape { channels: self.channels, ..shape },
                        width: to.width,
                        first: i * rows,
                        output: &self.output,
                        to: output,
                    });
                });
            }
        });
    }
}
