"""Render the tables and pictures of a study as a page, with the papers' figures beside ours.

    python benchmarks/study_page.py runs/study --page docs/results/study.md --images docs/images

RUNS has a folder for each property, as `make study` makes them (RUNS/ring_count, RUNS/qed), RUNS/compare, and
RUNS/forms* of benchmarks/study-forms.yaml. What stands on the page above its mark is written by hand.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from moldiff.moments import mean_se
from moldiff.study import comparison, study
from moldiff.study.published import SAMPLES, curves

#: Above it, the page is written by hand.
MARK = "<!-- below: made by benchmarks/study_page.py -->"
#: Folders of the forms of guidance by a classifier begin with it.
FORMS = "forms"
#: What a form costs a molecule, and the digits that are shown.
COSTS = {"forwards": 1, "classifier_forwards": 0, "gflop": 2}
OPENING = "# Results: the study on QM9"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def figure(mean: float | None, se: float | None, digits: int) -> str:
    """A mean with its standard error; a dash where there is none."""
    if mean is None or math.isnan(mean):
        return "-"
    tail = "" if se is None or math.isnan(se) else f" ± {se:.{digits}f}"
    return f"{mean:.{digits}f}{tail}"


def steps(value: Any) -> str:
    """A number of steps; a dash where there are none."""
    return "-" if pd.isna(value) else str(int(value))


def areas(facts: dict[str, Any]) -> Iterator[str]:
    """The hypervolumes: in all, by steps and by budget."""
    labels, unit = facts["labels"], facts["gflop_per_forward"]
    where = f"above 0 novel and a mean of {facts['reference']['mean']:.4g}"
    yield f"Hypervolume {where}, mean ± s.e. over seeds."
    columns: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "all": (facts["hypervolume"], facts["hypervolume_upstream"])
    }
    for kind in facts["by_steps_canonical"]:
        for t in facts["by_steps_canonical"][kind]:
            both = tuple(facts[f"by_steps_{p}"][kind][t]["hypervolume"] for p in ("canonical", "upstream"))
            columns[f"{kind.upper()}, T = {t}"] = both
        for cost in facts["by_budget_canonical"][kind]:
            both = tuple(
                facts[f"by_budget_{p}"][kind][cost]["hypervolume"] for p in ("canonical", "upstream")
            )
            columns[f"{kind.upper()}, at most {cost} forwards ({float(cost) * unit:.3g} GFLOP)"] = both
    rows = [
        [f"{name}, {protocol}", *(figure(own[number][m]["mean"], own[number][m]["se"], 1) for m in labels)]
        for name, own in columns.items()
        for number, protocol in enumerate(("canonical", "raw"))
    ]
    yield table(["points", *labels.values()], [row for row in rows if set(row[1:]) != {"-"}])


def differences(facts: dict[str, Any]) -> Iterator[str]:
    """Which differences between methods are beyond two standard errors."""
    rows = []
    for kind, by_steps in facts["by_steps_canonical"].items():
        slices = {f"{kind.upper()}, T = {t}": found for t, found in by_steps.items()}
        budgets = facts["by_budget_canonical"][kind].items()
        slices |= {f"{kind.upper()}, at most {cost} forwards": found for cost, found in budgets}
        for where, found in slices.items():
            # Of two methods of which one has no point within a budget there is none.
            known = {pair: each for pair, each in found["difference"].items() if None not in each.values()}
            rows += [_difference(where, pair, each) for pair, each in known.items()]
    yield "Differences of hypervolumes (canonical), seed by seed, where both have points:"
    yield table(["points", "methods", "difference", "beyond 2 s.e."], rows)


def _difference(where: str, pair: str, found: dict[str, float]) -> list[str]:
    mean, se = found["mean"], found["se"]
    return [where, pair, figure(mean, se, 1), "yes" if abs(mean) > 2 * se else "no"]


def points(folder: Path, facts: dict[str, Any]) -> Iterator[str]:
    """The fronts, with the papers' points."""
    front, name = pd.read_csv(folder / study.FRONT), facts["property"]
    digits = 2 if facts["reference"]["mean"] > 1 else 3
    rows = []
    for protocol, column in (("canonical", "novel"), ("upstream", "novel_upstream")):
        for row in front[front["protocol"] == protocol].to_dict("records"):
            mean = f"{name}_{column}"
            rows.append(
                [
                    facts["labels"][row["method"]],
                    f"{row['guidance'].upper()} {row['scale']:g}",
                    steps(row["steps"]),
                    "raw" if protocol == "upstream" else protocol,
                    figure(row[column], row[f"{column}_se"], 0),
                    figure(row[mean], row[f"{mean}_se"], digits),
                    f"{row['gflop']:.2f}",
                    f"{row['cost']:.1f}",
                ]
            )
    yield f"The front of each method: novel of {facts['samples']:,} and their mean {name.replace('_', ' ')}."
    header = ["method", "guidance", "T", "counted", "novel", "mean", "GFLOP", "forwards"]
    yield table(header, rows)
    papers = []
    for each in curves(name):
        listed = ", ".join(f"{novel} @ {mean:g}" for novel, mean in each.points)
        papers.append([each.method, each.guidance.upper(), steps(each.steps), listed])
    yield (
        f"Published (papers of UDLM, ReMDM and ProSeCo, read off their figures; novel of {SAMPLES:,} by raw "
        "string at growing scales; other networks, trained far longer):"
    )
    yield table(["method", "guidance", "T", "novel @ mean, published"], papers)


def compared(folder: Path) -> Iterator[str]:
    """The comparison's tables."""
    facts = json.loads((folder / comparison.SUMMARY).read_text("utf-8"))
    means = pd.read_csv(folder / comparison.MEANS)
    rows = []
    for row in means.to_dict("records"):
        told = "-" if row["guidance"] == "none" else f"{row['guidance'].upper()} {row['scale']:g}"
        shares = [figure(100 * row[key], 100 * row[f"{key}_se"], 1) for key in comparison.SHARES]
        rest = [figure(row["intdiv"], row["intdiv_se"], 3), f"{row['gflop']:.2f}"]
        rows.append([facts["labels"][row["method"]], told, steps(row["steps"]), *shares, *rest])
    header = ["method", "guidance", "T", "valid %", "unique %", "novel %", "novel % (raw)", "IntDiv", "GFLOP"]
    yield table(header, rows)
    if facts["likelihood"] is None:
        return
    found = facts["likelihood"]["methods"]
    yield f"Nats a molecule over {found[0]['items']} held-out molecules, the length's share included:"
    rows = [
        [
            facts["labels"][row["method"]],
            figure(row["nats"], row["nats_se"], 2),
            f"{row['nats_length']:.2f}",
            f"{row['nats_per_token']:.3f}",
            f"{row['perplexity']:.3f}",
        ]
        for row in found
    ]
    yield table(["method", "nats", "of which length", "a token", "perplexity"], rows)
    yield "Published perplexities (UDLM paper; counted otherwise): AR 2.19, MDLM <= 2.12, UDLM <= 2.02."


def _command(facts: Mapping[str, Any]) -> str:
    """What was typed, with the places of the reader's own files left open."""
    typed = re.sub(r"(?<=--out )\S+", "DIR", facts["command"])
    return "`" + re.sub(r"(?<=--heldout )\S+", "FILE", typed) + "`"


def forms(folders: Sequence[Path]) -> Iterator[str]:
    """The forms of guidance by a classifier: what each makes and asks, means over seeds."""
    rows, commands = [], []
    for folder in folders:
        facts = json.loads((folder / study.SUMMARY).read_text("utf-8"))
        commands.append(_command(facts))
        frame, name = pd.read_csv(folder / study.RESULTS), f"{facts['property']}_novel"
        for (method, scale), runs in frame.groupby(["method", "scale"], sort=False):
            share = {key: mean_se(100 * runs[key] / runs["samples"]) for key in ("valid", "novel")}
            figures = [
                figure(*share["valid"], 1),
                figure(*share["novel"], 1),
                figure(*mean_se(runs[name]), 2),
            ]
            costs = [f"{runs[key].mean():.{digits}f}" for key, digits in COSTS.items()]
            rows.append(
                [facts["labels"][method], f"{scale:g}", str(runs["samples"].iloc[0]), *figures, *costs]
            )
    yield "The masked model, T = 32, all rows of the lengths of molecules in the class: " + ", ".join(
        commands
    )
    header = ["form", "scale", "samples a seed", "valid %", "novel, % of all", "mean of the novel"]
    yield table([*header, "forwards", "classifier's forwards", "GFLOP"], rows)


def page(runs: Path, images: Path, target: Path) -> str:
    """The page; copies the pictures beside it."""
    parts = [_opening(target), MARK]
    made = sorted(path.parent for path in runs.glob(f"*/{study.RESULTS}"))
    for folder in (each for each in made if not each.name.startswith(FORMS)):
        facts = json.loads((folder / study.SUMMARY).read_text("utf-8"))
        parts += [
            f"## {facts['property'].replace('_', ' ')}",
            *_picture(folder / "pareto.png", images, target),
        ]
        seeds, versions = facts["plan"]["seeds"], facts["versions"]
        listed = ", ".join(f"{name} {version}" for name, version in versions.items())
        parts.append(
            f"{facts['samples']:,} samples a run, seeds {', '.join(map(str, seeds))}, on "
            f"{', '.join(facts['devices'])}; {listed}. Command: {_command(facts)}."
        )
        parts += [*areas(facts), *differences(facts), *points(folder, facts)]
    if (runs / "compare" / comparison.SUMMARY).exists():
        parts += ["## Noise processes compared", *_picture(runs / "compare" / "compare.png", images, target)]
        parts += compared(runs / "compare")
    if found := [each for each in made if each.name.startswith(FORMS)]:
        parts += ["## Forms of guidance by a classifier", *forms(found)]
    return "\n\n".join(parts) + "\n"


def _opening(target: Path) -> str:
    """What is written by hand on the page that is there."""
    if not target.exists():
        return f"{OPENING}\n\nMade by `benchmarks/study_page.py`; [Study](../study.md) says how."
    head, mark, _ = target.read_text("utf-8").partition(MARK)
    if not mark:
        raise SystemExit(f"study_page: {target} has no line {MARK}")
    return head.strip()


def _picture(source: Path, images: Path, target: Path) -> Iterator[str]:
    images.mkdir(parents=True, exist_ok=True)
    copy = images / f"study-{source.parent.name}.png"
    shutil.copyfile(source, copy)
    yield f"![{source.parent.name.replace('_', ' ')}]({os.path.relpath(copy, target.parent)})"


def main() -> None:
    """Writes the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path)
    parser.add_argument("--page", type=Path, default=Path("docs/results/study.md"))
    parser.add_argument("--images", type=Path, default=Path("docs/images"))
    options = parser.parse_args()
    options.page.parent.mkdir(parents=True, exist_ok=True)
    options.page.write_text(page(options.runs, options.images, options.page), encoding="utf-8")
    print(f"wrote {options.page}")


if __name__ == "__main__":
    main()
