"""Tanimoto similarities of fingerprints in blocks: means over all pairs, and nearest neighbours."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moldiff.chem.fingerprints import Fingerprints
from moldiff.chem.work import HERE, Work

Floats = NDArray[np.float64]
Places = NDArray[np.int64]

#: Rows and columns of a block of pairs: what is at work at once fits a processor's cache.
PAIRS, COLUMNS, ROWS = 512, 2048, 1024


def mean_similarities(
    found: Fingerprints, weights: Floats, powers: Sequence[float] = (1.0,), work: Work = HERE
) -> Floats:
    """For P exponents p and N molecules the mean of T^p over all N, the molecule itself included, (P, N).

    T is the Tanimoto similarity |A and B| / |A or B| of two sets of bits. Every pair is visited once, in
    blocks, so memory does not grow with N^2.

    Args:
        found: N fingerprints.
        weights: (N,) how often each molecule counts, above 0.
        powers: the exponents p, above 0.
        work: shows progress.
    """
    n = len(found)
    total = np.zeros((len(powers), n))
    with work.stages("all pairs", n) as tell:
        for start in range(0, n, PAIRS):
            columns = slice(start, start + PAIRS)
            block = _dense(found.bits[columns])
            for first in range(0, start + 1, PAIRS):
                rows = slice(first, first + PAIRS)
                similar = _tanimoto(found.bits[rows] @ block, found.counts[rows], found.counts[columns])
                for sums, power in zip(total, powers, strict=True):
                    raised = similar if power == 1 else similar**power
                    sums[rows] += raised @ weights[columns]
                    if first != start:
                        sums[columns] += weights[rows] @ raised
            tell(min(start + PAIRS, n))
    return total / weights.sum() if n else total


def nearest(asked: Fingerprints, known: Fingerprints, work: Work = HERE) -> tuple[Places, Floats]:
    """The known molecule that is most similar to each of N molecules, and its Tanimoto similarity, (N,) each.

    Every pair is looked at. Of equally similar ones the one with fewer bits is taken, then the earlier one.
    Where nothing is known, the place is -1 and the similarity NaN.

    Args:
        asked: N fingerprints.
        known: M fingerprints of the same size.
        work: shows progress.
    """
    order = np.argsort(known.counts, kind="stable")
    known = known[order]
    best = np.full(len(asked), -1.0)
    place = np.full(len(asked), -1, dtype=np.int64)
    with work.stages("nearest neighbours", len(known)) as tell:
        for columns in _equal_counts(known.counts):
            block, size = _dense(known.bits[columns]), known.counts[columns.start]
            for first in range(0, len(asked), ROWS):
                rows = slice(first, first + ROWS)
                common = asked.bits[rows] @ block
                # All columns have the same number of bits, so most in common is most similar.
                top = common.argmax(axis=1)
                shared = common[np.arange(len(top)), top].astype(np.float64)
                similar = shared / (asked.counts[rows] + size - shared)
                better = np.flatnonzero(similar > best[rows])
                best[first + better] = similar[better]
                place[first + better] = order[columns.start + top[better]]
            tell(columns.stop)
    best[place < 0] = np.nan
    return place, best


def internal_diversity(means: Floats, weights: Floats, power: float = 1.0) -> float:
    """MOSES's internal diversity with exponent p: 1 - mean_i (mean_j T_ij^p)^(1/p), j = i included.

    0 for copies of one molecule; NaN for none.

    Args:
        means: (N,) from `mean_similarities` with the same weights and exponent.
        weights: (N,) how often each molecule counts.
        power: the exponent p.
    """
    if not len(means):
        return math.nan
    return float(1 - (means ** (1 / power)) @ weights / weights.sum())


def pairwise_diversity(means: Floats) -> float:
    """TDC's diversity: the mean of 1 - T_ij over pairs i < j of N molecules; NaN for fewer than two.

    Args:
        means: (N,) from `mean_similarities` with weights 1 and power 1.
    """
    n = len(means)
    # Each of the N rows holds one similarity with itself, which is 1.
    return 1 - float(n * means.sum() - n) / (n * (n - 1)) if n > 1 else math.nan


def internal_diversity_se(means: Floats, weights: Floats) -> float:
    """The delete-one jackknife's standard error of `internal_diversity` with p = 1; NaN for fewer than two.

    Args:
        means: (N,) from `mean_similarities` with the same weights and power 1.
        weights: (N,) how many draws each molecule stands for.
    """
    draws = float(weights.sum())
    if draws < 2:
        return math.nan
    rows = means * draws
    without = 1 - (rows @ weights - 2 * rows + 1) / (draws - 1) ** 2
    return _jackknife(without, weights)


def pairwise_diversity_se(means: Floats) -> float:
    """The delete-one jackknife's standard error of `pairwise_diversity`; NaN for fewer than three."""
    n = len(means)
    if n < 3:
        return math.nan
    rows = means * n - 1
    return _jackknife(1 - (rows.sum() - 2 * rows) / ((n - 1) * (n - 2)), np.ones(n))


def _jackknife(without: Floats, weights: Floats) -> float:
    """The standard error from the values without one draw each, (N,), each for ``weights`` draws."""
    draws = float(weights.sum())
    spread = (without - without @ weights / draws) ** 2
    return math.sqrt((draws - 1) / draws * float(spread @ weights))


def _dense(rows: Any) -> Any:
    """The transpose of sparse rows as an array, (size, rows)."""
    return np.ascontiguousarray(rows.toarray().T)


def _tanimoto(common: NDArray[Any], first: Places, second: Places) -> Floats:
    """Similarities (n, m) from the numbers of common bits and the bits of each side."""
    shared = common.astype(np.float64)
    shared /= np.add.outer(first, second) - shared
    return shared


def _equal_counts(counts: Places) -> Iterator[slice]:
    """Cuts ascending counts (M,) into runs of one value and at most COLUMNS rows."""
    edges = np.flatnonzero(np.diff(counts)) + 1
    cuts = np.unique(np.concatenate([[0, len(counts)], edges, np.arange(0, len(counts), COLUMNS)]))
    for start, stop in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True):
        yield slice(start, stop)
