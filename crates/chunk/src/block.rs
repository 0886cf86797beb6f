//! What every format is read into.

use std::ops::Range;

use ibid_core::BlockKind;

/// Nodes deeper than this are not told apart: what is nested deeper is cut as the text it is.
pub(crate) const NODE_DEPTH_MAX: u8 = 8;

/// A heading longer than this is a paragraph that was marked as one by accident, and would swell every path below it.
pub(crate) const HEADING_BYTES_MAX: usize = 200;

/// A document as its format's reader gives it: blocks in the text's order, disjoint.
#[derive(Debug, Default)]
pub(crate) struct Document {
    pub(crate) title: Option<String>,
    pub(crate) blocks: Vec<Block>,
}

#[derive(Debug)]
pub(crate) enum Block {
    Heading(Heading),
    Body(Body),
}

/// A heading line, or what the format has for one.
#[derive(Debug)]
pub(crate) struct Heading {
    pub(crate) bytes: Range<usize>,
    /// From 1, the outermost, to 6.
    pub(crate) level: u8,
    /// Its words, without markup; not empty.
    pub(crate) text: String,
}

/// Anything else, with its inner structure.
#[derive(Debug)]
pub(crate) struct Body {
    pub(crate) bytes: Range<usize>,
    /// The block itself at depth 0 and what is nested in it, in the text's order. A node reaches to its next sibling.
    pub(crate) nodes: Vec<Node>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Node {
    pub(crate) start: usize,
    pub(crate) depth: u8,
    pub(crate) shape: Shape,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Paragraph,
    List,
    Item,
    Table,
    Row,
    Code,
    Html,
    Quote,
    Footnote,
}

impl Shape {
    /// What a chunk of it is called.
    pub(crate) fn kind(self) -> BlockKind {
        match self {
            Shape::Paragraph | Shape::Html | Shape::Footnote => BlockKind::Paragraph,
            Shape::List | Shape::Item => BlockKind::List,
            Shape::Table | Shape::Row => BlockKind::Table,
            Shape::Code => BlockKind::Code,
            Shape::Quote => BlockKind::Quote,
        }
    }
}

impl Body {
    /// A body without inner structure.
    pub(crate) fn leaf(bytes: Range<usize>, shape: Shape) -> Body {
        let node = Node { start: bytes.start, depth: 0, shape };
        Body { bytes, nodes: vec![node] }
    }
}
