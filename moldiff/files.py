"""Files written whole or not at all, and what stands at a path where a file belongs."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from moldiff.errors import MoldiffError

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
    # Not ".part": that is the name of an unfinished run, which is to be gone on with (moldiff.journal).
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
