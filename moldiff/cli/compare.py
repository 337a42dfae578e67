"""`moldiff compare`: noise processes side by side, against steps and compute, unguided and guided."""

from __future__ import annotations

import json as jsonlib
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moldiff.cli import output
from moldiff.cli.pareto import (
    Device,
    Json,
    Models,
    Number,
    Out,
    Quiet,
    Scales,
    Seeds,
    SettingsFile,
    Stage,
    Steps,
    Workers,
    one_of,
    progress,
    sampled_line,
)

if TYPE_CHECKING:
    import pandas as pd

Methods = Annotated[str, typer.Option(help="Names in the settings, by commas.")]
Property = Annotated[str | None, typer.Option(help="Of which guided runs ask the class high.")]
Guidance = Annotated[str, typer.Option(help="Kinds of guidance, by commas: none, cfg, cbg.")]
HeldoutFile = Annotated[
    Path | None,
    typer.Option("--heldout", help="Molecules, or a token file: the likelihood of its held-out rows."),
]
Items = Annotated[int, typer.Option(help="How many of these at most, drawn at random.")]
Times = Annotated[int, typer.Option(help="Forwards each takes; more give smaller errors.")]


def compare(
    context: typer.Context,
    out: Out,
    model: Models = None,
    settings: SettingsFile = None,
    property: Property = None,
    methods: Methods = "mdlm,udlm,ar",
    guidance: Guidance = "none",
    scales: Scales = "2",
    steps: Steps = "8,16,32,64,128",
    num: Number = 1024,
    seeds: Seeds = "3",
    heldout: HeldoutFile = None,
    items: Items = 1000,
    times: Times = 64,
    stage: Stage = "all",
    device: Device = "auto",
    workers: Workers = 1,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Compare masked with uniform noise, and both with left to right: what comes out, and at what cost.

    A run that is in OUT already is not repeated. With --property, guided kinds may be asked for beside none.
    """
    one_of("--stage", stage, ("sample", "score", "all"))

    from moldiff.study import comparison, grid, study
    from moldiff.study.plan import Plan
    from moldiff.study.settings import load

    asked = grid.Grid(
        property,
        grid.names("--methods", methods),
        grid.names("--guidance", guidance),
        grid.scales(scales),
        grid.steps(steps),
        grid.seeds(seeds),
        num,
    )
    options = study.Options(stage, device, workers, command=shlex.join(["moldiff", *context.obj]))
    items_of = None if heldout is None else comparison.Heldout(heldout, items, times)
    plan = Plan(load(settings).with_models(model or []), asked)
    with progress(quiet or json) as tell:
        found = comparison.compare(plan, out, options, items_of, tell)
    if json:
        facts = found.summary or {"runs": len(plan.runs), "sampled": found.sampled}
        print(jsonlib.dumps(facts, allow_nan=False))
    elif found.means is None:
        print(sampled_line(len(plan.runs), found.sampled, out))
    else:
        _show(found.means, found.likelihoods, found.summary["labels"], property)
        files = ["compare.csv", "compare-means.csv", "summary.json", "compare.png", "compare.svg"]
        files += ["likelihood.csv"] if found.likelihoods is not None else []
        print(f"wrote {', '.join(files)} to {out}")
    return 0


def _show(
    means: pd.DataFrame, likelihoods: pd.DataFrame | None, labels: dict[str, str], name: str | None
) -> None:
    """Prints the means over seeds as tables."""
    counts = ("valid", "unique", "novel", "novel (raw)")
    header = ("method", "guidance", "T", *counts, "IntDiv", "GFLOP", "forwards")
    rows = []
    for row in means.to_dict("records"):
        told = "-" if row["guidance"] == "none" else f"{row['guidance']} {row['scale']:g}"
        cells = [_share(row, key) for key in ("validity", "uniqueness", "novelty", "novelty_upstream")]
        steps = str(row["steps"]) if isinstance(row["steps"], int) else "-"
        rest = [_cell(row, "intdiv"), output.number(row["gflop"]), output.number(row["forwards"])]
        asked = [] if name is None else [_cell(row, f"{name}_valid")]
        rows.append((labels[row["method"]], told, steps, *cells, *rest, *asked))
    output.table(rows, header if name is None else (*header, f"{name} of valid"))
    if likelihoods is not None:
        _show_likelihoods(likelihoods, labels)


def _show_likelihoods(found: pd.DataFrame, labels: dict[str, str]) -> None:
    rows = []
    for row in found.to_dict("records"):
        rest = (output.number(row["nats_length"]), output.number(row["nats_per_token"]))
        rows.append((labels[row["method"]], _cell(row, "nats"), *rest, output.number(row["perplexity"], 4)))
    nats = f"nats a molecule, {int(found['items'].iloc[0])} held out"
    output.table(rows, ("method", nats, "of which length", "a token", "perplexity"))


def _share(row: Mapping[Any, Any], key: str) -> str:
    error = row[f"{key}_se"]
    return output.percent(row[key]) + ("" if error != error else f" ± {100 * error:.2g}")


def _cell(row: Mapping[Any, Any], key: str) -> str:
    error = row[f"{key}_se"]
    return output.number(row[key]) + ("" if error != error else f" ± {output.number(error, 2)}")
