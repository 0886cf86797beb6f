//! Text to tokens, in bounded memory, with exact byte offsets; and what stands around a text when the encoder reads it.
//!
//! BERT's wordpieces are our own pass (`wordpiece.rs`). Other tokenizers (byte-level BPE, Unigram) are the library's, which
//! holds some hundred bytes for each byte of its input, so a long text goes through it in pieces. They are cut before a
//! space that follows a word, where these tokenizers cut anyway: the tokens are those of the whole text. Only a run of
//! [`PIECE_BYTES`] without such a space is cut between two characters, which may show in the one word that stands there.

use std::ops::ControlFlow;
use std::path::Path;

use tokenizers::{Encoding, Tokenizer};

use crate::config::ModelConfig;
use crate::wordpiece::WordPiece;
use crate::{InferError, Tokens};

/// The longest piece of text that the library tokenizes at once.
const PIECE_BYTES: usize = 16 * 1024;

/// A model's tokenizer. What a text says is always text: a `[SEP]` in it is four tokens and separates nothing.
#[derive(Debug)]
pub(crate) struct Subwords {
    reader: Reader,
    /// What stands around a text, or two.
    pub(crate) layout: Layout,
}

#[derive(Debug)]
enum Reader {
    WordPiece(WordPiece),
    Library(Box<Tokenizer>),
}

/// The special tokens around one text (`before text after`) and two (`before first between second after`), as the
/// post-processor of `tokenizer.json` sets them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Before a text; the first of these is the one that a classifier or CLS pooling reads.
    pub(crate) before: Vec<u32>,
    /// Between two texts.
    pub(crate) between: Vec<u32>,
    /// After a text, or the second.
    pub(crate) after: Vec<u32>,
    /// Whether the second text is of token type 1.
    pub(crate) typed: bool,
}

impl Subwords {
    /// Reads a `tokenizer.json` for an encoder of `config`; the truncation and padding it may ask for are left out.
    ///
    /// # Errors
    /// Not readable, malformed, without special tokens around a text, or with more tokens than the encoder.
    pub(crate) fn read(path: &Path, config: &ModelConfig) -> Result<Subwords, InferError> {
        let malformed = |detail: String| InferError::Malformed { path: path.to_owned(), detail };
        let refused = |error: tokenizers::Error| malformed(error.to_string());
        let bytes = std::fs::read(path).map_err(|source| InferError::Read { path: path.to_owned(), source })?;
        let mut tokenizer = Tokenizer::from_bytes(bytes).map_err(refused)?;
        tokenizer.with_truncation(None).map_err(refused)?;
        tokenizer.with_padding(None);
        tokenizer.set_encode_special_tokens(true);
        let vocabulary = config.vocabulary();
        if tokenizer.get_vocab(true).values().any(|id| *id as usize >= vocabulary) {
            return Err(malformed(format!("it has tokens beyond the encoder's {vocabulary}")));
        }
        // A tokenizer fails only where it has no token for the unknown: a hieroglyph asks for it once, here.
        tokenizer.encode_fast("\u{13000}", false).map_err(refused)?;
        let one = tokenizer.encode("a", true).map_err(refused)?;
        let two = tokenizer.encode(("a", "a"), true).map_err(refused)?;
        let layout = Layout::of(&one, &two, config.token_types()).ok_or_else(|| {
            malformed("its post_processor sets no special token before, between or after texts".into())
        })?;
        let reader = match WordPiece::of(&tokenizer) {
            Some(wordpiece) => Reader::WordPiece(wordpiece),
            None => Reader::Library(Box::new(tokenizer)),
        };
        Ok(Subwords { reader, layout })
    }

    /// The first `tokens_max` tokens of `text`, without special tokens.
    pub(crate) fn ids(&self, text: &str, tokens_max: usize) -> Vec<u32> {
        let mut ids = Vec::new();
        self.each(text, |id, _| {
            if ids.len() == tokens_max {
                return ControlFlow::Break(());
            }
            ids.push(id);
            ControlFlow::Continue(())
        });
        ids
    }

    /// The first byte of each token of `text`, appended to `out`; never descending, and equal where one character became
    /// several tokens.
    ///
    /// # Panics
    /// If `text` has 4 GiB or more.
    pub(crate) fn starts(&self, text: &str, out: &mut Vec<u32>) {
        self.each(text, |_, byte| {
            out.push(u32::try_from(byte).expect("texts are shorter than 4 GiB"));
            ControlFlow::Continue(())
        });
    }

    /// Hands each token of `text` and its first byte to `sink` until it breaks off.
    fn each(&self, text: &str, mut sink: impl FnMut(u32, usize) -> ControlFlow<()>) {
        // Whether it broke off is what the caller knows already.
        let _ = match &self.reader {
            Reader::WordPiece(wordpiece) => wordpiece.tokens(text, sink),
            Reader::Library(tokenizer) => pieces(text).try_for_each(|(first, piece)| {
                let encoding =
                    tokenizer.encode(piece, false).expect("it has a token for every text, as asked in `read`");
                let mut tokens = encoding.get_ids().iter().zip(encoding.get_offsets());
                tokens.try_for_each(|(id, (start, _))| sink(*id, first + start))
            }),
        };
    }
}

impl Layout {
    /// What stands around the two probes, `None` if nothing does at some place.
    fn of(one: &Encoding, two: &Encoding, token_types: usize) -> Option<Layout> {
        let special: Vec<bool> = two.get_special_tokens_mask().iter().map(|special| *special == 1).collect();
        let mut runs = special.chunk_by(|a, b| a == b).scan(0, |end, run| {
            let start = *end;
            *end += run.len();
            Some(start..*end)
        });
        let (before, _, between, second, after) =
            (runs.next()?, runs.next()?, runs.next()?, runs.next()?, runs.next()?);
        let ids = two.get_ids();
        let same_around_one =
            one.get_ids().starts_with(&ids[before.clone()]) && one.get_ids().ends_with(&ids[after.clone()]);
        (special[0] && runs.next().is_none() && same_around_one).then(|| Layout {
            before: ids[before].to_vec(),
            between: ids[between].to_vec(),
            after: ids[after].to_vec(),
            typed: token_types > 1 && two.get_type_ids()[second.start] == 1,
        })
    }

    /// One text as the encoder reads it.
    pub(crate) fn one(&self, text: &[u32]) -> Tokens {
        let ids = [&self.before, text, &self.after].concat();
        Tokens { second: ids.len(), ids }
    }

    /// Two texts as the encoder reads them.
    pub(crate) fn two(&self, first: &[u32], second: &[u32]) -> Tokens {
        let ids = [&self.before, first, &self.between, second, &self.after].concat();
        let typed_from = self.before.len() + first.len() + self.between.len();
        Tokens { second: if self.typed { typed_from } else { ids.len() }, ids }
    }

    /// Special tokens around one text.
    pub(crate) fn around_one(&self) -> usize {
        self.before.len() + self.after.len()
    }

    /// Special tokens around two texts.
    pub(crate) fn around_two(&self) -> usize {
        self.around_one() + self.between.len()
    }
}

/// `text` in pieces, each with its first byte.
fn pieces(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut first = 0;
    std::iter::from_fn(move || {
        let rest = &text[first..];
        if rest.is_empty() {
            return None;
        }
        let piece = &rest[..piece_end(rest)];
        let found = (first, piece);
        first += piece.len();
        Some(found)
    })
}

fn piece_end(text: &str) -> usize {
    if text.len() <= PIECE_BYTES {
        return text.len();
    }
    let window = &text[..text.floor_char_boundary(PIECE_BYTES)];
    let mut spaces = window.rmatch_indices(' ').map(|(byte, _)| byte);
    let after_word = |byte: &usize| window[..*byte].ends_with(|before: char| !before.is_whitespace());
    spaces.find(after_word).unwrap_or(window.len())
}
