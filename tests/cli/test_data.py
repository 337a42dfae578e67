"""`moldiff data`: what it prints and writes, and that nothing is left out in silence."""

import csv
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from moldiff import config, registry
from moldiff.data import sets
from moldiff.training import intake

Command = Callable[..., Any]
ROWS = "name;SMILES\na;CCO\nb;OCC\nc;C1CC\nd;C[C@H](F)O\ne;[Na+].CC(=O)[O-]\nf;CI(=O)=O\n"


@pytest.fixture
def table(moldiff: Command) -> Path:
    """A table with a row of every fate."""
    Path("rows.csv").write_text(ROWS, "utf-8")
    return Path("rows.csv")


def rejects(path: str) -> list[list[str]]:
    with Path(path).open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_every_row_that_is_left_out_is_counted_and_listed(moldiff: Command, table: Path) -> None:
    done = moldiff("data", "prepare", table, "--out", "t.safetensors", "--rejects", "r.csv", "--heldout", 0)
    assert done.code == 0
    assert done.out.splitlines() == [
        "wrote t.safetensors: 3 items, 0 of them held out; smiles tokens of 8 kinds, at most 8 an item",
        "left out: ring 1, fragments 1; repeats: 1",
        "wrote r.csv: every row that was left out",
    ]
    assert rejects("r.csv") == [
        ["line", "text", "reason", "detail"],
        ["3", "OCC", "repeat", "of line 2"],
        ["4", "C1CC", "ring", ""],
        ["6", "[Na+].CC(=O)[O-]", "fragments", ""],
    ]


def test_policies_and_notation_are_options_and_are_said(moldiff: Command, table: Path) -> None:
    options = ("--stereo", "strip", "--fragments", "largest", "--tokenizer", "selfies", "--column", "SMILES")
    done = moldiff("data", "prepare", table, "--out", "t.safetensors", *options)
    assert done.out.splitlines()[0].startswith(
        "wrote t.safetensors: 3 items, 0 of them held out; selfies tokens"
    )
    assert done.out.splitlines()[1:] == [
        "left out: ring 1, token 1; repeats: 1",
        "changed: stereo stripped 1, largest fragment 1",
        "--rejects FILE lists them by line",
    ]
    data = registry.resolve("data", "token-file").load(Path("t.safetensors"))
    assert data.info["reading"] == {"stereo": "strip", "fragments": "largest"}
    assert data.info["tokenizer"]["name"] == "selfies"


def test_a_clean_file_needs_no_list(moldiff: Command) -> None:
    Path("a.smi").write_text("C\nCC\n", "utf-8")
    done = moldiff("data", "prepare", "a.smi", "--out", "t.safetensors", "--rejects", "r.csv")
    assert "left out: none; repeats: 0" in done.out
    assert rejects("r.csv") == [["line", "text", "reason", "detail"]]
    assert "--rejects" not in moldiff("data", "prepare", "a.smi", "--out", "t.safetensors").out


def test_rejects_are_written_also_where_nothing_is_left(moldiff: Command) -> None:
    Path("a.smi").write_text("C1CC\n", "utf-8")
    done = moldiff("data", "prepare", "a.smi", "--out", "t.safetensors", "--rejects", "r.csv")
    assert (done.code, done.out) == (2, "")
    assert done.err == "moldiff: no molecules in a.smi: all are left out ({'ring': 1})\n"
    assert rejects("r.csv")[1] == ["1", "C1CC", "ring", ""]
    assert not Path("t.safetensors").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--stereo", "drop"), "unknown stereo option: got 'drop', choose from keep, strip"),
        (("--fragments", "drop"), "unknown fragments option: got 'drop', choose from refuse, largest"),
        (("--tokenizer", "words"), "unknown tokenizer: got 'words', choose from smiles, selfies"),
        (("--rejects", "r.txt"), "--rejects: got r.txt, a list of rejects ends in .csv"),
        (("--rejects", "no/r.csv"), "output: got no/r.csv, but there is no folder no"),
        (("--from", "rows.csv"), "unknown data set: got 'rows.csv', choose from qm9, zinc250k"),
    ],
)
def test_a_wrong_option_is_one_line_and_writes_nothing(
    options: tuple[str, str], message: str, moldiff: Command, table: Path
) -> None:
    done = moldiff("data", "prepare", table, "--out", "t.safetensors", *options)
    assert (done.code, done.out, done.err) == (2, "", f"moldiff: {message}\n")
    assert [each.name for each in Path().iterdir()] == ["rows.csv"]


@pytest.fixture
def own(moldiff: Command, monkeypatch: pytest.MonkeyPatch, textbook: Path) -> sets.DataSet:
    """A data set of the textbook's molecules, whose origin is out of reach."""
    monkeypatch.setenv(sets.HOME, str(Path("home").resolve()))
    content = b"".join(line.split(b"\t")[0] + b"\n" for line in textbook.read_bytes().splitlines())
    Path("copy").write_bytes(content)
    digest = "ca" * 32
    made = sets.DataSet(
        "own", "textbook", 266, "own.smi", "http://127.0.0.1:9/x", len(content), digest, "", ""
    )
    monkeypatch.setitem(sets.DATA_SETS, "own", made)
    return made


def test_data_sets_are_listed_with_their_origin_and_licence(moldiff: Command, own: sets.DataSet) -> None:
    out = moldiff("data", "list").out
    for each in sets.catalogue():
        assert all(text in out for text in (each.name, f"{each.rows:,}", each.about, each.licence, each.url))
    facts = [json.loads(line) for line in moldiff("data", "list", "--json").out.splitlines()]
    assert [(each["name"], each["here"]) for each in facts] == [
        ("qm9", False),
        ("zinc250k", False),
        ("own", False),
    ]


def test_a_data_set_is_taken_from_a_copy_and_then_known_by_name(moldiff: Command, own: sets.DataSet) -> None:
    done = moldiff("data", "download", "own", "--from", "copy")
    assert done.code == 2
    assert "copy is not own, or damaged: got sha256 " in done.err
    digest = hashlib.sha256(Path("copy").read_bytes()).hexdigest()
    sets.DATA_SETS["own"] = replace(own, sha256=digest)
    assert moldiff("data", "prepare", "own", "--from", "copy", "--out", "a.safetensors").code == 0
    Path("copy").unlink()
    done = moldiff("data", "download", "own")
    assert done.out == f"own: {own.path}, {own.size:,} bytes, sha256 verified\n"
    assert moldiff("data", "prepare", "own", "--out", "b.safetensors").code == 0
    load = registry.resolve("data", "token-file").load
    first, again = load(Path("a.safetensors")), load(Path("b.safetensors"))
    assert first.fingerprint() == again.fingerprint()
    assert again.info["source"] == "own.smi"
    assert again.info["source_sha256"] == digest
    read = intake.read_tokens(config.load("tiny", ["data.path=own", "out=run"]))
    assert read.fingerprint() == first.fingerprint()
