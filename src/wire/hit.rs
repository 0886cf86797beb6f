//! What a search found, and how long it took.

use std::time::Duration;

use ibid_core::{Duplicate, Hit, HitPassage, Ranked, Scores};
use ibid_retrieve::{Retrieved, Searched};
use ibid_runtime::Ctx;

use super::value;
use crate::proto as pb;

pub(crate) fn render_response(ctx: &Ctx, retrieved: Retrieved) -> pb::SearchResponse {
    pb::SearchResponse {
        hits: render_hits(retrieved.hits),
        collections: render_searched(retrieved.collections),
        reranked: retrieved.reranked.large,
        reranked_small: retrieved.reranked.small,
        timings: Some(timings(ctx)),
    }
}

/// Hits with their places, best first.
pub(crate) fn render_hits(hits: Vec<Hit>) -> Vec<pb::Hit> {
    (1..).zip(hits).map(|(rank, hit)| render(rank, hit)).collect()
}

/// A hit at the place `rank`, from 1.
pub(crate) fn render(rank: u32, hit: Hit) -> pb::Hit {
    pb::Hit {
        rank,
        collection: hit.collection.to_string(),
        document_id: hit.document.to_string(),
        revision: hit.revision.0,
        chunk_id: hit.chunk.to_string(),
        span: Some(value::render_span(hit.span)),
        title: hit.title,
        source_uri: hit.source_uri,
        heading_path: hit.heading_path,
        text: hit.text,
        metadata: value::render_metadata(hit.metadata),
        scores: Some(render_scores(hit.scores)),
        context: hit.context.unwrap_or_default(),
        places: hit.places.into_iter().map(value::render_place).collect(),
        duplicates: hit.duplicates.into_iter().map(render_duplicate).collect(),
        passage: hit.passage.map(render_passage),
    }
}

fn render_duplicate(duplicate: Duplicate) -> pb::Duplicate {
    pb::Duplicate {
        collection: duplicate.collection.to_string(),
        document_id: duplicate.document.to_string(),
        revision: duplicate.revision.0,
        chunk_id: duplicate.chunk.to_string(),
        span: Some(value::render_span(duplicate.span)),
    }
}

fn render_passage(passage: HitPassage) -> pb::Passage {
    match passage {
        HitPassage::Text { span, text } => pb::Passage { span: Some(value::render_span(span)), text, with_rank: 0 },
        HitPassage::WithRank(with_rank) => pb::Passage { span: None, text: String::new(), with_rank },
    }
}

fn render_scores(scores: Scores) -> pb::Scores {
    let ranked = |Ranked { rank, score }| pb::RankedScore { rank, score };
    pb::Scores {
        bm25: scores.bm25.map(ranked),
        cosine: scores.cosine.map(ranked),
        rrf: scores.rrf.map(ranked),
        small_logit: scores.small_logit.map(ranked),
        rerank_logit: scores.rerank_logit.map(ranked),
        relevance: scores.relevance.map(ranked),
        mixed: scores.mixed.map(ranked),
    }
}

pub(crate) fn render_searched(collections: Vec<Searched>) -> Vec<pb::SearchedCollection> {
    let one = |searched: Searched| pb::SearchedCollection {
        name: searched.name.to_string(),
        generation: searched.generation.0,
        lexical_candidates: searched.lexical,
        vector_candidates: searched.vector,
    };
    collections.into_iter().map(one).collect()
}

/// How long the request has taken so far.
pub(crate) fn timings(ctx: &Ctx) -> pb::Timings {
    let us = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let stages = ctx.stages().into_iter().map(|stage| pb::StageTiming {
        stage: stage.stage.to_owned(),
        start_us: us(stage.start),
        took_us: us(stage.took),
        count: stage.count,
    });
    pb::Timings { stages: stages.collect(), total_us: us(ctx.elapsed()) }
}
