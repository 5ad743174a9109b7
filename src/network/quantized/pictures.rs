//! The shapes of a graph's pictures, as far as its nodes tell.

use std::collections::HashMap;

use tract_onnx::pb::NodeProto;

use super::super::graph::{Constant, Graph, attribute, int};
use super::read::{averages_pictures, input, output};
use super::window::window;
use crate::int8::Shape;

/// What is known of the three dimensions behind the batch of a tensor: channels, height and width,
/// unless the channels are last.
pub(super) type Dims = [Option<usize>; 3];

/// Height and width.
pub(super) fn size(dims: Dims) -> Option<[usize; 2]> {
    Some([dims[1]?, dims[2]?])
}

/// The shapes by tensor, given that of the network's input.
pub(super) fn pictures<'a>(
    graph: &Graph<'a>,
    network_input: &'a str,
    dims: Dims,
) -> HashMap<&'a str, Dims> {
    let mut known: HashMap<&str, Dims> = HashMap::from([(network_input, dims)]);
    for node in &graph.proto.node {
        let made = made(graph, node, &|tensor| known.get(tensor).copied());
        if let Some(made) = made.filter(|_| !output(node).is_empty()) {
            known.insert(output(node), made);
        }
    }
    known
}

/// The shape of what a node makes, by those of what it reads.
fn made(graph: &Graph, node: &NodeProto, of: &dyn Fn(&str) -> Option<Dims>) -> Option<Dims> {
    let first = of(input(node, 0));
    match node.op_type.as_str() {
        "Conv" => {
            let &[channels, _, height, width] = &graph.shape(input(node, 1))?[..] else {
                return None;
            };
            let places = places(node, Some([height, width]), first);
            Some([Some(channels), places.map(|p| p[0]), places.map(|p| p[1])])
        }
        "MaxPool" | "AveragePool" => {
            let places = places(node, None, first);
            Some([first?[0], places.map(|p| p[0]), places.map(|p| p[1])])
        }
        "GlobalAveragePool" | "GlobalMaxPool" => Some([first?[0], Some(1), Some(1)]),
        "ReduceMean" if averages_pictures(graph, node) => Some([first?[0], Some(1), Some(1)]),
        "Concat" if [1, -3].contains(&int(node, "axis", 0)) => {
            let mut parts = node.input.iter().map(|name| of(name));
            let first = parts.next()??;
            parts.try_fold(first, |sum, part| {
                let part = part?;
                let channels = sum[0].zip(part[0]).and_then(|(sum, more)| sum.checked_add(more));
                Some([channels, sum[1], sum[2]])
            })
        }
        "Add" | "Sub" | "Mul" | "Div" => {
            let operand = |i: usize| {
                let tensor = input(node, i);
                of(tensor).or_else(|| dims_of(&graph.constant(tensor)?))
            };
            let (first, second) = (operand(0)?, operand(1)?);
            Some([0, 1, 2].map(|axis| broadcast(first[axis], second[axis])))
        }
        "Transpose" => match attribute(node, "perm").map(|perm| &perm.ints[..]) {
            Some(&[0, ref perm @ ..]) if perm.len() == 3 => {
                let axis = |i: usize| usize::try_from(perm[i] - 1).ok();
                let first = first?;
                Some([0, 1, 2].map(|i| *first.get(axis(i)?)?))
            }
            _ => None,
        },
        "QuantizeLinear" | "DequantizeLinear" | "Relu" | "Clip" | "LeakyRelu" | "Elu"
        | "Sigmoid" | "Tanh" | "HardSigmoid" | "HardSwish" | "BatchNormalization" | "Identity"
        | "Dropout" => first,
        _ => None,
    }
}

/// How many places a node's window has.
fn places(
    node: &NodeProto,
    kernel: Option<[usize; 2]>,
    picture: Option<Dims>,
) -> Option<[usize; 2]> {
    let [height, width] = size(picture?)?;
    let window = window(node, kernel, Some([height, width])).ok()?;
    let Shape { height, width, .. } = window.output_shape(Shape { height, width, channels: 1 });
    Some([height, width])
}

/// The shape of a constant of at most four dimensions.
fn dims_of(constant: &Constant) -> Option<Dims> {
    let shape = &constant.shape;
    (shape.len() <= 4).then(|| {
        [3, 2, 1]
            .map(|from_last| Some(shape.len().checked_sub(from_last).map_or(1, |axis| shape[axis])))
    })
}

fn broadcast(first: Option<usize>, second: Option<usize>) -> Option<usize> {
    match (first, second) {
        (Some(1), other) | (other, Some(1)) => other,
        (first, second) if first == second => first,
        _ => None,
    }
}
