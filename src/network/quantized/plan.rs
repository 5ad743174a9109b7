//! Which operators of a graph become int8 operators: those between DequantizeLinear and
//! QuantizeLinear nodes, each with the activation function behind it, and the addition behind a
//! convolution with the convolution.

use std::collections::HashMap;

use tract_onnx::pb::NodeProto;

use super::super::graph::{Graph, attribute, int};
use super::operator::Operator;
use super::pictures::{Dims, size};
use super::read::{Fit, Weights, averages_pictures, bias, input, quantization, unsuited, weights};
use super::window::window;
use crate::int8::{
    Add, AddSpec, AveragePool, Clamp, Concat, Convolution, ConvolutionSpec, FullyConnected,
    FullyConnectedSpec, GlobalAveragePool, Isa, MaxPool, Operand, Quantization, Quantize,
    Requantize, Residual, Window,
};

/// Operators that an int8 operator takes with it: clamps, and those that do nothing.
const ACTIVATIONS: [&str; 4] = ["Relu", "Clip", "Identity", "Dropout"];

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
    pub(super) pictures: HashMap<&'a str, Dims>,
    pub(super) isa: Isa,
}

impl<'a> Planner<'a> {
    /// The tensor that a QuantizeLinear node quantizes, before the activation functions on it.
    pub(super) fn before_activation(&self, quantize: &'a NodeProto) -> &'a str {
        let mut tensor = input(quantize, 0);
        // A graph may run in a circle.
        for _ in &self.graph.proto.node {
            match self.graph.producer(tensor) {
                Some((node, 0)) if ACTIVATIONS.contains(&node.op_type.as_str()) => {
                    tensor = input(node, 0);
                }
                _ => break,
            }
        }
        tensor
    }

    /// What computes the bytes that a QuantizeLinear node puts out.
    pub(super) fn quantized(&self, quantize: &'a NodeProto) -> Fit<Planned> {
        let to = quantization(&self.graph, quantize)?;
        let tensor = self.before_activation(quantize);
        let Some((node, 0)) = self.graph.producer(tensor) else {
            return self.quantize(input(quantize, 0), to);
        };
        let clamp = self.clamp(quantize, tensor, to)?;
        match node.op_type.as_str() {
            "DequantizeLinear" => self.requantize(self.bytes(tensor)?, to, clamp),
            "Conv" => self.convolution(node, to, clamp),
            "Gemm" | "MatMul" => self.linear_to_bytes(node, to, clamp),
            "Add" => self.add(node, to, clamp),
            "Concat" => self.concat(node, to, clamp),
            "GlobalAveragePool" | "ReduceMean" => self.global_average_pool(node, to, clamp),
            "AveragePool" => self.average_pool(node, to, clamp),
            // Rounded as exactly as the others; the value itself is tract's.
            _ if self.bytes(input(node, 0)).is_err() => self.quantize(input(quantize, 0), to),
            "MaxPool" | "GlobalMaxPool" | "Flatten" | "Reshape" | "Squeeze" | "Unsqueeze"
            | "Transpose" => self.kept(node, to, clamp),
            other => unsuited(format!("there is no int8 operator for {other}")),
        }
    }

    /// The clamp that the activation functions between `tensor` and a QuantizeLinear node are.
    fn clamp(&self, quantize: &'a NodeProto, tensor: &str, to: Quantization) -> Fit<Clamp> {
        let mut clamp = Clamp::NONE;
        let mut at = input(quantize, 0);
        while at != tensor
            && let Some((node, _)) = self.graph.producer(at)
        {
            clamp = match node.op_type.as_str() {
                "Relu" => narrowed(clamp, to, Some(0.0), None)?,
                "Clip" => {
                    let [low, high] = [self.bound(node, "min", 1)?, self.bound(node, "max", 2)?];
                    narrowed(clamp, to, low, high)?
                }
                _ => clamp,
            };
            at = input(node, 0);
        }
        Ok(clamp)
    }

    /// A bound of a Clip node, an attribute or the input `i`; none where it has none.
    fn bound(&self, clip: &NodeProto, name: &str, i: usize) -> Fit<Option<f32>> {
        if let Some(bound) = attribute(clip, name) {
            return Ok(Some(bound.f));
        }
        if input(clip, i).is_empty() {
            return Ok(None);
        }
        match self.graph.constant(input(clip, i)).as_ref().map(|c| &c.values[..]) {
            Some(&[bound]) => Ok(Some(bound)),
            _ => unsuited("a Clip whose bounds are not constant"),
        }
    }

    /// An operator whose output is some of its input.
    fn kept(&self, node: &NodeProto, to: Quantization, clamp: Clamp) -> Fit<Planned> {
        let from = self.bytes(input(node, 0))?;
        if from.quantization != to || clamp != Clamp::NONE {
            return unsuited("its input and output are quantized differently");
        }
        let window = match node.op_type.as_str() {
            "MaxPool" => window(node, None, self.size(&from))?,
            "GlobalMaxPool" => match self.size(&from) {
                Some(kernel) => Window { kernel, ..Window::POINT },
                None => return unsuited("the size of its input is not known"),
            },
            _ => {
                let mut node = node.clone();
                node.input[0] = from.tensor;
                return Ok(Planned::Bytes(node));
            }
        };
        let pool = MaxPool::new(window, self.isa).or_else(unsuited)?;
        Ok(pictures([from.tensor], Operator::MaxPool(pool)))
    }

    /// Height and width of bytes that are a picture, where they are known.
    fn size(&self, bytes: &Bytes) -> Option<[usize; 2]> {
        size(*self.pictures.get(bytes.tensor.as_str())?)
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
            window: window(node, Some([height, width]), self.size(&from))?,
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
        let shape = |bytes: &Bytes| {
            let [channels, height, width] = *self.pictures.get(bytes.tensor.as_str())?;
            Some([channels?, height?, width?])
        };
        if shape(&first).is_none() || shape(&first) != shape(&second) {
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
        let channels = joined.map(|picture| picture?[0]).collect::<Option<Vec<_>>>();
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
        if node.op_type == "ReduceMean" && !averages_pictures(&self.graph, node) {
            return unsuited("a ReduceMean that is no global pooling");
        }
        let from = self.bytes(input(node, 0))?;
        let pool = GlobalAveragePool::new(from.quantization, to, self.isa).or_else(unsuited)?;
        Ok(pictures([from.tensor], Operator::GlobalAveragePool(pool)))
    }

    fn average_pool(&self, node: &NodeProto, to: Quantization, clamp: Clamp) -> Fit<Planned> {
        if clamp != Clamp::NONE {
            return unsuited("an activation function behind an AveragePool");
        }
        let from = self.bytes(input(node, 0))?;
        let window = window(node, None, self.size(&from))?;
        let padded = int(node, "count_include_pad", 0) != 0;
        if padded && int(node, "ceil_mode", 0) != 0 {
            return unsuited("its size is rounded up and padding counts");
        }
        let pool =
            AveragePool::new(window, padded, from.quantization, to, self.isa).or_else(unsuited)?;
        Ok(pictures([from.tensor], Operator::AveragePool(pool)))
    }
}

fn pictures(inputs: impl IntoIterator<Item = String>, operator: Operator) -> Planned {
    Planned::Pictures { inputs: inputs.into_iter().collect(), operator }
}

/// A clamp of the numbers, as one of the bytes that stand for them: rounding keeps their order.
fn narrowed(clamp: Clamp, to: Quantization, low: Option<f32>, high: Option<f32>) -> Fit<Clamp> {
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
