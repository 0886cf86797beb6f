//! The threads that chunk, index and embed what is committed.
//!
//! Two lines, so that documents are found by words while others wait for vectors: one thread cuts and indexes words, one
//! embeds. Each serves the partitions in turn, a batch at a time. What they do is in the ledger before it is in an index.

use std::collections::{HashMap, HashSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use futures::channel::oneshot;
use futures::executor::block_on;
use ibid_core::{Chunk, ChunkId, CollectionSettings, DocumentKey, ModelError, PartitionKey, Purpose, Revision};
use ibid_ledger::{Record, StoredChunk, StoredDocument};
use ibid_lexical::{Changes, Entry as Words};
use ibid_runtime::PoolError;

use crate::config::EmbedModel;
use crate::documents::{Cut, Entry, Version};
use crate::engine::Shared;
use crate::error::EngineError;
use crate::intake::tell;
use crate::partition::{Partition, State};
use crate::recover;

/// Documents cut in one go.
const CUT_BATCH_DOCUMENTS: usize = 64;
/// Chunks embedded in one go: what a deletion or another tenant's document waits for at most.
const EMBED_BATCH_CHUNKS: usize = 32;
/// Attempts at embedding a document before it is left to be found by words.
const EMBED_ATTEMPTS: u32 = 3;
/// New vectors after which a partition's vectors are saved. What was not saved is read from the ledger when it opens.
const SAVE_VECTORS: usize = 2_048;

/// What waits for the cutting thread, in commit order.
pub(crate) enum CutWork {
    /// Cut a version and index its words.
    Cut { key: DocumentKey, revision: Revision },
    /// Take a document out of the indexes.
    Delete { key: DocumentKey, revision: Revision, done: oneshot::Sender<Result<(), EngineError>> },
    /// Read the collection by other settings.
    Reread { settings: Box<CollectionSettings>, done: oneshot::Sender<Result<(), EngineError>> },
}

/// A version that waits for vectors.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EmbedWork {
    pub(crate) key: DocumentKey,
    pub(crate) revision: Revision,
    pub(crate) failures: u32,
}

/// Partitions that have work, in turn.
#[derive(Default)]
pub(crate) struct Line {
    turns: Mutex<Turns>,
    arrived: Condvar,
}

#[derive(Default)]
struct Turns {
    waiting: VecDeque<Arc<State>>,
    queued: HashSet<PartitionKey>,
    closed: bool,
}

impl Line {
    /// Puts a partition at the end of the line, if it does not stand in it.
    pub(crate) fn push(&self, partition: &Arc<State>) {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if turns.queued.insert(partition.key) {
            turns.waiting.push_back(Arc::clone(partition));
            self.arrived.notify_one();
        }
    }

    /// Waits for a partition's turn. `None` once the line is closed.
    fn next(&self) -> Option<Arc<State>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if turns.closed {
                return None;
            }
            if let Some(partition) = turns.waiting.pop_front() {
                turns.queued.remove(&partition.key);
                return Some(partition);
            }
            turns = self.arrived.wait(turns).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(crate) fn close(&self) {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.arrived.notify_all();
    }

    /// Waits a moment before something is tried again; less when the line is closed.
    fn pause(&self, time: Duration) {
        let turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.arrived.wait_timeout_while(turns, time, |turns| !turns.closed);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}

/// Puts a freshly opened partition in line for what it has left to do.
pub(crate) fn enqueue(state: &Arc<State>) {
    state.shared.cutting.push(state);
    state.shared.embedding.push(state);
}

/// Cuts and deletes until the engine closes.
pub(crate) fn run_cutting(shared: &Arc<Shared>) {
    while let Some(state) = shared.cutting.next() {
        let batch = take_batch(&state);
        if batch.is_empty() {
            continue;
        }
        let done = caught(|| {
            let _changing = state.lock(&state.changing);
            cut_batch(&state, batch)
        });
        state.announce();
        if let Err(error) = done
            && !goes_on_after(shared, &state, &error)
        {
            continue;
        }
        shared.cutting.push(&state);
        shared.embedding.push(&state);
    }
}

/// A panic is the end of this turn, not of this thread.
fn caught<T>(turn: impl FnOnce() -> Result<T, EngineError>) -> Result<T, EngineError> {
    // What a turn leaves half done is in the ledger, and made whole when the partition is opened again.
    let panicked = |_| Err(EngineError::Damaged("it makes the engine panic".to_owned()));
    catch_unwind(AssertUnwindSafe(turn)).unwrap_or_else(panicked)
}

/// After a failure: whether the partition's work is tried again, after a pause.
fn goes_on_after(shared: &Shared, state: &State, error: &EngineError) -> bool {
    let shown = error as &dyn std::error::Error;
    if matches!(error, EngineError::ReadOnly | EngineError::Closing) {
        // Nothing can be written until the folder is opened again; then this goes on.
        shared.read_only.store(matches!(error, EngineError::ReadOnly), Ordering::Release);
        tracing::warn!(partition = %state.key, error = shown, "documents wait until the folder is opened again");
        state.announce();
        return false;
    }
    tracing::error!(partition = %state.key, error = shown, "cut and index documents; trying again");
    shared.cutting.pause(Duration::from_millis(200));
    true
}

/// The next works of one kind.
fn take_batch(state: &State) -> Vec<CutWork> {
    let mut queue = state.lock(&state.to_cut);
    let Some(first) = queue.pop_front() else { return Vec::new() };
    let kind = std::mem::discriminant(&first);
    let mut batch = vec![first];
    while batch.len() < CUT_BATCH_DOCUMENTS && queue.front().is_some_and(|next| std::mem::discriminant(next) == kind) {
        batch.extend(queue.pop_front());
    }
    batch
}

/// Works on a batch; what could not be done for a passing reason goes back to the front of the queue.
fn cut_batch(state: &Arc<State>, batch: Vec<CutWork>) -> Result<(), EngineError> {
    let mut cuts = Vec::new();
    let mut deletes = Vec::new();
    for work in batch {
        match work {
            CutWork::Cut { key, revision } => cuts.push((key, revision)),
            CutWork::Delete { key, revision, done } => deletes.push((key, revision, done)),
            CutWork::Reread { settings, done } => {
                let reread = if state.is_gone() { Err(EngineError::Closing) } else { reread(state, *settings) };
                tell(done, reread);
            }
        }
    }
    if state.is_gone() {
        state.shared.waiting.fetch_sub(cuts.len(), Ordering::Relaxed);
        deletes.into_iter().for_each(|(_, _, done)| tell(done, Ok(())));
        return Ok(());
    }
    if !cuts.is_empty() {
        let failed = cut_all(state, &cuts);
        if failed.is_err() {
            let mut queue = state.lock(&state.to_cut);
            cuts.into_iter().rev().for_each(|(key, revision)| queue.push_front(CutWork::Cut { key, revision }));
            return failed;
        }
        state.shared.waiting.fetch_sub(cuts.len(), Ordering::Relaxed);
    }
    if !deletes.is_empty() {
        let gone: Vec<(DocumentKey, Revision)> = deletes.iter().map(|(key, revision, _)| (*key, *revision)).collect();
        if let Err(error) = delete_all(state, &gone) {
            // They are in the ledger: they are tried until they are done.
            let mut queue = state.lock(&state.to_cut);
            let works = deletes.into_iter().rev();
            works.for_each(|(key, revision, done)| queue.push_front(CutWork::Delete { key, revision, done }));
            return Err(error);
        }
        deletes.into_iter().for_each(|(_, _, done)| tell(done, Ok(())));
    }
    Ok(())
}

/// A version that was just cut, not yet in sight.
struct Fresh {
    key: DocumentKey,
    version: Version,
    /// Its words, if it can be served at once.
    words: Vec<Words>,
    /// Nothing is served until it is complete: an older version is.
    replaces: bool,
}

fn cut_all(state: &Arc<State>, works: &[(DocumentKey, Revision)]) -> Result<(), EngineError> {
    let mut pendings = Vec::new();
    let mut fresh = Vec::new();
    for (key, revision) in works {
        let Some((version, older)) = uncut(state, key, *revision) else { continue };
        if let Some((cut, text)) = logged_cut(state, *key, &version)? {
            // An earlier try came this far: its labels are used, not another set.
            let reused = older.as_ref().map_or(0, |older| count_reused(older, &cut.chunks));
            let words = if older.is_none() { words_of(&cut, &text)? } else { Vec::new() };
            let version = Version { cut: Some(cut), reused, ..version };
            fresh.push(Fresh { key: *key, version, words, replaces: older.is_some() });
            continue;
        }
        let (text, title, chunks) = match read_and_cut(state, *key, &version) {
            Ok(cut) => cut,
            Err(error @ EngineError::Damaged(_)) => {
                leave_out(state, *key, *revision, &error);
                continue;
            }
            Err(error) => return Err(error),
        };
        let reused = older.as_ref().map_or(0, |older| count_reused(older, &chunks));
        let first_label = state.documents_mut().assign_labels(u32::try_from(chunks.len()).unwrap_or(u32::MAX));
        pendings.push(state.shared.ledger.append(Record::DocumentChunked {
            partition: state.key,
            document: *key,
            revision: *revision,
            chunker: ibid_chunk::VERSION.to_owned(),
            first_label,
            title: title.clone(),
            chunks: chunks.clone(),
        }));
        let cut = Arc::new(Cut { first_label, title, chunks });
        let words = if older.is_none() { words_of(&cut, &text)? } else { Vec::new() };
        let version = Version { cut: Some(cut), reused, ..version };
        fresh.push(Fresh { key: *key, version, words, replaces: older.is_some() });
    }
    for pending in pendings {
        pending.wait().map_err(EngineError::of_ledger)?;
    }
    let mut changes = Changes { remove: Vec::new(), add: Vec::new() };
    for one in &mut fresh {
        changes.add.append(&mut one.words);
    }
    if !changes.add.is_empty() {
        state.write_words(changes)?;
    }
    {
        let mut documents = state.documents_mut();
        let mut queue = state.lock(&state.to_embed);
        for Fresh { key, version, replaces, .. } in fresh {
            let Some(entry) = documents.entry_mut(&key) else { continue };
            let id = entry.id.clone();
            let revision = version.revision;
            let empty = version.cut.as_ref().is_none_or(|cut| cut.chunks.is_empty());
            let in_sight = version.clone();
            if entry.current.revision == revision {
                entry.current = version;
                if !empty || replaces {
                    queue.push_back(EmbedWork { key, revision, failures: 0 });
                }
            } else if entry.previous.is_none() && !replaces {
                // A newer version was put meanwhile; until it is complete this one is served.
                entry.previous = Some(version);
            } else {
                continue;
            }
            if !replaces {
                documents.label(&id, &in_sight);
            }
        }
        state.publish(&mut documents);
    }
    Ok(())
}

/// How the version is cut, and its text, if the ledger has that already.
fn logged_cut(state: &State, key: DocumentKey, version: &Version) -> Result<Option<(Arc<Cut>, String)>, EngineError> {
    let head = state.shared.ledger.head(state.key, key).map_err(EngineError::of_ledger)?;
    let current = head.map(|head| head.current).filter(|current| current.revision == version.revision);
    let Some(chunked) = current.and_then(|current| current.chunked) else { return Ok(None) };
    match recover::read_cut(&state.shared.ledger, chunked) {
        Ok(cut) => Ok(Some((cut, state.text(version.put)?))),
        // It is cut anew.
        Err(EngineError::Damaged(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn read_and_cut(
    state: &State,
    key: DocumentKey,
    version: &Version,
) -> Result<(String, String, Vec<StoredChunk>), EngineError> {
    let stored = state.stored(version.put)?;
    let text = stored.text.unpack().map_err(EngineError::of_ledger)?;
    let (text, title, chunks) = cut(state, key, stored, text)?;
    Ok((text, title, chunks))
}

/// A document whose stored bytes are damaged holds nobody else up: it stays as it is until the folder is repaired.
fn leave_out(state: &State, key: DocumentKey, revision: Revision, error: &EngineError) {
    let error = error as &dyn std::error::Error;
    tracing::error!(partition = %state.key, error, "a document is left out");
    let mut documents = state.documents_mut();
    if let Some(entry) = documents.entry_mut(&key).filter(|entry| entry.current.revision == revision) {
        entry.current.parked = true;
    }
}

/// The version to be cut and the one that is served meanwhile. `None` if it is cut, replaced or deleted.
fn uncut(state: &State, key: &DocumentKey, revision: Revision) -> Option<(Version, Option<Arc<Cut>>)> {
    let documents = state.documents();
    let entry = documents.entry(key)?;
    let wanted = entry.current.revision == revision && entry.current.cut.is_none();
    wanted.then(|| (entry.current.clone(), entry.previous.as_ref().and_then(|older| older.cut.clone())))
}

fn count_reused(older: &Cut, chunks: &[StoredChunk]) -> u32 {
    let known: HashSet<[u8; 16]> = older.chunks.iter().map(|chunk| chunk.input_hash).collect();
    let reused = chunks.iter().filter(|chunk| known.contains(&chunk.input_hash)).count();
    u32::try_from(reused).unwrap_or(u32::MAX)
}

/// A document's text, title and chunks.
fn cut(
    state: &State,
    key: DocumentKey,
    stored: StoredDocument,
    text: String,
) -> Result<(String, String, Vec<StoredChunk>), EngineError> {
    let (reading, model) = (state.reading(), Arc::clone(&state.model));
    let (text, stored, found_title, chunks) = compute(state, move || {
        let (title, chunks) = if stored.ready.is_empty() {
            let chunked = reading.chunker.chunk(&text, stored.media_type, &*model);
            (chunked.title, chunked.chunks)
        } else {
            (None, ready_chunks(&*model, &stored, &text))
        };
        (text, stored, title, chunks)
    })?;
    let title = if stored.title.is_empty() { found_title.unwrap_or_default() } else { stored.title };
    let mut occurrences: HashMap<&str, u32> = HashMap::new();
    let mut out = Vec::with_capacity(chunks.len());
    for chunk in chunks {
        let content =
            chunk.span.quote(&text).ok_or_else(|| EngineError::Damaged("a chunk lies outside its text".to_owned()))?;
        let occurrence = occurrences.entry(content).or_insert(0);
        let id = ChunkId::of(state.key, key, content, *occurrence);
        *occurrence += 1;
        let input = encoder_input(&title, &chunk.heading_path, content);
        let hash = blake3::hash(input.as_bytes());
        let input_hash = hash.as_bytes()[..16].try_into().expect("sixteen of thirty-two bytes");
        out.push(StoredChunk { chunk, id, input_hash });
    }
    Ok((text, title, out))
}

/// Runs `work` in the pool, after whoever asks a question. A panic is that work's failure, not this thread's end.
fn compute<T: Send + 'static>(state: &State, work: impl FnOnce() -> T + Send + 'static) -> Result<T, EngineError> {
    let shared = &state.shared;
    block_on(shared.parts.pool.run(&shared.background, work)).map_err(|error| match error {
        PoolError::Panicked { message } => EngineError::Damaged(format!("it makes the engine panic: {message}")),
        PoolError::Stopped(_) => EngineError::Closing,
        PoolError::Full { .. } => EngineError::of_pool(error),
    })
}

fn ready_chunks(model: &dyn EmbedModel, stored: &StoredDocument, text: &str) -> Vec<Chunk> {
    let mut starts = Vec::new();
    let chunk = |ready: &ibid_ledger::ReadyChunk| {
        starts.clear();
        model.token_starts(ready.span.quote(text).unwrap_or_default(), &mut starts);
        Chunk {
            span: ready.span,
            heading_path: Vec::new(),
            kind: ibid_core::BlockKind::Mixed,
            tokens: u32::try_from(starts.len()).unwrap_or(u32::MAX),
        }
    };
    stored.ready.iter().map(chunk).collect()
}

/// What stands around a chunk: the title, then the headings that do not repeat it.
fn context(title: &str, heading_path: &[String]) -> String {
    let mut parts: Vec<&str> = Vec::with_capacity(heading_path.len() + 1);
    for part in std::iter::once(title).chain(heading_path.iter().map(String::as_str)) {
        if !part.is_empty() && parts.last() != Some(&part) {
            parts.push(part);
        }
    }
    parts.join(" > ")
}

/// What the encoder reads of a chunk.
fn encoder_input(title: &str, heading_path: &[String], content: &str) -> String {
    let context = context(title, heading_path);
    if context.is_empty() { content.to_owned() } else { format!("{context}\n{content}") }
}

/// What the index of words gets of a version.
pub(crate) fn words_of(cut: &Cut, text: &str) -> Result<Vec<Words>, EngineError> {
    let words = |(label, stored): (u32, &StoredChunk)| {
        let content = stored.chunk.span.quote(text);
        let content = content.ok_or_else(|| EngineError::Damaged("a chunk lies outside its text".to_owned()))?;
        Ok(Words {
            label,
            title: cut.title.clone(),
            headings: stored.chunk.heading_path.join("\n"),
            text: content.to_owned(),
        })
    };
    cut.labels().zip(&cut.chunks).map(words).collect()
}

fn delete_all(state: &Arc<State>, gone: &[(DocumentKey, Revision)]) -> Result<(), EngineError> {
    let labels: Vec<u32> = {
        let documents = state.documents();
        let entries = gone.iter().filter_map(|(key, revision)| documents.entry(key).map(|entry| (entry, *revision)));
        let versions = entries.flat_map(|(entry, revision)| {
            let both = [Some(&entry.current), entry.previous.as_ref()].into_iter().flatten();
            both.filter(move |version| version.revision < revision)
        });
        versions.filter_map(|version| version.cut.as_ref()).flat_map(|cut| cut.labels()).collect()
    };
    if !labels.is_empty() {
        state.write_words(Changes { remove: labels.clone(), add: Vec::new() })?;
        state.vector.apply(&labels, Vec::new()).map_err(EngineError::of_vector)?;
    }
    let mut documents = state.documents_mut();
    for (key, revision) in gone {
        let Some(entry) = documents.entry_mut(key) else { continue };
        let served = entry.served().cloned();
        let previous = entry.previous.take_if(|version| version.revision < *revision);
        let retired = if entry.current.revision < *revision {
            documents.remove(key);
            served
        } else {
            previous
        };
        if let Some(retired) = retired {
            documents.retire(&retired);
        }
    }
    state.publish(&mut documents);
    Ok(())
}

/// Other settings: another chunk length holds for later documents, another analysis makes the index of words anew.
fn reread(state: &Arc<State>, settings: CollectionSettings) -> Result<(), EngineError> {
    let reading = recover::reread(state, settings)?;
    let mut documents = state.documents_mut();
    state.set_reading(reading);
    state.publish(&mut documents);
    Ok(())
}

impl Partition {
    /// Reads the collection by other settings from now on.
    pub(crate) async fn read_as(&self, settings: CollectionSettings) -> Result<(), EngineError> {
        let (done, reread) = oneshot::channel();
        let work = CutWork::Reread { settings: Box::new(settings), done };
        self.state.lock(&self.state.to_cut).push_back(work);
        self.state.shared.cutting.push(&self.state);
        reread.await.unwrap_or(Err(EngineError::Closing))
    }
}

impl State {
    fn write_words(&self, changes: Changes) -> Result<(), EngineError> {
        let reading = self.reading();
        let generation = self.documents().generation;
        reading.lexical.write(changes, generation.0).map_err(EngineError::of_lexical)?;
        // The words are committed; a merge that failed is tried after the next write.
        if let Err(error) = reading.lexical.maintain() {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(partition = %self.key, error, "merge the index of words");
        }
        Ok(())
    }

    /// Saves the vectors, so that opening need not read them from the ledger.
    pub(crate) fn save(&self) {
        let _changing = self.lock(&self.changing);
        if self.is_gone() {
            return;
        }
        let folder = self.shared.partition_folder(self.key).join("vector");
        let disk = &*self.shared.parts.disk;
        let generation = self.documents().generation.0;
        let saved = disk
            .create_dir_all(&folder)
            .map_err(|source| EngineError::Io { doing: "make an index folder", source })
            .and_then(|()| self.vector.save(disk, &folder, generation).map_err(EngineError::of_vector));
        if let Err(error) = saved {
            tracing::warn!(partition = %self.key, error = &error as &dyn std::error::Error, "save vectors; they are in the ledger");
        }
    }
}

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
