"""Totals: figures over rows that come in pieces, beside numpy over all of them."""

import math

import numpy as np
import pandas as pd
import pytest

from moldiff.conditions import CategoryCondition, ClassCondition
from moldiff.generation.totals import BINS, KEPT, Achieved, Histogram, Moments, Together, missed, ranked
from moldiff.targets import Goals, Target

RNG = np.random.default_rng(0)
VALUES = np.where(RNG.random(500) < 0.05, np.nan, RNG.normal(100.0, 2.0, 500))
VALID = RNG.random(500) < 0.8
PIECES = [slice(0, 1), slice(1, 1), slice(1, 300), slice(300, 302), slice(302, 500)]


def goals(low: float = math.nan, high: float = math.nan, label: float = math.nan, n: int = 500) -> Goals:
    return Goals(np.full(n, low), np.full(n, high), np.full(n, label))


def cut(whole: Goals, piece: slice) -> Goals:
    return Goals(whole.low[piece], whole.high[piece], whole.label[piece])


def achieved(whole: Goals, threshold: float | None = None) -> dict[str, float]:
    found = Achieved(
        None if threshold is None else ClassCondition(name="p", threshold=threshold, base_rate=0.5)
    )
    for piece in PIECES:
        found.add(VALUES[piece], cut(whole, piece), VALID[piece])
    return found.facts()


KNOWN = VALUES[VALID & np.isfinite(VALUES)]
MOMENTS = {"mean": KNOWN.mean(), "se": KNOWN.std(ddof=1) / math.sqrt(len(KNOWN))}


def test_a_point_has_its_mean_error() -> None:
    assert achieved(goals(101.0, 101.0)) == pytest.approx(
        {**MOMENTS, "mean_absolute_error": np.abs(KNOWN - 101).mean()}, rel=1e-12
    )


def test_a_range_has_the_share_inside() -> None:
    inside = ((KNOWN >= 99) & (KNOWN <= 103)).mean()
    assert achieved(goals(99.0, 103.0)) == pytest.approx({**MOMENTS, "share_inside": inside}, rel=1e-12)


def test_a_class_has_the_share_in_it() -> None:
    for label in (0.0, 1.0):
        share = ((KNOWN > 101) == bool(label)).mean()
        found = achieved(goals(label=label), threshold=101.0)
        assert found == pytest.approx({**MOMENTS, "share_in_class": share}, rel=1e-12)


def test_all_that_is_asked_counts_together_and_a_point_has_no_inside() -> None:
    nan = np.full(4, np.nan)
    low, high = np.zeros(4), np.ones(4)
    goals = {
        "range": Goals(low, high, nan),
        "class": Goals(nan, nan, np.ones(4), category=True),
        "point": Goals(low, low, nan),
    }
    values = {
        "range": np.array([0.5, 0.5, 2.0, 0.5]),
        "class": np.array([1.0, 0.0, 1.0, 1.0]),
        "point": np.full(4, 7.0),
    }
    together = Together({})
    together.add(values, goals, np.array([True, True, True, False]))
    assert together.facts() == {"rows": 3, "share": 1 / 3}
    alone = Together({})
    alone.add(values, {"point": goals["point"]}, np.ones(4, dtype=bool))
    assert alone.facts() == {"rows": 0, "share": None}


def test_rows_that_are_asked_nothing_do_not_count() -> None:
    whole = goals(101.0, 101.0)
    whole.low[100:] = whole.high[100:] = np.nan
    whole.label[200:300] = 1.0
    first = KNOWN[: (VALID & np.isfinite(VALUES))[:100].sum()]
    middle = VALUES[200:300][VALID[200:300] & np.isfinite(VALUES[200:300])]
    found = achieved(whole, threshold=100.0)
    assert found["mean_absolute_error"] == pytest.approx(np.abs(first - 101).mean())
    assert found["share_in_class"] == pytest.approx((middle > 100).mean())
    assert found["mean"] == pytest.approx(np.concatenate([first, middle]).mean())
    assert "share_inside" not in found


def test_too_few_values_have_no_figures() -> None:
    assert Achieved(None).facts() == {"mean": None, "se": None}
    one = Moments()
    one.add(np.array([3.0]))
    assert one.facts() == {"mean": 3.0, "se": None}


def test_moments_do_not_lose_digits_far_from_zero() -> None:
    values = np.arange(1000.0) / 1000 + 1e9
    found = Moments()
    for piece in np.array_split(values, 13):
        found.add(piece)
    expected = values.std(ddof=1) / math.sqrt(1000)
    assert found.facts()["se"] == pytest.approx(expected, rel=1e-6)


def test_a_histogram_counts_every_finite_value() -> None:
    training = RNG.normal(0.0, 1.0, 10_000)
    found = Histogram(training)
    assert len(found.edges) == BINS + 1
    low, high = np.quantile(training, [0.001, 0.999])
    margin = 0.2 * (high - low)
    assert (found.edges[0], found.edges[-1]) == pytest.approx((low - margin, high + margin))
    for piece in np.array_split(np.array([-99.0, 0.01, 0.01, np.nan, np.inf, 99.0]), 3):
        found.add(piece)
    facts = found.facts()
    assert sum(facts["training"]) == 10_000
    assert sum(facts["generated"]) == 4  # infinity is in no bin
    assert (facts["generated"][0], facts["generated"][-1]) == (1, 1)
    middle = int(np.searchsorted(found.edges, 0.01)) - 1
    assert facts["generated"][middle] == 2


def test_whole_numbers_have_a_bin_each() -> None:
    found = Histogram(np.repeat([0.0, 1.0, 2.0, 5.0, np.nan], 50))
    assert found.edges.tolist() == [each - 0.5 for each in range(-1, 8)]
    found.add(np.array([2.0, 2.0, 5.0, 11.0]))
    assert found.facts()["generated"] == [0, 0, 0, 2, 0, 0, 1, 1]
    assert found.facts()["training"] == [0, 50, 50, 50, 0, 0, 50, 0]


@pytest.mark.parametrize("training", [[3.0, 3.0], [0.5, 0.5], [np.nan], []])
def test_a_histogram_of_one_value_or_none_has_bins(training: list[float]) -> None:
    found = Histogram(np.array(training))
    assert (np.diff(found.edges) > 0).all()
    assert sum(found.facts()["training"]) == np.isfinite(training).sum()


def test_the_novel_go_first_and_then_the_near() -> None:
    frame = pd.DataFrame({"novel": [False, True, True, False, True]})
    assert ranked(frame, np.array([0.0, 2.0, 1.0, 0.0, np.nan])).tolist() == [2, 1, 4, 0, 3]
    assert missed({}, {}, None, 3).tolist() == [0, 0, 0]  # type: ignore[arg-type]
    assert KEPT >= 20  # what a picture shows


def test_a_category_has_the_share_that_is_it() -> None:
    condition = CategoryCondition(name="p").fit(np.array([0.0, 1.0, 2.0]))
    found = Achieved(condition)
    asked = Goals.of([Target("p", "2", label=2, category=True)], np.zeros(4, dtype=np.int64))
    found.add(np.array([2.0, 1.0, 2.0, np.nan]), asked, np.array([True, True, True, True]))
    assert found.facts()["share_in_class"] == pytest.approx(2 / 3)
