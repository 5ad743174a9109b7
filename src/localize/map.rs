//! Class activation maps and their upsampling.

use crate::geometry::{Point, Size};
use crate::network::activations::{Features, Head};

/// A map of one value a place; for a class activation map, `M_c(x, y)`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Map {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `width * height` values, rows from the top.
    pub values: Vec<f32>,
}

impl Map {
    /// Sets the size; all values become 0.
    pub fn reset(&mut self, width: usize, height: usize) {
        self.width = width;
        self.height = height;
        self.values.clear();
        self.values.resize(width * height, 0.0);
    }

    /// Column, row and value of the first highest place; `None` where no value is a number.
    pub fn peak(&self) -> Option<(usize, usize, f32)> {
        let highest = self.highest();
        let place = self.values.iter().position(|&value| value == highest)?;
        Some((place % self.width, place / self.width, highest))
    }

    /// The highest value; negative infinity where none is a number.
    pub fn highest(&self) -> f32 {
        // Several maxima side by side, which a processor finds at once. A NaN exceeds nothing.
        let (chunks, rest) = self.values.as_chunks::<32>();
        let mut highest = [f32::NEG_INFINITY; 32];
        for chunk in chunks {
            for (highest, &value) in highest.iter_mut().zip(chunk) {
                *highest = if value > *highest { value } else { *highest };
            }
        }
        highest.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max)
    }

    /// Whether all values are equal, so that no place stands out.
    pub fn is_flat(&self) -> bool {
        self.values.windows(2).all(|pair| pair[0] == pair[1])
    }

    /// What a place exceeds that belongs to the thing: `threshold` times the maximum. None for a map
    /// that is flat or nowhere positive.
    pub fn limit(&self, threshold: f32) -> Option<f32> {
        let highest = self.highest();
        (highest > 0.0 && !self.is_flat()).then_some(threshold * highest)
    }

    /// The middle of the place in column `x` and row `y`, in a picture of this size that the map spans.
    pub fn middle(&self, (x, y): (usize, usize), picture: Size) -> Point {
        let middle = |place: usize, places: usize, pixels: u32| {
            ((2 * place + 1) as u64 * u64::from(pixels) / (2 * places as u64)) as u32
        };
        Point { x: middle(x, self.width, picture.width), y: middle(y, self.height, picture.height) }
    }
}

/// Computes the class activation map of `class` at the resolution of the feature maps:
/// `M_c(x, y) = sum_k w_k^c f_k(x, y)`. The bias of the head has no place in it.
///
/// # Panics
/// Where the head has no such class or weighs another number of units.
///
/// # Source
/// Zhou et al., CVPR 2016, equation 2.
pub fn class_activation_map(features: &Features, head: &Head, class: usize, map: &mut Map) {
    map.reset(features.width, features.height);
    match head {
        Head::Identity { .. } => {
            map.values.iter_mut().zip(features.unit(class)).for_each(|(to, value)| *to = value);
        }
        Head::Linear { channels, weights } => {
            assert_eq!(*channels, features.channels, "the head belongs to another network");
            let weights = &weights[class * channels..(class + 1) * channels];
            for (sum, units) in map.values.iter_mut().zip(features.places()) {
                *sum = dot(weights, units);
            }
        }
    }
}

/// The sum of products, as several sums side by side, which a processor adds at once.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<16>(), b.as_chunks::<16>());
    let mut sums = [0.0; 16];
    for (a, b) in a.iter().zip(b) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

/// Enlarges maps by bilinear interpolation with half-pixel centres; beyond the outermost centres
/// the border's value goes on. The two maps span the same picture.
#[derive(Debug, Default)]
pub struct Upsampler {
    columns: Vec<Sample>,
    /// The map once it has its width.
    wide: Vec<f32>,
}

/// Between which two source places a target place lies, and how near to the second.
#[derive(Debug, Clone, Copy)]
struct Sample {
    low: usize,
    high: usize,
    fraction: f32,
}

impl Sample {
    fn of(target: usize, targets: usize, sources: usize) -> Self {
        let centre = (target as f32 + 0.5) * sources as f32 / targets as f32 - 0.5;
        let centre = centre.clamp(0.0, (sources - 1) as f32);
        let low = centre as usize;
        Self { low, high: (low + 1).min(sources - 1), fraction: centre - low as f32 }
    }

    fn mix(self, low: f32, high: f32) -> f32 {
        low + self.fraction * (high - low)
    }
}

impl Upsampler {
    /// Fills `to` with `from` enlarged to `width` by `height`.
    ///
    /// # Panics
    /// Where `from` is empty.
    pub fn upsample(&mut self, from: &Map, width: usize, height: usize, to: &mut Map) {
        assert!(!from.values.is_empty(), "an empty map has nothing to interpolate");
        self.columns.clear();
        self.columns.extend((0..width).map(|x| Sample::of(x, width, from.width)));
        self.wide.clear();
        for row in from.values.chunks_exact(from.width) {
            self.wide.extend(self.columns.iter().map(|c| c.mix(row[c.low], row[c.high])));
        }
        to.reset(width, height);
        for (y, target) in to.values.chunks_exact_mut(width.max(1)).enumerate() {
            let sample = Sample::of(y, height, from.height);
            let low = &self.wide[sample.low * width..][..width];
            let high = &self.wide[sample.high * width..][..width];
            for (value, (&low, &high)) in target.iter_mut().zip(low.iter().zip(high)) {
                *value = sample.mix(low, high);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn map(max_side: usize) -> impl Strategy<Value = Map> {
        (1..=max_side, 1..=max_side).prop_flat_map(|(width, height)| {
            prop::collection::vec(-10f32..10.0, width * height).prop_map(move |values| Map {
                width,
                height,
                values,
            })
        })
    }

    /// The textbook formula, one place at a time in f64.
    fn naive(from: &Map, width: usize, height: usize, x: usize, y: usize) -> f64 {
        let place = |t: usize, targets: usize, sources: usize| {
            ((t as f64 + 0.5) * sources as f64 / targets as f64 - 0.5)
                .clamp(0.0, sources as f64 - 1.0)
        };
        let (u, v) = (place(x, width, from.width), place(y, height, from.height));
        let mut sum = 0.0;
        for row in 0..from.height {
            for column in 0..from.width {
                let weight = (1.0 - (u - column as f64).abs()).max(0.0)
                    * (1.0 - (v - row as f64).abs()).max(0.0);
                sum += weight * f64::from(from.values[row * from.width + column]);
            }
        }
        sum
    }

    proptest! {
        #[test]
        fn upsampling_equals_the_naive_formula(
            from in map(9), width in 1usize..40, height in 1usize..40,
        ) {
            let mut to = Map::default();
            Upsampler::default().upsample(&from, width, height, &mut to);
            for y in 0..height {
                for x in 0..width {
                    let expected = naive(&from, width, height, x, y);
                    let found = f64::from(to.values[y * width + x]);
                    prop_assert!((found - expected).abs() < 1e-4, "{found} {expected} at {x},{y}");
                }
            }
        }
    }

    #[test]
    fn upsampling_to_the_same_size_changes_nothing() {
        let from = Map { width: 3, height: 2, values: vec![1.0, -2.0, 3.0, 0.5, 7.0, 9.0] };
        let mut to = Map::default();
        Upsampler::default().upsample(&from, 3, 2, &mut to);
        assert_eq!(from, to);
    }

    #[test]
    fn a_linear_head_weighs_the_units_and_leaves_out_the_bias() {
        let features =
            Features { channels: 2, height: 1, width: 2, values: vec![1.0, 10.0, 2.0, 20.0] };
        let head = Head::Linear { channels: 2, weights: vec![0.0, 0.0, 3.0, -1.0] };
        let mut map = Map::default();
        class_activation_map(&features, &head, 1, &mut map);
        assert_eq!(map, Map { width: 2, height: 1, values: vec![-7.0, -14.0] });
    }

    #[test]
    fn an_identity_head_gives_the_unit_of_the_class() {
        let features =
            Features { channels: 2, height: 1, width: 2, values: vec![1.0, 10.0, 2.0, 20.0] };
        let mut map = Map::default();
        class_activation_map(&features, &Head::Identity { classes: 2 }, 1, &mut map);
        assert_eq!(map.values, [10.0, 20.0]);
    }

    #[test]
    fn the_peak_is_the_first_highest_number() {
        let map = Map { width: 2, height: 2, values: vec![f32::NAN, -1.0, -1.0, -3.0] };
        assert_eq!(map.peak(), Some((1, 0, -1.0)));
        assert_eq!(Map { width: 1, height: 1, values: vec![f32::NAN] }.peak(), None);
    }
}
