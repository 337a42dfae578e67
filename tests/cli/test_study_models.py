"""The study's models, as they come with the package: of one size, small, and run by the default commands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from moldiff import load
from moldiff.checkpoint import CARD, WEIGHTS, Checkpoint, bundled, find, read_card
from moldiff.generation.batches import strings
from moldiff.generation.classifiers import load_classifier
from moldiff.generation.request import asked_for
from moldiff.study import settings

Command = Callable[..., Any]
METHODS = settings.load().methods
DENOISERS = sorted({method.model for method in METHODS.values()})
CLASSIFIERS = sorted({method.guidance["cbg"]["classifier"] for method in METHODS.values()})
TINY = ("--num", 3, "--seeds", 1, "--steps", 8, "--device", "cpu")


def test_the_settings_name_all_models_of_the_study_and_no_others() -> None:
    assert [*DENOISERS, *CLASSIFIERS] == sorted(
        (name for name in bundled() if name.startswith("qm9-study-")), key=lambda name: "classifier" in name
    )


def test_they_share_one_reference_and_weigh_no_more_than_was_promised() -> None:
    names = [*DENOISERS, *CLASSIFIERS]
    assert [name for name in names if read_card(find(name)).shared is None] == ["qm9-study-masked"]
    assert sum((find(name) / file).stat().st_size for name in names for file in (WEIGHTS, CARD)) <= 20e6
    first = Checkpoint.load(find("qm9-study-masked"))
    for name in names:
        source = Checkpoint.load(find(name))
        assert source.card.table == first.card.table
        assert source.arrays["reference.hashes"].equal(first.arrays["reference.hashes"])


def test_methods_have_networks_of_one_size_and_all_but_one_saw_as_many_tokens() -> None:
    cards = {name: read_card(find(name)) for name in DENOISERS}
    sizes = [card.parameters for card in cards.values()]
    assert max(sizes) <= 1.05 * min(sizes)
    assert all([c.name for c in card.conditions] == ["qed", "ring_count"] for card in cards.values())
    # The one that corrects itself is a second stage of the masked one.
    second, first = cards.pop("qm9-study-corrected"), cards["qm9-study-masked"]
    assert second.corrects
    assert second.origin is not None
    assert (second.origin.name, second.origin.sha256) == (first.name, first.sha256)
    assert second.training["tokens"] <= first.training["tokens"] / 4
    assert {card.training["tokens"] for card in cards.values()} == {first.training["tokens"]}
    assert first.training["tokens"] >= 30e6


def test_a_row_from_left_to_right_keeps_what_its_template_has() -> None:
    model = load("qm9-study-ar", device="cpu")
    one, two = model.tokenizer.encode("CCO"), model.tokenizer.encode("N")
    templates = [(*one, *[None] * 6), (None, None, *two, None)] * 5
    found, _ = strings(model, asked_for(None, templates=templates))
    assert all(text.startswith("CCO") for text in found[::2])
    assert all(model.tokenizer.encode(text)[2] == two[0] for text in found[1::2])


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_says_how_well_it_does_at_each_level_of_noise(name: str) -> None:
    card = load_classifier(name, "cpu").card
    clean = [entry for entry in card.reliability if entry.t == min(each.t for each in card.reliability)]
    assert {entry.name for entry in clean} == {"qed", "ring_count"}
    assert all(entry.auc is not None and entry.auc > 0.8 for entry in clean)


def test_pareto_runs_as_it_is_from_the_models_in_the_package(moldiff: Command) -> None:
    found = moldiff("pareto", "--out", "out", "--scales", "2", *TINY)
    assert found.code == 0, found.err
    frame = pd.read_csv("out/results.csv")
    assert frame["method"].tolist() == list(METHODS)
    assert (frame["samples"] == 3).all()
    assert (frame["classifier_forwards"] == 0).all()


@pytest.mark.parametrize("name", ["ring_count", "qed"])
def test_every_method_is_guided_by_its_classifier(name: str, moldiff: Command) -> None:
    found = moldiff("pareto", "--out", "out", "--property", name, "--guidance", "cbg", "--scales", "2", *TINY)
    assert found.code == 0, found.err
    frame = pd.read_csv("out/results.csv")
    assert frame["method"].tolist() == list(METHODS)
    assert (frame["classifier_forwards"] > 0).all()


def test_compare_runs_as_it_is_from_the_models_in_the_package(moldiff: Command) -> None:
    found = moldiff("compare", "--out", "out", *TINY)
    assert found.code == 0, found.err
    assert pd.read_csv("out/compare.csv")["method"].tolist() == ["mdlm", "udlm", "ar"]


@pytest.mark.parametrize("name", DENOISERS)
def test_each_makes_molecules_with_the_setting_on_its_card(name: str, moldiff: Command) -> None:
    found = moldiff("generate", name, "-n", 24, "--seed", 1, "--device", "cpu", "--json")
    assert found.code == 0, found.err
    assert found.json["validity"] > 0.3
