"""How far a classifier of noisy rows can be trusted: ranking, error and calibration on held-out rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from moldiff.checkpoint import Accuracy, Reliability
from moldiff.conditions import ConditionSpec, NumericCondition, encode_all
from moldiff.diffusion.classification import framed
from moldiff.diffusion.process import Formulation, Process
from moldiff.diffusion.random import RowRandom, Stream
from moldiff.nn.classifier import NUMBER, Classifier
from moldiff.training.intake import properties

Floats = NDArray[np.float64]

#: Noise levels at which a classifier is asked.
LEVELS = (0.0, 0.2, 0.4, 0.6, 0.8, 0.95)
#: Held-out rows that are asked about at most, and tokens that are asked about at once.
MOST, AT_ONCE = 20_000, 16_384
#: Equal parts of [0, 1] into which predictions are binned.
BINS = 10
#: Seed of the noise, the same for every classifier, so that figures compare.
SEED = 0


def reliability(
    network: Classifier, process: Formulation, data: Any, conditions: Sequence[ConditionSpec]
) -> dict[str, tuple[Reliability | Accuracy, ...]]:
    """What a card says of classes, ``reliability``, and of numbers, ``accuracy``, on the held-out rows.

    One entry a label and noise level; none where nothing is held out.

    A causal classifier is shown clean beginnings instead, at level t the first 1 - t of a row.
    """
    rows = np.flatnonzero(data.heldout)[:MOST]
    if not len(rows):
        return {}
    known = properties(data)
    labels = encode_all(conditions, {name: values[rows] for name, values in known.items()}, len(rows))
    found: dict[str, list[Reliability | Accuracy]] = {"reliability": [], "accuracy": []}
    for number, t in enumerate(LEVELS):
        told = predicted(network, process, (data.padded()[rows], data.lengths[rows]), (number, t))
        for place, condition in enumerate(conditions):
            there = np.isfinite(labels[:, place])
            if not there.any():
                continue
            known, said = labels[there, place], told[there, place]
            if isinstance(condition, NumericCondition):
                found["accuracy"].append(_accuracy(condition, t, known, said))
            else:
                found["reliability"].append(_entry(condition.name, t, known, np.exp(said[:, 1])))
    return {
        part: tuple(sorted(each, key=lambda entry: (entry.name, entry.t))) for part, each in found.items()
    }


@torch.no_grad()
def predicted(
    network: Classifier,
    process: Formulation,
    rows: tuple[NDArray[Any], NDArray[Any]],
    level: tuple[int, float],
) -> Floats:
    """A classifier's answers (N, C, M) for rows noised to a level.

    Args:
        network: the classifier.
        process: that noises; an autoregressive one shows it the beginning of each row instead.
        rows: clean tokens (N, longest) and lengths (N,).
        level: its number, which addresses the noise, and its time t.
    """
    tokens, lengths = rows
    number, t = level
    out = np.full((len(lengths), len(network.classes), max(NUMBER, *network.classes)), np.nan)
    device = next(network.parameters()).device
    training = network.training
    network.eval()
    for index, length in _parts(lengths):
        x_0 = torch.from_numpy(tokens[index, :length]).to(device)
        times = torch.full((len(index),), t, device=device)
        if isinstance(process, Process):
            ids = torch.from_numpy(index).to(device)
            uniform = RowRandom(SEED).uniform(ids, number, 2 * length, Stream.NOISE)
            x_t = process.q_sample(x_0, times, torch.stack(uniform.chunk(2, dim=1)))
            told = network(x_t, times)
        else:
            told = network(framed(x_0, process.num_tokens), times)[:, round((1 - t) * length)]
        out[index] = told.double().cpu().numpy()
    network.train(training)
    return out


def _parts(lengths: NDArray[Any]) -> Iterator[tuple[NDArray[np.int64], int]]:
    """Places of rows of one length, not too many at a time, with that length."""
    for length in np.unique(lengths):
        index = np.flatnonzero(lengths == length)
        for part in np.array_split(index, -(-len(index) * int(length) // AT_ONCE)):
            yield part, int(length)


def _accuracy(condition: NumericCondition, t: float, numbers: Floats, told: Floats) -> Accuracy:
    """What standardised numbers (N,) and the means and log s.d. (N, 2) told of them come to."""
    away = numbers - told[:, 0]
    unit = float(condition.std or 1.0)
    return Accuracy(
        name=condition.name,
        t=t,
        rows=len(numbers),
        spread=unit * float(numbers.std()),
        error=unit * float(np.sqrt(np.square(away).mean())),
        within=float((np.abs(away) <= np.exp(told[:, 1])).mean()),
    )


def _entry(name: str, t: float, labels: Floats, chance: Floats) -> Reliability:
    """What labels (N,) and the chances (N,) of class 1 come to."""
    from sklearn.metrics import log_loss, roc_auc_score

    place = np.minimum((chance * BINS).astype(int), BINS - 1)
    counts = np.bincount(place, minlength=BINS)
    filled = counts > 0
    means = np.bincount(place, chance, BINS)[filled] / counts[filled]
    shares = np.bincount(place, labels, BINS)[filled] / counts[filled]
    both = 0 < labels.mean() < 1
    return Reliability(
        name=name,
        t=t,
        rows=len(labels),
        base_rate=float(labels.mean()),
        auc=float(roc_auc_score(labels, chance)) if both else None,
        calibration_error=float((counts[filled] / len(labels)) @ np.abs(means - shares)),
        cross_entropy=float(log_loss(labels, chance, labels=[0.0, 1.0])),
        bins=tuple(zip(counts[filled].tolist(), means.tolist(), shares.tolist(), strict=True)),
    )
