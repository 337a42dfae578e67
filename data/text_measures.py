"""What is measured of one text: the entropy of its characters, its words, and how few of them repeat."""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import islice

import numpy as np

_WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*")


def entropy(text: str) -> float:
    r"""The unigram entropy of the characters of a text, in nats.

    H = −Σ_c p_c log p_c over the characters c that it holds, p_c their share of it; NaN for the empty text.
    Of L characters it is at most log L.
    """
    counts = np.array(list(Counter(text).values()), dtype=np.float64)
    if not len(counts):
        return float("nan")
    shares = counts / counts.sum()
    # No minus zero for a text of one kind of character.
    return abs(float(-(shares * np.log(shares)).sum()))


def words(text: str) -> list[str]:
    """The words of a text, in order: its longest runs of letters, with apostrophes inside, without case."""
    return _WORD.findall(text.casefold())


def whole_words(text: str) -> list[str]:
    """The words of a text that touch neither its beginning nor its end, where a row may cut through them."""
    text = text.casefold()
    return [each.group() for each in _WORD.finditer(text) if each.start() > 0 and each.end() < len(text)]


def distinct(found: Sequence[str], n: int) -> float:
    """The share of distinct n-grams among all n-grams of a sequence of words; NaN where it has none.

    That of a text that repeats itself is low (distinct-n of Li et al., 2016, here of one text at a time).
    """
    grams = list(zip(*(islice(found, start, None) for start in range(n)), strict=False))
    return len(set(grams)) / len(grams) if grams else float("nan")
