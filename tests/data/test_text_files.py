"""Texts from files, and what keeps a file from being read."""

import gzip
import os
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moldiff.data.text_files import MARK, Entry, marked, read_source
from moldiff.data.text_writers import WRITERS
from moldiff.errors import MoldiffError

TEXTS = [
    "one\ntwo",
    " spaces \n\n",
    "\n",
    "",
    "a,\"b\",'c'",
    MARK,
    f"x\n\\{MARK}\n\\\\{MARK}",
    "\r\n\r",
    "世界\u2028",
]


def written(texts: list[str], path: Path) -> Path:
    with closing(WRITERS[path.suffix](path)) as writer:
        # In two pieces, as a long run does.
        for part in (texts[:3], texts[3:]):
            writer.append(pd.DataFrame({"raw": pd.array(part, dtype="str"), "valid": [True] * len(part)}))
    return path


def read(path: Path, column: str | None = None) -> list[str]:
    return [entry.text for entry in read_source(path, column).entries]


@pytest.mark.parametrize("suffix", WRITERS)
def test_what_is_written_is_read_back(suffix: str, tmp_path: Path) -> None:
    assert read(written(TEXTS, tmp_path / f"t{suffix}")) == TEXTS


pieces = st.lists(st.sampled_from(["\\", "\n", "\r", " ", "x", MARK]), max_size=8)


@given(st.lists(pieces.map("".join), min_size=1).filter(lambda texts: any(map(str.strip, texts))))
def test_an_entry_ends_where_the_next_begins(texts: list[str]) -> None:
    # The line that announces an entry may stand in it, escaped or not, any number of times.
    with TemporaryDirectory() as folder:
        path = Path(folder) / "t.txt"
        path.write_bytes("".join(map(marked, texts)).encode())
        assert read(path) == texts


def test_only_valid_texts_are_entries_of_a_txt_file(tmp_path: Path) -> None:
    with closing(WRITERS[".txt"](tmp_path / "t.txt")) as writer:
        writer.append(pd.DataFrame({"raw": ["good", " "], "valid": [True, False]}))
    assert (tmp_path / "t.txt").read_text() == f"{MARK}\ngood\n"


def test_a_plain_text_is_one_entry_with_unix_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_bytes("\ufeffone\r\ntwo\n".encode())
    assert read_source(path).entries == [Entry(1, "one\ntwo\n")]
    zipped = tmp_path / "t.txt.gz"
    zipped.write_bytes(gzip.compress(path.read_bytes()))
    assert read(zipped) == read(path)


def test_lines_are_counted(tmp_path: Path) -> None:
    for suffix, lines in {".txt": [2, 5], ".csv": [2, 4], ".jsonl": [1, 2], ".parquet": [1, 2]}.items():
        entries = read_source(written(["a\nb", "c"], tmp_path / f"t{suffix}")).entries
        assert [entry.line for entry in entries] == lines


def test_a_named_column_is_read(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("raw,other\na,b\nc\n")
    assert read(tmp_path / "t.csv", "other") == ["b", ""]
    with pytest.raises(MoldiffError, match=r"column of t\.csv: got 'x', choose from raw, other"):
        read(tmp_path / "t.csv", "x")
    with pytest.raises(MoldiffError, match="has no columns: got column='x'"):
        read(written(["a"], tmp_path / "t.txt"), "x")


def test_the_help_of_python_is_at_hand_each_paragraph_once() -> None:
    found = read_source(Path("pydoc"))
    (entry,) = found.entries
    assert "statement" in entry.text
    assert len(entry.text) > 200_000
    paragraphs = [each for each in entry.text.strip("\n").split("\n\n") if each.strip("\n")]
    assert len(set(paragraphs)) == len(paragraphs)
    assert found == read_source(Path("pydoc"))


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("t.txt", b"", "it holds nothing$"),
        ("t.txt", b" \n\t\n", "nothing but white space"),
        ("t.txt", b"abc\xffdef", "not UTF-8 text, got byte 0xff at offset 3"),
        ("t.txt", b"\xef\xbb\xbf\xc3", "got byte 0xc3 at offset 3"),
        ("t.txt", "é\0".encode(), "it holds a NUL at offset 2"),
        ("t.csv", b"", "column of t.csv: got 'raw'"),
        ("t.csv", b"raw\n", "it holds nothing"),
        ("t.csv", b'raw\n"a', "the row at line 2"),
        ("t.jsonl", b'{"raw": "a"}\n{', "line 2 is not JSON"),
        ("t.jsonl", b"[1]", "line 1 holds list"),
        ("t.jsonl", b'{"raw": 3}', "raw is int, not text"),
        ("t.jsonl", b'{"row": "a"}', "got 'raw', choose from row"),
        ("t.parquet", b"PAR1", "cannot read"),
        ("t.txt.gz", b"abc", "broken gzip file"),
        ("t.txt.gz", gzip.compress(b"abc", mtime=0)[:-4], "broken gzip file"),
        ("t.parquet.gz", b"abc", "unpack it first"),
        ("t.doc", b"abc", "kind of text file for t.doc: got '.doc', choose from .txt"),
        ("t", b"abc", "kind of text file for t: got 't'"),
    ],
)
def test_what_is_no_text_is_refused_in_one_line(name: str, data: bytes, why: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(MoldiffError, match=why) as caught:
        read_source(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "folder.txt").mkdir()
    (tmp_path / "device.txt").symlink_to("/dev/zero")
    for name, why in {"pipe": "a named pipe", "folder": "a folder", "device": "a device"}.items():
        with pytest.raises(MoldiffError, match=why):
            read_source(tmp_path / f"{name}.txt")
    with pytest.raises(MoldiffError, match="No such file"):
        read_source(tmp_path / "nothing.txt")
