"""What heads see of a text: the same as `classifier/src/embedded/{score,features}.rs`."""

import math

import numpy as np
import scipy.sparse as sparse

from text import pair_hash, word_hash, words

PAIR_BUCKETS = 1 << 15
START = word_hash("\x02")
HAND = 12
CODE = frozenset("{}()[];=<>_\\/|`")
WINDOW_BYTES = 1536
MAX_TEXT_BYTES = 128 << 10
TAIL_BYTES = 32 << 10


def windows(text):
    """Parts of at most WINDOW_BYTES, cut behind a space where there is one."""
    data, out = text.encode(), []

    def floor(part, at):
        while at < len(part) and part[at] & 0xC0 == 0x80:
            at -= 1
        return at

    parts = [data]
    if len(data) > MAX_TEXT_BYTES:
        tail = len(data) - TAIL_BYTES
        while data[tail] & 0xC0 == 0x80:
            tail += 1
        parts = [data[: floor(data, MAX_TEXT_BYTES - TAIL_BYTES)], data[tail:]]
    for rest in parts:
        while rest:
            end = len(rest)
            if end > WINDOW_BYTES:
                end = floor(rest, WINDOW_BYTES)
                space = max(rest[:end].rfind(mark) for mark in (b" ", b"\n", b"\r", b"\t"))
                end = space + 1 if space >= 0 else end
            out.append(rest[:end].decode())
            rest = rest[end:]
    return out


class Counts:
    """Sums over the parts of a text."""

    def __init__(self):
        self.sums = [0] * 11
        self.fence = False
        self.last = ""

    def add(self, part, tokens):
        now = [
            len(part.encode()),
            len(part),
            len(tokens),
            sum(1 for word in tokens if ord(word[0]) < 128 and not word[0].isalnum()),
            part.count("?") + part.count("？"),
            part.count("!"),
            sum("0" <= c <= "9" for c in part),
            sum("A" <= c <= "Z" for c in part),
            part.count("\n"),
            sum(ord(c) > 127 for c in part),
            sum(c in CODE for c in part),
        ]
        self.sums = [a + b for a, b in zip(self.sums, now)]
        self.fence |= any(mark in part for mark in ("```", "</", "###", "---"))
        self.last = part.rstrip(" \n\r\t")[-1:] or self.last

    def features(self):
        size, chars, count, marks, questions, bangs, digits, upper, newlines, foreign, code = self.sums
        chars = max(1, chars)
        return [
            math.log2(1 + size) / 16,
            math.log2(1 + count) / 16,
            float(questions > 0),
            float(self.last in ("?", "？")),
            min(1.0, bangs / 8),
            digits / chars,
            upper / chars,
            math.log2(1 + newlines) / 8,
            marks / max(1, count),
            foreign / chars,
            code / chars,
            float(self.fence),
        ]


def buckets(tokens, mask=PAIR_BUCKETS - 1):
    """One per word: its pair with the word before."""
    before, out = START, []
    for word in tokens:
        now = word_hash(word)
        out.append(pair_hash(before, now) & mask)
        before = now
    return out


class Features:
    """Sparse rows of tokens and of pairs, dense rows of the embedding and of the counts."""

    def __init__(self, vocabulary, table):
        self.vocabulary = vocabulary
        self.table = table
        self.width = len(vocabulary.pieces)

    def read(self, text):
        counts, ids, pairs = Counts(), [], []
        for part in windows(text):
            tokens = words(part)
            counts.add(part, tokens)
            ids += [piece for word in tokens for piece in self.vocabulary.word_ids(word)]
            pairs += buckets(tokens)
        return counts, ids, pairs

    def embed(self, texts):
        return self(texts)[1]

    def __call__(self, texts):
        rows, columns, values, hands = [], [], [], []
        vectors = np.zeros((len(texts), self.table.shape[1]), np.float32)
        for at, text in enumerate(texts):
            counts, ids, pairs = self.read(text)
            hands.append(counts.features())
            if ids:
                vectors[at] = self.table[ids].sum(0)
            for group, shift in ((ids, 0), (pairs, self.width)):
                rows += [at] * len(group)
                columns += [shift + column for column in group]
                values += [1 / math.sqrt(len(group))] * len(group) if group else []
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True) + 1e-12
        bags = sparse.csr_matrix(
            (np.array(values, np.float32), (rows, columns)), shape=(len(texts), self.width + PAIR_BUCKETS)
        )
        return bags, vectors, np.array(hands, np.float32).reshape(len(texts), HAND)
