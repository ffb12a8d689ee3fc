"""Texts with subjects: our own terms and questions, WordNet by topic; for evaluation, MMLU's worked examples."""

import json
import re

import wordnet
from common import OWN, package, stable
from subjects import DOMAINS, MMLU

# WordNet topics (first word of the topic's synset) that belong to one subject as a whole.
TOPICS = {
    "biology": "biology botany zoology genetics ecology plant animal mammal bacteria organism cytology embryology "
               "entomology ornithology microbiology",
    "business": "commerce accounting finance corporation|stock exchange|commercial enterprise|bookkeeping|marketing",
    "chemistry": "chemistry biochemistry|chemical science|metallurgy",
    "computer science": "computer science|computer|programming|computing",
    "economics": "economics|tax",
    "engineering": "electronics|electricity|telecommunication|mining|architecture|car|airplane|aircraft|masonry|"
                   "engineering|mechanics",
    "health": "medicine|anatomy|pathology|surgery|dentistry|obstetrics|drug|immunology|pharmacology",
    "history": "Middle Ages|antiquity|archeology|history|Roman Republic|American Revolution",
    "law": "law|criminal law|contract|crime|jurisprudence|international law|civil law",
    "math": "mathematics|geometry|arithmetic|statistics|algebra|trigonometry",
    "other": "music|baseball|sport|cooking|golf|art|football|American football|card game|performing arts|chess|"
             "handicraft|basketball|poetry|literature|government|politics|tennis|cricket|soccer|television|"
             "photography|ballet|dancing|riding|boxing|grammar|linguistics|election",
    "philosophy": "philosophy|logic|theology|Hinduism|Buddhism|Islam|Judaism|Christianity|Roman Catholic|"
                  "religion|Old Testament|New Testament|rhetoric|ethics",
    "physics": "physics|astronomy|optics|cosmology|nuclear physics|thermodynamics|electronics",
    "psychology": "psychology|psychoanalysis|psychiatry|psychotherapy",
}  # fmt: skip

# Synsets whose instances and kinds belong to one subject.
ROOTS = {
    "biology": ["plant order", "animal order", "biological process", "organelle", "enzyme"],
    "business": ["businessperson", "financial statement", "marketing"],
    "chemistry": ["chemical element", "chemical compound", "chemical reaction", "chemist"],
    "computer science": ["software", "programming language", "algorithm", "data structure", "computer file"],
    "economics": ["economist", "economic policy", "tax"],
    "engineering": ["electrical device", "machine", "engineer", "engine"],
    "health": ["disease", "symptom", "medical procedure", "medicine", "surgeon", "therapy", "bone", "artery"],
    "history": ["battle", "war", "emperor", "dynasty", "revolution", "historian", "treaty", "archeologist"],
    "law": ["crime", "jurist", "legal document", "due process", "legal right"],
    "math": ["mathematician", "geometry", "function", "number", "theorem", "plane figure", "statistic"],
    "other": ["city", "country", "dish", "actor", "musician", "sport", "song", "musical instrument", "politician"],
    "philosophy": ["philosopher", "philosophical doctrine", "religion", "fallacy", "religious ritual", "prophet"],
    "physics": ["physicist", "elementary particle", "star", "physical phenomenon", "planet", "astronomer"],
    "psychology": ["psychologist", "mental disorder", "emotion", "memory", "personality", "psychiatrist"],
}


def sections(path):
    """Lines of a file under their `[heading]`."""
    found = {}
    heading = None
    for line in path.read_text().splitlines():
        if line.startswith("[") and line.endswith("]"):
            heading = line[1:-1]
        elif line.strip():
            found.setdefault(heading, []).append(line.strip())
    return found


def own_questions():
    """Exam questions with their choices and without, short questions, requests."""
    rows = [(text, label) for label, lines in sections(OWN / "domain-questions.txt").items() for text in lines]
    for path in sorted((OWN / "exam").glob("*.txt")):
        label = path.stem.replace("-", " ")
        for line in (line for lines in sections(path).values() for line in lines):
            stem, *choices = line.split(" ~ ")
            rows.append((stem, label))
            if choices:
                rows.append((stem + "\n" + listed(choices, stable(stem)), label))
    return rows


def listed(choices, seed):
    """Choices in one of the ways in which they are printed, in an order that depends on `seed`."""
    mark, between = (("({}) ", " "), ("{}. ", "\n"), ("{}) ", "\n"), ("({}) ", "\n"))[seed % 4]
    ordered = sorted(choices, key=lambda choice: stable(f"{seed}{choice}"))
    return between.join(mark.format("ABCDE"[at]) + choice for at, choice in enumerate(ordered))


def own_terms():
    pairs = sections(OWN / "domain-terms.txt").items()
    return [(term.strip(), label) for label, lines in pairs for line in lines for term in line.split(",")]


def wordnet_topics(synsets, most=600):
    """Glosses by topic, at most `most` of a subject."""
    by_word = {}
    for label, words in TOPICS.items():
        for word in words.split("|") if "|" in words else words.split():
            by_word.setdefault(word.strip(), label)
    children = {}
    for synset in synsets.values():
        for parent in synset.hypernyms:
            children.setdefault(parent, []).append(synset.key)
    found = {}
    for synset in synsets.values():
        for topic in synset.topics:
            label = by_word.get(synsets[topic].words[0])
            if label:
                found.setdefault(label, set()).add(synset.key)
    for label, roots in ROOTS.items():
        for root in roots:
            heads = [s.key for s in synsets.values() if s.words[0] == root and s.key[0] == "n"]
            stack, seen = heads[:1], set()
            while stack and len(seen) < 1500:
                key = stack.pop()
                if key not in seen:
                    seen.add(key)
                    stack += children.get(key, [])
            found.setdefault(label, set()).update(sorted(seen, key=stable)[:250])
    out = []
    for label, keys in found.items():
        for key in sorted(keys, key=stable)[:most]:
            synset = synsets[key]
            out.append((f"{synset.words[0]}: {synset.gloss}", label))
    return out


def mmlu():
    """(question with its choices, subject, MMLU's name of the subject). For evaluation alone."""
    path = package("lm-eval") / "lm_eval/tasks/mmlu/flan_cot_fewshot/_cot_prompts.json"
    prompts = json.loads(path.read_text())
    of = {subject: label for label, subjects in MMLU.items() for subject in subjects}
    out = []
    for subject, prompt in prompts.items():
        for part in re.split(r"\n\s*Q: ", prompt)[1:]:
            question = part.split("\nA: ")[0]
            out.append((question.strip(), of[subject], subject))
    return out
