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

from moldiff.assembly import build_objective
from moldiff.conditions import unasked
from moldiff.diffusion.random import RowRandom
from moldiff.errors import MoldiffError
from moldiff.generation.model import AUTO_TOKENS, Model
from moldiff.nn.precision import autocast
from moldiff.types import Judge, Rows

Floats = NDArray[np.float64]

#: Times of an item at most: all of them go through the network at once.
MOST_TIMES = 10_000


@final
@dataclass(frozen=True)
class Likelihood:
    """Bounds for N items, in nats; NaN with a reason where an item is outside the model's reach.

    Args:
        total: (N,) upper bounds on -log p(item) = -log p(L) - log p(tokens | L), of an autoregressive model
            -log p(item) itself.
        length: (N,) the part -log p(L), exact; of an autoregressive model what it costs that the item ends
            there and not before.
        se: (N,) standard errors of the estimates of ``total``, 0 where nothing is estimated.
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

    An autoregressive model knows the likelihood itself, in one forward an item, whatever ``times``.

    An item that is None has no bound, and the reason ``nothing``.

    Item i's estimate depends on (seed, i) alone. The precision is that of ``generate``.
    """
    if not 2 <= times <= MOST_TIMES:
        raise MoldiffError(f"times: got {times}, must be 2 to {MOST_TIMES}")
    objective = build_objective(model.process, RowRandom(seed))
    times = 1 if objective.exact else times
    share = None if objective.exact else _length_law(model)
    encoded, reasons = _encode(model, items, set(share or range(1, model.card.max_length + 1)))
    n = len(items)
    mean, se, length = (np.full(n, math.nan) for _ in range(3))
    lengths = np.array([len(tokens) for tokens in encoded], dtype=np.int64)
    for each in np.unique(lengths[lengths > 0]):
        rows = np.flatnonzero(lengths == each)
        size = max(1, AUTO_TOKENS[model.device.type] // (int(each) * times))
        for part in np.array_split(rows, -(-len(rows) // size)):
            estimates, own = _estimates(model, [encoded[i] for i in part], part, objective, times)
            mean[part] = estimates.mean(1)
            # Stratification makes this an overestimate, which is the safe side.
            se[part] = 0.0 if objective.exact else estimates.std(1, ddof=1) / math.sqrt(times)
            length[part] = -math.log(share[int(each)]) if share is not None else own
    return Likelihood(mean + length, length, se, lengths, reasons)


def judge(model: Model, seed: int = 0) -> Judge:
    """What says how likely a model finds items: N costs in nats and N counts of tokens, lengths left out.

    The cost of an item that the model does not reach is NaN.
    """

    def judged(items: Sequence[Any]) -> tuple[Floats, NDArray[np.int64]]:
        found = bound(model, items, seed=seed)
        return found.total - found.length, found.tokens

    return judged


def _encode(model: Model, items: Sequence[Any], known: set[int]) -> tuple[list[list[int]], list[str | None]]:
    """Tokens and reasons; no tokens where there is a reason. ``known`` are the lengths within reach."""
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
def _estimates(
    model: Model, tokens: list[list[int]], ids: NDArray[np.int64], objective: Any, times: int
) -> tuple[Floats, Floats | None]:
    """Estimates (B, times) of what the tokens cost, in nats, and (B,) what the length does, if known."""
    x_0 = torch.tensor(tokens, device=model.device)
    cond = torch.from_numpy(unasked(model.card.conditions, len(x_0))).float().to(x_0.device)
    rows = Rows(
        torch.from_numpy(ids).to(x_0.device),
        x_0.shape[1],
        cond if model.card.conditions else None,
        tokens=x_0,
        frozen=torch.ones_like(x_0, dtype=torch.bool),
    )
    with autocast(model.device, "auto"):
        found = objective.bound(model.network, rows, times)
    return found.tokens.cpu().numpy(), None if found.length is None else found.length.cpu().numpy()
