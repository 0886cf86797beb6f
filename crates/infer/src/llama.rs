//! The Llama forward pass (Touvron et al. 2023) over one text, with what was computed for its earlier tokens kept.
//!
//! Weights are halves: what a GGUF file's quantised weights say fits into them, a token written costs half the memory
//! traffic of floats, and traffic is what it costs. Activations are floats, a column a token (`columns.rs`).

mod columns;

use std::ops::Range;

use half::f16;
use ibid_runtime::Stopped;
use rayon::prelude::*;

use crate::InferError;
use crate::gguf::Gguf;
use crate::isa::isa;
use crate::kernels;
use columns::{product, rms_norm, rotate, softmax, swiglu, widen};

/// The most tokens of one block: a prompt is read at full speed, and a block takes some tens of milliseconds.
pub(crate) const BLOCK_TOKENS_MAX: usize = 32;
/// A block of fewer tokens costs half.
const BLOCK_TOKENS_FEW: usize = 16;
/// Rows of a weight that are floats at a time: few enough for a core's nearest cache.
const FLOAT_ROWS: usize = 4;
/// Rows of a weight that one task multiplies.
const TASK_ROWS: usize = 64;

/// What the file says of the model's form.
#[derive(Debug)]
struct Form {
    layers: usize,
    hidden: usize,
    intermediate: usize,
    heads: usize,
    /// Heads of keys and values; each serves `heads / kv_heads` heads of queries (Ainslie et al. 2023).
    kv_heads: usize,
    head_size: usize,
    vocabulary: usize,
    context: usize,
    epsilon: f32,
    /// By how much a position turns each pair of a head, in radians.
    frequencies: Vec<f32>,
}

/// A model with its weights.
#[derive(Debug)]
pub(crate) struct Llama {
    form: Form,
    words: Weight,
    layers: Vec<Layer>,
    norm: Vec<f32>,
    /// `None`: the words' own.
    output: Option<Weight>,
}

#[derive(Debug)]
struct Layer {
    attention_norm: Vec<f32>,
    query_key_value: Weight,
    attention_out: Weight,
    feed_norm: Vec<f32>,
    gate_up: Weight,
    down: Weight,
}

/// A matrix `[outputs, inputs]`, row after row.
#[derive(Debug)]
struct Weight {
    halves: Vec<f16>,
    inputs: usize,
}

/// One text under way: the keys and values of its tokens so far, and room to compute.
#[derive(Debug)]
pub(crate) struct Text {
    tokens: usize,
    tokens_max: usize,
    layers: Vec<KeysValues>,
    buffers: Buffers,
}

#[derive(Debug)]
struct KeysValues {
    head_size: usize,
    tokens_max: usize,
    /// `[kv_heads, tokens_max, head_size]`
    keys: Vec<f32>,
    /// `[kv_heads, head_size, tokens_max]`
    values: Vec<f32>,
}

#[derive(Debug, Default)]
struct Buffers {
    /// `[hidden, N]`: the stream that every layer adds to.
    stream: Vec<f32>,
    /// `[hidden, N]`
    normed: Vec<f32>,
    /// `[(heads + 2 * kv_heads) * head_size, N]`
    query_key_value: Vec<f32>,
    /// `[heads, tokens, N]`
    scores: Vec<f32>,
    /// `[heads * head_size, N]`
    context: Vec<f32>,
    /// `[2 * intermediate, N]`
    gate_up: Vec<f32>,
    /// `[hidden, N]`
    added: Vec<f32>,
    /// `[hidden]`: the state of the last token.
    last: Vec<f32>,
}

impl Form {
    fn read(gguf: &mut Gguf, vocabulary: usize) -> Result<Form, InferError> {
        let architecture = gguf.text("general.architecture")?.unwrap_or_default().to_owned();
        if architecture != "llama" {
            return Err(InferError::Unsupported {
                what: format!("the architecture {architecture:?} of {}", gguf.path().display()),
                way_out: "choose a GGUF file of the architecture \"llama\"",
            });
        }
        let number = |key: &str| gguf.whole(&format!("llama.{key}"));
        let needed = |key: &str| gguf.needed(&format!("llama.{key}"), number(key)?);
        let (hidden, heads) = (needed("embedding_length")?, needed("attention.head_count")?);
        let kv_heads = number("attention.head_count_kv")?.unwrap_or(heads);
        let head_size = match number("attention.key_length")? {
            Some(size) => size,
            None => hidden.checked_div(heads).unwrap_or_default(),
        };
        let rotated = number("rope.dimension_count")?.unwrap_or(head_size);
        let window = number("attention.sliding_window")?.filter(|window| *window > 0).unwrap_or(usize::MAX);
        let form = Form {
            layers: needed("block_count")?,
            hidden,
            intermediate: needed("feed_forward_length")?,
            heads,
            kv_heads,
            head_size,
            vocabulary,
            // Within its window, a model that looks back no further is one that looks back all the way.
            context: needed("context_length")?.min(window),
            epsilon: gguf.needed(EPSILON, gguf.float(EPSILON)?)?,
            frequencies: Vec::new(),
        };
        form.check(gguf, rotated)?;
        let experts = number("expert_count")?.unwrap_or(0);
        if experts > 0 || number("attention.value_length")?.is_some_and(|size| size != head_size) {
            return Err(InferError::Unsupported {
                what: format!("a mixture of experts, or values longer than keys, as in {}", gguf.path().display()),
                way_out: "choose a dense Llama",
            });
        }
        Ok(Form { frequencies: frequencies(gguf, rotated)?, ..form })
    }

    fn check(&self, gguf: &Gguf, rotated: usize) -> Result<(), InferError> {
        let Form { layers, hidden, intermediate, heads, kv_heads, head_size, vocabulary, context, .. } = *self;
        let sizes = [layers, hidden, intermediate, heads, kv_heads, head_size, vocabulary, context];
        let fits = |size: &usize| (1..=1 << 24).contains(size);
        if !sizes.iter().all(fits) || !heads.is_multiple_of(kv_heads) || rotated > head_size || rotated % 2 == 1 {
            return Err(gguf.malformed(
                "sizes are at least 1, heads are a multiple of their key-value heads, and an even part of a head is rotated",
            ));
        }
        Ok(())
    }

    fn query_rows(&self) -> usize {
        self.heads * self.head_size
    }

    fn key_rows(&self) -> usize {
        self.kv_heads * self.head_size
    }
}

const EPSILON: &str = "llama.attention.layer_norm_rms_epsilon";

/// How far each pair of the first `rotated` floats of a head turns from one position to the next.
fn frequencies(gguf: &mut Gguf, rotated: usize) -> Result<Vec<f32>, InferError> {
    let base = gguf.float("llama.rope.freq_base")?.unwrap_or(10_000.0);
    let scaling = gguf.text("llama.rope.scaling.type")?.unwrap_or("none").to_owned();
    let factor = match scaling.as_str() {
        "none" => 1.0,
        "linear" => gguf.float("llama.rope.scaling.factor")?.unwrap_or(1.0),
        _ => {
            return Err(InferError::Unsupported {
                what: format!("rope scaling {scaling:?} of {}", gguf.path().display()),
                way_out: "choose a GGUF file without rope scaling, or with linear scaling",
            });
        }
    };
    let mut frequencies: Vec<f32> =
        (0..rotated).step_by(2).map(|n| base.powf(-(n as f32) / rotated as f32) / factor).collect();
    // Llama 3.1 and later stretch each frequency on its own.
    if gguf.tensors().any(|name| name == ROPE_FACTORS) {
        let factors = gguf.vector(ROPE_FACTORS, frequencies.len())?;
        frequencies.iter_mut().zip(factors).for_each(|(frequency, factor)| *frequency /= factor);
    }
    Ok(frequencies)
}

const ROPE_FACTORS: &str = "rope_freqs.weight";

impl Weight {
    /// Reads matrices of equal inputs as one; their outputs stand one after the other.
    fn read(gguf: &mut Gguf, parts: &[(&str, usize)], inputs: usize) -> Result<Weight, InferError> {
        let mut halves = Vec::with_capacity(parts.iter().map(|(_, outputs)| outputs * inputs).sum());
        for (name, outputs) in parts {
            halves.append(&mut gguf.matrix(name, *outputs, inputs)?);
        }
        Ok(Weight { halves, inputs })
    }

    fn row(&self, row: usize) -> &[f16] {
        &self.halves[row * self.inputs..(row + 1) * self.inputs]
    }

    /// `out = weight * x`, on all threads of the current pool.
    fn multiply<const N: usize>(&self, x: &[f32], out: &mut [f32]) {
        let tasks = out.par_chunks_mut(TASK_ROWS * N).zip(self.halves.par_chunks(TASK_ROWS * self.inputs));
        tasks.for_each(|(out, halves)| {
            let mut floats = vec![0.0; FLOAT_ROWS * self.inputs];
            let groups = out.chunks_mut(FLOAT_ROWS * N).zip(halves.chunks(FLOAT_ROWS * self.inputs));
            for (out, halves) in groups {
                let floats = &mut floats[..halves.len()];
                widen::<1>(halves, floats);
                product::<N>(floats, self.inputs, x, out);
            }
        });
    }
}

impl Llama {
    /// Reads a model whose tokenizer has `vocabulary` tokens.
    ///
    /// # Errors
    /// Another architecture, a form that is not run here, or a tensor that is missing, too many or of another shape.
    pub(crate) fn load(gguf: &mut Gguf, vocabulary: usize) -> Result<Llama, InferError> {
        let form = Form::read(gguf, vocabulary)?;
        let (hidden, intermediate) = (form.hidden, form.intermediate);
        let (query, key) = (form.query_rows(), form.key_rows());
        let words = Weight::read(gguf, &[("token_embd.weight", vocabulary)], hidden)?;
        let mut layers = Vec::with_capacity(form.layers);
        for layer in 0..form.layers {
            let name = |part: &str| format!("blk.{layer}.{part}.weight");
            let read = |gguf: &mut Gguf, parts: &[(&str, usize)], inputs| {
                let named: Vec<(String, usize)> = parts.iter().map(|(part, rows)| (name(part), *rows)).collect();
                let parts: Vec<(&str, usize)> = named.iter().map(|(name, rows)| (name.as_str(), *rows)).collect();
                Weight::read(gguf, &parts, inputs)
            };
            let parts = [("attn_q", query), ("attn_k", key), ("attn_v", key)];
            layers.push(Layer {
                attention_norm: gguf.vector(&name("attn_norm"), hidden)?,
                query_key_value: read(gguf, &parts, hidden)?,
                attention_out: read(gguf, &[("attn_output", hidden)], query)?,
                feed_norm: gguf.vector(&name("ffn_norm"), hidden)?,
                gate_up: read(gguf, &[("ffn_gate", intermediate), ("ffn_up", intermediate)], hidden)?,
                down: read(gguf, &[("ffn_down", hidden)], intermediate)?,
            });
        }
        let tied = !gguf.tensors().any(|name| name == OUTPUT);
        let output = if tied { None } else { Some(Weight::read(gguf, &[(OUTPUT, vocabulary)], hidden)?) };
        let norm = gguf.vector("output_norm.weight", hidden)?;
        let known = layers.len() * LAYER_TENSORS + 2 + usize::from(!tied);
        let known = known + usize::from(gguf.tensors().any(|name| name == ROPE_FACTORS));
        if gguf.tensors().count() != known {
            return Err(InferError::Unsupported {
                what: format!("a tensor of {} beyond those of a Llama, such as a bias,", gguf.path().display()),
                way_out: "choose a Llama without them",
            });
        }
        Ok(Llama { form, words, layers, norm, output })
    }

    /// The most tokens of one text.
    pub(crate) fn context(&self) -> usize {
        self.form.context
    }

    /// A text that will have at most `tokens_max` tokens. Its memory is taken as its tokens come.
    pub(crate) fn text(&self, tokens_max: usize) -> Text {
        let (head_size, floats) = (self.form.head_size, self.form.key_rows() * tokens_max);
        let layer = || KeysValues { head_size, tokens_max, keys: vec![0.0; floats], values: vec![0.0; floats] };
        let layers = (0..self.form.layers).map(|_| layer()).collect();
        Text { tokens: 0, tokens_max, layers, buffers: Buffers::default() }
    }

    /// Reads the next tokens of a text, 1 to [`BLOCK_TOKENS_MAX`]; asks before every layer whether to go on. Runs in the
    /// current rayon pool.
    ///
    /// # Errors
    /// What `go_on` says; the text is of no use then.
    ///
    /// # Panics
    /// If the block or the text is too long, or a token is not in the vocabulary: who makes them sees to that.
    pub(crate) fn read(
        &self,
        text: &mut Text,
        tokens: &[u32],
        go_on: impl Fn() -> Result<(), Stopped>,
    ) -> Result<(), Stopped> {
        assert!(text.tokens + tokens.len() <= text.tokens_max, "the text has no room for more tokens");
        match tokens.len() {
            1 => self.block::<1>(text, tokens, go_on),
            2..=BLOCK_TOKENS_FEW => self.block::<BLOCK_TOKENS_FEW>(text, tokens, go_on),
            _ => self.block::<BLOCK_TOKENS_MAX>(text, tokens, go_on),
        }
    }

    /// How likely each token is to follow what was read, as logits. Runs in the current rayon pool.
    pub(crate) fn logits(&self, text: &Text) -> Vec<f32> {
        let mut logits = vec![0.0; self.form.vocabulary];
        self.output.as_ref().unwrap_or(&self.words).multiply::<1>(&text.buffers.last, &mut logits);
        logits
    }

    /// A block of `N` columns, of which those beyond the tokens are computed for nothing.
    fn block<const N: usize>(
        &self,
        text: &mut Text,
        tokens: &[u32],
        go_on: impl Fn() -> Result<(), Stopped>,
    ) -> Result<(), Stopped> {
        let form = &self.form;
        let Text { tokens: before, layers, buffers, .. } = text;
        let all = *before + tokens.len();
        buffers.size::<N>(form, all);
        self.look_up::<N>(tokens, &mut buffers.stream);
        let angles = form.angles::<N>(*before);
        for (layer, kept) in self.layers.iter().zip(layers) {
            go_on()?;
            rms_norm::<N>(&buffers.stream, &layer.attention_norm, form.epsilon, &mut buffers.normed);
            layer.query_key_value.multiply::<N>(&buffers.normed, &mut buffers.query_key_value);
            let (query, key_value) = buffers.query_key_value.split_at_mut(form.query_rows() * N);
            let (key, value) = key_value.split_at_mut(form.key_rows() * N);
            for head in query.chunks_exact_mut(form.head_size * N).chain(key.chunks_exact_mut(form.head_size * N)) {
                rotate::<N>(head, &angles);
            }
            kept.keep::<N>(key, value, *before..all);
            let heads = buffers.context.par_chunks_mut(form.head_size * N).zip(query.par_chunks(form.head_size * N));
            let heads = heads.zip(buffers.scores.par_chunks_mut(all * N)).enumerate();
            heads.for_each(|(head, ((out, query), scores))| {
                let kv_head = head / (form.heads / form.kv_heads);
                kept.attend::<N>(kv_head, query, *before, scores, out);
            });
            layer.attention_out.multiply::<N>(&buffers.context, &mut buffers.added);
            add(&mut buffers.stream, &buffers.added);
            rms_norm::<N>(&buffers.stream, &layer.feed_norm, form.epsilon, &mut buffers.normed);
            layer.gate_up.multiply::<N>(&buffers.normed, &mut buffers.gate_up);
            let (gate, up) = buffers.gate_up.split_at_mut(form.intermediate * N);
            swiglu::<N>(gate, up);
            layer.down.multiply::<N>(gate, &mut buffers.added);
            add(&mut buffers.stream, &buffers.added);
        }
        let last = tokens.len() - 1;
        let state: Vec<f32> = buffers.stream.iter().skip(last).step_by(N).copied().collect();
        rms_norm::<1>(&state, &self.norm, form.epsilon, &mut buffers.last);
        *before = all;
        Ok(())
    }

    fn look_up<const N: usize>(&self, tokens: &[u32], stream: &mut [f32]) {
        for (column, token) in tokens.iter().enumerate() {
            let row = self.words.row(*token as usize);
            for (out, half) in stream.iter_mut().skip(column).step_by(N).zip(row) {
                *out = half.to_f32();
            }
        }
    }
}

const OUTPUT: &str = "output.weight";
/// Tensors of a layer: two norms, queries, keys, values, the attention's output, gate, up and down.
const LAYER_TENSORS: usize = 9;

impl Form {
    /// Sines and cosines for each pair and each position from `first`.
    fn angles<const N: usize>(&self, first: usize) -> Vec<[[f32; N]; 2]> {
        let pair = |frequency: &f32| {
            let angle = |column: usize| ((first + column) as f32 * frequency).sin_cos();
            let columns: [(f32, f32); N] = std::array::from_fn(angle);
            [columns.map(|(sine, _)| sine), columns.map(|(_, cosine)| cosine)]
        };
        self.frequencies.iter().map(pair).collect()
    }
}

impl KeysValues {
    /// Keeps the keys and values, `[kv_heads * head_size, N]` each, of the tokens at these places.
    fn keep<const N: usize>(&mut self, key: &[f32], value: &[f32], places: Range<usize>) {
        for (head, rows) in key.as_chunks::<N>().0.chunks_exact(self.head_size).enumerate() {
            for (column, place) in places.clone().enumerate() {
                let kept = &mut self.keys[(head * self.tokens_max + place) * self.head_size..][..self.head_size];
                kept.iter_mut().zip(rows).for_each(|(kept, row)| *kept = row[column]);
            }
        }
        for (row, kept) in value.as_chunks::<N>().0.iter().zip(self.values.chunks_exact_mut(self.tokens_max)) {
            kept[places.clone()].copy_from_slice(&row[..places.len()]);
        }
    }

    /// Attention of one head's queries, `[head_size, N]`, the first of which stands at place `first`, to what is kept;
    /// `scores` has a row for each place so far.
    fn attend<const N: usize>(&self, kv_head: usize, query: &[f32], first: usize, scores: &mut [f32], out: &mut [f32]) {
        let of_head = kv_head * self.tokens_max * self.head_size;
        product::<N>(&self.keys[of_head..], self.head_size, query, scores);
        for (column, row) in scores.as_chunks_mut::<N>().0.iter_mut().skip(first).enumerate() {
            // A token does not look ahead.
            row[..column].fill(f32::NEG_INFINITY);
        }
        let scale = 1.0 / (self.head_size as f32).sqrt();
        if N == 1 {
            kernels::softmax(isa(), scores, scale);
        } else {
            softmax::<N>(scores, scale);
        }
        product::<N>(&self.values[of_head..], self.tokens_max, scores, out);
    }
}

impl Buffers {
    /// Room for a block of `N` columns in a text of `tokens`; the stream is empty.
    fn size<const N: usize>(&mut self, form: &Form, tokens: usize) {
        self.stream.clear();
        self.stream.resize(form.hidden * N, 0.0);
        self.normed.resize(form.hidden * N, 0.0);
        self.query_key_value.resize((form.query_rows() + 2 * form.key_rows()) * N, 0.0);
        self.scores.resize(form.heads * tokens * N, 0.0);
        self.context.resize(form.query_rows() * N, 0.0);
        self.gate_up.resize(2 * form.intermediate * N, 0.0);
        self.added.resize(form.hidden * N, 0.0);
        self.last.resize(form.hidden, 0.0);
    }
}

fn add(to: &mut [f32], added: &[f32]) {
    to.iter_mut().zip(added).for_each(|(to, added)| *to += added);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{CONTEXT, tensors};
    use crate::testing::{CONTROL, HEADS, HIDDEN, INTERMEDIATE, KV_HEADS, LAYERS, TEMPLATE, Tensors, metadata, write};
    use candle_core::quantized::gguf_file::Value;
    use candle_core::{DType, Device, Tensor};
    use candle_nn::VarBuilder;
    use candle_transformers::models::llama as reference;

    const VOCABULARY: usize = CONTROL.len() + 257;

    fn load(
        tensors: &Tensors,
        change: impl FnOnce(&mut std::collections::BTreeMap<String, Value>),
    ) -> Result<Llama, InferError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tiny.gguf");
        let mut metadata = metadata(TEMPLATE);
        change(&mut metadata);
        write(&path, &metadata, tensors);
        Llama::load(&mut Gguf::open(&path)?, VOCABULARY)
    }

    /// candle's Llama with the same weights. A GGUF file has the rows of queries and keys in pairs that turn together;
    /// candle, as transformers, has the first of all pairs before the second of all.
    fn candle(tensors: &Tensors) -> (reference::Llama, reference::Cache) {
        let config = reference::Config {
            hidden_size: HIDDEN,
            intermediate_size: INTERMEDIATE,
            vocab_size: VOCABULARY,
            num_hidden_layers: LAYERS,
            num_attention_heads: HEADS,
            num_key_value_heads: KV_HEADS,
            use_flash_attn: false,
            rms_norm_eps: 1e-5,
            rope_theta: 10_000.0,
            bos_token_id: None,
            eos_token_id: None,
            rope_scaling: None,
            max_position_embeddings: CONTEXT,
            tie_word_embeddings: true,
        };
        let names = [
            ("attn_norm", "input_layernorm", None),
            ("attn_q", "self_attn.q_proj", Some(HEADS)),
            ("attn_k", "self_attn.k_proj", Some(KV_HEADS)),
            ("attn_v", "self_attn.v_proj", None),
            ("attn_output", "self_attn.o_proj", None),
            ("ffn_norm", "post_attention_layernorm", None),
            ("ffn_gate", "mlp.gate_proj", None),
            ("ffn_up", "mlp.up_proj", None),
            ("ffn_down", "mlp.down_proj", None),
        ];
        let mut weights = std::collections::HashMap::from([
            ("model.embed_tokens.weight".to_owned(), tensors["token_embd.weight"].clone()),
            ("model.norm.weight".to_owned(), tensors["output_norm.weight"].clone()),
        ]);
        for layer in 0..LAYERS {
            for (ours, theirs, heads) in names {
                let mut tensor = tensors[&format!("blk.{layer}.{ours}.weight")].clone();
                if let Some(heads) = heads {
                    let pairs = tensor.dim(0).unwrap() / heads / 2;
                    let paired = tensor.reshape((heads, pairs, 2, HIDDEN)).unwrap().transpose(1, 2).unwrap();
                    tensor = paired.reshape(tensor.shape()).unwrap();
                }
                weights.insert(format!("model.layers.{layer}.{theirs}.weight"), tensor);
            }
        }
        let weights = VarBuilder::from_tensors(weights, DType::F32, &Device::Cpu);
        let cache = reference::Cache::new(true, DType::F32, &config, &Device::Cpu).unwrap();
        (reference::Llama::load(weights, &config).unwrap(), cache)
    }

    #[test]
    fn it_computes_what_candle_does_however_a_text_is_cut() {
        let tensors = tensors(1);
        let llama = load(&tensors, |_| {}).unwrap();
        let tokens: Vec<u32> = (0..90).map(|n: u32| n * 37 % 259).collect();
        for blocks in [&[1, 1, 1, 30, 1][..], &[2, 16, 17], &[32, 32, 1, 1, 20, 1], &[31, 3, 32]] {
            let (candle, mut cache) = candle(&tensors);
            let mut text = llama.text(tokens.len());
            let mut read = 0;
            for block in blocks {
                let block = &tokens[read..read + block];
                llama.read(&mut text, block, || Ok(())).unwrap();
                let ids = Tensor::new(block, &Device::Cpu).unwrap().unsqueeze(0).unwrap();
                let expected = candle.forward(&ids, read, &mut cache).unwrap().flatten_all().unwrap();
                read += block.len();
                for (given, expected) in llama.logits(&text).iter().zip(expected.to_vec1::<f32>().unwrap()) {
                    assert!((given - expected).abs() < 1e-3, "{blocks:?} after {read}: {given}, {expected}");
                }
            }
        }
    }

    #[test]
    fn a_stopped_text_goes_no_further_than_a_layer() {
        let llama = load(&tensors(1), |_| {}).unwrap();
        let asked = std::sync::atomic::AtomicUsize::new(0);
        let go_on = || match asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            0 => Ok(()),
            _ => Err(Stopped::Cancelled),
        };
        assert_eq!(llama.read(&mut llama.text(1), &[1], go_on), Err(Stopped::Cancelled));
        assert_eq!(asked.into_inner(), LAYERS);
    }

    #[test]
    fn what_is_no_plain_llama_is_refused_by_name() {
        #[track_caller]
        fn check(change: impl FnOnce(&mut std::collections::BTreeMap<String, Value>, &mut Tensors), expected: &str) {
            let mut tensors = tensors(1);
            let mut changed = metadata(TEMPLATE);
            change(&mut changed, &mut tensors);
            let error = load(&tensors, |metadata| *metadata = changed).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let text = |text: &str| Value::String(text.to_owned());
        check(|metadata, _| drop(metadata.insert("general.architecture".into(), text("qwen2"))), "\"qwen2\"");
        check(|metadata, _| drop(metadata.remove("llama.block_count")), "it has no llama.block_count");
        check(
            |metadata, _| drop(metadata.insert("llama.block_count".into(), text("2"))),
            "llama.block_count has another",
        );
        check(|metadata, _| drop(metadata.insert("llama.expert_count".into(), Value::U32(8))), "experts");
        check(|metadata, _| drop(metadata.insert("llama.attention.head_count_kv".into(), Value::U32(4))), "multiple");
        check(|metadata, _| drop(metadata.insert("llama.rope.scaling.type".into(), text("yarn"))), "\"yarn\"");
        check(|_, tensors| drop(tensors.remove("blk.1.attn_q.weight")), "blk.1.attn_q.weight is missing");
        check(
            |_, tensors| {
                let bias = tensors["output_norm.weight"].clone();
                tensors.insert("blk.0.attn_q.bias".into(), bias);
            },
            "such as a bias",
        );
        check(
            |_, tensors| {
                let short = tensors["blk.0.attn_norm.weight"].narrow(0, 0, 4).unwrap().force_contiguous().unwrap();
                tensors.insert("blk.0.attn_norm.weight".into(), short);
            },
            "has shape [4], the metadata say [48]",
        );
    }
}
