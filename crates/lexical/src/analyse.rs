//! Text to terms: the same for chunks and questions.
//!
//! Words are maximal runs of letters and digits, in lower case. Then, as the collection's settings say, the language's
//! stop words go and the rest is reduced to stems (Porter's and the Snowball stemmers); last, accents are folded away
//! (a stemmer needs them), so that `Größe`, `grösse` and a decomposed `ö` meet.
//!
//! Codes stay findable as a whole: a chain of words joined by single `-`, `.`, `_`, `/` or `:` that holds a digit
//! gives, after its parts, one more term. `E-4102` gives `e`, `4102` and `e4102`, which `E4102` gives too; `1.2.3`
//! gives `1`, `2`, `3` and `1.2.3`.

use std::fmt;

use ibid_core::Language;
use tantivy::tokenizer::{
    AsciiFoldingFilter, Language as TantivyLanguage, Stemmer, StopWordFilter, TextAnalyzer, Token, TokenStream,
    Tokenizer,
};

/// A longer term is encoded data, not a word; a SHA-256 in hexadecimal digits just fits.
const TERM_BYTES_MAX: usize = 64;

/// How a collection's texts and the questions put to it become terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Analysis {
    /// The language of stems and stop words. [`Language::None`]: words as they are, in lower case.
    pub language: Language,
    /// Whether words are reduced to their stems.
    pub stemming: bool,
    /// Whether the language's stop words are left out.
    pub stop_words: bool,
}

/// The name that an index keeps of its analysis. The number changes with what the same settings give.
impl fmt::Display for Analysis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stemming = if self.stemming { "stems" } else { "words" };
        let stop_words = if self.stop_words { "stopped" } else { "all" };
        write!(f, "1-{:?}-{stemming}-{stop_words}", self.language)
    }
}

impl Analysis {
    pub(crate) fn analyzer(self) -> TextAnalyzer {
        let words = TextAnalyzer::builder(Words::default()).dynamic();
        let Some(language) = tantivy_language(self.language) else {
            return words.build();
        };
        let stop_words = self.stop_words.then(|| StopWordFilter::new(language)).flatten();
        let kept = match stop_words {
            Some(filter) => words.filter_dynamic(filter),
            None => words,
        };
        let reduced = if self.stemming { kept.filter_dynamic(Stemmer::new(language)) } else { kept };
        reduced.filter_dynamic(AsciiFoldingFilter).build()
    }
}

fn tantivy_language(language: Language) -> Option<TantivyLanguage> {
    match language {
        Language::English => Some(TantivyLanguage::English),
        Language::German => Some(TantivyLanguage::German),
        Language::French => Some(TantivyLanguage::French),
        Language::Spanish => Some(TantivyLanguage::Spanish),
        Language::None => None,
    }
}

/// The first `terms_max` different terms of `text`, in order of appearance, each once.
pub(crate) fn distinct_terms(analyzer: &TextAnalyzer, text: &str, terms_max: usize) -> Vec<String> {
    let mut analyzer = analyzer.clone();
    let mut stream = analyzer.token_stream(text);
    let mut terms: Vec<String> = Vec::new();
    while terms.len() < terms_max && stream.advance() {
        let term = &stream.token().text;
        if !term.is_empty() && !terms.contains(term) {
            terms.push(term.clone());
        }
    }
    terms
}

/// Splits text into words and codes, in lower case.
#[derive(Clone, Default)]
struct Words {
    token: Token,
}

impl Tokenizer for Words {
    type TokenStream<'a> = WordStream<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> WordStream<'a> {
        self.token.reset();
        WordStream { text, byte: 0, code: Code::default(), token: &mut self.token }
    }
}

struct WordStream<'a> {
    text: &'a str,
    /// Where the next word is looked for.
    byte: usize,
    code: Code,
    token: &'a mut Token,
}

/// The chain of joined words that the stream is in, or has just read.
#[derive(Default)]
struct Code {
    /// The words so far, with a full stop between two.
    joined: String,
    words: usize,
    /// Whether no word follows.
    ended: bool,
}

impl Code {
    fn push(&mut self, word: &str) {
        if self.words > 0 {
            self.joined.push('.');
        }
        self.joined.push_str(word);
        self.words += 1;
    }

    /// The chain as one term: digits keep a full stop between the words, for `1.23` is not `12.3`; where there are
    /// letters, people write the joints or not (`IL-6`, `IL6`), so there they go.
    fn take_term(&mut self) -> Option<String> {
        let Code { joined, words, .. } = std::mem::take(self);
        if words < 2 || !joined.contains(char::is_numeric) {
            return None;
        }
        if joined.contains(char::is_alphabetic) { Some(joined.replace('.', "")) } else { Some(joined) }
    }
}

fn is_accent(char: char) -> bool {
    ('\u{300}'..='\u{36f}').contains(&char)
}

fn is_joint(char: char) -> bool {
    matches!(char, '-' | '\u{2010}' | '\u{2011}' | '.' | '_' | '/' | ':')
}

impl WordStream<'_> {
    /// The next word's bytes.
    fn next_word(&mut self) -> Option<std::ops::Range<usize>> {
        let start = self.byte + self.text[self.byte..].find(char::is_alphanumeric)?;
        let rest = &self.text[start..];
        let end = start + rest.find(|char: char| !char.is_alphanumeric() && !is_accent(char)).unwrap_or(rest.len());
        self.byte = end;
        Some(start..end)
    }

    /// Whether the chain goes on behind the word that ends at `byte`.
    fn joined_at(&self, byte: usize) -> bool {
        let mut next = self.text[byte..].chars();
        next.next().is_some_and(is_joint) && next.next().is_some_and(char::is_alphanumeric)
    }
}

impl TokenStream for WordStream<'_> {
    fn advance(&mut self) -> bool {
        loop {
            self.token.text.clear();
            let code = if self.code.ended { self.code.take_term() } else { None };
            if let Some(code) = code {
                self.token.text.push_str(&code);
            } else {
                let Some(word) = self.next_word() else { return false };
                let lower = self.text[word.clone()].chars().flat_map(char::to_lowercase);
                self.token.text.extend(lower.filter(|char| !is_accent(*char)));
                self.token.offset_from = word.start;
                self.token.offset_to = word.end;
                self.code.push(&self.token.text);
                self.code.ended = !self.joined_at(word.end);
            }
            if self.token.text.len() <= TERM_BYTES_MAX {
                self.token.position = self.token.position.wrapping_add(1);
                return true;
            }
        }
    }

    fn token(&self) -> &Token {
        self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        self.token
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(language: Language, text: &str, expected: &[&str]) {
        let analysis = Analysis { language, stemming: true, stop_words: true };
        assert_eq!(distinct_terms(&analysis.analyzer(), text, 99), expected, "{text:?} in {language:?}");
    }

    #[test]
    fn words_lose_case_endings_and_accents() {
        use Language::{English, French, German, None, Spanish};
        check(English, "The cats are RUNNING, of course!", &["cat", "run", "cours"]);
        check(English, "naïve café", &["naiv", "cafe"]);
        check(German, "Die Größe der Häuser", &["gross", "haus"]);
        check(German, "GRÖSSE, gro\u{308}sse", &["gross"]);
        check(French, "les éléphants", &["eleph"]);
        check(Spanish, "las canciones", &["cancion"]);
        check(None, "Die Häuser", &["die", "häuser"]);
        check(English, "to be or not to be", &[]);
        check(English, " \u{301}\0 …!", &[]);
    }

    #[test]
    fn codes_are_terms_as_a_whole_and_in_parts() {
        use Language::English;
        check(English, "error E-4102.", &["error", "e", "4102", "e4102"]);
        check(English, "E4102", &["e4102"]);
        check(English, "v1.2.3", &["v1", "2", "3", "v123"]);
        check(English, "1.2.3-4", &["1", "2", "3", "4", "1.2.3.4"]);
        check(English, "2024\u{2011}05", &["2024", "05", "2024.05"]);
        check(English, "state-of-the-art", &["state", "art"]);
        check(English, "get_user_id", &["get", "user", "id"]);
        check(English, "A4- B5", &["a4", "b5"]);
    }

    #[test]
    fn encoded_data_is_left_out_and_a_hash_is_not() {
        let (hash, data) = ("0f".repeat(32), "A".repeat(65));
        check(Language::English, &format!("x {data} {hash} y"), &["x", &hash, "y"]);
    }

    #[test]
    fn each_term_once_and_no_more_than_asked() {
        let analyzer = Analysis { language: Language::None, stemming: false, stop_words: false }.analyzer();
        assert_eq!(distinct_terms(&analyzer, "b a b c d", 3), ["b", "a", "c"]);
    }
}
