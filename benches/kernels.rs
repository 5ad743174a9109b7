//! The layers of EfficientNet-Lite0 at 224 x 224, one by one: `cargo bench --bench kernels`.
//!
//! Throughput is in multiply-accumulates (shown as items) a second, on one thread; the peak of the
//! multiplying instructions, which it is to be compared with, comes first. `CAMLIVE_ISA` names the
//! instruction set.

use camlive::int8::{
    AddSpec, Clamp, Convolution, ConvolutionSpec, FullyConnected, FullyConnectedSpec, Isa, Operand,
    Quantization, Residual, Separable, Shape, Window,
};
use divan::Bencher;
use divan::counter::ItemsCount;

fn main() {
    if let Some(peak) = isa().peak() {
        println!("peak on {}: {:.1} Gitem/s", isa(), peak / 1e9);
    }
    divan::main();
}

const REAL: Quantization = Quantization { scale: 0.02, zero_point: 0 };
const BYTES: Quantization = Quantization { scale: 0.05, zero_point: 128 };

/// A convolution of a square picture.
#[derive(Debug, Clone, Copy)]
struct Layer {
    size: usize,
    inputs: usize,
    outputs: usize,
    kernel: usize,
    stride: usize,
}

impl std::fmt::Display for Layer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { size, inputs, outputs, kernel, stride } = self;
        write!(f, "{size}x{size}x{inputs} to {outputs}, {kernel}x{kernel} / {stride}")
    }
}

const fn layer(size: usize, inputs: usize, outputs: usize, kernel: usize, stride: usize) -> Layer {
    Layer { size, inputs, outputs, kernel, stride }
}

fn convolution(layer: Layer, groups: usize, input: Quantization, residual: bool) -> Convolution {
    let Layer { inputs, outputs, kernel, stride, .. } = layer;
    let depth = inputs / groups * kernel * kernel;
    let weights: Vec<i8> = (0..outputs * depth).map(|i| (i * 7919 % 255) as u8 as i8).collect();
    let padding = kernel.saturating_sub(stride);
    let (before, after) = (padding / 2, padding - padding / 2);
    let add = AddSpec { first: REAL, second: BYTES, output: BYTES, clamp: Clamp::NONE };
    let spec = ConvolutionSpec {
        weights: &weights,
        input_channels: inputs,
        output_channels: outputs,
        groups,
        window: Window {
            kernel: [kernel; 2],
            strides: [stride; 2],
            dilations: [1, 1],
            pads: [before, before, after, after],
        },
        weight_scales: &[0.01 / depth as f32],
        bias: &[],
        input,
        output: BYTES,
        clamp: Clamp::NONE,
        residual: residual.then_some(Residual { add, convolution: Operand::Second }),
    };
    Convolution::new(&spec, isa()).unwrap()
}

fn bench(bencher: Bencher, layer: Layer, groups: usize, residual: bool) {
    let convolution = convolution(layer, groups, REAL, residual);
    let shape = Shape { height: layer.size, width: layer.size, channels: layer.inputs };
    let input: Vec<u8> = (0..shape.len()).map(|i| (i * 31) as u8).collect();
    let to = convolution.output_shape(shape);
    let (mut output, other) = (vec![0; to.len()], vec![7; to.len()]);
    let other = residual.then_some(&other[..]);
    bencher
        .counter(ItemsCount::new(to.len() * convolution.depth()))
        .bench_local(|| convolution.run(&input, shape, other, &mut output));
}

#[divan::bench(args = [
    layer(112, 32, 16, 1, 1), layer(112, 16, 96, 1, 1), layer(56, 96, 24, 1, 1),
    layer(56, 24, 144, 1, 1), layer(28, 144, 40, 1, 1), layer(28, 40, 240, 1, 1),
    layer(14, 240, 80, 1, 1), layer(14, 80, 480, 1, 1), layer(14, 480, 112, 1, 1),
    layer(14, 112, 672, 1, 1), layer(7, 672, 192, 1, 1), layer(7, 192, 1152, 1, 1),
    layer(7, 1152, 320, 1, 1), layer(7, 320, 1280, 1, 1),
])]
fn pointwise(bencher: Bencher, layer: Layer) {
    bench(bencher, layer, 1, false);
}

#[divan::bench(args = [
    layer(56, 144, 24, 1, 1), layer(28, 240, 40, 1, 1), layer(14, 480, 80, 1, 1),
    layer(14, 672, 112, 1, 1), layer(7, 1152, 192, 1, 1),
])]
fn pointwise_with_residual(bencher: Bencher, layer: Layer) {
    bench(bencher, layer, 1, true);
}

#[divan::bench(args = [
    layer(112, 32, 32, 3, 1), layer(112, 96, 96, 3, 2), layer(56, 144, 144, 3, 1),
    layer(56, 144, 144, 5, 2), layer(28, 240, 240, 5, 1), layer(28, 240, 240, 3, 2),
    layer(14, 480, 480, 3, 1), layer(14, 480, 480, 5, 1), layer(14, 672, 672, 5, 1),
    layer(14, 672, 672, 5, 2), layer(7, 1152, 1152, 5, 1), layer(7, 1152, 1152, 3, 1),
])]
fn depthwise(bencher: Bencher, layer: Layer) {
    bench(bencher, layer, layer.inputs, false);
}

/// An expansion, a depthwise convolution, whose kernel is told, and a projection back on as many
/// channels. Nothing is measured on instruction sets that have no such operator.
#[divan::bench(args = [
    layer(112, 16, 96, 3, 2), layer(56, 24, 144, 3, 1), layer(56, 24, 144, 5, 2),
    layer(28, 40, 240, 5, 1), layer(28, 40, 240, 3, 2),
])]
fn separable(bencher: Bencher, layer: Layer) {
    let expansion = convolution(Layer { kernel: 1, stride: 1, ..layer }, 1, REAL, false);
    let behind = Layer { inputs: layer.outputs, ..layer };
    let depthwise = convolution(behind, behind.inputs, BYTES, false);
    let back = Layer { outputs: layer.inputs, kernel: 1, stride: 1, ..behind };
    let projection = convolution(back, 1, BYTES, false);
    let Some(separable) = Separable::of(Some(&expansion), &depthwise, Some(&projection)) else {
        return;
    };
    let shape = Shape { height: layer.size, width: layer.size, channels: layer.inputs };
    let input: Vec<u8> = (0..shape.len()).map(|i| (i * 31) as u8).collect();
    let mut output = vec![0; separable.output_shape(shape).len()];
    bencher
        .counter(ItemsCount::new(separable.multiplications(shape)))
        .bench_local(|| separable.run(&input, shape, None, &mut output));
}

#[divan::bench(args = [layer(224, 3, 32, 3, 2), layer(28, 64, 64, 3, 1)])]
fn dense(bencher: Bencher, layer: Layer) {
    bench(bencher, layer, 1, false);
}

#[divan::bench]
fn linear_1280_to_1000(bencher: Bencher) {
    let weights: Vec<i8> = (0..1_280_000).map(|i| (i * 7919 % 255) as u8 as i8).collect();
    let spec = FullyConnectedSpec {
        weights: &weights,
        inputs: 1280,
        outputs: 1000,
        weight_scales: &[0.01],
        input: REAL,
        bias: &[],
    };
    let isa = isa();
    let layer = FullyConnected::new(&spec, isa).unwrap();
    let (input, mut output) = (vec![9; 1280], vec![0.0; 1000]);
    bencher.counter(ItemsCount::new(weights.len())).bench_local(|| layer.run(&input, &mut output));
}

fn isa() -> Isa {
    Isa::from_env().unwrap_or_else(|error| panic!("{error}")).unwrap_or(Isa::Scalar)
}
