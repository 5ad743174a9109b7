//! The number of threads changes nothing.

use super::random::Random;
use crate::int8::*;

fn same_in_every_pool(spec: &ConvolutionSpec, shape: Shape) {
    let random = &mut Random(6);
    let input = random.bytes(shape.len());
    for isa in Isa::available() {
        let convolution = Convolution::new(spec, isa).unwrap();
        let to = convolution.output_shape(shape);
        let run = |threads| {
            let mut team = Team::new(threads).unwrap();
            let mut output = vec![0; to.len()];
            team.install(|| convolution.run(&input, shape, None, &mut output));
            output
        };
        let expected = run(1);
        for threads in [2, 3, 16] {
            assert_eq!(run(threads), expected, "{isa} on {threads} threads");
        }
    }
}

#[test]
fn a_linear_layer_is_the_same_on_any_number_of_threads() {
    let random = &mut Random(8);
    let (inputs, outputs) = (600, 300);
    let (input, weights) = (random.bytes(inputs), random.weights(inputs * outputs));
    for isa in Isa::available() {
        let spec = FullyConnectedSpec {
            weights: &weights,
            inputs,
            outputs,
            weight_scales: &[0.001],
            input: Quantization { scale: 0.1, zero_point: 100 },
            bias: &[],
        };
        let layer = FullyConnected::new(&spec, isa).unwrap();
        let run = |threads| {
            let mut team = Team::new(threads).unwrap();
            let mut output = vec![0.0; outputs];
            team.install(|| layer.run(&input, &mut output));
            output
        };
        let expected = run(1);
        for threads in [2, 3, 16] {
            assert_eq!(run(threads), expected, "{isa} on {threads} threads");
        }
    }
}

#[test]
fn a_convolution_is_the_same_on_any_number_of_threads() {
    let random = &mut Random(7);
    let weights = random.weights(64 * 64);
    let quantization = Quantization { scale: 0.1, zero_point: 100 };
    let pointwise = ConvolutionSpec {
        weights: &weights,
        input_channels: 64,
        output_channels: 64,
        groups: 1,
        window: Window::POINT,
        weight_scales: &[0.001],
        bias: &[],
        input: quantization,
        output: quantization,
        clamp: Clamp::NONE,
        residual: None,
    };
    same_in_every_pool(&pointwise, Shape { height: 13, width: 19, channels: 64 });
    for (stride, dilation) in [(1, 1), (2, 1), (1, 2)] {
        let depthwise = ConvolutionSpec {
            weights: &weights[..64 * 25],
            groups: 64,
            window: Window {
                kernel: [5, 5],
                strides: [stride; 2],
                dilations: [dilation; 2],
                pads: [2; 4],
            },
            ..pointwise
        };
        same_in_every_pool(&depthwise, Shape { height: 41, width: 39, channels: 64 });
    }
}
