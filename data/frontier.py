"""How far two sets of texts are apart: the area under the divergence frontier of their clusters."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from moldiff.errors import MoldiffError

Floats = NDArray[np.float64]

SCALING = 5.0
"""The factor c on divergences, as in the paper."""

GRAMS = (1, 4)
"""Least and most characters of the n-grams that are counted."""

BINS = 1 << 14
"""Numbers to which n-grams are hashed."""

DIRECTIONS = 16
"""Singular directions that are kept of the features, at most."""

PER_CLUSTER = 10
"""Texts of the smaller set to a cluster, about; there are at least 2 clusters."""

_REACH, _PANELS, _NODES = 6.0, 48, 20


def frontier(ours: Sequence[str], theirs: Sequence[str], seed: int = 0) -> float:
    """A MAUVE-style score of two sets of texts, from near 0 (nothing in common) to 1 (alike).

    It is the definition of Pillutla et al. (2021) over features of our own, which see spelling and not
    sense; its numbers do not compare with MAUVE over the features of a language model. Both sets are pooled
    and sorted; each text is the square roots of its counts of character n-grams (n of ``GRAMS``), hashed to
    ``BINS`` numbers and scaled to length 1, projected on the pool's first ``DIRECTIONS`` singular
    directions; k-means parts the pool into k = max(2, ⌊n / 10⌋) clusters, n texts in the smaller set. P and Q
    are the shares of each set in the clusters, and the score is ``area(P, Q)``. It does not depend on the
    order of texts, nor on which set is which.

    Args:
        ours: N texts.
        theirs: M texts. Scores compare where N and M are the same: few texts part more easily.
        seed: of the projection and of k-means.

    Raises:
        MoldiffError: a set with fewer than 2 texts.
    """
    if min(len(ours), len(theirs)) < 2:
        raise MoldiffError(f"frontier: got sets of {len(ours)} and {len(theirs)} texts, needs 2 in each")
    pool = sorted({*ours, *theirs})
    place = {text: number for number, text in enumerate(pool)}
    counts = [np.bincount([place[each] for each in texts], minlength=len(pool)) for texts in (ours, theirs)]
    k = max(2, min(len(ours), len(theirs)) // PER_CLUSTER)
    labels = _clusters(_features(pool, counts[0] + counts[1], seed), counts[0] + counts[1], k, seed)
    p, q = (np.bincount(labels, each, minlength=k) / each.sum() for each in counts)
    return area(p, q)


def area(p: Floats, q: Floats, scaling: float = SCALING) -> float:
    """The area under the divergence frontier of two distributions over k clusters, in [0, 1].

    With R_λ = λP + (1−λ)Q, the frontier is the curve of (exp(−c KL(Q‖R_λ)), exp(−c KL(P‖R_λ))) for λ in
    (0, 1), with its ends joined to (1, 0) and (0, 1). The integral is exact to about 1e-12, where the
    paper's code sums over a few λ: 1 for P = Q, Γ(c+1)²/Γ(2c+1) = 1/252 for disjoint P and Q at c = 5.
    """
    # λ = 1 / (1 + exp(−π sinh τ)): both ends of the curve, however steep, are spread over many τ.
    edges = np.linspace(-_REACH, _REACH, _PANELS + 1)
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    half = np.diff(edges)[:, None] / 2
    tau = np.append((edges[:-1, None] + half * (1 + nodes)).ravel(), _REACH)
    weight = np.append((half * weights).ravel(), 0.0)
    lam, mu = (1 / (1 + np.exp(-sign * np.pi * np.sinh(tau))) for sign in (1, -1))
    both = (p > 0) | (q > 0)
    p, q = p[both], q[both]
    mixed = lam[:, None] * p + mu[:, None] * q  # (τ, k)
    x, y = np.exp(-scaling * _divergence(q, mixed)), np.exp(-scaling * _divergence(p, mixed))
    slope = scaling * x * (q * (q - p) / mixed).sum(1)  # −dx/dλ
    # What is left of the last λ, towards 1, is a rectangle of height 1.
    return float((weight * y * slope * lam * mu * np.pi * np.cosh(tau)).sum() + x[-1])


def _divergence(p: Floats, mixed: Floats) -> Floats:
    """KL(P‖R) of a distribution (k,) from each of several (τ, k)."""
    some = p > 0
    found: Floats = (p[some] * (np.log(p[some]) - np.log(mixed[:, some]))).sum(1)
    return found


def _features(texts: Sequence[str], counts: NDArray[np.int64], seed: int) -> Floats:
    """The features of distinct texts, (N, at most ``DIRECTIONS``)."""
    # Deferred: it takes its time, and only this figure needs it.
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import HashingVectorizer
    from sklearn.preprocessing import normalize

    hashing = HashingVectorizer(
        analyzer="char", ngram_range=GRAMS, n_features=BINS, lowercase=False, alternate_sign=False, norm=None
    )
    # Roots, or a few frequent letters would be all that is seen.
    found = normalize(hashing.transform(texts).sqrt())
    if len(texts) <= DIRECTIONS:
        # As many directions as texts turn the counts, but lose nothing of them.
        return np.asarray(found.toarray(), dtype=np.float64)
    # Each text counts as often as the pool holds it.
    directions = TruncatedSVD(DIRECTIONS, random_state=seed).fit(
        found.multiply(np.sqrt(counts)[:, None]).tocsr()
    )
    return np.asarray(directions.transform(found), dtype=np.float64)


def _clusters(features: Floats, counts: NDArray[np.int64], k: int, seed: int) -> NDArray[np.int64]:
    """The cluster of each text, (N,), 0 to k − 1."""
    from sklearn.cluster import KMeans

    # Texts with the same n-grams are one point.
    k = min(k, len(np.unique(features.round(9), axis=0)))
    if k < 2:
        return np.zeros(len(features), dtype=np.int64)
    means = KMeans(k, n_init=5, max_iter=500, random_state=seed).fit(features, sample_weight=counts)
    return np.asarray(means.labels_, dtype=np.int64)
