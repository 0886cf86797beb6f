"""Prints what SmolLM2-135M-Instruct (GGUF) says to two prompts by transformers' Llama, the reference of language_model.rs.

pip install torch transformers gguf
python golden_language_model.py SmolLM2-135M-Instruct.Q4_1.gguf
"""
import sys
from pathlib import Path

import numpy
import torch
from gguf import GGUFReader, dequantize
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

path = Path(sys.argv[1])
config = LlamaConfig(
    vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
    num_key_value_heads=3, rms_norm_eps=1e-5, rope_theta=100000.0, max_position_embeddings=8192,
    tie_word_embeddings=True)
config.rope_parameters = {"rope_type": "default", "rope_theta": 100000.0}
names = {
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj", "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
heads = {"attn_q": 9, "attn_k": 3}


def tensor(stored):
    values = dequantize(stored.data, stored.tensor_type).astype(numpy.float32)
    # Matrices are halves, as here.
    return values.astype(numpy.float16).astype(numpy.float32) if values.ndim == 2 else values


def renamed(stored):
    name, values = stored.name.removesuffix(".weight"), tensor(stored)
    if name == "token_embd":
        return "model.embed_tokens.weight", values
    if name == "output_norm":
        return "model.norm.weight", values
    _, layer, part = name.split(".")
    if part in heads:
        # Pairs that turn together stand side by side in the file; transformers has the first of all before the second.
        pairs = values.reshape(heads[part], -1, 2, values.shape[1])
        values = numpy.ascontiguousarray(pairs.swapaxes(1, 2).reshape(values.shape))
    return f"model.layers.{layer}.{names[part]}.weight", values


weights = {name: torch.from_numpy(values) for name, values in map(renamed, GGUFReader(path).tensors)}
model = LlamaForCausalLM(config).float().eval()
missing, unexpected = model.load_state_dict(weights, strict=False)
assert missing == ["lm_head.weight"] or not missing, missing
assert not unexpected, unexpected
model.tie_weights()
tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
rules = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
sources = ("source 1: Refunds are paid within 14 days to the card that was charged.\n\n"
           "Question: When are refunds paid?")
for system, user in [(rules, "What is the capital of France?"), ("You answer from sources.", sources)]:
    text = f"<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n{user}<|im_end|>\n<|im_start|>assistant\n"
    prompt = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
    said = model.generate(prompt, max_new_tokens=40, do_sample=False, eos_token_id=2, pad_token_id=2)
    print(prompt.shape[1], said[0, prompt.shape[1]:].tolist())
