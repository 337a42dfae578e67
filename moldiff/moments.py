"""Moments: means with their standard errors, and the Fréchet distance between sets of features."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from moldiff.errors import MoldiffError

Floats = NDArray[np.float64]

#: Rows of features that are at work at once.
BLOCK = 8192


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
    ours, theirs = _factor(first), _factor(second)
    # The eigenvalues of S1 S2 are the squared singular values of R1 R2^T. No root is taken of what rounding
    # leaves of a zero, so nothing is lost where there are fewer rows than features.
    cross = np.linalg.svd(ours @ theirs.T, compute_uv=False).sum()
    return max(0.0, float(apart @ apart + (ours**2).sum() + (theirs**2).sum() - 2 * cross))


def _factor(rows: Floats) -> Floats:
    """A triangular R of at most F rows for which R^T R is the unbiased covariance of rows (N, F)."""
    mean = rows.mean(0)
    factor: Floats = np.empty((0, rows.shape[1]))
    for start in range(0, len(rows), BLOCK):
        block = np.concatenate([factor, rows[start : start + BLOCK] - mean])
        factor = np.asarray(np.linalg.qr(block, mode="r"))
    out: Floats = factor / math.sqrt(len(rows) - 1)
    return out
