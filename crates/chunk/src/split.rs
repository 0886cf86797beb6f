//! A section to atoms: the smallest pieces that stay whole.
//!
//! Tables, code, list items, rows, lines and sentences stay whole up to `tokens_max`; paragraphs and quotes up to
//! `tokens_target`, lists up to `structured_target`. What is longer is cut at what is nested in it, then at sentences or lines, then between words, then
//! between graphemes, at last between characters.

use std::ops::Range;

use ibid_core::BlockKind;
use unicode_segmentation::UnicodeSegmentation;

use crate::Config;
use crate::length::{self, Lengths, trim};
use crate::outline::{Body, Node, Shape};
use crate::section::Section;
use crate::sentence::{is_wrapped, sentence_starts};

/// Neighbours which together are below this part of the target become one atom: it bounds the work of packing.
const ATOMS_PER_TARGET: u32 = 16;

/// A piece that is not cut any more.
#[derive(Debug)]
pub(crate) struct Atom {
    /// Where it stands; no white space at the ends.
    pub(crate) bytes: Range<usize>,
    /// Its tokens, as [`Lengths::tokens`] numbers them.
    pub(crate) tokens: Range<u32>,
    /// What is cut if a chunk starts with it.
    pub(crate) joint: Joint,
    /// `None` for a heading.
    pub(crate) kind: Option<BlockKind>,
    /// What is repeated with it, elsewhere in the text.
    pub(crate) context: Option<Range<usize>>,
}

/// What lies between an atom and the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Joint {
    /// A heading begins.
    Section,
    /// A heading ends.
    Heading,
    /// One block ends, another begins.
    Block,
    /// As `Block`, and the first says that the second follows: it ends with a colon.
    LeadIn,
    /// Parts of one block: items, rows, paragraphs of a quote, code on both sides of a blank line.
    Part,
    /// Sentences of one paragraph.
    Sentence,
    /// Lines of one part.
    Line,
    /// Words of one line or sentence.
    Word,
}

/// The atoms of neighbouring sections, in the text's order.
pub(crate) fn split(sections: &[Section], lengths: &Lengths<'_>, config: Config) -> Vec<Atom> {
    let mut splitter = Splitter { lengths, config, context: None, atoms: Vec::new() };
    for section in sections {
        let mut joint = Joint::Section;
        for heading in &section.headings {
            splitter.context = None;
            splitter.words(heading.clone(), joint, None);
            joint = Joint::Heading;
        }
        for body in &section.bodies {
            splitter.context = body.context.clone();
            splitter.body(body, joint);
            joint = if lengths.text[body.bytes.clone()].ends_with(':') { Joint::LeadIn } else { Joint::Block };
        }
    }
    splitter.atoms
}

/// The kind of two pieces together.
pub(crate) fn join_kinds(a: Option<BlockKind>, b: Option<BlockKind>) -> Option<BlockKind> {
    match (a, b) {
        (Some(a), Some(b)) if a != b => Some(BlockKind::Mixed),
        (a, b) => a.or(b),
    }
}

struct Splitter<'l, 't> {
    lengths: &'l Lengths<'t>,
    config: Config,
    /// Of the block that is being cut.
    context: Option<Range<usize>>,
    atoms: Vec<Atom>,
}

impl Splitter<'_, '_> {
    fn body(&mut self, body: &Body, joint: Joint) {
        self.node(&body.nodes, body.bytes.clone(), joint, body.nodes[0].shape.kind());
    }

    /// Cuts the first of `nodes`, which the others are nested in; `kind` is the whole body's. Recursion ends with
    /// `NODE_DEPTH_MAX`.
    fn node(&mut self, nodes: &[Node], bytes: Range<usize>, mut joint: Joint, kind: BlockKind) {
        let bytes = trim(self.lengths.text, bytes);
        let (node, inner) = (nodes[0], &nodes[1..]);
        let whole_max = match node.shape {
            Shape::Table | Shape::Row | Shape::Code | Shape::Statement | Shape::Item => self.config.tokens_max,
            Shape::List => self.config.structured_target,
            Shape::Paragraph | Shape::Html | Shape::Quote | Shape::Footnote | Shape::Caption => {
                self.config.tokens_target
            }
        };
        if bytes.is_empty() {
            return;
        }
        if self.lengths.weight(&bytes) <= whole_max {
            return self.push(bytes, joint, Some(kind));
        }
        if inner.is_empty() {
            return match node.shape {
                Shape::Code | Shape::Statement | Shape::Html | Shape::Row => self.lines(bytes, joint, Some(kind)),
                Shape::Paragraph
                | Shape::List
                | Shape::Item
                | Shape::Table
                | Shape::Quote
                | Shape::Footnote
                | Shape::Caption => self.sentences(bytes, joint, kind),
            };
        }
        let mut start = bytes.start;
        let mut children = inner.chunk_by(|_, next| next.depth > node.depth + 1).peekable();
        while let Some(child) = children.next() {
            let end = children.peek().map_or(bytes.end, |next| next[0].start.clamp(start, bytes.end));
            self.node(child, start..end, joint, kind);
            start = end;
            joint = Joint::Part;
        }
    }

    fn sentences(&mut self, bytes: Range<usize>, mut joint: Joint, kind: BlockKind) {
        let text = &self.lengths.text[bytes.clone()];
        let lines_end = !is_wrapped(text);
        for piece in pieces(&bytes, sentence_starts(text)) {
            let sentence = trim(self.lengths.text, piece.clone());
            let end = sentence.end;
            if self.lengths.weight(&sentence) <= self.config.tokens_max {
                self.push(sentence, joint, Some(kind));
            } else {
                self.lines(sentence, joint, Some(kind));
            }
            let line_ends = lines_end && self.lengths.text[end..piece.end].contains('\n');
            joint = if line_ends { Joint::Part } else { Joint::Sentence };
        }
    }

    fn lines(&mut self, bytes: Range<usize>, mut joint: Joint, kind: Option<BlockKind>) {
        let text = &self.lengths.text[bytes.clone()];
        let starts = text.match_indices('\n').map(|(byte, _)| byte + 1).collect();
        for line in pieces(&bytes, starts) {
            let line = trim(self.lengths.text, line);
            if line.is_empty() {
                joint = Joint::Part;
            } else {
                self.words(line, joint, kind);
                joint = Joint::Line;
            }
        }
    }

    /// Pushes a piece, cut between words into pieces of about equal length if it does not fit a chunk.
    fn words(&mut self, mut bytes: Range<usize>, mut joint: Joint, kind: Option<BlockKind>) {
        let (tokens_target, tokens_max) = (self.config.target(kind), self.config.tokens_max);
        if self.lengths.weight(&bytes) <= tokens_max {
            return self.push(bytes, joint, kind);
        }
        while !bytes.is_empty() {
            let weight = self.lengths.weight(&bytes);
            let count = ((weight + tokens_target / 2) / tokens_target).max(weight.div_ceil(tokens_max));
            let cut = if count == 1 { bytes.end } else { self.word_cut(&bytes, weight.div_ceil(count)) };
            self.push(trim(self.lengths.text, bytes.start..cut), joint, kind);
            bytes = trim(self.lengths.text, cut..bytes.end);
            joint = Joint::Word;
        }
    }

    /// The best place to cut within the first `weight_max` of a piece: a blank or the bounds of a word if there is one in
    /// the second half, else between graphemes, else between characters, else after the first character.
    fn word_cut(&self, bytes: &Range<usize>, weight_max: u32) -> usize {
        let text = self.lengths.text;
        let first = bytes.start + text[bytes.clone()].chars().next().map_or(0, char::len_utf8);
        let reach = text.floor_char_boundary(self.lengths.reach(bytes.start, weight_max).min(bytes.end)).max(first);
        let window = &text[bytes.start..reach];
        let half = window.len() / 2;
        let blank = window.rfind(char::is_whitespace).filter(|&cut| cut > half);
        let word = || window.split_word_bound_indices().map(|(cut, _)| cut).next_back().filter(|&cut| cut > half);
        let grapheme = || window.grapheme_indices(true).map(|(cut, _)| cut).next_back().filter(|&cut| cut > 0);
        bytes.start + blank.or_else(word).or_else(grapheme).unwrap_or(window.len())
    }

    fn push(&mut self, bytes: Range<usize>, joint: Joint, kind: Option<BlockKind>) {
        let tokens = self.lengths.tokens(&bytes);
        if joint != Joint::Section
            && let Some(last) = self.atoms.last_mut()
        {
            let (joined, tokens) = (last.bytes.start..bytes.end, last.tokens.start..tokens.end);
            if length::weight(&tokens, &joined) <= self.config.tokens_target / ATOMS_PER_TARGET {
                (last.bytes, last.tokens, last.kind) = (joined, tokens, join_kinds(last.kind, kind));
                last.context = last.context.take().or_else(|| self.context.clone());
                return;
            }
        }
        self.atoms.push(Atom { bytes, tokens, joint, kind, context: self.context.clone() });
    }
}

/// Cuts `bytes` at `starts`, which count from its first byte.
fn pieces(bytes: &Range<usize>, starts: Vec<usize>) -> impl Iterator<Item = Range<usize>> {
    let base = bytes.start;
    let mut start = base;
    starts.into_iter().map(move |start| base + start).chain([bytes.end]).map(move |end| {
        let piece = start..end;
        start = end;
        piece
    })
}
