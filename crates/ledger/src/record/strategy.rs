//! Random records over few documents, so that they meet.

use std::collections::{BTreeMap, BTreeSet};

use ibid_core::{BlockKind, CollectionKey, Language, Place, Reader, Scope, Scopes, Span, Trust, Value, ValueType};
use proptest::prelude::*;

use super::*;
use crate::{ModelVersion, SecondModel, SecondRole, Switching};

pub(crate) fn partition() -> impl Strategy<Value = PartitionKey> {
    (1..3u64, 1..3u64).prop_map(|(tenant, collection)| PartitionKey {
        tenant: TenantKey(tenant),
        collection: CollectionKey(collection),
    })
}

pub(crate) fn document() -> impl Strategy<Value = DocumentKey> {
    (1..3u8).prop_map(|number| DocumentKey([number; 16]))
}

/// A whole document, ready for [`Record::DocumentPut`].
pub(crate) fn stored(revision: u64, text: &str, idempotency: Option<[u8; 16]>) -> StoredDocument {
    StoredDocument {
        id: DocumentId::new("guide/ü.md").unwrap(),
        revision: Revision(revision),
        generation: Generation(revision + 10),
        created_ms: 1,
        media_type: MediaType::Markdown,
        title: format!("title of {text}"),
        source_uri: String::new(),
        metadata: Metadata::from([("year".to_owned(), Value::Float(0.5))]),
        readers: Readers::of(["staff".to_owned()]),
        content_hash: [9; 32],
        idempotency,
        ready: vec![ReadyChunk { span: Span::of("chunk", 0..5).unwrap(), vector: vec![0.25; 2] }],
        text: Compressed::pack(text).unwrap(),
        made_from: Some(MadeFrom {
            original: Compressed::pack_bytes(b"\0\xff").unwrap(),
            reader: "pdf/1".to_owned(),
            outline: Compressed::pack_bytes(b"outline").unwrap(),
        }),
        retain_ms: Some(0),
        first: Revision(1),
    }
}

pub(crate) fn chunks(count: u32) -> Vec<StoredChunk> {
    let partition = PartitionKey { tenant: TenantKey(1), collection: CollectionKey(1) };
    let chunk = Chunk {
        span: Span::of("chunk", 0..5).unwrap(),
        heading_path: vec!["Heading".to_owned()],
        kind: BlockKind::Paragraph,
        tokens: 3,
        context: Span::of("chunk", 0..2),
        places: vec![Place::Slide { slide: 1 }],
    };
    let stored = |occurrence| StoredChunk {
        chunk: chunk.clone(),
        id: ChunkId::of(partition, DocumentKey([1; 16]), "chunk", occurrence),
        input_hash: [4; 16],
        likeness: Likeness { words: 1, numbers: 2 },
    };
    (0..count).map(stored).collect()
}

fn settings() -> CollectionSettings {
    CollectionSettings {
        embedder: ModelId::new("model").unwrap(),
        language: Language::German,
        stemming: true,
        stop_words: false,
        chunk_tokens: 200,
        chunk_overlap_tokens: 20,
        chunk_context: true,
        metadata_schema: BTreeMap::from([("year".to_owned(), ValueType::Int)]),
        trust: Trust::Web,
    }
}

/// One model in two revisions.
fn model() -> impl Strategy<Value = ModelVersion> {
    let model = |revision: &str| ModelVersion {
        id: ModelId::new("model").unwrap(),
        revision: revision.to_owned(),
        dimension: 3,
    };
    prop_oneof![Just(model("abc")), Just(model("abd"))]
}

fn role() -> impl Strategy<Value = SecondRole> {
    prop_oneof![
        Just(SecondRole::Kept),
        Just(SecondRole::Coming(Switching::Asked)),
        (0.0..1.0f32).prop_map(|loss_max| SecondRole::Coming(Switching::WhenReady { loss_max })),
    ]
}

fn key(id: u64) -> ApiKey {
    ApiKey {
        id: KeyId(id),
        secret_hash: [5; 32],
        tenant: Some(TenantKey(1)),
        scopes: Scopes::from([Scope::Search]),
        reader: Reader::As(BTreeSet::from(["staff".to_owned()])),
        label: "label".to_owned(),
        created_ms: 7,
        expires_ms: None,
    }
}

/// When a document is put, by a clock that may go back; and how long it keeps the version before, if there is one in sight.
fn time() -> impl Strategy<Value = (u64, Option<u64>)> {
    (0..20u64, prop_oneof![1 => Just(None), 1 => Just(Some(0)), 4 => (1..20u64).prop_map(Some)])
}

/// A record that concerns one document.
pub(crate) fn document_record() -> impl Strategy<Value = Record> {
    let revision = || (1..5u64).prop_map(Revision);
    prop_oneof![
        4 => (partition(), document(), 1..5u64, "\\PC{0,40}", any::<Option<bool>>(), time()).prop_map(
            |(partition, document, revision, text, idempotency, (created_ms, retain_ms))| {
                let idempotency = idempotency.map(|one| [u8::from(one); 16]);
                let put = StoredDocument { created_ms, retain_ms, ..stored(revision, &text, idempotency) };
                Record::DocumentPut { partition, document, put: Box::new(put) }
            }
        ),
        4 => (partition(), document(), revision(), 0..50u32, 0..3u32).prop_map(
            |(partition, document, revision, first_label, count)| Record::DocumentChunked {
                partition,
                document,
                revision,
                chunker: "markdown/1".to_owned(),
                first_label,
                title: "title".to_owned(),
                chunks: chunks(count),
                with_context: true,
                findings: Findings { language: "en".to_owned(), ..Findings::default() },
            }
        ),
        4 => (partition(), document(), revision(), 0..2u32, 0..3usize, any::<f32>(), model()).prop_map(
            |(partition, document, revision, first_ordinal, count, number, model)| Record::DocumentEmbedded {
                partition,
                document,
                revision,
                model: model.id,
                model_revision: model.revision,
                first_ordinal,
                dimension: model.dimension,
                // NaN is refused long before, and is not equal to itself.
                vectors: vec![if number.is_nan() { 0.0 } else { number }; count * 3],
            }
        ),
        2 => (partition(), document(), revision(), 0..2u32, 0..3u32, model()).prop_map(
            |(partition, document, revision, first_ordinal, count, model)| Record::VectorsGiven {
                partition,
                document,
                revision,
                model: model.id,
                model_revision: model.revision,
                first_ordinal,
                count,
                dimension: model.dimension,
            }
        ),
        1 => (partition(), document(), revision()).prop_map(|(partition, document, revision)| Record::DocumentDeleted {
            partition,
            document,
            revision,
            generation: Generation(revision.0 + 20),
            deleted_ms: 8,
        }),
        1 => (partition(), 0..20u64, 0..20u32).prop_map(|(partition, generation, next_label)| {
            Record::PartitionMarked { partition, generation: Generation(generation), next_label }
        }),
        1 => (partition(), document(), revision()).prop_map(|(partition, document, revision)| Record::PutRemembered {
            partition,
            document,
            idempotency: [7; 16],
            revision,
            generation: Generation(revision.0),
            put_ms: 9,
        }),
    ]
}

/// Any record but the first.
pub(crate) fn record() -> impl Strategy<Value = Record> {
    let tenant = TenantName::new("acme").unwrap();
    let name = CollectionName::new("docs").unwrap();
    prop_oneof![
        20 => document_record(),
        1 => (1..3u64).prop_map(move |number| Record::TenantCreated {
            tenant: TenantKey(number),
            name: tenant.clone(),
            created_ms: 3,
        }),
        1 => (1..9u64).prop_map(move |number| Record::TenantDeleted {
            // Most often one that has nothing: else little is left to look at.
            tenant: TenantKey(number),
            deleted_ms: 4,
        }),
        1 => any::<u64>().prop_map(|id| Record::KeyCreated { key: key(id) }),
        1 => any::<u64>().prop_map(|id| Record::KeyRevoked { id: KeyId(id), revoked_ms: 5 }),
        1 => partition().prop_map(move |partition| Record::CollectionCreated {
            partition,
            name: name.clone(),
            settings: settings(),
            created_ms: 6,
        }),
        1 => partition().prop_map(|partition| Record::CollectionUpdated { partition, settings: settings() }),
        1 => partition().prop_map(|partition| Record::CollectionDeleted { partition, deleted_ms: 4 }),
        2 => (partition(), model(), prop::option::of((model(), role()))).prop_map(|(partition, serving, second)| {
            let second = second.map(|(model, role)| SecondModel { model, role, since_ms: 9 });
            let embedding = Embedding { serving, since: Generation(12), second };
            Record::CollectionEmbedding { partition, embedding }
        }),
        1 => any::<[u8; 32]>().prop_map(|hash| Record::IndexCheckpoint { sequence: 4, entries: 2, hash }),
    ]
}
