"""What re-ranking is worth: nDCG@10 on held-out questions, alone and in a cascade, and what a pair costs."""

import csv
import json
import math
import time
from pathlib import Path

import bm25s
import numpy as np
import Stemmer
import torch

from encoder import padded

DEPTH = 50  # candidates a question
RRF_K = 60


class Pool:
    """Texts to search, by words (BM25) and by vector."""

    def __init__(self, texts, vectors):
        self.vectors, self.stemmer = vectors, Stemmer.Stemmer("english")
        self.words = bm25s.BM25(k1=1.2, b=0.75)
        self.words.index(self._tokens(texts), show_progress=False)

    def _tokens(self, texts):
        return bm25s.tokenize(texts, stopwords="en", stemmer=self.stemmer, show_progress=False)

    def search(self, questions, vectors):
        """By question the ranked lists `bm25`, `dense` and `rrf` of `(index, score)`, best first, `DEPTH` each at most."""
        found, scores = self.words.retrieve(self._tokens(questions), k=DEPTH, show_progress=False)
        for row, vector in enumerate(vectors):
            by_words = [(int(i), float(s)) for i, s in zip(found[row], scores[row]) if s > 0]
            similarity = self.vectors @ vector
            by_vector = [(int(i), float(similarity[i])) for i in np.argsort(-similarity, kind="stable")[:DEPTH]]
            fused = {}
            for ranked in (by_words, by_vector):
                for rank, (i, _) in enumerate(ranked, 1):
                    fused[i] = fused.get(i, 0.0) + 1 / (RRF_K + rank)
            by_both = sorted(fused.items(), key=lambda hit: (-hit[1], hit[0]))[:DEPTH]
            yield {"bm25": by_words, "dense": by_vector, "rrf": by_both}


def held_out_lists(corpus, passage_vectors, question_vectors):
    """`(question, lists, relevant)` of each held-out question; the lists hold indexes of passages in the corpus."""
    out = []
    for name, members in corpus.pools.items():
        asked = [q for q in corpus.held_out if corpus.pool_of(q) == name]
        if asked:
            pool = Pool([corpus.text[p] for p in members], passage_vectors[members])
            texts = [corpus.questions[q]["q"] for q in asked]
            for q, lists in zip(asked, pool.search(texts, question_vectors[asked])):
                lists = {kind: [(members[i], score) for i, score in hits] for kind, hits in lists.items()}
                out.append((q, lists, corpus.relevant(q)))
    return out


def ndcg(ranked, relevant, k=10):
    """nDCG of binary labels, linear gain, as trec_eval has it."""
    gain = sum(1 / math.log2(rank + 2) for rank, p in enumerate(ranked[:k]) if p in relevant)
    return gain / sum(1 / math.log2(rank + 2) for rank in range(min(k, len(relevant))))


def unit(scores):
    """Scores on [0, 1] within their list."""
    scores = np.asarray(scores, dtype=float)
    return (scores - scores.min()) / (np.ptp(scores) + 1e-9)


def orders(rrf, small, large):
    """The systems compared, each as an order of positions in RRF's list; `small`, `large`: both models' logits of that list."""
    first = unit([score for _, score in rrf])

    def best(scores):
        return list(np.argsort(-np.asarray(scores), kind="stable"))

    def cascade(scores, keep):
        """`scores` choose; the large model orders the best `keep` of them."""
        order = best(scores)
        return sorted(order[:keep], key=lambda i: -large[i]) + order[keep:]

    mixed = unit(small) + first
    return {
        "rrf": list(range(len(rrf))),
        "small": best(small),
        "small + rrf": best(mixed),
        "large": best(large),
        "large + rrf": best(unit(large) + first),
        "small > large 10": cascade(small, 10),
        "small > large 20": cascade(small, 20),
        "small + rrf > large 10": cascade(mixed, 10),
        "small + rrf > large 20": cascade(mixed, 20),
        "rrf > large 10": cascade(first, 10),
        "rrf > large 20": cascade(first, 20),
    }


def compare(questions, small, large):
    """nDCG@10 by system, one value a question: `{system: [questions]}`."""
    values = {}
    for (_, lists, relevant), of_small, of_large in zip(questions, small, large):
        passages = [p for p, _ in lists["rrf"]]
        for first in ("bm25", "dense"):
            values.setdefault(first, []).append(ndcg([p for p, _ in lists[first]], relevant))
        for system, order in orders(lists["rrf"], of_small, of_large).items():
            values.setdefault(system, []).append(ndcg([passages[i] for i in order], relevant))
    return {system: np.array(v) for system, v in values.items()}


def paired(better, worse, rounds=10_000, seed=7):
    """Mean difference, its 95 % bootstrap interval, and the p-value of the two-sided sign-flip test."""
    differences = np.asarray(better) - np.asarray(worse)
    draw = np.random.default_rng(seed)
    resampled = draw.choice(differences, (rounds, len(differences))).mean(1)
    flipped = (differences * draw.choice((-1, 1), (rounds, len(differences)))).mean(1)
    p_value = (1 + (np.abs(flipped) >= abs(differences.mean()) - 1e-12).sum()) / (rounds + 1)
    low, high = np.quantile(resampled, (0.025, 0.975))
    return {"difference": round(float(differences.mean()), 4), "interval": [round(float(low), 4), round(float(high), 4)],
            "p": round(float(p_value), 4)}


def gflop(config, tokens):
    """Floating-point operations (10^9, a multiply-add is two) of one pair of so many tokens."""
    h, i = config.hidden_size, config.intermediate_size
    return config.num_hidden_layers * tokens * (2 * (4 * h * h + 2 * h * i) + 4 * tokens * h) / 1e9


@torch.no_grad()
def pairs_a_second(model, tokens=128, count=50, rounds=5):
    """Pairs of so many tokens a second, f32, torch's threads as they are set: the fastest of a few rounds of `count` pairs."""
    draw = np.random.default_rng(7)
    batch = padded([(draw.integers(1000, 20000, tokens), 12) for _ in range(count)])
    took = []
    for _ in range(rounds):
        began = time.monotonic()
        model(input_ids=batch[0], token_type_ids=batch[1], attention_mask=batch[2])
        took.append(time.monotonic() - began)
    return count / min(took)


def read_beir(folder):
    """Documents' ids and texts, and `(question, {document: grade})` of the test split, of a data set in BEIR's layout."""
    folder = Path(folder)
    documents = [json.loads(line) for line in open(folder / "corpus.jsonl", encoding="utf8")]
    asked = {q["_id"]: q["text"] for q in (json.loads(line) for line in open(folder / "queries.jsonl", encoding="utf8"))}
    labels = {}
    with open(folder / "qrels" / "test.tsv", encoding="utf8") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            if int(row["score"]) > 0:
                labels.setdefault(row["query-id"], set()).add(row["corpus-id"])
    texts = [(d.get("title", "") + " " + d["text"]).strip() for d in documents]
    return [d["_id"] for d in documents], texts, [(asked[q], documents) for q, documents in labels.items()]
