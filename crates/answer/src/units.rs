//! Text to the pieces that can stand alone: sentences, list items, table rows.

use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation;

use crate::markers::{Parsed, Tail, is_opener, parse};

/// Words that a full stop belongs to. Sentence segmentation after Unicode (UAX 29) knows none.
const ABBREVIATIONS: [&str; 24] = [
    "abb.", "approx.", "art.", "bzw.", "ca.", "cf.", "d.h.", "dr.", "e.g.", "etc.", "fig.", "i.e.", "max.", "min.",
    "mr.", "mrs.", "ms.", "no.", "nr.", "prof.", "st.", "vgl.", "vs.", "z.b.",
];

/// How months begin where a day is written with a full stop, as in "3. Oktober".
const MONTHS_AFTER_DAY: [&str; 12] =
    ["Jan", "Feb", "Mär", "Apr", "Mai", "Jun", "Jul", "Aug", "Sep", "Okt", "Nov", "Dez"];

/// What a unit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UnitKind {
    /// A sentence of running text.
    Sentence,
    /// A list item without its bullet.
    Item,
    /// A table row without its outer bars.
    Row,
    /// A code block with its fences.
    Code,
    /// A heading without its hashes, or the head of a table.
    Heading,
}

/// A piece of a text that can stand alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unit {
    /// Where it stands, markup at its ends left out; never empty.
    pub(crate) bytes: Range<usize>,
    /// What it is.
    pub(crate) kind: UnitKind,
}

/// The units of `text`, in order and without overlap. Reads Markdown's line starts; plain text has few of them.
pub(crate) fn units(text: &str) -> Vec<Unit> {
    let mut found = Vec::new();
    let mut open: Option<Block> = None;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let bytes = at..at + line.len();
        at = bytes.end;
        if let Some(Block { kind: BlockKind::Code(fence), bytes: code }) = &mut open {
            code.end = bytes.end;
            if line.trim().starts_with(*fence) {
                close(text, &mut open, &mut found);
            }
            continue;
        }
        let content = bytes.start + indent(line);
        match line_start(&text[content..bytes.end]) {
            LineStart::Blank => close(text, &mut open, &mut found),
            LineStart::Rule => {
                close(text, &mut open, &mut found);
                if let Some(header) = found.last_mut().filter(|last| last.kind == UnitKind::Row) {
                    header.kind = UnitKind::Heading;
                }
            }
            LineStart::Fence(fence) => {
                close(text, &mut open, &mut found);
                open = Some(Block { kind: BlockKind::Code(fence), bytes });
            }
            LineStart::Heading(markup) => {
                close(text, &mut open, &mut found);
                push(text, content + markup..bytes.end, UnitKind::Heading, &mut found);
            }
            LineStart::Row => {
                close(text, &mut open, &mut found);
                push(text, content..bytes.end, UnitKind::Row, &mut found);
            }
            LineStart::Item(markup) => {
                close(text, &mut open, &mut found);
                open = Some(Block { kind: BlockKind::Item, bytes: content + markup..bytes.end });
            }
            LineStart::Text => match &mut open {
                Some(block) => block.bytes.end = bytes.end,
                None => open = Some(Block { kind: BlockKind::Paragraph, bytes: content..bytes.end }),
            },
        }
    }
    close(text, &mut open, &mut found);
    found
}

struct Block {
    kind: BlockKind,
    bytes: Range<usize>,
}

enum BlockKind {
    Paragraph,
    Item,
    /// What closes it.
    Code(&'static str),
}

fn close(text: &str, open: &mut Option<Block>, found: &mut Vec<Unit>) {
    match open.take() {
        None => {}
        Some(Block { kind: BlockKind::Item, bytes }) => push(text, bytes, UnitKind::Item, found),
        Some(Block { kind: BlockKind::Code(_), bytes }) => push(text, bytes, UnitKind::Code, found),
        Some(Block { kind: BlockKind::Paragraph, bytes }) => sentences(text, bytes, found),
    }
}

fn push(text: &str, bytes: Range<usize>, kind: UnitKind, found: &mut Vec<Unit>) {
    let outer: &[char] = if kind == UnitKind::Row { &['|'] } else { &[] };
    let markup = |found: char| found.is_whitespace() || outer.contains(&found);
    let piece = &text[bytes.clone()];
    let start = bytes.start + piece.len() - piece.trim_start_matches(markup).len();
    let bytes = start..start + piece.trim_matches(markup).len();
    if !bytes.is_empty() {
        found.push(Unit { bytes, kind });
    }
}

/// Sentences after UAX 29, where a line break inside a paragraph is a space, abbreviations end nothing, and a footnote
/// such as `[1]` belongs to the sentence before it.
fn sentences(text: &str, bytes: Range<usize>, found: &mut Vec<Unit>) {
    let paragraph = &text[bytes.clone()];
    // One byte for one byte, so that offsets stay.
    let mut flat = paragraph.replace(['\n', '\r', '\t'], " ");
    for (at, _) in paragraph.char_indices().filter(|(_, found)| is_opener(*found)) {
        if let Parsed::Marker(marker) = parse(&paragraph[at..], Tail::End) {
            flat.replace_range(at..at + marker.bytes, &")".repeat(marker.bytes));
        }
    }
    let mut start = 0;
    for (at, piece) in flat.split_sentence_bound_indices() {
        let end = at + piece.len();
        if end < flat.len() && ends_in_abbreviation(piece, &flat[end..]) {
            continue;
        }
        push(text, bytes.start + start..bytes.start + end, UnitKind::Sentence, found);
        start = end;
    }
}

fn ends_in_abbreviation(piece: &str, next: &str) -> bool {
    let word = piece.split_whitespace().next_back().unwrap_or_default().trim_start_matches(['(', '"', '[']);
    let Some(stem) = word.strip_suffix('.') else { return false };
    let initial = stem.chars().count() == 1 && stem.chars().all(char::is_uppercase);
    let day = (1..=2).contains(&stem.len()) && stem.bytes().all(|byte| byte.is_ascii_digit());
    let month = || MONTHS_AFTER_DAY.iter().any(|month| next.starts_with(month));
    initial || day && month() || ABBREVIATIONS.contains(&word.to_lowercase().as_str())
}

enum LineStart {
    Blank,
    /// A line of dashes and the like: under a heading, in a table, or alone.
    Rule,
    Fence(&'static str),
    /// Bytes of markup before the heading's text.
    Heading(usize),
    Row,
    /// Bytes of markup before the item's text.
    Item(usize),
    Text,
}

/// Bytes of white space and quotation markup before a line's content.
fn indent(line: &str) -> usize {
    let markup = |found: char| found.is_whitespace() && found != '\n' || found == '>';
    line.len() - line.trim_start_matches(markup).len()
}

fn line_start(line: &str) -> LineStart {
    let content = line.trim_end();
    if content.is_empty() {
        return LineStart::Blank;
    }
    if let Some(fence) = ["```", "~~~"].into_iter().find(|fence| content.starts_with(fence)) {
        return LineStart::Fence(fence);
    }
    let rule = |found: char| matches!(found, '-' | '=' | '*' | '_' | '|' | ':' | '+' | ' ');
    if content.len() >= 3 && content.chars().all(rule) {
        return LineStart::Rule;
    }
    // With bars around it, as Markdown has it, or between its cells alone, as texts that are made from tables have it.
    if content.starts_with('|') || content.contains(" | ") {
        return LineStart::Row;
    }
    let hashes = content.len() - content.trim_start_matches('#').len();
    if (1..=6).contains(&hashes) && content[hashes..].starts_with(' ') {
        return LineStart::Heading(hashes);
    }
    let digits = content.len() - content.trim_start_matches(|found: char| found.is_ascii_digit()).len();
    let bullet = match content.chars().next() {
        Some(found @ ('-' | '*' | '+' | '•')) => found.len_utf8(),
        Some(_) if (1..=3).contains(&digits) && content[digits..].starts_with(['.', ')']) => digits + 1,
        Some(_) | None => 0,
    };
    if bullet == 0 || !content[bullet..].starts_with(' ') {
        return LineStart::Text;
    }
    let task = ["[ ] ", "[x] ", "[X] "].into_iter().find(|task| content[bullet + 1..].starts_with(task));
    LineStart::Item(bullet + 1 + task.map_or(0, str::len))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let found: Vec<&str> = units(text).into_iter().map(|unit| &text[unit.bytes]).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn rows_without_outer_bars_stand_alone() {
        check("Box | Most\nBX-1 | 2 kg\nBX-2 | 5 kg", &["Box | Most", "BX-1 | 2 kg", "BX-2 | 5 kg"]);
    }

    #[test]
    fn sentences_run_over_lines_and_abbreviations() {
        check(
            "One is\nhere. Two, e.g. This, is\nthere!\n\nThree",
            &["One is\nhere.", "Two, e.g. This, is\nthere!", "Three"],
        );
        check("Dr. Smith wrote 3.5 pages. J. Doe read.", &["Dr. Smith wrote 3.5 pages.", "J. Doe read."]);
        check("Ask at desk 1. Am 3. Oktober nie.", &["Ask at desk 1.", "Am 3. Oktober nie."]);
        check("It is so.[1] Or not.", &["It is so.[1]", "Or not."]);
        check("一つ。二つ。", &["一つ。", "二つ。"]);
    }

    #[test]
    fn markup_at_line_starts_is_left_out() {
        check(
            "## Fees\n- [x] Basic. Free\n  of charge\n1. Pro\n* Big\n",
            &["Fees", "Basic. Free\n  of charge", "Pro", "Big"],
        );
        check("| a | b |\n|---|--:|\n| 1 | 2 |", &["a | b", "1 | 2"]);
        check("> Said he.\n\n```\nx = 1. Y\n\n- z\n```\nend", &["Said he.", "```\nx = 1. Y\n\n- z\n```", "end"]);
        check("Title\n=====\n-5 degrees. It was cold.", &["Title", "-5 degrees.", "It was cold."]);
    }

    proptest! {
        #[test]
        fn units_are_in_order_trimmed_and_hold_every_letter(text in "([-#|>*`.!?1a Bé。\n]|e\\.g\\. ){0,60}") {
            let letters = |text: &str| text.chars().filter(|found| found.is_alphabetic()).collect::<String>();
            let (mut at, mut held) = (0, String::new());
            for Unit { bytes, .. } in units(&text) {
                prop_assert!(at <= bytes.start && bytes.start < bytes.end);
                let piece = &text[bytes.clone()];
                prop_assert_eq!(piece, piece.trim());
                held.push_str(&letters(piece));
                at = bytes.end;
            }
            prop_assert_eq!(held, letters(&text));
        }
    }
}
