"""`moldiff oracle`: the oracles there are, and fitting one to measured values."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moldiff.cli import output
from moldiff.errors import MoldiffError, unknown

if TYPE_CHECKING:
    from moldiff.chem.fitted import Card

oracle_app = typer.Typer(help="List oracles, or fit one to measured values.", rich_markup_mode=None)

File = Annotated[Path, typer.Argument(help="Molecules with measured values: .csv, .tsv or .parquet.")]
Column = Annotated[str, typer.Option(help="The column of the values.")]
Out = Annotated[Path, typer.Option(help="The oracle to write, .safetensors.")]
Smiles = Annotated[str | None, typer.Option("--smiles-column", help="Column of SMILES; guessed by default.")]
Name = Annotated[str | None, typer.Option(help="What its column is called; the file's name by default.")]
Unit = Annotated[str, typer.Option(help="The unit of the values.")]
Minimize = Annotated[bool, typer.Option("--minimize", help="Smaller is better.")]
Estimator = Annotated[str, typer.Option(help="ridge or forest.")]
Radius = Annotated[int, typer.Option(help="Bonds around an atom that the fingerprint sees.")]
Size = Annotated[int, typer.Option(help="Length of the fingerprint.")]
Folds = Annotated[int, typer.Option(help="Parts that are held out in turn to measure the error.")]
Seed = Annotated[int, typer.Option(help="Fixes the folds and the forest.")]
Workers = Annotated[int, typer.Option(help="Processes to read with, threads to fit with.")]
Json = Annotated[bool, typer.Option("--json", help="Print the card as JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")]
Spec = Annotated[str, typer.Argument(help="A built-in oracle, or a fitted one: FILE.safetensors.")]


@oracle_app.callback()
def oracle() -> None:
    """List oracles, or fit one to measured values."""


@oracle_app.command(name="list")
def list_() -> int:
    """List the built-in oracles, and the forms in which others are named."""
    from moldiff.chem.oracles import BUILT_IN, FAMILIES, ORACLES
    from moldiff.chem.sources import FORMS

    rows = [
        (name, "up" if row.maximize else "down", row.unit, "yes" if name in ORACLES else "", row.description)
        for name, row in BUILT_IN.items()
    ]
    rows += [
        (f"{each.name}:{each.argument}", "up" if each.maximize else "down", "", "", each.description)
        for each in FAMILIES.values()
    ]
    rows += [(form, "", "", "", meaning) for form, meaning in FORMS.items()]
    output.table(rows, ("oracle", "better", "unit", "default", ""))
    print("better: the direction when nothing else is asked for; default: computed by generate and score")
    return 0


@oracle_app.command()
def show(oracle: Spec, json: Json = False) -> int:
    """Show what is known of an oracle; of a fitted one how far it is off."""
    from moldiff.chem import fitted, oracles

    if oracle.endswith(fitted.SUFFIX):
        _show(fitted.read_card(Path(oracle)), json)
        return 0
    found = oracles.oracle(oracle)
    facts = {"name": found.name, "description": found.description, "unit": found.unit}
    facts["better"] = "up" if found.maximize else "down"
    if json:
        _print_json(facts)
    else:
        output.table([(key, value or "-") for key, value in facts.items()], (found.name, ""))
    return 0


@oracle_app.command()
def fit(
    file: File,
    column: Column,
    out: Out,
    smiles_column: Smiles = None,
    name: Name = None,
    unit: Unit = "",
    minimize: Minimize = False,
    estimator: Estimator = "ridge",
    radius: Radius = 2,
    size: Size = 2048,
    folds: Folds = 5,
    seed: Seed = 0,
    workers: Workers = 1,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Fit an oracle to measured values: Morgan fingerprints and a forest or a ridge regression.

    The error is that on molecules which were held out, in folds drawn at random; molecules less like those of
    the file are predicted worse.
    """
    output.check_writable(out, file)

    from moldiff import registry
    from moldiff.chem import fitted

    fitted.check_path(out)
    if not 0 <= seed < 2**32:
        raise MoldiffError(f"--seed: got {seed}, needs 0 to {2**32 - 1}")
    plan = fitted.Plan(
        name=out.stem if name is None else name,
        target=column,
        unit=unit,
        maximize=not minimize,
        estimator=estimator,
        fingerprint=fitted.fingerprint(radius, size),
        folds=folds,
        seed=seed,
        source=file.name,
    )
    modality = registry.build("modality", "molecules")
    rows = modality.read(file, column=smiles_column, workers=workers)
    values = _values(modality, file, column)
    good = rows[rows["reason"].isna()]
    rejects = {str(reason): int(n) for reason, n in rows["reason"].dropna().value_counts().items()}
    measured = [values.get(line, math.nan) for line in good["line"]]
    with output.progress_bar(folds + 1, "fitting", quiet or json) as progress:
        made = fitted.fit(
            good[modality.key].tolist(), measured, plan, rejects=rejects, workers=workers, progress=progress
        )
    made.save(out)
    _show(made.card, json)
    if not json:
        print(f"wrote {out}")
    return 0


def _values(modality: Any, file: Path, column: str) -> dict[int, float]:
    """By line the number in a column, NaN where the cell holds none."""
    import pandas as pd

    if file.suffix == ".parquet":  # its numbers are no text
        from pyarrow import parquet

        try:
            names = parquet.read_schema(file).names
            if column not in names:
                raise unknown(f"column of {file.name}", column, names)
            cells = pd.read_parquet(file, columns=[column])[column]
        except (OSError, KeyError) as error:
            raise MoldiffError(f"cannot read {file}: {error}") from None
        lines = range(1, len(cells) + 1)
    else:
        texts = modality.texts(file, column=column)
        cells, lines = texts["raw"], texts["line"]
    return dict(zip(lines, pd.to_numeric(cells, errors="coerce").astype(float), strict=True))


def _show(card: Card, json: bool) -> None:
    if json:
        print(card.model_dump_json())
        return
    errors, unit = card.errors, f" {card.unit}" if card.unit else ""
    r2 = "-" if errors.r2 is None else f"{errors.r2:.3f} ± {output.number(errors.r2_se, 2)}"
    left_out = ", ".join(f"{reason} {count}" for reason, count in card.left_out.items())
    facts = [
        ("column", card.target),
        ("better", "up" if card.maximize else "down"),
        ("molecules", f"{card.molecules} of {card.source or '-'}, {card.merged} repeats averaged"),
        ("left out", left_out or "-"),
        ("values", f"{card.minimum:.4g} to {card.maximum:.4g}, mean {card.mean:.4g}, sd {card.sd:.4g}{unit}"),
        ("estimator", f"{card.estimator}, " + ", ".join(f"{k} {v}" for k, v in card.settings.items())),
        ("fingerprint", f"Morgan, radius {card.fingerprint.radius}, {card.fingerprint.size} counts"),
        ("mean absolute error", f"{errors.mae:.4g} ± {output.number(errors.mae_se, 2)}{unit}"),
        ("  of always the mean", f"{errors.mae_of_mean:.4g}{unit}"),
        ("R2", r2),
        ("measured by", f"{errors.folds}-fold cross-validation, random folds, seed {errors.seed}; ± s.e."),
        ("versions", ", ".join(f"{key} {value}" for key, value in card.versions.items())),
    ]
    output.table(facts, (card.name, ""))
    for note in card.notes():
        print(f"note: {note}")


def _print_json(facts: dict[str, Any]) -> None:
    import json

    print(json.dumps(facts))
