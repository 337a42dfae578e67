"""`moldiff generate`: sample molecules, with properties asked for, and say what came out."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from moldiff.cli import output
from moldiff.errors import MoldiffError

if TYPE_CHECKING:
    from moldiff.generation import Generation

_Name = TypeVar("_Name", Literal["x0", "posterior"], Literal["standard", "inclusive"])

Model = Annotated[str, typer.Argument(help="A bundled model's name, or a folder with card.json.")]
Number = Annotated[int, typer.Option("-n", "--num", help="How many to sample.")]
Target = Annotated[
    list[str] | None,
    typer.Option(
        "--target",
        help="NAME=VALUE, again for more: qed=0.6, logp=1..3, qed=top5%, ring_count=high (or low: not high).",
    ),
]
Scale = Annotated[float | None, typer.Option(help="Guidance scale: 1 conditional, above 1 sharpened.")]
SamplerName = Annotated[str | None, typer.Option("--sampler", help="mdlm, remdm-cap, first-hitting, ...")]
Steps = Annotated[int | None, typer.Option(help="Reverse steps T.")]
Eta = Annotated[float | None, typer.Option(help="Strength of remasking.")]
Option = Annotated[
    list[str] | None,
    typer.Option("--sampler-option", help="KEY=VALUE for the sampler's other options."),
]
Temperature = Annotated[float | None, typer.Option(help="Above 0; below 1 sharpens.")]
TopP = Annotated[float | None, typer.Option("--top-p", help="Nucleus mass, in (0, 1].")]
Nucleus = Annotated[str | None, typer.Option(help="standard, or inclusive as in the papers' code.")]
Complete = Annotated[
    bool | None,
    typer.Option("--complete/--no-complete", help="Draw only what leaves rings and branches closable."),
]
LevelName = Annotated[str | None, typer.Option("--level", help="Where guidance acts: x0 or posterior.")]
Seed = Annotated[int, typer.Option(help="Sample i depends on the seed and i alone.")]
BatchSize = Annotated[str, typer.Option("--batch-size", help="Rows a batch, or auto.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")]
Precision = Annotated[str, typer.Option(help="auto, bf16 or fp32.")]
Out = Annotated[Path | None, typer.Option(help="Table: .csv or .jsonl; .smi or .sdf for the valid ones.")]
Grid = Annotated[Path | None, typer.Option(help="Picture of the best: .png or .svg.")]
Json = Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")]


def generate(
    model: Model = "qm9",
    num: Number = 100,
    target: Target = None,
    scale: Scale = None,
    sampler: SamplerName = None,
    steps: Steps = None,
    eta: Eta = None,
    sampler_option: Option = None,
    temperature: Temperature = None,
    top_p: TopP = None,
    nucleus: Nucleus = None,
    complete: Complete = None,
    level: LevelName = None,
    seed: Seed = 0,
    batch_size: BatchSize = "auto",
    device: Device = "auto",
    precision: Precision = "auto",
    out: Out = None,
    grid: Grid = None,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Sample molecules, with properties asked for, from a trained model.

    What is not said is taken from the model's card. One row a sample; validity is over all of them.
    """
    for path in (out, grid):
        if path is not None:
            output.check_writable(path)

    from moldiff import generation
    from moldiff.request import Request

    request = Request(
        n=num,
        targets=tuple(target or ()),
        sampler=sampler,
        steps=steps,
        scale=scale,
        temperature=temperature,
        top_p=top_p,
        nucleus=_one_of("--nucleus", nucleus, ("standard", "inclusive")),
        complete=complete,
        level=_one_of("--level", level, ("x0", "posterior")),
        precision=precision,
        options=_options(sampler_option or [], eta),
        seed=seed,
        batch_size=_rows(batch_size),
    )
    loaded = generation.load(model, device)
    if out is not None:
        loaded.modality.check_output(out)
    if grid is not None:
        loaded.modality.check_picture(grid)
    with output.progress_bar(num, "sampling", quiet or json) as progress:
        found = loaded.run(request, progress)
    found.summary["command"] = shlex.join(["moldiff", *sys.argv[1:]])
    _deliver(found, out, grid)
    if json:
        print(found.to_json())
    else:
        _report(found, out, grid)
    if found.interrupted:
        raise KeyboardInterrupt
    return 0


def _one_of(option: str, name: str | None, choices: tuple[_Name, ...]) -> _Name | None:
    for choice in choices:
        if choice == name:
            return choice
    if name is None:
        return None
    raise MoldiffError(f"{option}: got {name!r}, choose from {', '.join(choices)}")


def _rows(text: str) -> int | None:
    if text == "auto":
        return None
    try:
        return int(text)
    except ValueError:
        raise MoldiffError(f"--batch-size: got {text!r}, needs a whole number or auto") from None


def _options(pairs: list[str], eta: float | None) -> dict[str, Any]:
    options: dict[str, Any] = {} if eta is None else {"eta": eta}
    for pair in pairs:
        key, _, value = pair.partition("=")
        if not key or not value:
            raise MoldiffError(f"--sampler-option: got {pair!r}, write KEY=VALUE")
        try:
            options[key] = float(value)
        except ValueError:
            options[key] = value
    return options


def _deliver(found: Generation, out: Path | None, grid: Path | None) -> None:
    """Writes the files that were asked for."""
    if out is not None:
        found.save(out)
    if grid is not None and found.best:
        found.picture(grid)
        if out is None:
            found.save_summary(grid)


def _report(found: Generation, out: Path | None, grid: Path | None) -> None:
    facts = found.summary
    novel = facts["novel"]
    rows = [
        ("requested", str(facts["requested"]), ""),
        ("valid", str(facts["valid"]), output.percent(facts["validity"]) + " of requested"),
        ("sane", str(facts["sane"]), output.percent(facts["sanity"]) + " of requested"),
        ("unique", str(facts["unique"]), output.percent(facts["uniqueness"]) + " of valid"),
        (
            "novel",
            str(novel["canonical"]),
            output.percent(facts["novelty"]) + " of unique, canonical",
        ),
        ("novel (upstream)", str(novel["upstream"]), "distinct raw strings, as the papers count"),
        ("forwards a molecule", output.number(facts["forwards_per_molecule"], 4), _setting(facts)),
        ("molecules a second", output.number(facts["molecules_per_second"]), "sampling alone"),
    ]
    output.table(rows, ("", "count", ""))
    if facts["properties"]:
        _report_targets(facts)
    if facts["rejects"]:
        listed = sorted(facts["rejects"].items(), key=lambda item: -item[1])
        print("not sane: " + ", ".join(f"{reason} {count}" for reason, count in listed))
    if not facts["reference_matches_rdkit"]:
        ours, theirs = facts["versions"]["rdkit"], facts["reference_rdkit"]
        print(f"novelty: the reference was written by RDKit {theirs}, this is {ours}; counts may be off")
    versions = ", ".join(f"{name} {facts['versions'][name]}" for name in ("moldiff", "torch", "rdkit"))
    print(
        f"model {facts['model']}, seed {facts['seed']}, {facts['precision']} on {facts['device']}, {versions}"
    )
    if grid is not None and not found.best:
        print(f"no sane molecule, so {grid} was not drawn")
    for path in (out, grid if found.best else None):
        if path is not None:
            print(f"wrote {path}")


def _setting(facts: dict[str, Any]) -> str:
    setting = facts["setting"]
    options = "".join(
        f", {key} {value if isinstance(value, str) else format(value, 'g')}"
        for key, value in setting["options"].items()
    )
    steps = "" if setting["steps"] is None else f", {setting['steps']} steps"
    return (
        f"{setting['sampler']}{steps}{options}, temperature {setting['temperature']:g}, "
        f"top-p {setting['top_p']:g}, scale {setting['scale']:g}{', complete' if setting['complete'] else ''}"
    )


def _report_targets(facts: dict[str, Any]) -> None:
    rows = []
    for name, found in facts["properties"].items():
        mean = f"{output.number(found['mean'])} ± {output.number(found['se'], 2)}"
        fit = "-"
        if "mean_absolute_error" in found:
            fit = f"mean absolute error {output.number(found['mean_absolute_error'])}"
        elif "share_inside" in found:
            fit = output.percent(found["share_inside"]) + " inside"
        elif "share_in_class" in found:
            fit = output.percent(found["share_in_class"]) + " in the class"
        rows.append((name, found["asked"], mean, fit, output.number(found["training_mean"])))
    output.table(rows, ("property", "asked", "mean ± s.e. of valid", "fit", "training mean"))
    if facts["nearest_rows_distance"] > 0.5:
        print(
            f"no training row is near all targets: the nearest are {facts['nearest_rows_distance']:.2g} "
            "standard deviations away"
        )
