//! Which operators of a graph become int8 operators: those between DequantizeLinear and
//! QuantizeLinear nodes, each with the activation function behind it, and the addition behind a
//! convolution with the convolution.

use std::collections::HashMap;

use tract_onnx::pb::NodeProto;

use super::super::graph::{Graph, attribute, int};
use super::operator::Operator;
use super::pictures::Picture;
use super::read::{Fit, Misfit, Weights, bias, input, malformed, quantization, unsuited, weights};
use crate::int8::{
    Add, AddSpec, AveragePool, Clamp, Concat, Convolution, ConvolutionSpec, FullyConnected,
    FullyConnectedSpec, GlobalAveragePool, Isa, MaxPool, Operand, Quantization, Quantize,
    Requantize, Residual, Window,
};

/// A tensor of quantized bytes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Bytes {
    pub(super) tensor: String,
    pub(super) quantization: Quantization,
}

/// What stands in the place of some nodes.
#[derive(Debug)]
pub(super) enum Planned {
    /// An int8 operator on pictures, channels last.
    Pictures { inputs: Vec<String>, operator: Operator },
    /// An int8 operator on tensors of any layout.
    Elements { input: String, operator: Operator },
    /// Bytes made of numbers.
    Quantize { input: String, to: Quantization },
    /// An addition, which may yet be joined with a convolution before it.
    Add { inputs: [String; 2], spec: AddSpec },
    /// A convolution, which may yet be joined with an addition behind it.
    Convolution { inputs: Vec<String>, plan: Box<ConvolutionPlan>, built: Box<Convolution> },
    /// The node itself, on bytes.
    Bytes(NodeProto),
}

/// What a convolution computes.
#[derive(Debug, Clone)]
pub(super) struct ConvolutionPlan {
    weights: Weights,
    bias: Vec<i32>,
    groups: usize,
    window: Window,
    input: Quantization,
    output: Quantization,
    clamp: Clamp,
    residual: Option<Residual>,
}

impl ConvolutionPlan {
    pub(super) fn build(&self, isa: Isa) -> Fit<Box<Convolution>> {
        let spec = ConvolutionSpec {
            weights: &self.weights.values,
            input_channels: self.weights.shape[1] * self.groups,
            output_channels: self.weights.shape[0],
            groups: self.groups,
            window: self.window,
            weight_scales: &self.weights.scales,
            bias: &self.bias,
            input: self.input,
            output: self.output,
            clamp: self.clamp,
            residual: self.residual,
        };
        Convolution::new(&spec, isa).map(Box::new).or_else(unsuited)
    }

    /// This convolution with the addition behind it.
    pub(super) fn followed_by(&self, add: AddSpec, convolution: Operand) -> Self {
        Self { residual: Some(Residual { add, convolution }), ..self.clone() }
    }
}

/// A linear layer before its weights are packed.
struct Linear {
    from: Bytes,
    /// Of shape `[outputs, inputs]`.
    weights: Weights,
    bias: Vec<i32>,
}

/// Reads operators out of a graph.
pub(super) struct Planner<'a> {
    pub(super) graph: Graph<'a>,
    pub(super) pictures: HashMap<&'a str, Picture>,
    pub(super) isa: Isa,
}

impl<'a> Planner<'a> {
    /// What computes the bytes that a QuantizeLinear node puts out.
    pub(super) fn quantized(&self, quantize: &'a NodeProto) -> Fit<Planned> {
        let to = quantization(&self.graph, quantize)?;
        let mut clamp = Clamp::NONE;
        let mut tensor = input(quantize, 0);
        let node = loop {
            let Some((node, 0)) = self.graph.producer(tensor) else {
                if clamp != Clamp::NONE {
                    return unsuited("the activation function of the network's input");
                }
                return self.quantize(tensor, to);
            };
            match node.op_type.as_str() {
                "Identity" | "Dropout" => {}
                "Relu" => clamp = self.narrowed(clamp, to, Some(0.0), None)?,
                "Clip" => {
                    let bound = |name: &str, i: usize| match attribute(node, name) {
                        Some(bound) => Ok(Some(bound.f)),
                        None if input(node, i).is_empty() => Ok(None),
                        None => match self
                            .graph
                            .constant(input(node, i))
                            .as_ref()
                            .map(|c| &c.values[..])
                        {
                            Some(&[bound]) => Ok(Some(bound)),
                            _ => unsuited("a Clip whose bounds are not constant"),
                        },
                    };
                    clamp = self.narrowed(clamp, to, bound("min", 1)?, bound("max", 2)?)?;
                }
                _ => break node,
            }
            tensor = input(node, 0);
        };
        match node.op_type.as_str() {
            "DequantizeLinear" => self.requantize(self.bytes(tensor)?, to, clamp),
            "Conv" => self.convolution(node, to, clamp),
            "Gemm" | "MatMul" => self.linear_to_bytes(node, to, clamp),
            "Add" => self.add(node, to, clamp),
            "Concat" => self.concat(node, to, clamp),
            "GlobalAveragePool" | "ReduceMean" => self.global_average_pool(node, to, clamp),
            "AveragePool" => self.average_pool(node, to, clamp),
            "MaxPool" | "Flatten" | "Reshape" | "Squeeze" | "Unsqueeze" | "Transpose" => {
                let from = match self.bytes(input(node, 0)) {
                    Err(Misfit::Unsuited(_)) => return self.quantize(tensor, to),
                    from => from?,
                };
                if from.quantization != to || clamp != Clamp::NONE {
                    return unsuited("its input and output are quantized differently");
                }
                if node.op_type == "MaxPool" && int(node, "ceil_mode", 0) == 0 {
                    let pool = MaxPool::new(window(node, None)?, self.isa).or_else(unsuited)?;
                    return Ok(pictures([from.tensor], Operator::MaxPool(pool)));
                }
                let mut node = node.clone();
                node.input[0] = from.tensor;
                Ok(Planned::Bytes(node))
            }
            // Rounded as exactly as the others; the value itself is tract's.
            _ if self.bytes(input(node, 0)).is_err() => self.quantize(tensor, to),
            other => unsuited(format!("there is no int8 operator for {other}")),
        }
    }

    /// The linear layer that gives f32, where `node` is one on bytes.
    pub(super) fn linear(&self, node: &'a NodeProto) -> Fit<Planned> {
        let Linear { from, weights, bias } = self.weighed(node)?;
        let spec = FullyConnectedSpec {
            weights: &weights.values,
            inputs: weights.shape[1],
            outputs: weights.shape[0],
            weight_scales: &weights.scales,
            input: from.quantization,
            bias: &bias,
        };
        let operator = FullyConnected::new(&spec, self.isa).or_else(unsuited)?;
        Ok(Planned::Elements { input: from.tensor, operator: Operator::FullyConnected(operator) })
    }

    /// The linear layer that gives bytes.
    fn linear_to_bytes(
        &self,
        node: &NodeProto,
        output: Quantization,
        clamp: Clamp,
    ) -> Fit<Planned> {
        let Linear { from, mut weights, bias } = self.weighed(node)?;
        weights.shape.extend([1, 1]);
        let convolution = ConvolutionPlan {
            weights,
            bias,
            groups: 1,
            window: Window::POINT,
            input: from.quantization,
            output,
            clamp,
            residual: None,
        };
        let operator = Operator::Linear(convolution.build(self.isa)?);
        Ok(Planned::Elements { input: from.tensor, operator })
    }

    /// What a Gemm or MatMul node computes, the weights a row an output.
    fn weighed(&self, node: &NodeProto) -> Fit<Linear> {
        let from = self.bytes(input(node, 0))?;
        let gemm = node.op_type == "Gemm";
        let plain = |name, expected| attribute(node, name).is_none_or(|a| a.f == expected);
        if gemm && (int(node, "transA", 0) != 0 || !plain("alpha", 1.0) || !plain("beta", 1.0)) {
            return unsuited("a Gemm that transposes or scales its input");
        }
        let outputs_first = gemm && int(node, "transB", 0) != 0;
        let mut weights = weights(&self.graph, input(node, 1), usize::from(!outputs_first))?;
        let &[first, second] = &weights.shape[..] else {
            return unsuited(format!("weights of shape {:?}", weights.shape));
        };
        if !outputs_first {
            let places = (0..second).flat_map(|o| (0..first).map(move |i| i * second + o));
            weights.values = places.map(|place| weights.values[place]).collect();
            weights.shape = vec![second, first];
        }
        let name = if gemm { input(node, 2) } else { "" };
        let scale = from.quantization.scale;
        let bias = bias(&self.graph, name, scale, &weights.scales, weights.shape[0])?;
        Ok(Linear { from, weights, bias })
    }

    /// The bytes behind a tensor of numbers.
    pub(super) fn bytes(&self, tensor: &str) -> Fit<Bytes> {
        match self.graph.producer(tensor) {
            Some((node, 0)) if node.op_type == "DequantizeLinear" => Ok(Bytes {
                tensor: input(node, 0).to_owned(),
                quantization: quantization(&self.graph, node)?,
            }),
            _ => unsuited(format!("its input `{tensor}` is not quantized")),
        }
    }

    /// A clamp of the numbers, as one of the bytes that stand for them: rounding keeps their order.
    fn narrowed(
        &self,
        clamp: Clamp,
        to: Quantization,
        low: Option<f32>,
        high: Option<f32>,
    ) -> Fit<Clamp> {
        let byte = |bound: f32| {
            let steps = (bound / to.scale).round_ties_even() + f32::from(to.zero_point);
            steps.clamp(0.0, 255.0) as u8
        };
        let low = low.map_or(clamp.low, |low| byte(low).max(clamp.low));
        let high = high.map_or(clamp.high, |high| byte(high).min(clamp.high));
        if low > high {
            unsuited("its activation function is constant")
        } else {
            Ok(Clamp { low, high })
        }
    }

    fn quantize(&self, tensor: &str, to: Quantization) -> Fit<Planned> {
        Quantize::new(to, self.isa).or_else(unsuited)?;
        Ok(Planned::Quantize { input: tensor.to_owned(), to })
    }

    fn requantize(&self, from: Bytes, to: Quantization, clamp: Clamp) -> Fit<Planned> {
        let operator = Requantize::new(from.quantization, to, clamp).or_else(unsuited)?;
        Ok(Planned::Elements { input: from.tensor, operator: Operator::Requantize(operator) })
    }

    fn convolution(&self, node: &NodeProto, to: Quantization, clamp: Clamp) -> Fit<Planned> {
        let from = self.bytes(input(node, 0))?;
        let weights = weights(&self.graph, input(node, 1), 0)?;
        let &[outputs, _, height, width] = &weights.shape[..] else {
            return unsuited(format!("weights of shape {:?}", weights.shape));
        };
        let scale = from.quantization.scale;
        let bias = bias(&self.graph, input(node, 2), scale, &weights.scales, outputs)?;
        let plan = Box::new(ConvolutionPlan {
            groups: usize::try_from(int(node, "group", 1)).unwrap_or(0),
            window: window(node, Some([height, width]))?,
            input: from.quantization,
            output: to,
            weights,
            bias,
            clamp,
            residual: None,
        });
        let built = plan.build(self.isa)?;
        Ok(Planned::Convolution { inputs: vec![from.tensor], plan, built })
    }

    fn add(&self, node: &NodeProto, output: Quantization, clamp: Clamp) -> Fit<Planned> {
        let (first, second) = (self.bytes(input(node, 0))?, self.bytes(input(node, 1))?);
        let picture = |bytes: &Bytes| self.pictures.get(bytes.tensor.as_str());
        if picture(&first).is_none() || picture(&first) != picture(&second) {
            return unsuited("it does not add two pictures of one shape");
        }
        let spec =
            AddSpec { first: first.quantization, second: second.quantization, output, clamp };
        Add::new(&spec, self.isa).or_else(unsuited)?;
        Ok(Planned::Add { inputs: [first.tensor, second.tensor], spec })
    }

    fn concat(&self, node: &NodeProto, to: Quantization, clamp: Clamp) -> Fit<Planned> {
        if ![1, -3].contains(&int(node, "axis", 0)) {
            return unsuited("it does not join channels");
        }
        if clamp != Clamp::NONE {
            return unsuited("an activation function behind a Concat");
        }
        let inputs = node.input.iter().map(|name| self.bytes(name)).collect::<Fit<Vec<_>>>()?;
        let joined = inputs.iter().map(|input| self.pictures.get(input.tensor.as_str()));
        let channels = joined.map(|picture| Some(picture?.channels)).collect::<Option<Vec<_>>>();
        let Some(channels) = channels else {
            return unsuited("the number of its channels is not known");
        };
        let parts = inputs.iter().map(|input| input.quantization);
        let parts: Vec<_> = channels.into_iter().zip(parts).collect();
        let operator = Operator::Concat(Concat::new(&parts, to).or_else(unsuited)?);
        Ok(pictures(inputs.into_iter().map(|input| input.tensor), operator))
    }

    fn global_average_pool(
        &self,
        node: &NodeProto,
        to: Quantization,
        clamp: Clamp,
    ) -> Fit<Planned> {
        if clamp != Clamp::NONE {
            return unsuited("an activation function behind a global pooling");
        }
        if node.op_type == "ReduceMean" {
            // The dimensions that are left have no place in a picture.
            let axes = attribute(node, "axes").map(|a| a.ints.clone()).or_else(|| {
                let constant = self.graph.constant(input(node, 1))?;
                Some(constant.values.iter().map(|&axis| axis as i64).collect())
            });
            let mut axes = axes.unwrap_or_default();
            axes.iter_mut().for_each(|axis| *axis = axis.rem_euclid(4));
            axes.sort_unstable();
            if axes != [2, 3] || int(node, "keepdims", 1) == 0 {
                return unsuited("a ReduceMean that is no global pooling");
            }
        }
        let from = self.bytes(input(node, 0))?;
        let pool = GlobalAveragePool::new(from.quantization, to, self.isa).or_else(unsuited)?;
        Ok(pictures([from.tensor], Operator::GlobalAveragePool(pool)))
    }

    fn average_pool(&self, node: &NodeProto, to: Quantization, clamp: Clamp) -> Fit<Planned> {
        if clamp != Clamp::NONE || int(node, "ceil_mode", 0) != 0 {
            return unsuited("an AveragePool with an activation function or rounded up");
        }
        let from = self.bytes(input(node, 0))?;
        let padded = int(node, "count_include_pad", 0) != 0;
        let pool = AveragePool::new(window(node, None)?, padded, from.quantization, to, self.isa)
            .or_else(unsuited)?;
        Ok(pictures([from.tensor], Operator::AveragePool(pool)))
    }
}

fn pictures(inputs: impl IntoIterator<Item = String>, operator: Operator) -> Planned {
    Planned::Pictures { inputs: inputs.into_iter().collect(), operator }
}

/// The window of a convolution or pooling node.
fn window(node: &NodeProto, kernel: Option<[usize; 2]>) -> Fit<Window> {
    let automatic = attribute(node, "auto_pad").map_or(&b"NOTSET"[..], |a| &a.s);
    if ![&b"NOTSET"[..], b"VALID"].contains(&automatic) {
        return unsuited("its padding depends on the size of the picture");
    }
    let ints = |name: &str| attribute(node, name).map(|a| &a.ints[..]);
    let pair = |name: &str, default: Option<[usize; 2]>| match ints(name) {
        None => default.map_or_else(|| malformed(format!("it has no {name}")), Ok),
        Some(&[down, across]) => match (usize::try_from(down), usize::try_from(across)) {
            (Ok(down), Ok(across)) => Ok([down, across]),
            _ => malformed(format!("its {name} are {down} and {across}")),
        },
        Some(other) => unsuited(format!("its {name} are {other:?}")),
    };
    let pads = match ints("pads") {
        Some(pads) if automatic == b"NOTSET" => {
            let pads: Option<Vec<usize>> =
                pads.iter().map(|&pad| usize::try_from(pad).ok()).collect();
            match pads.as_deref() {
                Some(&[top, left, bottom, right]) => [top, left, bottom, right],
                _ => return unsuited("its padding is negative or not of two dimensions"),
            }
        }
        _ => [0; 4],
    };
    let declared = pair("kernel_shape", kernel)?;
    if kernel.is_some_and(|kernel| kernel != declared) {
        return malformed(format!("its kernel_shape is {declared:?}, its weights say otherwise"));
    }
    Ok(Window {
        kernel: declared,
        strides: pair("strides", Some([1, 1]))?,
        dilations: pair("dilations", Some([1, 1]))?,
        pads,
    })
}
