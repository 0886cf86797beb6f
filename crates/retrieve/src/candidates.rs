//! By words and by meaning, side by side, over several collections.

use std::collections::HashMap;
use std::sync::Arc;

use ibid_core::{ChunkId, Likeness, Ranked};
use ibid_engine::{Candidate, EngineError, Invalid, Partition, Snapshot};
use ibid_runtime::{Ctx, Pool};

use crate::error::RetrieveError;
use crate::query::Query;

/// Where a candidate is, and what the arms thought of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Place {
    /// Which of the collections.
    pub(crate) collection: usize,
    pub(crate) label: u32,
    pub(crate) likeness: Likeness,
    pub(crate) bm25: Option<Ranked>,
    pub(crate) cosine: Option<Ranked>,
}

/// What both arms gave.
#[derive(Debug, Default)]
pub(crate) struct Candidates {
    /// By words, best first.
    pub(crate) lexical: Vec<ChunkId>,
    /// By meaning, best first.
    pub(crate) vector: Vec<ChunkId>,
    pub(crate) places: HashMap<ChunkId, Place>,
    /// How many each collection gave, by words and by meaning.
    pub(crate) counts: Vec<(usize, usize)>,
}

/// Looks in all `snapshots`, which are those of `partitions`, both arms at once.
pub(crate) async fn candidates(
    ctx: &Ctx,
    pool: &Pool,
    partitions: &[Partition],
    snapshots: &Arc<[Snapshot]>,
    query: &Arc<Query>,
) -> Result<Candidates, RetrieveError> {
    let n = query.candidates.max(query.top_k);
    let words = async {
        if !query.mode.by_words() || query.question.trim().is_empty() {
            return Ok(Vec::new());
        }
        let (own, snapshots, query) = (ctx.clone(), Arc::clone(snapshots), Arc::clone(query));
        let start = ctx.elapsed();
        let found = pool.run(ctx, move || each(&snapshots, |one| one.by_words(&own, &query.question, n))).await??;
        ctx.record("retrieve.lexical", start);
        Ok::<_, RetrieveError>(found)
    };
    let meaning = async {
        if !query.mode.by_meaning() {
            return Ok(Vec::new());
        }
        let vector = query_vector(ctx, partitions, snapshots, query).await?;
        let (own, snapshots, weight) = (ctx.clone(), Arc::clone(snapshots), query.neighbour_weight);
        let start = ctx.elapsed();
        let found = pool.run(ctx, move || each(&snapshots, |one| one.by_meaning(&own, &vector, n, weight))).await??;
        ctx.record("retrieve.vector", start);
        Ok::<_, RetrieveError>(found)
    };
    let (words, meaning) = futures::try_join!(words, meaning)?;
    Ok(join(&words, &meaning, n, snapshots.len()))
}

type Lists = Vec<Vec<Candidate>>;

fn each(
    snapshots: &[Snapshot],
    look: impl Fn(&Snapshot) -> Result<Vec<Candidate>, EngineError>,
) -> Result<Lists, EngineError> {
    snapshots.iter().map(look).collect()
}

/// The question's vector, by the one model of all collections: the one whose vectors are searched, whatever a collection's
/// model has become since.
async fn query_vector(
    ctx: &Ctx,
    partitions: &[Partition],
    snapshots: &[Snapshot],
    query: &Query,
) -> Result<Vec<f32>, RetrieveError> {
    let (Some(partition), Some(snapshot)) = (partitions.first(), snapshots.first()) else { return Ok(Vec::new()) };
    let model = snapshot.model();
    if let Some(other) = snapshots.iter().map(Snapshot::model).find(|other| other.model() != model.model()) {
        let problem = format!(
            "are embedded by different models ({} and {}); search them apart, or by words",
            model.model(),
            other.model()
        );
        return Err(Invalid::new("settings.collections", problem).into());
    }
    if let Some(vector) = &query.vector {
        ibid_engine::check_vector("query_vector", vector, model.dimension())?;
        return Ok(vector.clone());
    }
    let start = ctx.elapsed();
    let vector = partition.question_vector(ctx, &**model, &query.question).await?;
    ctx.record("infer.embed", start);
    Ok(vector)
}

/// One list an arm: all collections together, by score, ties by chunk id.
fn join(words: &Lists, meaning: &Lists, n: usize, collections: usize) -> Candidates {
    let mut joined = Candidates { counts: vec![(0, 0); collections], ..Candidates::default() };
    joined.lexical = merge(words, n, &mut joined.places, |place, ranked| place.bm25 = Some(ranked));
    joined.vector = merge(meaning, n, &mut joined.places, |place, ranked| place.cosine = Some(ranked));
    for (collection, list) in words.iter().enumerate() {
        joined.counts[collection].0 = list.len();
    }
    for (collection, list) in meaning.iter().enumerate() {
        joined.counts[collection].1 = list.len();
    }
    joined
}

fn merge(
    lists: &Lists,
    n: usize,
    places: &mut HashMap<ChunkId, Place>,
    note: impl Fn(&mut Place, Ranked),
) -> Vec<ChunkId> {
    let mut all: Vec<(usize, Candidate)> = lists
        .iter()
        .enumerate()
        .flat_map(|(collection, list)| list.iter().map(move |one| (collection, *one)))
        .collect();
    all.sort_by(|(_, a), (_, b)| b.score.total_cmp(&a.score).then(a.chunk.cmp(&b.chunk)));
    all.truncate(n);
    for (rank, (collection, candidate)) in (1..).zip(&all) {
        let Candidate { label, chunk, score, likeness } = *candidate;
        let fresh = Place { collection: *collection, label, likeness, bm25: None, cosine: None };
        let place = places.entry(chunk).or_insert(fresh);
        note(place, Ranked { rank, score });
    }
    all.into_iter().map(|(_, candidate)| candidate.chunk).collect()
}
