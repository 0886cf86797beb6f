//! The engine from outside, on the memory disk: what is acknowledged is found by both arms, also after a power cut; what is
//! replaced or deleted is not.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures::executor::block_on;
use ibid_core::{
    BoxFuture, CollectionName, CollectionSettings, DocumentId, Embed, Identity, Language, MediaType, ModelError,
    ModelId, Operator, Purpose, Reader, Readers, Scope, Scopes, TenantName, Tokenize, Trust,
};
use ibid_engine::{Config, Engine, EngineError, KeyRequest, Models, Partition, Parts, Put, PutAck, Stage, Views};
use ibid_runtime::{Ctx, Fault, ManualClock, MemoryDisk, Pool, Priority, SeededRandom};

/// An embedder without weights: each word is a direction, a text the sum of its words. Counts what it embeds.
#[derive(Debug)]
struct Words {
    id: ModelId,
    embedded: AtomicUsize,
    failing: AtomicBool,
}

const DIMENSION: usize = 64;

impl Embed for Words {
    fn model(&self) -> &ModelId {
        &self.id
    }
    fn revision(&self) -> &str {
        "1"
    }
    fn dimension(&self) -> usize {
        DIMENSION
    }
    fn embed<'a>(
        &'a self,
        ctx: &'a Ctx,
        _purpose: Purpose,
        texts: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<Vec<f32>>, ModelError>> {
        Box::pin(async move {
            ctx.check()?;
            if self.failing.load(Ordering::Relaxed) {
                return Err(ModelError::Failed { model: self.id.to_string(), detail: "asked to fail".to_owned() });
            }
            self.embedded.fetch_add(texts.len(), Ordering::Relaxed);
            let direction = |text: &String| {
                let mut vector = vec![1e-3; DIMENSION];
                for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
                    let hash = blake3::hash(word.to_lowercase().as_bytes());
                    vector[usize::from(hash.as_bytes()[0]) % DIMENSION] += 1.0;
                }
                let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
                vector.iter().map(|x| x / length).collect()
            };
            Ok(texts.iter().map(direction).collect())
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

struct House {
    disk: MemoryDisk,
    clock: Arc<ManualClock>,
    model: Arc<Words>,
    engine: Engine,
}

fn ctx(clock: &Arc<ManualClock>) -> Ctx {
    Ctx::new(clock.clone(), Priority::Query, None)
}

impl House {
    fn new() -> House {
        let model = Words {
            id: ModelId::new("words").unwrap(),
            embedded: AtomicUsize::new(0),
            failing: AtomicBool::new(false),
        };
        House::on(MemoryDisk::new(), Arc::new(model))
    }

    fn on(disk: MemoryDisk, model: Arc<Words>) -> House {
        let clock = Arc::new(ManualClock::at(1_000));
        let parts = Parts {
            disk: Arc::new(disk.clone()),
            clock: clock.clone(),
            random: Arc::new(SeededRandom::new(1)),
            pool: Pool::new(2, 64).unwrap(),
            models: Models::only(model.clone()),
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
        };
        let (engine, _) = Engine::open(config, parts).unwrap();
        House { disk, clock, model, engine }
    }

    /// The power fails; everything in memory is gone.
    fn power_cut(self) -> House {
        let House { disk, model, engine, .. } = self;
        disk.power_cut();
        drop(engine);
        House::on(disk, model)
    }

    fn partition(&self, tenant: &str) -> Partition {
        let operator = Operator::of_this_process();
        let (tenant, collection) = (TenantName::new(tenant).unwrap(), CollectionName::new("docs").unwrap());
        let ctx = ctx(&self.clock);
        block_on(async {
            match self.engine.create_tenant(&operator, tenant.clone()).await {
                Ok(_) | Err(EngineError::Exists { .. }) => {}
                Err(error) => panic!("{error}"),
            }
            let right = self.engine.enter(&operator, &tenant).unwrap();
            match self.engine.create_collection(&ctx, &right, collection.clone(), settings(&self.model.id)).await {
                Ok(_) | Err(EngineError::Exists { .. }) => {}
                Err(error) => panic!("{error}"),
            }
            self.engine.partition(&ctx, &right, &collection).await.unwrap()
        })
    }

    fn put(&self, partition: &Partition, id: &str, text: &str, wait_for: Stage) -> Result<PutAck, EngineError> {
        block_on(partition.put(&ctx(&self.clock), document(id, text, wait_for)))
    }

    /// The documents that each arm finds, in the order of their ids.
    fn found(&self, partition: &Partition, word: &str) -> (Vec<String>, Vec<String>) {
        let (ctx, snapshot) = (ctx(&self.clock), partition.snapshot(None));
        let vector = block_on(self.model.embed(&ctx, Purpose::Query, &[word.to_owned()])).unwrap().remove(0);
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
    fn check(&self, partition: &Partition, word: &str, expected: &[&str]) {
        let (words, meaning) = self.found(partition, word);
        assert_eq!(words, expected, "by words");
        assert_eq!(meaning, expected, "by meaning");
    }
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

fn document(id: &str, text: &str, wait_for: Stage) -> Put {
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

#[test]
fn what_is_put_is_found_replaced_and_deleted() {
    let house = House::new();
    let docs = house.partition("acme");
    let first =
        house.put(&docs, "a", "# Apples\n\nApples are red.\n\n# Pears\n\nPears are green.\n", Stage::Vector).unwrap();
    assert_eq!((first.revision.0, first.stage, first.unchanged), (1, Stage::Vector, false));
    house.check(&docs, "red", &["a"]);

    let again =
        house.put(&docs, "a", "# Apples\n\nApples are red.\n\n# Pears\n\nPears are green.\n", Stage::Vector).unwrap();
    assert_eq!((again.revision.0, again.unchanged), (1, true));

    house.put(&docs, "a", "# Apples\n\nApples are blue.\n\n# Pears\n\nPears are green.\n", Stage::Vector).unwrap();
    house.check(&docs, "red", &[]);
    house.check(&docs, "blue", &["a"]);

    block_on(docs.delete(&ctx(&house.clock), &DocumentId::new("a").unwrap())).unwrap();
    house.check(&docs, "blue", &[]);
    let back = house.put(&docs, "a", "Apples are red.", Stage::Vector).unwrap();
    assert_eq!(back.revision.0, 4, "a revision is never given out twice, a delete has one too");
    house.check(&docs, "red", &["a"]);
}

#[test]
fn an_edit_embeds_what_changed_and_nothing_else() {
    let house = House::new();
    let docs = house.partition("acme");
    let section = |n: usize, word: &str| {
        format!("# Part {n}\n\n{}\n\n", format!("{word} {n} and more words of its own here. ").repeat(4))
    };
    let text = |edited: &str| {
        format!("---\ntitle: Parts\n---\n\n{}{}{}", section(1, "one"), section(2, edited), section(3, "three"))
    };
    house.put(&docs, "a", &text("two"), Stage::Vector).unwrap();
    let before = house.model.embedded.load(Ordering::Relaxed);
    let ack = house.put(&docs, "a", &text("changed"), Stage::Vector).unwrap();
    let embedded = house.model.embedded.load(Ordering::Relaxed) - before;
    assert_eq!(embedded, ack.chunks_new as usize);
    assert!(ack.chunks_reused >= 2 && ack.chunks_new >= 1, "{ack:?}");
    house.check(&docs, "changed", &["a"]);
}

#[test]
fn a_replaced_document_is_served_until_the_new_one_is_complete() {
    let house = House::new();
    let docs = house.partition("acme");
    house.put(&docs, "a", "Apples are red.", Stage::Vector).unwrap();
    house.model.failing.store(true, Ordering::Relaxed);
    let ack = house.put(&docs, "a", "Apples are blue.", Stage::Vector).unwrap();
    assert!(ack.warnings[0].contains("embedding failed"), "{ack:?}");
    house.model.failing.store(false, Ordering::Relaxed);
    house.check(&docs, "red", &["a"]);

    // The next start tries again.
    let house = house.power_cut();
    let docs = house.partition("acme");
    let ack = house.put(&docs, "a", "Apples are blue.", Stage::Vector).unwrap();
    assert!(ack.unchanged);
    house.check(&docs, "red", &[]);
    house.check(&docs, "blue", &["a"]);
}

#[test]
fn what_was_acknowledged_survives_a_power_cut_and_is_found_by_both_arms() {
    let mut house = House::new();
    for round in 0..3 {
        let docs = house.partition("acme");
        for n in 0..10 {
            house.put(&docs, &format!("{round}-{n}"), &format!("Word{round} number {n}."), Stage::Durable).unwrap();
        }
        block_on(docs.delete(&ctx(&house.clock), &DocumentId::new(&format!("{round}-9")).unwrap())).unwrap();
        house = house.power_cut();
        let docs = house.partition("acme");
        let expected: Vec<String> = (0..9).map(|n| format!("{round}-{n}")).collect();
        for id in &expected {
            let (info, _) = docs.document(&DocumentId::new(id).unwrap(), None).unwrap();
            let n = id.split('-').nth(1).unwrap();
            house.put(&docs, id, &format!("Word{round} number {n}."), Stage::Vector).unwrap();
            assert_eq!(info.revision.0, 1);
        }
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        house.check(&docs, &format!("Word{round}"), &expected);
    }
}

#[test]
fn a_recreated_tenant_has_nothing_of_the_old_one() {
    let house = House::new();
    let old = house.partition("acme");
    house.put(&old, "a", "Apples are red.", Stage::Vector).unwrap();
    let operator = Operator::of_this_process();
    block_on(house.engine.delete_tenant(&operator, &TenantName::new("acme").unwrap())).unwrap();
    let refused = house.put(&old, "b", "Pears.", Stage::Durable).unwrap_err();
    assert!(matches!(refused, EngineError::NotFound { .. }));
    let new = house.partition("acme");
    house.check(&new, "red", &[]);
    let ack = house.put(&new, "a", "Apples are green.", Stage::Vector).unwrap();
    assert_eq!((ack.revision.0, ack.generation.0), (1, 1));
    let house = house.power_cut();
    let new = house.partition("acme");
    house.check(&new, "red", &[]);
}

#[test]
fn after_a_failed_sync_nothing_is_acknowledged_until_the_folder_is_opened_again() {
    let house = House::new();
    let docs = house.partition("acme");
    house.put(&docs, "a", "Apples are red.", Stage::Vector).unwrap();
    house.disk.inject(Fault::SyncFails(0));
    assert!(matches!(house.put(&docs, "b", "Pears.", Stage::Durable), Err(EngineError::ReadOnly)));
    assert!(matches!(house.put(&docs, "c", "Plums.", Stage::Durable), Err(EngineError::ReadOnly)));
    house.check(&docs, "red", &["a"]);
    let house = house.power_cut();
    let docs = house.partition("acme");
    house.put(&docs, "c", "Plums are blue.", Stage::Vector).unwrap();
    house.check(&docs, "blue", &["c"]);
}

#[test]
fn a_document_without_chunks_takes_nothing_away() {
    let house = House::new();
    let docs = house.partition("acme");
    let ack = house.put(&docs, "empty", "---\n", Stage::Vector).unwrap();
    assert_eq!(ack.warnings, ["the document has no text to search"]);
    house.put(&docs, "a", "Apples are red.", Stage::Vector).unwrap();
    block_on(docs.delete(&ctx(&house.clock), &DocumentId::new("empty").unwrap())).unwrap();
    house.put(&docs, "b", "Pears are green.", Stage::Vector).unwrap();
    house.check(&docs, "red", &["a"]);

    house.put(&docs, "a", "---\n", Stage::Vector).unwrap();
    house.check(&docs, "red", &[]);
    house.put(&docs, "a", "Apples are blue.", Stage::Vector).unwrap();
    house.check(&docs, "blue", &["a"]);
    house.check(&docs, "green", &["b"]);
}

#[test]
fn a_right_that_is_withdrawn_is_gone_before_the_new_version_is_in_sight() {
    let house = House::new();
    let all = house.partition("acme");
    house.put(&all, "a", "Apples are red.", Stage::Vector).unwrap();
    let by = Identity::Operator(Operator::of_this_process());
    let request = KeyRequest {
        scopes: Scopes::from([Scope::Search]),
        reader: Reader::As(["desk".to_owned()].into()),
        label: String::new(),
        expires_ms: None,
    };
    let key = block_on(house.engine.create_key(&by, Some(&TenantName::new("acme").unwrap()), request)).unwrap().0;
    let Ok(Identity::Tenant(desk)) = house.engine.authenticate(&key.shown) else { panic!("expected a tenant") };
    let name = CollectionName::new("docs").unwrap();
    let desk = block_on(house.engine.partition(&ctx(&house.clock), &desk, &name)).unwrap();
    house.check(&desk, "red", &["a"]);

    house.model.failing.store(true, Ordering::Relaxed);
    let readers = Readers::of(["board".to_owned()]);
    let hidden = Put { readers, ..document("a", "Apples are blue.", Stage::Durable) };
    block_on(all.put(&ctx(&house.clock), hidden)).unwrap();
    house.model.failing.store(false, Ordering::Relaxed);
    house.check(&desk, "red", &[]);
    assert!(desk.document(&DocumentId::new("a").unwrap(), None).is_err());
}

#[test]
fn a_repeated_idempotency_key_gives_the_first_reply() {
    let house = House::new();
    let docs = house.partition("acme");
    let put = |text: &str| Put { idempotency_key: Some("k".to_owned()), ..document("a", text, Stage::Vector) };
    let first = block_on(docs.put(&ctx(&house.clock), put("Apples are red."))).unwrap();
    let second = block_on(docs.put(&ctx(&house.clock), put("Apples are blue."))).unwrap();
    assert_eq!((second.revision, second.generation, second.unchanged), (first.revision, first.generation, true));
    let other = Put { idempotency_key: Some("k".to_owned()), ..document("b", "Pears are green.", Stage::Vector) };
    assert!(!block_on(docs.put(&ctx(&house.clock), other)).unwrap().unchanged, "a key belongs to its document");
    house.check(&docs, "green", &["b"]);
    house.check(&docs, "red", &["a"]);
}
