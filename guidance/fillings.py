"""Fillings: in how many places a row with masks can take a label, if it is to be well-formed.

Two sweeps over the row, from either end, keep for every kind of token and every depth of brackets the most
labels that the masks so far can hold; both together say it of every token at every place. This is exact for
neighbours and brackets together, and costs no forward.
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

        Below 0 where no filling is well-formed. At a position that is not masked only its own token counts.

        Args:
            x_t: (B, L) tokens and masks.
        """
        kinds, device = self._kinds.to(x_t.device), x_t.device
        masked = x_t == self.tokens
        own = kinds[x_t.clamp(max=self.tokens - 1)]
        count = len(self._steps)
        free = masked[..., None] | (own[..., None] == torch.arange(count, device=device))
        gain = (masked[..., None] & self._labels.to(device)).float()
        cost = torch.where(free, gain, NEVER)
        ahead = self._sweep(cost, self._beside, self._first)
        # From behind, a closing opens.
        behind = self._sweep(cost.flip(1), self._beside.T, self._last, backwards=True).flip(1)
        both = (ahead + behind).amax(-1) - cost - gain
        return both[..., kinds]

    def _sweep(self, cost: Tensor, beside: Tensor, first: Tensor, *, backwards: bool = False) -> Tensor:
        """By place, kind and depth (B, L, C, D) the most labels up to a place, it too.

        The depth is that behind the place as the row is read from left to right: so a sweep from behind has
        met it before the place.
        """
        batch, length, count = cost.shape
        deepest = min(length // 2, DEEPEST)
        state = cost.new_full((batch, count, deepest + 3), NEVER)
        bars = torch.where(beside, 0.0, NEVER).to(cost.device)
        starts = torch.where(first, 0.0, NEVER).to(cost.device)
        found = []
        # The depth has a place more at either end, which stays out of reach.
        for place in range(length):
            if place:
                before = (state[:, :, None] + bars[..., None]).amax(1)
            else:
                before = torch.full_like(state, NEVER)
                before[..., 1] = starts
            moved = self._moved(before, backwards)
            moved[..., 0] = moved[..., -1] = NEVER
            state = (moved + cost[:, place, :, None]).clamp(min=NEVER)
            found.append((before + cost[:, place, :, None] if backwards else state)[..., 1:-1])
        return torch.stack(found, 1)

    def _moved(self, state: Tensor, backwards: bool) -> Tensor:
        """States (B, C, D) after a token of each kind."""
        moved = state.clone()
        for kind, step in enumerate(self._steps):
            if step:
                moved[:, kind] = state[:, kind].roll(-step if backwards else step, -1)
        return moved

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
