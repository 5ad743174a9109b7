//! Products of a matrix of pixels and a matrix of weights: the inner part of dense convolutions and
//! of linear layers.
//!
//! The outputs are computed in tiles of six or eight pixels by one panel of output channels, whose
//! accumulators stay in registers while the inputs go by. The arrays of registers are indexed by
//! constants only once the loops over them are unrolled: anything else would keep them in memory.

use super::{Kernel, Output, Simd, unrolled};
use crate::int8::expect_len;

/// Pixels of a tile of a whole panel.
pub(in crate::int8) const TILE: usize = 6;

/// Pixels of a tile at most.
const PIXELS: usize = 8;

/// Pixels of a tile of so many registers side by side: as many as there are registers for.
const fn tallest<S: Simd>(registers: usize) -> usize {
    if S::PANEL == 4 && registers < 4 { PIXELS } else { TILE }
}

/// Weights packed for one instruction set.
#[derive(Debug, Clone)]
pub(in crate::int8) struct Matrix {
    panels: Vec<Panel>,
    /// Panel, group of inputs, register, output channel, input.
    weights: Vec<i8>,
    /// The input's zero point is folded in.
    bias: Vec<i32>,
    scales: Vec<f32>,
    groups: usize,
    outputs: usize,
}

#[derive(Debug, Clone)]
struct Panel {
    /// The first output channel.
    first: usize,
    registers: usize,
}

impl Matrix {
    /// Packs `weights`, a row an output.
    pub fn new<S: Simd>(
        weights: &[i8],
        inputs: usize,
        bias: &[i32],
        scales: &[f32],
        input_zero_point: u8,
    ) -> Self {
        let outputs = bias.len();
        let row = |output: usize| &weights[output * inputs..][..inputs];
        let groups = inputs.div_ceil(S::GROUP).max(1);
        let zero: i32 = S::element(input_zero_point).into();
        // Panels of even size: a small last one would have too few sums to add to at a time.
        let registers = outputs.div_ceil(S::LANES);
        let panels = registers.div_ceil(S::PANEL);
        // What lies beyond the inputs and outputs stays 0.
        let channels = registers * S::LANES;
        let mut matrix = Self {
            panels: Vec::new(),
            weights: vec![0; channels * groups * S::GROUP],
            bias: vec![0; channels],
            scales: vec![0.0; channels],
            groups,
            outputs,
        };
        let mut first = 0;
        for panel in 0..panels {
            let registers = registers / panels + usize::from(panel < registers % panels);
            matrix.panels.push(Panel { first, registers });
            let channels = registers * S::LANES;
            let packed = &mut matrix.weights[first * groups * S::GROUP..];
            let packed = packed.chunks_exact_mut(channels * S::GROUP).take(groups);
            for (group, packed) in packed.enumerate() {
                for (output, packed) in (first..outputs).zip(packed.chunks_exact_mut(S::GROUP)) {
                    let rest = &row(output)[group * S::GROUP..];
                    match rest.get(..S::GROUP) {
                        Some(weights) => packed.copy_from_slice(weights),
                        None => packed[..rest.len()].copy_from_slice(rest),
                    }
                }
            }
            first += channels;
        }
        for output in 0..outputs {
            let sum: i32 = row(output).iter().map(|&weight| i32::from(weight)).sum();
            matrix.bias[output] = bias[output].wrapping_sub(zero * sum);
            matrix.scales[output] = scales[output];
        }
        matrix
    }

    /// The length of a row of elements: the inputs, filled up to whole groups. What it is filled
    /// with does not matter.
    pub fn row<S: Simd>(&self) -> usize {
        self.groups * S::GROUP
    }

    /// How many elements the weights of a panel become, where they do.
    pub fn wide<S: Simd>(&self) -> usize {
        if S::WIDENS { self.groups * S::PANEL * S::LANES * S::GROUP } else { 0 }
    }

    /// Multiplies rows of elements. Output and residual have `stride` bytes a pixel, the first of
    /// which is the first output's. `wide` is room for [`Matrix::wide`] elements.
    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "the buffers differ from call to call")]
    pub fn multiply<S: Simd>(
        &self,
        simd: S,
        elements: &[S::Element],
        wide: &mut [S::Element],
        output: &Output,
        stride: usize,
        residual: Option<&[u8]>,
        to: &mut [u8],
    ) {
        if self.outputs == 0 || elements.is_empty() {
            return;
        }
        let row = self.row::<S>();
        let pixels = elements.len() / row;
        expect_len("rows", elements.len(), pixels * row);
        assert!(to.len() >= (pixels - 1) * stride + self.outputs);
        assert_eq!(residual.is_some(), output.residual.is_some());
        assert!(residual.is_none_or(|residual| residual.len() >= to.len()));
        for panel in &self.panels {
            let weights = &self.weights[panel.first * self.row::<S>()..];
            if S::WIDENS {
                let count = self.groups * panel.registers * S::LANES * S::GROUP;
                assert!(weights.len() >= count && wide.len() >= count);
                // SAFETY: both hold as many.
                unsafe { simd.widen(weights.as_ptr(), wide.as_mut_ptr(), count) };
            }
            let tiles = Tiles {
                pixels,
                groups: self.groups,
                weights: weights.as_ptr(),
                wide: wide.as_ptr().cast(),
                bias: self.bias[panel.first..].as_ptr(),
                scales: self.scales[panel.first..].as_ptr(),
                elements: elements.as_ptr().cast(),
                row,
                output,
                stride,
                valid: (self.outputs - panel.first).min(panel.registers * S::LANES),
                residual: match residual {
                    Some(residual) => residual[panel.first..].as_ptr(),
                    None => std::ptr::null(),
                },
                to: to[panel.first..].as_mut_ptr(),
            };
            match (panel.registers, residual.is_some()) {
                (1, false) => simd.run(Panelled::<1, false>(tiles)),
                (1, true) => simd.run(Panelled::<1, true>(tiles)),
                (2, false) => simd.run(Panelled::<2, false>(tiles)),
                (2, true) => simd.run(Panelled::<2, true>(tiles)),
                (3, false) => simd.run(Panelled::<3, false>(tiles)),
                (3, true) => simd.run(Panelled::<3, true>(tiles)),
                (_, false) => simd.run(Panelled::<4, false>(tiles)),
                (_, true) => simd.run(Panelled::<4, true>(tiles)),
            }
        }
    }

    /// Multiplies one row of elements to real numbers.
    #[inline(always)]
    pub fn multiply_to_floats<S: Simd>(&self, simd: S, elements: &[S::Element], to: &mut [f32]) {
        expect_len("row", elements.len(), self.row::<S>());
        expect_len("outputs", to.len(), self.outputs);
        for panel in &self.panels {
            let weights = &self.weights[panel.first * self.row::<S>()..];
            let bias = &self.bias[panel.first..];
            let scales = &self.scales[panel.first..];
            let mut floats = [0f32; 64];
            // SAFETY: `new` packed as many weights and biases for the panel as `tile` reads, and
            // 64 numbers are at least the panel's.
            unsafe {
                macro_rules! panel {
                    ($registers:literal) => {{
                        let row = elements.as_ptr();
                        let (weights, bias) = (weights.as_ptr(), bias.as_ptr());
                        let load = |at: usize| simd.weights(weights.add(at));
                        let [sums] =
                            tile::<S, 1, $registers>(simd, self.groups, row, 0, load, bias);
                        for (r, sum) in sums.into_iter().enumerate() {
                            let scale = simd.floats(scales.as_ptr().add(r * S::LANES));
                            simd.store_floats(sum, scale, floats.as_mut_ptr().add(r * S::LANES));
                        }
                    }};
                }
                match panel.registers {
                    1 => panel!(1),
                    2 => panel!(2),
                    3 => panel!(3),
                    _ => panel!(4),
                }
            }
            let valid = (self.outputs - panel.first).min(panel.registers * S::LANES);
            to[panel.first..][..valid].copy_from_slice(&floats[..valid]);
        }
    }
}

/// The tiles of a panel. The pointers hold `pixels` rows of elements, `valid` bytes of each pixel, and
/// what the panel needs.
struct Tiles<'a> {
    pixels: usize,
    groups: usize,
    weights: *const i8,
    /// The weights as elements, where the instruction set wants them so.
    wide: *const (),
    bias: *const i32,
    scales: *const f32,
    elements: *const (),
    /// Elements from a row to the next.
    row: usize,
    output: &'a Output,
    stride: usize,
    /// Channels to be stored.
    valid: usize,
    residual: *const u8,
    to: *mut u8,
}

/// [`Tiles`] of a panel of `R` registers; a function of its own, since with all the shapes of tiles in
/// one the compiler would take minutes.
struct Panelled<'a, const R: usize, const ADD: bool>(Tiles<'a>);

impl<const R: usize, const ADD: bool> Kernel for Panelled<'_, R, ADD> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        const { assert!(R <= 4) };
        if R > S::PANEL {
            return;
        }
        let Self(mut tiles) = self;
        // Tiles of even size: fewer registers idle than in a small last one.
        let count = tiles.pixels.div_ceil(tallest::<S>(R));
        for i in 0..count {
            let pixels = tiles.pixels / count + usize::from(i < tiles.pixels % count);
            // SAFETY: the tiles have `pixels` rows together.
            unsafe {
                match pixels {
                    1 => tiles.tile::<S, ADD, 1, R>(simd),
                    2 => tiles.tile::<S, ADD, 2, R>(simd),
                    3 => tiles.tile::<S, ADD, 3, R>(simd),
                    4 => tiles.tile::<S, ADD, 4, R>(simd),
                    5 => tiles.tile::<S, ADD, 5, R>(simd),
                    6 => tiles.tile::<S, ADD, 6, R>(simd),
                    _ if const { tallest::<S>(R) == TILE } => unreachable!(),
                    7 => tiles.tile::<S, ADD, 7, R>(simd),
                    _ => tiles.tile::<S, ADD, 8, R>(simd),
                }
            }
            tiles.elements =
                tiles.elements.cast::<S::Element>().wrapping_add(pixels * tiles.row).cast();
            tiles.residual = tiles.residual.wrapping_add(pixels * tiles.stride);
            tiles.to = tiles.to.wrapping_add(pixels * tiles.stride);
        }
    }
}

impl Tiles<'_> {
    /// # Safety
    /// The pointers hold `P` pixels more, and `R` registers of what the panel needs.
    #[inline(always)]
    unsafe fn tile<S: Simd, const ADD: bool, const P: usize, const R: usize>(&self, simd: S) {
        // SAFETY: the caller's promise.
        let (sums, scales, limits) = unsafe {
            let load = |at: usize| {
                if S::WIDENS {
                    simd.operand(self.wide.cast::<S::Element>().add(at))
                } else {
                    simd.weights(self.weights.add(at))
                }
            };
            let elements = self.elements.cast();
            let sums = tile::<S, P, R>(simd, self.groups, elements, self.row, load, self.bias);
            let mut scales = [simd.floats(self.scales); R];
            for r in 1..R {
                scales[r] = simd.floats(self.scales.add(r * S::LANES));
            }
            (sums, scales, self.output.limits(simd))
        };
        // Four by four; the last four may repeat the last register.
        macro_rules! store {
            ($residual:expr, $to:expr, $stride:expr) => {
                unrolled!(i < (P * R).div_ceil(4) => {
                    let mut four = [sums[0][0]; 4];
                    let mut of = [scales[0]; 4];
                    let mut residual = [std::ptr::null(); 4];
                    let mut to = [std::ptr::null_mut(); 4];
                    unrolled!(j < 4 => {
                        let at = (4 * i + j).min(P * R - 1);
                        let (p, r) = (at / R, at % R);
                        four[j] = sums[p][r];
                        of[j] = scales[r];
                        residual[j] = $residual.wrapping_add(p * $stride + r * S::LANES);
                        to[j] = $to.wrapping_add(p * $stride + r * S::LANES);
                    });
                    // SAFETY: each pixel has R registers of bytes.
                    unsafe { self.output.finish::<S, ADD>(simd, four, of, limits, residual, to) };
                })
            };
        }
        if self.valid == R * S::LANES {
            store!(self.residual, self.to, self.stride);
        } else {
            let mut edge = Edge::new();
            if ADD {
                // SAFETY: the caller's promise: there are `valid` bytes a pixel.
                unsafe { edge.load(self.residual, self.stride, self.valid, P) };
            }
            store!(edge.residual.as_ptr(), edge.to.as_mut_ptr(), 64);
            // SAFETY: likewise.
            unsafe { edge.store(self.to, self.stride, self.valid, P) };
        }
    }
}

/// Whole registers in place of pixels that have fewer channels.
struct Edge {
    residual: [u8; 64 * PIXELS],
    to: [u8; 64 * PIXELS],
}

impl Edge {
    #[inline(always)]
    fn new() -> Self {
        Self { residual: [0; 64 * PIXELS], to: [0; 64 * PIXELS] }
    }

    /// # Safety
    /// `from` holds `valid` bytes of each pixel.
    unsafe fn load(&mut self, from: *const u8, stride: usize, valid: usize, pixels: usize) {
        for p in 0..pixels {
            // SAFETY: as above.
            let bytes = unsafe { std::slice::from_raw_parts(from.add(p * stride), valid) };
            self.residual[p * 64..][..valid].copy_from_slice(bytes);
        }
    }

    /// # Safety
    /// `to` holds `valid` bytes of each pixel.
    unsafe fn store(&self, to: *mut u8, stride: usize, valid: usize, pixels: usize) {
        for p in 0..pixels {
            // SAFETY: as above.
            let bytes = unsafe { std::slice::from_raw_parts_mut(to.add(p * stride), valid) };
            bytes.copy_from_slice(&self.to[p * 64..][..valid]);
        }
    }
}

/// The accumulators of `P` pixels by `R` registers of output channels.
///
/// # Safety
/// As for [`Simd`]: `elements` holds `P` rows of `groups` groups, `row` elements apart; `load` gives
/// the weights from any of `groups` times `R` registers, `bias` holds `R` registers.
#[inline(always)]
unsafe fn tile<S: Simd, const P: usize, const R: usize>(
    simd: S,
    groups: usize,
    elements: *const S::Element,
    row: usize,
    load: impl Fn(usize) -> S::Operand,
    bias: *const i32,
) -> [[S::Sum; R]; P] {
    // SAFETY: all offsets lie within what the caller promises.
    unsafe {
        let mut start = [simd.sums(bias); R];
        for r in 1..R {
            start[r] = simd.sums(bias.add(r * S::LANES));
        }
        let mut sums = [start; P];
        let mut pixels = [elements; P];
        for p in 1..P {
            pixels[p] = opaque(elements.add(p * row));
        }
        for group in 0..groups {
            let at = group * R * S::LANES * S::GROUP;
            let mut weights = [load(at); R];
            for r in 1..R {
                weights[r] = load(at + r * S::LANES * S::GROUP);
            }
            for p in 0..P {
                let element = simd.broadcast(pixels[p].add(group * S::GROUP));
                for r in 0..R {
                    sums[p][r] = simd.dot(sums[p][r], element, weights[r]);
                }
            }
        }
        sums
    }
}

/// The same pointer, but the compiler does not know that: it would compute the pixels' addresses
/// from one another in every step, which the loop has no time for.
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
