"""A study from end to end on the small model: its files, its resumption, and what may not be imported."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from moldiff import load
from moldiff.errors import MoldiffError
from moldiff.nn.cost import count_forwards, operations
from moldiff.study import settings, study
from moldiff.study.grid import Grid
from moldiff.study.plan import Plan
from moldiff.study.sampling import Pace, sample
from moldiff.study.scoring import score
from moldiff.study.tokens import Sampled, place

GRID = Grid("ring_count", ("plain", "single"), ("cfg",), (1.0, 2.0), (2, 4), (0, 1), 12)


@pytest.fixture
def plan(two_methods: Path) -> Plan:
    return Plan(settings.load(two_methods), GRID)


def test_a_plan_has_a_run_for_each_point_and_one_where_there_are_no_steps(plan: Plan) -> None:
    found = [(r.run.method, r.run.scale, r.run.steps) for r in plan.runs if r.run.seed == 0]
    plain = [("plain", scale, steps) for steps in (2, 4) for scale in (1, 2)]
    assert found == [*plain, ("single", 1, None), ("single", 2, None)]
    assert len({each.name for each in plan.runs}) == len(plan.runs) == 12
    # Seed by seed: an interrupted study has whole seeds.
    assert [each.run.seed for each in plan.runs] == [0] * 6 + [1] * 6


def test_a_name_changes_with_all_that_changes_the_samples(two_methods: Path, plan: Plan) -> None:
    found = yaml.safe_load(two_methods.read_text("utf-8"))
    found["methods"]["plain"]["temperature"] = 0.9
    two_methods.write_text(yaml.safe_dump(found), "utf-8")
    other = Plan(settings.load(two_methods), GRID)
    same = [a.name == b.name for a, b in zip(plan.runs, other.runs, strict=True)]
    assert same == [each.run.method == "single" for each in plan.runs]
    more = Plan(settings.load(two_methods), replace(GRID, num=13))
    assert not {each.name for each in more.runs} & {each.name for each in other.runs}


def test_a_run_has_the_samples_and_the_cost_of_generate(plan: Plan, tmp_path: Path, tiny: Path) -> None:
    one = next(each for each in plan.runs if each.run.scale == 2)
    plan.runs = (one,)
    assert sample(plan, tmp_path, "cpu") == 1
    found = Sampled.load(place(tmp_path, one.name))
    model = load(str(tiny), "cpu")
    with count_forwards(model.network) as cost:
        same = model.run(one.request)
    assert [model.tokenizer.decode(row) for row in found.tokens] == same.frame["raw"].tolist()
    assert (found.facts["spent"]["rows"], found.facts["spent"]["tokens"]) == (cost.rows, cost.tokens)
    config = model.network.config
    longest, shortest = (
        operations(config, cost.rows, cost.tokens, length, config.num_tokens)
        for length in (max(map(len, found.tokens)), min(map(len, found.tokens)))
    )
    assert shortest <= found.facts["flop"] <= longest


def test_operations_are_those_of_the_products() -> None:
    """Two blocks of width 4 over 3 rows of 5 tokens, each product written out."""

    class Size:
        width, depth, time = 4, 2, False

    tokens = 15
    weights = (4 * 12 + 4 * 4 + 4 * 16 + 16 * 4) * tokens  # qkv, out, up, down
    mixing = 2 * (5 * 5 * 4) * 3  # scores and the mixed values, a row
    assert operations(Size(), 3, tokens, 5, 7) == 2 * (2 * (weights + mixing) + 4 * 7 * tokens)
    told = type("Timed", (Size,), {"time": True})()
    assert operations(told, 3, tokens, 5, 7) - operations(Size(), 3, tokens, 5, 7) == 2 * 2 * 3 * 4 * 24


def test_a_whole_study_leaves_its_files_and_is_not_repeated(plan: Plan, tmp_path: Path) -> None:
    out = tmp_path / "out"
    heard: list[tuple[int, int]] = []
    options = study.Options(device="cpu", published=True, command="moldiff pareto")
    found = study.pareto(plan, out, options, lambda done, total, last, left: heard.append((done, total)))
    assert (found.runs, found.sampled, found.scored) == (12, 12, 12)
    assert heard == [(n, 12) for n in range(13)]
    names = {path.name for path in out.iterdir()}
    tables = {study.RESULTS, study.FRONT, study.BUDGETS, study.SUMMARY}
    assert names == {*study.PICTURES, *tables, "tokens", "scores"}
    frame = pd.read_csv(out / study.RESULTS)
    assert len(frame) == 12
    assert (frame["valid"] <= frame["samples"]).all()
    assert (frame["novel"] <= frame["unique"]).all()
    assert frame.loc[frame["method"] == "single", "steps"].isna().all()
    guided = frame.set_index(["method", "scale", "steps", "seed"])["gflop"]
    assert guided["plain", 2, 4, 0] == pytest.approx(2 * guided["plain", 1, 4, 0])  # two forwards for one
    summary = json.loads((out / study.SUMMARY).read_text("utf-8"))
    assert summary["hypervolume"].keys() == {"plain", "single"}
    assert summary["hypervolume"]["plain"]["seeds"] == 2
    with Image.open(out / "pareto.png") as picture:
        assert picture.info["Command"] == "moldiff pareto"
        assert len(picture.convert("L").getcolors(256) or []) > 10
    assert "<svg" in (out / "pareto.svg").read_text("utf-8")

    before = {path: path.stat().st_mtime_ns for path in (*out.glob("tokens/*"), *out.glob("scores/*"))}
    pictures = (out / "pareto.svg").read_bytes()
    assert study.pareto(plan, out, options).sampled == 0
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert (out / "pareto.svg").read_bytes() == pictures


def test_scoring_takes_what_is_there(plan: Plan, tmp_path: Path) -> None:
    with pytest.raises(MoldiffError, match="holds no run of these settings; sample first"):
        score(plan, tmp_path)
    whole, plan.runs = plan.runs, plan.runs[:2]
    sample(plan, tmp_path, "cpu")
    plan.runs = whole
    found = study.pareto(plan, tmp_path, study.Options(stage="score"))
    assert (found.scored, found.runs, found.sampled) == (2, 12, 0)
    assert found.summary["hypervolume"]["plain"] == {"mean": None, "se": None, "seeds": 0}


def test_a_damaged_or_foreign_token_file_is_named(plan: Plan, tmp_path: Path) -> None:
    plan.runs = plan.runs[:2]
    sample(plan, tmp_path, "cpu")
    first, second = (place(tmp_path, each.name) for each in plan.runs)
    first.write_bytes(second.read_bytes())
    with pytest.raises(MoldiffError, match=f"{first.name}: it is not of run plain cfg 1 T=2 seed 0"):
        score(plan, tmp_path)
    first.write_bytes(b"x")
    with pytest.raises(MoldiffError, match=f"{first.name}: cannot be read"):
        score(plan, tmp_path)


def test_a_killed_study_goes_on_without_repeating_a_run(two_methods: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [
        *(sys.executable, "-m", "moldiff", "pareto", "--settings", str(two_methods), "--stage", "sample"),
        *("--methods", "plain", "--scales", "1", "--steps", "2,3,4,5,6,7", "--seeds", "3", "-n", "12"),
        *("--device", "cpu", "--out", str(out)),
    ]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    running = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
    assert running.stderr is not None
    line = running.stderr.readline()  # comes when the first run is in its file
    running.send_signal(signal.SIGKILL)
    running.communicate()
    assert running.returncode == -signal.SIGKILL
    assert line.startswith("1 of 18 runs, about ")
    assert "left (plain cfg 1 T=2 seed 0)" in line
    done = {path: path.stat().st_mtime_ns for path in out.glob("tokens/*.safetensors")}
    assert 1 <= len(done) < 18
    again = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert again.returncode == 0, again.stderr
    assert len(again.stderr.splitlines()) == 18 - len(done)
    assert f"18 runs, {18 - len(done)} of them sampled now" in again.stdout
    assert done == {path: path.stat().st_mtime_ns for path in done}
    assert len(list(out.glob("tokens/*.safetensors"))) == 18


def test_sampling_needs_no_chemistry(two_methods: Path, tmp_path: Path) -> None:
    """RDKit is not there at all, and the token files are the same."""
    arguments = ["pareto", "--settings", str(two_methods), "--stage", "sample", "--scales", "2", "-q"]
    arguments += ["--steps", "2", "--seeds", "1", "-n", "6", "--device", "cpu", "--out"]
    without = "import sys; sys.modules['rdkit'] = None; from moldiff.cli.app import run; "
    without += "sys.exit(run(sys.argv[1:]))"
    bare = subprocess.run(
        [sys.executable, "-c", without, *arguments, str(tmp_path / "bare")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert bare.returncode == 0, bare.stderr
    from moldiff.cli.app import run

    assert run([*arguments, str(tmp_path / "full")]) == 0
    files = sorted(path.name for path in (tmp_path / "full" / "tokens").iterdir())
    assert len(files) == 2
    for name in files:
        one, other = (Sampled.load(tmp_path / kind / "tokens" / name) for kind in ("bare", "full"))
        assert one.tokens == other.tokens


def test_the_time_left_is_judged_by_runs_of_the_same_kind(plan: Plan) -> None:
    pace = Pace(plan.runs)
    assert np.isnan(pace.left())
    pace.add(plan.runs[0], 1.0)
    assert pace.left() == 11
    pace.add(plan.runs[4], 4.0)  # a run of the other method, of which there are four
    assert pace.left() == pytest.approx(3 * 1 + 4 * 2.5 + 3 * 4)
    assert Pace([]).left() == 0
