//! Pixel-wise average precision, where masks say which pixels belong to the thing.

use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::eval::score_map::SIDE;
use crate::frame::Frame;
use crate::source::still::read_stored;

/// The files that say which pixels of a photograph belong to the thing: those that are not black.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Masks {
    /// One a thing.
    pub things: Vec<PathBuf>,
    /// Pixels that do not count, where they belong to no thing.
    pub ignored: Option<PathBuf>,
}

/// Thresholds are this far apart.
const STEP: f64 = 0.001;

/// One a threshold, and one for a score of 1.
const BINS: usize = 1001;

/// How many pixels of a photograph have a score between one threshold and the next.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    /// Pixels of the thing. There are fewer than 2^16 in a score map.
    thing: Box<[u16; BINS]>,
    /// Pixels beside it.
    beside: Box<[u16; BINS]>,
}

impl Histogram {
    /// Counts the pixels of a score map.
    ///
    /// # Errors
    /// A mask that cannot be read; its line names it.
    pub fn of(scores: &[f32], masks: &Masks) -> Result<Self> {
        let (mut thing, mut ignored) = (vec![false; scores.len()], vec![false; scores.len()]);
        for path in &masks.things {
            add_mask(path, &mut thing)?;
        }
        if let Some(path) = &masks.ignored {
            add_mask(path, &mut ignored)?;
        }
        let mut counts = Self { thing: Box::new([0; BINS]), beside: Box::new([0; BINS]) };
        for ((&score, thing), ignored) in scores.iter().zip(thing).zip(ignored) {
            if thing {
                counts.thing[bin(f64::from(score))] += 1;
            } else if !ignored {
                counts.beside[bin(f64::from(score))] += 1;
            }
        }
        Ok(counts)
    }
}

/// The last threshold that a score from 0 to 1 reaches.
fn bin(score: f64) -> usize {
    let near = (score / STEP) as usize;
    // Division rounds; the thresholds themselves are the multiples of the step as they are rounded.
    let threshold = |i: usize| if i + 1 == BINS { 1.0 } else { i as f64 * STEP };
    let candidates = near.saturating_sub(1)..=(near + 1).min(BINS - 1);
    candidates.rev().find(|&i| threshold(i) <= score).unwrap_or(0)
}

/// Adds the pixels that are not black, each place taking the pixel nearest to the left and above.
fn add_mask(path: &Path, places: &mut [bool]) -> Result<()> {
    let mut frame = Frame::empty();
    read_stored(path, &mut frame)?;
    let nearest = |place: usize, pixels: u32| {
        let scale = 1.0 / (f64::from(SIDE) / f64::from(pixels));
        ((place as f64 * scale) as usize).min(pixels as usize - 1)
    };
    let columns: Vec<usize> = (0..SIDE as usize).map(|x| nearest(x, frame.size.width)).collect();
    for (y, row) in places.chunks_exact_mut(SIDE as usize).enumerate() {
        let first = nearest(y, frame.size.height) * frame.size.width as usize;
        for (place, column) in row.iter_mut().zip(&columns) {
            *place |= frame.rgb[3 * (first + column)..][..3] != [0; 3];
        }
    }
    Ok(())
}

/// The area under the curve of precision over recall, as the threshold falls: each of the histograms
/// counts as often as it is said. None where no pixel belongs to a thing.
///
/// # Source
/// PxAP of Choe et al.: Evaluating Weakly Supervised Object Localization Methods Right, CVPR 2020.
pub fn average_precision<'a>(
    histograms: impl Iterator<Item = (&'a Histogram, u32)>,
) -> Option<f64> {
    let (mut thing, mut beside) = ([0u64; BINS], [0u64; BINS]);
    for (histogram, times) in histograms.filter(|(_, times)| *times > 0) {
        for (sums, counts) in [(&mut thing, &histogram.thing), (&mut beside, &histogram.beside)] {
            for (sum, &count) in sums.iter_mut().zip(counts.iter()) {
                *sum += u64::from(times * u32::from(count));
            }
        }
    }
    let all: u64 = thing.iter().sum();
    let (mut hits, mut misses, mut area) = (0, 0, 0.0);
    for (thing, beside) in thing.iter().zip(&beside).rev() {
        hits += thing;
        misses += beside;
        if *thing > 0 {
            area += hits as f64 / (hits + misses) as f64 * (*thing as f64 / all as f64);
        }
    }
    (all > 0).then_some(area)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pixels of the thing and beside it, by their scores.
    fn precision(thing: &[f64], beside: &[f64]) -> Option<f64> {
        let count = |scores: &[f64]| {
            let mut counts = Box::new([0; BINS]);
            scores.iter().for_each(|&score| counts[bin(score)] += 1);
            counts
        };
        let histogram = Histogram { thing: count(thing), beside: count(beside) };
        average_precision([(&histogram, 1)].into_iter())
    }

    #[test]
    fn scores_that_part_the_thing_from_the_rest_are_precise() {
        assert_eq!(precision(&[0.9, 1.0], &[0.0, 0.5]), Some(1.0));
    }

    #[test]
    fn the_area_is_that_of_a_step_a_threshold() {
        // Recall 1/2 at precision 1, then 1 at 2/3.
        let area = precision(&[1.0, 0.2], &[0.7]).unwrap();
        assert!((area - (0.5 + 0.5 * 2.0 / 3.0)).abs() < 1e-12, "{area}");
    }

    #[test]
    fn a_map_of_zeros_is_as_precise_as_the_thing_is_large() {
        assert_eq!(precision(&[0.0; 3], &[0.0; 9]), Some(0.25));
    }

    #[test]
    fn without_a_thing_there_is_no_precision() {
        assert_eq!(precision(&[], &[0.3]), None);
    }

    #[test]
    fn a_histogram_that_counts_twice_is_as_two() {
        let histogram = |thing: f64, beside: f64| {
            let mut counts = Histogram { thing: Box::new([0; BINS]), beside: Box::new([0; BINS]) };
            counts.thing[bin(thing)] = 1;
            counts.beside[bin(beside)] = 1;
            counts
        };
        let [a, b] = [histogram(0.3, 0.4), histogram(0.8, 0.1)];
        assert_eq!(
            average_precision([(&a, 2), (&b, 1)].into_iter()),
            average_precision([(&a, 1), (&b, 1), (&a, 1)].into_iter())
        );
    }

    #[test]
    fn a_score_is_counted_at_the_last_threshold_that_it_reaches() {
        for i in 0..1000 {
            let threshold = f64::from(i) * STEP;
            assert_eq!(bin(threshold), i as usize);
            assert_eq!(bin(threshold.next_down().max(0.0)), (i as usize).saturating_sub(1));
        }
        assert_eq!(bin(1.0), 1000);
        assert_eq!(bin(1f64.next_down()), 999);
    }
}
