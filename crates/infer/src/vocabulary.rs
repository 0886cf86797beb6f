//! A language model's tokens: text to tokens and back, as its GGUF file says.
//!
//! The file holds the tokens and how they are merged; how a text is cut before that is only named there. A
//! `tokenizer.json` beside the file says it all and is taken where there is one. What a text says is never read as a
//! control token such as `<|im_end|>`: those come by [`Vocabulary::control`] alone.

use std::collections::HashMap;

use tokenizers::decoders::DecoderWrapper;
use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::normalizers::{NFC, NormalizerWrapper, Prepend, Replace};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, SplitDelimiterBehavior, Tokenizer};

use crate::InferError;
use crate::gguf::Gguf;
use crate::manifest::TOKENIZER;

/// SentencePiece's space.
const SPACE: char = '\u{2581}';
/// How Llama 3 cuts a text.
const CUT_LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// How Qwen 2 cuts a text.
const CUT_QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Control tokens that end a reply, whichever of them the file names as its end.
const ENDS: [&str; 6] = ["<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<|endoftext|>", "</s>"];

/// What a token is, by its number in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Text, as merges make it.
    Normal,
    /// Stands for what has no token.
    Unknown,
    /// Speaks of the text rather than in it.
    Control,
    /// Text that is a token wherever it stands.
    Given,
    /// One byte.
    Byte,
    /// Never made.
    Unused,
}

/// How the tokens spell bytes.
enum Spelling {
    /// A character for each byte, as in GPT-2.
    ByteLevel(HashMap<char, u8>),
    /// Text with a visible space, as in SentencePiece.
    SentencePiece,
}

/// The tokens of a model.
#[derive(Debug)]
pub(crate) struct Vocabulary {
    tokenizer: Tokenizer,
    bytes: Vec<Box<[u8]>>,
    control: HashMap<String, u32>,
    /// The token before every text, where the model wants one.
    pub(crate) start: Option<u32>,
    /// The tokens that end a reply.
    pub(crate) ends: Vec<u32>,
    /// Bytes of the longest token.
    pub(crate) token_bytes_max: usize,
}

impl Vocabulary {
    /// Reads the tokens of `gguf`.
    ///
    /// # Errors
    /// A part is missing or malformed, the tokenizer is of a kind that is not known here, or the one beside the file has
    /// other tokens.
    pub(crate) fn read(gguf: &Gguf) -> Result<Vocabulary, InferError> {
        let tokens = gguf.needed(TOKENS, gguf.texts(TOKENS)?)?;
        let spelling = match gguf.text("tokenizer.ggml.model")? {
            Some("gpt2") => Spelling::ByteLevel((0..=255).map(|byte| (spelled(byte), byte)).collect()),
            Some("llama") => Spelling::SentencePiece,
            other => {
                return Err(InferError::Unsupported {
                    what: format!("the tokenizer model {:?} of {}", other.unwrap_or("none"), gguf.path().display()),
                    way_out: "choose a GGUF file whose tokenizer.ggml.model is \"gpt2\" or \"llama\"",
                });
            }
        };
        let id = |name: &str| gguf.whole(&format!("tokenizer.ggml.{name}_token_id"));
        let id = |name: &str| Ok(id(name)?.filter(|id| *id < tokens.len()));
        let (start, ends) = (id("bos")?, [id("eos")?, id("eot")?, id("eom")?]);
        let mut kinds = kinds(gguf, tokens.len())?;
        for id in ends.iter().chain([&start]).flatten() {
            kinds[*id] = Kind::Control;
        }
        let bytes: Vec<Box<[u8]>> =
            tokens.iter().zip(&kinds).map(|(token, kind)| bytes(token, *kind, &spelling)).collect();
        let control = (0..).zip(tokens.iter().zip(&kinds)).filter(|(_, (token, kind))| is_control(token, **kind));
        let control: HashMap<String, u32> = control.map(|(id, (token, _))| ((*token).to_owned(), id)).collect();
        let beside = gguf.path().with_file_name(TOKENIZER);
        let tokenizer = match beside.exists() {
            true => read_beside(gguf, &tokens)?,
            false => match &spelling {
                Spelling::ByteLevel(_) => byte_level(gguf, &tokens, &kinds)?,
                Spelling::SentencePiece => sentence_piece(gguf, &tokens, &kinds)?,
            },
        };
        let starts = gguf.flag("tokenizer.ggml.add_bos_token")?;
        let starts = starts.unwrap_or(matches!(spelling, Spelling::SentencePiece) || is_llama3(gguf.text(CUT)?));
        let number = |id: usize| u32::try_from(id).expect("a list of fewer than 2^32 tokens");
        let mut ends: Vec<u32> = ends.into_iter().flatten().map(number).collect();
        ends.extend(ENDS.iter().filter_map(|name| control.get(*name)));
        ends.sort_unstable();
        ends.dedup();
        if ends.is_empty() {
            return Err(gguf.malformed("it names no token that ends a text (tokenizer.ggml.eos_token_id)"));
        }
        Ok(Vocabulary {
            tokenizer,
            token_bytes_max: bytes.iter().map(|bytes| bytes.len()).max().unwrap_or(0).max(1),
            bytes,
            control,
            start: start.filter(|_| starts).map(number),
            ends,
        })
    }

    /// How many tokens there are.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The control tokens by name.
    pub(crate) fn control(&self) -> &HashMap<String, u32> {
        &self.control
    }

    /// What a token says: a part of a text, which may begin and end within a character; empty for a control token.
    pub(crate) fn bytes(&self, token: u32) -> &[u8] {
        &self.bytes[token as usize]
    }

    /// The tokens of `text`, appended to `out`. `false` if the tokenizer has none for a part of it.
    pub(crate) fn tokenize(&self, text: &str, out: &mut Vec<u32>) -> bool {
        match self.tokenizer.encode_fast(text, false) {
            Ok(encoding) => {
                out.extend_from_slice(encoding.get_ids());
                true
            }
            Err(_) => false,
        }
    }
}

const TOKENS: &str = "tokenizer.ggml.tokens";
const CUT: &str = "tokenizer.ggml.pre";

fn is_control(token: &str, kind: Kind) -> bool {
    !token.is_empty() && kind == Kind::Control
}

fn is_llama3(cut: Option<&str>) -> bool {
    matches!(cut, Some("llama-bpe" | "llama3" | "llama-v3"))
}

fn kinds(gguf: &Gguf, tokens: usize) -> Result<Vec<Kind>, InferError> {
    let Some(numbers) = gguf.wholes("tokenizer.ggml.token_type")? else { return Ok(vec![Kind::Normal; tokens]) };
    if numbers.len() != tokens {
        return Err(gguf.malformed(format!("it has {tokens} tokens and the kinds of {}", numbers.len())));
    }
    let kind = |number| match number {
        2 => Kind::Unknown,
        3 => Kind::Control,
        4 => Kind::Given,
        5 => Kind::Unused,
        6 => Kind::Byte,
        _ => Kind::Normal,
    };
    Ok(numbers.into_iter().map(kind).collect())
}

fn bytes(token: &str, kind: Kind, spelling: &Spelling) -> Box<[u8]> {
    let spelled = || match spelling {
        Spelling::ByteLevel(bytes) => {
            token.chars().map(|found| bytes.get(&found).copied()).collect::<Option<Vec<u8>>>()
        }
        Spelling::SentencePiece => Some(token.replace(SPACE, " ").into_bytes()),
    };
    let one = || u8::from_str_radix(token.strip_prefix("<0x")?.strip_suffix('>')?, 16).ok();
    let bytes = match kind {
        Kind::Normal => spelled().unwrap_or_else(|| token.as_bytes().to_vec()),
        Kind::Given => token.replace(SPACE, " ").into_bytes(),
        Kind::Byte => one().into_iter().collect(),
        Kind::Unknown | Kind::Control | Kind::Unused => Vec::new(),
    };
    bytes.into()
}

/// The character that a byte-level token has for a byte (Radford et al. 2019): the byte's own where it can be seen, else
/// the next free one from 256 on.
pub(crate) fn spelled(byte: u8) -> char {
    let seen = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    if seen(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|byte| !seen(*byte)).count();
    u32::try_from(before).ok().and_then(|before| char::from_u32(256 + before)).expect("below 512 all are characters")
}

fn read_beside(gguf: &Gguf, tokens: &[&str]) -> Result<Tokenizer, InferError> {
    let path = gguf.path().with_file_name(TOKENIZER);
    let malformed = |detail: String| InferError::Malformed { path: path.clone(), detail };
    let mut tokenizer = Tokenizer::from_file(&path).map_err(|error| malformed(error.to_string()))?;
    tokenizer.with_truncation(None).map_err(|error| malformed(error.to_string()))?;
    tokenizer.with_padding(None);
    tokenizer.set_encode_special_tokens(true);
    for (token, id) in tokenizer.get_vocab(true) {
        if tokens.get(id as usize) != Some(&token.as_str()) {
            return Err(malformed(format!("token {id}, {token:?}, is another one in {}", gguf.path().display())));
        }
    }
    Ok(tokenizer)
}

/// Byte-level BPE, as GPT-2's.
fn byte_level(gguf: &Gguf, tokens: &[&str], kinds: &[Kind]) -> Result<Tokenizer, InferError> {
    let cut = gguf.text(CUT)?.unwrap_or("gpt-2");
    let regex = |regex: &str| {
        let pattern = SplitPattern::Regex(regex.to_owned());
        let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false).expect("a constant that compiles");
        PreTokenizerWrapper::from(split)
    };
    let bytes = |use_regex| PreTokenizerWrapper::from(ByteLevel::new(false, false, use_regex));
    let mut normalizer = None;
    let cuts = match cut {
        "gpt-2" | "gpt2" => vec![bytes(true)],
        "smollm" | "starcoder" | "refact" => vec![Digits::new(true).into(), bytes(true)],
        "qwen2" => {
            normalizer = Some(NormalizerWrapper::from(NFC));
            vec![regex(CUT_QWEN2), bytes(false)]
        }
        _ if is_llama3(Some(cut)) => vec![regex(CUT_LLAMA3), bytes(false)],
        _ => {
            return Err(InferError::Unsupported {
                what: format!("the pre-tokenizer {cut:?} of {}", gguf.path().display()),
                way_out: "put the model's tokenizer.json beside the GGUF file",
            });
        }
    };
    let key = "tokenizer.ggml.merges";
    let merges = gguf.needed(key, gguf.texts(key)?)?;
    let pair = |merge: &str| merge.split_once(' ').map(|(left, right)| (left.to_owned(), right.to_owned()));
    let merges: Option<Merges> = merges.into_iter().map(pair).collect();
    let merges = merges.ok_or_else(|| gguf.malformed("a merge is not two tokens with a space between"))?;
    let vocabulary = spoken(tokens, kinds);
    if merges.iter().any(|(left, right)| !vocabulary.contains_key(&format!("{left}{right}"))) {
        return Err(gguf.malformed("a merge makes what is no token"));
    }
    let model = BPE::builder().vocab_and_merges(vocabulary, merges).ignore_merges(is_llama3(Some(cut)));
    let mut tokenizer = tokenizer(gguf, model.build(), tokens, kinds)?;
    tokenizer.with_normalizer(normalizer).map_err(|error| gguf.malformed(error.to_string()))?;
    let cuts = tokenizers::pre_tokenizers::sequence::Sequence::new(cuts);
    tokenizer.with_pre_tokenizer(Some(PreTokenizerWrapper::from(cuts)));
    Ok(tokenizer)
}

/// BPE as SentencePiece does it: two neighbours are merged into a token, the one with the highest score first.
fn sentence_piece(gguf: &Gguf, tokens: &[&str], kinds: &[Kind]) -> Result<Tokenizer, InferError> {
    let key = "tokenizer.ggml.scores";
    let scores = gguf.needed(key, gguf.floats(key)?)?;
    if scores.len() != tokens.len() {
        return Err(gguf.malformed(format!("it has {} tokens and the scores of {}", tokens.len(), scores.len())));
    }
    let vocabulary = spoken(tokens, kinds);
    let merges = merges_by_score(tokens, &scores, &vocabulary);
    let unknown = kinds.iter().position(|kind| *kind == Kind::Unknown);
    let mut model = BPE::builder().vocab_and_merges(vocabulary, merges).byte_fallback(true).fuse_unk(true);
    if let Some(unknown) = unknown {
        model = model.unk_token(tokens[unknown].to_owned());
    }
    let mut tokenizer = tokenizer(gguf, model.build(), tokens, kinds)?;
    let spaces = Replace::new(" ", SPACE).expect("a constant that compiles");
    let mut steps = vec![NormalizerWrapper::from(spaces)];
    if gguf.flag("tokenizer.ggml.add_space_prefix")?.unwrap_or(true) {
        steps.insert(0, Prepend::new(SPACE.to_string()).into());
    }
    let steps = tokenizers::normalizers::Sequence::new(steps);
    tokenizer.with_normalizer(Some(steps)).map_err(|error| gguf.malformed(error.to_string()))?;
    Ok(tokenizer)
}

fn merges_by_score(tokens: &[&str], scores: &[f32], vocabulary: &Vocab) -> Merges {
    let mut merges: Vec<(f32, u32, u32, (String, String))> = Vec::new();
    for (token, score) in tokens.iter().zip(scores).filter(|(token, _)| vocabulary.contains_key(**token)) {
        for (middle, _) in token.char_indices().skip(1) {
            let (left, right) = token.split_at(middle);
            if let (Some(first), Some(second)) = (vocabulary.get(left), vocabulary.get(right)) {
                merges.push((*score, *first, *second, (left.to_owned(), right.to_owned())));
            }
        }
    }
    merges.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
    merges.into_iter().map(|(_, _, _, pair)| pair).collect()
}

/// The tokens that a text can have.
fn spoken(tokens: &[&str], kinds: &[Kind]) -> Vocab {
    let spoken = (0..).zip(tokens.iter().zip(kinds)).filter(|(_, (_, kind))| match kind {
        Kind::Normal | Kind::Unknown | Kind::Given | Kind::Byte => true,
        Kind::Control | Kind::Unused => false,
    });
    spoken.map(|(id, (token, _))| ((*token).to_owned(), id)).collect()
}

fn tokenizer(
    gguf: &Gguf,
    model: tokenizers::Result<BPE>,
    tokens: &[&str],
    kinds: &[Kind],
) -> Result<Tokenizer, InferError> {
    let malformed = |error: tokenizers::Error| gguf.malformed(error.to_string());
    let mut tokenizer = Tokenizer::new(model.map_err(malformed)?);
    let given = tokens.iter().zip(kinds).filter(|(_, kind)| **kind == Kind::Given);
    let given = given.map(|(token, _)| AddedToken::from(*token, false).normalized(false));
    tokenizer.add_tokens(given).map_err(malformed)?;
    tokenizer.with_decoder(None::<DecoderWrapper>);
    Ok(tokenizer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{CONTROL, TEMPLATE, metadata, write};
    use candle_core::quantized::gguf_file::Value;
    use std::collections::BTreeMap;

    fn load(change: impl FnOnce(&mut BTreeMap<String, Value>), beside: Option<&str>) -> Result<Vocabulary, InferError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tiny.gguf");
        let mut metadata = metadata(TEMPLATE);
        change(&mut metadata);
        write(&path, &metadata, &Default::default());
        if let Some(tokenizer) = beside {
            std::fs::write(folder.path().join(TOKENIZER), tokenizer).unwrap();
        }
        Vocabulary::read(&Gguf::open(&path)?)
    }

    fn tokens(vocabulary: &Vocabulary, text: &str) -> Vec<u32> {
        let mut tokens = Vec::new();
        assert!(vocabulary.tokenize(text, &mut tokens));
        let bytes: Vec<u8> = tokens.iter().flat_map(|token| vocabulary.bytes(*token)).copied().collect();
        assert_eq!(String::from_utf8(bytes).unwrap().trim_start(), text.trim_start(), "nothing is lost");
        tokens
    }

    fn text(text: &str) -> Value {
        Value::String(text.to_owned())
    }

    #[test]
    fn bytes_are_spelled_merged_and_never_a_control_token() {
        let vocabulary = load(|_| {}, None).unwrap();
        let first = CONTROL.len() as u32;
        assert_eq!(tokens(&vocabulary, "he é\n"), [first + 256, first + 32, first + 0xC3, first + 0xA9, first + 10]);
        assert!(tokens(&vocabulary, "<|im_end|>").iter().all(|token| *token >= first));
        assert_eq!((vocabulary.start, &vocabulary.ends[..]), (None, &[0, 2][..]));
        assert_eq!((vocabulary.bytes(2), vocabulary.len()), (&b""[..], 260));
    }

    /// A vocabulary as Llama 2's: what is merged first has the higher score, bytes stand in for the rest.
    #[test]
    fn sentence_piece_merges_by_score() {
        let spoken = ["\u{2581}", "a", "b", "ab", "\u{2581}a", "ba", "\u{2581}ab", "bab"];
        let scores = [-9.0, -9.0, -9.0, -2.0, -1.0, -3.0, -4.0, -5.0];
        let change = |metadata: &mut BTreeMap<String, Value>| {
            let names = ["<unk>", "<s>", "</s>"].map(str::to_owned).into_iter();
            let names = names.chain((0..=255).map(|byte| format!("<0x{byte:02X}>"))).chain(spoken.map(str::to_owned));
            let kinds = [2, 3, 3].into_iter().chain([6; 256]).chain([1; 8]);
            let scores = [0.0; 259].into_iter().chain(scores);
            metadata.insert("tokenizer.ggml.model".into(), text("llama"));
            metadata.insert(TOKENS.into(), Value::Array(names.map(Value::String).collect()));
            metadata.insert("tokenizer.ggml.token_type".into(), Value::Array(kinds.map(Value::I32).collect()));
            metadata.insert("tokenizer.ggml.scores".into(), Value::Array(scores.map(Value::F32).collect()));
            metadata.insert("tokenizer.ggml.bos_token_id".into(), Value::U32(1));
        };
        let vocabulary = load(change, None).unwrap();
        let id = |token: &str| 259 + spoken.iter().position(|one| *one == token).unwrap() as u32;
        assert_eq!(tokens(&vocabulary, "abab"), [id("\u{2581}ab"), id("ab")]);
        assert_eq!(tokens(&vocabulary, "a é"), [id("\u{2581}a"), id("\u{2581}"), 3 + 0xC3, 3 + 0xA9]);
        assert_eq!((vocabulary.start, &vocabulary.ends[..]), (Some(1), &[2][..]));
    }

    #[test]
    fn a_tokenizer_beside_the_file_is_taken_if_its_tokens_are_the_files() {
        let unknown = |metadata: &mut BTreeMap<String, Value>| {
            metadata.insert(CUT.into(), text("unheard-of"));
        };
        let error = load(unknown, None).unwrap_err().to_string();
        assert!(error.contains("pre-tokenizer \"unheard-of\"") && error.contains("tokenizer.json"), "{error}");
        let beside = |id: usize| {
            format!(
                r#"{{"version": "1.0", "model": {{"type": "WordLevel", "vocab": {{"he": {id}}}, "unk_token": "he"}}}}"#
            )
        };
        let he = CONTROL.len() + 256;
        let vocabulary = load(unknown, Some(&beside(he))).unwrap();
        let mut tokens = Vec::new();
        assert!(vocabulary.tokenize("he", &mut tokens));
        assert_eq!(tokens, [he as u32]);
        let error = load(unknown, Some(&beside(5))).unwrap_err().to_string();
        assert!(error.contains("tokenizer.json is malformed: token 5, \"he\""), "{error}");
    }

    #[test]
    fn what_is_malformed_is_refused_by_name() {
        #[track_caller]
        fn check(key: &str, value: Option<Value>, expected: &str) {
            let change = |metadata: &mut BTreeMap<String, Value>| {
                match value {
                    Some(value) => metadata.insert(format!("tokenizer.ggml.{key}"), value),
                    None => metadata.remove(&format!("tokenizer.ggml.{key}")),
                };
            };
            let error = load(change, None).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        check("tokens", None, "it has no tokenizer.ggml.tokens");
        check("merges", None, "it has no tokenizer.ggml.merges");
        check("merges", Some(Value::Array(vec![text("he")])), "a merge is not two tokens");
        check("merges", Some(Value::Array(vec![text("h h")])), "a merge makes what is no token");
        check("model", Some(text("bert")), "the tokenizer model \"bert\"");
        check("token_type", Some(Value::Array(vec![Value::I32(1)])), "the kinds of 1");
        check("token_type", Some(text("x")), "has another type than expected: a list of whole numbers");
    }
}
