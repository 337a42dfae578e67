"""Figures: what the items of a file are like, one row each, and the whole in numbers."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import pandas as pd

from moldiff.errors import MoldiffError
from moldiff.files import written

Row = tuple[str, str, str]
"""The name of a figure, its value with its standard error, and what it is."""


@final
@dataclass(frozen=True)
class Figures:
    """What an evaluation of a file has found.

    Args:
        frame: a row an item, in order.
        summary: figures and facts, all of them JSON; what is undefined is None.
        rows: the figures as a terminal shows them.
    """

    frame: pd.DataFrame = field(repr=False)
    summary: dict[str, Any]
    rows: list[Row] = field(repr=False)

    def __len__(self) -> int:
        """The number of items."""
        return len(self.frame)

    def to_pandas(self) -> pd.DataFrame:
        """One row an item, in order."""
        return self.frame.copy()

    def to_json(self) -> str:
        """The summary as one JSON object."""
        return json.dumps(self.summary, allow_nan=False)

    def save(self, path: str | Path) -> None:
        """Writes the table as .csv, whole or not at all.

        Raises:
            MoldiffError: another suffix, or a path that cannot be written.
        """
        path = Path(path)
        if path.suffix != ".csv":
            raise MoldiffError(f"output: got {path}, a table of an evaluation ends in .csv")
        with written(path) as part:
            self.frame.to_csv(part, index=False)
