//! Where a claim stands in a source.

use crate::{ChunkId, CollectionName, DocumentId, Revision, Span};

/// What checking a claim against its source gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Not checked.
    Unchecked,
    /// The claim is the source's own words.
    Quoted,
    /// The source is about the claim, as the cross-encoder sees it; nobody says that it proves it.
    Related,
    /// A rule found a difference: a number, date, id or negation.
    Contradicted,
}

/// One citation: a piece of an answer, and the piece of a source that it rests on.
#[derive(Debug, Clone, PartialEq)]
pub struct Citation {
    /// The claim, in bytes of the answer's text.
    pub answer: std::ops::Range<usize>,
    /// The source's number in this answer, from 1, as in `[doc_1]`.
    pub source: u32,
    /// The source's collection.
    pub collection: CollectionName,
    /// The source's document.
    pub document: DocumentId,
    /// The revision cited.
    pub revision: Revision,
    /// The chunk cited.
    pub chunk: ChunkId,
    /// The piece cited, in the document's stored text.
    pub span: Span,
    /// The words cited: `span` of the stored text.
    pub quote: String,
    /// BLAKE3 of the quote.
    pub quote_hash: [u8; 32],
    /// What checking the claim gave.
    pub verdict: Verdict,
}
