//! Reciprocal rank fusion.

use std::collections::HashMap;

use ibid_core::ChunkId;

/// A chunk in the fused list.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fused {
    /// The chunk.
    pub chunk: ChunkId,
    /// Its fused score, above 0.
    pub rrf: f32,
}

/// Fuses ranked lists: `sum of weight / (k + rank)`, ranks from 1 (Cormack, Clarke, Buettcher, SIGIR 2009).
///
/// `lists`: weight and chunks, best first, no chunk twice in one list. Lists of weight 0 count for nothing. The sum is
/// taken in the lists' order, for a float sum depends on it. Returns each chunk once, highest first, ties by ascending id.
/// Never fails.
pub fn rrf(lists: &[(f32, &[ChunkId])], k: f32) -> Vec<Fused> {
    let mut sums: HashMap<ChunkId, f32> = HashMap::new();
    for (weight, chunks) in lists.iter().filter(|(weight, _)| *weight > 0.0) {
        let mut rank = 0.0;
        for chunk in *chunks {
            rank += 1.0;
            *sums.entry(*chunk).or_insert(0.0) += weight / (k + rank);
        }
    }
    let mut fused: Vec<Fused> = sums.into_iter().map(|(chunk, rrf)| Fused { chunk, rrf }).collect();
    fused.sort_by(|a, b| b.rrf.total_cmp(&a.rrf).then(a.chunk.cmp(&b.chunk)));
    fused
}

#[cfg(test)]
mod tests {
    use super::*;
    use ibid_core::{CollectionKey, DocumentKey, PartitionKey, TenantKey};
    use proptest::prelude::*;

    fn chunk(number: u32) -> ChunkId {
        let partition = PartitionKey { tenant: TenantKey(1), collection: CollectionKey(1) };
        ChunkId::of(partition, DocumentKey([0; 16]), "", number)
    }

    #[test]
    fn the_published_sum() {
        let (a, b, c) = (chunk(1), chunk(2), chunk(3));
        let fused = rrf(&[(1.0, &[a, b]), (2.0, &[b, c])], 60.0);
        let score = |id| fused.iter().find(|one| one.chunk == id).unwrap().rrf;
        assert!((score(a) - 1.0 / 61.0).abs() < 1e-7);
        assert!((score(b) - (1.0 / 62.0 + 2.0 / 61.0)).abs() < 1e-7);
        assert_eq!(fused[0].chunk, b);
        assert!(rrf(&[(0.0, &[a])], 60.0).is_empty());
    }

    proptest! {
        #[test]
        fn better_ranks_never_score_less_and_ties_go_by_id(first in prop::collection::hash_set(0u32..40, 0..20), second in prop::collection::hash_set(0u32..40, 0..20)) {
            let first: Vec<ChunkId> = first.into_iter().map(chunk).collect();
            let second: Vec<ChunkId> = second.into_iter().map(chunk).collect();
            let fused = rrf(&[(1.0, &first), (1.0, &second)], 60.0);
            for pair in fused.windows(2) {
                prop_assert!(pair[0].rrf > pair[1].rrf || (pair[0].rrf == pair[1].rrf && pair[0].chunk < pair[1].chunk));
            }
            let place = |list: &[ChunkId], id| list.iter().position(|one| *one == id).unwrap_or(usize::MAX);
            for a in &fused {
                for b in &fused {
                    let dominates = place(&first, a.chunk) <= place(&first, b.chunk) && place(&second, a.chunk) <= place(&second, b.chunk);
                    prop_assert!(!dominates || a.rrf >= b.rrf);
                }
            }
        }
    }
}
