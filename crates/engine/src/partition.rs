//! What a partition holds, and the handle that everything hangs off.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use ibid_chunk::Chunker;
use ibid_core::{
    CollectionName, CollectionSettings, DocumentId, DocumentKey, Filter, Generation, PartitionKey, Reader, Revision,
    TenantId,
};
use ibid_ledger::{Ledger, Record, Sequence, StoredDocument};
use ibid_lexical::{LexicalError, LexicalIndex};
use ibid_runtime::Ctx;
use tokio::sync::watch;

use crate::compare::Comparison;
use crate::config::EmbedModel;
use crate::documents::{DocumentInfo, Documents, Entry, Stage, Version};
use crate::engine::Shared;
use crate::error::EngineError;
use crate::lanes::Lanes;
use crate::past::Pasts;
use crate::questions::Questions;
use crate::recover::{self, Mended};
use crate::snapshot::{Scope, Snapshot, View};
use crate::stages::{CutWork, EmbedWork, LaneChange};

/// A collection, as its tenant sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct CollectionInfo {
    /// Its name.
    pub name: CollectionName,
    /// Its settings.
    pub settings: CollectionSettings,
    /// When it was created, milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// Counts the accepted writes.
    pub generation: Generation,
    /// Documents the caller may read.
    pub documents: u64,
}

/// How far documents are on their way into the indexes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IngestStatus {
    /// Collections counted.
    pub collections: u64,
    /// Collections that cannot be opened: of them nothing else is counted.
    pub collections_unopened: u64,
    /// Documents stored.
    pub documents: u64,
    /// Chunks found by words.
    pub chunks: u64,
    /// Chunks found by meaning.
    pub chunks_embedded: u64,
    /// Documents of which some stage is still to be done.
    pub documents_pending: u64,
    /// Documents whose embedding failed too often.
    pub documents_parked: u64,
    /// Documents whose record in the log is damaged: not among the others.
    pub documents_damaged: u64,
}

/// A partition in memory, shared by its handles, the intake and the stages.
pub(crate) struct State {
    pub(crate) key: PartitionKey,
    pub(crate) name: CollectionName,
    pub(crate) created_ms: u64,
    pub(crate) shared: Arc<Shared>,
    lanes: RwLock<Arc<Lanes>>,
    /// The lanes are about to change places: vectors that come with a document are refused until they have.
    pub(crate) switching: AtomicBool,
    /// What follows from the settings; replaced as a whole when they change.
    reading: RwLock<Arc<Reading>>,
    documents: RwLock<Documents>,
    view: RwLock<Arc<View>>,
    /// Held by whoever changes indexes and documents together.
    pub(crate) changing: Mutex<()>,
    /// The collection was deleted: nothing is written any more.
    gone: AtomicBool,
    /// Moves on whenever a document reaches a stage.
    pub(crate) progress: watch::Sender<u64>,
    /// What waits to be cut or deleted, in commit order.
    pub(crate) to_cut: Mutex<VecDeque<CutWork>>,
    /// What waits to be embedded, in commit order.
    pub(crate) to_embed: Mutex<VecDeque<EmbedWork>>,
    /// What waits to be embedded by the second model.
    pub(crate) to_second: Mutex<VecDeque<EmbedWork>>,
    /// Changes of the lanes that wait for the embedding thread.
    pub(crate) to_change: Mutex<VecDeque<LaneChange>>,
    /// The index of words failed as a damaged one does: it answers nothing until the cutting thread has looked at it.
    words_in_doubt: AtomicBool,
    /// What was found when both lanes were compared.
    pub(crate) comparison: Mutex<Option<Comparison>>,
    /// Idempotency keys of puts that are on their way into the ledger.
    pub(crate) on_their_way: Mutex<HashSet<[u8; 16]>>,
    pub(crate) questions: Questions,
    /// What was wrong with the indexes when it was opened.
    pub(crate) mended: Vec<Mended>,
    pub(crate) past: Pasts,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Partition").field("key", &self.key).finish_non_exhaustive()
    }
}

/// How a collection's texts are read: its settings, and what is made from them.
pub(crate) struct Reading {
    pub(crate) settings: CollectionSettings,
    pub(crate) chunker: Chunker,
    pub(crate) lexical: LexicalIndex,
}

/// What a partition is made of when it is opened.
pub(crate) struct Opening {
    pub(crate) key: PartitionKey,
    pub(crate) name: CollectionName,
    pub(crate) created_ms: u64,
    pub(crate) lanes: Lanes,
    pub(crate) reading: Reading,
    pub(crate) documents: Documents,
    pub(crate) mended: Vec<Mended>,
}

impl State {
    pub(crate) fn new(opening: Opening, shared: Arc<Shared>) -> State {
        let Opening { key, name, created_ms, lanes, reading, mut documents, mended } = opening;
        let view = Arc::new(View {
            generation: documents.generation,
            lexical: reading.lexical.snapshot(),
            vector: lanes.serving.vector.snapshot(),
            model: Arc::clone(&lanes.serving.model),
        });
        documents.published(&view);
        State {
            key,
            name,
            created_ms,
            shared,
            lanes: RwLock::new(Arc::new(lanes)),
            switching: AtomicBool::new(false),
            reading: RwLock::new(Arc::new(reading)),
            documents: RwLock::new(documents),
            view: RwLock::new(view),
            changing: Mutex::new(()),
            gone: AtomicBool::new(false),
            progress: watch::Sender::new(0),
            to_cut: Mutex::default(),
            to_embed: Mutex::default(),
            to_second: Mutex::default(),
            to_change: Mutex::default(),
            words_in_doubt: AtomicBool::new(false),
            comparison: Mutex::default(),
            on_their_way: Mutex::default(),
            questions: Questions::default(),
            mended,
            past: Pasts::default(),
        }
    }

    pub(crate) fn documents(&self) -> RwLockReadGuard<'_, Documents> {
        self.documents.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn documents_mut(&self) -> RwLockWriteGuard<'_, Documents> {
        self.documents.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes what the indexes hold now what questions see, together with the changed documents.
    pub(crate) fn publish(&self, documents: &mut Documents) {
        let serving = &self.lanes().serving;
        let view = Arc::new(View {
            generation: documents.generation,
            lexical: self.reading().lexical.snapshot(),
            vector: serving.vector.snapshot(),
            model: Arc::clone(&serving.model),
        });
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&view);
        documents.published(&view);
    }

    pub(crate) fn lanes(&self) -> Arc<Lanes> {
        Arc::clone(&self.lanes.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Only the embedding thread changes lanes, so that what it embeds has its place when it is done.
    pub(crate) fn set_lanes(&self, lanes: Lanes) {
        *self.lanes.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(lanes);
    }

    /// Refuses vectors that were made by another model than the one that serves. To be asked while the documents are locked:
    /// the model changes under that lock.
    pub(crate) fn takes_vectors_of(&self, model: &Arc<dyn EmbedModel>) -> Result<(), EngineError> {
        if self.switching.load(Ordering::Acquire) || !Arc::ptr_eq(&self.lanes().serving.model, model) {
            return Err(EngineError::Unfit(
                "the collection's model is being changed; put the document again, with vectors of the new one"
                    .to_owned(),
            ));
        }
        Ok(())
    }

    pub(crate) fn reading(&self) -> Arc<Reading> {
        Arc::clone(&self.reading.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set_reading(&self, reading: Reading) {
        *self.reading.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(reading);
    }

    /// The collection was deleted. Whoever works on it finishes first; nobody starts afterwards.
    pub(crate) fn end(&self) {
        let _changing = self.lock(&self.changing);
        self.gone.store(true, Ordering::Release);
        self.questions.clear();
        self.past.forget();
        self.announce();
    }

    /// Whether the collection was deleted.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// Says that a document has reached a stage.
    pub(crate) fn announce(&self) {
        self.progress.send_modify(|count| *count += 1);
    }

    /// Whether the index of words waits to be looked at.
    pub(crate) fn words_are_in_doubt(&self) -> bool {
        self.words_in_doubt.load(Ordering::Acquire)
    }

    /// What a failure of the index of words means to whoever asked. One that may come of damage quarantines it.
    pub(crate) fn words_failed(self: &Arc<State>, error: LexicalError) -> EngineError {
        if !matches!(error, LexicalError::Corrupt { .. }) {
            return EngineError::of_lexical(error);
        }
        tracing::error!(partition = %self.key, error = &error as &dyn std::error::Error, "the index of words failed; it is looked at");
        self.words_in_doubt.store(true, Ordering::Release);
        self.shared.cutting.push(self);
        EngineError::Rebuilding
    }

    /// The index of words is what it should be.
    pub(crate) fn trust_words(&self) {
        self.words_in_doubt.store(false, Ordering::Release);
    }

    pub(crate) fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// A stored version, read from the ledger.
    pub(crate) fn stored(&self, put: Sequence) -> Result<StoredDocument, EngineError> {
        stored(&self.shared.ledger, put)
    }

    /// The stored text of a version.
    pub(crate) fn text(&self, put: Sequence) -> Result<String, EngineError> {
        self.stored(put)?.text.unpack().map_err(EngineError::of_ledger)
    }

    /// Reads how `version` was cut, where a record says it.
    pub(crate) fn cut(&self, version: &mut Version, chunked: Option<Sequence>) -> Result<(), EngineError> {
        if let Some(chunked) = chunked {
            version.cut = Some(recover::read_cut(&self.shared.ledger, chunked)?);
        }
        Ok(())
    }

    pub(crate) fn lock<'a, T>(&self, mutex: &'a Mutex<T>) -> MutexGuard<'a, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How far the newest version of a document is, and whether it is `revision`. `None` once it is deleted.
    fn reached(&self, key: &DocumentKey, revision: Revision) -> Option<Reached> {
        let documents = self.documents();
        let entry = documents.entry(key).filter(|entry| entry.current.revision == revision)?;
        Some(Reached {
            stage: entry.stage(),
            parked: entry.current.parked,
            chunks: entry.current.cut.as_ref().map_or(0, |cut| cut.count()),
        })
    }

    /// Waits until `revision` has reached `wanted`, was overtaken or parked, or the caller's time is over.
    pub(crate) async fn wait(
        &self,
        ctx: &Ctx,
        key: DocumentKey,
        revision: Revision,
        wanted: Stage,
    ) -> Result<Waited, EngineError> {
        let mut progress = self.progress.subscribe();
        loop {
            progress.borrow_and_update();
            let Some(reached) = self.reached(&key, revision).filter(|_| !self.is_gone()) else {
                return Ok(Waited::Overtaken);
            };
            if reached.stage >= wanted {
                return Ok(Waited::Reached { stage: reached.stage, chunks: reached.chunks });
            }
            if reached.parked {
                return Ok(Waited::Parked { stage: reached.stage, chunks: reached.chunks });
            }
            self.moved(ctx, &mut progress).await?;
        }
    }

    /// Waits until a document reaches a stage, the caller's time is over, or documents move no more.
    pub(crate) async fn moved(&self, ctx: &Ctx, progress: &mut watch::Receiver<u64>) -> Result<(), EngineError> {
        self.shared.goes_on()?;
        let moved = progress.changed();
        let moved = match ctx.left() {
            Some(left) => tokio::time::timeout(left, moved).await.unwrap_or(Ok(())),
            None => moved.await,
        };
        moved.map_err(|_| EngineError::Closing)?;
        Ok(ctx.check()?)
    }

    /// Waits until every document has reached its last stage.
    pub(crate) async fn settled(&self, ctx: &Ctx, tell: impl Fn(IngestStatus)) -> Result<(), EngineError> {
        let mut progress = self.progress.subscribe();
        loop {
            progress.borrow_and_update();
            let status = self.status();
            tell(status);
            if status.documents_pending == 0 {
                return Ok(());
            }
            self.moved(ctx, &mut progress).await?;
        }
    }

    /// How many chunks of `revision` the version before had too.
    pub(crate) fn reused(&self, key: &DocumentKey, revision: Revision) -> u32 {
        let documents = self.documents();
        documents.entry(key).and_then(|entry| entry.version(revision)).map_or(0, |version| version.reused)
    }

    pub(crate) fn status(&self) -> IngestStatus {
        let documents = self.documents();
        let damaged = documents.damaged() as u64;
        let mut status = IngestStatus { collections: 1, documents_damaged: damaged, ..IngestStatus::default() };
        for (_, entry) in documents.listed(None) {
            status.documents += 1;
            status.documents_pending += u64::from(entry.stage() != Stage::Vector && !entry.current.parked);
            status.documents_parked += u64::from(entry.current.parked);
            if let Some((served, cut)) =
                entry.served().and_then(|version| version.cut.as_ref().map(|cut| (version, cut)))
            {
                status.chunks += u64::from(cut.count());
                status.chunks_embedded += u64::from(served.embedded);
            }
        }
        status
    }
}

struct Reached {
    stage: Stage,
    parked: bool,
    chunks: u32,
}

/// The document of a record of the ledger.
pub(crate) fn stored(ledger: &Ledger, put: Sequence) -> Result<StoredDocument, EngineError> {
    let record = ledger.read(put).map_err(EngineError::of_ledger)?;
    if let Record::DocumentPut { put, .. } = record {
        return Ok(*put);
    }
    Err(EngineError::Damaged("the ledger has another record where a document should be".to_owned()))
}

/// How waiting for a stage ended.
pub(crate) enum Waited {
    Reached {
        stage: Stage,
        chunks: u32,
    },
    /// Embedding failed too often: it stays at this stage.
    Parked {
        stage: Stage,
        chunks: u32,
    },
    /// A later write replaced or deleted it first.
    Overtaken,
}

/// One tenant's one collection, in the hands of one caller.
#[derive(Debug, Clone)]
pub struct Partition {
    pub(crate) state: Arc<State>,
    pub(crate) tenant: TenantId,
}

impl Partition {
    /// The collection's name.
    pub fn name(&self) -> &CollectionName {
        &self.state.name
    }

    /// What the store calls it.
    pub fn key(&self) -> PartitionKey {
        self.state.key
    }

    /// The collection's settings.
    pub fn settings(&self) -> CollectionSettings {
        // The model changes without the rest being read anew.
        let embedder = self.state.lanes().serving.version.id.clone();
        CollectionSettings { embedder, ..self.state.reading().settings.clone() }
    }

    /// The collection as the caller may see it.
    pub fn info(&self) -> CollectionInfo {
        let documents = self.state.documents();
        let readable = documents.listed(None).filter(|(_, entry)| self.may_read(&entry.current)).count();
        CollectionInfo {
            name: self.state.name.clone(),
            settings: self.settings(),
            created_ms: self.state.created_ms,
            generation: documents.generation,
            documents: readable as u64,
        }
    }

    /// Waits until every document has reached its last stage; `tell` hears how far they are, now and then.
    ///
    /// # Errors
    /// [`EngineError`]: stopped, or the engine closes.
    pub async fn settled(&self, ctx: &Ctx, tell: impl Fn(IngestStatus)) -> Result<(), EngineError> {
        self.state.settled(ctx, tell).await
    }

    pub(crate) fn reader(&self) -> &Reader {
        self.tenant.reader()
    }

    /// Whether the caller reads whatever there is: who may read a damaged document nobody knows.
    pub(crate) fn reads_all(&self) -> bool {
        *self.reader() == Reader::All
    }

    pub(crate) fn may_read(&self, version: &Version) -> bool {
        self.reader().may_read(&version.meta.readers)
    }

    /// What the caller may search now, with `filter` applied before anything is ranked.
    pub fn snapshot(&self, filter: Option<&Filter>) -> Snapshot {
        // The documents' lock holds publishing back, so that view and scope are of one moment.
        let documents = self.state.documents();
        let scope = Scope::of(&documents, self.reader(), filter);
        let view = self.state.view();
        Snapshot { state: Arc::clone(&self.state), generation: view.generation, view, scope, past: None }
    }

    pub(crate) fn document_key(&self, id: &DocumentId) -> DocumentKey {
        self.state.shared.keys.document(self.state.key, id)
    }

    /// The version of this number, if it is served or kept and the caller may read it; of one that is kept, the record of how
    /// it was cut.
    pub(crate) fn version(&self, entry: &Entry, revision: Revision) -> Option<(Version, Option<Sequence>)> {
        let served = entry.version(revision).map(|version| (version.clone(), None));
        let found = served.or_else(|| {
            let kept = entry.kept(self.state.shared.window()).find(|one| one.record.version.revision == revision)?;
            let (version, chunked) = kept.version(self.state.lanes().serving.version.key())?;
            Some((version, Some(chunked)))
        });
        found.filter(|(version, _)| self.may_read(version))
    }

    /// A document's record and stored text: its newest revision, or the one asked for, as long as it is served or kept.
    ///
    /// # Errors
    /// [`EngineError::NotFound`] also when the caller may not read it or that revision is not stored any more.
    pub fn document(&self, id: &DocumentId, revision: Option<Revision>) -> Result<(DocumentInfo, String), EngineError> {
        let (info, stored) = self.stored_document(id, revision)?;
        Ok((info, stored.text.unpack().map_err(EngineError::of_ledger)?))
    }

    /// A document's record and its own bytes: what its stored text was made from, or the text itself.
    ///
    /// # Errors
    /// As [`Partition::document`].
    pub fn original(
        &self,
        id: &DocumentId,
        revision: Option<Revision>,
    ) -> Result<(DocumentInfo, Vec<u8>), EngineError> {
        let (info, stored) = self.stored_document(id, revision)?;
        let bytes = match &stored.made_from {
            Some(made_from) => made_from.original.unpack_bytes(),
            None => stored.text.unpack().map(String::into_bytes),
        };
        Ok((info, bytes.map_err(EngineError::of_ledger)?))
    }

    fn stored_document(
        &self,
        id: &DocumentId,
        revision: Option<Revision>,
    ) -> Result<(DocumentInfo, StoredDocument), EngineError> {
        let missing = || EngineError::NotFound { kind: "document", name: id.to_string() };
        let (mut version, chunked, stage) = {
            let documents = self.state.documents();
            let key = self.document_key(id);
            if documents.is_damaged(&key) && self.reads_all() {
                return Err(EngineError::Damaged(format!("the record of document {id} in the log")));
            }
            // Who may read is what the newest revision says, also for an older one.
            let entry = documents.entry(&key).filter(|entry| self.may_read(&entry.current)).ok_or_else(missing)?;
            let revision = revision.unwrap_or(entry.current.revision);
            let (version, chunked) = self.version(entry, revision).ok_or_else(missing)?;
            let stage = match chunked {
                None => entry.stage(),
                Some(_) => Stage::Vector,
            };
            (version, chunked, stage)
        };
        self.state.cut(&mut version, chunked)?;
        let info = DocumentInfo::of(id, &version, stage);
        Ok((info, self.state.stored(version.put)?))
    }

    /// The documents that the caller may read and `filter` lets through, by id from the one after `after`; at most `limit`.
    pub fn list(&self, filter: Option<&Filter>, after: Option<&DocumentId>, limit: usize) -> Vec<DocumentInfo> {
        let documents = self.state.documents();
        let shown = |entry: &&Entry| {
            let meta = &entry.current.meta;
            self.may_read(&entry.current) && filter.is_none_or(|filter| filter.matches(&meta.metadata))
        };
        let entries = documents.listed(after).map(|(_, entry)| entry).filter(shown);
        entries.take(limit).map(|entry| DocumentInfo::of(&entry.id, &entry.current, entry.stage())).collect()
    }
}

/// Names after `after`, for pages.
pub(crate) fn page<'a, K: Ord, V>(
    map: &'a BTreeMap<K, V>,
    after: Option<&'a K>,
) -> impl Iterator<Item = (&'a K, &'a V)> {
    map.range::<K, _>((after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded))
}
