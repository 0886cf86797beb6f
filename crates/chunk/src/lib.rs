//! From bytes and a media type to blocks over a text, and from blocks to chunks with exact spans.
//!
//! | file          | responsibility                                                                     |
//! | ------------- | ---------------------------------------------------------------------------------- |
//! | `detect.rs`   | a media type from a file name and its bytes                                        |
//! | `inspect.rs`  | what is noticed of a text: its language, noise, instructions; what a chunk is like   |
//! | `parse.rs`    | bytes -> the text that is stored and its outline, by the format's reader             |
//! | `outline.rs`  | what every format is read into: headings, and bodies with the places they may be cut |
//! | `html.rs`     | a page's content without what is around it: tree, choice, text (feature `html`)    |
//! | `email.rs`    | a message: its new text, what it quotes, its attachments' names (feature `email`)  |
//! | `markdown.rs` | CommonMark with GitHub's tables, task lists, strikethrough and footnotes -> blocks |
//! | `plain.rs`    | plain text -> blocks: paragraphs, and headings where they are plain to see         |
//! | `delimited.rs` | CSV and TSV -> a table; spans are the file's own bytes                             |
//! | `package.rs`  | an Office file's parts, unpacked within limits, and their XML                      |
//! | `written.rs`  | a text as it is made from another format, with its outline                         |
//! | `docx.rs`     | Word -> headings, paragraphs, lists, tables, notes                                 |
//! | `pptx.rs`     | PowerPoint -> slides, their lists and tables, and what is said to them             |
//! | `xlsx.rs`     | Excel -> sheets, and the tables on them as they are shown                          |
//! | `json.rs`     | JSON and JSON Lines -> blocks under the keys that lead to them                     |
//! | `yaml.rs`     | YAML -> the same                                                                   |
//! | `entries.rs`  | what both have in common: entries of nested collections -> blocks and places       |
//! | `code.rs`     | source code -> functions and types under their names                               |
//! | `named.rs`    | pieces under paths of names -> blocks under headings without lines                 |
//! | `pdf.rs`      | PDF -> its text in reading order and blocks, each line with its place on the page  |
//! | `section.rs`  | blocks -> sections with their heading paths; small neighbours grouped              |
//! | `split.rs`    | a section -> atoms, the smallest pieces that stay whole                            |
//! | `sentence.rs` | where sentences start                                                              |
//! | `pack.rs`     | atoms -> chunks of about the target, cut where it costs least                      |
//! | `length.rs`   | how long a piece is, from one run of the tokenizer                                 |
//!
//! A heading line belongs to the span of the first chunk below it, so that it can be quoted and found; a heading with no
//! text below it is text of the section around it. What a reader of the rendered page does not see is left out when it
//! stands between two chunks: front matter, link reference definitions, thematic breaks, comments.
//!
//! Invariants: spans are ordered by where they start and where they end, on character boundaries, without white space at
//! either end, and disjoint without overlap; every non-blank byte lies in a chunk or one dropped span. The same text,
//! configuration and tokenizer give the same chunks. Time is linear in the text for a given configuration, and recursion is
//! bounded. A new format is one file that makes blocks: nothing behind `outline.rs` knows where they come from.
#![forbid(unsafe_code)]

#[cfg(feature = "code")]
mod code;
mod delimited;
mod detect;
#[cfg(feature = "office")]
mod docx;
#[cfg(feature = "email")]
mod email;
mod entries;
#[cfg(feature = "html")]
mod html;
mod inspect;
mod json;
mod length;
mod markdown;
mod named;
mod outline;
mod pack;
#[cfg(feature = "office")]
mod package;
mod parse;
#[cfg(feature = "pdf")]
mod pdf;
mod plain;
#[cfg(feature = "office")]
mod pptx;
mod section;
mod sentence;
mod split;
#[cfg(test)]
mod tests;
#[cfg(feature = "office")]
mod written;
#[cfg(feature = "office")]
mod xlsx;
mod yaml;

use std::ops::Range;

use ibid_core::{BlockKind, Chunk, Place, Span, Tokenize};

pub use detect::{detect, may_be_read};
pub use inspect::{inspect, likeness};
pub use outline::{Block, Body, Heading, LeftOut, Node, Outline, Placed, Reason, Shape};
pub use parse::{Limits, ParseError, Parsed, TEXT_BYTES_MAX, outline, parse};

use crate::length::{Lengths, trim};
use crate::section::Group;
use crate::split::{Atom, Joint};

/// The rules by which documents are cut, stored with every document: spans of another version may differ.
pub const VERSION: &str = "chunk/1";

/// The range of both limits, in tokens.
const TOKENS_MIN: u32 = 16;
const TOKENS_MAX: u32 = 8192;
/// What is repeated with a chunk has at most this many bytes: it takes room from the chunk itself in what the encoder reads.
const CONTEXT_BYTES_MAX: usize = 240;
/// A chunk has at most this many places in the original.
const PLACES_MAX: usize = 64;

/// How documents are cut. Lengths are in the embedder's tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// The length aimed at for running text: 16 to `tokens_max`.
    pub tokens_target: u32,
    /// The length aimed at for lists, tables and code, whose pieces say little without their neighbours: 16 to `tokens_max`.
    pub structured_target: u32,
    /// The length no chunk exceeds, overlap included: 16 to 8192.
    pub tokens_max: u32,
    /// How much of the running text before a chunk is repeated at its start, in whole sentences: 0 to half of
    /// `tokens_target`. Never over the bounds of a paragraph or section.
    pub overlap_tokens: u32,
    /// What is repeated beside a chunk.
    pub context: Context,
}

/// What is repeated beside a chunk, without being part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Context {
    /// Nothing.
    Nothing,
    /// What names it: the header row of its table, the imports of its code.
    Names,
    /// As `Names`; for running text the sentence before, in its paragraph.
    NamesOrSentence,
}

impl Config {
    /// Everything cut to one length, with a fifth more where that keeps a paragraph whole.
    pub fn fixed(tokens_target: u32) -> Config {
        let tokens_max = tokens_target.saturating_add(tokens_target / 5);
        Config {
            tokens_target,
            structured_target: tokens_target,
            tokens_max,
            overlap_tokens: 0,
            context: Context::Names,
        }
    }

    /// What suits most texts: the lengths that the figures in the README were measured at.
    pub fn auto() -> Config {
        Config::fixed(200)
    }

    /// The length aimed at for a kind; `None` is a heading's.
    fn target(&self, kind: Option<BlockKind>) -> u32 {
        match kind {
            Some(BlockKind::List | BlockKind::Table | BlockKind::Code) => self.structured_target,
            Some(BlockKind::Paragraph | BlockKind::Quote | BlockKind::Mixed) | None => self.tokens_target,
        }
    }
}

/// A configuration that cannot be met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The target is out of range.
    #[error("{key} is {given}, expected 16 to tokens_max ({tokens_max})")]
    Target {
        /// Which one.
        key: &'static str,
        /// What was given.
        given: u32,
        /// The upper end of the range.
        tokens_max: u32,
    },
    /// The upper limit is out of range.
    #[error("tokens_max is {given}, expected 16 to 8192")]
    Max {
        /// What was given.
        given: u32,
    },
    /// The overlap is out of range.
    #[error("overlap_tokens is {given}, expected 0 to half of tokens_target ({overlap_max})")]
    Overlap {
        /// What was given.
        given: u32,
        /// The upper end of the range.
        overlap_max: u32,
    },
}

/// What a document is cut into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunked {
    /// The document's own title: `title` of its front matter, else its heading of level 1 if there is only one; in plain
    /// text a short first line that stands alone.
    pub title: Option<String>,
    /// The chunks, in the text's order.
    pub chunks: Vec<Chunk>,
    /// What is not blank and in no chunk, in the text's order: a span for each gap between chunks.
    pub dropped: Vec<Span>,
}

/// Cuts documents.
///
/// ```
/// use ibid_chunk::{Chunker, Config, Limits, parse};
/// use ibid_core::{MediaType, Tokenize};
///
/// #[derive(Debug)]
/// struct Characters;
/// impl Tokenize for Characters {
///     fn token_starts(&self, text: &str, out: &mut Vec<u32>) {
///         out.extend(text.char_indices().map(|(byte, _)| byte as u32));
///     }
/// }
///
/// let text = "# Ferry\n\n## Fares\n\nAdults pay 3.50.\n";
/// let chunker = Chunker::new(Config::fixed(200))?;
/// let parsed = parse(text.as_bytes(), MediaType::Markdown, &Limits::NONE)?;
/// let chunked = chunker.chunk(&parsed.text, parsed.outline, &Characters);
/// assert_eq!(chunked.title.as_deref(), Some("Ferry"));
/// assert_eq!(chunked.chunks[0].heading_path, ["Ferry", "Fares"]);
/// assert_eq!(chunked.chunks[0].span.quote(text), Some("# Ferry\n\n## Fares\n\nAdults pay 3.50."));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Chunker {
    config: Config,
}

impl Chunker {
    /// A chunker of this configuration.
    ///
    /// # Errors
    /// [`ConfigError`]: a limit is out of its range.
    pub fn new(config: Config) -> Result<Chunker, ConfigError> {
        let Config { tokens_target, structured_target, tokens_max, overlap_tokens, context: _ } = config;
        if !(TOKENS_MIN..=TOKENS_MAX).contains(&tokens_max) {
            return Err(ConfigError::Max { given: tokens_max });
        }
        for (key, given) in [("tokens_target", tokens_target), ("structured_target", structured_target)] {
            if !(TOKENS_MIN..=tokens_max).contains(&given) {
                return Err(ConfigError::Target { key, given, tokens_max });
            }
        }
        if overlap_tokens > tokens_target / 2 {
            return Err(ConfigError::Overlap { given: overlap_tokens, overlap_max: tokens_target / 2 });
        }
        Ok(Chunker { config })
    }

    /// Cuts `text` (less than 4 GiB, as spans are). Never fails; a text with nothing to say has no chunks.
    ///
    /// A chunk has at most `tokens_max` of the `tokenizer`'s tokens, and about 16 bytes for each of those, so that what
    /// a tokenizer takes for one unknown word cannot grow without bound. One character alone is never cut.
    pub fn chunk(&self, text: &str, outline: Outline, tokenizer: &dyn Tokenize) -> Chunked {
        let Outline { title, blocks, places, left_out: _ } = outline;
        let lengths = Lengths::new(text, tokenizer);
        let sections = section::sections(blocks);
        let mut chunks = Vec::new();
        for group in section::group(&sections, &lengths, self.config) {
            let atoms = split::split(group.sections, &lengths, self.config);
            let runs = pack::pack(&atoms, self.config);
            chunks.extend(runs.into_iter().map(|run| self.chunk_of(text, &atoms, run, &group, &places)));
        }
        let dropped = uncovered(text, &chunks);
        Chunked { title, chunks, dropped }
    }

    /// The chunk of a run of `atoms`; there is at least one in it.
    fn chunk_of(&self, text: &str, atoms: &[Atom], run: Range<usize>, group: &Group<'_>, places: &[Placed]) -> Chunk {
        let from = pack::overlapped(atoms, &run, self.config);
        let run = &atoms[from..run.end];
        let (first, last) = (&run[0], &run[run.len() - 1]);
        let bytes = first.bytes.start..last.bytes.end;
        let span = Span::of(text, bytes.clone()).expect("atoms are cut from a text below 4 GiB");
        let kind = run.iter().fold(None, |kind, atom| split::join_kinds(kind, atom.kind));
        Chunk {
            span,
            heading_path: group.path.to_vec(),
            kind: kind.unwrap_or(BlockKind::Paragraph),
            tokens: last.tokens.end - first.tokens.start,
            context: context_of(text, &atoms[..from], run, self.config.context),
            places: places_of(&bytes, places),
        }
    }
}

/// What is repeated beside a chunk: what its blocks say is, else the sentence before it in its paragraph.
fn context_of(text: &str, before: &[Atom], run: &[Atom], wanted: Context) -> Option<Span> {
    if wanted == Context::Nothing {
        return None;
    }
    let bytes = run[0].bytes.start..run[run.len() - 1].bytes.end;
    let given = run.iter().find_map(|atom| atom.context.clone());
    let given = given.filter(|context| context.start < bytes.start || context.end > bytes.end);
    let sentence = || {
        before
            .last()
            .filter(|_| wanted == Context::NamesOrSentence && run[0].joint == Joint::Sentence)
            .map(|atom| end_of(text, &atom.bytes))
    };
    Span::of(text, given.map(|context| shortened(text, context)).or_else(sentence)?)
}

/// The end of a sentence, as much as goes with a chunk: whole words.
fn end_of(text: &str, sentence: &Range<usize>) -> Range<usize> {
    if sentence.len() <= CONTEXT_BYTES_MAX {
        return sentence.clone();
    }
    let start = text.ceil_char_boundary(sentence.end - CONTEXT_BYTES_MAX);
    let word = text[start..sentence.end].find(char::is_whitespace).map_or(start, |blank| start + blank);
    trim(text, word..sentence.end)
}

/// The start of a context, as much as goes with every chunk: whole lines where one fits.
fn shortened(text: &str, context: Range<usize>) -> Range<usize> {
    if context.len() <= CONTEXT_BYTES_MAX {
        return trim(text, context);
    }
    let end = text.floor_char_boundary(context.start + CONTEXT_BYTES_MAX);
    let end = text[context.start..end].rfind('\n').map_or(end, |line| context.start + line);
    trim(text, context.start..end)
}

/// Where a piece of the text stands in the original; neighbours joined.
fn places_of(bytes: &Range<usize>, places: &[Placed]) -> Vec<Place> {
    let first = places.partition_point(|placed| placed.bytes.end <= bytes.start);
    let mut out: Vec<Place> = Vec::new();
    for Placed { place, .. } in places[first..].iter().take_while(|placed| placed.bytes.start < bytes.end) {
        match out.last().and_then(|last| last.join(place)) {
            Some(joined) => *out.last_mut().expect("there is one to join") = joined,
            None if out.len() == PLACES_MAX => break,
            None => out.push(place.clone()),
        }
    }
    out
}

/// What lies between the chunks and is not blank.
fn uncovered(text: &str, chunks: &[Chunk]) -> Vec<Span> {
    let starts = chunks.iter().map(|chunk| chunk.span.range().start).chain([text.len()]);
    let ends = [0].into_iter().chain(chunks.iter().map(|chunk| chunk.span.range().end));
    // A chunk that repeats the end of the one before starts before it.
    ends.zip(starts)
        .filter(|(end, start)| end < start)
        .filter_map(|(end, start)| Span::of(text, trim(text, end..start)))
        .collect()
}
