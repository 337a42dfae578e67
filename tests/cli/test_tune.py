"""Tuning by a reward from a model to a better one, through the command line."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from moldiff.checkpoint import CARD, WEIGHTS, Checkpoint, read_card

from .conftest import Result

Command = Callable[..., Result]
GIVEN = ("device=cpu", "batch_tokens=256", "reward.setting.steps=8")


def tuned(moldiff: Command, model: Path | str, textbook: Path, out: str, *more: str) -> Result:
    return moldiff(
        "train", "tune", "--init-from", model, f"data.path={textbook}", f"out={out}", *GIVEN, *more
    )


def test_a_model_is_tuned_and_says_so(moldiff: Command, tiny: Path, textbook: Path) -> None:
    more = (
        "max_steps=10",
        "reward.novel=0.5",
        "reward.kept=0.3",
        "reward.kept_until=O",
        "reward.oracles={qed: 1}",
        "reward.setting.complete=true",
        "reward.setting.sampler=entropy-bound",
        "reward.passed=true",
    )
    assert tuned(moldiff, tiny, textbook, "own", *more).code == 0
    card, start = read_card(Path("own")), read_card(tiny)
    assert card.config.reward is not None
    assert (card.config.reward.novel, card.config.reward.oracles) == (0.5, {"qed": 1.0})
    assert card.origin is not None
    assert (card.origin.sha256, card.conditions) == (start.sha256, start.conditions)
    log = pd.read_csv("own/logs/version_0/metrics.csv")
    logged = log[["reward", "sane", "novel", "near"]].dropna()
    assert len(logged) == 10
    assert logged[["sane", "novel", "near"]].stack().between(0, 1).all()
    assert logged["reward"].between(0, 3.5).all()
    assert moldiff("generate", "own", "-n", 4, "--out", "m.csv").code == 0
    # A model made from that one is tuned only where it is asked for again.
    plain = ("train", "finetune", "--init-from", "own", f"data.path={textbook}", "out=plain", "max_steps=1")
    assert moldiff(*plain, "device=cpu").code == 0
    assert read_card(Path("plain")).config.reward is None


def test_a_resumed_run_draws_what_it_would_have_drawn(moldiff: Command, tiny: Path, textbook: Path) -> None:
    assert tuned(moldiff, tiny, textbook, "whole", "max_steps=6", "checkpoint_every=3").code == 0
    assert tuned(moldiff, tiny, textbook, "parts", "max_steps=6", "checkpoint_every=3").code == 0
    for path in (CARD, WEIGHTS, "checkpoints/step=6.ckpt"):
        Path("parts", path).unlink()
    assert tuned(moldiff, tiny, textbook, "parts", "max_steps=6", "checkpoint_every=3", "--resume").code == 0
    whole, parts = (Path(folder, WEIGHTS).read_bytes() for folder in ("whole", "parts"))
    assert whole == parts
    assert Checkpoint.load(Path("parts")).card.training["steps"] == 6
    other = tuned(moldiff, tiny, textbook, "parts", "max_steps=9", "reward.asked=2", "--resume")
    assert (other.code, other.err.count("\n")) == (2, 1)
    assert "--resume: got reward {'weight': 1.0" in other.err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["reward.weight=0"], "reward.weight: Input should be greater than 0, got 0"),
        (["reward.states=0"], "reward.states"),
        (["reward.group=1"], "reward.group: Input should be greater than or equal to 2"),
        (["reward.setting.sampler=nonsense"], "sampler"),
        (["reward.setting.sampler=proseco"], "reward.setting.sampler: got proseco, which needs correction"),
        (["reward.setting.sampler=autoregressive"], "sampler autoregressive: got a masked model"),
        (["reward.oracles={nonsense: 1}"], "nonsense"),
        (["reward.kept=2"], "reward.kept: Input should be less than or equal to 1"),
        (
            ["reward.kept=0.5", "reward.kept_until=CC"],
            "reward.kept_until: got 'CC', which is 2 tokens, not one",
        ),
        (["reward.kept=0.5", "reward.kept_until=."], "'.'"),
        (
            ["reward.passed=true", "reward.setting.sampler=remdm-cap", "reward.setting.options={eta: 0.9}"],
            "reward.passed: got a sampler that takes tokens back",
        ),
        (["reward.oracles={qed: -1}"], "reward.oracles.qed: Input should be greater than 0"),
    ],
)
def test_a_reward_that_makes_no_sense_is_refused_before_it_starts(
    more: list[str], message: str, moldiff: Command, tiny: Path, textbook: Path
) -> None:
    found = tuned(moldiff, tiny, textbook, "own", "max_steps=2", *more)
    assert (found.code, found.err.count("\n")) == (2, 1)
    assert message in found.err
    assert not Path("own", WEIGHTS).exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            ["process.name=autoregressive"],
            "reward: got one with autoregressive, it trains diffusion models only",
        ),
        (
            ["task=classifier", "conditions=[{kind: class, name: qed}]"],
            "reward: got one with task: classifier",
        ),
        (
            ["process.name=uniform", "network.time=true", "reward.setting.complete=true"],
            "complete: got a uniform model",
        ),
        (
            ["process.name=uniform", "network.time=true", "reward.passed=true"],
            "learning from the states passed: got a process without masks, it takes masks only",
        ),
    ],
)
def test_what_cannot_learn_from_a_reward_is_refused(
    more: list[str], message: str, moldiff: Command, textbook: Path
) -> None:
    given = ("train", "tiny", f"data.path={textbook}", "out=own", "device=cpu", "reward.weight=1", *more)
    found = moldiff(*given)
    assert (found.code, found.err.count("\n")) == (2, 1)
    assert message in found.err


def test_uniform_noise_and_self_correction_learn_from_it_too(moldiff: Command, textbook: Path) -> None:
    small = ["network.width=32", "network.depth=1", "network.heads=2", f"data.path={textbook}", "max_steps=2"]
    reward = ["reward.weight=1", "reward.setting.steps=4", "device=cpu", "batch_tokens=256"]
    uniform = ["process.name=uniform", "network.time=true", "reward.setting.sampler=ancestral"]
    mending = [*uniform[:2], "reward.setting.sampler=self-correct"]
    runs = {"uniform": uniform, "mending": mending, "corrected": ["correction.weight=1"]}
    for name, more in runs.items():
        assert moldiff("train", "tiny", *small, *reward, f"out={name}", *more).code == 0
        log = pd.read_csv(f"{name}/logs/version_0/metrics.csv")
        assert log["reward"].notna().any()
        assert ("correction_nll" in log) == (name == "corrected")
