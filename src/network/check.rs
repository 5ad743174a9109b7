//! What a model file must be before tract sees it.

use std::collections::HashSet;

use tract_onnx::pb::tensor_proto::{DataLocation, DataType};
use tract_onnx::pb::tensor_shape_proto::dimension::Value::DimValue;
use tract_onnx::pb::{
    GraphProto, ModelProto, NodeProto, TensorProto, TypeProto, ValueInfoProto, type_proto,
};
use tract_onnx::prelude::Framework;

use super::graph::{Graph, attribute, title};
use super::head::{self, FoundHead};
use super::{detail, guard, quantized, wire};
use crate::error::Error;

/// The largest model file, in bytes.
pub const MAX_BYTES: usize = 1 << 30;

/// The most protobuf fields of a file. Large networks have some ten thousand.
const MAX_FIELDS: usize = 1 << 20;

/// The most nodes of a graph; tract's analysis takes some seconds for these.
pub(super) const MAX_NODES: usize = 10_000;

/// The longest side of an input picture, and of a window, stride or padding.
pub(super) const MAX_SIDE: u32 = 4096;

/// The most values of one tensor.
pub(super) const MAX_VALUES: usize = 1 << 28;

/// Operators whose result can be of any size, whatever the size of the input.
const UNBOUNDED: [&str; 12] = [
    "Bernoulli",
    "BlackmanWindow",
    "EyeLike",
    "HammingWindow",
    "HannWindow",
    "MelWeightMatrix",
    "Multinomial",
    "OneHot",
    "RandomNormal",
    "RandomUniform",
    "Range",
    "SequenceEmpty",
];

/// A model file that holds a network camlive can read.
#[derive(Debug)]
pub struct Checked {
    /// The network up to its logits, with two outputs: the feature maps and the logits; and the early
    /// features as a third, where it has some.
    pub(super) proto: ModelProto,
    pub(super) input: Input,
    pub(super) head: FoundHead,
    /// How many pixels of the input are one of the feature maps, where it is known.
    pub(super) stride: Option<u32>,
}

/// The one input.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Input {
    pub(super) name: String,
    /// It takes bytes; else f32.
    pub(super) bytes: bool,
    /// `[1, height, width, 3]`; else `[1, 3, height, width]`.
    pub(super) channels_last: bool,
    /// None where any size will do.
    pub(super) height: Option<u32>,
    pub(super) width: Option<u32>,
}

/// Checks the content of a model file: that it is an ONNX model, complete in itself, with one
/// picture as input, and ends in global pooling and a linear head. Takes memory in proportion
/// to the file and never panics.
///
/// # Errors
/// Says what does not fit, and which node or tensor it is.
pub fn check(bytes: &[u8]) -> crate::error::Result<Checked> {
    checked(bytes).map_err(Error::invalid)
}

fn checked(mut bytes: &[u8]) -> Result<Checked, String> {
    if bytes.is_empty() {
        return Err("the file is empty".into());
    }
    if bytes.len() > MAX_BYTES {
        return Err(format!("the file is larger than {} MB", MAX_BYTES >> 20));
    }
    wire::check(bytes, MAX_FIELDS)?;
    let proto = tract_onnx::onnx()
        .proto_model_for_read(&mut bytes)
        .map_err(|error| format!("it is not an ONNX model ({error})"))?;
    check_proto(proto)
}

/// Checks a model whose size is bounded.
pub(super) fn check_proto(mut proto: ModelProto) -> Result<Checked, String> {
    let metadata_layout =
        proto.metadata_props.iter().find(|p| p.key == "layout").map(|p| p.value.clone());
    let graph = proto.graph.as_mut().ok_or("it is not an ONNX model: it holds no graph")?;
    if graph.output.is_empty() {
        return Err("its graph has no output".into());
    }
    graph.initializer.iter().try_for_each(|tensor| check_tensor(tensor, &tensor.name))?;
    if let Some(sparse) = graph.sparse_initializer.first() {
        let name = sparse.values.as_ref().map_or("", |t| &t.name);
        return Err(format!("the weight `{name}` is sparse; only dense ones can be read"));
    }
    if graph.node.len() > MAX_NODES {
        return Err(format!("its graph has {} nodes; the limit is {MAX_NODES}", graph.node.len()));
    }
    graph.node.iter().try_for_each(check_node)?;
    guard::catch(|| quantized::unfold::unfold(graph)).unwrap_or_else(Err)?;
    let input = input(graph, metadata_layout.as_deref())?;
    // A panic can only come from reading a weight of the head.
    let head = guard::catch(|| choose_head(graph)).unwrap_or_else(Err)?;
    let early = detail::find(&Graph::new(graph), &head.features);
    keep(graph, [&head.features, &head.logits].into_iter().chain(&early));
    let lookup = Graph::new(graph);
    graph.node.iter().try_for_each(|node| check_made_sizes(&lookup, node))?;
    let stride = stride(&lookup, &head.features);
    Ok(Checked { proto, input, head, stride })
}

fn check_tensor(tensor: &TensorProto, name: &str) -> Result<(), String> {
    if tensor.data_location == Some(DataLocation::External as i32)
        || !tensor.external_data.is_empty()
    {
        return Err(format!(
            "the weight `{name}` lies in another file; save the model as one file, with its weights inside"
        ));
    }
    let kind = DataType::try_from(tensor.data_type).unwrap_or(DataType::Undefined);
    let width = match kind {
        DataType::Bool | DataType::Uint8 | DataType::Int8 => 1,
        DataType::Uint16 | DataType::Int16 | DataType::Float16 => 2,
        DataType::Float | DataType::Int32 | DataType::Uint32 => 4,
        DataType::Double | DataType::Int64 | DataType::Uint64 => 8,
        _ => {
            return Err(format!(
                "the constant `{name}` is of type {}, which is not supported",
                kind.as_str_name()
            ));
        }
    };
    let held = match kind {
        _ if !tensor.raw_data.is_empty() => tensor.raw_data.len() / width,
        DataType::Float => tensor.float_data.len(),
        DataType::Double => tensor.double_data.len(),
        DataType::Int64 => tensor.int64_data.len(),
        DataType::Uint64 | DataType::Uint32 => tensor.uint64_data.len(),
        _ => tensor.int32_data.len(),
    };
    let declared = tensor
        .dims
        .iter()
        .try_fold(1usize, |product, &dim| product.checked_mul(usize::try_from(dim).ok()?))
        .filter(|_| tensor.raw_data.len().is_multiple_of(width));
    if declared != Some(held) {
        return Err(format!(
            "the constant `{name}` of shape {:?} holds {held} values",
            tensor.dims
        ));
    }
    Ok(())
}

fn check_node(node: &NodeProto) -> Result<(), String> {
    for attribute in &node.attribute {
        if attribute.g.is_some() || !attribute.graphs.is_empty() {
            return Err(format!(
                "{} holds a graph of its own; control flow is not supported",
                title(node)
            ));
        }
        for tensor in attribute.t.iter().chain(&attribute.tensors) {
            check_tensor(tensor, node.output.first().map_or("", |name| name))?;
        }
        let geometry =
            ["kernel_shape", "strides", "dilations", "pads", "output_padding", "output_shape"];
        if geometry.contains(&attribute.name.as_str())
            && attribute.ints.iter().any(|i| i.unsigned_abs() > u64::from(MAX_SIDE))
        {
            return Err(format!(
                "{} has {} {:?}; the limit is {MAX_SIDE}",
                title(node),
                attribute.name,
                attribute.ints
            ));
        }
    }
    Ok(())
}

/// Refuses what could make tract compute a constant of any size.
fn check_made_sizes(graph: &Graph, node: &NodeProto) -> Result<(), String> {
    let op = node.op_type.as_str();
    if UNBOUNDED.contains(&op) {
        return Err(format!("{} has no place in a classifier of pictures", title(node)));
    }
    let shape = match op {
        "ConstantOfShape" => node.input.first(),
        "Expand" | "Tile" | "Pad" => node.input.get(1),
        _ => None,
    };
    if let Some(shape) = shape.and_then(|name| graph.constant(name)) {
        let product: f64 = shape.values.iter().map(|v| f64::from(v.abs().max(1.0))).product();
        if product.is_nan() || product > MAX_VALUES as f64 {
            return Err(format!(
                "{} makes a tensor of {:?}, which is too large",
                title(node),
                shape.values
            ));
        }
    }
    Ok(())
}

fn tensor_type(value: &ValueInfoProto) -> Option<&type_proto::Tensor> {
    let Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), .. }) = &value.r#type
    else {
        return None;
    };
    Some(tensor)
}

fn kind_name(tensor: &type_proto::Tensor) -> &'static str {
    DataType::try_from(tensor.elem_type).unwrap_or(DataType::Undefined).as_str_name()
}

fn input(graph: &GraphProto, metadata_layout: Option<&str>) -> Result<Input, String> {
    let weights: HashSet<&str> = graph.initializer.iter().map(|t| t.name.as_str()).collect();
    let inputs: Vec<_> =
        graph.input.iter().filter(|i| !weights.contains(i.name.as_str())).collect();
    let [value] = inputs[..] else {
        let names: Vec<_> = inputs.iter().take(8).map(|i| format!("`{}`", i.name)).collect();
        return Err(format!(
            "its graph has {} inputs ({}); one picture is expected",
            inputs.len(),
            names.join(", ")
        ));
    };
    let name = &value.name;
    let tensor = tensor_type(value).ok_or_else(|| format!("its input `{name}` is no tensor"))?;
    let bytes = match DataType::try_from(tensor.elem_type) {
        Ok(DataType::Float) => false,
        Ok(DataType::Uint8) => true,
        _ => {
            return Err(format!(
                "its input `{name}` takes {}; a picture as FLOAT or UINT8 is expected",
                kind_name(tensor)
            ));
        }
    };
    let shape = tensor.shape.as_ref().ok_or_else(|| format!("its input `{name}` has no shape"))?;
    let dims: Vec<Option<i64>> = shape
        .dim
        .iter()
        .map(|dim| match dim.value {
            Some(DimValue(n)) if n > 0 => Some(n),
            _ => None,
        })
        .collect();
    let shown: Vec<_> = dims.iter().map(|d| d.map_or("?".to_owned(), |n| n.to_string())).collect();
    let refuse =
        |why: &str| format!("its input `{name}` has the shape [{}]{why}", shown.join(", "));
    let &[batch, first, second, third] = &dims[..] else {
        return Err(refuse("; [1, 3, height, width] or [1, height, width, 3] is expected"));
    };
    if batch.is_some_and(|n| n != 1) {
        return Err(refuse(", a batch of more than one picture"));
    }
    let is_colour = |dim: Option<i64>| dim.is_none_or(|n| n == 3);
    let channels_last = match metadata_layout {
        Some("NCHW") => false,
        Some("NHWC") => true,
        Some(other) => {
            return Err(format!(
                "its metadata gives the layout as `{other}`; NCHW or NHWC is expected"
            ));
        }
        None => !is_colour(first) || (first.is_none() && third == Some(3)),
    };
    let (channels, height, width) =
        if channels_last { (third, first, second) } else { (first, second, third) };
    if !is_colour(channels) {
        return Err(refuse(", without a place for three channels"));
    }
    let side = |dim: Option<i64>| match dim.map(u32::try_from) {
        None => Ok(None),
        Some(Ok(n)) if n <= MAX_SIDE => Ok(Some(n)),
        _ => Err(refuse(&format!("; the limit is {MAX_SIDE} pixels a side"))),
    };
    Ok(Input {
        name: name.clone(),
        bytes,
        channels_last,
        height: side(height)?,
        width: side(width)?,
    })
}

/// The head of the first output that has a linear one, or else of the first that has any:
/// a network may give its pooled features beside its scores.
fn choose_head(graph: &GraphProto) -> Result<FoundHead, String> {
    let lookup = Graph::new(graph);
    let mut found = Vec::new();
    for output in &graph.output {
        let head = check_output(output).and_then(|()| head::find(&lookup, &output.name));
        if head.as_ref().is_ok_and(|head| head.linear.is_some()) {
            return head;
        }
        found.push(head);
    }
    let best = found.iter().position(|head| head.is_ok()).unwrap_or(0);
    found.swap_remove(best)
}

fn check_output(output: &ValueInfoProto) -> Result<(), String> {
    let Some(tensor) = tensor_type(output) else { return Ok(()) };
    let rank = tensor.shape.as_ref().map(|shape| shape.dim.len());
    if ![DataType::Float as i32, DataType::Undefined as i32].contains(&tensor.elem_type) {
        return Err(format!(
            "its output `{}` gives {}; FLOAT is expected",
            output.name,
            kind_name(tensor)
        ));
    }
    if rank.is_some_and(|rank| rank == 0 || rank > 4) {
        return Err(format!("its output `{}` is not one score a class", output.name));
    }
    Ok(())
}

/// Makes `outputs` the outputs of `graph`, and drops the nodes that neither needs.
pub(super) fn keep<'a>(graph: &mut GraphProto, outputs: impl IntoIterator<Item = &'a String>) {
    let outputs: Vec<&String> = outputs.into_iter().collect();
    let needed: HashSet<usize> = {
        let index: std::collections::HashMap<&str, usize> = graph
            .node
            .iter()
            .enumerate()
            .flat_map(|(i, node)| node.output.iter().map(move |name| (name.as_str(), i)))
            .collect();
        let mut needed = HashSet::new();
        let mut waiting: Vec<&str> = outputs.iter().map(|name| name.as_str()).collect();
        while let Some(tensor) = waiting.pop() {
            if let Some(&i) = index.get(tensor)
                && needed.insert(i)
            {
                waiting.extend(
                    graph.node[i].input.iter().map(|name| name.as_str()).filter(|n| !n.is_empty()),
                );
            }
        }
        needed
    };
    let mut i = 0;
    graph.node.retain(|_| (needed.contains(&i), i += 1).0);
    graph.value_info.clear();
    let value = |name: &String| ValueInfoProto { name: name.clone(), ..Default::default() };
    graph.output = outputs.into_iter().map(value).collect();
}

/// The product of the strides from the input to `tensor`, along one way through the graph; none
/// where a node on it changes the size in another manner.
fn stride(graph: &Graph, tensor: &str) -> Option<u32> {
    let mut tensor = tensor;
    let mut product = 1u32;
    for _ in 0..=graph.proto.node.len() {
        let Some((node, _)) = graph.producer(tensor) else { return Some(product) };
        match node.op_type.as_str() {
            "Conv" | "AveragePool" | "MaxPool" => {
                if let Some(strides) = attribute(node, "strides") {
                    let &[down, across] = &strides.ints[..] else { return None };
                    product = product
                        .checked_mul(u32::try_from(down).ok().filter(|_| down == across)?)?;
                }
            }
            "ConvTranspose" | "Resize" | "Upsample" | "SpaceToDepth" | "DepthToSpace" | "Slice"
            | "Reshape" => {
                return None;
            }
            _ => {}
        }
        tensor = node
            .input
            .iter()
            .find(|name| graph.initializer(name).is_none() && graph.constant(name).is_none())?;
    }
    None
}
