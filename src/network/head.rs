//! Finds where the feature maps are pooled and weighed: from an output of the graph backwards.

use tract_onnx::pb::NodeProto;
use tract_onnx::pb::tensor_proto::DataType;

use super::graph::{Graph, attribute, int, title};

/// Where a graph has its feature maps and its logits, and how the one becomes the other.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct FoundHead {
    /// The tensor that is pooled.
    pub(super) features: String,
    /// The tensor before softmax.
    pub(super) logits: String,
    pub(super) pool: Pool,
    /// None where the pooled features are the logits.
    pub(super) linear: Option<Linear>,
}

/// The pooling node.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pool {
    pub(super) title: String,
    /// The features are `[1, height, width, channels]`.
    pub(super) channels_last: bool,
    /// Height and width that it covers, where that is not the whole map by definition.
    pub(super) window: Option<[usize; 2]>,
}

/// The linear layer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Linear {
    pub(super) title: String,
    pub(super) classes: usize,
    pub(super) channels: usize,
    /// `classes * channels` values, class by class.
    pub(super) weights: Vec<f32>,
}

/// Walks from `output` back to the pooling.
///
/// # Errors
/// Names the node where the graph stops fitting.
pub(super) fn find(graph: &Graph, output: &str) -> Result<FoundHead, String> {
    let mut tensor = output;
    let mut logits = output;
    let mut softmax = false;
    let mut bias = false;
    let mut linear: Option<Linear> = None;
    for _ in 0..=graph.proto.node.len() {
        let wanted = match linear {
            None => "a linear layer or a global pooling",
            Some(_) => "the global pooling before its linear layer",
        };
        let unfit =
            |what: String| format!("does not end in global pooling and a linear layer: {what}");
        let Some((node, 0)) = graph.producer(tensor) else {
            return Err(unfit(format!("`{tensor}` is reached before {wanted}")));
        };
        let refuse = |why: String| unfit(format!("{} {why}", title(node)));
        let data = |i: usize| node.input.get(i).map_or("", |name| name.as_str());
        match node.op_type.as_str() {
            "Identity" | "Dropout" | "Flatten" | "Reshape" | "Squeeze" | "Unsqueeze" => {
                tensor = data(0)
            }
            "Transpose" if attribute(node, "perm").is_some_and(|a| a.ints.first() == Some(&0)) => {
                tensor = data(0);
            }
            "Cast" if int(node, "to", 0) == DataType::Float as i64 => tensor = data(0),
            "DequantizeLinear" => match graph.producer(data(0)) {
                Some((quantize, 0)) if quantize.op_type == "QuantizeLinear" => {
                    tensor = quantize.input.first().map_or("", |name| name.as_str());
                }
                _ => return Err(refuse(format!("stands where {wanted} was expected"))),
            },
            "Softmax" | "LogSoftmax" if !softmax && !bias && linear.is_none() => {
                softmax = true;
                tensor = data(0);
                logits = tensor;
            }
            "Add" if !bias && linear.is_none() => {
                bias = true;
                tensor = match (graph.constant(data(0)), graph.constant(data(1))) {
                    (None, Some(_)) => data(0),
                    (Some(_), None) => data(1),
                    _ => return Err(refuse("adds no constant bias".into())),
                };
            }
            "Gemm" | "MatMul" | "Conv" if linear.is_none() => {
                linear = Some(lift(graph, node).map_err(refuse)?);
                tensor = data(0);
            }
            _ => {
                let pool = pool(graph, node)
                    .map_err(refuse)?
                    .ok_or_else(|| refuse(format!("stands where {wanted} was expected")))?;
                return Ok(FoundHead {
                    features: data(0).to_owned(),
                    logits: logits.to_owned(),
                    pool,
                    linear,
                });
            }
        }
    }
    Err(format!("runs in a circle at `{tensor}`"))
}

/// The pooling that `node` is; none where it is something else.
fn pool(graph: &Graph, node: &NodeProto) -> Result<Option<Pool>, String> {
    let pool = |channels_last, window| Ok(Some(Pool { title: title(node), channels_last, window }));
    match node.op_type.as_str() {
        "GlobalAveragePool" | "GlobalMaxPool" => pool(false, None),
        "ReduceMean" | "ReduceMax" => {
            let axes = match (attribute(node, "axes"), node.input.get(1)) {
                (Some(axes), _) => axes.ints.clone(),
                (None, Some(name)) => graph
                    .constant(name)
                    .ok_or("reduces axes that are not constant")?
                    .values
                    .iter()
                    .map(|&axis| axis as i64)
                    .collect(),
                (None, None) => Vec::new(),
            };
            let mut of_rank_4: Vec<i64> =
                axes.iter().map(|&a| if a < 0 { a.saturating_add(4) } else { a }).collect();
            of_rank_4.sort_unstable();
            match of_rank_4[..] {
                [2, 3] => pool(false, None),
                [1, 2] => pool(true, None),
                _ => Err(format!("reduces axes {axes:?}, not height and width of feature maps")),
            }
        }
        "AveragePool" | "MaxPool" => {
            let ints = |name| attribute(node, name).map_or(&[][..], |a| &a.ints[..]);
            let &[height, width] = ints("kernel_shape") else {
                return Err("pools a window that has not two sides".into());
            };
            let (Ok(height), Ok(width)) = (usize::try_from(height), usize::try_from(width)) else {
                return Err("pools a window without a place".into());
            };
            let padded = attribute(node, "auto_pad").is_some_and(|a| a.s.starts_with(b"SAME"));
            if padded
                || ints("pads").iter().any(|&p| p != 0)
                || ints("dilations").iter().any(|&d| d != 1)
            {
                return Err("pools a padded or dilated window, not the whole map".into());
            }
            pool(false, Some([height, width]))
        }
        _ => Ok(None),
    }
}

/// The weights of a Gemm, MatMul or 1x1 Conv whose first input is the pooled features.
fn lift(graph: &Graph, node: &NodeProto) -> Result<Linear, String> {
    let name = node.input.get(1).map_or("", |name| name.as_str());
    let constant = graph
        .constant(name)
        .ok_or_else(|| format!("has weights `{name}` that are not constant"))?;
    let shape = &constant.shape;
    let mut classes_first = true;
    let (classes, channels) = match (node.op_type.as_str(), &shape[..]) {
        ("Gemm", &[..]) if int(node, "transA", 0) != 0 => return Err("transposes its input".into()),
        ("Gemm", &[a, b]) if int(node, "transB", 0) != 0 => (a, b),
        ("Gemm" | "MatMul", &[a, b]) => {
            classes_first = false;
            (b, a)
        }
        ("Conv", &[a, b, 1, 1]) => {
            let ints = |name| attribute(node, name).map_or(&[][..], |a| &a.ints[..]);
            if int(node, "group", 1) != 1 || ints("pads").iter().any(|&p| p != 0) {
                return Err("is a grouped or padded convolution".into());
            }
            (a, b)
        }
        _ => return Err(format!("has weights of shape {shape:?}, which is no linear layer's")),
    };
    if classes == 0 || channels == 0 {
        return Err(format!("has weights of shape {shape:?}, which hold nothing"));
    }
    let alpha = attribute(node, "alpha").map_or(1.0, |a| a.f);
    let weights: Vec<f32> = (0..classes * channels)
        .map(|i| if classes_first { i } else { i % channels * classes + i / channels })
        .map(|i| alpha * constant.values[i])
        .collect();
    if weights.iter().any(|w| !w.is_finite()) {
        return Err("has weights that are not finite numbers".into());
    }
    Ok(Linear { title: title(node), classes, channels, weights })
}
