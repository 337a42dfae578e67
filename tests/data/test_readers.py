"""Molecule files as people write them: headers, comments, gzip, rejects, and what is refused."""

import gzip
from pathlib import Path

import pytest

from moldiff.chem.molecule import MIN_CHUNK
from moldiff.data.readers import COLUMNS, ReadResult, Rejected, read_smiles
from moldiff.errors import MoldiffError


def write(path: Path, text: str) -> Path:
    data = text.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("name", ["a.smi", "a.txt", "a.SMI", "a.smi.gz", "my.first.txt.gz"])
def test_a_line_file_with_everything_in_it(name: str, tmp_path: Path) -> None:
    text = "\ufeff# a comment\nSMILES name\n\nOCC ethanol\r\n  C(C)O\tagain\nC1CC\n#C\nCC.O\nN\n"
    assert read_smiles(write(tmp_path / name, text)) == ReadResult(
        smiles=["CCO", "N"],
        lines=[4, 9],
        rejected=[Rejected(6, "C1CC", "ring"), Rejected(8, "CC.O", "fragments")],
        duplicates=1,
    )


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_a_csv_file_with_everything_in_it(name: str, tmp_path: Path) -> None:
    # Quoted commas and line breaks move the line numbers; a short row has an empty cell.
    text = '\ufeffid,"SMILES",note\n1,OCC,"a, b"\n2,"C(C)O\n","x\ny"\n\n3\n'
    text += '4,[CH3],\n5,*C,\n6,"N\n",z\n'
    assert read_smiles(write(tmp_path / name, text)) == ReadResult(
        smiles=["CCO", "N"],
        lines=[2, 10],
        rejected=[
            Rejected(7, "", "empty"),
            Rejected(8, "[CH3]", "radical"),
            Rejected(9, "*C", "dummy"),
        ],
        duplicates=1,
    )


def test_the_textbook_list_is_clean(textbook: Path) -> None:
    found = read_smiles(textbook)
    assert found.rejected == []
    assert found.duplicates == 0
    assert len(found.smiles) == len(textbook.read_text().splitlines()) >= 200


def test_repeats_can_be_kept_and_are_counted_all_the_same(tmp_path: Path) -> None:
    path = write(tmp_path / "a.smi", "CO\nOC\nC\nCO\n")
    assert read_smiles(path).smiles == ["CO", "C"]
    kept = read_smiles(path, unique=False)
    assert (kept.smiles, kept.lines, kept.duplicates) == (["CO", "CO", "C", "CO"], [1, 2, 3, 4], 2)


def test_stereo_is_kept_unless_stripped(tmp_path: Path) -> None:
    path = write(tmp_path / "a.smi", "C[C@H](O)F\nC[C@@H](O)F\nF/C=C/F\n[13CH4]\n")
    assert len(read_smiles(path).smiles) == 4
    stripped = read_smiles(path, stereo="strip")
    assert stripped.smiles == ["CC(O)F", "FC=CF", "[13CH4]"]
    assert stripped.duplicates == 1


def test_a_first_line_that_is_a_molecule_is_no_header(tmp_path: Path) -> None:
    found = read_smiles(write(tmp_path / "a.smi", "C\nsmiles\n"))
    assert found.smiles == ["C"]
    assert found.rejected == [Rejected(2, "smiles", "parse")]


@pytest.mark.parametrize("name", [*COLUMNS, "Smiles", " MOL "])
def test_the_column_is_guessed(name: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", f"id,{name},mol_id\nC,N,O\n")
    assert read_smiles(path).smiles == ["N"]


def test_the_plainest_column_wins_and_a_named_one_above_all(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "mol,canonical_smiles,smiles\nC,N,O\n")
    assert read_smiles(path).smiles == ["O"]
    assert read_smiles(path, column="mol").smiles == ["C"]


def test_two_processes_read_the_same(tmp_path: Path) -> None:
    lines = ["C" * (1 + n % 50) if n % 9 else "C(" for n in range(2 * MIN_CHUNK + 5)]
    path = write(tmp_path / "a.smi", "\n".join(lines))
    assert read_smiles(path, workers=2) == read_smiles(path)


def test_a_file_of_rejects_is_a_result(tmp_path: Path) -> None:
    found = read_smiles(write(tmp_path / "a.smi", "C(\nX\n"))
    assert found.smiles == []
    assert [each.reason for each in found.rejected] == ["branch", "parse"]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.smi", b"", "no molecules in .*a.smi: the file holds no row"),
        ("a.smi", b"# only\n\n", "no molecules in"),
        ("a.smi", b"smiles\n", "no molecules in"),
        ("a.csv", b"", "no molecules in .*a.csv: the file holds no header"),
        ("a.csv", b"smiles\n", "the file holds no row"),
        ("a.csv", b"id,name\n1,x\n", "no SMILES column in .*a.csv: name one of id, name"),
        ("a.csv", b'smiles\n"C\n', "cannot read .*a.csv: line 2"),
        ("a.smi", b"CCO\n\xff\xfe\n", "cannot read .*a.smi: not UTF-8 text, got byte 0xff"),
        ("a.csv", b"smiles\n\xe9\n", "cannot read .*a.csv: not UTF-8 text, got byte 0xe9"),
        ("a.smi.gz", b"CCO\n", "cannot read .*a.smi.gz: Not a gzipped file"),
        ("a.smi.gz", gzip.compress(b"CCO\n" * 99)[:-9], "cannot read .*a.smi.gz: broken gzip"),
        ("a.sdf", b"CCO\n", "kind of molecule file for a.sdf: got '.sdf', choose from .smi, .txt"),
        ("a.gz", b"CCO\n", "unknown kind of molecule file for a.gz: got ''"),
        ("a", b"CCO\n", "unknown kind of molecule file for a: got ''"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_in_one_line(
    name: str, data: bytes, message: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(MoldiffError, match=message) as caught:
        read_smiles(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MoldiffError, match=r"cannot read .*absent.smi: No such file or directory"):
        read_smiles(tmp_path / "absent.smi")
    (tmp_path / "folder.smi").mkdir()
    with pytest.raises(MoldiffError, match=r"cannot read .*folder.smi: Is a directory"):
        read_smiles(tmp_path / "folder.smi")


def test_unknown_options_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "smiles,id\nC,1\n")
    with pytest.raises(MoldiffError, match=r"unknown column of a\.csv: got 'x', choose"):
        read_smiles(path, column="x")
    with pytest.raises(MoldiffError, match="unknown stereo option: got 'drop', choose from keep"):
        read_smiles(path, stereo="drop")  # type: ignore[arg-type]
    with pytest.raises(MoldiffError, match="workers must be at least 1"):
        read_smiles(path, workers=0)
    lines = write(tmp_path / "a.smi", "C\n")
    with pytest.raises(MoldiffError, match=r"has no columns: got column='smiles', for .csv only"):
        read_smiles(lines, column="smiles")
