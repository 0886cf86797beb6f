//! Money: whole millionths of a dollar, and what tokens cost.

use std::fmt;
use std::iter::Sum;
use std::ops::Add;

use serde::{Deserialize, Serialize};

/// Millionths of a dollar. Sums stop at the largest number instead of starting again at 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Microdollars(pub u64);

impl Microdollars {
    /// What is left of `self` after `other`; 0 if that is more.
    pub fn saturating_sub(self, other: Microdollars) -> Microdollars {
        Microdollars(self.0.saturating_sub(other.0))
    }
}

impl Add for Microdollars {
    type Output = Microdollars;
    fn add(self, other: Microdollars) -> Microdollars {
        Microdollars(self.0.saturating_add(other.0))
    }
}

impl Sum for Microdollars {
    fn sum<I: Iterator<Item = Microdollars>>(all: I) -> Microdollars {
        all.fold(Microdollars(0), Add::add)
    }
}

impl fmt::Display for Microdollars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

/// What a deployment's tokens cost, in millionths of a dollar a million tokens: $3 a million tokens is 3,000,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Prices {
    /// Tokens read.
    pub input: u64,
    /// Tokens written.
    pub output: u64,
    /// Tokens read from the provider's cache of prompts.
    pub cached: u64,
    /// Tokens read and put into that cache; what providers that charge nothing extra call `input`.
    pub cache_write: u64,
}

/// Tokens by what they cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tokens {
    /// All that were read.
    pub(crate) input: u64,
    /// Of these, from the provider's cache.
    pub(crate) cached: u64,
    /// Of these, put into it.
    pub(crate) cache_write: u64,
    /// Written.
    pub(crate) output: u64,
}

impl Prices {
    /// What `tokens` cost, rounded up.
    pub(crate) fn cost(&self, tokens: Tokens) -> Microdollars {
        let Tokens { input, cached, cache_write, output } = tokens;
        let plain = input.saturating_sub(cached).saturating_sub(cache_write);
        let parts =
            [(plain, self.input), (cached, self.cached), (cache_write, self.cache_write), (output, self.output)];
        round_up(parts)
    }

    /// The most that so many tokens can cost, whatever the provider's cache does.
    pub(crate) fn cost_max(&self, input: u64, output: u64) -> Microdollars {
        round_up([(input, self.input.max(self.cached).max(self.cache_write)), (output, self.output)])
    }
}

fn round_up<const N: usize>(parts: [(u64, u64); N]) -> Microdollars {
    let millionths = parts.iter().fold(0_u128, |sum, (tokens, price)| {
        sum.saturating_add(u128::from(*tokens).saturating_mul(u128::from(*price)))
    });
    Microdollars(u64::try_from(millionths.div_ceil(1_000_000)).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_price_is_rounded_up_once_and_never_wraps() {
        let prices = Prices { input: 150_000, output: 600_000, cached: 75_000, cache_write: 187_500 };
        // 1000 * 0.15 + 500 * 0.6 = 450 millionths of a dollar
        let tokens = Tokens { input: 1000, output: 500, ..Tokens::default() };
        assert_eq!(prices.cost(tokens), Microdollars(450));
        assert_eq!(prices.cost(Tokens { cached: 1000, ..tokens }), Microdollars(375));
        assert_eq!(prices.cost(Tokens { input: 1, ..Tokens::default() }), Microdollars(1));
        assert_eq!(prices.cost(Tokens::default()), Microdollars(0));
        let dear = Prices { input: u64::MAX, ..prices };
        assert_eq!(dear.cost(Tokens { input: u64::MAX, ..tokens }), Microdollars(u64::MAX));
        assert_eq!(Microdollars(12_000_345).to_string(), "$12.000345");
    }

    proptest! {
        #[test]
        fn no_call_costs_more_than_its_worst_case(
            prices in prop::array::uniform4(0_u64..1 << 40), input in 0_u64..1 << 24, output in 0_u64..1 << 24,
            cached in 0_u64..1 << 24, cache_write in 0_u64..1 << 24,
        ) {
            let [a, b, c, d] = prices;
            let prices = Prices { input: a, output: b, cached: c, cache_write: d };
            let cached = cached.min(input);
            let tokens = Tokens { input, cached, cache_write: cache_write.min(input - cached), output };
            prop_assert!(prices.cost(tokens) <= prices.cost_max(input, output));
        }
    }
}
