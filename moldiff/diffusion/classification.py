"""Objectives of classifiers that guide: what they say of a clean row, read from a noisy or unfinished one."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.nn import functional

from moldiff.diffusion.objective import Batch, DiffusionObjective, Loss
from moldiff.types import Classifier

#: States that frame a row which is read from left to right: one before it, one behind it.
FRAME = 2


@final
@dataclass(frozen=True)
class ClassifierObjective:
    """-log p(y | x_t) in nats a row, the mean over what is known of it: of classes the cross-entropy.

    The rows are noised as for a denoiser, at one stratified time each.

    Args:
        noise: the bound, whose times and noise are taken.
        numbers: the labels that are numbers.
    """

    noise: DiffusionObjective
    numbers: Sequence[int] = ()

    def __call__(self, classifier: Classifier, batch: Batch) -> Loss:
        """The loss of one share of a batch; ``batch.cond`` (B, C) are the labels, NaN where unknown."""
        x_t, t = self.noise.noised(batch)
        return _loss(classifier(x_t, t.float())[:, None], batch, self.numbers)


@final
@dataclass(frozen=True)
class PrefixObjective:
    """The same of a causal classifier, which reads clean rows; the mean over its answers at every prefix.

    Args:
        boundary: the state that starts a row and ends it.
        numbers: the labels that are numbers.
    """

    boundary: int
    numbers: Sequence[int] = ()

    def __call__(self, classifier: Classifier, batch: Batch) -> Loss:
        """The loss of one share of a batch; ``batch.cond`` (B, C) are the labels, NaN where unknown."""
        x = framed(batch.tokens, self.boundary)
        return _loss(classifier(x, torch.zeros(len(x), device=x.device)), batch, self.numbers)


def framed(x: Tensor, boundary: int) -> Tensor:
    """Rows x (B, L) with the boundary before and behind, (B, L + 2): what a causal classifier reads."""
    return functional.pad(x, (1, 1), value=boundary)


def _loss(answers: Tensor, batch: Batch, numbers: Sequence[int]) -> Loss:
    """The loss of answers (B, P, C, M) at P prefixes."""
    assert batch.cond is not None
    cost = surprise(answers, batch.cond, numbers)
    # A batch counts by its tokens, as for a denoiser: a full one is a mean over rows.
    return Loss(cost.sum() * batch.tokens.shape[1] / batch.whole, cost.detach().mean())


def surprise(answers: Tensor, labels: Tensor, numbers: Sequence[int] = ()) -> Tensor:
    """Nats a row (B,), the mean over prefixes and known labels, 0 where none is known.

    Args:
        answers: (B, P, C, M) of C labels at each of P prefixes.
        labels: (B, C) classes and numbers, NaN where unknown.
        numbers: the labels that are numbers.
    """
    told = log_likelihoods(answers, labels[:, None].expand(answers.shape[:-1]), numbers)
    return -told.mean(1).sum(-1) / (~labels.isnan()).sum(-1).clamp(min=1)


def log_likelihoods(
    answers: Tensor, labels: Tensor, numbers: Sequence[int] = (), tolerance: float = 0.0
) -> Tensor:
    """Log p(y | x), (..., C), of each label as a classifier answers; 0 where it is NaN.

    Args:
        answers: (..., C, M): log-probabilities of M classes; of a number the mean and the log s.d. of a
            normal law.
        labels: (..., C) classes, and numbers in the units of the answers.
        numbers: the labels that are numbers.
        tolerance: a number counts as met if it is as far away as a normal error of this s.d.
    """
    asked = labels.nan_to_num(0.0)
    told = answers.gather(-1, _classes(asked, numbers)[..., None]).squeeze(-1)
    if numbers:
        place = list(numbers)
        mean, spread = answers[..., place, 0], answers[..., place, 1]
        variance = (2 * spread).exp() + tolerance**2
        away = (asked[..., place] - mean).square() / variance
        density = -0.5 * (away + (2 * math.pi * variance).log())
        told = told.index_copy(-1, torch.tensor(place, device=told.device), density)
    return told.masked_fill(labels.isnan(), 0.0)


def _classes(asked: Tensor, numbers: Sequence[int]) -> Tensor:
    """Labels as indices of classes, 0 for a number."""
    classes = asked.clone()
    classes[..., list(numbers)] = 0
    return classes.long()
