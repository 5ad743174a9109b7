//! Small cases of every operator, computed by hand.

use crate::int8::*;

const ONE: Quantization = Quantization { scale: 1.0, zero_point: 0 };

fn shape(height: usize, width: usize, channels: usize) -> Shape {
    Shape { height, width, channels }
}

/// A dense convolution of one channel into one, everything at scale 1.
fn plain<'a>(weights: &'a [i8], kernel: [usize; 2]) -> ConvolutionSpec<'a> {
    ConvolutionSpec {
        weights,
        input_channels: 1,
        output_channels: 1,
        groups: 1,
        window: Window { kernel, ..Window::POINT },
        weight_scales: &[1.0],
        bias: &[],
        input: ONE,
        output: ONE,
        clamp: Clamp::NONE,
        residual: None,
    }
}

fn convolve(spec: &ConvolutionSpec, input: &[u8], from: Shape) -> Vec<u8> {
    let convolution = Convolution::new(spec, Isa::Scalar).unwrap();
    let mut output = vec![0; convolution.output_shape(from).len()];
    convolution.run(input, from, None, &mut output);
    output
}

#[test]
fn a_convolution_sums_products_over_its_window() {
    let spec = plain(&[1, 2, 3, 4], [2, 2]);
    assert_eq!(convolve(&spec, &[1, 2, 3, 4, 5, 6], shape(2, 3, 1)), [37, 47]);
}

#[test]
fn padding_stands_for_zero_and_not_for_byte_zero() {
    let spec = ConvolutionSpec {
        window: Window { kernel: [1, 3], pads: [0, 1, 0, 1], ..Window::POINT },
        input: Quantization { scale: 1.0, zero_point: 10 },
        ..plain(&[1, 1, 1], [1, 3])
    };
    assert_eq!(convolve(&spec, &[11, 12], shape(1, 2, 1)), [3, 3]);
}

#[test]
fn strides_and_dilations_skip_pixels() {
    let input = [1, 2, 3, 4, 5, 6, 7];
    let spec = |strides, dilations| ConvolutionSpec {
        window: Window { kernel: [1, 2], strides, dilations, ..Window::POINT },
        ..plain(&[1, 10], [1, 2])
    };
    assert_eq!(convolve(&spec([1, 3], [1, 1]), &input, shape(1, 7, 1)), [21, 54]);
    assert_eq!(convolve(&spec([1, 1], [1, 4]), &input, shape(1, 7, 1)), [51, 62, 73]);
}

#[test]
fn pads_may_differ_on_every_side() {
    let spec = ConvolutionSpec {
        window: Window { pads: [0, 2, 1, 0], ..Window::POINT },
        ..plain(&[1], [1, 1])
    };
    assert_eq!(convolve(&spec, &[7], shape(1, 1, 1)), [0, 0, 7, 0, 0, 0]);
}

#[test]
fn the_result_is_scaled_rounded_to_even_shifted_and_saturated() {
    let spec = ConvolutionSpec {
        weight_scales: &[0.5],
        output: Quantization { scale: 1.0, zero_point: 100 },
        ..plain(&[1], [1, 1])
    };
    assert_eq!(convolve(&spec, &[1, 2, 3, 5, 255], shape(1, 5, 1)), [100, 101, 102, 102, 228]);
    let negative = ConvolutionSpec { weights: &[-1], ..spec };
    assert_eq!(convolve(&negative, &[1, 3, 255], shape(1, 3, 1)), [100, 98, 0]);
}

#[test]
fn the_clamp_limits_what_comes_out() {
    let spec = ConvolutionSpec { clamp: Clamp { low: 5, high: 9 }, ..plain(&[1], [1, 1]) };
    assert_eq!(convolve(&spec, &[1, 7, 200], shape(1, 3, 1)), [5, 7, 9]);
}

#[test]
fn every_output_channel_has_its_bias_and_its_scale() {
    let spec = ConvolutionSpec {
        output_channels: 2,
        bias: &[3, -3],
        weight_scales: &[1.0, 2.0],
        ..plain(&[1, 1], [1, 1])
    };
    assert_eq!(convolve(&spec, &[10], shape(1, 1, 1)), [13, 14]);
}

#[test]
fn a_group_sees_its_own_channels_only() {
    let grouped = ConvolutionSpec {
        input_channels: 4,
        output_channels: 2,
        groups: 2,
        ..plain(&[1; 4], [1, 1])
    };
    assert_eq!(convolve(&grouped, &[1, 2, 30, 40], shape(1, 1, 4)), [3, 70]);
    let depthwise = ConvolutionSpec {
        input_channels: 2,
        output_channels: 2,
        groups: 2,
        ..plain(&[2, 3], [1, 1])
    };
    assert_eq!(convolve(&depthwise, &[5, 7], shape(1, 1, 2)), [10, 21]);
}

#[test]
fn a_residual_is_added_to_what_the_convolution_alone_puts_out() {
    let add = AddSpec { first: ONE, second: ONE, output: ONE, clamp: Clamp::NONE };
    for convolution in [Operand::First, Operand::Second] {
        let spec = ConvolutionSpec {
            weight_scales: &[0.5],
            residual: Some(Residual { add, convolution }),
            ..plain(&[1], [1, 1])
        };
        let operator = Convolution::new(&spec, Isa::Scalar).unwrap();
        let mut output = [0; 3];
        // 0.5 rounds to 0 before the sum, 1.5 to 2; 127.5 to 128, and the sum saturates.
        operator.run(&[1, 3, 255], shape(1, 3, 1), Some(&[10, 10, 250]), &mut output);
        assert_eq!(output, [10, 12, 255]);
    }
}

#[test]
fn a_kernel_that_does_not_fit_puts_out_nothing() {
    let spec = plain(&[1; 9], [3, 3]);
    let operator = Convolution::new(&spec, Isa::Scalar).unwrap();
    assert!(operator.output_shape(shape(2, 5, 1)).is_empty());
    operator.run(&[0; 10], shape(2, 5, 1), None, &mut []);
}

#[test]
fn sums_wrap_around() {
    let spec = ConvolutionSpec { bias: &[i32::MAX], ..plain(&[1], [1, 1]) };
    assert_eq!(convolve(&spec, &[0, 1], shape(1, 2, 1)), [255, 0]);
}

#[test]
fn a_convolution_that_cannot_be_computed_is_refused() {
    let fine = plain(&[1], [1, 1]);
    let refused = |spec: ConvolutionSpec, why: &str| {
        let error = Convolution::new(&spec, Isa::Scalar).unwrap_err();
        assert!(error.contains(why), "{error}");
    };
    refused(ConvolutionSpec { weights: &[1, 2], ..fine }, "2 weights");
    refused(ConvolutionSpec { groups: 0, ..fine }, "0 groups");
    refused(ConvolutionSpec { groups: 2, ..fine }, "2 groups");
    refused(ConvolutionSpec { bias: &[1, 2], ..fine }, "2 biases");
    refused(ConvolutionSpec { weight_scales: &[1.0, 2.0], ..fine }, "2 scales");
    refused(ConvolutionSpec { weight_scales: &[-1.0], ..fine }, "-1");
    refused(
        ConvolutionSpec {
            weight_scales: &[f32::MAX],
            input: Quantization { scale: 9.0, zero_point: 0 },
            ..fine
        },
        "not finite",
    );
    refused(
        ConvolutionSpec { input: Quantization { scale: f32::NAN, zero_point: 0 }, ..fine },
        "NaN",
    );
    refused(
        ConvolutionSpec { output: Quantization { scale: 0.0, zero_point: 0 }, ..fine },
        "output is 0",
    );
    refused(ConvolutionSpec { clamp: Clamp { low: 2, high: 1 }, ..fine }, "clamp");
    let window = Window { strides: [0, 1], ..Window::POINT };
    refused(ConvolutionSpec { window, ..fine }, "strides");
    let other = Quantization { scale: 2.0, zero_point: 0 };
    let add = AddSpec { first: other, second: ONE, output: ONE, clamp: Clamp::NONE };
    let residual = Some(Residual { add, convolution: Operand::First });
    refused(ConvolutionSpec { residual, ..fine }, "residual");
}

#[test]
fn an_addition_weighs_its_operands_by_their_scales() {
    let spec = AddSpec {
        first: Quantization { scale: 2.0, zero_point: 10 },
        second: Quantization { scale: 1.0, zero_point: 0 },
        output: Quantization { scale: 4.0, zero_point: 1 },
        clamp: Clamp { low: 0, high: 60 },
    };
    let mut output = [0; 4];
    // 2 (a - 10) + b over 4, plus 1: 1.5 and 2.5 go to 2.
    let add = Add::new(&spec, Isa::Scalar).unwrap();
    add.run(&[10, 10, 0, 255], &[2, 6, 0, 255], &mut output);
    assert_eq!(output, [2, 2, 0, 60]);
}

#[test]
fn quantizing_divides_and_rounds_to_even() {
    let to = Quantization { scale: 0.5, zero_point: 100 };
    let mut output = [0; 7];
    let input = [0.0, 0.25, 0.75, -0.25, 1e9, -1e9, f32::NAN];
    Quantize::new(to, Isa::Scalar).unwrap().run(&input, &mut output);
    assert_eq!(output, [100, 100, 102, 100, 255, 0, 0]);
}

#[test]
fn requantizing_keeps_the_real_value_and_clamps() {
    let from = Quantization { scale: 1.0, zero_point: 10 };
    let to = Quantization { scale: 2.0, zero_point: 20 };
    let mut output = [0; 4];
    let clamp = Clamp { low: 20, high: 40 };
    Requantize::new(from, to, clamp).unwrap().run(&[10, 13, 0, 255], &mut output);
    assert_eq!(output, [20, 22, 20, 40]);
    Requantize::new(from, from, clamp).unwrap().run(&[10, 30, 0, 255], &mut output);
    assert_eq!(output, [20, 30, 20, 40]);
}

#[test]
fn a_concatenation_requantizes_what_differs() {
    let two = Quantization { scale: 2.0, zero_point: 0 };
    let concat = Concat::new(&[(1, two), (2, ONE)], ONE).unwrap();
    let mut output = [0; 6];
    concat.run(&[&[1, 2], &[3, 4, 5, 6]], 2, &mut output);
    assert_eq!(output, [2, 3, 4, 4, 5, 6]);
}

#[test]
fn a_linear_layer_puts_out_real_numbers() {
    let spec = FullyConnectedSpec {
        weights: &[1, 2, 3, -1, -2, -3],
        inputs: 3,
        outputs: 2,
        weight_scales: &[0.5, 0.25],
        input: Quantization { scale: 2.0, zero_point: 1 },
        bias: &[10, 20],
    };
    let mut output = [0.0; 2];
    FullyConnected::new(&spec, Isa::Scalar).unwrap().run(&[1, 2, 3], &mut output);
    assert_eq!(output, [18.0, 6.0]);
}

#[test]
fn an_average_counts_padding_only_when_asked_to() {
    let window = Window { kernel: [1, 2], pads: [0, 1, 0, 0], ..Window::POINT };
    let from = Quantization { scale: 1.0, zero_point: 1 };
    let average = |include| {
        let pool = AveragePool::new(window, include, from, ONE, Isa::Scalar).unwrap();
        let mut output = [0; 2];
        pool.run(&[9, 13], shape(1, 2, 1), &mut output);
        output
    };
    assert_eq!(average(true), [4, 10]);
    assert_eq!(average(false), [8, 10]);
}

#[test]
fn a_maximum_ignores_padding() {
    let window = Window { kernel: [2, 2], strides: [2, 2], pads: [1, 1, 0, 0], ..Window::POINT };
    let mut output = [0; 4];
    let pool = MaxPool::new(window, Isa::Scalar).unwrap();
    assert_eq!(pool.output_shape(shape(1, 3, 2)), shape(1, 2, 2));
    pool.run(&[1, 2, 3, 4, 5, 0], shape(1, 3, 2), &mut output);
    assert_eq!(output, [1, 2, 5, 4]);
}

#[test]
fn a_global_average_is_one_byte_a_channel() {
    let from = Quantization { scale: 1.0, zero_point: 10 };
    let to = Quantization { scale: 0.5, zero_point: 3 };
    let mut output = [0; 2];
    let pool = GlobalAveragePool::new(from, to, Isa::Scalar).unwrap();
    pool.run(&[10, 11, 12, 13], shape(2, 1, 2), &mut output);
    assert_eq!(output, [5, 7]);
}
