//! The instruction sets, and the kernels' inner parts.
//!
//! An algorithm is written once, over the vector instructions that [`Simd`] lists; a file an
//! instruction set says what they are, and compiles the algorithms for it.

// Vector instructions read and write memory through pointers, and run only on machines that have
// them: the compiler can check neither.
#![allow(unsafe_code)]
// Iterators over arrays of registers are not reliably unrolled; loops over constant ranges are.
#![allow(clippy::needless_range_loop)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512_vnni;
#[cfg(target_arch = "x86_64")]
mod avx_vnni;
mod depthwise;
#[cfg(test)]
mod emulated;
mod gemm;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "aarch64")]
mod neon_dotprod;
#[cfg(target_arch = "aarch64")]
mod neon_i8mm;
mod peak;
mod scratch;

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use super::Clamp;
use super::arithmetic::Adder;
use crate::error::{Error, Result};

pub(super) use depthwise::{Joins, Kernels, Source, Strip};
use gemm::PLANE;
pub(super) use gemm::{Matrix, Pixels, Project, tile_pixels};
use scratch::Integer;
pub(super) use scratch::Scratch;

/// Writes a statement for each of four or at most eighteen indices: what indexes registers by a rolled
/// loop keeps them in memory.
macro_rules! unrolled {
    ($index:ident < 4 => $body:block) => {
        unrolled!(@all $index, $body, 0 1 2 3)
    };
    ($index:ident < $end:expr => $body:block) => {
        unrolled!(@ $index, $end, $body, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17)
    };
    (@all $index:ident, $body:block, $($n:literal)*) => {
        $({
            let $index: usize = $n;
            $body
        })*
    };
    // What a constant condition leaves out is not even translated.
    (@ $index:ident, $end:expr, $body:block, $($n:literal)*) => {
        $(if const { $n < $end } {
            let $index: usize = $n;
            $body
        })*
    };
}
use unrolled;

/// An instruction set that the operators have kernels for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isa {
    /// None in particular: the reference.
    Scalar,
    /// x86-64 with AVX2 and FMA.
    Avx2,
    /// AVX2 with AVX-VNNI: dot products of four bytes.
    AvxVnni,
    /// AVX-512 (F, BW, VL) with VNNI.
    Avx512Vnni,
    /// aarch64.
    Neon,
    /// aarch64 with dot products of four bytes.
    NeonDotprod,
    /// aarch64 with dot products of unsigned by signed bytes.
    NeonI8mm,
    #[cfg(test)]
    Emulated4,
    #[cfg(test)]
    Emulated16,
}

impl Isa {
    const ALL: &[Self] = &[
        Self::Scalar,
        #[cfg(test)]
        Self::Emulated4,
        #[cfg(test)]
        Self::Emulated16,
        Self::Avx2,
        Self::AvxVnni,
        Self::Avx512Vnni,
        Self::Neon,
        Self::NeonDotprod,
        Self::NeonI8mm,
    ];

    /// As it is written in `CAMLIVE_ISA`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::AvxVnni => "avx-vnni",
            Self::Avx512Vnni => "avx512-vnni",
            Self::Neon => "neon",
            Self::NeonDotprod => "neon-dotprod",
            Self::NeonI8mm => "neon-i8mm",
            #[cfg(test)]
            Self::Emulated4 => "emulated-4",
            #[cfg(test)]
            Self::Emulated16 => "emulated-16",
        }
    }

    /// Those that this machine has and this program has kernels for, the slowest first: the first
    /// is always [`Isa::Scalar`].
    pub fn available() -> Vec<Self> {
        Self::ALL.iter().copied().filter(|isa| isa.is_available()).collect()
    }

    /// The fastest that is available.
    pub fn best() -> Self {
        *Self::available().last().expect("Isa::Scalar is always available")
    }

    /// The one that the environment variable `CAMLIVE_ISA` names; where it is not set the best, or
    /// none where that is only the reference, which is far too slow for anything but comparing.
    ///
    /// # Errors
    /// A name that is unknown, or of an instruction set that is not available.
    pub fn from_env() -> Result<Option<Self>> {
        match std::env::var_os("CAMLIVE_ISA") {
            None => Ok(Some(Self::best()).filter(|&isa| isa != Self::Scalar)),
            Some(name) => Self::of_name(&name.to_string_lossy()).map(Some),
        }
    }

    fn of_name(name: &str) -> Result<Self> {
        let available = Self::available();
        name.parse().ok().filter(|isa| available.contains(isa)).ok_or_else(|| {
            let names: Vec<_> = available.iter().map(|isa| isa.name()).collect();
            Error::usage(format!(
                "CAMLIVE_ISA is {name:?}, which is no instruction set of this machine; it has {}",
                names.join(", ")
            ))
        })
    }

    /// Itself where it is available, as every operator wants it.
    pub(super) fn checked(self) -> std::result::Result<Self, String> {
        if self.is_available() {
            Ok(self)
        } else {
            Err(format!("the instruction set {self} is not available on this machine"))
        }
    }

    fn is_available(self) -> bool {
        match self {
            Self::Scalar => true,
            #[cfg(test)]
            Self::Emulated4 | Self::Emulated16 => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => avx2::Avx2::detect().is_some(),
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni => avx_vnni::AvxVnni::detect().is_some(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => avx512_vnni::Avx512Vnni::detect().is_some(),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => neon::Neon::detect().is_some(),
            #[cfg(target_arch = "aarch64")]
            Self::NeonDotprod => neon_dotprod::NeonDotprod::detect().is_some(),
            #[cfg(target_arch = "aarch64")]
            Self::NeonI8mm => neon_i8mm::NeonI8mm::detect().is_some(),
            _ => false,
        }
    }

    /// Runs a kernel, compiled for this instruction set.
    ///
    /// # Panics
    /// If it is the scalar one, which has no kernels, or is not available.
    pub(super) fn run(self, kernel: impl Kernel) {
        match self {
            #[cfg(test)]
            Self::Emulated4 => emulated::Emulated::<4>.run(kernel),
            #[cfg(test)]
            Self::Emulated16 => emulated::Emulated::<16>.run(kernel),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => avx2::Avx2::detect().expect("it was checked").run(kernel),
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni => avx_vnni::AvxVnni::detect().expect("it was checked").run(kernel),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => {
                avx512_vnni::Avx512Vnni::detect().expect("it was checked").run(kernel);
            }
            #[cfg(target_arch = "aarch64")]
            Self::Neon => neon::Neon::detect().expect("it was checked").run(kernel),
            #[cfg(target_arch = "aarch64")]
            Self::NeonDotprod => {
                neon_dotprod::NeonDotprod::detect().expect("it was checked").run(kernel);
            }
            #[cfg(target_arch = "aarch64")]
            Self::NeonI8mm => neon_i8mm::NeonI8mm::detect().expect("it was checked").run(kernel),
            _ => {
                drop(kernel);
                panic!("{self} has no kernels");
            }
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Isa {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Self, String> {
        Self::ALL
            .iter()
            .copied()
            .find(|isa| isa.name() == name)
            .ok_or_else(|| format!("{name:?} is no instruction set"))
    }
}

/// The vector instructions that the kernels are written in. A value of an implementing type is
/// proof that this machine has them, so that only memory is left to the caller of the methods.
///
/// A *sum* is a register of `LANES` accumulators, one an output channel. [`Simd::dot`] adds to each
/// the products of a *group* of inputs and weights.
///
/// # Safety
/// Every pointer is valid for as many values as the method says, without any alignment; and the
/// method is inlined into a function that is compiled for the instruction set.
pub(in crate::int8) trait Simd: Copy + Send + Sync {
    /// What inputs are before they are multiplied.
    type Element: Integer;
    /// `LANES` accumulators.
    type Sum: Copy;
    /// What `LANES` accumulators are multiplied by.
    type Scales: Copy;
    /// `LANES` groups of elements or of weights.
    type Operand: Copy;
    /// What outputs are clamped to.
    type Limits: Copy;

    /// Output channels of a register; at most 16.
    const LANES: usize;
    /// Inputs of a group: 2 or 4.
    const GROUP: usize;
    /// Registers side by side in a tile: 4 where 20 sums fit in the registers, 2 where 12 do.
    const PANEL: usize;
    /// Whether loading weights takes more than a load, so that they are better made elements once for
    /// several tiles.
    const WIDENS: bool = false;

    /// Whether [`Simd::dot_half`] takes less time than [`Simd::dot`].
    const HALVES: bool = false;

    /// Runs a kernel in a function of its own, compiled for the instruction set.
    fn run(self, kernel: impl Kernel);

    /// Bytes as elements, where they are the same.
    fn elements(bytes: &[u8]) -> Option<&[Self::Element]>;
    /// Bytes to elements.
    unsafe fn convert(self, from: *const u8, to: *mut Self::Element, count: usize);
    /// Weights to elements; called only where [`Simd::WIDENS`].
    unsafe fn widen(self, _from: *const i8, _to: *mut Self::Element, _count: usize) {}
    /// A byte as an element.
    fn element(byte: u8) -> Self::Element;
    /// `LANES` channels of `GROUP` pixels to groups of one channel each.
    unsafe fn interleave(self, pixels: [*const u8; 4], to: *mut Self::Element);
    /// The same for two registers of channels side by side, to a place each.
    #[inline(always)]
    unsafe fn interleave_two(self, pixels: [*const u8; 4], to: [*mut Self::Element; 2]) {
        // SAFETY: the caller's promise.
        unsafe {
            self.interleave(pixels, to[0]);
            self.interleave(pixels.map(|pixel| pixel.wrapping_add(Self::LANES)), to[1]);
        }
    }

    /// Loads `LANES` accumulators.
    unsafe fn sums(self, from: *const i32) -> Self::Sum;
    /// Loads `LANES` scales.
    unsafe fn scales(self, from: *const f32) -> Self::Scales;
    /// Loads `LANES` groups of weights.
    unsafe fn weights(self, from: *const i8) -> Self::Operand;
    /// Loads `LANES` groups of elements.
    unsafe fn operand(self, from: *const Self::Element) -> Self::Operand;
    /// Loads one group of elements for every lane.
    unsafe fn broadcast(self, from: *const Self::Element) -> Self::Operand;

    /// Groups of the first two elements of `lower` and the last two of `upper`. Called only with groups of
    /// four.
    #[inline(always)]
    unsafe fn halves(self, upper: Self::Operand, _lower: Self::Operand) -> Self::Operand {
        upper
    }

    /// Groups of the first two elements of two groups, or of the last two if `LAST`. Called only with
    /// groups and panels of four.
    #[inline(always)]
    unsafe fn pairs<const LAST: bool>(self, [first, _]: [Self::Operand; 2]) -> Self::Operand {
        first
    }

    /// `sum + elements . weights` in every lane.
    unsafe fn dot(
        self,
        sum: Self::Sum,
        elements: Self::Operand,
        weights: Self::Operand,
    ) -> Self::Sum;
    /// The same in the first half of the lanes; what is in the others does not matter. Called only where
    /// [`Simd::HALVES`].
    #[inline(always)]
    unsafe fn dot_half(
        self,
        sum: Self::Sum,
        _elements: Self::Operand,
        _weights: Self::Operand,
    ) -> Self::Sum {
        sum
    }
    /// The last half of the lanes of one sum and the first half of another's. Called only where
    /// [`Simd::HALVES`].
    #[inline(always)]
    unsafe fn joined(self, first: Self::Sum, _second: Self::Sum) -> Self::Sum {
        first
    }
    /// `round(sum * scale)`; the product is less than 2^30. If `RAISED`, the sum is raised (see [`RAISE`]),
    /// and what comes of one that is less than 0 is some number that is not positive.
    unsafe fn scale<const RAISED: bool>(self, sum: Self::Sum, scale: Self::Scales) -> Self::Sum;
    /// `sum * scale`, stored as `LANES` numbers.
    unsafe fn store_floats(self, sum: Self::Sum, scale: Self::Scales, to: *mut f32);
    /// Adds `LANES` bytes of a residual to what [`Simd::scale`] returned, as `output` says.
    unsafe fn add(self, rounded: Self::Sum, residual: *const u8, output: &Output) -> Self::Sum;
    /// A zero point and a clamp for [`Simd::store`].
    unsafe fn limits(self, zero_point: u8, clamp: Clamp) -> Self::Limits;
    /// Stores `clamp(sum + zero_point)` as `LANES` bytes at each of four places. If `RAISED`, the zero
    /// point is 0, and nothing is clamped but to a byte.
    unsafe fn store<const RAISED: bool>(
        self,
        sums: [Self::Sum; 4],
        limits: Self::Limits,
        to: [*mut u8; 4],
    );
    /// Stores the bytes of the first `count` of four sums one behind another; the others are like the last
    /// of these.
    #[inline(always)]
    unsafe fn store_row<const RAISED: bool>(
        self,
        sums: [Self::Sum; 4],
        limits: Self::Limits,
        count: usize,
        to: *mut u8,
    ) {
        let to = [0, 1, 2, 3].map(|i: usize| to.wrapping_add(i.min(count - 1) * Self::LANES));
        // SAFETY: the caller's promise.
        unsafe { self.store::<RAISED>(sums, limits, to) }
    }
    /// Stores them as `LANES` groups of one byte of each. Called only with groups of four.
    #[inline(always)]
    unsafe fn store_groups<const RAISED: bool>(
        self,
        sums: [Self::Sum; 4],
        limits: Self::Limits,
        to: *mut Self::Element,
    ) {
        let mut bytes = [[0; 16]; 4];
        let pixels = bytes.each_mut().map(|pixel| pixel.as_mut_ptr());
        // SAFETY: the caller's promise; there is room for 16 bytes of each.
        unsafe {
            self.store::<RAISED>(sums, limits, pixels);
            self.interleave(pixels.map(|pixel| pixel.cast_const()), to);
        }
    }
}

/// What accumulators that are *raised* begin with: the bits of the real number 2^23.
///
/// The bits of a raised accumulator, whose sum is at least 0 and less than 2^23, are those of the real
/// number `2^23 + sum`. So `sum * scale` is `fma(2^23 + sum, scale, -(2^23 * scale))`: the product with a
/// power of two is exact, and the result is rounded once, as it is where the sum is converted and
/// multiplied, with an instruction more. The bits of lower sums are those of lower numbers, or of none:
/// what comes of them is not positive.
const RAISE: i32 = 0x4b00_0000;

/// The real number.
const ORIGIN: f32 = (1 << 23) as f32;

/// Where the accumulator of an output begins: with its bias, the input's zero point folded in, and raised or
/// not.
fn start(bias: i32, weights: &[i8], zero: i32, raised: bool) -> i32 {
    let sum: i32 = weights.iter().map(|&weight| i32::from(weight)).sum();
    bias.wrapping_sub(zero * sum).wrapping_add(if raised { RAISE } else { 0 })
}

/// Whether accumulators of `sums` can be raised where `output` is made of them: those below 0 must come
/// out as 0.
pub(super) fn raisable(sums: &RangeInclusive<i64>, output: &Output) -> bool {
    output.zero_point == 0
        && output.clamp == Clamp::NONE
        && output.residual.is_none()
        && *sums.start() >= i64::from(i32::MIN)
        && *sums.end() < 1 << 23
}

/// What becomes of accumulators, apart from their scales.
#[derive(Debug, Clone)]
pub(in crate::int8) struct Output {
    pub zero_point: u8,
    pub clamp: Clamp,
    /// The addition of a residual, and whether the accumulators are its first operand.
    pub residual: Option<(Adder, bool)>,
}

/// Work that is written for any instruction set.
pub(in crate::int8) trait Kernel {
    fn run<S: Simd>(self, simd: S);
}

/// Bytes to as many elements.
#[inline(always)]
pub(super) fn convert<S: Simd>(simd: S, from: &[u8], to: &mut [S::Element]) {
    assert_eq!(from.len(), to.len());
    // SAFETY: both hold as many.
    unsafe { simd.convert(from.as_ptr(), to.as_mut_ptr(), from.len()) }
}

/// Fetches a cache line that will be used soon, if there is one: any address may be given.
#[inline(always)]
fn prefetch(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every such machine has the instruction, which never faults.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(at.cast());
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: likewise.
    unsafe {
        std::arch::asm!(
            "prfm pldl1keep, [{0}]",
            in(reg) at,
            options(nostack, preserves_flags, readonly)
        );
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = at;
}

/// The same pointer, but the compiler does not know that: it would compute one address from another in
/// every step of a loop that has no time for it.
#[inline(always)]
#[expect(clippy::pointers_in_nomem_asm_block, reason = "nothing is read or written through it")]
fn opaque<T>(mut pointer: *const T) -> *const T {
    // SAFETY: there is no instruction.
    unsafe {
        std::arch::asm!(
            "/* {0} */",
            inout(reg) pointer,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    pointer
}

/// Copies bytes: mostly a few, for which a call of `memcpy` would take longer.
///
/// # Safety
/// `from` and `to` are valid for `count` bytes, and do not overlap.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[inline(always)]
unsafe fn copy(from: *const u8, to: *mut u8, count: usize) {
    /// Copies so many bytes at a time, at least once; the last time may overlap the one before it.
    ///
    /// # Safety
    /// As for `copy`; `count` is at least `N`.
    #[inline(always)]
    unsafe fn blocks<const N: usize>(from: *const u8, to: *mut u8, count: usize) {
        let mut i = 0;
        while i < count {
            let at = i.min(count - N);
            // SAFETY: `at + N` is at most `count`.
            unsafe {
                to.add(at).cast::<[u8; N]>().write(from.add(at).cast::<[u8; N]>().read());
            }
            i += N;
        }
    }
    // SAFETY: the caller's promise.
    unsafe {
        match count {
            16.. => blocks::<16>(from, to, count),
            8.. => blocks::<8>(from, to, count),
            4.. => blocks::<4>(from, to, count),
            _ => blocks::<1>(from, to, count),
        }
    }
}

impl Output {
    /// The limits of what is stored.
    ///
    /// # Safety
    /// As for [`Simd`].
    #[inline(always)]
    unsafe fn limits<S: Simd>(&self, simd: S) -> S::Limits {
        // SAFETY: the caller's promise.
        unsafe {
            match &self.residual {
                None => simd.limits(self.zero_point, self.clamp),
                Some((adder, _)) => simd.limits(0, adder.clamp),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for &isa in Isa::ALL {
            assert_eq!(isa.name().parse(), Ok(isa));
        }
        assert!("mmx".parse::<Isa>().is_err());
    }

    #[test]
    fn the_scalar_reference_is_always_available_and_comes_first() {
        assert_eq!(Isa::available()[0], Isa::Scalar);
        assert!(Isa::available().contains(&Isa::best()));
    }

    #[test]
    fn a_name_that_is_not_available_is_answered_with_those_that_are() {
        let error = Isa::of_name("sse9").unwrap_err().to_string();
        assert!(error.contains("\"sse9\"") && error.contains("it has scalar"), "{error}");
        assert_eq!(Isa::of_name("scalar"), Ok(Isa::Scalar));
    }

    #[test]
    fn only_sums_to_plain_bytes_from_those_of_i32_to_2_to_the_23_are_raised() {
        let output = |zero_point, clamp| Output { zero_point, clamp, residual: None };
        let (least, plain) = (i64::from(i32::MIN), output(0, Clamp::NONE));
        assert!(raisable(&(least..=(1 << 23) - 1), &plain));
        assert!(!raisable(&(least - 1..=0), &plain));
        assert!(!raisable(&(0..=1 << 23), &plain));
        assert!(!raisable(&(0..=1), &output(1, Clamp::NONE)));
        assert!(!raisable(&(0..=1), &output(0, Clamp { low: 0, high: 254 })));
    }

    #[test]
    fn an_operator_refuses_an_instruction_set_that_the_machine_lacks() {
        for &isa in Isa::ALL {
            assert_eq!(isa.checked().is_ok(), Isa::available().contains(&isa), "{isa}");
        }
    }
}
