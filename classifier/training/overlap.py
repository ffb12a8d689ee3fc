"""Keeps texts of the evaluation out of training: what shares eight words in a row with one of them is dropped."""

import functools

import domain_data
import jailbreak_data
from text import words

WORDS = 8


def grams(text):
    found = [word for word in words(text) if word[0].isalnum()]
    return {tuple(found[at : at + WORDS]) for at in range(len(found) - WORDS + 1)}


@functools.cache
def evaluated(head):
    """All rows of eight words in the texts that a head is evaluated on."""
    if head == "domain":
        texts = [text for text, _, _ in domain_data.mmlu()]
    else:
        texts = [text for rows in jailbreak_data.held_out().values() for text, _ in rows]
    return frozenset(gram for text in texts for gram in grams(text))


def without(head, texts):
    """For every text whether it may train."""
    known = evaluated(head)
    return [known.isdisjoint(grams(text)) for text in texts]
