//! Ways to write a head that the recorded networks do not have.

mod receptive;

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto, type_proto,
};

use super::activations::Activations;
use super::backend::{Engine as _, Means, Picture};
use super::check::{Checked, MAX_NODES, check_proto};
use super::tract::Engine;
use crate::geometry::Size;
use crate::int8::Isa;

const MEANS: Means = Means { isa: Some(Isa::Scalar), threads: 1 };

/// Weights of two classes on three feature maps, class by class.
const WEIGHTS: [f32; 6] = [1.0, 2.0, 3.0, -4.0, 5.0, -6.0];

/// The same, channel by channel.
const TRANSPOSED: [f32; 6] = [1.0, -4.0, 2.0, 5.0, 3.0, -6.0];

fn attribute(name: &str) -> AttributeProto {
    AttributeProto { name: name.into(), ..Default::default() }
}

fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { i, r#type: 2, ..attribute(name) }
}

fn float(name: &str, f: f32) -> AttributeProto {
    AttributeProto { f, r#type: 1, ..attribute(name) }
}

fn ints(name: &str, ints: &[i64]) -> AttributeProto {
    AttributeProto { ints: ints.to_vec(), r#type: 7, ..attribute(name) }
}

/// A node named after its output.
fn node<const N: usize>(
    op: &str,
    inputs: &[&str],
    output: &str,
    attributes: [AttributeProto; N],
) -> NodeProto {
    NodeProto {
        op_type: op.into(),
        name: output.into(),
        input: inputs.iter().map(|&name| name.into()).collect(),
        output: vec![output.into()],
        attribute: attributes.into(),
        ..Default::default()
    }
}

fn floats(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    TensorProto {
        name: name.into(),
        dims: dims.to_vec(),
        data_type: DataType::Float as i32,
        float_data: values.to_vec(),
        ..Default::default()
    }
}

fn bytes(name: &str, dims: &[i64], kind: DataType, values: &[i32]) -> TensorProto {
    TensorProto {
        name: name.into(),
        dims: dims.to_vec(),
        data_type: kind as i32,
        int32_data: values.to_vec(),
        ..Default::default()
    }
}

fn value(name: &str, kind: DataType, dims: &[i64]) -> ValueInfoProto {
    let dim =
        |&n: &i64| Dimension { value: Some(dimension::Value::DimValue(n)), ..Default::default() };
    let shape = Some(TensorShapeProto { dim: dims.iter().map(dim).collect() });
    let tensor = type_proto::Tensor { elem_type: kind as i32, shape };
    let kind =
        TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() };
    ValueInfoProto { name: name.into(), r#type: Some(kind), ..Default::default() }
}

/// A network whose output is `output`, on a picture `x` of 4x2.
fn model(nodes: Vec<NodeProto>, initializer: Vec<TensorProto>) -> ModelProto {
    let graph = GraphProto {
        node: nodes,
        initializer,
        input: vec![value("x", DataType::Float, &[1, 3, 2, 4])],
        output: vec![ValueInfoProto { name: "output".into(), ..Default::default() }],
        ..Default::default()
    };
    let opset = OperatorSetIdProto { version: 13, ..Default::default() };
    ModelProto {
        ir_version: 8,
        opset_import: vec![opset],
        graph: Some(graph),
        ..Default::default()
    }
}

fn relu_and_pool() -> Vec<NodeProto> {
    vec![node("Relu", &["x"], "maps", []), node("GlobalAveragePool", &["maps"], "pooled", [])]
}

fn pooled_then(nodes: Vec<NodeProto>, initializer: Vec<TensorProto>) -> ModelProto {
    model([relu_and_pool(), nodes].concat(), initializer)
}

/// The value of unit `k` at `place` of the test picture, which `Relu` leaves as it is.
fn pixel(k: usize, place: usize) -> f32 {
    (k * 100 + place) as f32
}

/// Runs the network on the test picture.
fn run(checked: &Checked) -> Activations {
    let mut engine = Engine::new(checked, Size::new(4, 2), MEANS).unwrap();
    let mut fill = |tensor: Picture| {
        let Picture::Floats(tensor) = tensor else { panic!("floats are expected") };
        for (i, value) in tensor.iter_mut().enumerate() {
            *value =
                if checked.input.channels_last { pixel(i % 3, i / 3) } else { pixel(i / 8, i % 8) };
        }
    };
    engine.fill(&mut fill).unwrap();
    let mut out = Activations::default();
    engine.run(&mut out).unwrap();
    out
}

/// Asserts that features, lifted weights and logits agree: `S_c = factor * sum_k w_k^c F_k + bias`.
#[track_caller]
fn assert_reads(model: ModelProto, factor: f32, bias: f32) {
    let checked = check_proto(model).unwrap();
    let linear = checked.head.linear.as_ref().unwrap();
    assert_eq!((linear.classes, linear.channels), (2, 3));
    assert_eq!(linear.weights, WEIGHTS.map(|w| factor * w));
    let out = run(&checked);
    assert_eq!((out.features.channels, out.features.height, out.features.width), (3, 2, 4));
    for k in 0..3 {
        let expected = (0..8).map(|place| pixel(k, place));
        assert!(out.features.unit(k).eq(expected));
    }
    let means = [3.5, 103.5, 203.5];
    for (c, logit) in out.logits.iter().enumerate() {
        let sum: f32 = (0..3).map(|k| factor * WEIGHTS[c * 3 + k] * means[k]).sum();
        assert!((logit - sum - bias).abs() < 1e-2, "class {c}: {logit}, expected {}", sum + bias);
    }
}

#[track_caller]
fn assert_refused(model: ModelProto, words: &[&str]) {
    let line = check_proto(model)
        .and_then(|checked| Engine::new(&checked, Size::new(4, 2), MEANS).map(|_| ()))
        .unwrap_err();
    assert!(words.iter().all(|word| line.contains(word)), "{line}");
}

fn flatten() -> NodeProto {
    node("Flatten", &["pooled"], "flat", [])
}

#[test]
fn gemm_with_alpha_and_beta() {
    let gemm = [int("transB", 1), float("alpha", 0.5), float("beta", 2.0)];
    let nodes = vec![flatten(), node("Gemm", &["flat", "w", "b"], "output", gemm)];
    assert_reads(
        pooled_then(nodes, vec![floats("w", &[2, 3], &WEIGHTS), floats("b", &[2], &[3.5; 2])]),
        0.5,
        7.0,
    );
}

#[test]
fn matmul_without_bias_and_log_softmax() {
    let nodes = vec![
        flatten(),
        node("MatMul", &["flat", "w"], "logits", []),
        node("LogSoftmax", &["logits"], "output", []),
    ];
    assert_reads(pooled_then(nodes, vec![floats("w", &[3, 2], &TRANSPOSED)]), 1.0, 0.0);
}

#[test]
fn weights_transposed_in_the_graph_and_a_bias_that_comes_first() {
    let nodes = vec![
        node("Transpose", &["w"], "wt", [ints("perm", &[1, 0])]),
        node("Squeeze", &["pooled", "axes"], "flat", []),
        node("MatMul", &["flat", "wt"], "product", []),
        node("Add", &["b", "product"], "output", []),
    ];
    let axes = TensorProto {
        name: "axes".into(),
        dims: vec![2],
        data_type: DataType::Int64 as i32,
        int64_data: vec![2, 3],
        ..Default::default()
    };
    let weights = vec![floats("w", &[2, 3], &WEIGHTS), floats("b", &[2], &[7.0; 2]), axes];
    assert_reads(pooled_then(nodes, weights), 1.0, 7.0);
}

#[test]
fn weights_quantized_a_class_a_scale() {
    // 2 * (q - 0) for the first class, 0.5 * q for the second.
    let quantized = [1, 2, 3, -16, 20, -24];
    let nodes = vec![
        node("DequantizeLinear", &["q", "scale", "zero"], "w", [int("axis", 0)]),
        flatten(),
        node("Gemm", &["flat", "w"], "output", [int("transB", 1)]),
    ];
    let weights = vec![
        bytes("q", &[2, 3], DataType::Int8, &quantized),
        floats("scale", &[2], &[1.0, 0.25]),
        bytes("zero", &[2], DataType::Int8, &[0, 0]),
    ];
    assert_reads(pooled_then(nodes, weights), 1.0, 0.0);
}

#[test]
fn weights_quantized_with_one_scale_and_a_zero_point() {
    let nodes = vec![
        node("DequantizeLinear", &["q", "scale", "zero"], "w", []),
        flatten(),
        node("MatMul", &["flat", "w"], "output", []),
    ];
    let weights = vec![
        bytes("q", &[3, 2], DataType::Uint8, &TRANSPOSED.map(|w| (2.0 * w) as i32 + 100)),
        floats("scale", &[], &[0.5]),
        bytes("zero", &[], DataType::Uint8, &[100]),
    ];
    assert_reads(pooled_then(nodes, weights), 1.0, 0.0);
}

#[test]
fn pictures_and_features_with_channels_last() {
    let nodes = vec![
        node("Relu", &["x"], "maps", []),
        node("ReduceMean", &["maps"], "flat", [ints("axes", &[1, 2]), int("keepdims", 0)]),
        node("MatMul", &["flat", "w"], "output", []),
    ];
    let mut model = model(nodes, vec![floats("w", &[3, 2], &TRANSPOSED)]);
    model.graph.as_mut().unwrap().input = vec![value("x", DataType::Float, &[1, 2, 4, 3])];
    assert_reads(model, 1.0, 0.0);
}

#[test]
fn weights_listed_as_inputs_are_no_inputs() {
    let nodes = vec![flatten(), node("Gemm", &["flat", "w"], "output", [int("transB", 1)])];
    let mut model = pooled_then(nodes, vec![floats("w", &[2, 3], &WEIGHTS)]);
    model.graph.as_mut().unwrap().input.insert(0, value("w", DataType::Float, &[2, 3]));
    assert_reads(model, 1.0, 0.0);
}

#[test]
fn the_scores_are_found_beside_other_outputs() {
    let nodes = vec![flatten(), node("Gemm", &["flat", "w"], "output", [int("transB", 1)])];
    let mut model = pooled_then(nodes, vec![floats("w", &[2, 3], &WEIGHTS)]);
    let outputs = ["maps", "flat", "output"];
    model.graph.as_mut().unwrap().output =
        outputs.map(|name| ValueInfoProto { name: name.into(), ..Default::default() }).to_vec();
    assert_reads(model, 1.0, 0.0);
}

#[test]
fn a_picture_of_bytes_goes_in_as_bytes() {
    let nodes = vec![
        node("Cast", &["x"], "maps", [int("to", DataType::Float as i64)]),
        node("GlobalAveragePool", &["maps"], "pooled", []),
        flatten(),
        node("Gemm", &["flat", "w"], "output", [int("transB", 1)]),
    ];
    let mut model = model(nodes, vec![floats("w", &[2, 3], &WEIGHTS)]);
    model.graph.as_mut().unwrap().input = vec![value("x", DataType::Uint8, &[1, 3, 2, 4])];
    let checked = check_proto(model).unwrap();
    let mut engine = Engine::new(&checked, Size::new(4, 2), MEANS).unwrap();
    let mut fill = |tensor: Picture| {
        let Picture::Bytes(tensor) = tensor else { panic!("bytes are expected") };
        tensor.fill(200);
    };
    engine.fill(&mut fill).unwrap();
    let mut out = Activations::default();
    engine.run(&mut out).unwrap();
    assert_eq!(out.features.values, [200.0; 24]);
}

#[test]
fn a_window_over_a_part_of_the_map_is_refused() {
    let nodes = vec![
        node("Relu", &["x"], "maps", []),
        node("AveragePool", &["maps"], "part", [ints("kernel_shape", &[2, 2])]),
        node("Flatten", &["part"], "flat", []),
        node("MatMul", &["flat", "w"], "output", []),
    ];
    let weights = vec![floats("w", &[9, 2], &[1.0; 18])];
    assert_refused(model(nodes, weights), &["`part` (AveragePool)", "[2, 2]", "[2, 4]"]);
}

#[test]
fn a_linear_layer_of_another_width_is_refused() {
    let nodes = vec![
        node("Relu", &["x"], "maps", []),
        node("GlobalAveragePool", &["maps"], "pooled", []),
        node("Reshape", &["pooled", "shape"], "rows", []),
        node("MatMul", &["rows", "w"], "output", []),
    ];
    let shape = TensorProto {
        name: "shape".into(),
        dims: vec![2],
        data_type: DataType::Int64 as i32,
        int64_data: vec![3, 1],
        ..Default::default()
    };
    let weights = vec![floats("w", &[1, 2], &[1.0; 2]), shape];
    assert_refused(
        model(nodes, weights),
        &["`output` (MatMul)", "weighs 1 values", "3 feature maps"],
    );
}

#[test]
fn control_flow_is_refused() {
    let branch = AttributeProto { g: Some(GraphProto::default()), ..attribute("then_branch") };
    let nodes = vec![node("If", &["x"], "output", [branch])];
    assert_refused(model(nodes, vec![]), &["`output` (If)"]);
}

#[test]
fn a_graph_that_runs_in_a_circle_is_refused() {
    let nodes =
        vec![node("Identity", &["b"], "output", []), node("Identity", &["output"], "b", [])];
    assert_refused(model(nodes, vec![]), &["circle"]);
}

#[test]
fn a_constant_beyond_all_bounds_is_refused() {
    let nodes = vec![
        node("ConstantOfShape", &["shape"], "huge", []),
        node("Add", &["x", "huge"], "maps", []),
        node("GlobalAveragePool", &["maps"], "output", []),
    ];
    let shape = TensorProto {
        name: "shape".into(),
        dims: vec![4],
        data_type: DataType::Int64 as i32,
        int64_data: vec![1, 3, 1 << 20, 1 << 20],
        ..Default::default()
    };
    assert_refused(model(nodes, vec![shape]), &["`huge` (ConstantOfShape)", "too large"]);
}

#[test]
fn a_node_without_a_name_is_called_by_what_it_makes() {
    let mut nodes = relu_and_pool();
    nodes.push(node("Sigmoid", &["pooled"], "output", []));
    nodes[2].name.clear();
    assert_refused(model(nodes, vec![]), &["the Sigmoid that makes `output`"]);
}

#[test]
fn a_graph_as_long_as_the_limit_does_not_exhaust_the_stack() {
    let name = |i: usize| if i == 0 { "x".to_owned() } else { format!("t{i}") };
    let relus = MAX_NODES - 1;
    let mut nodes: Vec<_> =
        (0..relus).map(|i| node("Relu", &[&name(i)], &name(i + 1), [])).collect();
    nodes.push(node("GlobalAveragePool", &[&name(relus)], "output", []));
    let longer = [nodes.clone(), vec![node("Relu", &["x"], "unused", [])]].concat();
    assert_refused(model(longer, vec![]), &["10001 nodes"]);
    assert_eq!(run(&check_proto(model(nodes, vec![])).unwrap()).logits, [3.5, 103.5, 203.5]);
}
