"""Journals: what was added comes back exactly, and what an interrupt tears does not count."""

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from moldiff.errors import MoldiffError
from moldiff.generation.journal import Journal

IDENTITY = {"n": 5, "setting": {"steps": 3, "options": {}}, "targets": ["a=1"]}
FIRST = pd.DataFrame(
    {
        "smiles": [None, "C", None],
        "raw": ["", "NA", 'a,"b\n\rc'],
        "valid": [False, True, False],
        "q": [math.nan, 0.1 + 0.2, math.inf],
        "reason": ["empty", None, "parse"],
    }
)
SECOND = pd.DataFrame({"smiles": ["O"], "raw": ["O"], "valid": [True], "q": [1e-300 / 3], "reason": ["x"]})
Open = Callable[..., Journal]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Open]:
    opened: list[Journal] = []

    def make(resume: bool = False, identity: dict[str, Any] = IDENTITY) -> Journal:
        opened.append(Journal(tmp_path / "m.csv", identity, resume=resume))
        return opened[-1]

    yield make
    for journal in opened:
        journal.close()


def written(begin: Open) -> Journal:
    """A journal of two pieces, closed as by a kill."""
    journal = begin()
    journal.append(FIRST, {"number": 1})
    journal.append(SECOND, {"number": 2})
    journal.close()
    return journal


def check(journal: Journal, *expected: pd.DataFrame) -> None:
    pieces = list(journal.pieces())
    assert [state["number"] for _, state in pieces] == list(range(1, len(expected) + 1))
    for (found, _), frame in zip(pieces, expected, strict=True):
        assert found["raw"].tolist() == frame["raw"].tolist()
        assert found["valid"].dtype == bool
        # None and NaN are the same nothing.
        assert_frame_equal(
            found.astype(object).where(found.notna(), None), frame.astype(object).where(frame.notna(), None)
        )


def test_what_was_added_comes_back(begin: Open) -> None:
    part = written(begin).part
    again = begin(resume=True)
    assert again.rows == 4
    check(again, FIRST, SECOND)
    again.append(SECOND, {"number": 3})
    check(again, FIRST, SECOND, SECOND)
    again.close()
    # The table is the one that pandas would write at once.
    whole = pd.concat([FIRST, SECOND, SECOND]).to_csv(index=False, lineterminator="\n")
    assert part.read_bytes() == whole.encode()


def test_what_is_torn_does_not_count(begin: Open, tmp_path: Path) -> None:
    written(begin)
    part, log = tmp_path / "m.csv.part", tmp_path / "m.csv.part.log"
    table, lines = part.read_bytes(), log.read_bytes()
    ends = [mark["bytes"] for mark in map(json.loads, lines.splitlines()) if "bytes" in mark]
    cases = {
        (table + b"CC,C", lines): (FIRST, SECOND),
        (table, lines + b'{"rows": 5, "by'): (FIRST, SECOND),
        (table[:-1], lines): (FIRST,),
        (table[: ends[0]], lines): (FIRST,),
        (table, lines[:-2]): (FIRST,),
        (table[: ends[0] - 1], lines): (),
        (b"", lines): (),
    }
    for (cut, log_cut), expected in cases.items():
        part.write_bytes(cut)
        log.write_bytes(log_cut)
        journal = begin(resume=True)
        assert journal.rows == sum(map(len, expected))
        check(journal, *expected)
        journal.append(SECOND, {"number": len(expected) + 1})
        check(journal, *expected, SECOND)
        journal.close()
        journal = begin(resume=True)
        check(journal, *expected, SECOND)
        journal.close()


def test_rows_of_an_unfinished_run_are_not_overwritten(begin: Open, tmp_path: Path) -> None:
    written(begin)
    before = (tmp_path / "m.csv.part").read_bytes()
    with pytest.raises(
        MoldiffError, match="has 4 rows of an unfinished run; go on with --resume, or delete it"
    ):
        begin()
    assert (tmp_path / "m.csv.part").read_bytes() == before
    (tmp_path / "m.csv.part").unlink()
    assert begin().rows == 0


def test_a_run_without_rows_is_begun_anew(begin: Open) -> None:
    begin().close()
    assert begin(identity={"n": 6}).rows == 0


def test_another_request_is_refused_and_says_what_differs(begin: Open, tmp_path: Path) -> None:
    written(begin)
    other = {"n": 6, "setting": {"steps": 3, "options": {"eta": 0.5}}, "targets": ["a=1"]}
    with pytest.raises(MoldiffError) as caught:
        begin(resume=True, identity=other)
    differing = "n was 5, is 6; setting options eta was None, is 0.5"
    assert str(caught.value) == f"--resume: {tmp_path / 'm.csv.part'} is of another run: {differing}"
    check(begin(resume=True), FIRST, SECOND)


@pytest.mark.parametrize("log", [b"\n", b"nonsense\n", b'{"format": 99, "run": {}}\n', b"\xff\xfe\n"])
def test_a_damaged_log_is_refused(log: bytes, begin: Open, tmp_path: Path) -> None:
    written(begin)
    (tmp_path / "m.csv.part.log").write_bytes(log)
    for resume in (False, True):
        with pytest.raises(MoldiffError, match="is damaged or of another version; delete it"):
            begin(resume=resume)
    assert (tmp_path / "m.csv.part").stat().st_size > 0


def test_two_runs_do_not_write_one_file(begin: Open) -> None:
    pytest.importorskip("fcntl")
    journal = begin()
    journal.append(FIRST, {"number": 1})
    with pytest.raises(MoldiffError, match="is being written by another run"):
        begin(resume=True)
    check(journal, FIRST)


def test_the_end_leaves_the_table_or_nothing(begin: Open, tmp_path: Path) -> None:
    journal = begin()
    journal.append(FIRST, {"number": 1})
    journal.become(tmp_path / "m.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["m.csv"]
    journal = begin()
    journal.append(FIRST, {"number": 1})
    journal.drop()
    assert [path.name for path in tmp_path.iterdir()] == ["m.csv"]


def test_what_cannot_be_written_is_an_error_for_the_caller(tmp_path: Path) -> None:
    with pytest.raises(MoldiffError, match="cannot write"):
        Journal(tmp_path / "missing" / "m.csv", IDENTITY, resume=False)
    (tmp_path / "m.csv.part").mkdir()
    with pytest.raises(MoldiffError, match="cannot write"):
        Journal(tmp_path / "m.csv", IDENTITY, resume=False)
