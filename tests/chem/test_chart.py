"""Charts: shares that add up, axes that hold what was asked, counts that are taken as they come."""

import math
import re

import numpy as np
import pytest

from moldiff.chem import chart
from moldiff.chem.chart import BOTTOM, LEFT, RIGHT, TOP

NOTHING = np.empty(0)


def counted(generated: list[float], training: list[float]) -> chart.Counts:
    found = chart.count(np.array(generated), np.array(training))
    assert found is not None
    return found


def test_whole_numbers_have_a_bin_each() -> None:
    edges, ours, theirs = counted([0, 1, 1, 3], [1, 2, math.nan])
    assert edges.tolist() == [-0.5, 0.5, 1.5, 2.5, 3.5]
    assert (ours.tolist(), theirs.tolist()) == ([1, 2, 0, 1], [0, 1, 1, 0])


def test_other_numbers_share_bins_from_the_least_to_the_largest() -> None:
    edges, ours, theirs = counted([0.5, 1.0], [0.0, 2.0])
    assert (edges[0], edges[-1], ours.sum(), theirs.sum()) == (0.0, 2.0, 2, 2)
    assert len(ours) == chart.BINS[0]
    many = counted(np.linspace(0, 1, 1000).tolist(), [])
    assert len(many[1]) == chart.BINS[1]


@pytest.mark.parametrize("values", [[], [math.nan], [math.inf, -math.inf]])
def test_no_value_gives_no_bins(values: list[float]) -> None:
    assert chart.count(np.array(values), np.array(values)) is None


@pytest.mark.parametrize("value", [0.3, 0.0, -2.0, 1e-12])
def test_a_single_value_has_a_chart_too(value: float) -> None:
    drawn = chart.histogram(counted([value], []), (value, value), "asked")
    assert [bar.height > 0 for bar in drawn.bars] == [False, True, False]
    assert drawn.marker is not None
    assert (drawn.marker.x, drawn.marker.width) == ((LEFT + RIGHT) / 2, 0)


def test_bars_are_percentages_of_each_set() -> None:
    drawn = chart.histogram(counted([0, 0, 1, 2], [1, 1, 1, 1]), None)
    zero = next(tick.at for tick in drawn.y_ticks if tick.text == "0 %")
    tick = drawn.y_ticks[-1]
    percent = (zero - tick.at) / float(tick.text.removesuffix(" %"))
    assert [round(bar.height / percent) for bar in drawn.bars] == [50, 25, 25]
    assert [bar.says for bar in drawn.bars] == [
        "0: generated 50 %, training 0 %",
        "1: generated 25 %, training 100 %",
        "2: generated 25 %, training 0 %",
    ]
    assert (drawn.generated, drawn.training) == (4, 4)
    # The outline rises over the middle bar alone, to the full height of its hundred percent.
    assert drawn.outline.startswith(f"M{LEFT} {BOTTOM}V{BOTTOM}H")
    tops = [float(top) for top in re.findall(r"V([\d.]+)", drawn.outline)]
    assert tops == pytest.approx([BOTTOM, BOTTOM - 100 * percent, BOTTOM, BOTTOM], abs=0.02)
    assert all(TOP <= bar.y <= BOTTOM and LEFT <= bar.x <= RIGHT for bar in drawn.bars)
    assert [tick.text for tick in drawn.x_ticks] == ["0", "1", "2"]


def test_without_training_rows_there_is_no_outline() -> None:
    drawn = chart.histogram(counted([1.5, 2.5], []), None)
    assert (drawn.outline, drawn.training, drawn.marker) == ("", 0, None)


def test_the_axis_is_long_enough_for_what_was_asked() -> None:
    point = chart.histogram(counted([0.1, 0.2], [0.3]), (0.9, 0.9), "asked 0.9").marker
    assert point is not None
    assert (point.x, point.width, point.anchor, point.text) == (RIGHT, 0, "end", "asked 0.9")
    band = chart.histogram(counted([0.0, 1.0, 0.5], []), (0.25, 0.75), "asked").marker
    assert band is not None
    assert (band.x, band.width) == (LEFT + (RIGHT - LEFT) / 4, (RIGHT - LEFT) / 2)
    above = chart.histogram(counted([0.0, 1.0], []), (0.5, math.inf), "asked high").marker
    assert above is not None
    assert above.x + above.width == RIGHT


@pytest.mark.parametrize(
    ("asked", "bars"),
    [((3, math.inf), (4, 6)), ((-math.inf, 3), (0, 3)), ((2, 4), (2, 4)), ((1.5, 4.2), (2, 4))],
)
def test_a_band_holds_whole_bars_of_whole_numbers(asked: tuple[float, float], bars: tuple[int, int]) -> None:
    drawn = chart.histogram(counted([0, 1, 2, 3, 4, 5, 6], []), asked, "asked")
    assert drawn.marker is not None
    first, last = (drawn.bars[place] for place in bars)
    assert drawn.marker.x == first.x
    assert drawn.marker.x + drawn.marker.width == pytest.approx(last.x + last.width, abs=0.02)


def test_the_mean_of_bins_is_that_of_their_middles() -> None:
    assert chart.mean((np.array([0.0, 1.0, 3.0]), np.array([3.0, 1.0]), np.zeros(2))) == 0.875
    assert math.isnan(chart.mean((np.array([0.0, 1.0]), np.zeros(1), np.zeros(1))))


def test_counts_of_a_summary_are_taken_as_they_are_and_empty_ends_left_out() -> None:
    stored = {"edges": range(7), "generated": [0, 0, 3, 1, 0, 0], "training": [0, 0, 0, 2, 0, 0]}
    counts = chart.given(stored)
    assert counts is not None
    drawn = chart.histogram(counts, None)
    assert [bar.says for bar in drawn.bars] == [
        "1 to 2: generated 0 %, training 0 %",
        "2 to 3: generated 75 %, training 0 %",
        "3 to 4: generated 25 %, training 100 %",
        "4 to 5: generated 0 %, training 0 %",
    ]


@pytest.mark.parametrize(
    "stored",
    [
        None,
        {},
        {"edges": [0, 1], "generated": [1]},
        {"edges": [0, 1], "generated": [1, 2], "training": [1, 2]},
        {"edges": [1, 0], "generated": [1], "training": [1]},
        {"edges": [0, None], "generated": [1], "training": [1]},
        {"edges": [0, "x"], "generated": [1], "training": [1]},
    ],
)
def test_counts_that_do_not_fit_together_are_left_aside(stored: object) -> None:
    assert chart.given(stored) is None


def test_counts_of_nothing_have_a_chart_without_bars_above_the_axis() -> None:
    counts = chart.given({"edges": [0, 1, 2], "generated": [0, 0], "training": [0, 0]})
    assert counts is not None
    assert [bar.height for bar in chart.histogram(counts, None).bars] == [0, 0]


def test_a_scatter_has_a_dot_for_each_pair_of_numbers() -> None:
    asked, achieved = np.array([0.0, 1.0, math.nan, 1.0]), np.array([0.0, 1.0, 1.0, math.nan])
    drawn = chart.scatter(asked, achieved)
    assert drawn is not None
    assert drawn.count == drawn.dots.count("h0") == 2
    # What is achieved as asked lies on the diagonal.
    ends = drawn.diagonal.removeprefix("M").split("L")
    assert [f"M{end}h0" for end in ends] == [f"M{dot}h0" for dot in drawn.dots[1:-2].split("h0M")]
    assert chart.scatter(NOTHING, NOTHING) is None


@pytest.mark.parametrize("scale", [1e-12, 1e-9, 1e-3, 1.0, 7.3, 1e6])
def test_ticks_are_few_and_round(scale: float) -> None:
    drawn = chart.histogram(counted([0.0, 0.37 * scale, 0.9 * scale], []), None)
    texts = [tick.text for tick in drawn.x_ticks]
    assert 3 <= len(texts) <= 8
    assert len(set(texts)) == len(texts)
    assert all(len(text) <= 7 for text in texts)
    assert all(LEFT <= tick.at <= RIGHT for tick in drawn.x_ticks)
