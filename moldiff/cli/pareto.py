"""`moldiff pareto`: which method trades novelty against a property best, at equal steps and at equal cost."""

from __future__ import annotations

import json as jsonlib
import math
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moldiff.cli import output
from moldiff.errors import MoldiffError

if TYPE_CHECKING:
    from moldiff.study.sampling import Tell
    from moldiff.study.study import Found

Out = Annotated[Path, typer.Option(help="Folder for token files, tables and pictures.")]
Models = Annotated[
    list[str] | None,
    typer.Option("--model", help="METHOD=MODEL, or MODEL for all methods: instead of the settings' models."),
]
SettingsFile = Annotated[
    Path | None, typer.Option("--settings", help="YAML with the methods; the shipped study's by default.")
]
Property = Annotated[str, typer.Option(help="Of which the class high is asked.")]
Methods = Annotated[str | None, typer.Option(help="Names in the settings, by commas; all by default.")]
Guidance = Annotated[str, typer.Option(help="Kinds of guidance, by commas: cfg, cbg, none.")]
Scales = Annotated[str, typer.Option(help="Guidance scales: 1..5 or 1,1.5,2.")]
Steps = Annotated[str, typer.Option(help="Reverse steps T: 32,64,128.")]
Number = Annotated[int, typer.Option("-n", "--num", help="Molecules a run.")]
Seeds = Annotated[str, typer.Option(help="How many, or which: 0,1,2 or 100..102.")]
Stage = Annotated[str, typer.Option(help="sample (torch alone), score (RDKit), or all.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")]
Workers = Annotated[int, typer.Option(help="Processes that score.")]
Protocol = Annotated[str, typer.Option(help="How the picture counts novelty: canonical or upstream.")]
Published = Annotated[bool, typer.Option("--published", help="Draw the papers' points too, marked as such.")]
Budgets = Annotated[
    str, typer.Option(help="Costs to compare at, in forwards over a whole molecule, by commas.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]


def pareto(
    context: typer.Context,
    out: Out,
    model: Models = None,
    settings: SettingsFile = None,
    property: Property = "ring_count",
    methods: Methods = None,
    guidance: Guidance = "cfg",
    scales: Scales = "1..5",
    steps: Steps = "32,64,128",
    num: Number = 1024,
    seeds: Seeds = "5",
    stage: Stage = "all",
    device: Device = "auto",
    workers: Workers = 1,
    protocol: Protocol = "canonical",
    published: Published = False,
    budgets: Budgets = "8,12,15,30",
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Sample every combination of method, guidance, scale, steps and seed, and draw the fronts.

    A run that is in OUT already is not repeated, so an interrupted study goes on where it stopped.
    """
    one_of("--stage", stage, ("sample", "score", "all"))
    one_of("--protocol", protocol, ("canonical", "upstream"))

    from moldiff.study import grid, study
    from moldiff.study.plan import Plan
    from moldiff.study.settings import load

    known = load(settings)
    asked = grid.Grid(
        property,
        tuple(known.methods) if methods is None else grid.names("--methods", methods),
        grid.names("--guidance", guidance),
        grid.scales(scales),
        grid.steps(steps),
        grid.seeds(seeds),
        num,
    )
    command = shlex.join(["moldiff", *context.obj])
    options = study.Options(stage, device, workers, protocol, published, grid.budgets(budgets), command)
    plan = Plan(known.with_models(model or []), asked)
    with progress(quiet or json) as tell:
        found = study.pareto(plan, out, options, tell)
    if json:
        print(jsonlib.dumps(found.summary or {"runs": found.runs, "sampled": found.sampled}, allow_nan=False))
    else:
        _show(found, out)
    return 0


def one_of(option: str, name: str, choices: tuple[str, ...]) -> None:
    """Refuses a name that is not among the choices."""
    if name not in choices:
        raise MoldiffError(f"{option}: got {name!r}, choose from {', '.join(choices)}")


@contextmanager
def progress(quiet: bool) -> Iterator[Tell]:
    """What tells of a study's runs on stderr: one line, rewritten on a terminal and repeated elsewhere."""
    terminal = sys.stderr.isatty()

    def tell(done: int, total: int, last: str, left: float) -> None:
        if quiet or (not last and done < total):
            return
        rest = "" if math.isnan(left) or done == total else f", about {duration(left)} left"
        line = f"{done} of {total} runs{rest}" + (f" ({last})" if last else ": all there")
        print(
            f"\r\033[K{line}" if terminal else line, end="" if terminal else "\n", file=sys.stderr, flush=True
        )

    try:
        yield tell
    finally:
        if terminal and not quiet:
            print(file=sys.stderr)


def sampled_line(runs: int, sampled: int, out: Path) -> str:
    """What is said where nothing was scored."""
    return f"{runs} runs, {sampled} of them sampled now, in {out}; score them with --stage score"


def duration(seconds: float) -> str:
    """A time in words, to two digits or so."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _show(found: Found, out: Path) -> None:
    """Prints the hypervolumes and where everything is."""
    if found.results is None:
        print(sampled_line(found.runs, found.sampled, out))
        return
    facts = found.summary
    rows = [
        (
            facts["labels"][name],
            output.spread(each),
            output.spread(facts["hypervolume_upstream"][name]),
            str(each["seeds"]),
        )
        for name, each in facts["hypervolume"].items()
    ]
    origin = f"above 0 novel and {facts['property']} {facts['reference']['mean']:.4g}"
    output.table(rows, ("method", f"hypervolume {origin}", "by raw strings", "seeds"))
    if found.scored != found.runs:
        print(f"{found.scored} of {found.runs} runs are there; seeds that lack any have no hypervolume")
    print(f"wrote results.csv, front.csv, budgets.csv, summary.json, pareto.png and pareto.svg to {out}")
