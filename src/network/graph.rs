//! Questions about an ONNX graph: who makes a tensor, what a constant holds.

use std::collections::HashMap;

use tract_onnx::data_resolver::FopenDataResolver;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto};
use tract_onnx::tensor::load_tensor;

/// How many nodes a constant may be computed by.
const MAX_DEPTH: usize = 8;

/// The graph with its tensors by name.
pub(super) struct Graph<'a> {
    pub(super) proto: &'a GraphProto,
    producers: HashMap<&'a str, (&'a NodeProto, usize)>,
    initializers: HashMap<&'a str, &'a TensorProto>,
}

/// A tensor that does not depend on the picture, as f32 whatever its type in the file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Constant {
    pub(super) shape: Vec<usize>,
    pub(super) values: Vec<f32>,
}

impl<'a> Graph<'a> {
    pub(super) fn new(proto: &'a GraphProto) -> Self {
        let mut producers = HashMap::new();
        for node in &proto.node {
            for (i, output) in node.output.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
                producers.insert(output.as_str(), (node, i));
            }
        }
        let initializers = proto.initializer.iter().map(|t| (t.name.as_str(), t)).collect();
        Self { proto, producers, initializers }
    }

    /// The node that makes `tensor`, and which of its outputs it is; none for inputs and initializers.
    pub(super) fn producer(&self, tensor: &str) -> Option<(&'a NodeProto, usize)> {
        self.producers.get(tensor).copied()
    }

    pub(super) fn initializer(&self, name: &str) -> Option<&'a TensorProto> {
        self.initializers.get(name).copied()
    }

    /// What `tensor` holds; none where it is computed from the picture, or from constants by
    /// other nodes than those that exporters put on weights.
    pub(super) fn constant(&self, tensor: &str) -> Option<Constant> {
        self.constant_within(tensor, MAX_DEPTH)
    }

    fn constant_within(&self, tensor: &str, depth: usize) -> Option<Constant> {
        if let Some(proto) = self.initializer(tensor) {
            return load(proto);
        }
        let (node, _) = self.producer(tensor)?;
        let input = |i: usize| {
            self.constant_within(
                node.input.get(i).filter(|n| !n.is_empty())?,
                depth.checked_sub(1)?,
            )
        };
        match node.op_type.as_str() {
            "Constant" => constant_node(node),
            "Identity" | "Cast" => input(0),
            "Transpose" => transpose(&input(0)?, attribute(node, "perm").map(|a| &a.ints[..])),
            "DequantizeLinear" | "QuantizeLinear" => {
                if int(node, "block_size", 0) != 0 {
                    return None;
                }
                let zero_point = match node.input.get(2).filter(|n| !n.is_empty()) {
                    Some(_) => Some(input(2)?),
                    None => None,
                };
                let range = self.integer_range(node.input.get(2));
                let quantizes = node.op_type == "QuantizeLinear";
                let axis = int(node, "axis", 1);
                rescale(input(0)?, &input(1)?, zero_point.as_ref(), axis, |x, scale, zero| {
                    if quantizes {
                        ((x / scale).round_ties_even() + zero).clamp(range.0, range.1)
                    } else {
                        (x - zero) * scale
                    }
                })
            }
            _ => None,
        }
    }

    /// Whether `tensor` is constant, and not computed from the picture. Weights are not read for it.
    pub(super) fn is_constant(&self, tensor: &str) -> bool {
        self.shape(tensor).is_some() || self.constant(tensor).is_some()
    }

    /// The integers that `tensor` holds, exactly; none where it is no initializer of i32.
    pub(super) fn integers(&self, tensor: &str) -> Option<Vec<i32>> {
        let tensor = load_tensor(&FopenDataResolver, self.initializer(tensor)?, None).ok()?;
        Some(tensor.try_as_plain_ram().ok()?.as_slice::<i32>().ok()?.to_vec())
    }

    /// The signed bytes that the initializer `tensor` holds, where they lie in the file as such.
    pub(super) fn signed_bytes(&self, tensor: &str) -> Option<&'a [u8]> {
        signed_bytes(self.initializer(tensor)?)
    }

    /// The shape of a weight, quantized or not.
    pub(super) fn shape(&self, tensor: &str) -> Option<Vec<usize>> {
        let mut tensor = tensor;
        for _ in 0..MAX_DEPTH {
            let proto = match self.producer(tensor) {
                None => self.initializer(tensor),
                Some((node, _)) if node.op_type == "Constant" => {
                    attribute(node, "value").and_then(|value| value.t.as_ref())
                }
                Some((node, _)) => {
                    let keeps = ["DequantizeLinear", "QuantizeLinear", "Identity", "Cast"];
                    if !keeps.contains(&node.op_type.as_str()) {
                        return None;
                    }
                    tensor = node.input.first()?;
                    continue;
                }
            };
            return shape(proto?);
        }
        None
    }

    /// The type of the constant `tensor`, as far as it can be read without computing it.
    pub(super) fn kind(&self, tensor: &str) -> Option<DataType> {
        let mut tensor = tensor;
        for _ in 0..MAX_DEPTH {
            let kind = match self.producer(tensor) {
                None => self.initializer(tensor).map(|t| t.data_type),
                Some((node, 0)) if node.op_type == "Identity" => {
                    tensor = node.input.first()?;
                    continue;
                }
                Some((node, 0)) if node.op_type == "Cast" => Some(int(node, "to", 0) as i32),
                Some((node, 0)) if node.op_type == "Constant" => {
                    attribute(node, "value").and_then(|value| Some(value.t.as_ref()?.data_type))
                }
                _ => None,
            };
            return DataType::try_from(kind?).ok();
        }
        None
    }

    /// The range of the 8-bit type of a zero point; u8 where there is none.
    fn integer_range(&self, zero_point: Option<&String>) -> (f32, f32) {
        let signed = zero_point.and_then(|name| self.kind(name)) == Some(DataType::Int8);
        if signed { (-128.0, 127.0) } else { (0.0, 255.0) }
    }
}

/// The attribute `name` of `node`.
pub(super) fn attribute<'a>(node: &'a NodeProto, name: &str) -> Option<&'a AttributeProto> {
    node.attribute.iter().find(|a| a.name == name)
}

/// The integer attribute `name` of `node`, or `default`.
pub(super) fn int(node: &NodeProto, name: &str, default: i64) -> i64 {
    attribute(node, name).map_or(default, |a| a.i)
}

/// What to call `node` in an error line: its name, or else its type and what it makes.
pub(super) fn title(node: &NodeProto) -> String {
    if node.name.is_empty() {
        format!("the {} that makes `{}`", node.op_type, node.output.first().map_or("", |o| o))
    } else {
        format!("`{}` ({})", node.name, node.op_type)
    }
}

fn shape(proto: &TensorProto) -> Option<Vec<usize>> {
    proto.dims.iter().map(|&side| usize::try_from(side).ok()).collect()
}

/// The two's complement of each value.
fn signed_bytes(proto: &TensorProto) -> Option<&[u8]> {
    let raw = proto.data_type == DataType::Int8 as i32 && !proto.raw_data.is_empty();
    raw.then_some(&proto.raw_data)
}

fn load(proto: &TensorProto) -> Option<Constant> {
    if let Some(bytes) = signed_bytes(proto) {
        let values = bytes.iter().map(|&byte| f32::from(byte as i8)).collect();
        return Some(Constant { shape: shape(proto)?, values });
    }
    let tensor = load_tensor(&FopenDataResolver, proto, None).ok()?;
    let tensor = tensor.cast_to::<f32>().ok()?;
    let values = tensor.try_as_plain_ram().ok()?.as_slice::<f32>().ok()?.to_vec();
    Some(Constant { shape: tensor.shape().to_vec(), values })
}

fn constant_node(node: &NodeProto) -> Option<Constant> {
    let attribute = node.attribute.first()?;
    let list = |values: Vec<f32>| Constant { shape: vec![values.len()], values };
    match attribute.name.as_str() {
        "value" => load(attribute.t.as_ref()?),
        "value_float" => Some(Constant { shape: vec![], values: vec![attribute.f] }),
        "value_int" => Some(Constant { shape: vec![], values: vec![attribute.i as f32] }),
        "value_floats" => Some(list(attribute.floats.clone())),
        "value_ints" => Some(list(attribute.ints.iter().map(|&i| i as f32).collect())),
        _ => None,
    }
}

/// Applies `f(value, scale, zero point)`, with scale and zero point for the whole tensor or one a place
/// along `axis`.
fn rescale(
    mut tensor: Constant,
    scale: &Constant,
    zero_point: Option<&Constant>,
    axis: i64,
    f: impl Fn(f32, f32, f32) -> f32,
) -> Option<Constant> {
    let zero = |i: usize| zero_point.map_or(Some(0.0), |z| z.values.get(i).copied());
    if scale.values.len() == 1 {
        let (scale, zero) = (scale.values[0], zero(0)?);
        tensor.values.iter_mut().for_each(|v| *v = f(*v, scale, zero));
        return Some(tensor);
    }
    let rank = tensor.shape.len() as i64;
    let axis = usize::try_from(if axis < 0 { axis + rank } else { axis }).ok()?;
    if *tensor.shape.get(axis)? != scale.values.len() || tensor.values.is_empty() {
        return None;
    }
    let inner: usize = tensor.shape[axis + 1..].iter().product();
    for (i, block) in tensor.values.chunks_mut(inner).enumerate() {
        let place = i % scale.values.len();
        let (scale, zero) = (scale.values[place], zero(place)?);
        block.iter_mut().for_each(|v| *v = f(*v, scale, zero));
    }
    Some(tensor)
}

/// Transposes a matrix; any other rank is not a head's.
fn transpose(matrix: &Constant, perm: Option<&[i64]>) -> Option<Constant> {
    let [rows, columns] = matrix.shape[..] else { return None };
    match perm {
        Some([0, 1]) => return Some(matrix.clone()),
        None | Some([1, 0]) => {}
        Some(_) => return None,
    }
    let values = (0..columns)
        .flat_map(|c| (0..rows).map(move |r| r * columns + c))
        .map(|i| matrix.values[i])
        .collect();
    Some(Constant { shape: vec![columns, rows], values })
}
