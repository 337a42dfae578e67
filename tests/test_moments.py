"""Means with their errors, and the Fréchet distance, against laws whose distance is known."""

import math

import numpy as np
import pytest

from moldiff.errors import MoldiffError
from moldiff.moments import frechet, mean_se


def test_standard_errors():
    assert mean_se([1, 2, 3, 4]) == (2.5, pytest.approx(math.sqrt(5 / 3) / 2))
    assert mean_se([7, math.nan])[0] == 7
    assert math.isnan(mean_se([7])[1])
    assert all(map(math.isnan, mean_se([])))


def with_moments(mean, deviations, rows=50, seed=0):
    """Rows whose mean and covariance are exactly these, the covariance diagonal."""
    size = len(mean)
    x = np.random.default_rng(seed).normal(size=(rows, size))
    x -= x.mean(0)
    root = np.linalg.cholesky(np.linalg.inv(np.atleast_2d(np.cov(x, rowvar=False))))
    return np.asarray(mean) + (x @ root) * np.asarray(deviations)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (((0.0,), (1.0,)), ((3.0,), (2.0,))),
        (((0.0, 1.0), (1.0, 2.0)), ((2.0, -1.0), (3.0, 0.5))),
        (((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)), ((1.0, 2.0, 2.0), (1.0, 1.0, 1.0))),
        (((5.0, 1.0), (0.0, 1.0)), ((5.0, 1.0), (2.0, 1.0))),
    ],
)
def test_the_distance_of_normal_laws_with_diagonal_covariances(first, second):
    """sum (m1 - m2)^2 + (s1 - s2)^2: the square of the Wasserstein-2 distance, by coordinate."""
    expected = sum((np.subtract(*parts) ** 2).sum() for parts in zip(first, second, strict=True))
    ours, theirs = with_moments(*first), with_moments(*second, rows=80, seed=1)
    assert frechet(ours, theirs) == pytest.approx(expected, rel=1e-6, abs=1e-9)
    assert frechet(theirs, ours) == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_the_distance_does_not_depend_on_the_axes():
    first, second = with_moments((0, 1), (1, 2)), with_moments((2, 0), (3, 0.5), seed=1)
    turn = np.linalg.qr(np.random.default_rng(2).normal(size=(2, 2)))[0]
    assert frechet(first @ turn, second @ turn) == pytest.approx(frechet(first, second))


def test_too_few_rows_have_no_distance():
    with pytest.raises(MoldiffError, match="needs 2 rows of features"):
        frechet(np.zeros((1, 3)), np.zeros((5, 3)))


def test_fewer_rows_than_features_are_no_trouble():
    """Their covariance has no inverse; a set moved by a vector is still its squared length away."""
    rows = np.random.default_rng(0).normal(size=(5, 60))
    step = np.full(60, 0.1)
    assert frechet(rows, rows + step) == pytest.approx(0.6, rel=1e-12)


def test_rows_come_in_blocks(monkeypatch):
    first, second = with_moments((0, 1), (1, 2)), with_moments((2, 0), (3, 0.5), seed=1)
    whole = frechet(first, second)
    monkeypatch.setattr("moldiff.moments.BLOCK", 7)
    assert frechet(first, second) == pytest.approx(whole, rel=1e-12)
