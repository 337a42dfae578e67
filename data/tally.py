"""Counts over tables of molecules that come in pieces."""

from collections.abc import Sequence
from typing import Any, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from moldiff.chem import metrics, molecule

_NOVEL = ("novel_canonical", "novel_canonical_train", "novel_upstream", "novel_upstream_train")


@final
class MoleculeTally:
    """The counts and rates of a table, and the means of its novel rows (docs/metrics.md).

    Args:
        reference: what is known.
        properties: whose means are wanted; columns of the table.
    """

    def __init__(self, reference: metrics.Reference, properties: Sequence[str]) -> None:
        self._tally = metrics.Tally(reference)
        self._properties = tuple(properties)
        # So that the means have their names where no row comes.
        self._tally.add([], [], {name: np.empty(0) for name in self._properties})

    def add(self, frame: pd.DataFrame) -> NDArray[np.bool_]:
        """Whether each row (N,) is the first to show its valid molecule, among all rows so far."""
        # A sane row has a reason where a filter rejects it.
        told = zip(frame["sane"], _texts(frame["reason"]), strict=True)
        reasons = [None if sane else reason for sane, reason in told]
        checks = [
            molecule.Check(*row)
            for row in zip(_texts(frame["smiles"]), frame["valid"], frame["sane"], reasons, strict=True)
        ]
        values = {name: frame[name].to_numpy(dtype=float) for name in self._properties}
        return self._tally.add(frame["raw"].tolist(), checks, values).unique_canonical

    def summary(self) -> dict[str, Any]:
        """The counts and rates, with novelty gathered under one key, by protocol."""
        found = self._tally.summary()
        novel = {key.removeprefix("novel_"): found.pop(key) for key in _NOVEL if key in found}
        rejects = found.pop("rejected")
        return {**found, "novel": novel, "rejects": rejects, "novel_means": self._tally.novel_means()}


def _texts(column: "pd.Series[Any]") -> list[str | None]:
    """The entries of a column of text, None where pandas has its own kind of nothing."""
    return [None if pd.isna(entry) else str(entry) for entry in column]
