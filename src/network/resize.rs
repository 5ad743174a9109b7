//! Pictures stretched to the network's input: bilinear, and averaged where they shrink.
//!
//! The tables of weights are kept from frame to frame, so that a stream of frames of one size
//! allocates nothing. Numbers are unsigned 8.8 fixed point between the two passes.

use multiversion::multiversion;

use crate::geometry::Size;

/// Stretches pictures to one size.
#[derive(Debug)]
pub(super) struct Resizer {
    to: Size,
    from: Size,
    rows: Taps,
    columns: Taps,
    /// The weights of the columns, two neighbours at a time, each as often as a pixel has numbers.
    pairs: Vec<[u16; LANES]>,
    /// One row of the picture once it has its height, and what is loaded beyond it.
    row: Vec<u16>,
    /// The sums of one row of the result, and of one pixel more.
    sums: Vec<[u16; LANES]>,
    stretched: Vec<Pixel>,
}

/// Numbers that are multiplied at a time: those of two neighbours, and two of no account.
const LANES: usize = 2 * CHANNELS + 2;
const CHANNELS: usize = 3;

/// Red, green, blue; the rest is of no account.
pub(super) type Pixel = [u8; LANES];

/// Which neighbours make up each target place along one side, and what each of them weighs.
#[derive(Debug, Default)]
struct Taps {
    /// How many neighbours make up a place; the same for all, so that some weigh nothing.
    count: usize,
    /// The first of them, a place.
    starts: Vec<usize>,
    /// `count` weights a place, which add up to [`ONE`].
    weights: Vec<u16>,
}

/// The sum of the weights; a fraction of 65536.
const ONE: f64 = 65535.0;

/// The largest distance of a neighbour, in source pixels. Where more of them fall on one target
/// pixel, those farther from its centre are left out: the products of their small weights would
/// vanish.
const REACH: f64 = 128.0;

impl Taps {
    /// A triangle as wide as two pixels of the coarser side, around the centre of each target.
    fn fill(&mut self, sources: usize, targets: usize) {
        let scale = sources as f64 / targets as f64;
        let reach = scale.clamp(1.0, REACH);
        self.count = ((2.0 * reach).ceil() as usize).min(sources);
        self.starts.clear();
        self.weights.clear();
        for target in 0..targets {
            let centre = (target as f64 + 0.5) * scale;
            let first = (centre - reach + 0.5).max(0.0) as usize;
            let start = first.min(sources - self.count);
            let neighbours = start..start + self.count;
            let weight =
                |source: usize| (1.0 - (source as f64 + 0.5 - centre).abs() / reach).max(0.0);
            let total: f64 = neighbours.clone().map(weight).sum();
            // Differences of rounded sums, so that they add up exactly.
            let (mut sum, mut before) = (0.0, 0.0);
            self.weights.extend(neighbours.map(|source| {
                sum += weight(source);
                let after = (sum / total * ONE).round();
                let step = after - before;
                before = after;
                step as u16
            }));
            self.starts.push(start);
        }
    }

    /// What a sum starts from: half of what its products lose by being cut off, but so little that
    /// black, which loses nothing, stays black.
    fn loss(&self) -> u16 {
        (self.count / 2).min(63) as u16
    }
}

impl Resizer {
    pub(super) fn new(to: Size) -> Self {
        Self {
            to,
            from: Size::default(),
            rows: Taps::default(),
            columns: Taps::default(),
            pairs: Vec::new(),
            row: Vec::new(),
            sums: vec![[0; LANES]; to.width as usize + 1],
            stretched: vec![[0; LANES]; to.width as usize],
        }
    }

    /// Hands the rows of a picture of size `from`, stretched, to `each`, from the top.
    ///
    /// # Panics
    /// Where `rgb` is not `3 * from.width * from.height` bytes, or none.
    pub(super) fn resize(&mut self, rgb: &[u8], from: Size, mut each: impl FnMut(usize, &[Pixel])) {
        let (width, height) = (from.width as usize, from.height as usize);
        assert!(
            !rgb.is_empty() && rgb.len() == CHANNELS * width * height,
            "not a picture of {from}"
        );
        if self.from != from {
            self.fit(from);
        }
        let stride = CHANNELS * width;
        let (loss, count) = (self.rows.loss(), self.rows.count);
        let weights = self.rows.weights.chunks_exact(count);
        for (y, (start, weights)) in self.rows.starts.iter().zip(weights).enumerate() {
            let sources = &rgb[start * stride..(start + count) * stride];
            mix_rows(sources, weights, loss, &mut self.row[..stride]);
            mix_columns(&self.row, &self.columns, &self.pairs, &mut self.sums);
            add_halves(&self.sums, &mut self.stretched);
            each(y, &self.stretched);
        }
    }

    fn fit(&mut self, from: Size) {
        let (width, height) = (from.width as usize, from.height as usize);
        self.rows.fill(height, self.to.height as usize);
        self.columns.fill(width, self.to.width as usize);
        self.pairs.clear();
        for weights in self.columns.weights.chunks_exact(self.columns.count) {
            self.pairs.extend(weights.chunks(2).map(|pair| {
                let [a, b] = [pair[0], pair.get(1).copied().unwrap_or(0)];
                [a, a, a, b, b, b, 0, 0]
            }));
        }
        self.row.resize(CHANNELS * width + LANES, 0);
        self.from = from;
    }
}

/// The weighted sums of a row's neighbours, whose weights lie in pairs: of the first of each pair,
/// and [`CHANNELS`] lanes further of the second.
#[multiversion(targets("x86_64+avx512bw+avx512vl", "x86_64+avx2"))]
fn mix_columns(row: &[u16], taps: &Taps, pairs: &[[u16; LANES]], to: &mut [[u16; LANES]]) {
    // Two sums go side by side; what they start from rounds, too.
    let start_from = taps.loss() / 2 + 64;
    let pairs = pairs.chunks_exact(taps.count.div_ceil(2));
    for ((to, &start), pairs) in to.iter_mut().zip(&taps.starts).zip(pairs) {
        let mut sums = [start_from; LANES];
        let sources = row[CHANNELS * start..].windows(LANES).step_by(2 * CHANNELS);
        for (sources, weights) in sources.zip(pairs) {
            for (sum, (&value, &weight)) in sums.iter_mut().zip(sources.iter().zip(weights)) {
                let product = u32::from(value) * u32::from(weight);
                *sum = sum.saturating_add((product >> 16) as u16);
            }
        }
        *to = sums;
    }
}

/// Adds the sums that [`mix_columns`] left apart, and makes bytes of them.
#[multiversion(targets("x86_64+avx512bw+avx512vl", "x86_64+avx2"))]
fn add_halves(sums: &[[u16; LANES]], to: &mut [Pixel]) {
    let (first, second) = (sums.as_flattened(), &sums.as_flattened()[CHANNELS..]);
    for (to, (first, second)) in to.as_flattened_mut().iter_mut().zip(first.iter().zip(second)) {
        *to = (first.saturating_add(*second) >> 8) as u8;
    }
}

/// The weighted sum of the rows that follow each other in `rows`, as 8.8 fixed point.
#[multiversion(targets("x86_64+avx512bw+avx512vl", "x86_64+avx2"))]
fn mix_rows(rows: &[u8], weights: &[u16], loss: u16, to: &mut [u16]) {
    /// As many sums as fit the registers of a small processor.
    const BLOCK: usize = 64;
    let stride = to.len();
    let rows = || rows.chunks_exact(stride).zip(weights);
    let (blocks, rest) = to.as_chunks_mut::<BLOCK>();
    let done = BLOCK * blocks.len();
    for (i, block) in blocks.iter_mut().enumerate() {
        let mut sums = [loss; BLOCK];
        for (row, &weight) in rows() {
            add_row(&row[i * BLOCK..][..BLOCK], weight, &mut sums);
        }
        *block = sums;
    }
    rest.fill(loss);
    for (row, &weight) in rows() {
        add_row(&row[done..], weight, rest);
    }
}

/// Adds 256 times each byte, times the weight, to its sum. In halves of the weight: the products
/// fit 16 bits, and more of them a register.
#[inline(always)]
fn add_row(row: &[u8], weight: u16, sums: &mut [u16]) {
    let [low, high] = weight.to_le_bytes().map(u16::from);
    for (sum, &byte) in sums.iter_mut().zip(row) {
        let byte = u16::from(byte);
        *sum = sum.saturating_add(byte * high + ((byte * low) >> 8));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn resize(rgb: &[u8], from: Size, to: Size) -> Vec<u8> {
        let mut out = Vec::new();
        Resizer::new(to).resize(rgb, from, |y, row| {
            assert_eq!(out.len(), CHANNELS * y * to.width as usize);
            out.extend(row.iter().flat_map(|pixel| &pixel[..CHANNELS]));
        });
        out
    }

    /// The weighted mean by the textbook, one pixel at a time in f64.
    fn naive(rgb: &[u8], from: Size, to: Size) -> Vec<f64> {
        let weights = |target: u32, sources: u32, targets: u32| -> Vec<f64> {
            let scale = f64::from(sources) / f64::from(targets);
            let centre = (f64::from(target) + 0.5) * scale;
            let weights: Vec<f64> = (0..sources)
                .map(|s| (1.0 - (f64::from(s) + 0.5 - centre).abs() / scale.max(1.0)).max(0.0))
                .collect();
            let sum: f64 = weights.iter().sum();
            weights.iter().map(|weight| weight / sum).collect()
        };
        let mut out = Vec::new();
        for y in 0..to.height {
            let rows = weights(y, from.height, to.height);
            for x in 0..to.width {
                let columns = weights(x, from.width, to.width);
                for c in 0..3 {
                    let mut sum = 0.0;
                    for (row, pixels) in rows.iter().zip(rgb.chunks_exact(3 * columns.len())) {
                        for (column, pixel) in columns.iter().zip(pixels.chunks_exact(3)) {
                            sum += row * column * f64::from(pixel[c]);
                        }
                    }
                    out.push(sum);
                }
            }
        }
        out
    }

    fn sides() -> impl Strategy<Value = Size> {
        (1u32..60, 1u32..60).prop_map(|(width, height)| Size { width, height })
    }

    proptest! {
        #[test]
        fn pictures_are_resized_as_by_the_textbook(
            (from, rgb) in sides().prop_flat_map(|from| {
                (Just(from), prop::collection::vec(any::<u8>(), 3 * from.area() as usize))
            }),
            to in sides(),
        ) {
            let found = resize(&rgb, from, to);
            for (found, expected) in found.iter().zip(naive(&rgb, from, to)) {
                prop_assert!((f64::from(*found) - expected).abs() < 0.75, "{found} {expected}");
            }
        }

        #[test]
        fn a_picture_of_one_colour_keeps_it(from in sides(), to in sides(), rgb: [u8; 3]) {
            let out = resize(&rgb.repeat(from.area() as usize), from, to);
            prop_assert_eq!(out, rgb.repeat(to.area() as usize));
        }
    }

    #[test]
    fn the_same_size_changes_nothing() {
        let rgb: Vec<u8> = (0..=254).collect();
        assert_eq!(resize(&rgb, Size::new(17, 5), Size::new(17, 5)), rgb);
    }

    #[test]
    fn the_widest_picture_keeps_its_colour_to_a_step() {
        let colour = [255, 128, 0];
        for from in [Size::new(64 << 20, 1), Size::new(1, 64 << 20)] {
            let out = resize(&colour.repeat(from.area() as usize), from, Size::new(3, 3));
            for (found, expected) in out.iter().zip(colour.repeat(9)) {
                assert!(found.abs_diff(expected) <= 1, "{from}: {out:?}");
            }
        }
    }

    #[test]
    fn pictures_of_several_sizes_may_follow_each_other() {
        let mut resizer = Resizer::new(Size::new(2, 1));
        for from in [Size::new(4, 4), Size::new(1, 1), Size::new(9, 2)] {
            let rgb = [7, 8, 9].repeat(from.area() as usize);
            resizer.resize(&rgb, from, |_, row| {
                assert!(row.iter().all(|pixel| pixel.starts_with(&[7, 8, 9])));
            });
        }
    }
}
