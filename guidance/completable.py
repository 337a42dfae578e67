"""Completability: never draw a token after which a row can no longer be finished as a well-formed one."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
from torch import Tensor
from torch.nn import functional

from moldiff.diffusion.categorical import normalise
from moldiff.types import Balance, Guidance, LogProbs

from .fillings import Fillings


@final
@dataclass(frozen=True)
class Completable:
    """Restricts another guidance's prediction to tokens that leave the row completable.

    A token is forbidden by count, by order, by its place, or by all of them. Count: each label that has
    occurred an odd number of times and each opening without its closing needs a masked position of its own.
    Order: no closing may lack room for an opening before it, nor an opening for a closing behind it. Place:
    some tokens never follow one another, or never stand at an end. All: in no `Fillings` of the masks are
    brackets in order, neighbours such as may stand together, and labels as many as have to come. Each rule
    is necessary for a well-formed row of at most 16 open brackets; with one kind of bracket the last is
    sufficient but for which label it is. They cost no forward and are about masked positions only. Tokens
    are drawn one at a time by first-hitting; of several in a step each is checked by itself. What has no
    chance in the inner prediction never gets one: where the rules leave nothing else, they give way, the
    last first.

    Args:
        inner: whose prediction is restricted.
        mask: the mask's id.
        balance: what well-formed rows keep to.
    """

    inner: Guidance
    mask: int
    balance: Balance

    def __call__(self, log_probs: LogProbs, x_t: Tensor, t: Tensor) -> Tensor:
        log_p = self.inner(log_probs, x_t, t)
        tokens = log_p.shape[-1]
        labels, brackets = self.odd(x_t, tokens), self.unmatched(x_t, tokens)
        left = (x_t == self.mask).sum(1) - 1
        forbidden = log_p.isneginf().expand(*x_t.shape, -1)
        # What is there already is not drawn, though it may be rewritten: of that the rules say nothing.
        masked = (x_t == self.mask)[..., None]
        for rule in (
            (labels + brackets > left[:, None])[:, None],
            self.disordered(x_t, tokens),
            self.misplaced(x_t, tokens),
            *(labels[:, None] > fillings.most(x_t) for fillings in self._fillings),
        ):
            # Where nothing would be left, by tokens given or drawn together, the later rule gives way.
            both = forbidden | (rule & masked)
            forbidden = torch.where(both.all(-1, keepdim=True), forbidden, both)
        if log_p.shape[1] < x_t.shape[1]:
            # From left to right a prediction is of one place, the first without a token.
            place = (x_t == self.mask).int().argmax(1)
            forbidden = forbidden[torch.arange(len(x_t), device=x_t.device), place][:, None]
        return normalise(log_p.masked_fill(forbidden, -math.inf))

    @cached_property
    def _fillings(self) -> list[Fillings]:
        """What judges all at once, by each kind of bracket; nothing where there is nothing to judge."""
        if self.balance == Balance():
            return []
        return [Fillings(self.balance, self.mask, pair) for pair in self.balance.pairs or (None,)]

    def odd(self, x_t: Tensor, tokens: int) -> Tensor:
        """Labels (B, K) that a row x_t (B, L) lacks to be even after one more token of each kind."""
        odd = functional.one_hot(x_t, self.mask + 1).sum(1)[:, :tokens] % 2
        paired = torch.zeros(tokens, dtype=torch.int64, device=x_t.device)
        paired[list(self.balance.even)] = 1
        lacking = (odd * paired).sum(-1, keepdim=True)
        return lacking + paired * (1 - 2 * odd)

    def unmatched(self, x_t: Tensor, tokens: int) -> Tensor:
        """Brackets (B, K) that a row x_t (B, L) lacks after one more token of each kind."""
        lacking = torch.zeros(len(x_t), tokens, dtype=torch.int64, device=x_t.device)
        for opening, closing in self.balance.pairs:
            surplus = (x_t == opening).sum(1) - (x_t == closing).sum(1)
            after = surplus[:, None].repeat(1, tokens)
            after[:, opening] += 1
            after[:, closing] -= 1
            lacking += after.abs()
        return lacking

    def disordered(self, x_t: Tensor, tokens: int) -> Tensor:
        """Flags (B, L, K) of the tokens after which brackets can no longer be in order.

        A row can be filled in if in every beginning openings and masks are as many as closings, and in every
        end closings and masks as many as openings.
        """
        masked = (x_t == self.mask).long()
        out = torch.zeros(*x_t.shape, tokens, dtype=torch.bool, device=x_t.device)
        for opening, closing in self.balance.pairs:
            step = (x_t == opening).long() - (x_t == closing).long()
            before = _spare(masked + step)
            behind = _spare((masked - step).flip(1)).flip(1)
            # A mask that becomes another token is room lost to either side, by one, or by two.
            out |= ((before < 1) | (behind < 1))[..., None]
            out[..., opening] = behind < 2
            out[..., closing] = before < 2
        return out

    def misplaced(self, x_t: Tensor, tokens: int) -> Tensor:
        """Flags (B, L, K) of the tokens that may not stand beside what is there."""
        apart = self.apart(x_t.device)
        framed = functional.pad(x_t, (1, 1), value=self.mask + 1)
        return apart[framed[:, :-2], :tokens] | apart.T[framed[:, 2:], :tokens]

    def apart(self, device: torch.device) -> Tensor:
        """Flags [left, right] of what never stands side by side: tokens, the mask, and the row's edge."""
        edge = self.mask + 1
        apart = torch.zeros(edge + 1, edge + 1, dtype=torch.bool)
        for left, right in self.balance.apart:
            apart[left, right] = True
        apart[edge, list(self.balance.never_first)] = True
        apart[list(self.balance.never_last), edge] = True
        return apart.to(device)


def _spare(room: Tensor) -> Tensor:
    """The least sum of room (B, L) over any beginning that reaches up to a position or further, (B, L)."""
    return room.cumsum(1).flip(1).cummin(1).values.flip(1)
