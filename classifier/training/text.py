"""Text to tokens and hashes: the same as `classifier/src/embedded/text.rs`, which says what the rules are."""

import functools
import unicodedata

MASK = (1 << 64) - 1
FNV_BASIS = 0xCBF29CE484222325
FNV_PRIME = 0x100000001B3
CONTINUED_BASIS = FNV_BASIS ^ 0x9E3779B97F4A7C15
MAX_PIECE_CHARS = 20
MAX_WORD_CHARS = 64

CIRCLED = [(0x24B6, 0x24E9), (0x1F130, 0x1F149), (0x1F150, 0x1F169), (0x1F170, 0x1F189)]
IDEOGRAPHS = [(0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x2FA1F)]


def fnv(data, basis=FNV_BASIS):
    state = basis
    for byte in data:
        state = ((state ^ byte) * FNV_PRIME) & MASK
    return state


def mix(value):
    """The finaliser of MurmurHash3."""
    value ^= value >> 33
    value = (value * 0xFF51AFD7ED558CCD) & MASK
    value ^= value >> 33
    value = (value * 0xC4CEB9FE1A85EC53) & MASK
    return value ^ (value >> 33)


@functools.lru_cache(maxsize=1 << 20)
def word_hash(word):
    return fnv(word.encode())


def pair_hash(first, second):
    return mix((first * 0x9E3779B97F4A7C15 + second) & MASK)


@functools.lru_cache(maxsize=1 << 16)
def _folded(char):
    if ord(char) < 128:
        return char.lower()
    lowered = "".join(part.lower() for part in unicodedata.normalize("NFD", char))
    return "".join(c for c in unicodedata.normalize("NFD", lowered) if unicodedata.category(c)[0] != "M")


@functools.lru_cache(maxsize=1 << 16)
def _kind(char):
    """w: part of a word, i: a word of its own, s: space or control, p: punctuation."""
    at = ord(char)
    if any(low <= at <= high for low, high in IDEOGRAPHS):
        return "i"
    category = unicodedata.category(char)
    if category[0] in "LN" or any(low <= at <= high for low, high in CIRCLED):
        return "w"
    return "s" if category[0] in "ZC" else "p"


def words(text):
    """Folded words, ideographs and punctuation marks, in order."""
    out, word = [], []
    for raw in text:
        for char in _folded(raw):
            kind = _kind(char)
            if kind == "w":
                word.append(char)
                continue
            if word:
                out.append("".join(word))
                word = []
            if kind != "s":
                out.append(char)
    if word:
        out.append("".join(word))
    return out


class Vocabulary:
    """WordPiece: the longest known piece first. What is unknown is skipped, character by character."""

    def __init__(self, pieces):
        self.pieces = list(pieces)
        self.ids = {piece: at for at, piece in enumerate(self.pieces)}
        self._cache = {}

    def word_ids(self, word):
        known = self._cache.get(word)
        if known is None:
            known = self._cache[word] = self._split(word[:MAX_WORD_CHARS])
        return known

    def _split(self, word):
        out, at = [], 0
        while at < len(word):
            for end in range(min(len(word), at + MAX_PIECE_CHARS), at, -1):
                piece = word[at:end] if at == 0 else "##" + word[at:end]
                if piece in self.ids:
                    out.append(self.ids[piece])
                    at = end
                    break
            else:
                at += 1
        return out

    def encode(self, text):
        return [piece for word in words(text) for piece in self.word_ids(word)]

    def hashes(self):
        """Of every piece, by id."""
        out = []
        for piece in self.pieces:
            if piece.startswith("##"):
                out.append(fnv(piece[2:].encode(), CONTINUED_BASIS))
            else:
                out.append(fnv(piece.encode()))
        return out
