//! Every operator that only moves or selects numbers stands between a DequantizeLinear and a
//! QuantizeLinear node of the same quantization, wherever one of the two is near.
//!
//! Such operators and rounding to bytes may change places: `quantize(max(x)) = max(quantize(x))`.

use std::collections::HashMap;

use tract_onnx::pb::{GraphProto, NodeProto};

use super::super::graph::Graph;
use super::padding::zeros;
use super::read::{input, output};

/// Operators of which each output is one of the inputs.
const KEEPING: [&str; 9] = [
    "Dropout",
    "Flatten",
    "GlobalMaxPool",
    "Identity",
    "MaxPool",
    "Reshape",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
];

/// Puts the quantization nodes around the operators that keep numbers. No number changes.
pub(super) fn propagate(graph: &mut GraphProto) {
    let nodes = forwards(&Graph::new(graph));
    graph.node = nodes;
    let nodes = backwards(&Graph::new(graph));
    graph.node = nodes;
}

/// The names of a scale and a zero point.
type Parameters = [String; 2];

/// The scale and zero point of a quantization node of an activation; none where it has no zero
/// point or a scale a channel.
fn parameters(graph: &Graph, node: &NodeProto) -> Option<Parameters> {
    let quantizes = ["QuantizeLinear", "DequantizeLinear"].contains(&node.op_type.as_str());
    let from = input(node, 0);
    if !quantizes || graph.initializer(from).is_some() || graph.constant(from).is_some() {
        return None;
    }
    let one = |i: usize| graph.constant(input(node, i)).is_some_and(|c| c.values.len() == 1);
    (one(1) && one(2)).then(|| [input(node, 1).to_owned(), input(node, 2).to_owned()])
}

/// Whether each number that a node makes is one that it reads, or 0.
fn keeps(graph: &Graph, node: &NodeProto) -> bool {
    let keeps = KEEPING.contains(&node.op_type.as_str()) || zeros(graph, node).is_some();
    keeps && node.output.len() == 1
}

/// A Pad node of bytes as one of the numbers that they stand for.
fn on_numbers(graph: &Graph, node: &NodeProto, [_, zero_point]: &Parameters) -> NodeProto {
    let mut node = node.clone();
    let value = input(&node, 2);
    if node.op_type == "Pad"
        && !value.is_empty()
        && values(graph, value) == values(graph, zero_point)
    {
        node.input.truncate(2);
    }
    node
}

fn values(graph: &Graph, tensor: &str) -> Option<Vec<f32>> {
    Some(graph.constant(tensor)?.values)
}

/// Where an operator that keeps numbers is quantized afterwards, quantizes before it too.
fn backwards(graph: &Graph) -> Vec<NodeProto> {
    let readers = readers(graph);
    let only_reader = |tensor: &str| match readers.get(tensor).map(|readers| &readers[..]) {
        Some(&[Some(reader)]) => Some(reader),
        _ => None,
    };
    // The tensors that are only read to be quantized.
    let mut quantized: HashMap<&str, Parameters> = HashMap::new();
    let mut nodes = Vec::new();
    for node in graph.proto.node.iter().rev() {
        let from = input(node, 0);
        if node.op_type == "QuantizeLinear"
            && only_reader(from).is_some()
            && let Some(parameters) = parameters(graph, node)
        {
            quantized.insert(from, parameters);
        }
        let dequantized =
            graph.producer(from).is_some_and(|(node, _)| node.op_type == "DequantizeLinear");
        // The range of maxima is not that of the maps that they are taken of.
        let moves = keeps(graph, node) && node.op_type != "GlobalMaxPool";
        let parameters = quantized.get(output(node)).filter(|_| moves && !dequantized);
        let Some(parameters) = parameters.cloned() else {
            nodes.push(node.clone());
            continue;
        };
        let before = format!("{}/before", output(node));
        let bytes = format!("{before}/bytes");
        let [quantize, dequantize] = pair(from, &bytes, &before, &parameters);
        nodes.push(NodeProto { input: replaced(node, before), ..node.clone() });
        nodes.extend([dequantize, quantize]);
        if only_reader(from).is_some() {
            quantized.insert(from, parameters);
        }
    }
    nodes.reverse();
    nodes
}

/// Dequantizes before, and quantizes after, the operators that keep bytes and those that keep what
/// has been bytes.
fn forwards(graph: &Graph) -> Vec<NodeProto> {
    let readers = readers(graph);
    let mut bytes: HashMap<&str, Parameters> = HashMap::new();
    let mut numbers: HashMap<&str, Parameters> = HashMap::new();
    let mut nodes = Vec::new();
    for node in &graph.proto.node {
        let (from, to) = (input(node, 0), output(node));
        if let Some(parameters) = parameters(graph, node) {
            let known = if node.op_type == "QuantizeLinear" { &mut bytes } else { &mut numbers };
            known.insert(to, parameters);
        } else if let Some(parameters) = bytes.get(from).cloned()
            && let node = on_numbers(graph, node, &parameters)
            && keeps(graph, &node)
        {
            let (before, after) = (format!("{to}/before"), format!("{to}/after"));
            let [_, dequantize] = pair("", from, &before, &parameters);
            let [quantize, _] = pair(&after, to, "", &parameters);
            let kept = NodeProto { input: replaced(&node, before), output: vec![after], ..node };
            nodes.extend([dequantize, kept, quantize]);
            bytes.insert(to, parameters);
            continue;
        } else if keeps(graph, node)
            && let Some(parameters) = numbers.get(from).cloned()
        {
            let again = |reader: &Option<&NodeProto>| {
                reader.is_some_and(|reader| quantizes_so(graph, reader, &parameters))
            };
            if !readers.get(to).is_some_and(|readers| readers.iter().all(again)) {
                let (after, kept) = (format!("{to}/after"), format!("{to}/bytes"));
                nodes.push(NodeProto { output: vec![after.clone()], ..node.clone() });
                nodes.extend(pair(&after, &kept, to, &parameters));
                numbers.insert(to, parameters);
                continue;
            }
        }
        nodes.push(node.clone());
    }
    nodes
}

/// Whether a node quantizes with these parameters, whatever their names.
fn quantizes_so(graph: &Graph, node: &NodeProto, parameters: &Parameters) -> bool {
    let equal = |name: &str, other: &str| {
        graph.constant(name) == graph.constant(other) && graph.kind(name) == graph.kind(other)
    };
    node.op_type == "QuantizeLinear"
        && equal(input(node, 1), &parameters[0])
        && equal(input(node, 2), &parameters[1])
}

/// The nodes that read a tensor; none for an output of the graph.
fn readers<'a>(graph: &Graph<'a>) -> HashMap<&'a str, Vec<Option<&'a NodeProto>>> {
    let mut readers: HashMap<&str, Vec<Option<&NodeProto>>> = HashMap::new();
    for node in &graph.proto.node {
        node.input.iter().for_each(|name| readers.entry(name).or_default().push(Some(node)));
    }
    graph.proto.output.iter().for_each(|to| readers.entry(&to.name).or_default().push(None));
    readers
}

/// A QuantizeLinear node from `from` to `bytes` and a DequantizeLinear node from there to `to`.
fn pair(from: &str, bytes: &str, to: &str, [scale, zero_point]: &Parameters) -> [NodeProto; 2] {
    let node = |op: &str, from: &str, to: &str| NodeProto {
        name: format!("{to}/{op}"),
        op_type: op.to_owned(),
        input: vec![from.to_owned(), scale.clone(), zero_point.clone()],
        output: vec![to.to_owned()],
        ..Default::default()
    };
    [node("QuantizeLinear", from, bytes), node("DequantizeLinear", bytes, to)]
}

/// The inputs of a node with another first one.
fn replaced(node: &NodeProto, first: String) -> Vec<String> {
    [first].into_iter().chain(node.input.iter().skip(1).cloned()).collect()
}
