"""Diverse subsets: every pick is the farthest, whatever comes in how many pieces."""

from pathlib import Path

import numpy as np
import pytest
from rdkit import DataStructs
from rdkit.Chem import rdFingerprintGenerator

from moldiff.chem.diversity import Picker
from moldiff.chem.molecule import check, parse
from moldiff.errors import MoldiffError


@pytest.fixture(scope="module")
def smiles(textbook: Path) -> list[str]:
    lines = [line.split()[0] for line in textbook.read_text("utf-8").splitlines() if line]
    return [text for text in dict.fromkeys(lines) if check(text).sane]


def filled(smiles: list[str]) -> Picker:
    picker = Picker()
    picker.add(smiles)
    return picker


def test_every_pick_is_farthest_from_those_before(smiles: list[str]) -> None:
    make = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
    bits = [make.GetFingerprint(parse(text)) for text in smiles]
    distance = 1 - np.array([DataStructs.BulkTanimotoSimilarity(each, bits) for each in bits])
    picks = filled(smiles).picks(40)
    assert picks[0] == 0
    assert len(set(picks)) == 40
    for number in range(1, 40):
        nearest = distance[picks[:number]].min(0)
        assert nearest[picks[number]] == pytest.approx(nearest.max(), abs=1e-12)
    among = distance[np.ix_(picks, picks)] + np.eye(40)
    assert filled(smiles).apart(picks) == pytest.approx(among.min())


def test_fewer_picks_are_the_first_of_more_and_pieces_do_not_matter(smiles: list[str]) -> None:
    whole = filled(smiles)
    pieces = Picker()
    for first in range(0, len(smiles), 7):
        pieces.add(smiles[first : first + 7])
    assert len(pieces) == len(whole) == len(smiles)
    most = whole.picks(30)
    assert pieces.picks(30) == most
    for count in (0, 1, 2, 11):
        assert whole.picks(count) == most[:count]


def test_there_are_no_more_picks_than_candidates() -> None:
    assert sorted(filled(["CCO", "c1ccccc1", "CC#N"]).picks(10)) == [0, 1, 2]
    assert Picker().picks(5) == []
    assert filled(["CCO"]).apart([0]) is None


def test_what_is_no_molecule_is_refused() -> None:
    with pytest.raises(MoldiffError, match="not a valid SMILES"):
        Picker().add(["C1CC"])
