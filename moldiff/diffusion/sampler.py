"""Samplers: the loop from pure noise to clean tokens."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import pairwise
from typing import final

import torch
from torch import Tensor

from moldiff.diffusion.categorical import draw, normalise, safe_log
from moldiff.diffusion.corrector import Corrections, Corrector
from moldiff.diffusion.events import plan
from moldiff.diffusion.process import Level, Process, need_masks
from moldiff.diffusion.random import RowRandom, Stream
from moldiff.diffusion.remasking import Ancestral, Rates, Remasking, Step, View, changes
from moldiff.diffusion.walk import Readout, Unguided, Visit, Walk, rounds
from moldiff.errors import MoldiffError
from moldiff.types import Denoiser, Guidance, Rows, Steer

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
        corrector: how visible tokens are rewritten; None for not at all. Steps are then taken one by one.
    """

    process: Process
    steps: int
    remasking: Remasking = field(default_factory=Ancestral)
    level: Level | None = None
    readout: Readout = field(default_factory=Readout)
    corrector: Corrector | None = None

    def __post_init__(self) -> None:
        if self.level not in (None, "x0", "posterior"):
            raise MoldiffError(f"guidance level: got {self.level!r}, choose from x0, posterior")
        if self.corrector is not None:
            need_masks(self.process, "a corrector")
            if self.level == "posterior":
                raise MoldiffError("guidance level: got posterior with a corrector, which takes x0 only")
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
        self,
        denoiser: Denoiser,
        rows: Rows,
        guidance: Guidance | None = None,
        seed: int = 0,
        *,
        steer: Steer | None = None,
    ) -> Tensor:
        """Clean tokens (B, L); row i depends on (seed, rows.ids[i]) alone, and on who steers."""
        walk = Walk(denoiser, guidance or Unguided(), rows, RowRandom(seed), self.readout, steer)
        x, frozen = walk.start(self.process)
        if self.corrector is not None and self.corrector.active:
            corrections = Corrections(self.corrector, self.process, x)
            x = self._step_by_step(walk, x, frozen, corrections.step)
            return corrections.last(walk, x, frozen, len(self.grid()))
        if not self._apart:
            return self._step_by_step(walk, x, frozen, self._transit)
        if self.remasking.needs_confidence or steer is not None:
            return self._step_by_step(walk, x, frozen, self._reveal)
        return self._play(walk, x, frozen)

    @property
    def _apart(self) -> bool:
        """Whether it can be said which positions change before the network is asked to what."""
        return self.process.events_first and (self.level or self.process.level) == "x0"

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
            complete = partial(self._completions, walk, x, frozen, (number, step.s))
            moved = walk.turn(number + 1, len(self._grid), x, complete)
            if moved is not None:
                x, confidence = x[moved], confidence[moved]
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
        log_p, log_x0 = self._next_state(walk, x, step, rates)
        uniform = walk.random.uniform(walk.rows.ids, number, x.shape[1], Stream.TOKEN)
        x_s = torch.where(view.masked | view.visible, draw(log_p, uniform), x)
        if not self.remasking.needs_confidence:
            return x_s, view.confidence
        # With masks a token is drawn when it appears. Without, all are drawn in every step, and what one is
        # worth is what the others say of it: its chance to be there next is large if it was there before.
        drawn, law = x_s != x, normalise(log_p[..., : self.process.num_tokens])
        if not self.process.events_first:
            drawn, law = torch.ones_like(drawn), log_x0
        known = x_s.clamp(max=self.process.num_tokens - 1)
        chance = law.gather(-1, known[..., None]).squeeze(-1).exp().to(view.confidence.dtype)
        return x_s, torch.where(drawn, chance, view.confidence)

    def _next_state(self, walk: Walk, x: Tensor, step: Step, rates: Rates) -> tuple[Tensor, Tensor]:
        """Guided log-probabilities of the next state (B, L, S), and of the clean tokens (B, L, K).

        Where guidance acts on the next state, the latter are those of its first request.
        """
        t = torch.full(x.shape[:1], step.t, device=x.device)
        laws: list[Tensor] = []

        def onward(log_x0: Tensor) -> Tensor:
            laws.append(self.readout(log_x0))
            return safe_log(self.process.transition(laws[-1].exp(), x, step, rates))

        ask = walk.asker(x, t, walk.rows.cond)
        if (self.level or self.process.level) == "x0":
            log_p = onward(walk.guidance(ask, x, t))
        else:
            log_p = walk.guidance(lambda conds: [onward(p) for p in ask(conds)], x, t)
        return log_p, laws[0]

    def _completions(
        self, walk: Walk, x: Tensor, frozen: Tensor, now: tuple[int, float], draws: int
    ) -> Tensor:
        """Rows x (B, L) after one step more, straight to t = 0, several times: (D, B, L)."""
        number, t = now
        if self._apart:
            times = torch.full(x.shape[:1], t, device=x.device)
            return walk.completions(self.process.is_noise(x) & ~frozen, x, times, number, draws)
        alpha = self.process.schedule.at(t)
        leap = Step(t, 0.0, alpha, 1.0, self.process.max_sigma(alpha, 1.0))
        noise = self.process.is_noise(x)
        rates = Ancestral().rates(leap, View(noise, ~noise, torch.ones(x.shape, device=x.device)))
        log_p, _ = self._next_state(walk, x, leap, rates)
        uniform = walk.uniforms(torch.arange(len(x), device=x.device), number, draws)
        return torch.stack([torch.where(frozen, x, draw(log_p, u)) for u in uniform])


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
        need_masks(self.process, "first-hitting")

    @torch.no_grad()
    def __call__(
        self,
        denoiser: Denoiser,
        rows: Rows,
        guidance: Guidance | None = None,
        seed: int = 0,
        *,
        steer: Steer | None = None,
    ) -> Tensor:
        """Clean tokens (B, L); row i depends on (seed, rows.ids[i]) alone, and on who steers."""
        walk = Walk(denoiser, guidance or Unguided(), rows, RowRandom(seed), self.readout, steer)
        x, frozen = walk.start(self.process)
        order = walk.random.uniform(rows.ids, 0, rows.length, Stream.ORDER)
        order = order.masked_fill(frozen, torch.inf)
        t = torch.ones(x.shape[0], dtype=order.dtype, device=x.device)
        for number, left, index in rounds(self.process, x, frozen):
            t = self._jump(walk, t, left.sum(-1), number)
            first = order.masked_fill(~left, torch.inf).argmin(-1, keepdim=True)
            fire = torch.zeros_like(left).scatter(-1, first, True) & left
            visit = Visit(index, torch.full_like(index, number), t[index].float(), fire[index])
            x[fire] = walk.reveal(x[index], visit)[0]
            complete = partial(walk.completions, left & ~fire, x, t.float(), number)
            moved = walk.turn(number + 1, rows.length, x, complete)
            if moved is not None:
                x[:], t = x[moved], t[moved]
                # What is left to a row that takes another's place has not met its own order.
                fresh = walk.random.uniform(rows.ids, number + 1, rows.length, Stream.ORDER)
                stays = moved == torch.arange(len(moved), device=moved.device)
                order = torch.where(stays[:, None], order, fresh).masked_fill(frozen, torch.inf)
        return x

    def _jump(self, walk: Walk, t: Tensor, left: Tensor, number: int) -> Tensor:
        """Times (B,) of the next reveal when ``left`` (B,) positions are masked at t (B,)."""
        u = walk.random.uniform(walk.rows.ids, number, 1, Stream.TIME)[:, 0].to(t.dtype)
        schedule = self.process.schedule
        masked = (1 - schedule.alpha(t)) * (1 - u) ** (1 / left.clamp(min=1))
        return torch.where(left > 0, schedule.inverse(1 - masked), t)
