//! The field's figures, defined as in trec_eval.
//!
//! A document is relevant if its grade is above 0. All figures lie between 0 and 1, higher is better.

use std::collections::BTreeMap;
use std::time::Duration;

use ibid_core::DocumentId;
use serde::{Deserialize, Serialize};

use crate::{Judgements, Qrels, Run};

/// How good a ranking is.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Quality {
    /// [`ndcg`] of the first 10.
    #[serde(rename = "ndcg@10")]
    pub ndcg_at_10: f64,
    /// [`recall`] of the first 10.
    #[serde(rename = "recall@10")]
    pub recall_at_10: f64,
    /// [`recall`] of the first 100.
    #[serde(rename = "recall@100")]
    pub recall_at_100: f64,
    /// [`reciprocal_rank`] within the first 10.
    #[serde(rename = "mrr@10")]
    pub mrr_at_10: f64,
}

impl Quality {
    /// The quality of one ranking, best first.
    pub fn of(ranking: &[DocumentId], judged: &Judgements) -> Quality {
        Quality {
            ndcg_at_10: ndcg(ranking, judged, 10),
            recall_at_10: recall(ranking, judged, 10),
            recall_at_100: recall(ranking, judged, 100),
            mrr_at_10: reciprocal_rank(ranking, judged, 10),
        }
    }

    /// The quality for each judged query, by query id. A query for which nothing was found has 0 everywhere; what was
    /// found for other queries plays no part.
    pub fn per_query<'a>(run: &Run, qrels: &'a Qrels) -> BTreeMap<&'a str, Quality> {
        qrels.iter().map(|(query, judged)| (query, Quality::of(run.ranking(query), judged))).collect()
    }

    /// The mean over all judged queries, as trec_eval gives it with `-c`. 0 everywhere if nothing was judged.
    pub fn mean(run: &Run, qrels: &Qrels) -> Quality {
        let per_query = Quality::per_query(run, qrels);
        let mean_of = |figure: fn(&Quality) -> f64| {
            #[allow(clippy::cast_precision_loss, reason = "there are fewer than 2^53 queries")]
            let queries = per_query.len().max(1) as f64;
            per_query.values().map(figure).sum::<f64>() / queries
        };
        Quality {
            ndcg_at_10: mean_of(|one| one.ndcg_at_10),
            recall_at_10: mean_of(|one| one.recall_at_10),
            recall_at_100: mean_of(|one| one.recall_at_100),
            mrr_at_10: mean_of(|one| one.mrr_at_10),
        }
    }
}

/// Normalised discounted cumulative gain of the first `k` (Järvelin and Kekäläinen, TOIS 2002; trec_eval's `ndcg_cut`):
/// `sum_r grade_r / log2(r + 1)`, ranks from 1, divided by what the best possible ranking would have. Negative grades
/// gain nothing. 0 if nothing is relevant.
pub fn ndcg(ranking: &[DocumentId], judged: &Judgements, k: usize) -> f64 {
    let gain = |grade: i32| f64::from(grade.max(0));
    let mut ideal: Vec<i32> = judged.values().copied().filter(|grade| *grade > 0).collect();
    ideal.sort_unstable_by(|a, b| b.cmp(a));
    if ideal.is_empty() || k == 0 {
        return 0.0;
    }
    let found = ranking.iter().map(|document| judged.get(document).copied().unwrap_or(0));
    dcg(found.take(k).map(gain)) / dcg(ideal.into_iter().take(k).map(gain))
}

fn dcg(gains: impl Iterator<Item = f64>) -> f64 {
    gains.zip(1_u32..).map(|(gain, rank)| gain / (f64::from(rank) + 1.0).log2()).sum()
}

/// The share of all relevant documents that is among the first `k` (trec_eval's `recall`). 0 if nothing is relevant.
#[allow(clippy::cast_precision_loss, reason = "there are fewer than 2^53 documents")]
pub fn recall(ranking: &[DocumentId], judged: &Judgements, k: usize) -> f64 {
    let relevant = judged.values().filter(|grade| **grade > 0).count();
    let found = ranking.iter().take(k).filter(|document| is_relevant(judged, document)).count();
    found as f64 / relevant.max(1) as f64
}

/// 1 / the rank, from 1, of the first relevant document if it is among the first `k`, else 0 (trec_eval's `recip_rank`
/// on the first `k`). Its mean over queries is MRR.
pub fn reciprocal_rank(ranking: &[DocumentId], judged: &Judgements, k: usize) -> f64 {
    let first = (1_u32..).zip(ranking.iter().take(k)).find(|(_, document)| is_relevant(judged, document));
    first.map_or(0.0, |(rank, _)| 1.0 / f64::from(rank))
}

fn is_relevant(judged: &Judgements, document: &DocumentId) -> bool {
    judged.get(document).is_some_and(|grade| *grade > 0)
}

/// The shortest of `times` that at least `percent` percent of them do not exceed (the nearest rank). `None` if there are
/// no times.
pub fn percentile(times: &[Duration], percent: u8) -> Option<Duration> {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * usize::from(percent.min(100))).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(times_ms: &[u64], percent: u8) -> Option<u64> {
        let times: Vec<Duration> = times_ms.iter().copied().map(Duration::from_millis).collect();
        percentile(&times, percent).map(|time| time.as_millis().try_into().unwrap())
    }

    #[test]
    fn a_percentile_is_one_of_the_times() {
        // The worked example of the nearest-rank method.
        let times = [50, 15, 40, 20, 35];
        let expected = [(0, 15), (5, 15), (30, 20), (40, 20), (50, 35), (95, 50), (100, 50)];
        for (percent, time) in expected {
            assert_eq!(at(&times, percent), Some(time), "{percent}");
        }
        assert_eq!(at(&[7], 50), Some(7));
        assert_eq!(at(&[], 50), None);
    }

    #[test]
    fn nothing_judged_gives_zero_not_nan() {
        assert_eq!(Quality::mean(&Run::default(), &Qrels::default()), Quality::default());
        let ranking = [DocumentId::new("a").unwrap()];
        assert_eq!(Quality::of(&ranking, &Judgements::new()), Quality::default());
    }
}
