"""Quality, scaffolds and distances between sets, against textbook molecules and sums done by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moldiff.chem.distribution import (
    Scaffold,
    count_scaffolds,
    good_quality,
    rate_se,
    scaffold_similarity,
    scaffolds,
    wasserstein,
)

BENZENE, NAPHTHALENE = Scaffold("c1ccccc1", 1), Scaffold("c1ccc2ccccc2c1", 2)
BIPHENYL = Scaffold("c1ccc(-c2ccccc2)cc1", 2)


@pytest.mark.parametrize(
    ("smiles", "scaffold"),
    [
        ("CCCCCC", None),
        ("Cc1ccccc1", BENZENE),
        ("CC(=O)Oc1ccccc1C(=O)O", BENZENE),
        ("Oc1ccc2ccccc2c1", NAPHTHALENE),
        ("Cc1ccc(-c2ccccc2)cc1", BIPHENYL),
        # What links rings belongs to the scaffold.
        ("OC(c1ccccc1)C1CCCCC1", Scaffold("c1ccc(CC2CCCCC2)cc1", 2)),
        # RDKit keeps the atom at the end of a double bond to the scaffold.
        ("CC1CCCCC1=O", Scaffold("O=C1CCCCC1", 1)),
        ("Cn1c(=O)c2c(ncn2C)n(C)c1=O", Scaffold("O=c1[nH]c(=O)c2[nH]cnc2[nH]1", 2)),
        ("C(", None),
    ],
)
def test_scaffolds_of_textbook_molecules(smiles: str, scaffold: Scaffold | None) -> None:
    assert scaffolds([smiles]) == [scaffold]


def test_scaffolds_are_counted_by_molecule() -> None:
    found = scaffolds(["Cc1ccccc1", "CC", "Clc1ccccc1", "c1ccc2ccccc2c1"])
    assert count_scaffolds(found, [1, 1, 1, 1]) == {BENZENE: 2, NAPHTHALENE: 1}
    assert count_scaffolds(found, [3, 1, 2, 4]) == {BENZENE: 5, NAPHTHALENE: 4}


def test_scaffold_similarity_is_the_cosine_of_counts_from_two_rings_on() -> None:
    found = {BENZENE: 100, NAPHTHALENE: 1, BIPHENYL: 2}
    assert scaffold_similarity(found, {NAPHTHALENE: 2}) == pytest.approx(2 / (math.sqrt(5) * 2))
    assert scaffold_similarity(found, {BENZENE: 1, NAPHTHALENE: 2, BIPHENYL: 4}) == pytest.approx(1.0)
    assert scaffold_similarity({BIPHENYL: 3}, {NAPHTHALENE: 3}) == 0.0
    assert math.isnan(scaffold_similarity({BENZENE: 3}, {NAPHTHALENE: 3}))
    assert math.isnan(scaffold_similarity(found, {}))


def test_quality_takes_in_its_bounds() -> None:
    qed = np.array([0.6, 0.6, 0.5999, 0.9, np.nan, 0.9])
    sa = np.array([4.0, 4.0001, 1.0, 1.0, 1.0, np.nan])
    assert good_quality(qed, sa).tolist() == [True, False, False, True, False, False]


@pytest.mark.parametrize(
    ("found", "known", "distance"),
    [
        ([0.0, 1.0, 3.0], [5.0, 6.0, 8.0], 5.0),
        ([0.0, 1.0, 3.0], [8.0, 5.0, 6.0], 5.0),
        # In order 0, 1, 3 go to 1, 1, 2: distances 1, 0 and 1.
        ([3.0, 0.0, 1.0], [1.0, 2.0, 1.0], 2 / 3),
        ([0.0], [0.0, 1.0], 0.5),
        ([0.0, 1.0], [0.0, 0.0, 1.0, 1.0], 0.0),
        # A third of the mass goes from 0 to 3.
        ([0.0, 0.0, 0.0], [0.0, 0.0, 3.0], 1.0),
    ],
)
def test_wasserstein_by_hand(found: list[float], known: list[float], distance: float) -> None:
    assert wasserstein(np.array(found), np.array(known)) == pytest.approx(distance, abs=1e-15)
    assert wasserstein(np.array(known), np.array(found)) == pytest.approx(distance, abs=1e-15)


def test_nothing_has_no_distance() -> None:
    assert math.isnan(wasserstein(np.array([]), np.array([1.0])))
    assert math.isnan(wasserstein(np.array([1.0]), np.array([])))


POINTS = st.floats(-100, 100).map(lambda value: round(value, 3))


@given(st.integers(1, 12).flatmap(lambda n: st.tuples(*[st.lists(POINTS, min_size=n, max_size=n)] * 2)))
def test_wasserstein_of_equally_many_pairs_them_in_order(sets: tuple[list[float], list[float]]) -> None:
    exact = np.abs(np.sort(sets[0]) - np.sort(sets[1])).mean()
    assert wasserstein(np.array(sets[0]), np.array(sets[1])) == pytest.approx(exact, abs=1e-9)


def test_the_error_of_a_rate_is_binomial() -> None:
    assert rate_se(0.5, 100) == pytest.approx(0.05)
    assert rate_se(0.9, 900) == pytest.approx(0.01)
    assert rate_se(1.0, 10) == 0.0
    assert math.isnan(rate_se(math.nan, 0))
