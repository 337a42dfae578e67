"""The goal-directed benchmark: every task of PMO that needs RDKit alone, by several methods and seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from moldiff.chem.goals import TASKS
from moldiff.errors import MoldiffError, unknown
from moldiff.files import write_json, written
from moldiff.optimization import results
from moldiff.optimization.run import Models, Options, Runs, Tell

TABLE = "table.csv"
"""The file with a row a task and method."""

FIGURES = ("auc_top_10", "top_1", "top_10")
"""What is compared, each with its standard error over seeds."""

#: Gives what hears of a task's searches, by the task's name.
TellOf = Callable[[str], Tell]


def chosen(text: str) -> tuple[str, ...]:
    """Tasks by name, parted by commas, or ``all``; MoldiffError for one that there is not, or twice."""
    if text == "all":
        return TASKS
    names = tuple(part.strip() for part in text.split(","))
    for name in names:
        if name not in TASKS:
            raise unknown("task", name, ["all", *TASKS])
    if len(set(names)) < len(names):
        raise MoldiffError(f"tasks: got {text!r}, name each once")
    return names


def run(tasks: Sequence[str], options: Options, command: str, tell_of: TellOf) -> dict[str, Any]:
    """The summary of all tasks. What is in the folder already is not repeated.

    The table and the summary are written after each task, so that they are never older than the searches.

    Args:
        tasks: names in `TASKS`.
        options: of every task; the oracle is the task, and ``out`` the folder above those of the tasks.
        command: what the summary says of where it came from.
        tell_of: shows progress.

    Raises:
        MoldiffError: what `Runs` refuses.
    """
    models = Models(options.model, options.device)
    found: dict[str, Any] = {}
    facts: dict[str, Any] = {}
    for task in tasks:
        own = replace(options, oracle=task, out=options.out / task, starts=options.out, resume=True)
        found[task] = Runs(own, command, tell_of(task), models).run()
        facts = {
            "tasks": list(found),
            "asked": list(tasks),
            **summary({name: each["runs"] for name, each in found.items()}),
            **{name: found[task][name] for name in ("budget", "seeds", "start_size", "model", "versions")},
            **{name: each for name, each in options.identity().items() if name.startswith("start_")},
            "command": command,
        }
        _save_table(options.out / TABLE, facts["by_task"])
        write_json(facts, options.out / results.SUMMARY)
    return facts


def summary(runs: Mapping[str, Mapping[str, Mapping[str, Mapping[str, Any]]]]) -> dict[str, Any]:
    """What methods reached: by task, summed over tasks, and how often each was the best.

    Args:
        runs: by task, method and seed the figures of a search.
    """
    methods = list(next(iter(runs.values())))
    by_task = {
        task: {
            method: {
                name: results.mean_and_error([each[name] for each in seeds.values()]) for name in FIGURES
            }
            for method, seeds in found.items()
        }
        for task, found in runs.items()
    }
    return {"by_task": by_task, "sum": _sums(runs, methods), "wins": _wins(by_task, methods)}


def _sums(runs: Mapping[str, Any], methods: Sequence[str]) -> dict[str, dict[str, float | None]]:
    """By method the sum over tasks of the AUC top-10, with the standard error over seeds."""
    found = {}
    for method in methods:
        table = [[each["auc_top_10"] for each in task[method].values()] for task in runs.values()]
        found[method] = results.mean_and_error(np.sum(table, axis=0).tolist())
    return found


def _wins(by_task: Mapping[str, Any], methods: Sequence[str]) -> dict[str, int]:
    """By method the tasks on which its mean AUC top-10 is above that of every other; a tie is nobody's."""
    won = dict.fromkeys(methods, 0)
    for found in by_task.values():
        means = {method: found[method]["auc_top_10"]["mean"] for method in methods}
        first = [method for method in methods if means[method] == max(means.values())]
        if len(first) == 1:
            won[first[0]] += 1
    return won


def _save_table(path: Path, by_task: Mapping[str, Any]) -> None:
    rows = [
        {
            "task": task,
            "method": method,
            **{
                name + end: figure[kind]
                for name, figure in figures.items()
                for end, kind in (("", "mean"), ("_se", "se"))
            },
        }
        for task, found in by_task.items()
        for method, figures in found.items()
    ]
    with written(path) as part:
        pd.DataFrame(rows).to_csv(part, index=False, lineterminator="\n")
