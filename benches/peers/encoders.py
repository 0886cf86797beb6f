"""The other side of `ibid bench embed`, `agree` and `rerank`: the same weights in torch and onnxruntime.

`ibid` starts this script and asks it over standard input, a JSON object a line; each is answered by one line on standard
output, and only while it is asked does it work. Whatever the libraries print goes to standard error.

    {"do": "expand", "model", "cache"}                          our int8 rows as an f32 model -> {"model"}
    {"do": "open", "kind", "model", "pooling", "tokens_max", "cache", "reduce_range"} -> {"engines"}
    {"do": "work", "work", "texts" | "pairs", "batches"}        a workload, by name -> {"tokens": of each input}
    {"do": "time", "engine", "work"}                            all batches -> {"seconds"}
    {"do": "times", "engine", "work"}                           one input after the other -> {"seconds": [..]}
    {"do": "results", "engine", "work", "cache"}                little-endian f32, by input -> {"width", "base64"}

Arguments: how many threads each engine has. Tokenizing (the same Rust tokenizer that transformers wraps) is part of every time.
"""
import base64
import hashlib
import json
import os
import sys
import time
import warnings
from pathlib import Path

answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


def answer(**fields):
    print(json.dumps(fields), file=answers, flush=True)


THREADS = int(sys.argv[1])
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["RAYON_NUM_THREADS"] = str(THREADS)  # the tokenizer's threads
warnings.filterwarnings("ignore")
try:
    import numpy as np
    import onnx  # noqa: F401 (torch's export and the quantization need it)
    import onnxruntime as ort
    import safetensors.torch
    import sentence_transformers
    import tokenizers
    import torch
    import transformers
except (ImportError, ValueError, OSError) as error:  # torch says in all three ways that a part of it is missing
    answer(error=f"{error}; try: {sys.executable} -m pip install torch sentence-transformers onnxruntime onnx")
    sys.exit(1)
torch.set_num_threads(THREADS)
NAMES = ["input_ids", "attention_mask", "token_type_ids"]


def digest(*parts):
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def weights_hash(model):
    return hashlib.sha256((model / "model.safetensors").read_bytes()).hexdigest()


def expand(model, cache, **_):
    """Codes times the scale of their row: what both sides then load."""
    model = Path(model)
    target = Path(cache) / f"{model.name}-{digest(weights_hash(model))}"
    if not (target / "model.safetensors").exists():
        target.mkdir(parents=True, exist_ok=True)
        tensors = safetensors.torch.load_file(model / "model.safetensors")
        scales = {name: tensors.pop(name + ".scale") for name in list(tensors) if name + ".scale" in tensors}
        floats = {name: t.float() * scales[name].unsqueeze(1) if name in scales else t.float() for name, t in tensors.items()}
        for name in ("config.json", "tokenizer.json"):
            (target / name).write_bytes((model / name).read_bytes())
        safetensors.torch.save_file(floats, target / "part", {"format": "pt"})
        (target / "part").rename(target / "model.safetensors")
    return {"model": str(target)}


class Pooled(torch.nn.Module):
    """Token states to one vector of length 1."""

    def __init__(self, encoder, pooling):
        super().__init__()
        self.encoder, self.pooling = encoder, pooling

    def forward(self, input_ids, attention_mask, token_type_ids):
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)[0]
        if self.pooling == "cls":
            pooled = states[:, 0]
        else:
            mask = attention_mask.unsqueeze(-1).float()
            pooled = (states * mask).sum(1) / mask.sum(1)
        return torch.nn.functional.normalize(pooled, dim=1)


class Scored(torch.nn.Module):
    """A pair to its logit."""

    def __init__(self, classifier):
        super().__init__()
        self.classifier = classifier

    def forward(self, input_ids, attention_mask, token_type_ids):
        return self.classifier(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)[0]


def export(module, path):
    """To ONNX, batch and length left open. Whole or not at all."""
    example = torch.tensor([[101, 1996, 102], [101, 102, 0]])
    inputs = (example, (example > 0).long(), torch.zeros_like(example))
    axes = {name: {0: "batch", 1: "length"} for name in NAMES} | {"out": {0: "batch"}}
    part = f"{path}.part"
    with torch.no_grad():
        torch.onnx.export(
            module, inputs, part, input_names=NAMES, output_names=["out"], dynamic_axes=axes, opset_version=17, dynamo=False
        )
    os.rename(part, path)


class Onnx:
    def __init__(self, path, tokenizer):
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = THREADS, 1
        self.session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.tokenizer = tokenizer

    def __call__(self, batch):
        encoded = self.tokenizer.encode_batch(batch)
        fields = ([e.ids for e in encoded], [e.attention_mask for e in encoded], [e.type_ids for e in encoded])
        inputs = {name: np.array(field, dtype=np.int64) for name, field in zip(NAMES, fields)}
        return self.session.run(None, inputs)[0]


class State:
    engines, works, tokenizer, key = {}, {}, None, None


def open_model(kind, model, pooling, tokens_max, cache, reduce_range, **_):
    model = Path(model)
    tokenizer = tokenizers.Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.enable_truncation(tokens_max)
    tokenizer.enable_padding(pad_id=tokenizer.token_to_id("[PAD]") or 0)
    State.tokenizer = tokenizer
    key = digest(weights_hash(model), kind, pooling, torch.__version__, ort.__version__)
    State.key = (key, tokens_max, reduce_range)
    f32 = str(Path(cache) / f"{model.name}-{key}.onnx")
    # Without VNNI the products of 8-bit codes saturate, and onnxruntime asks for codes of 7 bits.
    int8 = str(Path(cache) / f"{model.name}-{key}-{'7' if reduce_range else '8'}bit.onnx")
    Path(cache).mkdir(parents=True, exist_ok=True)
    engines = {}
    if kind == "embedder":
        st = sentence_transformers.SentenceTransformer(str(model), device="cpu")
        if pooling == "cls":
            st[1] = type(st[1])(st[1].word_embedding_dimension, pooling_mode="cls")
        st.float().max_seq_length = tokens_max
        engines["torch_f32"] = lambda batch: st.encode(
            batch, batch_size=len(batch), normalize_embeddings=True, show_progress_bar=False
        )
    if not os.path.exists(f32):
        loader = transformers.AutoModel if kind == "embedder" else transformers.AutoModelForSequenceClassification
        loaded = loader.from_pretrained(str(model), dtype=torch.float32, attn_implementation="eager").eval()
        export(Pooled(loaded, pooling) if kind == "embedder" else Scored(loaded), f32)
    if not os.path.exists(int8):
        from onnxruntime.quantization import QuantType, quantize_dynamic

        quantize_dynamic(f32, int8 + ".part", weight_type=QuantType.QInt8, per_channel=True, reduce_range=reduce_range)
        os.rename(int8 + ".part", int8)
    engines["ort_f32"], engines["ort_int8"] = Onnx(f32, tokenizer), Onnx(int8, tokenizer)
    State.engines = engines
    return {"engines": list(engines)}


def add_work(work, batches, texts=None, pairs=None, **_):
    inputs = texts if texts is not None else [tuple(pair) for pair in pairs]
    State.works[work] = (inputs, batches)
    return {"tokens": [sum(e.attention_mask) for e in State.tokenizer.encode_batch(inputs)]}


def time_batches(engine, work, **_):
    run, (inputs, batches) = State.engines[engine], State.works[work]
    start = time.perf_counter()
    for batch in batches:
        run([inputs[i] for i in batch])
    return {"seconds": time.perf_counter() - start}


def time_each(engine, work, **_):
    run, (inputs, _) = State.engines[engine], State.works[work]
    seconds = []
    for one in inputs:
        start = time.perf_counter()
        run([one])
        seconds.append(time.perf_counter() - start)
    return {"seconds": seconds}


def results(engine, work, cache, **_):
    run, (inputs, batches) = State.engines[engine], State.works[work]
    kept = Path(cache) / f"{engine}-{digest(State.key, inputs, batches)}.npy"
    if kept.exists():
        out = np.load(kept)
    else:
        parts = [np.asarray(run([inputs[i] for i in batch]), dtype="<f4") for batch in batches]
        out = np.zeros((len(inputs), parts[0].shape[1]), dtype="<f4")
        for batch, part in zip(batches, parts):
            out[batch] = part
        np.save(kept, out)
    return {"width": out.shape[1], "base64": base64.b64encode(out.tobytes()).decode()}


VERBS = {"expand": expand, "open": open_model, "work": add_work, "time": time_batches, "times": time_each, "results": results}
answer(
    python=sys.version.split()[0],
    torch=torch.__version__,
    sentence_transformers=sentence_transformers.__version__,
    onnxruntime=ort.__version__,
    tokenizers=tokenizers.__version__,
)
for line in sys.stdin:
    request = json.loads(line)
    try:
        answer(**VERBS[request.pop("do")](**request))
    except Exception as error:  # whatever it is, the one who asked must hear of it
        answer(error=f"{type(error).__name__}: {error}")
