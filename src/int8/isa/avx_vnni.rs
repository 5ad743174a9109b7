//! AVX-VNNI: AVX2 with `vpdpbusd`, the exact dot product of four unsigned by four signed bytes.

use std::arch::x86_64::*;

use super::avx2::Avx2;
use super::{Kernel, Output, Simd, copy};
use crate::int8::Clamp;

/// Proof that the machine has AVX2, FMA and AVX-VNNI.
#[derive(Debug, Clone, Copy)]
pub(super) struct AvxVnni(Avx2);

impl AvxVnni {
    pub fn detect() -> Option<Self> {
        Avx2::detect().filter(|_| is_x86_feature_detected!("avxvnni")).map(Self)
    }
}

// SAFETY of every block below: that the machine has the instructions is what an `AvxVnni` says;
// memory is the caller's promise, and no instruction used needs alignment.
impl Simd for AvxVnni {
    type Element = u8;
    type Sum = __m256i;
    type Scales = <Avx2 as Simd>::Scales;
    type Operand = __m256i;
    type Limits = <Avx2 as Simd>::Limits;

    const LANES: usize = 8;
    const GROUP: usize = 4;
    const PANEL: usize = 2;

    fn run(self, kernel: impl Kernel) {
        #[inline(never)]
        #[target_feature(enable = "avx2,fma,avxvnni")]
        fn inner(simd: AvxVnni, kernel: impl Kernel) {
            kernel.run(simd);
        }
        // SAFETY: there is an `AvxVnni` only where these features were detected.
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
            let a = _mm_loadl_epi64(pixels[0].cast());
            let b = _mm_loadl_epi64(pixels[1].cast());
            let c = _mm_loadl_epi64(pixels[2].cast());
            let d = _mm_loadl_epi64(pixels[3].cast());
            let (upper, lower) = (_mm_unpacklo_epi8(a, b), _mm_unpacklo_epi8(c, d));
            _mm_storeu_si128(to.cast(), _mm_unpacklo_epi16(upper, lower));
            _mm_storeu_si128(to.add(16).cast(), _mm_unpackhi_epi16(upper, lower));
        }
    }

    #[inline(always)]
    unsafe fn sums(self, from: *const i32) -> __m256i {
        unsafe { self.0.sums(from) }
    }

    #[inline(always)]
    unsafe fn scales(self, from: *const f32) -> Self::Scales {
        unsafe { self.0.scales(from) }
    }

    #[inline(always)]
    unsafe fn weights(self, from: *const i8) -> __m256i {
        unsafe { _mm256_loadu_si256(from.cast()) }
    }

    #[inline(always)]
    unsafe fn operand(self, from: *const u8) -> __m256i {
        unsafe { _mm256_loadu_si256(from.cast()) }
    }

    #[inline(always)]
    unsafe fn broadcast(self, from: *const u8) -> __m256i {
        unsafe { _mm256_set1_epi32(from.cast::<i32>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn halves(self, upper: __m256i, lower: __m256i) -> __m256i {
        unsafe { _mm256_blend_epi16::<0x55>(upper, lower) }
    }

    #[inline(always)]
    unsafe fn dot(self, sum: __m256i, elements: __m256i, weights: __m256i) -> __m256i {
        unsafe { _mm256_dpbusd_avx_epi32(sum, elements, weights) }
    }

    #[inline(always)]
    unsafe fn scale<const RAISED: bool>(self, sum: __m256i, scale: Self::Scales) -> __m256i {
        unsafe { self.0.scale::<RAISED>(sum, scale) }
    }

    #[inline(always)]
    unsafe fn store_floats(self, sum: __m256i, scale: Self::Scales, to: *mut f32) {
        unsafe { self.0.store_floats(sum, scale, to) }
    }

    #[inline(always)]
    unsafe fn add(self, rounded: __m256i, residual: *const u8, output: &Output) -> __m256i {
        unsafe { self.0.add(rounded, residual, output) }
    }

    #[inline(always)]
    unsafe fn limits(self, zero_point: u8, clamp: Clamp) -> Self::Limits {
        unsafe { self.0.limits(zero_point, clamp) }
    }

    #[inline(always)]
    unsafe fn store<const RAISED: bool>(
        self,
        sums: [__m256i; 4],
        limits: Self::Limits,
        to: [*mut u8; 4],
    ) {
        unsafe { self.0.store::<RAISED>(sums, limits, to) }
    }
}
