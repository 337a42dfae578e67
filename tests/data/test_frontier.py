"""The area under the divergence frontier, and the score of two sets of texts."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from moldiff.data.frontier import area, frontier
from moldiff.errors import MoldiffError

RNG = np.random.default_rng(0)
PROSE = ["".join(RNG.choice(list("abcde "), 60)) for _ in range(40)]
OTHER = ["".join(RNG.choice(list("VWXYZ-"), 60)) for _ in range(40)]

weights = arrays(np.float64, 4, elements=st.sampled_from([0.0, 1e-9, 0.01, 0.3, 1.0])).filter(
    lambda found: found.sum() > 0
)


@given(weights)
def test_equal_distributions_score_one(p: np.ndarray) -> None:
    assert area(p / p.sum(), p / p.sum()) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("scaling", [1.0, 2.0, 5.0])
def test_disjoint_distributions_score_what_the_curve_says(scaling: float) -> None:
    p, q = np.array([0.5, 0.5, 0, 0, 0]), np.array([0, 0, 0.9, 0.1, 0])
    exact = math.gamma(scaling + 1) ** 2 / math.gamma(2 * scaling + 1)
    assert area(p, q, scaling) == pytest.approx(exact, rel=1e-12)


@given(weights, weights)
def test_the_area_is_a_share_and_symmetric(p: np.ndarray, q: np.ndarray) -> None:
    p, q = p / p.sum(), q / q.sum()
    found = area(p, q)
    assert 1 / 252 - 1e-12 <= found <= 1 + 1e-12
    assert area(q, p) == pytest.approx(found, abs=1e-12)


def test_the_area_is_that_of_a_fine_polygon() -> None:
    p, q = np.array([0.2, 0.8, 0.0]), np.array([0.5, 0.2, 0.3])
    lam = np.linspace(0, 1, 200_002)[1:-1, None]
    mixed = lam * p + (1 - lam) * q
    x = np.exp(-5 * (q * np.log(q / mixed)).sum(1))
    y = np.exp(-5 * (p[:2] * np.log(p[:2] / mixed[:, :2])).sum(1))
    polygon = -np.trapezoid(np.array([0, *y, 1]), np.array([1, *x, 0]))
    assert area(p, q) == pytest.approx(polygon, abs=1e-8)


def test_a_set_is_like_itself_in_any_order() -> None:
    assert frontier(PROSE, PROSE[::-1]) == pytest.approx(1, abs=1e-12)
    assert frontier(["same"] * 5, ["same"] * 7) == pytest.approx(1, abs=1e-12)


def test_sets_without_anything_in_common_score_least() -> None:
    assert frontier(PROSE, OTHER) == pytest.approx(1 / 252, rel=1e-9)


def test_the_score_forgets_the_order_of_texts_and_of_sets() -> None:
    ours, theirs = PROSE[:20] + OTHER[:5], PROSE[20:] + OTHER[5:20]
    found = frontier(ours, theirs, seed=3)
    assert 1 / 252 < found < 1
    assert frontier(theirs[::-1], ours[::-1], seed=3) == pytest.approx(found, abs=1e-12)


def test_more_in_common_scores_more() -> None:
    scores = [frontier(PROSE[:20] + OTHER[:k], PROSE[20:]) for k in (20, 5, 0)]
    assert scores == sorted(scores)
    assert scores[0] < 0.8


def test_two_texts_are_the_fewest() -> None:
    with pytest.raises(MoldiffError, match="got sets of 1 and 40 texts"):
        frontier(PROSE[:1], PROSE)
