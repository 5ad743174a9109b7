//! Convolutions and linear layers of every instruction set against the reference.

use proptest::prelude::*;

use super::random::{Random, vectorised};
use crate::int8::*;

/// The sizes of a convolution; everything else is drawn from the seed.
#[derive(Debug, Clone, Copy)]
struct Case {
    seed: u64,
    height: usize,
    width: usize,
    inputs: usize,
    outputs: usize,
    groups: usize,
    window: Window,
    residual: bool,
}

/// Runs a convolution on every instruction set and compares each byte with the reference's.
fn compare(case: Case) {
    let random = &mut Random(case.seed);
    let Case { height, width, inputs, outputs, groups, window, .. } = case;
    let depth = inputs / groups * window.kernel[0] * window.kernel[1];
    let weights = random.weights(outputs * depth);
    // Scaled so that a good part of the outputs is not saturated.
    let typical = 1.0 / (64.0 * (depth.max(1) as f32).sqrt());
    let weight_scales: Vec<f32> = match random.below(2) {
        0 => vec![random.scale() * typical],
        _ => (0..outputs).map(|_| random.scale() * typical).collect(),
    };
    let bias: Vec<i32> = match random.below(2) {
        0 => Vec::new(),
        _ => (0..outputs).map(|_| random.next() as i32 >> 16).collect(),
    };
    let (input, output) = (random.quantization(), random.quantization());
    let (a, b) = (random.quantization(), random.quantization());
    let clamp = random.clamp();
    let residual = case.residual.then(|| match random.below(2) {
        0 => Residual {
            add: AddSpec { first: output, second: a, output: b, clamp },
            convolution: Operand::First,
        },
        _ => Residual {
            add: AddSpec { first: a, second: output, output: b, clamp },
            convolution: Operand::Second,
        },
    });
    let spec = ConvolutionSpec {
        weights: &weights,
        input_channels: inputs,
        output_channels: outputs,
        groups,
        window,
        weight_scales: &weight_scales,
        bias: &bias,
        input,
        output,
        clamp: random.clamp(),
        residual,
    };
    let shape = Shape { height, width, channels: inputs };
    let bytes = random.bytes(shape.len());
    let other =
        random.bytes(Convolution::new(&spec, Isa::Scalar).unwrap().output_shape(shape).len());
    let other = residual.map(|_| &other[..]);
    let run = |isa| {
        let convolution = Convolution::new(&spec, isa).unwrap();
        let mut output = vec![77; convolution.output_shape(shape).len()];
        convolution.run(&bytes, shape, other, &mut output);
        output
    };
    let expected = run(Isa::Scalar);
    for isa in vectorised() {
        assert_eq!(run(isa), expected, "{isa}: {case:?}");
    }
}

fn pointwise(seed: u64, pixels: usize, inputs: usize, outputs: usize) -> Case {
    let window = Window::POINT;
    let residual = seed.is_multiple_of(3);
    Case { seed, height: 1, width: pixels, inputs, outputs, groups: 1, window, residual }
}

#[test]
fn these_instruction_sets_are_compared_with_the_reference() {
    let names: Vec<_> = vectorised().iter().map(|isa| isa.name()).collect();
    println!("compared with the reference on this machine: {}", names.join(", "));
    assert!(names.contains(&"emulated-4") && names.contains(&"emulated-16"));
}

#[test]
fn pointwise_convolutions_of_all_sizes_around_those_of_a_tile() {
    let mut seed = 0u64;
    for pixels in [0, 1, 2, 3, 4, 5, 6, 7, 11, 12, 13] {
        for inputs in [0, 1, 2, 3, 4, 5, 15, 16, 17, 33] {
            for outputs in [0, 1, 7, 8, 9, 15, 16, 17, 24, 31, 33, 40, 50, 56, 64, 65, 72] {
                seed += 1;
                compare(pointwise(seed, pixels, inputs, outputs));
            }
        }
    }
}

#[test]
fn pointwise_convolutions_of_more_pixels_than_one_run() {
    compare(pointwise(1, 1500, 19, 100));
    compare(pointwise(3, 1500, 32, 96));
}

#[test]
fn a_convolution_over_the_extremes_saturates_in_no_sum() {
    for (weight, byte, zero_point) in
        [(-128, 255, 0), (127, 255, 0), (-128, 0, 255), (127, 0, 255), (-127, 255, 0)]
    {
        for (inputs, groups, kernel) in [(48, 1, [1, 1]), (16, 1, [3, 3]), (16, 16, [3, 3])] {
            let weights = vec![weight; 16 * inputs / groups * kernel[0] * kernel[1]];
            let spec = ConvolutionSpec {
                weights: &weights,
                input_channels: inputs,
                output_channels: 16,
                groups,
                window: Window { kernel, ..Window::POINT },
                weight_scales: &[1e-4],
                bias: &[],
                input: Quantization { scale: 1.0, zero_point },
                output: Quantization { scale: 1.7, zero_point: 128 },
                clamp: Clamp::NONE,
                residual: None,
            };
            let shape = Shape { height: 4, width: 9, channels: inputs };
            let bytes = vec![byte; shape.len()];
            let run = |isa| {
                let convolution = Convolution::new(&spec, isa).unwrap();
                let mut output = vec![0; convolution.output_shape(shape).len()];
                convolution.run(&bytes, shape, None, &mut output);
                output
            };
            let expected = run(Isa::Scalar);
            for isa in vectorised() {
                assert_eq!(run(isa), expected, "{isa}: {weight} x {byte}");
            }
        }
    }
}

#[test]
fn sums_of_any_size_are_rounded_like_the_reference() {
    // The least and the most that the products add.
    const REACH: i32 = 255 * 128;
    const OUTPUTS: usize = 64;
    // Around them lie the ends of what can be raised, and where the raised bits are infinite, no
    // numbers, negative numbers, or counted in halves.
    let raisable = [
        i32::MIN + REACH,
        -0x4b80_0000,
        -0x4b00_0000,
        -(1 << 24),
        -(1 << 23),
        0,
        (1 << 23) - 1 - REACH,
    ];
    let beyond = [i32::MIN, 1 << 23, 1 << 24, i32::MAX];
    let random = &mut Random(3);
    for (round, depthwise) in (0..24).flat_map(|round| [(round, false), (round, true)]) {
        let all = [&raisable[..], &beyond[..]].concat();
        let ends = if round % 4 == 0 { &all[..] } else { &raisable[..] };
        let bias: Vec<i32> = (0..OUTPUTS).map(|_| random.pick(ends)).collect();
        let scales: Vec<f32> = (0..OUTPUTS)
            .map(|_| random.pick(&[0.25, 0.125, 0.3, 1e-3, 3e-5, 1e-7, 3e-8]))
            .collect();
        let inputs = if depthwise { OUTPUTS } else { 1 };
        let spec = ConvolutionSpec {
            weights: &random.weights(OUTPUTS),
            input_channels: inputs,
            output_channels: OUTPUTS,
            groups: inputs,
            window: Window::POINT,
            weight_scales: &scales,
            bias: &bias,
            input: Quantization { scale: 1.0, zero_point: random.pick(&[0, 100, 255]) },
            output: Quantization { scale: 1.0, zero_point: 0 },
            clamp: Clamp::NONE,
            residual: None,
        };
        let shape = Shape { height: 16, width: 16, channels: inputs };
        let bytes: Vec<u8> = (0..shape.len()).map(|i| (i / inputs) as u8).collect();
        let run = |isa| {
            let mut output = vec![77; shape.pixels() * OUTPUTS];
            Convolution::new(&spec, isa).unwrap().run(&bytes, shape, None, &mut output);
            output
        };
        let expected = run(Isa::Scalar);
        for isa in vectorised() {
            assert_eq!(run(isa), expected, "{isa}: round {round}, depthwise {depthwise}");
        }
    }
}

#[test]
fn sums_too_large_for_the_kernels_rounding_still_saturate() {
    let spec = ConvolutionSpec {
        weights: &[127; 32 * 8],
        input_channels: 32,
        output_channels: 8,
        groups: 1,
        window: Window::POINT,
        weight_scales: &[1e6],
        bias: &[],
        input: Quantization { scale: 1.0, zero_point: 128 },
        output: Quantization { scale: 1.0, zero_point: 3 },
        clamp: Clamp::NONE,
        residual: None,
    };
    for isa in Isa::available() {
        let convolution = Convolution::new(&spec, isa).unwrap();
        let mut output = [1; 24];
        let input: Vec<u8> = [[0; 32], [128; 32], [255; 32]].concat();
        let shape = Shape { height: 1, width: 3, channels: 32 };
        convolution.run(&input, shape, None, &mut output);
        assert_eq!(output, [[0u8; 8], [3; 8], [255; 8]].concat()[..], "{isa}");
    }
}

#[test]
fn depthwise_convolutions_of_the_usual_kinds() {
    let mut seed = 0u64;
    for kernel in [1, 2, 3, 5, 7] {
        for (stride, dilation) in [(1, 1), (2, 1), (1, 2), (1, 3), (3, 1), (2, 2)] {
            for (size, channels) in [(1, 8), (5, 17), (7, 16), (8, 7), (14, 33), (23, 1), (15, 40)]
            {
                seed += 1;
                let window = Window {
                    kernel: [kernel; 2],
                    strides: [stride; 2],
                    dilations: [dilation; 2],
                    pads: [seed % 3, seed % 4, seed % 5, seed % 2].map(|pad| pad as usize),
                };
                let residual = seed.is_multiple_of(4);
                compare(Case {
                    seed,
                    height: size,
                    width: size + (seed % 2) as usize,
                    inputs: channels,
                    outputs: channels,
                    groups: channels,
                    window,
                    residual,
                });
            }
        }
    }
}

#[test]
fn depthwise_convolutions_of_more_channels_than_are_interleaved_together() {
    for (stride, dilation) in [(1, 1), (2, 1), (1, 2)] {
        let window = Window {
            kernel: [5, 3],
            strides: [stride; 2],
            dilations: [dilation; 2],
            pads: [2, 1, 1, 0],
        };
        for (channels, residual) in [(24, true), (24, false), (150, false)] {
            compare(Case {
                seed: 5,
                height: 61,
                width: 70,
                inputs: channels,
                outputs: channels,
                groups: channels,
                window,
                residual,
            });
        }
    }
}

#[test]
fn dense_convolutions_with_padding_strides_and_dilations() {
    let mut seed = 0u64;
    for (inputs, outputs, groups) in [
        (3, 32, 1),
        (1, 1, 1),
        (4, 20, 1),
        (16, 16, 1),
        (17, 9, 1),
        // More weights than are multiplied with inputs where they lie.
        (48, 48, 1),
        (6, 4, 2),
        (8, 16, 8),
        (12, 24, 4),
    ] {
        for (stride, dilation) in [(1, 1), (2, 1), (1, 2), (3, 2)] {
            for kernel in [[3, 3], [1, 3], [2, 1], [5, 5]] {
                seed += 1;
                let window = Window {
                    kernel,
                    strides: [stride, 1 + stride % 2],
                    dilations: [dilation, 1],
                    pads: [seed % 3, seed % 4, seed % 5, seed % 2].map(|pad| pad as usize),
                };
                let (height, width, residual) = (11, 9, seed.is_multiple_of(4));
                compare(Case { seed, height, width, inputs, outputs, groups, window, residual });
            }
        }
    }
}

#[test]
fn linear_layers_of_all_sizes_around_those_of_a_tile() {
    let random = &mut Random(9);
    for inputs in [0, 1, 2, 3, 4, 31, 32, 33, 100] {
        for outputs in [0, 1, 7, 8, 9, 16, 17, 24, 31, 33, 40, 50, 56, 65] {
            let (weights, bytes) = (random.weights(inputs * outputs), random.bytes(inputs));
            let scales: Vec<f32> = (0..outputs).map(|_| random.scale()).collect();
            let bias: Vec<i32> = (0..outputs).map(|_| random.next() as i32 >> 8).collect();
            let spec = FullyConnectedSpec {
                weights: &weights,
                inputs,
                outputs,
                weight_scales: &scales,
                input: random.quantization(),
                bias: &bias,
            };
            let run = |isa| {
                let mut output = vec![f32::NAN; outputs];
                FullyConnected::new(&spec, isa).unwrap().run(&bytes, &mut output);
                output
            };
            let expected = run(Isa::Scalar);
            for isa in vectorised() {
                assert_eq!(run(isa), expected, "{isa}: {inputs} to {outputs}");
            }
        }
    }
}

proptest! {
    #[test]
    fn any_convolution(
        seed: u64,
        [height, width] in [0..20usize, 0..20usize],
        [depth, per_group, groups] in [1..20usize, 1..20usize, 1..4usize],
        depthwise: bool,
        kernel in [1..5usize, 1..5usize],
        strides in [1..4usize, 1..4usize],
        dilations in [1..4usize, 1..4usize],
        pads in [0..4usize, 0..4usize, 0..4usize, 0..4usize],
        residual: bool,
    ) {
        let (inputs, outputs, groups) = match depthwise {
            true => (depth * 3, depth * 3, depth * 3),
            false => (depth * groups, per_group * groups, groups),
        };
        let window = Window { kernel, strides, dilations, pads };
        compare(Case { seed, height, width, inputs, outputs, groups, window, residual });
    }
}
