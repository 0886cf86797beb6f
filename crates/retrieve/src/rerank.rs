//! The head of the fused list scored again by a large cross-encoder; where time is too short for that, by a small one as much
//! of it as fits, and by the large one the best of that.
//!
//! Every candidate has a relevance, 0 to 1, by the largest model that scored it, and a fused score, scaled to 0..1 over the
//! head; it is ordered by `weight * relevance + (1 - weight) * fused`. One that no model has scored counts as not relevant:
//! to be scored never costs a place, and what is left unscored keeps its order.
//!
//! A model scores in waves, the best candidates first, and ends early for one of two reasons. The next wave may take longer
//! than what is left of the budget: then what is known decides, be it nothing. Or the first places can no longer change: a
//! candidate yet to be scored reaches at most `weight + (1 - weight) * fused`, and as many as are wanted have more; the
//! result is that of scoring all.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use ibid_core::{ChunkId, Hit, ModelError, Pairs, Passage, Ranked, Rerank, Scores, context};
use ibid_runtime::{Ctx, Priority};

use crate::error::RetrieveError;

/// Candidates that the large cross-encoder scores at most where a small one goes before: where it may not get through as many
/// in time.
const REFINED_MAX: usize = 20;
/// The small one's share of the budget: one half.
const SMALL_SHARE: u32 = 2;
/// Pairs that are scored between two looks at the first places.
const WAVE_PAIRS_MAX: usize = 16;

/// The models that score the head.
#[derive(Debug, Clone)]
pub struct Rerankers {
    /// The one that goes first where time is too short for the large one.
    pub small: Option<Arc<dyn Rerank>>,
    /// The one that has the last word.
    pub large: Arc<dyn Rerank>,
}

/// How many candidates each model scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reranked {
    /// The small one.
    pub small: u32,
    /// The large one.
    pub large: u32,
}

/// How the head is scored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    /// How many places matter, from the first.
    pub(crate) places: usize,
    /// Share of the relevance in the mixed score.
    pub(crate) weight: f32,
    /// Time for it; `None`: until the request's deadline.
    pub(crate) budget: Option<Duration>,
}

/// Scores `hits`, all of them candidates, fused and best first; notes the scores of each stage and sorts by the mixed one,
/// ties by chunk id.
pub(crate) async fn rerank(
    ctx: &Ctx,
    rerankers: &Rerankers,
    question: &str,
    hits: &mut [Hit],
    settings: Settings,
) -> Result<Reranked, RetrieveError> {
    let start = ctx.elapsed();
    let ctx = &ctx.at(Priority::Rerank);
    let mut head = Head::of(hits, settings.weight);
    let mut reranked = Reranked::default();
    let mut order: Vec<usize> = (0..hits.len()).collect();
    let end = |share: u32| settings.budget.map(|all| start + all / share);
    let large = &*rerankers.large;
    if let Some(small) = &rerankers.small
        && hits.len() > REFINED_MAX
        && (Waves { ctx, question, hits, end: end(1) }).is_short_for(large, &order[..REFINED_MAX]).await?
    {
        let wanted = settings.places.max(REFINED_MAX);
        let waves = Waves { ctx, question, hits, end: end(SMALL_SHARE) };
        let scored = waves.score(&**small, &mut head, &order, wanted).await?;
        ctx.record("infer.rerank_small", start);
        for (ordinal, logit) in &scored {
            hits[*ordinal].scores.small_logit = Some(Ranked { rank: 0, score: *logit });
        }
        reranked.small = u32::try_from(scored.len()).unwrap_or(u32::MAX);
        order = head.order();
        order.truncate(REFINED_MAX);
    }
    let large_start = ctx.elapsed();
    let waves = Waves { ctx, question, hits, end: end(1) };
    let scored = waves.score(large, &mut head, &order, settings.places).await?;
    ctx.record("infer.rerank_large", large_start);
    for (ordinal, logit) in &scored {
        hits[*ordinal].scores.rerank_logit = Some(Ranked { rank: 0, score: *logit });
    }
    reranked.large = u32::try_from(scored.len()).unwrap_or(u32::MAX);
    head.note(hits);
    ctx.record("retrieve.rerank", start);
    Ok(reranked)
}

/// What a cross-encoder reads of a hit.
fn passage(hit: &Hit) -> Passage {
    Passage { context: context(&hit.title, &hit.heading_path, hit.context.as_deref()), text: hit.text.clone() }
}

/// One question's pairs, and the time by which they should be scored.
struct Waves<'a> {
    ctx: &'a Ctx,
    question: &'a str,
    hits: &'a [Hit],
    /// As [`Ctx::elapsed`] counts; `None`: the request's deadline.
    end: Option<Duration>,
}

impl Waves<'_> {
    /// Scores the candidates of `order`, the first first, until all are scored, time is out, or the first `wanted` places
    /// are settled. What was scored, with its logit.
    async fn score(
        &self,
        model: &dyn Rerank,
        head: &mut Head,
        order: &[usize],
        wanted: usize,
    ) -> Result<Vec<(usize, f32)>, RetrieveError> {
        let mut scored: Vec<(usize, f32)> = Vec::with_capacity(order.len());
        if head.settled(order, wanted) || self.left().is_some_and(|left| left.is_zero()) {
            return Ok(scored);
        }
        let passages = self.passages(order);
        let pairs = model.pairs(self.ctx, self.question, &passages).await?;
        while scored.len() < order.len() && !head.settled(&order[scored.len()..], wanted) {
            let rest = scored.len()..order.len().min(scored.len() + WAVE_PAIRS_MAX);
            let Some(wave) = wave(&*pairs, rest, self.left()) else { break };
            let logits = pairs.score(wave.clone()).await?;
            if logits.len() != wave.len() || logits.iter().any(|logit| !logit.is_finite()) {
                let detail = "it gave no score for some passages".to_owned();
                return Err(ModelError::Failed { model: model.model().to_string(), detail }.into());
            }
            for (ordinal, logit) in order[wave].iter().zip(logits) {
                head.candidates[*ordinal].relevance = Some(model.calibration().relevance(logit));
                scored.push((*ordinal, logit));
            }
        }
        Ok(scored)
    }

    /// Whether the model may not get through the candidates of `order` in time.
    async fn is_short_for(&self, model: &dyn Rerank, order: &[usize]) -> Result<bool, RetrieveError> {
        if self.left().is_none_or(|left| left.is_zero()) {
            return Ok(false);
        }
        let passages = self.passages(order);
        let pairs = model.pairs(self.ctx, self.question, &passages).await?;
        let left = self.left();
        Ok(pairs.expected(0..order.len()).is_none_or(|time| left.is_some_and(|left| time > left)))
    }

    fn passages(&self, order: &[usize]) -> Vec<Passage> {
        order.iter().map(|ordinal| passage(&self.hits[*ordinal])).collect()
    }

    fn left(&self) -> Option<Duration> {
        let own = self.end.map(|end| end.saturating_sub(self.ctx.elapsed()));
        own.into_iter().chain(self.ctx.left()).min()
    }
}

/// The pairs to score next, from the first of `rest`: all of them without a limit; as many as may take half of the time
/// left, so that one wave that takes longer than expected leaves time to notice; or one, if it may take no more than all of
/// it. `None` if not even that. Where nothing is known, one pair tells.
fn wave(pairs: &dyn Pairs, rest: Range<usize>, left: Option<Duration>) -> Option<Range<usize>> {
    let Some(left) = left else { return Some(rest) };
    let one = rest.start..rest.start + 1;
    match pairs.expected(one.clone()) {
        None => (!left.is_zero()).then_some(one),
        Some(time) if time > left => None,
        Some(_) => {
            let fits = |end: &usize| pairs.expected(rest.start..*end).is_some_and(|time| time <= left / 2);
            Some(rest.start..(one.end + 1..=rest.end).rev().find(fits).unwrap_or(one.end))
        }
    }
}

/// The candidates while they are scored, in their fused order.
#[derive(Debug)]
struct Head {
    weight: f32,
    candidates: Vec<Candidate>,
}

#[derive(Debug, Clone, Copy)]
struct Candidate {
    chunk: ChunkId,
    /// Scaled to 0..1.
    fused: f32,
    relevance: Option<f32>,
}

impl Head {
    fn of(hits: &[Hit], weight: f32) -> Head {
        let rrf = |hit: &Hit| hit.scores.rrf.map_or(0.0, |rrf| rrf.score);
        let min = hits.iter().map(rrf).fold(f32::INFINITY, f32::min);
        let range = hits.iter().map(rrf).fold(f32::NEG_INFINITY, f32::max) - min;
        let scaled = |rrf: f32| if range > 0.0 { (rrf - min) / range } else { 1.0 };
        let candidate = |hit: &Hit| Candidate { chunk: hit.chunk, fused: scaled(rrf(hit)), relevance: None };
        Head { weight, candidates: hits.iter().map(candidate).collect() }
    }

    fn mixed(&self, ordinal: usize) -> f32 {
        let Candidate { fused, relevance, .. } = self.candidates[ordinal];
        self.mix(relevance.unwrap_or(0.0), fused)
    }

    fn mix(&self, relevance: f32, fused: f32) -> f32 {
        self.weight * relevance + (1.0 - self.weight) * fused
    }

    /// All candidates, best first, ties by chunk id.
    fn order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.candidates.len()).collect();
        let chunk = |ordinal: usize| self.candidates[ordinal].chunk;
        order.sort_by(|a, b| self.mixed(*b).total_cmp(&self.mixed(*a)).then(chunk(*a).cmp(&chunk(*b))));
        order
    }

    /// Whether the first `wanted` places stay as they are whatever the candidates of `open` are found to be: that many
    /// others have more than each of these can reach. Rounding cannot break it, for no step of the mix falls as the
    /// relevance rises.
    fn settled(&self, open: &[usize], wanted: usize) -> bool {
        let bound = |ordinal: &usize| self.mix(1.0, self.candidates[*ordinal].fused);
        let bound = open.iter().map(bound).fold(f32::NEG_INFINITY, f32::max);
        let closed = (0..self.candidates.len()).filter(|ordinal| !open.contains(ordinal));
        closed.filter(|ordinal| self.mixed(*ordinal) > bound).count() >= wanted
    }

    /// Notes each candidate's relevance and mixed score in its hit, with the places of all scores, and sorts the hits.
    fn note(&self, hits: &mut [Hit]) {
        for (ordinal, hit) in hits.iter_mut().enumerate() {
            let unranked = |score| Ranked { rank: 0, score };
            hit.scores.relevance = self.candidates[ordinal].relevance.map(unranked);
            hit.scores.mixed = Some(unranked(self.mixed(ordinal)));
        }
        sort_and_number(hits, |scores| &mut scores.small_logit);
        sort_and_number(hits, |scores| &mut scores.rerank_logit);
        sort_and_number(hits, |scores| &mut scores.relevance);
        sort_and_number(hits, |scores| &mut scores.mixed);
    }
}

fn sort_and_number(hits: &mut [Hit], stage: impl Fn(&mut Scores) -> &mut Option<Ranked>) {
    let score = |hit: &Hit| stage(&mut hit.scores.clone()).map_or(f32::NEG_INFINITY, |ranked| ranked.score);
    hits.sort_by(|a, b| score(b).total_cmp(&score(a)).then(a.chunk.cmp(&b.chunk)));
    for (rank, hit) in (1..).zip(hits) {
        if let Some(ranked) = stage(&mut hit.scores) {
            ranked.rank = rank;
        }
    }
}

#[cfg(test)]
mod tests;
