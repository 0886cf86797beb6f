//! From text and a media type to blocks, and from blocks to chunks with exact spans.
//!
//! | file          | responsibility                                                                     |
//! | ------------- | ---------------------------------------------------------------------------------- |
//! | `detect.rs`   | a media type from a file name and its bytes                                        |
//! | `block.rs`    | what every format is read into: headings, and bodies with the places they may be cut |
//! | `markdown.rs` | CommonMark with GitHub's tables, task lists, strikethrough and footnotes -> blocks |
//! | `plain.rs`    | plain text -> blocks: paragraphs, and headings where they are plain to see         |
//! | `section.rs`  | blocks -> sections with their heading paths; tiny neighbours grouped               |
//! | `split.rs`    | a section -> atoms, the smallest pieces that stay whole                            |
//! | `sentence.rs` | where sentences start                                                              |
//! | `pack.rs`     | atoms -> chunks of about the target, cut where it costs least                      |
//! | `length.rs`   | how long a piece is, from one run of the tokenizer                                 |
//!
//! A heading line belongs to the span of the first chunk below it, so that it can be quoted and found; a heading with no
//! text below it is text of the section around it. What a reader of the rendered page does not see is left out when it
//! stands between two chunks: front matter, link reference definitions, thematic breaks, comments.
//!
//! Invariants: spans are ordered, disjoint, on character boundaries, without white space at either end; every non-blank
//! byte lies in exactly one chunk or one dropped span. The same text, configuration and tokenizer give the same chunks.
//! Time is linear in the text for a given configuration, and recursion is bounded. A new format is one file that makes
//! blocks: nothing behind `block.rs` knows where they come from.
#![forbid(unsafe_code)]

mod block;
mod detect;
mod length;
mod markdown;
mod pack;
mod plain;
mod section;
mod sentence;
mod split;
#[cfg(test)]
mod tests;

use ibid_core::{BlockKind, Chunk, MediaType, Span, Tokenize};

pub use detect::detect;

use crate::length::{Lengths, trim};
use crate::section::Group;
use crate::split::Atom;

/// The rules by which documents are cut, stored with every document: spans of another version may differ.
pub const VERSION: &str = "chunk/1";

/// The range of both limits, in tokens.
const TOKENS_MIN: u32 = 16;
const TOKENS_MAX: u32 = 8192;

/// How long chunks are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// The length aimed at, in the embedder's tokens: 16 to `tokens_max`.
    pub tokens_target: u32,
    /// The length no chunk exceeds, in the embedder's tokens: `tokens_target` to 8192.
    pub tokens_max: u32,
}

/// A configuration that cannot be met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The target is out of range.
    #[error("tokens_target is {given}, expected 16 to tokens_max ({tokens_max})")]
    Target {
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
/// use ibid_chunk::{Chunker, Config};
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
/// let chunker = Chunker::new(Config { tokens_target: 200, tokens_max: 400 })?;
/// let chunked = chunker.chunk(text, MediaType::Markdown, &Characters);
/// assert_eq!(chunked.title.as_deref(), Some("Ferry"));
/// assert_eq!(chunked.chunks[0].heading_path, ["Ferry", "Fares"]);
/// assert_eq!(chunked.chunks[0].span.quote(text), Some("# Ferry\n\n## Fares\n\nAdults pay 3.50."));
/// # Ok::<(), ibid_chunk::ConfigError>(())
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
        let Config { tokens_target, tokens_max } = config;
        if !(TOKENS_MIN..=TOKENS_MAX).contains(&tokens_max) {
            return Err(ConfigError::Max { given: tokens_max });
        }
        if !(TOKENS_MIN..=tokens_max).contains(&tokens_target) {
            return Err(ConfigError::Target { given: tokens_target, tokens_max });
        }
        Ok(Chunker { config })
    }

    /// Cuts `text` (less than 4 GiB, as spans are). Never fails; a text with nothing to say has no chunks.
    ///
    /// A chunk has at most `tokens_max` of the `tokenizer`'s tokens, and about 16 bytes for each of those, so that what
    /// a tokenizer takes for one unknown word cannot grow without bound. One character alone is never cut.
    pub fn chunk(&self, text: &str, media: MediaType, tokenizer: &dyn Tokenize) -> Chunked {
        let document = match media {
            MediaType::Markdown => markdown::read(text),
            MediaType::Plain => plain::read(text),
        };
        let lengths = Lengths::new(text, tokenizer);
        let sections = section::sections(document.blocks);
        let mut chunks = Vec::new();
        for group in section::group(&sections, &lengths, self.config) {
            let atoms = split::split(group.sections, &lengths, self.config);
            let runs = pack::pack(&atoms, self.config);
            chunks.extend(runs.into_iter().map(|run| chunk_of(text, &atoms[run], &group)));
        }
        let dropped = uncovered(text, &chunks);
        Chunked { title: document.title, chunks, dropped }
    }
}

/// One chunk of neighbouring atoms; there is at least one.
fn chunk_of(text: &str, atoms: &[Atom], group: &Group<'_>) -> Chunk {
    let (first, last) = (&atoms[0], &atoms[atoms.len() - 1]);
    let span = Span::of(text, first.bytes.start..last.bytes.end).expect("atoms are cut from a text below 4 GiB");
    let kind = atoms.iter().fold(None, |kind, atom| split::join_kinds(kind, atom.kind));
    Chunk {
        span,
        heading_path: group.path.to_vec(),
        kind: kind.unwrap_or(BlockKind::Paragraph),
        tokens: last.tokens.end - first.tokens.start,
    }
}

/// What lies between the chunks and is not blank.
fn uncovered(text: &str, chunks: &[Chunk]) -> Vec<Span> {
    let starts = chunks.iter().map(|chunk| chunk.span.range().start).chain([text.len()]);
    let ends = [0].into_iter().chain(chunks.iter().map(|chunk| chunk.span.range().end));
    ends.zip(starts).filter_map(|(end, start)| Span::of(text, trim(text, end..start))).collect()
}
