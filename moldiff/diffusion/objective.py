"""Training objectives over a denoiser and one batch."""

from dataclasses import dataclass, field
from typing import Any, Protocol, final

import torch
from torch import Tensor

from moldiff.diffusion.process import Process
from moldiff.diffusion.random import RowRandom, Stream
from moldiff.errors import MoldiffError
from moldiff.types import Denoiser, Rows


@dataclass(frozen=True)
class Batch:
    """One process's share of a training step's batch.

    Args:
        tokens: (B, L) clean tokens.
        cond: (B, C) conditions as the network sees them, NaN where null; None without conditions.
        rows: (B,) int64 places in the whole batch; with the step they fix every random draw.
        size: rows of the whole batch over all processes.
        step: the step's number.
        whole: tokens that a full batch holds; the loss is a sum over tokens divided by this, so that a small
            batch counts for little and the shares of several processes add up.
    """

    tokens: Tensor
    cond: Tensor | None
    rows: Tensor
    size: int
    step: int
    whole: int


@dataclass(frozen=True)
class Loss:
    """What is minimised, the likelihood bound in nats a token of this share, and named parts for the log."""

    total: Tensor
    nll: Tensor
    parts: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Bound:
    """Upper bounds on -log p of B rows, in nats.

    Args:
        tokens: (B, N) estimates of the part that the tokens cost.
        length: (B,) what it costs that a row is so long; None where the network does not say.
    """

    tokens: Tensor
    length: Tensor | None = None


class Objective(Protocol):
    """A loss that depends on (seed, step, batch) and on nothing else."""

    def __call__(self, network: Any, batch: Batch, /) -> Loss:
        """The loss of one share of a batch, for a denoiser or for what else is trained."""
        ...


@final
@dataclass(frozen=True)
class DiffusionObjective:
    """The continuous-time bound at one stratified time a row (Sahoo et al., 2024; Schiff et al., 2024).

    Args:
        process: how tokens are noised.
        random: source of times and noise.
        t_min: least time, in [0, 1); above 0 the loss is no longer the whole bound.
    """

    process: Process
    random: RowRandom
    t_min: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.t_min < 1:
            raise MoldiffError(f"t_min: got {self.t_min}, must be in [0, 1)")

    def times(self, batch: Batch) -> Tensor:
        """Times (B,) in (t_min, 1], one in each of ``size`` equal parts of that range."""
        u = self.random.uniform(batch.rows, batch.step, 1, Stream.TIME)[:, 0]
        return self.t_min + (1 - self.t_min) * (batch.rows + 1 - u) / batch.size

    def noised(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The batch's noisy tokens x_t (B, L) and their times (B,)."""
        x_0, t = batch.tokens, self.times(batch)
        draw = self.random.uniform(batch.rows, batch.step, 2 * x_0.shape[1], Stream.NOISE)
        return self.process.q_sample(x_0, t, torch.stack(draw.chunk(2, dim=1))), t

    def __call__(self, denoiser: Denoiser, batch: Batch) -> Loss:
        x_t, t = self.noised(batch)
        log_x0 = denoiser(x_t, t.float(), batch.cond)
        nelbo = self.process.nelbo(log_x0, batch.tokens, x_t, t)
        return Loss(nelbo.sum() / batch.whole, nelbo.detach().mean())

    @property
    def exact(self) -> bool:
        """Whether ``bound`` is the surprise itself, and not an estimate of a bound on it."""
        return False

    def bound(self, denoiser: Denoiser, rows: Rows, times: int) -> Bound:
        """The bound of given rows by ``times`` stratified times a row, each an estimate."""
        assert rows.tokens is not None
        ids, (batch, length) = rows.ids, rows.tokens.shape
        u = self.random.uniform(ids, 0, times, Stream.TIME)
        t = ((torch.arange(times, device=ids.device) + 1 - u) / times).flatten()
        noise = self.random.uniform(ids, 0, 2 * times * length, Stream.NOISE).view(batch * times, 2, length)
        x_0 = rows.tokens.repeat_interleave(times, 0)
        x_t = self.process.q_sample(x_0, t, noise.transpose(0, 1))
        cond = None if rows.cond is None else rows.cond.repeat_interleave(times, 0)
        nelbo = self.process.nelbo(denoiser(x_t, t.float(), cond), x_0, x_t, t)
        return Bound(nelbo.sum(1).view(batch, times).double())
