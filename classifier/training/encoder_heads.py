"""Trains heads on the embeddings of the catalogue's encoders, and writes what Rust must answer to them.

A head sees a text as a gateway shows it: its first 256 tokens, embedded by the weights that are served. Evaluation
texts take no part.
"""

import json
import struct
import sys

import numpy as np
from sklearn.linear_model import LogisticRegression

import teacher
from common import HERE, REPOSITORY, sha256
from domain_data import own_terms, sections
from heads import questions
from subjects import DOMAINS

MODELS = HERE.parent / "models"
GOLDEN = HERE.parent / "tests" / "golden" / "heads.json"


def domain(model):
    rows = questions() + own_terms()
    head = LogisticRegression(C=5, max_iter=500, class_weight="balanced")
    head.fit(model.embed([text for text, _ in rows]), [label for _, label in rows])
    order = [list(head.classes_).index(label) for label in DOMAINS]
    return DOMAINS, [(head.coef_[order], head.intercept_[order])]


def write(path, heads, notice):
    """A safetensors file: a length, a header in JSON, the tensors one after another."""
    header, body = {"__metadata__": {"notice": notice}}, b""
    for name, (labels, layers) in heads.items():
        header["__metadata__"][name] = json.dumps(labels)
        for at, layer in enumerate(layers):
            for part, values in zip(("weight", "bias"), layer):
                data = np.ascontiguousarray(values, "<f4").tobytes()
                offsets = [len(body), len(body) + len(data)]
                header[f"{name}.{at}.{part}"] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": offsets}
                body += data
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)
    print(path.relative_to(REPOSITORY), path.stat().st_size, sha256(path), file=sys.stderr)


def apply(layers, x):
    for at, (weight, bias) in enumerate(layers):
        x = x @ weight.astype(np.float32).T + bias.astype(np.float32)
        x = x if at + 1 == len(layers) else np.maximum(x, 0)
    x = np.exp(x - x.max())
    return x / x.sum()


def golden(model, heads):
    """Of texts that fit a window: the embedding, and what heads make of it."""
    out = []
    for text in [text for text in sections(HERE / "data" / "golden.txt")["texts"] if "\\" not in text][::3]:
        vector = model.embed([text])[0]
        told = {name: [round(float(p), 5) for p in apply(layers, vector)] for name, (_, layers) in heads.items()}
        out.append({"text": text, "embedding": [round(float(value), 5) for value in vector], "probabilities": told})
    return out


ENCODERS = {
    "minilm": (teacher.minilm_exact, (domain,)),
    "bge-small": (teacher.bge, (domain,)),
}


def main():
    teacher.MAX_TOKENS = teacher.WINDOW
    told = {}
    for name, (load, families) in ENCODERS.items():
        model = load()
        heads = {family.__name__: family(model) for family in families}
        notice = f"heads on the embedding of {name}, trained by Pintle; docs/models.md lists the data"
        write(MODELS / f"{name}-heads.safetensors", heads, notice)
        told[name] = golden(model, heads)
    GOLDEN.write_text(json.dumps(told, ensure_ascii=True, separators=(",", ":")).replace('{"text"', '\n{"text"') + "\n")


if __name__ == "__main__":
    main()
