"""Files written whole or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from moldiff.errors import MoldiffError


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """A neighbour of ``path`` to write to, which takes its name at the end of the block.

    Raises:
        MoldiffError: the file cannot be written; nothing is left behind, and what stood there stays.
    """
    # Not ".part": that is the name of an unfinished run, which is to be gone on with (moldiff.journal).
    part = path.with_name(path.name + ".new")
    try:
        yield part
        part.replace(path)
    except OSError as error:
        raise MoldiffError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        part.unlink(missing_ok=True)
