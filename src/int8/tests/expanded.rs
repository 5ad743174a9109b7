//! A pointwise convolution and the depthwise one behind it, as one operator and as two.

use super::random::{Random, vectorised};
use crate::int8::*;

/// The two convolutions; what is not told is drawn from the seed.
#[derive(Debug, Clone, Copy)]
struct Case {
    seed: u64,
    inputs: usize,
    channels: usize,
    window: Window,
}

impl Case {
    fn convolutions(self, isa: Isa) -> [Convolution; 2] {
        let Self { seed, inputs, channels, window } = self;
        let random = &mut Random(seed);
        let taps = window.kernel[0] * window.kernel[1];
        let weights = [random.weights(channels * inputs), random.weights(channels * taps)];
        let scales = [inputs, taps].map(|depth| random.scale() / (64.0 * (depth as f32).sqrt()));
        let bias: Vec<i32> = (0..channels).map(|_| random.next() as i32 >> 16).collect();
        let [input, between, output] = [(); 3].map(|()| random.quantization());
        let mut clamp = random.clamp();
        // Padding is the zero point, which the expansion has to be able to put out.
        clamp.low = clamp.low.min(between.zero_point);
        clamp.high = clamp.high.max(between.zero_point);
        let expansion = ConvolutionSpec {
            weights: &weights[0],
            input_channels: inputs,
            output_channels: channels,
            groups: 1,
            window: Window::POINT,
            weight_scales: &scales[..1],
            bias: &bias,
            input,
            output: between,
            clamp,
            residual: None,
        };
        let depthwise = ConvolutionSpec {
            weights: &weights[1],
            input_channels: channels,
            groups: channels,
            window,
            weight_scales: &scales[1..],
            input: between,
            output,
            clamp: random.clamp(),
            ..expansion
        };
        [expansion, depthwise].map(|spec| Convolution::new(&spec, isa).unwrap())
    }

    /// Compares the one operator with the two on every instruction set that has it.
    fn compare(self, shape: Shape, threads: usize) {
        let input = Random(self.seed).bytes(shape.len());
        for isa in vectorised() {
            let [expansion, depthwise] = self.convolutions(isa);
            let Some(expanded) = Expanded::of(&expansion, &depthwise) else {
                assert!(![Isa::Emulated4, Isa::Emulated16, Isa::Avx512Vnni].contains(&isa));
                continue;
            };
            let middle = expansion.output_shape(shape);
            let to = depthwise.output_shape(middle);
            assert_eq!(expanded.output_shape(shape), to);
            let [mut between, mut expected] = [middle, to].map(|shape| vec![0; shape.len()]);
            let mut output = expected.clone();
            expansion.run(&input, shape, None, &mut between);
            depthwise.run(&between, middle, None, &mut expected);
            let mut team = Team::new(threads).unwrap();
            team.install(|| expanded.run(&input, shape, &mut output));
            assert_eq!(output, expected, "{isa}: {self:?} on {shape:?}");
        }
    }
}

fn window(kernel: usize, stride: usize, dilation: usize, pads: [usize; 4]) -> Window {
    Window { kernel: [kernel; 2], strides: [stride; 2], dilations: [dilation; 2], pads }
}

#[test]
fn one_operator_gives_the_bytes_of_the_two() {
    let mut seed = 0u64;
    for kernel in [1, 2, 3, 5, 7] {
        for (stride, dilation) in [(1, 1), (2, 1), (1, 2), (1, 3)] {
            for (height, width) in [(1, 1), (4, 3), (7, 7), (8, 14), (15, 9)] {
                seed += 1;
                let pads = [seed % 3, seed % 4, seed % 5, seed % 2].map(|pad| pad as usize);
                let random = &mut Random(seed);
                let (inputs, channels) =
                    (4 * random.pick(&[1, 2, 5]), 16 * random.pick(&[1, 2, 3, 5, 9]));
                let window = window(kernel, stride, dilation, pads);
                let shape = Shape { height, width, channels: inputs };
                Case { seed, inputs, channels, window }.compare(shape, 1);
            }
        }
    }
}

#[test]
fn the_number_of_threads_changes_nothing() {
    for (seed, (kernel, stride, dilation)) in (1..).zip([(3, 1, 1), (5, 2, 1), (5, 1, 2)]) {
        for channels in [16, 144, 240] {
            let window = window(kernel, stride, dilation, [kernel / 2 * dilation; 4]);
            let case = Case { seed, inputs: 16, channels, window };
            for threads in [2, 3, 16] {
                case.compare(Shape { height: 29, width: 27, channels: 16 }, threads);
            }
        }
    }
}

#[test]
fn convolutions_that_do_not_fit_together_stay_two() {
    let isa = Isa::Emulated16;
    let fitting = Case { seed: 1, inputs: 8, channels: 32, window: window(3, 1, 1, [1; 4]) };
    let [expansion, depthwise] = fitting.convolutions(isa);
    assert!(Expanded::of(&expansion, &depthwise).is_some());
    let refused = |case: Case, isa| {
        let [expansion, depthwise] = case.convolutions(isa);
        Expanded::of(&expansion, &depthwise).is_none()
    };
    assert!(refused(fitting, Isa::Scalar), "the reference has no kernels");
    assert!(refused(Case { inputs: 7, ..fitting }, isa), "pixels that are no whole groups");
    assert!(refused(Case { channels: 40, ..fitting }, isa), "registers that overlap");
    assert!(refused(Case { window: window(3, 3, 1, [1; 4]), ..fitting }, isa), "a stride of 3");
    assert!(Expanded::of(&depthwise, &expansion).is_none(), "the wrong way round");
    let [other, _] = Case { channels: 48, ..fitting }.convolutions(isa);
    assert!(Expanded::of(&other, &depthwise).is_none(), "other channels");
    let [_, other] = Case { seed: 2, ..fitting }.convolutions(isa);
    assert!(Expanded::of(&expansion, &other).is_none(), "another zero point");
    let [_, other] = fitting.convolutions(Isa::Emulated4);
    assert!(Expanded::of(&expansion, &other).is_none(), "another instruction set");
}
