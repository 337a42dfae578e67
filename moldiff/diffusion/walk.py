"""What the samplers share: the requests to the network, and how its answer is read out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from moldiff.diffusion.categorical import NucleusRule, draw, nucleus, temper
from moldiff.diffusion.process import Process
from moldiff.diffusion.random import RowRandom, Stream
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
class Walk:
    """One call's fixed parts: network, guidance, rows, randomness, read-out."""

    denoiser: Denoiser
    guidance: Guidance
    rows: Rows
    random: RowRandom
    readout: Readout

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

    def reveal(self, x_t: Tensor, visit: Visit) -> tuple[Tensor, Tensor]:
        """Tokens (M,) for the M positions of a visit that fire, and the chance that each had.

        x_t (N, L) are the rows of the visit, and no other is shown to the network.
        """
        cond = None if self.rows.cond is None else self.rows.cond[visit.index]
        guided = self.guidance(self.asker(x_t, visit.t, cond), x_t, visit.t)
        log_p = guided[visit.fire]
        ids = self.rows.ids[visit.index]
        uniform = self.random.uniform(ids, visit.number, x_t.shape[1], Stream.TOKEN)[visit.fire]
        sharpened = self.readout(log_p)
        tokens = draw(sharpened, uniform)
        return tokens, sharpened.gather(-1, tokens[:, None]).squeeze(-1).exp()
