//! Convolutions that pad for themselves in place of Pad nodes before them.

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto};

use super::super::graph::{Graph, attribute};
use super::attribute_of;
use super::read::{input, quantize_alike};

/// Lets convolutions read what Pad nodes before them pad with zeros. The Pad nodes stay for others.
pub(super) fn merge(graph: &mut GraphProto) {
    let lookup = Graph::new(graph);
    let mut nodes = graph.node.clone();
    for node in nodes.iter_mut().filter(|node| node.op_type == "Conv") {
        let automatic = attribute(node, "auto_pad").is_some_and(|a| a.s.starts_with(b"SAME"));
        let Some(pad) = padding(&lookup, node).filter(|_| !automatic) else { continue };
        let Some(&[0, 0, top, left, 0, 0, bottom, right]) = zeros(&lookup, pad).as_deref() else {
            continue;
        };
        let own = attribute(node, "pads").map_or(&[0; 4][..], |a| &a.ints[..]);
        let more = [top, left, bottom, right];
        if own.len() != 4 || more.iter().chain(own).any(|&pad| pad < 0) {
            continue;
        }
        let ints = own.iter().zip(more).map(|(own, more)| own.saturating_add(more)).collect();
        node.attribute.retain(|a| !["auto_pad", "pads"].contains(&a.name.as_str()));
        let pads = AttributeProto { ints, ..attribute_of("pads", AttributeType::Ints) };
        node.attribute.push(pads);
        node.input[0] = input(pad, 0).to_owned();
    }
    graph.node = nodes;
}

/// The Pad node before a node, right before it or between quantization nodes that are alike.
fn padding<'a>(graph: &Graph<'a>, node: &NodeProto) -> Option<&'a NodeProto> {
    let before = |node: &NodeProto, op: &str| {
        let (producer, _) = graph.producer(input(node, 0))?;
        (producer.op_type == op).then_some(producer)
    };
    before(node, "Pad").or_else(|| {
        let dequantize = before(node, "DequantizeLinear")?;
        let quantize = before(dequantize, "QuantizeLinear")?;
        let pad = before(quantize, "Pad")?;
        let dequantized = before(pad, "DequantizeLinear")?;
        let alike = |other| quantize_alike(graph, quantize, other);
        (alike(dequantize) && alike(dequantized)).then_some(pad)
    })
}

/// How many zeros a Pad node puts before and after each axis; none where it is no such node.
pub(super) fn zeros(graph: &Graph, node: &NodeProto) -> Option<Vec<i64>> {
    let constant = attribute(node, "mode").is_none_or(|mode| mode.s == b"constant");
    let value = match (attribute(node, "value"), input(node, 2)) {
        (Some(value), _) => value.f,
        (None, "") => 0.0,
        (None, name) => *graph.constant(name)?.values.first()?,
    };
    if node.op_type != "Pad" || !constant || value != 0.0 || !input(node, 3).is_empty() {
        return None;
    }
    match attribute(node, "pads") {
        Some(pads) => Some(pads.ints.clone()),
        None => {
            Some(graph.constant(input(node, 1))?.values.iter().map(|&pad| pad as i64).collect())
        }
    }
}
