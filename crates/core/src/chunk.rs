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
    /// What is repeated with it, elsewhere in the text: the header row of its table, the imports of its code. The encoder and
    /// BM25 get it beside the chunk; it is no part of the span.
    pub context: Option<Span>,
    /// Where it stands in the original, for a format whose stored text was made from it or that has names for its parts; in
    /// the text's order.
    pub places: Vec<Place>,
}

/// A place in the original that a text was made from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Place {
    /// On a page.
    Page {
        /// From 1.
        page: u32,
        /// The smallest box around it.
        bounds: Bounds,
    },
    /// On a slide.
    Slide {
        /// From 1.
        slide: u32,
    },
    /// Rows of a sheet.
    Rows {
        /// The sheet's name.
        sheet: String,
        /// The first one, from 1, as spreadsheets count.
        first: u32,
        /// The last one.
        last: u32,
    },
    /// A subtree of JSON or YAML, by its JSON Pointer (RFC 6901).
    Pointer(String),
    /// A part of a message.
    Part {
        /// What it is: `body`, `quoted`, or an attachment's name.
        name: String,
    },
}

/// A box on a page, in hundredths of a point (1/7200 inch) from the top left corner as the page is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Bounds {
    /// The left edge.
    pub left: u32,
    /// The upper edge.
    pub top: u32,
    /// The right edge.
    pub right: u32,
    /// The lower edge.
    pub bottom: u32,
}

impl Bounds {
    /// The smallest box around both.
    pub fn union(self, other: Bounds) -> Bounds {
        Bounds {
            left: self.left.min(other.left),
            top: self.top.min(other.top),
            right: self.right.max(other.right),
            bottom: self.bottom.max(other.bottom),
        }
    }
}

impl Place {
    /// Both places as one, where they are neighbours: boxes of one page, rows of one sheet, the same slide, pointer or part.
    pub fn join(&self, other: &Place) -> Option<Place> {
        match (self, other) {
            (Place::Page { page, bounds }, Place::Page { page: next, bounds: beside }) if page == next => {
                Some(Place::Page { page: *page, bounds: bounds.union(*beside) })
            }
            (Place::Rows { sheet, first, last }, Place::Rows { sheet: next, first: from, last: to })
                if sheet == next =>
            {
                Some(Place::Rows { sheet: sheet.clone(), first: *first.min(from), last: *last.max(to) })
            }
            (one, same) => (one == same).then(|| one.clone()),
        }
    }
}
