//! Randomness by domain.
//!
//! A draw names the domain it is for (a tenant's key, say). With a seed, each domain has a stream of its own, so that
//! what one tenant draws never depends on how often another one did.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Mutex;

use rand::rngs::{OsRng, StdRng};
use rand::{RngCore, SeedableRng, TryRngCore};

/// Where randomness comes from.
pub trait Random: Send + Sync + Debug {
    /// Fills `out` with random bytes for `domain`.
    fn fill(&self, domain: &[u8], out: &mut [u8]);
}

/// The operating system's randomness; the domain plays no part.
#[derive(Debug, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&self, _domain: &[u8], out: &mut [u8]) {
        OsRng.try_fill_bytes(out).expect("the operating system gives randomness once it has started")
    }
}

/// Repeatable randomness: a stream for each domain, made from one seed.
#[derive(Debug)]
pub struct SeededRandom {
    seed: u64,
    streams: Mutex<BTreeMap<Vec<u8>, StdRng>>,
}

impl SeededRandom {
    /// Streams drawn from `seed`.
    pub fn new(seed: u64) -> SeededRandom {
        SeededRandom { seed, streams: Mutex::new(BTreeMap::new()) }
    }
}

impl Random for SeededRandom {
    fn fill(&self, domain: &[u8], out: &mut [u8]) {
        let mut streams = self.streams.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let stream = streams.entry(domain.to_vec()).or_insert_with(|| {
            // FNV-1a (Fowler, Noll, Vo): a stable mix of seed and domain; it need not be cryptographic.
            let mix = domain.iter().fold(0xcbf2_9ce4_8422_2325 ^ self.seed, |hash, byte| {
                (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
            });
            StdRng::seed_from_u64(mix)
        });
        stream.fill_bytes(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(random: &SeededRandom, domain: &[u8]) -> [u8; 8] {
        let mut out = [0; 8];
        random.fill(domain, &mut out);
        out
    }

    #[test]
    fn one_domain_does_not_feel_the_draws_of_another() {
        let (alone, beside) = (SeededRandom::new(7), SeededRandom::new(7));
        let first = draw(&alone, b"a");
        draw(&beside, b"b");
        assert_eq!(first, draw(&beside, b"a"));
        draw(&beside, b"b");
        assert_eq!(draw(&alone, b"a"), draw(&beside, b"a"));
        assert_ne!(draw(&alone, b"a"), first);
    }
}
