"""Token ids, batches of like length, and the forward pass: what every step of the recipe computes with."""

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import BertConfig, BertForSequenceClassification, BertModel

TOKENS_MAX = 256
CLS, SEP = 101, 102


class Tokens:
    """Texts as WordPiece ids, each text once, without the marks around it; pairs are put together from them."""

    def __init__(self, model, texts):
        tokenizer = Tokenizer.from_file(str(Path(model) / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self.ids = []
        for start in range(0, len(texts), 4096):
            encoded = tokenizer.encode_batch_fast(texts[start:start + 4096], add_special_tokens=False)
            self.ids += [np.array(e.ids[:TOKENS_MAX], dtype=np.int64) for e in encoded]


def pair(question, passage, tokens_max=TOKENS_MAX):
    """`[CLS] question [SEP] passage [SEP]` as ids, the passage cut, and how many of them are the question's."""
    question = question[:tokens_max // 2]
    passage = passage[:tokens_max - len(question) - 3]
    return np.concatenate(([CLS], question, [SEP], passage, [SEP])), len(question) + 2


def padded(pairs, length=None):
    """`pairs` as three tensors `[pairs, length]`: ids, token types, and 1 where a token is."""
    length = length or max(len(ids) for ids, _ in pairs)
    ids = torch.zeros(len(pairs), length, dtype=torch.long)
    types, mask = torch.zeros_like(ids), torch.zeros_like(ids)
    for row, (tokens, first) in enumerate(pairs):
        n = min(len(tokens), length)
        ids[row, :n] = torch.from_numpy(tokens[:n])
        types[row, first:n] = 1
        mask[row, :n] = 1
    return ids, types, mask


@torch.no_grad()
def by_length(pairs, compute, tokens_a_batch=4096):
    """`compute(ids, types, mask)` over all pairs in batches of like length; its rows in the order of `pairs`, as f32."""
    order, rows, start = np.argsort([len(ids) for ids, _ in pairs], kind="stable")[::-1], [None] * len(pairs), 0
    while start < len(order):
        count = max(1, tokens_a_batch // len(pairs[order[start]][0]))
        batch = order[start:start + count]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = compute(*padded([pairs[i] for i in batch])).float().numpy()
        for i, row in zip(batch, out):
            rows[i] = row
        start += count
    return np.stack(rows)


def load_weights(folder):
    """All tensors of a model folder as f32; int8 rows times their scales."""
    stored = load_file(Path(folder) / "model.safetensors")
    weights = {}
    for name, tensor in stored.items():
        if name.endswith(".scale") and name.removesuffix(".scale") in stored:
            continue
        if tensor.dtype == torch.int8:
            tensor = tensor.float() * stored[name + ".scale"][:, None]
        weights[name] = tensor.float() if tensor.is_floating_point() else tensor
    return weights


def load_cross_encoder(folder):
    config = BertConfig.from_pretrained(folder, num_labels=1)
    model = BertForSequenceClassification(config)
    model.load_state_dict({k: v for k, v in load_weights(folder).items() if "position_ids" not in k})
    return model.eval()


def save_cross_encoder(model, folder, tokenizer):
    """Writes a standard BertForSequenceClassification: f32 weights, config, and the tokenizer of the folder `tokenizer`."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {k: v.detach().float().contiguous() for k, v in model.state_dict().items() if "position_ids" not in k}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((Path(tokenizer) / "config.json").read_text())
    for key in ("hidden_size", "intermediate_size", "num_attention_heads", "num_hidden_layers"):
        config[key] = getattr(model.config, key)
    config["torch_dtype"] = "float32"
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    (folder / "tokenizer.json").write_bytes((Path(tokenizer) / "tokenizer.json").read_bytes())


def logits(model, pairs):
    """The relevance logit of each pair, `[pairs]`."""
    return by_length(pairs, lambda ids, types, mask: model(input_ids=ids, token_type_ids=types, attention_mask=mask).logits[:, 0])


def vectors(folder, texts_ids):
    """Mean-pooled, normalized vectors of texts given as ids, `[texts, hidden]`: the bi-encoder of the first stage."""
    model = BertModel(BertConfig.from_pretrained(folder), add_pooling_layer=False)
    weights = {k.removeprefix("bert."): v for k, v in load_weights(folder).items() if "position_ids" not in k and "pooler" not in k}
    model.load_state_dict(weights)
    model.eval()

    def compute(ids, types, mask):
        hidden = model(input_ids=ids, token_type_ids=types, attention_mask=mask).last_hidden_state.float()
        weight = mask[..., None].float()
        return F.normalize((hidden * weight).sum(1) / weight.sum(1), dim=-1)

    marked = [np.concatenate(([CLS], ids[:TOKENS_MAX - 2], [SEP])) for ids in texts_ids]
    return by_length([(ids, len(ids)) for ids in marked], compute)
