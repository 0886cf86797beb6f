//! Texts of exact lengths in tokens, from a corpus.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use ibid_core::Tokenize;
use ibid_eval::Handbook;
use ibid_runtime::{Random, SeededRandom};
use serde_json::Value;

use crate::cli::demo::find_handbook;

/// Bytes of a corpus that are cut into texts.
const CORPUS_BYTES_MAX: usize = 2_000_000;
const SEED: u64 = 7;

/// A text cut anywhere between words.
#[derive(Debug)]
pub(super) struct Pieces {
    text: String,
    /// The first byte of each token.
    starts: Vec<u32>,
    tokenizer: Arc<dyn Tokenize>,
    random: SeededRandom,
}

impl Pieces {
    /// The texts of `data/corpus.jsonl`, or of the handbook where no data is named.
    pub(super) fn open(data: Option<&Path>, tokenizer: Arc<dyn Tokenize>) -> anyhow::Result<Pieces> {
        let text = match data {
            Some(folder) => corpus(&folder.join("corpus.jsonl"))?,
            None => handbook()?,
        };
        Pieces::of(text, tokenizer)
    }

    fn of(text: String, tokenizer: Arc<dyn Tokenize>) -> anyhow::Result<Pieces> {
        let mut starts = Vec::new();
        tokenizer.token_starts(&text, &mut starts);
        if starts.len() < 2_000 {
            bail!("the corpus has {} tokens, expected 2,000 at least", starts.len());
        }
        Ok(Pieces { text, starts, tokenizer, random: SeededRandom::new(SEED) })
    }

    /// The next whole number of the sequence from the seed, below `below`.
    pub(super) fn draw(&self, below: usize) -> usize {
        let mut bytes = [0; 8];
        self.random.fill(b"bench", &mut bytes);
        usize::try_from(u64::from_le_bytes(bytes) % below.max(1) as u64).expect("below a usize")
    }

    /// Whole words of exactly `tokens` tokens, special tokens left out, from a place drawn.
    pub(super) fn cut(&self, tokens: usize) -> anyhow::Result<String> {
        let places = self.starts.len().saturating_sub(tokens);
        let from = self.draw(places);
        for place in (from..places).chain(0..from) {
            let (start, end) = (self.starts[place] as usize, self.starts[place + tokens] as usize);
            if !self.word_starts(start) || !self.word_starts(end) {
                continue;
            }
            let piece = self.text[start..end].trim_end();
            // A word may read differently without the ones before it.
            let mut again = Vec::new();
            self.tokenizer.token_starts(piece, &mut again);
            if again.len() == tokens {
                return Ok(piece.to_owned());
            }
        }
        bail!("the corpus has no words of {tokens} tokens together")
    }

    fn word_starts(&self, byte: usize) -> bool {
        self.text[..byte].chars().next_back().is_none_or(char::is_whitespace)
    }
}

fn corpus(path: &Path) -> anyhow::Result<String> {
    let file = std::fs::File::open(path).with_context(|| format!("open {}", path.display()))?;
    let mut text = String::new();
    for (number, line) in (1..).zip(BufReader::new(file).lines()) {
        let line = line.with_context(|| format!("read {}", path.display()))?;
        let document: Value =
            serde_json::from_str(&line).with_context(|| format!("{}, line {number}", path.display()))?;
        for field in ["title", "text"] {
            text.push_str(document.get(field).and_then(Value::as_str).unwrap_or_default());
            text.push('\n');
        }
        if text.len() > CORPUS_BYTES_MAX {
            break;
        }
    }
    Ok(text)
}

fn handbook() -> anyhow::Result<String> {
    let handbook = Handbook::open(&find_handbook()?)?;
    let documents = handbook.tenants.values().flat_map(|documents| documents.values());
    Ok(documents.map(|document| document.text.as_str()).collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A token for each letter or run of spaces that follows one: words have several, as wordpieces do.
    #[derive(Debug)]
    struct Letters;

    impl Tokenize for Letters {
        fn token_starts(&self, text: &str, out: &mut Vec<u32>) {
            let letters = text.char_indices().filter(|(_, letter)| !letter.is_whitespace());
            out.extend(letters.map(|(byte, _)| u32::try_from(byte).unwrap()));
        }
    }

    #[test]
    fn pieces_are_whole_words_of_exactly_so_many_tokens() {
        let pieces = Pieces::of("one three äx\n".repeat(300), Arc::new(Letters)).unwrap();
        for tokens in [2, 5, 13, 100] {
            let piece = pieces.cut(tokens).unwrap();
            assert_eq!(piece.chars().filter(|letter| !letter.is_whitespace()).count(), tokens, "{piece:?}");
            assert!(piece.split_whitespace().all(|word| ["one", "three", "äx"].contains(&word)), "{piece:?}");
        }
        assert!(pieces.cut(1).is_err(), "no word has one token");
        assert!(Pieces::of("too short".to_owned(), Arc::new(Letters)).is_err());
    }
}
