"""Generation from Python: what comes back, in which order, at which cost, and what it depends on."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import moldiff
from moldiff import Generation, Model, load
from moldiff.chem.oracles import ORACLES
from moldiff.errors import MoldiffError
from moldiff.targets import TargetSampler

COLUMNS = ["smiles", "raw", "valid", "sane", "reason", "novel", *ORACLES]


def raw(found: Generation) -> list[str]:
    return list(found.frame["raw"])


def lengths(model: Model, n: int, seed: int = 0) -> np.ndarray:
    plan = TargetSampler(model.table, model.card.conditions)
    return plan.draw(torch.arange(n), seed)[0]


@pytest.fixture(scope="module")
def qm9() -> Generation:
    """Some molecules of the bundled model."""
    return load("qm9", device="cpu").generate(48, sampler="mdlm", steps=24, targets={"qed": (0.3, 0.6)})


def test_the_bundled_model_is_the_default_and_makes_molecules(qm9: Generation) -> None:
    assert load(device="cpu").card.name == qm9.summary["model"] == "qm9"
    assert qm9.summary["valid"] > 4
    assert qm9.summary["valid"] >= qm9.summary["sane"] >= 1
    assert qm9.summary["requested"] == qm9.summary["drawn"] == len(qm9) == 48


def test_the_table_has_its_columns_in_order_and_one_row_a_sample(qm9: Generation) -> None:
    frame = qm9.to_pandas()
    assert list(frame.columns) == COLUMNS
    assert len(frame) == 48
    frame["raw"] = ""
    assert raw(qm9) != list(frame["raw"])  # a copy
    valid = qm9.frame[qm9.frame["valid"]]
    broken = qm9.frame[~qm9.frame["valid"]]
    assert valid["smiles"].notna().all()
    assert valid[list(ORACLES)].notna().all(axis=None)
    assert broken["smiles"].isna().all()
    assert broken[list(ORACLES)].isna().all(axis=None)
    assert not broken["novel"].any()
    assert broken["reason"].notna().all()
    assert qm9.frame.loc[qm9.frame["sane"], "reason"].isna().all()


def test_the_summary_adds_up(qm9: Generation) -> None:
    facts = json.loads(qm9.to_json())
    frame = qm9.frame
    assert facts["valid"] == frame["valid"].sum()
    assert facts["sane"] == frame["sane"].sum()
    assert facts["unique"] == frame.loc[frame["valid"], "smiles"].nunique()
    assert sum(facts["rejects"].values()) == 48 - facts["sane"]
    assert facts["forwards_per_molecule"] > 0
    assert facts["seconds"] > 0
    assert facts["seed"] == 0
    assert facts["setting"]["steps"] == 24
    assert facts["targets"] == ["qed=0.3..0.6"]
    achieved = frame.loc[frame["valid"], "qed"]
    asked = facts["properties"]["qed"]
    assert asked["asked"] == "0.3..0.6"
    assert asked["mean"] == pytest.approx(achieved.mean())
    assert asked["share_inside"] == pytest.approx(achieved.between(0.3, 0.6).mean())
    assert facts["together"]["share"] == asked["share_inside"]
    known = load("qm9", device="cpu").table.properties["qed"]
    inside = ((known >= 0.3) & (known <= 0.6)).mean()
    assert facts["together"]["training_share"] == pytest.approx(inside)
    assert {"moldiff", "torch", "rdkit", "python"} <= set(facts["versions"])


def test_the_best_are_distinct_and_sane_and_near_the_target(qm9: Generation) -> None:
    best = qm9.frame.loc[list(qm9.best)]
    assert len(best) == qm9.frame.loc[qm9.frame["sane"], "smiles"].nunique()
    assert best["smiles"].is_unique
    assert best["sane"].all()
    order = [
        (not novel, max(0.3 - qed, qed - 0.6, 0))
        for novel, qed in zip(best["novel"], best["qed"], strict=True)
    ]
    assert order == sorted(order)


def test_saving_writes_the_table_and_its_provenance(qm9: Generation, tmp_path: Path) -> None:
    qm9.save(tmp_path / "mols.csv")
    qm9.save(str(tmp_path / "mols.smi"))
    assert {path.name for path in tmp_path.iterdir()} == {
        "mols.csv", "mols.csv.json", "mols.smi", "mols.smi.json",
    }  # fmt: skip
    frame = pd.read_csv(tmp_path / "mols.csv", keep_default_na=False, na_values={c: [""] for c in COLUMNS})
    assert list(frame.columns) == COLUMNS
    assert list(frame["raw"].fillna("")) == raw(qm9)
    np.testing.assert_allclose(frame["qed"], qm9.frame["qed"])
    lines = (tmp_path / "mols.smi").read_text("utf-8").splitlines()
    assert lines == list(qm9.frame.loc[qm9.frame["valid"], "smiles"])
    facts = json.loads((tmp_path / "mols.csv.json").read_text("utf-8"))
    assert facts == json.loads(qm9.to_json())
    assert {"seed", "versions", "setting", "model", "model_sha256", "targets"} <= set(facts)


def test_what_cannot_be_saved_is_refused(qm9: Generation, tmp_path: Path) -> None:
    for name in ("mols.xlsx", "mols"):
        with pytest.raises(MoldiffError, match=r"choose from \.csv, \.jsonl, \.parquet, \.smi, \.sdf"):
            qm9.save(tmp_path / name)
    with pytest.raises(MoldiffError, match="cannot write"):
        qm9.save(tmp_path / "missing" / "mols.csv")
    with pytest.raises(MoldiffError, match=r"choose from \.png, \.svg"):
        qm9.picture(tmp_path / "mols.jpg")
    assert not list(tmp_path.iterdir())


def test_pictures_and_notebooks_show_the_samples(qm9: Generation, tmp_path: Path) -> None:
    qm9.picture(tmp_path / "mols.png", count=4)
    assert (tmp_path / "mols.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    html = qm9._repr_html_()
    assert "<table" in html
    assert f"valid {qm9.summary['valid']}" in html
    assert html.count("<tr") == 21  # a header and the first twenty


@pytest.mark.parametrize("sampler", ["mdlm", "remdm-cap", "remdm-conf", "first-hitting"])
def test_a_sample_does_not_depend_on_its_batch(sampler: str, tiny_model: Model) -> None:
    asked: dict[str, Any] = {"sampler": sampler, "steps": 16, "targets": {"qed": 0.5}, "scale": 2.0}
    whole = raw(tiny_model.generate(40, **asked))
    for size in (1, 7):
        assert raw(tiny_model.generate(40, batch_size=size, **asked)) == whole
    # The first k of n are the k that would have been drawn alone.
    assert raw(tiny_model.generate(20, **asked)) == whole[:20]


def test_seeds_are_honoured(tiny_model: Model) -> None:
    default = raw(tiny_model.generate(20))
    assert raw(tiny_model.generate(20, seed=0)) == default
    drawn = {seed: raw(tiny_model.generate(20, seed=seed)) for seed in (0, 1, -1, 2**63, 2**64 - 1)}
    assert drawn[-1] == drawn[2**64 - 1]  # any whole number, taken modulo 2**64
    assert len({tuple(each) for each in drawn.values()}) == 4


def test_the_callers_own_random_numbers_are_left_alone(tiny: Path) -> None:
    torch.manual_seed(5)
    np.random.seed(5)
    state, numpy_state = torch.get_rng_state(), np.random.get_state()
    load(str(tiny), device="cpu").generate(3)
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], numpy_state[1])  # type: ignore[index]


def test_guidance_costs_twice_and_none_is_spent_at_scale_0_or_1(tiny_model: Model) -> None:
    def cost(**asked: Any) -> float:
        return float(tiny_model.generate(64, steps=16, **asked).summary["forwards_per_molecule"])

    target = {"ring_count": "high"}
    plain = cost(targets=target)
    assert cost(targets=target, scale=1.0) == cost(targets=target, scale=0.0) == plain
    assert cost(targets=target, scale=2.0) == pytest.approx(2 * plain, abs=1e-3)
    assert cost(targets=target, scale=0.5) == pytest.approx(2 * plain, abs=1e-3)


def test_scale_0_is_the_model_without_a_target_and_1_is_not(tiny_model: Model) -> None:
    # The target still picks the lengths: compare rows of the same length, one token here and there.
    told = raw(tiny_model.generate(64, targets={"qed": 0.5}, scale=1.0))
    untold = raw(tiny_model.generate(64, targets={"qed": 0.5}, scale=0.0))
    other = raw(tiny_model.generate(64, targets={"qed": 0.55}, scale=0.0))
    assert told != untold
    same = [a == b for a, b in zip(untold, other, strict=True)]
    assert sum(same) > 0


@pytest.mark.parametrize("steps", [8, 32])
def test_the_plain_sampler_costs_what_its_formula_says(steps: int, tiny_model: Model) -> None:
    n = 512
    found = tiny_model.generate(n, sampler="mdlm", steps=steps)
    size = lengths(tiny_model, n).astype(float)
    # Of T steps, a row asks the network in those in which at least one of its L tokens is revealed.
    empty, both = (1 - 1 / steps) ** size, (1 - 2 / steps) ** size
    expected = (steps * (1 - empty)).mean()
    spread = math.sqrt((steps * empty + steps * (steps - 1) * both - (steps * empty) ** 2).sum()) / n
    forwards = found.summary["forwards_per_molecule"]
    assert abs(forwards - expected) < max(0.03 * expected, 3 * spread)
    assert abs(forwards - expected) < 5 * spread
    tokens = found.summary["token_forwards_per_molecule"]
    assert tokens == pytest.approx((steps * (1 - empty) * size).mean(), rel=0.05)


def test_first_hitting_costs_a_forward_a_token(tiny_model: Model) -> None:
    found = tiny_model.generate(50, sampler="first-hitting")
    assert found.summary["forwards_per_molecule"] == pytest.approx(lengths(tiny_model, 50).mean())


def test_lengths_are_those_of_the_training_rows(tiny_model: Model) -> None:
    found = raw(tiny_model.generate(60, seed=3))
    assert [len(tiny_model.tokenizer.encode(each)) for each in found] == list(lengths(tiny_model, 60, 3))


def test_progress_is_told_and_an_interrupt_keeps_what_was_drawn(tiny_model: Model) -> None:
    told: list[int] = []

    def progress(done: int) -> None:
        told.append(done)
        if done >= 20:
            raise KeyboardInterrupt

    whole = raw(tiny_model.generate(60))
    found = tiny_model.generate(60, batch_size=4, progress=progress)
    assert found.interrupted
    assert told == sorted(told)
    assert found.summary["requested"] == 60
    assert found.summary["drawn"] == len(found) == told[-1]
    assert len(found) < 60
    assert set(raw(found)) <= set(whole)
    assert not tiny_model.generate(3).interrupted


def test_an_interrupt_before_the_first_batch_gives_an_empty_table(tiny_model: Model, tmp_path: Path) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    handle = tiny_model.network.register_forward_pre_hook(stop)
    try:
        found = tiny_model.generate(5, targets="qed=0.5")
    finally:
        handle.remove()
    assert found.interrupted
    assert len(found) == found.summary["drawn"] == 0
    assert list(found.frame.columns) == COLUMNS
    assert json.loads(found.to_json())["properties"]["qed"]["mean"] is None
    found.save(tmp_path / "none.csv")
    assert (tmp_path / "none.csv").read_text("utf-8").strip() == ",".join(COLUMNS)
    assert "<table" in found._repr_html_()


def test_targets_may_be_text_pairs_or_a_mapping(tiny_model: Model) -> None:
    forms: list[Any] = ["qed=0.3..0.5", ["qed=0.3..0.5"], {"qed": (0.3, 0.5)}, {"qed": "0.3..0.5"}]
    drawn = {tuple(raw(tiny_model.generate(10, targets=form))) for form in forms}
    assert len(drawn) == 1
    both = tiny_model.generate(10, targets={"qed": 0.5, "ring_count": "low"})
    assert list(both.summary["properties"]) == ["qed", "ring_count"]
    assert "share_in_class" in both.summary["properties"]["ring_count"] or both.summary["valid"] == 0


def test_the_cards_setting_is_used_where_nothing_is_said(tiny_model: Model) -> None:
    card = tiny_model.card.default
    assert tiny_model.generate(2).summary["setting"] == card.model_dump()
    asked = tiny_model.generate(2, sampler="remdm-cap", options={"eta": 0.1}, top_p=0.9).summary["setting"]
    assert asked == {**card.model_dump(), "sampler": "remdm-cap", "options": {"eta": 0.1}, "top_p": 0.9}


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"n": 0}, "n: got 0"),
        ({"n": 2.5}, "n: got 2.5"),
        ({"n": "7"}, "n: got '7'"),
        ({"n": 2, "batch_size": 0}, "batch size: got 0"),
        ({"n": 2, "seed": 0.5}, "seed: got 0.5"),
        ({"n": 2, "steps": 0}, "steps"),
        ({"n": 2, "steps": 2.5}, "steps"),
        ({"n": 2, "temperature": math.inf}, "temperature"),
        ({"n": 2, "top_p": 0.0}, "top_p"),
        ({"n": 2, "scale": 2.0}, "no target"),
        ({"n": 2, "scale": math.nan, "targets": "qed=0.5"}, "scale"),
        ({"n": 2, "scale": -1.0, "targets": "qed=0.5"}, "scale"),
        ({"n": 2, "level": "deep"}, "choose from x0, posterior"),
        ({"n": 2, "precision": "fp8"}, "precision"),
        ({"n": 2, "sampler": "nope"}, "unknown sampler"),
        ({"n": 2, "options": {"eta": 0.1}}, "it takes none"),
        ({"n": 2, "sampler": "remdm-cap", "options": {"eta": math.nan}}, "eta"),
        ({"n": 2, "targets": {"qed": None}}, "qed=None"),
        ({"n": 2, "targets": {"qed": (0.5, 0.1)}}, "a <= b"),
        ({"n": 2, "warmth": 3}, "warmth"),
    ],
)
def test_bad_requests_are_refused_in_one_line(asked: dict[str, Any], message: str, tiny_model: Model) -> None:
    with pytest.raises(MoldiffError, match=message) as caught:
        tiny_model.generate(**asked)
    assert len(str(caught.value).splitlines()) == 1


def test_devices_are_named_and_missing_ones_refused(tiny: Path) -> None:
    assert load(str(tiny), device="cpu").device == torch.device("cpu")
    for device in ("tpu", "cuda:99", "cpu:1", "", "cuda:x"):
        with pytest.raises(MoldiffError, match="this machine has cpu"):
            load(str(tiny), device=device)


def test_the_public_names_are_there() -> None:
    assert (
        set(moldiff.__all__)
        == set(dir(moldiff))
        == {
            "Evaluation",
            "Generation",
            "Model",
            "MoldiffError",
            "Scorer",
            "Scores",
            "__version__",
            "evaluate",
            "load",
            "score",
        }
    )
    assert moldiff.MoldiffError is MoldiffError
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        _ = moldiff.nope


def test_a_batch_that_does_not_fit_is_halved_and_gives_the_same_samples(tiny_model: Model) -> None:
    """A hook runs out of memory above four rows, as a small GPU would."""
    whole = tiny_model.generate(40, seed=3, steps=8)

    def small_memory(module: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        if len(args[0]) > 4:
            raise torch.OutOfMemoryError

    handle = tiny_model.network.register_forward_pre_hook(small_memory)
    try:
        halved = tiny_model.generate(40, seed=3, steps=8)
    finally:
        handle.remove()
    assert halved.frame["raw"].tolist() == whole.frame["raw"].tolist()


def test_options_that_generate_does_not_know_are_named(tiny_model: Model) -> None:
    with pytest.raises(
        MoldiffError,
        match=r"unknown option of generate: got 'tempature' \(temperature\?\), choose from targets",
    ):
        tiny_model.generate(2, tempature=0.5)  # type: ignore[call-arg]
    found = tiny_model.generate(2, sampler="remdm-cap", eta=0.1, steps=4, precision="fp32", level="x0")
    assert found.summary["setting"]["options"] == {"eta": 0.1}
    assert (found.summary["precision"], found.summary["level"]) == ("fp32", "x0")
    assert found.summary["interrupted"] is False


def test_what_is_always_told_is_not_sharpened_and_costs_nothing() -> None:
    model = load("zinc250k-ar", "cpu")
    assert model.card.default.scale == 2
    plain = model.generate(8, seed=0).summary
    told = model.generate(8, seed=0, targets="writing=1").summary
    sharpened = model.generate(8, seed=0, targets=["writing=1", "logp=2"], guidance="cfg").summary
    longest = model.card.max_length
    assert max(plain["forwards_per_molecule"], told["forwards_per_molecule"]) <= longest
    assert sharpened["forwards_per_molecule"] > 1.5 * told["forwards_per_molecule"]
