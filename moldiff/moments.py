"""Moments: means with their standard errors, and the Fréchet distance between sets of features."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from moldiff.errors import MoldiffError

Floats = NDArray[np.float64]


def mean_se(values: Iterable[float]) -> tuple[float, float]:
    """The mean of the values that are not NaN and its standard error, sd / sqrt(n); NaN where undefined."""
    known = np.array([value for value in values if math.isfinite(value)], dtype=np.float64)
    n = len(known)
    if n == 0:
        return math.nan, math.nan
    return float(known.mean()), float(known.std(ddof=1) / math.sqrt(n)) if n > 1 else math.nan


def frechet(first: Floats, second: Floats) -> float:
    """The Fréchet distance between normal laws with the moments of two sets of features.

    |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)), with the unbiased covariances (Dowson and Landau 1982; Heusel
    et al., arXiv:1706.08500, squared, as FID is).

    Args:
        first: (N, F), N at least 2.
        second: (M, F), M at least 2.

    Raises:
        MoldiffError: fewer rows, or features of several sizes.
    """
    if min(len(first), len(second)) < 2 or first.shape[1:] != second.shape[1:]:
        raise MoldiffError(
            f"Fréchet distance: got {first.shape} and {second.shape}, needs 2 rows of features"
        )
    apart = first.mean(0) - second.mean(0)
    ours, theirs = (np.atleast_2d(np.cov(each, rowvar=False)) for each in (first, second))
    root = _root(ours)
    # The eigenvalues of S1 S2 are those of S1^(1/2) S2 S1^(1/2), which is symmetric.
    inner = np.linalg.eigvalsh(root @ theirs @ root)
    cross = np.sqrt(np.maximum(inner, 0.0)).sum()
    return max(0.0, float(apart @ apart + np.trace(ours) + np.trace(theirs) - 2 * cross))


def _root(matrix: Floats) -> Floats:
    """The symmetric square root of a symmetric matrix without negative eigenvalues."""
    values, vectors = np.linalg.eigh(matrix)
    out: Floats = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    return out
