//! AVX-512 with VNNI: `vpdpbusd` on registers of sixteen sums.

use std::arch::asm;
use std::arch::x86_64::*;

use super::{Kernel, ORIGIN, Output, Simd, copy};
use crate::int8::Clamp;

/// Proof that the machine has AVX-512 F, BW, VL and VNNI, and FMA.
#[derive(Debug, Clone, Copy)]
pub(super) struct Avx512Vnni(());

impl Avx512Vnni {
    pub fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vnni")
            && is_x86_feature_detected!("fma"))
        .then_some(Self(()))
    }
}

/// Shuffles four bytes of each of four rows, in every quarter, to four groups of one of each.
#[inline]
#[target_feature(enable = "avx512f")]
fn columns() -> __m512i {
    _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15))
}

/// 32 bytes of each of four rows to 32 groups of one of each.
///
/// # Safety
/// The rows are valid for 32 bytes, both of `to` for 64.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn transpose(rows: [*const u8; 4], to: [*mut u8; 2]) {
    let left = _mm512_setr_epi32(0, 8, 16, 24, 1, 9, 17, 25, 2, 10, 18, 26, 3, 11, 19, 27);
    let right = _mm512_add_epi32(left, _mm512_set1_epi32(4));
    // Four bytes of each row to a quarter, and there those of each column together. Of these shuffles
    // the compiler would make others, which take longer.
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "vmovdqu {upper:y}, [{a}]",
            "vmovdqu {lower:y}, [{c}]",
            "vinserti64x4 {upper}, {upper}, [{b}], 1",
            "vinserti64x4 {lower}, {lower}, [{d}], 1",
            "vmovdqa64 {all}, {upper}",
            "vpermt2d {all}, {left}, {lower}",
            "vpermt2d {upper}, {right}, {lower}",
            "vpshufb {all}, {all}, {columns}",
            "vpshufb {upper}, {upper}, {columns}",
            "vmovdqu64 [{first}], {all}",
            "vmovdqu64 [{second}], {upper}",
            a = in(reg) rows[0],
            b = in(reg) rows[1],
            c = in(reg) rows[2],
            d = in(reg) rows[3],
            left = in(zmm_reg) left,
            right = in(zmm_reg) right,
            columns = in(zmm_reg) columns(),
            first = in(reg) to[0],
            second = in(reg) to[1],
            upper = out(zmm_reg) _,
            lower = out(zmm_reg) _,
            all = out(zmm_reg) _,
            options(nostack, preserves_flags)
        );
    }
}

/// The same register, but the compiler does not know that: it would fetch half of a broadcast from memory
/// once more.
#[inline]
#[target_feature(enable = "avx512f")]
fn same(mut register: __m512i) -> __m512i {
    // SAFETY: there is no instruction.
    unsafe {
        asm!(
            "/* {0} */",
            inout(zmm_reg) register,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    register
}

// SAFETY of every block below: that the machine has the instructions is what an `Avx512Vnni` says;
// memory is the caller's promise, and no instruction used needs alignment.
impl Simd for Avx512Vnni {
    type Element = u8;
    type Sum = __m512i;
    /// Scales, and their products with [`ORIGIN`].
    type Scales = (__m512, __m512);
    type Operand = __m512i;
    type Limits = (__m512i, __m512i, __m512i);

    const LANES: usize = 16;
    const GROUP: usize = 4;
    const PANEL: usize = 4;
    // To some machines a register of 64 bytes is two of 32.
    const HALVES: bool = true;

    fn run(self, kernel: impl Kernel) {
        #[inline(never)]
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,fma")]
        fn inner(simd: Avx512Vnni, kernel: impl Kernel) {
            kernel.run(simd);
        }
        // SAFETY: there is an `Avx512Vnni` only where these features were detected.
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
            let a = _mm_loadu_si128(pixels[0].cast());
            let b = _mm_loadu_si128(pixels[1].cast());
            let c = _mm_loadu_si128(pixels[2].cast());
            let d = _mm_loadu_si128(pixels[3].cast());
            let (upper, lower) = (_mm_unpacklo_epi8(a, b), _mm_unpacklo_epi8(c, d));
            _mm_storeu_si128(to.cast(), _mm_unpacklo_epi16(upper, lower));
            _mm_storeu_si128(to.add(16).cast(), _mm_unpackhi_epi16(upper, lower));
            let (upper, lower) = (_mm_unpackhi_epi8(a, b), _mm_unpackhi_epi8(c, d));
            _mm_storeu_si128(to.add(32).cast(), _mm_unpacklo_epi16(upper, lower));
            _mm_storeu_si128(to.add(48).cast(), _mm_unpackhi_epi16(upper, lower));
        }
    }

    #[inline(always)]
    unsafe fn interleave_two(self, pixels: [*const u8; 4], to: [*mut u8; 2]) {
        unsafe { transpose(pixels, to) }
    }

    #[inline(always)]
    unsafe fn sums(self, from: *const i32) -> __m512i {
        unsafe { _mm512_loadu_si512(from.cast()) }
    }

    #[inline(always)]
    unsafe fn scales(self, from: *const f32) -> Self::Scales {
        unsafe {
            let scale = _mm512_loadu_ps(from);
            (scale, _mm512_mul_ps(scale, _mm512_set1_ps(ORIGIN)))
        }
    }

    #[inline(always)]
    unsafe fn weights(self, from: *const i8) -> __m512i {
        unsafe { _mm512_loadu_si512(from.cast()) }
    }

    #[inline(always)]
    unsafe fn operand(self, from: *const u8) -> __m512i {
        unsafe { _mm512_loadu_si512(from.cast()) }
    }

    #[inline(always)]
    unsafe fn broadcast(self, from: *const u8) -> __m512i {
        unsafe { _mm512_set1_epi32(from.cast::<i32>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn halves(self, upper: __m512i, lower: __m512i) -> __m512i {
        unsafe { _mm512_mask_blend_epi16(0x5555_5555, upper, lower) }
    }

    #[inline(always)]
    unsafe fn pairs<const LAST: bool>(self, [left, right]: [__m512i; 2]) -> __m512i {
        // One of the two words of a group goes to the other's place.
        unsafe {
            let swapped = _mm512_set4_epi32(0x0d0c_0f0e, 0x0908_0b0a, 0x0504_0706, 0x0100_0302);
            match LAST {
                false => _mm512_mask_shuffle_epi8(left, 0xcccc_cccc_cccc_cccc, right, swapped),
                true => _mm512_mask_shuffle_epi8(right, 0x3333_3333_3333_3333, left, swapped),
            }
        }
    }

    #[inline(always)]
    unsafe fn dot(self, sum: __m512i, elements: __m512i, weights: __m512i) -> __m512i {
        unsafe { _mm512_dpbusd_epi32(sum, elements, weights) }
    }

    #[inline(always)]
    unsafe fn dot_half(self, sum: __m512i, elements: __m512i, weights: __m512i) -> __m512i {
        unsafe {
            let [sum, elements, weights] =
                [sum, same(elements), weights].map(|all| _mm512_castsi512_si256(all));
            _mm512_castsi256_si512(_mm256_dpbusd_epi32(sum, elements, weights))
        }
    }

    #[inline(always)]
    unsafe fn joined(self, first: __m512i, second: __m512i) -> __m512i {
        unsafe { _mm512_alignr_epi64::<4>(second, first) }
    }

    #[inline(always)]
    unsafe fn scale<const RAISED: bool>(self, sum: __m512i, scale: Self::Scales) -> __m512i {
        let (scale, origin) = scale;
        unsafe {
            _mm512_cvtps_epi32(if RAISED {
                _mm512_fmsub_ps(_mm512_castsi512_ps(sum), scale, origin)
            } else {
                _mm512_mul_ps(_mm512_cvtepi32_ps(sum), scale)
            })
        }
    }

    #[inline(always)]
    unsafe fn store_floats(self, sum: __m512i, (scale, _): Self::Scales, to: *mut f32) {
        unsafe { _mm512_storeu_ps(to, _mm512_mul_ps(_mm512_cvtepi32_ps(sum), scale)) }
    }

    #[inline(always)]
    unsafe fn add(self, rounded: __m512i, residual: *const u8, output: &Output) -> __m512i {
        let Some((adder, first)) = &output.residual else { return rounded };
        unsafe {
            let byte = _mm512_add_epi32(rounded, _mm512_set1_epi32(output.zero_point.into()));
            let byte = _mm512_max_epi32(byte, _mm512_set1_epi32(output.clamp.low.into()));
            let byte = _mm512_min_epi32(byte, _mm512_set1_epi32(output.clamp.high.into()));
            let own = _mm512_cvtepi32_ps(byte);
            let other = _mm512_cvtepu8_epi32(_mm_loadu_si128(residual.cast()));
            let other = _mm512_cvtepi32_ps(other);
            let (a, b) = if *first { (own, other) } else { (other, own) };
            let constant = _mm512_set1_ps(adder.constant);
            let sum = _mm512_fmadd_ps(b, _mm512_set1_ps(adder.second), constant);
            let sum = _mm512_fmadd_ps(a, _mm512_set1_ps(adder.first), sum);
            _mm512_cvtps_epi32(sum)
        }
    }

    #[inline(always)]
    unsafe fn limits(self, zero_point: u8, clamp: Clamp) -> Self::Limits {
        unsafe {
            let zero_point = _mm512_set1_epi16(zero_point.into());
            (zero_point, _mm512_set1_epi8(clamp.low as i8), _mm512_set1_epi8(clamp.high as i8))
        }
    }

    #[inline(always)]
    unsafe fn store<const RAISED: bool>(
        self,
        sums: [__m512i; 4],
        limits: Self::Limits,
        to: [*mut u8; 4],
    ) {
        unsafe {
            let bytes = in_order(bytes::<RAISED>(sums, limits));
            _mm_storeu_si128(to[0].cast(), _mm512_castsi512_si128(bytes));
            _mm_storeu_si128(to[1].cast(), _mm512_extracti32x4_epi32::<1>(bytes));
            _mm_storeu_si128(to[2].cast(), _mm512_extracti32x4_epi32::<2>(bytes));
            _mm_storeu_si128(to[3].cast(), _mm512_extracti32x4_epi32::<3>(bytes));
        }
    }

    #[inline(always)]
    unsafe fn store_row<const RAISED: bool>(
        self,
        sums: [__m512i; 4],
        limits: Self::Limits,
        count: usize,
        to: *mut u8,
    ) {
        unsafe {
            let bytes = in_order(bytes::<RAISED>(sums, limits));
            if count == 4 {
                _mm512_storeu_si512(to.cast(), bytes);
                return;
            }
            _mm_storeu_si128(to.cast(), _mm512_castsi512_si128(bytes));
            if count > 1 {
                _mm_storeu_si128(to.add(16).cast(), _mm512_extracti32x4_epi32::<1>(bytes));
            }
            if count > 2 {
                _mm_storeu_si128(to.add(32).cast(), _mm512_extracti32x4_epi32::<2>(bytes));
            }
        }
    }

    #[inline(always)]
    unsafe fn store_groups<const RAISED: bool>(
        self,
        sums: [__m512i; 4],
        limits: Self::Limits,
        to: *mut u8,
    ) {
        unsafe {
            _mm512_storeu_si512(
                to.cast(),
                _mm512_shuffle_epi8(bytes::<RAISED>(sums, limits), columns()),
            );
        }
    }
}

/// The bytes of four sums: 4 of each in every quarter.
///
/// # Safety
/// As for [`Simd`].
#[inline(always)]
unsafe fn bytes<const RAISED: bool>(
    sums: [__m512i; 4],
    (zero_point, lowest, highest): <Avx512Vnni as Simd>::Limits,
) -> __m512i {
    unsafe {
        let words = [_mm512_packs_epi32(sums[0], sums[1]), _mm512_packs_epi32(sums[2], sums[3])];
        // Packing clamps to any byte.
        if RAISED {
            return _mm512_packus_epi16(words[0], words[1]);
        }
        let first = _mm512_adds_epi16(words[0], zero_point);
        let second = _mm512_adds_epi16(words[1], zero_point);
        let bytes = _mm512_packus_epi16(first, second);
        _mm512_min_epu8(_mm512_max_epu8(bytes, lowest), highest)
    }
}

/// [`bytes`] with those of each sum side by side.
#[inline]
#[target_feature(enable = "avx512f")]
fn in_order(bytes: __m512i) -> __m512i {
    let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    _mm512_permutexvar_epi32(order, bytes)
}
