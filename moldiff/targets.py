"""Targets: what is asked of the properties, turned into per-row lengths and conditions."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self, TypeVar, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from moldiff.conditions import (
    CategoryCondition,
    ClassCondition,
    ConditionSpec,
    NumericCondition,
    always_told,
)
from moldiff.diffusion.random import RowRandom, Stream
from moldiff.errors import MoldiffError, near

Floats = NDArray[np.float64]
_C = TypeVar("_C", ClassCondition, CategoryCondition, NumericCondition)

#: How many of the nearest training rows stand for a target, at least, and as a share of all.
NEAREST, NEAREST_SHARE = 200, 0.005
#: A row in the wrong class counts as this many standard deviations away.
WRONG_CLASS = 10.0
#: How far the values asked for a range move to its middle, in standard deviations of the training rows: what
#: is asked at its very edge is missed half of the time.
MARGIN = 0.35

_SHARE = re.compile(r"(top|bottom)([0-9]+(?:\.[0-9]+)?)%")


@final
@dataclass(frozen=True)
class Target:
    """What is asked of one property: a range [low, high] (a point when equal), a class or a category.

    Args:
        name: the property.
        text: how the caller wrote it.
        low: least value asked; -inf for a class.
        high: largest value asked; inf for a class.
        label: the class or category asked; None for a value.
        category: whether the label is a category, of which there is no more and no less.
    """

    name: str
    text: str
    low: float = -math.inf
    high: float = math.inf
    label: int | None = None
    category: bool = False

    @property
    def point(self) -> float | None:
        """The value asked, where it is one value."""
        return self.low if self.low == self.high else None


@final
@dataclass(frozen=True)
class Table:
    """The training rows as far as a target needs them: no structures.

    Args:
        lengths: (N,) tokens a row.
        properties: name -> (N,) values of each property that the model knows.
    """

    lengths: NDArray[np.int64]
    properties: dict[str, Floats]

    @cached_property
    def means(self) -> dict[str, float]:
        """The mean of each property over the rows that have it."""
        return {name: float(np.nanmean(values)) for name, values in self.properties.items()}

    @cached_property
    def spreads(self) -> dict[str, float]:
        """The standard deviation of each property over the rows that have it; 1 where that is 0."""
        return {name: float(np.nanstd(values)) or 1.0 for name, values in self.properties.items()}

    @cached_property
    def counts(self) -> dict[str, bool]:
        """Whether a property is whole numbers in all rows that have it."""
        return {
            name: bool((values % 1 == 0)[~np.isnan(values)].all()) for name, values in self.properties.items()
        }


def table_of(arrays: Mapping[str, Tensor], names: Sequence[str], model: str) -> Table:
    """The table of a model's arrays with these properties; MoldiffError where one is missing."""
    missing = [name for name in ("lengths", *names) if name not in arrays]
    if missing:
        raise MoldiffError(f"model {model}: its table lacks {', '.join(missing)}")
    properties = {name: arrays[name].to(torch.float64).numpy() for name in names}
    return Table(arrays["lengths"].to(torch.int64).numpy(), properties)


def as_told(table: Table, conditions: Sequence[ConditionSpec], targets: Sequence[Target] = ()) -> Table:
    """The rows that are what the network is always told, or told by targets; without these properties."""
    told = {spec.name: spec.always for spec in conditions if isinstance(spec, CategoryCondition)}
    told = {name: label for name, label in told.items() if label is not None}
    told |= {target.name: target.label for target in targets}
    rows = np.ones(len(table.lengths), dtype=bool)
    for name, label in told.items():
        rows &= table.properties[name] == label
    kept = {name: values[rows] for name, values in table.properties.items() if name not in told}
    return Table(table.lengths[rows], kept)


def parse(text: str, conditions: Sequence[ConditionSpec], table: Table) -> Target:
    """The target that ``name=value`` spells.

    The value is a number, a range ``a..b``, of which one end may be left out, ``high`` or ``low`` (a class),
    ``top5%`` or ``bottom5%`` of the training rows, or the number of a category.

    Raises:
        MoldiffError: no such property, not a value, or one that no training row comes near.
    """
    name, equals, value = (part.strip() for part in text.partition("="))
    known = {c.name for c in conditions}
    if not equals or not value:
        raise MoldiffError(f"target: got {text!r}, write it as name=value, for example qed=0.6")
    if name not in known:
        # How an item is written is for the commands that need it.
        shown = sorted(known - {conditions[slot].name for slot in always_told(conditions)})
        choices = ", ".join(shown) or "none: this model has no conditions"
        raise MoldiffError(f"target: got property {name!r}{near(name, shown)}, this model knows {choices}")
    if value in ("high", "low"):
        _slot(name, ClassCondition, conditions)
        return Target(name, value, label=int(value == "high"))
    category = next((c for c in conditions if c.name == name and isinstance(c, CategoryCondition)), None)
    if category is not None:
        return _category(text, value, category)
    slot = _slot(name, NumericCondition, conditions)
    share = _SHARE.fullmatch(value)
    if share:
        return _share(name, value, float(share[2]), share[1] == "top", table)
    least, largest = slot.minimum, slot.maximum
    assert least is not None
    assert largest is not None
    low, high = _range(text, value, (least, largest))
    if high < least or low > largest:
        raise MoldiffError(
            f"target {text!r}: out of reach, the training rows span {least:.4g}..{largest:.4g}"
        )
    return Target(name, value, low, high)


def misses(targets: Sequence[Target], values: Mapping[str, Floats], table: Table) -> Floats:
    """How far each row (N,) is from all targets together, in standard deviations of the training rows.

    For a class, the further into it the better, so this may be below zero.
    """
    total = np.zeros(len(next(iter(values.values()))))
    for target in targets:
        total += Goals.alike(target, len(total)).misses(values[target.name], table, target.name)
    return total


@final
@dataclass(frozen=True, eq=False)
class Goals:
    """What is asked of one property of each of B rows.

    Args:
        low: (B,) least values; NaN where no value is asked.
        high: (B,) largest values; NaN where no value is asked.
        label: (B,) the class or category asked; NaN where none is.
        category: whether labels are categories, of which there is no more and no less.
    """

    low: Floats
    high: Floats
    label: Floats
    category: bool = False

    @classmethod
    def alike(cls, target: Target, rows: int) -> Self:
        """One target for all rows."""
        return cls.of([target], np.zeros(rows, dtype=np.int64))

    @classmethod
    def of(cls, targets: Sequence[Target | None], which: NDArray[np.int64]) -> Self:
        """For row i the target ``which[i]``, (B,), of those given; None asks nothing."""
        low, high, label = (np.full(len(targets), np.nan) for _ in range(3))
        for place, target in enumerate(targets):
            if target is None:
                continue
            if target.label is None:
                low[place], high[place] = target.low, target.high
            else:
                label[place] = target.label
        category = any(target is not None and target.category for target in targets)
        return cls(low[which], high[which], label[which], category)

    def misses(self, values: Floats, table: Table, name: str) -> Floats:
        """How far values (B,) of the property are off, in standard deviations; 0 where nothing is asked."""
        above = (values - table.means[name]) / table.spreads[name]
        beside = _outside(self.low, self.high, values) / table.spreads[name]
        wrong = np.where(values == self.label, 0.0, WRONG_CLASS)
        away = wrong if self.category else (1 - 2 * self.label) * above
        out = np.where(np.isnan(self.label), beside, away)
        return np.where(np.isnan(self.label) & np.isnan(self.low), 0.0, out)


def _outside(low: Floats | float, high: Floats | float, values: Floats) -> Floats:
    """Distance (N,) of values from the asked range, 0 inside."""
    out: Floats = np.maximum(0.0, np.maximum(low - values, values - high))
    return out


def _slot(name: str, kind: type[_C], conditions: Sequence[ConditionSpec]) -> _C:
    for condition in conditions:
        if condition.name == name and isinstance(condition, kind):
            return condition
    forms: dict[type[ConditionSpec], str] = {
        ClassCondition: "high or low",
        CategoryCondition: "the number of a category",
        NumericCondition: "a number or a range a..b",
    }
    listed = " or ".join(forms[type(c)] for c in conditions if c.name == name)
    raise MoldiffError(f"target {name}: this model does not know it in that form, ask for {listed}")


def _category(text: str, value: str, category: CategoryCondition) -> Target:
    try:
        label = int(_number(value))
        fits = label == _number(value) and 0 <= label < category.classes
    except (ValueError, OverflowError):
        fits = False
    if not fits:
        got = f"got {value!r}, ask for a category from 0 to {category.classes - 1}"
        raise MoldiffError(f"target {text!r}: {got}")
    return Target(category.name, value, label=label, category=True)


def _share(name: str, text: str, percent: float, top: bool, table: Table) -> Target:
    if not 0 < percent < 100:
        raise MoldiffError(f"target {name}={text}: got {percent:g}%, must be above 0 and below 100")
    values = table.properties[name]
    if top:
        return Target(name, text, float(np.nanquantile(values, 1 - percent / 100)), float(np.nanmax(values)))
    return Target(name, text, float(np.nanmin(values)), float(np.nanquantile(values, percent / 100)))


def _range(text: str, value: str, span: tuple[float, float]) -> tuple[float, float]:
    """The ends of a range; one that is left out is the training rows', or the other if that is beyond."""
    parts = value.split("..") if ".." in value else [value, value]
    try:
        low, high = (_number(part) if part else math.nan for part in parts)
        if math.isnan(low) and not parts[0] and parts[1]:
            low = min(span[0], high)
        elif math.isnan(high) and not parts[1] and parts[0]:
            high = max(span[1], low)
    except ValueError:
        raise MoldiffError(
            f"target {text!r}: got {value!r}, write a number, a..b, high, low, top5% or bottom5%"
        ) from None
    if not (math.isfinite(low) and math.isfinite(high)) or low > high:
        raise MoldiffError(f"target {text!r}: got {value!r}, needs finite numbers with a <= b")
    return low, high


def _number(text: str) -> float:
    """The number that a text spells; ValueError for what only Python takes for one: 1_0, or other digits."""
    if "_" in text or not text.isascii():
        raise ValueError(text)
    return float(text)


def _implied(conditions: Sequence[ConditionSpec], asked: set[str]) -> list[Target]:
    """What the network is always told, where nothing else is asked of it."""
    told = (conditions[slot] for slot in always_told(conditions))
    return [
        Target(each.name, str(each.always), label=each.always, category=True)
        for each in told
        if isinstance(each, CategoryCondition) and each.name not in asked
    ]


@final
class TargetSampler:
    """Draws each row's length and conditions; row i depends on (seed, i) alone.

    A row takes its length, and its value inside an asked range, from a training row that is among those
    nearest to all targets together; the value moves to the middle of the range, by MARGIN at most.

    Args:
        table: the training rows.
        conditions: the model's slots, in the network's order.
        targets: what is asked; a slot of which nothing is asked is null, or what it always is.
    """

    def __init__(
        self, table: Table, conditions: Sequence[ConditionSpec], targets: Sequence[Target] = ()
    ) -> None:
        names = [target.name for target in targets]
        if len(set(names)) < len(names):
            raise MoldiffError(f"targets: got {', '.join(names)}, ask one thing of a property")
        self.table, self.conditions = table, tuple(conditions)
        self.targets = (*targets, *_implied(conditions, set(names)))
        distance = self._distance()
        count = min(len(distance), max(NEAREST, math.ceil(NEAREST_SHARE * len(distance))))
        # Rows of the wrong class stand in only where no row is of the right one.
        right = int((distance < WRONG_CLASS).sum())
        count = min(count, right or count)
        farthest = np.partition(distance, count - 1)[count - 1]
        self.rows = np.flatnonzero(distance <= farthest)
        #: Mean distance of these rows from the targets, in standard deviations.
        self.distance = float(distance[self.rows].mean())
        # A count is asked as it is: there is nothing between two of them.
        self._middles = {
            target.name: self._middle(target)
            for target in self.targets
            if target.low < target.high and target.label is None and not self.table.counts[target.name]
        }

    def draw(self, ids: Tensor, seed: int) -> tuple[NDArray[np.int64], Tensor | None]:
        """Lengths (B,) and conditions (B, C), NaN where null, for row numbers ids (B,)."""
        uniform = RowRandom(seed).uniform(ids.cpu(), 0, 1, Stream.TARGET)[:, 0].numpy()
        chosen = self.rows[(uniform * len(self.rows)).astype(np.int64)]
        if not self.conditions:
            return self.table.lengths[chosen], None
        cond = np.full((len(chosen), len(self.conditions)), np.nan)
        for target in self.targets:
            cond[:, self._column(target)] = self._values(target, chosen)
        return self.table.lengths[chosen], torch.from_numpy(cond).float()

    def _column(self, target: Target) -> int:
        return self.conditions.index(self._of(target))

    def _of(self, target: Target) -> ConditionSpec:
        """The slot that a target speaks of."""
        if target.label is None:
            return _slot(target.name, NumericCondition, self.conditions)
        if target.category:
            return _slot(target.name, CategoryCondition, self.conditions)
        return _slot(target.name, ClassCondition, self.conditions)

    def _values(self, target: Target, chosen: NDArray[np.int64]) -> Floats:
        if target.label is not None:
            return np.full(len(chosen), float(target.label))
        values = np.clip(self.table.properties[target.name][chosen], target.low, target.high)
        if target.name in self._middles:
            margin = MARGIN * self.table.spreads[target.name]
            values -= np.clip(values - self._middles[target.name], -margin, margin)
        return _slot(target.name, NumericCondition, self.conditions).encode(values)

    def _middle(self, target: Target) -> float:
        """The median of the rows' values inside a range; where none lies inside, the middle of it."""
        values = self.table.properties[target.name]
        inside = values[self.rows]
        inside = inside[(inside >= target.low) & (inside <= target.high)]
        if len(inside):
            return float(np.median(inside))
        return (max(target.low, np.nanmin(values)) + min(target.high, np.nanmax(values))) / 2

    def _distance(self) -> Floats:
        """Distance (N,) of each training row from all targets, in standard deviations."""
        total = np.zeros(len(self.table.lengths))
        for target in self.targets:
            values = self.table.properties[target.name]
            if target.label is not None:
                classes = self._of(target).encode(values)
                total += np.where(classes == target.label, 0.0, WRONG_CLASS) ** 2
                continue
            away = _outside(target.low, target.high, values) / self.table.spreads[target.name]
            total += np.nan_to_num(away, nan=WRONG_CLASS) ** 2
        return np.sqrt(total)
