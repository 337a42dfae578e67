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

    Each step the network draws as many rows as the batch has and as long, in groups: those of a group are
    asked the same as the group's first row of the data. A row's advantage is its reward less the mean of the
    others of its group, in standard deviations (Kool et al., 2019), and the term is the mean of advantage
    times the bound on the row's -log p: what was better than its neighbours becomes likelier. The bound
    stands for the likelihood, which a diffusion does not have (Zhao et al., 2025, d1); it is taken of
    predictions as sharp as those drawn from. It is no likelihood, so the mean of advantages has to be 0 for
    whatever is asked: else all that is drawn where rewards are low would become less likely.
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
        group: rows that are asked the same, 2 or more.
    """

    base: DiffusionObjective
    data: Objective
    draw: Draw
    judge: Reward
    weight: float = 1.0
    states: int = 2
    temperature: float = 1.0
    kept: Callable[[Batch], Tensor] | None = None
    group: int = 8

    def __post_init__(self) -> None:
        if self.weight <= 0 or self.states < 1 or self.group < 2:
            got = f"weight {self.weight}, states {self.states} and group {self.group}"
            raise MoldiffError(f"reward: got {got}, needs a weight above 0, at least 1 state and groups of 2")

    def __call__(self, denoiser: Denoiser, batch: Batch) -> Loss:
        seed = self._seed(batch)
        prompts = self._prompts(batch)
        frozen = torch.zeros_like(batch.tokens, dtype=torch.bool)
        if self.kept is not None:
            frozen = self.kept(batch)[prompts]
        asked = replace(
            batch, tokens=batch.tokens[prompts], cond=None if batch.cond is None else batch.cond[prompts]
        )
        own = self._drawn(denoiser, asked, frozen, seed)
        reward, means = self.judge(own, asked.cond)
        data = self.data(denoiser, batch)
        better = advantages(reward, self.group)
        term = self._term(denoiser, replace(asked, tokens=own), frozen, better, seed)
        parts = {"reward": reward.mean(), **{name: torch.tensor(mean) for name, mean in means.items()}}
        return Loss(data.total + self.weight * term, data.nll, {**data.parts, **parts})

    def _prompts(self, batch: Batch) -> Tensor:
        """For each row the first of its group, (B,)."""
        place = torch.arange(len(batch.tokens), device=batch.tokens.device)
        return place - place % self.group

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


def advantages(reward: Tensor, group: int) -> Tensor:
    """Each reward (B,) less the mean of the others of its group, in standard deviations within groups.

    Rows are grouped in order; in a group of one there is nothing to compare, and its advantage is 0.
    """
    place = torch.arange(len(reward), device=reward.device) // group
    count = torch.bincount(place)[place].to(reward.dtype)
    mean = torch.zeros_like(reward).index_add(0, place, reward)[place] / count
    away = reward - mean
    return away * count / (count - 1).clamp(min=1) / (away.square().mean().sqrt() + EVEN)
