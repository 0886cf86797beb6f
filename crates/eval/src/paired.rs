//! Two ways of doing the same, compared query by query.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

/// Draws of the interval and of the test.
const DRAWS: usize = 10_000;

/// The mean of `first - second` over the same queries, what it may be by chance, and how likely it is that it is chance alone.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// Over the queries as they are.
    pub mean: f64,
    /// The lower end of the interval that holds it in 95 of 100 draws of the queries.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
    /// How often a difference at least as large, of either sign, comes of drawing for each query which of the two is the first.
    pub p: f64,
}

impl Difference {
    /// Compares figures of the same queries, in the same order. The interval is a paired bootstrap's (Efron, Tibshirani, "An
    /// Introduction to the Bootstrap", 1993), p that of a paired randomisation test (Smucker, Allan, Carterette, CIKM 2007).
    /// The same figures give the same result. All zero for no queries.
    ///
    /// # Panics
    /// If there is not one figure of each for every query.
    pub fn of(first: &[f64], second: &[f64]) -> Difference {
        assert_eq!(first.len(), second.len(), "figures of the same queries");
        let differences: Vec<f64> = first.iter().zip(second).map(|(first, second)| first - second).collect();
        if differences.is_empty() {
            return Difference { mean: 0.0, low: 0.0, high: 0.0, p: 1.0 };
        }
        let count = differences.len() as f64;
        let mean = differences.iter().sum::<f64>() / count;
        let mut random = StdRng::seed_from_u64(1);
        let mut drawn: Vec<f64> = (0..DRAWS)
            .map(|_| {
                let draw = (0..differences.len()).map(|_| differences[random.random_range(0..differences.len())]);
                draw.sum::<f64>() / count
            })
            .collect();
        drawn.sort_by(f64::total_cmp);
        // Sums of other orders differ in their last digits.
        let as_large = mean.abs() - 1e-12;
        let by_chance = (0..DRAWS)
            .filter(|_| {
                let signed = differences.iter().map(|one| if random.random::<bool>() { *one } else { -one });
                (signed.sum::<f64>() / count).abs() >= as_large
            })
            .count();
        let p = (by_chance + 1) as f64 / (DRAWS + 1) as f64;
        Difference { mean, low: drawn[DRAWS / 40], high: drawn[DRAWS - 1 - DRAWS / 40], p }
    }
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Difference { mean, low, high, p } = self;
        write!(f, "{mean:+.4} (95 % CI {low:+.4} to {high:+.4}, p = {p:.3})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_always_better_is_told_from_what_is_by_chance() {
        let second: Vec<f64> = (0..100).map(|n| f64::from(n % 7) / 7.0).collect();
        let better: Vec<f64> = second.iter().map(|figure| figure + 0.1).collect();
        let Difference { mean, low, high, p } = Difference::of(&better, &second);
        assert!((mean - 0.1).abs() < 1e-9 && (low - 0.1).abs() < 1e-9 && (high - 0.1).abs() < 1e-9, "{low}..{high}");
        assert!(p < 0.001, "{p}");

        let mixed: Vec<f64> =
            second.iter().zip(0..).map(|(one, n)| one + if n % 2 == 0 { 0.1 } else { -0.1 }).collect();
        let Difference { mean, low, high, p } = Difference::of(&mixed, &second);
        assert!(mean.abs() < 1e-9 && low < 0.0 && high > 0.0 && p > 0.5, "{mean} in {low}..{high}, {p}");
    }

    /// Of 200 pairs of equal systems about 10 have p below 0.05: the share that the name promises.
    #[test]
    fn equal_systems_are_rarely_told_apart() {
        let mut random = StdRng::seed_from_u64(7);
        let mut figures = || -> Vec<f64> { (0..30).map(|_| f64::from(random.random_range(0..4_u8)) / 3.0).collect() };
        let alarms = (0..200).filter(|_| Difference::of(&figures(), &figures()).p < 0.05).count();
        assert!((2..=20).contains(&alarms), "{alarms} of 200");
    }

    #[test]
    fn nothing_is_no_difference() {
        assert_eq!(Difference::of(&[], &[]), Difference { mean: 0.0, low: 0.0, high: 0.0, p: 1.0 });
        let same = [0.5, 1.0];
        assert_eq!(Difference::of(&same, &same), Difference { mean: 0.0, low: 0.0, high: 0.0, p: 1.0 });
    }
}
