"""Filters on tables of molecules that come in pieces."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
import pandas as pd

from moldiff.chem.filters import Filters, counted
from moldiff.frames import FILTERED, PASSES


@final
class Screened:
    """Says of each row whether its molecule is sane and passes, and of a sane one that does not, why.

    Args:
        filters: names and bounds, see `moldiff.chem.filters.Filters.of`.
        patterns: a file of SMARTS patterns, none of which may match.
        workers: processes to share the work.

    Raises:
        MoldiffError: what is no filter, or filters that nothing passes.
    """

    def __init__(self, filters: Sequence[str], patterns: Path | None = None, workers: int = 1) -> None:
        self._filters, self._workers = Filters.of(filters, patterns), workers
        self.labels = self._filters.labels

    def add(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The table with its new column and reasons; a molecule that repeats is looked at once."""
        sane = frame["sane"].to_numpy(dtype=bool)
        good = frame[sane].drop_duplicates("smiles")
        limits = {each.name for each in self._filters.bounds if each.name in frame}
        known = {name: good[name].to_numpy(dtype=float) for name in limits}
        verdicts = self._filters(good["smiles"].tolist(), known, self._workers)
        told = dict(zip(good["smiles"], verdicts, strict=True))
        why = [told[text] if fine else None for text, fine in zip(frame["smiles"], sane, strict=True)]
        reasons = [
            old if verdict is None else FILTERED + verdict
            for old, verdict in zip(frame["reason"], why, strict=True)
        ]
        passes = sane & np.array([verdict is None for verdict in why], dtype=bool)
        return frame.assign(reason=reasons, **{PASSES: passes})

    def counted(self, frame: pd.DataFrame) -> dict[str, int]:
        """By filter, how many sane rows of such a table it has rejected."""
        out = frame["sane"].to_numpy(dtype=bool) & ~frame[PASSES].to_numpy(dtype=bool)
        return counted([str(reason).removeprefix(FILTERED) for reason in frame["reason"][out]])

    def facts(self) -> dict[str, Any]:
        """What fixes them; JSON."""
        return self._filters.facts()
