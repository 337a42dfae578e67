"""Batches: the rows of a request drawn in batches of one length, with what they cost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Protocol, Self, final

import numpy as np
import torch
from torch import Tensor

from moldiff import registry
from moldiff.assembly import build_sampler
from moldiff.checkpoint import Card
from moldiff.config import Setting
from moldiff.diffusion.process import Level, Process
from moldiff.errors import MoldiffError
from moldiff.nn.cost import count_forwards
from moldiff.nn.precision import autocast
from moldiff.nn.transformer import Transformer
from moldiff.plan import Alike, ByLine, Drawn, Ids, Plan
from moldiff.request import Request
from moldiff.targets import Table
from moldiff.types import Guidance, Modality, Rows

#: Tokens a batch when the caller does not say: enough to keep the device busy, little enough for its memory.
AUTO_TOKENS = {"cpu": 8192, "cuda": 262144, "mps": 32768}


class Loaded(Protocol):
    """A model ready to generate."""

    card: Card
    device: torch.device
    modality: Modality
    tokenizer: Any
    process: Process
    network: Transformer
    table: Table
    reference: Any


@final
@dataclass(frozen=True)
class Spent:
    """What rows cost.

    Args:
        drawn: the rows.
        rows: rows the network was asked about.
        tokens: the same times their length.
        seconds: by the clock, sampling alone.
        distance: the sum of the rows' distances from their targets, as ``Drawn`` has them.
    """

    drawn: int = 0
    rows: int = 0
    tokens: int = 0
    seconds: float = 0.0
    distance: float = 0.0

    def __add__(self, other: Spent) -> Self:
        """Both together."""
        theirs = asdict(other)
        return type(self)(**{name: value + theirs[name] for name, value in asdict(self).items()})

    def facts(self) -> dict[str, float]:
        """What a summary says of it."""
        n, seconds = self.drawn, self.seconds
        return {
            "forwards_per_molecule": round(self.rows / n, 3) if n else 0.0,
            "token_forwards_per_molecule": round(self.tokens / n, 2) if n else 0.0,
            "seconds": round(seconds, 3),
            "molecules_per_second": round(n / seconds, 2) if seconds else 0.0,
        }


@final
class Batches:
    """Draws rows of a request; row i depends on (seed, i) alone.

    Raises:
        MoldiffError: a setting, a target or a level that does not go with the model.
    """

    def __init__(self, model: Loaded, request: Request) -> None:
        self._model, self._request = model, request
        self.setting: Setting = request.setting(model.card.default)
        self.level: Level = request.level or model.process.level
        self.plan = plan_of(model, request)
        self._sampler = build_sampler(model.process, self.setting, request.level)
        #: Reverse steps; None for a sampler without.
        self.steps: int | None = getattr(self._sampler, "steps", None)
        self._guidance = self._guided()
        #: What has been spent so far.
        self.spent = Spent()

    def draw(self, ids: Ids) -> Iterator[tuple[Ids, list[list[int]]]]:
        """Rows ids (B,) in parts of one length: their numbers and tokens. The cost is counted on the way."""
        drawn = self.plan.draw(ids, self._request.seed)
        budget = AUTO_TOKENS[self._model.device.type]
        for length in np.unique(drawn.lengths):
            index = np.flatnonzero(drawn.lengths == length)
            size = self._request.batch_size or max(1, budget // int(length))
            for part in np.split(index, range(size, len(index), size)):
                yield ids[part], self._counted(ids, drawn, part)

    def _counted(self, ids: Ids, drawn: Drawn, part: Ids) -> list[list[int]]:
        """The tokens of a part of what was drawn, of one length."""
        told = None if drawn.cond is None else drawn.cond[torch.from_numpy(part)]
        length, precision = int(drawn.lengths[part[0]]), self._request.precision
        started, whole = time.perf_counter(), 0
        with count_forwards(self._model.network) as cost, autocast(self._model.device, precision):
            try:
                tokens: list[list[int]] = self._sampled(torch.from_numpy(ids[part]), length, told).tolist()
                whole = len(part)
                return tokens
            finally:
                # Of a part that an interrupt ends, the rows are lost but not what they cost.
                seconds = time.perf_counter() - started
                away = float(drawn.distance[part].sum()) if whole else 0.0
                self.spent += Spent(whole, cost.rows, cost.tokens, seconds, away)

    def _sampled(self, ids: Tensor, length: int, cond: Tensor | None) -> Tensor:
        device = self._model.device
        rows = Rows(ids.to(device), length, None if cond is None else cond.to(device))
        try:
            tokens: Tensor = self._sampler(
                self._model.network, rows, self._guidance, self._request.seed
            ).cpu()
            return tokens
        except torch.OutOfMemoryError:
            if len(ids) == 1:
                raise MoldiffError(f"device {device}: out of memory for a single row") from None
        # Samples do not depend on the batch, so two halves are as good as the whole.
        half = len(ids) // 2
        halves = (slice(None, half), slice(half, None))
        return torch.cat([self._sampled(ids[h], length, None if cond is None else cond[h]) for h in halves])

    def _guided(self) -> Guidance:
        """The guidance of the setting; MoldiffError where it does not act at the level asked for."""
        guidance: Guidance = registry.build("guidance", "cfg", scale=self.setting.scale)
        if not self.setting.complete:
            return guidance
        if self.level != "x0":
            raise MoldiffError(f"complete: got level {self.level}, it takes x0 only; leave it off")
        mask, balance = self._model.process.num_tokens, self._model.tokenizer.balance()
        restricted: Guidance = registry.build("guidance", "completable", guidance, mask, balance)
        return restricted


def plan_of(model: Loaded, request: Request) -> Plan:
    """What a request asks of each row; MoldiffError where the model does not know it."""
    if request.targets_from is not None:
        return ByLine(model.table, model.card.conditions, request.targets_from)
    return Alike(model.table, model.card.conditions, request.targets)
