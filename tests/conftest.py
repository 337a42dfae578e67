"""Fixtures that several test files share, and the check that the package is installed."""

import importlib
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent


def pytest_configure() -> None:
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
