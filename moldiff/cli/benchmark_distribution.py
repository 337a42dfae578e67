"""`moldiff benchmark distribution`: MOSES's figures of a file of generated molecules beside a test set."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from moldiff.cli import output
from moldiff.cli.evaluate import EXACT, Column, Exact, Seed
from moldiff.cli.generate import Device
from moldiff.errors import MoldiffError
from moldiff.files import check_folder

File = Annotated[Path, typer.Argument(help="What was generated, valid or not: .smi, .csv and the like.")]
Test = Annotated[str, typer.Option(help="Molecules to be like: a file, a token file or a data set.")]
Train = Annotated[str | None, typer.Option(help="What novelty is to: the same, or a model's name or folder.")]
TestColumn = Annotated[str | None, typer.Option("--test-column", help="Column of --test.")]
TrainColumn = Annotated[str | None, typer.Option("--train-column", help="Column of --train.")]
Fcd = Annotated[
    bool | None,
    typer.Option("--fcd/--no-fcd", help="Fréchet ChemNet distance; by default where fcd is installed."),
]
Out = Annotated[Path, typer.Option(help="Folder for manifest.json and table.csv.")]
Workers = Annotated[int, typer.Option(help="Processes.")]
Json = Annotated[bool, typer.Option("--json", help="Print the manifest as one JSON object.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")]


def distribution(
    context: typer.Context,
    file: File,
    test: Test,
    out: Out,
    train: Train = None,
    column: Column = None,
    test_column: TestColumn = None,
    train_column: TrainColumn = None,
    fcd: Fcd = None,
    device: Device = "auto",
    workers: Workers = 1,
    exact: Exact = EXACT,
    seed: Seed = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Compare generated molecules with a test set, as MOSES does.

    docs/benchmark.md has every figure and what differs from MOSES's code.
    """
    if train is None and train_column is not None:
        raise MoldiffError(f"--train-column: got {train_column!r} without --train")

    from moldiff import registry
    from moldiff.benchmarks import distribution as benchmark
    from moldiff.chem.work import Work
    from moldiff.evaluation.reference import known

    chosen = benchmark.Chosen(fcd, device, exact, seed)
    work = Work(workers, output.stages(quiet or json))
    check_folder(out)
    rows = registry.build("modality", "molecules").texts(file, column=column)
    tested = known(test, test_column, work)
    trained = None if train is None else known(train, train_column, work)
    found = benchmark.compare(str(file), rows["raw"].tolist(), tested, trained, chosen, work)
    output.deliver(found, out, shlex.join(["moldiff", *context.obj]), json)
    return 0
