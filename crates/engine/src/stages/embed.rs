//! The thread that embeds chunks and brings complete versions in sight.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::executor::block_on;
use ibid_core::{DocumentKey, ModelError, PartitionKey, Purpose, Revision};
use ibid_ledger::{Record, StoredDocument};
use ibid_lexical::{Changes, Entry as Words};

use super::{EmbedWork, caught, compute, encoder_input, goes_on_after, leave_out, words_of};
use crate::documents::{Cut, Entry, Version};
use crate::engine::Shared;
use crate::error::EngineError;
use crate::partition::State;
use crate::recover;

/// Chunks embedded in one go: what a deletion or another tenant's document waits for at most.
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
            continue;
        }
        let batch = gather(&state);
        if !batch.is_empty() {
            match caught(|| embed_batch(&state, &batch)) {
                Ok(vectors) => *unsaved.entry(state.key).or_default() += vectors,
                Err(EngineError::Stopped(_)) => return,
                Err(error @ (EngineError::ReadOnly | EngineError::Closing)) => {
                    goes_on_after(shared, &state, &error);
                    continue;
                }
                Err(error) => put_back(&state, &batch, &error),
            }
            state.announce();
            shared.embedding.push(&state);
        }
        if unsaved.get(&state.key).is_some_and(|count| *count >= SAVE_VECTORS) {
            unsaved.remove(&state.key);
            maintain(&state);
        }
    }
}

fn maintain(state: &Arc<State>) {
    let own = Arc::clone(state);
    let maintained =
        compute(state, move || own.vector.maintain(&own.shared.background).map_err(EngineError::of_vector));
    if let Err(error) = maintained.and_then(|maintained| maintained) {
        tracing::warn!(partition = %state.key, error = &error as &dyn std::error::Error, "maintain vectors");
    }
    {
        // Not while the other line has changed one index and not yet the other.
        let _changing = state.lock(&state.changing);
        state.publish(&mut state.documents_mut());
    }
    state.save();
}

/// A version with some chunks to be embedded.
struct Portion {
    work: EmbedWork,
    version: Version,
    cut: Arc<Cut>,
    /// Chunks of this portion: from `version.embedded`, so many.
    count: usize,
    /// The version served meanwhile.
    older: Option<Arc<Cut>>,
}

/// The next versions in line, as many chunks as make a batch; one that is complete and not yet in sight counts none. They
/// stay in the queue until they are done. One that failed
/// before is tried alone, so that it cannot make others fail.
fn gather(state: &State) -> Vec<Portion> {
    let documents = state.documents();
    let mut queue = state.lock(&state.to_embed);
    let mut batch: Vec<Portion> = Vec::new();
    let mut chunks = 0;
    let mut seen = 0;
    while chunks < EMBED_BATCH_CHUNKS && seen < queue.len() {
        let work = queue[seen];
        if work.failures > 0 && !batch.is_empty() {
            break;
        }
        let entry = documents.entry(&work.key).filter(|entry| entry.current.revision == work.revision);
        let wanting = |entry: &&Entry| !entry.current.is_complete() || entry.previous.is_some();
        let unfinished = entry.filter(wanting).filter(|entry| !entry.current.parked);
        let Some((entry, cut)) = unfinished.and_then(|entry| entry.current.cut.clone().map(|cut| (entry, cut))) else {
            queue.remove(seen);
            continue;
        };
        let left = cut.chunks.len() - entry.current.embedded as usize;
        let count = left.min(EMBED_BATCH_CHUNKS - chunks);
        let older = entry.previous.as_ref().and_then(|older| older.cut.clone());
        batch.push(Portion { work, version: entry.current.clone(), cut, count, older });
        chunks += if work.failures > 0 { EMBED_BATCH_CHUNKS } else { count };
        seen += 1;
    }
    batch
}

/// Embeds a batch, commits the vectors, and brings them in sight. How many vectors it were.
fn embed_batch(state: &Arc<State>, batch: &[Portion]) -> Result<usize, EngineError> {
    let mut texts = Vec::new();
    let mut documents = Vec::with_capacity(batch.len());
    let mut readable = Vec::with_capacity(batch.len());
    for portion in batch {
        let read = state.stored(portion.version.put);
        let read = read.and_then(|stored| Ok((stored.text.unpack().map_err(EngineError::of_ledger)?, stored)));
        let (text, stored) = match read {
            Ok(read) => read,
            Err(error @ EngineError::Damaged(_)) => {
                leave_out(state, portion.work.key, portion.work.revision, &error);
                continue;
            }
            Err(error) => return Err(error),
        };
        readable.push(portion);
        let vectors = known_vectors(state, portion, &stored);
        for (offset, vector) in vectors.iter().enumerate() {
            if vector.is_none() {
                let chunk = &portion.cut.chunks[portion.version.embedded as usize + offset];
                let content = chunk.chunk.span.quote(&text).unwrap_or_default();
                texts.push(encoder_input(&portion.cut.title, &chunk.chunk.heading_path, content));
            }
        }
        documents.push((text, vectors));
    }
    let mut made = if texts.is_empty() { Vec::new().into_iter() } else { embed(state, &texts)?.into_iter() };
    let mut pendings = Vec::new();
    let mut ready = Vec::with_capacity(batch.len());
    for (portion, (text, known)) in readable.into_iter().zip(documents) {
        let missing = || EngineError::Model(wrong_count(state));
        let vectors: Vec<Vec<f32>> = known
            .into_iter()
            .map(|known| known.or_else(|| made.next()).ok_or_else(missing))
            .collect::<Result<_, _>>()?;
        let record = || Record::DocumentEmbedded {
            partition: state.key,
            document: portion.work.key,
            revision: portion.work.revision,
            model: state.model.model().clone(),
            model_revision: state.model.revision().to_owned(),
            first_ordinal: portion.version.embedded,
            dimension: u32::try_from(state.model.dimension()).unwrap_or(u32::MAX),
            vectors: vectors.concat(),
        };
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
    bring_in_sight(state, kept)?;
    failed.map_or(Ok(count), Err)
}

/// Vectors that need not be made: the client gave them, or the older version has the same input.
fn known_vectors(state: &State, portion: &Portion, stored: &StoredDocument) -> Vec<Option<Vec<f32>>> {
    let from = portion.version.embedded as usize;
    let given =
        |ordinal: usize| stored.ready.get(ordinal).map(|ready| &ready.vector).filter(|vector| !vector.is_empty());
    let snapshot = state.vector.snapshot();
    let older: HashMap<[u8; 16], u32> = portion.older.as_ref().map_or_else(HashMap::new, |older| {
        older.chunks.iter().map(|chunk| chunk.input_hash).zip(older.labels()).collect()
    });
    let kept =
        |ordinal: usize| older.get(&portion.cut.chunks[ordinal].input_hash).and_then(|label| snapshot.vector(*label));
    (from..from + portion.count).map(|ordinal| given(ordinal).cloned().or_else(|| kept(ordinal))).collect()
}

fn embed(state: &State, texts: &[String]) -> Result<Vec<Vec<f32>>, EngineError> {
    let vectors =
        block_on(state.model.embed(&state.shared.background, Purpose::Passage, texts)).map_err(
            |error| match error {
                ModelError::Stopped(stopped) => EngineError::Stopped(stopped),
                ModelError::Overloaded { .. }
                | ModelError::Refused { .. }
                | ModelError::Unavailable { .. }
                | ModelError::Failed { .. } => EngineError::Model(error),
            },
        )?;
    if vectors.len() == texts.len() { Ok(vectors) } else { Err(EngineError::Model(wrong_count(state))) }
}

fn wrong_count(state: &State) -> ModelError {
    ModelError::Failed { model: state.model.model().to_string(), detail: "fewer vectors than texts".to_owned() }
}

type Ready<'a> = (&'a Portion, String, Vec<Vec<f32>>);

fn bring_in_sight(state: &Arc<State>, ready: Vec<Ready<'_>>) -> Result<(), EngineError> {
    let mut add = Vec::new();
    let mut swaps = Vec::new();
    let mut advanced = Vec::new();
    {
        let documents = state.documents();
        for (portion, text, vectors) in ready {
            let Some(entry) = documents.entry(&portion.work.key) else { continue };
            let count = u32::try_from(vectors.len()).unwrap_or(u32::MAX);
            let served_now = entry.previous.is_none() && entry.current.revision == portion.work.revision;
            let served_meanwhile = entry.previous.as_ref().is_some_and(|p| p.revision == portion.work.revision);
            if served_now || served_meanwhile {
                add.extend((portion.cut.first_label + portion.version.embedded..).zip(vectors));
            } else if entry.current.revision != portion.work.revision {
                continue;
            } else if portion.version.embedded as usize + portion.count == portion.cut.chunks.len() {
                swaps.push((portion.work.key, portion.work.revision, words_of(&portion.cut, &text)?));
            }
            advanced.push((portion.work.key, portion.work.revision, count));
        }
    }
    if !add.is_empty() {
        state.vector.apply(&[], add).map_err(EngineError::of_vector)?;
    }
    {
        let mut documents = state.documents_mut();
        for (key, revision, count) in advanced {
            let Some(entry) = documents.entry_mut(&key) else { continue };
            let both = [Some(&mut entry.current), entry.previous.as_mut()].into_iter().flatten();
            if let Some(version) = both.into_iter().find(|version| version.revision == revision) {
                version.embedded += count;
            }
        }
        state.publish(&mut documents);
    }
    swaps.into_iter().try_for_each(|(key, revision, words)| swap(state, key, revision, words))
}

/// A complete version takes the place of the one that was served.
fn swap(state: &Arc<State>, key: DocumentKey, revision: Revision, words: Vec<Words>) -> Result<(), EngineError> {
    let (older, complete) = {
        let documents = state.documents();
        let Some(entry) = documents.entry(&key).filter(|entry| entry.current.revision == revision) else {
            return Ok(());
        };
        let Some(older) = entry.previous.clone() else { return Ok(()) };
        (older, entry.current.clone())
    };
    // A newer version may be in the ledger by now: then this one never comes in sight.
    let Some(vectors) = recover::vectors(state, key, revision)? else { return Ok(()) };
    let remove: Vec<u32> = older.cut.as_ref().map_or_else(Vec::new, |cut| cut.labels().collect());
    let labels = complete.cut.as_ref().map_or(0..0, |cut| cut.labels());
    state.write_words(Changes { remove: remove.clone(), add: words })?;
    state.vector.apply(&remove, labels.zip(vectors).collect()).map_err(EngineError::of_vector)?;
    let mut documents = state.documents_mut();
    documents.retire(&older);
    if let Some(entry) = documents.entry_mut(&key) {
        let id = entry.id.clone();
        // A newer version may have been put meanwhile: then this one is served until that one is complete.
        entry.previous = (entry.current.revision != revision).then(|| complete.clone());
        documents.label(&id, &complete);
    }
    state.publish(&mut documents);
    Ok(())
}

/// After a failure: tried again later, and not for ever.
fn put_back(state: &State, batch: &[Portion], error: &EngineError) {
    let detail = error as &dyn std::error::Error;
    let counts = matches!(
        error,
        EngineError::Model(ModelError::Failed { .. } | ModelError::Refused { .. }) | EngineError::Damaged(_)
    );
    tracing::warn!(partition = %state.key, error = detail, documents = batch.len(), "embedding failed; trying again");
    let mut documents = state.documents_mut();
    let mut queue = state.lock(&state.to_embed);
    for portion in batch {
        let Some(place) =
            queue.iter().position(|work| work.key == portion.work.key && work.revision == portion.work.revision)
        else {
            continue;
        };
        let Some(mut work) = queue.remove(place) else { continue };
        work.failures += u32::from(counts);
        if work.failures < EMBED_ATTEMPTS {
            queue.push_back(work);
        } else if let Some(entry) =
            documents.entry_mut(&work.key).filter(|entry| entry.current.revision == work.revision)
        {
            entry.current.parked = true;
            tracing::error!(partition = %state.key, "a document is left without vectors; it is found by words");
        }
    }
    drop((queue, documents));
    state.shared.embedding.pause(Duration::from_millis(200));
}
