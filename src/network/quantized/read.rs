//! What the quantization nodes of a graph say.

use tract_onnx::pb::NodeProto;
use tract_onnx::pb::tensor_proto::DataType;

use super::super::graph::{Constant, Graph, attribute, int, title};
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

/// Checks what a QuantizeLinear or DequantizeLinear node says, whoever is to run it.
///
/// # Errors
/// Where it cannot be meant; names the node and the constant.
pub(super) fn check(graph: &Graph, node: &NodeProto) -> Result<(), String> {
    let (data, scale, zero_point) = (input(node, 0), input(node, 1), input(node, 2));
    let of = |name: &str| format!("`{name}` of {}", title(node));
    let kind = byte_type(graph, node);
    let integers = [DataType::Uint8, DataType::Int8, DataType::Uint16, DataType::Int16];
    let bias = node.op_type == "DequantizeLinear" && kind == Some(DataType::Int32);
    if let Some(kind) = kind.filter(|kind| !bias && !integers.contains(kind)) {
        let (what, name) =
            if zero_point.is_empty() { ("data", data) } else { ("zero point", zero_point) };
        return Err(format!("the {what} {} is of type {}", of(name), kind.as_str_name()));
    }
    let bytes = match graph.producer(data) {
        Some((made, 0)) if made.op_type == "QuantizeLinear" => byte_type(graph, made),
        _ => graph.kind(data),
    };
    if node.op_type == "DequantizeLinear"
        && let (Some(bytes), Some(kind)) = (bytes, kind)
        && bytes != kind
    {
        return Err(format!(
            "the zero point {} is of type {}, the data `{data}` of type {}",
            of(zero_point),
            kind.as_str_name(),
            bytes.as_str_name()
        ));
    }
    let Some(scales) = graph.constant(scale) else { return Ok(()) };
    if let Some(bad) = scales.values.iter().find(|scale| !(scale.is_finite() && **scale > 0.0)) {
        return Err(format!("the scale {} is {bad}, not a positive number", of(scale)));
    }
    let count = scales.values.len();
    if count == 0 {
        return Err(format!("the scale {} is empty", of(scale)));
    }
    if let Some(zeros) = graph.constant(zero_point)
        && zeros.values.len() != count
    {
        let zeros = zeros.values.len();
        return Err(format!("the scale {} has {count} values, its zero point {zeros}", of(scale)));
    }
    if count > 1
        && !is_blocked(node)
        && let Some(shape) = graph.shape(data)
        && axis(node, shape.len()).and_then(|axis| shape.get(axis)) != Some(&count)
    {
        return Err(format!("the scale {} has {count} values for shape {shape:?}", of(scale)));
    }
    Ok(())
}

/// Where a quantization node with several scales has them.
fn axis(node: &NodeProto, rank: usize) -> Option<usize> {
    let axis = int(node, "axis", 1);
    usize::try_from(if axis < 0 { axis.checked_add(rank as i64)? } else { axis }).ok()
}

fn is_blocked(node: &NodeProto) -> bool {
    int(node, "block_size", 0) != 0
}

/// The type of the integers of a QuantizeLinear or DequantizeLinear node, where it is known.
pub(super) fn byte_type(graph: &Graph, node: &NodeProto) -> Option<DataType> {
    let zero_point = input(node, 2);
    if !zero_point.is_empty() {
        return graph.kind(zero_point);
    }
    if node.op_type == "QuantizeLinear" {
        let kind = DataType::try_from(int(node, "output_dtype", 0) as i32).ok()?;
        return Some(if kind == DataType::Undefined { DataType::Uint8 } else { kind });
    }
    match graph.producer(input(node, 0)) {
        Some((made, 0)) if made.op_type == "QuantizeLinear" => byte_type(graph, made),
        _ => graph.kind(input(node, 0)),
    }
}

/// Whether two quantization nodes have the same scale and zero point, whatever their names.
pub(super) fn quantize_alike(graph: &Graph, node: &NodeProto, other: &NodeProto) -> bool {
    let constant = |node, i| graph.constant(input(node, i));
    byte_type(graph, node) == byte_type(graph, other)
        && constant(node, 1).is_some()
        && [1, 2].iter().all(|&i| constant(node, i) == constant(other, i))
}

/// The scales of a checked node: one, or one a place along its axis; with as many zero points.
fn parameters(graph: &Graph, node: &NodeProto) -> Fit<(Vec<f32>, Vec<f32>)> {
    if is_blocked(node) {
        return unsuited(format!("{} quantizes by blocks", title(node)));
    }
    let Some(scales) = graph.constant(input(node, 1)) else {
        return unsuited(format!("the scale of {} is not constant", title(node)));
    };
    let zero_points = match input(node, 2) {
        "" => Some(vec![0.0; scales.values.len()]),
        name => graph.constant(name).map(|zero_points| zero_points.values),
    };
    match zero_points {
        Some(zero_points) => Ok((scales.values, zero_points)),
        None => unsuited(format!("the zero point of {} is not constant", title(node))),
    }
}

/// How a checked QuantizeLinear or DequantizeLinear node of an activation reads its bytes.
pub(super) fn quantization(graph: &Graph, node: &NodeProto) -> Fit<Quantization> {
    let (scales, zero_points) = parameters(graph, node)?;
    let (&[scale], &[zero_point]) = (&scales[..], &zero_points[..]) else {
        return unsuited(format!("{} has a scale a channel", title(node)));
    };
    if byte_type(graph, node) != Some(DataType::Uint8) {
        return unsuited(format!("{} is not of unsigned bytes", title(node)));
    }
    Ok(Quantization { scale, zero_point: zero_point as u8 })
}

/// Whether a ReduceMean node averages over height and width of pictures, channels first, and keeps
/// their dimensions: without these what is left has no place in a picture.
pub(super) fn averages_pictures(graph: &Graph, node: &NodeProto) -> bool {
    let axes = attribute(node, "axes").map(|a| a.ints.clone()).or_else(|| {
        let constant = graph.constant(input(node, 1))?;
        Some(constant.values.iter().map(|&axis| axis as i64).collect())
    });
    let mut axes = axes.unwrap_or_default();
    axes.iter_mut().for_each(|axis| *axis = axis.rem_euclid(4));
    axes.sort_unstable();
    axes == [2, 3] && int(node, "keepdims", 1) != 0
}

/// Constant weights, in steps from their zero points.
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
    let (scales, zero_points) = parameters(graph, node)?;
    // Most of a file: signed bytes that are steps as they lie there.
    let as_they_lie = graph
        .signed_bytes(input(node, 0))
        .filter(|_| zero_points.iter().all(|&zero| zero == 0.0))
        .zip(graph.shape(input(node, 0)));
    let (shape, values) = if let Some((bytes, shape)) = as_they_lie {
        (shape, Some(bytes.iter().map(|&byte| byte as i8).collect()))
    } else if let Some(Constant { shape, values }) = graph.constant(input(node, 0)) {
        // Unsigned weights around 128 are signed ones around 0.
        let inner: usize = shape.iter().skip(axis + 1).product();
        let zero_point = |i: usize| zero_points[i / inner % zero_points.len()];
        let steps = values.iter().enumerate().map(|(i, byte)| byte - zero_point(i));
        let signed =
            steps.map(|step| (-128.0..=127.0).contains(&step).then_some(step as i8)).collect();
        (shape, signed)
    } else {
        return unsuited(format!("its weights `{tensor}` are not constant"));
    };
    if scales.len() > 1 && self::axis(node, shape.len()) != Some(axis) {
        return unsuited(format!("its weights `{tensor}` have no scale an output"));
    }
    match values {
        Some(values) => Ok(Weights { shape, values, scales }),
        None => unsuited(format!(
            "its weights `{tensor}` lie further from their zero point than signed bytes can tell"
        )),
    }
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
        let (scales, zero_points) = parameters(graph, node)?;
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
