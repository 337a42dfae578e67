"""Fronts and hypervolumes against hand-computed cases and brute force."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moldiff.study.front import hypervolume, non_dominated

GRID = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=12)


def columns(points):
    return np.array(points, dtype=float).reshape(-1, 2).T


@pytest.mark.parametrize(
    ("points", "area"),
    [
        ([], 0),
        ([(3, 2)], 6),
        ([(3, 2), (3, 2)], 6),
        ([(3, 1), (1, 3)], 5),  # two strips of 1 x 3 that share a square
        ([(3, 1), (2, 2), (1, 3)], 6),
        ([(3, 2), (2, 1)], 6),  # the second is dominated
        ([(3, 0), (0, 3)], 0),  # on the axes: nothing is below both
        ([(math.nan, 2), (2, math.nan), (1, 1)], 1),
    ],
)
def test_hypervolume_of_hand_computed_cases(points, area):
    assert hypervolume(*columns(points), (0, 0)) == area


def test_the_reference_cuts_off_what_does_not_exceed_it_in_both():
    x, y = columns([(10, 1.5), (5, 3), (300, 1)])
    assert hypervolume(x, y, (0, 1)) == pytest.approx(10 * 0.5 + 5 * 1.5)
    assert hypervolume(x, y, (5, 1)) == pytest.approx(5 * 0.5)
    assert hypervolume(x, y, (0, 3)) == 0


@given(GRID, st.tuples(st.integers(-1, 4), st.integers(-1, 4)))
def test_hypervolume_is_the_number_of_unit_squares_below_some_point(points, reference):
    squares = {
        (i, j)
        for x, y in points
        if x > reference[0] and y > reference[1]
        for i in range(reference[0], x)
        for j in range(reference[1], y)
    }
    assert hypervolume(*columns(points), reference) == len(squares)


@given(GRID)
def test_the_front_is_what_no_point_dominates(points):
    expected = [not any(a >= x and b >= y and (a > x or b > y) for a, b in points) for x, y in points]
    assert non_dominated(*columns(points)).tolist() == expected


@given(GRID)
def test_the_front_alone_covers_as_much_as_all_points(points):
    x, y = columns(points)
    front = non_dominated(x, y)
    assert hypervolume(x[front], y[front], (0, 0)) == hypervolume(x, y, (0, 0))


def test_points_without_a_number_are_neither_on_the_front_nor_in_the_way():
    x, y = columns([(math.nan, 9), (9, math.nan), (1, 1)])
    assert non_dominated(x, y).tolist() == [False, False, True]
