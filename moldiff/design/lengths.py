"""Lengths of rows that keep tokens: as the training rows have them that are long enough."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np
from numpy.typing import NDArray

from moldiff.conditions import ConditionSpec
from moldiff.errors import MoldiffError
from moldiff.targets import Table, TargetSampler, parse


@final
class Lengths:
    """Draws how long a row is that keeps some tokens.

    A row is as long as a training row drawn from those near the targets, among them from those that have room
    for what is kept and the least that has to follow it. So the gap follows the cuts of training.

    Args:
        table: the training rows.
        conditions: the model's slots.
        targets: what is asked, the writing too, as ``name=value``.
        most: the longest row.
    """

    def __init__(
        self, table: Table, conditions: Sequence[ConditionSpec], targets: Sequence[str], most: int
    ) -> None:
        asked = [parse(text, conditions, table) for text in targets]
        self._near: NDArray[np.int64] = np.sort(table.lengths[TargetSampler(table, conditions, asked).rows])
        self._most = most

    def draw(self, least: int, random: np.random.Generator) -> int:
        """A length of at least ``least``; MoldiffError where no row has room for it."""
        if least > self._most:
            raise MoldiffError(
                f"design: got {least} tokens to keep and close, rows have {self._most} at most"
            )
        first = int(np.searchsorted(self._near, least))
        if first == len(self._near):
            return least
        return int(self._near[random.integers(first, len(self._near))])

    def cap(self, length: int) -> int:
        """The length, or the longest there is."""
        return min(length, self._most)
