//! Blocks to sections with their heading paths.

use std::ops::Range;

use crate::Config;
use crate::length::Lengths;
use crate::outline::{Block, Body, Heading, Shape};

/// What stands between two headings.
#[derive(Debug, Default)]
pub(crate) struct Section {
    /// The level of its first heading; `None` for what stands before all headings.
    level: Option<u8>,
    /// The headings it stands under, outermost first, its own included.
    pub(crate) path: Vec<String>,
    /// Its heading lines: its own, after those which are followed by a deeper one at once. A heading without a line of its
    /// own is in the path alone.
    pub(crate) headings: Vec<Range<usize>>,
    pub(crate) bodies: Vec<Body>,
}

impl Section {
    /// From its first heading to the end of its text; `None` for a section with nothing in it.
    fn bytes(&self) -> Option<Range<usize>> {
        let start = self.headings.first().or(self.bodies.first().map(|body| &body.bytes))?.start;
        let end = self.bodies.last().map(|body| &body.bytes).or(self.headings.last())?.end;
        Some(start..end)
    }
}

/// Sections in the text's order. A heading with no text below it, deeper headings and their text included, heads nothing:
/// it ends the section before it and is text of the section around it.
pub(crate) fn sections(blocks: Vec<Block>) -> Vec<Section> {
    let heads_text = heads_text(&blocks);
    let mut open: Vec<(u8, String)> = Vec::new();
    let mut sections = Vec::new();
    let mut section = Section::default();
    for (block, heads_text) in blocks.into_iter().zip(heads_text) {
        match block {
            Block::Body(body) => section.bodies.push(body),
            Block::Heading(Heading { bytes, level, text }) => {
                // A heading line right below another shares its section.
                if !section.bodies.is_empty() {
                    sections.push(std::mem::take(&mut section));
                }
                section.level.get_or_insert(level);
                open.truncate(open.iter().take_while(|(above, _)| *above < level).count());
                if text.is_empty() {
                    // It names nothing: what follows stands under the headings above its level.
                } else if heads_text {
                    open.push((level, text));
                    if !bytes.is_empty() {
                        section.headings.push(bytes);
                    }
                } else if !bytes.is_empty() {
                    section.bodies.push(Body::leaf(bytes, Shape::Paragraph));
                }
                section.path = open.iter().map(|(_, text)| text.clone()).collect();
            }
        }
    }
    sections.push(section);
    sections
}

/// For each block, whether there is text below it before the next heading of its level or above; true for bodies.
fn heads_text(blocks: &[Block]) -> Vec<bool> {
    // By level: whether text follows before a heading of that level or above.
    let mut text_follows = [false; 7];
    let mut heads_text = vec![true; blocks.len()];
    for (block, heads_text) in blocks.iter().zip(&mut heads_text).rev() {
        match block {
            Block::Body(_) => text_follows = [true; 7],
            Block::Heading(heading) => {
                let level = usize::from(heading.level);
                *heads_text = text_follows[level];
                // For the headings above it is text itself, or has text below it.
                text_follows[..level].fill(true);
                text_follows[level..].fill(false);
            }
        }
    }
    heads_text
}

/// Neighbouring sections that are packed together.
pub(crate) struct Group<'s> {
    pub(crate) sections: &'s [Section],
    /// The headings that all of them stand under.
    pub(crate) path: &'s [String],
}

/// Groups sections that are small (below three quarters of the target) up to the target, never over a heading above the first
/// one's level; any other section is a group of its own.
pub(crate) fn group<'s>(sections: &'s [Section], lengths: &Lengths<'_>, config: Config) -> Vec<Group<'s>> {
    let small_max = config.tokens_target / 4 * 3;
    let mut groups = Vec::new();
    let mut rest = sections;
    while let Some(first) = rest.first() {
        let start = first.bytes().map_or(0, |bytes| bytes.start);
        let joins = |section: &&Section| {
            section.level >= first.level
                && section.bytes().is_some_and(|bytes| {
                    lengths.weight(&bytes) <= small_max && lengths.weight(&(start..bytes.end)) <= config.tokens_target
                })
        };
        let count = rest.iter().take_while(joins).count().max(1);
        let (sections, after) = rest.split_at(count);
        groups.push(Group { sections, path: common_path(sections) });
        rest = after;
    }
    groups
}

fn common_path(sections: &[Section]) -> &[String] {
    let Some((first, others)) = sections.split_first() else { return &[] };
    others.iter().fold(&first.path[..], |common, section| {
        let shared = common.iter().zip(&section.path).take_while(|(a, b)| a == b).count();
        &common[..shared]
    })
}
