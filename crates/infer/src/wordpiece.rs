//! BERT's tokenizer from text to token in one pass, without a copy of the text: what the tokenizers library computes by
//! building, for every byte, the alignment of four normalized strings.
//!
//! The same steps as `BertNormalizer`, `BertPreTokenizer` and `WordPiece` there, with the same Unicode tables: clean, set
//! ideographs apart, decompose and strip marks, lowercase; cut at whitespace and around punctuation; then the longest token
//! that fits, again and again (Wu et al. 2016). Plain ASCII words, which most text is made of, skip the first half: nothing
//! reorders or joins across ASCII whitespace and punctuation, so the text is taken from one of those to the next.

use std::ops::ControlFlow;

use rustc_hash::FxHashMap;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::{ModelWrapper, NormalizerWrapper, PreTokenizerWrapper, Tokenizer};
use unicode_categories::UnicodeCategories;
use unicode_normalization_alignments::UnicodeNormalization;

/// What takes a token and the first byte of the text it stands for, and says whether it wants another.
pub(crate) trait Sink: FnMut(u32, usize) -> ControlFlow<()> {}

impl<F: FnMut(u32, usize) -> ControlFlow<()>> Sink for F {}

/// A vocabulary of wordpieces and how text is normalized for it.
#[derive(Debug)]
pub(crate) struct WordPiece {
    /// Tokens that begin a word.
    first: FxHashMap<Box<str>, u32>,
    /// Tokens that continue one, without the prefix that marks them.
    rest: FxHashMap<Box<str>, u32>,
    unknown: u32,
    token_bytes_max: usize,
    word_chars_max: usize,
    normalizer: BertNormalizer,
    strip_accents: bool,
}

/// What an ASCII byte is to this tokenizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Space,
    Punctuation,
    Letter,
    /// A control character, or part of a character beyond ASCII.
    Other,
}

/// A word as it is normalized, and where it comes from.
#[derive(Debug, Default)]
struct Word {
    text: String,
    /// For each byte of `text` the byte of the original.
    sources: Vec<usize>,
    chars: usize,
    /// Its tokens so far, each with its first byte.
    pieces: Vec<(u32, usize)>,
}

impl WordPiece {
    /// The wordpieces of `tokenizer`, `None` if it is of another make: other steps, or words of its own beside the special
    /// tokens.
    pub(crate) fn of(tokenizer: &Tokenizer) -> Option<WordPiece> {
        let (Some(NormalizerWrapper::BertNormalizer(normalizer)), Some(PreTokenizerWrapper::BertPreTokenizer(_))) =
            (tokenizer.get_normalizer(), tokenizer.get_pre_tokenizer())
        else {
            return None;
        };
        let ModelWrapper::WordPiece(model) = tokenizer.get_model() else { return None };
        if tokenizer.get_added_tokens_decoder().values().any(|token| !token.special) {
            return None;
        }
        let vocabulary = tokenizer.get_vocab(false);
        let unknown = *vocabulary.get(&model.unk_token)?;
        let continued = |token: &str| token.strip_prefix(&model.continuing_subword_prefix).map(Box::from);
        Some(WordPiece {
            token_bytes_max: vocabulary.keys().map(String::len).max().unwrap_or(0),
            word_chars_max: model.max_input_chars_per_word,
            rest: vocabulary.iter().filter_map(|(token, id)| Some((continued(token)?, *id))).collect(),
            first: vocabulary.into_iter().map(|(token, id)| (token.into_boxed_str(), id)).collect(),
            unknown,
            normalizer: *normalizer,
            strip_accents: normalizer.strip_accents.unwrap_or(normalizer.lowercase),
        })
    }

    /// Hands each token of `text` to `sink` until it breaks off.
    pub(crate) fn tokens(&self, text: &str, mut sink: impl Sink) -> ControlFlow<()> {
        let bytes = text.as_bytes();
        let mut word = Word::default();
        let mut byte = 0;
        while byte < bytes.len() {
            let start = byte;
            match class(bytes[byte]) {
                Class::Space => byte += 1,
                Class::Punctuation => {
                    byte += 1;
                    self.plain_word(&text[start..byte], start, &mut word, &mut sink)?;
                }
                Class::Letter | Class::Other => {
                    let mut plain = true;
                    while let Some(class @ (Class::Letter | Class::Other)) = bytes.get(byte).map(|byte| class(*byte)) {
                        plain &= class == Class::Letter;
                        byte += 1;
                    }
                    if plain {
                        self.plain_word(&text[start..byte], start, &mut word, &mut sink)?;
                    } else {
                        self.run(&text[start..byte], start, &mut word, &mut sink)?;
                    }
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// A word of ASCII letters and digits, or one mark of punctuation.
    fn plain_word(&self, plain: &str, start: usize, word: &mut Word, sink: &mut impl Sink) -> ControlFlow<()> {
        if plain.len() > self.word_chars_max {
            return sink(self.unknown, start);
        }
        word.text.clear();
        word.text.push_str(plain);
        if self.normalizer.lowercase {
            word.text.make_ascii_lowercase();
        }
        self.pieces(&word.text, |byte| start + byte, &mut word.pieces, sink)
    }

    /// Text without ASCII whitespace and punctuation.
    fn run(&self, run: &str, start: usize, word: &mut Word, sink: &mut impl Sink) -> ControlFlow<()> {
        word.clear();
        let apart = || {
            let cleaned = run.char_indices().filter_map(|(byte, c)| Some((start + byte, self.clean(c)?)));
            cleaned.flat_map(|(byte, c)| self.set_apart(c).into_iter().flatten().map(move |c| (byte, c)))
        };
        if !self.strip_accents {
            apart().try_for_each(|(byte, c)| self.take(c, byte, word, sink))?;
            return self.end(word, sink);
        }
        let (mut sources, mut byte) = (apart().map(|(byte, _)| byte), start);
        for (c, added) in apart().map(|(_, c)| c).nfd() {
            // A character that decomposition added stands where the one before it does.
            if added == 0 {
                byte = sources.next().unwrap_or(byte);
            }
            if !c.is_mark_nonspacing() {
                self.take(c, byte, word, sink)?;
            }
        }
        self.end(word, sink)
    }

    /// `None` for what is no text; every whitespace a space.
    fn clean(&self, c: char) -> Option<char> {
        if !self.normalizer.clean_text {
            return Some(c);
        }
        match c {
            '\t' | '\n' | '\r' => Some(' '),
            '\0' | '\u{fffd}' => None,
            c if c.is_other() => None,
            c if c.is_whitespace() => Some(' '),
            c => Some(c),
        }
    }

    fn set_apart(&self, c: char) -> [Option<char>; 3] {
        if self.normalizer.handle_chinese_chars && is_ideograph(c) {
            [Some(' '), Some(c), Some(' ')]
        } else {
            [Some(c), None, None]
        }
    }

    /// Takes the next character, which lowercasing may make several.
    fn take(&self, c: char, source: usize, word: &mut Word, sink: &mut impl Sink) -> ControlFlow<()> {
        if self.normalizer.lowercase {
            c.to_lowercase().try_for_each(|c| self.take_normalized(c, source, word, sink))
        } else {
            self.take_normalized(c, source, word, sink)
        }
    }

    fn take_normalized(&self, c: char, source: usize, word: &mut Word, sink: &mut impl Sink) -> ControlFlow<()> {
        if c.is_whitespace() {
            return self.end(word, sink);
        }
        if !c.is_ascii_punctuation() && !c.is_punctuation() {
            word.push(c, source, self.word_chars_max);
            return ControlFlow::Continue(());
        }
        self.end(word, sink)?;
        word.push(c, source, self.word_chars_max);
        self.end(word, sink)
    }

    /// Hands over the tokens of the word, if there is one, and clears it.
    fn end(&self, word: &mut Word, sink: &mut impl Sink) -> ControlFlow<()> {
        let Word { text, sources, chars, pieces } = word;
        let flow = match sources.first() {
            None => ControlFlow::Continue(()),
            Some(first) if *chars > self.word_chars_max => sink(self.unknown, *first),
            Some(_) => self.pieces(text, |byte| sources[byte], pieces, sink),
        };
        word.clear();
        flow
    }

    /// The longest token that fits, again and again; one unknown token if at some place none does.
    fn pieces(
        &self,
        word: &str,
        source: impl Fn(usize) -> usize,
        pieces: &mut Vec<(u32, usize)>,
        sink: &mut impl Sink,
    ) -> ControlFlow<()> {
        if let Some(id) = self.first.get(word) {
            return sink(*id, source(0));
        }
        pieces.clear();
        let mut start = 0;
        while start < word.len() {
            let known = if start == 0 { &self.first } else { &self.rest };
            let ends = (start + 1..=word.len().min(start + self.token_bytes_max)).rev();
            let found = ends.filter_map(|end| Some((*known.get(word.get(start..end)?)?, end))).next();
            let Some((id, end)) = found else { return sink(self.unknown, source(0)) };
            pieces.push((id, start));
            start = end;
        }
        pieces.iter().try_for_each(|(id, start)| sink(*id, source(*start)))
    }
}

impl Word {
    /// Of a word that is too long, what lies beyond is only counted.
    fn push(&mut self, c: char, source: usize, chars_max: usize) {
        self.chars += 1;
        if self.chars <= chars_max {
            self.text.push(c);
            self.sources.resize(self.text.len(), source);
        }
    }

    fn clear(&mut self) {
        self.text.clear();
        self.sources.clear();
        self.chars = 0;
    }
}

fn class(byte: u8) -> Class {
    match byte {
        b' ' | b'\t' | b'\n' | b'\r' => Class::Space,
        byte if byte.is_ascii_punctuation() => Class::Punctuation,
        byte if byte.is_ascii_alphanumeric() => Class::Letter,
        _ => Class::Other,
    }
}

/// The blocks that BERT calls Chinese.
fn is_ideograph(c: char) -> bool {
    matches!(
        u32::from(c),
        0x4e00..=0x9fff
            | 0x3400..=0x4dbf
            | 0x20000..=0x2a6df
            | 0x2a700..=0x2b73f
            | 0x2b740..=0x2b81f
            | 0x2b920..=0x2ceaf
            | 0xf900..=0xfaff
            | 0x2f800..=0x2fa1f
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::{Path, PathBuf};

    use proptest::prelude::*;
    use serde::Deserialize;
    use sha2::{Digest, Sha256};

    const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/all-MiniLM-L6-v2-int8/tokenizer.json");
    const HANDBOOK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../datasets/handbook");

    /// The shipped tokenizer as the library runs it, normalizing as told.
    fn library(normalizer: BertNormalizer) -> Tokenizer {
        let mut tokenizer = Tokenizer::from_file(SHIPPED).unwrap();
        tokenizer.with_truncation(None).unwrap();
        tokenizer.with_padding(None);
        tokenizer.set_encode_special_tokens(true);
        tokenizer.with_normalizer(Some(normalizer)).unwrap();
        tokenizer
    }

    fn tokens(wordpiece: &WordPiece, text: &str) -> Vec<(u32, usize)> {
        let mut tokens = Vec::new();
        let flow = wordpiece.tokens(text, |id, byte| {
            tokens.push((id, byte));
            ControlFlow::Continue(())
        });
        assert!(flow.is_continue());
        tokens
    }

    fn of_library(tokenizer: &Tokenizer, text: &str) -> Vec<(u32, usize)> {
        let encoding = tokenizer.encode(text, false).unwrap();
        encoding.get_ids().iter().copied().zip(encoding.get_offsets().iter().map(|(start, _)| *start)).collect()
    }

    /// `models/golden/make_tokens.py` wrote the file.
    #[test]
    fn tokens_are_those_of_the_reference() {
        #[derive(Deserialize)]
        struct Golden {
            texts: Vec<Text>,
        }
        #[derive(Deserialize)]
        struct Text {
            part: String,
            times: usize,
            tokens: usize,
            sha256: String,
        }
        let golden: Golden = serde_json::from_str(include_str!("../../../models/golden/tokens.json")).unwrap();
        let wordpiece = WordPiece::of(&library(BertNormalizer::default())).unwrap();
        for text in golden.texts {
            let tokens = tokens(&wordpiece, &text.part.repeat(text.times));
            let (ids, starts): (Vec<u32>, Vec<u32>) = tokens.iter().map(|(id, byte)| (id, *byte as u32)).unzip();
            let bytes: Vec<u8> = ids.iter().chain(&starts).flat_map(|number| number.to_le_bytes()).collect();
            let sha256: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!((tokens.len(), sha256), (text.tokens, text.sha256), "{:?} {} times", text.part, text.times);
        }
    }

    #[test]
    fn tokens_of_real_texts_are_those_of_the_library() {
        fn files(folder: &Path, found: &mut Vec<PathBuf>) {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { files(&path, found) } else { found.push(path) }
            }
        }
        let library = library(BertNormalizer::default());
        let wordpiece = WordPiece::of(&library).unwrap();
        let mut found = Vec::new();
        files(Path::new(HANDBOOK), &mut found);
        assert!(found.len() > 50);
        for path in found {
            let Ok(text) = std::fs::read_to_string(&path) else { continue };
            assert!(tokens(&wordpiece, &text) == of_library(&library, &text), "{}", path.display());
        }
    }

    /// Letters of many scripts, marks, ideographs, jamo, what is no text, and anything else.
    fn characters() -> impl Strategy<Value = char> {
        let chosen = "aZ9 \t\n\u{b}\u{85}\u{a0}\u{3000}.#-'\u{2019}\u{37e}≠\0\u{fffd}\u{200d}\u{ad}\u{301}\u{323}\u{308}\u{344}\
            \u{302e}\u{1d165}\u{f73}éệǭİıẞςKÅ東豈\u{2f800}각가한ｶﾞ\u{94d}िא\u{5b0}م\u{64e}🙂\u{1f3fd}\u{e000}\u{378}";
        prop_oneof![
            4 => prop::sample::select(chosen.chars().collect::<Vec<_>>()),
            2 => prop::char::range('a', 'z'),
            1 => prop::char::range('\u{80}', '\u{24ff}'),
            1 => any::<char>(),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn tokens_of_any_text_are_those_of_the_library(
            characters in prop::collection::vec(characters(), 0..60),
            repeated in 1_usize..4,
            switches in any::<[bool; 4]>(),
            strip_accents in any::<Option<bool>>(),
        ) {
            thread_local!(static LIBRARY: std::cell::RefCell<Tokenizer> = library(BertNormalizer::default()).into());
            let text = characters.into_iter().collect::<String>().repeat(repeated);
            let [usual, clean_text, handle_chinese_chars, lowercase] = switches;
            let other = BertNormalizer::new(clean_text, handle_chinese_chars, strip_accents, lowercase);
            let normalizer = if usual { BertNormalizer::default() } else { other };
            LIBRARY.with_borrow_mut(|library| {
                library.with_normalizer(Some(normalizer)).unwrap();
                let wordpiece = WordPiece::of(library).unwrap();
                prop_assert_eq!(tokens(&wordpiece, &text), of_library(library, &text));
                Ok(())
            })?;
        }
    }

    #[test]
    fn it_stops_when_told() {
        let wordpiece = WordPiece::of(&library(BertNormalizer::default())).unwrap();
        for text in ["one two three", "Größe, 東京, unaffordability"] {
            let mut count = 0;
            let flow = wordpiece.tokens(text, |_, _| {
                count += 1;
                if count == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            assert!(flow.is_break() && count == 2, "{text}");
        }
    }
}
