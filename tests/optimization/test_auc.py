"""The area under the curve of the best molecules against the reference's own numbers."""

import numpy as np
import pytest

from moldiff.optimization.auc import auc, curve, figures, top

# What mol_opt says of entries i = 1, 2, ... worth ((37 i) mod 101) / 101, with a budget of 1000: by number
# of entries and k, while the search is at work and when it has ended.
REFERENCE = {
    (250, 1): (0.19801980198019803, 0.9405940594059405),
    (250, 10): (0.1917079207920792, 0.9231435643564357),
    (250, 100): (0.1258118811881188, 0.7213564356435646),
    (1000, 1): (0.9405940594059407, 0.9405940594059407),
    (1000, 10): (0.9306930693069306, 0.9306930693069306),
    (1000, 100): (0.8021633663366337, 0.8021633663366337),
    (200, 1): (0.1485148514851485, 0.9405940594059405),
    (200, 10): (0.14306930693069309, 0.9193069306930695),
    (200, 100): (0.08730693069306929, 0.684217821782178),
    (60, 10): (0.027653465346534657, 0.8941287128712871),
    (60, 100): (0.015198019801980194, 0.49140264026402625),
}


def worths(count: int) -> list[float]:
    return [37 * i % 101 / 101 for i in range(1, count + 1)]


@pytest.mark.parametrize(("count", "k"), REFERENCE)
def test_the_area_is_that_of_the_reference(count: int, k: int) -> None:
    found = [auc(worths(count), 1000, k, ended=ended) for ended in (False, True)]
    assert found == pytest.approx(REFERENCE[count, k], abs=1e-12)


def test_calls_beyond_the_budget_do_not_count() -> None:
    assert auc(worths(1200), 1000) == auc(worths(1000), 1000)


def test_a_search_that_is_perfect_at_once_loses_half_of_the_first_hundred_calls() -> None:
    assert auc([1.0] * 1000, 1000) == pytest.approx(0.95)


def test_the_curve_is_the_mean_of_the_best_so_far() -> None:
    calls, means = curve([0.1, 0.5, 0.3, 0.9, 0.2], 5, 2, every=2)
    assert calls.tolist() == [0, 2, 4, 5]
    assert means.tolist() == pytest.approx([0.0, 0.3, 0.7, 0.7])
    assert np.all(np.diff(curve(worths(500), 500, 10)[1]) >= 0)


def test_a_search_without_calls_is_worth_nothing() -> None:
    assert top([], 10) == auc([], 100) == 0.0
    assert figures([], 100)["auc_top_10"] == 0.0
