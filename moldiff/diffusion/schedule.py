"""Noise schedules: alpha(t), the chance that a token is still intact at time t."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from moldiff.errors import MoldiffError


class NoiseSchedule(ABC):
    """A strictly decreasing alpha(t) on [0, 1] with alpha(0) = 1 and alpha(1) = 0."""

    @abstractmethod
    def alpha(self, t: Tensor) -> Tensor:
        """Signal level in [0, 1] at times t in [0, 1]."""

    @abstractmethod
    def dalpha(self, t: Tensor) -> Tensor:
        """Derivative of alpha at t; not positive."""

    @abstractmethod
    def inverse(self, alpha: Tensor) -> Tensor:
        """The time at which the signal level is alpha."""

    def at(self, t: float) -> float:
        """Signal level at one time, in float64."""
        return float(self.alpha(torch.tensor(t, dtype=torch.float64)))

    def weight(self, t: Tensor) -> Tensor:
        """-alpha'(t) / (1 - alpha(t)), the weight of the masked-diffusion bound; infinite at t = 0."""
        return -self.dalpha(t) / (1 - self.alpha(t))


@final
@dataclass(frozen=True)
class LogLinear(NoiseSchedule):
    """alpha = 1 - t, named for its log-linear total noise (Sahoo et al., 2024, without their epsilon)."""

    def alpha(self, t: Tensor) -> Tensor:
        return 1 - t

    def dalpha(self, t: Tensor) -> Tensor:
        return -torch.ones_like(t)

    def inverse(self, alpha: Tensor) -> Tensor:
        return 1 - alpha


@final
@dataclass(frozen=True)
class Cosine(NoiseSchedule):
    """alpha = cos(pi t / 2)."""

    def alpha(self, t: Tensor) -> Tensor:
        # cos(pi / 2) is 6e-17 in floats; the end has to be exact.
        return (t * (math.pi / 2)).cos().masked_fill(t == 1, 0.0)

    def dalpha(self, t: Tensor) -> Tensor:
        return -math.pi / 2 * (t * (math.pi / 2)).sin()

    def inverse(self, alpha: Tensor) -> Tensor:
        return alpha.acos() * (2 / math.pi)


@final
@dataclass(frozen=True)
class Polynomial(NoiseSchedule):
    """alpha = 1 - t**power, power > 0."""

    power: float = 2.0

    def __post_init__(self) -> None:
        if not self.power > 0:
            raise MoldiffError(f"power of a polynomial schedule: got {self.power}, must be above 0")

    def alpha(self, t: Tensor) -> Tensor:
        return 1 - t**self.power

    def dalpha(self, t: Tensor) -> Tensor:
        return -self.power * t ** (self.power - 1)

    def inverse(self, alpha: Tensor) -> Tensor:
        return (1 - alpha) ** (1 / self.power)
