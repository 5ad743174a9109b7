//! Products of a matrix of pixels and a matrix of weights: the inner part of dense convolutions and
//! of linear layers.
//!
//! The outputs are computed in tiles of five or six pixels by one panel of output channels, whose
//! accumulators stay in registers while the inputs go by. The arrays of registers are indexed by
//! constants only once the loops over them are unrolled: anything else would keep them in memory.

use std::ops::Range;

use super::scratch::Weights;
use super::{Kernel, Output, Simd, opaque, prefetch, start, unrolled};
use crate::int8::expect_len;

/// Pixels of a tile at most.
const PIXELS: usize = 6;

/// Channels of a register, where the inputs of all pixels are taken a register after the other.
pub(super) const PLANE: usize = 16;

/// Pixels of a tile. There may be registers for more than 20 sums, but while a tile's sums are finished
/// the next one's products are added up, which takes longer where they are more.
pub(in crate::int8) const fn tile_pixels<S: Simd>() -> usize {
    if S::PANEL == 4 { 5 } else { PIXELS }
}

/// Weights packed for one instruction set.
#[derive(Debug, Clone)]
pub(in crate::int8) struct Matrix {
    panels: Vec<Panel>,
    /// Panel, segment, group of inputs, register, output channel, input.
    weights: Weights,
    /// The input's zero point is folded in.
    bias: Vec<i32>,
    scales: Vec<f32>,
    /// Of a segment.
    groups: usize,
    segments: usize,
    inputs: usize,
    outputs: usize,
}

/// Pixels to be multiplied: the inputs of each are some segments of elements.
#[derive(Debug, Clone, Copy)]
pub(in crate::int8) struct Pixels<'a, E> {
    pub elements: &'a [E],
    pub count: usize,
    /// Elements from a pixel to the next.
    pub step: usize,
    /// Elements from a segment to the next.
    pub line: usize,
}

#[derive(Debug, Clone)]
struct Panel {
    /// Packed output channels before it.
    first: usize,
    registers: usize,
    /// The first output channel.
    channel: usize,
    /// How far from it that of the last register is: the last register of all may overlap the one
    /// before it.
    last: usize,
    /// Whether the half of the last register that overlaps is not added up twice.
    half: bool,
    /// Whether the sums are raised: see [`super::RAISE`].
    raised: bool,
}

impl Matrix {
    /// Packs `weights`, a row an output: `segments` of as many weights each. The sums of outputs that are
    /// `raisable` are raised, if all of a panel are.
    pub fn new<S: Simd>(
        weights: &[i8],
        [segments, length]: [usize; 2],
        bias: &[i32],
        scales: &[f32],
        raisable: &[bool],
        input_zero_point: u8,
    ) -> Self {
        let outputs = bias.len();
        let inputs = segments * length;
        let row = |output: usize| &weights[output * inputs..][..inputs];
        let groups = length.div_ceil(S::GROUP).max(1);
        let zero: i32 = S::element(input_zero_point).into();
        // Panels of even size: a small last one would have too few sums to add to at a time.
        let registers = outputs.div_ceil(S::LANES);
        let panels = registers.div_ceil(S::PANEL);
        // What lies beyond the inputs and outputs stays 0.
        let channels = registers * S::LANES;
        let mut matrix = Self {
            panels: Vec::new(),
            weights: Weights::new(channels * segments * groups * S::GROUP),
            bias: vec![0; channels],
            scales: vec![0.0; channels],
            groups,
            segments,
            inputs,
            outputs,
        };
        let mut first = 0;
        for panel in 0..panels {
            let registers = registers / panels + usize::from(panel < registers % panels);
            let channels = registers * S::LANES;
            let end = outputs.saturating_sub(S::LANES);
            let channel = first.min(end);
            let last = (channels - S::LANES).min(end - channel);
            // How far the last register reaches back.
            let overlap = channels - S::LANES - last;
            // The output of each lane, where it has one.
            let output = |lane: usize| {
                let ahead = if lane < channels - S::LANES { 0 } else { overlap };
                Some(channel + lane - ahead).filter(|&output| output < outputs)
            };
            let raised = (0..channels).filter_map(output).all(|output| raisable[output]);
            // Few layers have both, which would take kernels of their own.
            let half = S::HALVES && registers > 1 && overlap == S::LANES / 2 && !raised;
            matrix.panels.push(Panel { first, registers, channel, last, half, raised });
            // The output whose products each lane adds up.
            let summed = |lane: usize| match half {
                true => Some(channel + lane).filter(|&output| output < outputs),
                false => output(lane),
            };
            let packed = &mut matrix.weights[first * segments * groups * S::GROUP..];
            let packed = packed.chunks_exact_mut(channels * S::GROUP).take(segments * groups);
            for (at, packed) in packed.enumerate() {
                let (segment, group) = (at / groups, at % groups);
                for (lane, packed) in packed.chunks_exact_mut(S::GROUP).enumerate() {
                    let Some(output) = summed(lane) else { break };
                    let rest = &row(output)[segment * length..][group * S::GROUP..length];
                    match rest.get(..S::GROUP) {
                        Some(weights) => packed.copy_from_slice(weights),
                        None => packed[..rest.len()].copy_from_slice(rest),
                    }
                }
            }
            for lane in 0..channels {
                if let Some(output) = summed(lane) {
                    matrix.bias[first + lane] = start(bias[output], row(output), zero, raised);
                }
                if let Some(output) = output(lane) {
                    matrix.scales[first + lane] = scales[output];
                }
            }
            first += channels;
        }
        matrix
    }

    /// The length of a segment of elements: the inputs, filled up to whole groups. What it is filled
    /// with does not matter.
    pub fn segment<S: Simd>(&self) -> usize {
        self.groups * S::GROUP
    }

    /// The length of all segments.
    pub fn row<S: Simd>(&self) -> usize {
        self.segments * self.segment::<S>()
    }

    /// How many elements the weights of a panel become, where they do.
    pub fn wide<S: Simd>(&self) -> usize {
        if S::WIDENS { self.row::<S>() * S::PANEL * S::LANES } else { 0 }
    }

    /// Multiplies pixels. Output and residual have `stride` bytes a pixel, the first of which is the first
    /// output's. `wide` is room for [`Matrix::wide`] elements.
    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "the buffers differ from call to call")]
    pub fn multiply<S: Simd>(
        &self,
        simd: S,
        pixels: Pixels<S::Element>,
        wide: &mut [S::Element],
        output: &Output,
        stride: usize,
        residual: Option<&[u8]>,
        to: &mut [u8],
    ) {
        if self.outputs == 0 || pixels.count == 0 {
            return;
        }
        let last = (pixels.count - 1) * pixels.step + (self.segments - 1) * pixels.line;
        assert!(pixels.elements.len() >= last + self.segment::<S>());
        assert!(to.len() >= (pixels.count - 1) * stride + self.outputs);
        assert_eq!(residual.is_some(), output.residual.is_some());
        assert!(residual.is_none_or(|residual| residual.len() >= to.len()));
        for panel in &self.panels {
            let weights = &self.weights[panel.first * self.row::<S>()..];
            if S::WIDENS {
                let count = self.row::<S>() * panel.registers * S::LANES;
                assert!(weights.len() >= count && wide.len() >= count);
                // SAFETY: both hold as many.
                unsafe { simd.widen(weights.as_ptr(), wide.as_mut_ptr(), count) };
            }
            let tiles = Tiles {
                pixels: pixels.count,
                groups: self.groups,
                segments: self.segments,
                weights: weights.as_ptr(),
                ahead: weights.as_ptr().wrapping_add(self.row::<S>() * panel.registers * S::LANES),
                wide: wide.as_ptr().cast(),
                bias: self.bias[panel.first..].as_ptr(),
                scales: self.scales[panel.first..].as_ptr(),
                elements: pixels.elements.as_ptr().cast(),
                step: pixels.step,
                line: pixels.line,
                output,
                stride,
                last: panel.last,
                valid: self.outputs.min(S::LANES),
                residual: match residual {
                    Some(residual) => residual[panel.channel..].as_ptr(),
                    None => std::ptr::null(),
                },
                to: to[panel.channel..].as_mut_ptr(),
            };
            macro_rules! run {
                ($registers:literal) => {
                    match (panel.raised, panel.half, residual.is_some()) {
                        (true, ..) => simd.run(Panelled::<$registers, true, false, false>(tiles)),
                        (_, false, false) => {
                            simd.run(Panelled::<$registers, false, false, false>(tiles));
                        }
                        (_, false, true) => {
                            simd.run(Panelled::<$registers, false, false, true>(tiles));
                        }
                        (_, true, false) => {
                            simd.run(Panelled::<$registers, false, true, false>(tiles));
                        }
                        (_, true, true) => {
                            simd.run(Panelled::<$registers, false, true, true>(tiles));
                        }
                    }
                };
            }
            match panel.registers {
                1 => run!(1),
                2 => run!(2),
                3 => run!(3),
                _ => run!(4),
            }
        }
    }

    /// Whether the inputs of a pixel need not be filled up to whole groups.
    pub fn is_filled<S: Simd>(&self) -> bool {
        self.inputs == self.row::<S>()
    }

    /// Of a pixel.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Of a pixel.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// The same, but it takes the inputs of all pixels a register after the other.
    ///
    /// # Panics
    /// If they are no whole registers.
    pub fn planar(&self) -> Self {
        assert!(self.segments == 1 && self.inputs > 0 && self.inputs.is_multiple_of(PLANE));
        let segments = self.inputs / PLANE;
        Self { segments, groups: self.groups / segments, ..self.clone() }
    }

    /// Panels of output channels.
    pub fn panels(&self) -> usize {
        self.panels.len()
    }

    /// The registers of output channels of a panel.
    pub fn registers<S: Simd>(&self, panel: usize) -> Range<usize> {
        let Panel { first, registers, .. } = self.panels[panel];
        first / S::LANES..first / S::LANES + registers
    }

    /// Multiplies pixels of four rows by a panel, and puts the bytes of each column together, channel by
    /// channel: `columns` groups a register of channels, the registers `plane` elements apart. Of the
    /// rows only some may be there: the first of these is the beginning of `input`, the next follow
    /// `pitch` bytes apart. The bytes of the others are the zero point.
    ///
    /// # Panics
    /// If groups are not of four bytes, or the inputs of a pixel no whole groups.
    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "a picture in, groups out")]
    pub fn expand<S: Simd>(
        &self,
        simd: S,
        panel: usize,
        (input, pitch): (&[u8], usize),
        rows: Range<usize>,
        columns: usize,
        output: &Output,
        (to, plane): (&mut [S::Element], usize),
    ) {
        let panel = &self.panels[panel];
        let elements = S::elements(input).expect("bytes are elements");
        assert!(S::GROUP == 4 && self.segments == 1 && self.is_filled::<S>() && rows.end <= 4);
        let last = rows.len().saturating_sub(1) * pitch;
        assert!(rows.is_empty() || elements.len() >= last + columns * self.inputs);
        assert!(to.len() >= (panel.registers - 1) * plane + columns * S::LANES * S::GROUP);
        let groups = Groups {
            rows,
            elements: elements.as_ptr().cast(),
            pitch,
            columns,
            step: self.inputs,
            inputs: self.groups,
            weights: self.weights[panel.first * self.row::<S>()..].as_ptr(),
            bias: self.bias[panel.first..].as_ptr(),
            scales: self.scales[panel.first..].as_ptr(),
            output,
            plane,
            to: to.as_mut_ptr().cast(),
        };
        macro_rules! run {
            ($registers:literal) => {
                match panel.raised {
                    true => simd.run(Grouped::<$registers, true>(groups)),
                    false => simd.run(Grouped::<$registers, false>(groups)),
                }
            };
        }
        match panel.registers {
            1 => run!(1),
            2 => run!(2),
            3 => run!(3),
            _ => run!(4),
        }
    }

    /// Multiplies one row of elements to real numbers.
    #[inline(always)]
    pub fn multiply_to_floats<S: Simd>(&self, simd: S, elements: &[S::Element], to: &mut [f32]) {
        expect_len("row", elements.len(), self.segment::<S>());
        assert_eq!(self.segments, 1);
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
                    ($registers:literal, $half:literal) => {{
                        let row = elements.as_ptr();
                        let (weights, bias) = (weights.as_ptr(), bias.as_ptr());
                        let load = |group: usize, r: usize| {
                            let at = (group * $registers + r) * S::LANES * S::GROUP;
                            simd.weights(weights.add(at))
                        };
                        let size = [1, self.groups];
                        let [sums] =
                            tile::<S, 1, $registers, $half>(simd, size, row, [0, 0], load, bias);
                        for (r, sum) in sums.into_iter().enumerate() {
                            let scale = simd.scales(scales.as_ptr().add(r * S::LANES));
                            simd.store_floats(sum, scale, floats.as_mut_ptr().add(r * S::LANES));
                        }
                    }};
                }
                match (panel.registers, panel.half) {
                    (1, _) => panel!(1, false),
                    (2, false) => panel!(2, false),
                    (2, true) => panel!(2, true),
                    (3, false) => panel!(3, false),
                    (3, true) => panel!(3, true),
                    (_, false) => panel!(4, false),
                    (_, true) => panel!(4, true),
                }
            }
            let valid = self.outputs.min(S::LANES);
            for r in 0..panel.registers {
                let channel = if r + 1 < panel.registers { r * S::LANES } else { panel.last };
                to[panel.channel + channel..][..valid]
                    .copy_from_slice(&floats[r * S::LANES..][..valid]);
            }
        }
    }
}

/// Multiplies the pixels of a picture whose registers of channels lie one after the other, each of all
/// pixels.
pub(in crate::int8) struct Project<'a> {
    pub matrix: &'a Matrix,
    pub picture: &'a [u8],
    pub output: &'a Output,
    /// Of the same pixels as `to`.
    pub residual: Option<&'a [u8]>,
    pub to: &'a mut [u8],
}

impl Kernel for Project<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { matrix, picture, output, residual, to } = self;
        let elements = S::elements(picture).expect("bytes are elements");
        let count = picture.len() / matrix.inputs;
        let pixels = Pixels { elements, count, step: PLANE, line: count * PLANE };
        matrix.multiply(simd, pixels, &mut [], output, matrix.outputs, residual, to);
    }
}

/// The tiles of a panel. The pointers hold the elements of `pixels` pixels, their bytes, and what the
/// panel needs.
struct Tiles<'a> {
    pixels: usize,
    segments: usize,
    /// Of a segment.
    groups: usize,
    weights: *const i8,
    /// What is fetched meanwhile: the next panel's weights, a part of them by each of the first tiles.
    ahead: *const i8,
    /// The weights as elements, where the instruction set wants them so.
    wide: *const (),
    bias: *const i32,
    scales: *const f32,
    elements: *const (),
    /// Elements from a pixel to the next.
    step: usize,
    /// Elements from a segment to the next.
    line: usize,
    output: &'a Output,
    stride: usize,
    /// How far from the first channel that of the last register is.
    last: usize,
    /// Channels of a register: fewer than `LANES` if there are no more.
    valid: usize,
    residual: *const u8,
    to: *mut u8,
}

/// [`Tiles`] of a panel of `R` registers; a function of its own, since with all the shapes of tiles in
/// one the compiler would take minutes.
struct Panelled<'a, const R: usize, const RAISED: bool, const HALF: bool, const ADD: bool>(
    Tiles<'a>,
);

impl<const R: usize, const RAISED: bool, const HALF: bool, const ADD: bool> Kernel
    for Panelled<'_, R, RAISED, HALF, ADD>
{
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        const { assert!(R <= 4) };
        if R > S::PANEL || HALF && (R == 1 || !S::HALVES) {
            return;
        }
        let Self(mut tiles) = self;
        // Tiles of even size: fewer registers idle than in a small last one.
        let count = tiles.pixels.div_ceil(tile_pixels::<S>());
        for i in 0..count {
            let pixels = tiles.pixels / count + usize::from(i < tiles.pixels % count);
            // SAFETY: the tiles have `pixels` rows together.
            unsafe {
                match pixels {
                    1 => tiles.tile::<S, RAISED, HALF, ADD, 1, R>(simd),
                    2 => tiles.tile::<S, RAISED, HALF, ADD, 2, R>(simd),
                    3 => tiles.tile::<S, RAISED, HALF, ADD, 3, R>(simd),
                    4 => tiles.tile::<S, RAISED, HALF, ADD, 4, R>(simd),
                    5 => tiles.tile::<S, RAISED, HALF, ADD, 5, R>(simd),
                    _ if const { tile_pixels::<S>() == 5 } => unreachable!(),
                    _ => tiles.tile::<S, RAISED, HALF, ADD, 6, R>(simd),
                }
            }
            tiles.elements =
                tiles.elements.cast::<S::Element>().wrapping_add(pixels * tiles.step).cast();
            if i + 1 < R {
                let fetched = tiles.segments * tiles.groups * S::LANES * S::GROUP;
                tiles.ahead = tiles.ahead.wrapping_add(fetched);
            }
            tiles.residual = tiles.residual.wrapping_add(pixels * tiles.stride);
            tiles.to = tiles.to.wrapping_add(pixels * tiles.stride);
        }
    }
}

/// Groups of bytes of four rows. The pointers hold `columns` pixels a row and groups a register, and what the
/// panel needs.
struct Groups<'a> {
    /// Those of the four rows that there are.
    rows: Range<usize>,
    /// The first of these.
    elements: *const (),
    /// Elements from a row to the next.
    pitch: usize,
    columns: usize,
    /// Elements from a pixel to the next.
    step: usize,
    /// Groups of inputs of a pixel.
    inputs: usize,
    weights: *const i8,
    bias: *const i32,
    scales: *const f32,
    output: &'a Output,
    /// Elements from a register's groups to the next one's.
    plane: usize,
    to: *mut (),
}

/// [`Groups`] of a panel of `R` registers.
struct Grouped<'a, const R: usize, const RAISED: bool>(Groups<'a>);

impl<const R: usize, const RAISED: bool> Kernel for Grouped<'_, R, RAISED> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        if R > S::PANEL {
            return;
        }
        let Self(groups) = self;
        let (size, pitch) = ([1, groups.inputs], [groups.pitch, 0]);
        let mut to = groups.to.cast::<S::Element>();
        // SAFETY: there is what the pointers are said to hold.
        unsafe {
            let load = |group: usize, r: usize| {
                simd.weights(groups.weights.add((group * R + r) * S::LANES * S::GROUP))
            };
            let mut scales = [simd.scales(groups.scales); R];
            for r in 1..R {
                scales[r] = simd.scales(groups.scales.add(r * S::LANES));
            }
            let limits = groups.output.limits(simd);
            let none = simd.sums([0; 16].as_ptr());
            for column in 0..groups.columns {
                let at = groups.elements.cast::<S::Element>().add(column * groups.step);
                macro_rules! store {
                    ($sums:expr) => {{
                        let sums: [[S::Sum; R]; 4] = $sums;
                        unrolled!(r < R => {
                            let mut four = [none; 4];
                            unrolled!(p < 4 => {
                                four[p] = simd.scale::<RAISED>(sums[p][r], scales[r]);
                            });
                            simd.store_groups::<RAISED>(four, limits, to.add(r * groups.plane));
                        });
                    }};
                }
                macro_rules! rows {
                    ($rows:literal) => {{
                        let made: [_; $rows] =
                            tile::<S, $rows, R, false>(simd, size, at, pitch, load, groups.bias);
                        let mut sums = [[none; R]; 4];
                        sums[groups.rows.start..][..$rows].copy_from_slice(&made);
                        store!(sums);
                    }};
                }
                match groups.rows.len() {
                    0 => store!([[none; R]; 4]),
                    1 => rows!(1),
                    2 => rows!(2),
                    3 => rows!(3),
                    _ => store!(tile::<S, 4, R, false>(simd, size, at, pitch, load, groups.bias)),
                }
                to = to.add(S::LANES * S::GROUP);
            }
        }
    }
}

impl Tiles<'_> {
    /// # Safety
    /// The pointers hold `P` pixels more, and `R` registers of what the panel needs.
    #[inline(always)]
    unsafe fn tile<
        S: Simd,
        const RAISED: bool,
        const HALF: bool,
        const ADD: bool,
        const P: usize,
        const R: usize,
    >(
        &self,
        simd: S,
    ) {
        // SAFETY: the caller's promise.
        let (sums, scales, limits) = unsafe {
            let load = |group: usize, r: usize| {
                let size = S::LANES * S::GROUP;
                let at = (group * R + r) * size;
                if S::WIDENS {
                    return simd.operand(self.wide.cast::<S::Element>().add(at));
                }
                if r == 0 {
                    prefetch(self.ahead.wrapping_add(group * size).cast());
                }
                simd.weights(self.weights.add(at))
            };
            let elements = self.elements.cast();
            let (size, steps) = ([self.segments, self.groups], [self.step, self.line]);
            let sums = tile::<S, P, R, HALF>(simd, size, elements, steps, load, self.bias);
            let mut scales = [simd.scales(self.scales); R];
            for r in 1..R {
                scales[r] = simd.scales(self.scales.add(r * S::LANES));
            }
            (sums, scales, self.output.limits(simd))
        };
        // Four by four; the last four may repeat the last register.
        macro_rules! store {
            ($residual:expr, $to:expr, $stride:expr, $row:expr) => {
                unrolled!(i < (P * R).div_ceil(4) => {
                    let mut four = [sums[0][0]; 4];
                    let mut to = [std::ptr::null_mut(); 4];
                    // SAFETY: each pixel has R registers of bytes, and of the residual if `ADD`.
                    unsafe {
                        unrolled!(j < 4 => {
                            let at = (4 * i + j).min(P * R - 1);
                            let (p, r) = (at / R, at % R);
                            let channel = if r + 1 < R { r * S::LANES } else { self.last };
                            let place = p * $stride + channel;
                            four[j] = simd.scale::<RAISED>(sums[p][r], scales[r]);
                            if ADD {
                                let residual = $residual.wrapping_add(place);
                                four[j] = simd.add(four[j], residual, self.output);
                            }
                            to[j] = $to.wrapping_add(place);
                        });
                        if $row {
                            simd.store_row::<RAISED>(four, limits, (P * R - 4 * i).min(4), to[0]);
                        } else {
                            simd.store::<RAISED>(four, limits, to);
                        }
                    }
                })
            };
        }
        if self.valid == S::LANES {
            // Whether the bytes of each four lie one behind another.
            let row = self.last == (R - 1) * S::LANES && (R == 4 || self.stride == R * S::LANES);
            if row {
                store!(self.residual, self.to, self.stride, true);
            } else {
                store!(self.residual, self.to, self.stride, false);
            }
        } else {
            let mut edge = Edge::new();
            if ADD {
                // SAFETY: the caller's promise: there are `valid` bytes a pixel.
                unsafe { edge.load(self.residual, self.stride, self.valid, P) };
            }
            store!(edge.residual.as_ptr(), edge.to.as_mut_ptr(), 16, false);
            // SAFETY: likewise.
            unsafe { edge.store(self.to, self.stride, self.valid, P) };
        }
    }
}

/// A whole register in place of pixels that have fewer channels.
struct Edge {
    residual: [u8; 16 * PIXELS],
    to: [u8; 16 * PIXELS],
}

impl Edge {
    #[inline(always)]
    fn new() -> Self {
        Self { residual: [0; 16 * PIXELS], to: [0; 16 * PIXELS] }
    }

    /// # Safety
    /// `from` holds `valid` bytes of each pixel.
    unsafe fn load(&mut self, from: *const u8, stride: usize, valid: usize, pixels: usize) {
        for p in 0..pixels {
            // SAFETY: as above.
            let bytes = unsafe { std::slice::from_raw_parts(from.add(p * stride), valid) };
            self.residual[p * 16..][..valid].copy_from_slice(bytes);
        }
    }

    /// # Safety
    /// `to` holds `valid` bytes of each pixel.
    unsafe fn store(&self, to: *mut u8, stride: usize, valid: usize, pixels: usize) {
        for p in 0..pixels {
            // SAFETY: as above.
            let bytes = unsafe { std::slice::from_raw_parts_mut(to.add(p * stride), valid) };
            bytes.copy_from_slice(&self.to[p * 16..][..valid]);
        }
    }
}

/// The accumulators of `P` pixels by `R` registers of output channels. If `HALF`, of the last register
/// only the first half is added up, and then put behind the last half of the one before it.
///
/// # Safety
/// As for [`Simd`]: `elements` holds `P` pixels, `step` elements apart, of some segments, `line` elements
/// apart, of some groups; `load` gives the weights of any of as many groups and of `R` registers, `bias`
/// holds `R` registers.
#[inline(always)]
unsafe fn tile<S: Simd, const P: usize, const R: usize, const HALF: bool>(
    simd: S,
    [segments, groups]: [usize; 2],
    elements: *const S::Element,
    [step, line]: [usize; 2],
    load: impl Fn(usize, usize) -> S::Operand,
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
            pixels[p] = opaque(elements.add(p * step));
        }
        // Elements that are not the bytes themselves are gathered, to one segment.
        let segments = if S::elements(&[]).is_some() { segments } else { 1 };
        for segment in 0..segments {
            for group in 0..groups {
                let at = segment * groups + group;
                let mut weights = [load(at, 0); R];
                for r in 1..R {
                    weights[r] = load(at, r);
                }
                for p in 0..P {
                    let element = simd.broadcast(pixels[p].add(group * S::GROUP));
                    for r in 0..R {
                        sums[p][r] = if HALF && r + 1 == R {
                            simd.dot_half(sums[p][r], element, weights[r])
                        } else {
                            simd.dot(sums[p][r], element, weights[r])
                        };
                    }
                }
            }
            for p in 0..P {
                pixels[p] = pixels[p].wrapping_add(line);
            }
        }
        if HALF && R > 1 {
            for p in 0..P {
                sums[p][R - 1] = simd.joined(sums[p][R - 2], sums[p][R - 1]);
            }
        }
        sums
    }
}
