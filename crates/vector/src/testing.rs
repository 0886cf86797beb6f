//! What several tests need: vectors in clusters, a context, recall.

use std::sync::Arc;

use ibid_core::Label;
use ibid_runtime::{Ctx, Priority, SystemClock};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::{Build, Config};

pub(crate) fn ctx() -> Ctx {
    Ctx::new(Arc::new(SystemClock::new()), Priority::Query, None)
}

/// Small enough that a few dozen vectors pass through every stage.
pub(crate) fn small(dimension: usize) -> Config {
    Config { dimension, graph_from: 24, m: 8, ef_construction: 64, ef_search: 48, seal_from: 8, build: Build::Serial }
}

/// `count` vectors around `clusters` random centres, labels from 0.
pub(crate) fn clustered(seed: u64, count: u32, dimension: usize, clusters: usize) -> Vec<(Label, Vec<f32>)> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut vector = |spread: f32| -> Vec<f32> { (0..dimension).map(|_| rng.random_range(-spread..spread)).collect() };
    let centres: Vec<Vec<f32>> = (0..clusters).map(|_| vector(1.0)).collect();
    let around = |label: u32| {
        let noise = vector(0.7);
        centres[label as usize % clusters].iter().zip(noise).map(|(centre, noise)| centre + noise).collect()
    };
    (0..count).zip((0..count).map(around)).collect()
}

/// The share of the best `exact.len()` that `found` has, judged by cosine so that equal vectors stand for each other.
pub(crate) fn recall(found: &[(Label, f32)], exact: &[(Label, f32)]) -> f64 {
    let Some((_, last)) = exact.last() else { return 1.0 };
    let good = found.iter().filter(|(_, cosine)| *cosine >= last - 1e-6).count().min(exact.len());
    good as f64 / exact.len() as f64
}
