//! Values out, placeholders in, for a provider that is to read the text without them; and the values back in its reply.
//!
//! `[EMAIL_1]` stands for the first mail address of a request, wherever in it. Where a text of the request already has
//! something of that look, all placeholders of the request carry a random word (`[EMAIL_1_q7x2...]`), so that no document can
//! name one.

use std::collections::HashMap;
use std::fmt;

use ibid_runtime::Random;

use super::{Finding, Kind, Redactor};

/// Letters of the random word: no two look alike, and none is a capital.
const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
/// Of 5 bits each.
const WORD_LETTERS: usize = 12;

/// A request's texts with placeholders, and what they stand for.
#[derive(Clone)]
pub struct Replaced {
    texts: Vec<String>,
    found: Vec<Vec<Finding>>,
    /// Placeholder and value, sorted by placeholder.
    values: Vec<(String, String)>,
}

impl fmt::Debug for Replaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Replaced({} texts, {} values)", self.texts.len(), self.values.len())
    }
}

impl Redactor {
    /// The texts of one request with a placeholder for each private value: the same for the same value in all of them. All
    /// texts that the provider gets have to come together, for a placeholder must not stand in any of them by itself.
    pub fn replace(&self, random: &dyn Random, texts: &[&str]) -> Replaced {
        let found: Vec<Vec<Finding>> = texts.iter().map(|text| self.find(text)).collect();
        let word = random_word(random, texts, &found);
        let mut counts: HashMap<&str, u32> = HashMap::new();
        let mut known: HashMap<(&Kind, &str), String> = HashMap::new();
        let mut replaced = Vec::with_capacity(texts.len());
        for (text, found) in texts.iter().zip(&found) {
            let mut out = String::with_capacity(text.len());
            let mut copied = 0;
            for Finding { kind, span } in found {
                out.push_str(&text[copied..span.start]);
                let placeholder = known.entry((kind, &text[span.clone()])).or_insert_with(|| {
                    let number = counts.entry(kind.label()).or_default();
                    *number += 1;
                    match &word {
                        Some(word) => format!("[{}_{number}_{word}]", kind.label()),
                        None => format!("[{}_{number}]", kind.label()),
                    }
                });
                out.push_str(placeholder);
                copied = span.end;
            }
            out.push_str(&text[copied..]);
            replaced.push(out);
        }
        let mut values: Vec<(String, String)> =
            known.into_iter().map(|((_, value), placeholder)| (placeholder, value.to_owned())).collect();
        values.sort();
        Replaced { texts: replaced, found, values }
    }
}

/// A word that stands in none of `texts`, if one of them has something that looks like a placeholder.
fn random_word(random: &dyn Random, texts: &[&str], found: &[Vec<Finding>]) -> Option<String> {
    let labels: std::collections::BTreeSet<&str> = found.iter().flatten().map(|finding| finding.kind.label()).collect();
    let looks_like = |text: &&str| {
        text.match_indices('[').any(|(at, _)| {
            let rest = &text[at + 1..];
            labels.iter().any(|label| rest.strip_prefix(label).is_some_and(|rest| rest.starts_with('_')))
        })
    };
    if !texts.iter().any(looks_like) {
        return None;
    }
    loop {
        let mut bytes = [0; WORD_LETTERS];
        random.fill(b"placeholder", &mut bytes);
        let word: String = bytes.iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect();
        // 60 random bits: the texts were written before they were drawn.
        if !texts.iter().any(|text| text.contains(&word)) {
            return Some(word);
        }
    }
}

impl Replaced {
    /// The texts with placeholders, in the order given.
    pub fn texts(&self) -> &[String] {
        &self.texts
    }

    /// By text, what was replaced, in the places of the text that was given.
    pub fn found(&self) -> &[Vec<Finding>] {
        &self.found
    }

    /// How many different values were replaced.
    pub fn value_count(&self) -> usize {
        self.values.len()
    }

    /// Puts the values back in one stream of text.
    pub fn restorer(&self) -> Restorer {
        Restorer { values: self.values.clone(), held: String::new() }
    }

    /// Puts the values back in one stream that is the inside of JSON strings, such as a tool call's arguments.
    pub fn json_restorer(&self) -> Restorer {
        let escaped = |value: &String| {
            let quoted = serde_json::Value::String(value.clone()).to_string();
            quoted[1..quoted.len() - 1].to_owned()
        };
        let values = self.values.iter().map(|(placeholder, value)| (placeholder.clone(), escaped(value))).collect();
        Restorer { values, held: String::new() }
    }
}

/// Puts values back in a stream of deltas, wherever the deltas cut. What was put back is not searched again.
pub struct Restorer {
    /// Sorted by placeholder.
    values: Vec<(String, String)>,
    /// The end of what came that may be the start of a placeholder: always shorter than the longest one.
    held: String,
}

impl fmt::Debug for Restorer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Restorer({} values, {} bytes held)", self.values.len(), self.held.len())
    }
}

impl Restorer {
    /// The next piece of the text: `delta` after what was held, as far as it is sure.
    pub fn push(&mut self, delta: &str) -> String {
        if self.values.is_empty() {
            return delta.to_owned();
        }
        let mut out = String::with_capacity(delta.len() + self.held.len());
        let mut rest = delta;
        while !rest.is_empty() {
            if self.held.is_empty() {
                // Placeholders start with a bracket and have no second one.
                let Some(at) = rest.find('[') else {
                    out.push_str(rest);
                    break;
                };
                out.push_str(&rest[..at]);
                self.held.push('[');
                rest = &rest[at + 1..];
                continue;
            }
            let next = rest.chars().next().expect("it is not empty");
            self.held.push(next);
            let from = self.values.partition_point(|(placeholder, _)| placeholder.as_str() < self.held.as_str());
            match self.values.get(from) {
                Some((placeholder, value)) if *placeholder == self.held => {
                    out.push_str(value);
                    self.held.clear();
                    rest = &rest[next.len_utf8()..];
                }
                Some((placeholder, _)) if placeholder.starts_with(&self.held) => rest = &rest[next.len_utf8()..],
                _ => {
                    // `next` is read again: it may open the next one.
                    self.held.pop();
                    out.push_str(&self.held);
                    self.held.clear();
                    if next != '[' {
                        out.push(next);
                        rest = &rest[next.len_utf8()..];
                    }
                }
            }
        }
        out
    }

    /// What is still held when the stream ends.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// How many bytes are held back now.
    pub fn held_bytes(&self) -> usize {
        self.held.len()
    }
}
