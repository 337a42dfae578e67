"""Weights of particles: groups of rows that share their chances by resampling, with nothing lost on the way.

Shapes: G groups of K particles. Weights are kept as logarithms, in float64.
"""

import math
from typing import Literal, get_args

import torch
from torch import Tensor

from moldiff.errors import unknown

#: One random number a group, or one for each of its particles.
Resampling = Literal["systematic", "stratified"]


def log_mean_exp(log_w: Tensor, dim: int = -1) -> Tensor:
    """log of the mean of exp(log_w) over an axis; -inf where all are."""
    return log_w.logsumexp(dim) - math.log(log_w.shape[dim])


def effective_size(log_w: Tensor) -> Tensor:
    """How many particles of equal weight tell as much as each group of log_w (G, K), (G,).

    (sum w)^2 / sum w^2, from 1 to K; K where all weights are 0, which then say nothing.
    """
    known = alive(log_w)
    return (2 * known.logsumexp(-1) - (2 * known).logsumexp(-1)).exp()


def alive(log_w: Tensor) -> Tensor:
    """The weights log_w (G, K), all alike in the groups in which every weight is 0."""
    return log_w.masked_fill((log_w == -math.inf).all(-1, keepdim=True), 0.0)


def uniforms(resampling: Resampling, size: int) -> int:
    """How many random numbers a group of ``size`` needs: 1 or ``size``."""
    if resampling not in get_args(Resampling):
        raise unknown("resampling", resampling, get_args(Resampling))
    return 1 if resampling == "systematic" else size


def ancestors(log_w: Tensor, uniform: Tensor) -> Tensor:
    """For each place the particle that goes on there, (G, K), from log_w (G, K) and uniform in [0, 1).

    A particle goes on K w / sum w times on average, exactly, and never where its weight is 0. One random
    number a group (G, 1) makes it systematic, one a place (G, K) stratified. Who goes on at all keeps its
    place, so that little moves; where all weights are 0, everyone does.
    """
    size = log_w.shape[-1]
    weights = alive(log_w).softmax(-1)
    cdf = weights.cumsum(-1)
    total = cdf[:, -1:].clone()
    at = (torch.arange(size, device=log_w.device) + uniform.to(cdf.dtype)) * (total / size)
    index = torch.searchsorted(cdf, at.contiguous(), right=True)
    # Rounding must not choose what has no weight.
    return _settled(torch.minimum(index, (cdf < total).sum(-1, keepdim=True)))


def _settled(index: Tensor) -> Tensor:
    """The same particles (G, K) as often, but each that goes on at all in its own place."""
    counts = torch.zeros_like(index).scatter_add(-1, index, torch.ones_like(index))
    own = torch.arange(index.shape[-1], device=index.device).expand_as(index)
    stays = counts > 0
    spare = own.flatten().repeat_interleave((counts - stays.long()).flatten())
    out = own.clone()
    out[~stays] = spare
    return out


def resample(log_w: Tensor, uniform: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Who goes on in each place (G, K), and the weights after, (G, K).

    A group is resampled when its effective size is below ``threshold`` times K; each of its particles then
    has the group's mean weight, so that the total stays. Any other group goes on with the weights it has.
    """
    size = log_w.shape[-1]
    # Below K by more than rounding: equal weights have nothing to gain.
    poor = effective_size(log_w) < min(threshold * size, size * (1 - 1e-9))
    own = torch.arange(size, device=log_w.device).expand_as(log_w)
    index = torch.where(poor[:, None], ancestors(log_w, uniform), own)
    return index, torch.where(poor[:, None], log_mean_exp(log_w)[:, None], log_w)
