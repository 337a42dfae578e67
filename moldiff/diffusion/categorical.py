"""Exact draws from, and transforms of, categorical distributions in log space."""

import math
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

from moldiff.errors import MoldiffError, unknown

#: ``standard`` keeps the token that crosses the threshold; ``inclusive`` (the papers' code) drops it.
NucleusRule = Literal["standard", "inclusive"]


def safe_log(p: Tensor) -> Tensor:
    """log p with log 0 = -inf and no NaN, for p >= 0 of any shape."""
    return torch.where(p > 0, p, 1.0).log().masked_fill(p <= 0, -math.inf)


def one_hot(x: Tensor, states: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Indicator rows (..., S) of integer states x (...)."""
    return functional.one_hot(x, states).to(dtype)


def normalise(log_p: Tensor) -> Tensor:
    """log p shifted so that each row of the last axis sums to one."""
    return log_p.log_softmax(-1)


def temper(log_p: Tensor, temperature: float) -> Tensor:
    """Log-probabilities of p**(1 / temperature), normalised; temperature > 0."""
    if not temperature > 0:
        raise MoldiffError(f"temperature: got {temperature}, must be above 0")
    # Relative to the largest, so that no temperature turns every state into -inf.
    return log_p if temperature == 1 else normalise((log_p - log_p.amax(-1, keepdim=True)) / temperature)


def nucleus(log_p: Tensor, top_p: float, rule: NucleusRule = "standard") -> Tensor:
    """Log-probabilities of the nucleus, normalised; the most likely token always stays.

    Ties are kept in order of token id, so the result is deterministic (Holtzman et al., 2020).

    Args:
        log_p: (..., K) normalised log-probabilities.
        top_p: mass to keep, in (0, 1]; 1 returns log_p.
        rule: ``standard`` keeps tokens until their mass reaches top_p; ``inclusive`` keeps a token
            only while the mass including it stays within top_p, as the papers' code does.
    """
    if rule not in get_args(NucleusRule):
        raise unknown("nucleus rule", rule, get_args(NucleusRule))
    if not 0 < top_p <= 1:
        raise MoldiffError(f"top_p: got {top_p}, must be in (0, 1]")
    if top_p == 1:
        return log_p
    # Apple's GPUs have no float64.
    wide = log_p if log_p.device.type == "mps" else log_p.double()
    ordered, index = wide.sort(dim=-1, descending=True, stable=True)
    mass = ordered.exp().cumsum(-1)
    before = mass - ordered.exp()
    # Float error must not decide: .6 + .3 <= .9 has to hold.
    slack = 8 * torch.finfo(log_p.dtype).eps
    drop = (before >= top_p - slack) if rule == "standard" else (mass > top_p + slack)
    drop[..., 0] = False
    dropped = torch.zeros_like(drop).scatter(-1, index, drop)
    return normalise(log_p.masked_fill(dropped, -math.inf))


def draw(log_p: Tensor, uniform: Tensor) -> Tensor:
    """Tokens (...) by inverse CDF from log_p (..., K) and uniform (...) in [0, 1).

    The sum runs in the uniforms' precision (float64 off MPS), so rare tokens keep their chance;
    a token of probability zero is never returned.
    """
    cdf = log_p.to(uniform.dtype).exp().cumsum(-1)
    total = cdf[..., -1:]
    index = (cdf <= uniform[..., None] * total).sum(-1)
    last_possible = (cdf < total).sum(-1)
    return torch.minimum(index, last_possible)
