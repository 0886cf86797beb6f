//! A page's content to the text that is stored, and its outline.

use super::content::{Content, Looked, is_data_table};
use super::tree::{Node, Step, Tag, Tree};
use crate::length::trim;
use crate::outline::{Block, Body, HEADING_BYTES_MAX, Heading, NODE_DEPTH_MAX, Node as Piece, Outline, Shape};
use crate::parse::{Limits, ParseError};

/// Lines are indented for so many lists around them; the cells that one takes are told apart up to this number.
const INDENTS_MAX: usize = 8;
const SPAN_MAX: u32 = 32;
/// Whether to go on is asked once for so many nodes.
const NODES_PER_CHECK: u32 = 4096;

/// Writes a page's content.
pub(crate) fn write(tree: &Tree, content: &Content<'_>, limits: &Limits<'_>) -> Result<(String, Outline), ParseError> {
    let mut writer = Writer { text: String::with_capacity(tree.texts.len() / 2), ..Writer::default() };
    let mut walk = tree.walk(0);
    let mut nodes = 0u32;
    while let Some(step) = walk.next() {
        nodes = nodes.wrapping_add(1);
        if nodes.is_multiple_of(NODES_PER_CHECK) && (limits.stop)() {
            return Err(ParseError::Stopped);
        }
        let limit = limits.text_bytes_max;
        if writer.text.len() > limit {
            return Err(ParseError::TooLarge { what: "bytes of text", limit, byte: limit });
        }
        match step {
            Step::Enter(node) => match content.look(node) {
                Looked::Content => writer.enter(tree, node),
                Looked::LeftOut(reason) => {
                    writer.outline.leave_out(reason, content.bytes_in(node));
                    if !is_inline(tree.node(node).tag) {
                        writer.end_line();
                    }
                    walk.skip_inside();
                }
            },
            Step::Leave(node) => writer.leave(tree, node),
        }
    }
    writer.end_block();
    Ok((writer.text, writer.outline))
}

fn is_inline(tag: Tag) -> bool {
    matches!(
        tag,
        Tag::Text
            | Tag::Inline
            | Tag::Link
            | Tag::Break
            | Tag::Image
            | Tag::Quotation
            | Tag::Button
            | Tag::Hidden
            | Tag::Unread
    )
}

/// A piece of the outline that is open: the whole block first, then what is nested in it.
#[derive(Debug)]
struct Open {
    /// The element that opened it; `None` for text that stands in no paragraph.
    node: Option<u32>,
    shape: Shape,
    /// Of an item: what its line begins with, until it is written.
    marker: Option<String>,
    /// Whether it has text, and a place in the outline.
    begun: bool,
    /// Of a list: the number of its next item. Of a table: how many header rows it has. Of a row: how many cells its last one
    /// takes.
    number: u32,
    /// Of a row: whether it is all headers. Of a table: whether rows may be its header still.
    header: bool,
}

#[derive(Default)]
struct Writer {
    text: String,
    outline: Outline,
    open: Vec<Open>,
    /// The block that is being written.
    body: Option<Body>,
    /// The heading that is being written: its element, its level.
    heading: Option<(u32, u8)>,
    /// Blanks since the last word, which become one if another follows on the line.
    blank: bool,
    /// Line breaks since the last word: one begins a line, two begin a paragraph.
    breaks: u8,
    /// How many `pre` are around.
    pre: u32,
    /// Separators of cells to write before the next word of the row.
    cells: u32,
}

impl Writer {
    fn enter(&mut self, tree: &Tree, node: u32) {
        let Node { tag, .. } = *tree.node(node);
        match tag {
            Tag::Text if self.pre > 0 && !self.in_line() => self.write_pre(tree.text(node)),
            Tag::Text | Tag::Image => self.write_words(tree.text(node)),
            Tag::Break if self.pre > 0 && !self.in_line() => self.write_pre("\n"),
            Tag::Break => self.breaks = (self.breaks + 1).min(2),
            Tag::Quotation => self.write_words("\""),
            Tag::Inline | Tag::Link | Tag::Button | Tag::Title => {}
            _ if self.heading.is_some() => self.blank = true,
            Tag::Cell | Tag::HeaderCell if self.in_row() => self.enter_cell(tree, node, tag),
            Tag::Row if self.in_table() => {
                self.end_line();
                self.push(node, Shape::Row, None);
            }
            // What is a block elsewhere is a blank in a cell.
            _ if self.in_row() => self.blank = true,
            Tag::Heading(level) => {
                self.end_line();
                if self.open.is_empty() {
                    self.heading = Some((node, level));
                } else {
                    self.push(node, Shape::Paragraph, None);
                }
            }
            Tag::Paragraph => {
                self.end_line();
                self.push(node, Shape::Paragraph, None);
            }
            Tag::List | Tag::DefinitionList | Tag::NumberedList => {
                self.end_line();
                self.push(node, Shape::List, None);
                if let Some(list) = self.open.last_mut() {
                    list.number = tree.number(node).unwrap_or(1);
                }
            }
            Tag::Item | Tag::Term => self.enter_item(tree, node, tag),
            Tag::Table => {
                self.end_line();
                if is_data_table(tree, node) {
                    self.push(node, Shape::Table, None);
                }
            }
            Tag::TableCaption | Tag::Caption => {
                self.end_line();
                self.push(node, Shape::Caption, None);
            }
            Tag::Pre => {
                self.end_line();
                self.push(node, Shape::Code, None);
                self.pre += 1;
            }
            Tag::Quote => {
                self.end_line();
                self.push(node, Shape::Quote, None);
            }
            Tag::Definition
            | Tag::Block
            | Tag::TableHead
            | Tag::TableBody
            | Tag::Row
            | Tag::Cell
            | Tag::HeaderCell
            | Tag::Rule
            | Tag::Nav
            | Tag::Footer
            | Tag::Aside
            | Tag::Main
            | Tag::Article
            | Tag::Control
            | Tag::Hidden
            | Tag::Unread
            | Tag::Head => self.end_line(),
        }
    }

    fn leave(&mut self, tree: &Tree, node: u32) {
        let Node { tag, .. } = *tree.node(node);
        match tag {
            Tag::Text | Tag::Image | Tag::Inline | Tag::Link | Tag::Button | Tag::Break | Tag::Title => return,
            Tag::Quotation => return self.write_words("\""),
            Tag::Heading(_) if self.heading.is_some_and(|(heading, _)| heading == node) => return self.end_heading(),
            _ => {}
        }
        if self.in_row() && !self.is_open(node) {
            self.blank = true;
            return;
        }
        self.end_line();
        if !self.is_open(node) {
            return;
        }
        self.pre -= u32::from(tag == Tag::Pre);
        // What the element opened and what was opened in it; a term's item reaches over the definitions behind it.
        let at = self.open.iter().rposition(|open| open.node == Some(node)).unwrap_or(self.open.len());
        if tag == Tag::Term {
            return;
        }
        if tag == Tag::Row {
            self.end_row(at);
        }
        self.open.truncate(at);
        if self.open.is_empty() {
            self.end_block();
        }
    }

    /// Whether an element opened a piece that is still open.
    fn is_open(&self, node: u32) -> bool {
        self.open.iter().rev().any(|open| open.node == Some(node))
    }

    fn in_row(&self) -> bool {
        self.open.last().is_some_and(|open| open.shape == Shape::Row)
    }

    fn in_table(&self) -> bool {
        self.open.last().is_some_and(|open| open.shape == Shape::Table)
    }

    /// Whether all text goes on one line.
    fn in_line(&self) -> bool {
        self.heading.is_some() || self.in_row()
    }

    fn push(&mut self, node: u32, shape: Shape, marker: Option<String>) {
        self.open.push(Open { node: Some(node), shape, marker, begun: false, number: 0, header: true });
    }

    fn enter_item(&mut self, tree: &Tree, node: u32, tag: Tag) {
        self.end_line();
        // Only an item's list may be around it: definitions end the item of the term before.
        if tag == Tag::Term && self.open.last().is_some_and(|open| open.shape == Shape::Item) {
            self.open.pop();
        }
        let parent = tree.node(node).parent;
        let is_numbered = tag == Tag::Item && tree.node(parent).tag == Tag::NumberedList;
        let marker = match self.open.last_mut() {
            Some(list) if is_numbered && list.shape == Shape::List => {
                let number = tree.number(node).unwrap_or(list.number);
                list.number = number.saturating_add(1);
                format!("{number}. ")
            }
            _ => "- ".to_owned(),
        };
        self.push(node, Shape::Item, Some(marker));
    }

    fn enter_cell(&mut self, tree: &Tree, node: u32, tag: Tag) {
        let in_head = tree.node(tree.node(tree.node(node).parent).parent).tag == Tag::TableHead;
        let row = self.open.last_mut().expect("a cell is in a row");
        row.header &= tag == Tag::HeaderCell || in_head;
        self.cells += row.number;
        // The cells that this one takes besides its own are behind it, empty.
        row.number = tree.number(node).unwrap_or(1).clamp(1, SPAN_MAX);
        self.blank = false;
    }

    /// Ends the row at `at` of the open pieces; the first ones of a table are its header if they are all headers.
    fn end_row(&mut self, at: usize) {
        self.cells = 0;
        let (row, before) = match self.open[..=at].split_last_mut() {
            Some((row, before)) if row.begun => (row, before),
            _ => return,
        };
        let Some(table) = before.last_mut().filter(|table| table.header) else { return };
        table.header = row.header;
        let Some(body) = self.body.as_mut().filter(|_| row.header) else { return };
        let end = self.text.len();
        match &mut body.context {
            Some(context) if table.number > 0 => context.end = end,
            // Of another table in the same list or quotation.
            Some(_) => table.header = false,
            None => {
                let row = body.nodes.iter().rfind(|piece| piece.shape == Shape::Row);
                body.context = row.map(|row| row.start..end);
            }
        }
        table.number += 1;
    }

    /// Ends a line, and a paragraph that no element opened.
    fn end_line(&mut self) {
        (self.blank, self.breaks) = (false, 0);
        if self.in_row() || self.heading.is_some() {
            self.blank = true;
            return;
        }
        while self.open.last().is_some_and(|open| open.node.is_none()) {
            self.open.pop();
        }
        if self.open.is_empty() {
            self.end_block();
        }
        match self.open.last_mut() {
            // What goes on behind what ended it is another one.
            Some(open) if matches!(open.shape, Shape::Paragraph | Shape::Caption) => {
                open.begun = false;
                if self.open.len() == 1 {
                    self.end_block();
                }
            }
            Some(open) if open.shape == Shape::Code && open.begun => self.breaks = 1,
            Some(_) | None => {}
        }
    }

    /// Ends the block at the top.
    fn end_block(&mut self) {
        if let Some(mut body) = self.body.take() {
            body.bytes = trim(&self.text, body.bytes.start..self.text.len());
            self.text.truncate(body.bytes.end);
            self.outline.blocks.push(Block::Body(body));
        }
    }

    fn end_heading(&mut self) {
        let Some((_, level)) = self.heading.take() else { return };
        (self.blank, self.breaks) = (false, 0);
        let Some(body) = self.body.take() else { return };
        let bytes = body.bytes.start..self.text.len();
        let text = &self.text[bytes.clone()];
        let block = if text.len() <= HEADING_BYTES_MAX {
            Block::Heading(Heading { bytes, level, text: text.to_owned() })
        } else {
            Block::Body(Body::leaf(bytes, Shape::Paragraph))
        };
        self.outline.blocks.push(block);
    }

    /// Makes room for a word, and a place in the outline for what it is the first word of.
    fn begin(&mut self) {
        if self.breaks == 2 && !self.in_line() {
            self.end_line();
        }
        let line_break = std::mem::take(&mut self.breaks) > 0;
        let blank = std::mem::take(&mut self.blank);
        let holds_words = |shape| matches!(shape, Shape::Paragraph | Shape::Row | Shape::Code | Shape::Caption);
        if self.heading.is_none() && !self.open.last().is_some_and(|open| holds_words(open.shape)) {
            let (node, marker) = (None, None);
            self.open.push(Open { node, shape: Shape::Paragraph, marker, begun: false, number: 0, header: false });
        }
        let first = self.open.iter().rposition(|open| open.begun).map_or(0, |last| last + 1);
        let goes_on = if self.heading.is_some() { self.body.is_some() } else { first == self.open.len() };
        if goes_on {
            if self.cells > 0 {
                self.write_cells();
            } else if line_break && !self.in_line() {
                if !self.text.ends_with('\n') {
                    self.text.push('\n');
                    self.indent();
                }
            } else if (blank || line_break) && !self.text.ends_with('\n') {
                self.text.push(' ');
            }
            return;
        }
        self.separate();
        let marker = self.open[first..].iter_mut().rev().find_map(|open| open.marker.take());
        let start = self.text.len() + marker.as_ref().map_or(0, String::len);
        let line = self.text.len();
        self.text.push_str(marker.as_deref().unwrap_or_default());
        if self.body.is_none() {
            let shape = self.open.first().map_or(Shape::Paragraph, |open| open.shape);
            self.body = Some(Body::leaf(line..line, shape));
        }
        let body = self.body.as_mut().expect("it was made above");
        let item = self.open.iter().rposition(|open| open.shape == Shape::Item && !open.begun);
        for (depth, open) in self.open.iter_mut().enumerate().skip(first) {
            open.marker = None;
            open.begun = true;
            // A line's marker belongs to the item and what is around it.
            let start = if item.is_some_and(|item| depth <= item) { line } else { start };
            if let Ok(depth @ 1..=NODE_DEPTH_MAX) = u8::try_from(depth) {
                body.nodes.push(Piece { start, depth, shape: open.shape });
            }
        }
        if self.cells > 0 {
            self.write_cells();
        }
    }

    /// Separates a piece from the one before: a line break within lists and tables, a blank line elsewhere.
    fn separate(&mut self) {
        if self.text.is_empty() {
            return;
        }
        self.text.truncate(self.text.trim_end().len());
        let in_lines = self.open.iter().any(|open| open.begun && matches!(open.shape, Shape::List | Shape::Table));
        self.text.push_str(if self.body.is_some() && in_lines { "\n" } else { "\n\n" });
        self.indent();
    }

    /// Indents a line by the lists around it: behind the marker of its item, unless it begins that.
    fn indent(&mut self) {
        let items = self.open.iter().filter(|open| open.shape == Shape::Item && open.begun).count();
        for _ in 0..items.min(INDENTS_MAX) {
            self.text.push_str("  ");
        }
    }

    fn write_cells(&mut self) {
        for _ in 0..std::mem::take(&mut self.cells) {
            let is_first = self.text.is_empty() || self.text.ends_with(['\n', ' ']);
            self.text.push_str(if is_first { "| " } else { " | " });
        }
    }

    /// Writes text with its white space as CSS collapses it, no-break and ideographic spaces included.
    fn write_words(&mut self, text: &str) {
        let is_blank = |char: char| char.is_whitespace();
        let mut rest = text;
        loop {
            let words = rest.trim_start_matches(is_blank);
            if words.len() < rest.len() {
                self.blank = true;
            }
            let end = words.find(is_blank).unwrap_or(words.len());
            if end == 0 {
                return;
            }
            let (word, after) = words.split_at(end);
            self.write_word(word);
            rest = after;
        }
    }

    fn write_word(&mut self, word: &str) {
        let is_invisible = |char: char| matches!(char, '\u{ad}' | '\u{200b}' | '\u{feff}' | '\0');
        if word.is_ascii() && !word.contains('\0') {
            self.begin();
            self.text.push_str(word);
        } else if word.contains(|char| !is_invisible(char)) {
            self.begin();
            self.text.extend(word.chars().filter(|&char| !is_invisible(char)));
        }
    }

    /// Writes text with its white space as it is.
    fn write_pre(&mut self, text: &str) {
        let begun = self.open.last().is_some_and(|open| open.shape == Shape::Code && open.begun);
        let text = if begun { text } else { text.trim_start() };
        if text.is_empty() {
            return;
        }
        self.blank = false;
        self.begin();
        self.text.push_str(text);
    }
}
