"""Writers of tables of texts, by the suffix of the file: each takes a table in pieces."""

from collections.abc import Callable
from pathlib import Path
from typing import final

import pandas as pd

from moldiff.types import Writer

from .tables import TABLES
from .text_files import marked


@final
class _Txt:
    """The valid texts, each after a line that says that one begins."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8", newline="")

    def append(self, frame: pd.DataFrame) -> None:
        self._file.write("".join(map(marked, frame.loc[frame["valid"], "raw"])))

    def close(self) -> None:
        self._file.close()


WRITERS: dict[str, Callable[[Path], Writer]] = {**TABLES, ".txt": _Txt}
"""What opens a file of each suffix."""
