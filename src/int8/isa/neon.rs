//! NEON, as every aarch64 machine has it. Inputs are signed bytes, 128 less than the unsigned ones:
//! `smull` then takes them with the weights as they are. Each product is added with its neighbour
//! in 32 bits: in 16, as `smlal` would do it, two products of -128 by -128 overflow.

use std::arch::aarch64::*;

use super::{Kernel, ORIGIN, Output, Simd};
use crate::int8::Clamp;

/// Proof that the machine has NEON.
#[derive(Debug, Clone, Copy)]
pub(super) struct Neon(());

impl Neon {
    pub fn detect() -> Option<Self> {
        std::arch::is_aarch64_feature_detected!("neon").then_some(Self(()))
    }
}

// SAFETY of every block below: that the machine has the instructions is what a `Neon` says; memory
// is the caller's promise, and no access needs alignment.
impl Simd for Neon {
    type Element = i8;
    type Sum = int32x4x2_t;
    type Scales = float32x4x2_t;
    type Operand = int8x16_t;
    type Limits = (int16x8_t, uint8x16_t, uint8x16_t);

    const LANES: usize = 8;
    const GROUP: usize = 2;
    const PANEL: usize = 2;

    fn run(self, kernel: impl Kernel) {
        #[inline(never)]
        #[target_feature(enable = "neon")]
        fn inner(simd: Neon, kernel: impl Kernel) {
            kernel.run(simd);
        }
        // SAFETY: there is a `Neon` only where the feature was detected.
        unsafe { inner(self, kernel) }
    }

    #[inline(always)]
    fn elements(_: &[u8]) -> Option<&[i8]> {
        None
    }

    #[inline(always)]
    fn element(byte: u8) -> i8 {
        (byte ^ 0x80) as i8
    }

    #[inline(always)]
    unsafe fn convert(self, from: *const u8, to: *mut i8, count: usize) {
        unsafe {
            let to = to.cast::<u8>();
            // The last vector overlaps the one before it.
            let mut i = 0;
            if count >= 16 {
                while i < count {
                    let at = i.min(count - 16);
                    vst1q_u8(to.add(at), veorq_u8(vld1q_u8(from.add(at)), vdupq_n_u8(0x80)));
                    i += 16;
                }
            } else if count >= 8 {
                let (first, last) = (vld1_u8(from), vld1_u8(from.add(count - 8)));
                vst1_u8(to, veor_u8(first, vdup_n_u8(0x80)));
                vst1_u8(to.add(count - 8), veor_u8(last, vdup_n_u8(0x80)));
            } else {
                for i in 0..count {
                    *to.add(i) = *from.add(i) ^ 0x80;
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn interleave(self, pixels: [*const u8; 4], to: *mut i8) {
        unsafe {
            let (a, b) = (vld1_u8(pixels[0]), vld1_u8(pixels[1]));
            let groups = vcombine_u8(vzip1_u8(a, b), vzip2_u8(a, b));
            vst1q_u8(to.cast(), veorq_u8(groups, vdupq_n_u8(0x80)));
        }
    }

    #[inline(always)]
    unsafe fn sums(self, from: *const i32) -> int32x4x2_t {
        unsafe { int32x4x2_t(vld1q_s32(from), vld1q_s32(from.add(4))) }
    }

    #[inline(always)]
    unsafe fn scales(self, from: *const f32) -> float32x4x2_t {
        unsafe { float32x4x2_t(vld1q_f32(from), vld1q_f32(from.add(4))) }
    }

    #[inline(always)]
    unsafe fn weights(self, from: *const i8) -> int8x16_t {
        unsafe { vld1q_s8(from) }
    }

    #[inline(always)]
    unsafe fn operand(self, from: *const i8) -> int8x16_t {
        unsafe { vld1q_s8(from) }
    }

    #[inline(always)]
    unsafe fn broadcast(self, from: *const i8) -> int8x16_t {
        unsafe { vreinterpretq_s8_s16(vdupq_n_s16(from.cast::<i16>().read_unaligned())) }
    }

    #[inline(always)]
    unsafe fn dot(self, sum: int32x4x2_t, elements: int8x16_t, weights: int8x16_t) -> int32x4x2_t {
        unsafe {
            let first = vmull_s8(vget_low_s8(elements), vget_low_s8(weights));
            let second = vmull_high_s8(elements, weights);
            int32x4x2_t(vpadalq_s16(sum.0, first), vpadalq_s16(sum.1, second))
        }
    }

    #[inline(always)]
    unsafe fn scale<const RAISED: bool>(
        self,
        sum: int32x4x2_t,
        scale: float32x4x2_t,
    ) -> int32x4x2_t {
        unsafe { int32x4x2_t(rounded::<RAISED>(sum.0, scale.0), rounded::<RAISED>(sum.1, scale.1)) }
    }

    #[inline(always)]
    unsafe fn store_floats(self, sum: int32x4x2_t, scale: float32x4x2_t, to: *mut f32) {
        unsafe {
            vst1q_f32(to, vmulq_f32(vcvtq_f32_s32(sum.0), scale.0));
            vst1q_f32(to.add(4), vmulq_f32(vcvtq_f32_s32(sum.1), scale.1));
        }
    }

    #[inline(always)]
    unsafe fn add(self, rounded: int32x4x2_t, residual: *const u8, output: &Output) -> int32x4x2_t {
        unsafe {
            let other = vmovl_u8(vld1_u8(residual));
            int32x4x2_t(
                add(rounded.0, vmovl_u16(vget_low_u16(other)), output),
                add(rounded.1, vmovl_high_u16(other), output),
            )
        }
    }

    #[inline(always)]
    unsafe fn limits(self, zero_point: u8, clamp: Clamp) -> Self::Limits {
        unsafe { (vdupq_n_s16(zero_point.into()), vdupq_n_u8(clamp.low), vdupq_n_u8(clamp.high)) }
    }

    #[inline(always)]
    unsafe fn store<const RAISED: bool>(
        self,
        sums: [int32x4x2_t; 4],
        limits: Self::Limits,
        to: [*mut u8; 4],
    ) {
        unsafe {
            store([sums[0], sums[1]], limits, [to[0], to[1]]);
            store([sums[2], sums[3]], limits, [to[2], to[3]]);
        }
    }
}

/// What [`Simd::scale`] makes of four sums.
#[inline(always)]
unsafe fn rounded<const RAISED: bool>(sum: int32x4_t, scale: float32x4_t) -> int32x4_t {
    unsafe {
        vcvtnq_s32_f32(if RAISED {
            let origin = vmulq_n_f32(scale, -ORIGIN);
            vfmaq_f32(origin, vreinterpretq_f32_s32(sum), scale)
        } else {
            vmulq_f32(vcvtq_f32_s32(sum), scale)
        })
    }
}

/// Adds four bytes of a residual.
#[inline(always)]
unsafe fn add(rounded: int32x4_t, residual: uint32x4_t, output: &Output) -> int32x4_t {
    let Some((adder, first)) = &output.residual else { return rounded };
    unsafe {
        let byte = vaddq_s32(rounded, vdupq_n_s32(output.zero_point.into()));
        let byte = vmaxq_s32(byte, vdupq_n_s32(output.clamp.low.into()));
        let byte = vminq_s32(byte, vdupq_n_s32(output.clamp.high.into()));
        let (own, other) = (vcvtq_f32_s32(byte), vcvtq_f32_u32(residual));
        let (a, b) = if *first { (own, other) } else { (other, own) };
        let sum = vfmaq_n_f32(vdupq_n_f32(adder.constant), b, adder.second);
        vcvtnq_s32_f32(vfmaq_n_f32(sum, a, adder.first))
    }
}

/// Stores eight bytes of each of two sums.
#[inline(always)]
unsafe fn store(
    sums: [int32x4x2_t; 2],
    (zero_point, lowest, highest): (int16x8_t, uint8x16_t, uint8x16_t),
    to: [*mut u8; 2],
) {
    unsafe {
        let words =
            |sum: int32x4x2_t| vqaddq_s16(vqmovn_high_s32(vqmovn_s32(sum.0), sum.1), zero_point);
        let bytes = vqmovun_high_s16(vqmovun_s16(words(sums[0])), words(sums[1]));
        let bytes = vminq_u8(vmaxq_u8(bytes, lowest), highest);
        vst1_u8(to[0], vget_low_u8(bytes));
        vst1_u8(to[1], vget_high_u8(bytes));
    }
}

/// What [`Simd::halves`] is with groups of four.
///
/// # Safety
/// As for [`Simd`].
#[inline(always)]
pub(super) unsafe fn halves(upper: int8x16x2_t, lower: int8x16x2_t) -> int8x16x2_t {
    unsafe {
        let first = vreinterpretq_u8_u32(vdupq_n_u32(0xffff));
        int8x16x2_t(vbslq_s8(first, lower.0, upper.0), vbslq_s8(first, lower.1, upper.1))
    }
}
