"""A classifier that answers numbers, from a model that it is to guide to molecules with such numbers."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from moldiff import Model, config
from moldiff.checkpoint import Checkpoint, GuidedBy, read_card
from moldiff.cli.app import run
from moldiff.errors import MoldiffError
from moldiff.generation.classifiers import load_classifier
from moldiff.training import fit

SMALL = (
    "device=cpu",
    "network.width=16",
    "network.depth=1",
    "network.heads=2",
    "batch_tokens=512",
    "logger=none",
)
NUMBERS = (
    "conditions=[{kind: numeric, name: mw}, {kind: numeric, name: logp}, {kind: class, name: ring_count}]"
)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, textbook: Path) -> Path:
    """The folder of a small model that is always told how a molecule is written."""
    folder = tmp_path_factory.mktemp("written") / "model"
    conditions = "[{kind: category, name: writing, always: 0}, {kind: numeric, name: mw}]"
    overrides = [f"conditions={conditions}", "data.options.writings=all", f"data.path={textbook}"]
    fit.run(config.load("tiny", [*SMALL, *overrides, f"out={folder}", "max_steps=60"]))
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, textbook: Path, written: Path) -> Path:
    """The folder of a small classifier that starts from that model."""
    folder = tmp_path_factory.mktemp("numbers") / "small"
    asked = [f"data.path={textbook}", "data.options.writings=all", f"out={folder}", "max_steps=120", NUMBERS]
    assert run(["train", "classifier", *asked, *SMALL, "--init-from", str(written)]) == 0
    return folder


def test_a_card_says_how_near_it_comes(trained: Path, written: Path, moldiff: Any) -> None:
    card = read_card(trained)
    assert card.tokenizer == read_card(written).tokenizer
    assert card.origin is not None
    assert card.origin.sha256 == read_card(written).sha256
    assert {entry.name for entry in card.accuracy} == {"mw", "logp"}
    assert {entry.name for entry in card.reliability} == {"ring_count"}
    for entry in card.accuracy:
        assert entry.rows == card.training["heldout_rows"]
        assert 0 <= entry.within <= 1
        assert 0 < entry.error < 3 * entry.spread
    # The length alone tells the weight.
    assert min(entry.error / entry.spread for entry in card.accuracy if entry.name == "mw") < 0.9
    shown = moldiff("show", trained).out
    for text in ("noise t", "within the s.d. told", "ROC-AUC"):
        assert text in shown


def test_an_untrained_one_is_the_model_it_starts_from_up_to_its_head(
    written: Path, textbook: Path, tmp_path: Path
) -> None:
    settings = [
        f"data.path={textbook}",
        f"out={tmp_path / 'run'}",
        "max_steps=1",
        "optimizer.lr=1e-12",
        NUMBERS,
    ]
    fit.run(config.load("classifier", [*SMALL, *settings]), init_from=str(written))
    ours = Checkpoint.load(tmp_path / "run").part("network")
    theirs = Checkpoint.load(written).part("network")
    for name, value in ours.items():
        if name.startswith(("blocks.", "tokens.", "norm.")):
            torch.testing.assert_close(value, theirs[name], rtol=0, atol=1e-3)


def test_another_width_takes_the_vocabulary_alone(written: Path, textbook: Path, tmp_path: Path) -> None:
    settings = [f"data.path={textbook}", f"out={tmp_path / 'run'}", "max_steps=1", NUMBERS]
    made = fit.run(config.load("classifier", [*SMALL, *settings, "network.width=8"]), init_from=str(written))
    assert made.card.tokenizer == read_card(written).tokenizer
    assert made.card.config.network.width == 8


def test_what_does_not_go_with_the_model_is_refused(written: Path, tmp_path: Path, moldiff: Any) -> None:
    (tmp_path / "odd.smi").write_text("CC[Te](C)C\nCCO\nCC[Te]C\nCCCl\n" * 3)
    common = ["train", "classifier", "out=run", *SMALL, NUMBERS, "data.heldout=0", "--init-from", written]
    result = moldiff(*common, f"data.path={tmp_path / 'odd.smi'}")
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert "the data have tokens that model lacks: [Te]" in result.err
    result = moldiff(*common, f"data.path={tmp_path / 'odd.smi'}", "process.name=autoregressive")
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert "process.name: got autoregressive, but model is masked" in result.err


def test_numbers_and_ranges_are_asked_for_and_counted(trained: Path, written: Path, moldiff: Any) -> None:
    common = ["generate", written, "-n", 4, "--guidance", "cbg", "--classifier", trained, "--device", "cpu"]
    for target in ("mw=60", "mw=150..200"):
        found = moldiff(*common, "--target", target, "--target", "ring_count=high", "--json").json
        assert found["properties"]["mw"]["asked"] == target.partition("=")[2]
        # How a molecule is written is no property of it, and decides how long the rows are.
        assert "writing" not in found["histograms"]
    model = Model(Checkpoint.load(written), "cpu")
    usual = model.table.lengths[model.table.properties["writing"] == 0]
    rows = model.generate(20, targets="mw=60", guidance="cbg", classifier=trained).frame["raw"]
    assert max(len(model.tokenizer.encode(raw)) for raw in rows) <= usual.max()


def test_what_is_pulled_is_told_by_the_classifier(trained: Path, written: Path) -> None:
    """The same lengths, other tokens: what the classifier makes of them comes nearer to what was asked."""
    model, classifier = Model(Checkpoint.load(written), "cpu"), load_classifier(str(trained), "cpu")
    spec = classifier.card.conditions[1]
    asked: dict[str, Any] = {"targets": "logp=4", "guidance": "cbg", "classifier": classifier, "steps": 8}
    away = []
    for scale in (0.0, 6.0):
        found = model.generate(24, scale=scale, **asked)
        rows = [model.tokenizer.encode(raw) for raw in found.frame["raw"]]
        told = [float(classifier.network(torch.tensor([row]), torch.zeros(1))[0, 1, 0]) for row in rows]
        away.append(np.abs(np.array(told) - spec.encode(np.array([4.0]))).mean())
    assert away[1] < away[0]


def test_a_resumed_run_goes_on_in_the_same_vocabulary(written: Path, textbook: Path, tmp_path: Path) -> None:
    overrides = [
        f"data.path={textbook}",
        f"out={tmp_path / 'run'}",
        NUMBERS,
        "checkpoint_every=2",
        "max_steps=4",
    ]
    settings = config.load("classifier", [*SMALL, *overrides])
    whole = fit.run(settings, init_from=str(written))
    (settings.out / "checkpoints" / "step=4.ckpt").unlink()
    (settings.out / "card.json").unlink()
    again = fit.run(settings, resume=True)
    assert again.card.accuracy == whole.card.accuracy
    (settings.out / "card.json").unlink()
    with pytest.raises(MoldiffError, match="but this run started from another"):
        fit.run(settings, resume=True, init_from="qm9")


@pytest.fixture(scope="module")
def own(trained: Path, written: Path) -> Model:
    """The small model, whose card names the classifier."""
    source = Checkpoint.load(written)
    guide = GuidedBy(classifier=str(trained), scale=3, cfg_scale=1.5, top_p=0.9)
    card = source.card.model_copy(update={"guided_by": guide})
    return Model(replace(source, card=card), "cpu")


def test_a_models_own_classifier_guides_where_nothing_else_is_said(own: Model, trained: Path) -> None:
    found = own.generate(4, targets="mw=60")
    by_hand: dict[str, Any] = {"guidance": "cbg", "classifier": trained, "scale": 3.0, "cfg_scale": 1.5}
    same = own.generate(4, targets="mw=60", cbg_top_p=0.9, **by_hand)
    assert found.frame["raw"].tolist() == same.frame["raw"].tolist()
    assert found.summary["setting"] == same.summary["setting"]
    names = ("guidance", "cbg_form", "cbg_top_p", "cfg_scale", "classifier")
    assert [found.summary[name] for name in names] == ["cbg", "token", 0.9, 1.5, "small"]
    # Named without a classifier it is the same, and what is said goes first.
    named = own.generate(4, targets="mw=60", guidance="cbg", scale=1.0, cbg_top_p=1.0)
    assert named.summary["setting"]["scale"] == 1.0
    assert [named.summary[name] for name in names] == ["cbg", "token", 1.0, 1.5, "small"]
    exact = own.generate(2, targets="mw=60", guidance="cbg", cbg_form="exact", steps=2)
    assert exact.summary["cbg_top_p"] == 1.0


@pytest.mark.parametrize(
    "said", [{"scale": 2.0}, {"guidance": "cfg"}, {"level": "x0"}, {"targets": "writing=1"}]
)
def test_what_is_said_otherwise_is_done_without_it(own: Model, said: dict[str, Any]) -> None:
    assert "guidance" not in own.generate(2, **{"targets": "mw=60", **said}).summary
    assert "guidance" not in own.generate(2).summary


def test_how_a_molecule_is_written_is_told_the_model_beside_the_classifier(own: Model) -> None:
    targets = ("mw=150", "writing=2")
    assert own.generate(2, targets=targets).summary["guidance"] == "cbg"
    for scale in (0.0, 1.5):
        stream = own.stream(50, targets=targets, guidance="cbg", cfg_scale=scale)
        drawn = stream.plan.draw(np.arange(50), 0)
        assert drawn.cond is not None
        assert drawn.cond[:, 0].tolist() == [2.0] * 50
        assert bool(drawn.cond[:, 1].isnan().all()) is (scale == 0)
        ways = own.table.properties["writing"] == 2
        assert set(drawn.lengths.tolist()) <= set(own.table.lengths[ways].tolist())


def test_lines_of_a_file_are_guided_too(own: Model, tmp_path: Path) -> None:
    (tmp_path / "known.csv").write_text("mw,logp\n60,\n,2\n")
    (tmp_path / "unknown.csv").write_text("mw,writing\n60,1\n")
    found = own.generate(targets_from=tmp_path / "known.csv", guidance="cbg", cfg_scale=0.0)
    assert found.summary["guidance"] == "cbg"
    assert "guidance" not in own.generate(targets_from=tmp_path / "unknown.csv").summary


def test_a_model_that_writes_from_left_to_right_has_its_own_too(textbook: Path, tmp_path: Path) -> None:
    causal = [*SMALL, f"data.path={textbook}", "process.name=autoregressive", "max_steps=60"]
    numbers = "conditions=[{kind: numeric, name: mw}]"
    model = fit.run(config.load("tiny", [*causal, numbers, f"out={tmp_path / 'model'}"]))
    settings = config.load("classifier", [*causal, numbers, f"out={tmp_path / 'prefixes'}"])
    assert {entry.name for entry in fit.run(settings, init_from=str(tmp_path / "model")).card.accuracy} == {
        "mw"
    }
    guide = GuidedBy(classifier=str(tmp_path / "prefixes"), scale=8.0, cfg_scale=0.0)
    ready = Model(replace(model, card=model.card.model_copy(update={"guided_by": guide})), "cpu")
    heavy = []
    for target in ("mw=40", "mw=200"):
        found = ready.generate(40, targets=target)
        assert found.summary["guidance"] == "fudge"
        heavy.append(sum(len(ready.tokenizer.encode(raw)) for raw in found.frame["raw"]))
    assert heavy[0] < heavy[1]
