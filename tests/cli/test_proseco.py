"""Self-correction from data to molecules, through the command line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from moldiff.checkpoint import read_card
from moldiff.chem import molecule

from .conftest import Result

Command = Callable[..., Result]
SMALL = ["device=cpu", "network.width=32", "network.depth=1", "network.heads=2", "batch_tokens=512"]


def trained(moldiff: Command, textbook: Path, out: str, *more: str) -> Result:
    given = [*SMALL, f"data.path={textbook}", f"out={out}", "max_steps=50", "checkpoint_every=50", *more]
    return moldiff("train", "tiny", *given)


def drawn(moldiff: Command, model: Any, *options: object) -> tuple[list[str], Any]:
    found = moldiff("generate", model, "-n", 12, "--out", "m.csv", "--json", *options)
    assert (found.code, found.err) == (0, "")
    return list(pd.read_csv("m.csv", keep_default_na=False)["raw"]), found.json


def options_of(*pairs: str) -> list[str]:
    return [part for pair in pairs for part in ("--sampler-option", pair)]


def test_a_model_is_trained_with_the_term_and_says_so(moldiff: Command, textbook: Path) -> None:
    assert trained(moldiff, textbook, "own", "correction.weight=0.5", "correction.input=mix").code == 0
    card = read_card(Path("own"))
    assert card.corrects
    assert card.config.correction is not None
    assert (card.config.correction.weight, card.config.correction.input) == (0.5, "mix")
    log = pd.read_csv("own/logs/version_0/metrics.csv")
    logged = log[["correction_errors", "correction_nll"]].dropna()
    assert len(logged) > 0
    assert logged["correction_errors"].between(0, 1).all()
    assert (logged["correction_nll"] > 0).all()

    # A run with the term is not resumed as one with another.
    resumed = trained(moldiff, textbook, "own", "correction.weight=1", "--resume")
    assert (resumed.code, resumed.err.count("\n")) == (2, 1)
    assert "--resume: got correction {'weight': 1.0" in resumed.err


def test_off_is_off_to_the_last_bit(moldiff: Command, textbook: Path) -> None:
    assert trained(moldiff, textbook, "plain").code == 0
    assert trained(moldiff, textbook, "without", "correction.weight=0").code == 0
    weights = [Path(folder, "model.safetensors").read_bytes() for folder in ("plain", "without")]
    assert weights[0] == weights[1]
    assert not read_card(Path("plain")).corrects
    assert not read_card(Path("without")).corrects


def test_it_generates_with_every_option(moldiff: Command, tiny_corrected: Path) -> None:
    model = tiny_corrected
    plain, cheap = drawn(moldiff, model, "--sampler", "mdlm", "--steps", 32)
    pairs = {
        "every": ["every=2"],
        "deep": ["every=2", "corrections=4"],
        "off": ["every=2", "corrections=0"],
        "final": ["every=33", "final=2"],
        "gate": ["every=33", "final=2", "gate=true"],
    }
    found = {}
    for name, options in pairs.items():
        given = options_of(*options)
        found[name] = drawn(moldiff, model, "--sampler", "proseco", "--steps", 32, *given)
    assert found["off"][0] == plain
    assert found["off"][1]["forwards_per_molecule"] == cheap["forwards_per_molecule"]
    assert found["every"][0] != plain
    assert found["every"][1]["forwards_per_molecule"] > cheap["forwards_per_molecule"]
    assert found["deep"][1]["forwards_per_molecule"] > found["every"][1]["forwards_per_molecule"]
    assert found["deep"][1]["setting"]["options"] == {"every": 2, "corrections": 4}
    # The gate gives back what was sane before, and nothing else.
    sane = [molecule.check(raw).sane for raw in plain]
    for before, after, gated in zip(plain, found["final"][0], found["gate"][0], strict=True):
        kept = molecule.check(before).sane and not molecule.check(after).sane
        assert gated == (before if kept else after)
    assert sum(sane) <= sum(molecule.check(raw).sane for raw in found["gate"][0])


def test_targets_completable_rows_and_remasking_go_along(moldiff: Command, tiny_corrected: Path) -> None:
    asked = ("--target", "qed=0.5", "--scale", 2, "--steps", 16)
    found = {
        name: drawn(moldiff, tiny_corrected, *asked, *options)
        for name, options in {
            "full": ("--sampler", "proseco", *options_of("every=2")),
            "none": ("--sampler", "proseco", *options_of("every=2", "guidance=none")),
            "complete": ("--sampler", "proseco", "--complete"),
            "remdm": ("--sampler", "remdm-proseco", *options_of("remasking=loop")),
        }.items()
    }
    cost = {name: facts["forwards_per_molecule"] for name, (_, facts) in found.items()}
    assert cost["none"] < cost["full"]
    full = (*asked, "--sampler", "proseco", *options_of("every=2"))
    some = drawn(moldiff, tiny_corrected, *full, "--batch-size", 5)
    assert some[0] == found["full"][0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--level", "posterior"), "guidance level: got posterior with a corrector, which takes x0 only"),
        (("--sampler-option", "every=2.5"), "sampler proseco: got every = 2.5, needs a whole number"),
        (("--sampler-option", "every=0"), "every of a corrector: got 0, must be 1 or more"),
        (("--sampler-option", "mode=posterior"), "choose from argmax, sample"),
        (("--sampler-option", "eta=1"), "sampler proseco: got option 'eta', it takes every, corrections, "),
    ],
)
def test_what_it_cannot_do_is_refused_in_one_line(
    options: tuple[str, ...], message: str, moldiff: Command, tiny_corrected: Path
) -> None:
    found = moldiff("generate", tiny_corrected, "-n", 2, "--sampler", "proseco", *options)
    assert (found.code, found.out, found.err.count("\n")) == (2, "", 1)
    assert message in found.err


def test_a_model_without_the_term_is_refused_and_can_be_given_it(
    moldiff: Command, tiny: Path, textbook: Path
) -> None:
    for name in ("proseco", "remdm-proseco"):
        refused = moldiff("generate", tiny, "-n", 2, "--sampler", name)
        assert (refused.code, refused.out) == (2, "")
        assert refused.err == (
            f"moldiff: sampler {name}: got model, which was not trained to correct itself; choose mdlm, "
            "remdm-conf, or a model trained with correction.weight=1\n"
        )
    given = ["device=cpu", f"data.path={textbook}", "out=tuned", "max_steps=3", "correction.weight=1"]
    assert moldiff("train", "finetune", "--init-from", tiny, *given).code == 0
    assert read_card(Path("tuned")).corrects
    assert len(drawn(moldiff, "tuned", "--sampler", "proseco")[0]) == 12
    # And a model made from that one keeps it, unless told otherwise.
    given = ["device=cpu", f"data.path={textbook}", "max_steps=2"]
    again = ("train", "finetune", "--init-from", "tuned")
    assert moldiff(*again, "out=kept", *given).code == 0
    assert read_card(Path("kept")).corrects
    assert moldiff(*again, "out=lost", "correction=null", *given).code == 0
    assert not read_card(Path("lost")).corrects


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["correction.weight=0", "correction.denoise=0"], "got weight 0.0 and denoise 0.0"),
        (["correction.t_min=1"], "correction.t_min"),
        (["correction.input=likely"], "correction.input"),
        (["process.name=uniform", "network.time=true", "correction.weight=1"], "masked models only"),
        (["process.name=autoregressive", "correction.weight=1"], "masked models only"),
        (["default.sampler=proseco"], "correction.weight=1"),
    ],
)
def test_a_run_that_makes_no_sense_is_refused_before_it_starts(
    overrides: list[str], message: str, moldiff: Command, textbook: Path
) -> None:
    found = trained(moldiff, textbook, "none", *overrides)
    assert (found.code, found.out, found.err.count("\n")) == (2, "", 1)
    assert message in found.err
    assert not Path("none").exists()
