//! Confidence intervals by resampling.

/// How often the photographs are drawn anew.
pub const RESAMPLINGS: usize = 1000;

/// The values of a statistic of `images` photographs, of which so many are drawn with replacement,
/// [`RESAMPLINGS`] times, always in the same way; `statistic` gets how often each was drawn. Not a
/// number where it has no value.
///
/// # Source
/// Efron: Bootstrap Methods: Another Look at the Jackknife, Annals of Statistics 1979.
pub fn resample(images: usize, mut statistic: impl FnMut(&[u32]) -> Option<f64>) -> Vec<f64> {
    let mut generator = Generator(0);
    let mut drawn = vec![0; images];
    let mut values = Vec::new();
    for _ in 0..RESAMPLINGS {
        drawn.fill(0);
        for _ in 0..images {
            drawn[generator.below(images)] += 1;
        }
        values.push(statistic(&drawn).unwrap_or(f64::NAN));
    }
    values
}

/// The 95 % interval of a resampled statistic, by its percentiles. None where it never has a value.
pub fn interval(values: impl Iterator<Item = f64>) -> Option<[f64; 2]> {
    let mut values: Vec<f64> = values.filter(|value| !value.is_nan()).collect();
    values.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| {
        let rank = (share * values.len() as f64).ceil() as usize;
        values.get(rank.max(1) - 1).copied()
    };
    Some([at(0.025)?, at(0.975)?])
}

/// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, OOPSLA 2014).
struct Generator(u64);

impl Generator {
    /// A number below `limit`, each as likely as the others up to one in 2^64 / `limit`.
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        ((u128::from(z) * limit as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_mean(values: &[f64]) -> Option<[f64; 2]> {
        let means = resample(values.len(), |drawn| {
            let sum: f64 = drawn.iter().zip(values).map(|(&n, v)| f64::from(n) * v).sum();
            Some(sum / values.len() as f64)
        });
        interval(means.into_iter())
    }

    #[test]
    fn the_interval_of_a_share_is_that_of_the_binomial_distribution() {
        // Of 400 with a share of 0.3, 95 % lie within 1.96 * sqrt(0.3 * 0.7 / 400) = 0.0449.
        let values: Vec<f64> = (0..400).map(|i| f64::from(i % 10 < 3)).collect();
        let [low, high] = of_mean(&values).unwrap();
        assert!((low - 0.2551).abs() < 0.006 && (high - 0.3449).abs() < 0.006, "{low} {high}");
    }

    #[test]
    fn what_never_varies_has_an_interval_of_one_value() {
        assert_eq!(of_mean(&[0.5; 9]), Some([0.5, 0.5]));
        assert_eq!(of_mean(&[1.0]), Some([1.0, 1.0]));
    }

    #[test]
    fn a_statistic_without_a_value_has_no_interval() {
        assert_eq!(interval(resample(3, |_| None).into_iter()), None);
    }

    #[test]
    fn every_photograph_is_drawn() {
        let mut seen = [0; 5];
        resample(5, |drawn| {
            assert_eq!(drawn.iter().sum::<u32>(), 5);
            seen.iter_mut().zip(drawn).for_each(|(seen, n)| *seen += n);
            None
        });
        assert!(seen.iter().all(|n| (900..1100).contains(n)), "{seen:?}");
    }
}
