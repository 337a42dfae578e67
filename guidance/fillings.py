"""Fillings: in how many places a row with masks can take a label, if it is to be well-formed.

Two sweeps over the row, from either end, keep for every kind of token and every depth of brackets the most
labels that the masks so far can hold; both together say it of every token at every place. This is exact for
neighbours and one kind of bracket together, up to `DEEPEST` open ones, and costs no forward.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
from torch import Tensor

from moldiff.types import Balance

#: Brackets that may be open at once.
DEEPEST = 16
#: Less than any number of labels: there is no filling.
NEVER = -1e6


@final
@dataclass(frozen=True)
class Fillings:
    """What the masks of rows can hold, by one kind of bracket.

    Tokens are told apart by kind only: by what may stand beside them, and whether they open, close or are a
    label. That a label never follows itself is left out.

    Args:
        balance: what well-formed rows keep to.
        tokens: how many there are; the mask has the next id.
        pair: the (opening, closing) that is counted; None for no brackets.
    """

    balance: Balance
    tokens: int
    pair: tuple[int, int] | None

    def most(self, x_t: Tensor) -> Tensor:
        """The most labels (B, L, K) that all masks but one can hold once a token stands there.

        Below 0 where no filling is well-formed. At a position that is not masked only tokens of its own kind
        count.

        Args:
            x_t: (B, L) tokens and masks.
        """
        device = x_t.device
        masked = x_t == self.tokens
        own = self._kinds.to(device)[x_t.clamp(max=self.tokens - 1)]
        free = masked[..., None] | (own[..., None] == torch.arange(len(self._steps), device=device))
        gain = (masked[..., None] & self._labels.to(device)).float()
        cost = torch.where(free, gain, NEVER)
        ahead, behind = self._sweeps(cost)
        # Both have what the place itself costs, and what it holds does not count.
        both = (ahead + behind).amax(-1) - cost - gain
        return both[..., self._kinds.to(device)]

    def _sweeps(self, cost: Tensor) -> tuple[Tensor, Tensor]:
        """By place, kind and depth behind the place (B, L, C, D): the most labels from either end, it too.

        Both sweeps go side by side: the one from the front adds a token to the depth, that from behind, which
        has met the depth behind a token first, takes it off.
        """
        batch, length = cost.shape[:2]
        sources, bars, starts = self._moves(min(length // 2, DEEPEST), cost.device)
        costs = torch.stack((cost, cost.flip(1)))[..., None]
        # The depth has a slot more at either end, which stays out of reach.
        before = torch.full((2, batch, *sources.shape[1:]), NEVER, device=cost.device)
        before[..., 1] = starts[:, None]
        behind, ahead = [], []
        for place in range(length):
            state = before.gather(-1, sources[:, None].expand_as(before)) + costs[:, :, place]
            ahead.append(state[0])
            behind.append(before[1] + costs[1, :, place])
            before = (state[:, :, :, None] + bars).amax(2).clamp(min=NEVER)
        return torch.stack(ahead, 1)[..., 1:-1], torch.stack(behind[::-1], 1)[..., 1:-1]

    def _moves(self, deepest: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Of either sweep by kind of token: the slot of the depth before it, what may come next, and first.

        Slots are (2, C, D), neighbours (2, 1, C, C, 1) and starts (2, C), the last two 0 or `NEVER`.
        """
        slots = deepest + 3
        steps = torch.tensor([self._steps, [-step for step in self._steps]])[..., None]
        sources = (torch.arange(slots) - steps).clamp(0, slots - 1)
        sources[..., 0] = sources[..., -1] = 0
        beside = torch.stack((self._beside, self._beside.T))[:, None, ..., None]
        edges = torch.stack((self._first, self._last))
        bars, starts = (torch.where(each, 0.0, NEVER).to(device) for each in (beside, edges))
        return sources.to(device), bars, starts

    @cached_property
    def _signatures(self) -> list[tuple[object, ...]]:
        """What tells each token's kind."""
        even, tokens = set(self.balance.even), range(self.tokens)
        apart = {(a, b) for a, b in self.balance.apart if a != b or a not in even}
        opening, closing = self.pair or (-1, -1)
        return [
            (
                frozenset(b for b in tokens if (token, b) in apart),
                frozenset(a for a in tokens if (a, token) in apart),
                token in even,
                (token == opening) - (token == closing),
                token in self.balance.never_first,
                token in self.balance.never_last,
            )
            for token in tokens
        ]

    @cached_property
    def _distinct(self) -> list[tuple[object, ...]]:
        return list(dict.fromkeys(self._signatures))

    @cached_property
    def _kinds(self) -> Tensor:
        """The kind of each token, (K,)."""
        return torch.tensor([self._distinct.index(each) for each in self._signatures])

    @cached_property
    def _steps(self) -> list[int]:
        """By kind, what a token adds to the depth."""
        return [int(each[3]) for each in self._distinct]  # type: ignore[call-overload]

    @cached_property
    def _labels(self) -> Tensor:
        return torch.tensor([bool(each[2]) for each in self._distinct])

    @cached_property
    def _first(self) -> Tensor:
        return torch.tensor([not each[4] for each in self._distinct])

    @cached_property
    def _last(self) -> Tensor:
        return torch.tensor([not each[5] for each in self._distinct])

    @cached_property
    def _beside(self) -> Tensor:
        """Flags [left, right] of kinds that may stand side by side, (C, C)."""
        one = [self._signatures.index(each) for each in self._distinct]
        return torch.tensor([[b not in self._signatures[a][0] for b in one] for a in one])  # type: ignore[operator]
