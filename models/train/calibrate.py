"""From a logit to a probability: Platt scaling (Platt 1999), and how well the probabilities hold."""

import numpy as np

BINS = 10


def sigmoid(x):
    return 0.5 * (1 + np.tanh(x / 2))


def fit(logits, labels, steps=100):
    """Slope and intercept, so that `sigmoid(slope * logit + intercept)` is the probability of label 1.

    Maximum likelihood by Newton's method, towards Platt's targets `(n1 + 1) / (n1 + 2)` and `1 / (n0 + 2)` in place of 1 and 0.
    """
    logits, labels = np.asarray(logits, dtype=float), np.asarray(labels, dtype=bool)
    positives, negatives = labels.sum(), (~labels).sum()
    target = np.where(labels, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    design = np.stack([logits - logits.mean(), np.ones_like(logits)], 1)  # centred: Newton converges from zero
    weights = np.array([0.0, np.log(positives / negatives)])
    for _ in range(steps):
        probability = sigmoid(design @ weights)
        gradient = design.T @ (probability - target)
        hessian = (design * (probability * (1 - probability))[:, None]).T @ design
        step = np.linalg.solve(hessian + 1e-9 * np.eye(2), gradient)
        weights = weights - step
        if np.abs(step).max() < 1e-10:
            break
    return float(weights[0]), float(weights[1] - weights[0] * logits.mean())


def reliability(probabilities, labels):
    """By bin of stated probability: its bounds, how many pairs, the mean stated and the share that is labelled relevant."""
    rows = []
    bins = np.minimum((probabilities * BINS).astype(int), BINS - 1)
    for b in range(BINS):
        inside = bins == b
        count = int(inside.sum())
        stated = round(float(probabilities[inside].mean()), 4) if count else None
        found = round(float(labels[inside].mean()), 4) if count else None
        rows.append({"from": b / BINS, "to": (b + 1) / BINS, "pairs": count, "stated": stated, "labelled": found})
    return rows


def calibrate(logits, labels):
    """Fits on all questions; states how well on questions that were not fitted on (every fifth in turn).

    `logits`, `labels`: one array a question. Labels are incomplete, so a probability is that of being labelled, a lower
    bound of being relevant.
    """
    held = np.empty(len(logits), dtype=object)
    for fold in range(5):
        inside = [i for i in range(len(logits)) if i % 5 != fold]
        slope, intercept = fit(np.concatenate([logits[i] for i in inside]), np.concatenate([labels[i] for i in inside]))
        for i in range(fold, len(logits), 5):
            held[i] = sigmoid(slope * np.asarray(logits[i]) + intercept)
    stated, found = np.concatenate(held), np.concatenate(labels).astype(float)
    slope, intercept = fit(np.concatenate(logits), np.concatenate(labels))
    table = reliability(stated, found)
    error = sum(row["pairs"] * abs(row["stated"] - row["labelled"]) for row in table if row["pairs"]) / len(stated)
    # What the manifest takes: the probability if half of the candidates were relevant (Saerens et al. 2002), for how many are
    # differs between collections.
    even = intercept - np.log(found.mean() / (1 - found.mean()))
    return {"slope": round(slope, 4), "intercept": round(intercept, 4), "intercept_at_even_odds": round(float(even), 4), "pairs": len(stated), "base_rate": round(found.mean(), 4),
            "brier": round(float(((stated - found) ** 2).mean()), 5),
            "brier_of_base_rate": round(float(found.mean() * (1 - found.mean())), 5),
            "expected_calibration_error": round(error, 4), "reliability": table}
