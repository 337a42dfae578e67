"""Totals: what a summary says about rows that come in pieces, and the best and the first of them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from moldiff.conditions import ConditionSpec, always_told
from moldiff.frames import wanted
from moldiff.generation.plan import Ids, Plan
from moldiff.targets import Goals, Table
from moldiff.types import Modality

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

#: How many of the best rows, and how many of the first, are kept for pictures and reports.
KEPT = 1000
#: Bins of a histogram, where the property is no whole number.
BINS = 40
#: The quantiles of the training rows between which a histogram runs, and the share added at either side.
CORE, MARGIN = (0.001, 0.999), 0.2
#: The widest range of a property in whole numbers that has a bin for each number.
WHOLE = 60


@final
class Totals:
    """Counts, moments and histograms of rows; it holds ``KEPT`` rows twice, whatever their number.

    Args:
        modality: what the rows are.
        reference: the modality's data set to be novel to.
        table: the training rows.
        conditions: the model's slots.
        plan: what is asked of the rows.
        measured: columns of further properties.
    """

    def __init__(
        self,
        modality: Modality,
        reference: Any,
        table: Table,
        conditions: Sequence[ConditionSpec],
        plan: Plan,
        measured: Sequence[str] = (),
    ) -> None:
        self._modality, self._table, self._plan = modality, table, plan
        self._tally = modality.tally(reference)
        labels = {c.name: c for c in conditions if c.kind != "numeric"}
        self._achieved = {name: Achieved(labels.get(name)) for name in plan.asked}
        self._measured = {name: Moments() for name in measured}
        self._together = Together(labels)
        self._missing: Counter[str] = Counter()
        # How an item is written is no property of it.
        told = {conditions[slot].name for slot in always_told(conditions)}
        #: (N,) values of each property in the training rows.
        self.training = {name: values for name, values in table.properties.items() if name not in told}
        self._histograms = {name: Histogram(values) for name, values in self.training.items()}
        self.best = self.first = modality.evaluate([], reference)
        self._misses: Floats = np.empty(0)

    def add(self, ids: Ids, frame: pd.DataFrame) -> Flags:
        """Counts rows ids (B,); whether each is the first to show its valid item, (B,)."""
        goals, values = self._plan.goals(ids), self._values(frame)
        valid = frame["valid"].to_numpy(dtype=bool)
        for name, goal in goals.items():
            self._achieved[name].add(values[name], goal, valid)
        self._together.add(values, goals, valid)
        for name, histogram in self._histograms.items():
            histogram.add(values[name][valid])
        for name, moments in self._measured.items():
            known = frame[name].to_numpy(dtype=float)[valid]
            moments.add(known[np.isfinite(known)])
            self._missing[name] += int((~np.isfinite(known)).sum())
        return self._tally.add(frame)

    def keep(self, ids: Ids, frame: pd.DataFrame, first: Flags) -> None:
        """Keeps the first and the best of rows ids (B,); only the ``first`` (B,) of an item may be best."""
        if len(self.first) < KEPT:
            self.first = _joined(self.first, frame.head(KEPT - len(self.first)))
        good = first & wanted(frame)
        misses = missed(self._plan.goals(ids), self._values(frame), self._table, len(frame))[good]
        both, misses = _joined(self.best, frame[good]), np.concatenate([self._misses, misses])
        order = ranked(both, misses)[:KEPT]
        self.best, self._misses = both.iloc[order], misses[order]

    def _values(self, frame: pd.DataFrame) -> dict[str, Floats]:
        """The properties of rows that can be asked for or stand in a histogram, (B,) each."""
        return {n: frame[n].to_numpy(dtype=float) for n in {**self._histograms, **self._achieved}}

    def facts(self) -> dict[str, Any]:
        """Counts and rates, what was asked and achieved, and the histograms; all of it JSON but for NaN."""
        properties = {
            name: {
                "asked": asked,
                **self._achieved[name].facts(),
                "training_mean": self._table.means[name],
            }
            for name, asked in self._plan.asked.items()
        }
        histograms = {name: histogram.facts() for name, histogram in self._histograms.items()}
        found = {**self._tally.summary(), "properties": properties, "histograms": histograms}
        if properties:
            found["together"] = {**self._together.facts(), "training_share": self._in_training()}
        if self._measured:
            found["measured"] = {
                name: {**moments.facts(), "count": moments.count, "missing": self._missing[name]}
                for name, moments in self._measured.items()
            }
        return found

    def _in_training(self) -> float | None:
        """The share of the training rows that have all that was asked; None where that is not one thing."""
        rows = np.zeros(len(self._table.lengths), dtype=np.int64)
        if self._plan.columns(rows[:1]):
            return None
        same = Together(self._together.classes)
        same.add(self._table.properties, self._plan.goals(rows), np.ones(len(rows), dtype=bool))
        share: float | None = same.facts()["share"]
        return share


@final
class Together:
    """How many rows have all that was asked of them, points aside, for which there is no inside.

    Args:
        classes: by property the condition by which it has classes.
    """

    def __init__(self, classes: Mapping[str, ConditionSpec]) -> None:
        self.classes = classes
        self._asked = self._fit = 0

    def add(self, values: Mapping[str, Floats], goals: Mapping[str, Goals], valid: Flags) -> None:
        """Takes values (B,) by property of rows asked ``goals``, of which the ``valid`` (B,) count."""
        fit, asked = valid.copy(), np.zeros(len(valid), dtype=bool)
        for name, goal in goals.items():
            good, wanted = self.fits(name, values[name], goal)
            fit &= good
            asked |= wanted
        self._asked += int((valid & asked).sum())
        self._fit += int((fit & asked).sum())

    def fits(self, name: str, values: Floats, goal: Goals) -> tuple[Flags, Flags]:
        """Whether values (B,) are inside what is asked, and whether a range or a class is, (B,) each."""
        ranges, classes = goal.low < goal.high, ~np.isnan(goal.label)
        inside = (values >= goal.low) & (values <= goal.high)
        encoded = self.classes[name].encode(values) if name in self.classes else values
        return ~(ranges | classes) | (ranges & inside) | (classes & (encoded == goal.label)), ranges | classes

    def facts(self) -> dict[str, Any]:
        """Of the valid rows of which a range or a class is asked, the share that has all; None of none."""
        return {"rows": self._asked, "share": self._fit / self._asked if self._asked else None}


@final
class Moments:
    """The mean of values that come in pieces, and its standard error."""

    def __init__(self) -> None:
        #: How many there were.
        self.count = 0
        self._mean = self._squares = 0.0

    def add(self, values: Floats) -> None:
        """Joins mean and squared deviations of values (M,), all finite, to those so far (Chan et al.)."""
        if not len(values):
            return
        count, mean = self.count + len(values), float(values.mean())
        apart = mean - self._mean
        self._squares += float(((values - mean) ** 2).sum())
        self._squares += apart * apart * self.count * len(values) / count
        self._mean += apart * len(values) / count
        self.count = count

    def facts(self) -> dict[str, float | None]:
        """Both; None where there are too few values."""
        n = self.count
        return {
            "mean": self._mean if n else None,
            "se": math.sqrt(self._squares / (n - 1) / n) if n > 1 else None,
        }


@final
class Achieved:
    """What the valid rows have of a property, beside what was asked of them.

    Args:
        condition: by which the property has classes; None where it has none.
    """

    def __init__(self, condition: ConditionSpec | None) -> None:
        self._condition = condition
        self._moments = Moments()
        #: Rows asked for a point, a range and a class; and of these the sum of errors, and those that fit.
        self._asked = {"mean_absolute_error": 0, "share_inside": 0, "share_in_class": 0}
        self._sums = dict.fromkeys(self._asked, 0.0)

    def add(self, values: Floats, goals: Goals, valid: Flags) -> None:
        """Takes values (B,) of rows that were asked ``goals``, of which the ``valid`` (B,) count."""
        counted = valid & np.isfinite(values)
        classes, ranges = counted & ~np.isnan(goals.label), counted & ~np.isnan(goals.low)
        points = ranges & (goals.low == goals.high)
        self._moments.add(values[classes | ranges])
        self._sum("mean_absolute_error", points, np.abs(values - goals.low))
        inside = (values >= goals.low) & (values <= goals.high)
        self._sum("share_inside", ranges & ~points, inside)
        if self._condition is not None:
            self._sum("share_in_class", classes, self._condition.encode(values) == goals.label)

    def _sum(self, name: str, rows: Flags, summand: NDArray[Any]) -> None:
        self._asked[name] += int(rows.sum())
        self._sums[name] += float(summand[rows].sum())

    def facts(self) -> dict[str, Any]:
        """Mean, its standard error, and the error or the share for each kind of target that was asked."""
        fits = {name: self._sums[name] / asked for name, asked in self._asked.items() if asked}
        return {**self._moments.facts(), **fits}


@final
class Histogram:
    """Counts of a property in bins that the training rows fix; what lies beyond is in the end bins.

    The bins run from the 0.1 % to the 99.9 % quantile of the training rows and a fifth of that beyond both; a
    property in whole numbers has a bin for each number.

    Args:
        training: (N,) values of the training rows.
    """

    def __init__(self, training: Floats) -> None:
        known = training[np.isfinite(training)]
        self.edges = _edges(known)
        self._training = self._counts(known)
        self._generated = np.zeros(len(self.edges) - 1, dtype=np.int64)

    def add(self, values: Floats) -> None:
        """Takes values (B,); those that are not finite are in no bin."""
        self._generated += self._counts(values[np.isfinite(values)])

    def _counts(self, values: Floats) -> NDArray[np.int64]:
        inside = np.clip(values, self.edges[0], self.edges[-1])
        return np.histogram(inside, self.edges)[0].astype(np.int64)

    def facts(self) -> dict[str, list[float] | list[int]]:
        """The edges of its bins and the counts in them."""
        return {
            "edges": self.edges.tolist(),
            "generated": self._generated.tolist(),
            "training": self._training.tolist(),
        }


def _edges(known: Floats) -> Floats:
    """The edges of the bins for a property with these finite values (N,)."""
    low, high = np.quantile(known, CORE) if len(known) else (0.0, 0.0)
    margin = MARGIN * (high - low)
    if (known == np.round(known)).all() and high - low <= WHOLE:
        margin = max(1, math.ceil(margin))
        return np.arange(math.floor(low) - margin, math.ceil(high) + margin + 2) - 0.5
    return np.linspace(low - (margin or 0.5), high + (margin or 0.5), BINS + 1)


def missed(goals: Mapping[str, Goals], values: Mapping[str, Floats], table: Table, rows: int) -> Floats:
    """How far each row (B,) is from all that was asked of it, in standard deviations of the training rows."""
    total = np.zeros(rows)
    for name, goal in goals.items():
        total += goal.misses(values[name], table, name)
    return total


def ranked(frame: pd.DataFrame, misses: Floats) -> NDArray[np.intp]:
    """The order of rows (B,) with their misses (B,): the novel ones first, then the nearest, as they came."""
    return np.lexsort((misses, ~frame["novel"].to_numpy(dtype=bool)))


def _joined(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """The rows of both; pandas would warn of a table without rows."""
    if first.empty or second.empty:
        return second if first.empty else first
    return pd.concat([first, second])
