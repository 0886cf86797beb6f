//! The BERT forward pass (Devlin et al. 2019) over texts of different lengths, without padding.
//!
//! The tokens of all texts stand below each other in one matrix `[tokens, hidden]`, so that every linear layer is one
//! product; only attention goes text by text. Several groups of texts run side by side, a thread each, with nothing to wait
//! for in between; a single text instead spreads its products over the threads.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use crate::InferError;
use crate::config::BertConfig;
use crate::kernels::{gelu, layer_norm_rows, softmax_rows};
use crate::product::{Matrix, MatrixMut, Onto, Spread, multiply};
use crate::weights::{Table, Weights};

/// Tokens that one thread takes through all layers at a time: enough to use each weight often, few enough for its cache.
const GROUP_TOKENS_MAX: usize = 512;

/// One text as the encoder reads it, special tokens included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Numbers of the tokens.
    pub ids: Vec<u32>,
    /// Where the second segment (token type 1) starts; the length if there is none.
    pub second: usize,
}

/// An encoder with its weights.
#[derive(Debug)]
pub(crate) struct Encoder {
    hidden: usize,
    head_size: usize,
    epsilon: f32,
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

/// `x * weight + bias`; the weight is kept as `[in, out]`, as the product reads it fastest.
#[derive(Debug)]
struct Linear {
    weight: Vec<f32>,
    bias: Vec<f32>,
}

#[derive(Debug)]
struct Norm {
    gain: Vec<f32>,
    shift: Vec<f32>,
}

/// What a forward pass writes to; each keeps the largest size it has had.
#[derive(Debug, Default)]
struct Buffers {
    /// `[tokens, hidden]`: the stream that every layer adds to.
    stream: Vec<f32>,
    /// `[tokens, 3 * hidden]`
    query_key_value: Vec<f32>,
    /// `[tokens, hidden]`
    context: Vec<f32>,
    /// `[length, length]` of one text and head.
    scores: Vec<f32>,
    /// `[tokens, intermediate]`
    up: Vec<f32>,
}

impl Encoder {
    /// Reads the encoder's weights.
    ///
    /// # Errors
    /// A tensor is missing or has another shape than `config` says.
    pub(crate) fn load(weights: &Weights<'_>, config: &BertConfig) -> Result<Encoder, InferError> {
        let hidden = config.hidden_size;
        let table = |name: &str, rows| weights.table(&format!("embeddings.{name}_embeddings.weight"), rows, hidden);
        let layers = (0..config.num_hidden_layers).map(|n| Layer::load(weights, config, &format!("encoder.layer.{n}")));
        Ok(Encoder {
            hidden,
            head_size: config.head_size(),
            epsilon: config.layer_norm_eps,
            words: table("word", config.vocab_size)?,
            positions: table("position", config.max_position_embeddings)?,
            first_position: config.first_position,
            types: table("token_type", config.type_vocab_size)?,
            norm: Norm::load(weights, "embeddings.LayerNorm", hidden)?,
            layers: layers.collect::<Result<_, _>>()?,
            spare: Mutex::default(),
        })
    }

    /// Takes each text through all layers and hands its hidden states, `[length, hidden]`, to `read`; returns what `read`
    /// gave, in order. Runs in the current rayon pool: on the calling thread or, spread, on all. A text's states do not depend
    /// on the texts beside it. Each thread calls `make_way` a few times a layer.
    ///
    /// # Panics
    /// If a text is empty, or has a token, position or type that the model has not: who makes [`Tokens`] sees to that.
    pub(crate) fn encode<T: Send>(
        &self,
        texts: &[Tokens],
        spread: Spread,
        make_way: &(dyn Fn() + Sync),
        read: impl Fn(&[f32]) -> T + Sync,
    ) -> Vec<T> {
        let tokens: usize = texts.iter().map(|text| text.ids.len()).sum();
        let threads = if spread == Spread::Pool { rayon::current_num_threads() } else { 1 };
        let share = tokens.div_ceil(threads).clamp(1, GROUP_TOKENS_MAX);
        let groups = runs(texts.iter().map(|text| text.ids.len()), share);
        // One group's products are spread over the threads; of several, each has its thread.
        let within = if groups.len() == 1 { spread } else { Spread::Alone };
        let of_group = |group: Range<usize>| {
            self.with_buffers(|buffers| self.group(&texts[group], within, buffers, make_way, &read))
        };
        match spread {
            Spread::Alone => groups.into_iter().flat_map(of_group).collect(),
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

    fn group<T>(
        &self,
        texts: &[Tokens],
        spread: Spread,
        buffers: &mut Buffers,
        make_way: &(dyn Fn() + Sync),
        read: impl Fn(&[f32]) -> T,
    ) -> Vec<T> {
        let mut rows = Vec::with_capacity(texts.len());
        let mut tokens = 0;
        for text in texts {
            rows.push(tokens..tokens + text.ids.len());
            tokens += text.ids.len();
        }
        let stream = sized(&mut buffers.stream, tokens * self.hidden);
        let context = sized(&mut buffers.context, tokens * self.hidden);
        for (text, rows) in texts.iter().zip(&rows) {
            self.embed_tokens(text, &mut stream[rows.start * self.hidden..rows.end * self.hidden]);
        }
        self.norm.apply(stream, self.epsilon);
        for layer in &self.layers {
            let query_key_value = sized(&mut buffers.query_key_value, tokens * 3 * self.hidden);
            layer.query_key_value.apply(stream, query_key_value, spread);
            for rows in &rows {
                self.attend(rows.clone(), query_key_value, context, &mut buffers.scores);
            }
            layer.attention_out.add(context, stream, spread);
            layer.attention_norm.apply(stream, self.epsilon);
            make_way();
            let up = sized(&mut buffers.up, tokens * layer.up.bias.len());
            layer.up.apply(stream, up, spread);
            gelu(up);
            make_way();
            layer.down.add(up, stream, spread);
            layer.out_norm.apply(stream, self.epsilon);
            make_way();
        }
        rows.iter().map(|rows| read(&stream[rows.start * self.hidden..rows.end * self.hidden])).collect()
    }

    fn embed_tokens(&self, text: &Tokens, out: &mut [f32]) {
        out.fill(0.0);
        for (position, (id, row)) in text.ids.iter().zip(out.chunks_exact_mut(self.hidden)).enumerate() {
            self.words.add_row(*id as usize, row);
            self.types.add_row(usize::from(position >= text.second), row);
            self.positions.add_row(self.first_position + position, row);
        }
    }

    /// Attention within one text, head by head: `softmax(Q K^T / sqrt(head size)) V` into its rows of `context`.
    fn attend(&self, rows: Range<usize>, query_key_value: &[f32], context: &mut [f32], scores: &mut Vec<f32>) {
        let (length, size, hidden) = (rows.len(), self.head_size, self.hidden);
        let scores = sized(scores, length * length);
        let scale = 1.0 / (size as f32).sqrt();
        for head in (0..hidden).step_by(size) {
            let part = |part: usize| {
                let first = rows.start * 3 * hidden + part * hidden + head;
                Matrix::new(&query_key_value[first..], length, size, 3 * hidden)
            };
            let all = MatrixMut::new(scores, length, length, length);
            multiply(part(0), part(1).transposed(), all, Onto::Nothing, Spread::Alone);
            softmax_rows(scores, length, scale);
            let out = MatrixMut::new(&mut context[rows.start * hidden + head..], length, size, hidden);
            multiply(Matrix::new(scores, length, length, length), part(2), out, Onto::Nothing, Spread::Alone);
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

/// The first `len` floats of a buffer that grows as needed; their values are whatever was there.
fn sized(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    &mut buffer[..len]
}

impl Layer {
    fn load(weights: &Weights<'_>, config: &BertConfig, name: &str) -> Result<Layer, InferError> {
        let (hidden, intermediate) = (config.hidden_size, config.intermediate_size);
        let part = |part: &str| Linear::load(weights, &format!("{name}.attention.self.{part}"), hidden, hidden);
        Ok(Layer {
            query_key_value: Linear::side_by_side(&[part("query")?, part("key")?, part("value")?]),
            attention_out: Linear::load(weights, &format!("{name}.attention.output.dense"), hidden, hidden)?,
            attention_norm: Norm::load(weights, &format!("{name}.attention.output.LayerNorm"), hidden)?,
            up: Linear::load(weights, &format!("{name}.intermediate.dense"), hidden, intermediate)?,
            down: Linear::load(weights, &format!("{name}.output.dense"), intermediate, hidden)?,
            out_norm: Norm::load(weights, &format!("{name}.output.LayerNorm"), hidden)?,
        })
    }
}

impl Linear {
    fn load(weights: &Weights<'_>, name: &str, inputs: usize, outputs: usize) -> Result<Linear, InferError> {
        let stored = weights.matrix(&format!("{name}.weight"), outputs, inputs)?;
        let mut weight = vec![0.0; stored.len()];
        for (output, row) in stored.chunks_exact(inputs).enumerate() {
            for (input, value) in row.iter().enumerate() {
                weight[input * outputs + output] = *value;
            }
        }
        Ok(Linear { weight, bias: weights.vector(&format!("{name}.bias"), outputs)? })
    }

    /// Layers of equal inputs as one; the outputs stand one after the other.
    fn side_by_side(parts: &[Linear]) -> Linear {
        let inputs = parts.first().map_or(0, |part| part.weight.len() / part.bias.len());
        let mut weight = Vec::with_capacity(parts.iter().map(|part| part.weight.len()).sum());
        for input in 0..inputs {
            for part in parts {
                let outputs = part.bias.len();
                weight.extend_from_slice(&part.weight[input * outputs..(input + 1) * outputs]);
            }
        }
        Linear { weight, bias: parts.iter().flat_map(|part| part.bias.iter().copied()).collect() }
    }

    /// `out = x * weight + bias`
    fn apply(&self, x: &[f32], out: &mut [f32], spread: Spread) {
        for row in out.chunks_exact_mut(self.bias.len()) {
            row.copy_from_slice(&self.bias);
        }
        self.accumulate(x, out, spread);
    }

    /// `out += x * weight + bias`
    fn add(&self, x: &[f32], out: &mut [f32], spread: Spread) {
        for row in out.chunks_exact_mut(self.bias.len()) {
            row.iter_mut().zip(&self.bias).for_each(|(out, bias)| *out += bias);
        }
        self.accumulate(x, out, spread);
    }

    fn accumulate(&self, x: &[f32], out: &mut [f32], spread: Spread) {
        let outputs = self.bias.len();
        let (inputs, rows) = (self.weight.len() / outputs, out.len() / outputs);
        let weight = Matrix::new(&self.weight, inputs, outputs, outputs);
        let out = MatrixMut::new(out, rows, outputs, outputs);
        multiply(Matrix::new(x, rows, inputs, inputs), weight, out, Onto::Itself, spread);
    }
}

impl Norm {
    fn load(weights: &Weights<'_>, name: &str, len: usize) -> Result<Norm, InferError> {
        let part = |part: &str| weights.vector(&format!("{name}.{part}"), len);
        Ok(Norm { gain: part("weight")?, shift: part("bias")? })
    }

    fn apply(&self, rows: &mut [f32], epsilon: f32) {
        layer_norm_rows(rows, &self.gain, &self.shift, epsilon);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
