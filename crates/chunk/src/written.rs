//! A text that is made from another format, with its outline: blocks apart by a blank line, list items and rows on lines.

use std::ops::Range;

use ibid_core::Place;

use crate::length::trim;
use crate::outline::{Block, Body, HEADING_BYTES_MAX, Heading, NODE_DEPTH_MAX, Node, Outline, Placed, Reason, Shape};
use crate::parse::{Limits, ParseError};

/// A document has at most this many blocks, and rows and items in them, so that they fit in memory whatever it is.
const BLOCKS_MAX: usize = 500_000;
const NODES_MAX: usize = 2 << 20;

/// A document as it is written.
pub(crate) struct Written {
    pub(crate) outline: Outline,
    text: String,
    text_bytes_max: usize,
    /// The block that is being written.
    open: Option<Body>,
    nodes: usize,
}

impl Written {
    pub(crate) fn new(limits: &Limits<'_>) -> Written {
        let text_bytes_max = limits.text_bytes_max;
        Written { outline: Outline::default(), text: String::new(), text_bytes_max, open: None, nodes: 0 }
    }

    /// The text and its outline.
    pub(crate) fn finish(mut self) -> (String, Outline) {
        self.end();
        let end = self.text.trim_end().len();
        self.text.truncate(end);
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        (self.text, self.outline)
    }

    /// The byte that is written next.
    pub(crate) fn byte(&self) -> usize {
        self.text.len()
    }

    /// Begins a block, on a line of its own after a blank one.
    pub(crate) fn begin(&mut self, shape: Shape) -> Result<(), ParseError> {
        self.end();
        self.gap();
        if self.outline.blocks.len() == BLOCKS_MAX {
            return Err(ParseError::TooLarge { what: "blocks", limit: BLOCKS_MAX, byte: self.text.len() });
        }
        self.open = Some(Body::leaf(self.text.len()..self.text.len(), shape));
        Ok(())
    }

    /// Adds a node of the open block that begins here, unless it is nested too deep.
    pub(crate) fn node(&mut self, depth: u8, shape: Shape) -> Result<(), ParseError> {
        if let Some(body) = &mut self.open
            && depth <= NODE_DEPTH_MAX
        {
            self.nodes += 1;
            if self.nodes > NODES_MAX {
                return Err(ParseError::TooLarge { what: "rows and items", limit: NODES_MAX, byte: self.text.len() });
            }
            body.nodes.push(Node { start: self.text.len(), depth, shape });
        }
        Ok(())
    }

    /// Writes in the open block.
    pub(crate) fn push(&mut self, words: &str) -> Result<(), ParseError> {
        self.fits(words.len())?;
        self.text.push_str(words);
        Ok(())
    }

    /// Whether so many bytes can be written.
    pub(crate) fn fits(&self, bytes: usize) -> Result<(), ParseError> {
        let limit = self.text_bytes_max;
        // A blank line may come before them, a line break after.
        let fits = self.text.len().saturating_add(bytes).saturating_add(3) <= limit;
        if fits { Ok(()) } else { Err(ParseError::TooLarge { what: "bytes of text", limit, byte: self.text.len() }) }
    }

    /// Writes an item of the open list on a line, below the items with these levels; gives the levels around the next one.
    /// Text and nodes are nested alike, as deep as nodes can be.
    pub(crate) fn item(
        &mut self,
        mut levels: Vec<u32>,
        level: u32,
        marker: &str,
        words: &str,
    ) -> Result<Vec<u32>, ParseError> {
        const LISTS_MAX: usize = NODE_DEPTH_MAX as usize / 2;
        let is_first = levels.is_empty();
        while levels.len() > 1 && levels.last().is_some_and(|last| *last > level) {
            levels.pop();
        }
        let is_deeper = levels.last().is_none_or(|last| *last < level) && levels.len() < LISTS_MAX;
        if is_deeper {
            levels.push(level);
        }
        let lists = u8::try_from(levels.len()).expect("no deeper than nodes are");
        self.push(if is_first { "" } else { "\n" })?;
        self.push(&"  ".repeat(levels.len() - 1))?;
        if is_deeper && !is_first {
            self.node(2 * lists - 2, Shape::List)?;
        }
        self.node(2 * lists - 1, Shape::Item)?;
        self.push(marker)?;
        self.push(" ")?;
        self.node(2 * lists, Shape::Paragraph)?;
        self.push(words)?;
        Ok(levels)
    }

    /// Makes the open block one of another kind, without inner structure.
    pub(crate) fn reshape(&mut self, shape: Shape) {
        if let Some(body) = &mut self.open {
            body.nodes.truncate(1);
            body.nodes[0].shape = shape;
        }
    }

    /// Ends the open block. One without words is none.
    pub(crate) fn end(&mut self) {
        let Some(mut body) = self.open.take() else { return };
        body.bytes = trim(&self.text, body.bytes.start..self.text.len());
        let Range { start, end } = body.bytes;
        self.text.truncate(end);
        if start < end {
            body.nodes.retain(|node| node.start < end);
            for node in &mut body.nodes {
                node.start = node.start.max(start);
            }
            self.outline.blocks.push(Block::Body(body));
        }
    }

    /// Gives the block that was ended last what goes with each of its chunks.
    pub(crate) fn set_context(&mut self, context: Range<usize>) {
        if let Some(Block::Body(body)) = self.outline.blocks.last_mut() {
            body.context = Some(context);
        }
    }

    /// Writes a block without inner structure.
    pub(crate) fn leaf(&mut self, shape: Shape, words: &str) -> Result<(), ParseError> {
        if words.trim().is_empty() {
            return Ok(());
        }
        self.begin(shape)?;
        self.push(words)?;
        self.end();
        Ok(())
    }

    /// Writes a heading on a line of its own; one that is too long is a paragraph.
    pub(crate) fn heading(&mut self, level: u8, words: &str) -> Result<(), ParseError> {
        if words.len() > HEADING_BYTES_MAX {
            return self.leaf(Shape::Paragraph, words);
        }
        if !words.is_empty() {
            self.begin(Shape::Paragraph)?;
            self.open = None;
            let start = self.text.len();
            self.push(words)?;
            self.name(level, words, start..self.text.len());
        }
        Ok(())
    }

    /// Names what follows, without a line of its own.
    pub(crate) fn heading_without_line(&mut self, level: u8, words: &str) -> Result<(), ParseError> {
        self.begin(Shape::Paragraph)?;
        self.open = None;
        self.name(level, words, self.text.len()..self.text.len());
        Ok(())
    }

    /// Notes where everything from a byte on stands in the original.
    pub(crate) fn place(&mut self, from: usize, place: Place) {
        let bytes = trim(&self.text, from..self.text.len());
        if !bytes.is_empty() {
            self.outline.places.push(Placed { bytes, place });
        }
    }

    /// Notes that something is not in the text.
    pub(crate) fn leave_out(&mut self, reason: Reason, bytes: usize) {
        self.outline.leave_out(reason, bytes);
    }

    fn name(&mut self, level: u8, words: &str, bytes: Range<usize>) {
        let level = level.clamp(1, 6);
        self.outline.blocks.push(Block::Heading(Heading { bytes, level, text: words.to_owned() }));
    }

    /// A blank line after what is written so far.
    fn gap(&mut self) {
        let is_apart = self.text.is_empty() || self.text.ends_with("\n\n");
        if !is_apart {
            self.text.push_str("\n\n");
        }
    }
}

/// Words on lines, without white space at the lines' ends, blank lines, or more than one blank between words.
pub(crate) fn normalised(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    for line in raw.lines() {
        let start = out.len();
        for word in line.split_whitespace() {
            out.push_str(if out.len() > start {
                " "
            } else if start > 0 {
                "\n"
            } else {
                ""
            });
            out.push_str(word);
        }
    }
    out
}

/// The cells of a row as its line: empty ones keep their place between others, and none stand at its end.
#[derive(Debug, Default)]
pub(crate) struct Row {
    line: String,
    cells: usize,
    /// Where the last cell with words ends.
    end: usize,
}

impl Row {
    /// Adds a cell of words on one line.
    pub(crate) fn cell(&mut self, words: &str) {
        if self.cells > 0 {
            self.line.push_str(if self.line.is_empty() { "|" } else { " |" });
        }
        self.cells += 1;
        if !words.is_empty() {
            self.line.push_str(if self.line.is_empty() { "" } else { " " });
            self.line.push_str(words);
            self.end = self.line.len();
        }
    }

    /// The line so far; empty if no cell has words.
    pub(crate) fn line(&self) -> &str {
        &self.line[..self.end]
    }

    /// How many bytes the line has with the empty cells at its end.
    pub(crate) fn bytes(&self) -> usize {
        self.line.len()
    }

    pub(crate) fn cells(&self) -> usize {
        self.cells
    }

    pub(crate) fn clear(&mut self) {
        self.line.clear();
        (self.cells, self.end) = (0, 0);
    }
}

/// A number as a list of some kind writes it: `7`, `g`, `vii`. Names are those of WordprocessingML (ST_NumberFormat).
pub(crate) fn list_number(n: u32, format: &str) -> String {
    match format {
        "lowerLetter" => letters(n, b'a'),
        "upperLetter" => letters(n, b'A'),
        "lowerRoman" => roman(n),
        "upperRoman" => roman(n).to_uppercase(),
        "decimalZero" => format!("{n:02}"),
        _ => n.to_string(),
    }
}

/// `a` to `z`, then `aa` to `zz`, as Word counts.
fn letters(n: u32, first: u8) -> String {
    const REPEATS_MAX: u32 = 30;
    let Some(before) = n.checked_sub(1).filter(|before| before / 26 < REPEATS_MAX) else { return n.to_string() };
    let letter = char::from(first + u8::try_from(before % 26).expect("a remainder of 26 is a byte"));
    std::iter::repeat_n(letter, before as usize / 26 + 1).collect()
}

fn roman(n: u32) -> String {
    const SIGNS: [(u32, &str); 13] = [
        (1000, "m"),
        (900, "cm"),
        (500, "d"),
        (400, "cd"),
        (100, "c"),
        (90, "xc"),
        (50, "l"),
        (40, "xl"),
        (10, "x"),
        (9, "ix"),
        (5, "v"),
        (4, "iv"),
        (1, "i"),
    ];
    if n == 0 || n > 3999 {
        return n.to_string();
    }
    let mut left = n;
    let mut out = String::new();
    for (value, sign) in SIGNS {
        while left >= value {
            out.push_str(sign);
            left -= value;
        }
    }
    out
}

/// Whether the text for a picture is only the name of its file.
pub(crate) fn is_file_name(words: &str) -> bool {
    let extension = words.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
    extension.is_some_and(|extension| {
        matches!(
            extension.as_str(),
            "png" | "jpg" | "jpeg" | "gif" | "bmp" | "tif" | "tiff" | "emf" | "wmf" | "svg" | "webp"
        )
    })
}
