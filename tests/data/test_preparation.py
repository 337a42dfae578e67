"""From a molecule file to a token file: every row is an item, or is listed with its reason."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, final

import pandas as pd
import pytest

from moldiff import registry
from moldiff.chem.molecule import REASONS, canonical, rdkit_version
from moldiff.data.formats import COLUMNS, KINDS
from moldiff.data.molecules import Molecules
from moldiff.data.readers import ReadResult, Rejected
from moldiff.data.selfies import SelfiesTokenizer
from moldiff.data.sets import catalogue
from moldiff.data.smiles import SmilesTokenizer
from moldiff.data.spelling import Spelled, spell
from moldiff.data.vocabulary import VocabularyTokenizer
from moldiff.errors import MoldiffError
from moldiff.types import Balance


@final
@dataclass(frozen=True)
class Formula(VocabularyTokenizer):
    """A notation that loses something: atoms, without branches."""

    name: ClassVar[str] = "formula"
    notation: ClassVar[str] = "formula"

    @classmethod
    def split(cls, smiles: str) -> list[str]:
        return [each for each in smiles if each.isalpha()]

    @classmethod
    def join(cls, tokens: Sequence[str]) -> str:
        return "".join(tokens)

    @classmethod
    def is_token(cls, text: str) -> bool:
        return len(text) == 1

    def balance(self) -> Balance:
        return Balance()


def read(*smiles: str) -> ReadResult:
    return ReadResult(list(smiles), list(range(1, len(smiles) + 1)), [])


def test_a_molecule_that_comes_back_as_another_is_rejected() -> None:
    found = spell(read("CCO", "CC(C)O", "OCN", "C1CC1"), Formula)
    assert found == Spelled(
        ["CCO", "OCN"],
        [["C", "C", "O"], ["O", "C", "N"]],
        [
            Rejected(2, "CC(C)O", "round-trip", "comes back as CCCO"),
            Rejected(4, "C1CC1", "round-trip", "comes back as CCC"),
        ],
    )


def test_what_cannot_be_written_or_is_too_long_is_rejected() -> None:
    found = spell(read("CO", "CI(=O)=O", "[NH3]->[Fe]", "c1ccccc1"), SelfiesTokenizer, longest=7)
    assert (found.smiles, found.rows) == (["CO"], [["[C]", "[O]"]])
    assert [(each.line, each.reason) for each in found.rejected] == [
        (2, "token"),
        (3, "token"),
        (4, "longer"),
    ]
    assert "max. of 1 bond" in found.rejected[0].detail
    assert found.rejected[2].detail == "8 tokens, at most 7 fit"
    found = spell(read("C", "[NH3]->[Fe]"), SmilesTokenizer)
    assert found.rejected[0].detail == (
        "unsupported token '>' at position 6 of '[NH3]->[Fe]': not a SMILES token"
    )


def test_two_processes_spell_the_same() -> None:
    molecules = read(*("C" * (1 + n % 40) + "O" for n in range(600)))
    assert spell(molecules, SelfiesTokenizer, workers=2) == spell(molecules, SelfiesTokenizer)


ROWS = "CCO\nOCC\nC1CC\n\n*C\nC[C@H](F)O\nC[C@@H](F)O\nCC(=O)[O-].[Na+]\nCI(=O)=O\nc1ccccc1\n"


def test_every_row_is_an_item_or_is_told_with_its_reason(tmp_path: Path) -> None:
    path = tmp_path / "a.smi"
    path.write_text(ROWS, "utf-8")
    told: list[pd.DataFrame] = []
    data = Molecules().prepare(path, tokenizer="selfies", heldout=0, left_out=told.append)
    (rows,) = told
    assert rows[["line", "reason"]].to_numpy().tolist() == [
        [2, "repeat"],
        [3, "ring"],
        [5, "dummy"],
        [8, "fragments"],
        [9, "token"],
    ]
    assert rows["text"].tolist() == ["OCC", "C1CC", "*C", "CC(=O)[O-].[Na+]", "CI(=O)=O"]
    assert rows["detail"].tolist()[:2] == ["of line 1", ""]
    assert len(data) == 4
    tokenizer = SelfiesTokenizer.from_state(data.info["tokenizer"])
    assert [canonical(tokenizer.decode(data.item(i))) for i in range(4)] == [
        canonical(each) for each in ("CCO", "C[C@H](F)O", "C[C@@H](F)O", "c1ccccc1")
    ]
    assert {key: data.info[key] for key in data.info if key != "tokenizer"} == {
        "modality": "molecules",
        "source": "a.smi",
        "source_sha256": hashlib.sha256(ROWS.encode()).hexdigest(),
        "reading": {"stereo": "keep", "fragments": "refuse"},
        "rejected": {"ring": 1, "dummy": 1, "fragments": 1, "token": 1},
        "duplicates": 1,
        "altered": {},
        "rdkit": rdkit_version(),
    }


def test_policies_stand_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.smi"
    path.write_text(ROWS, "utf-8")
    data = Molecules().prepare(path, stereo="strip", fragments="largest")
    assert data.info["reading"] == {"stereo": "strip", "fragments": "largest"}
    assert data.info["altered"] == {"stereo stripped": 1, "largest fragment": 1}
    assert data.info["rejected"] == {"ring": 1, "dummy": 1}
    assert data.info["duplicates"] == 2
    assert data.info["tokenizer"]["name"] == "smiles"


def test_a_file_of_which_nothing_is_left_is_told_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.smi"
    path.write_text("C1CC\nCCCC\n", "utf-8")
    told: list[pd.DataFrame] = []
    with pytest.raises(
        MoldiffError, match=r"no molecules in .*a.smi: all are left out \({'ring': 1, 'longer'"
    ):
        Molecules().prepare(path, pad_to=2, left_out=told.append)
    assert told[0]["reason"].tolist() == ["ring", "longer"]


def test_every_reason_and_data_set_is_explained() -> None:
    text = (Path(__file__).parents[2] / "docs" / "data.md").read_text("utf-8")
    for reason in (*REASONS, "token", "round-trip", "longer", "repeat"):
        assert f"`{reason}`" in text
    for each in catalogue():
        assert all(fact in text for fact in (f"`{each.name}`", f"{each.rows:,}", each.sha256))
    assert all(f"`{suffix}`" in text for suffix in KINDS)
    assert all(f"`{column}`" in text for column in COLUMNS)


def test_the_registry_and_the_modality_name_the_same_tokenizers() -> None:
    assert {each.name: each for each in Molecules.notations} == {
        name: registry.resolve("tokenizer", name) for name in registry.TOKENIZERS_OF["molecules"]
    }
    for each in Molecules.notations:
        state: dict[str, Any] = json.loads(json.dumps(each.learn(["CO"]).state()))
        assert Molecules().tokenizer(state) == each.learn(["CO"])
    assert registry.tokenizer_name("molecules", None) == Molecules.notations[0].name == "smiles"
    with pytest.raises(MoldiffError, match="unknown tokenizer: got 'words', choose from smiles, selfies"):
        registry.tokenizer_name("molecules", "words")
    with pytest.raises(MoldiffError, match="unknown tokenizer: got 'words', choose from smiles, selfies"):
        Molecules().tokenizer({"name": "words", "vocab": ["C"], "pad_to": None})
