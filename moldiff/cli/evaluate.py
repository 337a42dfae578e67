"""`moldiff evaluate`: what the molecules of a file are like, alone and beside a reference."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moldiff.cli import output
from moldiff.errors import MoldiffError

if TYPE_CHECKING:
    from moldiff.evaluation.evaluate import Evaluation

File = Annotated[Path, typer.Argument(help="The molecules: .smi, .csv, .sdf and the like.")]
Reference = Annotated[
    str | None,
    typer.Option(help="A model's name or folder (novelty, property distances), or a file (everything)."),
]
Column = Annotated[str | None, typer.Option(help="Column of a table; guessed by default.")]
ReferenceColumn = Annotated[
    str | None, typer.Option("--reference-column", help="The same for the reference.")
]
Modality = Annotated[str, typer.Option(help="What the items are: molecules, images or text.")]
JudgeName = Annotated[
    str | None,
    typer.Option(
        "--judge", metavar="MODEL", help="Of text: who says how likely it is; text-judge by default."
    ),
]
Out = Annotated[Path | None, typer.Option(help="Table with each molecule's nearest neighbour: .csv.")]
Json = Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object.")]
Workers = Annotated[int, typer.Option(help="Processes.")]
Exact = Annotated[int, typer.Option(help="Molecules up to which internal diversities are exact.")]
Seed = Annotated[int, typer.Option(help="Of the draw where there are more.")]
#: Molecules up to which internal diversities are exact, where nothing is said.
EXACT = 50_000
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")]


def evaluate(
    file: File,
    reference: Reference = None,
    column: Column = None,
    reference_column: ReferenceColumn = None,
    out: Out = None,
    json: Json = False,
    workers: Workers = 1,
    exact: Exact = EXACT,
    seed: Seed = 0,
    modality: Modality = "molecules",
    judge: JudgeName = None,
    quiet: Quiet = False,
) -> int:
    """Measure the molecules of a file: validity, diversity, scaffolds, properties, and how new they are.

    Images and text have figures of their own (--modality).

    A table that moldiff wrote holds what was sampled in the column raw. docs/metrics.md has the formulas.
    """
    if out is not None:
        output.check_writable(out, file, reference)
    if reference is None and reference_column is not None:
        raise MoldiffError(f"--reference-column: got {reference_column!r} without --reference")

    from moldiff import registry
    from moldiff.evaluation.evaluate import check_output, evaluate

    if out is not None:
        check_output(out)
    if modality in registry.EVALUATIONS:
        others = {
            "--workers": workers != 1,
            "--exact": exact != EXACT,
            "--reference-column": reference_column,
        }
        for option in (name for name, given in others.items() if given):
            raise MoldiffError(f"{option}: it goes with --modality molecules only; leave it off")
        asked = {"reference": reference, "column": column, "seed": seed}
        _show(registry.build("evaluation", modality, file, **asked, **_judged(modality, judge)), out, json)
        return 0
    _judged(modality, judge)
    registry.resolve("modality", modality)

    rows = registry.build("modality", "molecules").texts(file, column=column)
    found = evaluate(
        rows["raw"].tolist(),
        reference,
        reference_column=reference_column,
        workers=workers,
        exact=exact,
        seed=seed,
        stages=output.stages(quiet or json),
    )
    found.summary["file"] = str(file)
    found.frame.insert(0, "line", rows["line"])
    if out is not None:
        found.save(out)
    if json:
        print(found.to_json())
        return 0
    _report(found, file)
    if out is not None:
        print(f"wrote {out}")
    return 0


def _judged(modality: str, judge: str | None) -> dict[str, Any]:
    """The judge of a modality as an option of its evaluation; none where it takes none."""
    from moldiff import registry

    if modality not in registry.JUDGES:
        if judge is not None:
            takes = ", ".join(registry.JUDGES)
            raise MoldiffError(f"--judge: got {judge}, it goes with --modality {takes} only")
        return {}
    from moldiff.evaluation import likelihood
    from moldiff.generation.model import load

    loaded = load(judge or registry.JUDGES[modality])
    if loaded.card.config.data.modality != modality:
        got = f"got {loaded.card.name}, a model of {loaded.card.config.data.modality}"
        raise MoldiffError(f"--judge: {got}; name one of {modality}")
    return {"judge": likelihood.judge(loaded)}


def _show(found: Any, out: Path | None, json: bool) -> None:
    """Prints the figures of items that have some of their own, and writes their table."""
    if out is not None:
        found.save(out)
    if json:
        print(found.to_json())
        return
    output.table(found.rows, ("", "value ± s.e.", ""))
    if out is not None:
        print(f"wrote {out}")


def _report(found: Evaluation, file: Path) -> None:
    """Prints the figures as tables, and what a reader has to know of them."""
    facts = found.summary
    output.table(_counts(facts), (str(file), "count", "share ± s.e.", ""))
    output.table(_figures(facts), ("", "value ± s.e.", ""))
    if facts["valid"]:
        beside = facts["reference"] is not None
        header = ("property", "mean ± s.e. of valid", *(_BESIDE if beside else ()))
        rows = [_property(name, each, beside) for name, each in facts["properties"].items()]
        output.table(rows, header)
    if facts["rejects"]:
        listed = sorted(facts["rejects"].items(), key=lambda item: -item[1])
        print("not sane: " + ", ".join(f"{reason} {count}" for reason, count in listed))
    if facts["reference"] is not None:
        print(_reference(facts["reference"]))
    for note in facts["notes"]:
        print(note)
    print(", ".join(f"{name} {version}" for name, version in facts["versions"].items()))


_BESIDE = ("reference mean", "Wasserstein-1", "in reference s.d.")


def _counts(facts: dict[str, Any]) -> list[tuple[str, ...]]:
    """Counts with the shares that they are."""

    def share(rate: str) -> str:
        se = facts.get(rate + "_se")
        return output.percent(facts[rate]) + ("" if se is None else f" ± {100 * se:.2g}")

    rows = [
        ("requested", str(facts["requested"]), "", ""),
        ("valid", str(facts["valid"]), share("validity"), "of requested"),
        ("sane", str(facts["sane"]), share("sanity"), "of requested"),
        ("unique", str(facts["unique"]), share("uniqueness"), "of valid"),
    ]
    novel, known = facts["novel"], facts["reference"]
    if novel is not None:
        rows.append(
            ("novel", str(novel["canonical"]), share("novelty"), "of unique, to all of the reference")
        )
        if known["train"] != known["molecules"]:
            text = "of unique, to its training rows"
            rows.append(("novel (train)", str(novel["canonical_train"]), share("novelty_train"), text))
        text = "of distinct raw strings, as the papers count"
        rows.append(("novel (upstream)", str(novel["upstream"]), share("novelty_upstream"), text))
    text = "of requested: distinct, QED >= 0.6, SA <= 4"
    return [*rows, ("good quality", str(facts["good"]), share("quality"), text)]


def _figures(facts: dict[str, Any]) -> list[tuple[str, ...]]:
    """Figures of the whole set, each with what it is."""
    diversity, scaffolds, nearest = facts["diversity"], facts["scaffolds"], facts["nearest"]
    rows: list[tuple[str, ...]] = [
        (
            "IntDiv",
            _with_se(diversity["intdiv"], diversity["intdiv_se"]),
            "MOSES, 1024 bits, all pairs of valid",
        ),
        ("IntDiv2", output.number(diversity["intdiv2"]), "the same with p = 2"),
        ("diversity", _with_se(diversity["tdc"], diversity["tdc_se"]), "TDC, 2048 bits, pairs of unique"),
        (
            "scaffolds",
            str(scaffolds["distinct"]),
            f"of {scaffolds['molecules']} unique with rings; {scaffolds['acyclic']} have none",
        ),
        ("scaffold diversity", output.number(scaffolds["diversity"]), "scaffolds / unique with rings"),
    ]
    if "similarity" in scaffolds:
        rows += [
            ("scaffold novelty", output.percent(scaffolds["novelty"]), "of scaffolds"),
            (
                "Scaf",
                output.number(scaffolds["similarity"]),
                "MOSES, cosine of scaffold counts, two rings and more",
            ),
        ]
    if nearest is not None:
        text = f"mean similarity to the nearest of the reference; median {output.number(nearest['median'])}"
        rows.append(("SNN", _with_se(nearest["snn"], nearest["snn_se"]), text))
    return rows


def _property(name: str, found: dict[str, Any], beside: bool) -> tuple[str, ...]:
    """A row on a property, with the distance from the reference where there is one."""
    row = (name, _with_se(found["mean"], found["se"]))
    if not beside:
        return row
    keys = ("reference_mean", "wasserstein", "wasserstein_sd")
    return (*row, *(output.number(found.get(key)) for key in keys))


def _reference(known: dict[str, Any]) -> str:
    """What was compared with, in one line."""
    left_out = ", ".join(f"{reason} {count}" for reason, count in known["left_out"].items())
    return f"reference {known['name']}: {known['molecules']:,} molecules, {known['train']:,} in training" + (
        f"; left out: {left_out}" if left_out else ""
    )


def _with_se(value: Any, se: Any) -> str:
    """A figure and its standard error."""
    return output.number(value) + ("" if se is None else f" ± {output.number(se, 2)}")
