"""`moldiff benchmark fragments`: five tasks in which a core of a known drug has to be kept."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moldiff.cli import output
from moldiff.cli.benchmark_denovo import Json, Quiet, Seeds
from moldiff.cli.design import MODEL
from moldiff.cli.generate import Device

if TYPE_CHECKING:
    from moldiff.benchmarks.fragments import Draw

#: By the name of a model and a device, what draws from it, and what fixes its draws, as JSON.
Drawer = Callable[[str, str], "tuple[Draw, Mapping[str, Any]]"]

File = Annotated[
    Path | None,
    typer.Argument(
        help="CSV of drugs: name, smiles, linker_fragments, motif, scaffold, superstructure; ten by default."
    ),
]
Model = Annotated[str, typer.Option(help="A bundled model's name, a folder with card.json, or hf:ORG/NAME.")]
Number = Annotated[int, typer.Option("-n", "--num", help="Strings a task, drug and seed.")]
Out = Annotated[Path, typer.Option(help="Folder for the draws, drugs.csv, manifest.json and table.csv.")]


def verb(drawer: Drawer) -> Callable[..., int]:
    """The command, drawing by ``drawer``, which is asked once the arguments are known to be good."""

    def fragments(
        context: typer.Context,
        out: Out,
        file: File = None,
        model: Model = MODEL,
        num: Number = 100,
        seeds: Seeds = "1",
        device: Device = "auto",
        json: Json = False,
        quiet: Quiet = False,
    ) -> int:
        """Link, extend, decorate, grow and morph cores of known drugs: what is valid, and what keeps them.

        A draw that is in OUT is not repeated.
        """
        from moldiff.benchmarks import fragments as benchmark
        from moldiff.study import grid

        drugs, numbers = benchmark.drugs(file), grid.seeds(seeds)
        draw, asked = drawer(model, device)
        stages = output.stages(quiet or json)
        found = benchmark.run(draw, drugs, num, numbers, out, asked=asked, progress=stages)
        output.deliver(found, out, shlex.join(["moldiff", *context.obj]), json)
        return 0

    return fragments
