"""Which conditions a network is told in training, so that it also learns to do without each of them."""

import math
from dataclasses import dataclass
from typing import Protocol, final

import torch
from torch import Tensor

from moldiff.errors import MoldiffError


class ConditionDropout(Protocol):
    """Hides conditions at random."""

    def __call__(self, cond: Tensor, uniform: Tensor) -> Tensor:
        """A copy of cond (B, C) with hidden slots NaN; uniform (B, C + 1) in [0, 1)."""
        ...


@final
@dataclass(frozen=True)
class KeepCount:
    """Keeps a number of slots drawn from 0..C, then which ones at random.

    With n = floor((C + 1) u**skew) kept for a uniform u, the share of unconditional rows is
    (C + 1)**(-1 / skew): at skew 1 every number of slots is as likely; above 1 more rows are told little.

    Args:
        skew: at least 1.
    """

    skew: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a skew below 1."""
        if not 1 <= self.skew < math.inf:
            raise MoldiffError(f"skew of condition dropout: got {self.skew}, must be 1 or more")

    def __call__(self, cond: Tensor, uniform: Tensor) -> Tensor:
        slots = cond.shape[1]
        kept = (uniform[:, :1] ** self.skew * (slots + 1)).long()
        place = uniform[:, 1:].argsort(-1).argsort(-1)
        return cond.masked_fill(place >= kept, torch.nan)


@final
@dataclass(frozen=True)
class DropAll:
    """Hides all slots together with a chance ``rate`` in [0, 1]: the papers' setting, rate 0.1."""

    rate: float = 0.1

    def __post_init__(self) -> None:
        """Refuse a rate outside [0, 1]."""
        if not 0 <= self.rate <= 1:
            raise MoldiffError(f"rate of condition dropout: got {self.rate}, must be in [0, 1]")

    def __call__(self, cond: Tensor, uniform: Tensor) -> Tensor:
        return cond.masked_fill(uniform[:, :1] < self.rate, torch.nan)


@final
@dataclass(frozen=True)
class KeepOne:
    """Keeps one slot, any as likely, and with a chance ``none`` in [0, 1] not even that.

    One network so learns every condition by itself beside the unconditional law, at equal shares.
    """

    none: float = 0.1

    def __post_init__(self) -> None:
        """Refuse a chance outside [0, 1]."""
        if not 0 <= self.none <= 1:
            raise MoldiffError(f"none of condition dropout: got {self.none}, must be in [0, 1]")

    def __call__(self, cond: Tensor, uniform: Tensor) -> Tensor:
        place = uniform[:, 1:].argsort(-1).argsort(-1)
        hidden = (place > 0) | (uniform[:, :1] < self.none)
        return cond.masked_fill(hidden, torch.nan)
