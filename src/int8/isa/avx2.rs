//! AVX2 with FMA. Bytes are widened to `i16` before they are multiplied: `vpmaddubsw`, which takes
//! bytes, saturates where two products of weights beyond 64 meet.

use std::arch::x86_64::*;

use super::{Kernel, ORIGIN, Output, Simd};
use crate::int8::Clamp;

/// Proof that the machine has AVX2 and FMA.
#[derive(Debug, Clone, Copy)]
pub(super) struct Avx2(());

impl Avx2 {
    pub fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Self(()))
    }
}

// SAFETY of every block below: that the machine has the instructions is what an `Avx2` says; memory
// is the caller's promise, and no instruction used needs alignment.
impl Simd for Avx2 {
    type Element = i16;
    type Sum = __m256i;
    /// Scales, and their products with [`ORIGIN`].
    type Scales = (__m256, __m256);
    type Operand = __m256i;
    type Limits = (__m256i, __m256i, __m256i);

    const LANES: usize = 8;
    const GROUP: usize = 2;
    const PANEL: usize = 2;
    const WIDENS: bool = true;

    fn run(self, kernel: impl Kernel) {
        #[inline(never)]
        #[target_feature(enable = "avx2,fma")]
        fn inner(simd: Avx2, kernel: impl Kernel) {
            kernel.run(simd);
        }
        // SAFETY: there is an `Avx2` only where these features were detected.
        unsafe { inner(self, kernel) }
    }

    #[inline(always)]
    fn elements(_: &[u8]) -> Option<&[i16]> {
        None
    }

    #[inline(always)]
    fn element(byte: u8) -> i16 {
        i16::from(byte)
    }

    #[inline(always)]
    unsafe fn convert(self, from: *const u8, to: *mut i16, count: usize) {
        unsafe {
            // The last vector overlaps the one before it.
            let mut i = 0;
            if count >= 16 {
                while i < count {
                    let at = i.min(count - 16);
                    let bytes = _mm_loadu_si128(from.add(at).cast());
                    _mm256_storeu_si256(to.add(at).cast(), _mm256_cvtepu8_epi16(bytes));
                    i += 16;
                }
            } else if count >= 8 {
                let first = _mm_loadl_epi64(from.cast());
                let last = _mm_loadl_epi64(from.add(count - 8).cast());
                _mm_storeu_si128(to.cast(), _mm_cvtepu8_epi16(first));
                _mm_storeu_si128(to.add(count - 8).cast(), _mm_cvtepu8_epi16(last));
            } else {
                for i in 0..count {
                    *to.add(i) = i16::from(*from.add(i));
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn widen(self, from: *const i8, to: *mut i16, count: usize) {
        unsafe {
            for i in (0..count).step_by(16) {
                // The next panel's weights lie behind these, and come from far away: all of a
                // network's fit in no cache near the processor. It may be any address.
                _mm_prefetch::<_MM_HINT_T1>(from.wrapping_add(count + i));
                _mm256_storeu_si256(to.add(i).cast(), self.weights(from.add(i)));
            }
        }
    }

    #[inline(always)]
    unsafe fn interleave(self, pixels: [*const u8; 4], to: *mut i16) {
        unsafe {
            let a = _mm_loadl_epi64(pixels[0].cast());
            let b = _mm_loadl_epi64(pixels[1].cast());
            let groups = _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(a, b));
            _mm256_storeu_si256(to.cast(), groups);
        }
    }

    #[inline(always)]
    unsafe fn interleave_two(self, pixels: [*const u8; 4], to: [*mut i16; 2]) {
        unsafe {
            let a = _mm_loadu_si128(pixels[0].cast());
            let b = _mm_loadu_si128(pixels[1].cast());
            let first = _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(a, b));
            let second = _mm256_cvtepu8_epi16(_mm_unpackhi_epi8(a, b));
            _mm256_storeu_si256(to[0].cast(), first);
            _mm256_storeu_si256(to[1].cast(), second);
        }
    }

    #[inline(always)]
    unsafe fn sums(self, from: *const i32) -> __m256i {
        unsafe { _mm256_loadu_si256(from.cast()) }
    }

    #[inline(always)]
    unsafe fn scales(self, from: *const f32) -> Self::Scales {
        unsafe {
            let scale = _mm256_loadu_ps(from);
            (scale, _mm256_mul_ps(scale, _mm256_set1_ps(ORIGIN)))
        }
    }

    #[inline(always)]
    unsafe fn weights(self, from: *const i8) -> __m256i {
        unsafe { _mm256_cvtepi8_epi16(_mm_loadu_si128(from.cast())) }
    }

    #[inline(always)]
    unsafe fn operand(self, from: *const i16) -> __m256i {
        unsafe { _mm256_loadu_si256(from.cast()) }
    }

    #[inline(always)]
    unsafe fn broadcast(self, from: *const i16) -> __m256i {
        unsafe { _mm256_set1_epi32(from.cast::<i32>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn dot(self, sum: __m256i, elements: __m256i, weights: __m256i) -> __m256i {
        unsafe { _mm256_add_epi32(sum, _mm256_madd_epi16(elements, weights)) }
    }

    #[inline(always)]
    unsafe fn scale<const RAISED: bool>(self, sum: __m256i, scale: Self::Scales) -> __m256i {
        let (scale, origin) = scale;
        unsafe {
            _mm256_cvtps_epi32(if RAISED {
                _mm256_fmsub_ps(_mm256_castsi256_ps(sum), scale, origin)
            } else {
                _mm256_mul_ps(_mm256_cvtepi32_ps(sum), scale)
            })
        }
    }

    #[inline(always)]
    unsafe fn store_floats(self, sum: __m256i, (scale, _): Self::Scales, to: *mut f32) {
        unsafe { _mm256_storeu_ps(to, _mm256_mul_ps(_mm256_cvtepi32_ps(sum), scale)) }
    }

    #[inline(always)]
    unsafe fn add(self, rounded: __m256i, residual: *const u8, output: &Output) -> __m256i {
        let Some((adder, first)) = &output.residual else { return rounded };
        unsafe {
            let byte = _mm256_add_epi32(rounded, _mm256_set1_epi32(output.zero_point.into()));
            let byte = _mm256_max_epi32(byte, _mm256_set1_epi32(output.clamp.low.into()));
            let byte = _mm256_min_epi32(byte, _mm256_set1_epi32(output.clamp.high.into()));
            let own = _mm256_cvtepi32_ps(byte);
            let other = _mm256_cvtepu8_epi32(_mm_loadl_epi64(residual.cast()));
            let other = _mm256_cvtepi32_ps(other);
            let (a, b) = if *first { (own, other) } else { (other, own) };
            let constant = _mm256_set1_ps(adder.constant);
            let sum = _mm256_fmadd_ps(b, _mm256_set1_ps(adder.second), constant);
            let sum = _mm256_fmadd_ps(a, _mm256_set1_ps(adder.first), sum);
            _mm256_cvtps_epi32(sum)
        }
    }

    #[inline(always)]
    unsafe fn limits(self, zero_point: u8, clamp: Clamp) -> Self::Limits {
        unsafe {
            let zero_point = _mm256_set1_epi16(zero_point.into());
            (zero_point, _mm256_set1_epi8(clamp.low as i8), _mm256_set1_epi8(clamp.high as i8))
        }
    }

    #[inline(always)]
    unsafe fn store<const RAISED: bool>(
        self,
        sums: [__m256i; 4],
        limits: Self::Limits,
        to: [*mut u8; 4],
    ) {
        let (zero_point, lowest, highest) = limits;
        unsafe {
            let words =
                [_mm256_packs_epi32(sums[0], sums[1]), _mm256_packs_epi32(sums[2], sums[3])];
            let first = _mm256_adds_epi16(words[0], zero_point);
            let second = _mm256_adds_epi16(words[1], zero_point);
            let bytes = _mm256_packus_epi16(first, second);
            let bytes = _mm256_min_epu8(_mm256_max_epu8(bytes, lowest), highest);
            // Each half holds 4 bytes of every sum in turn.
            let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
            let bytes = _mm256_permutevar8x32_epi32(bytes, order);
            let (first, second) =
                (_mm256_castsi256_si128(bytes), _mm256_extracti128_si256::<1>(bytes));
            _mm_storel_epi64(to[0].cast(), first);
            _mm_storeh_pd(to[1].cast(), _mm_castsi128_pd(first));
            _mm_storel_epi64(to[2].cast(), second);
            _mm_storeh_pd(to[3].cast(), _mm_castsi128_pd(second));
        }
    }
}
