"""The tagger of personal data: the same features as `classifier/src/embedded/tagger.rs`, and its training."""

import random
import re
import unicodedata

import numpy as np
import scipy.sparse as sparse
from faker import Faker

from common import CACHE, OWN, SEED, stable
from domain_data import sections
from text import MASK, fnv, mix, pair_hash, word_hash

import wordnet

BUCKETS = 1 << 15
LABELS = ["O", "PERSON", "STREET_ADDRESS", "GPE", "ZIP_CODE", "ORGANIZATION", "AGE", "DATE_TIME", "NRP",
          "PHONE_NUMBER", "US_DRIVER_LICENSE"]  # fmt: skip
GOLDEN = 0x9E3779B97F4A7C15
FEATURES = 18
KIND = 0xD1B54A32D192ED03
EDGE = (0, 0) + (word_hash("\x02"),) * 5
LOCALES = ["en_US", "en_US", "en_US", "en_GB", "en_AU", "en_CA", "en_IN", "de_DE", "fr_FR", "es_ES", "it_IT", "nl_NL",
           "pl_PL", "sv_SE", "da_DK", "no_NO", "fi_FI", "cs_CZ", "pt_BR", "hu_HU", "hr_HR", "tr_TR", "ro_RO", "es_MX",
           "en_IE", "de_AT", "de_CH", "fr_CA", "sl_SI", "vi_VN", "id_ID", "zu_ZA", "en_NG"]  # fmt: skip


def inside(char):
    return char.isalnum() or unicodedata.category(char)[0] == "M"


def shape(word):
    out, last, run = [], "", 0
    for char in word:
        if "0" <= char <= "9":
            kind, most = "d", 6
        elif char.isupper():
            kind, most = "X", 2
        elif char.islower():
            kind, most = "x", 1
        elif inside(char):
            kind, most = "o", 1
        else:
            kind, most = char, 1
        run = run + 1 if kind == last else 1
        last = kind
        if run <= most:
            out.append(kind)
    return "".join(out)


def split(text):
    """(start, end, hashes) of every word, in characters."""
    spans, start = [], None
    for at, char in enumerate(text):
        if inside(char):
            start = at if start is None else start
            continue
        if start is not None:
            spans.append((start, at))
            start = None
        if char == "\n" or not char.isspace():
            spans.append((at, at + 1))
    if start is not None:
        spans.append((start, len(text)))
    out = []
    for start, end in spans:
        lower = "".join(char.lower() for char in text[start:end])
        out.append((start, end, word_hash(lower), word_hash(shape(text[start:end])), word_hash(lower[:3]),
                    word_hash(lower[-3:]), word_hash(lower[-2:])))  # fmt: skip
    return out


def features(words, at):
    def near(by):
        return words[at + by] if 0 <= at + by < len(words) else EDGE

    b2, b1, w, a1, a2 = (near(by) for by in (-2, -1, 0, 1, 2))
    word, form, prefix, suffix3, suffix2 = 2, 3, 4, 5, 6
    pairs = [
        (w[word], 0), (b1[word], 0), (a1[word], 0), (b2[word], 0), (a2[word], 0), (w[form], 0), (b1[form], w[form]),
        (w[form], a1[form]), (b1[word], w[form]), (w[form], a1[word]), (b1[word], w[word]), (w[word], a1[word]),
        (w[suffix3], w[form]), (w[prefix], 0), (pair_hash(b1[form], a1[form]), w[form]),
        (pair_hash(b2[word], b1[word]), w[form]), (w[suffix2], 0), (pair_hash(a1[word], a2[word]), w[form]),
    ]  # fmt: skip
    return [
        mix((a * GOLDEN + b + kind * KIND) & MASK) & (BUCKETS - 1) for kind, (a, b) in enumerate(pairs, 1)
    ]


def street(rng, fake):
    form = rng.random()
    if form < 0.75:
        return fake.street_address().replace("\n", ", ")
    if form < 0.85:
        return f"P.O. Box {rng.randint(1, 9999)}" if rng.random() < 0.5 else f"PO Box {rng.randint(1, 9999)}"
    return fake.street_name() + (f" {rng.randint(1, 300)}" if rng.random() < 0.6 else "")


def value(slot, rng, fake):
    """Pieces of (text, label)."""
    label = {"person": "PERSON", "first": "PERSON", "last": "PERSON", "city": "GPE", "country": "GPE", "state": "GPE",
             "zip": "ZIP_CODE", "org": "ORGANIZATION", "age": "AGE", "date": "DATE_TIME", "year": "DATE_TIME",
             "nrp": "NRP", "phone": "PHONE_NUMBER", "licence": "US_DRIVER_LICENSE", "street": "STREET_ADDRESS",
             "building": "STREET_ADDRESS", "first_lower": "PERSON", "last_lower": "PERSON"}.get(slot, "O")  # fmt: skip

    def attempt(name, fallback):
        try:
            return str(getattr(fake, name)())
        except AttributeError:
            return fallback()

    us = Faker_US
    if slot == "person":
        text = f"{fake.first_name()} {fake.last_name()}"
        if rng.random() < 0.15:
            text = f"{fake.first_name()} {rng.choice('ABCDEFGHJKLMNPRSTW')}. {fake.last_name()}"
        elif rng.random() < 0.05:
            text = text.upper()
    elif slot in ("first", "last", "first_lower", "last_lower"):
        text = fake.first_name() if slot.startswith("first") else fake.last_name()
        text = text.lower() if slot.endswith("lower") else text
    elif slot == "address":
        pieces = [(street(rng, fake), "STREET_ADDRESS"), (rng.choice([", ", "\n", " "]), "O")]
        place = [(fake.city(), "GPE"), (rng.choice([", ", " "]), "O")]
        code = [(attempt("postcode", us.postcode), "ZIP_CODE")]
        state = [(us.state_abbr() if rng.random() < 0.6 else us.state(), "GPE"), (" ", "O")]
        order = rng.random()
        if order < 0.5:
            pieces += place + state + code
        elif order < 0.75:
            pieces += code + [(" ", "O"), (fake.city(), "GPE")]
        else:
            pieces += place + code + [(", ", "O"), (us.country(), "GPE")]
        return pieces
    elif slot == "street":
        text = street(rng, fake)
    elif slot == "building":
        text = rng.choice(["Apt. {}", "Suite {}", "Floor {}", "Unit {}", "{}", "Flat {}"]).format(rng.randint(1, 400))
    elif slot == "city":
        text = fake.city()
    elif slot == "country":
        text = us.country()
    elif slot == "state":
        text = attempt("state", us.state) if rng.random() < 0.5 else us.state_abbr()
    elif slot == "zip":
        text = attempt("postcode", us.postcode)
    elif slot == "org":
        text = fake.company()
    elif slot == "age":
        text = str(rng.randint(1, 99))
    elif slot == "date":
        day = us.date_object()
        text = rng.choice([day.strftime(form) for form in ("%Y-%m-%d", "%d/%m/%Y", "%B %d, %Y", "%d %B %Y", "%m/%d/%y",
                                                           "%B %d", "%d.%m.%Y")])  # fmt: skip
    elif slot == "year":
        text = str(rng.randint(1940, 2025))
    elif slot == "nrp":
        text = rng.choice(NATIONS)
    elif slot == "phone":
        text = fake.phone_number()
    elif slot == "licence":
        text = rng.choice(["{}{}", "{}-{}"]).format(rng.choice("ABCDEFGHJKLMNPRSTW"), rng.randint(10**6, 10**8))
    elif slot == "email":
        text = fake.email()
    elif slot == "title":
        text = rng.choice(["Mr.", "Mrs.", "Ms.", "Dr.", "Prof.", "Mr", "Ms", "Dr"])
    else:
        raise ValueError(slot)
    return [(text, label)]


NATIONS = (
    "American British French German Italian Spanish Portuguese Dutch Belgian Swiss Austrian Polish Czech Slovak "
    "Hungarian Romanian Bulgarian Greek Turkish Russian Ukrainian Swedish Norwegian Danish Finnish Irish Scottish "
    "Canadian Mexican Brazilian Argentinian Chilean Peruvian Colombian Chinese Japanese Korean Vietnamese Thai Indian "
    "Pakistani Iranian Iraqi Israeli Egyptian Moroccan Nigerian Kenyan Ethiopian Australian Catholic Muslim Jewish "
    "Hindu Buddhist Christian Protestant"
).split()
Faker_US = Faker("en_US")


def fill(template, rng, fakes):
    fake = rng.choice(fakes)
    text, labels = "", []
    for part in re.split(r"(\{\w+\})", template):
        pieces = value(part[1:-1], rng, fake) if part.startswith("{") else [(part, "O")]
        for piece, label in pieces:
            if label != "O":
                labels.append((len(text), len(text) + len(piece), label))
            text += piece
    return text, labels


def pronouns(sentences, rng, most=11000):
    """Templates of WordNet's sentences: a name where a pronoun stood, an organisation where a company stood."""
    person = ["{person}", "{person}", "{first}", "{last}", "{title} {last}"]
    swaps = [
        (r"\b[Hh]e\b|\b[Ss]he\b|\bhim\b", lambda: rng.choice(person)),
        (r"\b[Hh]is\b|\bher\b", lambda: rng.choice(person) + "'s"),
        (r"\b[Tt]he (?:company|firm|bank|committee|team|store|organization|government|school|police)\b", lambda: "{org}"),
        (r"\b[Tt]he (?:city|town|village|country|state|island|valley|region)\b", lambda: rng.choice(["{city}", "{country}"])),
        (r"\b(?:in|at|to|from|near|behind) the (?:house|street|building|office|hospital|park|room|corner)\b",
         lambda: rng.choice(["at {address}", "near {street}", "in {city}", "from {street}, {city}", "to {street}"])),
        (r"\b(?:there|here|abroad|home)$", lambda: rng.choice(["in {city}", "to {city}, {country}", "at {address}"])),
    ]  # fmt: skip
    out = []
    for text in sorted(sentences, key=stable):
        if "{" in text or len(out) >= most:
            continue
        template = text
        for pattern, choose in swaps:
            template = re.sub(pattern, lambda _: choose(), template, count=1)
        if template != text:
            out.append(template[0].upper() + template[1:] + rng.choice(("", ".", ".", "?", "!")))
    return out


def corpus():
    part = sections(OWN / "pii.txt")
    rng = random.Random(SEED)
    Faker.seed(SEED)
    fakes = [Faker(locale) for locale in LOCALES]
    out = []
    for template in part["templates"]:
        out += [fill(template.replace("\\n", "\n"), rng, fakes) for _ in range(90)]
    plain = part["plain"] * 10
    for name in ("domain-questions.txt", "complexity.txt", "modality.txt", "feedback.txt", "jailbreak.txt"):
        plain += [line for lines in sections(OWN / name).values() for line in lines if "{" not in line]
    synsets = wordnet.load()
    # Capitalised words there are mostly names of people and places, which nobody marked: left out.
    quoted = [text for s in synsets.values() for text in s.examples if not re.search(r"\b[A-Z]", text[1:])]
    out += [fill(template, rng, fakes) for template in pronouns(quoted, rng)]
    plain += [text[0].upper() + text[1:] for text in sorted(quoted, key=stable)[:6000]]
    return out + [(text, []) for text in plain]


def train():
    rows, columns, labels = [], [], []
    for text, spans in corpus():
        words = split(text)
        for at, word in enumerate(words):
            found = next((label for start, end, label in spans if start <= word[0] < end), "O")
            columns.append(features(words, at))
            labels.append(LABELS.index(found))
    x = np.array(columns)
    y = np.array(labels)
    weights, bias = fit(x, y)
    np.savez(CACHE / "tagger.npz", weights=weights, bias=bias)
    guess = (batch_of(x, np.ones(x.shape, np.float32)) @ weights.T + bias).argmax(1)
    print("tagger: words", len(y), "of which marked", (y > 0).sum(), "accuracy on training", (guess == y).mean())


# Features that name the word itself, by position in `features`.
LEXICAL = [0, 10, 11, 12, 13, 16]


def batch_of(columns, values):
    ends = np.arange(0, columns.size + 1, columns.shape[1])
    return sparse.csr_matrix((values.ravel(), columns.ravel(), ends), shape=(len(columns), BUCKETS))


def thin(columns, rng):
    """Forgets features at random: of half the words everything that names them, of all a fifth of the rest."""
    keep = rng.random(columns.shape) > 0.2
    forgotten = rng.random(len(columns)) < 0.5
    keep[np.ix_(forgotten, LEXICAL)] = False
    # What is left speaks as loud as the whole will.
    return batch_of(columns, (keep * (columns.shape[1] / np.maximum(1, keep.sum(1, keepdims=True)))).astype(np.float32))


def fit(x, y, epochs=4, rate=0.15, decay=1e-6, batch=256):
    """Multinomial logistic regression by AdaGrad."""
    rng = np.random.default_rng(SEED)
    classes = len(LABELS)
    weights = np.zeros((BUCKETS, classes), np.float32)
    bias = np.zeros(classes, np.float32)
    squares = np.full((BUCKETS, classes), 1e-2, np.float32)
    bias_squares = np.full(classes, 1e-2, np.float32)
    # What is personal is missed at more cost than what is not is marked.
    cost = np.where(np.arange(classes) == 0, 1.0, 1.3).astype(np.float32)
    for _ in range(epochs):
        order = rng.permutation(x.shape[0])
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            part = thin(x[rows], rng)
            scores = part @ weights + bias
            scores -= scores.max(1, keepdims=True)
            gradient = np.exp(scores)
            gradient /= gradient.sum(1, keepdims=True)
            gradient[np.arange(len(rows)), y[rows]] -= 1
            gradient *= cost[y[rows]][:, None] / len(rows) * 16
            used = np.unique(part.indices)
            move = part[:, used].T @ gradient + decay * weights[used]
            squares[used] += move**2
            weights[used] -= rate * move / np.sqrt(squares[used])
            down = gradient.sum(0)
            bias_squares += down**2
            bias -= rate * down / np.sqrt(bias_squares)
    return weights.T.copy(), bias


if __name__ == "__main__":
    train()
