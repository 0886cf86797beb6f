//! Plain text to blocks: paragraphs between blank lines, and headings where they are plain to see.

use std::ops::Range;

use crate::length::trim;
use crate::outline::{Block, Body, Heading, Outline, Shape};
use crate::parse::ParseError;

/// A heading has at most this many characters.
const HEADING_CHARS_MAX: usize = 80;
/// A line of capitals has at least this many letters to be a heading: below, it may be an abbreviation.
const CAPITALS_MIN: usize = 4;
/// An underline has at least this many characters.
const UNDERLINE_MIN: usize = 3;

/// A text has at most this many paragraphs: each takes a hundred bytes, whatever its own are.
const PARAGRAPHS_MAX: usize = 2_000_000;

/// Reads a whole document. Its title is its first heading of level 1 if nothing stands before it, or a short first line
/// that stands alone.
pub(crate) fn read(text: &str) -> Result<Outline, ParseError> {
    let mut blocks = Vec::new();
    let paragraphs = paragraphs(text)?;
    for (n, bytes) in paragraphs.iter().enumerate() {
        let paragraph = &text[bytes.clone()];
        let first_of_several = n == 0 && paragraphs.len() > 1;
        match heading(paragraph).or_else(|| first_of_several.then(|| title(paragraph)).flatten()) {
            Some((level, line, end)) => {
                let end = bytes.start + end;
                blocks.push(Block::Heading(Heading { bytes: bytes.start..end, level, text: line.to_owned() }));
                push_paragraph(&mut blocks, trim(text, end..bytes.end));
            }
            None => push_paragraph(&mut blocks, bytes.clone()),
        }
    }
    let title = match blocks.first() {
        Some(Block::Heading(heading)) if heading.level == 1 => Some(heading.text.clone()),
        Some(Block::Heading(_) | Block::Body(_)) | None => None,
    };
    Ok(Outline { title, blocks, ..Outline::default() })
}

fn push_paragraph(blocks: &mut Vec<Block>, bytes: Range<usize>) {
    if !bytes.is_empty() {
        blocks.push(Block::Body(Body::leaf(bytes, Shape::Paragraph)));
    }
}

/// The runs of lines without a blank one, trimmed.
fn paragraphs(text: &str) -> Result<Vec<Range<usize>>, ParseError> {
    let mut paragraphs = Vec::new();
    let (mut start, mut end) = (0, 0);
    for line in text.split_inclusive('\n').chain(["\n"]) {
        if line.trim().is_empty() {
            let bytes = trim(text, start..end);
            if !bytes.is_empty() {
                paragraphs.push(bytes);
            }
            if paragraphs.len() > PARAGRAPHS_MAX {
                return Err(ParseError::TooLarge { what: "paragraphs", limit: PARAGRAPHS_MAX, byte: start });
            }
            start = end + line.len();
        }
        end += line.len();
    }
    Ok(paragraphs)
}

/// The heading that a paragraph is, or starts with: its level, its words, and how many bytes it has with its underline.
fn heading(paragraph: &str) -> Option<(u8, &str, usize)> {
    let mut lines = paragraph.split_inclusive('\n');
    let first = lines.next()?;
    let line = first.trim();
    if let Some(second) = lines.next() {
        let level = underline(second.trim_end())?;
        return (line.chars().count() <= HEADING_CHARS_MAX).then_some((
            level,
            line,
            first.len() + second.trim_end().len(),
        ));
    }
    let level = numbered(line).or_else(|| capitals(line))?;
    is_short_label(line).then_some((level, line, line.len()))
}

/// A short line that stands alone at the start.
fn title(paragraph: &str) -> Option<(u8, &str, usize)> {
    let is_title = is_short_label(paragraph)
        && !paragraph.contains('\n')
        && paragraph.starts_with(|first: char| first.is_alphanumeric() && !first.is_lowercase());
    is_title.then_some((1, paragraph, paragraph.len()))
}

/// Whether a line is short and does not end as a sentence does.
fn is_short_label(line: &str) -> bool {
    line.chars().count() <= HEADING_CHARS_MAX && !line.ends_with(['.', ',', ';', ':', '!', '?', '…', '。', '！', '？'])
}

/// The level of a line that underlines the one above: `===`, `---`, `~~~`, `^^^`.
fn underline(line: &str) -> Option<u8> {
    let level = match line.chars().next()? {
        '=' => 1,
        '-' => 2,
        '~' => 3,
        '^' => 4,
        _ => return None,
    };
    let mark = line.chars().next()?;
    (line.len() >= UNDERLINE_MIN && line.chars().all(|char| char == mark)).then_some(level)
}

/// The level of a line such as `2.1 Methods`: below the title, and one deeper for each number.
fn numbered(line: &str) -> Option<u8> {
    let (numbers, words) = line.split_once(' ')?;
    let numbers = numbers.strip_suffix('.').unwrap_or(numbers);
    let are_numbers =
        numbers.split('.').all(|n| (1..=3).contains(&n.len()) && n.bytes().all(|digit| digit.is_ascii_digit()));
    let depth = u8::try_from(numbers.split('.').count()).ok()?;
    (are_numbers && words.trim_start().starts_with(char::is_uppercase)).then_some((1 + depth).min(6))
}

/// The level of a line all in capitals.
fn capitals(line: &str) -> Option<u8> {
    let letters = || line.chars().filter(|char| char.is_alphabetic());
    (letters().count() >= CAPITALS_MIN && letters().all(char::is_uppercase)).then_some(2)
}
