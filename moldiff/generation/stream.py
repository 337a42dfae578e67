"""Streams: the rows of a request in order, in pieces, with the totals of all so far."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, final

import numpy as np
import pandas as pd

from moldiff import checkpoint
from moldiff.frames import wanted
from moldiff.generation.batches import Batches, Loaded, Spent
from moldiff.generation.outcome import Outcome
from moldiff.generation.plan import Ids, Plan
from moldiff.generation.repair import Repairs, columns
from moldiff.generation.request import Request
from moldiff.generation.search import PLAIN, REWARD, Gain
from moldiff.generation.selection import Selection
from moldiff.generation.totals import Flags, Totals
from moldiff.nn.precision import resolved
from moldiff.targets import Table
from moldiff.types import Measure

#: Rows that are grouped by length together: bounds memory, and what an interrupt leaves unfinished.
GROUP = {"cpu": 1024, "cuda": 65536, "mps": 8192}
#: Samples that are checked, scored and handed over at a time.
SCORED = 1024
#: For distinct rows: the fewest drawn together, and the smallest share that is expected to be new.
FEW, SHARE = 64, 0.05

Progress = Callable[[int], None]


@final
@dataclass(frozen=True, eq=False)
class Piece:
    """Rows that were drawn, checked and scored.

    Args:
        ids: (B,) their numbers.
        frame: one row each, their numbers its index.
        keep: (B,) which of them belong to the result.
        state: what ``Stream.replay`` needs to go on after them; None where rows before them are missing.
    """

    ids: Ids
    frame: pd.DataFrame
    keep: Flags
    state: dict[str, Any] | None


@final
class Stream:
    """The rows of a request, to be iterated once: frames of up to ``SCORED`` rows, in order.

    However many rows there are, it holds those of a group, the totals, and 16 bytes a distinct molecule.

    An interrupt from the keyboard ends it after what was drawn by then and is raised again; rows may then be
    missing in between.

    Args:
        model: a model ready to generate.
        request: what is asked.
        progress: is told how many rows are done.

    Raises:
        MoldiffError: what the model cannot be asked.
    """

    def __init__(self, model: Loaded, request: Request, progress: Progress | None = None) -> None:
        self._model, self._request = model, request
        self._progress = progress or (lambda done: None)
        self._batches = Batches(model, request)
        self._measure = _measure(model, request)
        self._totals = Totals(
            model.modality,
            model.reference,
            self.table,
            self._batches.guided.conditions,
            self.plan,
            () if self._measure is None else self._measure.names,
        )
        #: What a search has gained; None without one.
        self._gain = None if request.search is None else Gain()
        #: What a repair has mended; None without one.
        self._repairs = Repairs(model.modality, model.reference) if request.repair else None
        self._selection = Selection(model.modality, request)
        self._settled = Spent()
        self._group = (0, 0)
        self._done = self._kept = 0
        #: Whether some of the rows that are drawn do not belong to the result.
        self.selects = request.unique
        #: Whether the result is more or less than the rows as they are drawn.
        self.alters = self.selects or self._selection.picks
        #: The numbers of rows after the first ``_done``, of an interrupted group.
        self._beyond: list[int] = []
        #: Whether the keyboard ended it.
        self.interrupted = False

    @property
    def plan(self) -> Plan:
        """What is asked of each row."""
        return self._batches.plan

    @property
    def table(self) -> Table:
        """The training rows that the plan goes by."""
        return self._batches.guided.table

    def __iter__(self) -> Iterator[pd.DataFrame]:
        for piece in self.pieces():
            if piece.keep.any():
                yield piece.frame[piece.keep]

    def pieces(self) -> Iterator[Piece]:
        """All rows that are drawn, in order, also those that do not belong to the result."""
        try:
            yield from self._pieces()
        finally:
            self._batches.close()
            if self._measure is not None:
                self._measure.close()

    def _pieces(self) -> Iterator[Piece]:
        self._progress(self._shown())
        while group := self._next():
            self._group = group
            drawn = self._drawn(np.arange(*group))
            # A resumed stream draws a group again of which some is done.
            numbers = [number for number in sorted(drawn) if number >= self._done]
            for first in range(0, len(numbers), SCORED):
                part = numbers[first : first + SCORED]
                piece = self._piece(part, [drawn[i] for i in part])
                if piece is None:
                    break
                yield piece
            if self.interrupted:
                raise KeyboardInterrupt

    def _next(self) -> tuple[int, int] | None:
        """The first row of the next group and the one after its last; None at the end."""
        first, last = self._group
        if self._done < last:
            return first, last
        room = self._request.draws - self._done
        if self.selects:
            missing = self._request.n - self._kept
            share = self._kept / self._done if self._done else 1.0
            room = min(room, max(FEW, math.ceil(missing / max(share, SHARE)))) if missing else 0
        size = min(room, max(1, GROUP[self._model.device.type] // self._batches.particles))
        return (self._done, self._done + size) if size else None

    def _drawn(self, ids: Ids) -> dict[int, list[int]]:
        """The tokens of rows ids (B,) by their numbers; some are missing where the keyboard ended it."""
        drawn: dict[int, list[int]] = {}
        try:
            for numbers, tokens in self._batches.draw(ids):
                drawn.update(zip(numbers.tolist(), tokens, strict=True))
                if not self.selects:
                    self._progress(max(self._done, int(ids[0]) + len(drawn)))
        except KeyboardInterrupt:
            self.interrupted = True
        return drawn

    def _piece(self, numbers: list[int], tokens: list[list[int]]) -> Piece | None:
        """The rows of these numbers, counted; None where the keyboard ended it before."""
        ids = np.array(numbers, dtype=np.int64)
        try:
            raw = [self._model.tokenizer.decode(each) for each in tokens]
            frame = self._model.modality.evaluate(raw, self._model.reference, self._request.workers)
            if self._measure is not None:
                frame = self._measure.add(frame)
            frame = self._selection.judged(frame)
        except KeyboardInterrupt:
            self.interrupted = True
            return None
        frame.index = pd.Index(ids)
        if self._gain is not None:
            found = [self._batches.rewards.pop(number) for number in numbers]
            frame[[REWARD, PLAIN]] = np.array(found, dtype=np.float64)
        if self._batches.repair is not None:
            taken = [self._batches.repair.mended.pop(number) for number in numbers]
            frame = frame.assign(**columns(taken))
        for name, cells in self._batches.plan.columns(ids).items():
            frame[name] = pd.array(cells, dtype="str")
        keep = self._count(ids, frame)
        if self.interrupted:
            self._beyond += numbers
            return Piece(ids, frame, keep, None)
        self._done += len(ids)
        if self._done == self._group[1]:
            self._settled = self._batches.spent
        return Piece(ids, frame, keep, self._state())

    def _count(self, ids: Ids, frame: pd.DataFrame) -> Flags:
        """Which rows (B,) belong to the result; all are counted."""
        first = self._totals.add(ids, frame)
        if self._gain is not None:
            self._gain.add(frame)
        if self._repairs is not None:
            self._repairs.add(frame)
        self._selection.count(frame)
        keep = np.ones(len(ids), dtype=bool)
        if self.selects:
            keep = _distinct(frame, first, self._request.n - self._kept)
            self._kept += int(keep.sum())
            self._progress(self._shown())
        self._totals.keep(ids[keep], frame[keep], first[keep])
        self._selection.consider(frame[keep & first & wanted(frame)])
        return keep

    def _shown(self) -> int:
        """What the progress is told."""
        return self._kept if self.selects else self._done

    def _state(self) -> dict[str, Any]:
        """What is needed to go on after the rows done, besides them; JSON."""
        return {"group": list(self._group), "spent": asdict(self._settled)}

    def replay(self, frame: pd.DataFrame, state: dict[str, Any]) -> Piece:
        """Takes the next rows as they were drawn, by an earlier stream of the same request.

        Args:
            frame: the rows of a piece.
            state: its state.
        """
        ids = np.arange(self._done, self._done + len(frame))
        frame.index = pd.Index(ids)
        keep = self._count(ids, frame)
        self._done += len(ids)
        self._group = (state["group"][0], state["group"][1])
        self._settled = self._batches.spent = Spent(**state["spent"])
        return Piece(ids, frame, keep, state)

    def selected(self, frames: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        """Of all rows of this stream, from its first on, those that belong to the result, ``ranked``."""
        tally, missing, done = self._model.modality.tally(self._model.reference), self._request.n, 0
        for frame in frames:
            frame.index = pd.RangeIndex(done, done + len(frame))
            done += len(frame)
            if self.selects:
                keep = _distinct(frame, tally.add(frame), missing)
                missing -= int(keep.sum())
                frame = frame[keep]
            yield self.ranked(frame)

    def ranked(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Rows, their numbers the index, with their places among the picked ones where any are asked for."""
        return self._selection.ranked(frame)

    def identity(self) -> dict[str, Any]:
        """What fixes every row: two streams of which it is the same give the same rows; JSON."""
        card, request, versions = self._model.card, self._request, checkpoint.versions()
        return {
            "n": request.n,
            "seed": request.seed,
            **request.identity(),
            **self._selection.identity(),
            "setting": self._batches.setting.model_dump(),
            "level": self._batches.level,
            **self._batches.guided.facts,
            **({"kept": asdict(self._batches.kept)} if self._batches.kept.least else {}),
            "model": card.name,
            "model_sha256": card.sha256,
            "device": self._model.device.type,
            "precision": resolved(self._model.device, request.precision),
            "versions": {name: versions.get(name) for name in ("moldiff", "torch", "rdkit")},
        }

    def _searched(self, gain: Gain) -> dict[str, Any]:
        """What a summary says of the search."""
        spent = self._batches.spent
        calls = round(spent.asked / spent.drawn, 3) if spent.drawn else 0.0
        return {
            "sought": self._batches.sought,
            "rewards": gain.facts(),
            f"oracle_calls_per_{self._model.modality.noun}": calls,
        }

    def outcome(self) -> Outcome:
        """The summary of all rows so far, with the best and the first of them."""
        spent, request, card = self._batches.spent, self._request, self._model.card
        drawn, noun = self._done + len(self._beyond), self._model.modality.noun
        totals = self._totals.facts()
        facts: dict[str, Any] = {
            **totals,
            **({} if self._repairs is None else self._repairs.facts(totals, spent.redrawn())),
            "requested": request.n,
            "drawn": drawn,
            "kept": self._kept if self.selects else drawn,
            "interrupted": self.interrupted,
            **spent.facts(noun),
            "nearest_rows_distance": spent.distance / spent.drawn if spent.drawn else None,
            "setting": {**self._batches.setting.model_dump(), "steps": self._batches.steps},
            "level": self._batches.level,
            **self._batches.guided.facts,
            **({} if self._batches.guided.classifier is None else spent.asked_besides(noun)),
            "precision": resolved(self._model.device, request.precision),
            "targets": list(request.targets),
            **request.facts(),
            **self._selection.facts(),
            **({} if self._gain is None else self._searched(self._gain)),
            "seed": request.seed,
            "model": card.name,
            "model_sha256": card.sha256,
            "device": str(self._model.device),
            "versions": checkpoint.versions(),
        }
        if self.interrupted:
            facts["samples"] = _runs(self._done, self._beyond)
        whole = not self.interrupted and (not self.selects or self._kept == request.n)
        chosen = self._selection.chosen()
        return Outcome(
            facts,
            self._totals.best if chosen is None else chosen,
            self.ranked(self._totals.first),
            self.interrupted,
            whole,
            self._model.modality,
            self._totals.training,
        )


def _measure(model: Loaded, request: Request) -> Measure | None:
    """The oracles of a request; None where it has none."""
    if not request.oracles:
        return None
    return model.modality.measure(request.oracles, workers=request.workers, timeout=request.oracle_timeout)


def _distinct(frame: pd.DataFrame, first: Flags, most: int) -> Flags:
    """Which rows (B,) are wanted and the ``first`` of their kind, the first ``most`` of them."""
    keep = first & wanted(frame)
    out: Flags = keep & (np.cumsum(keep) <= most)
    return out


def _runs(done: int, beyond: list[int]) -> list[list[int]]:
    """The numbers of rows as the first and the last of each unbroken run."""
    runs = [[0, done - 1]] if done else []
    for number in beyond:
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return runs
