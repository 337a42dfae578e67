"""Plans: what is asked of each row, the same of all or by the lines of a file."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, final

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from moldiff.conditions import ConditionSpec, always_told
from moldiff.errors import MoldiffError, listed
from moldiff.files import check_source
from moldiff.targets import Goals, Table, Target, TargetSampler, parse

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]

#: Sets of targets whose training rows are kept at hand; those of a set are found in some milliseconds.
_KEPT = 128
#: Columns of a file of targets at most: no model knows so many properties.
_MOST_NAMES = 1000


@final
@dataclass(frozen=True, eq=False)
class Drawn:
    """What B rows start from.

    Args:
        lengths: (B,) tokens a row.
        cond: (B, C) conditions, NaN where null; None for a model without.
        distance: (B,) how far the training rows that gave them are from the targets, in standard deviations.
    """

    lengths: Ids
    cond: Tensor | None
    distance: Floats


class Plan(Protocol):
    """What is asked of each row; what concerns row i depends on (seed, i) alone."""

    @property
    def asked(self) -> dict[str, str]:
        """By property that is asked of any row, what is asked, in words."""
        ...

    def draw(self, ids: Ids, seed: int) -> Drawn:
        """Lengths and conditions of rows ids (B,)."""
        ...

    def goals(self, ids: Ids) -> dict[str, Goals]:
        """By property that is asked of any row, what is asked of rows ids (B,)."""
        ...

    def columns(self, ids: Ids) -> dict[str, list[str | None]]:
        """What the table of rows ids (B,) says of it: nothing where all are alike."""
        ...


@final
class Alike:
    """The same targets for every row."""

    def __init__(self, table: Table, conditions: Sequence[ConditionSpec], texts: Sequence[str]) -> None:
        targets = [parse(text, conditions, table) for text in texts]
        self._sampler = TargetSampler(table, conditions, targets)
        # How an item is written shows in no property of it.
        told = {conditions[slot].name for slot in always_told(conditions)}
        self._targets = [target for target in targets if target.name not in told]
        thresholds = {c.name: c.threshold for c in conditions if c.kind == "class"}
        self.asked = {t.name: t.text + _meaning(t, thresholds.get(t.name)) for t in self._targets}

    def draw(self, ids: Ids, seed: int) -> Drawn:
        lengths, cond = self._sampler.draw(torch.from_numpy(ids), seed)
        return Drawn(lengths, cond, np.full(len(ids), self._sampler.distance))

    def goals(self, ids: Ids) -> dict[str, Goals]:
        return {target.name: Goals.alike(target, len(ids)) for target in self._targets}

    def columns(self, ids: Ids) -> dict[str, list[str | None]]:
        return {}


@final
@dataclass(frozen=True, eq=False)
class TargetFile:
    """The lines of a file of targets.

    Args:
        path: where it was read.
        sha256: of its bytes.
        cells: a column a property, a row a line, the targets as they were written; empty asks nothing.
        lines: (N,) the number of each row's line, from 1.
        per_target: rows to sample for each line.
    """

    path: Path
    sha256: str
    cells: pd.DataFrame
    lines: Ids
    per_target: int = 1

    @property
    def rows(self) -> int:
        """How many rows it asks for."""
        return len(self.lines) * self.per_target

    def facts(self) -> dict[str, Any]:
        """What a summary says of it; JSON. Its name does not count."""
        return {"sha256": self.sha256, "lines": len(self.lines), "per_target": self.per_target}


def read_targets(path: Path, per_target: int = 1) -> TargetFile:
    """The lines of a CSV file whose columns are properties; blank lines are skipped.

    Raises:
        MoldiffError: a file that cannot be read, without columns or lines, or with a line of other width.
    """
    count: Any = per_target
    if not isinstance(count, int) or count < 1:
        raise MoldiffError(f"per target: got {per_target!r}, must be a whole number of at least 1")
    check_source(path)
    try:
        data = path.read_bytes()
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise MoldiffError(f"targets: cannot read {path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise MoldiffError(f"targets: {path} is not UTF-8 text: byte {error.start}") from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        names = _names(path, next(reader, []))
        rows, lines = [], []
        for row in reader:
            if row:
                rows.append(_row(path, reader.line_num, row, len(names)))
                lines.append(reader.line_num)
    except csv.Error as error:
        raise MoldiffError(f"targets: {path} line {reader.line_num}: {error}") from None
    if not rows:
        raise MoldiffError(f"targets: {path} has no line below its header")
    # As text, for pandas would take a column without an entry for numbers.
    cells = pd.DataFrame(rows, columns=list(names), dtype="str")
    return TargetFile(path, hashlib.sha256(data).hexdigest(), cells, np.array(lines), per_target)


def _names(path: Path, header: list[str]) -> tuple[str, ...]:
    names = tuple(name.strip() for name in header)
    if not names or not all(names) or len(set(names)) < len(names):
        got = listed(map(repr, names)) or "nothing"
        raise MoldiffError(f"targets: {path} needs distinct properties in its first line, got {got}")
    if len(names) > _MOST_NAMES:
        raise MoldiffError(f"targets: {path} has {len(names):,} columns, at most {_MOST_NAMES:,} are read")
    return names


def _row(path: Path, line: int, cells: list[str], width: int) -> list[str]:
    if len(cells) != width:
        raise MoldiffError(f"targets: {path} line {line}: got {len(cells)} cells, the header has {width}")
    return [cell.strip() for cell in cells]


@final
class ByLine:
    """For each line of a file, so many rows in turn: row i is asked what line i // per_target says.

    Raises:
        MoldiffError: a property or a target that the model does not know; it names the line.
    """

    def __init__(self, table: Table, conditions: Sequence[ConditionSpec], file: TargetFile) -> None:
        self._table, self._conditions, self._file = table, conditions, file
        self._sampler = lru_cache(_KEPT)(self._of)
        self._parse = lru_cache(_KEPT * 32)(lambda text: parse(text, conditions, table))
        for name in file.cells:
            self._check(str(name))
        asked = [str(name) for name, column in file.cells.items() if (column != "").any()]
        told = {conditions[slot].name for slot in always_told(conditions)}
        judged = [name for name in asked if name not in told]
        self.asked = dict.fromkeys(judged, f"by the lines of {file.path.name}")

    def draw(self, ids: Ids, seed: int) -> Drawn:
        lengths, distance = np.zeros(len(ids), dtype=np.int64), np.zeros(len(ids))
        cond = torch.full((len(ids), len(self._conditions)), torch.nan) if self._conditions else None
        for place, sampler in self._groups(ids):
            lengths[place], told = sampler.draw(torch.from_numpy(ids[place]), seed)
            distance[place] = sampler.distance
            if cond is not None and told is not None:
                cond[torch.from_numpy(place)] = told
        return Drawn(lengths, cond, distance)

    def goals(self, ids: Ids) -> dict[str, Goals]:
        lines, which = np.unique(ids // self._file.per_target, return_inverse=True)
        cells = self._file.cells.iloc[lines]
        return {
            name: Goals.of([self._target(name, cell) for cell in cells[name]], which) for name in self.asked
        }

    def columns(self, ids: Ids) -> dict[str, list[str | None]]:
        cells = self._file.cells.iloc[ids // self._file.per_target]
        return {f"target_{name}": [cell or None for cell in cells[name]] for name in cells}

    def _groups(self, ids: Ids) -> Iterator[tuple[Ids, TargetSampler]]:
        """Places in ids (B,) that are asked the same, with what draws for them."""
        lines, which = np.unique(ids // self._file.per_target, return_inverse=True)
        rows = self._file.cells.iloc[lines].itertuples(index=False, name=None)
        # The number of the set that each of these lines asks for.
        numbers: dict[tuple[str, ...], int] = {}
        alike = np.array([numbers.setdefault(row, len(numbers)) for row in rows])[which]
        for row, number in numbers.items():
            yield np.flatnonzero(alike == number), self._sampler(row)

    def _of(self, row: tuple[str, ...]) -> TargetSampler:
        targets = [self._target(str(name), cell) for name, cell in zip(self._file.cells, row, strict=True)]
        return TargetSampler(self._table, self._conditions, [each for each in targets if each is not None])

    def _target(self, name: str, cell: str) -> Target | None:
        return self._parse(f"{name}={cell}") if cell else None

    def _check(self, name: str) -> None:
        """Refuses a column of which a cell is no target of this model."""
        cells = self._file.cells[name]
        known = {condition.name for condition in self._conditions}
        if name not in known:
            choices = ", ".join(sorted(known)) or "none: this model has no conditions"
            where = f"targets: {self._file.path} line 1"
            raise MoldiffError(f"{where}: got property {name!r}, this model knows {choices}")
        for cell in cells.unique():
            try:
                self._target(name, cell)
            except MoldiffError as error:
                line = self._file.lines[int((cells == cell).to_numpy().argmax())]
                raise MoldiffError(f"targets: {self._file.path} line {line}: {error}") from None


def _meaning(target: Target, threshold: float | None) -> str:
    """What a class stands for, in brackets; nothing for a value."""
    if target.label is None or threshold is None:
        return ""
    return f" ({'above' if target.label else 'not above'} {threshold:.4g})"
