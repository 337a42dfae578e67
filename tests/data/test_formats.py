"""SDF records and parquet tables, as others write them and as they break."""

import gzip
from pathlib import Path

import pandas as pd
import pytest
from rdkit import Chem
from rdkit.Chem import AllChem

from moldiff.data.formats import MAX_BLOCK
from moldiff.data.readers import Rejected, read_smiles
from moldiff.errors import MoldiffError


def block(smiles: str, name: str = "", *, dimensions: int = 2) -> str:
    """A mol block with hydrogens and 3-D coordinates, or with wedges in 2-D."""
    mol = Chem.MolFromSmiles(smiles, sanitize=dimensions > 0)
    if dimensions == 3:
        mol = Chem.AddHs(mol)
        assert AllChem.EmbedMolecule(mol, randomSeed=1) == 0
    elif dimensions == 2:
        AllChem.Compute2DCoords(mol)
    mol.SetProp("_Name", name)
    return str(Chem.MolToMolBlock(mol, kekulize=dimensions > 0))


def sdf(*blocks: str) -> bytes:
    return "".join(f"{each}> <note>\nx\n\n$$$$\n" for each in blocks).encode()


def test_records_give_their_molecules_with_stereo(tmp_path: Path) -> None:
    smiles = ["C[C@H](O)F", "F/C=C/Cl", "c1ccc2[nH]ccc2c1"]
    path = tmp_path / "a.sdf"
    for dimensions in (2, 3):
        path.write_bytes(sdf(*(block(each, dimensions=dimensions) for each in smiles)))
        found = read_smiles(path)
        assert (found.smiles, found.lines, found.rejected) == (smiles, [1, 2, 3], [])
    assert read_smiles(path, stereo="strip").smiles == ["CC(O)F", "FC=CCl", smiles[2]]
    packed = tmp_path / "a.sdf.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert read_smiles(packed).smiles == smiles


def test_unreadable_records_are_rejects_by_number_and_title(tmp_path: Path) -> None:
    good = block("CO", "methanol")
    records = [
        good,
        block("CN(C)(C)C", "too many bonds", dimensions=0),
        "cut short\n  x\n\n  2  1  0\n    0.0\n",
        "\n\n\n",
        block("CO", "again"),
        block("[Na+].[Cl-]", "salt"),
        block("*C", "open end"),
        "no atoms\n  x\n\n  0  0  0  0  0  0  0  0  0  0999 V2000\nM  END\n",
        "large\n" + "x" * 100 + "\n" * (MAX_BLOCK + 1),
        block("c1cccc1", "no pyrrole", dimensions=0),
        "Latin-1: caf\xe9\n" + good.partition("\n")[2],
    ]
    path = tmp_path / "a.sdf"
    path.write_bytes("$$$$\n".join(records).encode("latin-1"))
    found = read_smiles(path)
    assert found.smiles == ["CO"]
    assert found.rejected == [
        Rejected(2, "too many bonds", "valence"),
        Rejected(3, "cut short", "parse"),
        Rejected(4, "", "parse"),
        Rejected(6, "salt", "fragments"),
        Rejected(7, "open end", "dummy"),
        Rejected(8, "no atoms", "empty"),
        Rejected(9, "large", "parse"),
        Rejected(10, "no pyrrole", "kekulize"),
    ]
    assert found.repeats == [
        Rejected(5, "again", "repeat", "of line 1"),
        Rejected(11, "Latin-1: caf\ufffd", "repeat", "of line 1"),
    ]


def test_data_fields_are_not_read_as_structure(tmp_path: Path) -> None:
    path = tmp_path / "a.sdf"
    path.write_text(block("CO") + "> <SMILES>\n" + "N" * 2_000_000 + "\n\n$$$$\n" + block("CC"), "utf-8")
    assert read_smiles(path).smiles == ["CO", "CC"]


def test_a_record_of_version_3000_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.sdf"
    path.write_text(Chem.MolToV3KMolBlock(Chem.MolFromSmiles("C1CCCCC1O")), "utf-8")
    assert read_smiles(path).smiles == ["OC1CCCCC1"]


def test_a_parquet_table_with_everything_in_it(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    frame = pd.DataFrame({"id": range(5), "Smiles ": ["OCC", None, "C(C)O\n", "C1CC", "N"]})
    for stored in (frame, frame.astype({"Smiles ": "category"})):
        stored.to_parquet(path)
        found = read_smiles(path)
        assert (found.smiles, found.lines) == (["CCO", "N"], [1, 5])
        assert found.rejected == [Rejected(2, "", "empty"), Rejected(4, "C1CC", "ring")]
        assert found.repeats == [Rejected(3, "C(C)O", "repeat", "of line 1")]


def test_the_column_of_a_parquet_table_is_named_or_guessed(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pd.DataFrame({"mol": ["C"], "smiles": ["N"], "a.b": ["O"], "n": [1]}).to_parquet(path)
    assert read_smiles(path).smiles == ["N"]
    assert read_smiles(path, column="mol").smiles == ["C"]
    assert read_smiles(path, column="a.b").smiles == ["O"]
    with pytest.raises(MoldiffError, match=r"unknown column of a.parquet: got 'x', choose from mol, smiles"):
        read_smiles(path, column="x")
    with pytest.raises(MoldiffError, match=r"cannot read .*a.parquet: column 'n' holds int64, not text"):
        read_smiles(path, column="n")
    pd.DataFrame({"n": [1]}).to_parquet(path)
    with pytest.raises(MoldiffError, match=r"no SMILES column in .*a.parquet: name one of n"):
        read_smiles(path)
    with pytest.raises(MoldiffError, match=r"cannot read .*absent.parquet: No such file"):
        read_smiles(tmp_path / "absent.parquet")
    (tmp_path / "folder.parquet").mkdir()
    with pytest.raises(MoldiffError, match=r"cannot read .*: it is a folder"):
        read_smiles(tmp_path / "folder.parquet")
    pd.DataFrame({"smiles": []}, dtype=str).to_parquet(path)
    with pytest.raises(MoldiffError, match="the file holds no row"):
        read_smiles(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:10] + bytes(20) + whole[30:])
    with pytest.raises(MoldiffError, match=r"(cannot read|no molecules in) .*a.parquet"):
        read_smiles(path)
