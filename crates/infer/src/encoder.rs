//! The BERT forward pass (Devlin et al. 2019) over texts of different lengths, without padding.
//!
//! The tokens of all texts stand below each other in one matrix `[tokens, hidden]`, so that every linear layer is one
//! product; only attention goes text by text. Several groups of texts run side by side, a thread each, with nothing to wait
//! for in between; a single text instead spreads its products over the threads.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use ibid_runtime::awake;
use rayon::prelude::*;

use crate::InferError;
use crate::attention::{AttentionBuffers, Heads, sized};
use crate::config::BertConfig;
use crate::isa::{Isa, isa};
use crate::kernels::{PANEL, Then, layer_norm_rows};
use crate::product::{Linear, Numbers, Spread, Stored};
use crate::weights::{Table, Weights};

/// Tokens that one thread takes through all layers at a time: enough to use each weight often, few enough for its cache.
const GROUP_TOKENS_MAX: usize = 192;

/// One text as the encoder reads it, special tokens included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Numbers of the tokens.
    pub ids: Vec<u32>,
    /// Where the second segment (token type 1) starts; the length if there is none.
    pub second: usize,
}

/// Which hidden states a head reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Those of all tokens.
    All,
    /// That of the first token: the last layer computes no other.
    First,
}

/// An encoder with its weights.
#[derive(Debug)]
pub(crate) struct Encoder {
    isa: Isa,
    hidden: usize,
    head_size: usize,
    words: Table,
    positions: Table,
    first_position: usize,
    types: Table,
    norm: Norm,
    layers: Vec<Layer>,
    /// Buffers of forward passes that have ended, for the next ones.
    spare: Mutex<Vec<Buffers>>,
}

#[derive(Debug)]
struct Layer {
    query_key_value: Linear,
    attention_out: Linear,
    attention_norm: Norm,
    up: Linear,
    down: Linear,
    out_norm: Norm,
}

#[derive(Debug)]
struct Norm {
    gain: Vec<f32>,
    shift: Vec<f32>,
    epsilon: f32,
}

/// What a forward pass writes to; each keeps the largest size it has had.
#[derive(Debug, Default)]
struct Buffers {
    /// `[tokens, hidden]`: the stream that every layer adds to.
    stream: Vec<f32>,
    /// `[3 * heads, tokens, head size]`, the heads' sizes padded: queries, keys, values.
    query_key_value: Vec<f32>,
    /// `[tokens, hidden]`
    context: Vec<f32>,
    attention: AttentionBuffers,
    /// `[tokens, intermediate]`
    up: Vec<f32>,
}

impl Encoder {
    /// Reads the encoder's weights.
    ///
    /// # Errors
    /// A tensor is missing or has another shape than `config` says.
    pub(crate) fn load(weights: &Weights<'_>, config: &BertConfig, numbers: Numbers) -> Result<Encoder, InferError> {
        let hidden = config.hidden_size;
        let table = |name: &str, rows| weights.table(&format!("embeddings.{name}_embeddings.weight"), rows, hidden);
        let layer = |n| Layer::load(weights, config, numbers, &format!("encoder.layer.{n}"));
        Ok(Encoder {
            isa: isa(),
            hidden,
            head_size: config.head_size(),
            words: table("word", config.vocab_size)?,
            positions: table("position", config.max_position_embeddings)?,
            first_position: config.first_position,
            types: table("token_type", config.type_vocab_size)?,
            norm: Norm::load(weights, "embeddings.LayerNorm", config)?,
            layers: (0..config.num_hidden_layers).map(layer).collect::<Result<_, _>>()?,
            spare: Mutex::default(),
        })
    }

    /// Takes each text through all layers and hands its hidden states, `[length, hidden]` or the first alone as `needs` says,
    /// to `read`; returns what `read` gave, in order. Runs in the current rayon pool: on the calling thread or, spread, on
    /// all. Each thread calls `make_way` a few times a layer: who has something more urgent does it there. A text's states do
    /// not depend on the texts beside it.
    ///
    /// # Panics
    /// If a text is empty, or has a token, position or type that the model has not: who makes [`Tokens`] sees to that.
    pub(crate) fn encode<T: Send>(
        &self,
        texts: &[Tokens],
        needs: Needs,
        spread: Spread,
        make_way: &(dyn Fn() + Sync),
        read: impl Fn(&[f32]) -> T + Sync,
    ) -> Vec<T> {
        let tokens: usize = texts.iter().map(|text| text.ids.len()).sum();
        let share = tokens.div_ceil(spread.threads()).clamp(1, GROUP_TOKENS_MAX);
        let groups = runs(texts.iter().map(|text| text.ids.len()), share);
        // One group's products are spread over the threads; of several, each has its thread.
        let within = if groups.len() == 1 { spread } else { Spread::Alone };
        let of_group = |group: Range<usize>| {
            self.with_buffers(|buffers| {
                let states = self.pass(&texts[group], needs, within, make_way, buffers);
                let states = states.into_iter().map(|rows| rows.start * self.hidden..rows.end * self.hidden);
                states.map(|state| read(&buffers.stream[state])).collect::<Vec<T>>()
            })
        };
        match spread {
            Spread::Alone => groups.into_iter().flat_map(of_group).collect(),
            Spread::Pool if groups.len() == 1 => awake(|| groups.into_iter().flat_map(of_group).collect()),
            Spread::Pool => groups.into_par_iter().flat_map_iter(of_group).collect(),
        }
    }

    fn with_buffers<T>(&self, work: impl FnOnce(&mut Buffers) -> T) -> T {
        let spare = || self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        let mut buffers = spare().pop().unwrap_or_default();
        let result = work(&mut buffers);
        spare().push(buffers);
        result
    }

    /// Leaves the texts' states in `buffers.stream`; returns each text's rows there.
    fn pass(
        &self,
        texts: &[Tokens],
        needs: Needs,
        spread: Spread,
        make_way: &(dyn Fn() + Sync),
        buffers: &mut Buffers,
    ) -> Vec<Range<usize>> {
        let (isa, hidden) = (self.isa, self.hidden);
        let mut rows = Vec::with_capacity(texts.len());
        let mut tokens = 0;
        for text in texts {
            rows.push(tokens..tokens + text.ids.len());
            tokens += text.ids.len();
        }
        let mut stream = sized(&mut buffers.stream, tokens * hidden);
        for (text, rows) in texts.iter().zip(&rows) {
            self.embed_tokens(text, &mut stream[rows.start * hidden..rows.end * hidden]);
        }
        self.norm.apply(isa, stream);
        for (number, layer) in self.layers.iter().enumerate() {
            let query_key_value = sized(&mut buffers.query_key_value, tokens * layer.query_key_value.outputs());
            layer.query_key_value.apply(isa, stream, Then::Store, query_key_value, spread);
            let of_texts = rows.clone();
            if needs == Needs::First && number + 1 == self.layers.len() {
                for (text, rows) in rows.iter_mut().enumerate() {
                    stream.copy_within(rows.start * hidden..(rows.start + 1) * hidden, text * hidden);
                    *rows = text..text + 1;
                }
                stream = &mut stream[..texts.len() * hidden];
            }
            let context = sized(&mut buffers.context, stream.len());
            for (text, rows) in of_texts.iter().zip(&rows) {
                let heads = Heads { blocks: query_key_value, tokens, text: text.clone(), size: self.head_size };
                let context = &mut context[rows.start * hidden..rows.end * hidden];
                heads.attend(isa, spread, context, &mut buffers.attention);
            }
            layer.attention_out.apply(isa, context, Then::Add, stream, spread);
            layer.attention_norm.apply(isa, stream);
            make_way();
            let up = sized(&mut buffers.up, stream.len() / hidden * layer.up.outputs());
            layer.up.apply(isa, stream, Then::Gelu, up, spread);
            make_way();
            layer.down.apply(isa, up, Then::Add, stream, spread);
            layer.out_norm.apply(isa, stream);
            make_way();
        }
        rows
    }

    fn embed_tokens(&self, text: &Tokens, out: &mut [f32]) {
        out.fill(0.0);
        for (position, (id, row)) in text.ids.iter().zip(out.chunks_exact_mut(self.hidden)).enumerate() {
            self.words.add_row(*id as usize, row);
            self.types.add_row(usize::from(position >= text.second), row);
            self.positions.add_row(self.first_position + position, row);
        }
    }
}

/// Cuts texts of these lengths, in order, into runs of at most `tokens_max` tokens; a longer text is a run of its own.
fn runs(lengths: impl IntoIterator<Item = usize>, tokens_max: usize) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    let mut tokens = 0;
    for (ordinal, length) in lengths.into_iter().enumerate() {
        match runs.last_mut() {
            Some(run) if tokens + length <= tokens_max => {
                run.end = ordinal + 1;
                tokens += length;
            }
            Some(_) | None => {
                runs.push(ordinal..ordinal + 1);
                tokens = length;
            }
        }
    }
    runs
}

impl Layer {
    fn load(weights: &Weights<'_>, config: &BertConfig, numbers: Numbers, name: &str) -> Result<Layer, InferError> {
        let (hidden, intermediate) = (config.hidden_size, config.intermediate_size);
        let stored = |part: &str, inputs, outputs| Stored::read(weights, &format!("{name}.{part}"), inputs, outputs);
        let linear = |part: &str, inputs, outputs| Linear::pack(numbers, inputs, stored(part, inputs, outputs)?);
        let norm = |part: &str| Norm::load(weights, &format!("{name}.{part}"), config);
        let size = config.head_size();
        let heads = |part: &str| Ok::<_, InferError>(stored(part, hidden, hidden)?.padded(hidden, size));
        // Scores are divided by the square root of the head's size: here, once, instead.
        let query = heads("attention.self.query")?.scaled(1.0 / (size as f32).sqrt());
        let layers = vec![query, heads("attention.self.key")?, heads("attention.self.value")?];
        Ok(Layer {
            query_key_value: Linear::pack_blocks(numbers, hidden, size.next_multiple_of(PANEL), layers)?,
            attention_out: linear("attention.output.dense", hidden, hidden)?,
            attention_norm: norm("attention.output.LayerNorm")?,
            up: linear("intermediate.dense", hidden, intermediate)?,
            down: linear("output.dense", intermediate, hidden)?,
            out_norm: norm("output.LayerNorm")?,
        })
    }
}

impl Norm {
    fn load(weights: &Weights<'_>, name: &str, config: &BertConfig) -> Result<Norm, InferError> {
        let part = |part: &str| weights.vector(&format!("{name}.{part}"), config.hidden_size);
        Ok(Norm { gain: part("weight")?, shift: part("bias")?, epsilon: config.layer_norm_eps })
    }

    fn apply(&self, isa: Isa, rows: &mut [f32]) {
        layer_norm_rows(isa, rows, &self.gain, &self.shift, self.epsilon);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Architecture, ModelConfig};
    use crate::isa::Floats;
    use crate::kernels::dot;
    use crate::manifest::{CONFIG, WEIGHTS, read};
    use crate::tokenizer::Subwords;
    use crate::{Candle, Device};

    fn model() -> &'static Path {
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/all-MiniLM-L6-v2-int8"))
    }

    fn encoder(numbers: Numbers) -> Encoder {
        let path = model().join(WEIGHTS);
        let bytes = read(&path).unwrap();
        let config = ModelConfig::read(&model().join(CONFIG)).unwrap();
        let Architecture::Bert(bert) = &config.architecture else { panic!("a BERT") };
        Encoder::load(&Weights::parse(&path, &bytes).unwrap(), bert, numbers).unwrap()
    }

    /// Tokens that mean nothing, of these lengths.
    fn texts(lengths: &[u32]) -> Vec<Tokens> {
        let text = |length: &u32| {
            let ids = (0..*length).map(|n| 999 + (n + length) * 7919 % 20_000).collect();
            Tokens { ids, second: *length as usize * 2 / 3 }
        };
        lengths.iter().map(text).collect()
    }

    fn encode(encoder: &Encoder, texts: &[Tokens]) -> Vec<Vec<f32>> {
        encoder.encode(texts, Needs::All, Spread::Pool, &|| (), <[f32]>::to_vec)
    }

    fn cosine(a: &[f32], b: &[f32]) -> f64 {
        f64::from(dot(a, b)) / (f64::from(dot(a, a)) * f64::from(dot(b, b))).sqrt()
    }

    /// The sum of the tokens' states.
    fn pooled(states: &[f32]) -> Vec<f32> {
        let mut sum = vec![0.0; 384];
        for row in states.chunks(384) {
            sum.iter_mut().zip(row).for_each(|(sum, state)| *sum += state);
        }
        sum
    }

    /// The paragraphs of the handbook that comes with the repository.
    fn paragraphs() -> Vec<Tokens> {
        let config = ModelConfig::read(&model().join(CONFIG)).unwrap();
        let tokenizer = Subwords::read(&model().join(crate::manifest::TOKENIZER), &config).unwrap();
        let file =
            concat!(env!("CARGO_MANIFEST_DIR"), "/../../datasets/handbook/linden/front-desk/reception-manual.md");
        let text = std::fs::read_to_string(file).unwrap();
        let tokens = |paragraph: &str| tokenizer.layout.one(&tokenizer.ids(paragraph, 254));
        text.split("\n\n").filter(|paragraph| paragraph.len() > 60).take(48).map(tokens).collect()
    }

    #[test]
    fn runs_hold_what_fits_and_never_nothing() {
        #[track_caller]
        fn check(lengths: &[usize], expected: &[Range<usize>]) {
            assert_eq!(runs(lengths.iter().copied(), 10), expected);
        }
        check(&[], &[]);
        check(&[5, 5, 1], &[0..2, 2..3]);
        check(&[3, 30, 3], &[0..1, 1..2, 2..3]);
        check(&[4, 4, 4, 4, 4], &[0..2, 2..4, 4..5]);
    }

    #[test]
    fn floats_are_those_of_candle_and_int8_is_near() {
        let texts = paragraphs();
        let theirs = Candle::open(model(), Device::Cpu).unwrap().encode(&texts).unwrap();
        let cosines = |numbers| -> Vec<f64> {
            let ours = encode(&encoder(numbers), &texts);
            ours.iter().zip(&theirs).map(|(ours, theirs)| cosine(&pooled(ours), &pooled(theirs))).collect()
        };
        let least = |cosines: &[f64]| cosines.iter().copied().fold(1.0, f64::min);
        assert!(least(&cosines(Numbers::F32)) >= 0.99999);
        let int8 = cosines(Numbers::Int8);
        let mean = int8.iter().sum::<f64>() / int8.len() as f64;
        println!("int8 over {} texts: cosine {mean:.4} in the mean, {:.4} at least", texts.len(), least(&int8));
        assert!(mean >= 0.99 && texts.len() >= 20);
    }

    #[test]
    fn a_text_feels_neither_its_neighbours_nor_what_its_head_reads() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        let texts = texts(&[5, 130, 1, 64, 33, 12, 300, 2, 97]);
        for numbers in [Numbers::F32, Numbers::Int8] {
            let encoder = encoder(numbers);
            let together = pool.install(|| encode(&encoder, &texts));
            let firsts = pool.install(|| encoder.encode(&texts, Needs::First, Spread::Pool, &|| (), <[f32]>::to_vec));
            for (number, text) in texts.iter().enumerate() {
                let alone = pool.install(|| encode(&encoder, std::slice::from_ref(text)));
                assert!(alone[0] == together[number], "{numbers:?}, {} tokens", text.ids.len());
                assert_eq!(alone[0].len(), text.ids.len() * encoder.hidden);
                assert!(firsts[number] == together[number][..encoder.hidden], "{numbers:?}, {} tokens", text.ids.len());
            }
        }
    }

    #[test]
    fn every_processor_gives_the_same_bits_where_products_are_fused() {
        let texts = texts(&[17, 3]);
        for numbers in [Numbers::F32, Numbers::Int8] {
            let mut encoder = encoder(numbers);
            let best = encode(&encoder, &texts);
            for isa in Isa::all() {
                encoder.isa = isa;
                let states = encode(&encoder, &texts);
                if isa.floats() == Floats::Plain {
                    assert!(states.iter().zip(&best).all(|(a, b)| cosine(a, b) > 0.999), "{numbers:?} on {isa}");
                } else {
                    assert!(states == best, "{numbers:?} on {isa}");
                }
            }
        }
    }

    #[test]
    fn who_is_more_urgent_encodes_between_the_layers() {
        let encoder = encoder(Numbers::Int8);
        let (urgent, texts) = (texts(&[9]), texts(&[40, 20]));
        let (expected, calls) = (encode(&encoder, &urgent), std::sync::atomic::AtomicUsize::new(0));
        let between = || {
            calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            assert!(encode(&encoder, &urgent) == expected);
        };
        let states = encoder.encode(&texts, Needs::All, Spread::Pool, &between, <[f32]>::to_vec);
        assert!(states == encode(&encoder, &texts));
        assert!(calls.into_inner() >= encoder.layers.len() - 1);
    }
}
