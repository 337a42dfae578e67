"""Tables of a study: means over seeds, fronts, hypervolumes, and what a budget buys."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import numpy as np
import pandas as pd

from moldiff.moments import mean_se
from moldiff.study.front import hypervolume, non_dominated

#: A point of the grid but for its seed.
POINT = ["method", "guidance", "scale", "steps"]
#: How novelty is counted -> the column of the count; that of the property's mean is PROPERTY_COLUMN.
PROTOCOLS = {"canonical": "novel", "upstream": "novel_upstream"}
#: Times the shared budget that a method's cheapest point may cost, for the budget to be raised to it.
DEARER = 3.0
#: Columns of costs a molecule.
COSTS = ("forwards", "token_forwards", "classifier_forwards", "gflop", "seconds")


@final
@dataclass(frozen=True, eq=False)
class Results:
    """The runs of a study.

    Args:
        frame: one row a run, as `scoring.table` makes it.
        measure: the property whose mean is wanted.
        origin: the mean of the property in the data set; areas are measured from it and from 0 novel.
        planned: by method, the runs of a seed; a seed that lacks any has no hypervolume.
    """

    frame: pd.DataFrame
    measure: str
    origin: float
    planned: Mapping[str, int]

    @property
    def methods(self) -> list[str]:
        """The methods in the order of the runs."""
        return list(dict.fromkeys(self.frame["method"]))

    @property
    def kinds(self) -> list[str]:
        """The kinds of guidance in the order of the runs."""
        return list(dict.fromkeys(self.frame["guidance"]))

    @property
    def steps(self) -> list[int]:
        """The numbers of steps, in order."""
        return sorted(int(each) for each in self.frame["steps"].dropna().unique())

    @cached_property
    def forward(self) -> float:
        """GFLOP of a forward over a whole molecule: the median over runs without a classifier."""
        plain = self.frame[self.frame["classifier_forwards"] == 0]
        plain = self.frame if plain.empty else plain
        return float((plain["gflop"] / plain["token_forwards"] * plain["tokens"]).median())

    @cached_property
    def points(self) -> pd.DataFrame:
        """One row a point of the grid: means over seeds, and standard errors in columns NAME_se.

        ``cost`` is the point's GFLOP in units of ``forward``.
        """
        names = [*PROTOCOLS.values(), *map(self.mean_of, PROTOCOLS), "valid", "unique", "intdiv", *COSTS]
        found = []
        for point, rows in self.frame.groupby(POINT, dropna=False, sort=False):
            row: dict[str, Any] = {**dict(zip(POINT, tuple(point), strict=True)), "seeds": len(rows)}
            for name in names:
                row[name], row[f"{name}_se"] = mean_se(rows[name].astype(float))
            found.append(row | {"cost": row["gflop"] / self.forward})
        return pd.DataFrame(found).astype({"steps": "Int64"})

    def mean_of(self, protocol: str) -> str:
        """The column of the property's mean over the novel rows of a protocol."""
        return f"{self.measure}_{PROTOCOLS[protocol]}"

    def front(self) -> pd.DataFrame:
        """The points of each method that no other of its own dominates, by protocol."""
        found = []
        for protocol, method in itertools.product(PROTOCOLS, self.methods):
            rows = self.points[self.points["method"] == method]
            x, y = (
                rows[name].to_numpy(dtype=float) for name in (PROTOCOLS[protocol], self.mean_of(protocol))
            )
            front = rows[non_dominated(x, y)].sort_values(PROTOCOLS[protocol], ascending=False)
            found.append(front.assign(protocol=protocol))
        return pd.concat(found, ignore_index=True)

    def hypervolumes(
        self, protocol: str, guidance: str | None = None, steps: int | None = None, cost: float = math.inf
    ) -> dict[str, dict[int, float]]:
        """By method and seed the area that its runs cover; seeds with runs missing are left out.

        Args:
            protocol: how novelty is counted.
            guidance: only runs of this kind.
            steps: only runs of so many, or of a sampler without steps.
            cost: only points of at most this mean cost, in forwards over a whole molecule.
        """
        kept = self.points[self.points["cost"] <= cost]
        kept = kept if guidance is None else kept[kept["guidance"] == guidance]
        kept = kept if steps is None else kept[kept["steps"].isna() | (kept["steps"] == steps)]
        rows = self.frame.merge(kept[POINT], on=POINT)
        columns = [PROTOCOLS[protocol], self.mean_of(protocol)]
        found: dict[str, dict[int, float]] = {}
        for method, planned in self.planned.items():
            counts = self.frame.loc[self.frame["method"] == method, "seed"].value_counts()
            seeds = sorted(int(seed) for seed in counts.index[counts == planned])
            found[method] = {}
            for seed in seeds if (kept["method"] == method).any() else ():
                own = rows.loc[(rows["method"] == method) & (rows["seed"] == seed), columns]
                x, y = own.to_numpy(dtype=float).T
                found[method][seed] = hypervolume(x, y, (0.0, self.origin))
        return found

    def budgets(self, budgets: Sequence[float]) -> pd.DataFrame:
        """For each budget, method, guidance and scale the dearest point within it, and novel rows a GFLOP.

        Args:
            budgets: forwards over a whole molecule.
        """
        found = []
        for budget in budgets:
            affordable = self.points[self.points["cost"] <= budget]
            for _, rows in affordable.groupby(["method", "guidance", "scale"], sort=False):
                point = rows.iloc[int(rows["cost"].argmax())]
                share = point["novel"] / self._samples / point["gflop"] if point["gflop"] else math.nan
                found.append({"budget": budget, **point, "novel_per_gflop": share})
        columns = ["budget", *self.points.columns, "novel_per_gflop"]
        return pd.DataFrame(found, columns=columns).astype({"steps": "Int64"})

    def common_budget(self, guidance: str) -> float:
        """The cost at which methods are compared under a kind of guidance, in forwards over a whole molecule.

        It is the dearest that each method with steps can spend; or, where that is more, the least at which
        every method has a point at every scale. A method whose fewest steps cost more than ``DEARER`` times
        the former is too dear at any, and is not waited for.
        """
        own = self.points[self.points["guidance"] == guidance]
        stepped = own[own["steps"].notna()]
        stepped = own if stepped.empty else stepped
        by_steps = stepped.groupby(["method", "steps"], dropna=False)["cost"].max()
        ends = by_steps.groupby("method").agg(["min", "max"])
        shared = float(ends["max"].min())
        waited = ends.loc[ends["min"] <= DEARER * shared, "min"]
        return max(shared, float(waited.max()))

    def bought(self) -> pd.DataFrame:
        """The rows of `budgets` at the common budget of each kind of guidance."""
        each = [self.budgets([self.common_budget(kind)]) for kind in self.kinds]
        kept = [rows[rows["guidance"] == kind] for kind, rows in zip(self.kinds, each, strict=True)]
        return pd.concat(kept, ignore_index=True)

    @property
    def _samples(self) -> int:
        return int(self.frame["samples"].iloc[0])


def summary(results: Results, budgets: Sequence[float]) -> dict[str, Any]:
    """The hypervolumes of a study with their standard errors over seeds, in all and by slice; JSON."""
    kinds, steps = results.kinds, results.steps
    found: dict[str, Any] = {
        "property": results.measure,
        "reference": {"novel": 0, "mean": results.origin},
        "samples": int(results.frame["samples"].iloc[0]),
        "gflop_per_forward": results.forward,
        "common_budget": {kind: results.common_budget(kind) for kind in kinds},
        "hypervolume": _means(results.hypervolumes("canonical")),
        "hypervolume_upstream": _means(results.hypervolumes("upstream")),
        "difference": _differences(results.hypervolumes("canonical")),
        "difference_upstream": _differences(results.hypervolumes("upstream")),
    }
    for protocol in PROTOCOLS:
        found[f"by_steps_{protocol}"] = {
            kind: {str(t): _both(results.hypervolumes(protocol, kind, t)) for t in steps} for kind in kinds
        }
        found[f"by_budget_{protocol}"] = {
            kind: {f"{b:g}": _both(results.hypervolumes(protocol, kind, cost=b)) for b in budgets}
            for kind in kinds
        }
    return found


def _both(values: Mapping[str, Mapping[int, float]]) -> dict[str, Any]:
    """The hypervolumes of a slice, and their differences."""
    return {"hypervolume": _means(values), "difference": _differences(values)}


def _means(values: Mapping[str, Mapping[int, float]]) -> dict[str, dict[str, Any]]:
    """By method mean, standard error and number of seeds; None where undefined."""
    found: dict[str, dict[str, Any]] = {}
    for method, by_seed in values.items():
        mean, se = mean_se(by_seed.values())
        found[method] = {"mean": _known(mean), "se": _known(se), "seeds": len(by_seed)}
    return found


def _differences(values: Mapping[str, Mapping[int, float]]) -> dict[str, dict[str, Any]]:
    """For each pair of methods the mean difference, seed by seed, first minus second."""
    found: dict[str, dict[str, Any]] = {}
    for first, second in itertools.combinations(values, 2):
        both = values[first].keys() & values[second].keys()
        mean, se = mean_se(values[first][seed] - values[second][seed] for seed in sorted(both))
        found[f"{first} - {second}"] = {"mean": _known(mean), "se": _known(se), "seeds": len(both)}
    return found


def _known(value: float) -> float | None:
    return value if np.isfinite(value) else None
