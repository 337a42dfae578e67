"""Remasking schedules (ReMDM and relatives): per position, the chance to unmask and the chance to remask.

A schedule answers for the step t -> s with sigma, the chance that a visible token is masked again. The
chance u that a masked token is revealed follows from keeping the marginal, E[visible] = alpha_s:
u = (alpha_s - (1 - sigma) alpha_t) / (1 - alpha_t)   (Wang et al., 2025, arXiv:2503.00307, eq. 5).
"""

import itertools
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, Self, final, get_args

import torch
from torch import Tensor

from moldiff.diffusion.schedule import LogLinear, NoiseSchedule
from moldiff.errors import MoldiffError, unknown

#: How confidence shares sigma: to a total of one sigma a row, or of one sigma a visible token.
Normalize = Literal["sum", "mean"]


@dataclass(frozen=True)
class Step:
    """One reverse step from time t to s <= t, its signal levels and the largest legal sigma."""

    t: float
    s: float
    alpha_t: float
    alpha_s: float
    max_sigma: float


@dataclass(frozen=True)
class Rates:
    """Chances per position, each a float or (B, L): ``unmask`` where noise, ``remask`` where visible."""

    unmask: Tensor | float
    remask: Tensor | float


@dataclass(frozen=True)
class View:
    """What a schedule may look at, all (B, L).

    Flags of masked and of visible positions, the frozen ones in neither, and the probability that each
    visible token had when it was last drawn.
    """

    masked: Tensor
    visible: Tensor
    confidence: Tensor


def unmask_rate(step: Step, sigma: float) -> float:
    """The chance u to reveal a masked token that keeps E[visible] = alpha_s for this sigma."""
    if step.alpha_t == 1:  # nothing is masked; near t = 0 a flat schedule rounds to this
        return 1.0
    return (step.alpha_s - (1 - sigma) * step.alpha_t) / (1 - step.alpha_t)


def changes(view: View, rates: Rates, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """Flags (B, L) of the positions that are revealed and of those given back; uniform (B, L) in [0, 1)."""
    return view.masked & (uniform < rates.unmask), view.visible & (uniform < rates.remask)


def even_times(steps: int) -> list[float]:
    """T + 1 evenly spaced times from 1 to exactly 0; steps >= 1."""
    if steps < 1:
        raise MoldiffError(f"steps: got {steps}, must be at least 1")
    return [1 - k / steps for k in range(steps)] + [0.0]


def _unit(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise MoldiffError(f"{name}: got {value}, must be in [0, 1]")


class Remasking(ABC):
    """How a sampler walks in time and which tokens it gives back on the way."""

    @property
    @abstractmethod
    def needs_confidence(self) -> bool:
        """Whether the chances depend on what the network said, so that events cannot be drawn ahead of it."""

    @abstractmethod
    def times(self, steps: int) -> list[float]:
        """Times from 1 to 0, never rising; one more than the steps walked."""

    @abstractmethod
    def rates(self, step: Step, view: View) -> Rates:
        """Chances to unmask and to remask in this step."""


class Uniformly(Remasking):
    """A schedule whose sigma is one number a step, alike for every visible token."""

    @property
    @final
    def needs_confidence(self) -> bool:
        return False

    @abstractmethod
    def sigma(self, step: Step) -> float:
        """Chance in [0, step.max_sigma] that a visible token is masked again."""

    @final
    def rates(self, step: Step, view: View) -> Rates:
        sigma = self.sigma(step)
        return Rates(unmask_rate(step, sigma), sigma)


class _OnEvenTimes(Uniformly):
    @final
    def times(self, steps: int) -> list[float]:
        return even_times(steps)


@final
@dataclass(frozen=True)
class Ancestral(_OnEvenTimes):
    """No remasking: the plain sampler of masked diffusion (MDLM, Sahoo et al., 2024)."""

    def sigma(self, step: Step) -> float:
        return 0.0


@final
@dataclass(frozen=True)
class Cap(_OnEvenTimes):
    """sigma = min(eta, max_sigma); eta in [0, 1]."""

    eta: float

    def __post_init__(self) -> None:
        _unit("eta", self.eta)

    def sigma(self, step: Step) -> float:
        return min(self.eta, step.max_sigma)


@final
@dataclass(frozen=True)
class Rescale(_OnEvenTimes):
    """sigma = eta * max_sigma; eta in [0, 1]."""

    eta: float

    def __post_init__(self) -> None:
        _unit("eta", self.eta)

    def sigma(self, step: Step) -> float:
        return self.eta * step.max_sigma


@final
@dataclass(frozen=True)
class ForwardBackward(_OnEvenTimes):
    """sigma = (alpha_s - alpha_t) / alpha_t: a step back for each step ahead (Campbell et al., 2022).

    Clamped to the largest legal sigma, which the published form exceeds in the last step.
    """

    def sigma(self, step: Step) -> float:
        return _relative_step(step, 1.0)


@final
@dataclass(frozen=True)
class DFM(Uniformly):
    """sigma = beta_t (alpha_s - alpha_t) / alpha_t, clamped; beta_t = scale (t (1 - t))**0.25.

    The corrector of discrete flow matching (Gat et al., 2024, arXiv:2407.15595).

    Args:
        scale: the papers use 10.
        adaptive: walk with steps so short that no chance exceeds 1, as the published sampler does; then the
            number of steps is not the number asked for (46, 72, 133 for 32, 64, 128 at scale 10).
    """

    scale: float = 10.0
    adaptive: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.scale < math.inf:
            raise MoldiffError(f"scale of the DFM corrector: got {self.scale}, must be 0 or more")

    def beta(self, t: float) -> float:
        """Strength of the corrector at time t."""
        return float(self.scale * (t * (1 - t)) ** 0.25)

    def sigma(self, step: Step) -> float:
        return _relative_step(step, self.beta(step.t))

    def times(self, steps: int) -> list[float]:
        times = even_times(steps)
        if not self.adaptive:
            return times
        times, t = [1.0], 1.0
        while t > 0:
            beta = self.beta(t)
            bound = (beta + 1) / t + (beta / (1 - t) if t < 1 else 0.0)
            step = min(1 / steps, 1 / bound)
            # What is left below an even step is one step, as in the published loop.
            t = t - step if t - step > (1 - 1e-6) / steps else 0.0
            times.append(t)
        return times


def _relative_step(step: Step, strength: float) -> float:
    if step.alpha_t == 0:
        return step.max_sigma
    return min(strength * (step.alpha_s - step.alpha_t) / step.alpha_t, step.max_sigma)


@final
@dataclass(frozen=True)
class Confidence(Remasking):
    """Shares the sigma of another schedule among visible tokens by their confidence when drawn (ReMDM-conf).

    sigma_l = sigma * softmax_l(-psi_l / temperature), psi the token's probability when it was last drawn.

    Args:
        inner: the schedule that says how much is remasked.
        normalize: ``sum`` as in the paper, so at most one token a step comes back on average, at any length;
            ``mean`` multiplies by the number of visible tokens, so that sigma keeps its usual meaning.
        temperature: above 0; psi is in [0, 1], so at 1 the weights differ by a factor of e at most.
        balanced: raise the chance to unmask so that as many tokens are revealed as given back. Without it
            (the literal rule) masked tokens are revealed as if nothing were remasked.
    """

    inner: Uniformly
    normalize: Normalize = "sum"
    temperature: float = 1.0
    balanced: bool = False

    def __post_init__(self) -> None:
        if self.normalize not in get_args(Normalize):
            raise unknown("normalize of confidence", self.normalize, get_args(Normalize))
        if not self.temperature > 0:
            raise MoldiffError(f"confidence temperature: got {self.temperature}, must be above 0")

    @property
    def needs_confidence(self) -> bool:
        return True

    def times(self, steps: int) -> list[float]:
        return self.inner.times(steps)

    def rates(self, step: Step, view: View) -> Rates:
        logits = (-view.confidence / self.temperature).masked_fill(~view.visible, -torch.inf)
        # A row without a visible token has nothing to share: softmax would be NaN there.
        share = logits.softmax(-1).masked_fill(~view.visible, 0.0)
        count = view.visible.sum(-1, keepdim=True) if self.normalize == "mean" else 1
        remask = (share * count * self.inner.sigma(step)).clamp(max=step.max_sigma)
        unmask = unmask_rate(step, 0.0)
        if not self.balanced:
            return Rates(unmask, remask)
        extra = remask.sum(-1, keepdim=True) / view.masked.sum(-1, keepdim=True).clamp(min=1)
        return Rates((unmask + extra).clamp(max=1.0), remask)


@final
@dataclass(frozen=True)
class Switch(Remasking):
    """The inner schedule from time ``start`` on (t <= start), no remasking before; start in [0, 1]."""

    inner: Remasking
    start: float

    def __post_init__(self) -> None:
        _unit("start of a switch", self.start)

    @property
    def needs_confidence(self) -> bool:
        return self.inner.needs_confidence

    def times(self, steps: int) -> list[float]:
        return self.inner.times(steps)

    def rates(self, step: Step, view: View) -> Rates:
        if step.t <= self.start:
            return self.inner.rates(step, view)
        return Rates(unmask_rate(step, 0.0), 0.0)


@final
@dataclass(frozen=True)
class Loop(Remasking):
    """Unmask up to a level, hold it while remasking and unmasking, then finish (ReMDM-loop).

    Args:
        inner: the schedule of the middle phase; none elsewhere.
        time_on: model time of the held level, in (0, 1).
        first: share of the steps in the first phase.
        last: share of the steps in the last phase.
    """

    inner: Remasking
    time_on: float
    first: float
    last: float

    def __post_init__(self) -> None:
        good = 0 < self.time_on < 1 and self.first > 0 and self.last > 0
        if not (good and self.first + self.last <= 1):
            got = (self.time_on, self.first, self.last)
            raise MoldiffError(
                f"loop (time_on, first, last): got {got}, need shares above 0 with a sum of at most 1"
            )

    @property
    def needs_confidence(self) -> bool:
        return self.inner.needs_confidence

    @classmethod
    def wall_clock(
        cls,
        inner: Remasking,
        on: float = 0.55,
        off: float = 0.05,
        alpha_on: float = 0.9,
        schedule: NoiseSchedule | None = None,
    ) -> Self:
        """The loop that holds alpha_on while the share of steps to go is between ``on`` and ``off``."""
        alpha = torch.tensor(alpha_on, dtype=torch.float64)
        return cls(inner, float((schedule or LogLinear()).inverse(alpha)), 1 - on, off)

    @classmethod
    def model_time(cls, inner: Remasking, on: float = 0.25, off: float = 0.125) -> Self:
        """The loop held at model time ``on``, reached after half of the steps; ``off`` is the last share."""
        return cls(inner, on, 0.5, off)

    def phases(self, steps: int) -> tuple[int, int, int]:
        """Steps in the three phases; at least one in the first and the last."""
        start, stop = self._ends(steps)
        if not self._fits(steps):
            enough = next(n for n in itertools.count(steps + 1) if self._fits(n))
            got = f"got {steps}, too few for its phases"
            raise MoldiffError(f"steps of a loop: {got}; ask for {enough} or more")
        return start, stop - start, steps - stop

    def _ends(self, steps: int) -> tuple[int, int]:
        """The steps after which the first and the middle phase end, rounded."""
        return round(self.first * steps), round((1 - self.last) * steps)

    def _fits(self, steps: int) -> bool:
        start, stop = self._ends(steps)
        return 1 <= start <= stop < steps

    def times(self, steps: int) -> list[float]:
        n_1, n_2, n_3 = self.phases(steps)
        fall = [1 - (1 - self.time_on) * k / n_1 for k in range(n_1)]
        end = [self.time_on * (1 - k / n_3) for k in range(n_3)]
        return [*fall, *[self.time_on] * n_2, *end, 0.0]

    def rates(self, step: Step, view: View) -> Rates:
        if step.s == step.t:
            return self.inner.rates(step, view)
        return Rates(unmask_rate(step, 0.0), 0.0)
