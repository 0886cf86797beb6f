//! Opening a partition: its documents from the ledger, its indexes made equal to them, its stages resumed.
//!
//! Labels are never reused and a label's content never changes, so an index is right when it holds exactly the labels of
//! the served versions. Whatever it has too much is removed, what it lacks is added from the ledger; one that is damaged or
//! missing is made anew.

use std::collections::HashMap;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::Arc;

use ibid_chunk::{Chunker, Context};
use ibid_core::{CollectionName, CollectionSettings, DocumentKey, Generation, Label, PartitionKey, Revision};
use ibid_ledger::{Head, Ledger, ModelKey, ModelVersion, Record, SecondModel, Sequence};
use ibid_lexical::{Analysis, Changes, LexicalError, LexicalIndex, Storage};
use ibid_vector::VectorIndex;
use roaring::RoaringBitmap;

use crate::catalog::CollectionEntry;
use crate::config::{EmbedModel, Views};
use crate::documents::{Cut, Documents, Entry, Meta, Version};
use crate::engine::Shared;
use crate::error::EngineError;
use crate::lanes::{Lane, Lanes, Second, Which, folder_of, version_of};
use crate::partition::{Opening, Reading, State, stored};
use crate::past;
use crate::stages::{CutWork, EmbedWork, words_of};

/// Chunks written to an index in one go while it is rebuilt.
const REBUILD_BATCH_CHUNKS: usize = 4_096;
/// The folder of the index of words, in the partition's.
const LEXICAL: &str = "lexical";
/// Documents from which reading them is worth several threads.
const PARALLEL_FROM: usize = 1_000;

/// A kind of index that follows from the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ViewKind {
    /// Words, in tantivy.
    Words,
    /// Vectors and their graph.
    Vectors,
}

/// An index that was not what the ledger says when its partition was opened, and was made so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mended {
    /// Which one.
    pub view: ViewKind,
    /// It was damaged and is made anew; else only what differed was changed, as after a kill.
    pub made_anew: bool,
    /// Chunks it lacked.
    pub added: u64,
    /// Chunks it had too many.
    pub removed: u64,
}

impl Mended {
    /// `None` if there was nothing to mend.
    fn of(view: ViewKind, made_anew: bool, added: u64, removed: u64) -> Option<Mended> {
        (made_anew || added > 0 || removed > 0).then_some(Mended { view, made_anew, added, removed })
    }
}

/// What opening the indexes of a partition finds.
#[derive(Default)]
struct Findings {
    /// Revisions that have to be cut again, because a record of their vectors is damaged.
    recut: HashMap<DocumentKey, Revision>,
    mended: Vec<Mended>,
}

/// Opens a partition.
pub(crate) fn open(shared: &Arc<Shared>, name: &CollectionName, entry: &CollectionEntry) -> Result<State, EngineError> {
    let models = Models::of(shared, name, entry)?;
    let heads = shared.ledger.heads(entry.key).map_err(EngineError::of_ledger)?;
    models.refuse_others(&shared.ledger, name, &heads)?;
    let mut findings = Findings::default();
    let (mut documents, indexes) = read_all(shared, entry, &models, &heads)?;
    let mut lanes = open_lanes(shared, entry, &models, indexes.vectors, &documents, &mut findings)?;
    if !findings.recut.is_empty() {
        // Their labels go with the vectors that cannot be read; cut again, they get others.
        documents = read_documents(shared, entry, &models, &heads, &findings.recut)?;
        let vectors = read_vectors(shared, entry, &models)?;
        lanes = open_lanes(shared, entry, &models, vectors, &documents, &mut Findings::default())?;
    }
    let settings = entry.settings.clone();
    let (reading, mended) =
        make_equal(shared, entry, settings, indexes.words, &documents.served(), documents.generation)?;
    findings.mended.extend(mended);
    let (to_cut, to_embed) = unfinished(&documents);
    let to_second = unfinished_second(&documents);
    let opening = Opening {
        key: entry.key,
        name: name.clone(),
        created_ms: entry.created_ms,
        lanes,
        reading,
        documents,
        mended: findings.mended,
    };
    let state = State::new(opening, Arc::clone(shared));
    state.lock(&state.to_cut).extend(to_cut);
    state.lock(&state.to_embed).extend(to_embed);
    state.lock(&state.to_second).extend(to_second);
    Ok(state)
}

/// A partition's indexes as its folder has them.
struct Indexes {
    vectors: Vectors,
    words: Words,
}

/// Indexes of vectors, of the serving model and of the second one.
struct Vectors {
    serving: ReadVectors,
    second: Option<ReadVectors>,
}

struct ReadVectors {
    index: VectorIndex,
    /// The generation that it was saved at.
    checkpoint: Option<u64>,
    made_anew: bool,
}

/// An index of words, and whether it is made anew.
type Words = (LexicalIndex, bool);

/// The documents, and the indexes as they are: side by side where there is much to read.
fn read_all(
    shared: &Shared,
    entry: &CollectionEntry,
    models: &Models,
    heads: &[(DocumentKey, Head)],
) -> Result<(Documents, Indexes), EngineError> {
    let documents = || read_documents(shared, entry, models, heads, &HashMap::new());
    let vectors = || read_vectors(shared, entry, models);
    let words = || open_lexical(shared, entry, analysis(&entry.settings));
    if heads.len() < PARALLEL_FROM || shared.parts.pool.threads() < 2 {
        let documents = documents()?;
        return Ok((documents, Indexes { vectors: vectors()?, words: words()? }));
    }
    std::thread::scope(|scope| {
        let (vectors, words) = (scope.spawn(vectors), scope.spawn(words));
        let documents = documents();
        let vectors = vectors.join().unwrap_or_else(|panic| resume_unwind(panic))?;
        let words = words.join().unwrap_or_else(|panic| resume_unwind(panic))?;
        Ok((documents?, Indexes { vectors, words }))
    })
}

/// A partition's documents as opening it now would find them.
pub(crate) fn documents(
    shared: &Shared,
    name: &CollectionName,
    entry: &CollectionEntry,
) -> Result<Documents, EngineError> {
    let heads = shared.ledger.heads(entry.key).map_err(EngineError::of_ledger)?;
    read_documents(shared, entry, &Models::of(shared, name, entry)?, &heads, &HashMap::new())
}

/// The labels of a version of which a lane has vectors.
pub(crate) fn embedded_labels(version: &Version, which: Which) -> std::ops::Range<Label> {
    let embedded = version.embedded_in(which);
    version.cut.as_ref().map_or(0..0, |cut| cut.first_label..cut.first_label + embedded.min(cut.count()))
}

/// The models of a partition's vectors.
struct Models {
    serving: Arc<dyn EmbedModel>,
    serving_key: ModelKey,
    since: Generation,
    second: Option<(SecondModel, Option<Arc<dyn EmbedModel>>)>,
    second_key: Option<ModelKey>,
}

impl Models {
    fn of(shared: &Shared, name: &CollectionName, entry: &CollectionEntry) -> Result<Models, EngineError> {
        let loaded = &shared.parts.models;
        let embedder = &entry.settings.embedder;
        let serving = loaded.get(embedder).cloned().ok_or_else(|| EngineError::OtherModel {
            collection: name.clone(),
            holds: embedder.to_string(),
            has: loaded.names(),
        })?;
        let second = entry.embedding.as_ref().and_then(|embedding| embedding.second.clone());
        let second = second.map(|record| {
            let model = loaded.get(&record.model.id).filter(|model| version_of(&***model) == record.model).cloned();
            if model.is_none() {
                tracing::warn!(partition = %entry.key, model = %record.model.id, "the collection's second model is not here; it stands still");
            }
            (record, model)
        });
        let since = entry.embedding.as_ref().map_or(Generation(0), |embedding| embedding.since);
        let second_key = second.as_ref().map(|(record, _)| record.model.key());
        Ok(Models { serving_key: version_of(&*serving).key(), serving, since, second, second_key })
    }

    /// Vectors of other weights than these must never be searched with them.
    fn refuse_others(
        &self,
        ledger: &Ledger,
        name: &CollectionName,
        heads: &[(DocumentKey, Head)],
    ) -> Result<(), EngineError> {
        let own = [Some(self.serving_key), self.second_key];
        let versions = heads.iter().flat_map(|(_, head)| head.versions());
        let mut embedded = versions.flat_map(|version| &version.embedded);
        let Some(part) = embedded.find(|one| !own.contains(&Some(one.model))).and_then(|one| one.parts.first()) else {
            return Ok(());
        };
        let holds = match ledger.read(*part).map_err(EngineError::of_ledger) {
            Ok(
                Record::DocumentEmbedded { model, model_revision, dimension, .. }
                | Record::VectorsGiven { model, model_revision, dimension, .. },
            ) => named(&ModelVersion { id: model, revision: model_revision, dimension }),
            Ok(_) | Err(EngineError::Damaged(_)) => "another model".to_owned(),
            Err(error) => return Err(error),
        };
        Err(EngineError::OtherModel { collection: name.clone(), holds, has: named(&version_of(&*self.serving)) })
    }
}

fn named(ModelVersion { id, revision, dimension }: &ModelVersion) -> String {
    format!("{id} with weights {revision} and {dimension} dimensions")
}

/// The collection read by other settings: the index of words is kept if its analysis stays as it is.
pub(crate) fn reread(state: &State, settings: CollectionSettings) -> Result<Reading, EngineError> {
    let entry =
        CollectionEntry { key: state.key, settings: settings.clone(), created_ms: state.created_ms, embedding: None };
    // Whoever changes what is served waits for this one; the lock of the documents is not held over the work.
    let (served, generation) = {
        let documents = state.documents();
        (documents.served(), documents.generation)
    };
    let words = open_lexical(&state.shared, &entry, analysis(&settings))?;
    make_equal(&state.shared, &entry, settings, words, &served, generation).map(|(reading, _)| reading)
}

/// The collection with another index of words in the place of a damaged one.
pub(crate) fn remake_words(state: &State) -> Result<Reading, EngineError> {
    let folder = state.shared.partition_folder(state.key).join(LEXICAL);
    LexicalIndex::destroy(&folder).map_err(EngineError::of_lexical)?;
    reread(state, state.reading().settings.clone())
}

fn read_documents(
    shared: &Shared,
    entry: &CollectionEntry,
    models: &Models,
    heads: &[(DocumentKey, Head)],
    recut: &HashMap<DocumentKey, Revision>,
) -> Result<Documents, EngineError> {
    let mut documents = Documents::default();
    let mark = shared.ledger.mark(entry.key).map_err(EngineError::of_ledger)?;
    documents.generation = mark.generation;
    documents.next_label = mark.next_label;
    let read = in_parallel(shared, heads, |(key, head)| read_entry(shared, entry, models, head, recut.get(key)));
    for ((key, head), read) in heads.iter().zip(read) {
        let key = *key;
        documents.note_revision(key, head.current.revision);
        if head.current.is_tombstone() {
            documents.note_erased(key, head.current.revision);
        }
        match read {
            Ok(Some(entry)) => {
                if let Some(served) = entry.served() {
                    documents.label(&entry.id, served);
                }
                documents.insert(key, entry);
            }
            Ok(None) => {}
            Err(error) => {
                tracing::error!(partition = %entry.key, error = &error as &dyn std::error::Error, "a document cannot be read; the others are served");
                documents.note_damaged(key);
            }
        }
    }
    Ok(documents)
}

/// What `read` makes of each of `items`, in their order: a large collection is read by as many threads as compute.
fn in_parallel<T: Sync, R: Send>(shared: &Shared, items: &[T], read: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let threads = shared.parts.pool.threads();
    if items.len() < PARALLEL_FROM || threads < 2 {
        return items.iter().map(read).collect();
    }
    let (read, share) = (&read, items.len().div_ceil(threads));
    std::thread::scope(|scope| {
        let parts: Vec<_> =
            items.chunks(share).map(|part| scope.spawn(move || part.iter().map(read).collect::<Vec<R>>())).collect();
        parts.into_iter().flat_map(|part| part.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    })
}

fn read_entry(
    shared: &Shared,
    collection: &CollectionEntry,
    models: &Models,
    head: &Head,
    recut: Option<&Revision>,
) -> Result<Option<Entry>, EngineError> {
    let ledger = &shared.ledger;
    let Some((id, mut current)) = read_version(ledger, collection, models, &head.current)? else { return Ok(None) };
    if recut == Some(&current.revision) {
        (current.cut, current.embedded, current.embedded_second) = (None, 0, 0);
    }
    let previous = match &head.previous {
        Some(version) => unless_damaged(collection, read_version(ledger, collection, models, version))?.flatten(),
        None => None,
    };
    let previous = previous.map(|(_, version)| version);
    let previous =
        previous.filter(|version| version.cut.is_some() && !current.is_complete() && recut != Some(&version.revision));
    let retained = past::kept(shared, head, None)?;
    let unsure =
        head.versions().any(|version| version.chunked.is_some()) && current.cut.is_none() && previous.is_none();
    Ok(Some(Entry { previous, retained, unsure, ..Entry::new(id, current) }))
}

fn read_version(
    ledger: &Ledger,
    collection: &CollectionEntry,
    models: &Models,
    version: &ibid_ledger::Version,
) -> Result<Option<(ibid_core::DocumentId, Version)>, EngineError> {
    let Some(put) = version.put else { return Ok(None) };
    let document = stored(ledger, put)?;
    // A damaged cut is cut again, and embedded again.
    let cut = match version.chunked {
        Some(position) => unless_damaged(collection, read_cut(ledger, position))?,
        None => None,
    };
    let embedded_by = |model: Option<ModelKey>| {
        let embedded = model.filter(|_| cut.is_some()).and_then(|model| version.embedded_by(model));
        embedded.map_or(0, |embedded| embedded.chunks)
    };
    let (embedded, embedded_second) = (embedded_by(Some(models.serving_key)), embedded_by(models.second_key));
    let durable = Version::durable(version.revision, version.generation, put, Arc::new(Meta::of(&document)));
    Ok(Some((document.id, Version { cut, embedded, embedded_second, ..durable })))
}

pub(crate) fn read_cut(ledger: &Ledger, position: Sequence) -> Result<Arc<Cut>, EngineError> {
    let record = ledger.read(position).map_err(EngineError::of_ledger)?;
    let Record::DocumentChunked { first_label, title, chunks, with_context, findings, .. } = record else {
        return Err(EngineError::Damaged("the ledger has another record where chunks should be".to_owned()));
    };
    Ok(Arc::new(Cut { first_label, title, chunks, with_context, findings }))
}

pub(crate) fn unfinished(documents: &Documents) -> (Vec<CutWork>, Vec<EmbedWork>) {
    let (mut to_cut, mut to_embed) = (Vec::new(), Vec::new());
    for (key, entry) in documents.listed(None) {
        let (key, revision) = (*key, entry.current.revision);
        match &entry.current.cut {
            None => to_cut.push(CutWork::Cut { key, revision }),
            Some(_) if !entry.current.is_complete() => to_embed.push(EmbedWork { key, revision, failures: 0 }),
            Some(_) => {}
        }
    }
    (to_cut, to_embed)
}

/// What the second model has still to embed.
pub(crate) fn unfinished_second(documents: &Documents) -> Vec<EmbedWork> {
    let behind = documents.second().behind;
    behind.into_iter().map(|(key, revision)| EmbedWork { key, revision, failures: 0 }).collect()
}

/// Opens the index of words and makes it hold what is served. Also says what was wrong with it.
/// An index of words, made equal to what is served.
fn make_equal(
    shared: &Shared,
    entry: &CollectionEntry,
    settings: CollectionSettings,
    (lexical, made_anew): Words,
    served: &[(DocumentKey, Version)],
    generation: Generation,
) -> Result<(Reading, Option<Mended>), EngineError> {
    let chunker = chunker(&settings)?;
    let cuts = || served.iter().filter_map(|(_, version)| version.cut.as_ref());
    let expected: RoaringBitmap = cuts().flat_map(|cut| cut.labels()).collect();
    let held = lexical.snapshot().labels().map_err(EngineError::of_lexical)?;
    let mut changes = Changes { remove: (&held - &expected).iter().collect(), add: Vec::new() };
    let missing = &expected - &held;
    let mended = Mended::of(ViewKind::Words, made_anew, missing.len(), changes.remove.len() as u64);
    if !missing.is_empty() {
        tracing::info!(partition = %entry.key, chunks = missing.len(), "adding to the index of words what the ledger has");
    }
    let lacks = |version: &Version| {
        version
            .cut
            .clone()
            .filter(|cut| cut.labels().any(|label| missing.contains(label)))
            .map(|cut| (version.put, cut))
    };
    let lacking: Vec<(Sequence, Arc<Cut>)> = served.iter().filter_map(|(_, version)| lacks(version)).collect();
    let changed = !lacking.is_empty() || !changes.remove.is_empty();
    for part in lacking.chunks(REBUILD_BATCH_CHUNKS) {
        let read = in_parallel(shared, part, |(put, cut)| {
            let text = stored(&shared.ledger, *put)?.text.unpack().map_err(EngineError::of_ledger)?;
            words_of(cut, &text)
        });
        for words in read {
            let words = unless_damaged(entry, words)?.into_iter().flatten();
            changes.add.extend(words.filter(|words| missing.contains(words.label)));
        }
        let batch = std::mem::replace(&mut changes, Changes { remove: Vec::new(), add: Vec::new() });
        lexical.write(batch, generation.0).map_err(EngineError::of_lexical)?;
    }
    if !changes.remove.is_empty() {
        lexical.write(changes, generation.0).map_err(EngineError::of_lexical)?;
    }
    if changed {
        lexical.maintain().map_err(EngineError::of_lexical)?;
    }
    Ok((Reading { settings, chunker, lexical }, mended))
}

/// What was read; nothing, with a line in the log, if it is damaged: then the rest is served without it.
fn unless_damaged<T>(entry: &CollectionEntry, read: Result<T, EngineError>) -> Result<Option<T>, EngineError> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error @ EngineError::Damaged(_)) => {
            let error = &error as &dyn std::error::Error;
            tracing::error!(partition = %entry.key, error, "a part of a document is damaged; the rest is served");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// How a collection's texts become words.
pub(crate) fn analysis(settings: &CollectionSettings) -> Analysis {
    Analysis { language: settings.language, stemming: settings.stemming, stop_words: settings.stop_words }
}

/// Also says whether it is made anew, for damage.
fn open_lexical(shared: &Shared, entry: &CollectionEntry, analysis: Analysis) -> Result<Words, EngineError> {
    let folder = &shared.partition_folder(entry.key).join(LEXICAL);
    let storage = match shared.parts.views {
        Views::Memory => Storage::Memory,
        Views::Folder => {
            let made = shared.parts.disk.create_dir_all(folder);
            made.map_err(|source| EngineError::Io { doing: "make an index folder", source })?;
            Storage::Folder(folder.to_owned())
        }
    };
    match LexicalIndex::open(&storage, analysis) {
        Ok(opened) => Ok((opened.index, false)),
        Err(error @ LexicalError::Corrupt { .. }) => {
            tracing::warn!(partition = %entry.key, error = &error as &dyn std::error::Error, "making the index of words anew");
            LexicalIndex::destroy(folder).map_err(EngineError::of_lexical)?;
            Ok((LexicalIndex::open(&storage, analysis).map_err(EngineError::of_lexical)?.index, true))
        }
        Err(error) => Err(EngineError::Lexical(error)),
    }
}

fn chunker(settings: &CollectionSettings) -> Result<Chunker, EngineError> {
    let CollectionSettings { chunk_tokens, chunk_overlap_tokens: overlap_tokens, chunk_context, .. } = *settings;
    let context = if chunk_context { Context::Names } else { Context::Nothing };
    let config = match chunk_tokens {
        0 => ibid_chunk::Config::auto(),
        tokens => ibid_chunk::Config::fixed(tokens),
    };
    Chunker::new(ibid_chunk::Config { overlap_tokens, context, ..config })
        .map_err(|error| EngineError::Unfit(format!("the collection's chunking: {error}")))
}

/// Reads an index of vectors a model, and removes those of models that are gone.
fn read_vectors(shared: &Shared, entry: &CollectionEntry, models: &Models) -> Result<Vectors, EngineError> {
    let known = [Some(models.serving_key), models.second_key].map(|key| key.map(folder_of));
    let folder = shared.partition_folder(entry.key);
    for name in shared.parts.disk.list(&folder).unwrap_or_default() {
        // One index of vectors a partition is what there was before a collection's model could be changed.
        let vectors = name.to_string_lossy().starts_with("vector");
        if vectors && !known.contains(&Some(name.clone())) {
            remove_index(shared, entry.key, &folder.join(name));
        }
    }
    let read = |model: &Arc<dyn EmbedModel>| read_index(shared, entry, &**model);
    let second = models.second.as_ref().and_then(|(_, model)| model.as_ref());
    let second = second.map(read).transpose()?;
    Ok(Vectors { serving: read(&models.serving)?, second })
}

/// Makes the indexes of vectors hold what is served and embedded.
fn open_lanes(
    shared: &Shared,
    entry: &CollectionEntry,
    models: &Models,
    vectors: Vectors,
    documents: &Documents,
    findings: &mut Findings,
) -> Result<Lanes, EngineError> {
    let mut open = |model: &Arc<dyn EmbedModel>, which, read| {
        open_lane(shared, entry, Arc::clone(model), which, read, documents, findings)
    };
    let second = match &models.second {
        Some((record, model)) => {
            let read = model.as_ref().zip(vectors.second);
            let lane = read.map(|(model, read)| open(model, Which::Second, read)).transpose()?;
            Some(Second::new(record.clone(), lane))
        }
        None => None,
    };
    let serving = Arc::new(open(&models.serving, Which::Serving, vectors.serving)?);
    Ok(Lanes { serving, since: models.since, second })
}

/// Removes an index whose vectors nobody needs; what cannot be removed now is removed when the partition opens.
pub(crate) fn remove_index(shared: &Shared, partition: PartitionKey, folder: &Path) {
    if let Err(error) = shared.parts.disk.remove_dir_all(folder) {
        tracing::warn!(%partition, %error, "an index that is not needed any more stays until the next start");
    }
}

/// An index of a model's vectors, with nothing in it.
pub(crate) fn empty_lane(shared: &Shared, model: Arc<dyn EmbedModel>) -> Result<Lane, EngineError> {
    let config = vector_config(shared, model.dimension());
    let vector = VectorIndex::new(config).map_err(|error| EngineError::Unfit(error.to_string()))?;
    Ok(Lane { version: version_of(&*model), model, vector })
}

pub(crate) fn vector_config(shared: &Shared, dimension: usize) -> ibid_vector::Config {
    ibid_vector::Config {
        dimension,
        graph_from: shared.config.graph_from,
        seal_from: shared.config.graph_from,
        m: 16,
        ef_construction: 200,
        ef_search: 96,
        build: ibid_vector::Build::Parallel,
    }
}

/// Reads the index of a model's vectors; an empty one for one that is damaged.
fn read_index(shared: &Shared, entry: &CollectionEntry, model: &dyn EmbedModel) -> Result<ReadVectors, EngineError> {
    let config = vector_config(shared, model.dimension());
    let disk = &*shared.parts.disk;
    let folder = shared.partition_folder(entry.key).join(folder_of(version_of(model).key()));
    match VectorIndex::open(disk, &folder, config) {
        Ok((index, checkpoint)) => Ok(ReadVectors { index, checkpoint, made_anew: false }),
        Err(error) => {
            tracing::warn!(partition = %entry.key, error = &error as &dyn std::error::Error, "making the index of vectors anew");
            disk.remove_dir_all(&folder)
                .map_err(|source| EngineError::Io { doing: "remove a damaged index", source })?;
            let index = VectorIndex::new(config).map_err(|error| EngineError::Unfit(error.to_string()))?;
            Ok(ReadVectors { index, checkpoint: None, made_anew: true })
        }
    }
}

/// Makes an index of vectors hold what is served and embedded.
fn open_lane(
    shared: &Shared,
    entry: &CollectionEntry,
    model: Arc<dyn EmbedModel>,
    which: Which,
    ReadVectors { index, checkpoint, made_anew }: ReadVectors,
    documents: &Documents,
    findings: &mut Findings,
) -> Result<Lane, EngineError> {
    let version = version_of(&*model);
    let model_key = version.key();
    let served = || documents.listed(None).filter_map(|(key, entry)| entry.served().map(|version| (key, version)));
    let expected: RoaringBitmap = served().flat_map(|(_, version)| embedded_labels(version, which)).collect();
    let snapshot = index.snapshot();
    let held: RoaringBitmap = snapshot.labels();
    let remove: Vec<Label> = (&held - &expected).iter().collect();
    // Labels say what is missing, not the checkpoint: that could only say the same, or be wrong.
    let trusted = planted!(CheckpointAhead) && checkpoint >= Some(documents.generation.0);
    let missing = if trusted { RoaringBitmap::new() } else { &expected - &held };
    findings.mended.extend(Mended::of(ViewKind::Vectors, made_anew, missing.len(), remove.len() as u64));
    index.apply(&remove, Vec::new()).map_err(EngineError::of_vector)?;
    let lacking: Vec<(&DocumentKey, &Version)> =
        served().filter(|(_, version)| embedded_labels(version, which).any(|label| missing.contains(label))).collect();
    for part in lacking.chunks(REBUILD_BATCH_CHUNKS) {
        let read = in_parallel(shared, part, |(key, version)| {
            let head = shared.ledger.head(entry.key, **key).map_err(EngineError::of_ledger)?;
            head.map_or(Ok(None), |head| vectors_in(&shared.ledger, &head, version.revision, model_key))
        });
        let mut add: Vec<(Label, Vec<f32>)> = Vec::new();
        for ((key, version), vectors) in part.iter().zip(read) {
            let Some(vectors) = unless_damaged(entry, vectors)? else {
                findings.recut.insert(**key, version.revision);
                continue;
            };
            let Some(vectors) = vectors else { continue };
            let labelled = embedded_labels(version, which).zip(vectors);
            add.extend(labelled.filter(|(label, _)| missing.contains(*label)));
        }
        index.apply(&[], add).map_err(EngineError::of_vector)?;
    }
    Ok(Lane { model, version, vector: index })
}

/// The vectors of a version that the ledger has of a model, in the order of its chunks. `None` if it is not the ledger's
/// current version, nor the one before.
pub(crate) fn vectors(
    state: &State,
    key: DocumentKey,
    revision: Revision,
    model: ModelKey,
) -> Result<Option<Vec<Vec<f32>>>, EngineError> {
    let head = state.shared.ledger.head(state.key, key).map_err(EngineError::of_ledger)?;
    head.map_or(Ok(None), |head| vectors_in(&state.shared.ledger, &head, revision, model))
}

fn vectors_in(
    ledger: &Ledger,
    head: &Head,
    revision: Revision,
    model: ModelKey,
) -> Result<Option<Vec<Vec<f32>>>, EngineError> {
    let version = head.versions().find(|version| version.revision == revision);
    version.map(|version| vectors_of(ledger, version, model)).transpose()
}

/// The vectors that the ledger has of a version by a model, in the order of its chunks.
pub(crate) fn vectors_of(
    ledger: &Ledger,
    version: &ibid_ledger::Version,
    model: ModelKey,
) -> Result<Vec<Vec<f32>>, EngineError> {
    let (mut out, mut given) = (Vec::new(), Vec::new());
    for position in version.embedded_by(model).map_or(&[][..], |embedded| &embedded.parts) {
        let record = ledger.read(*position).map_err(EngineError::of_ledger)?;
        if let Record::DocumentEmbedded { dimension, vectors, .. } = record {
            // The model's key holds its dimension, and no record of none has a place in the index.
            out.extend(vectors.chunks_exact(dimension as usize).map(<[f32]>::to_vec));
            continue;
        }
        let Record::VectorsGiven { first_ordinal, count, dimension, .. } = record else {
            return Err(EngineError::Damaged("the ledger has another record where vectors should be".to_owned()));
        };
        if given.is_empty() {
            given = version.put.map(|put| stored(ledger, put)).transpose()?.map_or_else(Vec::new, |put| put.ready);
        }
        let (first, count) = (first_ordinal as usize, count as usize);
        let vectors = given.get(first..first.saturating_add(count)).unwrap_or_default().iter().map(|one| &one.vector);
        let before = out.len();
        out.extend(vectors.filter(|vector| vector.len() == dimension as usize).cloned());
        if out.len() - before != count {
            return Err(EngineError::Damaged("a document came without the vectors it is said to have".to_owned()));
        }
    }
    Ok(out)
}
