//! Running headers and footers: what stands at the same height on most pages, page numbers aside.

use rustc_hash::FxHashMap;

use crate::pdf::glyphs::Inked;
use crate::pdf::order::rows;
use crate::pdf::words::{Run, Word};

/// Headers and footers stand in this part of the page's height, from above and from below.
const ZONE: f32 = 0.15;
/// No more than this many lines at each edge are one.
const ROWS_MAX: usize = 4;
/// A line is a running one if this part of the pages has it (headers of left and right pages differ), on three pages at
/// least; on two, if both have it.
const PAGES_PART: f32 = 0.3;
/// Lines at heights this near, in points, are at one height.
const HEIGHT: f32 = 4.0;

/// What was taken away, in bytes of text: a number for each line.
#[derive(Debug, Default)]
pub(super) struct Removed {
    pub(super) headers: Vec<usize>,
    pub(super) footers: Vec<usize>,
}

/// A line at an edge of a page.
struct Edge {
    page: usize,
    words: Vec<usize>,
    is_header: bool,
    text: String,
    height: i32,
}

/// Takes the running headers and footers away.
pub(super) fn remove(pages: &mut [Inked]) -> Removed {
    let mut removed = Removed::default();
    let edges: Vec<Edge> = pages.iter().enumerate().flat_map(|(n, page)| edges_of(n, page)).collect();
    // By text, digits apart, and height; and by how far the number at an end is from the page's own.
    let mut texts: FxHashMap<(String, i32), usize> = FxHashMap::default();
    let mut numbers: FxHashMap<(i64, i32), usize> = FxHashMap::default();
    for edge in &edges {
        *texts.entry((without_digits(&edge.text), edge.height)).or_default() += 1;
        for offset in offsets(edge) {
            *numbers.entry((offset, edge.height)).or_default() += 1;
        }
    }
    let enough = match pages.len() {
        0 | 1 => return removed,
        2 => 2,
        pages => 3.max((pages as f32 * PAGES_PART).ceil() as usize),
    };
    // A line may be at the edge of two neighbouring heights.
    let near = |height: i32| [height - 1, height, height + 1];
    let mut taken: Vec<Vec<bool>> = pages.iter().map(|page| vec![false; page.words.words.len()]).collect();
    for edge in &edges {
        let key = without_digits(&edge.text);
        let same: usize = near(edge.height).iter().filter_map(|height| texts.get(&(key.clone(), *height))).sum();
        let numbered = |offset: &i64| {
            near(edge.height).iter().filter_map(|height| numbers.get(&(*offset, *height))).sum::<usize>()
                >= enough.max(3)
        };
        if same >= enough || offsets(edge).iter().any(numbered) {
            edge.words.iter().for_each(|word| taken[edge.page][*word] = true);
            let lines = if edge.is_header { &mut removed.headers } else { &mut removed.footers };
            lines.push(edge.text.len());
        }
    }
    for (page, taken) in pages.iter_mut().zip(taken) {
        let mut taken = taken.into_iter();
        page.words.words.retain(|_| !taken.next().unwrap_or(false));
    }
    removed
}

/// The lines at the upper and lower edge of a page.
fn edges_of(n: usize, page: &Inked) -> Vec<Edge> {
    let in_zone = |word: &Word, is_header: bool| {
        word.run == Run::Right
            && if is_header {
                word.frame.bottom <= page.height * ZONE
            } else {
                word.frame.top >= page.height * (1.0 - ZONE)
            }
    };
    let mut edges = Vec::new();
    for is_header in [true, false] {
        let words: Vec<usize> =
            (0..page.words.words.len()).filter(|word| in_zone(&page.words.words[*word], is_header)).collect();
        let rows = rows(&page.words.words, words);
        let count = rows.len();
        let skip = if is_header { 0 } else { count.saturating_sub(ROWS_MAX) };
        for row in rows.into_iter().skip(skip).take(ROWS_MAX) {
            let text = row.iter().map(|word| page.words.str(&page.words.words[*word])).collect::<Vec<_>>().join(" ");
            let height = (page.words.words[row[0]].baseline / HEIGHT) as i32;
            edges.push(Edge { page: n, words: row, is_header, text, height });
        }
    }
    edges
}

/// A text with every number, Roman ones that stand alone included, as `#`.
fn without_digits(text: &str) -> String {
    if !text.is_empty() && text.len() <= 8 && text.chars().all(|char| "ivxlcIVXLC".contains(char)) {
        return "#".to_owned();
    }
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        if !char.is_ascii_digit() {
            out.push(char);
        } else if !out.ends_with('#') {
            out.push('#');
        }
    }
    out
}

/// How far the numbers at the ends of a line are from the page's own number.
fn offsets(edge: &Edge) -> Vec<i64> {
    let ends = [edge.text.split(' ').next(), edge.text.rsplit(' ').next()];
    let numbers = ends.into_iter().flatten().filter(|end| end.len() <= 5).filter_map(|end| end.parse::<i64>().ok());
    let mut offsets: Vec<i64> = numbers.map(|number| number - edge.page as i64).collect();
    offsets.dedup();
    offsets
}
