"""Oracles of the caller's own, added to tables of molecules that come in pieces."""

from collections.abc import Sequence
from typing import final

import pandas as pd

from moldiff.chem.scoring import Scorer, add_columns


@final
class Measured:
    """Adds a column for each oracle, and ``oracle_reason``: why a row with a molecule lacks a value.

    Args:
        oracles: names or specifications, see `moldiff.chem.sources.source`.
        workers: processes to share the work.
        timeout: seconds that one molecule may take; None for no limit.

    Raises:
        MoldiffError: an oracle that cannot be had.
    """

    def __init__(self, oracles: Sequence[str], workers: int = 1, timeout: float | None = None) -> None:
        self._scorer = Scorer(oracles, workers=workers, timeout=timeout)
        self.names: tuple[str, ...] = self._scorer.names
        self.maximize: tuple[bool, ...] = self._scorer.maximize

    def add(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The table with its new columns."""
        return add_columns(frame, self._scorer)[0]

    def close(self) -> None:
        """Ends what the oracles have started."""
        self._scorer.close()
