"""Tables of molecules written and read back."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rdkit import Chem

from moldiff.chem.metrics import Reference
from moldiff.data.molecules import Molecules
from moldiff.errors import MoldiffError

RAW = ["OCC", "C1CC", "c1ccccc1", "CC.O"]


@pytest.fixture
def frame() -> pd.DataFrame:
    return Molecules().evaluate(RAW, Reference.of(["CCO"], [True]))


def test_csv_and_jsonl_hold_every_row(frame: pd.DataFrame, tmp_path: Path) -> None:
    for suffix in (".csv", ".jsonl"):
        Molecules().write(frame, tmp_path / f"m{suffix}")
    table = pd.read_csv(tmp_path / "m.csv")
    lines = [json.loads(line) for line in (tmp_path / "m.jsonl").read_text("utf-8").splitlines()]
    assert table["raw"].tolist() == [line["raw"] for line in lines] == RAW
    assert list(table.columns) == list(lines[0]) == list(frame.columns)
    assert lines[1]["smiles"] is None
    assert lines[1]["qed"] is None
    assert np.allclose(table["mw"][[0, 2, 3]], [line["mw"] for line in lines if line["valid"]])


def test_smi_holds_the_valid_ones(frame: pd.DataFrame, tmp_path: Path) -> None:
    Molecules().write(frame, tmp_path / "m.smi")
    assert (tmp_path / "m.smi").read_text().split() == ["CCO", "c1ccccc1", "CC.O"]


def test_sdf_holds_the_valid_ones_flat_and_with_their_columns(frame: pd.DataFrame, tmp_path: Path) -> None:
    Molecules().write(frame, tmp_path / "m.sdf")
    mols = list(Chem.SDMolSupplier(str(tmp_path / "m.sdf")))
    assert [mol.GetProp("_Name") for mol in mols] == ["0", "2", "3"]
    assert [Chem.MolToSmiles(mol) for mol in mols] == ["CCO", "c1ccccc1", "CC.O"]
    assert mols[0].GetProp("raw") == "OCC"
    assert float(mols[1].GetProp("mw")) == pytest.approx(78.11, abs=0.01)
    assert mols[1].GetConformer().GetPositions()[:, :2].std() > 0.5
    assert mols[2].GetProp("reason") == "fragments"


def test_nothing_is_left_where_writing_fails(frame: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(MoldiffError, match="cannot write"):
        Molecules().write(frame, tmp_path / "absent" / "m.csv")
    with pytest.raises(MoldiffError, match=r"kind of output file: got '\.xyz'"):
        Molecules().write(frame, tmp_path / "m.xyz")
    assert list(tmp_path.iterdir()) == []
