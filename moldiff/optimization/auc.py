"""How good a search was: the best molecules so far against the calls it took to find them.

The figures are those of PMO (Gao et al. 2022): every 100 calls the mean worth of the best k so far, its area
by the trapezoid rule, over the budget.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

EVERY = 100
"""Calls between two points of a curve."""

TOPS = (1, 10, 100)
"""The numbers k of best molecules whose mean is reported."""


def top(worths: Sequence[float], k: int) -> float:
    """The mean of the best k of N worths, of all where they are fewer; 0 of none."""
    best = sorted(worths, reverse=True)[:k]
    return float(np.mean(best)) if best else 0.0


def curve(worths: Sequence[float], budget: int, k: int, every: int = EVERY) -> tuple[Floats, Floats]:
    """The mean of the best k after 0, every, 2 every ... calls and after the last: calls and means (P,).

    Args:
        worths: N worths in the order of the calls; those beyond the budget do not count.
        budget: calls that were allowed.
        k: how many of the best.
        every: calls between two points.
    """
    calls, means = [0], [0.0]
    best: list[float] = []
    for number, worth in enumerate(worths[:budget], start=1):
        insort(best, -worth)
        del best[k:]
        if number % every == 0:
            calls.append(number)
            means.append(-float(np.mean(best)))
    last = min(len(worths), budget)
    if last > calls[-1]:
        calls.append(last)
        means.append(-float(np.mean(best)))
    return np.array(calls, dtype=np.float64), np.array(means)


def auc(worths: Sequence[float], budget: int, k: int = 10, *, ended: bool = True) -> float:
    """The area under `curve` over the budget, 0 to the largest worth.

    Args:
        worths: N worths in the order of the calls.
        budget: calls that were allowed.
        k: how many of the best.
        ended: whether a search of fewer calls is over, so that its last value holds to the end of the budget.
    """
    calls, means = curve(worths, budget, k)
    area = float(np.trapezoid(means, calls))
    if ended:
        area += float((budget - calls[-1]) * means[-1])
    return area / budget


def figures(worths: Sequence[float], budget: int) -> dict[str, Any]:
    """What a summary says of a search: calls, top-k and AUC top-k for the k of `TOPS`."""
    found: dict[str, Any] = {"calls": len(worths)}
    for k in TOPS:
        found[f"top_{k}"] = top(worths, k)
    for k in TOPS:
        found[f"auc_top_{k}"] = auc(worths, budget, k)
    return found
