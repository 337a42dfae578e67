"""Cores: what is understood of the pieces that a caller keeps."""

import pytest
from rdkit import Chem

from moldiff.chem.cores import growable, of, opened, read, without
from moldiff.chem.molecule import canonical, parse
from moldiff.errors import MoldiffError


@pytest.mark.parametrize("end", ["*", "[*]", "[*:1]", "[1*]", "[7*:3]"])
def test_an_open_end_may_be_written_in_any_of_the_usual_ways(end: str) -> None:
    core = read(f"c1ccc({end})cc1", "scaffold")
    assert core.shown == ("*c1ccccc1",)
    assert core.text == "c%101ccccc1"
    assert core.ends == 1


def test_pieces_are_parted_by_dots_and_their_ends_are_numbered_in_turn() -> None:
    core = read("c1ccccc1[*:1].[*:2]N1CCN(*)CC1", "fragments")
    assert core.text == "c%101ccccc1.N%111CCN%12CC1"
    assert core.ends == 3
    # Closed by hand, the text is a molecule that holds the pieces.
    whole = parse(core.text + ".C%10%11.O%12")
    assert whole is not None
    assert core.kept_in(whole)
    assert canonical(Chem.MolToSmiles(whole)) == canonical("ON1CCN(Cc2ccccc2)CC1")


def test_a_piece_is_kept_where_it_is_with_something_at_every_open_end() -> None:
    core = read("c1ccc(*)cc1", "scaffold")
    phenol, benzene, aniline = (Chem.MolFromSmiles(each) for each in ("Oc1ccccc1", "c1ccccc1", "CNc1ccccc1"))
    assert [core.kept_in(each) for each in (phenol, benzene, aniline)] == [True, False, True]
    assert core.places_in(phenol) == (1, 2, 3, 4, 5, 6)
    assert core.places_in(benzene) == ()


def test_of_several_places_a_piece_is_where_it_has_no_bonds_but_its_own() -> None:
    core = read("c1ccccc1*.C1CCNCC1*", "fragments")
    inner, outer, ring = "N1CCCC(c2ccc(CC(=O)", "c3ccccc3", "C1CCCNC1"
    both = Chem.MolFromSmiles(f"C{inner}N{outer})cc2)C1")
    assert {both.GetAtomWithIdx(place).GetDegree() for place in core.places_in(both)[:6]} == {2, 3}
    assert [both.GetAtomWithIdx(place).GetDegree() for place in core.places_in(both)[:6]].count(3) == 1
    two = Chem.MolFromSmiles(f"c1ccccc1N1CCCC(C1){ring}")
    assert set(core.places_in(two)[6:]) == set(range(12, 18))
    # Pieces that are alike lie at two places.
    twins = read("c1ccccc1*.c1ccccc1*", "fragments")
    assert len(twins.places_in(Chem.MolFromSmiles("c1ccccc1Cc1ccccc1"))) == 12


def test_one_atom_may_lie_at_two_open_ends() -> None:
    core = read("*CCO[C@H](C)C*", "core")
    ring, other = Chem.MolFromSmiles("C1CCO[C@H](C)C1"), Chem.MolFromSmiles("C1CCO[C@@H](C)C1")
    assert core.kept_in(ring) != core.kept_in(other)
    assert core.bridged_in(ring if core.kept_in(ring) else other)
    chain = read("*CCCCC*", "core")
    assert chain.kept_in(Chem.MolFromSmiles("O1CCCCC1"))
    assert len(chain.places_in(Chem.MolFromSmiles("O1CCCCC1"))) == 5
    assert not chain.kept_in(Chem.MolFromSmiles("C1CCCC1"))


@pytest.mark.parametrize("text", ["c1ccc(*)cc1 phenyl", "c1ccc(*)cc1\tx"])
def test_a_name_behind_the_smiles_is_not_ignored(text: str) -> None:
    with pytest.raises(MoldiffError, match="not a valid SMILES"):
        read(text, "scaffold")


def test_a_piece_keeps_its_stereo() -> None:
    core = read("*C(=O)[C@H](C)N", "scaffold")
    left, right = (Chem.MolFromSmiles(each) for each in ("OC(=O)[C@H](C)N", "OC(=O)[C@@H](C)N"))
    assert core.kept_in(left)
    assert not core.kept_in(right)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "which is not a valid SMILES"),
        ("C(", "which is not a valid SMILES"),
        ("*", "a \\* that has 0 bonds"),
        ("*1CC1", "a \\* that has 2 bonds"),
        ("*=C", "one of them not single"),
        ("**", "a \\* at a \\*"),
    ],
)
def test_what_is_no_piece_is_refused_in_a_line(text: str, said: str) -> None:
    with pytest.raises(MoldiffError, match=said) as caught:
        read(text, "scaffold")
    assert str(caught.value).startswith("scaffold: got")


def test_atoms_that_are_taken_out_leave_open_ends() -> None:
    aspirin = "CC(=O)Oc1ccccc1C(=O)O"
    core = without(aspirin, [3], "smiles")
    assert sorted(core.shown) == ["*C(C)=O", "*c1ccccc1C(=O)O"]
    assert without(aspirin, [0, 1, 2, 3], "smiles").shown == ("*c1ccccc1C(=O)O",)


@pytest.mark.parametrize(
    ("atoms", "said"),
    [
        ([], "got none"),
        ([13], "has atoms 0 to 12"),
        (list(range(13)), "got all 13"),
        ([4], "and is aromatic"),
        ([2], "and is double"),
    ],
)
def test_what_cannot_be_taken_out_is_said(atoms: list[int], said: str) -> None:
    with pytest.raises(MoldiffError, match=said):
        without("CC(=O)Oc1ccccc1C(=O)O", atoms, "smiles")


def test_a_core_grows_where_it_has_a_hydrogen_to_give() -> None:
    pyrrole = read("c1cc[nH]c1", "core")
    places = growable(pyrrole)
    assert len(places) == 5
    for place in places:
        grown = opened(pyrrole, [place])
        assert grown.ends == 1
        assert pyrrole.kept_in(Chem.MolFromSmiles(grown.shown[0].replace("*", "C")))
    assert growable(read("FC(F)(F)F", "core")) == []
    # A carbon may grow twice, but not a hydrogen that is not there.
    assert sorted(growable(read("CO", "core"))) == [0, 0, 1]


def test_what_has_no_dummy_atom_has_no_open_end() -> None:
    assert of(Chem.MolFromSmiles("CCO")).ends == 0
