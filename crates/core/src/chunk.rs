//! A piece of a document that is searched and cited.

use serde::{Deserialize, Serialize};

use crate::Span;

/// What a chunk is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum BlockKind {
    /// Running text.
    Paragraph,
    /// A list, or items of one.
    List,
    /// A table, or rows of one.
    Table,
    /// Code, fence included.
    Code,
    /// A quotation.
    Quote,
    /// Several kinds under one heading.
    Mixed,
}

/// A chunk as the chunker cuts it. Its text is `span.quote(stored text)`; what stands around it (title, headings) goes to
/// the encoder and to BM25 beside the text and is never part of the span.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// Where it stands in the document's stored text.
    pub span: Span,
    /// The headings above it, outermost first.
    pub heading_path: Vec<String>,
    /// What it is made of.
    pub kind: BlockKind,
    /// Its length in the embedder's own tokens, special tokens and context not counted.
    pub tokens: u32,
}
