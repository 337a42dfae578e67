"""Verbs: what a row keeps, and what is no answer."""

from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem

from moldiff.chem.cores import read, strained
from moldiff.chem.molecule import canonical
from moldiff.chem.sketches import renoised
from moldiff.design.verbs import Grow, Morph, Superstructure, infill, lead
from moldiff.errors import MoldiffError

IBUPROFEN = "CC(C)Cc1ccc(C(C)C(=O)O)cc1"


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_what_closes_a_core_at_least() -> None:
    # "C%10" for one end; "C%10.C%11" for two by themselves; "C%10%11" for both at once.
    one, two = read("*c1ccccc1", "scaffold"), read("*c1ccc(*)cc1", "scaffold")
    assert Grow(one).sketch(random()).least == 2
    assert Grow(two).sketch(random()).least == 5
    assert Grow(two, joined=True).sketch(random()).least == 3


def test_one_decoration_at_two_ends_is_no_answer() -> None:
    verb = Grow(read("*c1cccc(*)c1", "scaffold"))
    assert verb.fault("", Chem.MolFromSmiles("Cc1cccc(N)c1")) is None
    assert verb.fault("", Chem.MolFromSmiles("C1CCCCCCc2cccc1c2")) == "bridged"
    # A ring of its own at an end is a decoration like any other.
    assert verb.fault("", Chem.MolFromSmiles("Cc1cccc(C2CC2)c1")) is None


def test_a_superstructure_grows_at_other_places_row_by_row() -> None:
    verb = Superstructure(read("c1ccncc1", "core"))
    drawn = [verb.sketch(random(seed)).core for seed in range(60)]
    assert {core.ends for core in drawn} == {1, 2, 3}
    assert len({core.text for core in drawn}) > 10
    assert verb.fault("", Chem.MolFromSmiles("Cc1ccncc1")) is None
    assert verb.fault("", Chem.MolFromSmiles("Cc1ccccc1")) == "core"


@pytest.mark.parametrize("strength", [0.2, 0.5, 0.8])
def test_a_strength_is_about_the_share_of_atoms_that_goes(strength: float) -> None:
    mol = Chem.MolFromSmiles(IBUPROFEN)
    shares = []
    for seed in range(100):
        sketch = renoised(mol, strength, random(seed))
        kept = sum(Chem.MolFromSmiles(text).GetNumHeavyAtoms() for text in sketch.core.shown)
        shares.append(1 - kept / mol.GetNumAtoms())
        assert sketch.core.kept_in(mol)
        assert sketch.gap is not None
    assert abs(np.mean(shares) - strength) < 0.12
    assert len(set(shares)) > 1


def test_a_whole_lead_goes_at_strength_one() -> None:
    sketch = renoised(Chem.MolFromSmiles(IBUPROFEN), 1.0, random())
    assert sketch.core.parts == ()
    assert sketch.least == 1


@pytest.mark.parametrize(
    "smiles", ["CC(C(=O)O)C12C[C@H]1c1ccc2cc1", "CC(C)CC1=c2c(c3ccc2cc3)=C1", "CC1=C2C(CC(C)C)=C1c1ccc2cc1"]
)
def test_a_benzene_ring_that_is_bridged_is_no_answer(smiles: str) -> None:
    mol = Chem.MolFromSmiles(smiles)
    assert Morph("CC(C)Cc1ccc(C(C)C(=O)O)cc1", 0.3).fault(str(Chem.MolToSmiles(mol)), mol) == "bridged"


def test_fused_bridged_and_spanned_rings_that_exist_are_not_strained(textbook: Path) -> None:
    known = [line.split()[0] for line in textbook.read_text("utf-8").splitlines()]
    acenaphthene, cyclophane, triptycene = (
        "C1Cc2cccc3cccc1c23",
        "C1Cc2ccc(cc2)CCc2ccc1cc2",
        "c1ccc2c(c1)C1c3ccccc3C2c2ccccc21",
    )
    for smiles in (*known, acenaphthene, cyclophane, triptycene):
        mol = Chem.MolFromSmiles(smiles)
        assert mol is None or not strained(mol), smiles


def test_a_lead_itself_and_what_is_too_far_from_it_are_no_answers() -> None:
    verb = Morph(lead(IBUPROFEN), 0.3, floor=0.5)
    itself = canonical(IBUPROFEN)
    assert itself is not None
    assert verb.fault(itself, Chem.MolFromSmiles(itself)) == "unchanged"
    assert verb.fault("C", Chem.MolFromSmiles("C")) == "similarity"
    assert verb.fault("x", Chem.MolFromSmiles("CC(C)Cc1ccc(C(C)C(N)=O)cc1")) is None


def test_an_infill_keeps_the_rest() -> None:
    verb = infill(IBUPROFEN, [0, 1, 2, 3])
    assert verb.core.shown == ("*c1ccc(C(C)C(=O)O)cc1",)
    gaps = [verb.sketch(random(seed)).gap for seed in range(200)]
    assert 5 <= np.mean(gaps) <= 9  # type: ignore[arg-type]
    assert verb.fault(verb.smiles, Chem.MolFromSmiles(verb.smiles)) == "unchanged"
    assert verb.fault("x", Chem.MolFromSmiles("OC(C)c1ccccc1")) == "core"


@pytest.mark.parametrize("strength", [0.0, -1, 1.01, float("nan")])
def test_a_strength_out_of_range_is_refused(strength: float) -> None:
    with pytest.raises(MoldiffError, match="strength: got"):
        Morph("CCO", strength)


@pytest.mark.parametrize("text", ["", "C(", "CCO.CC", "CC*"])
def test_a_lead_is_a_molecule_in_one_piece(text: str) -> None:
    with pytest.raises(MoldiffError, match="no molecule in one piece"):
        lead(text)
