"""What is said of items and of the rows of tokens that spell them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moldiff.errors import MoldiffError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: What each of N items costs under a model, in nats, and how many tokens it has there.
Judge = Callable[[Sequence[Any]], "tuple[NDArray[np.float64], NDArray[np.int64]]"]


@dataclass(frozen=True)
class Balance:
    """What holds in every well-formed item, as far as single tokens and neighbours tell.

    Args:
        even: tokens that occur an even number of times.
        pairs: (opening, closing) tokens that match like brackets.
        apart: (left, right) tokens of which the right one never follows the left one at once.
        never_first: tokens that begin no item.
        never_last: tokens that end no item.
    """

    even: tuple[int, ...] = ()
    pairs: tuple[tuple[int, int], ...] = ()
    apart: tuple[tuple[int, int], ...] = ()
    never_first: tuple[int, ...] = ()
    never_last: tuple[int, ...] = ()


@dataclass(frozen=True)
class Fault:
    """What is wrong with a row of tokens, and where.

    Args:
        kind: a name for it, from the modality.
        places: the tokens that are to blame, by their places in the row, increasing; at least one.
    """

    kind: str
    places: tuple[int, ...]


@dataclass(frozen=True)
class Given:
    """What a caller wants to find in every item.

    Args:
        prompt: how items begin.
        ending: how they end.
        picture: a file with an item of which a part stays.
        mask: a file that says which part of it is drawn anew.
    """

    prompt: str | None = None
    ending: str | None = None
    picture: Path | None = None
    mask: Path | None = None


#: A row of which a part is kept: one entry a place, a token or None where it is free.
Template = tuple[int | None, ...]


@dataclass(frozen=True)
class Kept:
    """Tokens that every row keeps.

    Args:
        start: at its beginning.
        end: at its end.
        whole: one a place of the row, None where it is free; for rows of that length, and alone.
    """

    start: tuple[int, ...] = ()
    end: tuple[int, ...] = ()
    whole: Template = ()

    @property
    def least(self) -> int:
        """The fewest tokens of a row that can keep them."""
        return len(self.whole) or len(self.start) + len(self.end)

    def places(self, length: int) -> Template:
        """The tokens by place in a row of ``length``, None where free; MoldiffError where they do not fit."""
        if length < self.least or (self.whole and length != len(self.whole)):
            raise MoldiffError(f"given: got {self.least} places to keep, a row has {length}")
        return self.whole or (*self.start, *[None] * (length - self.least), *self.end)
