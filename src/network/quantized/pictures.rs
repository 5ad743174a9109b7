//! Which tensors of a graph are pictures, as far as their producers tell.

use std::collections::HashMap;

use super::super::graph::{Graph, int};
use super::read::{input, output};

/// A tensor of shape `[1, channels, height, width]`, of numbers or bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Picture {
    pub(super) channels: usize,
    /// It is one pixel, whatever the size of the network's input.
    pub(super) point: bool,
}

/// The pictures behind convolutions, by their tensors.
pub(super) fn pictures<'a>(graph: &Graph<'a>) -> HashMap<&'a str, Picture> {
    let mut pictures: HashMap<&str, Picture> = HashMap::new();
    for node in &graph.proto.node {
        let picture = |name: &str| pictures.get(name).copied();
        let first = picture(input(node, 0));
        let made = match node.op_type.as_str() {
            "Conv" => graph.shape(input(node, 1)).filter(|shape| shape.len() == 4).map(|shape| {
                Picture { channels: shape[0], point: first.is_some_and(|first| first.point) }
            }),
            "Concat" if [1, -3].contains(&int(node, "axis", 0)) => {
                let parts = node.input.iter().map(|name| picture(name));
                parts
                    .reduce(|sum, part| {
                        let (sum, part) = (sum?, part?);
                        let channels = sum.channels.checked_add(part.channels)?;
                        (sum.point == part.point).then_some(Picture { channels, ..sum })
                    })
                    .flatten()
            }
            "Add" | "Mul" => first.filter(|_| first == picture(input(node, 1))),
            "GlobalAveragePool" | "GlobalMaxPool" => {
                first.map(|first| Picture { point: true, ..first })
            }
            "QuantizeLinear" | "DequantizeLinear" | "MaxPool" | "AveragePool" | "Relu" | "Clip"
            | "LeakyRelu" | "Sigmoid" | "HardSigmoid" | "HardSwish" | "BatchNormalization"
            | "Identity" | "Dropout" => first,
            _ => None,
        };
        if let Some(made) = made.filter(|_| !output(node).is_empty()) {
            pictures.insert(output(node), made);
        }
    }
    pictures
}
