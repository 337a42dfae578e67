"""Oracles of a user's own: modules and programs in a folder of the test's."""

import itertools
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

_NUMBERS = itertools.count()


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Writes a module into the working folder, which is the test's own, and gives its name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def write(text: str) -> str:
        # A name of its own: a worker may have loaded a module of another test.
        name = f"oracles_of_a_test_{next(_NUMBERS)}"
        Path(f"{name}.py").write_text(text, encoding="utf-8")
        return name

    return write


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Writes a program into the working folder, which is the test's, and gives the oracle that runs it."""
    monkeypatch.chdir(tmp_path)

    def write(text: str, name: str = "program.py") -> str:
        (tmp_path / name).write_text(text, encoding="utf-8")
        return f"cmd:{sys.executable} {name}"

    return write
