//! One form for all quantized graphs: QuantizeLinear and DequantizeLinear nodes around the usual
//! operators, and unsigned bytes between them.
//!
//! Source: the operators of ONNX named QLinear..., and those of ONNX Runtime's domain
//! `com.microsoft` (its ContribOperators.md).

use std::collections::{HashMap, HashSet};

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto};

use super::super::graph::{Graph, int, title};
use super::propagate::propagate;
use super::read::{input, output};
use super::{attribute_of, padding, read};

const QUANTIZING: [&str; 2] = ["QuantizeLinear", "DequantizeLinear"];

/// Brings a graph into the form of QuantizeLinear and DequantizeLinear nodes.
///
/// # Errors
/// Where a quantized operator lacks inputs, or a quantization cannot be meant; names the node.
pub(in crate::network) fn unfold(graph: &mut GraphProto) -> Result<(), String> {
    let mut unfolding = Unfolding::default();
    let lookup = Graph::new(graph);
    for node in &graph.node {
        unfolding.node(&lookup, node).map_err(|why| format!("{}: {why}", title(node)))?;
    }
    let Unfolding { nodes, constants } = unfolding;
    graph.node = nodes;
    graph.initializer.extend(constants);
    check(&Graph::new(graph))?;
    propagate(graph);
    padding::merge(graph);
    unsigned(graph);
    Ok(())
}

fn check(graph: &Graph) -> Result<(), String> {
    let quantizes = |node: &&NodeProto| QUANTIZING.contains(&node.op_type.as_str());
    graph.proto.node.iter().filter(quantizes).try_for_each(|node| read::check(graph, node))
}

#[derive(Default)]
struct Unfolding {
    nodes: Vec<NodeProto>,
    constants: Vec<TensorProto>,
}

impl Unfolding {
    fn node(&mut self, graph: &Graph, node: &NodeProto) -> Result<(), String> {
        let op = match node.op_type.as_str() {
            "QGemm" => "Gemm",
            name => match name.strip_prefix("QLinear") {
                Some(op) => op,
                None => {
                    self.nodes.push(node.clone());
                    return Ok(());
                }
            },
        };
        if int(node, "channels_last", 0) != 0 {
            return Err("quantized operators with the channels last are not supported".into());
        }
        let mut inputs = Vec::new();
        let scale_of_output;
        match op {
            "Concat" => {
                scale_of_output = 0;
                for i in (2..node.input.len()).step_by(3) {
                    inputs.push(self.real(node, i, None)?);
                }
            }
            "Conv" | "Gemm" => {
                inputs.push(self.real(node, 0, None)?);
                let gemm = op == "Gemm";
                let axis = i64::from(gemm && int(node, "transB", 0) == 0);
                inputs.push(self.real(node, 3, Some(axis))?);
                let bias = if gemm { 6 } else { 8 };
                if !input(node, bias).is_empty() {
                    inputs.push(self.bias(graph, node, bias)?);
                }
                scale_of_output = if gemm { 7 } else { 6 };
            }
            "MatMul" => {
                inputs.extend([self.real(node, 0, None)?, self.real(node, 3, Some(1))?]);
                scale_of_output = 6;
            }
            "Add" | "Mul" => {
                inputs.extend([self.real(node, 0, None)?, self.real(node, 3, None)?]);
                scale_of_output = 6;
            }
            "GlobalAveragePool" | "AveragePool" | "LeakyRelu" | "Sigmoid" | "Softmax"
            | "ReduceMean" => {
                inputs.push(self.real(node, 0, None)?);
                scale_of_output = 3;
            }
            _ => return Err("this quantized operator is not supported".into()),
        }
        let makes = output(node).to_owned();
        let quantized = !input(node, scale_of_output).is_empty();
        let result = if quantized { format!("{makes}/real") } else { makes.clone() };
        self.nodes.push(NodeProto {
            name: node.name.clone(),
            op_type: op.to_owned(),
            input: inputs,
            output: vec![result.clone()],
            attribute: node.attribute.clone(),
            ..Default::default()
        });
        if quantized {
            let scale_and_zero = node.input[scale_of_output..].iter().take(2).cloned();
            self.nodes.push(NodeProto {
                name: format!("{makes}/quantize"),
                op_type: "QuantizeLinear".to_owned(),
                input: [result].into_iter().chain(scale_and_zero).collect(),
                output: vec![makes],
                ..Default::default()
            });
        }
        Ok(())
    }

    /// The numbers behind the input `i` of a node, whose scale and zero point are the next two.
    fn real(&mut self, node: &NodeProto, i: usize, axis: Option<i64>) -> Result<String, String> {
        if input(node, i).is_empty() || input(node, i + 1).is_empty() {
            return Err(format!("its input {i} or the scale of it is missing"));
        }
        let real = format!("{}/{i}/real", output(node));
        self.dequantize(node.input[i..].iter().take(3).cloned().collect(), &real, axis);
        Ok(real)
    }

    /// The numbers behind the bias, the input `i`, whose scale is that of the products.
    fn bias(&mut self, graph: &Graph, node: &NodeProto, i: usize) -> Result<String, String> {
        let scale = |i: usize| {
            let constant = graph.constant(input(node, i));
            constant.ok_or_else(|| format!("its scale `{}` is not constant", input(node, i)))
        };
        let &[of_input] = &scale(1)?.values[..] else {
            return Err("its input has not one scale".into());
        };
        let scales: Vec<f32> = scale(4)?.values.iter().map(|scale| of_input * scale).collect();
        let real = format!("{}/{i}/real", output(node));
        let name = format!("{real}/scale");
        self.constants.push(TensorProto {
            name: name.clone(),
            dims: if scales.len() == 1 { vec![] } else { vec![scales.len() as i64] },
            data_type: DataType::Float as i32,
            float_data: scales,
            ..Default::default()
        });
        self.dequantize(vec![node.input[i].clone(), name], &real, Some(0));
        Ok(real)
    }

    fn dequantize(&mut self, inputs: Vec<String>, makes: &str, axis: Option<i64>) {
        let axis =
            axis.map(|axis| AttributeProto { i: axis, ..attribute_of("axis", AttributeType::Int) });
        self.nodes.push(NodeProto {
            name: format!("{makes}/dequantize"),
            op_type: "DequantizeLinear".to_owned(),
            input: inputs,
            output: vec![makes.to_owned()],
            attribute: axis.into_iter().collect(),
            ..Default::default()
        });
    }
}

/// Makes signed activations unsigned ones, by adding 128 to bytes and zero points, where only
/// quantization nodes read the bytes.
fn unsigned(graph: &mut GraphProto) {
    let lookup = Graph::new(graph);
    let mut kept: HashSet<&str> = graph.output.iter().map(|value| value.name.as_str()).collect();
    for node in &graph.node {
        let dequantized = usize::from(node.op_type == "DequantizeLinear");
        kept.extend(node.input.iter().skip(dequantized).map(|name| name.as_str()));
    }
    let mut nodes = graph.node.clone();
    let mut constants = HashMap::new();
    for (node, changed) in graph.node.iter().zip(&mut nodes) {
        let bytes = match node.op_type.as_str() {
            "QuantizeLinear" => output(node),
            "DequantizeLinear" => input(node, 0),
            _ => continue,
        };
        if kept.contains(bytes) || !is_signed(&lookup, bytes) {
            continue;
        }
        // Where there is no zero point, it is 0, for each scale.
        let none = input(node, 2).is_empty();
        let old = input(node, if none { 1 } else { 2 });
        let Some(zero_points) = lookup.constant(old) else { continue };
        let zero = |value: &f32| if none { 128 } else { *value as i32 + 128 };
        let name = format!("{old}/unsigned");
        constants.entry(name.clone()).or_insert_with(|| TensorProto {
            name: name.clone(),
            dims: zero_points.shape.iter().map(|&side| side as i64).collect(),
            data_type: DataType::Uint8 as i32,
            int32_data: zero_points.values.iter().map(zero).collect(),
            ..Default::default()
        });
        changed.input.truncate(2);
        changed.input.push(name);
        changed.attribute.retain(|attribute| attribute.name != "output_dtype");
    }
    graph.node = nodes;
    graph.initializer.extend(constants.into_values());
}

/// Whether `tensor` is signed bytes of an activation.
fn is_signed(graph: &Graph, tensor: &str) -> bool {
    graph.producer(tensor).is_some_and(|(node, _)| {
        node.op_type == "QuantizeLinear"
            && read::byte_type(graph, node) == Some(DataType::Int8)
            && graph.constant(input(node, 0)).is_none()
    })
}
