"""Molecule files as people write them: headers, comments, gzip, policies, rejects, and what is refused."""

import csv
import gzip
from pathlib import Path

import pytest

from moldiff.chem.molecule import MIN_CHUNK
from moldiff.data.formats import COLUMNS
from moldiff.data.readers import ReadResult, Rejected, read_smiles
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
        repeats=[Rejected(5, "C(C)O", "repeat", "of line 4")],
    )


@pytest.mark.parametrize(
    ("name", "separator"),
    [("a.csv", ","), ("a.csv.gz", ","), ("a.csv", ";"), ("a.csv", "\t"), ("a.tsv", "\t")],
)
def test_a_table_with_everything_in_it(name: str, separator: str, tmp_path: Path) -> None:
    # Quoted separators and line breaks move the line numbers; a short row has an empty cell.
    text = '\ufeffid,"SMILES",note\n1,OCC,"a, b"\n2,"C(C)O\n","x\ny"\n\n3\n'
    text += '4,[CH3],\n5,*C,\n6,"N\n",z\n'
    text = text.replace(",", separator)
    assert read_smiles(write(tmp_path / name, text)) == ReadResult(
        smiles=["CCO", "N"],
        lines=[2, 10],
        rejected=[
            Rejected(7, "", "empty"),
            Rejected(8, "[CH3]", "radical"),
            Rejected(9, "*C", "dummy"),
        ],
        repeats=[Rejected(3, "C(C)O", "repeat", "of line 2")],
    )


def test_a_comma_in_a_header_of_semicolons_parts_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "name, trivial;canonical_smiles\nx,y;CO\n")
    assert read_smiles(path).smiles == ["CO"]
    assert read_smiles(path, column="canonical_smiles").smiles == ["CO"]


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
    assert read_smiles(path).altered == {}
    stripped = read_smiles(path, stereo="strip")
    assert stripped.smiles == ["CC(O)F", "FC=CF", "[13CH4]"]
    assert stripped.repeats == [Rejected(2, "C[C@@H](O)F", "repeat", "of line 1")]
    assert stripped.altered == {"stereo stripped": 2}


def test_pieces_are_refused_unless_the_largest_is_asked_for(tmp_path: Path) -> None:
    lines = [
        "[Na+].CC(=O)[O-]",
        "CCO.CCO",
        "O.O.O.O.N",
        "Cl.CN",
        "[CH2].O",
        "*CC.O",
        "CC(=O)[O-]",
        "C[C@H](F)O.Cl",
    ]
    path = write(tmp_path / "a.smi", "\n".join(lines))
    assert [each.reason for each in read_smiles(path).rejected] == ["fragments"] * 7
    largest = read_smiles(path, fragments="largest")
    assert largest.smiles == ["CC(=O)[O-]", "CCO", "N", "CN", "C[C@@H](O)F"]
    assert [(each.line, each.reason) for each in largest.rejected] == [(5, "radical"), (6, "dummy")]
    assert largest.repeats == [Rejected(7, "CC(=O)[O-]", "repeat", "of line 1")]
    assert largest.altered == {"largest fragment": 5}
    both = read_smiles(path, fragments="largest", stereo="strip")
    assert both.smiles[-1] == "CC(O)F"
    assert both.altered == {"largest fragment": 5, "stereo stripped": 1}


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


def test_a_text_that_is_far_too_long_is_listed_cut(tmp_path: Path) -> None:
    for name, text, line in (
        ("a.smi", "C" * 200_000 + "\nO\n", 1),
        ("a.csv", f"smiles\n{'C' * 200_000}\nO\n", 2),
    ):
        limit = csv.field_size_limit()
        found = read_smiles(write(tmp_path / name, text))
        assert found.smiles == ["O"]
        assert found.rejected == [Rejected(line, "C" * 77 + "...", "length")]
        assert csv.field_size_limit() == limit


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
        ("a.csv", b'smiles\n"C\nN\nO\n', "cannot read .*a.csv: the row at line 2: unexpected end of data"),
        ("a.csv", b'smiles\nC\n"N"O\n', "cannot read .*a.csv: the row at line 3: ',' expected after '\"'"),
        ("a.smi", b"CCO\n\xff\xfe\n", "cannot read .*a.smi: not UTF-8 text, got byte 0xff"),
        ("a.csv", b"smiles\n\xe9\n", "cannot read .*a.csv: not UTF-8 text, got byte 0xe9"),
        ("a.smi.gz", b"CCO\n", "cannot read .*a.smi.gz: Not a gzipped file"),
        ("a.smi.gz", gzip.compress(b"CCO\n" * 99, mtime=0)[:-9], "cannot read .*a.smi.gz: broken gzip"),
        ("a.tsv", b"id\tname\n", "no SMILES column in .*a.tsv: name one of id, name"),
        ("a.sdf", b"\n\n", "no molecules in .*a.sdf: the file holds no row"),
        ("a.parquet", b"PAR1", "cannot read .*a.parquet: Parquet"),
        ("a.parquet", b"smiles" * 9, "cannot read .*a.parquet: Parquet magic bytes not found"),
        ("a.parquet.gz", b"", "a .parquet file is not read gzipped, unpack it first"),
        ("a.xlsx", b"CCO\n", "kind of molecule file for a.xlsx: got '.xlsx', choose from .smi, .txt"),
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
    with pytest.raises(MoldiffError, match=r"cannot read .*folder.smi: it is a folder"):
        read_smiles(tmp_path / "folder.smi")


def test_unknown_options_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "smiles,id\nC,1\n")
    with pytest.raises(MoldiffError, match=r"unknown column of a\.csv: got 'x', choose"):
        read_smiles(path, column="x")
    with pytest.raises(MoldiffError, match="unknown stereo option: got 'drop', choose from keep, strip"):
        read_smiles(path, stereo="drop")  # type: ignore[arg-type]
    with pytest.raises(
        MoldiffError, match="unknown fragments option: got 'all', choose from refuse, largest"
    ):
        read_smiles(path, fragments="all")  # type: ignore[arg-type]
    with pytest.raises(MoldiffError, match="workers must be at least 1"):
        read_smiles(path, workers=0)
    lines = write(tmp_path / "a.smi", "C\n")
    with pytest.raises(
        MoldiffError, match=r"has no columns: got .*'smiles', which is for .csv, .tsv, .parquet"
    ):
        read_smiles(lines, column="smiles")
