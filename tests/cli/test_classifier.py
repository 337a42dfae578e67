"""A classifier from training to guided molecules, through the command line and through Python."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from moldiff import Model, config, registry
from moldiff.checkpoint import Checkpoint, bundled, read_card
from moldiff.cli.app import run
from moldiff.config import TrainConfig
from moldiff.errors import MoldiffError
from moldiff.generation.classifiers import load_classifier
from moldiff.nn.cost import count_forwards
from moldiff.training import fit
from moldiff.types import TokenGuidance

SMALL = (
    "device=cpu",
    "network.width=16",
    "network.depth=1",
    "network.heads=2",
    "batch_tokens=512",
    "logger=none",
)
FORMS = ("token", "exact", "first-order")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, textbook: Path) -> Path:
    """The folder of a small classifier, trained by the command on the molecules of ``tiny``."""
    folder = tmp_path_factory.mktemp("classifier") / "small"
    assert run(["train", "classifier", f"data.path={textbook}", f"out={folder}", "max_steps=60", *SMALL]) == 0
    return folder


def guide(trained: Path, *more: Any) -> list[Any]:
    return ["--guidance", "cbg", "--classifier", trained, "--device", "cpu", *more]


def test_training_says_what_comes_next_and_the_card_what_it_is(trained: Path, moldiff: Any) -> None:
    card = read_card(trained)
    assert card.kind == "classifier"
    assert 0 < card.training["heldout_nats_per_row"] < 1
    assert {entry.name for entry in card.reliability} == {"ring_count", "qed"}
    for entry in card.reliability:
        assert 0 <= entry.calibration_error <= 1
        assert entry.auc is None or 0 <= entry.auc <= 1
        assert sum(rows for rows, _, _ in entry.bins) == entry.rows == card.training["heldout_rows"]
        assert sum(rows * seen for rows, _, seen in entry.bins) / entry.rows == pytest.approx(entry.base_rate)
    shown = moldiff("show", trained)
    assert shown.code == 0
    for text in ("classifier of noisy rows", "ROC-AUC", "calibration error", "share of high, seen"):
        assert text in shown.out
    assert [each["name"] for each in moldiff("show", trained, "--json").json["reliability"]] == [
        entry.name for entry in card.reliability
    ]


def test_cards_from_before_there_were_classifiers_are_those_of_denoisers(moldiff: Any) -> None:
    for folder in bundled().values():
        facts = json.loads((folder / "card.json").read_text("utf-8"))
        assert facts["config"].get("task", "denoiser") == read_card(folder).kind
    assert "denoiser" in moldiff("models").out


@pytest.mark.parametrize("form", FORMS)
def test_each_form_guides_and_its_cost_is_counted_apart(
    form: str, trained: Path, tiny: Path, moldiff: Any
) -> None:
    asked = ["generate", tiny, "-n", 3, "--steps", 3, "--target", "ring_count=high", "--json"]
    plain = moldiff(*asked, "--scale", 0, *guide(trained, "--cbg-form", form)).json
    found = moldiff(*asked, "--scale", 4, *guide(trained, "--cbg-form", form)).json
    assert plain["classifier_forwards_per_molecule"] == 0 < found["classifier_forwards_per_molecule"]
    assert found["level"] == ("x0" if form == "token" else "posterior")
    assert (found["guidance"], found["cbg_form"], found["classifier"]) == ("cbg", form, "small")
    assert found["classifier_sha256"] == read_card(trained).sha256
    both = found["forwards_per_molecule"] + found["classifier_forwards_per_molecule"]
    assert found["all_forwards_per_molecule"] == pytest.approx(both, abs=2e-3)
    gradients = found["classifier_gradients_per_molecule"]
    assert gradients == (found["classifier_forwards_per_molecule"] if form == "first-order" else 0)
    assert list(found["properties"]) == ["ring_count"]
    assert not any(name.startswith("classifier") for name in moldiff(*asked, "--device", "cpu").json)


def test_scale_zero_is_the_model_itself_and_the_classifier_pulls(trained: Path, tiny_model: Model) -> None:
    asked: dict[str, Any] = {
        "steps": 4,
        "targets": "ring_count=high",
        "guidance": "cbg",
        "classifier": trained,
    }
    plain = tiny_model.generate(6, scale=0.0, **asked)
    pulled = tiny_model.generate(6, scale=8.0, **asked)
    # The same moments, other tokens: more ring labels and aromatic atoms.
    assert plain.summary["forwards_per_molecule"] == pulled.summary["forwards_per_molecule"]
    rings = [sum(raw.count(mark) for raw in each.frame["raw"] for mark in "c12") for each in (plain, pulled)]
    assert rings[1] > 1.1 * rings[0]


def test_samples_do_not_depend_on_the_batches(trained: Path, tiny_model: Model) -> None:
    asked: dict[str, Any] = {"steps": 4, "targets": "qed=high", "scale": 3.0, "guidance": "cbg"}
    classifier = load_classifier(str(trained), "cpu")
    whole = tiny_model.generate(12, classifier=classifier, **asked)
    parts = tiny_model.generate(12, classifier=classifier, batch_size=2, **asked)
    assert whole.frame["raw"].tolist() == parts.frame["raw"].tolist()
    names = ("classifier_forwards_per_molecule", "forwards_per_molecule")
    assert [whole.summary[name] for name in names] == [parts.summary[name] for name in names]


@pytest.mark.parametrize("sampler", ["first-hitting", "adaptive-order", "remdm-conf", "remdm-cap"])
def test_token_choice_costs_at_most_length_times_kinds_where_no_token_is_taken_back(
    sampler: str, trained: Path, tiny_model: Model
) -> None:
    classifier = load_classifier(str(trained), "cpu")
    with count_forwards(classifier.network) as cost:
        found = tiny_model.generate(
            4, sampler=sampler, steps=8, targets="qed=high", guidance="cbg", classifier=classifier, scale=2.0
        )
    tokens = found.summary["classifier_token_forwards_per_molecule"] * 4
    assert cost.tokens == pytest.approx(tokens)
    lengths = [len(tiny_model.tokenizer.encode(raw)) for raw in found.frame["raw"]]
    kinds = tiny_model.tokenizer.vocab_size
    if sampler in ("first-hitting", "adaptive-order"):
        assert cost.rows == sum(lengths) * kinds
    assert cost.rows % kinds == 0


def test_options_prune_nest_and_complete(trained: Path, tiny: Path, moldiff: Any) -> None:
    asked = ["generate", tiny, "-n", 2, "--steps", 3, "--target", "ring_count=high", "--scale", 2, "--json"]
    plain = moldiff(*asked, *guide(trained)).json
    pruned = moldiff(*asked, *guide(trained, "--cbg-top-p", 0.5)).json
    assert pruned["classifier_forwards_per_molecule"] < plain["classifier_forwards_per_molecule"] / 2
    nested = moldiff(*asked, *guide(trained, "--cfg-scale", 2)).json
    assert nested["forwards_per_molecule"] == 2 * plain["forwards_per_molecule"]
    complete = moldiff(*asked, *guide(trained, "--complete", "--sampler", "first-hitting")).json
    assert complete["setting"]["complete"] is True
    table = moldiff(*asked[:-1], *guide(trained, "--cbg-top-p", 0.5, "--cfg-scale", 2)).out
    assert "small, token form, top-p 0.5, the model told at scale 2" in table


def test_lines_of_a_file_ask_row_by_row(trained: Path, tiny: Path, tmp_path: Path, moldiff: Any) -> None:
    (tmp_path / "asked.csv").write_text("ring_count,qed\nhigh,\n,low\n,\n", "utf-8")
    given = ["--targets-from", "asked.csv", "--steps", 4, "--json"]
    found = moldiff("generate", tiny, *given, *guide(trained, "--scale", 3)).json
    assert found["requested"] == 3
    assert set(found["properties"]) == {"ring_count", "qed"}
    # Two of three rows are asked anything.
    model = read_card(tiny)
    assert 0 < found["classifier_forwards_per_molecule"] <= 2 / 3 * model.max_length * 60


def test_a_resumed_run_gives_the_same_file(trained: Path, tiny: Path, tmp_path: Path, moldiff: Any) -> None:
    asked = ["generate", tiny, "-n", 4, "--steps", 3, "--target", "qed=high", *guide(trained)]
    assert moldiff(*asked, "--out", "a.csv").code == 0
    assert moldiff(*asked, "--out", "b.csv").code == 0
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    facts = json.loads((tmp_path / "a.csv.json").read_text("utf-8"))
    assert facts["classifier_sha256"] == read_card(trained).sha256


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--guidance", "cbg", "--target", "qed=high"], "guidance cbg: got no classifier; name one that"),
        (["--classifier", "{c}", "--target", "qed=0.5"], "it goes with guidance cbg or fudge only"),
        (
            ["--cbg-form", "token", "--target", "qed=0.5"],
            "cbg form: got token, it goes with guidance cbg only",
        ),
        (["--guidance", "cbg", "--classifier", "{c}"], "got no target; name what it knows"),
        (["--guidance", "nos", "--target", "qed=0.5"], "--guidance: got 'nos', choose from cfg, cbg"),
        (
            ["--guidance", "cbg", "--classifier", "{m}", "--target", "qed=high"],
            "it is a denoiser, to generate from",
        ),
        (["--guidance", "cbg", "--classifier", "gone", "--target", "qed=high"], "model: got 'gone'"),
        (
            [*guide(Path("{c}")), "--target", "logp=high"],
            "got property 'logp', this model knows qed, ring_count",
        ),
        ([*guide(Path("{c}")), "--target", "qed=0.5"], "ask for high or low"),
        (
            [*guide(Path("{c}")), "--target", "qed=high", "--level", "posterior"],
            "level posterior, it takes x0",
        ),
        (
            [
                *guide(Path("{c}"), "--cbg-form", "exact"),
                "--target",
                "qed=high",
                "--sampler",
                "first-hitting",
            ],
            "got guidance level posterior, it takes x0 only",
        ),
        (
            [*guide(Path("{c}"), "--cbg-form", "exact"), "--target", "qed=high", "--complete"],
            "complete: got level posterior",
        ),
        (
            [*guide(Path("{c}"), "--cbg-form", "exact", "--cbg-top-p", "0.5"), "--target", "qed=high"],
            "cbg top-p: got 0.5, it goes with the form token only",
        ),
        ([*guide(Path("{c}"), "--cbg-top-p", "0"), "--target", "qed=high"], "must be in (0, 1]"),
        ([*guide(Path("{c}"), "--scale", "-1"), "--target", "qed=high"], "scale"),
    ],
)
def test_what_cannot_be_guided_is_refused_in_one_line(
    arguments: list[Any], message: str, trained: Path, tiny: Path, moldiff: Any
) -> None:
    words = [str(each).replace("{c}", str(trained)).replace("{m}", str(tiny)) for each in arguments]
    result = moldiff("generate", tiny, "-n", 2, *words)
    assert result.code == 2
    assert message in result.err
    assert result.err.count("\n") == 1


def test_nothing_is_generated_from_a_classifier_nor_trained_on_from_one(
    trained: Path, textbook: Path, moldiff: Any
) -> None:
    result = moldiff("generate", trained, "-n", 2)
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert "it is a classifier" in result.err
    result = moldiff("train", "tiny", f"data.path={textbook}", "out=more", "--init-from", trained, *SMALL)
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert "is a classifier" in result.err


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["conditions=[{kind: category, name: writing}]"],
            "got writing as a category, a classifier needs classes or numbers",
        ),
        (["conditions=[]"], "got none, a classifier needs classes"),
        (["process.name=uniform"], "network.time: got false"),
        (
            ["conditions=[{kind: class, name: qed}, {kind: class, name: qed, quantile: 0.5}]"],
            "got a property twice",
        ),
        (["correction={}"], "correction: got one with task: classifier"),
        (["task=regressor"], "task: Input should be"),
    ],
)
def test_what_no_classifier_can_be_trained_for_is_refused(
    overrides: list[str], message: str, textbook: Path, moldiff: Any
) -> None:
    result = moldiff("train", "classifier", f"data.path={textbook}", "out=run", *SMALL, *overrides)
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert message in result.err


@pytest.fixture
def small(tmp_path: Path, textbook: Path) -> Callable[..., TrainConfig]:
    """Makes the configuration of a small classifier into ``tmp_path / NAME``."""

    def make(name: str, *overrides: str) -> TrainConfig:
        given = [*SMALL, f"data.path={textbook}", f"out={tmp_path / name}", "max_steps=2", *overrides]
        return config.load("classifier", given)

    return make


def test_a_classifier_of_other_rows_than_the_models_is_refused(
    small: Callable[..., TrainConfig], tiny_model: Model, tmp_path: Path
) -> None:
    asked: dict[str, Any] = {"targets": "qed=high", "guidance": "cbg"}
    for name, overrides, message in (
        (
            "uniform",
            ["process.name=uniform", "network.time=true"],
            "reads uniform rows, .* process.name=masked",
        ),
        ("selfies", ["data.tokenizer=selfies"], "has another vocabulary"),
        ("prefixes", ["process.name=autoregressive"], "reads autoregressive rows"),
    ):
        fit.run(small(name, *overrides))
        with pytest.raises(MoldiffError, match=message):
            tiny_model.generate(2, classifier=tmp_path / name, **asked)


def test_a_classifier_is_asked_with_the_time_flag_it_was_trained_with(
    small: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    for flag in (False, True):
        name = f"time-{flag}"
        fit.run(small(name, f"network.time={flag}"))
        assert (load_classifier(str(tmp_path / name), "cpu").network.time is not None) is flag
        # With the other flag on its card the weights are not those of the network it describes.
        card = json.loads((tmp_path / name / "card.json").read_text("utf-8"))
        card["config"]["network"]["time"] = not flag
        shutil.copytree(tmp_path / name, tmp_path / "other", dirs_exist_ok=True)
        (tmp_path / "other" / "card.json").write_text(json.dumps(card), "utf-8")
        with pytest.raises(MoldiffError, match="its weights do not fit its card"):
            load_classifier(str(tmp_path / "other"), "cpu")


def test_uniform_noise_is_guided_by_the_exact_form(
    small: Callable[..., TrainConfig], textbook: Path, tmp_path: Path
) -> None:
    overrides = ["process.name=uniform", "network.time=true"]
    fit.run(small("classifier", *overrides))
    settings = config.load(
        "tiny", [*SMALL, f"data.path={textbook}", f"out={tmp_path / 'model'}", "max_steps=2", *overrides]
    )
    fit.run(settings)
    model = Model(Checkpoint.load(settings.out), "cpu")
    asked: dict[str, Any] = {"steps": 2, "targets": "qed=high", "guidance": "cbg", "scale": 2.0}
    found = model.generate(2, classifier=tmp_path / "classifier", **asked)
    assert (found.summary["cbg_form"], found.summary["level"]) == ("exact", "posterior")
    found = model.generate(2, classifier=tmp_path / "classifier", cbg_form="first-order", **asked)
    assert found.summary["classifier_gradients_per_molecule"] == 2
    with pytest.raises(MoldiffError, match="for a model without masks, choose exact or first-order"):
        model.generate(2, classifier=tmp_path / "classifier", cbg_form="token", **asked)


def test_an_interrupted_training_goes_on_as_a_classifier_alone(
    small: Callable[..., TrainConfig], textbook: Path, tmp_path: Path
) -> None:
    settings = small("run", "max_steps=4", "checkpoint_every=2")
    whole = fit.run(settings)
    (settings.out / "checkpoints" / "step=4.ckpt").unlink()
    (settings.out / "card.json").unlink()
    again = fit.run(settings, resume=True)
    assert again.card.reliability == whole.card.reliability
    other = config.load("tiny", [*SMALL, f"data.path={textbook}", f"out={settings.out}", "max_steps=4"])
    with pytest.raises(MoldiffError, match="--resume"):
        fit.run(other, resume=True)


def test_the_registered_forms_are_those_that_are_asked_for() -> None:
    assert {name.removeprefix("cbg-") for name in registry.GUIDANCES if name.startswith("cbg-")} == set(FORMS)
    assert issubclass(registry.resolve("guidance", "cbg-token"), TokenGuidance)
