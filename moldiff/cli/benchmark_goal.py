"""`moldiff benchmark goal`: the goal-directed tasks of PMO that need RDKit alone."""

from __future__ import annotations

import json as jsonlib
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from moldiff.cli import output
from moldiff.cli.optimize import (
    Budget,
    Device,
    Json,
    Live,
    Model,
    Quiet,
    Seed,
    Seeds,
    Start,
    StartSize,
    Workers,
    chosen_seeds,
)

Out = Annotated[Path, typer.Option(help="Folder for the table, the summary, and a folder a task.")]
Tasks = Annotated[str, typer.Option(help="Names of tasks, by commas, or all.")]
Methods = Annotated[str, typer.Option(help="moldiff, ga, or both, by commas.")]


def goal(
    context: typer.Context,
    out: Out,
    tasks: Tasks = "all",
    budget: Budget = 10_000,
    methods: Methods = "moldiff,ga",
    seed: Seed = None,
    seeds: Seeds = None,
    start: Start = None,
    start_size: StartSize = 120,
    model: Model = None,
    workers: Workers = 1,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Optimise the 20 goal-directed tasks of PMO that need no trained model, and compare methods.

    A search that is in OUT already is not repeated, so an interrupted benchmark goes on where it stopped.
    """
    from moldiff.optimization import benchmark
    from moldiff.optimization.run import MODEL, Options

    chosen = benchmark.chosen(tasks)
    options = Options(
        chosen[0],
        out,
        budget,
        methods=tuple(part.strip() for part in methods.split(",")),
        seeds=chosen_seeds(seed, seeds),
        start=start,
        start_size=start_size,
        model=MODEL if model is None else model,
        workers=workers,
        device=device,
        resume=True,
    )
    lives = {task: Live(budget, quiet or json, f"{task} ") for task in chosen}
    try:
        facts = benchmark.run(chosen, options, shlex.join(["moldiff", *context.obj]), lives.__getitem__)
    finally:
        for live in lives.values():
            live.end()
    if json:
        print(jsonlib.dumps(facts, allow_nan=False))
    else:
        _show(facts, out)
    return 0


def _show(facts: dict[str, Any], out: Path) -> None:
    methods = list(facts["wins"])
    rows = [
        (
            task,
            *(output.spread(found[method][name]) for name in ("auc_top_10", "top_1") for method in methods),
        )
        for task, found in facts["by_task"].items()
    ]
    header = ("task", *(f"{name} {method}" for name in ("AUC top-10", "top-1") for method in methods))
    sums = ("sum", *(output.spread(facts["sum"][method]) for method in methods), *([""] * len(methods)))
    output.table([*rows, sums], header)
    won = ", ".join(f"{method} {count}" for method, count in facts["wins"].items())
    print(f"best by mean AUC top-10, of {len(facts['tasks'])} tasks: {won}")
    print(f"wrote table.csv and summary.json to {out}")
