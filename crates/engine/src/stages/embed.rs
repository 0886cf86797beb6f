//! The thread that embeds chunks and brings complete versions in sight.
//!
//! A turn embeds a batch for the model that serves, then one for the second model, if there is one. So whatever the serving
//! model has of a version, the second one has or gets, and the latter never has more.

use std::collections::HashMap;
use std::sync::Arc;

use futures::executor::block_on;
use ibid_core::{DocumentKey, ModelError, PartitionKey, Purpose, Revision};
use ibid_ledger::{Record, StoredChunk, StoredDocument};
use ibid_lexical::{Changes, Entry as Words};
use ibid_runtime::Ctx;
use ibid_vector::{Maintained, VectorError, VectorIndex};

use super::{EmbedWork, caught, change, compute, encoder_input, goes_on_after, leave_out, words_of};
use crate::documents::{Cut, Documents, Entry, Version};
use crate::engine::Shared;
use crate::error::EngineError;
use crate::lanes::{Lane, Which};
use crate::migration;
use crate::partition::State;
use crate::{past, recover};

/// Chunks embedded in one go: what a deletion or another tenant's document waits for at most, twice while there is a second
/// model.
const EMBED_BATCH_CHUNKS: usize = 32;
/// Attempts at embedding a document before it is left to be found by words.
const EMBED_ATTEMPTS: u32 = 3;
/// New vectors after which a partition's vectors are saved. What was not saved is read from the ledger when it opens.
const SAVE_VECTORS: usize = 2_048;

/// Embeds until the engine closes.
pub(crate) fn run_embedding(shared: &Arc<Shared>) {
    let mut unsaved: HashMap<PartitionKey, usize> = HashMap::new();
    while let Some(state) = shared.embedding.next() {
        if state.is_gone() {
            unsaved.remove(&state.key);
            // Whoever waits for one of these hears that there is nothing left to change.
            state.lock(&state.to_change).clear();
            continue;
        }
        change::change_lanes(&state);
        match embed_turn(&state) {
            Ok(Turn::Nothing) => migration::compare_when_ready(&state),
            Ok(Turn::Embedded { vectors }) => {
                *unsaved.entry(state.key).or_default() += vectors;
                state.announce();
                shared.embedding.push(&state);
            }
            Err(EngineError::Stopped(_)) => return,
            Err(error) => {
                goes_on_after(shared, &state, &error);
                continue;
            }
        }
        if unsaved.get(&state.key).is_some_and(|count| *count >= SAVE_VECTORS) {
            unsaved.remove(&state.key);
            maintain(&state);
        }
    }
}

fn maintain(state: &Arc<State>) {
    if let Err(error) = merge(state, VectorIndex::maintain) {
        tracing::warn!(partition = %state.key, error = &error as &dyn std::error::Error, "maintain vectors");
    }
    republish(state);
}

/// Takes what was deleted or replaced out of a partition's indexes, on the disk too.
///
/// # Errors
/// An index failed, or the engine closes: some of it may still be there.
pub(crate) fn erase(state: &Arc<State>) -> Result<(), EngineError> {
    state.past.forget();
    state.reading().lexical.erase().map_err(|error| state.words_failed(error))?;
    merge(state, VectorIndex::erase)?;
    republish(state);
    Ok(())
}

fn merge(
    state: &Arc<State>,
    how: fn(&VectorIndex, &Ctx) -> Result<Maintained, VectorError>,
) -> Result<(), EngineError> {
    let own = Arc::clone(state);
    compute(state, move || {
        own.lanes().all().try_for_each(|(_, lane)| {
            how(&lane.vector, &own.shared.background).map(drop).map_err(EngineError::of_vector)
        })
    })?
}

/// Brings merged indexes in sight, and saves them.
fn republish(state: &Arc<State>) {
    {
        // Not while the other line has changed one index and not yet the other.
        let _changing = state.lock(&state.changing);
        state.publish(&mut state.documents_mut());
    }
    state.save();
}

/// What a turn did.
enum Turn {
    /// There was nothing to do.
    Nothing,
    /// It worked on some versions; these are the vectors that came of it.
    Embedded { vectors: usize },
}

/// A batch of each lane. An error is one after which nothing can be embedded any more; other failures are tried again.
fn embed_turn(state: &Arc<State>) -> Result<Turn, EngineError> {
    let mut turn = Turn::Nothing;
    let mut chunks_max = EMBED_BATCH_CHUNKS;
    for (which, lane) in state.lanes().all() {
        let batch = gather(state, which, chunks_max);
        if batch.is_empty() {
            continue;
        }
        // The second model gets as much more as the first one has just got: else a steady stream of writes would keep it
        // from ever coming near.
        chunks_max += batch.iter().map(|portion| portion.count).sum::<usize>();
        let embedded = match caught(|| embed_batch(state, which, lane, &batch)) {
            Ok(vectors) => vectors,
            Err(error @ (EngineError::Stopped(_) | EngineError::ReadOnly | EngineError::Closing)) => return Err(error),
            Err(error) => {
                put_back(state, which, &batch, &error);
                0
            }
        };
        turn = match turn {
            Turn::Nothing => Turn::Embedded { vectors: embedded },
            Turn::Embedded { vectors } => Turn::Embedded { vectors: vectors + embedded },
        };
    }
    Ok(turn)
}

/// A version with some chunks to be embedded.
struct Portion {
    work: EmbedWork,
    version: Version,
    cut: Arc<Cut>,
    /// Chunks of this portion: from ordinal `from`, so many.
    from: usize,
    count: usize,
}

impl Portion {
    fn chunks(&self) -> &[StoredChunk] {
        &self.cut.chunks[self.from..self.from + self.count]
    }
}

/// The next versions in a lane's queue, as many chunks as `chunks_max`; one that is complete and not yet in sight counts
/// none. They stay in the queue until they are done. One that failed before is tried alone, so that it cannot make others
/// fail.
fn gather(state: &State, which: Which, chunks_max: usize) -> Vec<Portion> {
    let documents = state.documents();
    let mut queue = state.lock(state.queue(which));
    let mut batch: Vec<Portion> = Vec::new();
    let mut chunks = 0;
    while chunks < chunks_max && batch.len() < queue.len() {
        let work = queue[batch.len()];
        if work.failures > 0 && !batch.is_empty() {
            break;
        }
        let Some((version, cut, left)) = documents.entry(&work.key).and_then(|entry| left_of(entry, work, which))
        else {
            queue.remove(batch.len());
            continue;
        };
        let (from, count) = (version.embedded_in(which) as usize, left.min(chunks_max - chunks));
        batch.push(Portion { work, version: version.clone(), cut, from, count });
        chunks += if work.failures > 0 { chunks_max } else { count };
    }
    batch
}

/// The version that `work` is about and how many of its chunks are to be embedded. `None` if it is done, given up, replaced
/// or deleted.
fn left_of(entry: &Entry, work: EmbedWork, which: Which) -> Option<(&Version, Arc<Cut>, usize)> {
    let version = entry.version(work.revision)?;
    let cut = version.cut.clone()?;
    match which {
        Which::Serving => {
            let newest = entry.current.revision == work.revision && !version.parked;
            let wanting = !version.is_complete() || entry.previous.is_some();
            let left = cut.chunks.len().saturating_sub(version.embedded as usize);
            (newest && wanting).then_some((version, cut, left))
        }
        Which::Second => (version.behind() > 0).then_some((version, cut, version.behind() as usize)),
    }
}

/// Texts to embed, each once.
#[derive(Default)]
struct Inputs {
    texts: Vec<String>,
    places: HashMap<[u8; 16], usize>,
}

impl Inputs {
    /// The place of the text with this hash.
    fn place(&mut self, hash: [u8; 16], text: impl FnOnce() -> String) -> usize {
        *self.places.entry(hash).or_insert_with(|| {
            self.texts.push(text());
            self.texts.len() - 1
        })
    }
}

/// Where a chunk's vector comes from.
enum Source {
    /// It was given, or an equal chunk has it.
    Known(Vec<f32>),
    /// It is to be made from the text at this place.
    Made(usize),
}

/// Embeds a batch, commits the vectors, and brings them in sight. How many vectors it were.
fn embed_batch(state: &Arc<State>, which: Which, lane: &Lane, batch: &[Portion]) -> Result<usize, EngineError> {
    let mut inputs = Inputs::default();
    let mut readable = Vec::with_capacity(batch.len());
    for portion in batch {
        let read = state.stored(portion.version.put);
        let read = read.and_then(|stored| Ok((stored.text.unpack().map_err(EngineError::of_ledger)?, stored)));
        let (text, stored) = match read {
            Ok(read) => read,
            Err(error @ EngineError::Damaged(_)) => {
                leave_out(state, portion.work.key, portion.work.revision, &error);
                state.lock(&state.to_second).retain(|work| !work.is_same(&portion.work));
                continue;
            }
            Err(error) => return Err(error),
        };
        let given = given_vectors(state, which, lane, portion, &stored);
        let are_given = given.is_some();
        let known = match given {
            Some(given) => given.into_iter().map(Some).collect(),
            None => equal_vectors(state, lane, portion, &stored),
        };
        let source = |(chunk, known): (&StoredChunk, Option<Vec<f32>>)| match known {
            Some(vector) => Source::Known(vector),
            None => Source::Made(inputs.place(chunk.input_hash, || {
                let content = chunk.chunk.span.quote(&text).unwrap_or_default();
                encoder_input(&portion.cut.title, portion.cut.with_context, &chunk.chunk, &text, content)
            })),
        };
        let sources: Vec<Source> = portion.chunks().iter().zip(known).map(source).collect();
        readable.push((portion, text, sources, are_given));
    }
    let made = if inputs.texts.is_empty() { Vec::new() } else { embed(state, lane, &inputs.texts)? };
    let mut pendings = Vec::new();
    let mut ready: Vec<Ready<'_>> = Vec::with_capacity(batch.len());
    for (portion, text, sources, are_given) in readable {
        let vector = |source| match source {
            Source::Known(vector) => vector,
            Source::Made(place) => made[place].clone(),
        };
        let vectors: Vec<Vec<f32>> = sources.into_iter().map(vector).collect();
        let record = || record_of(state, lane, portion, &vectors, are_given);
        pendings.push((!vectors.is_empty()).then(|| state.shared.ledger.append(record())));
        ready.push((portion, text, vectors));
    }
    // Each record is refused or kept for itself: what is kept counts, or the next part would not follow it.
    let (mut kept, mut failed) = (Vec::with_capacity(ready.len()), None);
    for (pending, one) in pendings.into_iter().zip(ready) {
        match pending.map_or(Ok(()), |pending| pending.wait().map(drop)) {
            Ok(()) => kept.push(one),
            Err(error) => failed = Some(EngineError::of_ledger(error)),
        }
    }
    let _changing = state.lock(&state.changing);
    if state.is_gone() {
        return Ok(0);
    }
    let count = kept.iter().map(|(_, _, vectors)| vectors.len()).sum();
    match which {
        Which::Serving => bring_in_sight(state, lane, kept)?,
        Which::Second => keep_beside(state, lane, kept)?,
    }
    failed.map_or(Ok(count), Err)
}

/// What the ledger is told of a portion's vectors.
fn record_of(state: &State, lane: &Lane, portion: &Portion, vectors: &[Vec<f32>], are_given: bool) -> Record {
    let (partition, document, revision) = (state.key, portion.work.key, portion.work.revision);
    let (model, model_revision) = (lane.version.id.clone(), lane.version.revision.clone());
    let first_ordinal = u32::try_from(portion.from).unwrap_or(u32::MAX);
    let dimension = lane.version.dimension;
    if are_given {
        let count = u32::try_from(vectors.len()).unwrap_or(u32::MAX);
        return Record::VectorsGiven {
            partition,
            document,
            revision,
            model,
            model_revision,
            first_ordinal,
            count,
            dimension,
        };
    }
    Record::DocumentEmbedded {
        partition,
        document,
        revision,
        model,
        model_revision,
        first_ordinal,
        dimension,
        vectors: vectors.concat(),
    }
}

/// The portion's vectors, if the client gave them.
fn given_vectors(
    state: &State,
    which: Which,
    lane: &Lane,
    portion: &Portion,
    stored: &StoredDocument,
) -> Option<Vec<Vec<f32>>> {
    // What came with a document is of the model that served then.
    let are_own = which == Which::Serving && portion.version.generation > state.lanes().since;
    let given = stored.ready.get(portion.from..portion.from + portion.count).filter(|_| are_own)?;
    let given = given.iter().map(|ready| &ready.vector);
    given.map(|vector| (vector.len() == lane.version.dimension as usize).then(|| vector.clone())).collect()
}

/// Vectors that need not be made, by chunk of the portion: an equal chunk has one.
fn equal_vectors(state: &State, lane: &Lane, portion: &Portion, stored: &StoredDocument) -> Vec<Option<Vec<f32>>> {
    let vectors = lane.vector.snapshot();
    let documents = state.documents();
    let equal = |chunk: &StoredChunk| {
        let labels = documents.equal_inputs(chunk.input_hash, &stored.id, &stored.readers);
        labels.into_iter().find_map(|label| vectors.vector(label))
    };
    portion.chunks().iter().map(equal).collect()
}

fn embed(state: &State, lane: &Lane, texts: &[String]) -> Result<Vec<Vec<f32>>, EngineError> {
    let vectors =
        block_on(lane.model.embed(&state.shared.background, Purpose::Passage, texts)).map_err(|error| match error {
            ModelError::Stopped(stopped) => EngineError::Stopped(stopped),
            ModelError::Overloaded { .. }
            | ModelError::RateLimited { .. }
            | ModelError::OverBudget { .. }
            | ModelError::Forbidden { .. }
            | ModelError::TooLong { .. }
            | ModelError::Refused { .. }
            | ModelError::Unavailable { .. }
            | ModelError::Failed { .. } => EngineError::Model(error),
        })?;
    if vectors.len() == texts.len() {
        return Ok(vectors);
    }
    let detail = "another number of vectors than of texts".to_owned();
    Err(EngineError::Model(ModelError::Failed { model: lane.version.id.to_string(), detail }))
}

type Ready<'a> = (&'a Portion, String, Vec<Vec<f32>>);

fn bring_in_sight(state: &Arc<State>, lane: &Lane, ready: Vec<Ready<'_>>) -> Result<(), EngineError> {
    let mut add = Vec::new();
    let mut swaps = Vec::new();
    let mut advanced = Vec::new();
    {
        let documents = state.documents();
        for (portion, text, vectors) in ready {
            let Some(entry) = documents.entry(&portion.work.key) else { continue };
            let count = u32::try_from(vectors.len()).unwrap_or(u32::MAX);
            if is_served(entry, portion.work.revision) {
                add.extend((portion.cut.first_label + portion.version.embedded..).zip(vectors));
            } else if entry.current.revision != portion.work.revision {
                continue;
            } else if portion.from + portion.count == portion.cut.chunks.len() {
                swaps.push((portion.work.key, portion.work.revision, words_of(&portion.cut, &text)?));
            }
            advanced.push((portion.work.key, portion.work.revision, count));
        }
    }
    if !add.is_empty() {
        lane.vector.apply(&[], add).map_err(EngineError::of_vector)?;
    }
    {
        let mut documents = state.documents_mut();
        advance(&mut documents, Which::Serving, &advanced);
        state.publish(&mut documents);
    }
    if state.lanes().second.as_ref().is_some_and(|second| second.lane.is_some()) {
        let mut queue = state.lock(&state.to_second);
        for (key, revision, _) in advanced {
            let work = EmbedWork { key, revision, failures: 0 };
            if !queue.back().is_some_and(|last| last.is_same(&work)) {
                queue.push_back(work);
            }
        }
    }
    swaps.into_iter().try_for_each(|(key, revision, words)| swap(state, key, revision, words))
}

/// The second model's vectors: beside those of what is served, and in the ledger alone of what is not yet.
fn keep_beside(state: &Arc<State>, lane: &Lane, ready: Vec<Ready<'_>>) -> Result<(), EngineError> {
    let mut add = Vec::new();
    let mut advanced = Vec::new();
    {
        let documents = state.documents();
        for (portion, _, vectors) in ready {
            let (key, revision) = (portion.work.key, portion.work.revision);
            let Some(entry) = documents.entry(&key) else { continue };
            advanced.push((key, revision, u32::try_from(vectors.len()).unwrap_or(u32::MAX)));
            if is_served(entry, revision) {
                add.extend((portion.cut.first_label + portion.version.embedded_second..).zip(vectors));
            }
        }
    }
    lane.vector.apply(&[], add).map_err(EngineError::of_vector)?;
    advance(&mut state.documents_mut(), Which::Second, &advanced);
    Ok(())
}

fn is_served(entry: &Entry, revision: Revision) -> bool {
    entry.served().is_some_and(|version| version.revision == revision)
}

fn advance(documents: &mut Documents, which: Which, advanced: &[(DocumentKey, Revision, u32)]) {
    for (key, revision, count) in advanced {
        let versions = documents.entry_mut(key).into_iter().flat_map(Entry::versions_mut);
        if let Some(version) = versions.into_iter().find(|version| version.revision == *revision) {
            *version.embedded_in_mut(which) += count;
        }
    }
}

/// A complete version takes the place of the one that was served, which is kept as long as the ledger keeps it.
fn swap(state: &Arc<State>, key: DocumentKey, revision: Revision, words: Vec<Words>) -> Result<(), EngineError> {
    let (older, complete, known) = {
        let documents = state.documents();
        let Some(entry) = documents.entry(&key).filter(|entry| entry.current.revision == revision) else {
            return Ok(());
        };
        let Some(older) = entry.previous.clone() else { return Ok(()) };
        (older, entry.current.clone(), entry.clone())
    };
    let head = state.shared.ledger.head(state.key, key).map_err(EngineError::of_ledger)?;
    // A newer version may be in the ledger by now: then this one never comes in sight.
    let Some(head) = head.filter(|head| head.versions().any(|version| version.revision == revision)) else {
        return Ok(());
    };
    let retained = past::kept(&state.shared, &head, Some(&known))?;
    let lanes = state.lanes();
    let mut vectors = Vec::new();
    for (_, lane) in lanes.all() {
        let made = recover::vectors(state, key, revision, lane.version.key())?;
        let Some(made) = made else { return Ok(()) };
        vectors.push((lane, made));
    }
    let remove: Vec<u32> = older.cut.as_ref().map_or_else(Vec::new, |cut| cut.labels().collect());
    let labels = complete.cut.as_ref().map_or(0..0, |cut| cut.labels());
    state.write_words(Changes { remove: remove.clone(), add: words })?;
    for (lane, made) in vectors {
        lane.vector.apply(&remove, labels.clone().zip(made).collect()).map_err(EngineError::of_vector)?;
    }
    let mut documents = state.documents_mut();
    documents.retire(&older);
    if let Some(entry) = documents.entry_mut(&key) {
        let id = entry.id.clone();
        // A newer version may have been put meanwhile: then this one is served until that one is complete.
        entry.previous = (entry.current.revision != revision).then(|| complete.clone());
        entry.retained = retained;
        documents.label(&id, &complete);
    }
    state.publish(&mut documents);
    Ok(())
}

/// After a failure: tried again later, and not for ever.
fn put_back(state: &State, which: Which, batch: &[Portion], error: &EngineError) {
    let detail = error as &dyn std::error::Error;
    let counts = matches!(
        error,
        EngineError::Model(ModelError::Failed { .. } | ModelError::Refused { .. }) | EngineError::Damaged(_)
    );
    tracing::warn!(partition = %state.key, error = detail, documents = batch.len(), "embedding failed; trying again");
    let mut documents = state.documents_mut();
    let mut queue = state.lock(state.queue(which));
    for portion in batch {
        let Some(place) = queue.iter().position(|work| work.is_same(&portion.work)) else { continue };
        let Some(mut work) = queue.remove(place) else { continue };
        work.failures += u32::from(counts);
        if work.failures < EMBED_ATTEMPTS {
            queue.push_back(work);
            continue;
        }
        match which {
            Which::Serving => {
                let entry = documents.entry_mut(&work.key).filter(|entry| entry.current.revision == work.revision);
                if let Some(entry) = entry {
                    entry.current.parked = true;
                    tracing::error!(partition = %state.key, "a document is left without vectors; it is found by words");
                }
            }
            Which::Second => {
                tracing::error!(partition = %state.key, "a document is left without vectors of the second model");
            }
        }
    }
    drop((queue, documents));
    let shared = &state.shared;
    shared.embedding.pause(&*shared.parts.clock, shared.config.retry_pause);
}
