//! Every other operator of every instruction set against the reference.

use proptest::prelude::*;

use super::random::{Random, vectorised};
use crate::int8::*;

/// What `run` puts out on every instruction set is what it puts out on the scalar one.
fn compare(output: usize, what: &str, run: impl Fn(Isa, &mut [u8])) {
    let mut expected = vec![1; output];
    run(Isa::Scalar, &mut expected);
    for isa in vectorised() {
        let mut actual = vec![2; output];
        run(isa, &mut actual);
        assert_eq!(actual, expected, "{isa}: {what}");
    }
}

#[test]
fn the_sum_of_every_pair_of_bytes() {
    let random = &mut Random(3);
    let first: Vec<u8> = (0..=255).flat_map(|byte| [byte; 256]).collect();
    let second: Vec<u8> = (0..256).flat_map(|_| 0..=255).collect();
    for _ in 0..20 {
        let spec = AddSpec {
            first: random.quantization(),
            second: random.quantization(),
            output: random.quantization(),
            clamp: random.clamp(),
        };
        compare(first.len(), &format!("{spec:?}"), |isa, output| {
            Add::new(&spec, isa).unwrap().run(&first, &second, output);
        });
    }
}

#[test]
fn numbers_of_every_magnitude_quantize_alike() {
    let random = &mut Random(4);
    for count in [0, 1, 7, 8, 9, 1000] {
        let to = random.quantization();
        let special = [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MIN_POSITIVE];
        let input: Vec<f32> = (0..count)
            .map(|_| match random.below(3) {
                0 => random.pick(&special),
                1 => f32::from_bits(random.next() as u32),
                _ => (random.below(600) as f32 - 300.5) * to.scale,
            })
            .collect();
        compare(count, &format!("{to:?}"), |isa, output| {
            Quantize::new(to, isa).unwrap().run(&input, output);
        });
    }
}

#[test]
fn global_averages_of_every_size() {
    let random = &mut Random(5);
    for pixels in [1, 2, 49, 300] {
        for channels in [0, 1, 7, 63, 64, 65, 200] {
            let (from, to) = (random.quantization(), random.quantization());
            let shape = Shape { height: 1, width: pixels, channels };
            let input = random.bytes(shape.len());
            compare(channels, &format!("{shape:?}"), |isa, output| {
                GlobalAveragePool::new(from, to, isa).unwrap().run(&input, shape, output);
            });
        }
    }
}

proptest! {
    #[test]
    fn any_pool(
        seed: u64,
        [height, width, channels] in [0..12usize, 0..12usize, 0..70usize],
        kernel in [1..5usize, 1..5usize],
        strides in [1..4usize, 1..4usize],
        dilations in [1..3usize, 1..3usize],
        pads in [0..4usize, 0..4usize, 0..4usize, 0..4usize],
        include: bool,
    ) {
        let pads = std::array::from_fn(|side| pads[side].min(kernel[side % 2] - 1));
        let window = Window { kernel, strides, dilations, pads };
        let shape = Shape { height, width, channels };
        let random = &mut Random(seed);
        let (input, from, to) =
            (random.bytes(shape.len()), random.quantization(), random.quantization());
        let maximum = MaxPool::new(window, Isa::Scalar).unwrap();
        compare(maximum.output_shape(shape).len(), "maximum", |isa, output| {
            MaxPool::new(window, isa).unwrap().run(&input, shape, output);
        });
        let window = Window { dilations: [1, 1], ..window };
        let average = AveragePool::new(window, include, from, to, Isa::Scalar).unwrap();
        compare(average.output_shape(shape).len(), "average", |isa, output| {
            AveragePool::new(window, include, from, to, isa).unwrap().run(&input, shape, output);
        });
    }
}
