"""Tables of molecules written and read back."""

import json
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rdkit import Chem

from moldiff.chem.metrics import Reference
from moldiff.data.molecules import Molecules
from moldiff.data.writers import WRITERS
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


def test_of_filtered_ones_smi_and_sdf_hold_those_that_pass(frame: pd.DataFrame, tmp_path: Path) -> None:
    passing = frame.assign(passes=[False, False, True, False])
    for suffix in (".smi", ".sdf"):
        Molecules().write(passing, tmp_path / f"m{suffix}")
    assert (tmp_path / "m.smi").read_text() == "c1ccccc1\n"
    assert [mol.GetProp("_Name") for mol in Chem.SDMolSupplier(str(tmp_path / "m.sdf"))] == ["2"]


def test_a_drawing_in_the_plane_keeps_its_stereo(tmp_path: Path) -> None:
    raw = ["C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O", "F/C=C/F", "F/C=C\\F"]
    Molecules().write(Molecules().evaluate(raw, Reference.of([], [])), tmp_path / "m.sdf")
    text = (tmp_path / "m.sdf").read_text("utf-8")
    assert text.count("     RDKit          2D\n") == len(raw)
    read = [Chem.MolToSmiles(mol) for mol in Chem.SDMolSupplier(str(tmp_path / "m.sdf"))]
    assert read == [Chem.CanonSmiles(each) for each in raw]


def test_parquet_holds_every_row_with_its_types(frame: pd.DataFrame, tmp_path: Path) -> None:
    Molecules().write(frame, tmp_path / "m.parquet")
    table = pd.read_parquet(tmp_path / "m.parquet")
    assert (
        table.dtypes.astype(str).tolist() == ["str", "str", "bool", "bool", "str", "bool"] + ["float64"] * 9
    )
    pd.testing.assert_frame_equal(table, frame, check_dtype=False)
    broken = Molecules().evaluate(["C("], Reference.of([], []))
    Molecules().write(broken, tmp_path / "m.parquet")
    assert str(pd.read_parquet(tmp_path / "m.parquet")["smiles"].dtype) == "str"


def test_jsonl_has_null_for_what_json_cannot_say(frame: pd.DataFrame, tmp_path: Path) -> None:
    frame.loc[0, "qed"] = np.inf
    frame.loc[2, "logp"] = 0.1 + 0.2
    Molecules().write(frame, tmp_path / "m.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "m.jsonl").read_text("utf-8").splitlines()]
    assert lines[0]["qed"] is None
    assert lines[2]["logp"] == 0.1 + 0.2


@pytest.mark.parametrize("suffix", WRITERS)
def test_how_a_table_is_cut_does_not_change_the_file(
    suffix: str, frame: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moldiff.data.tables.ROW_GROUP", 3)
    Molecules().write(frame, tmp_path / f"whole{suffix}")
    for cuts in ([0, 1, 2, 3, 4], [0, 0, 3, 4], [0, 4]):
        with closing(Molecules().writer(tmp_path / "part", suffix)) as writer:
            for first, last in pairwise(cuts):
                writer.append(frame.iloc[first:last])
        assert (tmp_path / "part").read_bytes() == (tmp_path / f"whole{suffix}").read_bytes()


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_table_without_rows_is_a_file(suffix: str, frame: pd.DataFrame, tmp_path: Path) -> None:
    Molecules().write(frame.head(0), tmp_path / f"m{suffix}")
    data = (tmp_path / f"m{suffix}").read_bytes()
    assert data.startswith({".csv": b"smiles,raw,", ".parquet": b"PAR1"}.get(suffix, b""))
    if suffix == ".parquet":
        assert list(pd.read_parquet(tmp_path / "m.parquet").columns) == list(frame.columns)


def test_nothing_is_left_where_writing_fails(frame: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(MoldiffError, match="cannot write"):
        Molecules().write(frame, tmp_path / "absent" / "m.csv")
    with pytest.raises(MoldiffError, match=r"kind of output file: got '\.xyz'"):
        Molecules().write(frame, tmp_path / "m.xyz")
    assert list(tmp_path.iterdir()) == []
