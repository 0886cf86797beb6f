//! Glyphs to words: where each stands, how large it is, and which way it runs.

use std::ops::Range;

/// A gap of this many ems ends a word where spaces are drawn too; there, a smaller one is letter spacing.
const GAP_SPACED: f32 = 0.3;
/// A gap of this many ems ends a word where spaces are gaps only, as TeX sets them.
const GAP: f32 = 0.15;
/// How far a glyph may reach back over the one before, in ems: kerning.
const OVERLAP: f32 = 0.35;
/// Baselines this near, in ems, are one.
const BASELINE: f32 = 0.15;
/// A page has drawn spaces if this part of its glyphs are some.
const SPACES_MIN: f32 = 0.05;

/// The way in which text runs on the page as it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Run {
    Right,
    Down,
    Left,
    Up,
}

impl Run {
    pub(super) const ALL: [Run; 4] = [Run::Right, Run::Down, Run::Left, Run::Up];

    /// The way of a vector on the page, y downwards; `None` if it is askew.
    pub(super) fn of(x: f64, y: f64) -> Option<Run> {
        let (across, along) = (x.abs(), y.abs());
        if along <= 0.1 * across {
            Some(if x >= 0.0 { Run::Right } else { Run::Left })
        } else if across <= 0.1 * along {
            Some(if y >= 0.0 { Run::Down } else { Run::Up })
        } else {
            None
        }
    }

    /// A point of the page where this way is to the right and lines follow each other downwards.
    pub(super) fn turn(self, x: f64, y: f64) -> (f64, f64) {
        match self {
            Run::Right => (x, y),
            Run::Down => (y, -x),
            Run::Left => (-x, -y),
            Run::Up => (-y, x),
        }
    }

    /// The point of the page that [`Run::turn`] turned.
    pub(super) fn turn_back(self, x: f32, y: f32) -> (f32, f32) {
        match self {
            Run::Right => (x, y),
            Run::Down => (-y, x),
            Run::Left => (-x, -y),
            Run::Up => (y, -x),
        }
    }
}

/// A box where text runs to the right; in points, y downwards.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Frame {
    pub(super) left: f32,
    pub(super) top: f32,
    pub(super) right: f32,
    pub(super) bottom: f32,
}

impl Frame {
    pub(super) fn union(self, other: Frame) -> Frame {
        Frame {
            left: self.left.min(other.left),
            top: self.top.min(other.top),
            right: self.right.max(other.right),
            bottom: self.bottom.max(other.bottom),
        }
    }

    pub(super) fn width(self) -> f32 {
        self.right - self.left
    }
}

/// How a glyph looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Style {
    pub(super) bold: bool,
    /// All glyphs of its font have one width.
    pub(super) fixed: bool,
}

/// One glyph on the page.
#[derive(Debug, Clone, Copy)]
pub(super) struct Glyph<'t> {
    pub(super) text: &'t str,
    pub(super) run: Run,
    pub(super) frame: Frame,
    pub(super) baseline: f32,
    pub(super) size: f32,
    pub(super) style: Style,
}

/// Letters without a gap.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Word {
    /// Of the page's text.
    pub(super) text: Range<u32>,
    pub(super) run: Run,
    pub(super) frame: Frame,
    pub(super) baseline: f32,
    pub(super) size: f32,
    pub(super) style: Style,
    /// The gap before it is a space only if the page draws no spaces.
    glued: bool,
}

/// A page's words, in the order in which they are drawn.
#[derive(Debug, Default)]
pub(super) struct Words {
    pub(super) text: String,
    pub(super) words: Vec<Word>,
    /// A space came after the last glyph.
    spaced: bool,
    /// The last glyph: what the next one is compared with.
    last: Option<(Range<u32>, Frame)>,
    spaces: usize,
    glyphs: usize,
}

impl Words {
    /// Adds the next glyph.
    pub(super) fn push(&mut self, glyph: Glyph<'_>) {
        self.glyphs += 1;
        if glyph.text.trim().is_empty() {
            self.spaces += 1;
            self.spaced = true;
            return;
        }
        let spaced = std::mem::take(&mut self.spaced);
        if !spaced && self.is_drawn_again(&glyph) {
            return;
        }
        let start = self.text.len() as u32;
        self.text.push_str(glyph.text);
        let text = start..self.text.len() as u32;
        self.last = Some((text.clone(), glyph.frame));
        let mut glued = false;
        if let Some(word) = self.words.last_mut().filter(|_| !spaced) {
            let gap = (glyph.frame.left - word.frame.right) / glyph.size;
            let beside = word.run == glyph.run
                && (glyph.baseline - word.baseline).abs() <= BASELINE * glyph.size
                && (0.8..1.25).contains(&(glyph.size / word.size))
                && (-OVERLAP..GAP_SPACED).contains(&gap);
            if beside && gap < GAP {
                word.text.end = text.end;
                word.frame = word.frame.union(glyph.frame);
                // What is bold in part is not a bold word.
                word.style.bold &= glyph.style.bold;
                word.style.fixed &= glyph.style.fixed;
                return;
            }
            glued = beside;
        }
        let Glyph { text: _, run, frame, baseline, size, style } = glyph;
        self.words.push(Word { text, run, frame, baseline, size, style, glued });
    }

    /// Whether a glyph is the last one drawn once more, a hair beside: bold in the way of old printers.
    fn is_drawn_again(&self, glyph: &Glyph<'_>) -> bool {
        self.last.as_ref().is_some_and(|(text, frame)| {
            let near = |a: f32, b: f32| (a - b).abs() < 0.1 * glyph.size;
            near(frame.left, glyph.frame.left)
                && near(frame.top, glyph.frame.top)
                && self.text[text.start as usize..text.end as usize] == *glyph.text
        })
    }

    /// Ends the page: words that letter spacing has torn are joined.
    pub(super) fn finish(&mut self) {
        if self.spaces as f32 >= SPACES_MIN * self.glyphs as f32 {
            let words = std::mem::take(&mut self.words);
            for word in words {
                match self.words.last_mut().filter(|_| word.glued) {
                    Some(before) => {
                        before.text.end = word.text.end;
                        before.frame = before.frame.union(word.frame);
                    }
                    None => self.words.push(word),
                }
            }
        }
        self.words.shrink_to_fit();
        self.text.shrink_to_fit();
    }

    /// Adds a word of another page's text.
    pub(super) fn add(&mut self, word: &Word, text: &str) {
        let start = self.text.len() as u32;
        self.text.push_str(text);
        self.words.push(Word { text: start..self.text.len() as u32, ..word.clone() });
    }

    pub(super) fn str(&self, word: &Word) -> &str {
        &self.text[word.text.start as usize..word.text.end as usize]
    }
}
