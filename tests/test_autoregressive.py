"""The autoregressive baseline from a configuration to molecules: training, resuming, likelihood, refusals."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from moldiff import config, load
from moldiff.checkpoint import CARD, WEIGHTS
from moldiff.cli.app import run
from moldiff.config import TrainConfig
from moldiff.errors import MoldiffError
from moldiff.evaluation.likelihood import bound
from moldiff.generation.model import Model
from moldiff.training import fit

SMALL = ("device=cpu", "network.width=16", "network.depth=1", "network.heads=2", "batch_tokens=512")
ITEMS = ["CCO", "C1CCCCC1", "CC(=O)O", "C"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, textbook: Path) -> Path:
    """The folder of a small autoregressive model and, beside it, ``classifier``; not to be changed."""
    out = tmp_path_factory.mktemp("autoregressive") / "model"
    given = [*SMALL, f"data.path={textbook}", "logger=none", "process.name=autoregressive"]
    fit.run(config.load("tiny", [*given, f"out={out}", "max_steps=80"]))
    fit.run(config.load("classifier", [*given, f"out={out.parent / 'classifier'}", "max_steps=20"]))
    return out


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return load(str(folder), device="cpu")


def test_a_run_that_is_resumed_publishes_the_same_bytes(small: Callable[..., TrainConfig]) -> None:
    settings = small("process.name=autoregressive", "max_steps=8", "checkpoint_every=4", "validate_every=8")
    fit.run(settings)
    first = {name: (settings.out / name).read_bytes() for name in (WEIGHTS, CARD)}
    for name in (*first, "checkpoints/step=8.ckpt"):
        (settings.out / name).unlink()
    fit.run(settings, resume=True)
    assert {name: (settings.out / name).read_bytes() for name in first} == first


def test_the_likelihood_is_the_chain_rule_over_tokens_and_end(model: Model) -> None:
    found, end = bound(model, ITEMS, times=7, seed=3), model.process.num_tokens
    null = torch.full((1, len(model.card.conditions)), torch.nan)
    assert (found.se == 0).all()
    assert found.tokens.tolist() == [len(model.tokenizer.encode(item)) for item in ITEMS]
    for item, total in zip(ITEMS, found.total, strict=True):
        row, expected = [end, *model.tokenizer.encode(item), end], 0.0
        for place in range(1, len(row)):
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
                log_p = model.network(torch.tensor([row[:place]]), torch.zeros(1), null)[0, -1]
            # A row has at least one token.
            log_p = log_p[:end].log_softmax(-1) if place == 1 else log_p
            expected -= float(log_p[row[place]])
        assert total == pytest.approx(expected, rel=0.02)
    assert np.array_equal(bound(model, ITEMS[:2], times=2).total, found.total[:2])


def test_rows_of_any_length_up_to_the_longest_are_within_reach(model: Model) -> None:
    longest = model.card.max_length
    unseen = next(n for n in range(1, longest) if n not in model.table.lengths)
    found = bound(model, ["C" * unseen, "C" * longest, "C" * (longest + 1), None], times=2)
    assert np.isfinite(found.total).tolist() == [True, True, False, False]
    assert f"the model knows 1 to {longest}" in str(found.reasons[2])


def test_the_command_says_what_rows_cost_and_what_their_ends_do(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import json

    import pandas as pd

    file, out = tmp_path / "m.smi", tmp_path / "l.csv"
    file.write_text("\n".join(ITEMS))
    assert run(["likelihood", str(file), str(folder), "--device", "cpu", "--out", str(out), "--json"]) == 0
    facts, table = json.loads(capsys.readouterr().out), pd.read_csv(out)
    assert facts["nats_per_molecule"] == pytest.approx(table["nll"].mean())
    assert (table["nll"] > table["nll_length"]).all()
    assert (table["nll_length"] > 0).all()
    assert table["se"].tolist() == [0.0] * len(ITEMS)


def test_samples_do_not_depend_on_the_batch_and_count_a_forward_a_token(model: Model) -> None:
    whole = model.generate(30, seed=5)
    again = model.generate(30, seed=5, batch_size=4, precision="fp32")
    few = model.generate(30, seed=5, batch_size=30, precision="fp32")
    assert again.frame["raw"].tolist() == few.frame["raw"].tolist()
    assert whole.summary["setting"]["sampler"] == "autoregressive"
    sizes = [len(model.tokenizer.encode(raw)) for raw in whole.frame["raw"]]
    expected = sum(min(size + 1, model.card.max_length) for size in sizes) / 30
    assert whole.summary["forwards_per_molecule"] == pytest.approx(expected, abs=1e-3)
    assert whole.summary["token_forwards_per_molecule"] == pytest.approx(expected, abs=1e-2)


def test_rows_of_drawn_lengths_have_the_lengths_of_training_rows(model: Model) -> None:
    drawn = model.generate(40, options={"length": "drawn"}, complete=True, targets="qed=0.5", scale=2.0)
    sizes = {len(model.tokenizer.encode(raw)) for raw in drawn.frame["raw"]}
    assert sizes <= set(model.table.lengths.tolist())
    assert len(sizes) > 3
    for raw in drawn.frame["raw"]:
        assert raw.count("(") == raw.count(")")
        assert all(raw.count(label) % 2 == 0 for label in "123456789")


def test_fudge_is_asked_by_name_and_its_cost_is_counted(model: Model, folder: Path) -> None:
    asked: dict[str, Any] = {"guidance": "fudge", "classifier": str(folder.parent / "classifier")}
    found = model.generate(8, targets="ring_count=high", scale=2.0, fudge_top_k=3, **asked)
    assert found.summary["guidance"] == "fudge"
    assert found.summary["fudge_top_k"] == 3
    assert found.summary["classifier_token_forwards_per_molecule"] > 4
    free = model.generate(8, targets="ring_count=high", scale=0.0, **asked)
    assert free.frame["raw"].tolist() == model.generate(8).frame["raw"].tolist()
    assert free.summary["classifier_forwards_per_molecule"] == 0


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"sampler": "mdlm"}, "sampler mdlm: got an autoregressive model, .* choose from autoregressive$"),
        ({"sampler": "first-hitting"}, "got an autoregressive model, .* choose from autoregressive$"),
        ({"complete": True}, "complete: got rows of their own length, it takes length=drawn only"),
        ({"level": "posterior"}, "autoregressive: got guidance level posterior, it takes x0 only"),
        ({"options": {"length": "long"}}, "got 'long', choose from own, drawn"),
        ({"options": {"length": 3.0}}, "needs a name"),
        ({"guidance": "fudge", "targets": "ring_count=high"}, "guidance fudge: got no classifier"),
        ({"fudge_top_k": 3}, "fudge top-k: got 3, it goes with guidance fudge only"),
    ],
)
def test_what_does_not_go_with_the_model_is_refused(
    model: Model, asked: dict[str, Any], message: str
) -> None:
    with pytest.raises(MoldiffError, match=message):
        model.generate(2, **asked)


def test_guidances_by_classifier_are_refused_on_the_wrong_kind_of_model(
    model: Model, tiny_model: Model, folder: Path
) -> None:
    asked: dict[str, Any] = {"targets": "ring_count=high", "classifier": str(folder.parent / "classifier")}
    with pytest.raises(MoldiffError, match="guidance cbg: got an autoregressive model"):
        model.generate(2, guidance="cbg", **asked)
    with pytest.raises(MoldiffError, match=r"train one with process\.name=masked"):
        tiny_model.generate(2, guidance="fudge", **asked)
    with pytest.raises(MoldiffError, match="sampler autoregressive: got a masked model"):
        tiny_model.generate(2, sampler="autoregressive")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "process.schedule=cosine",
            "process.schedule: got cosine, but autoregressive has none; leave it out",
        ),
        ("t_min=0.1", "t_min: got 0.1, but autoregressive has no time"),
        ("correction={}", "correction: got one with autoregressive, it trains masked models only"),
        ("default.sampler=remdm-loop-cap", "sampler remdm-loop-cap: got an autoregressive model"),
    ],
)
def test_a_configuration_that_has_no_meaning_is_refused(
    small: Callable[..., TrainConfig], override: str, message: str
) -> None:
    with pytest.raises(MoldiffError, match=message):
        fit.run(small("process.name=autoregressive", override))


def test_a_grown_model_goes_on_from_what_it_knew(folder: Path, model: Model, tmp_path: Path) -> None:
    file = tmp_path / "more.smi"
    file.write_text(
        "\n".join(f"C[Se]{'C' * n}" for n in range(1, 40)) + "\n" + "C" * (model.card.max_length + 2)
    )
    given = [
        f"data.path={file}",
        f"out={tmp_path / 'grown'}",
        "data.heldout=0",
        "conditions=[]",
        "device=cpu",
    ]
    settings = config.load("finetune", [*given, "max_steps=1", "optimizer.lr=1e-9", "logger=none"])
    fit.run(settings, init_from=str(folder))
    grown = load(str(tmp_path / "grown"), "cpu")
    assert grown.process.num_tokens == model.process.num_tokens + 1
    assert grown.card.max_length > model.card.max_length
    before, after = (bound(each, ITEMS).total for each in (model, grown))
    # A token that is new takes a share of each prediction: at most log(1 + 1 / K) nats.
    most = math.log(1 + 1 / model.process.num_tokens)
    tokens = np.array([len(model.tokenizer.encode(item)) + 1 for item in ITEMS])
    assert (np.abs(after - before) < tokens * (most + 0.03)).all()
