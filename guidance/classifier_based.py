"""Classifier-based guidance: weighs what a row may become by what a classifier of noisy rows says of it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from moldiff.diffusion.categorical import normalise, nucleus, one_hot
from moldiff.diffusion.classification import log_likelihoods
from moldiff.errors import MoldiffError
from moldiff.types import Classifier, Condition, Guidance, LogProbs

#: Tokens that a classifier is asked about at once, unless the caller says otherwise.
BUDGET = 1 << 15
#: How near a number has to be, in standard deviations of the training rows, unless the caller says otherwise.
TOLERANCE = 0.25


@final
class Split:
    """The rows' conditions in two parts: what the network is told, and behind it what is asked for.

    It stands between a guidance and the network, so what is asked comes with the rows through any sampler.

    Args:
        log_probs: asks the network.
        labels: how many columns, the last ones, are asked for.
    """

    def __init__(self, log_probs: LogProbs, labels: int) -> None:
        self._log_probs, self._labels = log_probs, labels
        self._asked: Tensor | None = None

    def __call__(self, conds: Sequence[Condition]) -> list[Tensor]:
        return self._log_probs([self._told(each) for each in conds])

    @property
    def asked(self) -> Tensor:
        """What is asked of the rows, (B, C), NaN where nothing is; once the network has been asked."""
        if self._asked is None:
            raise MoldiffError(
                "classifier-based guidance: the rows carry nothing asked; put it behind Rows.cond"
            )
        return self._asked

    def _told(self, condition: Condition) -> Condition:
        def told(cond: Tensor | None) -> Tensor | None:
            if cond is None or cond.shape[1] < self._labels:
                return condition(cond)
            self._asked = cond[:, cond.shape[1] - self._labels :]
            return condition(cond[:, : cond.shape[1] - self._labels])

        return told


@final
@dataclass(frozen=True)
class _Rows:
    """Rows x_t (B, L) at times t (B,) of which ``asked`` (B, C) is asked."""

    x_t: Tensor
    t: Tensor
    asked: Tensor

    @property
    def asks(self) -> Tensor:
        """Flags (B,) of the rows of which anything is asked."""
        return (~self.asked.isnan()).any(-1)


@dataclass(frozen=True)
class _Based:
    """What the forms share.

    Args:
        inner: whose prediction is weighed.
        classifier: of noisy rows.
        labels: how many it has; the last so many columns of the rows' conditions are what is asked for.
        scale: the exponent of p(y | x); at 0 the classifier is not asked.
        budget: tokens that it is asked about at once.
        numbers: the labels that are numbers.
        tolerance: within which a number counts as met, as the s.d. of an error, in the units of the labels.
    """

    inner: Guidance
    classifier: Classifier
    labels: int
    scale: float = 1.0
    budget: int = BUDGET
    numbers: Sequence[int] = ()
    tolerance: float = TOLERANCE

    def __post_init__(self) -> None:
        """Refuse a scale that is no exponent."""
        if not 0 <= self.scale < math.inf:
            raise MoldiffError(f"guidance scale: got {self.scale}, must be 0 or more and finite")

    def _told(self, x: Tensor, t: Tensor, asked: Tensor) -> Tensor:
        """Log p(y | x), (N,), of what is asked (N, C)."""
        return log_likelihoods(self.classifier(x, t), asked, self.numbers, self.tolerance).sum(-1)

    def _foreseen(self, log_probs: LogProbs, x_t: Tensor, t: Tensor) -> tuple[Tensor, _Rows]:
        """The inner prediction (B, L, S), and the rows with what is asked of them."""
        split = Split(log_probs, self.labels)
        log_p = self.inner(split, x_t, t)
        return log_p, _Rows(x_t, t, split.asked)

    def _weighed(self, log_p: Tensor, where: tuple[Tensor, Tensor], rows: _Rows, ask: Tensor) -> Tensor:
        """log_p (M, S) weighed by p(y | row with that state there)**scale, normalised.

        Args:
            log_p: (M, S) predictions at M places.
            where: (M,) their rows, and (M,) their positions.
            rows: of the places.
            ask: (M, S) bool, the states to ask about; the rest of such a place becomes impossible, and a
                place without any stays as it is.
        """
        place, state = ask.nonzero(as_tuple=True)
        if self.scale == 0 or not len(place):
            return log_p
        found = torch.full_like(log_p, -math.inf)
        found[place, state] = self._variants(rows, where[0][place], where[1][place], state).to(found.dtype)
        total = log_p + self.scale * found
        # Where the class is out of reach from every state, none is better than another.
        lost = total.isneginf().all(-1, keepdim=True)
        return torch.where(lost, log_p, normalise(total.masked_fill(lost, 0.0)))

    def _variants(self, rows: _Rows, row: Tensor, position: Tensor, state: Tensor) -> Tensor:
        """Log p(y | .), (N,), of N rows, each with a state in it set; those that stay share one forward."""
        changed = rows.x_t[row, position] != state
        kept, which = torch.unique(row[~changed], return_inverse=True)
        start = torch.zeros_like(kept)
        new = row[changed], position[changed], state[changed]
        old = kept, start, rows.x_t[kept, start]
        found = self._asked_about(rows, *(torch.cat(pair) for pair in zip(new, old, strict=True)))
        out = torch.empty(len(row), dtype=found.dtype, device=row.device)
        out[changed] = found[: len(new[0])]
        out[~changed] = found[len(new[0]) :][which]
        return out

    def _asked_about(self, rows: _Rows, row: Tensor, position: Tensor, state: Tensor) -> Tensor:
        """Log p(y | .), (N,), of copies of rows ``row`` with ``state`` at ``position``, a chunk at a time."""
        found = []
        size = max(1, self.budget // rows.x_t.shape[1])
        for r, p, s in zip(*(torch.split(each, size) for each in (row, position, state)), strict=True):
            x = rows.x_t[r]
            x[torch.arange(len(r), device=x.device), p] = s
            found.append(self._told(x, rows.t[r], rows.asked[r]))
        return torch.cat(found)


@final
@dataclass(frozen=True)
class Exact(_Based):
    """p(x_s^l | x_t, y) proportional to p(y | x_t with x_s^l in it, t)**scale p(x_s^l | x_t), for all states.

    Schiff et al., 2024 (arXiv:2412.10193), D-CBG. At the posterior, where the papers apply it, it also says
    when a mask is lifted: a token that makes the class likelier than the mask does comes sooner, the more so
    the larger the scale. Costs a forward a row, position and state that is possible, in every step.
    """

    def __call__(self, log_probs: LogProbs, x_t: Tensor, t: Tensor) -> Tensor:
        log_p, rows = self._foreseen(log_probs, x_t, t)
        flat = log_p.flatten(0, 1)
        where = _places(torch.ones_like(x_t, dtype=torch.bool))
        return self._weighed(flat, where, rows, _open(flat, rows, where[0])).view_as(log_p)


@final
@dataclass(frozen=True)
class TokenChoice(_Based):
    """The same weights, but only for which token is drawn, and only where one is drawn.

    When and where tokens are drawn is left to the schedule, so no scale makes it hurry. The classifier is
    asked about each token that is possible at a position that fires: about L x K forwards a row in all. For
    masks.

    Args:
        top_p: below 1, only tokens of the nucleus of this mass of the inner prediction are asked about, and
            the rest become impossible.
    """

    top_p: float = 1.0

    def __call__(self, log_probs: LogProbs, x_t: Tensor, t: Tensor) -> Tensor:
        log_p, at = self.choose(log_probs, x_t, t)
        return at(torch.ones_like(x_t, dtype=torch.bool)).view_as(log_p)

    def choose(
        self, log_probs: LogProbs, x_t: Tensor, t: Tensor
    ) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """The inner prediction (B, L, K), and what weighs it (M, K) where flags (B, L) are true."""
        log_p, rows = self._foreseen(log_probs, x_t, t)

        def at(fire: Tensor) -> Tensor:
            where, kept = _places(fire), log_p[fire]
            if self.scale:
                kept = torch.where(rows.asks[where[0], None], nucleus(kept, self.top_p), kept)
            return self._weighed(kept, where, rows, _open(kept, rows, where[0]))

        return log_p, at


@final
@dataclass(frozen=True)
class FirstOrder(_Based):
    """The exact form with log p(y | .) replaced by its tangent at x_t in the weights over states.

    One forward and one backward of the classifier a row and step, whatever the number of states. The tangent
    is taken at a corner and followed to others, so it is crude; it is exact where log p(y | .) is linear.

    Args:
        states: S, that the classifier reads.
    """

    states: int = field(kw_only=True)

    def __call__(self, log_probs: LogProbs, x_t: Tensor, t: Tensor) -> Tensor:
        log_p, rows = self._foreseen(log_probs, x_t, t)
        index = rows.asks.nonzero().squeeze(-1)
        if self.scale == 0 or not len(index):
            return log_p
        gain = torch.zeros_like(log_p)
        gain[index] = self._gain(rows, index, log_p.shape[-1]).to(log_p.dtype)
        return normalise(log_p + self.scale * gain)

    def _gain(self, rows: _Rows, index: Tensor, states: int) -> Tensor:
        """What each state adds to log p(y | x_t) by the tangent, (N, L, S), for rows ``index`` (N,)."""
        found = []
        for part in torch.split(index, max(1, self.budget // rows.x_t.shape[1])):
            x_t = rows.x_t[part]
            with torch.enable_grad():
                weights = one_hot(x_t, self.states).requires_grad_()
                told = self._told(weights, rows.t[part], rows.asked[part])
                (slope,) = torch.autograd.grad(told.sum(), weights)
            found.append((slope - slope.gather(-1, x_t[..., None]))[..., :states])
        return torch.cat(found)


def _places(flags: Tensor) -> tuple[Tensor, Tensor]:
    """The row and the position, (M,) each, of every true flag (B, L)."""
    row, position = flags.nonzero(as_tuple=True)
    return row, position


def _open(log_p: Tensor, rows: _Rows, row: Tensor) -> Tensor:
    """The states (M, S) to ask about: the possible, where there are several and the row is asked anything."""
    possible = ~log_p.isneginf()
    return possible & (rows.asks[row] & (possible.sum(-1) > 1))[:, None]
