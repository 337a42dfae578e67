"""What commands print: tables on stdout, progress on stderr."""

from __future__ import annotations

import json as jsonlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moldiff.errors import MoldiffError
from moldiff.files import check_place

if TYPE_CHECKING:
    from moldiff.benchmarks.report import Report
    from moldiff.chem.work import Stages
    from moldiff.generation.model import Progress


def check_writable(path: Path, *sources: Path | str | None) -> None:
    """Refuses a path that cannot be written, or that is a file to be read, before any work is done."""
    check_place(path)
    for source in sources:
        if source is not None and _same(path, source):
            raise MoldiffError(f"output: got {path}, which is read too; give the output a name of its own")
    # os.path's test, unlike pathlib's, is also false for what cannot be a path.
    if not os.path.isdir(path.parent):
        raise MoldiffError(f"output: got {path}, but there is no folder {path.parent}")
    # As long a name as any that is written beside it, and one that no run leaves behind.
    probe = path.with_name(path.name + ".probe.new")
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise MoldiffError(f"output: got {path}, cannot write there ({error.strerror})") from None


def _same(path: Path, source: Path | str) -> bool:
    try:
        return os.path.samefile(path, source)
    except (OSError, ValueError):  # one of them is not there
        return False


@contextmanager
def progress_bar(total: int, what: str, quiet: bool) -> Iterator[Progress]:
    """A bar on stderr that is told how many of ``total`` are done; nothing where quiet or no terminal."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)


def stages(quiet: bool) -> Stages:
    """What opens a bar for each stage of some work."""
    return lambda what, total: progress_bar(total, what, quiet)


def table(rows: Sequence[tuple[str, ...]], header: tuple[str, ...]) -> None:
    """Prints rows of text on stdout."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table(*header, box=box.SIMPLE)
    for row in rows:
        grid.add_row(*map(Text, row))  # as it stands: brackets are no markup
    # Piped to a file, a table keeps its full width instead of being folded at 80 columns.
    Console(width=None if sys.stdout.isatty() else 160).print(grid)


def deliver(found: Report, out: Path, command: str, json: bool) -> None:
    """Writes what a benchmark came to, and prints it."""
    found.save(out, command)
    if json:
        print(jsonlib.dumps(found.manifest(command), allow_nan=False))
        return
    print(found.markdown())
    for note in found.notes:
        print(note)
    print(f"wrote manifest.json and table.csv to {out}")


def number(value: Any, digits: int = 3) -> str:
    """A figure as text: counts whole, the rest to ``digits`` significant digits, a dash where undefined."""
    if value is None or value != value:
        return "-"
    if isinstance(value, int):
        return str(value)
    return f"{value:.{digits}g}"


def spread(figure: Mapping[str, Any], digits: int = 4) -> str:
    """A mean with its standard error, where there is one."""
    error = "" if figure["se"] is None else f" ± {number(figure['se'], 2)}"
    return number(figure["mean"], digits) + error


def percent(value: Any) -> str:
    """A share as a percentage, a dash where undefined."""
    return "-" if value is None or value != value else f"{100 * value:.1f} %"
