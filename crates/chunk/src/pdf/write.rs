//! Blocks to the text that is stored, and its outline.

use std::ops::Range;

use ibid_core::{Bounds, Place};
use rustc_hash::FxHashSet;

use crate::outline::{self, Body, HEADING_BYTES_MAX, Heading, Node, Outline, Shape};
use crate::parse::{Limits, ParseError};
use crate::pdf::blocks::{Block, Placed};
use crate::pdf::order::is_bullet;

/// The width of a letter of a font whose letters have one width, in ems.
const FIXED_WIDTH: f32 = 0.6;
/// Code is indented by at most this many spaces.
const CODE_INDENT_MAX: f32 = 64.0;

/// Writes the text, and the blocks and places of `outline`. `sheets`: each page's width and height.
pub(super) fn write(
    blocks: &[Block],
    sheets: &[(f32, f32)],
    limits: &Limits<'_>,
    outline: &mut Outline,
) -> Result<String, ParseError> {
    let mut writer = Writer { text: String::new(), sheets, compounds: compounds(blocks), outline };
    for (n, block) in blocks.iter().enumerate() {
        if n % 256 == 0 && (limits.stop)() {
            return Err(ParseError::Stopped);
        }
        writer.block(block);
        let limit = limits.text_bytes_max;
        if writer.text.len() > limit {
            return Err(ParseError::TooLarge { what: "bytes of text", limit, byte: limit });
        }
    }
    if !writer.text.is_empty() {
        writer.text.push('\n');
    }
    Ok(writer.text)
}

/// The outermost heading of the first page, if the document has no title of its own.
pub(super) fn first_title(outline: &Outline) -> Option<String> {
    let is_first = |bytes: &Range<usize>| {
        let placed = outline.places.iter().find(|placed| placed.bytes.end > bytes.start);
        placed.is_some_and(|placed| matches!(placed.place, Place::Page { page: 1, .. }))
    };
    let headings = outline.blocks.iter().filter_map(|block| match block {
        outline::Block::Heading(heading) => Some(heading),
        outline::Block::Body(_) => None,
    });
    let first = headings.take_while(|heading| is_first(&heading.bytes)).min_by_key(|heading| heading.level)?;
    Some(first.text.clone())
}

/// The words with a hyphen within a line, in lower case: where one is torn at its hyphen, the hyphen stays.
fn compounds(blocks: &[Block]) -> FxHashSet<String> {
    let lines: Box<dyn Iterator<Item = &Placed>> = Box::new(blocks.iter().flat_map(|block| match block {
        Block::Heading { lines, .. } | Block::Text { lines, .. } => lines.iter().collect::<Vec<_>>(),
        Block::List(parts) | Block::Table(parts) => parts.iter().flatten().collect(),
    }));
    let words = lines.flat_map(|placed| placed.line.text.split(' '));
    words.filter(|word| word.trim_matches('-').contains('-')).map(bare).collect()
}

/// A word without what stands around it, in lower case.
fn bare(word: &str) -> String {
    word.trim_matches(|char: char| !char.is_alphanumeric()).to_lowercase()
}

struct Writer<'w> {
    text: String,
    sheets: &'w [(f32, f32)],
    compounds: FxHashSet<String>,
    outline: &'w mut Outline,
}

impl Writer<'_> {
    fn block(&mut self, block: &Block) {
        let before = self.text.len();
        if !self.text.is_empty() {
            self.text.push_str("\n\n");
        }
        let start = self.text.len();
        let written = match block {
            Block::Heading { level, lines } => {
                self.lines(lines);
                self.heading(*level, start)
            }
            Block::Text { shape: Shape::Code, lines } => {
                self.code(lines);
                self.body(vec![Node { start, depth: 0, shape: Shape::Code }], None)
            }
            Block::Text { shape, lines } => {
                self.lines(lines);
                self.body(vec![Node { start, depth: 0, shape: *shape }], None)
            }
            Block::List(items) => {
                let mut nodes = vec![Node { start, depth: 0, shape: Shape::List }];
                for item in items {
                    self.next_line(start);
                    nodes.push(Node { start: self.text.len(), depth: 1, shape: Shape::Item });
                    self.item(item);
                }
                self.body(nodes, None)
            }
            Block::Table(rows) => {
                let mut nodes = vec![Node { start, depth: 0, shape: Shape::Table }];
                let mut header = None;
                for row in rows {
                    self.next_line(start);
                    let row_start = self.text.len();
                    nodes.push(Node { start: row_start, depth: 1, shape: Shape::Row });
                    self.row(row);
                    header.get_or_insert(row_start..self.text.len());
                }
                self.body(nodes, header)
            }
        };
        if !written {
            self.text.truncate(before);
        }
    }

    fn next_line(&mut self, start: usize) {
        if self.text.len() > start {
            self.text.push('\n');
        }
    }

    /// Ends a heading that began at `start`.
    fn heading(&mut self, level: u8, start: usize) -> bool {
        let text = self.text[start..].to_owned();
        if (1..=HEADING_BYTES_MAX).contains(&text.len()) {
            let bytes = start..self.text.len();
            self.outline.blocks.push(outline::Block::Heading(Heading { bytes, level: level.max(1), text }));
            return true;
        }
        self.body(vec![Node { start, depth: 0, shape: Shape::Paragraph }], None)
    }

    /// Ends a body; the first node begins it. `false` if nothing was written.
    fn body(&mut self, nodes: Vec<Node>, context: Option<Range<usize>>) -> bool {
        let bytes = nodes[0].start..self.text.len();
        if bytes.is_empty() {
            return false;
        }
        self.outline.blocks.push(outline::Block::Body(Body { bytes, nodes, context }));
        true
    }

    /// Writes lines as running text.
    fn lines(&mut self, lines: &[Placed]) {
        let start = self.text.len();
        for placed in lines {
            let line = placed.line.text.trim();
            if self.text.len() > start && !line.is_empty() {
                self.join(line, start);
            }
            self.place(line, placed);
        }
    }

    /// Prepares the end of the text for the next line: a space, or the hyphen away.
    fn join(&mut self, next: &str, start: usize) {
        let is_cjk =
            |char: char| matches!(char, '\u{3000}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{ff00}'..='\u{ffef}');
        let last = self.text[start..].chars().next_back();
        let first = next.chars().next();
        if last.is_some_and(is_cjk) && first.is_some_and(is_cjk) {
            return;
        }
        if let Some(hyphen @ ('-' | '\u{2010}')) = last {
            let written = &self.text[start..self.text.len() - hyphen.len_utf8()];
            let torn = written.rsplit(' ').next().unwrap_or_default();
            let rest = next.split(' ').next().unwrap_or_default();
            if torn.ends_with(char::is_alphanumeric) && first.is_some_and(char::is_alphanumeric) {
                let is_compound = self.compounds.contains(&bare(&format!("{torn}-{rest}")));
                let is_torn = torn.ends_with(char::is_alphabetic) && first.is_some_and(char::is_lowercase);
                if is_torn && !is_compound {
                    self.text.truncate(self.text.len() - hyphen.len_utf8());
                    self.cut_place();
                }
                return;
            }
        }
        self.text.push(' ');
    }

    /// The last place ends where the text does.
    fn cut_place(&mut self) {
        if let Some(placed) = self.outline.places.last_mut() {
            placed.bytes.end = placed.bytes.end.min(self.text.len());
            if placed.bytes.is_empty() {
                self.outline.places.pop();
            }
        }
    }

    /// Writes an item: `- words`, or with its own mark if that is more than a bullet.
    fn item(&mut self, lines: &[Placed]) {
        let Some((first, rest)) = lines.split_first() else { return };
        let text = first.line.text.trim();
        let start = self.text.len();
        match text.split_once(' ') {
            Some((mark, words)) if is_bullet(mark) => {
                self.text.push_str("- ");
                self.place(words.trim_start(), first);
            }
            Some(_) | None => self.place(text, first),
        }
        for placed in rest {
            let line = placed.line.text.trim();
            if !line.is_empty() {
                self.join(line, start);
            }
            self.place(line, placed);
        }
    }

    fn row(&mut self, cells: &[Placed]) {
        for (n, cell) in cells.iter().enumerate() {
            if n > 0 {
                self.text.push_str(if self.text.ends_with(' ') { "| " } else { " | " });
            }
            self.place(cell.line.text.trim(), cell);
        }
        self.text.truncate(self.text.trim_end().len());
    }

    fn code(&mut self, lines: &[Placed]) {
        let start = self.text.len();
        let left = lines.iter().map(|placed| placed.line.frame.left).fold(f32::INFINITY, f32::min);
        for placed in lines {
            self.next_line(start);
            let line = &placed.line;
            let indent = ((line.frame.left - left) / (FIXED_WIDTH * line.size)).round().clamp(0.0, CODE_INDENT_MAX);
            if self.text.len() > start {
                self.text.extend(std::iter::repeat_n(' ', indent as usize));
            }
            self.place(line.text.trim(), placed);
        }
    }

    /// Writes a line and notes where it stands.
    fn place(&mut self, line: &str, placed: &Placed) {
        if line.is_empty() {
            return;
        }
        let start = self.text.len();
        self.text.push_str(line);
        let (width, height) = self.sheets[placed.page];
        let (run, frame) = (placed.line.run, placed.line.frame);
        let (x, y) = run.turn_back(frame.left, frame.top);
        let (across, down) = run.turn_back(frame.right, frame.bottom);
        let hundredths = |points: f32, max: f32| (points.clamp(0.0, max) * 100.0).round() as u32;
        let bounds = Bounds {
            left: hundredths(x.min(across), width),
            top: hundredths(y.min(down), height),
            right: hundredths(x.max(across), width),
            bottom: hundredths(y.max(down), height),
        };
        let page = u32::try_from(placed.page + 1).expect("a document has fewer pages");
        self.outline
            .places
            .push(outline::Placed { bytes: start..self.text.len(), place: Place::Page { page, bounds } });
    }
}
