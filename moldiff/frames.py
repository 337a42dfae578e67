"""What takes tables of items in pieces: writers, counts, oracles, filters; and what their columns mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

#: The column that says whether a row is sane and passes the filters; a table without filters lacks it.
PASSES = "passes"
#: The column with the place of a row in a diverse subset, from 1; missing where it is not in it.
DIVERSE = "diverse"
#: What the reason of a sane row that a filter rejects begins with.
FILTERED = "filtered: "


def wanted(frame: pd.DataFrame) -> NDArray[np.bool_]:
    """Which rows (N,) of a table are sane and pass the filters, where it has any."""
    found: NDArray[np.bool_] = frame[PASSES if PASSES in frame else "sane"].to_numpy(dtype=bool)
    return found


class Writer(Protocol):
    """An open file that takes a table in pieces; how it is cut does not change the file."""

    def append(self, frame: pd.DataFrame) -> None:
        """Writes the rows of ``frame``; the columns of the first are those of all."""
        ...

    def close(self) -> None:
        """Ends the file."""
        ...


class Tally(Protocol):
    """Counts over a table that comes in pieces; it keeps no row, only a hash for each distinct item."""

    def add(self, frame: pd.DataFrame) -> NDArray[np.bool_]:
        """Whether each row (N,) is the first to show its valid item, among all rows so far."""
        ...

    def summary(self) -> dict[str, Any]:
        """The counts and rates of all rows so far."""
        ...


class Measure(Protocol):
    """Oracles that are ready to be asked about the items of tables."""

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that they fill."""
        ...

    @property
    def maximize(self) -> tuple[bool, ...]:
        """By column, whether larger is better when nothing else is said."""
        ...

    def add(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The table with its new columns: the oracles' values, NaN where there is none, and why."""
        ...

    def close(self) -> None:
        """Ends what the oracles have started."""
        ...


class Screen(Protocol):
    """Filters that are ready to be asked about the items of tables."""

    def add(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The table with the column ``PASSES``; ``FILTERED`` and a verdict as the reason of rejected rows."""
        ...

    def counted(self, frame: pd.DataFrame) -> dict[str, int]:
        """By filter, how many sane rows of such a table it has rejected."""
        ...

    @property
    def labels(self) -> list[str]:
        """What the filters are called, in the order in which they are asked."""
        ...

    def facts(self) -> dict[str, Any]:
        """What fixes them; JSON."""
        ...


class Picker(Protocol):
    """What picks items far from one another, out of candidates that come in pieces."""

    def __len__(self) -> int:
        """The number of candidates."""
        ...

    def add(self, items: Sequence[Any]) -> None:
        """Takes candidates, as the modality's ``key`` column has them."""
        ...

    def picks(self, count: int) -> list[int]:
        """The places of up to ``count`` candidates, in the order in which they were picked."""
        ...

    def apart(self, picks: Sequence[int]) -> float | None:
        """The least distance of two picks, 0 to 1; None of fewer than two."""
        ...
