"""Small models of every family that runs here, and what transformers makes of them, as a golden file for the tests.

    python make_families.py OUT.json

A model's weights are not in the file: `weight` makes each from the tensor's name, here and in the test alike. Its
tokenizer, trained on the texts below, and its config.json are. For each text: the tokens, special ones included, and the
hidden states of its first and last token; for classifiers: pairs and their logits. Needs transformers and torch.
"""

import copy
import functools
import json
import sys
from pathlib import Path

import torch
import transformers
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

VOCABULARY = 400
TOKENS_MAX = 40
SHAPE = {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2}

TEXTS = [
    "",
    "a",
    "Where is it said?",
    "Größe, naïve café: 東京 🙂 e\u0301",
    "A sentence with  two   and three spaces,\nand a second line. ",
    "retrieval of passages by meaning, and by words; the window of local attention is passed by this text, is it not?",
    "long " * 100,
]
PAIRS = [
    ("who wrote it", "It was written by nobody we know."),
    ("", "A passage without a question."),
    ("Größe?", "long " * 100),
]


def weight(name, shape):
    """A tensor made from its name: uniform in -0.15 to 0.15, around 1 for the gains of norms."""
    seed = 2166136261
    for byte in name.encode():
        seed = (seed ^ byte) * 16777619 & 0xFFFFFFFF
    x = torch.arange(torch.Size(shape).numel(), dtype=torch.int64) * 747796405 + seed & 0xFFFFFFFF
    x = (x ^ x >> 16) * 0x45D9F3B & 0xFFFFFFFF
    x = (x ^ x >> 16) * 0x45D9F3B & 0xFFFFFFFF
    x = x ^ x >> 16
    base = 1.0 if name.lower().endswith("norm.weight") else 0.0
    return (base + (x.double() / 2**32 - 0.5) * 0.3).float().reshape(shape)


def trained(tokenizer, trainer):
    tokenizer.train_from_iterator(TEXTS + [text for pair in PAIRS for text in pair], trainer)
    return tokenizer


def framed(tokenizer, start, end, between, second_type):
    ids = [(token, tokenizer.token_to_id(token)) for token in (start, end)]
    pair = f"{start} $A {between} $B:{second_type} {end}:{second_type}"
    tokenizer.post_processor = processors.TemplateProcessing(f"{start} $A {end}", pair, ids)
    return tokenizer


def wordpiece():
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trained(tokenizer, trainers.WordPieceTrainer(vocab_size=VOCABULARY, special_tokens=special))
    return framed(tokenizer, "[CLS]", "[SEP]", "[SEP]", 1)


def byte_level(special, added):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    size = VOCABULARY - len(added)
    trained(tokenizer, trainers.BpeTrainer(vocab_size=size, special_tokens=special, initial_alphabet=alphabet))
    tokenizer.add_tokens(added)
    return tokenizer


def roberta():
    tokenizer = byte_level(["<s>", "<pad>", "</s>", "<unk>", "<mask>"], [])
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), trim_offsets=True, add_prefix_space=False)
    return tokenizer


def modernbert():
    tokenizer = byte_level(["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"], ["   ", "  "])
    tokenizer.normalizer = normalizers.NFC()
    return framed(tokenizer, "[CLS]", "[SEP]", "[SEP]", 0)


def unigram():
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trained(tokenizer, trainers.UnigramTrainer(vocab_size=VOCABULARY, special_tokens=special, unk_token="<unk>"))
    # The second text is of type 1 here and the encoder has one type: it does not listen.
    return framed(tokenizer, "<s>", "</s>", "</s> </s>", 1)


BERT = {**SHAPE, "intermediate_size": 64, "max_position_embeddings": 64, "type_vocab_size": 2, "pad_token_id": 0}
ROBERTA = {**BERT, "max_position_embeddings": 66, "type_vocab_size": 1, "pad_token_id": 1, "layer_norm_eps": 1e-5}
MODERN = {**SHAPE, "intermediate_size": 48, "max_position_embeddings": 64, "local_attention": 8, "pad_token_id": 3}
# What the files on the hub say where newer ones have layer_types and rope_parameters.
OLDER = {"global_rope_theta": 160000.0, "local_rope_theta": 10000.0, "global_attn_every_n_layers": 3}

FAMILIES = [
    ("bert", wordpiece, transformers.BertModel, transformers.BertConfig(**BERT), {}),
    ("bert classifier", wordpiece, transformers.BertForSequenceClassification, transformers.BertConfig(**BERT, num_labels=1), {}),
    ("roberta", roberta, transformers.RobertaModel, transformers.RobertaConfig(**ROBERTA), {}),
    ("roberta classifier", roberta, transformers.RobertaForSequenceClassification, transformers.RobertaConfig(**ROBERTA, num_labels=1), {}),
    ("xlm-roberta", unigram, transformers.XLMRobertaModel, transformers.XLMRobertaConfig(**ROBERTA), {}),
    ("xlm-roberta classifier", unigram, transformers.XLMRobertaForSequenceClassification, transformers.XLMRobertaConfig(**ROBERTA, num_labels=1), {}),
    ("modernbert", modernbert, transformers.ModernBertModel, transformers.ModernBertConfig(**MODERN), OLDER),
    ("modernbert classifier", modernbert, transformers.ModernBertForSequenceClassification, transformers.ModernBertConfig(**MODERN, num_labels=1), {}),
    ("modernbert classifier of the mean", modernbert, transformers.ModernBertForSequenceClassification, transformers.ModernBertConfig(**MODERN, num_labels=1, classifier_pooling="mean"), {}),
]


@functools.cache
def made(make):
    """A tokenizer, once: training one twice gives two."""
    return make().to_str()


def saved(model, config, older):
    """config.json, without what no part here reads."""
    config = json.loads(config.to_json_string(use_diff=False))
    config["architectures"] = [type(model).__name__]
    if older:
        del config["rope_parameters"], config["layer_types"]
        config |= older
    return {key: value for key, value in config.items() if value is not None}


def golden(name, make, kind, config, older):
    tokenizer = Tokenizer.from_str(made(make))
    model = kind(copy.deepcopy(config)).eval()
    tensors = {key: tuple(value.shape) for key, value in model.state_dict().items() if value.is_floating_point()}
    model.load_state_dict({key: weight(key, shape) for key, shape in tensors.items()}, strict=False)
    typed = getattr(config, "type_vocab_size", 1) > 1
    encoder = getattr(model, model.base_model_prefix, model)

    def inputs(encoding):
        ids = torch.tensor([encoding.ids])
        types = {"token_type_ids": torch.tensor([encoding.type_ids])} if typed else {}
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), **types}

    def rounded(tensor):
        return [round(value, 7) for value in tensor.tolist()]

    result = {"family": name, "config": saved(model, config, older)}
    result["tokenizer"] = make.__name__
    result["tensors"] = sorted([key, *shape] for key, shape in tensors.items())
    tokenizer.enable_truncation(TOKENS_MAX, strategy="only_second")
    with torch.no_grad():
        if "classifier" in name:
            logits = [model(**inputs(tokenizer.encode(*pair))).logits.item() for pair in PAIRS]
            result["logits"] = [round(logit, 7) for logit in logits]
            return result
        tokenizer.enable_truncation(TOKENS_MAX)
        result["texts"] = []
        for text in TEXTS:
            encoding = tokenizer.encode(text)
            states = encoder(**inputs(encoding)).last_hidden_state[0]
            ends = {"first": rounded(states[0]), "last": rounded(states[-1]), "mean": rounded(states.mean(dim=0))}
            result["texts"].append({"ids": encoding.ids, **ends})
    return result


def main(out):
    written = {"made_by": f"transformers {transformers.__version__}, torch {torch.__version__}"}
    written |= {"tokens_max": TOKENS_MAX, "texts": TEXTS, "pairs": PAIRS}
    written["tokenizers"] = {make.__name__: json.loads(made(make)) for _, make, *_ in FAMILIES}
    written["families"] = [golden(*family) for family in FAMILIES]
    out.write_text(json.dumps(written, ensure_ascii=False, separators=(",", ":")) + "\n")
    print(f"{out}: {written['made_by']}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
