//! What a search found.

use crate::{ChunkId, CollectionName, DocumentId, MediaType, Metadata, Revision, Span};

/// A score and the place it gave in its list.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ranked {
    /// The place, from 1.
    pub rank: u32,
    /// The score, on the scale that the field's name says.
    pub score: f32,
}

/// The score of every stage that saw the hit, each on its own scale.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Scores {
    /// BM25, 0 and up.
    pub bm25: Option<Ranked>,
    /// Cosine of question and chunk, -1 to 1.
    pub cosine: Option<Ranked>,
    /// Reciprocal rank fusion of the lists above.
    pub rrf: Option<Ranked>,
    /// The cross-encoder's raw score, any real number.
    pub rerank_logit: Option<Ranked>,
    /// The cross-encoder's score mixed with the fused one, 0 to 1 within one result list.
    pub mixed: Option<Ranked>,
}

/// A chunk that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    /// The collection it is from.
    pub collection: CollectionName,
    /// Its document.
    pub document: DocumentId,
    /// The document's revision that was searched.
    pub revision: Revision,
    /// The chunk.
    pub chunk: ChunkId,
    /// Where it stands in the document's stored text.
    pub span: Span,
    /// The document's title; empty if it has none.
    pub title: String,
    /// The document's source URI; empty if it has none.
    pub source_uri: String,
    /// How the document's bytes were read.
    pub media_type: MediaType,
    /// The headings above the chunk, outermost first.
    pub heading_path: Vec<String>,
    /// The chunk's text: `span` of the stored text.
    pub text: String,
    /// The document's metadata.
    pub metadata: Metadata,
    /// What each stage thought of it.
    pub scores: Scores,
}
