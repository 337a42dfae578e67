"""Fingerprints and their similarities, against sets counted by hand and against RDKit's own."""

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem, DataStructs
from rdkit.Chem import rdFingerprintGenerator

from moldiff.chem.fingerprints import MOSES_BITS, TDC_BITS, Fingerprints, morgan
from moldiff.chem.similarity import (
    COLUMNS,
    PAIRS,
    ROWS,
    internal_diversity,
    internal_diversity_se,
    mean_similarities,
    nearest,
    pairwise_diversity,
    pairwise_diversity_se,
)
from moldiff.errors import MoldiffError

# Environments of radius 0 and 1 (those of radius 2 repeat the same bonds, so they are left out):
# ethane   CH3                CH3(CH3)
# propane  CH3 CH2            CH3(CH2) CH2(CH3,CH3)
# ethanol  CH3 CH2 OH         CH3(CH2) CH2(CH3,OH)  OH(CH2)
SMILES = ["CC", "CCC", "CCO"]
COUNTS = [2, 4, 6]
# Ethane shares CH3 with both; propane and ethanol share CH3, CH2 and CH3(CH2).
T = np.array([[1, 1 / 5, 1 / 7], [1 / 5, 1, 3 / 7], [1 / 7, 3 / 7, 1]])
ONCE = np.ones(3)

POOL = [
    "C", "CC", "CCO", "OCC=C", "c1ccccc1", "Cc1ccccc1O", "C1CC2CCC1CC2", "CC(=O)Oc1ccccc1C(=O)O",
    "Cn1c(=O)c2c(ncn2C)n(C)c1=O", "C12C3C4C1C5C2C3C45", "CC(C)(C)O", "N#CC1CC1", "[NH3+]CC([O-])=O", "FC(F)F",
    "C[C@H](N)C(=O)O", "O=C1CCCCC1", "c1ccc2ccccc2c1", "CCCCCCCC", "[Na+].[Cl-]", "O",
]  # fmt: skip


def matrix(smiles: list[str], bits: int = MOSES_BITS) -> np.ndarray:
    """All similarities by RDKit's own function."""
    make = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=bits)
    prints = [make.GetFingerprint(Chem.MolFromSmiles(text)) for text in smiles]
    return np.array([DataStructs.BulkTanimotoSimilarity(each, prints) for each in prints])


@pytest.mark.parametrize("bits", [MOSES_BITS, TDC_BITS])
def test_bits_are_the_environments_counted_by_hand(bits: int) -> None:
    found = morgan(SMILES, bits)
    assert found.counts.tolist() == COUNTS
    assert found.bits.shape == (3, bits)
    assert found.bits.sum(axis=1).tolist() == COUNTS


def test_chirality_does_not_count() -> None:
    found = morgan(["C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O"])
    assert nearest(found[np.array([0])], found[np.array([1])])[1].tolist() == [1.0]


def test_the_same_bits_are_not_the_same_molecule() -> None:
    assert nearest(morgan(["C" * 10]), morgan(["C" * 12]))[1].tolist() == [1.0]


def test_what_is_not_valid_has_no_fingerprint() -> None:
    with pytest.raises(MoldiffError, match=r"got 'C\('"):
        morgan(["CC", "C("])


def test_moses_counts_the_diagonal_and_tdc_does_not() -> None:
    means = mean_similarities(morgan(SMILES), ONCE)[0]
    assert means == pytest.approx(T.mean(axis=1), abs=1e-15)
    pairs = 1 / 5 + 1 / 7 + 3 / 7
    assert internal_diversity(means, ONCE) == pytest.approx(1 - (3 + 2 * pairs) / 9, abs=1e-15)
    assert pairwise_diversity(means) == pytest.approx(1 - pairs / 3, abs=1e-15)
    # On the same fingerprints the one is a multiple of the other.
    assert pairwise_diversity(means) == pytest.approx(internal_diversity(means, ONCE) * 3 / 2, abs=1e-15)


def test_with_an_exponent_moses_takes_the_root_of_each_molecule() -> None:
    squares = mean_similarities(morgan(SMILES), ONCE, (1, 2))[1]
    rows = [
        math.sqrt((1 + 1 / 25 + 1 / 49) / 3),
        math.sqrt((1 / 25 + 1 + 9 / 49) / 3),
        math.sqrt((1 / 49 + 9 / 49 + 1) / 3),
    ]
    assert internal_diversity(squares, ONCE, 2) == pytest.approx(1 - sum(rows) / 3, abs=1e-15)
    # The root of the mean over all pairs, which the formula in the paper is, is another number.
    assert abs(sum(rows) / 3 - math.sqrt((T**2).mean())) > 1e-4


def test_copies_of_one_molecule_have_no_diversity() -> None:
    weights = np.array([7.0])
    means = mean_similarities(morgan(["CCO"]), weights, (1, 2))
    assert internal_diversity(means[0], weights) == 0.0
    assert internal_diversity(means[1], weights, 2) == 0.0
    # To TDC copies are one molecule, and one molecule has no pair.
    assert math.isnan(pairwise_diversity(means[0]))
    assert internal_diversity_se(means[0], weights) == 0.0


def test_molecules_that_share_nothing_are_as_diverse_as_can_be() -> None:
    found = morgan(["C", "O", "[Na+]", "F"])
    means = mean_similarities(found, np.ones(4))[0]
    assert internal_diversity(means, np.ones(4)) == 1 - 1 / 4
    assert pairwise_diversity(means) == 1.0


def test_nothing_has_neither_diversity_nor_neighbours() -> None:
    none, some = morgan([]), morgan(["C"])
    means = mean_similarities(none, np.ones(0), (1, 2))
    assert means.shape == (2, 0)
    assert math.isnan(internal_diversity(means[0], np.ones(0)))
    assert math.isnan(pairwise_diversity(means[0]))
    assert math.isnan(internal_diversity_se(means[0], np.ones(0)))
    assert math.isnan(pairwise_diversity_se(means[0]))
    assert [each.tolist() for each in nearest(none, some)] == [[], []]
    place, similarity = nearest(some, none)
    assert place.tolist() == [-1]
    assert np.isnan(similarity).all()


def test_the_nearest_neighbour_by_hand() -> None:
    place, similarity = nearest(morgan(["CCO", "CC"]), morgan(["CC", "CCC"]))
    assert place.tolist() == [1, 0]
    assert similarity.tolist() == [3 / 7, 1.0]


def test_of_equally_similar_ones_the_smaller_is_nearest_then_the_earlier() -> None:
    # Nothing is shared, so all are equally far.
    assert nearest(morgan(["[Na+]"]), morgan(["CCO", "CC", "CCC"]))[0].tolist() == [1]
    assert nearest(morgan(["CC"]), morgan(["CCO", "CC", "CC"]))[0].tolist() == [1]


def many(rows: int) -> tuple[Fingerprints, np.ndarray]:
    """More fingerprints than fit one block, and which of the pool each is."""
    which = np.random.default_rng(0).integers(len(POOL), size=rows)
    return morgan(POOL)[which], which


def test_blocks_change_nothing() -> None:
    found, which = many(2 * PAIRS + 77)
    weights = np.random.default_rng(1).integers(1, 5, len(which)).astype(float)
    exact = matrix(POOL)[np.ix_(which, which)]
    for power, means in zip((1, 2, 0.5), mean_similarities(found, weights, (1, 2, 0.5)), strict=True):
        np.testing.assert_allclose(means, exact**power @ weights / weights.sum(), rtol=1e-13)


def test_neighbours_across_blocks_are_the_nearest() -> None:
    asked, theirs = many(ROWS + 9)
    known, ours = many(2 * COLUMNS + 5)
    exact = matrix(POOL)[np.ix_(theirs, ours[ours > 4])]
    place, similarity = nearest(asked, known[np.flatnonzero(ours > 4)])
    assert similarity.tolist() == exact.max(axis=1).tolist()
    assert exact[np.arange(len(theirs)), place].tolist() == similarity.tolist()


def test_more_than_255_common_bits_do_not_overflow() -> None:
    chain = "".join(random.Random(0).choices("CNOS", k=400))
    found = morgan([chain, chain[:300], "C"], TDC_BITS)
    assert found.counts[0] > found.counts[1] > 255
    exact = matrix([chain, chain[:300], "C"], TDC_BITS)
    assert mean_similarities(found, ONCE)[0] == pytest.approx(exact.mean(axis=1), abs=1e-15)
    assert nearest(found, found)[1].tolist() == [1.0, 1.0, 1.0]


POWERS = st.lists(st.sampled_from([0.5, 1.0, 2.0, 3.0]), min_size=1, max_size=2)


@settings(deadline=None, max_examples=40)
@given(st.dictionaries(st.sampled_from(POOL), st.integers(1, 4), min_size=1), POWERS)
def test_weights_are_repeats(weights: dict[str, int], powers: list[float]) -> None:
    smiles, counts = list(weights), np.array(list(weights.values()), dtype=float)
    repeated = [text for text, count in weights.items() for _ in range(count)]
    short = mean_similarities(morgan(smiles), counts, powers)
    long = mean_similarities(morgan(repeated), np.ones(len(repeated)), powers)
    for power, few, all_rows in zip(powers, short, long, strict=True):
        one = internal_diversity(few, counts, power)
        assert one == pytest.approx(internal_diversity(all_rows, np.ones(len(repeated)), power), abs=1e-12)
        # A row has one similarity of 1, with itself, and none below 0.
        assert -1e-12 <= one <= 1 - len(repeated) ** (-1 / power) + 1e-12
    plain = mean_similarities(morgan(smiles), counts)[0]
    exact = matrix(repeated)
    assert internal_diversity(plain, counts) == pytest.approx(1 - exact.mean(), abs=1e-12)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.sampled_from(POOL), min_size=3, max_size=8, unique=True), st.data())
def test_standard_errors_are_those_of_leaving_one_out(smiles: list[str], data: st.DataObject) -> None:
    counts = data.draw(st.lists(st.integers(1, 3), min_size=len(smiles), max_size=len(smiles)))
    repeated = [text for text, count in zip(smiles, counts, strict=True) for _ in range(count)]
    weights = np.array(counts, dtype=float)
    means = mean_similarities(morgan(smiles), weights)[0]
    assert internal_diversity_se(means, weights) == pytest.approx(
        left_out(matrix(repeated), lambda t: 1 - t.mean()), abs=1e-9
    )
    means = mean_similarities(morgan(smiles), np.ones(len(smiles)))[0]

    def off_diagonal(t: np.ndarray) -> float:
        return float(1 - t[np.triu_indices(len(t), 1)].mean())

    assert pairwise_diversity(means) == pytest.approx(off_diagonal(matrix(smiles)), abs=1e-12)
    assert pairwise_diversity_se(means) == pytest.approx(left_out(matrix(smiles), off_diagonal), abs=1e-9)


def left_out(similar: np.ndarray, figure) -> float:
    """The jackknife's standard error of a figure of a matrix, the slow way."""
    n = len(similar)
    keep = [np.delete(np.arange(n), i) for i in range(n)]
    values = np.array([figure(similar[np.ix_(rows, rows)]) for rows in keep])
    return math.sqrt((n - 1) / n * ((values - values.mean()) ** 2).sum())
