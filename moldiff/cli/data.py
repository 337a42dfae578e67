"""`moldiff data`: turn a data file into a token file, from which training needs no chemistry."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from moldiff.cli import output

data_app = typer.Typer(help="Prepare data for training.", rich_markup_mode=None)

File = Annotated[Path, typer.Argument(help="The data: .smi, .txt or .csv, plain or gzipped.")]
Out = Annotated[Path, typer.Option(help="The token file to write, .safetensors.")]
Modality = Annotated[str, typer.Option(help="What the items are.")]
Column = Annotated[str | None, typer.Option(help="Column of a .csv; guessed by default.")]
PadTo = Annotated[int | None, typer.Option("--pad-to", help="Pad every item to this length.")]
HeldOut = Annotated[float, typer.Option("--heldout", help="Share of rows kept from training.")]
Workers = Annotated[int, typer.Option(help="Processes.")]


@data_app.callback()
def data() -> None:
    """Prepare data for training."""


@data_app.command()
def prepare(
    file: File,
    out: Out,
    modality: Modality = "molecules",
    column: Column = None,
    pad_to: PadTo = None,
    heldout: HeldOut = 0.05,
    workers: Workers = 1,
) -> int:
    """Write the token file of a data file: tokens, lengths, properties, held-out rows."""
    output.check_writable(out)

    from moldiff import registry
    from moldiff.errors import MoldiffError

    if out.suffix != ".safetensors":
        raise MoldiffError(f"--out: got {out}, a token file ends in .safetensors")
    if not 0 <= heldout < 1:
        raise MoldiffError(f"--heldout: got {heldout}, must be in [0, 1)")
    kind = registry.build("modality", modality)
    tokens = kind.prepare(file, column=column, pad_to=pad_to, heldout=heldout, workers=workers)
    tokens.save(out)
    reasons = ", ".join(f"{reason} {count}" for reason, count in tokens.info["rejected"].items())
    repeats = tokens.info["duplicates"]
    print(f"wrote {out}: {len(tokens):,} items; left out: {reasons or 'none'}; repeats: {repeats}")
    return 0
