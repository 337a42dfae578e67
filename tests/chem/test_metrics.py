"""Both novelty protocols, counted by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moldiff.chem.metrics import Reference, Seen, Tally, novel_mean, novelty_flags, summarise
from moldiff.chem.molecule import check, identity, rdkit_version
from moldiff.errors import MoldiffError

# Ethanol in train, propane held out.
KNOWN = Reference.of(["CCO", "CCC"], [True, False])


def summary(raw: list[str], reference: Reference | None = KNOWN) -> dict[str, object]:
    return summarise(raw, [check(text) for text in raw], reference)


def test_another_spelling_is_novel_upstream_only() -> None:
    found = summary(["C(C)O"])
    assert (found["novel_upstream"], found["novel_canonical"]) == (1, 0)
    assert (found["novelty_upstream"], found["novelty"]) == (1.0, 0.0)


def test_the_canonical_spelling_is_novel_for_neither() -> None:
    found = summary(["CCO"])
    assert (found["novel_upstream"], found["novel_canonical"]) == (0, 0)


def test_a_hand_counted_sample() -> None:
    # Two spellings of ethanol, propane, methane twice, a salt, a radical, and three unreadable.
    raw = ["CCO", "C(C)O", "CCC", "C", "C", "[Na+].[Cl-]", "[CH3]", "", "C1C", "C(C)(C)(C)(C)C"]
    found = summary(raw)
    assert found == {
        "requested": 10,
        "valid": 7,
        "sane": 5,
        "unique": 5,  # CCO CCC C NaCl CH3
        "unique_upstream": 6,  # and C(C)O
        "validity": 0.7,
        "sanity": 0.5,
        "uniqueness": 5 / 7,
        "uniqueness_upstream": 6 / 7,
        "rejected": {"fragments": 1, "radical": 1, "empty": 1, "ring": 1, "valence": 1},
        "novel_canonical": 3,  # C NaCl CH3
        "novel_canonical_train": 4,  # and CCC
        "novel_upstream": 4,  # C(C)O C NaCl CH3
        "novel_upstream_train": 5,  # and CCC
        "novelty": 3 / 5,
        "novelty_train": 4 / 5,
        "novelty_upstream": 4 / 6,
        "reference_rdkit": rdkit_version(),
        "reference_matches_rdkit": True,
    }
    counts = [found[key] for key in ("requested", "valid", "sane", "unique", "novel_canonical")]
    assert all(type(count) is int for count in counts)


def test_two_spellings_of_a_new_molecule_count_twice_upstream() -> None:
    found = summary(["CO", "OC"])
    assert (found["unique_upstream"], found["novel_upstream"]) == (2, 2)
    assert (found["unique"], found["novel_canonical"]) == (1, 1)


def test_nothing_valid_gives_nan_rates() -> None:
    found = summary(["", "C("])
    assert (found["valid"], found["unique"], found["novel_canonical"]) == (0, 0, 0)
    assert found["validity"] == 0.0
    rates = ("uniqueness", "uniqueness_upstream", "novelty", "novelty_train", "novelty_upstream")
    assert all(math.isnan(float(str(found[rate]))) for rate in rates)


def test_no_strings_give_nan_rates() -> None:
    found = summary([])
    assert found["requested"] == 0
    assert math.isnan(float(str(found["validity"])))
    assert found["rejected"] == {}


def test_without_a_reference_nothing_is_said_about_novelty() -> None:
    with_one, without = summary(["C"]), summary(["C"], None)
    assert {key for key in with_one if "nov" in key or "reference" in key} == set(with_one) - set(without)
    assert without["unique"] == 1


def test_an_empty_reference_knows_nothing() -> None:
    assert summary(["C", "CCO"], Reference.of([], []))["novel_canonical"] == 2


def test_marks_stand_at_first_occurrences() -> None:
    raw = ["C", "C(", "OC", "CO", "C", "CCC", "C(C)C"]
    marks = novelty_flags(raw, [check(text) for text in raw], KNOWN)
    assert np.flatnonzero(marks.unique_canonical).tolist() == [0, 2, 5]
    assert np.flatnonzero(marks.novel_canonical).tolist() == [0, 2]
    assert np.flatnonzero(marks.novel_canonical_train).tolist() == [0, 2, 5]
    assert np.flatnonzero(marks.unique_upstream).tolist() == [0, 2, 3, 5, 6]
    assert np.flatnonzero(marks.novel_upstream).tolist() == [0, 2, 3, 6]
    assert np.flatnonzero(marks.novel_upstream_train).tolist() == [0, 2, 3, 5, 6]


def test_the_mean_weighs_each_novel_item_once() -> None:
    raw = ["C", "C", "CO", "OC", "CCO"]
    marks = novelty_flags(raw, [check(text) for text in raw], KNOWN)
    means = novel_mean(np.array([1.0, 1.0, 4.0, 4.0, 100.0]), marks)
    assert means == {
        "novel_canonical": (1.0 + 4.0) / 2,
        "novel_canonical_train": (1.0 + 4.0) / 2,
        "novel_upstream": (1.0 + 4.0 + 4.0) / 3,
        "novel_upstream_train": (1.0 + 4.0 + 4.0) / 3,
    }


def test_the_mean_leaves_out_nan_and_is_nan_over_nothing() -> None:
    raw = ["C", "CO"]
    marks = novelty_flags(raw, [check(text) for text in raw], KNOWN)
    assert novel_mean(np.array([np.nan, 4.0]), marks)["novel_canonical"] == 4.0
    known = novelty_flags(["CCO"], [check("CCO")], KNOWN)
    assert math.isnan(novel_mean(np.array([3.0]), known)["novel_canonical"])


def test_a_reference_finds_its_own_and_nothing_else() -> None:
    chains = ["C" * n for n in range(1, 101)]
    reference = Reference.of(chains, [n % 2 == 0 for n in range(100)])
    ids = np.array([identity(text) for text in [*chains, "O", "N"]], dtype=np.int64)
    assert reference.contains(ids).tolist() == [True] * 100 + [False] * 2
    assert reference.contains_train(ids).tolist() == [True, False] * 50 + [False] * 2
    # Beyond both ends of the table.
    ends = np.array([-(2**63), 2**63 - 1], dtype=np.int64)
    assert reference.contains(ends).tolist() == [False, False]


def test_a_repeated_molecule_is_in_train_when_any_row_is() -> None:
    reference = Reference.of(["C", "C", "N", "N"], [False, True, False, False])
    ids = np.array([identity("C"), identity("N")], dtype=np.int64)
    assert len(reference.hashes) == 2
    assert reference.contains_train(ids).tolist() == [True, False]


def test_another_rdkit_is_reported() -> None:
    old = Reference(KNOWN.hashes, KNOWN.in_train, "2020.01.1")
    found = summary(["C"], old)
    assert found["reference_rdkit"] == "2020.01.1"
    assert found["reference_matches_rdkit"] is False


@pytest.mark.parametrize(
    ("hashes", "in_train", "message"),
    [
        (np.array([2, 1]), np.array([True, True]), "strictly increasing"),
        (np.array([1, 1]), np.array([True, True]), "strictly increasing"),
        (np.array([1, 2]), np.array([True]), "one mark a hash"),
        (np.array([[1]]), np.array([[True]]), "one mark a hash"),
        (np.array([1.0]), np.array([True]), "int64 hashes"),
        (np.array([1]), np.array([1]), "int64 hashes"),
    ],
)
def test_a_malformed_reference_is_refused(hashes: np.ndarray, in_train: np.ndarray, message: str) -> None:
    with pytest.raises(MoldiffError, match=message):
        Reference(hashes, in_train, "2026.09.1")


def test_unequal_lengths_are_refused() -> None:
    with pytest.raises(MoldiffError, match="got 2 and 1"):
        summarise(["C", "C"], [check("C")], None)
    with pytest.raises(MoldiffError, match="got 2 and 1"):
        novelty_flags(["C", "C"], [check("C")], KNOWN)
    with pytest.raises(MoldiffError, match="2 molecules and marks of shape"):
        Reference.of(["C", "N"], [True])
    with pytest.raises(MoldiffError, match="got 2 and 1"):
        novel_mean(np.ones(2), novelty_flags(["C"], [check("C")], KNOWN))


SPELLINGS = ("C", "CC", "CCO", "C(C)O", "OCC", "CCC", "[CH3]", "C.C", "", "C1C", "N", "CN", "NC")


@given(st.lists(st.sampled_from(SPELLINGS), max_size=30), st.lists(st.integers(0, 30), max_size=6))
def test_how_rows_are_cut_changes_nothing(raw: list[str], cuts: list[int]) -> None:
    checks = [check(text) for text in raw]
    values = np.arange(len(raw), dtype=float)
    values[::7] = np.nan
    tally, pieces = Tally(KNOWN), []
    for first, last in zip([0, *sorted(cuts)], [*sorted(cuts), len(raw)], strict=True):
        cut = slice(first, last)
        pieces.append(tally.add(raw[cut], checks[cut], {"value": values[cut]}))
    marks = novelty_flags(raw, checks, KNOWN)
    for name, expected in vars(marks).items():
        np.testing.assert_array_equal(np.concatenate([getattr(each, name) for each in pieces]), expected)
    assert str(tally.summary()) == str(summarise(raw, checks, KNOWN))
    assert tally.novel_means()["value"] == pytest.approx(novel_mean(values, marks), nan_ok=True)


@given(st.lists(st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3), max_size=20), max_size=8))
def test_what_was_seen_is_known(chunks: list[list[int]]) -> None:
    seen, known = Seen(), set()
    for chunk in chunks:
        first = []
        for each in chunk:
            first.append(each not in known)
            known.add(each)
        assert seen.add(np.array(chunk, dtype=np.int64)).tolist() == first
        assert len(seen) == len(known)
