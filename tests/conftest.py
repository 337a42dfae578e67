"""Fixtures that several test files share, and the check that the package is installed."""

from __future__ import annotations

import importlib
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from moldiff import Model
    from moldiff.config import TrainConfig

TESTS = Path(__file__).resolve().parent


def pytest_configure() -> None:
    # A shell's background job ignores SIGINT, and so would the processes that tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # guidance/ and data/ get their names moldiff.guidance and moldiff.data by installation only.
    try:
        importlib.import_module("moldiff.guidance")
    except ModuleNotFoundError as error:
        if error.name not in {"moldiff", "moldiff.guidance"}:
            raise
        raise pytest.UsageError("moldiff is not installed here; install first: pip install -e .") from error


@pytest.fixture(scope="session")
def textbook() -> Path:
    """The file of textbook molecules, one SMILES a line."""
    return TESTS / "data" / "textbook.smi"


#: Overrides that make a run small: a network of some thousand weights, on the CPU.
SMALL = ("device=cpu", "network.width=16", "network.depth=1", "network.heads=2", "batch_tokens=512")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory, textbook: Path) -> Path:
    """The folder of a small model, trained on the textbook molecules; not to be changed."""
    from moldiff import config
    from moldiff.training import fit

    folder = tmp_path_factory.mktemp("tiny") / "model"
    overrides = [*SMALL, f"data.path={textbook}", f"out={folder}", "max_steps=80", "logger=none"]
    fit.run(config.load("tiny", overrides))
    return folder


@pytest.fixture(scope="session")
def tiny_model(tiny: Path) -> Model:
    """The small model, loaded on the CPU."""
    from moldiff import load

    return load(str(tiny), device="cpu")


@pytest.fixture(scope="session")
def tiny_corrected(tmp_path_factory: pytest.TempPathFactory, textbook: Path) -> Path:
    """The folder of such a model that was also trained to correct itself; not to be changed."""
    from moldiff import config
    from moldiff.training import fit

    folder = tmp_path_factory.mktemp("corrected") / "model"
    overrides = [*SMALL, f"data.path={textbook}", f"out={folder}", "max_steps=80", "logger=none"]
    fit.run(config.load("tiny", [*overrides, "correction.weight=1"]))
    return folder


@pytest.fixture
def small(tmp_path: Path, textbook: Path) -> Callable[..., TrainConfig]:
    """Makes the configuration of a small run into ``tmp_path / "run"``; later overrides win."""
    from moldiff import config

    def make(*overrides: str) -> TrainConfig:
        given = [*SMALL, f"data.path={textbook}", f"out={tmp_path / 'run'}", "logger=none"]
        return config.load("tiny", [*given, *overrides])

    return make
