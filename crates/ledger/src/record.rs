//! What is written: one record an atomic change.
//!
//! A record's body is its postcard form, which starts with the variant's number; the same number stands in the frame's
//! header. Variants are only ever appended; a new one, like a change of fields, takes a new format number in `frame.rs`, so
//! that an older program says so instead of serving half of the truth.

use std::fmt;

use ibid_core::{
    ApiKey, Chunk, ChunkId, CollectionName, CollectionSettings, DocumentId, DocumentKey, Findings, Generation, KeyId,
    Label, Likeness, MediaType, Metadata, ModelId, PartitionKey, Readers, Revision, Span, TenantKey, TenantName,
};
use serde::{Deserialize, Serialize};

use crate::{Compressed, Embedding, flat};

/// One atomic change. `Debug` shows its kind alone: records hold texts and secrets.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub enum Record {
    /// The folder was made. Always the first.
    FolderCreated {
        /// What internal keys are derived with.
        secret: [u8; 32],
        /// Milliseconds since the Unix epoch.
        created_ms: u64,
    },
    /// A tenant was made.
    TenantCreated {
        /// Its key.
        tenant: TenantKey,
        /// Its name.
        name: TenantName,
        /// Milliseconds since the Unix epoch.
        created_ms: u64,
    },
    /// A tenant was deleted with everything it had.
    TenantDeleted {
        /// Its key. Nothing of its own stays: not its name.
        tenant: TenantKey,
        /// Milliseconds since the Unix epoch.
        deleted_ms: u64,
    },
    /// A key was made.
    KeyCreated {
        /// The key, with its secret's hash.
        key: ApiKey,
    },
    /// A key was withdrawn.
    KeyRevoked {
        /// The key's id.
        id: KeyId,
        /// Milliseconds since the Unix epoch.
        revoked_ms: u64,
    },
    /// A collection was made.
    CollectionCreated {
        /// Its key.
        partition: PartitionKey,
        /// Its name.
        name: CollectionName,
        /// How it is read, cut and embedded.
        settings: CollectionSettings,
        /// Milliseconds since the Unix epoch.
        created_ms: u64,
    },
    /// A collection's settings were replaced.
    CollectionUpdated {
        /// Its key.
        partition: PartitionKey,
        /// All of its settings.
        settings: CollectionSettings,
    },
    /// A collection was deleted with its documents.
    CollectionDeleted {
        /// Its key. Nothing of its own stays: not its name.
        partition: PartitionKey,
        /// Milliseconds since the Unix epoch.
        deleted_ms: u64,
    },
    /// A document was put, or replaced.
    DocumentPut {
        /// Where.
        partition: PartitionKey,
        /// Its key.
        document: DocumentKey,
        /// Everything about it.
        put: Box<StoredDocument>,
    },
    /// A document's revision was cut into chunks; a later one for the same revision replaces them and their vectors.
    DocumentChunked {
        /// Where.
        partition: PartitionKey,
        /// Its key.
        document: DocumentKey,
        /// The revision that was cut.
        revision: Revision,
        /// The chunker, with its version.
        chunker: String,
        /// The first chunk's label; the others follow.
        first_label: Label,
        /// The title the chunks are indexed with.
        title: String,
        /// The chunks, in the document's order.
        chunks: Vec<StoredChunk>,
        /// Whether the embedder reads title, headings and context with each chunk.
        with_context: bool,
        /// What was noticed of the text.
        findings: Findings,
    },
    /// Vectors of some chunks of a revision. Parts follow each other in the order of ordinals.
    DocumentEmbedded {
        /// Where.
        partition: PartitionKey,
        /// Its key.
        document: DocumentKey,
        /// The revision.
        revision: Revision,
        /// The embedder.
        model: ModelId,
        /// Its weights, as a hash.
        model_revision: String,
        /// The first chunk's place among the revision's chunks, from 0.
        first_ordinal: u32,
        /// Floats a vector.
        dimension: u32,
        /// The vectors one after the other.
        #[serde(with = "flat::floats")]
        vectors: Vec<f32>,
    },
    /// A document was deleted.
    DocumentDeleted {
        /// Where.
        partition: PartitionKey,
        /// Its key: of the client's name of it nothing stays but this keyed hash, so that no revision is given out twice.
        document: DocumentKey,
        /// The deletion's own revision.
        revision: Revision,
        /// The partition's generation from then on.
        generation: Generation,
        /// Milliseconds since the Unix epoch.
        deleted_ms: u64,
    },
    /// The index over the log held exactly this when the ledger was closed.
    IndexCheckpoint {
        /// The last record in the index.
        sequence: u64,
        /// How many entries the index had.
        entries: u64,
        /// BLAKE3 over them, in order.
        hash: [u8; 32],
    },
    /// The models of a collection's vectors changed.
    CollectionEmbedding {
        /// Its key.
        partition: PartitionKey,
        /// All of them, from here on.
        embedding: Embedding,
    },
    /// What stays of a [`Record::DocumentPut`] or [`Record::DocumentChunked`] that was compacted away: no number is given out
    /// twice.
    PartitionMarked {
        /// Where.
        partition: PartitionKey,
        /// The highest generation given to a write, as of then; 0: it says nothing of them.
        generation: Generation,
        /// The lowest label that no chunk ever had, as of then; 0: it says nothing of them.
        next_label: Label,
    },
    /// What stays of a [`Record::DocumentPut`] that was compacted away, for as long as its key makes a repetition harmless.
    PutRemembered {
        /// Where.
        partition: PartitionKey,
        /// Its document's key.
        document: DocumentKey,
        /// The hash of the client's idempotency key.
        idempotency: [u8; 16],
        /// The revision it made.
        revision: Revision,
        /// The partition's generation it made.
        generation: Generation,
        /// When it was put, milliseconds since the Unix epoch.
        put_ms: u64,
    },
    /// Vectors of some chunks of a revision are those that came with its [`Record::DocumentPut`]: they are not written twice.
    VectorsGiven {
        /// Where.
        partition: PartitionKey,
        /// Its key.
        document: DocumentKey,
        /// The revision.
        revision: Revision,
        /// The embedder that they are taken to be of.
        model: ModelId,
        /// Its weights, as a hash.
        model_revision: String,
        /// The first chunk's place among the revision's chunks, from 0.
        first_ordinal: u32,
        /// How many chunks.
        count: u32,
        /// Floats a vector.
        dimension: u32,
    },
}

/// A record's kind: the number that its frame shows without the body being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum RecordKind {
    /// [`Record::FolderCreated`]
    FolderCreated,
    /// [`Record::TenantCreated`]
    TenantCreated,
    /// [`Record::TenantDeleted`]
    TenantDeleted,
    /// [`Record::KeyCreated`]
    KeyCreated,
    /// [`Record::KeyRevoked`]
    KeyRevoked,
    /// [`Record::CollectionCreated`]
    CollectionCreated,
    /// [`Record::CollectionUpdated`]
    CollectionUpdated,
    /// [`Record::CollectionDeleted`]
    CollectionDeleted,
    /// [`Record::DocumentPut`]
    DocumentPut,
    /// [`Record::DocumentChunked`]
    DocumentChunked,
    /// [`Record::DocumentEmbedded`]
    DocumentEmbedded,
    /// [`Record::DocumentDeleted`]
    DocumentDeleted,
    /// [`Record::IndexCheckpoint`]
    IndexCheckpoint,
    /// [`Record::CollectionEmbedding`]
    CollectionEmbedding,
    /// [`Record::PartitionMarked`]
    PartitionMarked,
    /// [`Record::PutRemembered`]
    PutRemembered,
    /// [`Record::VectorsGiven`]
    VectorsGiven,
}

/// A document as it is stored.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredDocument {
    /// The client's name of it.
    pub id: DocumentId,
    /// This version of it.
    pub revision: Revision,
    /// The partition's generation from then on.
    pub generation: Generation,
    /// Milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// How its bytes are read.
    pub media_type: MediaType,
    /// Its title as the client gave it; may be empty.
    pub title: String,
    /// Where it is from; may be empty.
    pub source_uri: String,
    /// Its metadata.
    pub metadata: Metadata,
    /// Who may read it.
    pub readers: Readers,
    /// Its content's address within its tenant.
    pub content_hash: [u8; 32],
    /// The hash of the client's idempotency key, if it gave one.
    pub idempotency: Option<[u8; 16]>,
    /// Chunks made by the client, in order of their spans; none: the engine cuts.
    pub ready: Vec<ReadyChunk>,
    /// Its text: what spans are cut from.
    pub text: Compressed,
    /// What the text was made from, where it is not the document's own bytes.
    pub made_from: Option<MadeFrom>,
    /// How long the version that it replaces is kept from then on, in milliseconds. `None`: it replaces none, for nothing of
    /// the document was in sight when it was put.
    pub retain_ms: Option<u64>,
    /// The document's first revision, since it was made or, once deleted, made anew: older ones are erased.
    pub first: Revision,
}

/// The file that a text was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeFrom {
    /// The document's own bytes.
    pub original: Compressed,
    /// The reader, with its version.
    pub reader: String,
    /// The text's structure, as the reader writes it: nothing in the text alone tells it.
    pub outline: Compressed,
}

/// A chunk made by the client.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct ReadyChunk {
    /// Where it stands in the text.
    pub span: Span,
    /// Its vector; empty: the engine embeds.
    #[serde(with = "flat::floats")]
    pub vector: Vec<f32>,
}

impl fmt::Debug for ReadyChunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadyChunk").field("span", &self.span).finish_non_exhaustive()
    }
}

/// A chunk as it is stored.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredChunk {
    /// Where it stands and what stands around it.
    pub chunk: Chunk,
    /// Its identity.
    pub id: ChunkId,
    /// The hash of what the embedder reads for it: equal inputs have equal vectors.
    pub input_hash: [u8; 16],
    /// What its words are like: near-duplicates are told by it.
    pub likeness: Likeness,
}

/// Somebody or something whose bytes are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// A tenant's.
    Tenant(TenantKey),
    /// A collection's.
    Collection(PartitionKey),
    /// A document's.
    Document(PartitionKey, DocumentKey),
}

impl Record {
    /// Whether it holds bytes that `whose` owner gave: names, texts, vectors. A deletion and a mark hold none.
    pub fn holds_bytes_of(&self, whose: &Whose) -> bool {
        let Some(tenant) = self.holds_bytes_of_tenant() else { return false };
        match (whose, self.place()) {
            (Whose::Tenant(owner), _) => tenant == *owner,
            (Whose::Collection(owner), Some((partition, _))) => partition == *owner,
            (Whose::Document(owner, key), Some((partition, Some(document)))) => (partition, document) == (*owner, *key),
            (Whose::Collection(_) | Whose::Document(..), _) => false,
        }
    }

    /// Where a client's bytes in it belong.
    fn place(&self) -> Option<(PartitionKey, Option<DocumentKey>)> {
        match self {
            Record::CollectionCreated { partition, .. }
            | Record::CollectionUpdated { partition, .. }
            | Record::CollectionEmbedding { partition, .. } => Some((*partition, None)),
            Record::DocumentPut { partition, document, .. }
            | Record::DocumentChunked { partition, document, .. }
            | Record::DocumentEmbedded { partition, document, .. }
            | Record::VectorsGiven { partition, document, .. } => Some((*partition, Some(*document))),
            Record::FolderCreated { .. }
            | Record::TenantCreated { .. }
            | Record::TenantDeleted { .. }
            | Record::KeyCreated { .. }
            | Record::KeyRevoked { .. }
            | Record::CollectionDeleted { .. }
            | Record::DocumentDeleted { .. }
            | Record::IndexCheckpoint { .. }
            | Record::PartitionMarked { .. }
            | Record::PutRemembered { .. } => None,
        }
    }

    /// The tenant that gave the bytes it holds, if one did.
    pub(crate) fn holds_bytes_of_tenant(&self) -> Option<TenantKey> {
        if let Record::TenantCreated { tenant, .. } = self {
            return Some(*tenant);
        }
        if let Record::KeyCreated { key } = self {
            return key.tenant;
        }
        self.place().map(|(partition, _)| partition.tenant)
    }

    /// Which kind of change it is.
    pub fn kind(&self) -> RecordKind {
        match self {
            Record::FolderCreated { .. } => RecordKind::FolderCreated,
            Record::TenantCreated { .. } => RecordKind::TenantCreated,
            Record::TenantDeleted { .. } => RecordKind::TenantDeleted,
            Record::KeyCreated { .. } => RecordKind::KeyCreated,
            Record::KeyRevoked { .. } => RecordKind::KeyRevoked,
            Record::CollectionCreated { .. } => RecordKind::CollectionCreated,
            Record::CollectionUpdated { .. } => RecordKind::CollectionUpdated,
            Record::CollectionDeleted { .. } => RecordKind::CollectionDeleted,
            Record::DocumentPut { .. } => RecordKind::DocumentPut,
            Record::DocumentChunked { .. } => RecordKind::DocumentChunked,
            Record::DocumentEmbedded { .. } => RecordKind::DocumentEmbedded,
            Record::DocumentDeleted { .. } => RecordKind::DocumentDeleted,
            Record::IndexCheckpoint { .. } => RecordKind::IndexCheckpoint,
            Record::CollectionEmbedding { .. } => RecordKind::CollectionEmbedding,
            Record::PartitionMarked { .. } => RecordKind::PartitionMarked,
            Record::PutRemembered { .. } => RecordKind::PutRemembered,
            Record::VectorsGiven { .. } => RecordKind::VectorsGiven,
        }
    }

    /// What of it is still needed when its text is not: a mark without any byte of a client's.
    pub(crate) fn remainder(&self) -> Option<Record> {
        if let Record::DocumentChunked { partition, first_label, chunks, .. } = self {
            let next_label = first_label.saturating_add(u32::try_from(chunks.len()).ok()?);
            return Some(Record::PartitionMarked { partition: *partition, generation: Generation(0), next_label });
        }
        let Record::DocumentPut { partition, document, put } = self else { return None };
        let (partition, document) = (*partition, *document);
        let StoredDocument { revision, generation, created_ms: put_ms, .. } = **put;
        Some(match put.idempotency {
            Some(idempotency) => {
                Record::PutRemembered { partition, document, idempotency, revision, generation, put_ms }
            }
            None => Record::PartitionMarked { partition, generation, next_label: 0 },
        })
    }

    /// The body that is written. Its first byte is the kind.
    pub(crate) fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("every field has a postcard form, and memory grows as needed")
    }

    /// The record that `body` is the whole body of.
    pub(crate) fn decode(body: &[u8]) -> Option<Record> {
        let (record, rest) = postcard::take_from_bytes(body).ok()?;
        rest.is_empty().then_some(record)
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}(..)", self.kind())
    }
}

impl fmt::Debug for StoredDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("StoredDocument");
        shown.field("revision", &self.revision).field("generation", &self.generation).finish_non_exhaustive()
    }
}

impl fmt::Debug for StoredChunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredChunk").field("id", &self.id).field("span", &self.chunk.span).finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod strategy;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_record_is_read_as_it_was_written(record in strategy::record()) {
            let body = record.encode();
            prop_assert_eq!(body[0], record.kind() as u8);
            prop_assert!(Record::decode(&body) == Some(record));
        }

        #[test]
        fn arbitrary_bodies_do_not_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Record::decode(&body);
        }
    }
}
