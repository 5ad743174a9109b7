//! Random quantized graphs, rewritten against as they are; quantization that contradicts itself.

use std::collections::HashMap;

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto, type_proto,
};
use tract_onnx::prelude::*;

use super::super::activations::Activations;
use super::super::backend::{Engine as _, Means, Picture, Values};
use super::super::check::check_proto;
use super::super::tract::Engine;
use super::Report;
use crate::geometry::Size;
use crate::int8::Isa;

/// The splitmix64 generator.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// From -1 to 1.
    fn real(&mut self) -> f32 {
        self.below(20_001) as f32 / 10_000.0 - 1.0
    }

    fn coin(&mut self) -> bool {
        self.below(2) == 0
    }
}

/// A tensor of numbers that has been bytes.
#[derive(Debug, Clone)]
struct Real {
    tensor: String,
    channels: usize,
    size: [usize; 2],
    /// Scale and zero point of the bytes, the names of constants.
    parameters: [String; 2],
    scale: f32,
}

/// A graph that grows at its end.
struct Builder {
    random: Random,
    /// Activations are signed bytes.
    signed: bool,
    nodes: Vec<NodeProto>,
    constants: Vec<TensorProto>,
}

impl Builder {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let signed = random.coin();
        Self { random, signed, nodes: Vec::new(), constants: Vec::new() }
    }

    fn node(&mut self, op: &str, inputs: &[&str], attributes: Vec<AttributeProto>) -> String {
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

    fn constant(&mut self, dims: &[usize], kind: DataType, values: &[f32]) -> String {
        let name = format!("constant{}", self.constants.len());
        let real = kind == DataType::Float;
        self.constants.push(TensorProto {
            name: name.clone(),
            dims: dims.iter().map(|&side| side as i64).collect(),
            data_type: kind as i32,
            float_data: if real { values.to_vec() } else { Vec::new() },
            int32_data: if real { Vec::new() } else { values.iter().map(|&v| v as i32).collect() },
            ..Default::default()
        });
        name
    }

    /// Scale and zero point of an activation.
    fn parameters(&mut self) -> ([String; 2], f32) {
        let scale = 0.01 + 0.01 * self.random.real().abs();
        let byte = self.random.below(256);
        let zero = self.random.pick(&[0, 255, 128, 128, byte]) as f32;
        let (kind, zero) =
            if self.signed { (DataType::Int8, zero - 128.0) } else { (DataType::Uint8, zero) };
        let names =
            [self.constant(&[], DataType::Float, &[scale]), self.constant(&[], kind, &[zero])];
        (names, scale)
    }

    fn requantized(&mut self, tensor: &str, channels: usize, size: [usize; 2]) -> Real {
        let (parameters, scale) = self.parameters();
        self.quantized_as(tensor, channels, size, parameters, scale)
    }

    fn quantized_as(
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

    fn activation(&mut self, tensor: String) -> String {
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

    fn convolution(&mut self, from: &Real) -> Real {
        let depthwise = self.random.coin();
        let (kernel, strides) =
            (self.random.pick(&[1, 2, 3, 5]), self.random.pick(&[[1, 1], [2, 2], [1, 2]]));
        let dilation = if kernel > 1 { 1 + self.random.below(2) } else { 1 };
        let extent = (kernel - 1) * dilation + 1;
        let pads: [usize; 4] = std::array::from_fn(|_| self.random.below(extent));
        let size = [0, 1].map(|axis| from.size[axis] + pads[axis] + pads[axis + 2]);
        if size[0] < extent || size[1] < extent {
            return from.clone();
        }
        let size = [0, 1].map(|axis| (size[axis] - extent) / strides[axis] + 1);
        let outputs = if depthwise { from.channels } else { self.random.pick(&[4, 7, 16, 20]) };
        let inputs = if depthwise { 1 } else { from.channels };
        let taps = inputs * kernel * kernel;
        let scales = if self.random.coin() { outputs } else { 1 };
        let weight_scales: Vec<f32> = (0..scales)
            .map(|_| (0.6 + 0.4 * self.random.real()) / (70.0 * (taps as f32).sqrt()))
            .collect();
        let values: Vec<f32> =
            (0..outputs * taps).map(|_| self.random.below(255) as f32 - 127.0).collect();
        let bias: Vec<f32> = (0..outputs)
            .map(|o| (0.5 * self.random.real() / (from.scale * weight_scales[o % scales])).round())
            .collect();
        let dims: &[usize] = if scales == 1 { &[] } else { &[scales] };
        let zeros = vec![0.0; scales];
        let bytes = self.constant(&[outputs, inputs, kernel, kernel], DataType::Int8, &values);
        let scale = self.constant(dims, DataType::Float, &weight_scales);
        let zero = self.constant(dims, DataType::Int8, &zeros);
        let weights = self.node("DequantizeLinear", &[&bytes, &scale, &zero], vec![int("axis", 0)]);
        let steps: Vec<f32> = weight_scales.iter().map(|scale| scale * from.scale).collect();
        let scale = self.constant(dims, DataType::Float, &steps);
        let bytes = self.constant(&[outputs], DataType::Int32, &bias);
        let zero = self.constant(dims, DataType::Int32, &zeros);
        let bias = self.node("DequantizeLinear", &[&bytes, &scale, &zero], vec![int("axis", 0)]);
        let attributes = vec![
            ints("kernel_shape", &[kernel; 2]),
            ints("strides", &strides),
            ints("dilations", &[dilation; 2]),
            ints("pads", &pads),
            int("group", if depthwise { outputs as i64 } else { 1 }),
        ];
        let tensor = self.node("Conv", &[&from.tensor, &weights, &bias], attributes);
        let tensor = self.activation(tensor);
        self.requantized(&tensor, outputs, size)
    }

    fn pool(&mut self, from: &Real) -> Real {
        let (kernel, stride) = (self.random.pick(&[2, 3]), self.random.pick(&[1, 2]));
        let pads: [usize; 4] = std::array::from_fn(|_| self.random.below(kernel));
        let size = [0, 1].map(|axis| from.size[axis] + pads[axis] + pads[axis + 2]);
        if size[0] < kernel || size[1] < kernel {
            return from.clone();
        }
        let size = size.map(|side| (side - kernel) / stride + 1);
        let mut attributes = vec![
            ints("kernel_shape", &[kernel; 2]),
            ints("strides", &[stride; 2]),
            ints("pads", &pads),
        ];
        if self.random.coin() {
            attributes.push(int("count_include_pad", self.random.below(2) as i64));
            let tensor = self.node("AveragePool", &[&from.tensor], attributes);
            return self.requantized(&tensor, from.channels, size);
        }
        let tensor = self.node("MaxPool", &[&from.tensor], attributes);
        match self.random.below(3) {
            0 => Real { tensor, size, ..from.clone() },
            1 => self.requantized(&tensor, from.channels, size),
            _ => {
                let Real { parameters, scale, .. } = from.clone();
                self.quantized_as(&tensor, from.channels, size, parameters, scale)
            }
        }
    }

    fn operator(&mut self, made: &[Real]) -> Real {
        let from = made[made.len() - 1].clone();
        let fits: Vec<&Real> = made.iter().filter(|other| other.size == from.size).collect();
        let other = fits[self.random.below(fits.len())].clone();
        match self.random.below(6) {
            0 => self.pool(&from),
            1 if other.channels == from.channels => {
                let operands = [&from.tensor, &other.tensor].map(|name| name.as_str());
                let tensor = self.node("Add", &operands, vec![]);
                let tensor = self.activation(tensor);
                self.requantized(&tensor, from.channels, from.size)
            }
            2 if from.channels + other.channels < 64 => {
                let parts = [&other.tensor, &from.tensor].map(|name| name.as_str());
                let tensor = self.node("Concat", &parts, vec![int("axis", 1)]);
                self.requantized(&tensor, from.channels + other.channels, from.size)
            }
            3 => {
                let tensor = self.activation(from.tensor.clone());
                self.requantized(&tensor, from.channels, from.size)
            }
            _ => self.convolution(&from),
        }
    }

    /// Some operators on a picture, then global average pooling. Gives the name of the feature maps
    /// and their step too.
    fn network(mut self, size: [usize; 2], operators: usize) -> (ModelProto, Real) {
        let mut made = vec![self.requantized("x", 3, size)];
        let first = self.convolution(&made[0].clone());
        made.push(first);
        for _ in 0..operators {
            let next = self.operator(&made);
            made.push(next);
        }
        let maps = made.pop().unwrap();
        (self.pooled(&maps.tensor, size), maps)
    }

    /// The graph with global average pooling of `maps` at its end.
    fn pooled(mut self, maps: &str, [height, width]: [usize; 2]) -> ModelProto {
        let pooled = self.node("GlobalAveragePool", &[maps], vec![]);
        let graph = GraphProto {
            node: self.nodes,
            initializer: self.constants,
            input: vec![input("x", &[1, 3, height, width])],
            output: vec![ValueInfoProto { name: pooled, ..Default::default() }],
            ..Default::default()
        };
        let opset_import = vec![OperatorSetIdProto { version: 13, ..Default::default() }];
        ModelProto { ir_version: 8, opset_import, graph: Some(graph), ..Default::default() }
    }
}

fn attribute(name: &str, kind: AttributeType) -> AttributeProto {
    super::attribute_of(name, kind)
}

fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { i, ..attribute(name, AttributeType::Int) }
}

fn ints(name: &str, values: &[usize]) -> AttributeProto {
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

/// The feature maps as tract's own operators compute them.
fn as_it_is(
    model: &ModelProto,
    maps: &str,
    picture: &[f32],
    [height, width]: [usize; 2],
) -> Vec<f32> {
    let mut model = model.clone();
    model.graph.as_mut().unwrap().output[0].name = maps.into();
    let plan = tract_onnx::onnx()
        .with_ignore_value_info(true)
        .model_for_proto_model(&model)
        .and_then(|model| model.into_typed())
        .and_then(|model| model.into_runnable())
        .unwrap();
    let tensor = Tensor::from_shape(&[1, 3, height, width], picture).unwrap();
    let found = plan.run(tvec!(tensor.into())).unwrap();
    found[0].try_as_plain_ram().unwrap().as_slice::<f32>().unwrap().to_vec()
}

/// The best kernels of this processor.
fn means() -> Means {
    Means { isa: Some(Isa::best()), threads: 1 }
}

/// The feature maps in int8.
fn rewritten(
    model: ModelProto,
    picture: &[f32],
    [height, width]: [usize; 2],
) -> (Vec<f32>, Report) {
    let checked = check_proto(model).unwrap();
    let size = Size::new(width as u32, height as u32);
    let mut engine = Engine::new(&checked, size, means()).unwrap();
    let takes = engine.takes();
    let mut fill = |tensor: Picture| {
        let at = |i: usize| {
            let pixels = height * width;
            if takes.channels_last { i % 3 * pixels + i / 3 } else { i }
        };
        match (tensor, takes.values) {
            (Picture::Bytes(bytes), Values::Quantized(to)) => {
                for (i, byte) in bytes.iter_mut().enumerate() {
                    let steps = (picture[at(i)] / to.scale).round_ties_even();
                    *byte = (steps + f32::from(to.zero_point)).clamp(0.0, 255.0) as u8;
                }
            }
            (Picture::Floats(numbers), Values::Normalized) => {
                numbers.iter_mut().enumerate().for_each(|(i, number)| *number = picture[at(i)]);
            }
            other => panic!("{other:?}"),
        }
    };
    engine.fill(&mut fill).unwrap();
    let mut out = Activations::default();
    engine.run(&mut out).unwrap();
    (out.features.values, engine.report().unwrap().clone())
}

#[test]
fn random_graphs_compute_in_int8_what_they_compute_in_f32() {
    let (mut values, mut off, mut distinct, mut operators) = (0, 0, 0, 0);
    for seed in 0..120 {
        let size = [5 + seed as usize % 7, 4 + seed as usize % 5];
        let (model, maps) = Builder::new(seed).network(size, seed as usize % 6);
        let mut random = Random(seed ^ 0xabcd);
        let picture: Vec<f32> = (0..3 * size[0] * size[1]).map(|_| random.real()).collect();
        let expected = as_it_is(&model, &maps.tensor, &picture, size);
        let (found, report) = rewritten(model, &picture, size);
        assert_eq!(report.left, [], "seed {seed}");
        operators += report.operators;
        assert_eq!(found.len(), expected.len(), "seed {seed}");
        for (found, expected) in found.iter().zip(&expected) {
            let steps = (found - expected).abs() / maps.scale;
            assert!(steps < 2.5, "seed {seed}: off by {steps} steps");
            off += usize::from(steps > 0.5);
        }
        values += found.len();
        let mut sorted = expected;
        sorted.sort_by(f32::total_cmp);
        sorted.dedup();
        distinct += usize::from(sorted.len() > 8);
    }
    // Sums in f32 and in integers fall on different sides of a tie now and then, no more.
    assert!(off * 200 < values, "{off} of {values} values are off");
    assert!(operators > 300, "only {operators} operators");
    assert!(distinct > 90, "only {distinct} graphs are alive");
}

/// A network of one convolution, with the tensors of its quantization by name.
fn convolution() -> (ModelProto, HashMap<&'static str, String>) {
    let mut builder = Builder::new(0);
    builder.signed = false;
    let from = builder.requantized("x", 3, [6, 6]);
    let weights: Vec<f32> = (0..12).map(|i| i as f32 - 6.0).collect();
    let bytes = builder.constant(&[4, 3, 1, 1], DataType::Int8, &weights);
    let scale = builder.constant(&[4], DataType::Float, &[0.01, 0.02, 0.03, 0.04]);
    let zero = builder.constant(&[4], DataType::Int8, &[0.0; 4]);
    let real = builder.node("DequantizeLinear", &[&bytes, &scale, &zero], vec![int("axis", 0)]);
    let steps: Vec<f32> = [0.01, 0.02, 0.03, 0.04].map(|s| s * from.scale).to_vec();
    let bias = builder.constant(&[4], DataType::Int32, &[1.0, 2.0, 3.0, 4.0]);
    let bias_scale = builder.constant(&[4], DataType::Float, &steps);
    let bias_real = builder.node("DequantizeLinear", &[&bias, &bias_scale], vec![int("axis", 0)]);
    let made = builder.node("Conv", &[&from.tensor, &real, &bias_real], vec![]);
    let to = builder.requantized(&made, 4, [6, 6]);
    let names = HashMap::from([
        ("input scale", from.parameters[0].clone()),
        ("weights", bytes),
        ("weight scales", scale),
        ("weight zero points", zero),
        ("bias", bias),
        ("bias scales", bias_scale),
        ("output scale", to.parameters[0].clone()),
        ("output zero point", to.parameters[1].clone()),
        ("convolution", made),
    ]);
    (builder.pooled(&to.tensor, [6, 6]), names)
}

/// What becomes of the convolution after a change of one of its tensors.
fn after(what: &str, change: impl FnOnce(&mut TensorProto)) -> Result<Report, String> {
    let (mut model, names) = convolution();
    let graph = model.graph.as_mut().unwrap();
    change(graph.initializer.iter_mut().find(|t| t.name == names[what]).unwrap());
    built(model)
}

fn built(model: ModelProto) -> Result<Report, String> {
    let checked = check_proto(model)?;
    let engine = Engine::new(&checked, Size::new(6, 6), means())?;
    Ok(engine.report().unwrap().clone())
}

#[track_caller]
fn assert_refused(found: Result<Report, String>, words: &[&str]) {
    let line = found.expect_err("a network that cannot be");
    assert!(!line.contains('\n') && words.iter().all(|word| line.contains(word)), "{line}");
}

#[test]
fn what_is_not_changed_is_not_refused() {
    let report = after("bias", |_| ()).unwrap();
    assert_eq!((report.operators, report.left), (1, vec![]));
}

#[test]
fn scales_that_are_no_positive_numbers_are_refused_by_name() {
    for bad in [0.0, -0.01, f32::NAN, f32::INFINITY] {
        for what in ["input scale", "output scale", "weight scales", "bias scales"] {
            let change = |t: &mut TensorProto| *t.float_data.last_mut().unwrap() = bad;
            assert_refused(
                after(what, change),
                &["the scale of `", "Linear", "not a positive number"],
            );
        }
    }
}

#[test]
fn numbers_of_scales_and_zero_points_that_do_not_fit_are_refused_by_name() {
    let three = |t: &mut TensorProto| {
        t.dims = vec![3];
        t.float_data.truncate(3);
        t.int32_data.truncate(3);
    };
    assert_refused(after("weight scales", three), &["(Conv)", "3 scales and 4 zero points"]);
    assert_refused(after("weight zero points", three), &["(Conv)", "4 scales and 3 zero points"]);
    assert_refused(after("bias", three), &["(Conv)", "3 values", "4 outputs"]);
    assert_refused(after("bias scales", three), &["(Conv)", "3 scales", "4 outputs"]);
    let none = |t: &mut TensorProto| {
        t.dims = vec![0];
        t.float_data.clear();
    };
    assert_refused(after("output scale", none), &["(Conv)", "has no scale"]);
    let both = |model: &mut ModelProto, names: &HashMap<&str, String>| {
        for tensor in &mut model.graph.as_mut().unwrap().initializer {
            if [&names["weight scales"], &names["weight zero points"]].contains(&&tensor.name) {
                three(tensor);
            }
        }
    };
    let (mut model, names) = convolution();
    both(&mut model, &names);
    assert_refused(built(model), &["(Conv)", "3 scales for weights of shape [4, 3, 1, 1]"]);
}

#[test]
fn a_bias_beyond_its_range_is_refused_by_name() {
    let (mut model, names) = convolution();
    let graph = model.graph.as_mut().unwrap();
    let bias = graph.initializer.iter_mut().find(|t| t.name == names["bias"]).unwrap();
    *bias = TensorProto {
        data_type: DataType::Float as i32,
        float_data: vec![1e30; 4],
        int32_data: vec![],
        ..bias.clone()
    };
    let name = names["bias"].clone();
    let node = graph.node.iter_mut().find(|node| node.name == names["convolution"]).unwrap();
    node.input[2] = name;
    assert_refused(built(model), &["(Conv)", "too large for its scale"]);
}

#[test]
fn weights_that_are_not_constant_are_left_to_tract_and_listed() {
    let (mut model, names) = convolution();
    let graph = model.graph.as_mut().unwrap();
    let at = graph.node.iter().position(|node| node.input[0] == names["weights"]).unwrap();
    // camlive does not compute this one beforehand.
    let makes_weights = NodeProto {
        op_type: "Abs".into(),
        name: "abs".into(),
        input: vec![names["weights"].clone()],
        output: vec!["made".into()],
        ..Default::default()
    };
    graph.node[at].input[0] = "made".into();
    graph.node.insert(at, makes_weights);
    let report = built(model).unwrap();
    assert_eq!(report.left.len(), 1);
    assert!(report.left[0].node.contains("(Conv)"), "{:?}", report.left);
    assert!(report.left[0].why.contains("not constant"), "{:?}", report.left);
}

#[test]
fn unsigned_weights_around_anything_but_128_are_left_to_tract_and_listed() {
    let (mut model, names) = convolution();
    for tensor in &mut model.graph.as_mut().unwrap().initializer {
        if [&names["weights"], &names["weight zero points"]].contains(&&tensor.name) {
            tensor.data_type = DataType::Uint8 as i32;
            tensor.int32_data.iter_mut().for_each(|value| *value += 100);
        }
    }
    let report = built(model).unwrap();
    assert!(report.left[0].why.contains("zero points other than 0"), "{:?}", report.left);
}

#[test]
fn concatenations_of_concatenations_are_counted_once_each() {
    let mut builder = Builder::new(1);
    let mut from = builder.requantized("x", 3, [2, 2]);
    from = builder.convolution(&from);
    for _ in 0..70 {
        let both = [from.tensor.as_str(); 2];
        let tensor = builder.node("Concat", &both, vec![int("axis", 1)]);
        from = builder.requantized(&tensor, 0, from.size);
    }
    // 2^70 channels.
    assert!(built(builder.pooled(&from.tensor, [2, 2])).is_err());
}
