//! Markdown to blocks: CommonMark by pulldown-cmark, with GitHub's tables, task lists, strikethrough and footnotes.
//!
//! Front matter is read here and not by the parser, which takes any two thematic breaks with text between them for it and
//! looks for its end from each of them anew.

use std::ops::Range;

use pulldown_cmark::{Event, Options, Parser, Tag};

use crate::length::{on_one_line, trim};
use crate::outline::{Block, Body, HEADING_BYTES_MAX, Heading, NODE_DEPTH_MAX, Node, Outline, Shape, only_title};
use crate::parse::ParseError;

/// Whatever Markdown means by a mark or a line's end, the parser keeps some hundred bytes for it. Prose has one for each 20 of
/// its bytes.
const MARKS_MAX: usize = 2_000_000;

/// Reads a whole document.
pub(crate) fn read(text: &str) -> Result<Outline, ParseError> {
    let mut marks =
        text.bytes().enumerate().filter(|(_, byte)| byte.is_ascii_punctuation() || matches!(byte, b'\n' | b'\r' | 0));
    if let Some((byte, _)) = marks.nth(MARKS_MAX) {
        return Err(ParseError::TooLarge { what: "marks and lines of Markdown", limit: MARKS_MAX, byte });
    }
    let front = front_matter(text);
    let body = front.as_ref().map_or(0, |front| front.end);
    let options = Options::ENABLE_TABLES
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_HEADING_ATTRIBUTES;
    let mut reader = Reader { text, blocks: Vec::new(), nested: Vec::new(), depth: 0, open: None, inline: false };
    for (event, bytes) in Parser::new_ext(&text[body..], options).into_offset_iter() {
        reader.read(event, body + bytes.start..body + bytes.end);
    }
    let title = front.and_then(|front| front.title).or_else(|| only_title(&reader.blocks));
    Ok(Outline { title, blocks: reader.blocks, ..Outline::default() })
}

struct Reader<'t> {
    text: &'t str,
    blocks: Vec<Block>,
    /// The elements around the next event, outermost first: blocks by their shape, inline elements as `None`.
    nested: Vec<Option<Shape>>,
    /// How many of them are blocks.
    depth: usize,
    /// The block that is being read.
    open: Option<Open>,
    /// Whether the text of a list item that has no paragraph of its own has begun.
    inline: bool,
}

enum Open {
    Heading(Heading),
    Body(Body),
    /// Nothing that a reader of the page sees.
    Hidden,
}

impl Reader<'_> {
    fn read(&mut self, event: Event<'_>, bytes: Range<usize>) {
        match event {
            Event::Start(tag) => {
                let shape = shape(&tag);
                if self.nested.is_empty() {
                    self.open = Some(self.start(&tag, shape, bytes));
                } else if let Some(shape) = shape {
                    self.inline = false;
                    self.node(bytes.start, shape);
                } else {
                    self.inline(bytes.start);
                }
                self.depth += usize::from(shape.is_some());
                self.nested.push(shape);
            }
            Event::End(_) => {
                if self.nested.pop().flatten().is_some() {
                    self.depth -= 1;
                    self.inline = false;
                }
                if self.nested.is_empty() {
                    self.close();
                }
            }
            Event::Text(words) | Event::Code(words) => {
                self.inline(bytes.start);
                self.heading_words(&words);
            }
            Event::SoftBreak | Event::HardBreak => self.heading_words(" "),
            Event::InlineHtml(_)
            | Event::InlineMath(_)
            | Event::DisplayMath(_)
            | Event::FootnoteReference(_)
            | Event::TaskListMarker(_) => self.inline(bytes.start),
            Event::Html(_) | Event::Rule => {}
        }
    }

    /// Begins a block at the top of the document.
    fn start(&self, tag: &Tag<'_>, shape: Option<Shape>, bytes: Range<usize>) -> Open {
        // The parser's blocks do not overlap; if they ever should, the chunks still must not.
        let bytes = trim(self.text, bytes.start.max(self.end())..bytes.end.max(self.end()));
        if let Tag::Heading { level, .. } = tag {
            return Open::Heading(Heading { bytes, level: *level as u8, text: String::new() });
        }
        match shape {
            Some(Shape::Html) if is_comment(&self.text[bytes.clone()]) => Open::Hidden,
            Some(shape) => Open::Body(Body::leaf(bytes, shape)),
            None => Open::Hidden,
        }
    }

    /// Ends the block at the top of the document.
    fn close(&mut self) {
        match self.open.take() {
            Some(Open::Heading(mut heading)) => {
                heading.text = on_one_line(&heading.text);
                let is_marker = self.text[heading.bytes.clone()].trim_matches('#').trim().is_empty();
                if (1..=HEADING_BYTES_MAX).contains(&heading.text.len()) {
                    self.blocks.push(Block::Heading(heading));
                } else if !is_marker {
                    self.blocks.push(Block::Body(Body::leaf(heading.bytes, Shape::Paragraph)));
                }
            }
            Some(Open::Body(body)) if !body.bytes.is_empty() => self.blocks.push(Block::Body(body)),
            Some(Open::Body(_) | Open::Hidden) | None => {}
        }
    }

    /// Adds a node to the open body, unless it is nested too deep.
    fn node(&mut self, start: usize, shape: Shape) {
        if let Some(Open::Body(body)) = &mut self.open
            && let Ok(depth) = u8::try_from(self.depth)
            && depth <= NODE_DEPTH_MAX
        {
            // The parser counts the blanks before a list's marker to its first item and not to the list.
            let before = body.nodes.last().map_or(body.bytes.start, |node| node.start);
            body.nodes.push(Node { start: start.max(before), depth, shape });
        }
    }

    /// Text directly in a list item or footnote is a paragraph, as if it had been set apart by blank lines.
    fn inline(&mut self, start: usize) {
        if !self.inline && matches!(self.nested.last(), Some(Some(Shape::Item | Shape::Footnote))) {
            self.inline = true;
            self.node(start, Shape::Paragraph);
        }
    }

    fn heading_words(&mut self, words: &str) {
        if let Some(Open::Heading(heading)) = &mut self.open {
            heading.text.push_str(words);
        }
    }

    /// Where the last block ends.
    fn end(&self) -> usize {
        match self.blocks.last() {
            Some(Block::Heading(heading)) => heading.bytes.end,
            Some(Block::Body(body)) => body.bytes.end,
            None => 0,
        }
    }
}

fn shape(tag: &Tag<'_>) -> Option<Shape> {
    match tag {
        // A heading at the top is told apart before; one in a quote or list heads no section.
        Tag::Paragraph | Tag::Heading { .. } => Some(Shape::Paragraph),
        Tag::BlockQuote(_) => Some(Shape::Quote),
        Tag::CodeBlock(_) => Some(Shape::Code),
        Tag::HtmlBlock => Some(Shape::Html),
        Tag::List(_) | Tag::DefinitionList => Some(Shape::List),
        Tag::Item | Tag::DefinitionListTitle | Tag::DefinitionListDefinition => Some(Shape::Item),
        Tag::FootnoteDefinition(_) => Some(Shape::Footnote),
        Tag::Table(_) => Some(Shape::Table),
        Tag::TableHead | Tag::TableRow => Some(Shape::Row),
        Tag::TableCell
        | Tag::Emphasis
        | Tag::Strong
        | Tag::Strikethrough
        | Tag::Superscript
        | Tag::Subscript
        | Tag::Link { .. }
        | Tag::Image { .. }
        | Tag::MetadataBlock(_) => None,
    }
}

/// Whether an HTML block is one comment and nothing else.
fn is_comment(html: &str) -> bool {
    html.strip_prefix("<!--").and_then(|rest| rest.split_once("-->")).is_some_and(|(_, after)| after.trim().is_empty())
}

struct FrontMatter {
    title: Option<String>,
    /// The byte after it.
    end: usize,
}

/// The block between two lines `---` (YAML; the second may be `...`) or `+++` (TOML) at the very start. Of its content
/// only a `title` on one line is read.
fn front_matter(text: &str) -> Option<FrontMatter> {
    let start = text.len() - text.trim_start_matches('\u{feff}').len();
    let mut lines = text[start..].split_inclusive('\n');
    let fence = lines.next()?;
    let mut end = start + fence.len();
    let fence = fence.trim_end();
    if !matches!(fence, "---" | "+++") {
        return None;
    }
    let mut title = None;
    for (n, line) in lines.enumerate() {
        end += line.len();
        let line = line.trim_end();
        if n == 0 && !is_entry(line) {
            // A thematic break, then.
            return None;
        }
        if line == fence || (fence == "---" && line == "...") {
            return Some(FrontMatter { title, end });
        }
        title = title.or_else(|| title_line(line));
    }
    None
}

/// Whether a line begins as `key: value` or `key = value` does.
fn is_entry(line: &str) -> bool {
    line.split_once([':', '=']).is_some_and(|(key, _)| {
        let key = key.trim_end();
        !key.is_empty() && key.chars().all(|char| char.is_alphanumeric() || "_-.\"'".contains(char))
    })
}

/// The value of `title: value` or `title = value`, without quotes.
fn title_line(line: &str) -> Option<String> {
    let value = line.strip_prefix("title")?.trim_start();
    let value = value.strip_prefix([':', '='])?.trim();
    let value = match value.chars().next()? {
        quote @ ('"' | '\'') => value.strip_prefix(quote)?.strip_suffix(quote)?.trim(),
        // A text on the lines below.
        '|' | '>' => return None,
        _ => value,
    };
    (1..=HEADING_BYTES_MAX).contains(&value.len()).then(|| value.to_owned())
}
