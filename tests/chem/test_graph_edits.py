"""Crossover and mutation: every child is sane and canonical, and made of what its parents have."""

from collections import Counter
from random import Random

import pytest
from rdkit import Chem

from moldiff.chem.crossover import crossover
from moldiff.chem.editing import LARGEST, SMALLEST, WIDEST, editable, finished
from moldiff.chem.molecule import check, parse
from moldiff.chem.mutation import mutated

DRUGS = [
    "CC(=O)Oc1ccccc1C(=O)O",
    "Cn1c(=O)c2c(ncn2C)n(C)c1=O",
    "COc1ccc2[C@H]3CC[C@@]4(C)[C@@H](CC[C@@]4(O)C#C)[C@@H]3CCc2c1",
    "CC(C)(C)NCC(O)c1ccc(O)c(CO)c1",
    "C[N+](C)(C)CC(=O)[O-]",
    "O=S(=O)(N)c1ccc(N)cc1",
]


def sound(smiles: str) -> bool:
    mol, found = parse(smiles), check(smiles)
    if mol is None or not found.sane or found.canonical != smiles:
        return False
    rings = mol.GetRingInfo().AtomRings()
    return SMALLEST <= mol.GetNumHeavyAtoms() <= LARGEST and all(len(ring) <= WIDEST for ring in rings)


def elements(*molecules: str) -> Counter[str]:
    mols = [parse(each) for each in molecules]
    return Counter(atom.GetSymbol() for mol in mols if mol is not None for atom in mol.GetAtoms())


def test_children_are_sane_and_have_no_atom_that_their_parents_lack() -> None:
    random = Random(0)
    children = []
    for _ in range(150):
        parents = random.choice(DRUGS), random.choice(DRUGS)
        child = crossover(*parents, random)
        if child is not None:
            children.append(child)
            assert sound(child), child
            assert elements(child) <= elements(*parents)
    assert len(children) > 120
    assert len(set(children)) > 80


def test_crossover_of_two_chains_is_every_way_to_join_their_ends() -> None:
    found = {crossover("CCO", "NCC", Random(seed)) for seed in range(200)}
    # CC and O or C and CO, joined to N and CC or NC and C; three heavy atoms are the least.
    assert found == {"CCC", "CCN", "CCO", "NCO", "CCCC", "CCCN", "CCCO", "NCCO"}


def test_mutants_are_sane_and_near() -> None:
    random = Random(1)
    for drug in DRUGS:
        canonical = check(drug).canonical
        assert canonical is not None
        mutants = [mutated(canonical, random) for _ in range(40)]
        good = [each for each in mutants if each is not None]
        assert len(set(good)) > 8
        for each in good:
            assert sound(each), each
            assert each != canonical
            # One atom more, less or other.
            lost, won = elements(canonical) - elements(each), elements(each) - elements(canonical)
            assert lost.total() <= 1
            assert won.total() <= 1


def test_the_same_numbers_make_the_same_children() -> None:
    first = [crossover(DRUGS[0], DRUGS[3], Random(seed)) for seed in range(20)]
    assert first == [crossover(DRUGS[0], DRUGS[3], Random(seed)) for seed in range(20)]
    assert len(set(first)) > 3


@pytest.mark.parametrize("smiles", ["", "C(", "c1cccc1"])
def test_what_is_no_molecule_has_no_children(smiles: str) -> None:
    assert editable(smiles) is None
    assert mutated(smiles, Random(0)) is None
    assert crossover(smiles, "CCO", Random(0)) is None


@pytest.mark.parametrize(
    "smiles", ["CC", "CC.CCO", "[CH2]CC", "*CCC", "C1CCCCCC1", "C1=C=CCCC1", "C1=CC1", "C" * 51]
)
def test_what_is_unsound_is_not_finished(smiles: str) -> None:
    mol = Chem.MolFromSmiles(smiles)
    assert finished(mol) is None


def test_small_molecules_may_have_nothing_to_change() -> None:
    assert crossover("C", "C", Random(0)) is None
