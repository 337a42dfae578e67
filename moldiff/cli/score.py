"""`moldiff score`: the value of each molecule in a file by any number of oracles."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import Annotated, Any

import typer

from moldiff.cli import output

File = Annotated[Path, typer.Argument(help="The molecules: .smi, .txt, .csv and others, plain or gzipped.")]
Oracle = Annotated[
    list[str] | None,
    typer.Option(
        "--oracle",
        help="qed, similarity:SMILES, module:function, cmd:PROGRAM, FILE.safetensors; NAME= before it names "
        "the column; again for more. The properties that generate gives by default.",
    ),
]
Column = Annotated[str | None, typer.Option(help="Column of a table; guessed by default.")]
Out = Annotated[Path | None, typer.Option(help="Table with a value or a reason a row: .csv and others.")]
Workers = Annotated[int, typer.Option(help="Processes.")]
Timeout = Annotated[float, typer.Option(help="Seconds an oracle may spend on a molecule; 0 for no limit.")]
Scaffold = Annotated[bool, typer.Option("--scaffold", help="Add a column with the Murcko scaffold.")]
Json = Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")]


def score(
    file: File,
    oracle: Oracle = None,
    column: Column = None,
    out: Out = None,
    workers: Workers = 1,
    timeout: Timeout = 60.0,
    scaffold: Scaffold = False,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Score the molecules of a file, one row a line of it; where there is no value, the table says why.

    `moldiff oracle list` shows the oracles there are, docs/oracles.md how to use your own.
    """
    if out is not None:
        output.check_writable(out, file)

    from moldiff import registry
    from moldiff.chem.oracles import ORACLES
    from moldiff.chem.scoring import Scorer, Stopped

    modality = registry.build("modality", "molecules")
    if out is not None:
        modality.check_output(out)
    limit = None if timeout == 0 else timeout
    with Scorer(oracle or list(ORACLES), workers=workers, timeout=limit, scaffold=scaffold) as scorer:
        rows = modality.read(file, column=column, workers=workers)
        with output.progress_bar(len(rows) * scorer.stages, "scoring", quiet or json) as progress:
            try:
                scores = scorer(rows[modality.key].tolist(), progress, canonical=True)
            except Stopped as stop:
                scores = stop.scores
    frame = scores.to_pandas()
    frame.insert(0, "line", rows["line"].astype(int))
    texts = modality.texts(file, column=column).set_index("line")["raw"]
    frame.insert(1, "raw", frame["line"].map(texts))
    # Why a row could not be read says more than that there was nothing to score.
    frame["reason"] = rows["reason"].where(rows["reason"].notna(), frame["reason"])
    rejects = rows["reason"].dropna().value_counts()
    facts = {**scores.summary(), "rejects": {str(reason): int(n) for reason, n in rejects.items()}}
    if out is not None:
        modality.write(frame, out)
    if json:
        print(jsonlib.dumps(facts, allow_nan=False))
    else:
        _report(facts, out)
    if scores.interrupted:
        raise KeyboardInterrupt
    return 0


def _report(facts: dict[str, Any], out: Path | None) -> None:
    rows = [_row(name, found) for name, found in facts["oracles"].items()]
    output.table(rows, ("oracle", "mean ± s.e.", "min", "max", "values", "without one"))
    rejects = ", ".join(f"{reason} {count}" for reason, count in facts["rejects"].items())
    print(f"rows: {facts['molecules']}" + (f"; no molecule: {rejects}" if rejects else ""))
    print(", ".join(f"{name} {version}" for name, version in facts["versions"].items()))
    for note in facts["notes"]:
        print(f"note: {note}")
    if out is not None:
        print(f"wrote {out}")


def _row(name: str, found: dict[str, Any]) -> tuple[str, ...]:
    mean = f"{output.number(found['mean'], 4)} ± {output.number(found['se'], 2)}"
    unit = f" ({found['unit']})" if found["unit"] else ""
    low, high = output.number(found["min"], 4), output.number(found["max"], 4)
    failed = ", ".join(f"{reason} {count}" for reason, count in found["failures"].items())
    return name + unit, mean, low, high, str(found["count"]), failed or "-"
