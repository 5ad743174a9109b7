//! Vector instructions in plain Rust, for tests only: the algorithms in the shapes of instruction
//! sets that the machine at hand may lack, with dot products of four bytes.

use super::{Kernel, ORIGIN, Output, Simd};
use crate::int8::Clamp;
use crate::int8::arithmetic::round_to_byte;

/// Registers of `L` lanes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Emulated<const L: usize>;

// SAFETY of every block below: memory is the caller's promise; all accesses are unaligned.
// Nothing is inlined: the unrolled tiles would take minutes to compile.
impl<const L: usize> Simd for Emulated<L> {
    type Element = u8;
    type Sum = [i32; L];
    type Scales = [f32; L];
    type Operand = [[u8; 4]; L];
    type Limits = (u8, Clamp);

    const LANES: usize = L;
    const GROUP: usize = 4;
    const HALVES: bool = L == 16;
    // Each shape of tile for one of them.
    const PANEL: usize = if L == 4 { 4 } else { 2 };

    #[inline(never)]
    fn run(self, kernel: impl Kernel) {
        kernel.run(self);
    }

    fn elements(bytes: &[u8]) -> Option<&[u8]> {
        Some(bytes)
    }

    fn element(byte: u8) -> u8 {
        byte
    }

    #[inline(never)]
    unsafe fn convert(self, from: *const u8, to: *mut u8, count: usize) {
        unsafe { from.copy_to_nonoverlapping(to, count) }
    }

    #[inline(never)]
    unsafe fn interleave(self, pixels: [*const u8; 4], to: *mut u8) {
        for lane in 0..L {
            for (row, pixel) in pixels.into_iter().enumerate() {
                unsafe { to.add(lane * 4 + row).write(pixel.add(lane).read()) }
            }
        }
    }

    #[inline(never)]
    unsafe fn sums(self, from: *const i32) -> [i32; L] {
        unsafe { from.cast::<[i32; L]>().read_unaligned() }
    }

    #[inline(never)]
    unsafe fn scales(self, from: *const f32) -> [f32; L] {
        unsafe { from.cast::<[f32; L]>().read_unaligned() }
    }

    #[inline(never)]
    unsafe fn weights(self, from: *const i8) -> [[u8; 4]; L] {
        unsafe { from.cast::<[[u8; 4]; L]>().read_unaligned() }
    }

    #[inline(never)]
    unsafe fn operand(self, from: *const u8) -> [[u8; 4]; L] {
        unsafe { from.cast::<[[u8; 4]; L]>().read_unaligned() }
    }

    #[inline(never)]
    unsafe fn broadcast(self, from: *const u8) -> [[u8; 4]; L] {
        unsafe { [from.cast::<[u8; 4]>().read_unaligned(); L] }
    }

    #[inline(never)]
    unsafe fn halves(self, upper: [[u8; 4]; L], lower: [[u8; 4]; L]) -> [[u8; 4]; L] {
        std::array::from_fn(|lane| {
            let ([.., c, d], [a, b, ..]) = (upper[lane], lower[lane]);
            [a, b, c, d]
        })
    }

    #[inline(never)]
    unsafe fn pairs<const LAST: bool>(self, [left, right]: [[[u8; 4]; L]; 2]) -> [[u8; 4]; L] {
        std::array::from_fn(|lane| {
            let ([a, b, c, d], [e, f, g, h]) = (left[lane], right[lane]);
            if LAST { [c, d, g, h] } else { [a, b, e, f] }
        })
    }

    #[inline(never)]
    unsafe fn dot(self, sum: [i32; L], elements: [[u8; 4]; L], weights: [[u8; 4]; L]) -> [i32; L] {
        std::array::from_fn(|lane| {
            let products = (0..4)
                .map(|i| i32::from(elements[lane][i]) * i32::from(weights[lane][i] as i8))
                .sum();
            sum[lane].wrapping_add(products)
        })
    }

    #[inline(never)]
    unsafe fn dot_half(
        self,
        sum: [i32; L],
        elements: [[u8; 4]; L],
        weights: [[u8; 4]; L],
    ) -> [i32; L] {
        let mut sums = unsafe { self.dot(sum, elements, weights) };
        sums[L / 2..].fill(i32::MIN);
        sums
    }

    #[inline(never)]
    unsafe fn joined(self, first: [i32; L], second: [i32; L]) -> [i32; L] {
        std::array::from_fn(
            |lane| {
                if lane < L / 2 { first[L / 2 + lane] } else { second[lane - L / 2] }
            },
        )
    }

    #[inline(never)]
    unsafe fn scale<const RAISED: bool>(self, sum: [i32; L], scale: [f32; L]) -> [i32; L] {
        std::array::from_fn(|lane| {
            let scaled = if RAISED {
                let sum = f32::from_bits(sum[lane].cast_unsigned());
                sum.mul_add(scale[lane], -ORIGIN * scale[lane])
            } else {
                sum[lane] as f32 * scale[lane]
            };
            scaled.round_ties_even() as i32
        })
    }

    #[inline(never)]
    unsafe fn store_floats(self, sum: [i32; L], scale: [f32; L], to: *mut f32) {
        for lane in 0..L {
            unsafe { to.add(lane).write_unaligned(sum[lane] as f32 * scale[lane]) }
        }
    }

    #[inline(never)]
    unsafe fn add(self, rounded: [i32; L], residual: *const u8, output: &Output) -> [i32; L] {
        let (adder, first) = output.residual.expect("there is one to be added");
        std::array::from_fn(|lane| {
            let own = round_to_byte(rounded[lane] as f32, output.zero_point, output.clamp);
            let other = unsafe { residual.add(lane).read() };
            let (a, b) = if first { (own, other) } else { (other, own) };
            i32::from(adder.apply(a, b))
        })
    }

    #[inline(never)]
    unsafe fn limits(self, zero_point: u8, clamp: Clamp) -> (u8, Clamp) {
        (zero_point, clamp)
    }

    #[inline(never)]
    unsafe fn store<const RAISED: bool>(
        self,
        sums: [[i32; L]; 4],
        (zero, clamp): (u8, Clamp),
        to: [*mut u8; 4],
    ) {
        for (sum, to) in sums.into_iter().zip(to) {
            for (lane, sum) in sum.into_iter().enumerate() {
                unsafe { to.add(lane).write(round_to_byte(sum as f32, zero, clamp)) }
            }
        }
    }
}
