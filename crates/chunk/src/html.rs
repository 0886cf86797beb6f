//! HTML: a page's content, without what stands around it, as text for people and an outline.
//!
//! | file              | responsibility                                       |
//! | ----------------- | ---------------------------------------------------- |
//! | `html/tree.rs`    | bytes of markup -> the tree that browsers build      |
//! | `html/content.rs` | which of it is content                               |
//! | `html/write.rs`   | content -> text and outline                          |
//!
//! Markup within a line is dropped, pictures stand for their alternative text, links for theirs. Time is linear in the page, and
//! nothing recurs.

#[allow(
    clippy::wildcard_enum_match_arm,
    reason = "of all elements few matter at one place, and the others are alike there"
)]
mod content;
mod tree;
#[allow(
    clippy::wildcard_enum_match_arm,
    reason = "of all elements few matter at one place, and the others are alike there"
)]
mod write;

use std::borrow::Cow;

use encoding_rs::{Encoding, ISO_2022_JP, UTF_8, WINDOWS_1252};

use self::content::Content;
use self::tree::{Tag, Tree};
use crate::length::on_one_line;
use crate::outline::{Block, Outline};
use crate::parse::{Limits, ParseError};

/// A page says its encoding within so many bytes, or not at all.
const DECLARATION_BYTES_MAX: usize = 4096;

/// Reads a page.
pub(crate) fn convert(bytes: &[u8], limits: &Limits<'_>) -> Result<(String, Outline), ParseError> {
    read(&decode(bytes), limits)
}

/// Reads a page whose encoding is known.
pub(crate) fn read(page: &str, limits: &Limits<'_>) -> Result<(String, Outline), ParseError> {
    let tree = Tree::of(page, limits)?;
    let mut content = Content::of(&tree);
    let (mut text, mut outline) = write::write(&tree, &content, limits)?;
    if text.is_empty() {
        content.keep_all();
        (text, outline) = write::write(&tree, &content, limits)?;
    }
    outline.title = title(&tree, &outline);
    Ok((text, outline))
}

/// The text of a page: by its byte order mark; else UTF-8 if it can be that; else as it says itself; else windows-1252, which
/// is what browsers take pages for that say nothing.
fn decode(bytes: &[u8]) -> Cow<'_, str> {
    if let Some((encoding, mark)) = Encoding::for_bom(bytes) {
        return encoding.decode_without_bom_handling(&bytes[mark..]).0;
    }
    let declared = declared(&bytes[..bytes.len().min(DECLARATION_BYTES_MAX)]);
    match (std::str::from_utf8(bytes), declared) {
        // The only one whose bytes are all those of ASCII.
        (Ok(_), Some(encoding)) if encoding == ISO_2022_JP => encoding.decode_without_bom_handling(bytes).0,
        (Ok(text), _) => Cow::Borrowed(text),
        (Err(_), declared) => declared.unwrap_or(WINDOWS_1252).decode_without_bom_handling(bytes).0,
    }
}

/// The encoding that a `meta` element or an XML declaration names.
fn declared(head: &[u8]) -> Option<&'static Encoding> {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let tags = head.split('<').filter(|tag| tag.starts_with("meta") || tag.starts_with("?xml"));
    let encoding = tags.filter_map(|tag| {
        let tag = tag.split('>').next()?;
        let (_, value) = tag.split_once("charset").or_else(|| tag.split_once("encoding"))?;
        let value = value.trim_start().strip_prefix('=')?.trim_start_matches([' ', '"', '\'']);
        let label = value.split([' ', '"', '\'', ';', '/', '?']).next()?;
        Encoding::for_label(label.as_bytes())
    });
    // Bytes that say "UTF-16" in ASCII are not.
    encoding.map(|encoding| if encoding.is_ascii_compatible() { encoding } else { UTF_8 }).next()
}

/// The page's title, without the site's name behind it where the first heading shows what that is; else the first heading of
/// level 1.
fn title(tree: &Tree, outline: &Outline) -> Option<String> {
    const BREAKS: [&str; 8] = [" | ", " - ", " – ", " — ", " · ", " • ", " :: ", " » "];
    let heading = outline.blocks.iter().find_map(|block| match block {
        Block::Heading(heading) if heading.level == 1 => Some(&heading.text),
        Block::Heading(_) | Block::Body(_) => None,
    });
    let node = tree.nodes.iter().find(|node| node.tag == Tag::Title && node.first != tree::NONE);
    let words = node.map(|node| on_one_line(tree.text(node.first)));
    let Some(title) = words.filter(|words| !words.is_empty()) else { return heading.cloned() };
    let is_heading = |before: &str| heading.is_some_and(|heading| heading.to_lowercase() == before.to_lowercase());
    let cut = BREAKS.iter().flat_map(|between| title.match_indices(between)).map(|(at, _)| &title[..at]);
    Some(cut.filter(|before| is_heading(before)).map(str::to_owned).next().unwrap_or(title))
}

#[cfg(test)]
mod tests;
