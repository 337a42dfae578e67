"""What the samplers share: the requests to the network, and how its answer is read out."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from moldiff.diffusion.categorical import NucleusRule, draw, nucleus, temper
from moldiff.diffusion.process import Process
from moldiff.diffusion.random import RowRandom, Stream
from moldiff.types import Condition, Denoiser, Guidance, LogProbs, Pause, Rows, Steer, TokenGuidance


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


@final
@dataclass(frozen=True)
class Visit:
    """A request to the network about N of the rows, and what it is for.

    Args:
        index: (N,) which of the rows.
        number: (N,) the steps at which they are.
        t: (N,) the times at which they are.
        fire: (N, L) bool, true where a token is to be drawn.
    """

    index: Tensor
    number: Tensor
    t: Tensor
    fire: Tensor


@final
@dataclass(frozen=True)
class Prediction:
    """A prediction for N rows; a guidance of tokens acts on it when it is known where they are drawn.

    Args:
        log_p: (N, L, K) normalised log-probabilities, guided as far as that concerns all positions.
        at: guided log-probabilities (M, K) of the M positions that are true in flags (N, L).
    """

    log_p: Tensor
    at: Callable[[Tensor], Tensor]


@final
@dataclass(frozen=True)
class Walk:
    """One call's fixed parts: network, guidance, rows, randomness, read-out, and who steers it."""

    denoiser: Denoiser
    guidance: Guidance
    rows: Rows
    random: RowRandom
    readout: Readout
    steer: Steer | None = None

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

    def predict(self, x_t: Tensor, index: Tensor, t: Tensor) -> Tensor:
        """Guided log-probabilities (N, L, K) for rows ``index`` (N,), which are at x_t (N, L) and t (N,)."""
        cond = None if self.rows.cond is None else self.rows.cond[index]
        return self.guidance(self.asker(x_t, t, cond), x_t, t)

    def foresee(self, x_t: Tensor, index: Tensor, t: Tensor) -> Prediction:
        """The same, of which a guidance of tokens has still to be asked where a token is drawn."""
        if not isinstance(self.guidance, TokenGuidance):
            log_p = self.predict(x_t, index, t)
            return Prediction(log_p, lambda fire: log_p[fire])
        cond = None if self.rows.cond is None else self.rows.cond[index]
        return Prediction(*self.guidance.choose(self.asker(x_t, t, cond), x_t, t))

    def drawn(self, found: Prediction, visit: Visit) -> tuple[Tensor, Tensor]:
        """Tokens (M,) for the M positions of a visit that fire, and the chance that each had."""
        ids = self.rows.ids[visit.index]
        uniform = self.random.uniform(ids, visit.number, found.log_p.shape[1], Stream.TOKEN)[visit.fire]
        sharpened = self.readout(found.at(visit.fire))
        tokens = draw(sharpened, uniform)
        return tokens, sharpened.gather(-1, tokens[:, None]).squeeze(-1).exp()

    def reveal(self, x_t: Tensor, visit: Visit) -> tuple[Tensor, Tensor]:
        """Tokens (M,) for the M positions of a visit that fire, and the chance that each had.

        x_t (N, L) are the rows of the visit, and no other is shown to the network.
        """
        return self.drawn(self.foresee(x_t, visit.index, visit.t), visit)

    def turn(self, number: int, of: int, x: Tensor, complete: Callable[[int], Tensor]) -> Tensor | None:
        """Which row goes on in the place of each, (B,), after so many steps; None where all stay."""
        return None if self.steer is None else self.steer(Pause(number, of, x, complete))

    def completions(self, left: Tensor, x: Tensor, t: Tensor, number: int, draws: int) -> Tensor:
        """Rows x (B, L), at t (B,), with tokens drawn at all positions ``left`` (B, L) at once; (D, B, L)."""
        out = x.repeat(draws, 1, 1)
        index = left.any(-1).nonzero().squeeze(-1)
        if not len(index):
            return out
        fire = left[index]
        log_p = self.readout(self.foresee(x[index], index, t[index]).at(fire))
        uniform = self.uniforms(index, number, draws)
        for row, u in zip(out, uniform, strict=True):
            row[left] = draw(log_p, u[fire])
        return out

    def uniforms(self, index: Tensor, number: int, draws: int) -> Tensor:
        """Random numbers (D, N, L) for completions of rows ``index`` (N,)."""
        ids, length = self.rows.ids[index], self.rows.length
        uniform = self.random.uniform(ids, number, draws * length, Stream.COMPLETION)
        return uniform.view(len(index), draws, length).transpose(0, 1)


def rounds(process: Process, x: Tensor, frozen: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Rounds in which the caller reveals at least one token of each row, until x (B, L) has no mask.

    Each is its number, the flags (B, L) of what is masked and not frozen, and the rows (N,) that have any.
    """
    for number in range(x.shape[1]):
        left = process.is_noise(x) & ~frozen
        index = left.any(-1).nonzero().squeeze(-1)
        if not len(index):
            return
        yield number, left, index
