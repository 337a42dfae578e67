"""`moldiff generate --repair`: the table, the summary, and an interrupted run that is gone on with."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from moldiff.generation import batches, stream
from moldiff.types import Rows

Command = Callable[..., Any]


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "GROUP", {"cpu": 12})
    monkeypatch.setattr(stream, "SCORED", 5)


def arguments(tiny: Path, *more: object) -> list[object]:
    easy = ("--sampler", "first-hitting", "--complete", "--temperature", 0.5, "--seed", 3)
    return ["generate", tiny, "-n", 24, *easy, "--device", "cpu", "--quiet", *more]


def test_the_table_and_the_summary_tell_first_draws_and_repaired_ones_apart(
    moldiff: Command, tiny: Path
) -> None:
    plain = moldiff(*arguments(tiny, "--json")).json
    found = moldiff(*arguments(tiny, "--repair", 2, "--out", "m.csv", "--report", "m.html"))
    assert found.code == 0, found.err
    facts = json.loads(Path("m.csv.json").read_text("utf-8"))
    table = pd.read_csv("m.csv")
    assert facts["valid"] == plain["valid"] == (table["repaired"] == 0).sum()
    assert facts["repaired"]["valid"] == table["valid"].sum()
    lines = {line.strip().split("  ")[0]: line for line in found.out.splitlines() if line.strip()}
    assert f"{facts['valid']} " in lines["valid"]
    assert "first draws" in lines["valid"]
    assert f"{facts['repaired']['valid']} " in lines["valid, repaired"]
    assert any(line.startswith("repaired: ") and " of " in line for line in lines)
    page = Path("m.html").read_text("utf-8")
    assert "drawn again" in page


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_an_interrupted_run_goes_on_to_the_same_file(
    suffix: str, moldiff: Command, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = arguments(tiny, "--repair", 2, "--out", f"m{suffix}")
    assert moldiff(*arguments(tiny, "--repair", 2, "--out", f"whole{suffix}")).code == 0
    sampled, left = batches.Batches._sampled, [30]

    def stops(self: batches.Batches, rows: Rows, seed: int) -> torch.Tensor:
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        return sampled(self, rows, seed)

    with monkeypatch.context() as patch:
        patch.setattr(batches.Batches, "_sampled", stops)
        assert moldiff(*command).code == 130
    assert Path(f"m{suffix}.part").exists()
    assert moldiff(*command, "--resume").code == 0
    assert Path(f"m{suffix}").read_bytes() == Path(f"whole{suffix}").read_bytes()
    ours, theirs = (json.loads(Path(f"{name}{suffix}.json").read_text("utf-8")) for name in ("m", "whole"))
    passing = ("seconds", "molecules_per_second", "command", "resumed_after")
    assert {k: v for k, v in ours.items() if k not in passing} == {
        k: v for k, v in theirs.items() if k not in passing
    }


def test_a_run_without_repair_is_not_gone_on_with_one(
    moldiff: Command, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampled, left = batches.Batches._sampled, [17]

    def stops(self: batches.Batches, rows: Rows, seed: int) -> torch.Tensor:
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        return sampled(self, rows, seed)

    with monkeypatch.context() as patch:
        patch.setattr(batches.Batches, "_sampled", stops)
        assert moldiff(*arguments(tiny, "--batch-size", 1, "--out", "m.csv")).code == 130
    found = moldiff(*arguments(tiny, "--batch-size", 1, "--repair", 2, "--out", "m.csv", "--resume"))
    assert found.code == 2
    assert "repair" in found.err


def test_bad_rounds_are_refused_in_a_line(moldiff: Command, tiny: Path) -> None:
    found = moldiff(*arguments(tiny, "--repair", -1))
    assert found.code == 2
    assert "repair: got -1, must be a whole number from 0 to" in found.err
    assert found.err.count("\n") == 1
