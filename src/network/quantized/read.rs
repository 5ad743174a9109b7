//! What the quantization nodes of a graph say.

use tract_onnx::pb::NodeProto;
use tract_onnx::pb::tensor_proto::DataType;

use super::super::graph::{Graph, int, title};
use crate::int8::Quantization;

/// Why an operator is not run in int8.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::network) enum Misfit {
    /// The file contradicts itself: the network is refused.
    Malformed(String),
    /// tract's own operators take it.
    Unsuited(String),
}

/// What becomes of an operator.
pub(super) type Fit<T> = Result<T, Misfit>;

pub(super) fn unsuited<T>(why: impl Into<String>) -> Fit<T> {
    Err(Misfit::Unsuited(why.into()))
}

pub(super) fn malformed<T>(why: impl Into<String>) -> Fit<T> {
    Err(Misfit::Malformed(why.into()))
}

/// The name of an input of a node; empty where it has none.
pub(super) fn input(node: &NodeProto, i: usize) -> &str {
    node.input.get(i).map_or("", |name| name.as_str())
}

/// The name of the first output of a node.
pub(super) fn output(node: &NodeProto) -> &str {
    node.output.first().map_or("", |name| name.as_str())
}

/// The scales of a QuantizeLinear or DequantizeLinear node: one, or one a place along its axis.
fn scales(graph: &Graph, node: &NodeProto) -> Fit<Vec<f32>> {
    let Some(scales) = graph.constant(input(node, 1)) else {
        return unsuited(format!("the scale of {} is not constant", title(node)));
    };
    match scales.values.iter().find(|scale| !(scale.is_finite() && **scale > 0.0)) {
        Some(scale) => {
            malformed(format!("the scale of {} is {scale}, not a positive number", title(node)))
        }
        None if scales.values.is_empty() => malformed(format!("{} has no scale", title(node))),
        None => Ok(scales.values),
    }
}

/// The zero points of a QuantizeLinear or DequantizeLinear node, one for each of `count` scales.
fn zero_points(graph: &Graph, node: &NodeProto, count: usize) -> Fit<Vec<f32>> {
    if input(node, 2).is_empty() {
        return Ok(vec![0.0; count]);
    }
    let Some(zero_points) = graph.constant(input(node, 2)) else {
        return unsuited(format!("the zero point of {} is not constant", title(node)));
    };
    if zero_points.values.len() != count {
        return malformed(format!(
            "{} has {count} scales and {} zero points",
            title(node),
            zero_points.values.len()
        ));
    }
    Ok(zero_points.values)
}

/// How a QuantizeLinear or DequantizeLinear node, one of an activation of unsigned bytes, reads
/// its bytes.
pub(super) fn quantization(graph: &Graph, node: &NodeProto) -> Fit<Quantization> {
    if int(node, "block_size", 0) != 0 {
        return unsuited(format!("{} quantizes by blocks", title(node)));
    }
    let scales = scales(graph, node)?;
    let zero_points = zero_points(graph, node, scales.len())?;
    let &[scale] = &scales[..] else {
        return unsuited(format!("{} has a scale a channel", title(node)));
    };
    let zero_point = zero_points[0];
    if !is_unsigned(graph, node) {
        return unsuited(format!("{} is not of unsigned bytes", title(node)));
    }
    if !(0.0..=255.0).contains(&zero_point) {
        return malformed(format!("the zero point of {} is {zero_point}", title(node)));
    }
    Ok(Quantization { scale, zero_point: zero_point as u8 })
}

/// Whether the bytes of a QuantizeLinear or DequantizeLinear node are unsigned.
fn is_unsigned(graph: &Graph, node: &NodeProto) -> bool {
    let zero_point = input(node, 2);
    if !zero_point.is_empty() {
        return graph.is_u8(zero_point);
    }
    if node.op_type == "QuantizeLinear" {
        return [0, DataType::Uint8 as i64].contains(&int(node, "output_dtype", 0));
    }
    match graph.producer(input(node, 0)) {
        Some((made, 0)) => made.op_type == "QuantizeLinear" && is_unsigned(graph, made),
        _ => false,
    }
}

/// Constant weights of signed bytes with zero point 0.
#[derive(Debug, Clone)]
pub(super) struct Weights {
    pub(super) shape: Vec<usize>,
    pub(super) values: Vec<i8>,
    /// One, or one an output.
    pub(super) scales: Vec<f32>,
}

/// The weights `tensor`, whose outputs lie along `axis`.
pub(super) fn weights(graph: &Graph, tensor: &str, axis: usize) -> Fit<Weights> {
    let Some((node, 0)) = graph.producer(tensor) else {
        return unsuited(format!("its weights `{tensor}` are not quantized"));
    };
    if node.op_type != "DequantizeLinear" {
        return unsuited(format!("its weights `{tensor}` are not quantized"));
    }
    let Some(bytes) = graph.constant(input(node, 0)) else {
        return unsuited(format!("its weights `{tensor}` are not constant"));
    };
    if int(node, "block_size", 0) != 0 {
        return unsuited(format!("its weights `{tensor}` are quantized by blocks"));
    }
    let scales = scales(graph, node)?;
    let zero_points = zero_points(graph, node, scales.len())?;
    if scales.len() > 1 {
        let rank = bytes.shape.len() as i64;
        let along = int(node, "axis", 1);
        let along = if along < 0 { along + rank } else { along };
        let outputs = usize::try_from(along).ok().and_then(|along| bytes.shape.get(along));
        if outputs != Some(&scales.len()) {
            return malformed(format!(
                "{} has {} scales for weights of shape {:?}",
                title(node),
                scales.len(),
                bytes.shape
            ));
        }
        if along != axis as i64 {
            return unsuited(format!("its weights `{tensor}` have no scale an output"));
        }
    }
    // Unsigned weights around 128 are signed ones around 0.
    let first = zero_points[0];
    if zero_points.iter().any(|&zero| zero != first) || ![0.0, 128.0].contains(&first) {
        return unsuited(format!("its weights `{tensor}` have zero points other than 0"));
    }
    let values: Vec<i8> = bytes.values.iter().map(|&byte| (byte - first) as i8).collect();
    if values.iter().zip(&bytes.values).any(|(&value, &byte)| f32::from(value) != byte - first) {
        return unsuited(format!("its weights `{tensor}` are not signed bytes"));
    }
    Ok(Weights { shape: bytes.shape, values, scales })
}

/// The bias `tensor`, in steps of `input scale * weight scale`, one value an output.
pub(super) fn bias(
    graph: &Graph,
    tensor: &str,
    input_scale: f32,
    weight_scales: &[f32],
    outputs: usize,
) -> Fit<Vec<i32>> {
    if tensor.is_empty() {
        return Ok(Vec::new());
    }
    let step = |i: usize| {
        f64::from(input_scale)
            * f64::from(weight_scales[if weight_scales.len() == 1 { 0 } else { i }])
    };
    if let Some((node, 0)) = graph.producer(tensor)
        && node.op_type == "DequantizeLinear"
        && let Some(values) = graph.integers(input(node, 0))
    {
        let scales = scales(graph, node)?;
        let zero_points = zero_points(graph, node, scales.len())?;
        if values.len() != outputs || (scales.len() != 1 && scales.len() != outputs) {
            return malformed(format!(
                "the bias `{tensor}` has {} values and {} scales for {outputs} outputs",
                values.len(),
                scales.len()
            ));
        }
        let own = |i: usize| f64::from(scales[if scales.len() == 1 { 0 } else { i }]);
        let exact = (0..outputs).all(|i| (own(i) / step(i) - 1.0).abs() < 1e-5);
        if exact && zero_points.iter().all(|&zero| zero == 0.0) {
            return Ok(values);
        }
    }
    let Some(bias) = graph.constant(tensor) else {
        return unsuited(format!("its bias `{tensor}` is not constant"));
    };
    if bias.values.len() != outputs {
        return malformed(format!(
            "the bias `{tensor}` has {} values for {outputs} outputs",
            bias.values.len()
        ));
    }
    let steps =
        bias.values.iter().enumerate().map(|(i, &b)| (f64::from(b) / step(i)).round_ties_even());
    let steps: Vec<f64> = steps.collect();
    if steps.iter().all(|steps| steps.abs() <= f64::from(i32::MAX)) {
        Ok(steps.iter().map(|&steps| steps as i32).collect())
    } else {
        malformed(format!("the bias `{tensor}` is too large for its scale, or not a number"))
    }
}
