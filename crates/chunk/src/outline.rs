//! What every format is read into: an outline of blocks over the text that is stored.

use std::ops::Range;

use ibid_core::{BlockKind, Place};
use serde::{Deserialize, Serialize};

use crate::length::{on_one_line, trim};

/// Nodes deeper than this are not told apart: what is nested deeper is cut as the text it is.
pub(crate) const NODE_DEPTH_MAX: u8 = 8;

/// A heading longer than this is a paragraph that was marked as one by accident, and would swell every path below it.
pub(crate) const HEADING_BYTES_MAX: usize = 200;

/// A document's structure, as its format's reader gives it. All ranges are bytes of the stored text, on character bounds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outline {
    /// The document's own title, if it has one.
    pub title: Option<String>,
    /// In the text's order, disjoint. What lies between two blocks is not part of the document's content.
    pub blocks: Vec<Block>,
    /// Where pieces of the text stand in the original, in the text's order, disjoint; finer than the blocks or coarser.
    pub places: Vec<Placed>,
    /// What of the original is not in the text, in sum by reason.
    pub left_out: Vec<LeftOut>,
}

/// A piece of the text and its place in the original.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placed {
    /// Of the text.
    pub bytes: Range<usize>,
    /// Of the original.
    pub place: Place,
}

/// What a reader of the document would not take for its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Why.
    pub reason: Reason,
    /// How many bytes of text, all pieces together.
    pub bytes: u32,
    /// How many pieces.
    pub pieces: u32,
}

/// Why something of the original is not in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Reason {
    /// Links and menus around the content.
    Navigation,
    /// Lines which the head of most pages repeats, and page numbers.
    RunningHeader,
    /// Lines which the foot of most pages repeats, and page numbers.
    RunningFooter,
    /// Scripts, styles, and what is hidden on the page as it is shown.
    Hidden,
    /// Parts of a kind that is not read: pictures, attachments, macros.
    Unread,
}

/// A piece of the document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Block {
    /// Names what follows.
    Heading(Heading),
    /// Is content.
    Body(Body),
}

/// A heading line, or what the format has for one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heading {
    /// Its line. Empty, at the place where what it names begins, for a name without a line of its own: a function's, a
    /// sheet's, a pointer's.
    pub bytes: Range<usize>,
    /// From 1, the outermost, to 6.
    pub level: u8,
    /// Its words, without markup. Empty, and then without a line, where a heading of its level ends and none follows: what
    /// stands below a function and belongs to the file again.
    pub text: String,
}

/// Anything else, with its inner structure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Body {
    /// Not empty.
    pub bytes: Range<usize>,
    /// The block itself at depth 0 and what is nested in it, in the text's order. A node reaches to its next sibling.
    pub nodes: Vec<Node>,
    /// What is repeated in the context of each of its chunks that does not hold it: a table's header row, a file's imports.
    pub context: Option<Range<usize>>,
}

/// A block, or a piece of one which stays whole if it fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its first byte.
    pub start: usize,
    /// 0 for the block itself, to 8.
    pub depth: u8,
    /// What it is.
    pub shape: Shape,
}

/// What a block or a piece of one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Shape {
    /// Running text; cut between sentences.
    Paragraph,
    /// A list.
    List,
    /// An item of a list; an entry of JSON or YAML.
    Item,
    /// A table.
    Table,
    /// A row of a table, its header included.
    Row,
    /// Code: a fenced block, or a function or type of a source file; cut at its statements or else between lines.
    Code,
    /// A statement or declaration in code.
    Statement,
    /// A block of HTML in Markdown.
    Html,
    /// A quotation; the history below a message.
    Quote,
    /// A footnote.
    Footnote,
    /// What stands below a picture or table, or above it.
    Caption,
}

impl Shape {
    /// What a chunk of it is called.
    pub(crate) fn kind(self) -> BlockKind {
        match self {
            Shape::Paragraph | Shape::Html | Shape::Footnote | Shape::Caption => BlockKind::Paragraph,
            Shape::List | Shape::Item => BlockKind::List,
            Shape::Table | Shape::Row => BlockKind::Table,
            Shape::Code | Shape::Statement => BlockKind::Code,
            Shape::Quote => BlockKind::Quote,
        }
    }
}

impl Body {
    /// A body without inner structure.
    pub fn leaf(bytes: Range<usize>, shape: Shape) -> Body {
        let node = Node { start: bytes.start, depth: 0, shape };
        Body { bytes, nodes: vec![node], context: None }
    }
}

impl Block {
    /// Its bytes.
    pub fn bytes(&self) -> &Range<usize> {
        match self {
            Block::Heading(heading) => &heading.bytes,
            Block::Body(body) => &body.bytes,
        }
    }
}

/// The heading of level 1 if there is one and no other. The first of several (the versions of a change log, say) would
/// name what stands below the others wrongly.
pub(crate) fn only_title(blocks: &[Block]) -> Option<String> {
    let mut titles = blocks.iter().filter_map(|block| match block {
        Block::Heading(heading) if heading.level == 1 => Some(&heading.text),
        Block::Heading(_) | Block::Body(_) => None,
    });
    titles.next().filter(|_| titles.next().is_none()).cloned()
}

impl Outline {
    /// Notes that a piece of the original was left out. An empty piece is none.
    pub(crate) fn leave_out(&mut self, reason: Reason, bytes: usize) {
        if bytes == 0 {
            return;
        }
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        match self.left_out.iter_mut().find(|left_out| left_out.reason == reason) {
            Some(left_out) => {
                left_out.bytes = left_out.bytes.saturating_add(bytes);
                left_out.pieces = left_out.pieces.saturating_add(1);
            }
            None => self.left_out.push(LeftOut { reason, bytes, pieces: 1 }),
        }
    }

    /// The outline as text for people, a line a block with the first of its words, nested pieces indented.
    pub fn describe(&self, text: &str) -> String {
        let mut lines = Vec::new();
        lines.extend(self.title.iter().map(|title| format!("title {title:?}")));
        for block in &self.blocks {
            match block {
                Block::Heading(Heading { bytes, level, text: words }) => {
                    lines.push(format!("heading {level} {words:?} {bytes:?}"));
                }
                Block::Body(body) => {
                    for (n, node) in body.nodes.iter().enumerate() {
                        let next = body.nodes[n + 1..].iter().find(|next| next.depth <= node.depth);
                        let end = next.map_or(body.bytes.end, |next| next.start);
                        let indent = "  ".repeat(usize::from(node.depth));
                        let shape = format!("{:?}", node.shape).to_lowercase();
                        let bytes = trim(text, node.start..end);
                        lines.push(format!("{indent}{shape} {bytes:?} {:?}", start_of(&text[bytes.clone()])));
                    }
                    lines.extend(body.context.clone().map(|context| format!("  with {:?}", start_of(&text[context]))));
                }
            }
        }
        for Placed { bytes, place } in &self.places {
            lines.push(format!("place {bytes:?} {} {:?}", describe_place(place), start_of(&text[bytes.clone()])));
        }
        for LeftOut { reason, bytes, pieces } in &self.left_out {
            lines.push(format!("left out {reason:?}: {pieces} pieces, {bytes} bytes"));
        }
        lines.into_iter().map(|line| line + "\n").collect()
    }

    /// What makes it an outline of `text`, or what does not: for readers' tests, and for what was read from a disk.
    ///
    /// # Errors
    /// What is wrong, for a developer.
    pub fn fits(&self, text: &str) -> Result<(), String> {
        let piece = |what: &str, bytes: &Range<usize>, after: usize| {
            if bytes.start < after {
                return Err(format!("{what} {bytes:?} begins before {after}"));
            }
            text.get(bytes.clone())
                .map(|_| bytes.end)
                .ok_or_else(|| format!("{what} {bytes:?} is no piece of the text"))
        };
        let mut end = 0;
        for block in &self.blocks {
            end = piece("block", block.bytes(), end)?;
            match block {
                Block::Heading(heading) => {
                    let is_named = !heading.text.is_empty() || heading.bytes.is_empty();
                    if !(1..=6).contains(&heading.level) || !is_named {
                        return Err(format!("heading {heading:?} has no level from 1 to 6, or a line and no text"));
                    }
                }
                Block::Body(body) => fits(body, text)?,
            }
        }
        let mut end = 0;
        for placed in &self.places {
            end = piece("place", &placed.bytes, end)?;
        }
        Ok(())
    }
}

/// The first words of a piece, on one line.
fn start_of(piece: &str) -> String {
    const CHARS: usize = 60;
    let line = on_one_line(piece);
    if line.chars().count() <= CHARS { line } else { line.chars().take(CHARS).chain(['…']).collect() }
}

fn describe_place(place: &Place) -> String {
    match place {
        Place::Page { page, bounds } => {
            let points = |n: u32| f64::from(n) / 100.0;
            let (left, top) = (points(bounds.left), points(bounds.top));
            format!("page {page} {left:.0},{top:.0}..{:.0},{:.0}", points(bounds.right), points(bounds.bottom))
        }
        Place::Slide { slide } => format!("slide {slide}"),
        Place::Rows { sheet, first, last } => format!("sheet {sheet:?} rows {first}..={last}"),
        Place::Pointer(pointer) => format!("pointer {pointer:?}"),
        Place::Part { name } => format!("part {name:?}"),
    }
}

fn fits(body: &Body, text: &str) -> Result<(), String> {
    let first = body.nodes.first().filter(|node| node.depth == 0 && node.start == body.bytes.start);
    if body.bytes.is_empty() || first.is_none() {
        return Err(format!("body {:?} is empty, or its first node is not the whole", body.bytes));
    }
    let mut before = body.nodes[0];
    for node in &body.nodes[1..] {
        let nested = node.depth >= 1 && node.depth <= (before.depth + 1).min(NODE_DEPTH_MAX);
        if !nested || node.start < before.start || node.start >= body.bytes.end || !text.is_char_boundary(node.start) {
            return Err(format!("node {node:?} after {before:?} in {:?}", body.bytes));
        }
        before = *node;
    }
    match &body.context {
        Some(context) if text.get(context.clone()).is_none() => {
            Err(format!("context {context:?} is no piece of the text"))
        }
        Some(_) | None => Ok(()),
    }
}
