"""The first stage of a study: its runs sampled, one token file each; this needs torch and no chemistry."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, final

import numpy as np

from moldiff.checkpoint import Checkpoint, find, versions
from moldiff.generation.batches import Batches, Spent
from moldiff.generation.model import Model
from moldiff.nn.cost import operations
from moldiff.nn.precision import resolved
from moldiff.nn.transformer import Transformer
from moldiff.study.plan import Plan, Planned
from moldiff.study.tokens import Sampled, place

#: Is told how many runs are done, of how many, the last one, and the seconds that the rest may take.
Tell = Callable[[int, int, str, float], None]


def silent(done: int, total: int, last: str, left: float) -> None:
    """Tells no one."""


def sample(plan: Plan, out: Path, device: str = "auto", tell: Tell = silent) -> int:
    """The number of runs that were sampled now; those whose file is there are not repeated.

    An interrupt loses the run in progress and no other.

    Raises:
        MoldiffError: a model that cannot be loaded or asked, a device that is not there, a full disk.
    """
    missing = [each for each in plan.runs if not place(out, each.name).exists()]
    models = _Models(device)
    for each in {(p.run.method, p.run.guidance): p for p in missing}.values():
        Batches(models.get(each.model), each.request)  # what cannot be asked is refused before any run
    pace = Pace(missing)
    before = len(plan.runs) - len(missing)
    tell(before, len(plan.runs), "", pace.left())
    for number, each in enumerate(missing, 1):
        started = time.perf_counter()
        # Another process may share the work.
        if not place(out, each.name).exists():
            sampled(models.get(each.model), each).save(place(out, each.name))
        pace.add(each, time.perf_counter() - started)
        tell(before + number, len(plan.runs), str(each.run), pace.left())
    return len(missing)


def sampled(model: Model, planned: Planned) -> Sampled:
    """The rows of a run with what they cost."""
    batches = Batches(model, planned.request)
    rows: dict[int, list[int]] = {}
    flop, before = 0.0, batches.spent
    for ids, tokens in batches.draw(np.arange(planned.request.n)):
        rows.update(zip(ids.tolist(), tokens, strict=True))
        flop += _operations(model, batches, before, max(map(len, tokens)))
        before = batches.spent
    facts = {
        "run": asdict(planned.run),
        "identity": planned.identity,
        "spent": asdict(batches.spent),
        "flop": flop,
        "device": str(model.device),
        "precision": resolved(model.device, planned.request.precision),
        "versions": versions(),
    }
    return Sampled([rows[i] for i in range(planned.request.n)], facts)


def _operations(model: Model, batches: Batches, before: Spent, length: int) -> float:
    """Floating-point operations of the matrix products of one batch of this length, a classifier's too."""
    network, after = model.network, batches.spent
    assert isinstance(network, Transformer)  # what is published here; a study has no others
    config = network.config
    total = operations(
        config, after.rows - before.rows, after.tokens - before.tokens, length, config.num_tokens
    )
    asked = after.classifier_rows - before.classifier_rows
    if asked and batches.guided.classifier is not None:
        size = batches.guided.classifier.network.config
        tokens = after.classifier_tokens - before.classifier_tokens
        # Its answer is a few numbers a row. The way back of a gradient costs twice the way there.
        back = 2 * (after.classifier_gradients - before.classifier_gradients) / asked
        total += (1 + back) * operations(size, asked, tokens, length, 0)
    return total


@final
class Pace:
    """The time that runs take, judged by those that are done.

    Args:
        runs: that are to be done.
    """

    def __init__(self, runs: Sequence[Planned]) -> None:
        self._waiting = [_kind(each) for each in runs]
        self._seconds: dict[Any, list[float]] = defaultdict(list)

    def add(self, run: Planned, seconds: float) -> None:
        """Takes note of a run that is done."""
        self._waiting.remove(_kind(run))
        self._seconds[_kind(run)].append(seconds)

    def left(self) -> float:
        """Seconds that the others may take; NaN before the first. A kind not seen yet counts as the mean."""
        if not self._waiting:
            return 0.0
        means = {kind: float(np.mean(found)) for kind, found in self._seconds.items()}
        if not means:
            return math.nan
        mean = float(np.mean([*means.values()]))
        return sum(means.get(kind, mean) for kind in self._waiting)


def _kind(each: Planned) -> tuple[str, str, int | None]:
    """Runs of one kind take about the same time."""
    return each.run.method, each.run.guidance, each.run.steps


@final
class _Models:
    """Models by name, each loaded once."""

    def __init__(self, device: str) -> None:
        self._device, self._loaded = device, dict[str, Model]()

    def get(self, name: str) -> Model:
        """The model of that name or in that folder, ready to sample."""
        if name not in self._loaded:
            self._loaded[name] = Model(Checkpoint.load(find(name)), self._device)
        return self._loaded[name]
