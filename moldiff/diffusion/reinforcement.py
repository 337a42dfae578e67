"""Training by reward: rows that the network draws itself become likelier the better they are judged."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor, nn

from moldiff.diffusion.objective import Batch, DiffusionObjective, Loss, Objective
from moldiff.diffusion.process import Process, need_masks
from moldiff.diffusion.random import RowRandom, Stream
from moldiff.diffusion.walk import Readout
from moldiff.errors import MoldiffError
from moldiff.types import Denoiser, Pause, Rows, Steer

#: Draws the rows that are asked for, (B, L), from a network by a seed, and tells who looks on of every step.
Draw = Callable[[Denoiser, Rows, int, Steer | None], Tensor]
#: Judges rows (B, L) that were drawn under conditions (B, C): a reward each, (B,), and means for the log.
Reward = Callable[[Tensor, Tensor | None], tuple[Tensor, dict[str, float]]]

#: Rewards that differ by less than this are not told apart.
EVEN = 1e-2


@dataclass(frozen=True)
class State:
    """Rows on their way.

    Args:
        x_t: (B, L) tokens.
        t: (B,) their times.
        weight: (B, L) how much the surprise at each token counts; None for as in the bound of the process.
    """

    x_t: Tensor
    t: Tensor
    weight: Tensor | None = None


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
        passed: whether those states are ones that a row passed when it was drawn, and not noise put on it
            afterwards: an order that looks at the network passes states that noise hardly ever makes. The
            mean surprise at each token while it was masked stands for its part of the likelihood. For masks,
            and samplers that take no token back.
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
    passed: bool = False

    def __post_init__(self) -> None:
        if self.weight <= 0 or self.states < 1 or self.group < 2:
            got = f"weight {self.weight}, states {self.states} and group {self.group}"
            raise MoldiffError(f"reward: got {got}, needs a weight above 0, at least 1 state and groups of 2")
        if self.passed:
            need_masks(self.base.process, "learning from the states passed")

    def __call__(self, denoiser: Denoiser, batch: Batch) -> Loss:
        if not len(batch.tokens):  # the share of a device that a small batch leaves without rows
            return self.data(denoiser, batch)
        seed = self._seed(batch)
        prompts = self._prompts(batch)
        frozen = torch.zeros_like(batch.tokens, dtype=torch.bool)
        if self.kept is not None:
            frozen = self.kept(batch)[prompts]
        asked = replace(
            batch, tokens=batch.tokens[prompts], cond=None if batch.cond is None else batch.cond[prompts]
        )
        own, states = self._drawn(denoiser, asked, frozen, seed)
        reward, means = self.judge(own, asked.cond)
        data = self.data(denoiser, batch)
        better = advantages(reward, self.group)
        many = self._repeated(replace(asked, tokens=own))
        term = self._term(denoiser, many, frozen, better, states or self._noised(many, frozen, seed))
        parts = {"reward": reward.mean(), **{name: torch.tensor(mean) for name, mean in means.items()}}
        return Loss(data.total + self.weight * term, data.nll, {**data.parts, **parts})

    def _prompts(self, batch: Batch) -> Tensor:
        """For each row the first of its group, (B,)."""
        place = torch.arange(len(batch.tokens), device=batch.tokens.device)
        return place - place % self.group

    def _drawn(
        self, denoiser: Denoiser, batch: Batch, frozen: Tensor, seed: int
    ) -> tuple[Tensor, State | None]:
        """Rows (B, L), and the states that they passed, where these are wanted."""
        given = (batch.tokens, frozen) if frozen.any() else ()
        passing = None
        if self.passed:
            share = RowRandom(seed).uniform(batch.rows, batch.step, self.states, Stream.REWARD)
            passing = Passing(self.base.process, batch.tokens, frozen, 1 - share)
        with torch.no_grad(), _as_used(denoiser):
            rows = Rows(batch.rows, batch.tokens.shape[1], batch.cond, *given)
            own = self.draw(denoiser, rows, seed, passing)
        # Autocast has kept the weights as they were cast here, without what a gradient needs.
        torch.clear_autocast_cache()
        return own, None if passing is None else passing.states()

    def _repeated(self, own: Batch) -> Batch:
        """A batch of every row as often as it has states."""
        copies = torch.arange(self.states, device=own.rows.device)[:, None] * own.size
        return replace(
            own,
            tokens=own.tokens.repeat(self.states, 1),
            cond=None if own.cond is None else own.cond.repeat(self.states, 1),
            rows=(copies + own.rows).flatten(),
            size=own.size * self.states,
        )

    def _noised(self, own: Batch, frozen: Tensor, seed: int) -> State:
        """States of repeated rows by the process's noise, but for what is frozen."""
        x_t, t = replace(self.base, random=RowRandom(seed)).noised(own)
        return State(torch.where(frozen.repeat(self.states, 1), own.tokens, x_t), t)

    def _term(
        self, denoiser: Denoiser, own: Batch, frozen: Tensor, advantage: Tensor, state: State
    ) -> Tensor:
        """The mean over states of each row's surprise times its advantage (B,), summed as the data's loss."""
        log_x0 = Readout(self.temperature)(denoiser(state.x_t, state.t.float(), own.cond))
        if state.weight is None:
            cost = self.base.process.nelbo(log_x0, own.tokens, state.x_t, state.t)
            cost = cost.masked_fill(frozen.repeat(self.states, 1), 0)
        else:
            cost = -log_x0.gather(-1, own.tokens[..., None]).squeeze(-1) * state.weight
        better = advantage.repeat(self.states).to(cost.dtype)
        return (better * cost.sum(1)).sum() / (self.states * own.whole)

    def _seed(self, batch: Batch) -> int:
        """Another for each step, and the same for each share of one."""
        first = torch.zeros(1, dtype=torch.int64)
        return int(self.base.random.bits(first, batch.step, 1, Stream.REWARD))


@final
class Passing:
    """Looks on while rows are drawn and keeps the states at which given shares of them were still masked.

    Args:
        process: whose masks they are.
        tokens: (B, L) what is frozen stands here.
        frozen: (B, L) bool.
        share: (B, S) of what is not frozen, in (0, 1].
    """

    def __init__(self, process: Process, tokens: Tensor, frozen: Tensor, share: Tensor) -> None:
        self._process = process
        self._total = (~frozen).sum(-1, keepdim=True).clamp(min=1)
        self._least = (share * self._total).ceil()
        self._now = tokens.masked_fill(~frozen, process.num_tokens)
        self._kept = self._now.repeat(share.shape[1], 1, 1)
        self._after = torch.zeros_like(tokens)

    def __call__(self, pause: Pause) -> None:
        """Takes a row's state while as much of it is masked as is wanted.

        Raises:
            MoldiffError: if a token was taken back, which then belongs to no finished row.
        """
        masked, before = self._process.is_noise(pause.x_t), self._process.is_noise(self._now)
        if (~before & (pause.x_t != self._now)).any():
            raise MoldiffError(
                "reward.passed: got a sampler that takes tokens back; choose one that does not"
            )
        left = masked.sum(-1, keepdim=True)
        self._after = torch.where(before & ~masked, left, self._after)
        self._kept = torch.where((left >= self._least).T[:, :, None], pause.x_t, self._kept)
        self._now = pause.x_t.clone()

    def states(self) -> State:
        """What was kept, S times the rows.

        A token counts by one over the chance that a state is kept in which it is masked. So each counts 1 in
        all, whatever the order: the mean of its surprise over the states that the row passed before it was
        drawn.
        """
        masked = self._process.is_noise(self._kept)
        share = masked.sum(-1).double() / self._total.T
        weight = masked * self._total / (self._total - self._after).clamp(min=1)
        time = self._process.schedule.inverse(1 - share.flatten())
        return State(self._kept.flatten(0, 1), time, weight.flatten(0, 1))


@contextmanager
def _as_used(denoiser: Denoiser) -> Iterator[None]:
    """A block in which a network answers as it will when it is used, without dropout."""
    training = isinstance(denoiser, nn.Module) and denoiser.training
    if isinstance(denoiser, nn.Module):
        denoiser.eval()
    try:
        yield
    finally:
        if isinstance(denoiser, nn.Module):
            denoiser.train(training)


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
