//! An engine on the memory disk.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::executor::block_on;
use ibid_core::{
    CollectionName, CollectionSettings, DocumentId, Language, MediaType, ModelId, Operator, Purpose, Readers, TenantId,
    TenantName, Trust,
};
use ibid_engine::{Config, EmbedModel, Engine, EngineError, Models, Partition, Parts, Put, PutAck, Stage, Views};
use ibid_runtime::{Ctx, ManualClock, MemoryDisk, Pool, Priority, SeededRandom};

use crate::words::Words;

/// Chunks that a view of a past generation may have.
pub(crate) const PAST_CHUNKS_MAX: usize = 20;

pub(crate) struct House {
    pub(crate) disk: MemoryDisk,
    /// How long versions are kept.
    retain: Duration,
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
        House::on(MemoryDisk::new(), models, Arc::new(ManualClock::at(1_000)), Duration::ZERO)
    }

    /// One that keeps versions for so long after others have taken their place.
    pub(crate) fn that_retains(retain: Duration) -> House {
        let clock = Arc::new(ManualClock::at(1_000_000));
        House::on(MemoryDisk::new(), vec![Words::new("words", "1", 64)], clock, retain)
    }

    fn on(disk: MemoryDisk, models: Vec<Arc<Words>>, clock: Arc<ManualClock>, retain: Duration) -> House {
        let by_id = models.iter().map(|model| (model.id.clone(), Arc::clone(model) as Arc<dyn EmbedModel>));
        let loaded = Models { default: models[0].id.clone(), by_id: by_id.collect() };
        let parts = Parts {
            disk: Arc::new(disk.clone()),
            clock: clock.clone(),
            random: Arc::new(SeededRandom::new(1)),
            pool: Pool::new(2, 64).unwrap(),
            models: loaded,
            views: Views::Memory,
            snapshots: None,
        };
        let config = Config {
            folder: PathBuf::from("data"),
            document_bytes_max: 1 << 20,
            pending_documents_max: 1_000,
            graph_from: 1_000,
            index_open_timeout: Duration::from_secs(5),
            log_segment_bytes: 1 << 20,
            log_room_bytes: 10_000,
            queue_bytes_max: 1 << 24,
            erase_within: Duration::from_secs(3_600),
            retain,
            past_chunks_max: PAST_CHUNKS_MAX,
            // Nobody moves this clock: what failed is tried again at once.
            retry_pause: Duration::ZERO,
            master_key: None,
        };
        let (engine, _) = Engine::open(config, parts).unwrap();
        House { disk, retain, clock, models, engine }
    }

    /// The power fails; everything in memory is gone.
    pub(crate) fn power_cut(self) -> House {
        let models = self.models.clone();
        self.power_cut_and(models)
    }

    /// The power fails, and the next start has other models.
    pub(crate) fn power_cut_and(self, models: Vec<Arc<Words>>) -> House {
        let House { disk, retain, clock, engine, .. } = self;
        disk.power_cut();
        drop(engine);
        // Time that versions are kept for goes on.
        let clock = if retain.is_zero() { Arc::new(ManualClock::at(1_000)) } else { clock };
        House::on(disk, models, clock, retain)
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
        (ids(snapshot.by_words(&ctx, word, 50).unwrap()), ids(snapshot.by_meaning(&ctx, &vector, 50, 0.0).unwrap()))
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

pub(crate) fn settings(model: &ModelId) -> CollectionSettings {
    CollectionSettings {
        embedder: model.clone(),
        language: Language::English,
        stemming: true,
        stop_words: false,
        chunk_tokens: 32,
        chunk_overlap_tokens: 0,
        chunk_context: true,
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
        content: text.into(),
        chunks: Vec::new(),
        idempotency_key: None,
        wait_for,
    }
}
