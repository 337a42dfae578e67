"""Fronts: which points are not dominated, and how much a set of them covers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


def non_dominated(x: Floats, y: Floats) -> Flags:
    """Whether each of N points (x, y) is on the front, (N,); more is better in both.

    A point is dominated by one that is at least as good in both and better in one, so equal points stand or
    fall together. A point with a NaN is not on the front and dominates nothing.
    """
    known = np.isfinite(x) & np.isfinite(y)
    as_good = (x[:, None] >= x) & (y[:, None] >= y)
    better = as_good & ((x[:, None] > x) | (y[:, None] > y)) & known[:, None]
    kept: Flags = known & ~np.any(better, axis=0)
    return kept


def hypervolume(x: Floats, y: Floats, reference: tuple[float, float]) -> float:
    """The area that lies below some point (x, y) of N in both and above the reference in both.

    Points that do not exceed the reference in both cover nothing; neither does a NaN.
    """
    counts = np.isfinite(x) & np.isfinite(y) & (x > reference[0]) & (y > reference[1])
    order = np.lexsort((-y[counts], -x[counts]))
    area, reached = 0.0, reference[1]
    # From the right to the left: each point adds the strip by which it is higher than all to its right.
    for right, top in zip(x[counts][order], y[counts][order], strict=True):
        if top > reached:
            area += (right - reference[0]) * (top - reached)
            reached = top
    return float(area)
