"""Completability: never draw a token after which a row can no longer be finished with its pairs matched."""

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.nn import functional

from moldiff.diffusion.categorical import normalise
from moldiff.types import Balance, Guidance, LogProbs


@final
@dataclass(frozen=True)
class Completable:
    """Restricts another guidance's prediction to tokens that leave the row completable.

    Each label that has occurred an odd number of times and each opening without its closing needs a masked
    position of its own. A token is forbidden where more would be needed than are left. This is necessary for
    a well-formed row, not sufficient, and costs no forward. Tokens are drawn one at a time by first-hitting,
    where it is exact; with several in a step each is checked by itself.

    Args:
        inner: whose prediction is restricted.
        mask: the mask's id.
        balance: the tokens that come in pairs.
    """

    inner: Guidance
    mask: int
    balance: Balance

    def __call__(self, log_probs: LogProbs, x_t: Tensor, t: Tensor) -> Tensor:
        log_p = self.inner(log_probs, x_t, t)
        left = (x_t == self.mask).sum(1) - 1
        forbidden = self.needs(x_t, log_p.shape[-1]) > left[:, None]
        # A row that is past saving, by tokens given or drawn together, is left to the prediction.
        forbidden &= ~forbidden.all(-1, keepdim=True)
        return normalise(log_p.masked_fill(forbidden[:, None], -math.inf))

    def needs(self, x_t: Tensor, tokens: int) -> Tensor:
        """Positions (B, K) that a row x_t (B, L) still needs after one more token of each kind."""
        counts = functional.one_hot(x_t, self.mask + 1).sum(1)
        after = torch.zeros(len(x_t), tokens, dtype=torch.int64, device=x_t.device)
        base = torch.zeros(len(x_t), dtype=torch.int64, device=x_t.device)
        for label in self.balance.even:
            odd = counts[:, label] % 2
            base += odd
            after[:, label] = 1 - 2 * odd
        for opening, closing in self.balance.pairs:
            surplus = counts[:, opening] - counts[:, closing]
            base += surplus.abs()
            after[:, opening] = (surplus + 1).abs() - surplus.abs()
            after[:, closing] = (surplus - 1).abs() - surplus.abs()
        return base[:, None] + after
