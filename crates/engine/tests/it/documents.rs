//! A document's life: what is acknowledged is found by both arms, also after a power cut; what is replaced or deleted is not.

use std::path::Path;

use futures::executor::block_on;
use ibid_core::{CollectionName, DocumentId, Identity, Operator, Reader, Readers, Scope, Scopes, TenantName};
use ibid_engine::{EngineError, KeyRequest, Put, ReadyChunk, Stage};
use ibid_runtime::{Disk, Fault};

use crate::house::{House, ctx, document};
use crate::words::Mood;

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
    let before = house.models[0].embedded();
    let ack = house.put(&docs, "a", &text("changed"), Stage::Vector).unwrap();
    let embedded = house.models[0].embedded() - before;
    assert_eq!(embedded, ack.chunks_new as usize);
    assert!(ack.chunks_reused >= 2 && ack.chunks_new >= 1, "{ack:?}");
    house.check(&docs, "changed", &["a"]);
}

#[test]
fn a_replaced_document_is_served_until_the_new_one_is_complete() {
    let house = House::new();
    let docs = house.partition("acme");
    house.put(&docs, "a", "Apples are red.", Stage::Vector).unwrap();
    house.models[0].behave(Mood::Fails);
    let ack = house.put(&docs, "a", "Apples are blue.", Stage::Vector).unwrap();
    assert!(ack.warnings[0].contains("embedding failed"), "{ack:?}");
    house.models[0].behave(Mood::Works);
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
fn given_vectors_are_stored_once_and_serve_after_a_power_cut() {
    let house = House::new();
    let partition = house.partition("acme");
    let text = "Apples are red.";
    let vector = house.models[0].vector(text);
    let stored: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
    let chunks = vec![ReadyChunk { bytes: 0..text.len(), vector: Some(vector) }];
    let put = Put { chunks, ..document("a", text, Stage::Vector) };
    block_on(partition.put(&ctx(&house.clock), put)).unwrap();
    assert_eq!(house.models[0].embedded(), 0);
    drop(partition);
    let house = house.power_cut();
    house.check(&house.partition("acme"), "Apples", &["a"]);
    let log = Path::new("data/log");
    let files = house.disk.list(log).unwrap().into_iter().map(|name| house.disk.read(&log.join(name)).unwrap());
    let times = files.map(|bytes| bytes.windows(stored.len()).filter(|piece| *piece == stored).count());
    assert_eq!(times.sum::<usize>(), 1);
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

    house.models[0].behave(Mood::Fails);
    let readers = Readers::of(["board".to_owned()]);
    let hidden = Put { readers, ..document("a", "Apples are blue.", Stage::Durable) };
    block_on(all.put(&ctx(&house.clock), hidden)).unwrap();
    house.models[0].behave(Mood::Works);
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

#[test]
fn equal_chunks_are_embedded_once_where_their_readers_are_no_others() {
    let house = House::new();
    let docs = house.partition("acme");
    let embedded = |put: Put| {
        let before = house.models[0].embedded();
        block_on(docs.put(&ctx(&house.clock), put)).unwrap();
        house.models[0].embedded() - before
    };
    let open = |id: &str| document(id, "Apples are red.", Stage::Vector);
    let desk = |id: &str| Put { readers: Readers::of(["desk".to_owned()]), ..open(id) };
    assert_eq!(embedded(desk("a")), 1);
    assert_eq!(embedded(open("b")), 1, "how long it takes would tell everybody what the desk has");
    assert_eq!((embedded(open("c")), embedded(desk("d"))), (0, 0));
    house.check(&docs, "red", &["a", "b", "c", "d"]);

    let house = house.power_cut();
    let docs = house.partition("acme");
    house.put(&docs, "e", "Apples are red.", Stage::Vector).unwrap();
    for id in ["a", "b", "c", "d", "e"] {
        block_on(docs.delete(&ctx(&house.clock), &DocumentId::new(id).unwrap())).unwrap();
    }
    let before = house.models[0].embedded();
    house.put(&docs, "f", "Apples are red.", Stage::Vector).unwrap();
    assert_eq!(house.models[0].embedded() - before, 1, "a deleted document leaves no vector behind");
}
