"""What is learnt from: the bi-encoder's vectors of all texts, and the six-layer model's logits of the training lists.

Both are computed by one process a core with one thread each, for threads of one process wait for each other, and on a busy
machine mostly wait. Every block is kept: a run that was cut off goes on where it ended.
"""

import multiprocessing
import time

import numpy as np
import torch

from encoder import Tokens, logits, pair, vectors

TEXTS_A_BLOCK = 2048
LISTS_A_BLOCK = 128


def in_blocks(folder, count, size, compute, minutes=float("inf")):
    """Rows `0..count`, by blocks of `size`: `compute(rows)` is the block's array, kept in `folder`.

    After so many `minutes` no block is begun. Returns `(rows, array)` of each block there is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    blocks = {folder / f"{start:06}.npy": range(start, min(start + size, count)) for start in range(0, count, size)}
    end = time.monotonic() + 60 * minutes

    def fill(file):
        began = time.monotonic()
        if began < end:
            part = file.with_suffix(".part")  # renamed when whole: a block that is there is complete
            with open(part, "wb") as out:
                np.save(out, compute(blocks[file]))
            part.rename(file)
            print(f"{folder.name}: from {blocks[file].start} of {count}, {time.monotonic() - began:.0f} s", flush=True)

    missing = [file for file in blocks if not file.exists()]
    if missing:
        global _fill  # the processes are forked: they find it here, and nothing needs to be pickled
        _fill = fill
        with multiprocessing.get_context("fork").Pool(initializer=torch.set_num_threads, initargs=(1,)) as pool:
            pool.map(_call, missing, chunksize=1)
    return [(rows, np.load(file)) for file, rows in blocks.items() if file.exists()]


def _call(file):
    _fill(file)


def embed_texts(embedder, texts, folder):
    """Vectors, `[texts, 384]`, kept in `folder`."""

    def compute(rows):
        return vectors(embedder, Tokens(embedder, [texts[row] for row in rows]).ids).astype(np.float16)

    return np.concatenate([block for _, block in in_blocks(folder, len(texts), TEXTS_A_BLOCK, compute)]).astype(np.float32)


def embed(corpus, embedder, folder):
    """Vectors of all passages and questions that are learnt from or searched.

    Returns them by passage, `[passages, 384]`, and by question, zero where a text is left out.
    """
    questions = sorted(corpus.held_out + corpus.training)
    passages = sorted(p for name in {corpus.pool_of(q) for q in questions} for p in corpus.pools[name])
    rows = embed_texts(embedder, [corpus.text[p] for p in passages] + [corpus.questions[q]["q"] for q in questions], folder)
    of_passages = np.zeros((len(corpus.text), rows.shape[1]), np.float32)
    of_questions = np.zeros((len(corpus.questions), rows.shape[1]), np.float32)
    of_passages[passages], of_questions[questions] = rows[:len(passages)], rows[len(passages):]
    return of_passages, of_questions


def score(model, lists, questions, passages, folder, minutes=float("inf")):
    """Logits of `lists` of `(question, passages)`, kept in `folder`; the ids of both are looked up in the last two.

    Returns the lists scored, with their logits: `(question, passages, logits)`.
    """
    def compute(rows):
        block = [lists[row] for row in rows]
        scores = logits(model, [pair(questions[q], passages[p]) for q, ps in block for p in ps])
        # Lists may differ in length: short ones are filled up.
        out, taken = np.full((len(block), max(len(ps) for _, ps in block)), np.nan, np.float32), 0
        for row, (_, ps) in enumerate(block):
            out[row, :len(ps)] = scores[taken:taken + len(ps)]
            taken += len(ps)
        return out

    blocks = in_blocks(folder, len(lists), LISTS_A_BLOCK, compute, minutes)
    return [(*lists[row], block[i][:len(lists[row][1])]) for rows, block in blocks for i, row in enumerate(rows)]
