//! Small quantized graphs, node by node.

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto, type_proto,
};

use super::super::attribute_of;

/// The splitmix64 generator.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub(super) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// From -1 to 1.
    pub(super) fn real(&mut self) -> f32 {
        self.below(20_001) as f32 / 10_000.0 - 1.0
    }

    pub(super) fn coin(&mut self) -> bool {
        self.below(2) == 0
    }
}

/// A tensor of numbers that has been bytes.
#[derive(Debug, Clone)]
pub(super) struct Real {
    pub(super) tensor: String,
    pub(super) channels: usize,
    pub(super) size: [usize; 2],
    /// Scale and zero point of the bytes, the names of constants.
    pub(super) parameters: [String; 2],
    pub(super) scale: f32,
}

/// A graph that grows at its end.
pub(super) struct Builder {
    pub(super) random: Random,
    /// Activations are signed bytes.
    pub(super) signed: bool,
    pub(super) nodes: Vec<NodeProto>,
    constants: Vec<TensorProto>,
}

impl Builder {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let signed = random.coin();
        Self { random, signed, nodes: Vec::new(), constants: Vec::new() }
    }

    pub(super) fn node(
        &mut self,
        op: &str,
        inputs: &[&str],
        attributes: Vec<AttributeProto>,
    ) -> String {
        let output = format!("{op}{}", self.nodes.len());
        self.nodes.push(NodeProto {
            op_type: op.into(),
            name: output.clone(),
            input: inputs.iter().map(|&name| name.into()).collect(),
            output: vec![output.clone()],
            attribute: attributes,
            ..Default::default()
        });
        output
    }

    pub(super) fn constant(&mut self, dims: &[usize], kind: DataType, values: &[f32]) -> String {
        let name = format!("constant{}", self.constants.len());
        let (real, wide) = (kind == DataType::Float, kind == DataType::Int64);
        let narrow = !real && !wide;
        self.constants.push(TensorProto {
            name: name.clone(),
            dims: dims.iter().map(|&side| side as i64).collect(),
            data_type: kind as i32,
            float_data: if real { values.to_vec() } else { Vec::new() },
            int32_data: if narrow {
                values.iter().map(|&v| v as i32).collect()
            } else {
                Vec::new()
            },
            int64_data: if wide { values.iter().map(|&v| v as i64).collect() } else { Vec::new() },
            ..Default::default()
        });
        name
    }

    /// Scale and zero point of an activation.
    pub(super) fn parameters(&mut self) -> ([String; 2], f32) {
        let scale = 0.01 + 0.01 * self.random.real().abs();
        let byte = self.random.below(256);
        let zero = self.random.pick(&[0, 255, 128, 128, byte]) as f32;
        let (kind, zero) =
            if self.signed { (DataType::Int8, zero - 128.0) } else { (DataType::Uint8, zero) };
        let names =
            [self.constant(&[], DataType::Float, &[scale]), self.constant(&[], kind, &[zero])];
        (names, scale)
    }

    pub(super) fn requantized(&mut self, tensor: &str, channels: usize, size: [usize; 2]) -> Real {
        let (parameters, scale) = self.parameters();
        self.quantized_as(tensor, channels, size, parameters, scale)
    }

    pub(super) fn quantized_as(
        &mut self,
        tensor: &str,
        channels: usize,
        size: [usize; 2],
        parameters: [String; 2],
        scale: f32,
    ) -> Real {
        let [s, z] = parameters.each_ref();
        let bytes = self.node("QuantizeLinear", &[tensor, s, z], vec![]);
        let tensor = self.node("DequantizeLinear", &[&bytes, s, z], vec![]);
        Real { tensor, channels, size, parameters, scale }
    }

    pub(super) fn activation(&mut self, tensor: String) -> String {
        match self.random.below(4) {
            0 => self.node("Relu", &[&tensor], vec![]),
            1 => {
                let bounds = self.random.pick(&[[0.0, 6.0], [0.0, 0.8], [-0.4, 0.7]]);
                let [low, high] = bounds.map(|b| self.constant(&[], DataType::Float, &[b]));
                self.node("Clip", &[&tensor, &low, &high], vec![])
            }
            _ => tensor,
        }
    }

    /// Weights, their outputs first, and a bias, both quantized for an input of `scale`.
    pub(super) fn weights(&mut self, dims: &[usize], scale: f32) -> [String; 2] {
        let (outputs, taps) = (dims[0], dims[1..].iter().product::<usize>());
        let scales = if self.random.coin() { outputs } else { 1 };
        let weight_scales: Vec<f32> = (0..scales)
            .map(|_| (0.6 + 0.4 * self.random.real()) / (70.0 * (taps as f32).sqrt()))
            .collect();
        let values: Vec<f32> =
            (0..outputs * taps).map(|_| self.random.below(255) as f32 - 127.0).collect();
        let bias: Vec<f32> = (0..outputs)
            .map(|o| (0.5 * self.random.real() / (scale * weight_scales[o % scales])).round())
            .collect();
        let steps: Vec<f32> = weight_scales.iter().map(|weight| weight * scale).collect();
        let side: &[usize] = if scales == 1 { &[] } else { &[scales] };
        let zeros = vec![0.0; scales];
        [(dims, DataType::Int8, values, weight_scales), (&[outputs], DataType::Int32, bias, steps)]
            .map(|(dims, kind, values, steps)| {
                let bytes = self.constant(dims, kind, &values);
                let scale = self.constant(side, DataType::Float, &steps);
                let zero = self.constant(side, kind, &zeros);
                self.node("DequantizeLinear", &[&bytes, &scale, &zero], vec![int("axis", 0)])
            })
    }

    /// The graph with global average pooling of `maps`, to bytes, at its end.
    pub(super) fn pooled(mut self, maps: &Real, size: [usize; 2]) -> ModelProto {
        let pooled = self.node("GlobalAveragePool", &[&maps.tensor], vec![]);
        let logits = self.requantized(&pooled, maps.channels, [1, 1]).tensor;
        self.model(logits, size)
    }

    /// The graph with an input of `size` and the output `logits`.
    pub(super) fn model(self, logits: String, [height, width]: [usize; 2]) -> ModelProto {
        let graph = GraphProto {
            node: self.nodes,
            initializer: self.constants,
            input: vec![input("x", &[1, 3, height, width])],
            output: vec![ValueInfoProto { name: logits, ..Default::default() }],
            ..Default::default()
        };
        let opset_import = vec![OperatorSetIdProto { version: 13, ..Default::default() }];
        ModelProto { ir_version: 8, opset_import, graph: Some(graph), ..Default::default() }
    }
}

fn attribute(name: &str, kind: AttributeType) -> AttributeProto {
    attribute_of(name, kind)
}

pub(super) fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { i, ..attribute(name, AttributeType::Int) }
}

pub(super) fn ints(name: &str, values: &[usize]) -> AttributeProto {
    let ints = values.iter().map(|&value| value as i64).collect();
    AttributeProto { ints, ..attribute(name, AttributeType::Ints) }
}

fn input(name: &str, dims: &[usize]) -> ValueInfoProto {
    let dim = |&n: &usize| Dimension {
        value: Some(dimension::Value::DimValue(n as i64)),
        ..Default::default()
    };
    let shape = Some(TensorShapeProto { dim: dims.iter().map(dim).collect() });
    let tensor = type_proto::Tensor { elem_type: DataType::Float as i32, shape };
    let value = Some(type_proto::Value::TensorType(tensor));
    ValueInfoProto {
        name: name.into(),
        r#type: Some(TypeProto { value, ..Default::default() }),
        ..Default::default()
    }
}

pub(super) fn text(name: &str, value: &str) -> AttributeProto {
    AttributeProto { s: value.into(), ..attribute(name, AttributeType::String) }
}
