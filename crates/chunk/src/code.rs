//! Source code to blocks, by tree-sitter: a piece for each function and type, under the names that lead to it.
//!
//! | file         | responsibility                                              |
//! | ------------ | ----------------------------------------------------------- |
//! | `grammar.rs` | what is to be known of each language, as data               |
//! | `walk.rs`    | a syntax tree -> pieces under names, cut between statements |
//!
//! Code that does not parse is read as far as it does: what is between is a piece without a name. A file that is very long, or
//! takes the parser very many steps, is cut at empty lines alone.

mod grammar;
mod walk;

use std::cell::Cell;
use std::ops::ControlFlow;

use ibid_core::CodeLanguage;
use tree_sitter::{Language, ParseOptions, ParseState, Parser, Tree};

use crate::named::{Named, first_byte};
use crate::outline::{Outline, Shape};
use crate::parse::{Limits, ParseError};

/// A longer file is not parsed: where its errors can be read in many ways, a token takes up to 35 µs, and a tree up to 250 times
/// the memory of its text.
const PARSED_BYTES_MAX: usize = 200 << 10;
/// Nor is one with more brackets open than this.
const BRACKETS_MAX: usize = 1000;
/// The parser says how far it is after so many of its steps. Code that people write takes one step for each of its bytes; a few
/// are for what it must try in several ways.
const STEPS_PER_CALL: usize = 100;
const STEPS_PER_BYTE_MAX: usize = 2;
const STEPS_MIN: usize = 100_000;
/// A step costs twenty times as much while it looks for a way out of an error.
const ERROR_STEPS_MAX: usize = 30_000;
/// The text is given to it in pieces, which are counted: a scanner may look for an end to the file's own end, again and again.
const READ_PIECE_BYTES: usize = 4096;
const READ_BYTES_MAX: usize = 64 << 20;

/// Reads a file.
pub(crate) fn read(text: &str, language: CodeLanguage, limits: &Limits<'_>) -> Result<Outline, ParseError> {
    let grammar = grammar::of(language);
    let parser: Language = grammar.language.into();
    let blocks = match parse(text, &parser, limits)? {
        Some(tree) => walk::blocks(text, &tree, grammar, &grammar::Kinds::new(grammar, &parser), limits)?,
        None => {
            let mut named = Named::new(text);
            for start in paragraphs(text) {
                named.begin(&[], start, Shape::Code);
            }
            named.finish()
        }
    };
    Ok(Outline { blocks, ..Outline::default() })
}

/// The syntax tree, unless it would take too much.
fn parse(text: &str, language: &Language, limits: &Limits<'_>) -> Result<Option<Tree>, ParseError> {
    if text.len() > PARSED_BYTES_MAX || brackets(text) > BRACKETS_MAX {
        return Ok(None);
    }
    let mut parser = Parser::new();
    parser.set_language(language).expect("the grammars are made for this version of the parser");
    let mut steps = 0;
    let mut error_steps = 0;
    let read = Cell::new(0);
    let mut is_stopped = false;
    let mut progress = |state: &ParseState| {
        steps += STEPS_PER_CALL;
        error_steps += if state.has_error() { STEPS_PER_CALL } else { 0 };
        is_stopped = (limits.stop)();
        let is_slow = error_steps > ERROR_STEPS_MAX
            || read.get() > READ_BYTES_MAX
            || steps > STEPS_MIN + STEPS_PER_BYTE_MAX * state.current_byte_offset();
        if is_stopped || is_slow { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let options = ParseOptions::new().progress_callback(&mut progress);
    let bytes = text.as_bytes();
    let mut piece = |byte: usize, _| {
        // Once it has read too much, the text ends for it, and the next call of `progress` ends it.
        let end = if read.get() > READ_BYTES_MAX { byte } else { bytes.len().min(byte + READ_PIECE_BYTES) };
        read.set(read.get() + end.saturating_sub(byte));
        bytes.get(byte..end).unwrap_or_default()
    };
    let tree = parser.parse_with_options(&mut piece, None, Some(options));
    // It may have come to that end before it was asked.
    let tree = tree.filter(|_| read.get() <= READ_BYTES_MAX);
    if is_stopped { Err(ParseError::Stopped) } else { Ok(tree) }
}

/// How many brackets are open at once, those in texts and comments counted as well.
fn brackets(text: &str) -> usize {
    let mut open: usize = 0;
    let depths = text.bytes().map(|byte| {
        match byte {
            b'(' | b'[' | b'{' => open += 1,
            b')' | b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        open
    });
    depths.max().unwrap_or_default()
}

/// Where the runs of lines without an empty one start.
fn paragraphs(text: &str) -> Vec<usize> {
    let mut starts = Vec::new();
    let (mut byte, mut is_new) = (0, true);
    let first = first_byte(text);
    for line in text.split_inclusive('\n') {
        let start = byte + (line.len() - line.trim_start().len());
        if line.trim().is_empty() {
            is_new = true;
        } else if is_new && byte + line.trim_end().len() > first {
            starts.push(start.max(first));
            is_new = false;
        }
        byte += line.len();
    }
    starts
}
