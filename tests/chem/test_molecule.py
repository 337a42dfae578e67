"""What a string is: every reason, what passes, and that canonical forms and hashes stay put."""

import pytest
from rdkit import Chem

from moldiff.chem.molecule import (
    MAX_LENGTH,
    MIN_CHUNK,
    REASONS,
    Check,
    canonical,
    check,
    drop_stereo,
    from_block,
    identity,
    largest_fragment,
    map_chunks,
    parse,
    rdkit_version,
    reordered,
)
from moldiff.errors import MoldiffError

UNREADABLE = {
    "": "empty",
    "C" * (MAX_LENGTH + 1): "length",
    "CCO foo": "parse",
    " CCO": "parse",
    "CCO\n": "parse",
    "C\0C": "parse",
    "Cé": "parse",
    "٣": "parse",
    "CC[": "parse",
    "[13C": "parse",
    "C()C": "parse",
    "C11": "parse",
    "C%1": "parse",
    "[Xx]": "parse",
    "C>>C": "parse",
    "C1CC": "ring",
    "c1ccccc": "ring",
    "C%12CC": "ring",
    "C%(100)CC": "ring",
    "C(C": "branch",
    "CC)C": "branch",
    "C)(C": "branch",
    "C1(C": "branch",
    "C(C)(C)(C)(C)C": "valence",
    "[CH5]": "valence",
    "C[N+](C)(C)(C)C": "valence",
    "c1cccc1": "kekulize",
    "cC": "kekulize",
}
ODD = {
    "CC.O": "fragments",
    "[Na+].[Cl-]": "fragments",
    "[CH3]": "radical",
    "C[O]": "radical",
    "*C": "dummy",
    "[*:1]CC": "dummy",
}
SANE = {
    "OCC": "CCO",
    "C(C)O": "CCO",
    "[H]C([H])([H])O": "CO",
    "C1=CC=CC=C1": "c1ccccc1",
    "O=N(=O)C": "C[N+](=O)[O-]",
    "C%(100)CC%(100)": "C1CC1",
    "C[C@H](O)F": "C[C@H](O)F",
    "[13CH4]": "[13CH4]",
    "[O-]C=O": "O=C[O-]",
}


@pytest.mark.parametrize(("smiles", "reason"), UNREADABLE.items(), ids=range(len(UNREADABLE)))
def test_unreadable_strings_have_a_reason_and_nothing_else(smiles: str, reason: str) -> None:
    assert check(smiles) == Check(canonical=None, valid=False, sane=False, reason=reason)
    assert parse(smiles) is None
    assert canonical(smiles) is None
    assert drop_stereo(smiles) is None


@pytest.mark.parametrize(("smiles", "reason"), ODD.items())
def test_odd_molecules_are_valid_but_not_sane(smiles: str, reason: str) -> None:
    verdict = check(smiles)
    assert (verdict.valid, verdict.sane, verdict.reason) == (True, False, reason)
    assert verdict.canonical == canonical(smiles)


@pytest.mark.parametrize(("smiles", "expected"), SANE.items())
def test_sane_molecules_have_their_canonical_form(smiles: str, expected: str) -> None:
    assert check(smiles) == Check(canonical=expected, valid=True, sane=True, reason=None)
    assert canonical(smiles) == expected


def test_every_reason_but_the_catch_all_is_met_above() -> None:
    met = set(UNREADABLE.values()) | set(ODD.values())
    assert met == set(REASONS) - {"sanitize"}


def test_the_first_of_several_oddities_is_named() -> None:
    assert check("[CH3].*").reason == "fragments"
    assert check("*[CH2]").reason == "radical"


def test_a_string_of_the_longest_length_is_read() -> None:
    assert check("C" * MAX_LENGTH).sane


def test_a_parsed_molecule_has_no_explicit_hydrogens() -> None:
    mol = parse("[H]C([H])([H])[H]")
    assert mol is not None
    assert mol.GetNumAtoms() == 1


@pytest.mark.parametrize(
    ("smiles", "expected"),
    [
        ("C[C@H](O)F", "CC(O)F"),
        ("F/C=C/F", "FC=CF"),
        ("[13CH3][C@@H](O)F", "[13CH3]C(O)F"),
        ("CCO", "CCO"),
    ],
)
def test_dropping_stereo_keeps_everything_else(smiles: str, expected: str) -> None:
    assert drop_stereo(smiles) == expected


def test_stereoisomers_become_one_molecule() -> None:
    # Tartaric acid: the meso form and one enantiomer.
    forms = ("O[C@H](C(=O)O)[C@@H](O)C(=O)O", "O[C@@H](C(=O)O)[C@@H](O)C(=O)O")
    assert canonical(forms[0]) != canonical(forms[1])
    assert drop_stereo(forms[0]) == drop_stereo(forms[1]) == canonical("OC(C(=O)O)C(O)C(=O)O")


@pytest.mark.parametrize(
    ("smiles", "expected"),
    [
        ("CC(=O)[O-].[Na+]", "CC(=O)[O-]"),
        ("[Pb+2].[Pb+2].C[O-]", "C[O-]"),
        ("CCN.OS(=O)(=O)O", "CCN"),
        ("CC.CCC.C", "CCC"),
        ("OCC", "CCO"),
        ("C1CC", None),
        ("", None),
    ],
)
def test_the_largest_piece_is_the_organic_one_with_most_atoms(smiles: str, expected: str | None) -> None:
    assert largest_fragment(smiles) == expected


def test_blocks_and_pieces_are_read_in_silence(capfd: pytest.CaptureFixture[str]) -> None:
    mol = parse("C[N+](C)(C)C")
    assert mol is not None
    block = str(Chem.MolToMolBlock(mol))
    assert from_block(block) == ("C[N+](C)(C)C", None)
    assert from_block(block.replace("M  CHG  1   2   1\n", "")) == (None, "valence")
    assert from_block("\n\n\nM  END") == (None, "parse")
    largest_fragment("C.O")
    assert capfd.readouterr() == ("", "")


def test_identity_is_the_same_number_everywhere() -> None:
    # blake2b of 8 bytes, little endian, signed: written down once, never to change.
    assert identity("") == -5426141060434712860
    assert identity("CCO") == -4371986520294612883


def test_identity_fits_an_int64_and_tells_spellings_apart() -> None:
    numbers = [identity("C" * n) for n in range(200)]
    assert len(set(numbers)) == 200
    assert all(-(2**63) <= number < 2**63 for number in numbers)
    assert min(numbers) < 0 < max(numbers)


def test_the_version_has_the_form_of_rdkit_versions() -> None:
    year, month, _ = rdkit_version().split(".")
    assert int(year) >= 2025
    assert 1 <= int(month) <= 12


def test_rdkit_stays_silent_inside_and_is_heard_again_outside(
    capfd: pytest.CaptureFixture[str],
) -> None:
    from rdkit import Chem

    for smiles in (*UNREADABLE, *ODD):
        check(smiles)
    assert capfd.readouterr() == ("", "")
    assert Chem.MolFromSmiles("C1CC") is None
    assert "unclosed ring" in capfd.readouterr().err


@pytest.mark.parametrize("workers", [1, 2])
def test_chunks_come_back_in_order(workers: int) -> None:
    items = list(range(2 * MIN_CHUNK + 3))
    assert map_chunks(list, items, workers) == items


def test_chunks_of_nothing_are_nothing() -> None:
    assert map_chunks(list, [], 2) == []


def test_no_workers_are_refused() -> None:
    with pytest.raises(MoldiffError, match="workers must be at least 1: got 0"):
        map_chunks(list, [1], 0)


def test_a_molecule_in_another_order_is_the_same_molecule() -> None:
    smiles = Chem.CanonSmiles("CC(=O)Nc1ccc(O)cc1")
    found = {reordered(smiles, seed) for seed in range(30)}
    assert len(found) > 15
    assert {Chem.CanonSmiles(str(each)) for each in found} == {smiles}
    assert len({str(each)[0] for each in found}) > 2
    assert reordered(smiles, 3) == reordered(smiles, 3)
    # Not canonical to begin with, so not what is read back; and no molecule.
    assert reordered("C(C)O", 0) is None
    assert reordered("C1", 0) is None
