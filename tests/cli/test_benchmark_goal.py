"""`moldiff benchmark goal`: its table, its manifest, and that nothing is done twice."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from moldiff.chem.goals import TASKS
from moldiff.optimization.benchmark import summary

Command = Callable[..., Any]


def arguments(textbook: Path, *more: object) -> list[object]:
    common = ("--methods", "ga", "--budget", 60, "--start", textbook, "--start-size", 20, "--quiet")
    return ["benchmark", "goal", "--out", "out", "--tasks", "qed,median1", "--seeds", 2, *common, *more]


def run(auc: float, top: float = 0.0) -> dict[str, float]:
    return {"auc_top_10": auc, "top_1": top, "top_10": top}


def test_the_table_the_manifest_and_no_search_twice(moldiff: Command, textbook: Path) -> None:
    assert moldiff(*arguments(textbook, "--tasks", "qed")).code == 0
    assert json.loads(Path("out/summary.json").read_text())["tasks"] == ["qed"]
    before = {path: path.stat().st_mtime_ns for path in Path("out").rglob("journal.jsonl")}
    assert len(before) == 2
    ran = moldiff(*arguments(textbook, "--json"))
    assert (ran.code, ran.err) == (0, "")
    assert {path: path.stat().st_mtime_ns for path in before} == before
    facts = ran.json
    assert facts == json.loads(Path("out/summary.json").read_text())
    table = pd.read_csv("out/table.csv")
    assert table["task"].tolist() == ["qed", "median1"]
    runs = [json.loads(Path(f"out/qed/ga-{seed}/summary.json").read_text()) for seed in (0, 1)]
    first, second = (each["auc_top_10"] for each in runs)
    assert table["auc_top_10"][0] == pytest.approx((first + second) / 2)
    assert table["auc_top_10_se"][0] == pytest.approx(abs(first - second) / 2)
    assert facts["sum"]["ga"]["mean"] == pytest.approx(table["auc_top_10"].sum())
    assert facts["wins"] == {"ga": 2}
    assert (facts["budget"], facts["seeds"], facts["start_size"]) == (60, [0, 1], 20)
    assert {"moldiff", "rdkit"} <= set(facts["versions"])
    # All tasks and methods start from the same molecules.
    for name in ("qed/ga-0", "median1/ga-0"):
        calls = pd.read_csv(f"out/{name}/calls.csv")
        assert calls["smiles"].tolist()[:20] == Path("out/start-0.smi").read_text().split()
    assert not list(Path("out").glob("*/start-*"))


def test_wins_and_sums_by_hand() -> None:
    found = summary(
        {
            "one": {"a": {"0": run(0.1), "1": run(0.3)}, "b": {"0": run(0.5), "1": run(0.1)}},
            "two": {"a": {"0": run(0.4), "1": run(0.6)}, "b": {"0": run(0.5), "1": run(0.5)}},
        }
    )
    # On task two it is a draw.
    assert found["wins"] == {"a": 0, "b": 1}
    assert found["sum"]["a"]["mean"] == pytest.approx(0.7)
    assert found["sum"]["a"]["se"] == pytest.approx(0.2)
    assert found["sum"]["b"]["mean"] == pytest.approx(0.8)
    assert found["by_task"]["one"]["b"]["auc_top_10"]["mean"] == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--tasks", "magic"), "unknown task: got 'magic', choose from all"),
        (("--tasks", "qed,qed"), "tasks: got 'qed,qed', name each once"),
        (("--methods", "magic"), "unknown method"),
        (("--budget", 0), "budget: got 0"),
    ],
)
def test_bad_input_is_one_line(
    more: tuple[object, ...], message: str, moldiff: Command, textbook: Path
) -> None:
    ran = moldiff(*arguments(textbook, *more))
    assert ran.code == 2
    assert ran.err.count("\n") == 1
    assert message in ran.err
    assert not Path("out").exists()


def test_another_run_is_not_mixed_in(moldiff: Command, textbook: Path) -> None:
    assert moldiff(*arguments(textbook, "--tasks", "qed", "--seeds", 1)).code == 0
    for task in ("qed", "median1"):
        ran = moldiff(*arguments(textbook, "--tasks", task, "--start-size", 10))
        assert ran.code == 2
        assert "start_size was 20, is 10" in ran.err


def test_all_is_the_twenty_tasks() -> None:
    from moldiff.optimization.benchmark import chosen

    assert chosen("all") == TASKS
    assert chosen("qed, median1") == ("qed", "median1")
