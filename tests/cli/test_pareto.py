"""`moldiff pareto` and `moldiff compare` as typed: what they print, and what they refuse in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from moldiff.study import grid, settings
from moldiff.study.plan import Plan
from moldiff.study.sampling import sample
from moldiff.study.scoring import score

Command = Callable[..., Any]
SMALL = ("--steps", "2,4", "--seeds", "2", "-n", "10", "--device", "cpu")


@pytest.fixture
def methods(tiny: Path, tmp_path: Path) -> Path:
    """A settings file with one method that can be sampled and one whose model is not there."""
    found = {
        "plain": {"label": "Plain", "model": str(tiny), "sampler": "mdlm"},
        "lost": {"model": "qm9-lost", "sampler": "mdlm", "guidance": {"cbg": {"classifier": "qm9-judge"}}},
        "once": {"label": "Once", "model": str(tiny), "sampler": "first-hitting"},
        "wrong": {"model": str(tiny), "sampler": "mdlm", "options": {"eta": 1}},
    }
    path = tmp_path / "methods.yaml"
    path.write_text(yaml.safe_dump({"methods": found}), "utf-8")
    return path


def test_stages_one_after_the_other(moldiff: Command, methods: Path) -> None:
    asked = ("pareto", "--settings", methods, "--methods", "plain", "--scales", "1,2", *SMALL, "--out", "out")
    first = moldiff(*asked, "--stage", "sample")
    assert first.code == 0, first.err
    assert first.out.startswith("8 runs, 8 of them sampled now, in out")
    assert [line.split(" (")[0] for line in first.err.splitlines()][-1] == "8 of 8 runs"
    assert not Path("out/results.csv").exists()
    second = moldiff(*asked, "--stage", "score", "--json")
    assert second.code == 0, second.err
    assert second.json["hypervolume"].keys() == {"plain"}
    assert second.json["command"].startswith("moldiff pareto --settings")
    assert len(pd.read_csv("out/results.csv")) == 8
    third = moldiff(*asked, "-q")
    assert third.code == 0
    assert third.err == ""
    assert "Plain" in third.out


def test_a_comparison_has_likelihoods_of_held_out_molecules(
    moldiff: Command, methods: Path, textbook: Path
) -> None:
    Path("held.smi").write_text("\n".join(textbook.read_text("utf-8").splitlines()[:9]) + "\n", "utf-8")
    asked = ("compare", "--settings", methods, "--methods", "plain,once", "--property", "ring_count")
    asked += ("--guidance", "none,cfg", *SMALL, "--out", "out", "--times", "4")
    found = moldiff(*asked, "--heldout", "held.smi")
    assert found.code == 0, found.err
    assert "Plain" in found.out
    assert "nats a molecule" in found.out
    means = pd.read_csv("out/compare-means.csv")
    assert means["guidance"].tolist() == ["none", "none", "cfg", "cfg", "none", "cfg"]
    assert means["steps"].isna().tolist() == [False] * 4 + [True] * 2
    told, whole = json.loads(Path("out/summary.json").read_text("utf-8")), pd.read_csv("out/compare.csv")
    assert (whole["validity"] == whole["valid"] / whole["samples"]).all()
    assert told["likelihood"]["methods"][0]["nats"] > told["likelihood"]["methods"][0]["nats_length"] > 0
    assert Path("out/compare.png").stat().st_size > 5000
    # A second time nothing is asked of a model again.
    kept = {path: path.stat().st_mtime_ns for path in Path("out/likelihood").iterdir()}
    assert len(kept) == 1
    assert moldiff(*asked, "--heldout", "held.smi", "--json").json["likelihood"] == told["likelihood"]
    assert kept == {path: path.stat().st_mtime_ns for path in kept}


PARETO = ("pareto", "--settings", "METHODS", "--methods", "plain", "--out", "out")
COMPARE = ("compare", "--settings", "METHODS", "--methods", "plain", "--out", "out")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((*PARETO, "--methods", "plain,nope"), "method: got 'nope', choose from lost, once, plain, wrong"),
        ((*PARETO, "--methods", ","), "--methods: got ','"),
        ((*PARETO, "--methods", "plain,lost"), "no model qm9-lost (lost); leave these methods out"),
        (
            (*PARETO, "--methods", "lost", "--guidance", "cbg"),
            "no model qm9-lost (lost), qm9-judge (lost); leave",
        ),
        ((*PARETO, "--methods", "wrong"), "method wrong: sampler mdlm: got option 'eta'"),
        ((*PARETO, "--property", "logp"), "property: got 'logp', model"),
        ((*PARETO, "--guidance", "cbg"), "method plain: unknown guidance: got 'cbg', choose from none, cfg"),
        ((*PARETO, "--scales", "much"), "--scales: got 'much'"),
        ((*PARETO, "--scales", "-1"), "--scales: got -1"),
        ((*PARETO, "--steps", "0"), "--steps: got 0"),
        ((*PARETO, "--seeds", "0"), "--seeds: got '0'"),
        ((*PARETO, "--num", "0"), "--num: got 0"),
        ((*PARETO, "--budgets", "-1"), "--budgets: got -1"),
        ((*PARETO, "--stage", "later"), "--stage: got 'later', choose from sample, score, all"),
        ((*PARETO, "--protocol", "x"), "--protocol: got 'x', choose from canonical, upstream"),
        ((*PARETO, "--device", "abacus"), "device: got 'abacus'"),
        ((*PARETO, "--settings", "none.yaml"), "settings none.yaml: cannot be read"),
        ((*PARETO, "--model", "other=qm9"), "method: got 'other'"),
        ((*PARETO, "--model", "nowhere"), "no model nowhere (plain)"),
        ((*PARETO, "--out", "METHODS"), "which is no folder"),
        ((*PARETO, "--out", "/proc/study"), "cannot write there"),
        ((*PARETO, "--stage", "score"), "holds no run of these settings"),
        ((*COMPARE, "--guidance", "cfg"), "--guidance: got cfg but no property"),
        ((*COMPARE, "--heldout", "none.smi"), "none.smi"),
        ((*COMPARE, "--heldout", "METHODS", "--items", "1"), "--items: got 1"),
        ((*COMPARE, "--methods", "ar"), "method: got 'ar'"),
    ],
)
def test_bad_input_is_one_line(
    arguments: tuple[str, ...], message: str, moldiff: Command, methods: Path
) -> None:
    found = moldiff(*(str(methods) if each == "METHODS" else each for each in arguments))
    assert found.code == 2
    assert message in found.err
    assert len(found.err.splitlines()) == 1
    assert not list(Path().glob("out/tokens/*"))


def test_other_models_can_be_named(moldiff: Command, methods: Path, tiny: Path) -> None:
    found = moldiff(*PARETO[:1], "--settings", methods, "--methods", "lost", "--model", f"lost={tiny}",
                    "--scales", "1", "--steps", "2", "--seeds", "1", "-n", "4", "--out", "out", "--json",
                    "--stage", "sample", "--device", "cpu")  # fmt: skip
    assert found.code == 0, found.err
    assert found.json == {"runs": 1, "sampled": 1}


def test_an_override_of_the_settings_is_what_runs(tiny: Path, tmp_path: Path) -> None:
    """At another temperature other samples, and another name for them; back again, the old ones."""
    plain = {"model": str(tiny), "sampler": "mdlm"}
    hot = {**plain, "overrides": [{"when": {"steps": 4}, "temperature": 3.0}]}
    asked = grid.Grid("ring_count", ("a",), ("cfg",), (1.0,), (2, 4), (0,), 8)
    both = []
    for method in (plain, hot):
        plan = Plan(settings.Settings.model_validate({"methods": {"a": method}}), asked)
        sample(plan, tmp_path, "cpu")
        both.append({each.run.steps: each.figures["forwards"] for each in score(plan, tmp_path)})
        assert {each.identity["setting"]["temperature"] for each in plan.runs} <= {1.0, 3.0}
    assert len(list((tmp_path / "tokens").iterdir())) == 3
    assert both[0][2] == both[1][2]
