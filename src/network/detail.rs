//! Finds the early features of a network: finer than its last maps, and so told what belongs together.

use std::collections::HashMap;

use super::graph::{Graph, attribute, int};

/// How many times finer than the last feature maps they are: of a network with a stride of 32, those
/// with a stride of 8.
const FINER: i64 = 4;

/// The tensor, `[1, channels, height, width]`: of the inputs of dense convolutions that are so much
/// finer than `features`, that with the fewest channels; the last of several. None where there is
/// none, or where the ways to `features` differ in their strides.
pub(super) fn find(graph: &Graph, features: &str) -> Option<String> {
    // How many places of a tensor are one of the feature maps, a side.
    let mut strides: HashMap<&str, i64> = HashMap::from([(features, 1)]);
    let mut narrowest: Option<(usize, &str)> = None;
    for node in graph.proto.node.iter().rev() {
        let Some(&stride) = node.output.iter().find_map(|name| strides.get(name.as_str())) else {
            continue;
        };
        let own = match node.op_type.as_str() {
            "Conv" | "MaxPool" | "AveragePool" => match attribute(node, "strides") {
                None => 1,
                Some(strides) => match strides.ints[..] {
                    [down, across] if down == across && down > 0 => down,
                    _ => return None,
                },
            },
            _ => 1,
        };
        let stride = stride.checked_mul(own)?;
        for input in node.input.iter().filter(|name| !graph.is_constant(name)) {
            if *strides.entry(input).or_insert(stride) != stride {
                return None;
            }
        }
        let (Some(input), Some(weights)) = (node.input.first(), node.input.get(1)) else {
            continue;
        };
        let is_dense = node.op_type == "Conv" && int(node, "group", 1) == 1;
        if !is_dense || stride != FINER || graph.producer(input).is_none() {
            continue;
        }
        let Some(&[_, channels, _, _]) = graph.shape(weights).as_deref() else { continue };
        if narrowest.is_none_or(|(fewest, _)| channels < fewest) {
            narrowest = Some((channels, input));
        }
    }
    narrowest.map(|(_, tensor)| tensor.to_owned())
}
