//! Chunks that say the same: ranked once, with all their places.

use ibid_core::ChunkId;

use crate::candidates::Candidates;
use crate::fuse::Fused;

/// Candidates beyond these are not compared: the work is the square of their number.
const COMPARED_MAX: usize = 1_000;

/// A candidate, and those further down that repeat it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Once {
    pub(crate) fused: Fused,
    pub(crate) duplicates: Vec<ChunkId>,
}

/// Takes out of `fused`, best first, what repeats a candidate further up, and notes it there.
pub(crate) fn collapse(fused: Vec<Fused>, found: &Candidates) -> Vec<Once> {
    let mut kept: Vec<Once> = Vec::with_capacity(fused.len());
    for one in fused {
        let likeness = found.places[&one.chunk].likeness;
        let repeats = |other: &&mut Once| found.places[&other.fused.chunk].likeness.is_near(likeness);
        match kept.iter_mut().take(COMPARED_MAX).find(repeats) {
            Some(first) => first.duplicates.push(one.chunk),
            None => kept.push(Once { fused: one, duplicates: Vec::new() }),
        }
    }
    kept
}

/// Every candidate by itself.
pub(crate) fn keep(fused: Vec<Fused>) -> Vec<Once> {
    fused.into_iter().map(|fused| Once { fused, duplicates: Vec::new() }).collect()
}
