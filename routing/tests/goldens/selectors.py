#!/usr/bin/env python3
"""Works out by the formulas of v0.3 what learnt selectors should say, for selectors.json.

Run: python3 routing/tests/goldens/selectors.py > routing/tests/goldens/selectors.json
"""
import json
import math

import numpy as np

rng = np.random.default_rng(20261121)
CATEGORIES = ["math", "physics", "chemistry", "biology", "computer science", "history", "economics", "business",
              "law", "health", "psychology", "philosophy", "other", "unknown"]
LABELS = ["small", "large", "elsewhere", "sql-adapter"]
DIM = 6


def short(array):
    return np.round(np.asarray(array, dtype=np.float64), 4)


def features(embedding, category):
    one_hot = np.zeros(len(CATEGORIES))
    one_hot[CATEGORIES.index(category) if category in CATEGORIES else CATEGORIES.index("other")] = 1.0
    return np.concatenate([embedding, one_hot])


points = short(rng.normal(size=(30, DIM)))
cats = [CATEGORIES[i] for i in rng.integers(0, 14, size=30)]
samples = np.stack([features(p, c) for p, c in zip(points, cats)])
labels = [LABELS[i] for i in rng.integers(0, 4, size=30)]
qualities = short(rng.uniform(-0.1, 1, size=25))
latencies = [int(x) for x in rng.integers(10**6, 10**9, size=27)]
knn = {"algorithm": "knn", "trained": True, "k": 7, "embeddings": samples.tolist(), "labels": labels,
       "qualities": qualities.tolist(), "latencies": latencies, "feature_dim": DIM + 14}

centroids = short(rng.normal(scale=0.7, size=(6, DIM + 14)))
cluster_models = ["small", "elsewhere", "large", "large", "sql-adapter", "small"]
kmeans = {"algorithm": "kmeans", "trained": True, "num_clusters": 6, "centroids": centroids.tolist(),
          "cluster_models": cluster_models}

rbf, linear = [], []
for label in LABELS:
    rbf.append({"model_name": label, "alpha": short(rng.uniform(0.2, 1.5, size=5)).tolist(),
                "support_vectors": short(rng.normal(scale=0.4, size=(5, DIM + 14))).tolist(),
                "rho": float(short(rng.normal(scale=0.2))), "gamma": 0.5})
    linear.append({"model_name": label, "weights": short(rng.normal(size=DIM + 14)).tolist(),
                   "rho": float(short(rng.normal(scale=0.2)))})
svm = {"algorithm": "svm", "trained": True, "model_names": LABELS, "kernel_type": "Rbf", "gamma": 0.5,
       "linear_classifiers": [], "rbf_classifiers": rbf}
svm_linear = {**svm, "kernel_type": "Linear", "linear_classifiers": linear, "rbf_classifiers": []}

sizes = [DIM + 14, 16, 8, len(LABELS)]
layers = []
for at, (inward, outward) in enumerate(zip(sizes, sizes[1:])):
    layers.append({"type": "linear", "in_features": inward, "out_features": outward,
                   "weight": short(rng.normal(scale=0.5, size=(outward, inward))).tolist(),
                   "bias": short(rng.normal(scale=0.2, size=outward)).tolist()})
    if at < 2:
        layers += [{"type": "relu"},
                   {"type": "batch_norm", "num_features": outward,
                    "weight": short(rng.uniform(0.5, 1.5, size=outward)).tolist(),
                    "bias": short(rng.normal(scale=0.1, size=outward)).tolist(),
                    "running_mean": short(rng.uniform(0, 1, size=outward)).tolist(),
                    "running_var": short(rng.uniform(0.3, 2, size=outward)).tolist(), "eps": 1e-5},
                   {"type": "dropout", "p": 0.1}]
mlp = {"algorithm": "mlp", "trained": True, "model_names": LABELS, "feature_dim": DIM + 14,
       "n_classes": len(LABELS), "hidden_sizes": [16, 8], "dropout": 0.1, "layers": layers}


def knn_values(x):
    order = sorted(range(30), key=lambda i: (float(np.sum((samples[i] - x) ** 2)), i))[:7]
    low, high = min(latencies), max(latencies)
    votes = {}
    for i in order:
        quality = max(float(qualities[i]), 0.01) if i < 25 else 0.5
        latency = latencies[i] if i < 27 else (low + high) / 2
        weight = 0.9 * quality + 0.1 * (1 - (latency - low) / max(high - low, 1))
        votes[labels[i]] = votes.get(labels[i], 0.0) + weight
    total = sum(votes.values())
    return {label: votes[label] / total if label in votes else None for label in LABELS}


def kmeans_values(x):
    return {label: max(1 / (1 + math.sqrt(float(np.sum((c - x) ** 2))))
                       for c, l in zip(centroids, cluster_models) if l == label) for label in LABELS}


def svm_values(x):
    unit = x / np.linalg.norm(x)
    return {c["model_name"]: float(sum(a * math.exp(-c["gamma"] * float(np.sum((unit - np.array(s)) ** 2)))
                                       for a, s in zip(c["alpha"], c["support_vectors"])) - c["rho"]) for c in rbf}


def linear_values(x):
    unit = x / np.linalg.norm(x)
    return {c["model_name"]: float(np.dot(c["weights"], unit) - c["rho"]) for c in linear}


def mlp_values(x):
    for layer in layers:
        if layer["type"] == "linear":
            x = np.array(layer["weight"]) @ x + np.array(layer["bias"])
        elif layer["type"] == "relu":
            x = np.maximum(x, 0)
        elif layer["type"] == "batch_norm":
            x = (x - np.array(layer["running_mean"])) / np.sqrt(np.array(layer["running_var"]) + layer["eps"])
            x = x * np.array(layer["weight"]) + np.array(layer["bias"])
    return dict(zip(LABELS, x.tolist()))


def softmax(values, among):
    top = max(values[label] for label in among)
    total = sum(math.exp(values[label] - top) for label in among)
    return {label: math.exp(values[label] - top) / total for label in among}


AMONG = ["small", "large", "sql-adapter"]
queries = []
for _ in range(12):
    embedding = short(rng.normal(size=DIM))
    category = [*CATEGORIES, "", "poetry"][rng.integers(0, 16)]
    x = features(embedding, category)
    expected = {}
    for name, values, soft in [("knn", knn_values(x), False), ("kmeans", kmeans_values(x), False),
                               ("svm", svm_values(x), True), ("svm_linear", linear_values(x), True),
                               ("mlp", mlp_values(x), True)]:
        scores = softmax(values, AMONG) if soft else {label: values[label] or 0.0 for label in AMONG}
        known = {label: value for label, value in values.items() if value is not None}
        expected[name] = {"scores": [scores[label] for label in AMONG], "winner": max(known, key=known.get)}
    queries.append({"embedding": embedding.tolist(), "category": category, "expected": expected})

# router_dc: cosines of query and descriptions, v0.3's likeness and softmax at temperature 0.07.
router_dc = []
for cosines in short(rng.uniform(-0.3, 0.9, size=(8, 3))).tolist():
    likeness = [1 / (1 + math.exp(-c / 0.07)) for c in cosines]
    top = max(likeness)
    total = sum(math.exp((s - top) / 0.07) for s in likeness)
    router_dc.append({"cosines": cosines, "pintle": [(1 + c) / 2 for c in cosines],
                      "compat": [math.exp((s - top) / 0.07) / total for s in likeness], "likeness": likeness})

# Elo: a season of comparisons with K = 24 from 1500, logistic with base 10 and scale 400.
names, ratings, season = ["small", "large", "frontier"], {}, []
ratings = {name: 1500.0 for name in names}
for _ in range(40):
    a, b = rng.choice(3, size=2, replace=False)
    winner, loser = names[a], names[b]
    kind = rng.integers(0, 5)
    if kind == 0:
        ratings[winner] += 2.4
        loser = ""
    elif kind == 1:
        ratings[loser] -= 2.4
        winner = ""
    else:
        expected = 1 / (1 + 10 ** ((ratings[loser] - ratings[winner]) / 400))
        scored = 0.5 if kind == 2 else 1.0
        ratings[winner] += 24 * (scored - expected)
        ratings[loser] += 24 * ((1 - scored) - (1 - expected))
    season.append({"winner": winner, "loser": loser, "tie": bool(kind == 2), "after": [ratings[n] for n in names]})

print(json.dumps({"files": {"knn": knn, "kmeans": kmeans, "svm": svm, "svm_linear": svm_linear, "mlp": mlp},
                  "candidates": AMONG, "queries": queries, "router_dc": router_dc, "elo": season}))
