//! Opening a partition: its documents from the ledger, its indexes made equal to them, its stages resumed.
//!
//! Labels are never reused and a label's content never changes, so an index is right when it holds exactly the labels of
//! the served versions. Whatever it has too much is removed, what it lacks is added from the ledger; one that is damaged or
//! missing is made anew.

use std::path::Path;
use std::sync::Arc;

use ibid_chunk::Chunker;
use ibid_core::{CollectionName, CollectionSettings, DocumentKey, Generation, Label, Revision};
use ibid_ledger::{Head, Ledger, Position, Record};
use ibid_lexical::{Analysis, Changes, LexicalError, LexicalIndex, Storage};
use ibid_vector::VectorIndex;
use roaring::RoaringBitmap;

use crate::catalog::CollectionEntry;
use crate::config::Views;
use crate::documents::{Cut, Documents, Entry, Meta, Version};
use crate::engine::Shared;
use crate::error::EngineError;
use crate::partition::{Opening, Reading, State, stored};
use crate::stages::{CutWork, EmbedWork, words_of};

/// Chunks written to an index in one go while it is rebuilt.
const REBUILD_BATCH_CHUNKS: usize = 4_096;

/// Opens a partition.
pub(crate) fn open(shared: &Arc<Shared>, name: &CollectionName, entry: &CollectionEntry) -> Result<State, EngineError> {
    let model = shared.parts.models.get(&entry.settings.embedder).cloned().ok_or_else(|| {
        EngineError::Unfit(format!(
            "collection {name} holds vectors of {}, which is not loaded; load it",
            entry.settings.embedder
        ))
    })?;
    let documents = read_documents(shared, entry)?;
    let reading = read_as(shared, entry, entry.settings.clone(), &documents.served(), documents.generation)?;
    let vector = open_vector(shared, entry, model.dimension(), &documents)?;
    let (to_cut, to_embed) = unfinished(&documents);
    let opening =
        Opening { key: entry.key, name: name.clone(), created_ms: entry.created_ms, model, reading, vector, documents };
    let state = State::new(opening, Arc::clone(shared));
    state.lock(&state.to_cut).extend(to_cut);
    state.lock(&state.to_embed).extend(to_embed);
    Ok(state)
}

/// The collection read by other settings: the index of words is kept if its analysis stays as it is.
pub(crate) fn reread(state: &State, settings: CollectionSettings) -> Result<Reading, EngineError> {
    let entry =
        CollectionEntry { key: state.key, settings: settings.clone(), created_ms: state.created_ms, incarnation: 0 };
    // Whoever changes what is served waits for this one; the lock of the documents is not held over the work.
    let (served, generation) = {
        let documents = state.documents();
        (documents.served(), documents.generation)
    };
    read_as(&state.shared, &entry, settings, &served, generation)
}

fn read_documents(shared: &Shared, entry: &CollectionEntry) -> Result<Documents, EngineError> {
    let mut documents = Documents::default();
    let mark = shared.ledger.mark(entry.key).map_err(EngineError::of_ledger)?;
    documents.generation = mark.generation;
    documents.next_label = mark.next_label;
    for (key, head) in shared.ledger.heads(entry.key).map_err(EngineError::of_ledger)? {
        documents.note_revision(key, head.current.revision);
        match read_entry(&shared.ledger, entry, &head) {
            Ok(Some(entry)) => {
                if let Some(served) = entry.served() {
                    documents.label(&entry.id, served);
                }
                documents.insert(key, entry);
            }
            Ok(None) => {}
            Err(error) => {
                tracing::error!(partition = %entry.key, error = &error as &dyn std::error::Error, "a document cannot be read; the others are served");
            }
        }
    }
    Ok(documents)
}

fn read_entry(ledger: &Ledger, collection: &CollectionEntry, head: &Head) -> Result<Option<Entry>, EngineError> {
    let Some((id, current)) = read_version(ledger, collection, &head.current)? else { return Ok(None) };
    let previous = match &head.previous {
        Some(version) => unless_damaged(collection, read_version(ledger, collection, version))?.flatten(),
        None => None,
    };
    let previous = previous.map(|(_, version)| version);
    let previous = previous.filter(|version| version.cut.is_some() && !current.is_complete());
    Ok(Some(Entry { id, current, previous }))
}

fn read_version(
    ledger: &Ledger,
    collection: &CollectionEntry,
    version: &ibid_ledger::Version,
) -> Result<Option<(ibid_core::DocumentId, Version)>, EngineError> {
    let Some(put) = version.put else { return Ok(None) };
    let document = stored(ledger, put)?;
    // A damaged cut is cut again, and embedded again.
    let cut = match version.chunked {
        Some(position) => unless_damaged(collection, read_cut(ledger, position))?,
        None => None,
    };
    let embedded = if cut.is_some() { version.embedded_chunks } else { 0 };
    let durable = Version::durable(version.revision, version.generation, put, Arc::new(Meta::of(&document)));
    Ok(Some((document.id, Version { cut, embedded, ..durable })))
}

pub(crate) fn read_cut(ledger: &Ledger, position: Position) -> Result<Arc<Cut>, EngineError> {
    let record = ledger.read(position).map_err(EngineError::of_ledger)?;
    let Record::DocumentChunked { first_label, title, chunks, .. } = record else {
        return Err(EngineError::Damaged("the ledger has another record where chunks should be".to_owned()));
    };
    Ok(Arc::new(Cut { first_label, title, chunks }))
}

fn unfinished(documents: &Documents) -> (Vec<CutWork>, Vec<EmbedWork>) {
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

/// Opens the index of words and makes it hold what is served.
fn read_as(
    shared: &Shared,
    entry: &CollectionEntry,
    settings: CollectionSettings,
    served: &[(DocumentKey, Version)],
    generation: Generation,
) -> Result<Reading, EngineError> {
    let chunker = chunker(&settings)?;
    let analysis =
        Analysis { language: settings.language, stemming: settings.stemming, stop_words: settings.stop_words };
    let folder = shared.partition_folder(entry.key).join("lexical");
    let lexical = open_lexical(shared, entry, &folder, analysis)?;

    let cuts = || served.iter().filter_map(|(_, version)| version.cut.as_ref());
    let expected: RoaringBitmap = cuts().flat_map(|cut| cut.labels()).collect();
    let held = lexical.snapshot().labels().map_err(EngineError::of_lexical)?;
    let mut changes = Changes { remove: (&held - &expected).iter().collect(), add: Vec::new() };
    let missing = &expected - &held;
    if !missing.is_empty() {
        tracing::info!(partition = %entry.key, chunks = missing.len(), "adding to the index of words what the ledger has");
    }
    for (_, version) in served {
        let wanted = version.cut.as_ref().filter(|cut| cut.labels().any(|label| missing.contains(label)));
        let Some(cut) = wanted else { continue };
        let read =
            stored(&shared.ledger, version.put).and_then(|stored| stored.text.unpack().map_err(EngineError::of_ledger));
        let Some(text) = unless_damaged(entry, read)? else { continue };
        changes.add.extend(words_of(cut, &text)?.into_iter().filter(|words| missing.contains(words.label)));
        if changes.add.len() >= REBUILD_BATCH_CHUNKS {
            let batch = std::mem::replace(&mut changes, Changes { remove: Vec::new(), add: Vec::new() });
            lexical.write(batch, generation.0).map_err(EngineError::of_lexical)?;
        }
    }
    if !changes.add.is_empty() || !changes.remove.is_empty() {
        lexical.write(changes, generation.0).map_err(EngineError::of_lexical)?;
        lexical.maintain().map_err(EngineError::of_lexical)?;
    }
    Ok(Reading { settings, chunker, lexical })
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

fn open_lexical(
    shared: &Shared,
    entry: &CollectionEntry,
    folder: &Path,
    analysis: Analysis,
) -> Result<LexicalIndex, EngineError> {
    let storage = match shared.parts.views {
        Views::Memory => Storage::Memory,
        Views::Folder => {
            let made = shared.parts.disk.create_dir_all(folder);
            made.map_err(|source| EngineError::Io { doing: "make an index folder", source })?;
            Storage::Folder(folder.to_owned())
        }
    };
    match LexicalIndex::open(&storage, analysis) {
        Ok(opened) => Ok(opened.index),
        Err(error @ LexicalError::Corrupt { .. }) => {
            tracing::warn!(partition = %entry.key, error = &error as &dyn std::error::Error, "making the index of words anew");
            LexicalIndex::destroy(folder).map_err(EngineError::of_lexical)?;
            Ok(LexicalIndex::open(&storage, analysis).map_err(EngineError::of_lexical)?.index)
        }
        Err(error) => Err(EngineError::Lexical(error)),
    }
}

fn chunker(settings: &CollectionSettings) -> Result<Chunker, EngineError> {
    // A fifth more than aimed at, so that a paragraph which is a little longer stays whole.
    let tokens_max = settings.chunk_tokens + settings.chunk_tokens / 5;
    Chunker::new(ibid_chunk::Config { tokens_target: settings.chunk_tokens, tokens_max })
        .map_err(|error| EngineError::Unfit(format!("the collection's chunk_tokens: {error}")))
}

/// Opens the index of vectors and makes it hold what is served and embedded.
fn open_vector(
    shared: &Shared,
    entry: &CollectionEntry,
    dimension: usize,
    documents: &Documents,
) -> Result<VectorIndex, EngineError> {
    let config = ibid_vector::Config {
        dimension,
        graph_from: shared.config.graph_from,
        seal_from: shared.config.graph_from,
        m: 16,
        ef_construction: 200,
        ef_search: 96,
        build: ibid_vector::Build::Parallel,
    };
    let disk = &*shared.parts.disk;
    let folder = shared.partition_folder(entry.key).join("vector");
    let index = match VectorIndex::open(disk, &folder, config) {
        Ok((index, _)) => index,
        Err(error) => {
            tracing::warn!(partition = %entry.key, error = &error as &dyn std::error::Error, "making the index of vectors anew");
            disk.remove_dir_all(&folder)
                .map_err(|source| EngineError::Io { doing: "remove a damaged index", source })?;
            VectorIndex::new(config).map_err(|error| EngineError::Unfit(error.to_string()))?
        }
    };
    let served = || documents.listed(None).filter_map(|(key, entry)| entry.served().map(|version| (key, version)));
    let embedded = |version: &Version| {
        version.cut.as_ref().map_or(0..0, |cut| cut.first_label..cut.first_label + version.embedded.min(cut.count()))
    };
    let expected: RoaringBitmap = served().flat_map(|(_, version)| embedded(version)).collect();
    let snapshot = index.snapshot();
    let held: RoaringBitmap = snapshot.labels();
    let remove: Vec<Label> = (&held - &expected).iter().collect();
    let missing = &expected - &held;
    let mut add: Vec<(Label, Vec<f32>)> = Vec::new();
    for (key, version) in served() {
        let labels = embedded(version);
        if !labels.clone().any(|label| missing.contains(label)) {
            continue;
        }
        let Some(head) = shared.ledger.head(entry.key, *key).map_err(EngineError::of_ledger)? else { continue };
        let read = vectors_in(&shared.ledger, &head, version.revision, dimension);
        let Some(Some(vectors)) = unless_damaged(entry, read)? else { continue };
        add.extend(labels.zip(vectors).filter(|(label, _)| missing.contains(*label)));
        if add.len() >= REBUILD_BATCH_CHUNKS {
            index.apply(&[], std::mem::take(&mut add)).map_err(EngineError::of_vector)?;
        }
    }
    index.apply(&remove, add).map_err(EngineError::of_vector)?;
    Ok(index)
}

/// The vectors of a version that the ledger has, in the order of its chunks. `None` if it is not the ledger's current one,
/// nor the one before.
pub(crate) fn vectors(
    state: &State,
    key: DocumentKey,
    revision: Revision,
) -> Result<Option<Vec<Vec<f32>>>, EngineError> {
    let head = state.shared.ledger.head(state.key, key).map_err(EngineError::of_ledger)?;
    head.map_or(Ok(None), |head| vectors_in(&state.shared.ledger, &head, revision, state.model.dimension()))
}

fn vectors_in(
    ledger: &Ledger,
    head: &Head,
    revision: Revision,
    dimension: usize,
) -> Result<Option<Vec<Vec<f32>>>, EngineError> {
    let both = [Some(&head.current), head.previous.as_ref()].into_iter().flatten();
    let Some(version) = both.into_iter().find(|version| version.revision == revision) else { return Ok(None) };
    let mut out = Vec::new();
    for position in &version.embedded {
        let record = ledger.read(*position).map_err(EngineError::of_ledger)?;
        let Record::DocumentEmbedded { dimension: stored, vectors, .. } = record else {
            return Err(EngineError::Damaged("the ledger has another record where vectors should be".to_owned()));
        };
        if stored as usize != dimension {
            return Err(EngineError::Damaged(format!(
                "stored vectors have {stored} dimensions, the model {dimension}"
            )));
        }
        out.extend(vectors.chunks_exact(dimension).map(<[f32]>::to_vec));
    }
    Ok(Some(out))
}
