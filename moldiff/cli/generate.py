"""`moldiff generate`: sample items, with properties asked for, and say what came out."""

from __future__ import annotations

import shlex
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from moldiff.cli import output, summary
from moldiff.errors import MoldiffError

if TYPE_CHECKING:
    from moldiff.generation.outcome import Outcome
    from moldiff.generation.stream import Stream
    from moldiff.types import Modality

_Name = TypeVar("_Name", bound=str)

Model = Annotated[
    str, typer.Argument(help="A bundled model's name, a folder with card.json, or hf:ORG/NAME.")
]
Number = Annotated[int | None, typer.Option("-n", "--num", help="How many to sample; 100 by default.")]
Target = Annotated[
    list[str] | None,
    typer.Option(
        "--target",
        help="NAME=VALUE, again for more: qed=0.6, logp=1..3, qed=top5%, a class of qm9: ring_count=high.",
    ),
]
TargetsFrom = Annotated[
    Path | None,
    typer.Option(
        "--targets-from", help="CSV with a property a column: one molecule for each line, in order."
    ),
]
PerTarget = Annotated[
    int | None, typer.Option("--per-target", help="So many molecules for each line of --targets-from.")
]
Unique = Annotated[
    bool, typer.Option("--unique", help="Draw until n distinct sane molecules are found; keep only these.")
]
MaxSamples = Annotated[
    int | None, typer.Option("--max-samples", help="The most that --unique draws; 20 n by default.")
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
OracleName = Annotated[
    list[str] | None,
    typer.Option("--oracle", help="Another column, a property or your own as in score; again for more."),
]
Timeout = Annotated[float | None, typer.Option("--oracle-timeout", help="Seconds that a molecule may take.")]
Workers = Annotated[int, typer.Option(help="Processes that score.")]
BestOf = Annotated[
    int | None, typer.Option("--best-of", help="Keep the best by --reward of so many samples.")
]
Particles = Annotated[
    int | None, typer.Option("--particles", help="Steer so many samples a molecule by --reward.")
]
Reward = Annotated[
    list[str] | None,
    typer.Option(
        "--reward",
        help="What --best-of and --particles seek: ORACLE, or ORACLE=high, =low, =0.6, =1..3; "
        "WEIGHT* before it; again for more, which add up.",
    ),
]
Tilt = Annotated[
    float | None, typer.Option("--tilt", help="How strongly --particles follow the reward; 10 by default.")
]
SearchOption = Annotated[
    list[str] | None, typer.Option("--search-option", help="KEY=VALUE for the other options of --particles.")
]
GuidanceOption = Annotated[
    str | None, typer.Option("--guidance", help="cfg, classifier-free; cbg or fudge, by a --classifier.")
]
ClassifierOption = Annotated[
    str | None, typer.Option("--classifier", metavar="FOLDER", help="What --guidance cbg or fudge asks.")
]
CbgForm = Annotated[
    str | None,
    typer.Option("--cbg-form", help="token, which leaves the schedule alone, exact or first-order."),
]
CbgTopP = Annotated[
    float | None, typer.Option("--cbg-top-p", help="Mass of the tokens that the classifier is asked about.")
]
FudgeTopK = Annotated[
    int | None, typer.Option("--fudge-top-k", help="How many next tokens the classifier is asked about.")
]
CfgScale = Annotated[
    float | None, typer.Option("--cfg-scale", help="With a classifier, tell the model too, at this scale.")
]
Repair = Annotated[
    int,
    typer.Option(
        "--repair",
        metavar="N",
        help="Draw the tokens to blame in an invalid molecule again, up to N times; the table says where.",
    ),
]
FilterOption = Annotated[
    list[str] | None,
    typer.Option(
        "--filter",
        metavar="NAMES",
        help="Molecules that have to pass: pains, brenk, nih, lipinski, veber, or bounds such as 'sa<=4'; "
        "several with commas, or again.",
    ),
]
FilterSmarts = Annotated[
    Path | None,
    typer.Option(
        "--filter-smarts", metavar="FILE", help="A SMARTS a line, then its name; what shows one is rejected."
    ),
]
MaxSa = Annotated[float | None, typer.Option("--max-sa", help="The same as --filter 'sa<=...'.")]
MinQed = Annotated[float | None, typer.Option("--min-qed", help="The same as --filter 'qed>=...'.")]
Forbid = Annotated[
    list[str] | None,
    typer.Option(
        "--forbid",
        metavar="NAMES",
        help="Elements, tokens such as [N+], or charges: never drawn; several with commas, or again.",
    ),
]
Diverse = Annotated[
    int | None,
    typer.Option(
        "--diverse", metavar="N", help="Pick N sane molecules far from one another; the grid has these."
    ),
]
Prompt = Annotated[str | None, typer.Option(metavar="TEXT", help="How every sample begins.")]
Ending = Annotated[str | None, typer.Option(metavar="TEXT", help="How every sample ends.")]
Inpaint = Annotated[
    Path | None, typer.Option(metavar="PICTURE", help="Draw the part of it anew that --mask shows.")
]
Mask = Annotated[
    Path | None, typer.Option(metavar="PICTURE", help="White is drawn anew, black stays as in --inpaint.")
]
Out = Annotated[
    Path | None,
    typer.Option(help="Table: .csv, .jsonl or .parquet; .smi or .sdf for valid molecules; .npy, .png; .txt."),
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with what an interrupted run has left in OUT.part.")
]
Grid = Annotated[Path | None, typer.Option(help="Picture of the best: .png or .svg.")]
Page = Annotated[Path | None, typer.Option("--report", help="Page about the run: .html.")]
Json = Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")]

#: How many to sample where nothing is said.
NUMBER = 100
#: The exit code where less was found than was asked for.
FELL_SHORT = 3


def generate(
    context: typer.Context,
    model: Model = "qm9",
    num: Number = None,
    target: Target = None,
    targets_from: TargetsFrom = None,
    per_target: PerTarget = None,
    unique: Unique = False,
    max_samples: MaxSamples = None,
    scale: Scale = None,
    guidance: GuidanceOption = None,
    classifier: ClassifierOption = None,
    cbg_form: CbgForm = None,
    cbg_top_p: CbgTopP = None,
    fudge_top_k: FudgeTopK = None,
    cfg_scale: CfgScale = None,
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
    oracle: OracleName = None,
    oracle_timeout: Timeout = None,
    workers: Workers = 1,
    best_of: BestOf = None,
    particles: Particles = None,
    reward: Reward = None,
    tilt: Tilt = None,
    search_option: SearchOption = None,
    repair: Repair = 0,
    filters: FilterOption = None,
    filter_smarts: FilterSmarts = None,
    max_sa: MaxSa = None,
    min_qed: MinQed = None,
    forbid: Forbid = None,
    diverse: Diverse = None,
    prompt: Prompt = None,
    ending: Ending = None,
    inpaint: Inpaint = None,
    mask: Mask = None,
    out: Out = None,
    resume: Resume = False,
    grid: Grid = None,
    report: Page = None,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Sample molecules, with properties asked for, from a trained model; or images, or text.

    What is not said is taken from the model's card. One row a sample; validity is over all of them. The exit
    code is 3 where --unique found fewer than asked.
    """
    files = _files(out, grid, report, resume, targets_from, inpaint, mask, filter_smarts)

    from moldiff.generation.model import load
    from moldiff.generation.request import asked_for

    request = asked_for(
        NUMBER if num is None and targets_from is None else num,
        targets=target or (),
        targets_from=targets_from,
        per_target=per_target,
        unique=unique,
        max_samples=max_samples,
        sampler=sampler,
        steps=steps,
        scale=scale,
        guidance=choice("--guidance", guidance, ("cfg", "cbg", "fudge")),
        classifier=classifier,
        cbg_form=choice("--cbg-form", cbg_form, ("token", "exact", "first-order")),
        cbg_top_p=cbg_top_p,
        fudge_top_k=fudge_top_k,
        cfg_scale=cfg_scale,
        temperature=temperature,
        top_p=top_p,
        nucleus=choice("--nucleus", nucleus, ("standard", "inclusive")),
        complete=complete,
        level=choice("--level", level, ("x0", "posterior")),
        precision=precision,
        options=sampler_options(sampler_option or [], eta),
        seed=seed,
        batch_size=batch_rows(batch_size),
        oracles=oracle or (),
        oracle_timeout=oracle_timeout,
        workers=workers,
        best_of=best_of,
        particles=particles,
        reward=reward or (),
        tilt=tilt,
        search_options=_pairs("--search-option", search_option or []),
        repair=repair,
        filters=filters or (),
        filter_smarts=filter_smarts,
        max_sa=max_sa,
        min_qed=min_qed,
        forbid=forbid or (),
        diverse=diverse,
        prompt=prompt,
        ending=ending,
        inpaint=inpaint,
        mask=mask,
    )
    loaded = load(model, device)
    _check(loaded.modality, request.n, out, grid, report)
    with output.progress_bar(request.n, "sampling", quiet or json) as progress:
        command = shlex.join(["moldiff", *context.obj])
        found = _run(loaded.start(request, progress), out, resume, command)
    _deliver(found, out, grid, report)
    if json:
        print(found.to_json())
    else:
        summary.show(found, files, grid)
    if found.interrupted:
        raise KeyboardInterrupt
    return 0 if found.whole else FELL_SHORT


def _files(
    out: Path | None, grid: Path | None, report: Path | None, resume: bool, *sources: Path | None
) -> list[Path]:
    """The files to be written; MoldiffError where that cannot be."""
    if resume and out is None:
        raise MoldiffError("--resume: got no --out, whose interrupted run it would go on with")
    files = [path for path in (out, grid, report) if path is not None]
    for number, path in enumerate(files):
        output.check_writable(path, *sources)
        if path.absolute() in [other.absolute() for other in files[:number]]:
            raise MoldiffError(f"output: got {path} twice, give each file a name of its own")
    return files


def _check(modality: Modality, n: int, out: Path | None, grid: Path | None, report: Path | None) -> None:
    """Refuses names of files that are of no known kind, or of one with no room for n rows."""
    for path, check in (
        (out, partial(modality.check_output, rows=n)),
        (grid, modality.check_picture),
        (report, modality.check_report),
    ):
        if path is not None:
            check(path)


def _run(stream: Stream, out: Path | None, resume: bool, command: str) -> Outcome:
    """What a stream comes to, its rows written to ``out`` as they come."""
    from moldiff.generation.saving import Saving, drained

    if out is None:
        return drained(stream, command)
    saving = Saving(stream, out, resume=resume)
    if resume:
        print(f"going on after {saving.resumed} rows of {out}.part", file=sys.stderr)
    try:
        return saving.run(command)
    finally:
        if saving.left:
            print(f"the first {saving.left} rows are in {out}.part: --resume goes on", file=sys.stderr)


def _deliver(found: Outcome, out: Path | None, grid: Path | None, report: Path | None) -> None:
    """Writes the files that were asked for besides the table."""
    if grid is not None and len(found.best):
        found.picture(grid)
        if out is None:
            found.save_summary(grid)
    if report is not None:
        found.report(report)


def choice(option: str, name: str | None, choices: tuple[_Name, ...]) -> _Name | None:
    """The name, None where none is given; MoldiffError for one that is not among the choices."""
    for choice in choices:
        if choice == name:
            return choice
    if name is None:
        return None
    raise MoldiffError(f"{option}: got {name!r}, choose from {', '.join(choices)}")


def batch_rows(text: str) -> int | None:
    """The rows a batch that are asked for; None for auto."""
    if text == "auto":
        return None
    try:
        return int(text)
    except ValueError:
        raise MoldiffError(f"--batch-size: got {text!r}, needs a whole number or auto") from None


def sampler_options(pairs: list[str], eta: float | None) -> dict[str, Any]:
    """The options of a sampler by name, eta among them where it is given."""
    return {**({} if eta is None else {"eta": eta}), **_pairs("--sampler-option", pairs)}


def _pairs(option: str, pairs: list[str]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for pair in pairs:
        key, _, value = pair.partition("=")
        if not key or not value:
            raise MoldiffError(f"{option}: got {pair!r}, write KEY=VALUE")
        try:
            out[key] = float(value)
        except ValueError:
            out[key] = value
    return out
