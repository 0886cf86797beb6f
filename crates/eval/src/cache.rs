//! Models whose results are kept on disk: a second measurement on the same set costs seconds instead of hours.
//!
//! A result is kept under the BLAKE3 of the model's revision and of everything the model was given. Passages' vectors and
//! pairs' scores are kept; questions are embedded each time, so that their times are the model's.

use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ibid_core::{BoxFuture, Calibration, Embed, ModelError, ModelId, Pairs, Passage, Purpose, Rerank, Tokenize};
use ibid_runtime::{Ctx, Disk};

use crate::EvalError;
use crate::records::{Key, Records};

/// How often a cache could help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheCounts {
    /// Inputs answered without the model.
    pub hits: u64,
    /// Inputs given to the model.
    pub misses: u64,
}

/// An embedder that embeds no passage twice.
#[derive(Debug)]
pub struct CachedEmbed<M: ?Sized> {
    inner: Arc<M>,
    cache: Cache,
}

impl<M: Embed + ?Sized> CachedEmbed<M> {
    /// Wraps `inner` with the vectors kept in `folder`, which is made if need be.
    ///
    /// # Errors
    /// [`EvalError::Cache`].
    pub fn open(inner: Arc<M>, disk: &dyn Disk, folder: &Path) -> Result<CachedEmbed<M>, EvalError> {
        let cache = Cache::open(disk, folder, "embed", inner.revision(), inner.dimension())?;
        Ok(CachedEmbed { inner, cache })
    }

    /// Hits and misses since this was opened.
    pub fn counts(&self) -> CacheCounts {
        self.cache.counts()
    }

    async fn passages(&self, ctx: &Ctx, texts: &[String]) -> Result<Vec<Vec<f32>>, ModelError> {
        ctx.check()?;
        let keys: Vec<Key> = texts.iter().map(|text| key(self.revision(), &["passage", text])).collect();
        let missing = self.cache.missing(&keys);
        if !missing.is_empty() {
            let asked: Vec<String> = missing.iter().map(|input| texts[*input].clone()).collect();
            let vectors = self.inner.embed(ctx, Purpose::Passage, &asked).await?;
            let whole = vectors.iter().all(|vector| vector.len() == self.dimension());
            check_shape(self.model(), whole && vectors.len() == asked.len())?;
            self.cache.insert(missing.iter().zip(&vectors).map(|(input, vector)| (keys[*input], &vector[..])));
        }
        let records = self.cache.lock();
        Ok(keys.iter().map(|key| stored(&records, key).to_vec()).collect())
    }
}

impl<M: Embed + ?Sized> Embed for CachedEmbed<M> {
    fn model(&self) -> &ModelId {
        self.inner.model()
    }

    fn revision(&self) -> &str {
        self.inner.revision()
    }

    fn dimension(&self) -> usize {
        self.inner.dimension()
    }

    fn tokens_max(&self) -> usize {
        self.inner.tokens_max()
    }

    fn embed<'a>(
        &'a self,
        ctx: &'a Ctx,
        purpose: Purpose,
        texts: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<Vec<f32>>, ModelError>> {
        match purpose {
            Purpose::Query => self.inner.embed(ctx, purpose, texts),
            Purpose::Passage => Box::pin(self.passages(ctx, texts)),
        }
    }
}

impl<M: Tokenize + ?Sized> Tokenize for CachedEmbed<M> {
    fn token_starts(&self, text: &str, out: &mut Vec<u32>) {
        self.inner.token_starts(text, out);
    }
}

/// A cross-encoder that scores no pair twice.
#[derive(Debug)]
pub struct CachedRerank {
    inner: Arc<dyn Rerank>,
    cache: Cache,
}

impl CachedRerank {
    /// Wraps `inner` with the scores kept in `folder`, which is made if need be.
    ///
    /// # Errors
    /// [`EvalError::Cache`].
    pub fn open(inner: Arc<dyn Rerank>, disk: &dyn Disk, folder: &Path) -> Result<CachedRerank, EvalError> {
        let cache = Cache::open(disk, folder, "rerank", inner.revision(), 1)?;
        Ok(CachedRerank { inner, cache })
    }

    /// Hits and misses since this was opened.
    pub fn counts(&self) -> CacheCounts {
        self.cache.counts()
    }
}

impl Rerank for CachedRerank {
    fn model(&self) -> &ModelId {
        self.inner.model()
    }

    fn revision(&self) -> &str {
        self.inner.revision()
    }

    fn calibration(&self) -> Calibration {
        self.inner.calibration()
    }

    fn pairs<'a>(
        &'a self,
        ctx: &'a Ctx,
        question: &'a str,
        passages: &'a [Passage],
    ) -> BoxFuture<'a, Result<Box<dyn Pairs + 'a>, ModelError>> {
        let key_of = |passage: &Passage| key(self.revision(), &[question, &passage.context, &passage.text]);
        let keys = passages.iter().map(key_of).collect();
        let pairs = CachedPairs { of: self, ctx, question, passages, keys };
        Box::pin(async move { Ok(Box::new(pairs) as Box<dyn Pairs>) })
    }
}

/// A question's pairs; the model reads those that have no score when they are asked for.
#[derive(Debug)]
struct CachedPairs<'a> {
    of: &'a CachedRerank,
    ctx: &'a Ctx,
    question: &'a str,
    passages: &'a [Passage],
    keys: Vec<Key>,
}

impl Pairs for CachedPairs<'_> {
    /// What is kept takes no time, and says nothing of what the model would take.
    fn expected(&self, _: Range<usize>) -> Option<Duration> {
        None
    }

    fn score(&self, range: Range<usize>) -> BoxFuture<'_, Result<Vec<f32>, ModelError>> {
        Box::pin(async move {
            self.ctx.check()?;
            let CachedRerank { inner, cache } = self.of;
            let (keys, passages) = (&self.keys[range.clone()], &self.passages[range]);
            let missing = cache.missing(keys);
            if !missing.is_empty() {
                let asked: Vec<Passage> = missing.iter().map(|input| passages[*input].clone()).collect();
                let logits = inner.score(self.ctx, self.question, &asked).await?;
                check_shape(inner.model(), logits.len() == asked.len())?;
                let scored = missing.iter().zip(logits.chunks_exact(1));
                cache.insert(scored.map(|(input, logit)| (keys[*input], logit)));
            }
            let records = cache.lock();
            Ok(keys.iter().flat_map(|key| stored(&records, key)).copied().collect())
        })
    }
}

/// The parts go in with their lengths: moving a word from one to the next is another input.
fn key(revision: &str, parts: &[&str]) -> Key {
    let mut hasher = blake3::Hasher::new_derive_key("ibid 2026 evaluation cache v1");
    for part in std::iter::once(&revision).chain(parts) {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    *hasher.finalize().as_bytes()
}

fn stored<'a>(records: &'a Records, key: &Key) -> &'a [f32] {
    records.get(key).expect("every key was found or has just been inserted, and none is ever removed")
}

/// What has another shape must not be written: every later record would be read askew.
fn check_shape(model: &ModelId, fits: bool) -> Result<(), ModelError> {
    if fits {
        return Ok(());
    }
    let detail = "it gave another number of results, or vectors of another length, than it announces".to_owned();
    Err(ModelError::Failed { model: model.to_string(), detail })
}

#[derive(Debug)]
struct Cache {
    records: Mutex<Records>,
    hits: AtomicU64,
    misses: AtomicU64,
}

impl Cache {
    fn open(disk: &dyn Disk, folder: &Path, kind: &str, revision: &str, width: usize) -> Result<Cache, EvalError> {
        let file = format!("{kind}-{}.cache", &blake3::hash(revision.as_bytes()).to_hex()[..16]);
        let opened = disk.create_dir_all(folder).and_then(|()| Records::open(disk, &folder.join(&file), width));
        let records = opened.map_err(|source| EvalError::Cache { file, source })?;
        Ok(Cache { records: Mutex::new(records), hits: AtomicU64::new(0), misses: AtomicU64::new(0) })
    }

    fn lock(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counts(&self) -> CacheCounts {
        CacheCounts { hits: self.hits.load(Ordering::Relaxed), misses: self.misses.load(Ordering::Relaxed) }
    }

    /// Which of `keys` have no value, as places in `keys`, ascending; of equal ones the first. Counts them.
    fn missing(&self, keys: &[Key]) -> Vec<usize> {
        let mut unknown = HashSet::new();
        let records = self.lock();
        let missing: Vec<usize> = (0..keys.len())
            .filter(|input| records.get(&keys[*input]).is_none() && unknown.insert(keys[*input]))
            .collect();
        self.misses.fetch_add(missing.len() as u64, Ordering::Relaxed);
        self.hits.fetch_add((keys.len() - missing.len()) as u64, Ordering::Relaxed);
        missing
    }

    fn insert<'a>(&self, fresh: impl Iterator<Item = (Key, &'a [f32])>) {
        let kept = self.lock().insert(fresh);
        if let Err(error) = kept {
            // The results are right all the same; the next measurement will cost more.
            tracing::warn!(%error, "the cache cannot be written, results are kept in memory only");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::executor::block_on;
    use ibid_runtime::{Fault, MemoryDisk, Priority, SystemClock};

    /// A model that is cheap and exact: a text's length and number of words. It remembers what it was asked.
    #[derive(Debug)]
    struct Counting {
        model: ModelId,
        revision: &'static str,
        dimension: usize,
        asked: Mutex<Vec<String>>,
    }

    impl Counting {
        fn of(revision: &'static str) -> Arc<Counting> {
            let model = ModelId::new("counting").unwrap();
            Arc::new(Counting { model, revision, dimension: 2, asked: Mutex::default() })
        }

        fn asked(&self) -> Vec<String> {
            std::mem::take(&mut self.asked.lock().unwrap())
        }
    }

    fn vector(purpose: Purpose, text: &str) -> Vec<f32> {
        let sign = if purpose == Purpose::Query { -1.0 } else { 1.0 };
        vec![sign * text.len() as f32, text.split_whitespace().count() as f32]
    }

    impl Embed for Counting {
        fn model(&self) -> &ModelId {
            &self.model
        }
        fn revision(&self) -> &str {
            self.revision
        }
        fn dimension(&self) -> usize {
            self.dimension
        }
        fn embed<'a>(
            &'a self,
            _ctx: &'a Ctx,
            purpose: Purpose,
            texts: &'a [String],
        ) -> BoxFuture<'a, Result<Vec<Vec<f32>>, ModelError>> {
            self.asked.lock().unwrap().push(texts.join("|"));
            Box::pin(async move { Ok(texts.iter().map(|text| vector(purpose, text)).collect()) })
        }
    }

    impl Rerank for Counting {
        fn model(&self) -> &ModelId {
            &self.model
        }
        fn revision(&self) -> &str {
            self.revision
        }
        fn calibration(&self) -> Calibration {
            Calibration::default()
        }
        fn pairs<'a>(
            &'a self,
            _ctx: &'a Ctx,
            question: &'a str,
            passages: &'a [Passage],
        ) -> BoxFuture<'a, Result<Box<dyn Pairs + 'a>, ModelError>> {
            let texts: Vec<_> = passages.iter().map(|p| format!("{question}/{}/{}", p.context, p.text)).collect();
            self.asked.lock().unwrap().push(texts.join("|"));
            Box::pin(async move { Ok(Box::new(Lengths(passages)) as Box<dyn Pairs>) })
        }
    }

    #[derive(Debug)]
    struct Lengths<'a>(&'a [Passage]);

    impl Pairs for Lengths<'_> {
        fn expected(&self, _: Range<usize>) -> Option<Duration> {
            None
        }
        fn score(&self, range: Range<usize>) -> BoxFuture<'_, Result<Vec<f32>, ModelError>> {
            Box::pin(async move { Ok(self.0[range].iter().map(|passage| passage.text.len() as f32).collect()) })
        }
    }

    fn ctx() -> Ctx {
        Ctx::new(Arc::new(SystemClock::new()), Priority::Query, None)
    }

    fn embed(cached: &CachedEmbed<Counting>, purpose: Purpose, texts: &[&str]) -> Vec<Vec<f32>> {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        block_on(cached.embed(&ctx(), purpose, &texts)).unwrap()
    }

    fn open(model: &Arc<Counting>, disk: &MemoryDisk) -> CachedEmbed<Counting> {
        CachedEmbed::open(model.clone(), disk, Path::new("caches")).unwrap()
    }

    #[test]
    fn only_what_is_new_reaches_the_model_and_order_is_kept() {
        let (disk, model) = (MemoryDisk::new(), Counting::of("r1"));
        let cached = open(&model, &disk);
        embed(&cached, Purpose::Passage, &["one", "two words"]);
        model.asked();

        let texts = ["new", "two words", "also new", "new", "one"];
        let vectors = embed(&cached, Purpose::Passage, &texts);
        assert_eq!(vectors, texts.map(|text| vector(Purpose::Passage, text)));
        assert_eq!(model.asked(), ["new|also new"], "one call, in order, each once");
        assert_eq!(cached.counts(), CacheCounts { hits: 3, misses: 4 });

        let again = open(&model, &disk);
        assert_eq!(embed(&again, Purpose::Passage, &texts), vectors);
        assert_eq!(again.counts(), CacheCounts { hits: 5, misses: 0 });
        assert!(model.asked().is_empty(), "the file remembers");
    }

    #[test]
    fn a_question_is_always_asked_and_a_revision_has_its_own_vectors() {
        let (disk, model) = (MemoryDisk::new(), Counting::of("r1"));
        let cached = open(&model, &disk);
        assert_eq!(embed(&cached, Purpose::Passage, &["one"]), [vector(Purpose::Passage, "one")]);
        for _ in 0..2 {
            assert_eq!(embed(&cached, Purpose::Query, &["one"]), [vector(Purpose::Query, "one")]);
        }
        assert_eq!(model.asked(), ["one"; 3]);
        let other = Counting::of("r2");
        embed(&open(&other, &disk), Purpose::Passage, &["one"]);
        assert_eq!(other.asked(), ["one"]);
    }

    #[test]
    fn a_pair_is_scored_once_and_its_parts_do_not_run_together() {
        let (disk, model) = (MemoryDisk::new(), Counting::of("r1"));
        let cached = CachedRerank::open(model.clone(), &disk, Path::new("caches")).unwrap();
        let passage = |context: &str, text: &str| Passage { context: context.to_owned(), text: text.to_owned() };
        let passages = [passage("a", "bc"), passage("ab", "c"), passage("a", "bc")];
        assert_eq!(block_on(cached.score(&ctx(), "q", &passages)).unwrap(), [2.0, 1.0, 2.0]);
        assert_eq!(block_on(cached.score(&ctx(), "q", &passages[1..])).unwrap(), [1.0, 2.0]);
        block_on(cached.score(&ctx(), "r", &passages[..1])).unwrap();
        assert_eq!(model.asked(), ["q/a/bc|q/ab/c", "r/a/bc"]);
        assert_eq!(cached.counts(), CacheCounts { hits: 3, misses: 3 });
    }

    #[test]
    fn a_full_disk_costs_time_and_nothing_else() {
        let (disk, model) = (MemoryDisk::new(), Counting::of("r1"));
        let cached = open(&model, &disk);
        disk.inject(Fault::DiskFull(0));
        assert_eq!(embed(&cached, Purpose::Passage, &["one"]), [vector(Purpose::Passage, "one")]);
        embed(&cached, Purpose::Passage, &["one", "two"]);
        assert_eq!(model.asked(), ["one", "two"]);
        embed(&open(&model, &disk), Purpose::Passage, &["one", "two"]);
        assert_eq!(model.asked(), ["one"], "what was written later is there");
    }

    #[test]
    fn vectors_of_another_length_than_announced_are_refused() {
        let model = Arc::new(Counting { dimension: 3, ..Arc::into_inner(Counting::of("r1")).unwrap() });
        let cached = open(&model, &MemoryDisk::new());
        let result = block_on(cached.embed(&ctx(), Purpose::Passage, &["one".to_owned()]));
        assert!(matches!(result, Err(ModelError::Failed { .. })), "{result:?}");
    }
}
