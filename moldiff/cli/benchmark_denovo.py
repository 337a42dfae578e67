"""`moldiff benchmark denovo`: quality and diversity of molecules drawn from scratch, beside the published."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moldiff.cli import output
from moldiff.cli.generate import (
    BatchSize,
    Complete,
    Device,
    Eta,
    Nucleus,
    Option,
    Precision,
    SamplerName,
    Scale,
    Steps,
    Target,
    Temperature,
    TopP,
    batch_rows,
    choice,
    sampler_options,
)
from moldiff.errors import MoldiffError
from moldiff.files import check_folder

if TYPE_CHECKING:
    from moldiff.benchmarks.denovo import Draws
    from moldiff.benchmarks.report import Report

Model = Annotated[
    str | None, typer.Argument(help="A bundled model's name, a folder with card.json, or hf:ORG/NAME; qm9.")
]
Out = Annotated[Path, typer.Option(help="Folder for the samples, manifest.json and table.csv.")]
Number = Annotated[int, typer.Option("-n", "--num", help="Molecules a seed.")]
Seeds = Annotated[str, typer.Option(help="How many, or which: 0,1,2 or 100..102.")]
Repair = Annotated[
    int | None,
    typer.Option(metavar="N", help="Rounds of repair, counted apart; 3 by default, 0 where it cannot be."),
]
File = Annotated[
    Path | None, typer.Option("--file", help="Strings that were drawn already, instead of a model's.")
]
Column = Annotated[str | None, typer.Option(help="Column of --file; of moldiff's tables take raw.")]
Train = Annotated[
    str | None, typer.Option(help="With --file: what it is to be novel to, a model, a file or a data set.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the manifest as one JSON object.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")]

#: The model where none is named.
DEFAULT = "qm9"


def denovo(
    context: typer.Context,
    out: Out,
    model: Model = None,
    num: Number = 1000,
    seeds: Seeds = "3",
    target: Target = None,
    sampler: SamplerName = None,
    steps: Steps = None,
    scale: Scale = None,
    eta: Eta = None,
    sampler_option: Option = None,
    temperature: Temperature = None,
    top_p: TopP = None,
    nucleus: Nucleus = None,
    complete: Complete = None,
    repair: Repair = None,
    batch_size: BatchSize = "auto",
    device: Device = "auto",
    precision: Precision = "auto",
    file: File = None,
    column: Column = None,
    train: Train = None,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Draw molecules from scratch: validity, uniqueness, quality, diversity, novelty and cost.

    Published figures stand below, marked as such. A seed whose samples are in OUT is not drawn again.
    """
    drawing: dict[str, Any] = {
        "targets": target or None,
        "sampler": sampler,
        "steps": steps,
        "scale": scale,
        "temperature": temperature,
        "top_p": top_p,
        "nucleus": choice("--nucleus", nucleus, ("standard", "inclusive")),
        "complete": complete,
        "options": sampler_options(sampler_option or [], eta) or None,
    }
    given = {name: value for name, value in drawing.items() if value is not None}
    check_folder(out)
    command = shlex.join(["moldiff", *context.obj])
    hidden = quiet or json
    if file is not None:
        for name in ["a model"] * (model is not None) + ["repair"] * (repair is not None) + [*given]:
            raise MoldiffError(f"--file: got {file} and {name}, but nothing is drawn; leave one off")
        found = _of_file(file, column, train, hidden)
    else:
        for option, value in {"--column": column, "--train": train}.items():
            if value is not None:
                raise MoldiffError(f"{option}: got {value}, it goes with --file only")
        how = {**given, "batch_size": batch_rows(batch_size), "precision": precision}
        draws = _draws(model or DEFAULT, device, num, seeds, repair, how)
        found = _of_model(draws, out, command, hidden)
    output.deliver(found, out, command, json)
    return 0


def _of_file(file: Path, column: str | None, train: str | None, quiet: bool) -> Report:
    """The figures of strings in a file."""
    from moldiff import registry
    from moldiff.benchmarks import denovo as benchmark
    from moldiff.chem.work import Work
    from moldiff.evaluation.reference import known

    stages = output.stages(quiet)
    reference = None if train is None else known(train, None, Work(1, stages))
    rows = registry.build("modality", "molecules").texts(file, column=column)
    return benchmark.from_file(str(file), rows["raw"].tolist(), reference, stages=stages)


def _draws(name: str, device: str, num: int, seeds: str, repair: int | None, how: dict[str, Any]) -> Draws:
    """What is drawn from the model of that name."""
    from moldiff.benchmarks import denovo as benchmark
    from moldiff.generation.model import load
    from moldiff.generation.request import asked_for
    from moldiff.study import grid

    numbers = grid.seeds(seeds)
    # What cannot be asked of any model is refused before one is loaded.
    asked_for(num, repair=repair or 0, **how)
    model = load(name, device)
    request = asked_for(num, repair=benchmark.rounds(model, repair), **how)
    return benchmark.Draws(name, model, request, numbers)


def _of_model(draws: Draws, out: Path, command: str, quiet: bool) -> Report:
    """The figures of what a model draws."""
    from moldiff.benchmarks import denovo as benchmark

    stages = output.stages(quiet)
    return benchmark.from_model(draws, out, command=command, progress=stages, stages=stages)
