//! The linear layer of a vector.

use super::dense::{PackMatrices, RunMatrix};
use super::isa::{Matrix, Scratch};
use super::reference;
use super::{Isa, Quantization, expect_len, parallel};

/// Outputs that a thread computes together.
const PART: usize = 128;

/// What a [`FullyConnected`] layer computes.
#[derive(Debug, Clone, Copy)]
pub struct FullyConnectedSpec<'a> {
    /// A row of `inputs` weights an output.
    pub weights: &'a [i8],
    /// Length of the input.
    pub inputs: usize,
    /// Length of the output.
    pub outputs: usize,
    /// Of the weights: one, or one an output.
    pub weight_scales: &'a [f32],
    /// Of the input.
    pub input: Quantization,
    /// At the scale `input scale * weight scale`, one an output; or none at all.
    pub bias: &'a [i32],
}

/// The linear layer of a vector, to real numbers:
/// `y[n] = (bias[n] + sum_k (x[k] - zx) * w[n][k]) * (sx * sw[n])`.
///
/// A layer to bytes is a [`Convolution`](super::Convolution) by a 1 x 1 kernel of a picture of one
/// pixel.
#[derive(Debug, Clone)]
pub struct FullyConnected {
    isa: Isa,
    plan: Plan,
    inputs: usize,
    outputs: usize,
}

#[derive(Debug, Clone)]
enum Plan {
    Reference {
        weights: Vec<i8>,
        bias: Vec<i32>,
        scales: Vec<f32>,
        zero_point: u8,
    },
    /// One for each part of the outputs.
    Matrices(Vec<Matrix>),
}

impl FullyConnected {
    /// Length of the input.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Length of the output.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// A linear layer.
    ///
    /// # Errors
    /// Lengths that do not fit together, or a scale that is not positive and finite.
    pub fn new(spec: &FullyConnectedSpec, isa: Isa) -> Result<Self, String> {
        isa.checked()?;
        spec.input.check("the input")?;
        let scales = super::convolution::weight_scales(spec.weight_scales, spec.outputs)?;
        let bias = super::convolution::bias(spec.bias, spec.outputs)?;
        if Some(spec.weights.len()) != spec.inputs.checked_mul(spec.outputs) {
            return Err(format!(
                "{} weights are not {} x {}",
                spec.weights.len(),
                spec.outputs,
                spec.inputs
            ));
        }
        let scales: Vec<f32> = scales.iter().map(|scale| spec.input.scale * scale).collect();
        let (weights, inputs, zero_point) = (spec.weights, spec.inputs, spec.input.zero_point);
        let plan = if isa == Isa::Scalar {
            Plan::Reference { weights: weights.to_vec(), bias, scales, zero_point }
        } else {
            let mut matrices = Vec::new();
            isa.run(PackMatrices {
                weights,
                inputs,
                bias: &bias,
                scales: &scales,
                zero_point,
                part: PART,
                matrices: &mut matrices,
            });
            Plan::Matrices(matrices)
        };
        Ok(Self { isa, plan, inputs, outputs: spec.outputs })
    }

    /// Multiplies a vector.
    ///
    /// # Panics
    /// If a buffer is not as long as the layer says.
    pub fn run(&self, input: &[u8], output: &mut [f32]) {
        expect_len("input", input.len(), self.inputs);
        expect_len("output", output.len(), self.outputs);
        match &self.plan {
            Plan::Reference { weights, bias, scales, zero_point } => {
                reference::fully_connected(weights, bias, scales, *zero_point, input, output);
            }
            Plan::Matrices(matrices) => {
                let threads = parallel::threads(self.inputs * self.outputs);
                parallel::for_each_chunk(output, PART, threads, |i, to| {
                    Scratch::with(|scratch| {
                        self.isa.run(RunMatrix { matrix: &matrices[i], scratch, input, to });
                    });
                });
            }
        }
    }
}
