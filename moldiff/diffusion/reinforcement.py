"""Training by reward: rows that the network draws itself become likelier the better they are judged."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from moldiff.diffusion.objective import Batch, DiffusionObjective, Loss, Objective
from moldiff.diffusion.random import RowRandom, Stream
from moldiff.diffusion.walk import Readout
from moldiff.errors import MoldiffError
from moldiff.types import Denoiser, Rows

#: Draws the rows that are asked for, (B, L), from a network by a seed.
Draw = Callable[[Denoiser, Rows, int], Tensor]
#: Judges rows (B, L) that were drawn under conditions (B, C): a reward each, (B,), and means for the log.
Reward = Callable[[Tensor, Tensor | None], tuple[Tensor, dict[str, float]]]

#: Rewards that differ by less than this are not told apart.
EVEN = 1e-2


@final
@dataclass(frozen=True)
class Reinforcement:
    """A policy gradient beside the usual loss, which keeps the network to its data (Williams, 1992).

    Each step the network draws as many rows as the batch has, of the same length and under the same
    conditions. A row's advantage is its reward less the mean of the others, in standard deviations of the
    batch (Kool et al., 2019), and the term is the mean of advantage times the bound on the row's -log p:
    what was better than its neighbours becomes likelier. The bound stands for the likelihood, which a
    diffusion does not have (Zhao et al., 2025, d1); it is taken of predictions as sharp as those drawn from.
    Rows are drawn anew at every step, so nothing has to be weighed by how old it is.

    Args:
        base: the bound, by whose process rows are noised.
        data: the loss of the batch itself.
        draw: how rows are drawn.
        judge: what they are worth.
        weight: of the term, above 0.
        states: noisy states at which the bound of a row is taken, 1 or more.
        temperature: at which tokens are drawn, above 0.
        kept: which tokens of the batch the drawn rows keep, flags (B, L); None for none.
    """

    base: DiffusionObjective
    data: Objective
    draw: Draw
    judge: Reward
    weight: float = 1.0
    states: int = 2
    temperature: float = 1.0
    kept: Callable[[Batch], Tensor] | None = None

    def __post_init__(self) -> None:
        if self.weight <= 0 or self.states < 1:
            got = f"weight {self.weight} and states {self.states}"
            raise MoldiffError(f"reward: got {got}, needs a weight above 0 and at least 1 state")

    def __call__(self, denoiser: Denoiser, batch: Batch) -> Loss:
        seed = self._seed(batch)
        frozen = torch.zeros_like(batch.tokens, dtype=torch.bool) if self.kept is None else self.kept(batch)
        own = self._drawn(denoiser, batch, frozen, seed)
        reward, means = self.judge(own, batch.cond)
        data = self.data(denoiser, batch)
        term = self._term(denoiser, replace(batch, tokens=own), frozen, advantages(reward), seed)
        parts = {"reward": reward.mean(), **{name: torch.tensor(mean) for name, mean in means.items()}}
        return Loss(data.total + self.weight * term, data.nll, {**data.parts, **parts})

    def _drawn(self, denoiser: Denoiser, batch: Batch, frozen: Tensor, seed: int) -> Tensor:
        given = (batch.tokens, frozen) if frozen.any() else ()
        with torch.no_grad():
            own = self.draw(denoiser, Rows(batch.rows, batch.tokens.shape[1], batch.cond, *given), seed)
        # Autocast has kept the weights as they were cast here, without what a gradient needs.
        torch.clear_autocast_cache()
        return own

    def _term(self, denoiser: Denoiser, own: Batch, frozen: Tensor, advantage: Tensor, seed: int) -> Tensor:
        """The mean over states of each row's bound times its advantage (B,), summed as the data's loss is."""
        frozen = frozen.repeat(self.states, 1)
        copies = torch.arange(self.states, device=own.rows.device)[:, None] * own.size
        many = replace(
            own,
            tokens=own.tokens.repeat(self.states, 1),
            cond=None if own.cond is None else own.cond.repeat(self.states, 1),
            rows=(copies + own.rows).flatten(),
            size=own.size * self.states,
        )
        x_t, t = replace(self.base, random=RowRandom(seed)).noised(many)
        x_t = torch.where(frozen, many.tokens, x_t)
        log_x0 = Readout(self.temperature)(denoiser(x_t, t.float(), many.cond))
        cost = self.base.process.nelbo(log_x0, many.tokens, x_t, t).masked_fill(frozen, 0).sum(1)
        return (advantage.repeat(self.states).to(cost.dtype) * cost).sum() / (self.states * own.whole)

    def _seed(self, batch: Batch) -> int:
        """Another for each step, and the same for each share of one."""
        first = torch.zeros(1, dtype=torch.int64)
        return int(self.base.random.bits(first, batch.step, 1, Stream.REWARD))


@final
@dataclass(frozen=True)
class Beginnings:
    """Which tokens rows keep: some of the rows all up to one of their tokens of a kind, whichever it is.

    Args:
        share: of the rows, in [0, 1]; a row without such a token keeps nothing.
        end: the token that a beginning ends with.
        random: source of which rows, and which of the tokens.
    """

    share: float
    end: int
    random: RowRandom

    def __call__(self, batch: Batch) -> Tensor:
        """Flags (B, L), true where a token is kept."""
        chosen, which = self.random.uniform(batch.rows, batch.step, 2, Stream.KEPT)[:, :, None].unbind(1)
        ends = (batch.tokens == self.end).long()
        before = ends.cumsum(1) - ends
        count = ends.sum(1, keepdim=True)
        return (chosen < self.share) & (before <= (which * count).floor()) & (count > 0)


def advantages(reward: Tensor) -> Tensor:
    """Each reward (B,) less the mean of the others, in standard deviations; 0 where there are no others."""
    count = len(reward)
    if count < 2:
        return torch.zeros_like(reward)
    away = (reward - reward.mean()) * count / (count - 1)
    return away / (reward.std(correction=0) + EVEN)
