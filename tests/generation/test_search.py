"""Searches by a reward: how it is spelt, what it is worth, and the rows and figures of a run."""

from __future__ import annotations

import json
import math
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from moldiff import Model, load
from moldiff.chem.oracles import oracle
from moldiff.errors import MoldiffError
from moldiff.generation import stream
from moldiff.generation.request import asked_for
from moldiff.generation.search import Reward, Wish, searched, wish

#: A setting at which the small model draws a molecule now and then.
EASY: dict[str, Any] = {"steps": 12, "complete": True, "temperature": 0.5}
#: Searches of both kinds.
BEST: dict[str, Any] = {"best_of": 3, "reward": "heavy_atoms"}
STEERED: dict[str, Any] = {"particles": 3, "reward": "heavy_atoms", "tilt": 3.0, "sampler": "first-hitting"}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("qed", Wish("qed")),
        ("qed=high", Wish("qed", 1, "high")),
        (" 2.5 * sa = low ", Wish("sa", 2.5, "low")),
        ("logp=-1.5", Wish("logp", 1, "range", -1.5, -1.5)),
        ("1e-2*mw=1e2..150", Wish("mw", 0.01, "range", 100, 150)),
        ("mine.scores:dock=low", Wish("mine.scores:dock", 1, "low")),
        ("dock=mine.scores:dock", Wish("dock=mine.scores:dock")),
        ("dock=mine:f=0.5", Wish("dock=mine:f", 1, "range", 0.5, 0.5)),
        # A SMILES, a pattern or a command may end in = and a number; a goal is then written as a range.
        ("similarity:C=1CCC=1", Wish("similarity:C=1CCC=1")),
        ("near=similarity:C=1CCC=1", Wish("near=similarity:C=1CCC=1")),
        ("similarity:C=1CCC=1=0.4..0.6", Wish("similarity:C=1CCC=1", 1, "range", 0.4, 0.6)),
        ("smarts:[#6]=[#8]=low", Wish("smarts:[#6]=[#8]", 1, "low")),
        ("cmd:./dock --depth=3", Wish("cmd:./dock --depth=3")),
        ("fit.safetensors=low", Wish("fit.safetensors", 1, "low")),
    ],
)
def test_a_reward_is_spelt_as_targets_and_oracles_are(text: str, wanted: Wish) -> None:
    found = wish(text)
    assert (found.oracle, found.weight, found.goal) == (wanted.oracle, wanted.weight, wanted.goal)
    assert np.array_equal([found.low, found.high], [wanted.low, wanted.high], equal_nan=True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0*qed", "weight must be above 0; for less of it write =low"),
        ("-1*qed", "for less of it write =low"),
        ("..*qed", "weight"),
        ("1..2*qed", "1..2"),
        ("logp=3..1", "a <= b"),
        ("logp=a..b", "a <= b"),
        ("logp=nan..1", "a <= b"),
        ("2*", "write an oracle"),
        ("", "write an oracle"),
    ],
)
def test_what_is_no_reward_is_refused(text: str, said: str, tiny_model: Model) -> None:
    with pytest.raises(MoldiffError) as caught:
        tiny_model.start(asked_for(1, best_of=2, reward=text))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_a_wish_is_worth() -> None:
    values = np.array([0.0, 1.0, 4.0, math.nan])
    assert wish("x").goal == "own"
    for text, maximize, wanted in [
        ("x", True, [0, 1, 4]),
        ("x", False, [0, -1, -4]),
        ("x=high", False, [0, 1, 4]),
        ("2*x=low", True, [0, -2, -8]),
        ("x=3", True, [-3, -2, -1]),
        ("x=1..2", True, [-1, 0, -2]),
    ]:
        found = wish(text)(values, maximize)
        assert found[:3].tolist() == wanted
        assert math.isnan(found[3])
    assert [wish(t).text(m) for t, m in [("x", True), ("x", False), ("2*x=1..3", True), ("x=.5", True)]] == [
        "x=high",
        "x=low",
        "2*x=1..3",
        "x=0.5",
    ]


@pytest.fixture(scope="module")
def qm9() -> Model:
    """The bundled model, nearly all of whose samples can be read."""
    return load("qm9", device="cpu")


def reward(model: Model, *texts: str) -> Reward:
    return Reward(model.modality, model.tokenizer, texts)


def spelt(model: Model, *smiles: str) -> torch.Tensor:
    """Rows of tokens, filled up with what is no token."""
    rows = [model.tokenizer.encode(each) for each in smiles]
    width, fill = max(map(len, rows)), model.tokenizer.vocab_size
    return torch.tensor([row + [fill] * (width - len(row)) for row in rows])


def test_rewards_add_up_and_are_asked_of_what_can_be_read(tiny_model: Model) -> None:
    found = reward(tiny_model, "qed", "0.5*heavy_atoms=3", "sa")
    good, bad = ("CCO", "CCO", "CC(C)O"), "C1CC"
    rewards = found(spelt(tiny_model, *good, bad)).tolist()
    qed, sa = (oracle(name)(good).tolist() for name in ("qed", "sa"))
    atoms = [3, 3, 4]
    assert rewards[:3] == pytest.approx([qed[i] - 0.5 * abs(atoms[i] - 3) - sa[i] for i in range(3)])
    assert math.isnan(rewards[3])
    assert found.asked == 3
    assert found.texts == ["qed=high", "0.5*heavy_atoms=3", "sa=low"]


def facts(found: Any) -> dict[str, Any]:
    known: dict[str, Any] = json.loads(found.to_json())
    return {k: v for k, v in known.items() if k not in ("seconds", "molecules_per_second")}


def same(first: pd.DataFrame, second: pd.DataFrame) -> None:
    """Both tables are alike; what is missing is missing, however a piece of rows spells that."""
    assert list(first) == list(second)
    for name in first:
        assert first[name].isna().tolist() == second[name].isna().tolist()
        assert first[name].dropna().tolist() == second[name].dropna().tolist()


@pytest.mark.parametrize("search", [BEST, STEERED], ids=["best-of", "particles"])
def test_batches_and_groups_change_no_row(
    search: dict[str, Any], tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tiny_model.generate(9, **EASY, **search)
    monkeypatch.setattr(stream, "GROUP", {"cpu": 12})
    monkeypatch.setattr(stream, "SCORED", 2)
    cut = tiny_model.generate(9, batch_size=1, **EASY, **search)
    same(whole.frame, cut.frame)
    mine, theirs = facts(whole), facts(cut)
    for known in (mine, theirs):
        for each in known.pop("rewards").values():
            each["mean"], each["se"] = (pytest.approx(each[name]) for name in ("mean", "se"))
    assert mine == theirs
    # And row i is that of a shorter run.
    same(whole.frame.head(4), tiny_model.generate(4, **EASY, **search).frame)


@pytest.mark.parametrize("search", [BEST, STEERED], ids=["best-of", "particles"])
def test_the_table_has_the_reward_beside_that_of_the_ordinary_sample(
    search: dict[str, Any], tiny_model: Model
) -> None:
    found = tiny_model.generate(25, **EASY, **search)
    plain = tiny_model.generate(25, **EASY, **{k: v for k, v in search.items() if k == "sampler"})
    atoms = found.frame["heavy_atoms"].where(found.frame["sane"])
    assert np.array_equal(found.frame["reward"], atoms, equal_nan=True)
    ordinary = plain.frame["heavy_atoms"].where(plain.frame["sane"])
    assert np.array_equal(found.frame["reward_unsteered"], ordinary, equal_nan=True)
    kept, beside = found.summary["rewards"].values()
    assert kept["mean"] == pytest.approx(float(atoms.mean()))
    assert (kept["count"], kept["missing"]) == (int(atoms.notna().sum()), int(atoms.isna().sum()))
    assert beside["mean"] == pytest.approx(float(ordinary.mean()))
    # What has a reward goes before what has none.
    assert kept["count"] > beside["count"]
    assert found.summary["sought"] == ["heavy_atoms=high"]
    size = found.summary["search"]["size"]
    forwards = [each.summary["forwards_per_molecule"] for each in (found, plain)]
    assert forwards[0] > (size - 0.5) * forwards[1]


def test_the_best_is_the_best_of_its_samples(qm9: Model) -> None:
    """Of one, the ordinary sample; of more, never less."""
    one = qm9.generate(5, best_of=1, reward="qed").frame
    assert one["raw"].tolist() == qm9.generate(5).frame["raw"].tolist()
    last = one["reward"].fillna(-1)
    for size in (2, 4):
        found = qm9.generate(5, best_of=size, reward="qed")
        more = found.frame["reward"].fillna(-1)
        assert (more >= last).all()
        assert found.summary["oracle_calls_per_molecule"] > 0.6 * size
        last = more
    assert (last > one["reward"].fillna(-1)).any()


def test_without_control_there_is_no_ordinary_sample(tiny_model: Model) -> None:
    found = tiny_model.generate(5, **EASY, **STEERED, search_options={"control": False})
    assert found.frame["reward_unsteered"].isna().all()
    assert found.summary["rewards"]["reward_unsteered"]["mean"] is None
    assert found.summary["search"]["control"] is False


@pytest.mark.parametrize("sampler", ["mdlm", "remdm-conf", "adaptive-order"])
def test_particles_run_on_other_samplers(sampler: str, tiny_model: Model) -> None:
    found = tiny_model.generate(3, **EASY, **{**STEERED, "sampler": sampler})
    assert len(found) == 3
    assert found.summary["setting"]["sampler"] == sampler
    if sampler != "adaptive-order":
        assert found.summary["setting"]["steps"] in (12, None)


def test_targets_and_guidance_go_with_a_search(tiny_model: Model) -> None:
    found = tiny_model.generate(5, targets="qed=0.5", scale=2.0, oracles="hbd", **EASY, **STEERED)
    alone = tiny_model.generate(5, targets="qed=0.5", scale=2.0, **EASY, sampler="first-hitting")
    assert found.summary["forwards_per_molecule"] > 2.5 * alone.summary["forwards_per_molecule"]
    assert "hbd" in found.frame


ODD = """
import math

def nothing(smiles):
    return [math.nan] * len(smiles)

def raises(smiles):
    raise RuntimeError("no licence")

def some(smiles):
    return [len(text) if len(text) % 2 else math.inf for text in smiles]
"""


@pytest.mark.parametrize("name", ["nothing", "raises", "some"])
def test_an_oracle_that_fails_ends_no_run(
    name: str, qm9: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"odd_{name}.py").write_text(ODD, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for search in (BEST, STEERED):
        found = qm9.generate(2, **{**search, "reward": f"odd_{name}:{name}"})
        assert len(found) == 2
        rewards = found.frame["reward"]
        assert rewards.notna().any() == (name == "some")
        assert found.summary["rewards"]["reward"]["missing"] == int(rewards.isna().sum())
        assert found.summary["oracle_calls_per_molecule"] > 0


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"best_of": 2}, "no reward"),
        ({"particles": 2}, "no reward"),
        ({"reward": "qed"}, "goes with best-of or particles"),
        ({"tilt": 2.0}, "goes with best-of or particles"),
        ({"search_options": {"looks": 2}}, "goes with best-of or particles"),
        ({"best_of": 2, "particles": 2, "reward": "qed"}, "leave one off"),
        ({"best_of": 2, "tilt": 1.0, "reward": "qed"}, "goes with particles only"),
        ({"best_of": 2, "search_options": {"looks": 2}, "reward": "qed"}, "best-of takes none"),
        ({"best_of": 0, "reward": "qed"}, "from 1 to"),
        ({"best_of": 10**9, "reward": "qed"}, "from 1 to"),
        ({"particles": 2.5, "reward": "qed"}, "whole number"),
        ({"particles": 2, "reward": "qed", "tilt": math.nan}, "finite"),
        ({"particles": 2, "reward": "qed", "search_options": {"look": 2}}, "particles take looks, draws"),
        ({"particles": 2, "reward": "qed", "search_options": {"looks": 2.5}}, "whole number"),
        ({"particles": 2, "reward": "qed", "search_options": {"looks": math.inf}}, "whole number"),
        ({"particles": 2, "reward": "qed", "search_options": {"looks": -1}}, "at least 0"),
        ({"particles": 2, "reward": "qed", "search_options": {"keep": 3}}, "a name"),
        ({"particles": 2, "reward": "qed", "search_options": {"keep": "all"}}, "draw, best"),
        ({"particles": 2, "reward": "qed", "search_options": {"control": 2}}, "0 or 1"),
        ({"particles": 2, "reward": "qed", "search_options": {"floor": math.nan}}, "a number"),
        ({"particles": 2, "reward": "qed", "search_options": {"threshold": 2}}, r"[0, 1]"),
        ({"best_of": 2, "reward": "beauty"}, "beauty"),
    ],
    ids=str,
)
def test_what_does_not_go_together_is_refused(asked: dict[str, Any], said: str, tiny_model: Model) -> None:
    with pytest.raises(MoldiffError) as caught:
        tiny_model.start(asked_for(3, **asked))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nothing_sought_is_no_search() -> None:
    assert searched() is None
    assert searched(reward=[], search_options={}) is None


def test_programs_that_a_reward_has_started_end_with_the_run(tiny_model: Model, tmp_path: Path) -> None:
    program = tmp_path / "length.py"
    program.write_text(
        "import json, os, sys\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n"
        "for line in sys.stdin:\n"
        "    asked = json.loads(line)\n"
        "    print(json.dumps({'id': asked['id'], 'value': len(asked['smiles'])}), flush=True)\n",
        encoding="utf-8",
    )
    found = tiny_model.generate(6, **EASY, best_of=3, reward=f"cmd:python3 {program}=high")
    sane = found.frame[found.frame["sane"]]
    assert sane["reward"].tolist() == sane["smiles"].str.len().tolist()
    pid = (tmp_path / "pid").read_text()
    assert subprocess.run(["ps", "-p", pid], capture_output=True, check=False).returncode == 1
