//! Lines to blocks: headings by size and weight, paragraphs, lists, tables, captions, footnotes, code.

use rustc_hash::FxHashMap;

use crate::outline::Shape;
use crate::pdf::order::{Line, Piece, is_bullet, is_mark};
use crate::pdf::words::{Run, Style};

/// A heading's letters are larger than the text's by this factor, or they are bold and it is not.
const LARGER: f32 = 1.08;
/// Lines whose sizes differ by less than this part are of one block.
const SAME_SIZE: f32 = 0.06;
/// A heading has at most this many lines and characters.
const HEADING_LINES_MAX: usize = 4;
const HEADING_CHARS_MAX: usize = 180;
/// Headings of more looks than this are all of the deepest level.
const LOOKS_MAX: usize = 64;
/// A gap between lines of this many usual ones ends a paragraph.
const LEADING: f32 = 1.25;
/// A gap of this many ends code.
const CODE_LEADING: f32 = 2.2;
/// A first line is indented by this many ems, a line that ends a paragraph leaves this many free.
const INDENT: f32 = 0.8;
/// Footnotes are smaller than the text by this factor, in the lower part of the page.
const SMALLER: f32 = 0.93;

/// A line and the page that it stands on, from 0.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) line: Line,
    pub(super) page: usize,
}

/// A piece of the document.
#[derive(Debug)]
pub(super) enum Block {
    Heading {
        level: u8,
        lines: Vec<Placed>,
    },
    Text {
        shape: Shape,
        lines: Vec<Placed>,
    },
    /// Its items, each of its lines.
    List(Vec<Vec<Placed>>),
    /// Its rows, each of its cells.
    Table(Vec<Vec<Placed>>),
}

/// What most of a document's text looks like.
#[derive(Debug, Clone, Copy)]
struct Body {
    size: f32,
    /// From baseline to baseline, in sizes.
    leading: f32,
    style: Style,
    run: Run,
}

/// The blocks of a document, by its pages' pieces and heights.
pub(super) fn blocks(pages: Vec<(f32, Vec<Piece>)>) -> Vec<Block> {
    let body = body(&pages);
    let mut builder = Builder { body, height: 0.0, blocks: Vec::new(), before: None, right: 0.0, left: 0.0 };
    for (page, (height, pieces)) in pages.into_iter().enumerate() {
        builder.height = height;
        for piece in pieces {
            match piece {
                Piece::Column(lines) => builder.column(lines, page),
                Piece::Table(rows) => {
                    let rows = rows.into_iter().map(|row| row.into_iter().map(|line| Placed { line, page }).collect());
                    builder.table(rows.collect());
                }
            }
        }
    }
    let mut blocks = builder.blocks;
    join_continued(&mut blocks);
    level(&mut blocks, body);
    blocks
}

/// The look of most characters.
fn body(pages: &[(f32, Vec<Piece>)]) -> Body {
    let mut sizes: FxHashMap<i32, usize> = FxHashMap::default();
    let mut leadings: FxHashMap<i32, usize> = FxHashMap::default();
    let mut runs: FxHashMap<Run, usize> = FxHashMap::default();
    let (mut bold, mut fixed, mut all) = (0, 0, 0);
    let columns = || {
        pages.iter().flat_map(|(_, pieces)| pieces).filter_map(|piece| match piece {
            Piece::Column(lines) => Some(lines),
            Piece::Table(_) => None,
        })
    };
    for line in columns().flatten() {
        *sizes.entry((line.size * 10.0).round() as i32).or_default() += line.text.len();
        *runs.entry(line.run).or_default() += line.text.len();
        bold += if line.style.bold { line.text.len() } else { 0 };
        fixed += if line.style.fixed { line.text.len() } else { 0 };
        all += line.text.len();
    }
    let most = |counts: FxHashMap<i32, usize>| counts.into_iter().max_by_key(|(key, count)| (*count, *key));
    let size = most(sizes).map_or(10.0, |(size, _)| size as f32 / 10.0);
    for pair in columns().flat_map(|lines| lines.windows(2)) {
        let leading = (pair[1].baseline - pair[0].baseline) / size;
        if (pair[0].size - size).abs() < 0.1 && (0.8..3.0).contains(&leading) {
            *leadings.entry((leading * 20.0).round() as i32).or_default() += 1;
        }
    }
    let leading = most(leadings).map_or(1.2, |(leading, _)| leading as f32 / 20.0);
    let run = runs
        .into_iter()
        .max_by_key(|(run, count)| (*count, std::cmp::Reverse(*run)))
        .map_or(Run::Right, |(run, _)| run);
    Body { size, leading, run, style: Style { bold: bold * 2 > all, fixed: fixed * 2 > all } }
}

struct Builder {
    body: Body,
    /// Of the page.
    height: f32,
    blocks: Vec<Block>,
    /// The line before in the same column.
    before: Option<Line>,
    /// The edges of the column.
    left: f32,
    right: f32,
}

/// What a line begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begins {
    Heading,
    Item,
    Caption,
    Footnote,
    Code,
    Paragraph,
    /// Nothing: it goes on.
    Nothing,
}

impl Builder {
    fn table(&mut self, rows: Vec<Vec<Placed>>) {
        self.before = None;
        self.blocks.push(Block::Table(rows));
    }

    fn column(&mut self, lines: Vec<Line>, page: usize) {
        self.before = None;
        let edges = |edge: fn(&Line) -> f32| lines.iter().map(edge);
        self.left = edges(|line| line.frame.left).fold(f32::INFINITY, f32::min);
        self.right = edges(|line| line.frame.right).fold(f32::NEG_INFINITY, f32::max);
        let next_lefts: Vec<f32> = lines.iter().skip(1).map(|line| line.frame.left).chain([f32::INFINITY]).collect();
        for (line, next_left) in lines.into_iter().zip(next_lefts) {
            let begins = self.begins(&line, next_left);
            self.before = Some(line.clone());
            let placed = Placed { line, page };
            let shape = match begins {
                Begins::Heading => {
                    self.blocks.push(Block::Heading { level: 0, lines: vec![placed] });
                    continue;
                }
                Begins::Item => {
                    match self.blocks.last_mut() {
                        Some(Block::List(items)) => items.push(vec![placed]),
                        Some(_) | None => self.blocks.push(Block::List(vec![vec![placed]])),
                    }
                    continue;
                }
                Begins::Nothing => {
                    match self.blocks.last_mut() {
                        Some(Block::Heading { lines, .. } | Block::Text { lines, .. }) => lines.push(placed),
                        Some(Block::List(items)) if !items.is_empty() => {
                            items.last_mut().expect("it is not empty").push(placed);
                        }
                        Some(Block::List(_) | Block::Table(_)) | None => {
                            self.blocks.push(Block::Text { shape: Shape::Paragraph, lines: vec![placed] });
                        }
                    }
                    continue;
                }
                Begins::Caption => Shape::Caption,
                Begins::Footnote => Shape::Footnote,
                Begins::Code => Shape::Code,
                Begins::Paragraph => Shape::Paragraph,
            };
            self.blocks.push(Block::Text { shape, lines: vec![placed] });
        }
    }

    fn begins(&self, line: &Line, next_left: f32) -> Begins {
        let body = self.body;
        let gap = self.before.as_ref().map(|before| (line.baseline - before.baseline) / line.size.max(before.size));
        let is_near = gap.is_some_and(|gap| gap <= LEADING * body.leading);
        let same_look =
            |before: &&Line| (before.size - line.size).abs() <= SAME_SIZE * line.size && before.style == line.style;
        let before = self.before.as_ref().filter(|_| is_near);
        let last = self.blocks.last();
        let is_item_line = matches!(last, Some(Block::List(_)));
        let is_fixed = line.style.fixed && !body.style.fixed;
        if is_fixed && !is_item_line {
            // A blank line does not end it.
            let goes_on = gap.is_some_and(|gap| (0.0..=CODE_LEADING * body.leading).contains(&gap))
                && self.before.as_ref().is_some_and(|before| before.style.fixed)
                && matches!(last, Some(Block::Text { shape: Shape::Code, .. }));
            return if goes_on { Begins::Nothing } else { Begins::Code };
        }
        if looks_like_heading(line, body) {
            let goes_on = before.filter(same_look).is_some()
                && numbers(&line.text).is_none()
                && matches!(last, Some(Block::Heading { lines, .. }) if lines.len() < HEADING_LINES_MAX);
            return if goes_on { Begins::Nothing } else { Begins::Heading };
        }
        let in_sentence = before.filter(same_look).is_some_and(|before| !ends_sentence(&before.text));
        if !in_sentence && is_caption(&line.text, line.size < SMALLER * body.size || line.style.bold) {
            return Begins::Caption;
        }
        if begins_item(&line.text) {
            return if self.item_follows(line, is_near) { Begins::Item } else { Begins::Nothing };
        }
        let is_note = line.size < SMALLER * body.size && line.run == Run::Right && line.frame.top > 0.55 * self.height;
        if is_note && begins_note(&line.text) {
            return Begins::Footnote;
        }
        let Some(before) = before.filter(|before| (before.size - line.size).abs() <= 2.0 * SAME_SIZE * line.size)
        else {
            return Begins::Paragraph;
        };
        let is_entry = |text: &str| text.contains(" … ");
        if matches!(last, Some(Block::Heading { .. } | Block::Table(_)) | None)
            || is_entry(&before.text)
            || matches!(last, Some(Block::Text { shape: Shape::Code, .. }))
        {
            return Begins::Paragraph;
        }
        let indent = INDENT * line.size;
        if is_item_line {
            // Back at the margin of the item's mark, or further out.
            let first = self.item_left();
            let hangs = line.frame.left > first + 0.3 * line.size;
            return if hangs || !ends_sentence(&before.text) { Begins::Nothing } else { Begins::Paragraph };
        }
        let is_indented = line.frame.left > before.frame.left + indent && next_left < line.frame.left - 0.5 * line.size;
        let had_room = before.frame.right + 0.3 * line.size + line.first_width < self.right - indent;
        if (is_indented || had_room) && ends_sentence(&before.text) { Begins::Paragraph } else { Begins::Nothing }
    }

    /// Whether a line that begins as a list item is one: not a line of a paragraph that happens to begin with a number.
    fn item_follows(&self, line: &Line, is_near: bool) -> bool {
        let is_bullet = line.text.split(' ').next().is_some_and(is_bullet);
        match self.blocks.last() {
            Some(Block::List(_)) | None => true,
            Some(_) if !is_near => true,
            Some(Block::Heading { .. } | Block::Table(_)) => true,
            Some(Block::Text { lines, .. }) => {
                let before = lines.last().map(|placed| &placed.line.text);
                let leads_in = before.is_none_or(|before| before.ends_with(':') || ends_sentence(before));
                leads_in || is_bullet && line.frame.left > self.left + 0.5 * line.size
            }
        }
    }

    /// Where the open list's last item begins.
    fn item_left(&self) -> f32 {
        match self.blocks.last() {
            Some(Block::List(items)) => {
                items.last().and_then(|item| item.first()).map_or(self.left, |placed| placed.line.frame.left)
            }
            Some(_) | None => self.left,
        }
    }
}

/// Whether a line is larger or bolder than the text and short, so that it heads what follows.
fn looks_like_heading(line: &Line, body: Body) -> bool {
    let text = line.text.trim();
    let letters = text.chars().filter(|char| char.is_alphabetic()).count();
    let is_larger = line.size >= LARGER * body.size;
    let is_bolder = line.style.bold && !body.style.bold && line.size > SMALLER * body.size;
    let is_label = text.len() <= HEADING_CHARS_MAX
        && letters >= 2
        && letters * 2 >= text.chars().filter(|char| !char.is_whitespace()).count()
        && !text.ends_with([',', ';'])
        && !is_caption(text, true)
        && !text.starts_with(|first: char| first.is_lowercase() && !is_larger);
    let ends = is_larger || !text.ends_with(['.', ':']) || numbers(text).is_some();
    line.run == body.run
        && (is_larger || is_bolder)
        && is_label
        && ends
        && !text.split(' ').next().is_some_and(is_bullet)
}

/// How many numbers a heading such as `2.1 Methods` begins with.
fn numbers(text: &str) -> Option<usize> {
    let (numbers, words) = text.split_once(' ')?;
    let numbers = numbers.trim_end_matches('.');
    let is_number = |part: &str| {
        (1..=3).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
            || part.len() == 1 && part.bytes().all(|byte| byte.is_ascii_uppercase())
    };
    let parts = || numbers.split('.');
    (parts().all(is_number) && words.starts_with(char::is_uppercase)).then(|| parts().count())
}

/// Whether a line begins the text of a picture or table: `Figure 3:`, `Table 2`.
fn is_caption(text: &str, stands_out: bool) -> bool {
    const NAMES: [&str; 18] = [
        "figure",
        "fig.",
        "table",
        "tab.",
        "listing",
        "algorithm",
        "exhibit",
        "chart",
        "scheme",
        "plate",
        "box",
        "abbildung",
        "abb.",
        "tabelle",
        "tableau",
        "tabla",
        "figura",
        "diagram",
    ];
    let mut words = text.split(' ');
    let (Some(name), Some(number)) = (words.next(), words.next()) else { return false };
    if !name.starts_with(char::is_uppercase) || !NAMES.contains(&name.to_lowercase().as_str()) {
        return false;
    }
    let bare = number.trim_end_matches(['.', ':', ')', '|']);
    let is_number = !bare.is_empty()
        && bare.len() <= 8
        && bare.chars().all(|char| char.is_ascii_digit() || char.is_ascii_uppercase() || "-.–".contains(char))
        && (bare.contains(|char: char| char.is_ascii_digit()) || bare.len() <= 4);
    // `Figure 3 shows` is a sentence.
    let next = words.next();
    let is_named = bare.len() < number.len()
        || next.is_none_or(|next| matches!(next, "|" | "–" | "—" | ":"))
        || stands_out && next.is_some_and(|next| next.starts_with(char::is_uppercase));
    is_number && is_named
}

/// Whether a line begins with a list item's mark, and words after it.
fn begins_item(text: &str) -> bool {
    text.split_once(' ').is_some_and(|(mark, words)| is_mark(mark) && words.chars().any(char::is_alphanumeric))
}

/// Whether a line begins with a footnote's mark.
fn begins_note(text: &str) -> bool {
    let rest = text.trim_start_matches(|char: char| char.is_ascii_digit() || "*†‡§¶¹²³⁴⁵⁶⁷⁸⁹⁰".contains(char));
    rest.len() < text.len() && text.len() - rest.len() <= 4 && rest.trim_start().starts_with(char::is_alphabetic)
}

/// Whether a line ends where a sentence does.
pub(super) fn ends_sentence(text: &str) -> bool {
    let text = text.trim_end_matches(['"', '”', '’', '\'', ')', ']', '»', '“']);
    text.ends_with(['.', '!', '?', ':', '…', '。', '！', '？'])
}

/// Joins paragraphs that a page, a column, or what floats between the two has torn apart.
fn join_continued(blocks: &mut Vec<Block>) {
    let mut out: Vec<Block> = Vec::with_capacity(blocks.len());
    for block in blocks.drain(..) {
        let Block::Text { shape: Shape::Paragraph, lines } = block else {
            out.push(block);
            continue;
        };
        match torn(&mut out, &lines) {
            Some(open) => open.extend(lines),
            None => out.push(Block::Text { shape: Shape::Paragraph, lines }),
        }
    }
    *blocks = out;
}

/// The lines of the paragraph before that goes on with these.
fn torn<'b>(blocks: &'b mut [Block], lines: &[Placed]) -> Option<&'b mut Vec<Placed>> {
    let first = lines.first()?;
    let goes_on = first.line.text.starts_with(char::is_lowercase);
    let floats = |block: &Block| match block {
        Block::Table(_) | Block::Text { shape: Shape::Caption | Shape::Footnote, .. } => true,
        Block::Heading { .. } | Block::List(_) | Block::Text { .. } => false,
    };
    let before = blocks.iter().rposition(|block| !floats(block))?;
    let floated = before + 1 < blocks.len();
    let (open, is_paragraph) = match &mut blocks[before] {
        Block::Text { shape: Shape::Paragraph, lines } => (lines, true),
        Block::List(items) => (items.last_mut()?, false),
        Block::Heading { .. } | Block::Text { .. } | Block::Table(_) => return None,
    };
    let last = open.last()?;
    let same_size = (last.line.size - first.line.size).abs() <= SAME_SIZE * first.line.size;
    // In another column, on another page, or cut off from it by a table below.
    let below = first.line.baseline - last.line.baseline;
    let elsewhere =
        last.page != first.page || below <= 1.6 * first.line.size || first.line.frame.left > last.line.frame.right;
    let is_open = !ends_sentence(&last.line.text) && last.line.run == first.line.run;
    let hyphen = last.line.text.ends_with('-');
    let joins = same_size && elsewhere && is_open && (goes_on || hyphen || is_paragraph && !floated && open.len() > 1);
    joins.then_some(open)
}

/// Gives headings their levels: by size, bold before plain; within one look by their numbers.
fn level(blocks: &mut [Block], body: Body) {
    let look = |line: &Line| ((line.size / body.size * 20.0).round() as i32, line.style.bold);
    let mut looks: Vec<((i32, bool), usize)> = Vec::new();
    for block in blocks.iter() {
        let Block::Heading { lines, .. } = block else { continue };
        let (look, depth) = (look(&lines[0].line), numbers(&lines[0].line.text));
        if let Some((_, least)) = looks.iter_mut().find(|(other, _)| *other == look) {
            *least = depth.map_or(*least, |depth| depth.min(*least));
        } else if looks.len() < LOOKS_MAX {
            looks.push((look, depth.unwrap_or(usize::MAX)));
        }
    }
    looks.sort_by_key(|(look, _)| std::cmp::Reverse(*look));
    for block in blocks {
        let Block::Heading { level, lines } = block else { continue };
        let rank = looks.iter().position(|(other, _)| *other == look(&lines[0].line)).unwrap_or(looks.len());
        let deeper = match (numbers(&lines[0].line.text), looks.get(rank)) {
            (Some(depth), Some((_, least))) => depth.saturating_sub(*least),
            _ => 0,
        };
        *level = u8::try_from((rank + 1 + deeper).min(6)).unwrap_or(6);
    }
}
