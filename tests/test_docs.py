"""What the pages promise: their commands run, their links lead somewhere, what they quote is current."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from moldiff.cli.app import run

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
#: Pages whose blocks are run from top to bottom, but for those marked ``<!-- parsed only: why -->``.
RUN = ("README.md", "docs/quickstart.md", "docs/recipes.md")
#: What a run asks for in place of what is printed.
SMALL = {"-n": "8", "--num": "8", "--per-target": "1", "--max-samples": "64", "--times": "4"}


@dataclass(frozen=True)
class Block:
    """A block of code on a page: its language, the file it is the text of, and whether it is only parsed."""

    language: str
    title: str | None
    text: str
    parsed_only: bool


_FENCED = re.compile(
    r"(?P<mark><!-- parsed only: [^>]*-->\n\n)?^```(?P<language>\w+)(?: title=\"(?P<title>[^\"]+)\")?\n"
    r"(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_INDENTED = re.compile(r"(?:^ {4}.*\n)+", re.MULTILINE)


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(match["language"], match["title"], match["text"], match["mark"] is not None)
        for match in _FENCED.finditer(text)
    ]


def commands(text: str) -> Iterator[list[str]]:
    """The words of each ``moldiff`` command line, without comments; a synopsis, with [...], is none."""
    for line in text.replace("\\\n", " ").splitlines():
        line = re.sub(r"\s#\s.*", "", line).strip()
        if line.startswith("moldiff ") and " [" not in line:
            yield shlex.split(line)


def printed(page: Path) -> list[list[str]]:
    """All commands on a page, in fenced and in indented blocks."""
    text = page.read_text(encoding="utf-8")
    indented = [Block("sh", None, match[0], True) for match in _INDENTED.finditer(_FENCED.sub("", text))]
    shell = [block for block in (*blocks(page), *indented) if block.language == "sh"]
    return [words for block in shell for words in commands(block.text)]


def name(page: Path) -> str:
    """The path of a page in the repository."""
    return page.relative_to(ROOT).as_posix()


def test_the_pages_have_commands() -> None:
    assert sum(len(printed(page)) for page in PAGES) > 50
    assert all(printed(ROOT / page) for page in RUN)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_command_and_option_exists(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in printed(page):
        words, _ = redirected(words)
        # Help is shown only after every option before it is known.
        assert run([*words[1:], "--help"]) == 0, (shlex.join(words), capsys.readouterr().err)


@pytest.mark.parametrize("page", RUN)
def test_the_blocks_run(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for block in blocks(ROOT / page):
        if block.title is not None:
            Path(block.title).write_text(block.text, encoding="utf-8")
        elif block.parsed_only:
            continue
        elif block.language == "python":
            exec(compile(small_calls(block.text), page, "exec"), {"__name__": "page"})
        elif block.language == "sh":
            for words in commands(block.text):
                run_small(words, monkeypatch, capsys)
    forget(tmp_path)


def forget(folder: Path) -> None:
    """Lets go of the modules that were read in a folder."""
    for stem, module in list(sys.modules.items()):
        if folder in Path(getattr(module, "__file__", None) or "").parents:
            del sys.modules[stem]


def run_small(words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Runs a command for a few samples; what it prints goes where the page sends it."""
    words, to = redirected(words)
    words = [SMALL.get(before, word) for before, word in zip(["", *words], words, strict=False)]
    monkeypatch.setattr(sys, "argv", words)
    code = run(words[1:])
    out, err = capsys.readouterr()
    assert code == 0, (shlex.join(words), err)
    if to is not None:
        json.loads(out)
        Path(to).write_text(out, encoding="utf-8")
    for option in ("--out", "--grid", "--report"):
        if option in words:
            assert Path(words[words.index(option) + 1]).stat().st_size > 0


def redirected(words: list[str]) -> tuple[list[str], str | None]:
    """A command and the file that its output goes to."""
    return (words[:-2], words[-1]) if len(words) > 2 and words[-2] == ">" else (words, None)


def small_calls(text: str) -> str:
    """Python that asks for a few samples instead of many."""
    return re.sub(r"\b(generate|stream)\(([\d_]+)", r"\g<1>(8", text)


def test_the_quickstart_shows_what_it_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The figures of its runs; another processor may round a few samples to others."""
    monkeypatch.chdir(tmp_path)
    compared = 0
    for block, after in pairwise(blocks(ROOT / "docs" / "quickstart.md")):
        if (block.language, after.language) == ("sh", "text"):
            assert run(next(commands(block.text))[1:]) == 0
            now, then = figures(capsys.readouterr().out), figures(after.text)
            for key, numbers in then.items():
                assert len(now[key]) == len(numbers)
                for ours, theirs in zip(now[key], numbers, strict=True):
                    assert ours == pytest.approx(theirs, rel=0.3), key
                    compared += 1
    assert compared > 10


def figures(text: str) -> dict[str, list[float]]:
    """The numbers in each row of the printed tables, by the row's name."""
    rows = re.findall(r"^ {2}(\w[^\n]*?) {2,}(.*\d.*)$", text, re.MULTILINE)
    return {name: [float(number) for number in re.findall(r"\d+(?:\.\d+)?", row)] for name, row in rows}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_to_files(page: Path) -> None:
    """For the code host; the strict build of the site looks at anchors too."""
    for target in re.findall(r"\]\(([^)\s#]+)(?:#[^)\s]*)?\)", page.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (page.parent / target).exists(), target


def test_the_cards_on_the_page_are_those_of_the_models() -> None:
    cards = script("cards")
    page = cards.PAGE.read_text(encoding="utf-8")
    assert cards.filled(page) == page, "docs/models.md is not current: python benchmarks/cards.py"


def script(stem: str) -> ModuleType:
    """A file of benchmarks/ as a module."""
    spec = importlib.util.spec_from_file_location(f"{stem}_script", ROOT / "benchmarks" / f"{stem}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebooks_are_kept_as_they_ran(path: Path) -> None:
    """From top to bottom in one go, without an error, with what it printed, and small."""
    cells: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert not [output for output in outputs if output.get("name") == "stderr"]
    assert path.stat().st_size < 300_000
