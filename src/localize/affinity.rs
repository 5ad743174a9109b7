//! Which places of a picture look alike, and maps spread among them.

use multiversion::multiversion;

use crate::localize::map::{Map, dot};
use crate::network::activations::Features;

/// The most rows and columns of the grid: the work grows with its fourth power.
const FINEST: usize = 16;

/// How far apart places may be, as the standard deviation in sides of the picture.
const REACH: f32 = 1.0 / 7.0;

/// A difference from the mean that is a smaller share of it is one of rounding.
const ROUNDING: f32 = 1e-4;

/// Cells whose values of a channel lie side by side.
const SIDE_BY_SIDE: usize = 16;

/// Cells, of those side by side, that are compared with [`SIDE_BY_SIDE`] others at a time: so many
/// sums fit the registers of most processors.
const AT_A_TIME: usize = 4;

/// How often a map is spread.
const STEPS: usize = 2;

/// How alike the places of one picture are, on a grid over early features of the network.
///
/// `A(i, j) = max(0, e_i . e_j)^2 exp(-d_ij^2 / (2 REACH^2))`, each row divided by its sum, where
/// `e_i` is the mean of the features over the cell `i`, less their mean over the picture, divided
/// by its length; and `d_ij` is the distance between cells in sides of the picture.
///
/// # Source
/// The transition matrix of Ahn and Kwak: Learning Pixel-level Semantic Affinity with Image-level
/// Supervision for Weakly Supervised Semantic Segmentation, CVPR 2018; but with features as they
/// are, in place of learned ones.
#[derive(Debug, Default)]
pub struct Affinity {
    width: usize,
    height: usize,
    /// A cell's vector after the other.
    vectors: Vec<f32>,
    /// The same, [`SIDE_BY_SIDE`] cells by channel after the other; filled up with zeros.
    blocks: Vec<[f32; SIDE_BY_SIDE]>,
    /// The last factor of `A`, which is the same for all pictures.
    near: Vec<f32>,
    /// `A` before the division.
    weights: Vec<f32>,
    /// One over the sum of each row of `weights`; 0 for a cell that is like none.
    shares: Vec<f32>,
    before: Vec<f32>,
}

impl Affinity {
    /// Compares the places of a picture; false where it has no early features.
    pub fn compare(&mut self, early: &Features) -> bool {
        if early.values.is_empty() || early.channels == 0 {
            return false;
        }
        let cells = |places: usize| places / places.div_ceil(FINEST).max(1);
        let size = (cells(early.width), cells(early.height));
        if size != self.size() {
            self.resize(size);
        }
        self.pool(early);
        self.normalize(early.channels);
        self.weigh(early.channels);
        true
    }

    /// Takes another grid: its size, and how near its cells are.
    fn resize(&mut self, (width, height): (usize, usize)) {
        (self.width, self.height) = (width, height);
        let share = |a: usize, b: usize, side: usize| a.abs_diff(b) as f32 / side as f32 / REACH;
        let cells = width * height;
        self.near.clear();
        self.near.extend((0..cells * cells).map(|pair| {
            let (i, j) = (pair / cells, pair % cells);
            let across = share(i % width, j % width, width);
            let down = share(i / width, j / width, height);
            (-0.5 * (across * across + down * down)).exp()
        }));
    }

    /// The mean of the features over each cell.
    fn pool(&mut self, early: &Features) {
        self.vectors.clear();
        self.vectors.resize(self.width * self.height * early.channels, 0.0);
        let range = |cell: usize, cells: usize, places: usize| {
            cell * places / cells..(cell + 1) * places / cells
        };
        for (cell, vector) in self.vectors.chunks_exact_mut(early.channels).enumerate() {
            let columns = range(cell % self.width, self.width, early.width);
            let rows = range(cell / self.width, self.height, early.height);
            let share = 1.0 / (columns.len() * rows.len()) as f32;
            for row in rows {
                let places = row * early.width + columns.start..row * early.width + columns.end;
                let units = places.start * early.channels..places.end * early.channels;
                for units in early.values[units].chunks_exact(early.channels) {
                    vector.iter_mut().zip(units).for_each(|(sum, unit)| *sum += share * unit);
                }
            }
        }
    }

    /// Takes the mean off each vector, and divides it by its length.
    fn normalize(&mut self, channels: usize) {
        self.before.clear();
        self.before.resize(channels, 0.0);
        let cells = (self.width * self.height) as f32;
        for vector in self.vectors.chunks_exact(channels) {
            self.before.iter_mut().zip(vector).for_each(|(mean, value)| *mean += value / cells);
        }
        let least = ROUNDING * dot(&self.before, &self.before).sqrt();
        for vector in self.vectors.chunks_exact_mut(channels) {
            vector.iter_mut().zip(&self.before).for_each(|(value, mean)| *value -= mean);
            let length = dot(vector, vector).sqrt();
            if length > least && length.is_finite() {
                vector.iter_mut().for_each(|value| *value /= length);
            } else {
                vector.fill(0.0);
            }
        }
    }

    fn weigh(&mut self, channels: usize) {
        let cells = self.width * self.height;
        self.blocks.clear();
        self.blocks.resize(channels * cells.div_ceil(SIDE_BY_SIDE), [0.0; SIDE_BY_SIDE]);
        for (i, vector) in self.vectors.chunks_exact(channels).enumerate() {
            let block = &mut self.blocks[i / SIDE_BY_SIDE * channels..][..channels];
            for (cells, &value) in block.iter_mut().zip(vector) {
                cells[i % SIDE_BY_SIDE] = value;
            }
        }
        self.weights.resize(cells * cells, 0.0);
        weigh_half(&self.blocks, channels, &self.near, &mut self.weights);
        for i in 0..cells {
            for j in 0..i {
                self.weights[j * cells + i] = self.weights[i * cells + j];
            }
        }
        // A is symmetric: the sums of its rows are those of its columns.
        self.shares.clear();
        self.shares.resize(cells, 0.0);
        for row in self.weights.chunks_exact(cells) {
            self.shares.iter_mut().zip(row).for_each(|(sum, weight)| *sum += weight);
        }
        for share in &mut self.shares {
            *share = if *share > 0.0 { 1.0 / *share } else { 0.0 };
        }
    }

    /// Columns and rows of the grid.
    pub fn size(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    /// Spreads a map of the grid's size, twice: `m <- A max(0, m)`; then divides it by its maximum
    /// and squares it, which keeps thresholds where they are without spreading. A map that is
    /// nowhere positive becomes 0.
    ///
    /// # Panics
    /// Where the map has another size.
    pub fn spread(&mut self, map: &mut Map) {
        let cells = self.shares.len();
        assert_eq!((map.width, map.height), self.size(), "a map of another grid");
        map.values.iter_mut().for_each(|value| *value = value.max(0.0));
        for _ in 0..STEPS {
            self.before.clear();
            self.before.extend_from_slice(&map.values);
            let rows = self.weights.chunks_exact(cells).zip(&self.shares);
            for (value, (row, &share)) in map.values.iter_mut().zip(rows) {
                if share > 0.0 {
                    *value = share * dot(row, &self.before);
                }
            }
        }
        let highest = map.highest();
        if highest > 0.0 {
            map.values.iter_mut().for_each(|value| *value = (*value / highest).powi(2));
        }
    }
}

/// The weights of each cell with those before it, and with itself.
// Iterators would keep the sums in memory instead of registers.
#[allow(clippy::needless_range_loop)]
#[multiversion(targets("x86_64+avx512bw+avx512vl", "x86_64+avx2"))]
fn weigh_half(blocks: &[[f32; SIDE_BY_SIDE]], channels: usize, near: &[f32], weights: &mut [f32]) {
    let cells = near.len().isqrt();
    let rows = weights.chunks_mut(AT_A_TIME * cells).zip(near.chunks(AT_A_TIME * cells));
    for (group, (weights, near)) in rows.enumerate() {
        let first = AT_A_TIME * group;
        let (block, within) = (first / SIDE_BY_SIDE, first % SIDE_BY_SIDE);
        let own = &blocks[block * channels..][..channels];
        for (j, others) in blocks.chunks_exact(channels).take(block + 1).enumerate() {
            let mut alike = [[0.0f32; SIDE_BY_SIDE]; AT_A_TIME];
            for (values, others) in own.iter().zip(others) {
                let values = &values[within..][..AT_A_TIME];
                for row in 0..AT_A_TIME {
                    for column in 0..SIDE_BY_SIDE {
                        alike[row][column] += values[row] * others[column];
                    }
                }
            }
            let rows = weights.chunks_exact_mut(cells).zip(near.chunks_exact(cells));
            for ((weights, near), alike) in rows.zip(&alike) {
                let weights = weights[j * SIDE_BY_SIDE..].iter_mut();
                for ((weight, near), alike) in weights.zip(&near[j * SIDE_BY_SIDE..]).zip(alike) {
                    *weight = alike.max(0.0).powi(2) * near;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Features of one channel pair a place: `a` and `b` look different.
    fn picture(width: usize, height: usize, is_a: impl Fn(usize, usize) -> bool) -> Features {
        let places = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        let values = places.flat_map(|(x, y)| if is_a(x, y) { [2.0, 1.0] } else { [1.0, 2.0] });
        Features { channels: 2, width, height, values: values.collect() }
    }

    fn map(width: usize, height: usize, peak: (usize, usize)) -> Map {
        let mut values = vec![0.0; width * height];
        values[peak.1 * width + peak.0] = 1.0;
        Map { width, height, values }
    }

    #[test]
    fn a_map_spreads_over_what_looks_alike_and_not_beyond() {
        let mut affinity = Affinity::default();
        assert!(affinity.compare(&picture(8, 8, |x, _| x < 4)));
        assert_eq!(affinity.size(), (8, 8));
        let mut spread = map(8, 8, (2, 3));
        affinity.spread(&mut spread);
        for (place, &value) in spread.values.iter().enumerate() {
            assert_eq!(value > 0.0, place % 8 < 4, "{place}");
        }
        assert_eq!(spread.peak().unwrap().2, 1.0);
    }

    #[test]
    fn what_is_near_gets_more() {
        let mut affinity = Affinity::default();
        affinity.compare(&picture(12, 12, |x, _| x < 9));
        let mut spread = map(12, 12, (0, 5));
        affinity.spread(&mut spread);
        assert!(spread.values[5 * 12 + 1] > 2.0 * spread.values[5 * 12 + 6]);
    }

    #[test]
    fn a_picture_that_is_the_same_everywhere_leaves_the_map_where_it_is() {
        let mut affinity = Affinity::default();
        assert!(affinity.compare(&picture(6, 6, |_, _| true)));
        let mut spread = map(6, 6, (1, 4));
        affinity.spread(&mut spread);
        assert_eq!(spread, map(6, 6, (1, 4)));
    }

    #[test]
    fn large_features_are_pooled_to_a_grid_of_at_most_sixteen() {
        let mut affinity = Affinity::default();
        for (places, cells) in [(1, 1), (16, 16), (17, 8), (28, 14), (32, 16), (40, 13), (100, 14)]
        {
            assert!(affinity.compare(&picture(places, places, |x, y| x < y)));
            assert_eq!(affinity.size(), (cells, cells), "{places}");
        }
    }

    #[test]
    fn without_early_features_nothing_is_compared() {
        assert!(!Affinity::default().compare(&Features::default()));
    }

    #[test]
    fn a_map_that_is_nowhere_positive_becomes_zero() {
        let mut affinity = Affinity::default();
        affinity.compare(&picture(4, 4, |x, _| x < 2));
        let mut spread = Map { width: 4, height: 4, values: vec![-1.0; 16] };
        affinity.spread(&mut spread);
        assert_eq!(spread.values, [0.0; 16]);
    }

    /// `A` by the formula, a pair of cells at a time in f64, of a grid that has a cell a place.
    fn naive(early: &Features) -> Vec<f64> {
        let (width, height, channels) = (early.width, early.height, early.channels);
        let cells = width * height;
        let unit = |cell: usize, channel: usize| f64::from(early.values[cell * channels + channel]);
        let mean = |channel| (0..cells).map(|i| unit(i, channel)).sum::<f64>() / cells as f64;
        let means: Vec<f64> = (0..channels).map(mean).collect();
        let dot = |i: usize, j: usize| -> f64 {
            (0..channels).map(|c| (unit(i, c) - means[c]) * (unit(j, c) - means[c])).sum()
        };
        let mut weights = Vec::new();
        for i in 0..cells {
            let row: Vec<f64> = (0..cells)
                .map(|j| {
                    let x = ((i % width) as f64 - (j % width) as f64) / width as f64;
                    let y = ((i / width) as f64 - (j / width) as f64) / height as f64;
                    let alike = dot(i, j) / (dot(i, i) * dot(j, j)).sqrt();
                    alike.max(0.0).powi(2) * (-(x * x + y * y) * 49.0 / 2.0).exp()
                })
                .collect();
            let sum: f64 = row.iter().sum();
            weights.extend(row.iter().map(|weight| weight / sum));
        }
        weights
    }

    proptest! {
        // Of a few channels the mean may come so near to a place's that rounding turns its vector.
        #[test]
        fn places_are_compared_as_by_the_formula(
            early in (1usize..17, 2usize..17, 6usize..20).prop_flat_map(|(width, height, channels)| {
                prop::collection::vec(0f32..6.0, width * height * channels)
                    .prop_map(move |values| Features { channels, width, height, values })
            }),
        ) {
            let mut affinity = Affinity::default();
            affinity.compare(&early);
            let rows = affinity.weights.chunks_exact(affinity.shares.len()).zip(&affinity.shares);
            let found = rows.flat_map(|(row, share)| row.iter().map(move |weight| weight * share));
            for (found, expected) in found.zip(naive(&early)) {
                prop_assert!((f64::from(found) - expected).abs() < 1e-4, "{found} {expected}");
            }
        }
    }
}
