//! A finer mapping resolution without training: the last stride before the feature maps is halved,
//! and what comes after it dilated, so that every weight meets the neighbours it was trained with.
//! Every other place of the finer maps holds what the coarse ones held.
//!
//! Source: Zhou et al., CVPR 2016, section 3.1, where a larger last map localizes better; the
//! dilation is that of Yu and Koltun, ICLR 2016.

use std::collections::HashMap;

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto};

use super::check::Checked;
use super::graph::{Graph, attribute, int, title};

/// Operators whose result depends on the size of their input in ways of their own.
const RIGID: [&str; 10] = [
    "ConvTranspose",
    "DepthToSpace",
    "Expand",
    "Gather",
    "GlobalAveragePool",
    "Reshape",
    "Resize",
    "Slice",
    "SpaceToDepth",
    "Upsample",
];

/// Doubles height and width of the feature maps of a network.
///
/// # Errors
/// Where that cannot be done: names the node that stands in the way.
pub(super) fn double(checked: &mut Checked) -> Result<(), String> {
    let features = &checked.head.features;
    let graph = checked.proto.graph.as_mut().ok_or("it holds no graph")?;
    let changes = changes(&Graph::new(graph), features)?;
    for (i, change) in changes {
        match change {
            Change::Stride { begin, end } => halve_stride(&mut graph.node[i], begin, end),
            Change::Dilation => dilate(&mut graph.node[i]),
        }
    }
    if let Some(window) = &mut checked.head.pool.window {
        *window = window.map(|side| 2 * side);
        widen_pools(graph, features);
    }
    Ok(())
}

/// What becomes of a node.
enum Change {
    /// The stride is halved; these are the pads before and after.
    Stride { begin: [i64; 2], end: [i64; 2] },
    /// The dilation is doubled, and the padding with it.
    Dilation,
}

/// The changes, by the numbers of the nodes.
fn changes(graph: &Graph, features: &str) -> Result<Vec<(usize, Change)>, String> {
    // How many pixels of a tensor are one of the feature maps.
    let mut strides: HashMap<&str, i64> = HashMap::from([(features, 1)]);
    let mut changes = Vec::new();
    let mut halved = false;
    for (i, node) in graph.proto.node.iter().enumerate().rev() {
        let Some(&stride) = node.output.iter().find_map(|name| strides.get(name.as_str())) else {
            continue;
        };
        let op = node.op_type.as_str();
        if stride == 1 && RIGID.contains(&op) {
            return Err(format!("{} takes maps of one size only", title(node)));
        }
        let mut own = 1;
        if ["Conv", "MaxPool", "AveragePool"].contains(&op) {
            own = stride_of(node)?;
            if stride == 1 && own > 1 {
                if own % 2 != 0 {
                    return Err(format!(
                        "{} has a stride of {own}, which has no half",
                        title(node)
                    ));
                }
                changes.push((i, halved_stride(graph, node)?));
                halved = true;
            } else if stride == 1 && kernel(graph, node)? != [1, 1] {
                if op == "AveragePool" {
                    return Err(format!("{} cannot be dilated", title(node)));
                }
                changes.push((i, Change::Dilation));
            }
        }
        for input in node.input.iter().filter(|name| !graph.is_constant(name)) {
            let known = *strides.entry(input).or_insert(stride * own);
            if known != stride * own {
                return Err(format!(
                    "the ways from `{input}` to its feature maps have different strides"
                ));
            }
        }
    }
    if halved { Ok(changes) } else { Err("no stride comes before its feature maps".into()) }
}

fn pair(node: &NodeProto, name: &str) -> Result<[i64; 2], String> {
    match attribute(node, name).map(|a| &a.ints[..]) {
        None => Ok([1, 1]),
        Some(&[down, across]) => Ok([down, across]),
        Some(other) => Err(format!("{} has {name} {other:?}", title(node))),
    }
}

fn stride_of(node: &NodeProto) -> Result<i64, String> {
    match pair(node, "strides")? {
        [down, across] if down == across && down > 0 => Ok(down),
        other => Err(format!("{} has strides {other:?}", title(node))),
    }
}

fn kernel(graph: &Graph, node: &NodeProto) -> Result<[i64; 2], String> {
    if attribute(node, "kernel_shape").is_some() {
        return pair(node, "kernel_shape");
    }
    match node.input.get(1).and_then(|weights| graph.shape(weights)).as_deref() {
        Some(&[_, _, down, across]) => Ok([down as i64, across as i64]),
        _ => Err(format!("{} has a kernel of unknown size", title(node))),
    }
}

/// The padding with which a node of half the stride gives twice the places of what it gave for a
/// picture of even sides, every other one of them the same.
fn halved_stride(graph: &Graph, node: &NodeProto) -> Result<Change, String> {
    let (kernel, dilation) = (kernel(graph, node)?, pair(node, "dilations")?);
    let stride = stride_of(node)?;
    let same = attribute(node, "auto_pad").map_or(&b""[..], |a| &a.s);
    let given = attribute(node, "pads").map_or(&[0; 4][..], |a| &a.ints[..]);
    let &[top, left, bottom, right] = given else {
        return Err(format!("{} has pads {given:?}", title(node)));
    };
    let rounds_up = int(node, "ceil_mode", 0) != 0;
    let (mut begin, mut end) = ([top, left], [bottom, right]);
    for axis in 0..2 {
        let extent = (kernel[axis] - 1) * dilation[axis] + 1;
        if same.starts_with(b"SAME") {
            let total = (extent - stride).max(0);
            begin[axis] = if same == b"SAME_LOWER" { (total + 1) / 2 } else { total / 2 };
            end[axis] = total - begin[axis];
        }
        // A side of n has (n + slack) / stride + 1 places.
        let slack = begin[axis] + end[axis] - extent;
        let over = slack.rem_euclid(stride);
        let unused = if rounds_up && over > 0 { over - stride } else { over };
        // Padding that leans to one side is evened out, as it is where the stride is 1.
        let more = stride / 2 - unused;
        let side = if begin[axis] < end[axis] { &mut begin } else { &mut end };
        side[axis] += more;
    }
    if begin.iter().chain(&end).any(|&pad| pad < 0) {
        return Err(format!("{} leaves out pixels at the edge", title(node)));
    }
    Ok(Change::Stride { begin, end })
}

fn halve_stride(node: &mut NodeProto, begin: [i64; 2], end: [i64; 2]) {
    let strides = pair(node, "strides").unwrap_or([2, 2]).map(|stride| stride / 2);
    set(node, "strides", strides.to_vec());
    set(node, "pads", [begin, end].concat());
    node.attribute.retain(|a| a.name != "auto_pad" && a.name != "ceil_mode");
}

fn dilate(node: &mut NodeProto) {
    let doubled = |ints: &[i64]| ints.iter().map(|i| 2 * i).collect();
    let dilations = pair(node, "dilations").unwrap_or([1, 1]);
    set(node, "dilations", doubled(&dilations));
    if let Some(pads) = attribute(node, "pads") {
        let pads = doubled(&pads.ints);
        set(node, "pads", pads);
    }
}

/// Doubles the windows that pool the whole of the feature maps.
fn widen_pools(graph: &mut GraphProto, features: &str) {
    let pools = graph.node.iter_mut().filter(|node| node.input.iter().any(|name| name == features));
    for pool in pools.filter(|node| ["AveragePool", "MaxPool"].contains(&node.op_type.as_str())) {
        let window = pair(pool, "kernel_shape").unwrap_or([1, 1]).map(|side| 2 * side);
        set(pool, "kernel_shape", window.to_vec());
    }
}

fn set(node: &mut NodeProto, name: &str, ints: Vec<i64>) {
    node.attribute.retain(|a| a.name != name);
    node.attribute.push(AttributeProto {
        name: name.to_owned(),
        r#type: AttributeType::Ints as i32,
        ints,
        ..Default::default()
    });
}
