"""Samplers: the loop from pure noise to clean tokens."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from moldiff.diffusion.categorical import (
    NucleusRule,
    draw,
    normalise,
    nucleus,
    safe_log,
    temper,
)
from moldiff.diffusion.process import Level, Process
from moldiff.diffusion.random import RowRandom, Stream
from moldiff.diffusion.remasking import Ancestral, Rates, Remasking, Step, View
from moldiff.errors import MoldiffError
from moldiff.types import Condition, Denoiser, Guidance, LogProbs, Rows


def given(cond: Tensor | None) -> Tensor | None:
    """The rows' own conditions."""
    return cond


def null(cond: Tensor | None) -> Tensor | None:
    """No condition: every slot null."""
    return None if cond is None else torch.full_like(cond, torch.nan)


@final
@dataclass(frozen=True)
class Unguided:
    """The network's own prediction under the rows' conditions."""

    def __call__(self, log_probs: LogProbs, x_t: Tensor, t: Tensor) -> Tensor:
        return log_probs([given])[0]


@final
@dataclass(frozen=True)
class Readout:
    """How a prediction is sharpened before tokens are drawn from it.

    Args:
        temperature: above 0; 1 leaves the law alone.
        top_p: mass of the nucleus, in (0, 1]; 1 leaves the law alone.
        rule: ``standard``, or ``inclusive`` as in the papers' code.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    rule: NucleusRule = "standard"

    def __post_init__(self) -> None:
        probe = torch.zeros(1, 1)
        nucleus(temper(probe, self.temperature), self.top_p, self.rule)

    def __call__(self, log_p: Tensor) -> Tensor:
        """Sharpened log-probabilities, normalised, with the shape of log_p."""
        return nucleus(temper(log_p, self.temperature), self.top_p, self.rule)


@dataclass(frozen=True)
class _Walk:
    """One call's fixed parts, and the requests to the network."""

    denoiser: Denoiser
    guidance: Guidance
    rows: Rows
    random: RowRandom

    def start(self, process: Process) -> tuple[Tensor, Tensor]:
        """Pure noise with the given tokens in place, and the frozen flags, both (B, L)."""
        rows = self.rows
        x = process.prior(self.random.uniform(rows.ids, 0, rows.length, Stream.NOISE))
        if rows.tokens is None or rows.frozen is None:
            return x, torch.zeros_like(x, dtype=torch.bool)
        return torch.where(rows.frozen, rows.tokens, x), rows.frozen

    def asker(self, x_t: Tensor, t: Tensor, cond: Tensor | None) -> LogProbs:
        """Log p(x_0 | x_t, c) for several conditions c in one batched forward."""

        def ask(conds: Sequence[Condition]) -> list[Tensor]:
            many = [c(cond) for c in conds]
            stacked = torch.cat([m for m in many if m is not None]) if cond is not None else None
            n = len(conds)
            out = self.denoiser(x_t.repeat(n, 1), t.repeat(n), stacked)
            return list(out.float().chunk(n))

        return ask

    def predict(self, x_t: Tensor, t: Tensor, index: Tensor) -> Tensor:
        """Guided log p(x_0 | x_t), (N, L, K), for the rows ``index`` (N,) of x_t (B, L) and t (B,)."""
        cond = None if self.rows.cond is None else self.rows.cond[index]
        x_t, t = x_t[index], t[index]
        return self.guidance(self.asker(x_t, t, cond), x_t, t)

    def reveal(
        self, x_t: Tensor, t: Tensor, fire: Tensor, number: int, readout: Readout
    ) -> tuple[Tensor, Tensor]:
        """Tokens (M,) for the M positions that fire, (B, L), and the chance that each had.

        The network runs on the rows in which something fires, and on no other.
        """
        index = fire.any(-1).nonzero().squeeze(-1)
        log_p = self.predict(x_t, t, index)[fire[index]]
        uniform = self.random.uniform(self.rows.ids, number, x_t.shape[1], Stream.TOKEN)[fire]
        tokens = draw(readout(log_p), uniform)
        chance = temper(log_p, readout.temperature).gather(-1, tokens[:, None]).squeeze(-1).exp()
        return tokens, chance


@final
@dataclass(frozen=True)
class Sampler:
    """Ancestral and remasking sampling of any process, with any guidance.

    For masks guided at the clean tokens, whether a position changes does not depend on the network; so each
    step draws the events first and asks the network only about rows in which a token is revealed. The law is
    the same and a row costs about T (1 - (1 - 1/T)^L) forwards instead of T.

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
        times = self.remasking.times(self.steps)
        alphas = [self.process.schedule.at(t) for t in times]
        return [
            Step(t, s, a_t, a_s, self.process.max_sigma(a_t, a_s))
            for t, s, a_t, a_s in zip(times, times[1:], alphas, alphas[1:], strict=False)
        ]

    @torch.no_grad()
    def __call__(
        self, denoiser: Denoiser, rows: Rows, guidance: Guidance | None = None, seed: int = 0
    ) -> Tensor:
        """Clean tokens (B, L); row i depends on (seed, rows.ids[i]) alone."""
        walk = _Walk(denoiser, guidance or Unguided(), rows, RowRandom(seed))
        x, frozen = walk.start(self.process)
        confidence = torch.ones(x.shape, device=x.device)
        events_first = self.process.events_first and (self.level or self.process.level) == "x0"
        advance = self._reveal if events_first else self._transit
        for number, step in enumerate(self.grid()):
            noise = self.process.is_noise(x)
            view = View(noise & ~frozen, ~noise & ~frozen, confidence)
            rates = self.remasking.rates(step, view)
            x, confidence = advance(walk, x, view, (number, step, rates))
        return x

    def _reveal(
        self, walk: _Walk, x: Tensor, view: View, now: tuple[int, Step, Rates]
    ) -> tuple[Tensor, Tensor]:
        """One step for masks: draw which positions change, then ask only about rows that need it."""
        number, step, rates = now
        chance = walk.random.uniform(walk.rows.ids, number, x.shape[1], Stream.EVENT)
        fire = view.masked & (chance < rates.unmask)
        back = view.visible & (chance < rates.remask)
        x_s, confidence = x.masked_fill(back, self.process.num_tokens), view.confidence.clone()
        if fire.any():
            t = torch.full(x.shape[:1], step.t, device=x.device)
            x_s[fire], confidence[fire] = walk.reveal(x, t, fire, number, self.readout)
        return x_s, confidence

    def _transit(
        self, walk: _Walk, x: Tensor, view: View, now: tuple[int, Step, Rates]
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

    def _next_state(self, walk: _Walk, x: Tensor, step: Step, rates: Rates) -> Tensor:
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
        walk = _Walk(denoiser, guidance or Unguided(), rows, RowRandom(seed))
        x, frozen = walk.start(self.process)
        order = walk.random.uniform(rows.ids, 0, rows.length, Stream.ORDER)
        order = order.masked_fill(frozen, torch.inf)
        t = torch.ones(x.shape[0], dtype=torch.float64, device=x.device)
        for number in range(rows.length):
            left = self.process.is_noise(x) & ~frozen
            if not left.any():
                break
            t = self._jump(walk, t, left.sum(-1), number)
            first = order.masked_fill(~left, torch.inf).argmin(-1, keepdim=True)
            fire = torch.zeros_like(left).scatter(-1, first, True) & left
            x = x.clone()
            x[fire] = walk.reveal(x, t.float(), fire, number, self.readout)[0]
        return x

    def _jump(self, walk: _Walk, t: Tensor, left: Tensor, number: int) -> Tensor:
        """Times (B,) of the next reveal when ``left`` (B,) positions are masked at t (B,)."""
        u = walk.random.uniform(walk.rows.ids, number, 1, Stream.TIME)[:, 0].to(t.dtype)
        schedule = self.process.schedule
        masked = (1 - schedule.alpha(t)) * (1 - u) ** (1 / left.clamp(min=1))
        return torch.where(left > 0, schedule.inverse(1 - masked), t)
