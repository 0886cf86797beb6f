"""What sentence-transformers makes of a model's weights, as a golden file for the tests of crates/infer.

    python make_golden.py MODEL_FOLDER OUT.json

MODEL_FOLDER holds model.safetensors (f32, f16 or int8 rows), tokenizer.json and config.json. The weights are brought to f32,
saved as a plain model, and run by sentence-transformers: an embedder (mean pooling, normalized) on TEXTS, a
classifier on PAIRS. Needs sentence-transformers and torch on the processor.
"""

import json
import sys
import tempfile
from pathlib import Path

import sentence_transformers
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.sentence_transformer import modules

TOKENS_MAX = 256

TEXTS = [
    "",
    " ",
    "a",
    "The quick brown fox jumps over the lazy dog.",
    "How do I reset my password?",
    "To reset a password, open Settings, choose Security, then \"Reset password\".",
    "ALL CAPS, MiXeD CaSe and numbers: 3.14159, 1,000,000 and 0x7f.",
    "Größe und Übermaß: die Straße führt über den Fluß. Äpfel, Öl, Ähre.",
    "Größe with a combining diaeresis: Größe",
    "naïve café façade São Paulo Łódź Đà Nẵng",
    "机器学习是人工智能的一个分支。",
    "東京は日本の首都です。",
    "서울은 대한민국의 수도이다.",
    "Москва является столицей России.",
    "🙂 👩‍👩‍👧‍👦 emoji 🚀🚀 between words 🇩🇪",
    "tabs\tand\nnew lines\r\nand\u00a0no-break\u2003spaces \u200b zero width",
    "fn main() { println!(\"{}\", x.iter().map(|y| y * 2).sum::<i32>()); }",
    "https://example.org/a/very/long/path?with=query&and=more#fragment",
    "supercalifragilisticexpialidocious" * 4,
    "antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis",
    "| a | b |\n|---|---|\n| 1 | 2 |",
    "A long passage goes on and on about retrieval, chunks and citations. " * 40,
]

PAIRS = [
    ("how do plants make food", "Photosynthesis turns light, water and carbon dioxide into sugar and oxygen."),
    ("how do plants make food", "The stock exchange closed higher on Friday."),
    ("who wrote faust", "Goethe Johann Wolfgang von Goethe wrote the play Faust in two parts."),
    ("wie hoch ist die Zugspitze", "Zugspitze Die Zugspitze ist mit 2962 m der höchste Berg Deutschlands."),
    ("日本の首都", "東京は日本の首都です。"),
    ("", "A passage without a question."),
    ("a question without a passage", ""),
    ("emoji 🚀", "🚀 is the rocket emoji 🙂"),
    ("what is the boiling point of water at sea level?", "At sea level water boils at 100 °C (212 °F)."),
    ("citations", "A long passage goes on and on about retrieval, chunks and citations. " * 40),
]


def plain_weights(folder):
    """All tensors as f32: int8 rows times their scales."""
    stored = load_file(folder / "model.safetensors")
    weights = {}
    for name, tensor in stored.items():
        if name.removesuffix(".scale") in stored and name.endswith(".scale"):
            continue
        if tensor.dtype == torch.int8:
            tensor = tensor.float() * stored[name + ".scale"][:, None]
        weights[name] = tensor.float().contiguous() if tensor.is_floating_point() else tensor
    return weights


def main(folder, out):
    config = json.loads((folder / "config.json").read_text())
    classifier = "BertForSequenceClassification" in config["architectures"]
    golden = {"made_by": f"sentence-transformers {sentence_transformers.__version__}, torch {torch.__version__}"}
    with tempfile.TemporaryDirectory() as plain:
        plain = Path(plain)
        save_file(plain_weights(folder), plain / "model.safetensors", metadata={"format": "pt"})
        config["torch_dtype"] = "float32"
        (plain / "config.json").write_text(json.dumps(config))
        tokenizer = json.loads((folder / "tokenizer.json").read_text())
        tokenizer["truncation"] = tokenizer["padding"] = None
        (plain / "tokenizer.json").write_text(json.dumps(tokenizer))
        (plain / "tokenizer_config.json").write_text(
            json.dumps({"tokenizer_class": "BertTokenizerFast", "do_lower_case": True, "model_max_length": 512})
        )
        if classifier:
            model = CrossEncoder(str(plain), max_length=TOKENS_MAX, device="cpu")
            scores = model.predict(PAIRS, activation_fn=torch.nn.Identity(), convert_to_numpy=True)
            golden["pairs"] = PAIRS
            golden["logits"] = [round(float(score), 6) for score in scores]
        else:
            encoder = modules.Transformer(str(plain), max_seq_length=TOKENS_MAX)
            pooling = modules.Pooling(config["hidden_size"], pooling_mode="mean")
            model = SentenceTransformer(modules=[encoder, pooling, modules.Normalize()], device="cpu")
            vectors = model.encode(TEXTS, batch_size=4, convert_to_numpy=True)
            golden["texts"] = TEXTS
            golden["vectors"] = [[round(float(x), 6) for x in vector] for vector in vectors]
    out.write_text(json.dumps(golden, ensure_ascii=False, separators=(",", ":")) + "\n")
    print(f"{out}: {golden['made_by']}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
