//! What a chunk is about is often said before or after it: its meaning is compared with a share of its neighbours'.
//!
//! To a chunk's vector those of the chunks beside it in its document are added, each by a weight that falls with its distance;
//! the cosine is the sum's. That is a window of context around a small passage, made after the vectors and not by them: each
//! vector stays what the embedder gave, so equal inputs share one, an edit costs its own chunk alone, and the weight can be
//! another for each question. A chunk that is near the question only together with its neighbours has one of them among the
//! best, so candidates and the chunks beside them are all that is looked at.

use std::collections::{BTreeSet, HashMap};

use ibid_core::Label;
use roaring::RoaringBitmap;

use crate::documents::Documents;

/// The tokens between the middles of two chunks from which on one says nothing of the other.
const REACH: f32 = 240.0;
/// The most chunks looked at on either side.
const AWAY_MAX: usize = 8;

/// A chunk's vector together with its neighbours', at length one: each of those counts `weight` times what is left of
/// 240 tokens at its distance. `chunks` are the chunks of the document in its order, each with its tokens; a chunk without a
/// vector (of length one) is passed over. `None` if the chunk itself has none.
pub fn blend<'v>(
    weight: f32,
    ordinal: usize,
    tokens: impl Fn(usize) -> Option<u32>,
    vector: impl Fn(usize) -> Option<&'v [f32]>,
) -> Option<Vec<f32>> {
    let mut sum = vector(ordinal)?.to_vec();
    let half = |ordinal: usize| tokens(ordinal).map(|tokens| tokens as f32 / 2.0);
    let mut add = |ordinals: &mut dyn Iterator<Item = usize>| {
        let mut distance = half(ordinal).unwrap_or_default();
        for other in ordinals {
            let Some(half) = half(other) else { break };
            let share = weight * (1.0 - (distance + half) / REACH);
            if share <= 0.0 {
                break;
            }
            distance += 2.0 * half;
            if let Some(neighbour) = vector(other) {
                sum.iter_mut().zip(neighbour).for_each(|(sum, value)| *sum += share * value);
            }
        }
    };
    add(&mut (0..ordinal).rev().take(AWAY_MAX));
    add(&mut (ordinal + 1..).take(AWAY_MAX));
    Some(unit(sum))
}

/// The vector at length one; as it is if neighbours of opposite meaning took away all of it.
fn unit(mut vector: Vec<f32>) -> Vec<f32> {
    let length = dot(&vector, &vector).sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|value| *value /= length);
    }
    vector
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The best `n` of `found`, which are the nearest by their own vectors, and of the chunks beside them, as far as `allowed`:
/// each with its cosine to `query` together with its neighbours. Highest first, equal ones by label.
pub(crate) fn rescored(
    query: &[f32],
    weight: f32,
    vectors: &ibid_vector::Snapshot,
    documents: &Documents,
    allowed: Option<&RoaringBitmap>,
    found: Vec<(Label, f32)>,
) -> Vec<(Label, f32)> {
    let (n, query) = (found.len(), unit(query.to_vec()));
    let mut known: HashMap<Label, Option<Vec<f32>>> = HashMap::new();
    let mut scored = Vec::with_capacity(n);
    let mut seen = BTreeSet::new();
    for (found, _) in found {
        let Some((labelled, ordinal)) = documents.resolve(found) else { continue };
        let chunks = &labelled.cut.chunks;
        let tokens = |ordinal: usize| chunks.get(ordinal).map(|stored| stored.chunk.tokens);
        let label = |ordinal: usize| labelled.cut.first_label + u32::try_from(ordinal).expect("labels are of 32 bits");
        for ordinal in ordinal.saturating_sub(1)..chunks.len().min(ordinal + 2) {
            let may_be_shown = allowed.is_none_or(|allowed| allowed.contains(label(ordinal)));
            if !may_be_shown || !seen.insert(label(ordinal)) {
                continue;
            }
            for near in ordinal.saturating_sub(AWAY_MAX)..chunks.len().min(ordinal + AWAY_MAX + 1) {
                known.entry(label(near)).or_insert_with(|| vectors.vector(label(near)));
            }
            let vector = |ordinal: usize| known.get(&label(ordinal))?.as_deref();
            let blended = blend(weight, ordinal, tokens, vector);
            scored.extend(blended.map(|blended| (label(ordinal), dot(&query, &blended).clamp(-1.0, 1.0))));
        }
    }
    scored.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    scored.truncate(n);
    scored
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(weight: f32, chunks: &[(u32, [f32; 2])], ordinal: usize, expected: f32) {
        let tokens = |ordinal: usize| chunks.get(ordinal).map(|(tokens, _)| *tokens);
        let vector = |ordinal: usize| chunks.get(ordinal).map(|(_, vector)| vector.as_slice());
        let cosine = dot(&[1.0, 0.0], &blend(weight, ordinal, tokens, vector).unwrap());
        assert!((cosine - expected).abs() < 1e-6, "{cosine}, expected {expected}");
    }

    const THERE: [f32; 2] = [1.0, 0.0];
    const ELSEWHERE: [f32; 2] = [0.0, 1.0];

    #[test]
    fn neighbours_count_by_their_distance() {
        check(1.0, &[(60, ELSEWHERE)], 0, 0.0);
        let beside = [(60, THERE), (60, ELSEWHERE)];
        check(0.0, &beside, 1, 0.0);
        check(1.0, &beside, 1, 0.75 / (1.0 + 0.75_f32.powi(2)).sqrt());
        check(0.5, &beside, 1, 0.375 / (1.0 + 0.375_f32.powi(2)).sqrt());
        let two_away = [(60, THERE), (120, ELSEWHERE), (60, ELSEWHERE)];
        let (share, rest) = (0.25_f32, 1.625);
        check(1.0, &two_away, 2, share / (rest * rest + share * share).sqrt());
        check(1.0, &[(60, THERE), (180, ELSEWHERE), (60, ELSEWHERE)], 2, 0.0);
    }

    #[test]
    fn a_meaning_that_cancels_out_is_none() {
        let share = [0.0, -1.0 / 0.75];
        check(1.0, &[(60, ELSEWHERE), (60, share)], 0, 0.0);
    }
}
