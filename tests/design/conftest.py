"""A small model that knows the writings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.conftest import SMALL

if TYPE_CHECKING:
    from pathlib import Path

    from moldiff import Model

#: The numbers of the writing and of a property, as a configuration has them.
CONDITIONS = "conditions=[{kind: category, name: writing, always: 0}, {kind: numeric, name: qed}]"


@pytest.fixture(scope="session")
def writer(tmp_path_factory: pytest.TempPathFactory, textbook: Path) -> Path:
    """The folder of a small model of all writings of the textbook molecules; not to be changed."""
    from moldiff import config
    from moldiff.training import fit

    folder = tmp_path_factory.mktemp("writer") / "model"
    overrides = [*SMALL, f"data.path={textbook}", f"out={folder}", "max_steps=150", "logger=none"]
    fit.run(config.load("tiny", [*overrides, "data.options.writings=all", CONDITIONS]))
    return folder


@pytest.fixture(scope="session")
def writer_model(writer: Path) -> Model:
    """The model, loaded on the CPU."""
    from moldiff import load

    return load(str(writer), device="cpu")
