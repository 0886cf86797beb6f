"""Distils the small reranker and calibrates both: teacher scores -> student -> calibration -> report.json.

    python models/train/run.py --data DATA --model TEACHER --out OUT

README.md says what DATA and TEACHER are. What is computed is kept under OUT/work, and a second run goes on from there.
"""

import argparse
import json
import random
import time
from pathlib import Path

import numpy as np
import torch

import calibrate
import evaluate
from corpus import LIST_LENGTH, Corpus
from encoder import Tokens, load_cross_encoder, logits, pair, save_cross_encoder
from student import cut, epochs, train
from teacher import embed, embed_texts, score

EMBEDDER = Path(__file__).parent.parent / "all-MiniLM-L6-v2-int8"
# Layers taken from the teacher, hidden size, attention heads, intermediate size, learning rate.
SHAPES = {
    "l2-h128": ([0, 5], 128, 4, 512, 1e-3),
    "l3-h128": ([0, 2, 5], 128, 4, 512, 1e-3),
    "l2-h384": ([0, 5], 384, 12, 1536, 2e-4),
}
# A cosine divided by this is what the bi-encoder states as a logit.
COSINE_TEMPERATURE = 0.05


def bi_encoder_lists(corpus, passage_vectors, question_vectors, lists_a_step, seed):
    """Endless steps of lists drawn anew each time: a positive, candidates and two random passages, with cosines for logits."""
    draw = random.Random(seed)
    while True:
        lists = []
        for q in draw.sample(corpus.training, lists_a_step):
            found = [int(p) for p in corpus.candidates[q] if p >= 0]
            chosen = [draw.choice(corpus.questions[q]["pos"]), *draw.sample(found, min(len(found), LIST_LENGTH - 3))]
            chosen += draw.sample(corpus.pools[corpus.pool_of(q)], LIST_LENGTH - len(chosen))
            lists.append((q, chosen, passage_vectors[chosen] @ question_vectors[q] / COSINE_TEMPERATURE))
        yield lists


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, type=Path, help="folder with raw.json.gz and mined.npz")
    parser.add_argument("--model", required=True, type=Path, help="the six-layer cross-encoder: the teacher")
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--embedder", default=EMBEDDER, type=Path, help="the bi-encoder of the first stage")
    parser.add_argument("--shape", default="l2-h128", choices=SHAPES)
    parser.add_argument("--teacher-minutes", default=20.0, type=float)
    parser.add_argument("--first-steps", default=3000, type=int, help="of training on the bi-encoder's cosines")
    parser.add_argument("--steps", default=3000, type=int, help="of training on the teacher's logits")
    parser.add_argument("--lists", default=16, type=int, help="lists a step")
    parser.add_argument("--scifact", type=Path, help="SciFact in BEIR's layout: measured once, never trained on")
    parser.add_argument("--seed", default=7, type=int)
    arguments = parser.parse_args()
    work = arguments.out / "work"
    work.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(arguments.seed)
    torch.set_num_threads(1)  # until the last step; see teacher.py
    report = {name: getattr(arguments, name) for name in ("shape", "first_steps", "steps", "lists", "seed")} | {"minutes": {}}

    began = time.monotonic()
    corpus = Corpus(arguments.data)
    teacher = load_cross_encoder(arguments.model)
    passages = Tokens(arguments.model, corpus.text).ids
    questions = Tokens(arguments.model, [q["q"] for q in corpus.questions]).ids
    passage_vectors, question_vectors = embed(corpus, arguments.embedder, work / "vectors")
    training = list(corpus.training_lists())
    scored = score(teacher, training, questions, passages, work / "teacher", arguments.teacher_minutes)
    report["training_lists"] = {"all": len(training), "scored": len(scored)}
    report["minutes"]["teacher"] = round((time.monotonic() - began) / 60, 1)

    layers, hidden, heads, intermediate, rate = SHAPES[arguments.shape]
    sample = [pair(questions[q], passages[p]) for q, ps, _ in scored[:100] for p in ps[:3]]
    student = cut(teacher, layers, hidden, heads, intermediate, sample)
    began = time.monotonic()
    cosines = bi_encoder_lists(corpus, passage_vectors, question_vectors, arguments.lists, arguments.seed)
    train(student, cosines, arguments.first_steps, 96, questions, passages, rate, arguments.seed)
    taught = epochs(scored, arguments.lists, random.Random(arguments.seed))
    train(student, taught, arguments.steps, 192, questions, passages, rate, arguments.seed)
    report["minutes"]["student"] = round((time.monotonic() - began) / 60, 1)
    save_cross_encoder(student, arguments.out / "model", arguments.model)
    student = load_cross_encoder(arguments.out / "model")  # what is measured is what was written

    held_out = evaluate.held_out_lists(corpus, passage_vectors, question_vectors)
    asked = [(q, [p for p, _ in lists["rrf"]]) for q, lists, _ in held_out]
    large = [scores for *_, scores in score(teacher, asked, questions, passages, work / "held-out")]
    small = [logits(student, [pair(questions[q], passages[p]) for p in ps]) for q, ps in asked]
    values = evaluate.compare(held_out, small, large)
    sources = np.array([corpus.questions[q]["src"] for q, _, _ in held_out])
    report["held_out"] = {
        "ndcg@10": {system: round(float(v.mean()), 4) for system, v in values.items()},
        "by_source": {str(source): {system: round(float(v[sources == source].mean()), 3) for system, v in values.items()}
                      for source in np.unique(sources)},
        "small minus rrf": evaluate.paired(values["small"], values["rrf"]),
        "small > large 10 minus large": evaluate.paired(values["small > large 10"], values["large"]),
        "small > large 20 minus large": evaluate.paired(values["small > large 20"], values["large"]),
        "small > large 10 minus rrf > large 10": evaluate.paired(values["small > large 10"], values["rrf > large 10"]),
    }
    labels = [np.array([p in relevant for p, _ in lists["rrf"]]) for _, lists, relevant in held_out]
    report["calibration"] = {"small": calibrate.calibrate(small, labels), "large": calibrate.calibrate(large, labels)}

    torch.set_num_threads(2)
    lengths = [len(pair(questions[q], passages[p])[0]) for q, ps in asked for p in ps]
    report["cost"] = {"mean_tokens": round(float(np.mean(lengths)), 1)}
    for name, model in (("small", student), ("large", teacher)):
        report["cost"][name] = {
            "parameters": sum(p.numel() for p in model.parameters()),
            "gflop_a_pair_of_128_tokens": round(evaluate.gflop(model.config, 128), 3),
            "f32_pairs_a_second_of_128_tokens_torch_2_threads": round(evaluate.pairs_a_second(model), 1),
        }
    if arguments.scifact:
        report["scifact"] = scifact(arguments, teacher, student, work)
    (arguments.out / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))


def scifact(arguments, teacher, student, work):
    """nDCG@10 by system on SciFact's test claims, on which neither model was trained."""
    torch.set_num_threads(1)
    ids, texts, asked = evaluate.read_beir(arguments.scifact)
    claims = [claim for claim, _ in asked]
    vectors = embed_texts(arguments.embedder, texts + claims, work / "scifact-vectors")
    found = evaluate.Pool(texts, vectors[:len(texts)]).search(claims, vectors[len(texts):])
    index = {document: i for i, document in enumerate(ids)}
    questions = [(row, lists, {index[d] for d in asked[row][1]}) for row, lists in enumerate(found)]
    passages, claims = Tokens(arguments.model, texts).ids, Tokens(arguments.model, claims).ids
    lists = [(row, [p for p, _ in lists["rrf"]]) for row, lists, _ in questions]
    large = [scores for *_, scores in score(teacher, lists, claims, passages, work / "scifact")]
    small = [logits(student, [pair(claims[q], passages[p]) for p in ps]) for q, ps in lists]
    values = evaluate.compare(questions, small, large)
    return {"ndcg@10": {system: round(float(v.mean()), 4) for system, v in values.items()},
            "small minus rrf": evaluate.paired(values["small"], values["rrf"])}


if __name__ == "__main__":
    main()
