//! Pieces under paths of names, such as functions and JSON's subtrees, to blocks under headings without lines.
//!
//! Pieces come in the text's order and reach to the next one's start: what lies between, a closing brace say, belongs to
//! the piece before.

use crate::length::{on_one_line, trim};
use crate::outline::{Block, Body, HEADING_BYTES_MAX, Heading, NODE_DEPTH_MAX, Node, Shape};

/// A path has at most this many names, as headings have levels.
pub(crate) const LEVELS_MAX: usize = 6;

/// The blocks that are being made.
pub(crate) struct Named<'t> {
    text: &'t str,
    blocks: Vec<Block>,
    /// The path of the last piece.
    path: Vec<String>,
}

impl<'t> Named<'t> {
    pub(crate) fn new(text: &'t str) -> Named<'t> {
        Named { text, blocks: Vec::new(), path: Vec::new() }
    }

    /// Begins a piece under `path` at `start`, or behind the blanks there; the one before ends. A parser that has met an error
    /// may take a step back: what does not begin behind the piece before is part of it.
    pub(crate) fn begin(&mut self, path: &[String], start: usize, shape: Shape) {
        let start = self.text.len() - self.text[start..].trim_start().len();
        let is_behind = match self.blocks.last() {
            Some(Block::Body(body)) => body.bytes.start < start,
            Some(Block::Heading(_)) | None => true,
        };
        if !is_behind || start == self.text.len() {
            return;
        }
        self.end(start);
        let path = &path[..path.len().min(LEVELS_MAX)];
        let shared = path.iter().zip(&self.path).take_while(|(a, b)| a == b).count();
        let closes = (shared == path.len() && shared < self.path.len()).then(String::new);
        for (text, level) in path[shared..].iter().cloned().chain(closes).zip(shared + 1..) {
            let level = u8::try_from(level).expect("a path has few names");
            self.blocks.push(Block::Heading(Heading { bytes: start..start, level, text }));
        }
        self.path = path.to_vec();
        self.blocks.push(Block::Body(Body::leaf(start..self.text.len(), shape)));
    }

    /// Whether the last piece stands under this path.
    pub(crate) fn is_under(&self, path: &[String]) -> bool {
        !self.blocks.is_empty() && self.path == path[..path.len().min(LEVELS_MAX)]
    }

    /// Adds a node to the last piece, unless it is nested too deep, or before the last node.
    pub(crate) fn node(&mut self, start: usize, depth: usize, shape: Shape) {
        if let Some(Block::Body(body)) = self.blocks.last_mut()
            && let Ok(depth) = u8::try_from(depth)
            && depth <= NODE_DEPTH_MAX
            && body.nodes.last().is_some_and(|last| last.start <= start)
        {
            body.nodes.push(Node { start, depth, shape });
        }
    }

    /// The blocks. The last piece reaches to the end of the text.
    pub(crate) fn finish(mut self) -> Vec<Block> {
        self.end(self.text.len());
        self.blocks
    }

    fn end(&mut self, end: usize) {
        if let Some(Block::Body(body)) = self.blocks.last_mut() {
            body.bytes = trim(self.text, body.bytes.start..end);
            // What a grammar begins a piece with may be blank to everybody else.
            let start = body.bytes.start;
            body.nodes.iter_mut().take_while(|node| node.start < start).for_each(|node| node.start = start);
            if body.bytes.is_empty() {
                self.blocks.pop();
            }
        }
    }
}

/// A name as a heading has it: on one line; `None` if there is nothing of it, or too much.
pub(crate) fn name(text: &str) -> Option<String> {
    if text.len() > 2 * HEADING_BYTES_MAX {
        return None;
    }
    let name = on_one_line(text);
    (1..=HEADING_BYTES_MAX).contains(&name.len()).then_some(name)
}

/// Where the text begins: behind its byte order mark and blanks.
pub(crate) fn first_byte(text: &str) -> usize {
    let content = trim(text, 0..text.len());
    let mark = text[content.clone()].strip_prefix('\u{feff}').map_or(0, |_| '\u{feff}'.len_utf8());
    trim(text, content.start + mark..content.end).start
}

/// Whether there is an empty line in a piece that lies between two others.
#[cfg(feature = "code")]
pub(crate) fn has_blank_line(text: &str, between: std::ops::Range<usize>) -> bool {
    let mut lines = text[between].split('\n').skip(1).peekable();
    std::iter::from_fn(|| lines.next().filter(|_| lines.peek().is_some())).any(|line| line.trim().is_empty())
}
