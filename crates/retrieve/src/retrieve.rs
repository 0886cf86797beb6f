//! The whole path on one screen.

use std::sync::Arc;
use std::time::Duration;

use ibid_core::{CollectionName, Generation, Hit, ModelError, Passage, Ranked, Scores};
use ibid_engine::{Found, Invalid, Partition, Snapshot};
use ibid_runtime::{Ctx, Pool, Priority};

use crate::candidates::{Candidates, candidates};
use crate::error::RetrieveError;
use crate::fuse::{Fused, rrf};
use crate::query::{Floor, Query, Rerank};
use crate::rerank::mix;

/// Pairs scored between two looks at the budget.
const WAVE_PAIRS: usize = 8;

/// A collection that was searched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Searched {
    /// Its name.
    pub name: CollectionName,
    /// The generation that was searched.
    pub generation: Generation,
    /// How many candidates it gave by words.
    pub lexical: u32,
    /// How many candidates it gave by meaning.
    pub vector: u32,
}

/// What a query found.
#[derive(Debug, Clone, PartialEq)]
pub struct Retrieved {
    /// The hits, best first.
    pub hits: Vec<Hit>,
    /// What was searched, in the order given.
    pub collections: Vec<Searched>,
    /// How many candidates the cross-encoder scored.
    pub reranked: u32,
}

/// Runs queries.
#[derive(Debug, Clone)]
pub struct Retriever {
    pool: Pool,
    reranker: Option<Arc<dyn ibid_core::Rerank>>,
}

impl Retriever {
    /// A retriever that computes in `pool`; without a reranker it answers to [`Rerank::Top`] with an error.
    pub fn new(pool: Pool, reranker: Option<Arc<dyn ibid_core::Rerank>>) -> Retriever {
        Retriever { pool, reranker }
    }

    /// The best chunks of `partitions` (all of one tenant) for a query.
    ///
    /// # Errors
    /// [`RetrieveError`].
    pub async fn retrieve(
        &self,
        ctx: &Ctx,
        partitions: &[Partition],
        query: &Query,
    ) -> Result<Retrieved, RetrieveError> {
        query.validate()?;
        let query = Arc::new(query.clone());
        let snapshots: Arc<[Snapshot]> = partitions.iter().map(|one| one.snapshot(query.filter.as_ref())).collect();
        let found = candidates(ctx, &self.pool, &snapshots, &query).await?;
        let fused = ctx.timed("retrieve.fuse", || fuse(&found, &query));
        let mut ranked = self.look_up(ctx, partitions, &snapshots, &found, fused, &query).await?;
        let reranked = match query.rerank {
            Rerank::Off => 0,
            Rerank::Top { depth, weight, budget } => {
                self.rerank(ctx, &query, &mut ranked, depth, weight, budget).await?
            }
        };
        ranked.retain(|hit| above(&query.floor, &hit.scores));
        ranked.truncate(query.top_k);
        let searched =
            partitions.iter().zip(&*snapshots).zip(&found.counts).map(|((partition, snapshot), counts)| Searched {
                name: partition.name().clone(),
                generation: snapshot.generation(),
                lexical: u32::try_from(counts.0).unwrap_or(u32::MAX),
                vector: u32::try_from(counts.1).unwrap_or(u32::MAX),
            });
        Ok(Retrieved { hits: ranked, collections: searched.collect(), reranked })
    }

    /// Reads the texts of as many of the fused as the rest of the path can use.
    async fn look_up(
        &self,
        ctx: &Ctx,
        partitions: &[Partition],
        snapshots: &Arc<[Snapshot]>,
        found: &Candidates,
        mut fused: Vec<Fused>,
        query: &Query,
    ) -> Result<Vec<Hit>, RetrieveError> {
        let start = ctx.elapsed();
        let depth = if let Rerank::Top { depth, .. } = query.rerank { depth } else { 0 };
        // A floor leaves hits out: then what stands below moves up.
        let floored = query.floor != Floor::default();
        fused.truncate(if floored { usize::MAX } else { depth.max(query.top_k) });
        let wanted: Vec<(usize, u32)> =
            fused.iter().map(|one| (found.places[&one.chunk].collection, found.places[&one.chunk].label)).collect();
        let snapshots = Arc::clone(snapshots);
        let read = move || {
            wanted
                .into_iter()
                .map(|(collection, label)| snapshots[collection].find(label))
                .collect::<Result<Vec<_>, _>>()
        };
        let texts = self.pool.run(ctx, read).await??;
        let hits = (1..).zip(fused.iter().zip(texts)).map(|(rank, (one, text))| {
            let place = &found.places[&one.chunk];
            let rrf = Some(Ranked { rank, score: one.rrf });
            let scores = Scores { bm25: place.bm25, cosine: place.cosine, rrf, ..Scores::default() };
            hit(partitions[place.collection].name().clone(), text, scores)
        });
        let hits = hits.collect();
        ctx.record("retrieve.read", start);
        Ok(hits)
    }

    /// Scores the head in waves until the budget is spent, and sorts what was scored by the mixed score. How many were.
    async fn rerank(
        &self,
        ctx: &Ctx,
        query: &Query,
        hits: &mut [Hit],
        depth: usize,
        weight: f32,
        budget: Option<Duration>,
    ) -> Result<u32, RetrieveError> {
        let Some(reranker) = &self.reranker else {
            return Err(Invalid::new("settings.rerank", "is asked for, and this server has no reranker").into());
        };
        let start = ctx.elapsed();
        let ctx = &ctx.at(Priority::Rerank);
        let head = depth.min(hits.len());
        let mut logits: Vec<f32> = Vec::with_capacity(head);
        for wave in hits[..head].chunks(WAVE_PAIRS) {
            let spent = ctx.elapsed().saturating_sub(start);
            let per_pair = spent.checked_div(u32::try_from(logits.len()).unwrap_or(u32::MAX)).unwrap_or_default();
            let expected = spent + per_pair * u32::try_from(wave.len()).unwrap_or(u32::MAX);
            if budget.is_some_and(|budget| expected > budget) {
                break;
            }
            let passages: Vec<Passage> = wave.iter().map(passage).collect();
            let scored = reranker.score(ctx, &query.question, &passages).await?;
            if scored.len() != wave.len() || scored.iter().any(|logit| !logit.is_finite()) {
                let detail = "it gave no score for some passages".to_owned();
                return Err(ModelError::Failed { model: reranker.model().to_string(), detail }.into());
            }
            logits.extend(scored);
        }
        let scored = &mut hits[..logits.len()];
        order(scored, &logits, weight);
        ctx.record("retrieve.rerank", start);
        Ok(u32::try_from(scored.len()).unwrap_or(u32::MAX))
    }
}

fn fuse(found: &Candidates, query: &Query) -> Vec<Fused> {
    let fusion = query.fusion;
    let lists = [(fusion.lexical_weight, &found.lexical[..]), (fusion.vector_weight, &found.vector[..])];
    rrf(&lists, fusion.k)
}

/// What the cross-encoder reads of a hit: the title and the headings that do not repeat it, then the text.
fn passage(hit: &Hit) -> Passage {
    let headings = hit.heading_path.iter().filter(|heading| **heading != hit.title).map(String::as_str);
    let parts: Vec<&str> =
        std::iter::once(hit.title.as_str()).filter(|title| !title.is_empty()).chain(headings).collect();
    Passage { context: parts.join(" > "), text: hit.text.clone() }
}

/// Notes each hit's logit and mixed score with their ranks, and sorts by the mixed score; ties by chunk id.
fn order(hits: &mut [Hit], logits: &[f32], weight: f32) {
    let scores: Vec<(f32, f32)> =
        hits.iter().zip(logits).map(|(hit, logit)| (hit.scores.rrf.map_or(0.0, |rrf| rrf.score), *logit)).collect();
    let mixed = mix(&scores, weight);
    for ((hit, logit), mixed) in hits.iter_mut().zip(logits).zip(mixed) {
        hit.scores.rerank_logit = Some(Ranked { rank: 0, score: *logit });
        hit.scores.mixed = Some(Ranked { rank: 0, score: mixed });
    }
    sort_and_number(hits, |scores| &mut scores.rerank_logit);
    sort_and_number(hits, |scores| &mut scores.mixed);
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

fn above(floor: &Floor, scores: &Scores) -> bool {
    match (scores.rerank_logit, scores.cosine) {
        (Some(logit), _) => floor.rerank_logit.is_none_or(|floor| logit.score >= floor),
        (None, Some(cosine)) => floor.cosine.is_none_or(|floor| cosine.score >= floor),
        (None, None) => true,
    }
}

fn hit(collection: CollectionName, found: Found, scores: Scores) -> Hit {
    let Found { document, revision, chunk, span, text, title, source_uri, media_type, heading_path, metadata } = found;
    Hit {
        collection,
        document,
        revision,
        chunk,
        span,
        title,
        source_uri,
        media_type,
        heading_path,
        text,
        metadata,
        scores,
    }
}
