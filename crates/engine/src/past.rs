//! A partition as it was: what of earlier versions is kept, and views of past generations.
//!
//! A generation shows of each document the newest version up to it that came in sight. It can be asked for if every one of
//! these is kept: else something would be missing, and nobody would know. What was deleted since is in no past.
//!
//! A view of it is made in memory from what the ledger has, so that its scores are those of a collection that holds just
//! these documents. The last one a partition made is held for a while; whether it still is what would be made now is asked
//! each time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ibid_core::{DocumentId, DocumentKey, Filter, Generation, Metadata, Reader};
use ibid_ledger::{Head, ModelKey, Retained, Sequence};
use ibid_lexical::{Analysis, Changes, LexicalIndex, Storage};
use ibid_runtime::{Ctx, Lane as Place, Priority, Stopped};
use ibid_vector::VectorIndex;
use roaring::RoaringBitmap;

use crate::documents::{Documents, Entry, Meta, Version};
use crate::engine::Shared;
use crate::error::{EngineError, Invalid};
use crate::lanes::Lane;
use crate::partition::{Partition, State, stored};
use crate::recover;
use crate::snapshot::{Scope, Snapshot, View};
use crate::stages::words_of;

/// Documents read in one go while a view is made.
const BATCH_DOCUMENTS: usize = 64;
/// How often a view is made anew because something was deleted meanwhile.
const ATTEMPTS: usize = 3;
/// How long a view is held that nobody asks.
const IDLE_MAX: Duration = Duration::from_secs(300);

/// How far back versions are kept now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    /// Milliseconds since the Unix epoch.
    now_ms: u64,
    pub(crate) retain_ms: u64,
}

impl Window {
    pub(crate) fn keeps(&self, one: &Retained) -> bool {
        one.is_kept(self.now_ms, self.retain_ms)
    }

    /// When it begins, milliseconds since the Unix epoch.
    pub(crate) fn start_ms(&self) -> u64 {
        self.now_ms.saturating_sub(self.retain_ms)
    }
}

impl Shared {
    pub(crate) fn window(&self) -> Window {
        let retain_ms = u64::try_from(self.config.retain.as_millis()).unwrap_or(u64::MAX);
        Window { now_ms: self.parts.clock.unix_ms(), retain_ms }
    }
}

/// A version that was served, and is kept.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub(crate) record: Retained,
    pub(crate) meta: Arc<Meta>,
}

impl Kept {
    /// The version, and the record of how it was cut.
    pub(crate) fn version(&self, model: ModelKey) -> Option<(Version, Sequence)> {
        let record = &self.record.version;
        let (put, chunked) = (record.put?, record.chunked?);
        let embedded = record.embedded_by(model).map_or(0, |embedded| embedded.chunks);
        let version = Version::durable(record.revision, record.generation, put, Arc::clone(&self.meta));
        Some((Version { embedded, ..version }, chunked))
    }
}

/// What the ledger keeps of a document. What `known` has of it is not read again.
pub(crate) fn kept(shared: &Shared, head: &Head, known: Option<&Entry>) -> Result<Vec<Kept>, EngineError> {
    let window = shared.window();
    let mut kept = Vec::new();
    for record in head.retained.iter().take_while(|one| window.keeps(one)) {
        let Some(put) = record.version.put else { break };
        let older =
            known.into_iter().flat_map(|entry| entry.retained.iter().map(|one| (one.record.version.put, &one.meta)));
        let served = known.into_iter().flat_map(|entry| entry.versions().map(|one| (Some(one.put), &one.meta)));
        let meta = match older.chain(served).find(|(of, _)| *of == Some(put)) {
            Some((_, meta)) => Arc::clone(meta),
            None => match stored(&shared.ledger, put) {
                Ok(document) => Arc::new(Meta::of(&document)),
                // It is damaged, or was given up while a shorter time was set: then it is not kept, nor what was before it.
                Err(EngineError::Damaged(_)) => break,
                Err(error) => return Err(error),
            },
        };
        kept.push(Kept { record: record.clone(), meta });
    }
    Ok(kept)
}

/// A version that a past generation shows.
#[derive(Debug)]
struct Shown {
    key: DocumentKey,
    id: DocumentId,
    /// Cut, or that record says how.
    version: Version,
    chunked: Option<Sequence>,
    chunks: u32,
}

impl Shown {
    /// The version of a document that `generation` shows.
    fn of(key: DocumentKey, entry: &Entry, generation: Generation, window: Window, model: ModelKey) -> Option<Shown> {
        let id = entry.id.clone();
        if let Some(version) = entry.served().filter(|version| version.generation <= generation) {
            let chunks = version.cut.as_ref().map_or(0, |cut| cut.count());
            return Some(Shown { key, id, version: version.clone(), chunked: None, chunks });
        }
        let one = entry.kept(window).find(|one| one.record.version.generation <= generation)?;
        let (version, chunked) = one.version(model)?;
        Some(Shown { key, id, version, chunked: Some(chunked), chunks: one.record.version.chunks })
    }

    fn is_same(&self, other: &Shown) -> bool {
        let outline = |one: &Shown| (one.key, one.version.revision, one.version.embedded);
        outline(self) == outline(other)
    }
}

/// A view of a past generation.
#[derive(Debug)]
pub(crate) struct Past {
    view: Arc<View>,
    /// What its labels stand for.
    pub(crate) documents: Documents,
    shown: Vec<Shown>,
    reading: Analysis,
    model: ModelKey,
}

impl Past {
    /// What `reader` may see of it: what both this version and the newest one say it may read. A right that was withdrawn
    /// since holds for no past either.
    fn scope(&self, now: &Documents, reader: &Reader, filter: Option<&Filter>) -> Scope {
        if *reader == Reader::All && filter.is_none() {
            return Scope::all();
        }
        let fulfils = |metadata: &Metadata| filter.is_none_or(|filter| filter.matches(metadata));
        let mut allowed = RoaringBitmap::new();
        for Shown { key, version, .. } in &self.shown {
            let newest = now.entry(key).map(|entry| &entry.current.meta);
            let readable = newest.is_some_and(|newest| reader.may_read(&newest.readers));
            if readable && reader.may_read(&version.meta.readers) && fulfils(&version.meta.metadata) {
                allowed.extend(version.cut.iter().flat_map(|cut| cut.labels()));
            }
        }
        Scope::of_labels(allowed)
    }
}

/// The view of a past generation that a partition made last.
#[derive(Default)]
pub(crate) struct Pasts {
    /// Held by whoever makes one.
    making: tokio::sync::Mutex<()>,
    last: Mutex<Option<(Arc<Past>, Duration)>>,
}

impl Pasts {
    fn lock(&self) -> MutexGuard<'_, Option<(Arc<Past>, Duration)>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets go of what is held.
    pub(crate) fn forget(&self) {
        let gone = self.lock().take();
        drop(gone);
    }

    /// Lets go of a view of which not everything is kept any more.
    fn forget_before(&self, oldest: Generation) {
        let gone = self.lock().take_if(|(past, _)| past.view.generation < oldest);
        drop(gone);
    }

    /// Lets go of a view that nobody has asked for a while.
    pub(crate) fn forget_idle(&self, now: Duration) {
        let gone = self.lock().take_if(|(_, asked)| now.saturating_sub(*asked) > IDLE_MAX);
        drop(gone);
    }
}

/// What is to be made.
struct Plan {
    generation: Generation,
    shown: Vec<Shown>,
    lane: Arc<Lane>,
    reading: Analysis,
    /// What had been deleted when it was made up.
    deletions: u64,
}

enum Look {
    There(Snapshot),
    Missing(Plan),
}

impl Partition {
    /// What the caller may search of a past generation, with `filter` applied before anything is ranked: of each document that
    /// was not deleted since, the newest version up to it that came in sight, if the newest there is may be read too.
    ///
    /// # Errors
    /// [`EngineError::OutOfRange`]: there is no such generation, or not everything that it showed is kept.
    /// [`EngineError::Unfit`]: it shows more than a view in memory may have. Or stopped, or the ledger cannot be read.
    pub async fn snapshot_at(
        &self,
        ctx: &Ctx,
        generation: Generation,
        filter: Option<&Filter>,
    ) -> Result<Snapshot, EngineError> {
        if let Look::There(snapshot) = self.look_at(generation, filter)? {
            return Ok(snapshot);
        }
        let _making = turn(ctx, &self.state.past.making).await?;
        for _ in 0..ATTEMPTS {
            // Somebody may have made it meanwhile.
            let plan = match self.look_at(generation, filter)? {
                Look::There(snapshot) => return Ok(snapshot),
                Look::Missing(plan) => plan,
            };
            let (own, state, deletions) = (ctx.clone(), Arc::clone(&self.state), plan.deletions);
            let make = move |place: &Place<'_>| make(&own, place, &state, plan);
            let made = self.state.shared.parts.pool.run_in_parts(&ctx.at(Priority::Ingest), make).await;
            let Some(past) = made.map_err(EngineError::of_pool)??.map(Arc::new) else { continue };
            let documents = self.state.documents();
            if self.state.is_gone() {
                return Err(EngineError::NotFound { kind: "collection", name: self.name().to_string() });
            }
            // What was deleted meanwhile must not be found in it.
            if documents.deletions() == deletions {
                *self.state.past.lock() = Some((Arc::clone(&past), ctx.clock().monotonic()));
                return Ok(self.snapshot_of(&documents, past, filter));
            }
        }
        Err(EngineError::Overloaded("documents are deleted faster than a past generation is made ready".to_owned()))
    }

    /// A view of the generation, if there is one; or what has to be made.
    fn look_at(&self, generation: Generation, filter: Option<&Filter>) -> Result<Look, EngineError> {
        let state = &self.state;
        // The documents' lock holds publishing back, so that all is of one moment.
        let documents = state.documents();
        let view = state.view();
        let refused = |problem: String| Err(EngineError::OutOfRange(Invalid::new("generation", problem)));
        if generation > documents.generation {
            return refused(format!("is {}, the collection is at {}", generation.0, documents.generation.0));
        }
        if generation >= view.generation {
            let scope = Scope::of(&documents, self.reader(), filter);
            let state = Arc::clone(state);
            return Ok(Look::There(Snapshot { state, view, scope, generation, past: None }));
        }
        let window = state.shared.window();
        let oldest = if window.retain_ms == 0 { view.generation } else { documents.known_from(window) };
        if generation < oldest {
            let oldest = oldest.min(view.generation);
            state.past.forget_before(oldest);
            return refused(format!("is {}, the oldest of which everything is kept is {}", generation.0, oldest.0));
        }
        let lane = Arc::clone(&state.lanes().serving);
        let (model, reading) = (lane.version.key(), recover::analysis(&state.reading().settings));
        let chunks_max = state.shared.config.past_chunks_max;
        let (mut shown, mut chunks) = (Vec::new(), 0);
        for (key, entry) in documents.listed(None) {
            let Some(one) = Shown::of(*key, entry, generation, window, model) else { continue };
            chunks += one.chunks as usize;
            if chunks > chunks_max {
                let problem = format!("has more than {chunks_max} chunks, the most that a past one may have");
                return Err(EngineError::Unfit(format!("generation {} {problem}", generation.0)));
            }
            shown.push(one);
        }
        if let Some((past, asked)) = &mut *state.past.lock() {
            let is_same = past.shown.len() == shown.len() && past.shown.iter().zip(&shown).all(|(a, b)| a.is_same(b));
            if is_same && past.view.generation == generation && (past.model, past.reading) == (model, reading) {
                *asked = state.shared.parts.clock.monotonic();
                return Ok(Look::There(self.snapshot_of(&documents, Arc::clone(past), filter)));
            }
        }
        Ok(Look::Missing(Plan { generation, shown, lane, reading, deletions: documents.deletions() }))
    }

    fn snapshot_of(&self, now: &Documents, past: Arc<Past>, filter: Option<&Filter>) -> Snapshot {
        let scope = past.scope(now, self.reader(), filter);
        let (state, view) = (Arc::clone(&self.state), Arc::clone(&past.view));
        Snapshot { state, generation: view.generation, view, scope, past: Some(past) }
    }
}

/// Waits for `mutex` as long as the caller does.
async fn turn<'a>(
    ctx: &Ctx,
    mutex: &'a tokio::sync::Mutex<()>,
) -> Result<tokio::sync::MutexGuard<'a, ()>, EngineError> {
    match ctx.left() {
        Some(left) => tokio::time::timeout(left, mutex.lock()).await.map_err(|_| Stopped::Deadline.into()),
        None => Ok(mutex.lock().await),
    }
}

/// Makes a view, without what is deleted by now. `None` if one of its versions was given up meanwhile.
fn make(ctx: &Ctx, place: &Place<'_>, state: &State, plan: Plan) -> Result<Option<Past>, EngineError> {
    let Plan { generation, mut shown, lane, reading, .. } = plan;
    let (shared, model) = (&*state.shared, lane.version.key());
    let lexical = LexicalIndex::open(&Storage::Memory, reading).map_err(EngineError::of_lexical)?.index;
    let config = recover::vector_config(shared, lane.model.dimension());
    let vector = VectorIndex::new(config).map_err(|error| EngineError::Unfit(error.to_string()))?;
    let mut documents = Documents::default();
    for part in shown.chunks_mut(BATCH_DOCUMENTS) {
        place.make_way();
        let (mut changes, mut vectors) = (Changes::default(), Vec::new());
        for Shown { key, id, version, chunked, .. } in part {
            ctx.check()?;
            let head = shared.ledger.head(state.key, *key).map_err(EngineError::of_ledger)?;
            let Some(head) = head.filter(|head| !head.current.is_tombstone()) else { continue };
            let record = head.all_versions().find(|record| record.revision == version.revision);
            let Some(record) = record else { return Ok(None) };
            if let Some(chunked) = *chunked {
                version.cut = Some(recover::read_cut(&shared.ledger, chunked)?);
            }
            let Some(cut) = &version.cut else { continue };
            changes.add.extend(words_of(cut, &state.text(version.put)?)?);
            vectors.extend(cut.labels().zip(recover::vectors_of(&shared.ledger, record, model)?));
            documents.label(id, version);
        }
        lexical.write(changes, generation.0).map_err(EngineError::of_lexical)?;
        vector.apply(&[], vectors).map_err(EngineError::of_vector)?;
    }
    let (lexical, vector, embedder) = (lexical.snapshot(), vector.snapshot(), Arc::clone(&lane.model));
    let view = Arc::new(View { generation, lexical, vector, model: embedder });
    Ok(Some(Past { view, documents, shown, reading, model }))
}
