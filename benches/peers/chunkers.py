"""The other side of `ibid eval chunking`: other libraries' chunkers with our tokenizer for their lengths.

`ibid` starts this script and asks it over standard input, a JSON object a line; each is answered by one line on standard
output. Whatever the libraries print goes to standard error.

    {"do": "open", "tokenizer", "texts"}      -> {"chunkers": their names}
    {"do": "cut", "chunker", "size"}          -> {"spans": of each text [[start, end], ..] in characters, "seconds"}

A chunker that compares meanings asks back before it is done, as often as it likes; the seconds leave that out:

    {"embed": [text, ..]}                     -> {"vectors": [[..], ..]}
"""
import json
import os
import sys
import time
from importlib.metadata import version

answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


def answer(**fields):
    print(json.dumps(fields), file=answers, flush=True)


os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["RAYON_NUM_THREADS"] = "1"  # one thread, as ours
try:
    import numpy as np
    import tokenizers
    from chonkie import RecursiveChunker, SemanticChunker
    from chonkie.embeddings import BaseEmbeddings
    from chonkie.tokenizer import Tokenizer
    from langchain_text_splitters import RecursiveCharacterTextSplitter
    from llama_index.core.node_parser import SentenceSplitter
except (ImportError, ValueError, OSError) as error:
    packages = "langchain-text-splitters 'chonkie[semantic]' llama-index-core tokenizers numpy"
    answer(error=f"{error}; try: {sys.executable} -m pip install {packages}")
    sys.exit(1)

# What Chroma's report gives the recursive splitter in place of its defaults: ends of sentences too.
SENTENCE_SEPARATORS = ["\n\n", "\n", ".", "?", "!", " ", ""]


class State:
    tokenizer, texts, embed_seconds = None, [], 0.0


def tokens(text):
    return State.tokenizer.encode(text, add_special_tokens=False).ids


def count(text):
    return len(tokens(text))


class Exact(Tokenizer):
    """Our tokens for chonkie: a token's number stands for the very characters it covers, so that decoding gives them back."""

    def __init__(self):
        self.pieces, self.numbers = [], {}

    def __repr__(self):
        return "Exact()"

    def encode(self, text):
        starts = [start for start, _ in State.tokenizer.encode(text, add_special_tokens=False).offsets]
        bounds = [0, *starts[1:], len(text)] if starts else [0, len(text)]
        return [self.number(text[start:end]) for start, end in zip(bounds, bounds[1:])]

    def number(self, piece):
        if piece not in self.numbers:
            self.numbers[piece] = len(self.pieces)
            self.pieces.append(piece)
        return self.numbers[piece]

    def decode(self, tokens):
        return "".join(self.pieces[token] for token in tokens)

    tokenize = encode

    def count_tokens(self, text):
        return count(text)


class Embeddings(BaseEmbeddings):
    """Our embedder."""

    @property
    def dimension(self):
        return len(self.embed("dimension"))

    def embed(self, text):
        return self.embed_batch([text])[0]

    def embed_batch(self, texts):
        start = time.perf_counter()
        vectors = []
        for first in range(0, len(texts), 1024):
            answer(embed=texts[first : first + 1024])
            vectors.extend(np.array(vector, dtype=np.float32) for vector in json.loads(sys.stdin.readline())["vectors"])
        State.embed_seconds += time.perf_counter() - start
        return vectors

    def get_tokenizer(self):
        return Exact()


def recursive(size, **options):
    return RecursiveCharacterTextSplitter(chunk_size=size, chunk_overlap=0, length_function=count, **options).split_text


def texts_of(chunker):
    return lambda text: [chunk.text for chunk in chunker.chunk(text)]


CHUNKERS = {
    "langchain": recursive,
    "langchain_sentences": lambda size: recursive(size, separators=SENTENCE_SEPARATORS),
    "llama_index": lambda size: SentenceSplitter(chunk_size=size, chunk_overlap=0, tokenizer=tokens).split_text,
    "chonkie_recursive": lambda size: texts_of(RecursiveChunker(tokenizer=Exact(), chunk_size=size)),
    "chonkie_semantic": lambda size: texts_of(SemanticChunker(embedding_model=Embeddings(), chunk_size=size)),
}


def spans(text, chunks):
    """Where the chunks stand, one after the other, without the white space around them."""
    found, start = [], 0
    for chunk in filter(None, map(str.strip, chunks)):
        start = text.find(chunk, start)
        if start < 0:
            raise ValueError(f"a chunk is not in the text: {chunk[:80]!r}")
        found.append((start, start + len(chunk)))
        start += len(chunk)
    return found


def open_texts(tokenizer, texts, **_):
    State.tokenizer = tokenizers.Tokenizer.from_file(tokenizer)
    State.tokenizer.no_truncation()
    State.tokenizer.no_padding()
    State.texts = texts
    return {"chunkers": list(CHUNKERS)}


def cut(chunker, size, **_):
    split = CHUNKERS[chunker](size)
    State.embed_seconds, start = 0.0, time.perf_counter()
    chunks = [split(text) for text in State.texts]
    seconds = time.perf_counter() - start - State.embed_seconds
    return {"spans": [spans(text, chunks) for text, chunks in zip(State.texts, chunks)], "seconds": seconds}


VERBS = {"open": open_texts, "cut": cut}
NAMES = {"langchain_text_splitters": "langchain-text-splitters", "llama_index_core": "llama-index-core"}
answer(
    python=sys.version.split()[0],
    **{name: version(NAMES.get(name, name)) for name in ("langchain_text_splitters", "chonkie", "llama_index_core", "tokenizers")},
)
for line in sys.stdin:
    request = json.loads(line)
    try:
        answer(**VERBS[request.pop("do")](**request))
    except Exception as error:  # whatever it is, the one who asked must hear of it
        answer(error=f"{type(error).__name__}: {error}")
