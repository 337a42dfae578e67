"""The fragment writing: whatever is cut, the pieces spell the molecule."""

import itertools

import pytest
from rdkit import Chem

from moldiff.chem.fragments import brics_bonds, joined, labelled, pieces, single_bonds
from moldiff.chem.molecule import canonical

DRUGS = {
    "aspirin": "CC(=O)Oc1ccccc1C(=O)O",
    "alanine": "C[C@H](N)C(=O)O",
    "threonine": "C[C@@H](O)[C@H](N)C(=O)O",
    "propranolol": "CC(C)NC[C@@H](O)COc1cccc2ccccc12",
    "menthol": "CC(C)[C@@H]1CC[C@@H](C)C[C@H]1O",
    "cefalexin": "CC1=C(C(=O)O)N2C(=O)[C@@H](NC(=O)[C@H](N)c3ccccc3)[C@H]2SC1",
    "halothane": "F[C@](Cl)(Br)C(F)(F)F",
    "biphenyl": "c1ccc(-c2ccccc2)cc1",
}


def mol(smiles: str) -> Chem.Mol:
    return Chem.MolFromSmiles(smiles)


@pytest.mark.parametrize("smiles", DRUGS.values(), ids=DRUGS)
def test_every_cut_in_every_order_of_the_pieces_spells_the_molecule(smiles: str) -> None:
    whole = mol(smiles)
    bonds = single_bonds(whole)
    cuts = [list(each) for count in range(3) for each in itertools.combinations(bonds, count)]
    assert len(cuts) > 1
    for chosen in cuts:
        parts = pieces(whole, chosen)
        assert len(parts) == len(chosen) + 1
        for order in itertools.permutations(parts):
            assert canonical(joined(order)) == canonical(smiles), (chosen, order)


def test_a_mark_is_turned_by_an_odd_order_of_neighbours() -> None:
    # By hand: the end moves from behind one branch to before it, which swaps two neighbours.
    assert labelled("C[C@H](F)[10*]") == "C[C@@H]%10F"
    assert labelled("C[C@](F)(Cl)[10*]") == "C[C@]%10(F)Cl"
    assert labelled("[10*][C@H](F)C") == "[C@@H]%10(F)C"
    assert labelled("[10*][C@](F)(Cl)C") == "[C@]%10(F)(Cl)C"
    assert labelled("C[C@]([10*])(F)Cl") == "C[C@]%10(F)Cl"


def test_the_labels_are_numbered_as_they_appear() -> None:
    assert joined(["C%12", "O%10%12", "N%10"]) == "C%10.O%11%10.N%11"


def test_a_ring_a_double_bond_and_what_orients_one_are_not_cut() -> None:
    assert single_bonds(mol("C1CCCCC1")) == []
    assert single_bonds(mol("C=C")) == []
    assert single_bonds(mol(r"C/C=C/C")) == []
    assert len(single_bonds(mol("CC=CC"))) == 2


def test_the_bonds_of_brics_are_among_the_single_ones() -> None:
    paracetamol = mol("CC(=O)Nc1ccc(O)cc1")
    found = brics_bonds(paracetamol)
    assert found
    assert set(found) < set(single_bonds(paracetamol))


def test_an_open_end_needs_an_atom() -> None:
    for smiles in ("[10*]", "[10*][11*]"):
        with pytest.raises(ValueError, match="open end"):
            labelled(smiles)


def test_there_are_labels_for_ninety_cuts() -> None:
    chain = mol("C" * 100)
    text = joined(pieces(chain, single_bonds(chain)[:90]))
    assert Chem.MolToSmiles(mol(text)) == "C" * 100
    with pytest.raises(ValueError, match="91 cuts"):
        pieces(chain, single_bonds(chain)[:91])
