//! What int8 operators cannot take is left to tract and listed.

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{ModelProto, NodeProto, TensorProto};

use super::super::Report;
use super::builder::{Builder, int, ints};
use super::built;
use super::refused::{after, convolution};

/// That a network runs and only `node` of it is left to tract, for a reason that holds `why`.
#[track_caller]
fn assert_left(found: Result<Report, String>, node: &str, why: &str) {
    let left = found.unwrap().left;
    let [one] = &left[..] else { panic!("{left:?}") };
    assert!(one.node.contains(node) && one.why.contains(why), "{left:?}");
}

#[test]
fn weights_that_are_not_constant() {
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
    assert_left(built(model), "(Conv)", "not constant");
}

#[test]
fn weights_too_far_from_their_zero_points() {
    let unsigned = |offset: i32| {
        move |tensor: &mut TensorProto| {
            tensor.data_type = DataType::Uint8 as i32;
            tensor.int32_data.iter_mut().for_each(|value| *value += offset);
        }
    };
    let what = ["weights", "weight zero points"];
    assert_eq!(after(&what, unsigned(100)).unwrap().left, []);
    let found = after(&what, |tensor| {
        unsigned(100)(tensor);
        tensor.int32_data[0] = if tensor.int32_data.len() > 4 { 255 } else { 100 };
    });
    assert_left(found, "(Conv)", "further from their zero point");
}

#[test]
fn a_convolution_whose_output_is_not_quantized() {
    let mut builder = Builder::new(1);
    let from = builder.requantized("x", 3, [6, 6]);
    let [weights, bias] = builder.weights(&[4, 3, 1, 1], from.scale);
    let made = builder.node("Conv", &[&from.tensor, &weights, &bias], vec![]);
    let made = builder.node("Sigmoid", &[&made], vec![]);
    let pooled = builder.node("GlobalAveragePool", &[&made], vec![]);
    assert_left(built(builder.model(pooled, [6, 6])), "(Conv)", "output is not quantized");
}

#[test]
fn a_convolution_of_which_only_the_weights_are_quantized() {
    let mut builder = Builder::new(1);
    let [weights, bias] = builder.weights(&[4, 3, 1, 1], 0.01);
    let made = builder.node("Conv", &["x", &weights, &bias], vec![]);
    let pooled = builder.node("GlobalAveragePool", &[&made], vec![]);
    assert_left(built(builder.model(pooled, [6, 6])), "(Conv)", "input is not quantized");
}

/// A network whose maps an operator on a quantized picture makes.
fn ends_in(op: &str, attributes: Vec<tract_onnx::pb::AttributeProto>) -> ModelProto {
    let mut builder = Builder::new(1);
    let from = builder.requantized("x", 3, [6, 6]);
    let from = builder.requantized(&from.tensor, 3, [6, 6]);
    let made = builder.node(op, &[&from.tensor], attributes);
    let maps = builder.requantized(&made, 3, [6, 6]);
    builder.pooled(&maps, [6, 6])
}

#[test]
fn an_operator_without_an_int8_one() {
    assert_left(built(ends_in("LeakyRelu", vec![])), "(LeakyRelu)", "no int8 operator");
}

#[test]
fn an_average_that_is_rounded_up_and_counts_padding() {
    let attributes = vec![
        ints("kernel_shape", &[2, 2]),
        ints("pads", &[1, 1, 1, 1]),
        int("ceil_mode", 1),
        int("count_include_pad", 1),
    ];
    assert_left(built(ends_in("AveragePool", attributes)), "(AveragePool)", "padding counts");
}
