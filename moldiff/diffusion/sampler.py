"""Samplers: the loop from pure noise to clean tokens."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import final

import torch
from torch import Tensor

from moldiff.diffusion.categorical import draw, normalise, safe_log
from moldiff.diffusion.events import plan
from moldiff.diffusion.process import Level, Process
from moldiff.diffusion.random import RowRandom, Stream
from moldiff.diffusion.remasking import Ancestral, Rates, Remasking, Step, View, changes
from moldiff.diffusion.walk import Readout, Unguided, Visit, Walk
from moldiff.errors import MoldiffError
from moldiff.types import Denoiser, Guidance, Rows

#: Takes one step of all rows: their tokens and the confidence of each.
_Advance = Callable[[Walk, Tensor, View, tuple[int, Step, Rates]], tuple[Tensor, Tensor]]


@final
@dataclass(frozen=True)
class Sampler:
    """Ancestral and remasking sampling of any process, with any guidance.

    For masks guided at the clean tokens, whether a position changes does not depend on the network. So the
    events of all steps are drawn first, and the network is asked only about rows in which a token is
    revealed: the k-th such moment of every row in one batch, whatever its step. The law is the same, a row
    costs about T (1 - (1 - 1/T)^L) forwards instead of T, and the calls do not grow with T. Where the chances
    depend on the confidence of earlier draws, steps are taken one by one, still asking only about rows that
    reveal something.

    Args:
        process: the forward process that the denoiser was trained on.
        steps: T, reverse steps asked of the remasking schedule.
        remasking: which tokens are given back on the way.
        level: where guidance acts: ``x0`` on the predicted clean tokens, ``posterior`` on the next state (the
            papers' form; for masks it also speeds unmasking up). None takes the process's own.
        readout: temperature and nucleus.
    """

    process: Process
    steps: int
    remasking: Remasking = field(default_factory=Ancestral)
    level: Level | None = None
    readout: Readout = field(default_factory=Readout)

    def __post_init__(self) -> None:
        if self.level not in (None, "x0", "posterior"):
            raise MoldiffError(f"guidance level: got {self.level!r}, choose from x0, posterior")
        self.grid()

    def grid(self) -> list[Step]:
        """The steps from t = 1 to t = 0."""
        return self._grid

    @cached_property
    def _grid(self) -> list[Step]:
        times = self.remasking.times(self.steps)
        alphas = [self.process.schedule.at(t) for t in times]
        return [
            Step(t, s, a_t, a_s, self.process.max_sigma(a_t, a_s))
            for (t, a_t), (s, a_s) in pairwise(zip(times, alphas, strict=True))
        ]

    @torch.no_grad()
    def __call__(
        self, denoiser: Denoiser, rows: Rows, guidance: Guidance | None = None, seed: int = 0
    ) -> Tensor:
        """Clean tokens (B, L); row i depends on (seed, rows.ids[i]) alone."""
        walk = Walk(denoiser, guidance or Unguided(), rows, RowRandom(seed), self.readout)
        x, frozen = walk.start(self.process)
        if not self.process.events_first or (self.level or self.process.level) != "x0":
            return self._step_by_step(walk, x, frozen, self._transit)
        if self.remasking.needs_confidence:
            return self._step_by_step(walk, x, frozen, self._reveal)
        return self._play(walk, x, frozen)

    def _play(self, walk: Walk, x: Tensor, frozen: Tensor) -> Tensor:
        """The rows after all events, drawn ahead of the network, have been played."""
        mask = self.process.num_tokens
        masked = self.process.is_noise(x)
        for before, visit, after in plan(self.remasking, self.grid(), walk, masked, frozen):
            x_t = x[visit.index].masked_fill(before, mask)
            x_s = x_t.masked_fill(after, mask)
            x_s[visit.fire] = walk.reveal(x_t, visit)[0]
            x[visit.index] = x_s
        return x

    def _step_by_step(self, walk: Walk, x: Tensor, frozen: Tensor, advance: _Advance) -> Tensor:
        """The rows after every step has been taken in turn."""
        confidence = torch.ones(x.shape, device=x.device)
        for number, step in enumerate(self.grid()):
            noise = self.process.is_noise(x)
            view = View(noise & ~frozen, ~noise & ~frozen, confidence)
            rates = self.remasking.rates(step, view)
            x, confidence = advance(walk, x, view, (number, step, rates))
        return x

    def _reveal(
        self, walk: Walk, x: Tensor, view: View, now: tuple[int, Step, Rates]
    ) -> tuple[Tensor, Tensor]:
        """One step for masks: draw which positions change, then ask only about rows that need it."""
        number, step, rates = now
        uniform = walk.random.uniform(walk.rows.ids, number, x.shape[1], Stream.EVENT)
        fire, back = changes(view, rates, uniform)
        x_s, confidence = x.masked_fill(back, self.process.num_tokens), view.confidence.clone()
        index = fire.any(-1).nonzero().squeeze(-1)
        if len(index):
            t = torch.full_like(index, step.t, dtype=torch.float32)
            visit = Visit(index, torch.full_like(index, number), t, fire[index])
            x_s[fire], confidence[fire] = walk.reveal(x[index], visit)
        return x_s, confidence

    def _transit(
        self, walk: Walk, x: Tensor, view: View, now: tuple[int, Step, Rates]
    ) -> tuple[Tensor, Tensor]:
        """One step of any process: draw every position's next state from its distribution."""
        number, step, rates = now
        log_p = self._next_state(walk, x, step, rates)
        uniform = walk.random.uniform(walk.rows.ids, number, x.shape[1], Stream.TOKEN)
        x_s = torch.where(view.masked | view.visible, draw(log_p, uniform), x)
        tokens = normalise(log_p[..., : self.process.num_tokens])
        known = x_s.clamp(max=self.process.num_tokens - 1)
        chance = tokens.gather(-1, known[..., None]).squeeze(-1).exp().to(view.confidence.dtype)
        return x_s, torch.where(x_s != x, chance, view.confidence)

    def _next_state(self, walk: Walk, x: Tensor, step: Step, rates: Rates) -> Tensor:
        """Guided log-probabilities of the next state, (B, L, S)."""
        t = torch.full(x.shape[:1], step.t, device=x.device)

        def onward(log_x0: Tensor) -> Tensor:
            return safe_log(self.process.transition(self.readout(log_x0).exp(), x, step, rates))

        ask = walk.asker(x, t, walk.rows.cond)
        if (self.level or self.process.level) == "x0":
            return onward(walk.guidance(ask, x, t))
        return walk.guidance(lambda conds: [onward(p) for p in ask(conds)], x, t)


@final
@dataclass(frozen=True)
class FirstHittingSampler:
    """One token at a time, at the exact times at which infinitely many steps would reveal it.

    Costs exactly one forward a generated token and has no error from revealing tokens together (Zheng et al.,
    2024, arXiv:2409.02908). For masks only.
    """

    process: Process
    readout: Readout = field(default_factory=Readout)

    def __post_init__(self) -> None:
        if not self.process.events_first:
            raise MoldiffError("first-hitting: got a process without masks, choose a masked model")

    @torch.no_grad()
    def __call__(
        self, denoiser: Denoiser, rows: Rows, guidance: Guidance | None = None, seed: int = 0
    ) -> Tensor:
        """Clean tokens (B, L); row i depends on (seed, rows.ids[i]) alone."""
        walk = Walk(denoiser, guidance or Unguided(), rows, RowRandom(seed), self.readout)
        x, frozen = walk.start(self.process)
        order = walk.random.uniform(rows.ids, 0, rows.length, Stream.ORDER)
        order = order.masked_fill(frozen, torch.inf)
        t = torch.ones(x.shape[0], dtype=order.dtype, device=x.device)
        for number in range(rows.length):
            left = self.process.is_noise(x) & ~frozen
            if not left.any():
                break
            t = self._jump(walk, t, left.sum(-1), number)
            first = order.masked_fill(~left, torch.inf).argmin(-1, keepdim=True)
            fire = torch.zeros_like(left).scatter(-1, first, True) & left
            index = fire.any(-1).nonzero().squeeze(-1)
            visit = Visit(index, torch.full_like(index, number), t[index].float(), fire[index])
            x[fire] = walk.reveal(x[index], visit)[0]
        return x

    def _jump(self, walk: Walk, t: Tensor, left: Tensor, number: int) -> Tensor:
        """Times (B,) of the next reveal when ``left`` (B,) positions are masked at t (B,)."""
        u = walk.random.uniform(walk.rows.ids, number, 1, Stream.TIME)[:, 0].to(t.dtype)
        schedule = self.process.schedule
        masked = (1 - schedule.alpha(t)) * (1 - u) ** (1 / left.clamp(min=1))
        return torch.where(left > 0, schedule.inverse(1 - masked), t)
