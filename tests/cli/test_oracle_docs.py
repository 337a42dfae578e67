"""What docs/oracles.md shows is run, and what it lists is there."""

import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import moldiff
from moldiff.chem.oracles import BUILT_IN, FAMILIES
from moldiff.chem.structure import MOST_MATCHES

TEXT = (Path(__file__).parents[2] / "docs" / "oracles.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
COMMANDS = re.findall(r"^    moldiff (.*)$", TEXT, re.MULTILINE)


@pytest.fixture
def folder(moldiff: Callable[..., Any]) -> Callable[..., Any]:
    """The command line in a folder with the files that the page talks of."""
    Path("molecules.smi").write_text("CCO\nc1ccccc1O\nCC(=O)Oc1ccccc1C(=O)O\n")
    rows = [f"{'C' * a}{'O' * b},{a - 2 * b}\n" for a in range(1, 12) for b in (0, 1)]
    Path("measured.csv").write_text("smiles,solubility\n" + "".join(rows))
    for text in PYTHON:
        if (name := re.match(r"# (\w+\.py)\n", text)) is not None:
            Path(name[1]).write_text(text)
    return moldiff


def test_every_command_of_the_page_runs(folder: Callable[..., Any]) -> None:
    assert len(COMMANDS) > 5
    for command in COMMANDS:
        arguments = [each.replace("cmd:python", f"cmd:{sys.executable}") for each in shlex.split(command)]
        ran = folder(*arguments)
        assert ran.code == 0, (command, ran.err)
        # The one oracle that the page writes twice: three molecules with 2, 6 and 9 carbons.
        if "carbons" in command and "cmd:" not in command:
            assert "5.667 ± 2" in ran.out
    assert Path("scores.csv").exists()


def test_the_python_of_the_page_does_what_it_says() -> None:
    (text,) = [text for text in PYTHON if "moldiff.score" in text]
    names: dict[str, Any] = {"moldiff": moldiff}
    exec(compile(text, "docs/oracles.md", "exec"), names)
    assert names["scores"].told() == [None, None, "ring"]


def test_the_table_of_the_page_is_that_of_the_program() -> None:
    rows = re.findall(r"^\| `(\w+)(?::\w+)?` \| (up|down) \|", TEXT, re.MULTILINE)
    table = {name: row.maximize for name, row in {**BUILT_IN, **FAMILIES}.items()}
    assert {name: better == "up" for name, better in rows} == table
    assert [name for name, _ in rows] == list(table)
    assert f"at most {MOST_MATCHES}" in TEXT
