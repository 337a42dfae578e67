"""Measures a QM9 model: validity, novelty, property control and cost, over seeds; resumable.

    python benchmarks/qm9.py qm9 --out runs/qm9-figures [--settings FILE] [--seeds 0,1,2] [--card]

Every run is one line of OUT/runs.jsonl, so a run that is there is not repeated. The tables go to
OUT/results.md; --card also writes them to the model's card.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

import moldiff
from moldiff.checkpoint import Checkpoint, GuidedBy, Metric, find, read_card, versions
from moldiff.chem import oracles
from moldiff.chem.fingerprints import TDC_BITS, morgan
from moldiff.chem.similarity import mean_similarities, pairwise_diversity
from moldiff.config import Setting
from moldiff.generation.model import Model
from moldiff.generation.request import Request, asked_for
from moldiff.nn.precision import resolved

HERE = Path(__file__).parent
SAMPLES = 1024
#: What a run may say of guidance by a classifier.
GUIDANCE = ("guidance", "classifier", "cbg_top_p", "cfg_scale")


def request(run: dict[str, Any], seed: int, samples: int) -> Request:
    """The request of one line of the settings file."""
    known = ("targets", "sampler", "steps", "temperature", "top_p", "scale", "complete", "options")
    asked: Any = {key: run[key] for key in (*known, *GUIDANCE) if key in run}
    return asked_for(samples, seed=seed, **asked)


def measure(model: Model, run: dict[str, Any], seed: int, samples: int) -> dict[str, Any]:
    """One run's figures, flat."""
    found = model.run(request(run, seed, samples))
    facts = found.summary
    lengths = [len(model.tokenizer.encode(text)) for text in found.frame["raw"]]
    steps = facts["setting"]["steps"]  # None for a sampler that reveals one token at a time
    each = [length if steps is None else steps * (1 - (1 - 1 / steps) ** length) for length in lengths]
    expected = sum(each) / len(each)
    figures: dict[str, Any] = {
        "validity": facts["validity"],
        "uniqueness": facts["uniqueness"],
        "novelty": facts["novelty"],
        "novel_upstream": facts["novel"]["upstream"],
        "novel_canonical": facts["novel"]["canonical"],
        "forwards": facts["forwards_per_molecule"],
        "forwards_over_expected": facts["forwards_per_molecule"] / expected,
        "molecules_per_second": facts["molecules_per_second"],
        "classifier_forwards": facts.get("classifier_forwards_per_molecule"),
    }
    if "qed" in found.frame and "sa" in found.frame:
        figures |= {"quality": quality(found.frame), "diversity": diversity(found.frame)}
    if facts.get("together", {}).get("share") is not None:
        figures |= {f"together_{key}": facts["together"][key] for key in ("share", "training_share")}
    if "within" in run:
        figures["together_share"] = inside(found.frame, run["within"])
    for name in run.get("report", ()):
        means = facts["novel_means"][name]
        figures[f"{name}_novel_upstream"] = means["novel_upstream"]
        figures[f"{name}_novel_canonical"] = means["novel_canonical"]
        figures[f"{name}_valid"] = float(found.frame.loc[found.frame["valid"], name].mean())
    for name, asked in facts["properties"].items():
        figures |= {f"{name}_{key}": asked[key] for key in ERRORS if key in asked}
    return figures


def quality(frame: pd.DataFrame) -> float:
    """The share of all rows that are valid, distinct, and have QED >= 0.6 and SA <= 4."""
    good = frame[frame["valid"] & (frame["qed"] >= 0.6) & (frame["sa"] <= 4)]
    return float(good["smiles"].nunique()) / len(frame)


def inside(frame: pd.DataFrame, ranges: dict[str, list[float]]) -> float:
    """The share of valid rows that have every property in its range, whether asked for or not."""
    values = oracles.score(frame.loc[frame["valid"], "smiles"].tolist(), list(ranges))
    fits = [(values[name] >= low) & (values[name] <= high) for name, (low, high) in ranges.items()]
    return float(np.logical_and.reduce(fits).mean())


def diversity(frame: pd.DataFrame) -> float | None:
    """The mean Tanimoto distance of distinct valid molecules, TDC's form."""
    distinct = frame.loc[frame["valid"], "smiles"].drop_duplicates().tolist()
    if len(distinct) < 2:
        return None
    prints = morgan(distinct, TDC_BITS)
    return float(pairwise_diversity(mean_similarities(prints, np.ones(len(prints)))[0]))


ERRORS = ("mean_absolute_error", "share_inside", "share_in_class")


def summary(values: Iterable[float]) -> tuple[float, float | None]:
    """Mean and standard error over seeds; None for one seed."""
    found = list(values)
    mean = sum(found) / len(found)
    if len(found) < 2:
        return mean, None
    spread = math.sqrt(sum((v - mean) ** 2 for v in found) / (len(found) - 1))
    return mean, spread / math.sqrt(len(found))


def text(mean: float, se: float | None, key: str) -> str:
    """A figure with its standard error: shares in per cent, counts and means as they are."""
    share = key in ("validity", "uniqueness", "novelty", "quality") or "_share" in key
    factor, digits = (100, 1) if share else (1, 3 if abs(mean) < 10 else 1)
    tail = "" if se is None else f" ± {factor * se:.{digits}f}"
    return f"{factor * mean:.{digits}f}{tail}" + (" %" if share else "")


def table(runs: list[dict[str, Any]], results: dict[str, dict[str, Any]], columns: list[str]) -> str:
    """A Markdown table, one row a run."""
    lines = ["| run | setting | " + " | ".join(columns) + " |", "|---|---|" + "---|" * len(columns)]
    for run in runs:
        seeds = results[run["name"]]
        cells = []
        for column in columns:
            values = [figures.get(column) for figures in seeds.values()]
            known = [v for v in values if v is not None]
            cells.append(text(*summary(known), column) if known else "-")
        lines.append(f"| {run['name']} | {describe(run)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def describe(run: dict[str, Any]) -> str:
    """A run's setting in one cell."""
    hidden = {"name", "report", "columns"}
    parts = []
    for key, value in run.items():
        if key not in hidden and key != "options":
            if isinstance(value, dict):
                value = [f"{name}={low}..{high}" for name, (low, high) in value.items()]
            parts.append(f"{key} {' '.join(value) if isinstance(value, list) else value}")
    parts += [f"{key} {value}" for key, value in run.get("options", {}).items()]
    return ", ".join(parts) or "the card's default"


def collect(
    model: Model, plan: dict[str, Any], seeds: list[int], out: Path, samples: int
) -> dict[str, dict[str, Any]]:
    """Figures by run and seed; what OUT/runs.jsonl holds already is taken from there."""
    log = out / "runs.jsonl"
    # What a figure depends on beside its run and seed: one that differs in any of it is measured again.
    about = {
        "model": model.card.sha256,
        "default": model.card.default.model_dump(),
        **_classifiers(plan),
        "samples": samples,
        "device": str(model.device),
        "precision": resolved(model.device, "auto"),
        "versions": versions(),
    }
    results: dict[str, dict[str, Any]] = {}
    done: dict[tuple[str, int], Any] = {}
    if log.exists():
        for line in log.read_text().splitlines():
            entry = json.loads(line)
            if entry["about"] == about:
                done[json.dumps(entry["run"], sort_keys=True), entry["seed"]] = entry["figures"]
    for section in plan["sections"]:
        for run in section["runs"]:
            for seed in seeds:
                key = (json.dumps(run, sort_keys=True), seed)
                if key not in done:
                    done[key] = measure(model, run, seed, samples)
                    entry = {"run": run, "seed": seed, "about": about}
                    with log.open("a") as file:
                        file.write(json.dumps(entry | {"figures": done[key]}) + "\n")
                    print(run["name"], seed, {k: round(v, 3) for k, v in done[key].items() if v is not None})
                results.setdefault(run["name"], {})[str(seed)] = done[key]
    return results


def _classifiers(plan: dict[str, Any]) -> dict[str, str]:
    """The hash of each classifier that a plan names."""
    runs = [run for section in plan["sections"] for run in section["runs"]]
    names = sorted({run["classifier"] for run in runs if "classifier" in run})
    return {f"classifier {name}": read_card(find(name)).sha256 for name in names}


def write_card(
    folder: Path, plan: dict[str, Any], results: dict[str, Any], seeds: list[int], samples: int, command: str
) -> None:
    """Puts the figures of the runs that name ``card`` keys on the model's card."""
    source = Checkpoint.load(folder)
    metrics = []
    for section in plan["sections"]:
        for run in section["runs"]:
            for key in section.get("card", ()):
                values = [f[key] for f in results[run["name"]].values() if f.get(key) is not None]
                if values:
                    mean, se = summary(values)
                    metrics.append(
                        Metric(
                            name=key,
                            setting=f"{run['name']}: {describe(run)}",
                            mean=mean,
                            se=se,
                            seeds=tuple(seeds),
                            samples=samples,
                            command=command,
                        )
                    )
    update: dict[str, Any] = {"metrics": tuple(metrics)}
    if "default" in plan:
        update["default"] = Setting.model_validate(plan["default"])
    if "guided_by" in plan:
        update["guided_by"] = GuidedBy.model_validate(plan["guided_by"])
    shared = source.card.shared
    like = None if shared is None else folder.parent / shared.of
    Checkpoint(source.card.model_copy(update=update), source.arrays).save(folder, like)


def main(report: Callable[[str], None] = print) -> None:
    """Runs the plan and writes its tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--settings", type=Path, default=HERE / "qm9.yaml")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--samples", type=int, default=SAMPLES)
    parser.add_argument("--card", action="store_true", help="write figures and default to the card")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    plan = yaml.safe_load(options.settings.read_text())
    seeds = [int(seed) for seed in options.seeds.split(",")]
    model = moldiff.load(options.model)
    results = collect(model, plan, seeds, options.out, options.samples)
    settings = os.path.relpath(options.settings, HERE.parent)
    command = (
        f"python benchmarks/qm9.py {options.model} --settings {settings} "
        f"--seeds {options.seeds} --samples {options.samples} --out DIR"
    )
    facts = ", ".join(f"{name} {version}" for name, version in versions().items())
    lines = [f"{options.samples} samples, seeds {options.seeds}, mean ± s.e. over seeds; {facts}.", ""]
    for section in plan["sections"]:
        lines += [f"### {section['title']}", "", table(section["runs"], results, section["columns"]), ""]
    (options.out / "results.md").write_text("\n".join(lines))
    report("\n".join(lines))
    if options.card:
        write_card(find(options.model), plan, results, seeds, options.samples, command)


if __name__ == "__main__":
    main()
