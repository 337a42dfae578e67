"""The scripts of the study: tuning picks what covers most, and the page shows what the files say."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
import yaml

from moldiff.errors import MoldiffError
from moldiff.study import settings, study
from moldiff.study.grid import Grid
from moldiff.study.plan import Plan

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> ModuleType:
    """The script that the test is parametrised with, imported."""
    name = request.param
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


tuning = pytest.mark.parametrize("script", ["study_tuning"], indirect=True)
page = pytest.mark.parametrize("script", ["study_page"], indirect=True)


@tuning
def test_the_shipped_grid_tries_as_much_for_each_method_of_the_shipped_settings(script: ModuleType) -> None:
    asked = yaml.safe_load((BENCHMARKS / "study-tuning.yaml").read_text("utf-8"))
    script.check_equal(asked["methods"])
    base = settings.load()
    assert asked["methods"].keys() == base.methods.keys()
    for name, axes in asked["methods"].items():
        tried = [each.of(base.methods[name]) for each in script.candidates(name, axes)]
        assert len({repr(each) for each in tried}) == len(tried) == 6
    with pytest.raises(MoldiffError, match="all methods need as many"):
        script.check_equal({"a": {"temperature": [1]}, "b": {"temperature": [1, 2]}})


@tuning
def test_the_candidate_that_covers_most_becomes_an_override(
    script: ModuleType, two_methods: Path, tmp_path: Path
) -> None:
    asked = {
        "properties": ["ring_count"], "guidance": ["cfg"], "scales": "1", "steps": [2], "seeds": "100..100",
        "num": 8, "methods": {"plain": {"temperature": [1.0, 0.5]}},
    }  # fmt: skip
    base = settings.load(two_methods).pick(["plain"])
    options = argparse.Namespace(out=tmp_path, device="cpu", workers=1, methods=None, guidance=["cfg"])
    frame = script.tried(base, asked, options)
    assert frame["set"].tolist() == ['{"temperature": 1.0}', '{"temperature": 0.5}']
    assert frame["hypervolume"].notna().all()
    frame["hypervolume"] = [1.0, 2.0]
    found = script.tuned(base, frame).methods["plain"]
    assert found.asked(property="ring_count", guidance="cfg", steps=2)["temperature"] == 0.5
    assert found.asked(property="qed", guidance="none", steps=9)["temperature"] == 0.5
    # Of several properties each has its own, and what was tuned before stays unless it is tuned again.
    both = pd.concat([frame, frame.assign(property="qed", hypervolume=[2.0, 1.0], steps=3)])
    later = script.tuned(script.tuned(base, frame), both).methods["plain"]
    assert later.asked(property="qed", guidance="cfg", steps=3)["temperature"] == 1
    assert later.asked(property="qed", guidance="cfg", steps=2)["temperature"] == 0.5
    assert script.tuned(script.tuned(base, frame), frame).methods["plain"] == found
    # What is written is what is read.
    path = tmp_path / "tuned.yaml"
    path.write_text(settings.spelt(script.tuned(base, frame)), "utf-8")
    assert settings.load(path).methods["plain"] == found


@page
def test_the_page_has_the_figures_and_the_papers(
    script: ModuleType, two_methods: Path, tmp_path: Path
) -> None:
    asked = Grid("ring_count", ("plain", "single"), ("cfg",), (1.0,), (2,), (0, 1), 6)
    plan = Plan(settings.load(two_methods), asked)
    out = tmp_path / "runs" / "ring_count"
    command = "moldiff pareto --out /here/it --seeds 2"
    found = study.pareto(plan, out, study.Options(device="cpu", command=command))
    text = script.page(tmp_path / "runs", tmp_path / "images", tmp_path / "page.md")
    assert "![ring count](images/study-ring_count.png)" in text
    assert (tmp_path / "images" / "study-ring_count.png").read_bytes() == (out / "pareto.png").read_bytes()
    area = found.summary["hypervolume"]["single"]
    assert f"{area['mean']:.1f} ± {area['se']:.1f}" in text
    assert "`moldiff pareto --out DIR --seeds 2`" in text
    assert "| ReMDM | CFG | 128 | 348 @ 4.53, 305 @ 4.82" in text
    rows = [line for line in text.splitlines() if line.startswith(("| Plain |", "| single |"))]
    assert len(rows) == len(pd.read_csv(out / study.FRONT))
    # What is written by hand stays; a page without the mark is not overwritten.
    target = tmp_path / "page.md"
    target.write_text(
        text.replace(script.MARK, f"Found by hand.\n\n{script.MARK}\n\n| old | table |"), "utf-8"
    )
    again = script.page(tmp_path / "runs", tmp_path / "images", target)
    assert again == text.replace(script.MARK, f"Found by hand.\n\n{script.MARK}")
    target.write_text("mine", "utf-8")
    with pytest.raises(SystemExit, match="has no line"):
        script.page(tmp_path / "runs", tmp_path / "images", target)


@page
def test_the_page_sets_the_forms_of_a_classifier_side_by_side(
    script: ModuleType, two_methods: Path, tmp_path: Path
) -> None:
    out = tmp_path / "runs" / "forms-cheap"
    asked = Grid("ring_count", ("plain",), ("cfg",), (0.0, 2.0), (2,), (0, 1), 5)
    study.pareto(Plan(settings.load(two_methods), asked), out, study.Options(device="cpu", command="made so"))
    text = script.page(tmp_path / "runs", tmp_path / "images", tmp_path / "page.md")
    assert "## ring count" not in text
    assert "`made so`" in text
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| Plain |")]
    assert [row[1] for row in rows] == ["0", "2"]
    frame = pd.read_csv(out / study.RESULTS)
    for row, (_, runs) in zip(rows, frame.groupby("scale"), strict=True):
        assert row[2] == "5"
        assert row[3].split(" ± ")[0] == f"{100 * runs['valid'].mean() / 5:.1f}"
        assert row[6] == f"{runs['forwards'].mean():.1f}"
