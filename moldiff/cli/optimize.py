"""`moldiff optimize`: molecules that an oracle finds good, within a budget of calls."""

from __future__ import annotations

import json as jsonlib
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from moldiff.cli import output
from moldiff.errors import MoldiffError

Oracle = Annotated[
    str,
    typer.Option(
        help="qed, osimertinib_mpo, similarity:SMILES, module:function, cmd:PROGRAM, FILE.safetensors, or a "
        "goal file, GOAL.yaml, with several of them."
    ),
]
Out = Annotated[Path, typer.Option(help="Folder for calls, tables, summaries and the curve.")]
Budget = Annotated[int, typer.Option(help="Distinct valid molecules that a search may ask about.")]
Method = Annotated[str, typer.Option(help="moldiff, ga, or both, by commas.")]
Seed = Annotated[int | None, typer.Option(help="Of the one search.")]
Seeds = Annotated[str | None, typer.Option(help="How many, or which: 0,1,2 or 100..102.")]
Start = Annotated[
    Path | None, typer.Option(help="File of molecules to start from; by default samples of the model.")
]
StartSize = Annotated[int, typer.Option(help="Molecules to start from, at most.")]
Model = Annotated[str | None, typer.Option(help="Bundled name or folder of a model of molecules.")]
Target = Annotated[
    list[str] | None, typer.Option(help="What the model is asked for in proposals: qed=top10%, logp=2..3.")
]
Top = Annotated[int, typer.Option(help="Rows of top.csv and top.smi.")]
Workers = Annotated[int, typer.Option(help="Processes that ask the oracle.")]
Timeout = Annotated[float, typer.Option(help="Seconds an oracle may spend on a molecule; 0 for no limit.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with what is in OUT, also to a larger budget.")]
Json = Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]


def optimize(
    context: typer.Context,
    oracle: Oracle,
    out: Out,
    budget: Budget = 10_000,
    method: Method = "moldiff,ga",
    seed: Seed = None,
    seeds: Seeds = None,
    start: Start = None,
    start_size: StartSize = 120,
    model: Model = None,
    target: Target = None,
    top: Top = 100,
    workers: Workers = 1,
    timeout: Timeout = 60.0,
    device: Device = "auto",
    resume: Resume = False,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Search for molecules that an oracle finds good, by several methods from the same start.

    docs/optimize.md has the goal files, the files that are written and how the figures are defined.
    """
    from moldiff.optimization.run import MODEL, Options, Runs

    options = Options(
        oracle,
        out,
        budget,
        methods=tuple(part.strip() for part in method.split(",")),
        seeds=chosen_seeds(seed, seeds),
        start=start,
        start_size=start_size,
        model=MODEL if model is None else model,
        targets=tuple(target or ()),
        top=top,
        workers=workers,
        timeout=timeout or None,
        device=device,
        resume=resume,
    )
    live = Live(budget, quiet or json)
    try:
        facts = Runs(options, shlex.join(["moldiff", *context.obj]), live).run()
    finally:
        live.end()
    if json:
        print(jsonlib.dumps(facts, allow_nan=False))
    else:
        _show(facts, out)
    return 0


def chosen_seeds(seed: int | None, seeds: str | None) -> tuple[int, ...]:
    """The seeds that two options ask for: 0 where neither does."""
    from moldiff.study import grid

    if seed is not None and seeds is not None:
        raise MoldiffError(f"--seeds: got {seeds!r} and --seed {seed}; leave one off")
    if seeds is not None:
        return grid.seeds(seeds)
    if seed is not None and seed < 0:
        raise MoldiffError(f"--seed: got {seed}, must be at least 0")
    return (0 if seed is None else seed,)


class Live:
    """One line on stderr about the search at work, rewritten on a terminal, now and then elsewhere."""

    def __init__(self, budget: int, quiet: bool, prefix: str = "") -> None:
        self._budget, self._quiet, self._prefix = budget, quiet, prefix
        self._terminal = sys.stderr.isatty()
        self._shown: tuple[str, int, int] | None = None

    def __call__(self, method: str, seed: int, worths: Sequence[float]) -> None:
        """Shows where a search is."""
        # Elsewhere than on a terminal a tenth of the budget is worth a line.
        tenth = 10 * len(worths) // self._budget
        if self._quiet or not worths or (not self._terminal and self._shown == (method, seed, tenth)):
            return
        from moldiff.optimization.auc import auc, top

        figures = f"top-1 {top(worths, 1):.4f}, top-10 {top(worths, 10):.4f}"
        figures += f", AUC top-10 {auc(worths, len(worths)):.4f}"
        line = f"{self._prefix}{method} seed {seed}: {len(worths):,} of {self._budget:,} calls, {figures}"
        if self._terminal:
            new = self._shown is not None and self._shown[:2] != (method, seed)
            line = ("\n" if new else "\r\033[K") + line
        print(line, end="" if self._terminal else "\n", file=sys.stderr, flush=True)
        self._shown = (method, seed, tenth)

    def end(self) -> None:
        """Leaves the line."""
        if self._terminal and self._shown is not None:
            print(file=sys.stderr)


def _show(facts: dict[str, Any], out: Path) -> None:
    columns = ("auc_top_10", "top_1", "top_10", "top_100")
    rows = [
        (name, *(output.spread(each[column]) for column in columns), f"{each['calls']['mean']:,.0f}")
        for name, each in facts["methods"].items()
    ]
    output.table(rows, ("method", "AUC top-10", "top-1", "top-10", "top-100", "calls"))
    for method, runs in facts["runs"].items():
        for seed, found in runs.items():
            failed = ", ".join(f"{reason} {count}" for reason, count in found["without_a_value"].items())
            if failed:
                print(f"{method} seed {seed}, worth 0 for want of a value: {failed}")
            if found["ended_by"] != "budget":
                print(f"{method} seed {seed}: ended after {found['calls']} calls, it found nothing new")
    print(f"wrote calls, tables, summaries and curve.png to {out}")
