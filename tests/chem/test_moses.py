"""MOSES's fragments and filter on molecules that can be looked through by hand, and unique@k."""

import math

import pytest

from moldiff.chem.distribution import cosine
from moldiff.chem.metrics import unique_at
from moldiff.chem.molecule import check
from moldiff.chem.moses import count_fragments, fragments, passes


@pytest.mark.parametrize(
    ("smiles", "expected"),
    [
        # An ester is cut on both sides of its oxygen, which the acid and the alkyl part are left of.
        ("CC(=O)OCC", ("[1*]C(C)=O", "[3*]O[3*]", "[4*]CC")),
        # Two rings that share a bond of their own kind.
        ("c1ccc(-c2ccccc2)cc1", ("[16*]c1ccccc1", "[16*]c1ccccc1")),
        # Nothing to cut.
        ("c1ccccc1", ("c1ccccc1",)),
        ("C(", ()),
    ],
)
def test_fragments_of_textbook_molecules(smiles: str, expected: tuple[str, ...]) -> None:
    assert fragments([smiles]) == [expected]


def test_fragments_are_counted_as_often_as_they_and_their_molecules_are_there() -> None:
    found = fragments(["c1ccc(-c2ccccc2)cc1", "CC(=O)OCC"])
    counts = count_fragments(found, [2, 3])
    assert counts == {"[16*]c1ccccc1": 4, "[1*]C(C)=O": 3, "[3*]O[3*]": 3, "[4*]CC": 3}
    # 3 of 4 kinds are shared, of lengths sqrt(16 + 27) and sqrt(3).
    theirs = count_fragments(fragments(["CC(=O)OCC"]), [1])
    assert cosine(counts, theirs) == pytest.approx(9 / math.sqrt(43 * 3))


def test_the_cosine_of_counts() -> None:
    assert cosine({"a": 3, "b": 4}, {"b": 2}) == pytest.approx(4 / 5)
    assert cosine({"a": 1}, {"b": 1}) == 0.0
    assert cosine({"a": 2, "b": 6}, {"a": 1, "b": 3}) == pytest.approx(1.0)
    assert math.isnan(cosine({}, {"a": 1}))
    assert math.isnan(cosine({"a": 1}, {}))


@pytest.mark.parametrize(
    ("smiles", "verdict"),
    [
        ("Cc1ccccc1", True),
        ("C1CCCCCC1", True),  # a ring of seven
        ("C1CCCCCCC1", False),  # and of eight
        ("CC(=O)[O-]", False),
        ("C[N+](C)(C)CC(=O)[O-]", False),  # neutral as a whole
        ("CSc1ccc(Br)c(Cl)c1F", True),
        ("CI", False),
        ("C[Si](C)(C)C", False),
        ("O=C1C=CC(=O)C=C1", False),  # a quinone: PAINS quinone_A
        ("Oc1ccccc1O", False),  # PAINS catechol_A
        ("Oc1cccc(O)c1", True),
        ("C(", False),
    ],
)
def test_what_passes_the_filter(smiles: str, verdict: bool) -> None:
    assert passes([smiles]) == [verdict]


def test_unique_at_k_counts_the_first_valid_ones() -> None:
    checks = [check(text) for text in ("CCO", "C(", "OCC", "CCC", "C", "C")]
    assert unique_at(checks, 1) == 1.0
    assert unique_at(checks, 2) == 0.5
    assert unique_at(checks, 3) == pytest.approx(2 / 3)
    assert unique_at(checks, 5) == pytest.approx(3 / 5)
    assert math.isnan(unique_at(checks, 6))
