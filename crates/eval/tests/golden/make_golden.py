"""Writes golden.json: a synthetic run, its judgements, and trec_eval's figures for them.

    pip install pytrec-eval-terrier==0.5.11
    python make_golden.py

The set holds what implementations differ in: graded, zero and negative judgements, ties (some only once scores are kept
in 32 bits), ids that are not ASCII, more than 100 documents, nothing relevant, nothing found, and queries never judged.
"""

import json
import math
import pathlib
import random

import pytrec_eval

rng = random.Random(20)
pool = [f"d{n}" for n in range(160)] + ["D7", "Größe", "zebra", "é"]

qrels, run = {}, {}
for number in range(1, 19):
    query = f"q{number}"
    found = rng.sample(pool, rng.choice([3, 10, 40, 130]))
    # Few different scores: most documents are tied with others.
    levels = rng.choice([2, 5, 1000])
    run[query] = {document: rng.randrange(-levels, levels) / 4 for document in found}
    judged = rng.sample(pool, rng.choice([1, 2, 8, 30]))
    qrels[query] = {document: rng.choice([-1, 0, 0, 1, 1, 2, 3]) for document in judged}
    # Most queries have something relevant, most of them found.
    if number % 4:
        qrels[query][rng.choice(found)] = rng.choice([1, 2, 3])

qrels["equal-in-32-bits"] = {"a": 2, "b": 1}
run["equal-in-32-bits"] = {"a": 1.0 + 1e-9, "b": 1.0}
qrels["ties-by-bytes"] = {"D7": 1, "Größe": 3, "é": 2}
run["ties-by-bytes"] = {"d7": 1.0, "D7": 1.0, "Größe": 1.0, "Große": 1.0, "é": 1.0, "zebra": 1.0}
qrels["negative-first"] = {"bad": -2, "good": 1}
run["negative-first"] = {"bad": 2.0, "good": 1.0}
qrels["beyond-100"] = {"d099": 1, "d101": 1}
run["beyond-100"] = {f"d{n:03}": -float(n) for n in range(1, 103)}
qrels["beyond-10"] = {"d11": 1, "missing": 1}
run["beyond-10"] = {f"d{n:02}": 100.0 - n for n in range(1, 13)}
qrels["nothing-found"] = {"d1": 1}
qrels["nothing-relevant"] = {"d1": 0, "d2": -1}
run["nothing-relevant"] = {"d1": 1.0}
run["never-judged"] = {"d1": 1.0}

MEASURES = {"ndcg_cut.10", "recall.10", "recall.100", "recip_rank"}
figures = pytrec_eval.RelevanceEvaluator(qrels, MEASURES).evaluate(run)


def quality(query):
    found = figures.get(query)
    if found is None:  # nothing found: trec_eval -c counts it as 0
        return {"ndcg@10": 0.0, "recall@10": 0.0, "recall@100": 0.0, "mrr@10": 0.0}
    reciprocal = found["recip_rank"]
    return {
        "ndcg@10": found["ndcg_cut_10"],
        "recall@10": found["recall_10"],
        "recall@100": found["recall_100"],
        # recip_rank knows no cut: a rank beyond 10 counts as none
        "mrr@10": reciprocal if reciprocal > 1 / 10.5 else 0.0,
    }


judged = sorted(query for query, grades in qrels.items() if max(grades.values()) > 0)
per_query = {query: quality(query) for query in judged}
mean = {
    name: math.fsum(one[name] for one in per_query.values()) / len(judged)
    for name in ["ndcg@10", "recall@10", "recall@100", "mrr@10"]
}
golden = {"qrels": qrels, "run": run, "per_query": per_query, "mean": mean}
target = pathlib.Path(__file__).with_name("golden.json")
with target.open("w", encoding="utf-8") as out:
    # A line a query keeps the file short and its changes readable.
    sections = []
    for name in ["qrels", "run", "per_query"]:
        lines = [f"    {json.dumps(k)}: {json.dumps(v, ensure_ascii=False)}" for k, v in golden[name].items()]
        sections.append(f'  "{name}": {{\n' + ",\n".join(lines) + "\n  }")
    sections.append(f'  "mean": {json.dumps(mean)}')
    out.write("{\n" + ",\n".join(sections) + "\n}\n")
