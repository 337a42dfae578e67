"""The models that come with the package: there, small, and of nobody's machine."""

import re

import pytest

import moldiff
from moldiff.checkpoint import CARD, WEIGHTS, bundled, read_card
from moldiff.errors import MoldiffError

MEGABYTES = {
    "qm9": 7.0,
    "zinc250k": 10.5,
    "zinc250k-ar": 5.6,
    "zinc250k-classifier": 2.8,
    "zinc250k-ar-classifier": 2.8,
    "digits": 1.8,
    "digits-ar": 0.5,
    "digits-uniform": 0.5,
    "text": 3.6,
    "text-ar": 3.6,
    "text-judge": 2,
    "text-uniform": 1.5,
    "qm9-study-masked": 5.2,
    "qm9-study-corrected": 3.2,
    "qm9-study-uniform": 3.1,
    "qm9-study-ar": 3.2,
    "qm9-study-classifier-masked": 1,
    "qm9-study-classifier-uniform": 1,
    "qm9-study-classifier-ar": 1,
}
#: What one is to generate from; the others are there to compare and to judge.
PRODUCTS = ("qm9", "zinc250k", "zinc250k-ar", "digits", "text")


def test_every_promised_model_is_bundled_and_no_larger_than_promised() -> None:
    assert set(bundled()) == set(MEGABYTES)
    for name, folder in bundled().items():
        assert sum((folder / file).stat().st_size for file in (WEIGHTS, CARD)) <= MEGABYTES[name] * 1e6


def test_all_of_them_are_small() -> None:
    assert MEGABYTES["digits"] + MEGABYTES["text"] <= 6
    assert sum(size for name, size in MEGABYTES.items() if name.startswith("qm9-study-")) <= 20
    assert sum(MEGABYTES.values()) <= 60


@pytest.mark.parametrize("name", PRODUCTS)
def test_a_card_says_how_its_figures_were_measured(name: str) -> None:
    card = read_card(bundled()[name])
    assert card.metrics
    assert all(len(metric.seeds) >= 3 and metric.se is not None and metric.command for metric in card.metrics)


@pytest.mark.parametrize("name", MEGABYTES)
def test_a_card_says_what_the_model_is_and_names_no_machine(name: str) -> None:
    card = read_card(bundled()[name])
    assert card.name == name
    assert card.license == "Apache-2.0"
    assert card.description
    assert card.training["source"]
    if card.kind == "classifier":
        # Of a number a standard deviation of 1, which is to know nothing, is 1.42 nats.
        assert card.training["heldout_nats_per_row"] < (1.0 if card.accuracy else 0.3)
    else:
        assert card.training["heldout_nats_per_token"] < 3
    assert not re.search(r"""["' ]/\w|[A-Z]:\\\\|~/""", card.model_dump_json())


def test_the_bundled_model_makes_molecules_with_its_own_setting() -> None:
    found = moldiff.load("qm9", device="cpu").generate(64, seed=1)
    assert found.summary["validity"] > 0.5
    assert found.summary["forwards_per_molecule"] <= 64


@pytest.mark.parametrize(("name", "how"), [("zinc250k", "cbg"), ("zinc250k-ar", "fudge")])
def test_numbers_are_held_by_the_classifier_that_comes_with_a_model(name: str, how: str) -> None:
    model = moldiff.load(name, device="cpu")
    found = model.generate(24, targets={"tpsa": 100}, seed=1)
    assert found.summary["guidance"] == how
    assert found.summary["classifier"] == f"{name}-classifier"
    # The training rows have 65 on average.
    assert 90 < found.summary["properties"]["tpsa"]["mean"] < 110
    # What cannot be asked is refused as without it: nobody named it.
    with pytest.raises(MoldiffError, match=r"^target 'tpsa=9999': out of reach"):
        model.generate(2, targets="tpsa=9999")
    known = {spec.name for spec in read_card(bundled()[f"{name}-classifier"]).conditions}
    assert known == {spec.name for spec in model.card.conditions if spec.kind == "numeric"}
