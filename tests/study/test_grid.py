"""Lists and ranges as a person writes them, and what is refused of them."""

import re

import pytest

from moldiff.errors import MoldiffError
from moldiff.study import grid


@pytest.mark.parametrize(
    ("text", "found"),
    [("1..5", (1, 2, 3, 4, 5)), ("1,1.5,2", (1, 1.5, 2)), ("3, 1..2,1", (3, 1, 2)), ("0", (0,))],
)
def test_scales(text, found):
    assert grid.scales(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [("3", (0, 1, 2)), ("0..0", (0,)), ("7,", None), ("100..102", (100, 101, 102)), ("4,2", (4, 2))],
)
def test_seeds(text, found):
    if found is None:
        with pytest.raises(MoldiffError, match="--seeds: got '7,'"):
            grid.seeds(text)
    else:
        assert grid.seeds(text) == found


@pytest.mark.parametrize(
    ("read", "text", "message"),
    [
        (grid.scales, "", "--scales: got ''"),
        (grid.scales, "high", "--scales: got 'high', write numbers such as 1..5"),
        (grid.scales, "-1", "must be at least 0 and finite"),
        (grid.scales, "inf", "must be at least 0 and finite"),
        (grid.scales, "nan", "must be at least 0 and finite"),
        (grid.scales, "5..1", "a range a..b needs a <= b"),
        (grid.scales, "1..2..3", "--scales: got '1..2..3'"),
        (grid.steps, "0", "--steps: got 0"),
        (grid.steps, "8.5", "--steps: got '8.5'"),
        (grid.steps, "1..999999999", "at most 10000 values make sense"),
        (grid.steps, "9" * 30, "numbers are below 2^63"),
        (grid.seeds, "0", "a number of seeds is at least 1"),
        (grid.seeds, "-3", "--seeds: got -3"),
        (grid.seeds, "9" * 5000, "at most 10000 values make sense"),
        (grid.budgets, "0", "must be above 0"),
    ],
)
def test_nonsense_is_refused_in_one_line(read, text, message):
    with pytest.raises(MoldiffError, match=re.escape(message)) as caught:
        read(text)
    assert "\n" not in str(caught.value)


def test_names_keep_their_order_once_each():
    assert grid.names("--methods", "b, a,b") == ("b", "a")
    with pytest.raises(MoldiffError, match="--methods: got 'a,,b'"):
        grid.names("--methods", "a,,b")


def test_a_grid_without_a_property_asks_for_nothing():
    assert grid.Grid(None, ("a",), ("none",), (1,), (8,), (0,), 4).num == 4
    with pytest.raises(MoldiffError, match="got cfg but no property"):
        grid.Grid(None, ("a",), ("none", "cfg"), (1,), (8,), (0,), 4)
    with pytest.raises(MoldiffError, match="--num: got 0"):
        grid.Grid(None, ("a",), ("none",), (1,), (8,), (0,), 0)
