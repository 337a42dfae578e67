"""Classifier-free guidance: sharpen a conditional prediction against the unconditional one."""

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from moldiff.diffusion.categorical import normalise
from moldiff.diffusion.walk import given, null
from moldiff.errors import MoldiffError
from moldiff.types import LogProbs

LARGEST = 1e6
"""Of a scale: far beyond it, products with log-probabilities overflow in float32."""


@final
@dataclass(frozen=True)
class ClassifierFree:
    """p_guided proportional to p(. | y)**scale p(.)**(1 - scale), each position by itself (D-CFG).

    Ho and Salimans, 2022; for discrete diffusion Schiff et al., 2024 (arXiv:2412.10193).

    Args:
        scale: 0 is unconditional, 1 conditional, above 1 sharpened. Both halves run in one batch; at 0 and 1
            only the half that counts is asked for.
        always: conditions, by place, that are told in the unconditional half too.
    """

    scale: float
    always: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.scale <= LARGEST:
            raise MoldiffError(f"guidance scale: got {self.scale}, must be 0 to {LARGEST:g}")

    def __call__(self, log_probs: LogProbs, x_t: Tensor, t: Tensor) -> Tensor:
        without = self._without if self.always else null
        if self.scale == 1:
            return log_probs([given])[0]
        if self.scale == 0:
            return log_probs([without])[0]
        log_cond, log_null = log_probs([given, without])
        return combine(log_cond, log_null, self.scale)

    def _without(self, cond: Tensor | None) -> Tensor | None:
        """The rows' conditions but for those that the scale is of."""
        bare = null(cond)
        if cond is not None and bare is not None and self.always:
            places = list(self.always)
            bare[:, places] = cond[:, places]
        return bare


def combine(log_cond: Tensor, log_null: Tensor, scale: float) -> Tensor:
    """scale * log_cond + (1 - scale) * log_null, normalised; zeros never give NaN.

    A state impossible under the condition stays impossible; one that is impossible only without the
    condition (a nucleus may cut it) keeps its conditional weight.
    """
    ratio = log_cond - log_null.masked_fill(log_null.isneginf(), 0.0)
    ratio = ratio.masked_fill(log_null.isneginf() | log_cond.isneginf(), 0.0)
    return normalise(torch.where(log_cond.isneginf(), -math.inf, log_cond + (scale - 1) * ratio))
