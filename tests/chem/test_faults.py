"""Blame: the tokens that RDKit's refusal implicates, by the kind of fault."""

import random
import re

import pytest

from moldiff.chem import molecule
from moldiff.chem.faults import KINDS, WHOLE, fault
from moldiff.chem.notation import kind, label
from moldiff.data.selfies import SelfiesTokenizer
from moldiff.data.smiles import SmilesTokenizer
from moldiff.registry import build

CASES = [
    ("CC(C", "branch", (2,)),
    ("CC)C", "branch", (2,)),
    ("C(C)C(C)(C", "branch", (8,)),
    ("C1CC", "ring", (1,)),
    ("C=1CC", "ring", (1, 2)),
    ("C1CC1C%12", "ring", (6,)),
    # On the atom itself, on its neighbour in the chain, on one that another ring has reached, with bonds.
    ("C11C", "closure", (1, 2)),
    ("CC1C1C", "closure", (2, 4)),
    ("C12CC12", "closure", (2, 6)),
    ("CC=1C=1C", "closure", (2, 3, 5, 6)),
    ("CC1(C)C1C", "closure", (2, 7)),
    ("C()C", "syntax", (1, 2)),
    ("CC=", "syntax", (2,)),
    ("=CC", "syntax", (0,)),
    ("C(=)C", "syntax", (2, 3)),
    ("C=#C", "syntax", (1, 2)),
    # The neighbours, the bonds to them and the branches that they stand in; not what lies beyond.
    ("CCO(C)CC", "valence", (1, 2, 3, 4, 5, 6)),
    ("CCCF=CC", "valence", (2, 3, 4, 5)),
    ("CC1OF1C", "valence", (1, 2, 3, 4, 5, 6)),
    ("CCC(C)(CC)(C)C", "valence", (1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13)),
    ("Cc1ccc(CO)n1", "kekulize", (1, 3, 4, 5, 10)),
    ("CCc", "kekulize", (2,)),
    ("", "other", ()),
    ("[Xx]C", "other", (0, 1)),
]


@pytest.mark.parametrize(("smiles", "name", "places"), CASES)
def test_each_kind_of_fault_has_its_tokens(smiles: str, name: str, places: tuple[int, ...]) -> None:
    found = fault(SmilesTokenizer.split(smiles))
    assert found is not None
    assert (found.kind, found.places) == (name, places)


def test_every_kind_is_met_above() -> None:
    assert {name for _, name, _ in CASES} == set(KINDS)


def test_several_faults_are_found_together_and_the_first_kind_names_them() -> None:
    found = fault(SmilesTokenizer.split("C1CC(C"))
    assert found is not None
    assert (found.kind, found.places) == ("branch", (1, 4))


@pytest.mark.parametrize("smiles", ["CCO", "C1CC1", "c1ccccc1", "CC.O", "C%11CC%11", "C=1CCC1", "[nH]1cccc1"])
def test_what_rdkit_reads_has_no_fault(smiles: str) -> None:
    assert fault(SmilesTokenizer.split(smiles)) is None


def test_blame_reaches_further_and_further() -> None:
    tokens = SmilesTokenizer.split("NCC1(O)C1CCO")
    assert [getattr(fault(tokens, reach), "places", None) for reach in range(WHOLE + 2)] == [
        (3, 8),
        (2, 3, 4, 7, 8, 9),
        (2, 3, 4, 5, 6, 7, 8, 9),
        tuple(range(12)),
        tuple(range(12)),
    ]


def test_on_any_row_of_tokens_there_is_a_fault_where_rdkit_refuses_and_nowhere_else() -> None:
    source = random.Random(3)
    vocab = ["C", "N", "O", "c", "n", "1", "2", "(", ")", "=", "#", ".", "[nH]"]
    weights = [9, 3, 3, 2, 1, 3, 2, 1, 1, 1, 0.5, 0.1, 0.3]
    met = set()
    for _ in range(1500):
        tokens = source.choices(vocab, weights, k=source.randint(1, 9))
        checked, found = molecule.check("".join(tokens)), fault(tokens)
        assert (found is None) == checked.valid
        if found is None:
            continue
        assert found.places == tuple(sorted(set(found.places)))
        assert set(found.places) <= set(range(len(tokens)))
        assert found.places
        assert found.kind != "other"
        met.add(found.kind)
        kinds = {"closure", "syntax"} if checked.reason == "parse" else {checked.reason}
        assert found.kind in kinds, tokens
    assert met >= set(KINDS) - {"other"}


def test_tokens_have_the_kind_that_they_are_of() -> None:
    by_kind = {"atom": ["C", "Cl", "[nH]", "*"], "ring": ["1", "%12", "%(123)"], "bond": ["=", "/", ":"]}
    for name, tokens in by_kind.items():
        assert {kind(token) for token in tokens} == {name}
    assert [kind(token) for token in "()."] == ["(", ")", "."]
    assert [label(token) for token in ("1", "%01", "%12", "%(123)")] == [1, 1, 12, 123]
    with pytest.raises(ValueError, match=re.escape("not a ring label: 'C'")):
        label("C")


def test_padding_is_not_to_blame_until_the_whole_row_is() -> None:
    molecules, tokenizer = build("modality", "molecules"), SmilesTokenizer(("1", "C"), 7)
    ids = [1, 0, 1, 0, 1, 2, 2]
    assert molecules.fault(tokenizer, ids).places == (1, 3)
    assert molecules.fault(tokenizer, ids, WHOLE).places == tuple(range(7))
    assert molecules.fault(tokenizer, [2] * 7).places == tuple(range(7))
    assert molecules.fault(tokenizer, [1, 1, 2, 2, 2, 2, 2]) is None


def test_a_row_of_selfies_is_at_fault_as_a_whole_or_not_at_all() -> None:
    molecules, tokenizer = build("modality", "molecules"), SelfiesTokenizer(("[C]", "[Ring1]", "[=O]"))
    assert molecules.fault(tokenizer, [0, 0, 1, 1, 2]) is None
    # Of ring marks alone nothing is left: the one way in which SELFIES spell no molecule.
    assert molecules.fault(tokenizer, [1, 1]).places == (0, 1)
