"""`moldiff generate` with filters, forbidden tokens and diverse picks: what it prints, writes and refuses."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from moldiff.generation import stream

Command = Callable[..., Any]

EASY = ("--steps", 12, "--complete", "--temperature", 0.5, "--device", "cpu", "--quiet")
#: Of what the small model draws, these reject some and let some pass.
ASKED = ("--filter", "brenk,veber", "--filter", "logp<=1.5", "--max-sa", 6, "--forbid", "S,charges")
PASSING = ("seconds", "molecules_per_second", "command", "resumed_after")


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "GROUP", {"cpu": 24})
    monkeypatch.setattr(stream, "SCORED", 10)


def test_what_is_printed_and_written(moldiff: Command, tiny: Path) -> None:
    Path("my.smarts").write_text("# mine\nC1CC1 small ring\n", "utf-8")
    asked = (*ASKED, "--filter-smarts", "my.smarts", "--diverse", 3)
    found = moldiff("generate", tiny, "-n", 60, *EASY, *asked, "--out", "m.csv", "--report", "m.html")
    assert found.code == 0, found.err
    table, facts = pd.read_csv("m.csv"), json.loads(Path("m.csv.json").read_text("utf-8"))
    assert facts["filters"] == ["logp<=1.5", "sa<=6", "brenk", "veber"]
    assert facts["forbid"] == ["S", "charges"]
    assert facts["filtered"]["passed"] == table["passes"].sum()
    assert (
        facts["filtered"]["rejected"]["smarts"] == (table["reason"] == "filtered: smarts (small ring)").sum()
    )
    told = [f"{name} {count}" for name, count in facts["filtered"]["rejected"].items() if count]
    assert f"filtered: {', '.join(told)}\n" in found.out
    assert f"diverse: {facts['diverse']['picked']} of 3 from " in found.out
    assert any(line.split()[:2] == ["pass", str(table["passes"].sum())] for line in found.out.splitlines())
    assert not table["raw"].str.contains(r"S|\+\]|-\]", na=False).any()
    picks = table.dropna(subset="diverse").sort_values("diverse")
    assert picks["diverse"].tolist() == list(range(1, len(picks) + 1))
    assert picks["passes"].all()
    page = Path("m.html").read_text("utf-8")
    assert "filtered: smarts (small ring)" in page
    assert "sane, but not: logp&lt;=1.5" in page
    assert "Picked to be far from one another" in page


def test_every_format_has_the_picks(moldiff: Command, tiny: Path) -> None:
    for suffix in (".csv", ".jsonl", ".parquet", ".smi", ".sdf"):
        line = ("generate", tiny, "-n", 40, *EASY, *ASKED, "--diverse", 2, "--out", f"m{suffix}")
        assert moldiff(*line).code == 0
    table = pd.read_csv("m.csv")
    picks = table.dropna(subset="diverse").sort_values("diverse")
    assert Path("m.smi").read_text("utf-8").split() == picks["smiles"].tolist()
    lines = [json.loads(line) for line in Path("m.jsonl").read_text("utf-8").splitlines()]
    assert [line["diverse"] for line in lines] == [None if pd.isna(x) else x for x in table["diverse"]]
    typed = pd.read_parquet("m.parquet")
    assert typed["diverse"].fillna(0).tolist() == table["diverse"].fillna(0).tolist()
    assert typed["passes"].tolist() == table["passes"].tolist()
    assert Path("m.sdf").read_text("utf-8").count(">  <diverse>") == len(picks)
    assert Path("m.sdf").read_text("utf-8").count("$$$$") == table["passes"].sum()
    # Without picks the list has all that pass.
    assert moldiff("generate", tiny, "-n", 40, *EASY, *ASKED, "--out", "all.smi").code == 0
    assert Path("all.smi").read_text("utf-8").split() == table["smiles"][table["passes"]].tolist()


def test_a_budget_that_ends_first_is_told(moldiff: Command, tiny: Path) -> None:
    budget = ("-n", 3, "--unique", "--max-samples", 6, "--min-qed", 0.9, "--diverse", 2)
    found = moldiff("generate", tiny, *budget, *EASY, "--out", "m.csv")
    assert found.code == 3
    assert "the budget ended first: 0 of 3 distinct sane molecules that pass in 6 draws" in found.out
    assert "diverse: 0 of 2 from 0 distinct; there are no more" in found.out
    assert list(pd.read_csv("m.csv").columns[-2:]) == ["passes", "diverse"]


@pytest.mark.parametrize("more", [("--diverse", 3), ("--unique", "--max-samples", 50), ()], ids=str)
def test_an_interrupted_run_goes_on_to_the_same_file(
    more: tuple[Any, ...], moldiff: Command, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = ("generate", tiny, "-n", 50, *EASY, *ASKED, *more, "--out")
    assert moldiff(*line, "whole.csv").code in (0, 3)
    piece, left = stream.Stream._piece, [2]

    def stops(self: stream.Stream, *drawn: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            self.interrupted = True
            return None
        return piece(self, *drawn)

    with monkeypatch.context() as patch:
        patch.setattr(stream.Stream, "_piece", stops)
        assert moldiff(*line, "m.csv").code == 130
    other = moldiff(*line, "m.csv", "--resume", "--filter", "pains")
    assert other.code == 2
    assert "is of another run: filters was" in other.err
    assert moldiff(*line, "m.csv", "--resume").code in (0, 3)
    assert Path("m.csv").read_bytes() == Path("whole.csv").read_bytes()
    ours, theirs = (json.loads(Path(f"{name}.csv.json").read_text("utf-8")) for name in ("m", "whole"))
    assert {k: v for k, v in ours.items() if k not in PASSING} == {
        k: v for k, v in theirs.items() if k not in PASSING
    }


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("--filter pain", "unknown filter: got 'pain' (pains?), choose from pains, brenk"),
        ("--filter pains,", "unknown filter: got ''"),
        ("--filter hue<=1", "unknown property: got 'hue'"),
        ("--max-sa 0.5", "filter: got sa<=0.5, which nothing passes: sa is 1 to 10"),
        ("--max-sa nan", "filter: got 'sa<=nan', write PROPERTY<=NUMBER"),
        ("--min-qed 2", "filter: got qed>=2, which nothing passes"),
        ("--filter-smarts missing.smarts", "filter smarts: cannot read missing.smarts"),
        ("--filter-smarts bad.smarts", "bad.smarts line 2: got 'C(C', which is not a SMARTS pattern"),
        ("--filter-smarts bad.smarts --out bad.smarts", "bad.smarts"),
        ("--forbid Xx", "forbid: got 'Xx', which is in no token of this model"),
        ("--forbid O --prompt CO", "forbid: got O, but the prompt or the ending has it"),
        ("--diverse 0", "diverse: got 0"),
        ("--diverse 9 -n 8", "diverse: got 9, must be at most n, 8"),
        ("--diverse many", "many"),
    ],
)
def test_bad_lines_are_refused_in_one(moldiff: Command, tiny: Path, line: str, says: str) -> None:
    Path("bad.smarts").write_text("CCO\nC(C ether\n", "utf-8")
    found = moldiff("generate", tiny, *line.split())
    assert found.code == 2
    assert says in found.err
    assert len(found.err.strip().splitlines()) == 1
    assert [path.name for path in Path().iterdir()] == ["bad.smarts"]
