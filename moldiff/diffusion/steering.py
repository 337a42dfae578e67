"""Search on top of a sampler: the best of several rows, or particles that are resampled by a reward."""

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, final, get_args

import torch
from torch import Tensor

from moldiff.diffusion.categorical import draw, normalise
from moldiff.diffusion.particles import Resampling, alive, resample, uniforms
from moldiff.diffusion.random import RowRandom, Stream
from moldiff.errors import MoldiffError, unknown
from moldiff.types import Denoiser, Guidance, Pause, Rows, Steer

#: The reward (N,) of clean tokens (N, L), float64 on the CPU, the larger the better; NaN where there is none.
Reward = Callable[[Tensor], Tensor]
#: What the value of a look does to the weights: see ``Particles``.
Potential = Literal["tempered", "difference", "max", "sum"]
#: How one of the particles is taken in the end.
Keep = Literal["draw", "best"]

#: Particle j of row i is the row i + j 2^40: particle 0 is the row itself.
_APART = 40


class Sampling(Protocol):
    """Any sampler."""

    def __call__(
        self, denoiser: Denoiser, rows: Rows, guidance: Guidance | None = None, seed: int = 0
    ) -> Tensor:
        """Clean tokens (B, L); row i depends on (seed, rows.ids[i]) alone."""
        ...


@final
@dataclass(frozen=True)
class Found:
    """What a search found for G rows.

    Args:
        ids: (G,) the rows' numbers.
        rewards: (G, K) of the particles in the end, NaN where there is none.
        kept: (G,) which particle was kept.
        log_w: (G, K) logarithms of their weights; None where they have none.
    """

    ids: Tensor
    rewards: Tensor
    kept: Tensor
    log_w: Tensor | None = None

    def of(self, x: Tensor) -> Tensor:
        """The kept ones (G, L) of all particles x (G K, L)."""
        groups = x.view(*self.rewards.shape, x.shape[-1])
        return groups[torch.arange(len(groups), device=x.device), self.kept.to(x.device)]


def spread(rows: Rows, size: int) -> Rows:
    """Each row ``size`` times in turn, with numbers of their own; the first is the row itself."""

    def each(values: Tensor | None) -> Tensor | None:
        return None if values is None else values.repeat_interleave(size, dim=0)

    copies = torch.arange(size, device=rows.ids.device) << _APART
    ids = (rows.ids[:, None] + copies).flatten()
    return Rows(ids, rows.length, each(rows.cond), each(rows.tokens), each(rows.frozen))


def steerable(sampler: Any) -> bool:
    """Whether a sampler can be steered on its way."""
    return "steer" in inspect.signature(sampler).parameters


@final
@dataclass(frozen=True)
class BestOf:
    """Of ``size`` independent samples the one with the largest reward, the first where none has any.

    Row by row it depends on (seed, row) alone, as the sampler does.

    Args:
        sampler: draws the samples.
        reward: of clean rows.
        size: K.
        told: is told of all that was found.
    """

    sampler: Sampling
    reward: Reward
    size: int
    told: Callable[[Found], None] = field(default=lambda found: None)

    def __call__(
        self, denoiser: Denoiser, rows: Rows, guidance: Guidance | None = None, seed: int = 0
    ) -> Tensor:
        """Clean tokens (G, L) of G rows."""
        x = self.sampler(denoiser, spread(rows, self.size), guidance, seed)
        rewards = self.reward(x).view(-1, self.size)
        found = Found(rows.ids.cpu(), rewards, _largest(rewards))
        self.told(found)
        return found.of(x)


@final
@dataclass(frozen=True)
class Particles:
    """Feynman-Kac steering: particles whose law tends to p(x) exp(tilt r(x)) as they grow in number.

    The particles of a row are walked together. At each look, the reward of a row that is not finished is
    judged by completions drawn from the prediction, v = log mean exp(tilt r), and turned into a potential; a
    particle's weight is the product of its potentials, whatever came before the last resampling included.
    The last potential is exp(tilt r(x)) over the product of the others, so whichever these are, the weights
    in the end are those of the tilted law, and their mean has the expectation E[exp(tilt r)]
    (Singhal et al., 2025, arXiv:2501.06848; Del Moral, 2004). Without looks this is importance resampling.

    Completions without reward are left out of that mean, for early on they are most of all, whatever the row
    will be; a particle that has no other counts as the average of its row's. In the end, a particle without
    reward is kept only where all are.

    Args:
        sampler: is walked; it has to be steerable.
        reward: of clean rows.
        size: K.
        tilt: how strongly the reward counts, per unit of reward; below 0 small rewards are sought.
        looks: how often weights are updated on the way, evenly over the sampler's steps.
        draws: completions a particle at a look; they cost one forward together.
        threshold: particles are resampled when their effective number is below this share of them: 0 never,
            1 at every look.
        potential: what the product of potentials is after looks with values v_1, v_2, ...: ``difference``
            exp(v_n), ``tempered`` the same with v_n times the share of steps taken, as early values tell
            little; ``max`` the product over looks of exp(the largest v so far), ``sum`` of exp(their sum).
        resampling: ``systematic`` or ``stratified``.
        keep: ``draw`` takes a particle by the weights, ``best`` that with the largest reward.
        floor: the reward of what has none, on the way and in the end; None for what is said above.
        control: leave particle 0 of each row out of the resampling: it is then the sample that the sampler
            would draw, and still counts with its weight.
        told: is told of all that was found.
    """

    sampler: Any
    reward: Reward
    size: int
    tilt: float
    looks: int = 3
    draws: int = 16
    threshold: float = 0.5
    potential: Potential = "tempered"
    resampling: Resampling = "systematic"
    keep: Keep = "draw"
    floor: float | None = None
    control: bool = True
    told: Callable[[Found], None] = field(default=lambda found: None)

    def __post_init__(self) -> None:
        for name, choices in {"potential": Potential, "keep": Keep, "resampling": Resampling}.items():
            if getattr(self, name) not in get_args(choices):
                raise unknown(f"{name} of particles", getattr(self, name), get_args(choices))
        if not math.isfinite(self.tilt):
            raise MoldiffError(f"tilt: got {self.tilt}, must be finite")
        if not 0 <= self.threshold <= 1:
            raise MoldiffError(f"threshold of particles: got {self.threshold}, must be in [0, 1]")
        for name, least in {"looks": 0, "draws": 1}.items():
            if getattr(self, name) < least:
                raise MoldiffError(
                    f"{name} of particles: got {getattr(self, name)}, must be at least {least}"
                )
        if self.looks and not steerable(self.sampler):
            raise MoldiffError("particles: this sampler cannot be steered; choose best-of, or looks=0")

    def __call__(
        self, denoiser: Denoiser, rows: Rows, guidance: Guidance | None = None, seed: int = 0
    ) -> Tensor:
        """Clean tokens (G, L) of G rows."""
        herd = _Herd(self, rows.ids, RowRandom(seed))
        many = spread(rows, self.size)
        steer: dict[str, Steer] = {"steer": herd.look} if self.looks else {}
        x: Tensor = self.sampler(denoiser, many, guidance, seed, **steer)
        rewards = self.reward(x).view(-1, self.size)
        found = Found(rows.ids.cpu(), rewards, herd.finish(rewards), herd.log_w)
        self.told(found)
        return found.of(x)


def _largest(rewards: Tensor) -> Tensor:
    """The place of the largest of each row of rewards (G, K), (G,); the first where none is known."""
    return rewards.nan_to_num(nan=-math.inf).argmax(-1)


class _Herd:
    """The particles of G rows on their way: weights, and what they have been credited with so far."""

    def __init__(self, search: Particles, ids: Tensor, random: RowRandom) -> None:
        # Weights stay on the CPU, where the rewards come from; not every device has float64.
        self._search, self._ids, self._random = search, ids.cpu(), random
        self.log_w = torch.zeros(len(ids), search.size, dtype=torch.float64)
        #: The logarithm of each particle's product of potentials, and what the next one builds on.
        self._credit = torch.zeros_like(self.log_w)
        self._memory = torch.full_like(self.log_w, -math.inf if search.potential == "max" else 0.0)

    def look(self, pause: Pause) -> Tensor | None:
        """Which row goes on in the place of each (B,); None where nothing is due or nothing moves."""
        looks = self._search.looks + 1
        passed = [number * looks // pause.of for number in (pause.number - 1, pause.number)]
        if pause.number >= pause.of or passed[0] == passed[1]:
            return None
        self._weigh(self._values(pause.complete(self._search.draws)), pause.number / pause.of)
        index = self._resampled(pause.number)
        self._credit, self._memory = (each.gather(-1, index) for each in (self._credit, self._memory))
        first = torch.arange(len(self._ids))[:, None] * self._search.size
        moved = (first + index).flatten()
        return None if moved.equal(torch.arange(len(moved))) else moved.to(pause.x_t.device)

    def finish(self, rewards: Tensor) -> Tensor:
        """Which particle of each row is kept, (G,), for their rewards (G, K)."""
        search = self._search
        tilted = self._tilted(rewards)
        worst = -math.inf if search.floor is None else search.tilt * search.floor
        self.log_w = self.log_w + tilted.nan_to_num(nan=worst) - self._credit
        if search.keep == "best":
            return _largest(rewards)
        uniform = self._random.uniform(self._ids, -1, 1, Stream.RESAMPLING)[:, 0]
        return draw(normalise(alive(self.log_w)), uniform)

    def _tilted(self, rewards: Tensor) -> Tensor:
        """The rewards as logarithms of weights, NaN where there is none."""
        return self._search.tilt * rewards.to(self.log_w.dtype)

    def _values(self, drawn: Tensor) -> Tensor:
        """log mean exp(tilt r), (G, K), over completions (D, B, L); NaN where none of a row has a reward."""
        draws, search = len(drawn), self._search
        tilted = self._tilted(search.reward(drawn.flatten(0, 1)).view(draws, -1, search.size))
        if search.floor is not None:
            tilted = tilted.nan_to_num(nan=search.tilt * search.floor)
        count = (~tilted.isnan()).sum(0)
        values = tilted.nan_to_num(nan=-math.inf).logsumexp(0) - count.clamp(min=1).log()
        values = values.masked_fill(count == 0, math.nan)
        return torch.where(count == 0, values.nanmean(-1, keepdim=True), values)

    def _weigh(self, values: Tensor, done: float) -> None:
        """Multiplies the weights by the potentials of values (G, K); NaN leaves them alone.

        ``done`` is the share of steps taken.
        """
        search = self._search
        told = ~values.isnan()
        if search.potential in ("difference", "tempered"):
            memory, credit = values, values * (done if search.potential == "tempered" else 1.0)
        else:
            both = torch.maximum(self._memory, values) if search.potential == "max" else self._memory + values
            memory, credit = both, self._credit + both
        credit = torch.where(told, credit, self._credit)
        self._memory = torch.where(told, memory, self._memory)
        self.log_w = self.log_w + credit - self._credit
        self._credit = credit

    def _resampled(self, number: int) -> Tensor:
        """Which particle of the row goes on in the place of each, (G, K); the weights follow."""
        search = self._search
        alone = 1 if search.control else 0
        size = search.size - alone
        own = torch.arange(search.size).repeat(len(self.log_w), 1)
        if size < 1:
            return own
        count = uniforms(search.resampling, size)
        uniform = self._random.uniform(self._ids, number, count, Stream.RESAMPLING)
        index, log_w = resample(self.log_w[:, alone:], uniform, search.threshold)
        own[:, alone:] = index + alone
        self.log_w = torch.cat([self.log_w[:, :alone], log_w], dim=-1)
        return own
