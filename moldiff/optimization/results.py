"""What a search leaves in its folder: tables of its calls and of the best, a summary, and curves."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from moldiff.files import write_json, written
from moldiff.optimization.auc import curve, figures
from moldiff.optimization.calls import Call
from moldiff.optimization.loop import Ending
from moldiff.optimization.population import best

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Worths = Sequence[float]

CALLS, TABLE, MOLECULES, SUMMARY, CURVE = "calls.csv", "top.csv", "top.smi", "summary.json", "curve.png"
"""The files."""

#: Okabe and Ito's colours, which the colour-blind can tell apart.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_POINTS = 100


def save(folder: Path, ending: Ending, names: Sequence[str], top: int, facts: Mapping[str, Any]) -> None:
    """Writes the tables and the summary of one search.

    Args:
        folder: where to.
        ending: the search.
        names: the oracles whose values a worth has.
        top: how many of the best molecules.
        facts: the summary.
    """
    order = {call.smiles: number for number, call in enumerate(ending.calls, start=1)}
    _table(folder / CALLS, ending.calls, names, order)
    chosen = best(ending.calls, top)
    _table(folder / TABLE, chosen, names, order)
    with written(folder / MOLECULES) as part:
        part.write_text("".join(f"{call.smiles}\n" for call in chosen), encoding="utf-8")
    write_json(facts, folder / SUMMARY)


def summarised(ending: Ending, budget: int) -> dict[str, Any]:
    """The figures of one search; JSON."""
    last = ending.last
    return {
        **figures([call.worth.value for call in ending.calls], budget),
        "ended_by": ending.why,
        "generations": last.generation,
        "proposed": last.proposed,
        "invalid": last.invalid,
        "repeats": last.repeats,
        "without_a_value": failures(ending.calls),
    }


def failures(calls: Sequence[Call]) -> dict[str, int]:
    """How often each reason for a worth of 0 occurs, without its detail, the commonest first."""
    reasons = (call.worth.reason for call in calls)
    found = Counter(": ".join(reason.split(": ")[:2]) for reason in reasons if reason is not None)
    return dict(found.most_common())


def mean_and_error(values: Sequence[float]) -> dict[str, float | None]:
    """The mean of N >= 1 values and its standard error, None for one value."""
    se = float(np.std(values, ddof=1) / math.sqrt(len(values))) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "se": se}


def save_curves(path: Path, runs: Mapping[str, Sequence[Worths]], budget: int, what: str) -> None:
    """Draws by method the mean of the best 10 so far against calls, over seeds, with its standard error.

    Args:
        path: a PNG file.
        runs: by method the worths of each seed's calls, in order.
        budget: calls that were allowed.
        what: the oracle, for the axis.
    """
    figure = _new_figure()
    axes = figure.subplots()
    every = max(1, budget // _POINTS)
    grid = np.unique([*range(0, budget + 1, every), budget]).astype(float)
    for number, (method, worths) in enumerate(runs.items()):
        rows = np.array([np.interp(grid, *curve(each, budget, 10, every)) for each in worths])
        mean, colour = rows.mean(0), _COLOURS[number % len(_COLOURS)]
        axes.plot(grid, mean, color=colour, linewidth=1.6, label=method)
        if len(rows) > 1:
            error = rows.std(0, ddof=1) / math.sqrt(len(rows))
            axes.fill_between(grid, mean - error, mean + error, color=colour, alpha=0.2, linewidth=0)
    seeds = max(len(worths) for worths in runs.values())
    band = ", band: standard error" if seeds > 1 else ""
    axes.set_title(f"mean over {seeds} seed{'s' * (seeds != 1)}{band}", fontsize=9)
    axes.set_xlabel("oracle calls (distinct valid molecules)")
    axes.set_ylabel(f"mean worth of the 10 best so far: {what}")
    axes.set_xlim(0, budget)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
    with written(path) as part:
        figure.savefig(part, format="png", dpi=150)


def _new_figure() -> Figure:
    # Deferred: matplotlib takes half a second.
    from matplotlib.figure import Figure

    return Figure(figsize=(6.4, 4.4), layout="constrained")


def _table(path: Path, calls: Sequence[Call], names: Sequence[str], order: Mapping[str, int]) -> None:
    """One row a call: its number from 1, molecule, score, the oracles' values where several, why 0."""
    columns: dict[str, Any] = {
        "order": [order[call.smiles] for call in calls],
        "smiles": [call.smiles for call in calls],
        "score": np.array([call.worth.value for call in calls], dtype=np.float64),
    }
    if len(names) > 1:
        for place, name in enumerate(names):
            values = [call.worth.parts[place] for call in calls]
            columns[name] = np.array([np.nan if each is None else each for each in values], dtype=np.float64)
    columns["reason"] = pd.Series([call.worth.reason for call in calls], dtype=object)
    with written(path) as part:
        pd.DataFrame(columns).to_csv(part, index=False, lineterminator="\n")
