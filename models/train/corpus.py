"""The texts: passages, questions, which question is held out, and the lists that are learnt from.

The data folder holds `raw.json.gz` (passages and questions with their positives) and `mined.npz` (hard negatives by index).
"""

import collections
import gzip
import json
import random
from pathlib import Path

import numpy as np

# Held-out questions by source, drawn as they were when the six-layer model was trained, so that neither model has seen them.
HELD_OUT = {"nq": 90, "squad": 50, "boolq": 50, "medquad": 45, "covidqa": 30, "scifact-train": 60, "tech-heading": 35,
            "edu-term": 35, "2wiki-title": 25, "selqa": 25, "pubmedqa": 20}
# Trained on by no model that ships: the licence of SciFact's claims is in doubt.
LEFT_OUT = "scifact-train"
# At most so many training lists of a source, lest it drown the rest.
LISTS_MAX = {"edu-term": 3000, "tech-heading": 3500, "edu-heading": 1700, "squad": 8000, "medquad": 4500, "2wiki-title": 2200}
# Pools whose group names no article: there each passage is its own article.
UNGROUPED = ("sci", "pmqa", "react", "ds")
HARD_NEGATIVES, LIST_LENGTH = 5, 7


class Corpus:
    """Passages, questions and the split. `text[p]` is what a model reads of passage `p`: its title, a blank, its text."""

    def __init__(self, folder):
        with gzip.open(Path(folder) / "raw.json.gz", "rt", encoding="utf8") as file:
            raw = json.load(file)
        self.passages, self.questions = raw["P"], raw["Q"]
        self.candidates = np.load(Path(folder) / "mined.npz")["cand"]
        self.text = [(p["title"] + " " + p["text"]).strip() for p in self.passages]
        self.pools = collections.defaultdict(list)
        for index, passage in enumerate(self.passages):
            self.pools[passage["pool"]].append(index)
        self.held_out, self.training = self._split()

    def pool_of(self, question):
        """The name of the pool in which the question's passages lie."""
        return self.passages[self.questions[question]["pos"][0]]["pool"]

    def relevant(self, question):
        """All passages labelled relevant to the question."""
        return set(self.questions[question]["pos"]) | set(self.questions[question].get("also", []))

    def _articles(self, question):
        groups = {p: self.passages[p]["grp"] for p in self.questions[question]["pos"]}
        return {p if group in UNGROUPED else group for p, group in groups.items()}

    def _split(self):
        """Held-out questions, and training ones, none of which has a positive in an article of the held-out ones."""
        by_source = collections.defaultdict(list)
        for index, question in enumerate(self.questions):
            by_source[question["src"]].append(index)
        draw, held_out, articles = random.Random(5), [], set()
        for source in sorted(HELD_OUT):
            ids = by_source[source][:]
            draw.shuffle(ids)
            if source == "squad":  # many questions an article: three articles
                groups = {self.passages[self.questions[i]["pos"][0]]["grp"] for i in ids}
                kept = set(draw.sample(sorted(groups), 3))
                ids = [i for i in ids if self.passages[self.questions[i]["pos"][0]]["grp"] in kept]
            for i in ids[:HELD_OUT[source]]:
                held_out.append(i)
                articles |= self._articles(i)
        hidden, draw, training = set(held_out), random.Random(7), []
        for source, ids in sorted(by_source.items()):
            if source == LEFT_OUT:
                continue
            ids = [i for i in ids if i not in hidden and not self._articles(i) & articles and (self.candidates[i] >= 0).sum() >= 4]
            draw.shuffle(ids)
            training += ids[:LISTS_MAX.get(source, len(ids))]
        draw.shuffle(training)
        return [i for i in held_out if self.questions[i]["src"] != LEFT_OUT], training

    def training_lists(self, seed=7):
        """Yields `(question, passages)`: one positive first, then five hard negatives and random ones of the same pool."""
        draw = random.Random(seed)
        for i in self.training:
            question, relevant = self.questions[i], self.relevant(i)
            hard = [int(p) for p in self.candidates[i] if p >= 0]
            near, far = hard[:10], hard[10:]
            draw.shuffle(near)
            draw.shuffle(far)
            chosen = (near[:3] + far + near[3:])[:HARD_NEGATIVES]
            pool = self.pools[self.pool_of(i)]
            while len(chosen) < LIST_LENGTH - 1:
                p = draw.choice(pool)
                if p not in relevant and p not in chosen and not any(ban in self.text[p].lower() for ban in question["ban"]):
                    chosen.append(p)
            yield i, [draw.choice(question["pos"]), *chosen]
