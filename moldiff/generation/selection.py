"""Selections: which rows of a run are wanted, by filters, and a diverse few of those."""

from __future__ import annotations

from collections import Counter
from typing import Any, final

import numpy as np
import pandas as pd

from moldiff.frames import DIVERSE
from moldiff.generation.request import Request
from moldiff.generation.totals import KEPT
from moldiff.types import Modality, Picker, Screen


@final
class Selection:
    """Judges rows by the filters of a request, and picks the diverse ones that it asks for.

    With picks it holds every candidate, some 0.5 kB a distinct molecule; without, it holds no row.

    Args:
        modality: what the rows are.
        request: what is asked.

    Raises:
        MoldiffError: filters that there are not or that nothing passes, and a modality without.
    """

    def __init__(self, modality: Modality, request: Request) -> None:
        self._key, self._count = modality.key, request.diverse or 0
        self._screen: Screen | None = None
        if request.filters or request.filter_smarts is not None:
            given = request.filters, request.filter_smarts
            self._screen = modality.screen(*given, workers=request.workers)
        self._picker: Picker | None = modality.picker() if self._count else None
        self._candidates: list[pd.DataFrame] = []
        self._rejected: Counter[str] = Counter()
        self._sane = 0
        #: By number the ranks of the picks of so many candidates, and the least distance of two.
        self._found: dict[int, int] = {}
        self._found_of = 0
        self._least: float | None = None

    @property
    def picks(self) -> bool:
        """Whether a diverse few are asked for."""
        return self._picker is not None

    def judged(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The table with what the filters say of its rows."""
        return frame if self._screen is None else self._screen.add(frame)

    def count(self, frame: pd.DataFrame) -> None:
        """Counts rows that were drawn and judged."""
        if self._screen is not None:
            self._sane += int(frame["sane"].sum())
            self._rejected.update(self._screen.counted(frame))

    def consider(self, frame: pd.DataFrame) -> None:
        """Takes rows, distinct and wanted, as candidates to pick from; their numbers are the index."""
        if self._picker is not None and len(frame):
            self._picker.add(frame[self._key].tolist())
            self._candidates.append(frame)

    def chosen(self) -> pd.DataFrame | None:
        """The first ``KEPT`` diverse rows, in the order of the picks; None where none are asked for."""
        if self._picker is None or not self._candidates:
            return None
        ranks = self._ranks()
        rows = pd.concat([part[part.index.isin(ranks)] for part in self._candidates])
        return self.ranked(rows).sort_values(DIVERSE).head(KEPT)

    def ranked(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The table, rows by their numbers, with the place of each among the diverse ones, from 1."""
        if self._picker is None:
            return frame
        ranks = self._ranks()
        cells = pd.array([ranks.get(number) for number in frame.index], dtype="Int64")
        return frame.assign(**{DIVERSE: cells})

    def identity(self) -> dict[str, Any]:
        """What fixes it; JSON."""
        found = {} if self._screen is None else self._screen.facts()
        return {**found, DIVERSE: self._count} if self._count else found

    def facts(self) -> dict[str, Any]:
        """What a summary says of it; JSON."""
        found: dict[str, Any] = {}
        if self._screen is not None:
            rejected = {label: self._rejected[label] for label in self._screen.labels}
            passed = self._sane - sum(rejected.values())
            found |= {**self._screen.facts(), "filtered": {"passed": passed, "rejected": rejected}}
        if self._picker is not None:
            found[DIVERSE] = {
                "asked": self._count,
                "candidates": len(self._picker),
                "picked": len(self._ranks()),  # before the distance, which it finds too
                "least_distance": self._least,
            }
        return found

    def _ranks(self) -> dict[int, int]:
        """By number of a picked row the place at which it was picked, from 1."""
        assert self._picker is not None
        if self._found_of != len(self._picker):
            places = self._picker.picks(self._count)
            numbers = np.concatenate([part.index.to_numpy() for part in self._candidates])[places].tolist()
            self._found = {number: rank for rank, number in enumerate(numbers, 1)}
            self._found_of, self._least = len(self._picker), self._picker.apart(places)
        return self._found
