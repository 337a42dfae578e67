"""The command line in a folder of its own."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from moldiff.cli.app import run


@dataclass(frozen=True)
class Result:
    """What a command line gave: its exit code, its text on stdout and on stderr."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def moldiff(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Result]:
    """Runs a command line in ``tmp_path``."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments: object) -> Result:
        capsys.readouterr()
        code = run([str(each) for each in arguments])
        return Result(code, *capsys.readouterr())

    return command
