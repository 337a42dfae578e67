"""Studies from end to end: the stages of a plan, and the files that they leave."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from moldiff.checkpoint import Checkpoint, find, versions
from moldiff.errors import unknown
from moldiff.files import make_folder, write_json, write_table
from moldiff.study.plan import Plan
from moldiff.study.sampling import Tell, sample, silent

if TYPE_CHECKING:
    from moldiff.study.tables import Results

STAGES = ("sample", "score", "all")
RESULTS, FRONT, BUDGETS, SUMMARY = "results.csv", "front.csv", "budgets.csv", "summary.json"
PICTURES = ("pareto.png", "pareto.svg")


@final
@dataclass(frozen=True)
class Options:
    """How a study is worked off.

    Args:
        stage: sample (token files), score (what is made of them), or all.
        device: where it samples.
        workers: processes that score.
        protocol: how the picture counts novelty, canonical or upstream.
        published: whether the picture has the papers' points too.
        budgets: forwards over a whole molecule at which methods are compared.
        command: kept with the outputs.
    """

    stage: str = "all"
    device: str = "auto"
    workers: int = 1
    protocol: str = "canonical"
    published: bool = False
    budgets: tuple[float, ...] = (8.0, 12.0, 15.0, 30.0)
    command: str = ""

    def __post_init__(self) -> None:
        """Refuse a stage that there is not."""
        if self.stage not in STAGES:
            raise unknown("stage", self.stage, STAGES)


@final
@dataclass(frozen=True)
class Found:
    """What a study came to.

    Args:
        runs: how many the plan has.
        sampled: how many were sampled by this call.
        scored: how many have figures; None where nothing was scored.
        summary: the hypervolumes and facts; empty where nothing was scored.
        results: the tables; None likewise.
    """

    runs: int
    sampled: int
    scored: int | None = None
    summary: dict[str, Any] = field(default_factory=dict)
    results: Results | None = None


def pareto(plan: Plan, out: Path, options: Options, tell: Tell = silent) -> Found:
    """Works a plan off into a folder; what is there already is not repeated.

    Raises:
        MoldiffError: what the plan's models cannot be asked, or files that cannot be written.
    """
    make_folder(out)
    done = sample(plan, out, options.device, tell) if options.stage != "score" else 0
    if options.stage == "sample":
        return Found(len(plan.runs), done)
    results = _results(plan, out, options.workers)
    summary = _summary(plan, results, options)
    _write(results, summary, out, options, {name: plan.label(name) for name in plan.grid.methods})
    return Found(len(plan.runs), done, len(results.frame), summary, results)


def _results(plan: Plan, out: Path, workers: int) -> Results:
    """The figures of the runs that have a token file."""
    from moldiff.study.scoring import score, table
    from moldiff.study.tables import Results

    name = plan.grid.property
    assert name is not None
    frame = table(score(plan, out, workers), [name])
    return Results(frame, name, origin(plan, name), planned(plan))


def planned(plan: Plan) -> dict[str, int]:
    """By method, the runs of a seed."""
    return Counter(each.run.method for each in plan.runs if each.run.seed == plan.grid.seeds[0])


def origin(plan: Plan, name: str) -> float:
    """The mean of a property over the training rows of the first method's model."""
    model = plan.settings.methods[plan.grid.methods[0]].model
    values = Checkpoint.load(find(model)).part("table")[name]
    return float(values.double().nanmean())


def _summary(plan: Plan, results: Results, options: Options) -> dict[str, Any]:
    from moldiff.study.tables import summary

    labels = {name: plan.label(name) for name in plan.grid.methods}
    return {
        **summary(results, options.budgets),
        "runs": len(plan.runs),
        "scored": len(results.frame),
        "labels": labels,
        "plan": plan.facts(),
        "devices": sorted(set(results.frame["device"])),
        "versions": versions(),
        "command": options.command,
    }


def _write(
    results: Results, summary: dict[str, Any], out: Path, options: Options, labels: Mapping[str, str]
) -> None:
    """Writes the tables, the summary and the pictures."""
    from moldiff.study import picture

    write_table(results.frame, out / RESULTS)
    write_table(results.front(), out / FRONT)
    write_table(results.budgets(options.budgets), out / BUDGETS)
    write_json(summary, out / SUMMARY)
    for name in PICTURES:
        figure = picture.fronts(results, labels, options.protocol, options.published)
        picture.save(figure, out / name, notes(options.command))


def notes(command: str) -> dict[str, str]:
    """What pictures say of themselves."""
    found = versions()
    listed = ", ".join(f"{name} {version}" for name, version in found.items())
    return {"Software": f"moldiff {found.get('moldiff', '')}".strip(), "Command": command, "Versions": listed}
