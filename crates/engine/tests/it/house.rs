//! An engine on the memory disk, with embedders that need no weights.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::time::Duration;

use futures::executor::block_on;
use ibid_core::{
    BoxFuture, CollectionName, CollectionSettings, DocumentId, Embed, Language, MediaType, ModelError, ModelId,
    Operator, Purpose, Readers, TenantId, TenantName, Tokenize, Trust,
};
use ibid_engine::{Config, EmbedModel, Engine, EngineError, Models, Partition, Parts, Put, PutAck, Stage, Views};
use ibid_runtime::{Ctx, ManualClock, MemoryDisk, Pool, Priority, SeededRandom};

/// How an embedder answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Mood {
    Works,
    /// Each call fails for good.
    Fails,
    /// Nothing comes, and may come later.
    Waits,
    /// Every text gets the same vector.
    Dull,
}

/// An embedder without weights: each word is a direction, a text the sum of its words. Counts what it embeds.
#[derive(Debug)]
pub(crate) struct Words {
    pub(crate) id: ModelId,
    revision: String,
    dimension: usize,
    embedded: AtomicUsize,
    mood: AtomicU8,
}

impl Words {
    /// Models of another name or revision have other directions.
    pub(crate) fn new(id: &str, revision: &str, dimension: usize) -> Arc<Words> {
        Arc::new(Words {
            id: ModelId::new(id).unwrap(),
            revision: revision.to_owned(),
            dimension,
            embedded: AtomicUsize::new(0),
            mood: AtomicU8::new(Mood::Works as u8),
        })
    }

    pub(crate) fn behave(&self, mood: Mood) {
        self.mood.store(mood as u8, Ordering::Relaxed);
    }

    fn is(&self, mood: Mood) -> bool {
        self.mood.load(Ordering::Relaxed) == mood as u8
    }

    pub(crate) fn embedded(&self) -> usize {
        self.embedded.load(Ordering::Relaxed)
    }

    /// The vector of a text.
    pub(crate) fn vector(&self, text: &str) -> Vec<f32> {
        let mut vector = vec![1e-3; self.dimension];
        for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
            let hash = blake3::hash(format!("{} {} {}", self.id, self.revision, word.to_lowercase()).as_bytes());
            let number = u16::from_le_bytes([hash.as_bytes()[0], hash.as_bytes()[1]]);
            vector[usize::from(number) % self.dimension] += 1.0;
        }
        let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
        vector.iter().map(|x| x / length).collect()
    }
}

impl Embed for Words {
    fn model(&self) -> &ModelId {
        &self.id
    }
    fn revision(&self) -> &str {
        &self.revision
    }
    fn dimension(&self) -> usize {
        self.dimension
    }
    fn embed<'a>(
        &'a self,
        ctx: &'a Ctx,
        _purpose: Purpose,
        texts: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<Vec<f32>>, ModelError>> {
        Box::pin(async move {
            ctx.check()?;
            let (model, detail) = (self.id.to_string(), "asked to".to_owned());
            if self.is(Mood::Fails) {
                return Err(ModelError::Failed { model, detail });
            }
            if self.is(Mood::Waits) {
                return Err(ModelError::Unavailable { model, detail });
            }
            self.embedded.fetch_add(texts.len(), Ordering::Relaxed);
            let text = |text: &'a String| if self.is(Mood::Dull) { "" } else { text };
            Ok(texts.iter().map(|one| self.vector(text(one))).collect())
        })
    }
}

impl Tokenize for Words {
    fn token_starts(&self, text: &str, out: &mut Vec<u32>) {
        let mut inside = false;
        for (byte, found) in text.char_indices() {
            let word = found.is_alphanumeric();
            if word && !inside {
                out.push(u32::try_from(byte).unwrap());
            }
            inside = word;
        }
    }
}

pub(crate) struct House {
    pub(crate) disk: MemoryDisk,
    pub(crate) clock: Arc<ManualClock>,
    /// The first one is what new collections get.
    pub(crate) models: Vec<Arc<Words>>,
    pub(crate) engine: Engine,
}

pub(crate) fn ctx(clock: &Arc<ManualClock>) -> Ctx {
    Ctx::new(clock.clone(), Priority::Query, None)
}

impl House {
    pub(crate) fn new() -> House {
        House::with(vec![Words::new("words", "1", 64)])
    }

    pub(crate) fn with(models: Vec<Arc<Words>>) -> House {
        House::on(MemoryDisk::new(), models)
    }

    fn on(disk: MemoryDisk, models: Vec<Arc<Words>>) -> House {
        let clock = Arc::new(ManualClock::at(1_000));
        let by_id = models.iter().map(|model| (model.id.clone(), Arc::clone(model) as Arc<dyn EmbedModel>));
        let loaded = Models { default: models[0].id.clone(), by_id: by_id.collect() };
        let parts = Parts {
            disk: Arc::new(disk.clone()),
            clock: clock.clone(),
            random: Arc::new(SeededRandom::new(1)),
            pool: Pool::new(2, 64).unwrap(),
            models: loaded,
            views: Views::Memory,
        };
        let config = Config {
            folder: PathBuf::from("data"),
            document_bytes_max: 1 << 20,
            pending_documents_max: 1_000,
            graph_from: 1_000,
            index_open_timeout: Duration::from_secs(5),
            log_segment_bytes: 1 << 20,
            queue_bytes_max: 1 << 24,
            erase_within: Duration::from_secs(3_600),
        };
        let (engine, _) = Engine::open(config, parts).unwrap();
        House { disk, clock, models, engine }
    }

    /// The power fails; everything in memory is gone.
    pub(crate) fn power_cut(self) -> House {
        let models = self.models.clone();
        self.power_cut_and(models)
    }

    /// The power fails, and the next start has other models.
    pub(crate) fn power_cut_and(self, models: Vec<Arc<Words>>) -> House {
        let House { disk, engine, .. } = self;
        disk.power_cut();
        drop(engine);
        House::on(disk, models)
    }

    pub(crate) fn tenant(&self, tenant: &str) -> TenantId {
        let (operator, tenant) = (Operator::of_this_process(), TenantName::new(tenant).unwrap());
        match block_on(self.engine.create_tenant(&operator, tenant.clone())) {
            Ok(_) | Err(EngineError::Exists { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        self.engine.enter(&operator, &tenant).unwrap()
    }

    /// The tenant's collection `docs`.
    pub(crate) fn partition(&self, tenant: &str) -> Partition {
        let (right, ctx) = (self.tenant(tenant), ctx(&self.clock));
        block_on(async {
            match self.engine.create_collection(&ctx, &right, docs(), settings(&self.models[0].id)).await {
                Ok(_) | Err(EngineError::Exists { .. }) => {}
                Err(error) => panic!("{error}"),
            }
            self.engine.partition(&ctx, &right, &docs()).await.unwrap()
        })
    }

    pub(crate) fn put(
        &self,
        partition: &Partition,
        id: &str,
        text: &str,
        wait_for: Stage,
    ) -> Result<PutAck, EngineError> {
        block_on(partition.put(&ctx(&self.clock), document(id, text, wait_for)))
    }

    /// The documents that each arm finds, in the order of their ids.
    pub(crate) fn found(&self, partition: &Partition, word: &str) -> (Vec<String>, Vec<String>) {
        let (ctx, snapshot) = (ctx(&self.clock), partition.snapshot(None));
        let vector = block_on(snapshot.model().embed(&ctx, Purpose::Query, &[word.to_owned()])).unwrap().remove(0);
        let ids = |candidates: Vec<ibid_engine::Candidate>| {
            let texts = candidates.iter().map(|one| snapshot.find(one.label).unwrap());
            let mut ids: Vec<String> =
                texts.filter(|found| found.text.contains(word)).map(|found| found.document.to_string()).collect();
            ids.sort();
            ids.dedup();
            ids
        };
        (ids(snapshot.by_words(&ctx, word, 50).unwrap()), ids(snapshot.by_meaning(&ctx, &vector, 50).unwrap()))
    }

    #[track_caller]
    pub(crate) fn check(&self, partition: &Partition, word: &str, expected: &[&str]) {
        let (words, meaning) = self.found(partition, word);
        assert_eq!(words, expected, "by words");
        assert_eq!(meaning, expected, "by meaning");
    }
}

/// The one collection's name.
pub(crate) fn docs() -> CollectionName {
    CollectionName::new("docs").unwrap()
}

fn settings(model: &ModelId) -> CollectionSettings {
    CollectionSettings {
        embedder: model.clone(),
        language: Language::English,
        stemming: true,
        stop_words: false,
        chunk_tokens: 32,
        metadata_schema: std::collections::BTreeMap::new(),
        trust: Trust::Trusted,
    }
}

pub(crate) fn document(id: &str, text: &str, wait_for: Stage) -> Put {
    Put {
        id: DocumentId::new(id).unwrap(),
        media_type: MediaType::Markdown,
        title: String::new(),
        source_uri: String::new(),
        metadata: ibid_core::Metadata::new(),
        readers: Readers::default(),
        text: text.to_owned(),
        chunks: Vec::new(),
        idempotency_key: None,
        wait_for,
    }
}
