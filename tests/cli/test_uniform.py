"""A model of uniform noise from the command line: trained, sampled, measured, and what it refuses."""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from moldiff import load, registry
from moldiff.assembly import samplers_of
from moldiff.cli.app import run
from moldiff.training.intake import TOKENS

Command = Callable[..., Any]
SMALL = ("device=cpu", "logger=none", "network.width=32", "network.depth=1", "network.heads=2")
NOISE = ("process.name=uniform", "network.time=true")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, textbook: Path) -> Path:
    """The folder of a small model of uniform noise; not to be changed."""
    folder = tmp_path_factory.mktemp("uniform") / "model"
    length = ("max_steps=100", "batch_tokens=512", f"data.path={textbook}", f"out={folder}")
    assert run(["train", "tiny", *NOISE, *SMALL, *length]) == 0
    return folder


def test_the_card_names_its_sampler_and_the_noise_is_of_tokens_that_occur(model: Path) -> None:
    facts = json.loads((model / "card.json").read_text("utf-8"))
    assert facts["config"]["process"]["name"] == "uniform"
    assert facts["config"]["default"]["sampler"] == "ancestral"
    loaded = load(str(model), "cpu")
    rows = registry.resolve("data", "token-file").load(model / TOKENS)
    states = loaded.process.num_states
    assert np.unique(rows.tokens).tolist() == list(range(states))
    assert loaded.tokenizer.vocab_size == loaded.network.head.out_features == states
    assert facts["training"]["heldout_nats_per_token"] < 0.8 * math.log(states)


def test_samples_are_drawn_guided_and_evaluated(moldiff: Command, model: Path) -> None:
    plain = moldiff("generate", model, "-n", 40, "--steps", 16, "--json", "--out", "a.csv").json
    assert plain["setting"]["sampler"] == "ancestral"
    # Told the time, the network is asked about every row in every step.
    assert plain["forwards_per_molecule"] == 16
    guided = ["--target", "qed=0.5", "--scale", 2, "--temperature", 0.8]
    sharp = moldiff("generate", model, "-n", 40, "--steps", 16, "--json", *guided).json
    assert sharp["forwards_per_molecule"] == 32
    assert plain["valid"] > 0
    found = moldiff("evaluate", "a.csv", "--reference", model, "--json").json
    assert found["valid"] == plain["valid"]


def test_samples_do_not_depend_on_the_batch_and_levels_differ(moldiff: Command, model: Path) -> None:
    def drawn(*options: object) -> list[str]:
        asked = ("--target", "ring_count=high", "--scale", 30, "--steps", 6, "--out", "b.csv", "--json")
        assert moldiff("generate", model, "-n", 12, *asked, *options).code == 0
        return list(pd.read_csv("b.csv", keep_default_na=False)["raw"])

    everyone = drawn()
    assert drawn("--batch-size", 5) == everyone == drawn("--level", "posterior")
    assert drawn("--sampler", "mdlm") == everyone
    assert drawn("--level", "x0") != everyone


def test_likelihood_is_a_bound_with_the_term_for_the_length(moldiff: Command, model: Path) -> None:
    Path("m.smi").write_text("CCO\nc1ccccc1\nOCC(C)C\nOOOOOO\n", "utf-8")
    facts = moldiff("likelihood", "m.smi", model, "--times", 64, "--out", "l.csv", "--json")
    assert (facts.code, facts.err) == (0, "")
    table = pd.read_csv("l.csv")
    assert np.isfinite(table["nll"]).all()
    per_token = (table["nll"] - table["nll_length"]) / table["tokens"]
    assert (per_token > 0).all()
    # What is like the training molecules is likelier than what is not.
    assert per_token[:3].max() < per_token[3]


@pytest.mark.parametrize("name", registry.SAMPLERS)
def test_each_sampler_runs_or_names_those_that_would(name: str, moldiff: Command, model: Path) -> None:
    choices = samplers_of(load(str(model), "cpu").process)
    found = moldiff("generate", model, "-n", 2, "--steps", 16, "--sampler", name, "--json")
    if name in choices:
        assert (found.code, found.err) == (0, "")
        return
    assert (found.code, found.out) == (2, "")
    said = re.fullmatch(
        r"moldiff: sampler (\S+): got a uniform model, it takes .+ only; choose from (.+)\n", found.err
    )
    assert said is not None
    assert (said[1], said[2].split(", ")) == (name, choices)


def test_what_looks_for_masks_is_refused_in_one_line(moldiff: Command, model: Path, textbook: Path) -> None:
    for level in ((), ("--level", "x0"), ("--level", "posterior")):
        found = moldiff("generate", model, "--complete", *level)
        assert (found.code, found.out) == (2, "")
        assert found.err == "moldiff: complete: got a uniform model, it takes masks only; leave it off\n"
    train = ("train", "tiny", "process.name=uniform", *SMALL, f"data.path={textbook}", "out=o")
    wanted = {
        "network.time": train,
        "complete": (*train, "network.time=true", "default.complete=true"),
        "first-hitting: got a uniform model": (*train, "network.time=true", "default.sampler=first-hitting"),
    }
    for says, command in wanted.items():
        found = moldiff(*command)
        assert (found.code, found.err.count("\n")) == (2, 1)
        assert says in found.err
        assert not Path("o").exists()
