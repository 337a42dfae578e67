"""Files written whole or not at all, and what stands at a path where a file belongs."""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moldiff.errors import MoldiffError

if TYPE_CHECKING:
    import pandas as pd

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """A neighbour of ``path`` to write to, which takes its name at the end of the block.

    Raises:
        MoldiffError: the file cannot be written; nothing is left behind, and what stood there stays.
    """
    check_place(path)
    # Not ".part": so an unfinished run is called, which is to be gone on with (moldiff.generation.journal).
    part = path.with_name(path.name + ".new")
    check_place(part)
    try:
        yield part
        part.replace(path)
    except OSError as error:
        raise MoldiffError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def check_place(path: Path) -> None:
    """Refuses to write where something other than a file stands: a device, say, must not become a file."""
    found = oddity(path)
    if found is not None:
        raise MoldiffError(f"output: got {path}, which is {found}; name a file")


def check_source(path: Path) -> None:
    """Refuses to read what is there but is no file: a pipe might be waited for, a device read, for ever."""
    found = oddity(path)
    if found is not None:
        raise MoldiffError(f"cannot read {path}: it is {found}, not a file")


def oddity(path: Path) -> str | None:
    """What stands at a path, in words, where that is not a file; None for a file, and for nothing at all."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return "a link that leads nowhere" if os.path.islink(path) else None
    except ValueError:
        return "no path that the system takes"
    return next((words for holds, words in _KINDS if holds(mode)), None)


def check_folder(out: Path) -> None:
    """Refuses a folder to write to where something else stands, before any work is done; makes nothing."""
    # os.path's test, unlike pathlib's, is also false for what cannot be a path.
    if os.path.lexists(out) and not os.path.isdir(out):
        raise MoldiffError(f"out: got {out}, which is no folder; name one")


def make_folder(out: Path) -> None:
    """Makes a folder to write to; MoldiffError where that cannot be."""
    check_folder(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / ".probe.new"
        probe.touch()
        probe.unlink()
    except (OSError, ValueError) as error:
        raise MoldiffError(
            f"out: got {out}, cannot write there ({getattr(error, 'strerror', error)})"
        ) from None


def write_table(frame: pd.DataFrame, path: Path) -> None:
    """Writes a table as CSV, whole or not at all."""
    with written(path) as part:
        frame.to_csv(part, index=False)


def write_json(facts: Mapping[str, Any], path: Path) -> None:
    """Writes an object as JSON, whole or not at all."""
    with written(path) as part:
        part.write_text(json.dumps(facts, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def plain(value: Any) -> Any:
    """The value as JSON has it: NaN and infinities as None, all the way down."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
