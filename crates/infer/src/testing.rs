//! A Llama for tests: two layers, weights drawn from a seed, a vocabulary of bytes.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use half::f16;

use crate::vocabulary::spelled;

pub(crate) const HIDDEN: usize = 48;
pub(crate) const INTERMEDIATE: usize = 80;
pub(crate) const LAYERS: usize = 2;
pub(crate) const HEADS: usize = 6;
pub(crate) const KV_HEADS: usize = 2;
pub(crate) const CONTEXT: usize = 100;
/// Control tokens; bytes and merges come after them.
pub(crate) const CONTROL: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];
/// ChatML, as SmolLM2 and many others have it.
pub(crate) const TEMPLATE: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + \
     message['content'] + '<|im_end|>\n' }}{% endfor %}\n\
     {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// The tensors of a file, by name.
pub(crate) type Tensors = BTreeMap<String, Tensor>;

/// Metadata with a byte-level vocabulary: control tokens, bytes, and `he`.
pub(crate) fn metadata(template: &str) -> BTreeMap<String, Value> {
    let text = |text: &str| Value::String(text.to_owned());
    let mut tokens: Vec<Value> = CONTROL.iter().map(|token| text(token)).collect();
    tokens.extend((0..=255).map(|byte| Value::String(spelled(byte).to_string())));
    tokens.push(text("he"));
    let kinds = (0..tokens.len()).map(|token| Value::I32(if token < CONTROL.len() { 3 } else { 1 })).collect();
    let size = |size: usize| Value::U32(size.try_into().unwrap());
    let values = [
        ("general.architecture", text("llama")),
        ("llama.block_count", size(LAYERS)),
        ("llama.context_length", size(CONTEXT)),
        ("llama.embedding_length", size(HIDDEN)),
        ("llama.feed_forward_length", size(INTERMEDIATE)),
        ("llama.attention.head_count", size(HEADS)),
        ("llama.attention.head_count_kv", size(KV_HEADS)),
        ("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5)),
        ("tokenizer.ggml.model", text("gpt2")),
        ("tokenizer.ggml.pre", text("smollm")),
        ("tokenizer.ggml.tokens", Value::Array(tokens)),
        ("tokenizer.ggml.token_type", Value::Array(kinds)),
        ("tokenizer.ggml.merges", Value::Array(vec![text("h e")])),
        ("tokenizer.ggml.eos_token_id", Value::U32(2)),
        ("tokenizer.chat_template", text(template)),
    ];
    values.map(|(key, value)| (key.to_owned(), value)).into()
}

/// Weights that are exact as halves, in the order of rows of a GGUF file.
pub(crate) fn tensors(seed: u32) -> Tensors {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let mut draw = |shape: &[usize], size: f32| {
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f16::from_f32(((state >> 8) as f32 / 8_388_608.0 - 1.0) * size).to_f32()
        };
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| next()).collect();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    };
    let head_size = HIDDEN / HEADS;
    let mut tensors = Tensors::new();
    tensors.insert("token_embd.weight".to_owned(), draw(&[CONTROL.len() + 257, HIDDEN], 1.0));
    tensors.insert("output_norm.weight".to_owned(), draw(&[HIDDEN], 1.0));
    for layer in 0..LAYERS {
        let parts: [(&str, &[usize]); 9] = [
            ("attn_norm", &[HIDDEN]),
            ("attn_q", &[HIDDEN, HIDDEN]),
            ("attn_k", &[KV_HEADS * head_size, HIDDEN]),
            ("attn_v", &[KV_HEADS * head_size, HIDDEN]),
            ("attn_output", &[HIDDEN, HIDDEN]),
            ("ffn_norm", &[HIDDEN]),
            ("ffn_gate", &[INTERMEDIATE, HIDDEN]),
            ("ffn_up", &[INTERMEDIATE, HIDDEN]),
            ("ffn_down", &[HIDDEN, INTERMEDIATE]),
        ];
        for (part, shape) in parts {
            tensors.insert(format!("blk.{layer}.{part}.weight"), draw(shape, 0.6));
        }
    }
    tensors
}

/// Writes a file of unquantised tensors.
pub(crate) fn write(path: &Path, metadata: &BTreeMap<String, Value>, tensors: &Tensors) {
    let tensors: Vec<(&str, QTensor)> = tensors
        .iter()
        .map(|(name, tensor)| (name.as_str(), QTensor::quantize(tensor, GgmlDType::F32).unwrap()))
        .collect();
    let tensors: Vec<(&str, &QTensor)> = tensors.iter().map(|(name, tensor)| (*name, tensor)).collect();
    let metadata: Vec<(&str, &Value)> = metadata.iter().map(|(key, value)| (key.as_str(), value)).collect();
    gguf_file::write(&mut File::create(path).unwrap(), &metadata, &tensors).unwrap();
}
