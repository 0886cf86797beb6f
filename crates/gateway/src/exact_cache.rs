//! Answers that are kept, and given again to the very same request.
//!
//! The key is a hash of everything that an answer depends on, of the request as it was asked, before anything is redacted:
//! two customers' questions never become one key. Tenant, principals and the partitions' generations are part of it, so an
//! answer from before a deletion or a withdrawn right has another key than any later request. Answers are kept in memory
//! only, each tenant's apart.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::stream::{self, StreamExt};
use ibid_core::{
    CacheState, CallRecord, Fallback, FinishReason, GenerateRequest, Generated, GenerationStream, ModelError, Reader,
    Role, TenantKey,
};
use tower::{Layer, Service, ServiceExt};

use crate::call::{Answer, CacheKey, Call, Door, always_ready};
use crate::failure::Failure;

/// Which answers are kept, and how long.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CacheConfig {
    /// How long an answer is given again.
    pub ttl: Duration,
    /// How long after that it is kept for when nobody can be asked.
    pub stale_for: Duration,
    /// The most bytes of all answers together.
    pub bytes_max: usize,
    /// The most bytes of one tenant's answers, so that one cannot push out all others'.
    pub tenant_bytes_max: usize,
    /// Answers drawn at a higher temperature are not kept: who asks for chance wants it each time.
    pub temperature_max: f32,
}

/// Pieces of an answer are joined up to this length when they are kept.
const PIECE_BYTES: usize = 256;
/// What an entry costs beside its text.
const ENTRY_BYTES: usize = 512;

/// The key of `request` to `model`; `None` if its answer may not be kept: its sources come from nobody knows what state.
pub(crate) fn key(model: &str, request: &GenerateRequest) -> Option<CacheKey> {
    if !request.sources.is_empty() && request.origin.generations.is_empty() {
        return None;
    }
    let mut hasher = blake3::Hasher::new_derive_key("ibid 2026 gateway exact cache v1");
    // Each part with its length, or two requests could read alike.
    let mut part = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    part(&request.tenant.0.to_le_bytes());
    part(model.as_bytes());
    match &request.caller.reader {
        Reader::All => part(b"all"),
        Reader::As(principals) => {
            part(b"as");
            part(&(principals.len() as u64).to_le_bytes());
            principals.iter().for_each(|principal| part(principal.as_bytes()));
        }
    }
    part(request.caller.feature.as_bytes());
    part(request.origin.prompt_version.as_bytes());
    part(request.origin.config_version.as_bytes());
    let mut generations = request.origin.generations.clone();
    generations.sort_unstable();
    generations.dedup();
    part(&(generations.len() as u64).to_le_bytes());
    for (partition, generation) in generations {
        part(&partition.to_bytes());
        part(&generation.0.to_le_bytes());
    }
    part(&request.tokens_max.to_le_bytes());
    part(&request.temperature.to_bits().to_le_bytes());
    part(&(request.messages.len() as u64).to_le_bytes());
    for message in &request.messages {
        let role = match message.role {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
        };
        part(role.as_bytes());
        part(normal(&message.content).as_bytes());
    }
    part(normal(&request.question).as_bytes());
    for source in request.sources.iter() {
        part(&source.number.to_le_bytes());
        part(source.context.as_bytes());
        part(source.text.as_bytes());
    }
    Some(*hasher.finalize().as_bytes())
}

/// What a text means the same without: line ends and blanks around it.
fn normal(text: &str) -> String {
    text.trim().replace("\r\n", "\n")
}

/// An answer that is kept.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pieces: Arc<[Generated]>,
    record: Arc<CallRecord>,
    finish: FinishReason,
    bytes: usize,
}

impl Kept {
    /// The answer again, as a stream. It costs nothing and nobody was asked.
    pub(crate) fn replay(&self, state: CacheState) -> GenerationStream {
        let record = CallRecord { cost_microdollars: 0, attempts: 0, cache: state, ..(*self.record).clone() };
        let (usage, finish) = (record.usage, self.finish);
        let end = [Generated::Usage(usage), Generated::Call(Box::new(record)), Generated::Done(finish)];
        let pieces = Arc::clone(&self.pieces);
        let said = (0..pieces.len()).map(move |at| pieces[at].clone());
        stream::iter(said.chain(end).map(Ok)).boxed()
    }
}

/// Listens to an answer and keeps it once it is complete.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    pieces: Vec<Generated>,
    record: Option<CallRecord>,
    bytes: usize,
}

impl Recorder {
    /// The answer once it is complete and worth keeping: whole, and by the model that was asked.
    pub(crate) fn hear(&mut self, piece: &Generated) -> Option<Kept> {
        match piece {
            Generated::Delta(text) => {
                self.bytes += text.len();
                match self.pieces.last_mut() {
                    Some(Generated::Delta(last)) if last.len() < PIECE_BYTES => last.push_str(text),
                    Some(_) | None => self.pieces.push(piece.clone()),
                }
            }
            Generated::ToolCall(call) => {
                self.bytes += call.arguments.len() + call.name.len() + call.id.len();
                self.pieces.push(piece.clone());
            }
            Generated::Usage(_) => {}
            Generated::Call(record) => self.record = Some((**record).clone()),
            Generated::Done(finish @ (FinishReason::Stop | FinishReason::Length | FinishReason::ToolCalls)) => {
                let record = self.record.take().filter(|record| record.fallback == Fallback::None)?;
                let pieces: Arc<[Generated]> = std::mem::take(&mut self.pieces).into();
                let bytes = self.bytes + pieces.len() * size_of::<Generated>() + ENTRY_BYTES;
                return Some(Kept { pieces, record: Arc::new(record), finish: *finish, bytes });
            }
            Generated::Done(FinishReason::ContentFilter) => {}
        }
        None
    }
}

/// The answers of all tenants.
#[derive(Debug)]
pub(crate) struct ExactCache {
    config: CacheConfig,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    shelves: HashMap<TenantKey, Shelf>,
    bytes: usize,
    /// Counts uses, so that the longest unused can be told.
    uses: u64,
}

/// One tenant's.
#[derive(Debug, Default)]
struct Shelf {
    entries: HashMap<CacheKey, Entry>,
    by_use: BTreeMap<u64, CacheKey>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    kept: Kept,
    at: Duration,
    used: u64,
}

impl ExactCache {
    pub(crate) fn new(config: CacheConfig) -> ExactCache {
        ExactCache { config, state: Mutex::default() }
    }

    fn keeps(&self, request: &GenerateRequest) -> bool {
        request.temperature <= self.config.temperature_max
    }

    /// The answer within its time.
    pub(crate) fn fresh(&self, tenant: TenantKey, key: &CacheKey, now: Duration) -> Option<Kept> {
        self.find(tenant, key, now, self.config.ttl)
    }

    /// The answer, also for a while beyond its time.
    pub(crate) fn stale(&self, tenant: TenantKey, key: &CacheKey, now: Duration) -> Option<Kept> {
        self.find(tenant, key, now, self.config.ttl.saturating_add(self.config.stale_for))
    }

    fn find(&self, tenant: TenantKey, key: &CacheKey, now: Duration, age_max: Duration) -> Option<Kept> {
        let mut state = self.lock();
        state.uses += 1;
        let uses = state.uses;
        let shelf = state.shelves.get_mut(&tenant)?;
        let entry = shelf.entries.get_mut(key)?;
        if now.saturating_sub(entry.at) >= age_max {
            return None;
        }
        shelf.by_use.remove(&entry.used);
        entry.used = uses;
        shelf.by_use.insert(uses, *key);
        Some(entry.kept.clone())
    }

    /// Keeps an answer, in place of the longest unused.
    pub(crate) fn keep(&self, tenant: TenantKey, key: CacheKey, kept: Kept, now: Duration) {
        let (own_max, all_max) = (self.config.tenant_bytes_max.min(self.config.bytes_max), self.config.bytes_max);
        if kept.bytes > own_max {
            return;
        }
        let mut state = self.lock();
        state.remove(tenant, &key);
        state.uses += 1;
        let (used, bytes) = (state.uses, kept.bytes);
        let shelf = state.shelves.entry(tenant).or_default();
        shelf.entries.insert(key, Entry { kept, at: now, used });
        shelf.by_use.insert(used, key);
        shelf.bytes += bytes;
        state.bytes += bytes;
        while state.shelves.get(&tenant).is_some_and(|shelf| shelf.bytes > own_max) {
            state.evict(tenant);
        }
        while state.bytes > all_max {
            // Whoever has most makes room, so that a busy tenant pushes out its own.
            let largest = state.shelves.iter().max_by_key(|(tenant, shelf)| (shelf.bytes, **tenant));
            let Some(largest) = largest.map(|(tenant, _)| *tenant) else { break };
            state.evict(largest);
        }
    }

    /// Forgets everything of `tenant`.
    pub(crate) fn forget(&self, tenant: TenantKey) {
        let mut state = self.lock();
        let bytes = state.shelves.remove(&tenant).map_or(0, |shelf| shelf.bytes);
        state.bytes -= bytes;
    }

    /// Bytes of all answers.
    #[cfg(test)]
    fn bytes(&self) -> usize {
        self.lock().bytes
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn remove(&mut self, tenant: TenantKey, key: &CacheKey) {
        let Some(shelf) = self.shelves.get_mut(&tenant) else { return };
        if let Some(entry) = shelf.entries.remove(key) {
            shelf.by_use.remove(&entry.used);
            shelf.bytes -= entry.kept.bytes;
            self.bytes -= entry.kept.bytes;
        }
        if shelf.entries.is_empty() {
            self.shelves.remove(&tenant);
        }
    }

    /// The longest unused of `tenant`.
    fn evict(&mut self, tenant: TenantKey) {
        let oldest = self.shelves.get(&tenant).and_then(|shelf| shelf.by_use.values().next().copied());
        oldest.into_iter().for_each(|key| self.remove(tenant, &key));
    }
}

/// Looks an answer up, and keeps it. Without a cache it only says which requests are alike, for single-flight.
#[derive(Debug, Clone)]
pub(crate) struct ExactCacheLayer {
    pub(crate) cache: Option<Arc<ExactCache>>,
}

#[derive(Debug, Clone)]
pub(crate) struct ExactCacheService<S> {
    cache: Option<Arc<ExactCache>>,
    inner: S,
}

impl<S> Layer<S> for ExactCacheLayer {
    type Service = ExactCacheService<S>;
    fn layer(&self, inner: S) -> ExactCacheService<S> {
        ExactCacheService { cache: self.cache.clone(), inner }
    }
}

impl<S: Door> Service<Call> for ExactCacheService<S> {
    type Response = GenerationStream;
    type Error = Failure;
    type Future = Answer;
    always_ready!();

    fn call(&mut self, call: Call) -> Answer {
        let inner = self.inner.clone();
        // The key is for single-flight too, also where nothing is kept.
        let cache = self.cache.clone().filter(|cache| cache.keeps(&call.request));
        let (Some(cache), Some(key)) = (cache, call.key) else { return Box::pin(inner.oneshot(call)) };
        Box::pin(async move {
            let (tenant, clock) = (call.request.tenant, Arc::clone(call.ctx.clock()));
            if let Some(kept) = cache.fresh(tenant, &key, clock.monotonic()) {
                return Ok(kept.replay(CacheState::Hit));
            }
            let stream = inner.oneshot(call).await?;
            let mut recorder = Recorder::default();
            let keep = move |mut piece: Result<Generated, ModelError>| {
                if let Ok(Generated::Call(record)) = &mut piece
                    && record.cache == CacheState::Bypass
                {
                    record.cache = CacheState::Miss;
                }
                if let Some(kept) = piece.as_ref().ok().and_then(|piece| recorder.hear(piece)) {
                    cache.keep(tenant, key, kept, clock.monotonic());
                }
                piece
            };
            Ok(stream.map(keep).boxed())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use ibid_core::{CollectionKey, Generation, PartitionKey, Source};

    use super::*;
    use crate::testing::{record, request};

    const SECOND: Duration = Duration::from_secs(1);
    const TENANT: TenantKey = TenantKey(1);

    fn asked() -> GenerateRequest {
        let mut request = request("why?");
        request.sources = Arc::new([Source { number: 1, context: "a".to_owned(), text: "b".to_owned() }]);
        let partition = PartitionKey { tenant: TENANT, collection: CollectionKey(1) };
        request.origin.generations = vec![(partition, Generation(7))];
        request
    }

    #[test]
    fn whatever_an_answer_depends_on_is_in_its_key() {
        let key = |change: &dyn Fn(&mut GenerateRequest)| {
            let mut request = asked();
            change(&mut request);
            key("model", &request)
        };
        let same = key(&|_| {});
        assert_eq!(key(&|request| request.messages[0].content = " why?\r\n".to_owned()), same);
        assert_eq!(key(&|request| request.caller.key = Some(ibid_core::KeyId(9))), same, "keys that read alike share");
        let reader = |names: &[&str]| Reader::As(names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>());
        let changes: [&dyn Fn(&mut GenerateRequest); 14] = [
            &|request| request.tenant = TenantKey(2),
            &|request| request.caller.reader = Reader::All,
            &|request| request.caller.reader = reader(&["all"]),
            &|request| request.caller.reader = reader(&["support"]),
            &|request| request.caller.feature = "judge".to_owned(),
            &|request| request.origin.prompt_version = "2".to_owned(),
            &|request| request.origin.config_version = "2".to_owned(),
            &|request| request.origin.generations[0].1 = Generation(8),
            &|request| request.origin.generations[0].0.collection = CollectionKey(2),
            &|request| request.messages[0].content = "why not?".to_owned(),
            &|request| request.messages[0].role = Role::Assistant,
            &|request| request.tokens_max += 1,
            &|request| request.temperature = 0.5,
            &|request| request.question = "what?".to_owned(),
        ];
        let keys: BTreeSet<_> = changes.iter().map(|change| key(*change)).chain([same]).collect();
        assert_eq!(keys.len(), changes.len() + 1);
        assert_eq!(key(&|request| request.origin.generations.clear()), None, "sources of an unknown state");
        assert_ne!(super::key("other", &asked()), same);
    }

    fn kept(text: &str) -> Kept {
        let mut recorder = Recorder::default();
        recorder.hear(&Generated::Delta(text.to_owned()));
        recorder.hear(&Generated::Call(Box::new(record("m"))));
        recorder.hear(&Generated::Done(FinishReason::Stop)).unwrap()
    }

    fn cache(bytes_max: usize, tenant_bytes_max: usize) -> ExactCache {
        let (ttl, stale_for) = (10 * SECOND, 10 * SECOND);
        ExactCache::new(CacheConfig { ttl, stale_for, bytes_max, tenant_bytes_max, temperature_max: 0.0 })
    }

    #[test]
    fn an_answer_is_given_for_its_time_and_then_only_as_stale() {
        let cache = cache(1 << 20, 1 << 20);
        cache.keep(TENANT, [1; 32], kept("a"), SECOND);
        assert!(cache.fresh(TENANT, &[1; 32], 10 * SECOND).is_some());
        assert!(cache.fresh(TenantKey(2), &[1; 32], 10 * SECOND).is_none());
        assert!(cache.fresh(TENANT, &[1; 32], 11 * SECOND).is_none());
        assert!(cache.stale(TENANT, &[1; 32], 20 * SECOND).is_some());
        assert!(cache.stale(TENANT, &[1; 32], 21 * SECOND).is_none());
        cache.forget(TENANT);
        assert_eq!((cache.bytes(), cache.stale(TENANT, &[1; 32], SECOND).is_none()), (0, true));
    }

    #[test]
    fn the_longest_unused_makes_room_and_a_busy_tenant_its_own() {
        let bytes = kept("a").bytes;
        let cache = cache(4 * bytes, 2 * bytes);
        let has = |tenant: u64, key: u8| cache.fresh(TenantKey(tenant), &[key; 32], SECOND).is_some();
        cache.keep(TENANT, [1; 32], kept("a"), SECOND);
        cache.keep(TENANT, [2; 32], kept("a"), SECOND);
        assert!(has(1, 1));
        cache.keep(TENANT, [3; 32], kept("a"), SECOND);
        assert_eq!([has(1, 1), has(1, 2), has(1, 3)], [true, false, true]);
        for tenant in 2..=4 {
            cache.keep(TenantKey(tenant), [1; 32], kept("a"), SECOND);
        }
        assert!(cache.bytes() <= 4 * bytes);
        assert_eq!([has(2, 1), has(3, 1), has(4, 1)], [true, true, true], "tenant 1 had most");
        cache.keep(TENANT, [9; 32], kept(&"a".repeat(3 * bytes)), SECOND);
        assert!(!has(1, 9), "too large to be kept");
    }
}
