//! The thread that cuts documents, indexes their words and takes deleted ones out.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::channel::oneshot;
use ibid_chunk::{Limits, Outline, inspect, likeness};
use ibid_core::{BlockKind, Chunk, ChunkId, CollectionSettings, DocumentKey, Findings, MediaType, Revision};
use ibid_ledger::{Pending, Record, StoredChunk, StoredDocument};
use ibid_lexical::{Changes, Entry as Words, LexicalError};

use super::{CutWork, EmbedWork, caught, compute, encoder_input, goes_on_after, leave_out, words_of};
use crate::config::EmbedModel;
use crate::documents::{Cut, Version};
use crate::engine::Shared;
use crate::error::EngineError;
use crate::intake::tell;
use crate::partition::{Partition, State};
use crate::recover;

/// Documents cut in one go.
const CUT_BATCH_DOCUMENTS: usize = 64;

/// Cuts and deletes until the engine closes.
pub(crate) fn run_cutting(shared: &Arc<Shared>) {
    while let Some(state) = shared.cutting.next() {
        if state.words_are_in_doubt()
            && let Err(error) = caught(|| mend_words(&state))
        {
            if goes_on_after(shared, &state, &error) {
                shared.cutting.push(&state);
            }
            continue;
        }
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

/// Looks at an index of words that failed. If it is damaged, it is made anew from the ledger; the others are served meanwhile.
fn mend_words(state: &Arc<State>) -> Result<(), EngineError> {
    let _changing = state.lock(&state.changing);
    if !state.is_gone() {
        match state.reading().lexical.verify() {
            // What failed was not its files.
            Ok(()) => tracing::warn!(partition = %state.key, "the index of words is whole"),
            Err(LexicalError::Corrupt { detail }) => {
                tracing::warn!(partition = %state.key, detail, "making the index of words anew");
                let reading = recover::remake_words(state)?;
                let mut documents = state.documents_mut();
                state.set_reading(reading);
                state.publish(&mut documents);
            }
            Err(error) => return Err(EngineError::of_lexical(error)),
        }
    }
    state.trust_words();
    Ok(())
}

/// The next works of one kind. Deletions go before cuts: what they need is in the ledger, while a cut may wait for room on
/// the disk, and a version that goes before it is cut is gone all the same.
fn take_batch(state: &State) -> Vec<CutWork> {
    let mut queue = state.lock(&state.to_cut);
    if queue.iter().any(|work| matches!(work, CutWork::Delete { .. })) {
        let (deletes, others): (VecDeque<CutWork>, VecDeque<CutWork>) =
            std::mem::take(&mut *queue).into_iter().partition(|work| matches!(work, CutWork::Delete { .. }));
        *queue = others;
        return deletes.into();
    }
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
        let (cut, text) = match cut_version(state, *key, &version, &mut pendings) {
            Ok(cut) => cut,
            Err(error @ EngineError::Damaged(_)) => {
                leave_out(state, *key, *revision, &error);
                continue;
            }
            Err(error) => return Err(error),
        };
        let reused = older.as_ref().map_or(0, |older| count_reused(older, &cut.chunks));
        let replaces = older.is_some() && !planted!(HalfAReplace);
        let words = if replaces { Vec::new() } else { words_of(&cut, &text)? };
        let version = Version { cut: Some(cut), reused, ..version };
        fresh.push(Fresh { key: *key, version, words, replaces });
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

/// How a version is cut, and its text. What is cut now is on its way into the ledger, in `pendings`; what an earlier try has
/// brought there keeps its labels.
fn cut_version(
    state: &State,
    key: DocumentKey,
    version: &Version,
    pendings: &mut Vec<Pending>,
) -> Result<(Arc<Cut>, String), EngineError> {
    if let Some(logged) = logged_cut(state, key, version)? {
        return Ok(logged);
    }
    let stored = state.stored(version.put)?;
    let text = stored.text.unpack().map_err(EngineError::of_ledger)?;
    let FreshCut { text, title, chunks, with_context, findings } = cut(state, key, stored, text)?;
    let first_label = state.documents_mut().assign_labels(u32::try_from(chunks.len()).unwrap_or(u32::MAX));
    pendings.push(state.shared.ledger.append(Record::DocumentChunked {
        partition: state.key,
        document: key,
        revision: version.revision,
        chunker: ibid_chunk::VERSION.to_owned(),
        first_label,
        title: title.clone(),
        chunks: chunks.clone(),
        with_context,
        findings: findings.clone(),
    }));
    Ok((Arc::new(Cut { first_label, title, chunks, with_context, findings }), text))
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

/// A version that was just cut, with its text.
struct FreshCut {
    text: String,
    title: String,
    chunks: Vec<StoredChunk>,
    with_context: bool,
    findings: Findings,
}

fn cut(state: &State, key: DocumentKey, stored: StoredDocument, text: String) -> Result<FreshCut, EngineError> {
    let (reading, model) = (state.reading(), Arc::clone(&state.lanes().serving.model));
    let with_context = reading.settings.chunk_context;
    let (text, stored, found_title, chunks, findings) = compute(state, move || {
        let outline = outline_of(&stored, &text)?;
        let left_out = outline.left_out.iter().map(|left_out| left_out.bytes).sum();
        let mut findings = Findings { left_out_bytes: left_out, ..inspect(&text) };
        let (title, chunks) = if stored.ready.is_empty() {
            let chunked = reading.chunker.chunk(&text, outline, &*model);
            findings.dropped_bytes = chunked.dropped.iter().map(|span| span.len()).sum();
            (chunked.title, chunked.chunks)
        } else {
            (None, ready_chunks(&*model, &stored, &text))
        };
        Ok::<_, EngineError>((text, stored, title, chunks, findings))
    })??;
    let title = if stored.title.is_empty() { found_title.unwrap_or_default() } else { stored.title };
    let mut occurrences: HashMap<&str, u32> = HashMap::new();
    let mut out = Vec::with_capacity(chunks.len());
    for chunk in chunks {
        let content =
            chunk.span.quote(&text).ok_or_else(|| EngineError::Damaged("a chunk lies outside its text".to_owned()))?;
        let occurrence = occurrences.entry(content).or_insert(0);
        let id = ChunkId::of(state.key, key, content, *occurrence);
        *occurrence += 1;
        let input = encoder_input(&title, with_context, &chunk, &text, content);
        let hash = blake3::hash(input.as_bytes());
        let input_hash = hash.as_bytes()[..16].try_into().expect("sixteen of thirty-two bytes");
        let likeness = likeness(content);
        out.push(StoredChunk { chunk, id, input_hash, likeness });
    }
    Ok(FreshCut { text, title, chunks: out, with_context, findings })
}

/// The structure of a stored text: as its reader wrote it down, or read from the text again.
fn outline_of(stored: &StoredDocument, text: &str) -> Result<Outline, EngineError> {
    let Some(made_from) = &stored.made_from else {
        // What was accepted is accepted again; an older program may have accepted what this one does not.
        let read = |media| ibid_chunk::outline(text, media, &Limits::NONE);
        let outline = read(stored.media_type).or_else(|_| read(MediaType::Plain));
        return outline.map_err(|error| EngineError::Damaged(format!("a stored text {error}")));
    };
    let bytes = made_from.outline.unpack_bytes().map_err(EngineError::of_ledger)?;
    let outline: Option<Outline> = postcard::from_bytes(&bytes).ok();
    let outline = outline.filter(|outline| outline.fits(text).is_ok());
    outline.ok_or_else(|| EngineError::Damaged("a stored outline does not fit its text".to_owned()))
}

fn ready_chunks(model: &dyn EmbedModel, stored: &StoredDocument, text: &str) -> Vec<Chunk> {
    let mut starts = Vec::new();
    let chunk = |ready: &ibid_ledger::ReadyChunk| {
        starts.clear();
        model.token_starts(ready.span.quote(text).unwrap_or_default(), &mut starts);
        Chunk {
            span: ready.span,
            heading_path: Vec::new(),
            kind: BlockKind::Mixed,
            tokens: u32::try_from(starts.len()).unwrap_or(u32::MAX),
            context: None,
            places: Vec::new(),
        }
    };
    stored.ready.iter().map(chunk).collect()
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
        for (_, lane) in state.lanes().all() {
            lane.vector.apply(&labels, Vec::new()).map_err(EngineError::of_vector)?;
        }
    }
    let mut documents = state.documents_mut();
    for (key, revision) in gone {
        documents.forget_damaged(key);
        documents.note_erased(*key, *revision);
        let Some(entry) = documents.entry_mut(key) else { continue };
        let served = entry.served().cloned();
        let previous = entry.previous.take_if(|version| version.revision < *revision);
        let retired = if entry.current.revision < *revision {
            documents.remove(key);
            served
        } else {
            entry.deleting = entry.deleting.saturating_sub(1);
            previous
        };
        if let Some(retired) = retired {
            documents.retire(&retired);
        }
    }
    state.publish(&mut documents);
    drop(documents);
    // What was deleted is in no past.
    state.past.forget();
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
