//! The places of int8 operators in a graph, and how bytes come in and out there.

use std::collections::HashMap;

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto};

use super::super::graph::Graph;
use super::operator::Operator;
use super::read::{self, input};
use super::{CHANNELS_LAST, INT8, attribute_of};
use crate::int8::Quantization;

/// A graph's nodes, some of which stand for int8 operators.
#[derive(Default)]
pub(super) struct Placed {
    pub(super) nodes: Vec<NodeProto>,
    /// By the names of their nodes.
    pub(super) operators: HashMap<String, Operator>,
    /// Of the operators that make bytes of numbers, likewise.
    pub(super) quantizations: HashMap<String, Quantization>,
}

impl Placed {
    pub(super) fn push(
        &mut self,
        name: &str,
        inputs: Vec<String>,
        makes: String,
        operator: Operator,
    ) {
        self.nodes.push(NodeProto {
            name: name.to_owned(),
            op_type: INT8.to_owned(),
            input: inputs,
            output: vec![makes],
            ..Default::default()
        });
        self.operators.insert(name.to_owned(), operator);
    }

    /// Lets the input `name` take bytes, channels last, where all that read it make the same bytes
    /// of it. Says how these read.
    pub(super) fn take_bytes(&mut self, name: &str, channels_last: bool) -> Option<Quantization> {
        let reads = |node: &NodeProto| node.input.iter().any(|input| input == name);
        let mut read = None;
        for node in self.nodes.iter().filter(|node| reads(node)) {
            let quantization = *self.quantizations.get(&node.name)?;
            if read.is_some_and(|read| read != quantization) {
                return None;
            }
            read = Some(quantization);
        }
        for node in self.nodes.iter_mut().filter(|node| reads(node)) {
            self.operators.remove(&node.name);
            let perm = if channels_last { [0, 1, 2, 3] } else { [0, 3, 1, 2] };
            *node = transpose(name, node.output[0].clone(), perm);
        }
        read
    }
}

/// Lets the output `i` be given as bytes, channels last, where these are the bytes of an int8
/// operator. Says how these read.
pub(super) fn give_bytes(graph: &mut GraphProto, i: usize) -> Option<Quantization> {
    let lookup = Graph::new(graph);
    let (dequantize, 0) = lookup.producer(&graph.output.get(i)?.name)? else { return None };
    if dequantize.op_type != "DequantizeLinear" {
        return None;
    }
    let quantization = read::quantization(&lookup, dequantize).ok()?;
    let bytes = format!("{}{CHANNELS_LAST}", input(dequantize, 0));
    if lookup.producer(&bytes)?.0.op_type != INT8 {
        return None;
    }
    graph.output[i].name = bytes;
    Some(quantization)
}

pub(super) fn transpose(from: &str, to: String, perm: [i64; 4]) -> NodeProto {
    let perm = AttributeProto { ints: perm.to_vec(), ..attribute_of("perm", AttributeType::Ints) };
    NodeProto {
        name: format!("{to}/transpose"),
        op_type: "Transpose".to_owned(),
        input: vec![from.to_owned()],
        output: vec![to],
        attribute: vec![perm],
        ..Default::default()
    }
}
