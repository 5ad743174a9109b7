//! Convolutions of every kind, with what follows them.

use std::ops::RangeInclusive;

use super::arithmetic::{Adder, Requantizer};
use super::dense::{self, Dense};
use super::isa::{Kernel, Kernels, Output, Scratch, Simd, Source, Strip, raisable};
use super::parallel;
use super::reference::{self, Filters};
use super::{AddSpec, Clamp, Isa, Quantization, Shape, Window, expect_len};

/// What a [`Convolution`] computes.
#[derive(Debug, Clone, Copy)]
pub struct ConvolutionSpec<'a> {
    /// `[output channels, input channels / groups, kernel height, kernel width]`.
    pub weights: &'a [i8],
    /// Of the input.
    pub input_channels: usize,
    /// Of the output.
    pub output_channels: usize,
    /// 1 for a dense convolution, `input_channels` for a depthwise one; divides both numbers of
    /// channels.
    pub groups: usize,
    /// Kernel, strides, dilations, padding.
    pub window: Window,
    /// Of the weights: one, or one an output channel.
    pub weight_scales: &'a [f32],
    /// At the scale `input scale * weight scale`, one an output channel; or none at all.
    pub bias: &'a [i32],
    /// Of the input.
    pub input: Quantization,
    /// Of the convolution's output, before the residual is added.
    pub output: Quantization,
    /// The bytes that may come out, before the residual is added.
    pub clamp: Clamp,
    /// A picture to be added to the output.
    pub residual: Option<Residual>,
}

/// An addition that is done in the same pass as the convolution before it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Residual {
    /// The addition. The operand that is the convolution has the convolution's output quantization.
    pub add: AddSpec,
    /// Which operand the convolution is; the residual is the other one.
    pub convolution: Operand,
}

/// One of two operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operand {
    /// The one on the left.
    First,
    /// The one on the right.
    Second,
}

/// A convolution: dense (pointwise too), grouped or depthwise.
///
/// `y = clamp(round((b + sum((x - zx) * w)) * (sx * sw / sy)) + zy)`, the sum over all taps that lie
/// in the picture and all input channels of the group, in `i32`, which wraps around; padding so counts
/// as 0. With a residual, `y` then goes into an addition as [`Add`](super::Add) does it.
#[derive(Debug, Clone)]
pub struct Convolution {
    pub(super) isa: Isa,
    pub(super) window: Window,
    pub(super) input_channels: usize,
    pub(super) output_channels: usize,
    groups: usize,
    pub(super) plan: Plan,
    pub(super) output: Output,
}

/// How a convolution is computed.
#[derive(Debug, Clone)]
pub(super) enum Plan {
    Reference(Filters, Requantizer),
    Dense(Dense),
    Depthwise(Kernels),
}

impl Convolution {
    /// A convolution.
    ///
    /// # Errors
    /// Lengths that do not fit together, groups that do not divide the channels, kernels, strides
    /// or dilations of 0, scales that are not positive and finite or whose quotient is not, an empty
    /// clamp, a residual that is not quantized like the
    /// output, an instruction set that is not available.
    pub fn new(spec: &ConvolutionSpec, isa: Isa) -> Result<Self, String> {
        spec.window.check()?;
        spec.input.check("the input")?;
        spec.output.check("the output")?;
        spec.clamp.check()?;
        isa.checked()?;
        let (from, to, groups) = (spec.input_channels, spec.output_channels, spec.groups);
        if groups == 0 || !from.is_multiple_of(groups) || !to.is_multiple_of(groups) {
            return Err(format!("{groups} groups do not divide {from} channels into {to}"));
        }
        let expected = [to, from / groups, spec.window.kernel[0], spec.window.kernel[1]];
        let length = expected.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
        if length != Some(spec.weights.len()) {
            return Err(format!("{} weights are not {expected:?}", spec.weights.len()));
        }
        let bias = bias(spec.bias, to)?;
        let sums = ranges(spec.weights, &bias, spec.input.zero_point);
        let mut scales = weight_scales(spec.weight_scales, to)?;
        for scale in &mut scales {
            *scale = spec.input.scale * *scale / spec.output.scale;
            if !scale.is_finite() {
                return Err("the quotient of the scales is not finite".to_owned());
            }
        }
        let residual = spec.residual.map(|residual| {
            let first = residual.convolution == Operand::First;
            let own = if first { residual.add.first } else { residual.add.second };
            if own != spec.output {
                return Err(format!(
                    "the residual is added to {own:?}, the convolution puts out {:?}",
                    spec.output
                ));
            }
            Ok((Adder::new(&residual.add)?, first))
        });
        let output = Output {
            zero_point: spec.output.zero_point,
            clamp: spec.clamp,
            residual: residual.transpose()?,
        };
        let filters = Filters {
            weights: spec.weights.to_vec(),
            bias,
            window: spec.window,
            groups,
            input_channels: from,
            input_zero_point: spec.input.zero_point,
        };
        // The kernels round to integers before they clamp.
        let in_range = sums.iter().zip(&scales).all(|(sums, scale)| {
            // They wrap around at the ends of `i32`.
            let most = (*sums.end()).max(-sums.start()).min(-i64::from(i32::MIN));
            most as f32 * scale < LIMIT
        });
        let mut plan = None;
        if isa != Isa::Scalar && in_range {
            isa.run(Pack {
                filters: &filters,
                scales: &scales,
                raisable: &sums.iter().map(|sums| raisable(sums, &output)).collect::<Vec<_>>(),
                residual: spec.residual.is_some(),
                plan: &mut plan,
            });
        }
        Ok(Self {
            isa,
            window: spec.window,
            input_channels: from,
            output_channels: to,
            groups,
            plan: plan.unwrap_or_else(|| {
                let zero_point = spec.output.zero_point;
                Plan::Reference(filters, Requantizer { scales, zero_point, clamp: spec.clamp })
            }),
            output,
        })
    }

    /// Channels of the input.
    pub fn input_channels(&self) -> usize {
        self.input_channels
    }

    /// Products that an output is the sum of.
    pub fn depth(&self) -> usize {
        self.window.kernel[0] * self.window.kernel[1] * (self.input_channels / self.groups)
    }

    /// The shape of the output for an input; without pixels where the kernel does not fit.
    pub fn output_shape(&self, shape: Shape) -> Shape {
        let [height, width] = self.window.places(shape);
        Shape { height, width, channels: self.output_channels }
    }

    /// Convolves a picture.
    ///
    /// # Panics
    /// If the channels of `shape` are not the input's, if a buffer is not as long as its shape says,
    /// or if a residual is given where there was none in the specification or the other way round.
    pub fn run(&self, input: &[u8], shape: Shape, residual: Option<&[u8]>, output: &mut [u8]) {
        let to = self.output_shape(shape);
        assert_eq!(shape.channels, self.input_channels, "channels of the input");
        expect_len("input", input.len(), shape.len());
        expect_len("output", output.len(), to.len());
        assert_eq!(
            residual.is_some(),
            self.output.residual.is_some(),
            "a residual is given if and only if the convolution adds one"
        );
        if let Some(residual) = residual {
            expect_len("residual", residual.len(), to.len());
        }
        if to.is_empty() {
            return;
        }
        let threads = parallel::threads(to.len() * self.depth());
        match &self.plan {
            Plan::Reference(filters, requantizer) => {
                let adder = self.output.residual.as_ref();
                let residual =
                    adder.zip(residual).map(|((adder, own), other)| (adder, *own, other));
                reference::convolution(filters, requantizer, residual, input, shape, output);
            }
            Plan::Dense(dense) => {
                let run = parallel::part(to.pixels(), dense.longest_run(), dense.tile(), threads);
                parallel::for_each_chunk(output, run * to.channels, threads, |i, output| {
                    let first = i * run;
                    let at = first * to.channels;
                    let residual = residual.map(|all| &all[at..at + output.len()]);
                    Scratch::with(|scratch| {
                        self.isa.run(dense::Run {
                            dense,
                            scratch,
                            input,
                            shape,
                            width: to.width,
                            first,
                            output: &self.output,
                            residual,
                            to: output,
                        });
                    });
                });
            }
            Plan::Depthwise(kernels) => {
                let rows = to.height.div_ceil(threads).next_multiple_of(kernels.rows());
                let strip = rows * to.width * to.channels;
                parallel::for_each_chunk(output, strip, threads, |i, output| {
                    Scratch::with(|scratch| {
                        self.isa.run(Strip {
                            kernels,
                            scratch,
                            source: Source::Picture(input),
                            shape,
                            width: to.width,
                            first: i * rows,
                            output: &self.output,
                            planar: false,
                            to: output,
                        });
                    });
                });
            }
        }
    }
}

/// Scaled sums are less, so that rounding them and adding a zero point stays in the range of `i32`.
const LIMIT: f32 = (1 << 30) as f32;

/// Packs weights for an instruction set.
struct Pack<'a> {
    filters: &'a Filters,
    scales: &'a [f32],
    /// Whether the sums of a channel can be raised.
    raisable: &'a [bool],
    residual: bool,
    plan: &'a mut Option<Plan>,
}

impl Kernel for Pack<'_> {
    fn run<S: Simd>(self, _: S) {
        let Self { filters, scales, raisable, residual, plan } = self;
        // No usual network adds a residual to a depthwise convolution: those have no fast path.
        let depthwise = (!residual).then(|| Kernels::new::<S>(filters, scales, raisable));
        *plan = Some(match depthwise.flatten() {
            Some(kernels) => Plan::Depthwise(kernels),
            None => Plan::Dense(Dense::new::<S>(filters, scales, raisable)),
        });
    }
}

/// One scale an output.
pub(super) fn weight_scales(scales: &[f32], outputs: usize) -> Result<Vec<f32>, String> {
    if let Some(scale) = scales.iter().find(|&&scale| !(scale.is_finite() && scale > 0.0)) {
        return Err(format!("a scale of the weights is {scale}, not a positive number"));
    }
    match scales {
        [scale] => Ok(vec![*scale; outputs]),
        _ if scales.len() == outputs => Ok(scales.to_vec()),
        _ => Err(format!("{} scales of weights for {outputs} outputs", scales.len())),
    }
}

/// One bias an output.
pub(super) fn bias(bias: &[i32], outputs: usize) -> Result<Vec<i32>, String> {
    match bias.len() {
        0 => Ok(vec![0; outputs]),
        length if length == outputs => Ok(bias.to_vec()),
        length => Err(format!("{length} biases for {outputs} outputs")),
    }
}

/// The lowest and the highest sum that each output can have.
fn ranges(weights: &[i8], bias: &[i32], zero_point: u8) -> Vec<RangeInclusive<i64>> {
    let (below, above) = (i64::from(zero_point), 255 - i64::from(zero_point));
    let depth = weights.len() / bias.len().max(1);
    let range = |(channel, &bias): (usize, &i32)| {
        let (mut low, mut high) = (i64::from(bias), i64::from(bias));
        for &weight in &weights[channel * depth..][..depth] {
            let weight = i64::from(weight);
            low += (-below * weight).min(above * weight);
            high += (-below * weight).max(above * weight);
        }
        low..=high
    };
    bias.iter().enumerate().map(range).collect()
}
