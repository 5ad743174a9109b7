//! Quantization that contradicts itself is refused by name.

use std::collections::HashMap;

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{ModelProto, TensorProto};

use super::super::Report;
use super::builder::{Builder, int};
use super::built;

/// A network of one convolution, with the tensors of its quantization by name.
pub(super) fn convolution() -> (ModelProto, HashMap<&'static str, String>) {
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
    (builder.pooled(&to, [6, 6]), names)
}

/// What becomes of the network after a change of some of its tensors.
pub(super) fn after(what: &[&str], change: impl Fn(&mut TensorProto)) -> Result<Report, String> {
    let (mut model, names) = convolution();
    let wanted = |tensor: &&mut TensorProto| what.iter().any(|name| names[name] == tensor.name);
    let constants = &mut model.graph.as_mut().unwrap().initializer;
    constants.iter_mut().filter(wanted).for_each(change);
    built(model)
}

/// That the network is refused in one line, which holds `words` and names the tensor.
#[track_caller]
fn assert_refused(what: &str, change: impl Fn(&mut TensorProto), words: &str) {
    let line = after(&[what], change).expect_err("a network that cannot be");
    let name = &convolution().1[what];
    let named = line.contains(&format!("`{name}`"));
    assert!(!line.contains('\n') && named && line.contains(words), "{what}: {line}");
}

#[test]
fn what_is_not_changed_is_not_refused() {
    let report = after(&[], |_| ()).unwrap();
    assert_eq!((report.operators, report.left), (2, vec![]));
}

#[test]
fn scales_that_are_no_positive_numbers_are_refused() {
    for bad in [0.0, -0.01, f32::NAN, f32::INFINITY] {
        for what in ["input scale", "output scale", "weight scales", "bias scales"] {
            let change = |t: &mut TensorProto| *t.float_data.last_mut().unwrap() = bad;
            assert_refused(what, change, "not a positive number");
        }
    }
}

/// Leaves three values of four.
fn three(tensor: &mut TensorProto) {
    tensor.dims = vec![3];
    tensor.float_data.truncate(3);
    tensor.int32_data.truncate(3);
}

fn none(tensor: &mut TensorProto) {
    tensor.dims = vec![0];
    tensor.float_data.clear();
    tensor.int32_data.clear();
}

#[test]
fn numbers_of_scales_that_do_not_fit_are_refused() {
    assert_refused("weight scales", three, "has 3 values, its zero point 4");
    assert_refused("bias scales", three, "has 3 values for shape [4]");
    assert_refused("output scale", none, "is empty");
    let line = after(&["weight scales", "weight zero points"], three).unwrap_err();
    assert!(line.contains("has 3 values for shape [4, 3, 1, 1]"), "{line}");
}

#[test]
fn numbers_of_zero_points_and_biases_that_do_not_fit_are_refused() {
    for (what, words) in [
        ("weight zero points", "has 4 values, its zero point 3"),
        ("bias", "has 4 values for shape [3]"),
    ] {
        let line = after(&[what], three).unwrap_err();
        assert!(line.contains(words), "{what}: {line}");
    }
    let line = after(&["output zero point"], none).unwrap_err();
    assert!(line.contains("has 1 values, its zero point 0"), "{line}");
}

#[test]
fn zero_points_of_another_type_are_refused() {
    let real = |tensor: &mut TensorProto| {
        tensor.data_type = DataType::Float as i32;
        tensor.float_data = tensor.int32_data.drain(..).map(|value| value as f32).collect();
    };
    let unsigned = |tensor: &mut TensorProto| tensor.data_type = DataType::Uint8 as i32;
    assert_refused("output zero point", real, "is of type FLOAT");
    assert_refused("weight zero points", real, "is of type FLOAT");
    assert_refused("weight zero points", unsigned, "is of type UINT8");
}

#[test]
fn weights_for_another_number_of_channels_are_refused() {
    let line = after(&["weights"], |tensor| {
        tensor.dims = vec![4, 2, 1, 1];
        tensor.int32_data.truncate(8);
    });
    let line = line.unwrap_err();
    assert!(!line.contains('\n') && line.contains("channels"), "{line}");
}

#[test]
fn a_bias_beyond_its_range_is_refused() {
    let (mut model, names) = convolution();
    let graph = model.graph.as_mut().unwrap();
    let bias = graph.initializer.iter_mut().find(|t| t.name == names["bias"]).unwrap();
    bias.data_type = DataType::Float as i32;
    bias.int32_data.clear();
    bias.float_data = vec![1e30; 4];
    graph.node.retain(|node| node.input[0] != names["bias"]);
    let node = graph.node.iter_mut().find(|node| node.name == names["convolution"]).unwrap();
    node.input[2] = names["bias"].clone();
    let line = built(model).unwrap_err();
    assert!(line.contains("(Conv)") && line.contains("too large for its scale"), "{line}");
}

#[test]
fn concatenations_of_concatenations_are_counted_once_each() {
    let mut builder = Builder::new(1);
    let from = builder.requantized("x", 3, [2, 2]);
    let mut from = builder.convolution(&from);
    for _ in 0..70 {
        let both = [from.tensor.as_str(); 2];
        let tensor = builder.node("Concat", &both, vec![int("axis", 1)]);
        from = builder.requantized(&tensor, 0, from.size);
    }
    // 2^70 channels.
    assert!(built(builder.pooled(&from, [2, 2])).is_err());
}
