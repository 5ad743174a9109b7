//! What ONNX Runtime 1.31 with all its optimisations put out on x86 with AVX2, where other ways to
//! round would have put out something else.

use crate::int8::*;

/// Bits of the scales, zero points, operands, their sum, and what another order of rounding makes of
/// it.
type Case = ([u32; 3], [u8; 3], [u8; 2], u8, u8);

#[test]
fn sums_that_only_one_order_of_roundings_hits() {
    let cases: [Case; 6] = [
        ([0x3e2f_7622, 0x3e15_aa29, 0x3d3b_f224], [171, 117, 255], [196, 53], 144, 145),
        ([0x3f68_9b9e, 0x3e54_8d0b, 0x3e32_5a87], [215, 176, 180], [220, 53], 60, 59),
        ([0x3f68_9b9e, 0x3e54_8d0b, 0x3e32_5a87], [215, 176, 180], [171, 244], 31, 32),
        ([0x3d9c_9da6, 0x3f13_5247, 0x3f38_15a3], [136, 91, 172], [246, 97], 188, 189),
        ([0x3d09_fb09, 0x3e06_b082, 0x3d15_80fe], [146, 194, 100], [113, 237], 224, 225),
        ([0x3c0f_3071, 0x3d50_9f4e, 0x3c94_ee2a], [59, 242, 23], [199, 241], 87, 88),
    ];
    for (scales, zero_points, [a, b], sum, other) in cases {
        let quantization = |i: usize| Quantization {
            scale: f32::from_bits(scales[i]),
            zero_point: zero_points[i],
        };
        let spec = AddSpec {
            first: quantization(0),
            second: quantization(1),
            output: quantization(2),
            clamp: Clamp::NONE,
        };
        for isa in Isa::available() {
            let mut output = [0];
            Add::new(&spec, isa).unwrap().run(&[a], &[b], &mut output);
            assert_eq!(output, [sum], "{isa}: {a} + {b} is not {other}");
        }
    }
}

#[test]
fn averages_add_the_zero_point_before_they_round_unless_they_are_of_the_whole_picture() {
    let from = Quantization { scale: 1.0, zero_point: 0 };
    // Zero point, byte, its half in a part of the picture, in the whole of it.
    for (zero_point, byte, part, whole) in [(1, 1, 2, 1), (2, 1, 2, 2), (1, 3, 2, 3), (0, 1, 0, 0)]
    {
        let to = Quantization { scale: 2.0, zero_point };
        for isa in Isa::available() {
            let pool = AveragePool::new(Window::POINT, false, from, to, isa).unwrap();
            let average = |width: usize| {
                let mut output = vec![9; width];
                let shape = Shape { height: 1, width, channels: 1 };
                pool.run(&vec![byte; width], shape, &mut output);
                output
            };
            assert_eq!(average(3), [part; 3], "{isa}");
            assert_eq!(average(1), [whole], "{isa}");
        }
    }
}
