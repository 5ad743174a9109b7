//! A depthwise convolution and the pointwise ones around it, as one operator and as several.

use super::random::{Random, vectorised};
use crate::int8::*;

/// The convolutions; what is not told is drawn from the seed.
#[derive(Debug, Clone, Copy)]
struct Case {
    seed: u64,
    /// Of the expansion, where there is one.
    inputs: Option<usize>,
    channels: usize,
    window: Window,
    /// Of the projection, where there is one; and whether it adds a residual.
    outputs: Option<(usize, bool)>,
}

/// An expansion, a depthwise convolution and a projection.
struct Convolutions {
    expansion: Option<Convolution>,
    depthwise: Convolution,
    projection: Option<Convolution>,
}

impl Convolutions {
    fn join(&self) -> Option<Separable> {
        Separable::of(self.expansion.as_ref(), &self.depthwise, self.projection.as_ref())
    }
}

impl Case {
    fn convolutions(self, isa: Isa) -> Convolutions {
        let Self { seed, channels, window, .. } = self;
        let random = &mut Random(seed);
        let [input, between, inner, output] = [(); 4].map(|()| random.quantization());
        let mut build = |[inputs, outputs]: [usize; 2], groups, window, [from, to]: [_; 2], add| {
            let window: Window = window;
            let depth = inputs / groups * window.kernel[0] * window.kernel[1];
            let bias: Vec<i32> = (0..outputs).map(|_| random.next() as i32 >> 16).collect();
            let mut clamp = random.clamp();
            // Padding is the zero point, which an expansion has to be able to put out.
            let to: Quantization = to;
            clamp.low = clamp.low.min(to.zero_point);
            clamp.high = clamp.high.max(to.zero_point);
            let add: Option<Quantization> = add;
            let spec = ConvolutionSpec {
                weights: &random.weights(outputs * depth),
                input_channels: inputs,
                output_channels: outputs,
                groups,
                window,
                weight_scales: &[random.scale() / (64.0 * (depth as f32).sqrt())],
                bias: &bias,
                input: from,
                output: to,
                clamp,
                residual: add.map(|second| Residual {
                    add: AddSpec { first: to, second, output: input, clamp: Clamp::NONE },
                    convolution: Operand::First,
                }),
            };
            Convolution::new(&spec, isa).unwrap()
        };
        let expansion = self
            .inputs
            .map(|inputs| build([inputs, channels], 1, Window::POINT, [input, between], None));
        let depthwise = build([channels; 2], channels, window, [between, inner], None);
        let projection = self.outputs.map(|(outputs, adds)| {
            build([channels, outputs], 1, Window::POINT, [inner, output], adds.then_some(between))
        });
        Convolutions { expansion, depthwise, projection }
    }

    /// Compares the one operator with the several on every instruction set that has it.
    fn compare(self, [height, width]: [usize; 2], threads: usize) {
        let channels = self.inputs.unwrap_or(self.channels);
        let shape = Shape { height, width, channels };
        let random = &mut Random(self.seed);
        let input = random.bytes(shape.len());
        for isa in vectorised() {
            let convolutions = self.convolutions(isa);
            let Some(joined) = convolutions.join() else {
                assert!(self.outputs.is_some() || isa != Isa::Emulated4, "{self:?}");
                assert!(![Isa::Emulated16, Isa::Avx512Vnni].contains(&isa), "{isa}: {self:?}");
                continue;
            };
            let Convolutions { expansion, depthwise, projection } = &convolutions;
            let (mut expected, mut to) = (input.clone(), shape);
            let mut run = |convolution: &Convolution, residual: Option<&[u8]>| {
                let from = to;
                to = convolution.output_shape(from);
                let mut output = vec![0; to.len()];
                convolution.run(&expected, from, residual, &mut output);
                expected = output;
            };
            expansion.iter().for_each(|expansion| run(expansion, None));
            run(depthwise, None);
            let length = joined.output_shape(shape).len();
            let residual = random.bytes(length);
            let adds = self.outputs.is_some_and(|(_, adds)| adds);
            let residual = adds.then_some(&residual[..]);
            projection.iter().for_each(|projection| run(projection, residual));
            assert_eq!(joined.output_shape(shape), to);
            let mut output = vec![77; length];
            let mut team = Team::new(threads).unwrap();
            team.install(|| joined.run(&input, shape, residual, &mut output));
            assert!(output == expected, "{isa}: {self:?} on {shape:?}");
        }
    }
}

fn window(kernel: usize, stride: usize, dilation: usize, pads: [usize; 4]) -> Window {
    Window { kernel: [kernel; 2], strides: [stride; 2], dilations: [dilation; 2], pads }
}

#[test]
fn one_operator_gives_the_bytes_of_the_several() {
    let mut seed = 0u64;
    for kernel in [1, 2, 3, 5, 7] {
        for (stride, dilation) in [(1, 1), (2, 1), (1, 2), (1, 3)] {
            for size in [[1, 1], [4, 3], [7, 7], [8, 14], [15, 9]] {
                for (expands, projects) in [(true, false), (false, true), (true, true)] {
                    seed += 1;
                    let pads = [seed % 3, seed % 4, seed % 5, seed % 2].map(|pad| pad as usize);
                    let random = &mut Random(seed);
                    let inputs = 4 * random.pick(&[1, 2, 5]);
                    let outputs = random.pick(&[1, 8, 16, 24, 40, 65]);
                    let case = Case {
                        seed,
                        inputs: expands.then_some(inputs),
                        channels: 16 * random.pick(&[1, 2, 3, 5, 9]),
                        window: window(kernel, stride, dilation, pads),
                        outputs: projects.then_some((outputs, seed.is_multiple_of(2))),
                    };
                    case.compare(size, 1);
                }
            }
        }
    }
}

#[test]
fn the_number_of_threads_changes_nothing() {
    for (seed, (kernel, stride, dilation)) in (1..).zip([(3, 1, 1), (5, 2, 1), (5, 1, 2)]) {
        for (inputs, channels, outputs) in [
            (Some(16), 16, None),
            (Some(16), 144, Some((24, true))),
            (None, 240, Some((40, false))),
        ] {
            let window = window(kernel, stride, dilation, [kernel / 2 * dilation; 4]);
            let case = Case { seed, inputs, channels, window, outputs };
            for threads in [2, 3, 16] {
                case.compare([29, 27], threads);
            }
        }
    }
}

#[test]
fn convolutions_that_do_not_fit_together_stay_several() {
    let isa = Isa::Emulated16;
    let fitting = Case {
        seed: 1,
        inputs: Some(8),
        channels: 32,
        window: window(3, 1, 1, [1; 4]),
        outputs: Some((8, false)),
    };
    assert!(fitting.convolutions(isa).join().is_some());
    let refused = |case: Case, isa| case.convolutions(isa).join().is_none();
    assert!(refused(fitting, Isa::Scalar), "the reference has no kernels");
    assert!(refused(fitting, Isa::Emulated4), "a projection of small registers");
    assert!(refused(Case { inputs: Some(7), ..fitting }, isa), "pixels that are no whole groups");
    assert!(refused(Case { channels: 40, ..fitting }, isa), "registers that overlap");
    assert!(refused(Case { window: window(3, 3, 1, [1; 4]), ..fitting }, isa), "a stride of 3");
    assert!(refused(Case { inputs: None, outputs: None, ..fitting }, isa), "nothing to be joined");
    let right = || fitting.convolutions(isa);
    let swapped = |wrong: Case, isa| {
        let Convolutions { expansion, depthwise, projection } = wrong.convolutions(isa);
        [
            Convolutions { expansion, ..right() }.join().is_none(),
            Convolutions { depthwise, ..right() }.join().is_none(),
            Convolutions { projection, ..right() }.join().is_none(),
        ]
    };
    assert_eq!(swapped(Case { channels: 48, ..fitting }, isa), [true; 3], "other channels");
    assert_eq!(swapped(fitting, Isa::Emulated4), [true; 3], "another instruction set");
    let [expansion, depthwise, _] = swapped(Case { seed: 2, ..fitting }, isa);
    assert!(expansion && depthwise, "another zero point");
    let Convolutions { expansion, depthwise, .. } = right();
    let wrong_way_round = Separable::of(Some(&depthwise), &expansion.unwrap(), None);
    assert!(wrong_way_round.is_none());
}
