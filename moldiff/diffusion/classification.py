"""Objectives of classifiers that guide: the cross-entropy of classes, read from noisy or unfinished rows."""

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
    """Cross-entropy in nats a row, the mean over the labels that are known of it.

    The rows are noised as for a denoiser, at one stratified time each.

    Args:
        noise: the bound, whose times and noise are taken.
    """

    noise: DiffusionObjective

    def __call__(self, classifier: Classifier, batch: Batch) -> Loss:
        """The loss of one share of a batch; ``batch.cond`` (B, C) are the classes, NaN where unknown."""
        x_t, t = self.noise.noised(batch)
        return _loss(classifier(x_t, t.float())[:, None], batch)


@final
@dataclass(frozen=True)
class PrefixObjective:
    """The same of a causal classifier, which reads clean rows; the mean over its answers at every prefix.

    Args:
        boundary: the state that starts a row and ends it.
    """

    boundary: int

    def __call__(self, classifier: Classifier, batch: Batch) -> Loss:
        """The loss of one share of a batch; ``batch.cond`` (B, C) are the classes, NaN where unknown."""
        x = framed(batch.tokens, self.boundary)
        return _loss(classifier(x, torch.zeros(len(x), device=x.device)), batch)


def framed(x: Tensor, boundary: int) -> Tensor:
    """Rows x (B, L) with the boundary before and behind, (B, L + 2): what a causal classifier reads."""
    return functional.pad(x, (1, 1), value=boundary)


def _loss(log_p: Tensor, batch: Batch) -> Loss:
    """The loss of answers (B, P, C, M) at P prefixes."""
    assert batch.cond is not None
    surprise = cross_entropy(log_p, batch.cond)
    # A batch counts by its tokens, as for a denoiser: a full one is a mean over rows.
    return Loss(surprise.sum() * batch.tokens.shape[1] / batch.whole, surprise.detach().mean())


def cross_entropy(log_p: Tensor, labels: Tensor) -> Tensor:
    """Nats a row (B,), the mean over prefixes and known labels, 0 where none is known.

    Args:
        log_p: (B, P, C, M) log-probabilities of M classes of C labels at each of P prefixes.
        labels: (B, C) classes, NaN where unknown.
    """
    known = ~labels.isnan()
    classes = labels.nan_to_num(0.0).long()[:, None, :, None].expand(*log_p.shape[:3], 1)
    surprise = -log_p.gather(-1, classes).squeeze(-1).mean(1)
    return surprise.masked_fill(~known, 0.0).sum(-1) / known.sum(-1).clamp(min=1)
