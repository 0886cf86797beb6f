//! The threads that chunk, index and embed what is committed.
//!
//! Two lines, so that documents are found by words while others wait for vectors: one thread cuts and indexes words
//! (`cut.rs`), one embeds (`embed.rs`) and changes the models of what it embeds (`change.rs`). Each serves the partitions in turn, a batch at a time. What they do is in the ledger
//! before it is in an index.

mod change;
mod cut;
mod embed;

use std::collections::{HashSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use futures::channel::oneshot;
use futures::executor::block_on;
use ibid_core::{BlockKind, Chunk, CollectionSettings, DocumentKey, PartitionKey, Revision, context};
use ibid_ledger::StoredChunk;
use ibid_lexical::{Changes, Entry as Words};
use ibid_runtime::{Clock, PoolError};

use crate::documents::Cut;
use crate::engine::Shared;
use crate::error::EngineError;
use crate::lanes::Which;
use crate::partition::State;

pub(crate) use change::{Behind, Change, LaneChange};
pub(crate) use cut::run_cutting;
pub(crate) use embed::{erase, run_embedding};

/// How often a pause looks at the clock: one that is moved by hand wakes nobody.
const CLOCK_LOOK: Duration = Duration::from_millis(2);

/// What waits for the cutting thread, in commit order.
pub(crate) enum CutWork {
    /// Cut a version and index its words.
    Cut { key: DocumentKey, revision: Revision },
    /// Take a document out of the indexes.
    Delete { key: DocumentKey, revision: Revision, done: oneshot::Sender<Result<(), EngineError>> },
    /// Read the collection by other settings.
    Reread { settings: Box<CollectionSettings>, done: oneshot::Sender<Result<(), EngineError>> },
}

/// A version that waits for vectors of one of the models.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EmbedWork {
    pub(crate) key: DocumentKey,
    pub(crate) revision: Revision,
    pub(crate) failures: u32,
}

impl EmbedWork {
    fn is_same(&self, other: &EmbedWork) -> bool {
        (self.key, self.revision) == (other.key, other.revision)
    }
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
    /// Puts a partition at the end of the line, if it does not stand in it. Nothing happens once the line is closed.
    pub(crate) fn push(&self, partition: &Arc<State>) {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if !turns.closed && turns.queued.insert(partition.key) {
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

    /// Ends the line. Who stands in it goes: a partition holds what the line belongs to, and neither would ever end.
    pub(crate) fn close(&self) {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.closed = true;
        let gone = std::mem::take(&mut turns.waiting);
        drop(turns);
        drop(gone);
        self.arrived.notify_all();
    }

    /// Waits until `clock` has moved on by `time`, before something is tried again; less when the line is closed.
    pub(crate) fn pause(&self, clock: &dyn Clock, time: Duration) {
        let until = clock.monotonic().saturating_add(time);
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        while !turns.closed && clock.monotonic() < until {
            let left = until.saturating_sub(clock.monotonic()).min(CLOCK_LOOK);
            let waited = self.arrived.wait_timeout(turns, left);
            turns = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Puts a freshly opened partition in line for what it has left to do.
pub(crate) fn enqueue(state: &Arc<State>) {
    state.shared.cutting.push(state);
    state.shared.embedding.push(state);
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
    if matches!(error, EngineError::Rebuilding) {
        // That comes first.
        return true;
    }
    tracing::error!(partition = %state.key, error = shown, "cut and index documents; trying again");
    shared.cutting.pause(&*shared.parts.clock, shared.config.retry_pause);
    true
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

/// Runs `work` in the pool, after whoever asks a question. A panic is that work's failure, not this thread's end.
fn compute<T: Send + 'static>(state: &State, work: impl FnOnce() -> T + Send + 'static) -> Result<T, EngineError> {
    let shared = &state.shared;
    block_on(shared.parts.pool.run(&shared.background, work)).map_err(|error| match error {
        PoolError::Panicked { message } => EngineError::Damaged(format!("it makes the engine panic: {message}")),
        PoolError::Stopped(_) => EngineError::Closing,
        PoolError::Full { .. } => EngineError::of_pool(error),
    })
}

/// What the encoder reads of a chunk: title and headings, then what is repeated with it, then its words.
fn encoder_input(title: &str, with_context: bool, chunk: &Chunk, text: &str, content: &str) -> String {
    if !with_context {
        return content.to_owned();
    }
    let context = context(title, &chunk.heading_path, chunk.context.and_then(|span| span.quote(text)));
    if context.is_empty() { content.to_owned() } else { format!("{context}\n{content}") }
}

/// What the index of words gets of a version.
pub(crate) fn words_of(cut: &Cut, text: &str) -> Result<Vec<Words>, EngineError> {
    let words = |(label, stored): (u32, &StoredChunk)| {
        let content = stored.chunk.span.quote(text);
        let content = content.ok_or_else(|| EngineError::Damaged("a chunk lies outside its text".to_owned()))?;
        if !cut.with_context {
            return Ok(Words { label, title: String::new(), headings: String::new(), text: content.to_owned() });
        }
        // A header row names what stands below it. The sentence before a chunk is words of another one.
        let names = matches!(stored.chunk.kind, BlockKind::Table | BlockKind::Code);
        let repeated = stored.chunk.context.filter(|_| names).and_then(|span| span.quote(text));
        let headings = stored.chunk.heading_path.iter().map(String::as_str).chain(repeated);
        Ok(Words {
            label,
            title: cut.title.clone(),
            headings: headings.collect::<Vec<_>>().join("\n"),
            text: content.to_owned(),
        })
    };
    cut.labels().zip(&cut.chunks).map(words).collect()
}

impl State {
    /// What waits to be embedded in a lane.
    fn queue(&self, which: Which) -> &Mutex<VecDeque<EmbedWork>> {
        match which {
            Which::Serving => &self.to_embed,
            Which::Second => &self.to_second,
        }
    }

    fn write_words(self: &Arc<State>, changes: Changes) -> Result<(), EngineError> {
        if self.words_are_in_doubt() {
            return Err(EngineError::Rebuilding);
        }
        let reading = self.reading();
        let generation = self.documents().generation;
        reading.lexical.write(changes, generation.0).map_err(|error| self.words_failed(error))?;
        // The words are committed; a merge that failed is tried after the next write.
        if let Err(error) = reading.lexical.maintain() {
            let error = self.words_failed(error);
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
        let disk = &*self.shared.parts.disk;
        let generation = self.documents().generation.0 + if planted!(CheckpointAhead) { 1_000 } else { 0 };
        for (_, lane) in self.lanes().all() {
            let folder = self.shared.partition_folder(self.key).join(lane.folder());
            let saved = disk
                .create_dir_all(&folder)
                .map_err(|source| EngineError::Io { doing: "make an index folder", source })
                .and_then(|()| lane.vector.save(disk, &folder, generation).map_err(EngineError::of_vector));
            if let Err(error) = saved {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(partition = %self.key, error, "save vectors; they are in the ledger");
            }
        }
    }
}
