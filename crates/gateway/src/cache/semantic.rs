//! Answers to questions that mean the same: nearest by cosine among the entries of one scope, and then compared word by word
//! ([`super::same_question`]), for vectors hardly see a `not`.
//!
//! A scope is what an answer depends on besides the question: tenant, model, prompt version, the caller's principals, the
//! partitions' generations, filters. The caller writes all of it into the scope's bytes; an entry is never looked at from
//! another scope. Entries live in memory and end with the process.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ibid_core::{Embed, ModelError, Purpose, TenantKey};
use ibid_runtime::{Clock, Ctx};

use super::{Difference, same_question};

/// Sizes and thresholds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Config {
    /// The least cosine of two questions that may share an answer, 0.5 to 1.
    pub cosine_min: f32,
    /// How long an entry is served, above 0.
    pub ttl: Duration,
    /// What the entries of one tenant may take, at least 1 KiB: its own oldest make room, whatever other tenants do.
    pub tenant_bytes_max: usize,
    /// What all entries may take: then the oldest of the tenant with the most bytes makes room.
    pub bytes_max: usize,
    /// Entries in one scope, 1 to 4,096: each is compared with in every lookup there.
    pub scope_entries_max: usize,
}

/// Why a [`Config`] was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {given} given, expected {expected}")]
pub struct ConfigError {
    /// The field.
    pub field: &'static str,
    /// What it was.
    pub given: String,
    /// What it may be.
    pub expected: &'static str,
}

/// What an answer depends on besides its question. Only its hash is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    tenant: TenantKey,
    hash: [u8; 32],
}

impl Scope {
    /// The scope of `tenant` that `parts` make: model, prompt version, principals, generations, filters, each as bytes that are
    /// the same for the same and for nothing else. Where one part ends is a part of the scope.
    pub fn new(tenant: TenantKey, parts: &[&[u8]]) -> Scope {
        let mut hasher = blake3::Hasher::new_derive_key("ibid 2026 semantic cache scope v1");
        hasher.update(&tenant.0.to_le_bytes());
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Scope { tenant, hash: *hasher.finalize().as_bytes() }
    }
}

/// A question with its vector, so that one embedding serves the lookup and what is kept after it.
#[derive(Clone)]
pub struct Asked {
    question: Arc<str>,
    /// Of length 1.
    vector: Arc<[f32]>,
}

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Asked({} bytes, {} dimensions)", self.question.len(), self.vector.len())
    }
}

/// What a lookup found.
#[derive(Debug, Clone, PartialEq)]
pub enum Found<V> {
    /// An answer to a question that means the same.
    Hit {
        /// What was kept.
        value: V,
        /// The questions' cosine.
        cosine: f32,
        /// How long ago it was kept.
        age: Duration,
    },
    /// None.
    Miss {
        /// The cosine of the nearest question in the scope, if there is one.
        nearest: Option<f32>,
        /// Why the nearest above the threshold was refused, if it was.
        refused: Option<Difference>,
    },
}

#[derive(Debug)]
struct Entry<V> {
    scope: Scope,
    asked: Asked,
    value: V,
    bytes: usize,
    /// By the clock's monotonic time.
    kept: Duration,
}

/// By age: a number that only rises.
type Ordinal = u64;

#[derive(Debug)]
struct State<V> {
    entries: HashMap<Ordinal, Entry<V>>,
    /// A scope's entries, oldest first.
    scopes: HashMap<Scope, Vec<Ordinal>>,
    tenants: BTreeMap<TenantKey, Tenant>,
    next: Ordinal,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Tenant {
    bytes: usize,
    /// Oldest first.
    ordinals: std::collections::BTreeSet<Ordinal>,
}

/// The cache. `V` is what is kept for a question, such as a shared answer.
#[derive(Debug)]
pub struct SemanticCache<V> {
    config: Config,
    embedder: Arc<dyn Embed>,
    clock: Arc<dyn Clock>,
    state: Mutex<State<V>>,
}

impl<V: Clone> SemanticCache<V> {
    /// An empty cache.
    ///
    /// # Errors
    /// [`ConfigError`]: a value out of its range.
    pub fn new(
        config: Config,
        embedder: Arc<dyn Embed>,
        clock: Arc<dyn Clock>,
    ) -> Result<SemanticCache<V>, ConfigError> {
        let wrong =
            |field, given: &dyn fmt::Debug, expected| ConfigError { field, given: format!("{given:?}"), expected };
        if !(0.5..=1.0).contains(&config.cosine_min) {
            return Err(wrong("cosine_min", &config.cosine_min, "0.5 to 1"));
        }
        if config.ttl.is_zero() {
            return Err(wrong("ttl", &config.ttl, "more than 0"));
        }
        if config.tenant_bytes_max < 1_024 {
            return Err(wrong("tenant_bytes_max", &config.tenant_bytes_max, "at least 1024"));
        }
        if config.bytes_max < config.tenant_bytes_max {
            return Err(wrong("bytes_max", &config.bytes_max, "at least tenant_bytes_max"));
        }
        if !(1..=4_096).contains(&config.scope_entries_max) {
            return Err(wrong("scope_entries_max", &config.scope_entries_max, "1 to 4096"));
        }
        let state =
            State { entries: HashMap::new(), scopes: HashMap::new(), tenants: BTreeMap::new(), next: 0, bytes: 0 };
        Ok(SemanticCache { config, embedder, clock, state: Mutex::new(state) })
    }

    /// Embeds `question`.
    ///
    /// # Errors
    /// [`ModelError`]: the embedder's, or it gave no vector that can be compared.
    pub async fn ask(&self, ctx: &Ctx, question: &str) -> Result<Asked, ModelError> {
        let texts = [question.trim().to_owned()];
        let vectors = self.embedder.embed(ctx, Purpose::Query, &texts).await?;
        let vector = vectors.into_iter().next().filter(|vector| vector.len() == self.embedder.dimension());
        let unit = vector.and_then(unit).ok_or_else(|| ModelError::Failed {
            model: self.embedder.model().as_str().to_owned(),
            detail: "the question's vector has no direction or another dimension".to_owned(),
        })?;
        let [question] = texts;
        Ok(Asked { question: question.into(), vector: unit.into() })
    }

    /// The answer kept in `scope` for a question that means the same as `asked`.
    pub fn find(&self, scope: Scope, asked: &Asked) -> Found<V> {
        let now = self.clock.monotonic();
        let mut state = self.lock();
        state.expire(scope, now, self.config.ttl);
        let ordinals = state.scopes.get(&scope).map(Vec::as_slice).unwrap_or_default();
        let mut near: Vec<(f32, Ordinal)> = Vec::new();
        let mut nearest: Option<f32> = None;
        for ordinal in ordinals {
            let entry = &state.entries[ordinal];
            let cosine = dot(&asked.vector, &entry.asked.vector);
            nearest = Some(nearest.map_or(cosine, |best| best.max(cosine)));
            if cosine >= self.config.cosine_min {
                near.push((cosine, *ordinal));
            }
        }
        // The nearest first, of equals the latest.
        near.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)));
        let mut refused = None;
        for (cosine, ordinal) in near {
            let entry = &state.entries[&ordinal];
            match same_question(&asked.question, &entry.asked.question) {
                Ok(()) => {
                    return Found::Hit { value: entry.value.clone(), cosine, age: now.saturating_sub(entry.kept) };
                }
                Err(difference) => refused = refused.or(Some(difference)),
            }
        }
        Found::Miss { nearest, refused }
    }

    /// Keeps `value`, which takes `value_bytes`, as the answer to `asked` in `scope`; the same question's earlier answer goes.
    /// What alone is larger than a tenant may have is not kept.
    pub fn keep(&self, scope: Scope, asked: &Asked, value: V, value_bytes: usize) {
        let bytes = value_bytes + asked.question.len() + size_of_val(&*asked.vector) + size_of::<Entry<V>>() + 64;
        if bytes > self.config.tenant_bytes_max {
            return;
        }
        let now = self.clock.monotonic();
        let mut state = self.lock();
        state.expire(scope, now, self.config.ttl);
        let same = state.scopes.get(&scope).into_iter().flatten().copied();
        let same: Vec<Ordinal> = same.filter(|at| state.entries[at].asked.question == asked.question).collect();
        same.into_iter().for_each(|ordinal| state.remove(ordinal));
        while state.scopes.get(&scope).is_some_and(|entries| entries.len() >= self.config.scope_entries_max) {
            let oldest = state.scopes[&scope][0];
            state.remove(oldest);
        }
        while let Some(tenant) = state.tenants.get(&scope.tenant)
            && tenant.bytes + bytes > self.config.tenant_bytes_max
        {
            state.remove_oldest_of(scope.tenant);
        }
        while state.bytes + bytes > self.config.bytes_max {
            let Some(most) = state.tenants.iter().max_by_key(|(_, tenant)| tenant.bytes).map(|(key, _)| *key) else {
                break;
            };
            state.remove_oldest_of(most);
        }
        let ordinal = state.next;
        state.next += 1;
        state.bytes += bytes;
        state.scopes.entry(scope).or_default().push(ordinal);
        let tenant = state.tenants.entry(scope.tenant).or_default();
        tenant.bytes += bytes;
        tenant.ordinals.insert(ordinal);
        state.entries.insert(ordinal, Entry { scope, asked: asked.clone(), value, bytes, kept: now });
    }

    /// Forgets all of a tenant's entries: after an erasure, or when it is deleted.
    pub fn forget(&self, tenant: TenantKey) {
        let mut state = self.lock();
        while state.tenants.contains_key(&tenant) {
            state.remove_oldest_of(tenant);
        }
    }

    /// What the entries take, in bytes.
    pub fn bytes(&self) -> usize {
        self.lock().bytes
    }

    /// How many entries there are, also of those past their time.
    pub fn entries(&self) -> usize {
        self.lock().entries.len()
    }

    fn lock(&self) -> MutexGuard<'_, State<V>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V> State<V> {
    /// Removes what is past its time in `scope`.
    fn expire(&mut self, scope: Scope, now: Duration, ttl: Duration) {
        while let Some(oldest) = self.scopes.get(&scope).and_then(|entries| entries.first()).copied()
            && now.saturating_sub(self.entries[&oldest].kept) >= ttl
        {
            self.remove(oldest);
        }
    }

    fn remove_oldest_of(&mut self, tenant: TenantKey) {
        if let Some(oldest) = self.tenants.get(&tenant).and_then(|tenant| tenant.ordinals.first()).copied() {
            self.remove(oldest);
        }
    }

    fn remove(&mut self, ordinal: Ordinal) {
        let Some(entry) = self.entries.remove(&ordinal) else { return };
        self.bytes -= entry.bytes;
        if let Some(entries) = self.scopes.get_mut(&entry.scope) {
            entries.retain(|other| *other != ordinal);
            if entries.is_empty() {
                self.scopes.remove(&entry.scope);
            }
        }
        if let Some(tenant) = self.tenants.get_mut(&entry.scope.tenant) {
            tenant.bytes -= entry.bytes;
            tenant.ordinals.remove(&ordinal);
            if tenant.ordinals.is_empty() {
                self.tenants.remove(&entry.scope.tenant);
            }
        }
    }
}

/// `vector` with length 1; `None` if it has no direction.
fn unit(mut vector: Vec<f32>) -> Option<Vec<f32>> {
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    if !length.is_finite() || length == 0.0 {
        return None;
    }
    vector.iter_mut().for_each(|x| *x /= length);
    Some(vector)
}

/// Eight sums side by side, which the compiler makes one instruction of; a scope has few enough entries for no more than that.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0f32; 8];
    let (a_lanes, b_lanes) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f32 = a_lanes.remainder().iter().zip(b_lanes.remainder()).map(|(x, y)| x * y).sum();
    for (a, b) in a_lanes.zip(b_lanes) {
        for lane in 0..8 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    (sums.iter().sum::<f32>() + rest).clamp(-1.0, 1.0)
}

#[cfg(test)]
mod tests;
