//! Words to lines in reading order: columns and tables apart.
//!
//! A recursive cut along white space, as Nagy and Seth (Hierarchical representation of optically scanned documents, ICPR
//! 1984) have it; the cuts are gutters, the tall empty rectangles of Breuel (Two geometric algorithms for layout analysis,
//! DAS 2002). Columns are cut before rows: a blank line that two columns share does not interrupt them.

use crate::pdf::glyphs::Inked;
use crate::pdf::words::{Frame, Run, Style, Word};

/// A gutter is at least this wide, in ems, and beside it stand at least this many lines on either side.
const GUTTER: f32 = 0.9;
const GUTTER_ROWS: usize = 3;
/// Columns of text with fewer lines than this need a gutter this wide: white space may run through three lines by chance.
const FEW_ROWS: usize = 6;
const GUTTER_OF_FEW: f32 = 1.5;
/// Not more gutters than this are followed at once.
const GUTTERS_MAX: usize = 64;
/// A line this much nearer than the rows of a table are to each other goes on with the row above.
const NEARER: f32 = 0.85;
/// A table has at most this many columns and cells; what has more is no table.
const COLUMNS_MAX: usize = 64;
const CELLS_MAX: usize = 100_000;
/// Not more gutters than this are tried before a piece counts as one column.
const GUTTERS_TRIED_MAX: usize = 16;
/// Columns within columns are cut this deep.
const DEPTH_MAX: usize = 24;
/// Words whose baselines differ by less than this part of the larger one's size are on one line: it may be raised.
const ROW: f32 = 0.45;
/// In a table this part of the rows has two cells at least.
const ALIGNED: f32 = 0.6;
/// Cells of a table have this many words on average; with rules between them, this many.
const CELL_WORDS: f32 = 4.5;
const RULED_CELL_WORDS: f32 = 9.0;
/// A table's rules run through this part of its width.
const RULE_PART: f32 = 0.6;
/// Lines of running text reach their column's right edge, to this part of its width, more often than this.
const FULL_LINE: f32 = 0.85;
const FULL_LINES: f32 = 0.6;

/// A line of text.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) text: String,
    pub(super) run: Run,
    pub(super) frame: Frame,
    pub(super) baseline: f32,
    /// That of most of its letters.
    pub(super) size: f32,
    pub(super) style: Style,
    /// How wide its first word is.
    pub(super) first_width: f32,
}

/// What stands together on a page.
#[derive(Debug)]
pub(super) enum Piece {
    /// A column, or a part of one between two wider pieces.
    Column(Vec<Line>),
    /// Rows of cells.
    Table(Vec<Vec<Line>>),
}

/// A page's text in reading order. Text that runs another way than most of it follows after.
pub(super) fn pieces(page: &Inked) -> Vec<Piece> {
    let mut runs: Vec<(Run, Vec<usize>)> = Run::ALL.map(|run| (run, Vec::new())).into();
    for (n, word) in page.words.words.iter().enumerate() {
        runs.iter_mut().filter(|(run, _)| *run == word.run).for_each(|(_, words)| words.push(n));
    }
    runs.sort_by_key(|(_, words)| std::cmp::Reverse(words.len()));
    let mut cutter = Cutter { page, pieces: Vec::new() };
    for (_, words) in runs {
        cutter.cut(rows(&page.words.words, words), 0);
    }
    cutter.pieces
}

/// The lines of some words, from above; the words of each from the left.
pub(super) fn rows(words: &[Word], mut of: Vec<usize>) -> Vec<Vec<usize>> {
    of.sort_by(|a, b| words[*a].baseline.total_cmp(&words[*b].baseline));
    let mut rows: Vec<(f32, f32, Vec<usize>)> = Vec::new();
    for n in of {
        let word = &words[n];
        match rows.last_mut() {
            Some((baseline, size, row)) if word.baseline - *baseline < ROW * size.max(word.size) => {
                row.push(n);
                // The baseline is that of the largest word, so that a raised one does not begin a line.
                if word.size > *size * 1.05 {
                    (*baseline, *size) = (word.baseline, word.size);
                }
            }
            _ => rows.push((word.baseline, word.size, vec![n])),
        }
    }
    let mut rows: Vec<Vec<usize>> = rows.into_iter().map(|(_, _, row)| row).collect();
    for row in &mut rows {
        row.sort_by(|a, b| words[*a].frame.left.total_cmp(&words[*b].frame.left));
    }
    rows
}

/// White space through several rows.
#[derive(Debug, Clone, Copy)]
struct Gutter {
    left: f32,
    right: f32,
    first: usize,
    last: usize,
    /// How many rows have words to its left and right.
    lefts: usize,
    rights: usize,
    /// How many have nothing but the mark of a list item to its left.
    marks: usize,
}

impl Gutter {
    fn rows(&self) -> usize {
        self.last + 1 - self.first
    }

    fn width(&self) -> f32 {
        self.right - self.left
    }
}

struct Cutter<'p> {
    page: &'p Inked,
    pieces: Vec<Piece>,
}

impl Cutter<'_> {
    fn word(&self, n: usize) -> &Word {
        &self.page.words.words[n]
    }

    fn cut(&mut self, mut rows: Vec<Vec<usize>>, depth: usize) {
        if rows.is_empty() {
            return;
        }
        let gutters = if depth < DEPTH_MAX { self.gutters(&rows) } else { Vec::new() };
        let Some((gutter, table)) = self.choose(&gutters, &rows) else {
            let lines = rows.iter().map(|row| self.line(row)).collect();
            self.pieces.push(Piece::Column(lines));
            return;
        };
        let below = rows.split_off(gutter.last + 1);
        let band = rows.split_off(gutter.first);
        self.cut(rows, depth + 1);
        if let Some(table) = table {
            self.pieces.push(Piece::Table(table));
        } else {
            let middle = (gutter.left + gutter.right) / 2.0;
            for is_left in [true, false] {
                let words = band.iter().flatten().copied();
                let words = words.filter(|word| (self.word(*word).frame.left < middle) == is_left).collect();
                self.cut(self::rows(&self.page.words.words, words), depth + 1);
            }
        }
        self.cut(below, depth + 1);
    }

    /// The gutter to cut at, the one along most rows, then the widest; with the table that it runs through, if it does.
    fn choose(&self, gutters: &[Gutter], rows: &[Vec<usize>]) -> Option<(Gutter, Option<Vec<Vec<Line>>>)> {
        let size = self.size(rows);
        let mut by_rows: Vec<&Gutter> = gutters.iter().collect();
        by_rows.sort_by(|a, b| b.rows().cmp(&a.rows()).then(b.width().total_cmp(&a.width())));
        by_rows.into_iter().take(GUTTERS_TRIED_MAX).find_map(|gutter| {
            if let Some((band, table)) = self.table(rows, gutters, gutter) {
                return Some((band, Some(table)));
            }
            let cuts = gutter.rows() >= FEW_ROWS || gutter.width() >= GUTTER_OF_FEW * size;
            cuts.then_some((*gutter, None))
        })
    }

    /// The size of most words.
    fn size(&self, rows: &[Vec<usize>]) -> f32 {
        let mut sizes: Vec<f32> = rows.iter().flatten().map(|word| self.word(*word).size).collect();
        sizes.sort_by(f32::total_cmp);
        sizes.get(sizes.len() / 2).copied().unwrap_or(0.0)
    }

    fn gutters(&self, rows: &[Vec<usize>]) -> Vec<Gutter> {
        let width_min = GUTTER * self.size(rows);
        let is_one = |gutter: &Gutter| {
            gutter.lefts >= GUTTER_ROWS && gutter.rights >= GUTTER_ROWS && gutter.marks * 5 < gutter.lefts * 4
        };
        let (mut open, mut found): (Vec<Gutter>, Vec<Gutter>) = (Vec::new(), Vec::new());
        for (n, row) in rows.iter().enumerate() {
            let gaps = self.gaps(row, width_min);
            let mut next: Vec<Gutter> = Vec::new();
            for gutter in open {
                let mut goes_on = false;
                for (left, right, is_mark) in &gaps {
                    let (left, right) = (gutter.left.max(*left), gutter.right.min(*right));
                    if right - left >= width_min {
                        goes_on = true;
                        let lefts = gutter.lefts + usize::from(self.word(row[0]).frame.left < left);
                        let rights = gutter.rights + usize::from(self.word(row[row.len() - 1]).frame.right > right);
                        let marks = gutter.marks + usize::from(*is_mark);
                        next.push(Gutter { left, right, last: n, lefts, rights, marks, ..gutter });
                    }
                }
                if !goes_on && found.len() < GUTTERS_MAX * GUTTERS_MAX && is_one(&gutter) {
                    found.push(gutter);
                }
            }
            for (left, right, is_mark) in gaps {
                let lefts = usize::from(left > f32::NEG_INFINITY);
                let rights = usize::from(right < f32::INFINITY);
                next.push(Gutter { left, right, first: n, last: n, lefts, rights, marks: usize::from(is_mark) });
            }
            // Of those in the same place the one that began first.
            next.sort_by(|a, b| {
                a.left.total_cmp(&b.left).then(a.right.total_cmp(&b.right)).then(a.first.cmp(&b.first))
            });
            next.dedup_by(|later, first| later.left == first.left && later.right == first.right);
            next.sort_by_key(|gutter| gutter.first);
            next.truncate(GUTTERS_MAX);
            open = next;
        }
        found.extend(open.into_iter().filter(is_one));
        found
    }

    /// The white space of a row, with what lies beside its ends; and whether a list item's mark alone stands to its left.
    fn gaps(&self, row: &[usize], width_min: f32) -> Vec<(f32, f32, bool)> {
        let mut gaps = vec![(f32::NEG_INFINITY, self.word(row[0]).frame.left, false)];
        let mut right = f32::NEG_INFINITY;
        let mut stands_alone = true;
        for (n, word) in row.iter().enumerate() {
            let frame = self.word(*word).frame;
            if n > 0 && frame.left - right >= width_min {
                let is_mark = stands_alone && is_mark(self.page.words.str(self.word(row[n - 1])));
                gaps.push((right, frame.left, is_mark));
                stands_alone = true;
            } else if n > 0 {
                stands_alone = false;
            }
            right = right.max(frame.right);
        }
        gaps.push((right, f32::INFINITY, false));
        gaps
    }

    /// The table that a gutter runs through, and the rows that all of its gutters run through.
    fn table(&self, rows: &[Vec<usize>], gutters: &[Gutter], widest: &Gutter) -> Option<(Gutter, Vec<Vec<Line>>)> {
        // Gutters along most of this one, without those that overlap a longer one.
        let mut along: Vec<&Gutter> = vec![widest];
        let shared = |gutter: &Gutter| {
            (gutter.last.min(widest.last) + 1).saturating_sub(gutter.first.max(widest.first)) * 5 >= widest.rows() * 3
        };
        let mut others: Vec<&Gutter> = gutters.iter().filter(|gutter| shared(gutter)).collect();
        others.sort_by_key(|gutter| std::cmp::Reverse(gutter.rows()));
        for gutter in others {
            if along.len() + 1 < COLUMNS_MAX
                && along.iter().all(|other| gutter.right <= other.left || gutter.left >= other.right)
            {
                along.push(gutter);
            }
        }
        let first = along.iter().map(|gutter| gutter.first).max().unwrap_or(widest.first);
        let last = along.iter().map(|gutter| gutter.last).min().unwrap_or(widest.last);
        let band = rows.get(first..=last)?;
        if band.len() * (along.len() + 1) > CELLS_MAX {
            return None;
        }
        let mut edges: Vec<f32> = along.iter().map(|gutter| (gutter.left + gutter.right) / 2.0).collect();
        edges.sort_by(f32::total_cmp);
        let column = |word: usize| {
            let frame = self.word(word).frame;
            edges.partition_point(|edge| *edge < (frame.left + frame.right) / 2.0)
        };
        let cells: Vec<Vec<Vec<usize>>> = band
            .iter()
            .map(|row| {
                let mut cells = vec![Vec::new(); edges.len() + 1];
                row.iter().for_each(|word| cells[column(*word)].push(*word));
                cells
            })
            .collect();
        let filled = |row: &Vec<Vec<usize>>| row.iter().filter(|cell| !cell.is_empty()).count();
        // Lines above and below that only happen to be short are none of its rows.
        let top = cells.iter().position(|row| filled(row) >= 2)?;
        let end = cells.iter().rposition(|row| filled(row) >= 2)? + 1;
        let (first, last) = (first + top, first + end - 1);
        let (band, cells) = (&band[top..end], &cells[top..end]);
        let aligned = cells.iter().filter(|row| filled(row) >= 2).count();
        let count: usize = cells.iter().map(filled).sum();
        let words = band.iter().map(Vec::len).sum::<usize>() as f32 / count as f32;
        let is_aligned = aligned >= GUTTER_ROWS && aligned as f32 >= ALIGNED * cells.len() as f32;
        let is_table = is_aligned
            && (words <= CELL_WORDS && !self.is_running_text(cells)
                || words <= RULED_CELL_WORDS && self.is_ruled(band));
        is_table.then(|| (Gutter { first, last, ..*widest }, self.joined(cells)))
    }

    /// Whether most lines of most columns reach their column's right edge.
    fn is_running_text(&self, cells: &[Vec<Vec<usize>>]) -> bool {
        let columns = cells.first().map_or(0, Vec::len);
        let mut full = (0_usize, 0_usize);
        for column in 0..columns {
            let frames: Vec<Frame> = cells.iter().filter_map(|row| self.frame(&row[column])).collect();
            let Some(whole) = frames.iter().copied().reduce(Frame::union) else { continue };
            full.0 += frames.iter().filter(|frame| frame.right >= whole.left + FULL_LINE * whole.width()).count();
            full.1 += frames.len();
        }
        let words: usize = cells.iter().flatten().map(Vec::len).sum();
        full.0 as f32 > FULL_LINES * full.1 as f32 && words > 3 * full.1
    }

    /// Whether two rules at least run through a band of rows or along its edges.
    fn is_ruled(&self, band: &[Vec<usize>]) -> bool {
        let words: Vec<usize> = band.iter().flatten().copied().collect();
        let Some(frame) = self.frame(&words) else { return false };
        let size = self.size(band);
        let mut heights: Vec<f32> = Vec::new();
        if self.word(words[0]).run != Run::Right {
            return false;
        }
        for rule in &self.page.rules {
            let is_in = rule.top >= frame.top - size && rule.bottom <= frame.bottom + size;
            let overlap = rule.right.min(frame.right) - rule.left.max(frame.left);
            if is_in
                && overlap >= RULE_PART * frame.width()
                && heights.iter().all(|height| (height - rule.top).abs() > size / 2.0)
            {
                heights.push(rule.top);
            }
        }
        heights.len() >= 2
    }

    fn frame(&self, words: &[usize]) -> Option<Frame> {
        words.iter().map(|word| self.word(*word).frame).reduce(Frame::union)
    }

    /// Rows of cells as lines; a row with empty cells that is nearer to the one above than rows are goes on with it.
    fn joined(&self, cells: &[Vec<Vec<usize>>]) -> Vec<Vec<Line>> {
        let rows = cells.iter().map(|row| row.iter().map(|cell| self.line(cell)).collect::<Vec<Line>>());
        let baseline = |row: &[Line]| row.iter().filter(|cell| !cell.text.is_empty()).map(|cell| cell.baseline).next();
        let rows: Vec<(f32, Vec<Line>)> = rows.filter_map(|row| Some((baseline(&row)?, row))).collect();
        let mut pitches: Vec<f32> = rows.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
        pitches.sort_by(f32::total_cmp);
        let pitch = pitches.get(pitches.len() / 2).copied().unwrap_or(0.0);
        let mut table: Vec<Vec<Line>> = Vec::new();
        let mut above = f32::NEG_INFINITY;
        for (baseline, row) in rows {
            let goes_on = row.iter().any(|cell| cell.text.is_empty()) && baseline - above < NEARER * pitch;
            match table.last_mut().filter(|_| goes_on) {
                Some(above) => above.iter_mut().zip(row).for_each(|(cell, line)| cell.append(line)),
                None => table.push(row),
            }
            above = baseline;
        }
        table
    }

    /// The line that words from the left make.
    fn line(&self, words: &[usize]) -> Line {
        let mut text = String::new();
        let mut before: Option<&Word> = None;
        for word in words.iter().map(|word| self.word(*word)) {
            let touches = |before: &&Word| word.frame.left - before.frame.right < 0.08 * word.size;
            if before.is_some_and(|before| !touches(&before)) {
                text.push(' ');
            }
            text.push_str(self.page.words.str(word));
            before = Some(word);
        }
        let text = without_leaders(text);
        let main = words.iter().map(|word| self.word(*word)).max_by(|a, b| a.size.total_cmp(&b.size));
        // Most letters decide, not a large initial.
        let mut sizes: Vec<(f32, u32)> = words
            .iter()
            .map(|word| self.word(*word))
            .map(|word| (word.size, word.text.end - word.text.start))
            .collect();
        sizes.sort_by(|a, b| a.0.total_cmp(&b.0));
        let of_a_size = sizes.chunk_by(|a, b| (a.0 - b.0).abs() < 0.25);
        let most = of_a_size.max_by_key(|same| same.iter().map(|(_, letters)| letters).sum::<u32>());
        let size = most.and_then(|same| same.last()).map_or(0.0, |(size, _)| *size);
        let is_word = |word: &&Word| self.page.words.str(word).chars().any(char::is_alphanumeric);
        let all = |has: fn(Style) -> bool| {
            let mut of = words.iter().map(|word| self.word(*word)).filter(is_word).peekable();
            of.peek().is_some() && of.all(|word| has(word.style))
        };
        let nowhere = Frame { left: 0.0, top: 0.0, right: 0.0, bottom: 0.0 };
        Line {
            text,
            run: main.map_or(Run::Right, |word| word.run),
            frame: self.frame(words).unwrap_or(nowhere),
            baseline: main.map_or(0.0, |word| word.baseline),
            size,
            style: Style { bold: all(|style| style.bold), fixed: all(|style| style.fixed) },
            first_width: words.first().map_or(0.0, |word| self.word(*word).frame.width()),
        }
    }
}

impl Line {
    /// Adds the line below it.
    pub(super) fn append(&mut self, below: Line) {
        if self.text.is_empty() {
            *self = below;
        } else if !below.text.is_empty() {
            self.text.push(' ');
            self.text.push_str(&below.text);
            self.frame = self.frame.union(below.frame);
        }
    }
}

/// A line of a table of contents with its dots as one ellipsis.
fn without_leaders(text: String) -> String {
    let Some(start) = [" . . . .", "....."].iter().filter_map(|dots| text.find(dots)).min() else { return text };
    let dotted = &text[start..];
    let end = dotted.find(|char| char != '.' && char != ' ').unwrap_or(dotted.len());
    format!("{} … {}", &text[..start].trim_end_matches(['.', ' ']), &dotted[end..]).trim_end().to_owned()
}

/// Whether a word is what list items begin with: a bullet, or a number or letter with a dot or bracket.
pub(super) fn is_mark(word: &str) -> bool {
    if is_bullet(word) {
        return true;
    }
    let inner = word.trim_start_matches(['(', '[']).trim_end_matches(['.', ')', ']']);
    let is_short = (1..=4).contains(&inner.len()) && inner.len() < word.len();
    is_short && (inner.bytes().all(|byte| byte.is_ascii_digit()) || inner.len() == 1 || is_roman(inner))
}

/// Whether a word is a bullet.
pub(super) fn is_bullet(word: &str) -> bool {
    matches!(
        word,
        "•" | "◦"
            | "▪"
            | "▫"
            | "‣"
            | "⁃"
            | "●"
            | "○"
            | "■"
            | "□"
            | "·"
            | "∙"
            | "➢"
            | "–"
            | "-"
            | "—"
            | "*"
            | "✓"
    )
}

fn is_roman(word: &str) -> bool {
    word.bytes().all(|byte| matches!(byte, b'i' | b'v' | b'x'))
}
