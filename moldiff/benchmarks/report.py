"""What every benchmark leaves in its folder: what was asked, a manifest, and a table that is also printed."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import pandas as pd

from moldiff.checkpoint import versions
from moldiff.errors import MoldiffError, short
from moldiff.files import check_source, make_folder, plain, write_json, write_table
from moldiff.moments import mean_se

#: In the folder: what fixes its runs, what came out with what it depends on, and the table.
ASKED, MANIFEST, TABLE = "asked.json", "manifest.json", "table.csv"
#: What the column of a figure's standard error ends in.
ERROR = "_se"


@final
@dataclass(frozen=True)
class Report:
    """What a benchmark came to.

    Args:
        benchmark: its name.
        frame: one row a setting or a task; beside each column of figures one of standard errors, NAME_se.
        config: what fixes the figures, JSON.
        metrics: the figures as the manifest has them, JSON but for NaN.
        seeds: of the draws; none where nothing was drawn.
        notes: what a reader has to know, a line each.
    """

    benchmark: str
    frame: pd.DataFrame = field(repr=False)
    config: Mapping[str, Any]
    metrics: Any
    seeds: Sequence[int] = ()
    notes: Sequence[str] = ()

    def manifest(self, command: str) -> dict[str, Any]:
        """The figures with all that they depend on, JSON; what is undefined, such as 0/0, is None."""
        facts: dict[str, Any] = plain(
            {
                "benchmark": self.benchmark,
                "command": command,
                "seeds": list(self.seeds),
                "config": dict(self.config),
                "metrics": self.metrics,
                "notes": list(self.notes),
                "versions": versions(),
            }
        )
        return facts

    def save(self, out: Path, command: str) -> None:
        """Writes the manifest and the table into a folder, each whole or not at all.

        Raises:
            MoldiffError: they cannot be written.
        """
        make_folder(out)
        write_table(self.frame, out / TABLE)
        write_json(self.manifest(command), out / MANIFEST)

    def markdown(self) -> str:
        """The table as it is printed: a figure and its standard error share a cell."""
        errors = {name for name in self.frame if str(name).endswith(ERROR)}
        names = [str(name) for name in self.frame if name not in errors]
        rows = [
            [cell(row[name], row.get(name + ERROR)) for name in names]
            for row in self.frame.to_dict("records")
        ]
        return markdown(names, rows)


def claim(out: Path, asked: Mapping[str, Any]) -> None:
    """Makes a folder for the runs of what is asked, or finds it; what was left there is gone on with.

    Args:
        out: the folder.
        asked: what fixes each run but its seed, JSON.

    Raises:
        MoldiffError: it holds runs of something else, or cannot be written.
    """
    make_folder(out)
    path, ours = out / ASKED, json.loads(json.dumps(asked))
    theirs = read_json(path)
    if theirs is None:
        write_json(ours, path)
        return
    for name in [*ours, *theirs]:
        if ours.get(name) != theirs.get(name):
            got, there = (short(json.dumps(each.get(name))) for each in (ours, theirs))
            raise MoldiffError(
                f"out: got {out}, which holds runs with {name} {there}, not {got}; name another folder"
            )


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a file of ours; None where there is no such file, or it is not whole.

    Raises:
        MoldiffError: what stands there is no file.
    """
    check_source(path)
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def averaged(rows: Sequence[Mapping[str, float]], names: Iterable[str]) -> dict[str, float]:
    """Each named figure's mean over rows and, as NAME_se, its standard error; NaN where undefined.

    Args:
        rows: one mapping a seed or a molecule; a figure that is missing or NaN is left out of the mean.
        names: the figures.
    """
    found = {}
    for name in names:
        found[name], found[name + ERROR] = mean_se(row.get(name, math.nan) for row in rows)
    return found


def cell(value: Any, error: Any = None) -> str:
    """A figure as text, with its standard error where there is one; a dash where it is undefined."""
    if isinstance(value, str):
        return value
    if value is None or value != value:
        return "-"
    text = str(value) if isinstance(value, int) else f"{value:.4g}"
    return text if error is None or error != error else f"{text} ± {error:.2g}"


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, its columns padded so that it reads as it stands."""
    lines = [list(header), *([text.replace("|", "\\|") for text in row] for row in rows)]
    widths = [max(3, *map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    padded = ([text.ljust(width) for text, width in zip(line, widths, strict=True)] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in padded)
