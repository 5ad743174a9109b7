//! NEON with `usdot`, the dot product of four unsigned by four signed bytes.

use std::arch::aarch64::*;
use std::arch::asm;

use super::neon::{Neon, halves};
use super::{Kernel, Output, Simd, copy};
use crate::int8::Clamp;

/// Proof that the machine has NEON and the 8-bit matrix instructions.
#[derive(Debug, Clone, Copy)]
pub(super) struct NeonI8mm(Neon);

impl NeonI8mm {
    pub fn detect() -> Option<Self> {
        Neon::detect().filter(|_| std::arch::is_aarch64_feature_detected!("i8mm")).map(Self)
    }
}

// SAFETY of every block below: that the machine has the instructions is what a `NeonI8mm` says;
// memory is the caller's promise, and no access needs alignment.
impl Simd for NeonI8mm {
    type Element = u8;
    type Sum = int32x4x2_t;
    type Scales = float32x4x2_t;
    type Operand = int8x16x2_t;
    type Limits = <Neon as Simd>::Limits;

    const LANES: usize = 8;
    const GROUP: usize = 4;
    const PANEL: usize = 2;

    fn run(self, kernel: impl Kernel) {
        #[inline(never)]
        #[target_feature(enable = "neon,i8mm")]
        fn inner(simd: NeonI8mm, kernel: impl Kernel) {
            kernel.run(simd);
        }
        // SAFETY: there is a `NeonI8mm` only where these features were detected.
        unsafe { inner(self, kernel) }
    }

    #[inline(always)]
    fn elements(bytes: &[u8]) -> Option<&[u8]> {
        Some(bytes)
    }

    #[inline(always)]
    fn element(byte: u8) -> u8 {
        byte
    }

    #[inline(always)]
    unsafe fn convert(self, from: *const u8, to: *mut u8, count: usize) {
        unsafe { copy(from, to, count) }
    }

    #[inline(always)]
    unsafe fn interleave(self, pixels: [*const u8; 4], to: *mut u8) {
        unsafe {
            let row = |i: usize| vcombine_u8(vld1_u8(pixels[i]), vdup_n_u8(0));
            let upper = vreinterpretq_u16_u8(vzip1q_u8(row(0), row(1)));
            let lower = vreinterpretq_u16_u8(vzip1q_u8(row(2), row(3)));
            let first = vreinterpretq_u8_u16(vzip1q_u16(upper, lower));
            let second = vreinterpretq_u8_u16(vzip2q_u16(upper, lower));
            vst1q_u8(to, first);
            vst1q_u8(to.add(16), second);
        }
    }

    #[inline(always)]
    unsafe fn sums(self, from: *const i32) -> int32x4x2_t {
        unsafe { self.0.sums(from) }
    }

    #[inline(always)]
    unsafe fn scales(self, from: *const f32) -> float32x4x2_t {
        unsafe { self.0.scales(from) }
    }

    #[inline(always)]
    unsafe fn weights(self, from: *const i8) -> int8x16x2_t {
        unsafe { int8x16x2_t(vld1q_s8(from), vld1q_s8(from.add(16))) }
    }

    #[inline(always)]
    unsafe fn operand(self, from: *const u8) -> int8x16x2_t {
        unsafe { self.weights(from.cast()) }
    }

    #[inline(always)]
    unsafe fn broadcast(self, from: *const u8) -> int8x16x2_t {
        unsafe {
            let group = vdupq_n_s32(from.cast::<i32>().read_unaligned());
            int8x16x2_t(vreinterpretq_s8_s32(group), vreinterpretq_s8_s32(group))
        }
    }

    #[inline(always)]
    unsafe fn halves(self, upper: int8x16x2_t, lower: int8x16x2_t) -> int8x16x2_t {
        unsafe { halves(upper, lower) }
    }

    #[inline(always)]
    unsafe fn dot(
        self,
        sum: int32x4x2_t,
        elements: int8x16x2_t,
        weights: int8x16x2_t,
    ) -> int32x4x2_t {
        unsafe {
            int32x4x2_t(usdot(sum.0, elements.0, weights.0), usdot(sum.1, elements.1, weights.1))
        }
    }

    #[inline(always)]
    unsafe fn scale<const RAISED: bool>(
        self,
        sum: int32x4x2_t,
        scale: float32x4x2_t,
    ) -> int32x4x2_t {
        unsafe { self.0.scale::<RAISED>(sum, scale) }
    }

    #[inline(always)]
    unsafe fn store_floats(self, sum: int32x4x2_t, scale: float32x4x2_t, to: *mut f32) {
        unsafe { self.0.store_floats(sum, scale, to) }
    }

    #[inline(always)]
    unsafe fn add(self, rounded: int32x4x2_t, residual: *const u8, output: &Output) -> int32x4x2_t {
        unsafe { self.0.add(rounded, residual, output) }
    }

    #[inline(always)]
    unsafe fn limits(self, zero_point: u8, clamp: Clamp) -> Self::Limits {
        unsafe { self.0.limits(zero_point, clamp) }
    }

    #[inline(always)]
    unsafe fn store<const RAISED: bool>(
        self,
        sums: [int32x4x2_t; 4],
        limits: Self::Limits,
        to: [*mut u8; 4],
    ) {
        unsafe { self.0.store::<RAISED>(sums, limits, to) }
    }
}

/// `sum + elements . weights`, the elements unsigned. The compiler's own name for it is not stable
/// yet.
///
/// # Safety
/// The machine has the instruction, and the caller is compiled for it.
#[inline(always)]
unsafe fn usdot(mut sum: int32x4_t, elements: int8x16_t, weights: int8x16_t) -> int32x4_t {
    unsafe {
        asm!(
            "usdot {0:v}.4s, {1:v}.16b, {2:v}.16b",
            inout(vreg) sum,
            in(vreg) elements,
            in(vreg) weights,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sum
}
