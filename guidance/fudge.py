"""FUDGE: weigh the next token by what a classifier of unfinished rows says of the row with it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.nn import functional

from moldiff.diffusion.categorical import normalise
from moldiff.diffusion.classification import log_likelihoods
from moldiff.errors import MoldiffError
from moldiff.types import Guidance, LogProbs, PrefixClassifier

from .classifier_based import BUDGET, TOLERANCE, Split


@final
@dataclass(frozen=True)
class Fudge:
    """p(v | x_<l, y) proportional to p(v | x_<l) p(y | x_<l, v)**scale, for autoregressive models.

    Yang and Klein, 2021 (arXiv:2104.05218). At scale 1 and with the true p(y | prefix) this is the exact
    conditional law. The classifier reads a row's beginning once and every token that may follow it beside it,
    so that a molecule of L tokens costs it about L (L / 2 + K) tokens.

    Args:
        inner: whose prediction of the next token is weighed.
        classifier: of beginnings of rows, which start with the boundary; finished ones end with it too.
        labels: how many it has; the last so many columns of the rows' conditions are what is asked for.
        boundary: the state K.
        scale: the exponent of p(y | x); at 0 the classifier is not asked.
        top_k: only so many tokens, the likeliest, are asked about, and the rest become impossible; None for
            all.
        budget: tokens that the classifier is asked about at once.
        numbers: the labels that are numbers.
        tolerance: within which a number counts as met, as the s.d. of an error, in the units of the labels.
    """

    inner: Guidance
    classifier: PrefixClassifier
    labels: int
    boundary: int
    scale: float = 1.0
    top_k: int | None = None
    budget: int = BUDGET
    numbers: Sequence[int] = ()
    tolerance: float = TOLERANCE

    def __post_init__(self) -> None:
        """Refuse a scale that is no exponent, and no tokens at all."""
        if not 0 <= self.scale < math.inf:
            raise MoldiffError(f"guidance scale: got {self.scale}, must be 0 or more and finite")
        if self.top_k is not None and self.top_k < 1:
            raise MoldiffError(f"fudge top-k: got {self.top_k}, must be at least 1")

    def __call__(self, log_probs: LogProbs, x_t: Tensor, t: Tensor) -> Tensor:
        split = Split(log_probs, self.labels)
        log_p = self.inner(split, x_t, t)
        asked = split.asked
        index = (~asked.isnan()).any(-1).nonzero().squeeze(-1)
        if self.scale == 0 or not len(index):
            return log_p
        # Where a token is given, its row is ahead of the others; no token is drawn there.
        open_ = x_t == self.boundary
        place = int(torch.where(open_.any(1), open_.int().argmax(1), x_t.shape[1]).min())
        weighed = log_p[:, 0].clone()
        for part in torch.split(index, max(1, self.budget // (place + 1 + log_p.shape[-1]))):
            weighed[part] = self._weighed(weighed[part], x_t[part, :place], asked[part])
        return weighed[:, None]

    def _weighed(self, log_p: Tensor, x: Tensor, asked: Tensor) -> Tensor:
        """log_p (N, V) of what follows x (N, P), weighed by what is asked (N, C), normalised."""
        best = log_p.topk(min(self.top_k or log_p.shape[-1], log_p.shape[-1]))
        start = functional.pad(x, (1, 0), value=self.boundary)
        row, fork = torch.cat([start, best.indices], 1), start.shape[1]
        t = torch.zeros(len(row), device=row.device)
        told = self.classifier(row, t, fork)[:, fork:]
        count = told.shape[1]
        each = asked[:, None].expand(-1, count, -1)
        gain = log_likelihoods(told, each, self.numbers, self.tolerance).sum(-1)
        total = best.values + self.scale * gain.to(log_p.dtype)
        # Where the class is out of reach from every token, none is better than another.
        lost = total.isneginf().all(-1, keepdim=True)
        total = torch.where(lost, best.values, total)
        return normalise(torch.full_like(log_p, -math.inf).scatter(-1, best.indices, total))
