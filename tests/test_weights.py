"""The models that come with the package: there, small, and of nobody's machine."""

import re

import pytest

import moldiff
from moldiff.checkpoint import CARD, WEIGHTS, bundled, read_card

MEGABYTES = {"qm9": 12}


def test_every_promised_model_is_bundled_and_no_larger_than_promised() -> None:
    assert set(bundled()) == set(MEGABYTES)
    for name, folder in bundled().items():
        assert sum((folder / file).stat().st_size for file in (WEIGHTS, CARD)) <= MEGABYTES[name] * 1e6


@pytest.mark.parametrize("name", MEGABYTES)
def test_a_card_says_how_its_figures_were_measured_and_names_no_machine(name: str) -> None:
    card = read_card(bundled()[name])
    assert card.name == name
    assert card.license == "Apache-2.0"
    assert card.description
    assert card.metrics
    assert all(len(metric.seeds) >= 3 and metric.se is not None and metric.command for metric in card.metrics)
    assert not re.search(r"""["' ]/\w|[A-Z]:\\\\|~/""", card.model_dump_json())


@pytest.mark.parametrize("name", MEGABYTES)
def test_a_bundled_model_makes_molecules_with_its_own_setting(name: str) -> None:
    found = moldiff.load(name, device="cpu").generate(64, seed=1)
    assert found.summary["validity"] > 0.5
    assert found.summary["forwards_per_molecule"] <= 64
