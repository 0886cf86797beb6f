//! Many phrases looked for at once in a text, word by word: a tree of words, and one pass over the text.

use std::collections::HashMap;
use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation;

/// The longest phrase, in words.
pub(crate) const WORDS_MAX: usize = 8;
/// What may stand between two words of a phrase, in bytes.
const GAP_BYTES_MAX: usize = 4;

/// Phrases, each with a value; words are compared in small letters, and a genitive's `'s` is no part of its word.
#[derive(Debug)]
pub(crate) struct Phrases<T> {
    /// From a node (0: the root) and a word to a node.
    steps: HashMap<(u32, Box<str>), u32>,
    /// By node: what the phrase that ends here stands for.
    ends: Vec<Option<T>>,
}

impl<T: Copy> Phrases<T> {
    pub(crate) fn new() -> Phrases<T> {
        Phrases { steps: HashMap::new(), ends: vec![None] }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    pub(crate) fn count(&self) -> usize {
        self.ends.iter().flatten().count()
    }

    /// Adds `phrase`; the first value of a phrase stays.
    ///
    /// # Errors
    /// What is wrong with it: no word, or too many.
    pub(crate) fn add(&mut self, phrase: &str, value: T) -> Result<(), &'static str> {
        let words: Vec<Box<str>> = phrase.unicode_words().map(folded).collect();
        match words.len() {
            0 => return Err("has no letter and no digit, expected a word"),
            1..=WORDS_MAX => {}
            _ => return Err("has too many words, expected 8 at most"),
        }
        let mut node = 0;
        for word in words {
            let fresh = u32::try_from(self.ends.len()).map_err(|_| "is one phrase too many")?;
            node = *self.steps.entry((node, word)).or_insert(fresh);
            if node == fresh {
                self.ends.push(None);
            }
        }
        self.ends[node as usize].get_or_insert(value);
        Ok(())
    }

    /// The phrases in `text` from left to right, the longest at each place, none overlapping another. `counts` says of a phrase
    /// found, by its first word as written and its number of words, whether it counts.
    pub(crate) fn find(&self, text: &str, counts: impl Fn(&str, usize) -> bool, mut push: impl FnMut(Range<usize>, T)) {
        if self.is_empty() {
            return;
        }
        let words: Vec<(usize, &str)> = text.unicode_word_indices().collect();
        let mut first = 0;
        while first < words.len() {
            match self.longest(text, &words[first..], &counts) {
                Some((count, end, value)) => {
                    push(words[first].0..end, value);
                    first += count;
                }
                None => first += 1,
            }
        }
    }

    /// How many of `words`, from the first on, are the longest phrase, where it ends in `text`, and its value.
    fn longest(
        &self,
        text: &str,
        words: &[(usize, &str)],
        counts: &impl Fn(&str, usize) -> bool,
    ) -> Option<(usize, usize, T)> {
        let (mut node, mut best) = (0, None);
        let end_at = |node: u32, count: usize| self.ends[node as usize].filter(|_| counts(words[0].1, count));
        for (at, (start, word)) in words.iter().take(WORDS_MAX).enumerate() {
            if at > 0 && !is_gap(&text[words[at - 1].0 + words[at - 1].1.len()..*start]) {
                break;
            }
            let bare = word.strip_suffix("'s").or_else(|| word.strip_suffix("’s"));
            let genitive = bare.and_then(|bare| Some((bare, *self.steps.get(&(node, folded(bare)))?)));
            if let Some((bare, next)) = genitive
                && let Some(value) = end_at(next, at + 1)
            {
                best = Some((at + 1, start + bare.len(), value));
            }
            let Some(next) = self.steps.get(&(node, folded(word))) else { break };
            node = *next;
            if let Some(value) = end_at(node, at + 1) {
                best = Some((at + 1, start + word.len(), value));
            }
        }
        best
    }
}

/// Blanks, hyphens and dots; nothing at all between two characters of a script without blanks.
fn is_gap(between: &str) -> bool {
    let near = |c: char| c.is_whitespace() || matches!(c, '-' | '\u{2010}' | '.' | '·' | '・');
    between.len() <= GAP_BYTES_MAX && between.chars().all(near)
}

fn folded(word: &str) -> Box<str> {
    word.replace('’', "'").to_lowercase().into_boxed_str()
}
