//! The cross-encoder over the fused head, mixed with the fused score.

/// Mixes the cross-encoder's score with the fused one: each scaled to 0..1 over the list by its minimum and maximum, then
/// `weight * rerank + (1 - weight) * fused`. Alone the cross-encoder hurts on some sets; the mix is the safe default.
///
/// `scores`: fused score and logit of each candidate. Returns the mixed scores in the same order, 0 to 1. A list whose
/// scores are all equal scales to 1. Never fails.
pub fn mix(scores: &[(f32, f32)], weight: f32) -> Vec<f32> {
    let fused = scaled(scores.iter().map(|(fused, _)| *fused));
    let rerank = scaled(scores.iter().map(|(_, logit)| *logit));
    fused.into_iter().zip(rerank).map(|(fused, rerank)| weight * rerank + (1.0 - weight) * fused).collect()
}

fn scaled(scores: impl Iterator<Item = f32> + Clone) -> Vec<f32> {
    let min = scores.clone().fold(f32::INFINITY, f32::min);
    let range = scores.clone().fold(f32::NEG_INFINITY, f32::max) - min;
    scores.map(|score| if range > 0.0 { (score - min) / range } else { 1.0 }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_and_half_over_each_range() {
        assert_eq!(mix(&[(0.3, -5.0), (0.2, 5.0), (0.1, 0.0)], 0.5), [0.5, 0.75, 0.25]);
        assert_eq!(mix(&[(0.3, 1.0), (0.1, 2.0)], 0.0), [1.0, 0.0]);
        assert_eq!(mix(&[(0.3, 1.0)], 0.5), [1.0]);
        assert!(mix(&[], 0.5).is_empty());
    }
}
