"""Sampling in an order that the network itself suggests: where it is surest goes first."""

import math
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, Protocol, final, get_args

import torch
from torch import Tensor

from moldiff.diffusion.process import Process, need_masks
from moldiff.diffusion.random import RowRandom, Stream
from moldiff.diffusion.walk import Readout, Unguided, Visit, Walk, rounds
from moldiff.errors import MoldiffError, unknown
from moldiff.types import Denoiser, Guidance, Rows, Steer

#: What a position is sure by: its best token's chance, the lead of that over the second, or the entropy.
Sureness = Literal["probability", "margin", "entropy"]


class Order(Protocol):
    """Which masked positions are revealed next."""

    def __call__(self, log_p: Tensor, left: Tensor, uniform: Tensor) -> Tensor:
        """Flags (N, L), at least one a row, all among ``left``.

        Args:
            log_p: (N, L, K) predictions, normalised.
            left: (N, L) bool, true where a position is masked; at least one a row.
            uniform: (N, L) random numbers in [0, 1).
        """
        ...


@final
@dataclass(frozen=True)
class Surest:
    """The one position that the network is surest of, with noise.

    Sureness lies in [0, 1], whatever the measure: the chance of the best token (Chang et al., 2022,
    arXiv:2202.04200), its lead over the second (Kim et al., 2025, arXiv:2502.06768), or one less the entropy
    as a share of log K.

    Args:
        measure: of sureness.
        noise: most that is added to it at random: 0 always takes the surest position, larger values mix the
            orders and make samples more diverse.
    """

    measure: Sureness = "margin"
    noise: float = 0.0

    def __post_init__(self) -> None:
        if self.measure not in get_args(Sureness):
            raise unknown("measure of sureness", self.measure, get_args(Sureness))
        if not 0 <= self.noise < math.inf:
            raise MoldiffError(f"noise of an order: got {self.noise}, must be 0 or more and finite")

    def __call__(self, log_p: Tensor, left: Tensor, uniform: Tensor) -> Tensor:
        noisy = self.sureness(log_p).to(uniform.dtype) + self.noise * uniform
        place = noisy.masked_fill(~left, -1.0).argmax(-1, keepdim=True)
        return torch.zeros_like(left).scatter(-1, place, True)

    def sureness(self, log_p: Tensor) -> Tensor:
        """How sure each prediction of log_p (N, L, K) is, (N, L)."""
        if self.measure == "probability":
            return log_p.amax(-1).exp()
        if self.measure == "margin":
            best = log_p.exp().topk(min(2, log_p.shape[-1]), dim=-1).values
            return best[..., 0] - best[..., -1]
        # Rounding may take the entropy of an even law above log K.
        return (1 - entropy(log_p) / math.log(max(2, log_p.shape[-1]))).clamp(min=0)


@final
@dataclass(frozen=True)
class EntropyBound:
    """As many positions as hardly depend on one another (Ben-Hamu et al., 2025, arXiv:2505.24857).

    Masked positions are taken in the order of their entropies H for as long as the sum of H less the largest
    H, which bounds what is lost by drawing them independently, is at most gamma.

    Args:
        gamma: in nats: 0 takes one position, and those that are certain; infinity takes all at once.
    """

    gamma: float = 0.1

    def __post_init__(self) -> None:
        if not self.gamma >= 0:
            raise MoldiffError(f"gamma of entropy-bound: got {self.gamma}, must be 0 or more")

    def __call__(self, log_p: Tensor, left: Tensor, uniform: Tensor) -> Tensor:
        # The mask of what is not left goes last; in the wider type of the uniforms, so that 0 stays 0.
        each = entropy(log_p).to(uniform.dtype).masked_fill(~left, math.inf)
        ordered, index = each.sort(dim=-1, stable=True)
        # The largest of those taken is the last, so the bound is the sum of the ones before.
        before = torch.nn.functional.pad(ordered.cumsum(-1)[..., :-1], (1, 0))
        return torch.zeros_like(left).scatter(-1, index, before <= self.gamma) & left


def entropy(log_p: Tensor) -> Tensor:
    """Entropies (...) in nats of log_p (..., K), which may be -inf."""
    entropies: Tensor = torch.special.entr(log_p.exp()).sum(-1)
    return entropies


@final
@dataclass(frozen=True)
class OrderedSampler:
    """Reveals tokens in an order that looks at the network's prediction; none is taken back.

    With an exact network any order of single tokens gives the law of the data. A trained one is wrong where
    much is undecided; going there last, when more is known, makes fewer mistakes. Costs one forward a round:
    one a generated token, fewer where the order takes several. For masks only.

    Args:
        process: the forward process that the denoiser was trained on.
        order: which positions go next; it looks at the guided prediction before ``readout``, and before a
            guidance that acts only where a token is drawn.
        readout: temperature and nucleus of the tokens drawn.
    """

    process: Process
    order: Order = field(default_factory=Surest)
    readout: Readout = field(default_factory=Readout)

    def __post_init__(self) -> None:
        need_masks(self.process, "order of unmasking")

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
        for number, left, index in rounds(self.process, x, frozen):
            left = left[index]
            t = self._time(left)
            found = walk.foresee(x[index], index, t)
            uniform = walk.random.uniform(rows.ids[index], number, rows.length, Stream.ORDER)
            fire = self.order(found.log_p, left, uniform)
            visit = Visit(index, torch.full_like(index, number), t, fire)
            x_s = x[index]
            x_s[fire] = walk.drawn(found, visit)[0]
            x[index] = x_s
            moved = walk.turn(number + 1, rows.length, x, partial(self._completions, walk, x, frozen, number))
            if moved is not None:
                x[:] = x[moved]
        return x

    def _time(self, left: Tensor) -> Tensor:
        """Times (N,) at which as many positions are masked on average as are ``left`` (N, L)."""
        t: Tensor = self.process.schedule.inverse(1 - left.double().mean(-1)).float()
        return t

    def _completions(self, walk: Walk, x: Tensor, frozen: Tensor, number: int, draws: int) -> Tensor:
        """Rows x (B, L) with all that is left drawn at once, several times: (D, B, L)."""
        left = self.process.is_noise(x) & ~frozen
        return walk.completions(left, x, self._time(left), number, draws)
