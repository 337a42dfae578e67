"""`moldiff likelihood`: how probable a model finds given molecules."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moldiff.cli import output
from moldiff.errors import MoldiffError
from moldiff.files import written

if TYPE_CHECKING:
    import pandas as pd

File = Annotated[Path, typer.Argument(help="The molecules: a file or a data set, as data prepare takes.")]
Model = Annotated[str, typer.Argument(help="A bundled model's name, or a folder with card.json.")]
Column = Annotated[str | None, typer.Option(help="Column of a table; guessed by default.")]
Times = Annotated[int, typer.Option(help="Forwards a molecule; more give smaller errors.")]
Seed = Annotated[int, typer.Option(help="The estimate of molecule i depends on the seed and i alone.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")]
Out = Annotated[Path | None, typer.Option(help="Table: .csv.")]
Json = Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object.")]


def likelihood(
    file: File,
    model: Model = "qm9",
    column: Column = None,
    times: Times = 64,
    seed: Seed = 0,
    device: Device = "auto",
    out: Out = None,
    json: Json = False,
) -> int:
    """Estimate the bound on -log p of each molecule in a file, in nats, with the term for its length.

    One row a line of the file: line, smiles, nll, nll_length (exact), se (of the estimate), tokens, and the
    reason where there is none.
    """
    if out is not None:
        output.check_writable(out, file)
        if out.suffix != ".csv":
            raise MoldiffError(f"--out: got {out}, a table of likelihoods ends in .csv")

    from moldiff.evaluation import likelihood
    from moldiff.generation.model import load

    loaded = load(model, device)
    rows = loaded.modality.read(file, column=column)
    found = likelihood.bound(loaded, rows[loaded.modality.key].tolist(), times, seed).to_pandas()
    # Why a row could not be read says more than that nothing came of it.
    frame = rows.drop(columns="reason").join(found)
    frame["reason"] = rows["reason"].where(rows["reason"].notna(), found["reason"])
    if out is not None:
        frame[loaded.modality.key] = loaded.modality.spelt(frame[loaded.modality.key].tolist())
        with written(out) as part:
            frame.to_csv(part, index=False)
    facts = _summary(frame, loaded.modality.noun)
    if json:
        print(jsonlib.dumps(facts))
        return 0
    output.table(
        [(key.replace("_", " "), output.number(value, 5)) for key, value in facts.items()],
        (loaded.card.name, ""),
    )
    if out is not None:
        print(f"wrote {out}")
    return 0


def _summary(frame: pd.DataFrame, noun: str) -> dict[str, Any]:
    """Means over the items that have a bound."""
    known = frame[frame["reason"].isna()]
    if known.empty:
        first = frame["reason"].iloc[0]
        raise MoldiffError(f"likelihood: the model reaches none of {len(frame)} {noun}s ({first})")
    n, tokens = len(known), float(known["tokens"].sum())
    return {
        f"{noun}s": len(frame),
        "out_of_reach": len(frame) - n,
        f"nats_per_{noun}": float(known["nll"].mean()),
        f"se_over_{noun}s": float(known["nll"].std(ddof=1) / n**0.5) if n > 1 else None,
        "of_which_length": float(known["nll_length"].mean()),
        "nats_per_token": float((known["nll"] - known["nll_length"]).sum()) / tokens,
    }
