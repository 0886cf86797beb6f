//! The whole path on one screen.

use std::sync::Arc;

use ibid_core::{ChunkId, CollectionName, Duplicate, Generation, Hit, Label, Ranked, Scores};
use ibid_engine::{EngineError, Expand, Found, Invalid, Partition, Snapshot};
use ibid_runtime::{Ctx, Pool};

use crate::candidates::{Candidates, candidates};
use crate::duplicates::{Once, collapse, keep};
use crate::error::RetrieveError;
use crate::fuse::{Fused, rrf};
use crate::passage::expand;
use crate::query::{Duplicates, Query, Rerank};
use crate::rerank::{Reranked, Rerankers, Settings, rerank};

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
    /// How many candidates the cross-encoders scored.
    pub reranked: Reranked,
}

/// A chunk: which of the collections, and its label there.
type At = (usize, Label);

/// Runs queries.
#[derive(Debug, Clone)]
pub struct Retriever {
    pool: Pool,
    rerankers: Option<Rerankers>,
}

impl Retriever {
    /// A retriever that computes in `pool`; without rerankers it answers to [`Rerank::Top`] with an error.
    pub fn new(pool: Pool, rerankers: Option<Rerankers>) -> Retriever {
        Retriever { pool, rerankers }
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
        let snapshots = snapshots(ctx, partitions, &query).await?;
        let found = candidates(ctx, &self.pool, partitions, &snapshots, &query).await?;
        let fused = ctx.timed("retrieve.fuse", || match query.duplicates {
            Duplicates::Collapse => collapse(fuse(&found, &query), &found),
            Duplicates::Keep => keep(fuse(&found, &query)),
        });
        let mut ranked = self.look_up(ctx, partitions, &snapshots, &found, fused, &query).await?;
        let reranked = match query.rerank {
            Rerank::Off => Reranked::default(),
            Rerank::Top { depth, weight, budget } => {
                let Some(rerankers) = &self.rerankers else {
                    let problem = "is asked for, and this server has no reranker";
                    return Err(Invalid::new("settings.rerank", problem).into());
                };
                let head = depth.min(ranked.len());
                let settings = Settings { places: if query.is_floored() { head } else { query.top_k }, weight, budget };
                rerank(ctx, rerankers, &query.question, &mut ranked[..head], settings).await?
            }
        };
        ranked.retain(|hit| query.floor.admits(&hit.scores));
        ranked.truncate(query.top_k);
        let searched: Vec<Searched> = partitions
            .iter()
            .zip(&*snapshots)
            .zip(&found.counts)
            .map(|((partition, snapshot), counts)| Searched {
                name: partition.name().clone(),
                generation: snapshot.generation(),
                lexical: u32::try_from(counts.0).unwrap_or(u32::MAX),
                vector: u32::try_from(counts.1).unwrap_or(u32::MAX),
            })
            .collect();
        if query.expand != Expand::None {
            let (start, expanding) = (ctx.elapsed(), query.expand);
            let expanded = move || expand(&mut ranked, &snapshots, &found, expanding).map(|()| ranked);
            ranked = self.pool.run(ctx, expanded).await??;
            ctx.record("retrieve.expand", start);
        }
        Ok(Retrieved { hits: ranked, collections: searched, reranked })
    }

    /// Reads the texts of as many of the fused as the rest of the path can use.
    async fn look_up(
        &self,
        ctx: &Ctx,
        partitions: &[Partition],
        snapshots: &Arc<[Snapshot]>,
        found: &Candidates,
        mut fused: Vec<Once>,
        query: &Query,
    ) -> Result<Vec<Hit>, RetrieveError> {
        let start = ctx.elapsed();
        let depth = if let Rerank::Top { depth, .. } = query.rerank { depth } else { 0 };
        fused.truncate(if query.is_floored() { usize::MAX } else { depth.max(query.top_k) });
        let place = |chunk: &ChunkId| (found.places[chunk].collection, found.places[chunk].label);
        let wanted: Vec<(At, Vec<At>)> =
            fused.iter().map(|one| (place(&one.fused.chunk), one.duplicates.iter().map(place).collect())).collect();
        let (snapshots, names) = (Arc::clone(snapshots), partitions.iter().map(|one| one.name().clone()));
        let names: Vec<CollectionName> = names.collect();
        let read = move || {
            let duplicate = |(collection, label): At| {
                let (document, revision, chunk, span) = snapshots[collection].locate(label)?;
                Ok(Duplicate { collection: names[collection].clone(), document, revision, chunk, span })
            };
            let one = |((collection, label), duplicates): (At, Vec<At>)| {
                let duplicates = duplicates.into_iter().map(duplicate).collect::<Result<Vec<_>, EngineError>>()?;
                Ok((snapshots[collection].find(label)?, duplicates))
            };
            wanted.into_iter().map(one).collect::<Result<Vec<_>, EngineError>>()
        };
        let texts = self.pool.run(ctx, read).await??;
        let hits = (1..).zip(fused.iter().zip(texts)).map(|(rank, (one, (text, duplicates)))| {
            let place = &found.places[&one.fused.chunk];
            let rrf = Some(Ranked { rank, score: one.fused.rrf });
            let scores = Scores { bm25: place.bm25, cosine: place.cosine, rrf, ..Scores::default() };
            hit(partitions[place.collection].name().clone(), text, scores, duplicates)
        });
        let hits = hits.collect();
        ctx.record("retrieve.read", start);
        Ok(hits)
    }
}

/// What is searched: the partitions as they are, or the one as it was.
async fn snapshots(ctx: &Ctx, partitions: &[Partition], query: &Query) -> Result<Arc<[Snapshot]>, RetrieveError> {
    let filter = query.filter.as_ref();
    match (query.generation, partitions) {
        (None, _) => Ok(partitions.iter().map(|one| one.snapshot(filter)).collect()),
        (Some(generation), [partition]) => {
            let start = ctx.elapsed();
            let snapshot = partition.snapshot_at(ctx, generation, filter).await?;
            ctx.record("retrieve.past", start);
            Ok(Arc::from([snapshot]))
        }
        (Some(_), several) => {
            let problem =
                format!("is one collection's, and {} are searched; name that collection alone", several.len());
            Err(Invalid::new("generation", problem).into())
        }
    }
}

fn fuse(found: &Candidates, query: &Query) -> Vec<Fused> {
    let fusion = query.fusion;
    let lists = [(fusion.lexical_weight, &found.lexical[..]), (fusion.vector_weight, &found.vector[..])];
    rrf(&lists, fusion.k)
}

fn hit(collection: CollectionName, found: Found, scores: Scores, duplicates: Vec<Duplicate>) -> Hit {
    let Found {
        document,
        revision,
        chunk,
        span,
        text,
        title,
        source_uri,
        media_type,
        heading_path,
        metadata,
        context,
        places,
    } = found;
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
        context,
        places,
        scores,
        duplicates,
        passage: None,
    }
}
