"""Likelihood: the bound on -log p of given items, with the term for their length."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from moldiff.diffusion.random import RowRandom, Stream
from moldiff.errors import MoldiffError
from moldiff.generation import AUTO_TOKENS, Model
from moldiff.nn.precision import autocast

Floats = NDArray[np.float64]


@final
@dataclass(frozen=True)
class Likelihood:
    """Bounds for N items, in nats; NaN with a reason where an item is outside the model's reach.

    Args:
        total: (N,) upper bounds on -log p(item) = -log p(L) - log p(tokens | L).
        length: (N,) the part -log p(L), exact.
        se: (N,) standard errors of the estimates of ``total``.
        tokens: (N,) tokens an item, 0 where it cannot be encoded.
        reasons: N reasons, None where there is a bound.
    """

    total: Floats
    length: Floats
    se: Floats
    tokens: NDArray[np.int64]
    reasons: list[str | None]

    def to_pandas(self) -> pd.DataFrame:
        """One row an item, in order: nll, nll_length, se, tokens, reason."""
        columns = {"nll": self.total, "nll_length": self.length, "se": self.se, "tokens": self.tokens}
        return pd.DataFrame({**columns, "reason": pd.Series(self.reasons, dtype=object)})


def bound(model: Model, items: Sequence[Any], times: int = 64, seed: int = 0) -> Likelihood:
    """The continuous-time bound of items, unconditionally, by ``times`` stratified times an item.

    An item that is None has no bound, and the reason ``nothing``.

    Item i's estimate depends on (seed, i) alone. The precision is that of ``generate``.
    """
    if times < 2:
        raise MoldiffError(f"times: got {times}, must be at least 2")
    encoded, reasons = _encode(model, items)
    n = len(items)
    mean, se, length = (np.full(n, math.nan) for _ in range(3))
    lengths = np.array([len(tokens) for tokens in encoded], dtype=np.int64)
    share = _length_law(model)
    for each in np.unique(lengths[lengths > 0]):
        rows = np.flatnonzero(lengths == each)
        size = max(1, AUTO_TOKENS[model.device.type] // (int(each) * times))
        for part in np.array_split(rows, -(-len(rows) // size)):
            x_0 = torch.tensor([encoded[i] for i in part], device=model.device)
            estimates = _estimates(model, x_0, torch.from_numpy(part).to(model.device), times, seed)
            mean[part] = estimates.mean(1)
            # Stratification makes this an overestimate, which is the safe side.
            se[part] = estimates.std(1, ddof=1) / math.sqrt(times)
        length[rows] = -math.log(share[int(each)])
    return Likelihood(mean + length, length, se, lengths, reasons)


def _encode(model: Model, items: Sequence[Any]) -> tuple[list[list[int]], list[str | None]]:
    """Tokens and reasons; no tokens where there is a reason."""
    known = set(_length_law(model))
    encoded: list[list[int]] = []
    reasons: list[str | None] = []
    for item in items:
        if item is None:
            encoded.append([])
            reasons.append("nothing")
            continue
        try:
            tokens, reason = model.tokenizer.encode(item), None
        except MoldiffError as error:
            tokens, reason = [], str(error)
        if reason is None and len(tokens) not in known:
            reason = f"length: got {len(tokens)} tokens, the model knows {min(known)} to {max(known)}"
        encoded.append([] if reason else tokens)
        reasons.append(reason)
    return encoded, reasons


def _length_law(model: Model) -> dict[int, float]:
    """p(L) over the lengths of the training rows."""
    values, counts = np.unique(model.table.lengths, return_counts=True)
    return {int(value): float(count / counts.sum()) for value, count in zip(values, counts, strict=True)}


@torch.no_grad()
def _estimates(model: Model, x_0: Tensor, ids: Tensor, times: int, seed: int) -> Floats:
    """One estimate a stratum of time of the bound of x_0 (B, L), in nats: (B, times)."""
    random, (batch, length) = RowRandom(seed), x_0.shape
    u = random.uniform(ids, 0, times, Stream.TIME)
    t = ((torch.arange(times, device=ids.device) + 1 - u) / times).flatten()
    noise = random.uniform(ids, 0, 2 * times * length, Stream.NOISE).view(batch * times, 2, length)
    x = x_0.repeat_interleave(times, 0)
    x_t = model.process.q_sample(x, t, noise.transpose(0, 1))
    with autocast(model.device, "auto"):
        cond = torch.full((len(x), len(model.card.conditions)), torch.nan, device=x.device)
        log_x0 = model.network(x_t, t.float(), cond if model.card.conditions else None)
    nelbo = model.process.nelbo(log_x0, x, x_t, t).sum(1)
    return nelbo.view(batch, times).double().cpu().numpy()
