"""Measures how text and images grow better with steps: samplers side by side, over seeds; resumable.

    python benchmarks/scaling.py --text FILE --out runs/scaling [--tune] [--only PART] [--card]

The settings stand in benchmarks/scaling.yaml. With --tune, each series that has a grid is tried over it on
the seeds 100-102, and what is best goes to benchmarks/scaling-tuned.yaml; without, that file is taken as it
stands and the figures are of the seeds 0-2, or of as many as a part says. A run is a line of OUT/runs.jsonl,
so none is repeated. The tables go to OUT/scaling.md, the pictures to OUT/text.png and OUT/images.png.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import yaml

import moldiff
from moldiff import registry
from moldiff.checkpoint import Checkpoint, Metric, find, versions
from moldiff.evaluation.likelihood import judge
from moldiff.generation.plan import read_targets
from moldiff.generation.request import Request

HERE = Path(__file__).parent
TUNED = HERE / "scaling-tuned.yaml"
TUNING_SEEDS, SEEDS = (100, 101, 102), 3


#: What a series may ask of the model beside its sampler's own options.
ASKED = ("sampler", "temperature", "top_p", "scale")


@dataclass(frozen=True)
class Run:
    """One call of generate and its figures."""

    part: str
    series: str
    steps: int | None
    seed: int
    options: dict[str, Any]

    @property
    def name(self) -> str:
        spelt = "".join(f"-{key}{value}" for key, value in sorted(self.options.items()))
        return f"{self.part}-{self.series}-{self.steps}-{self.seed}{spelt}".replace(" ", "_")


class Book:
    """What was measured, a line a run."""

    def __init__(self, out: Path) -> None:
        self.out, self.path = out, out / "runs.jsonl"
        (out / "samples").mkdir(parents=True, exist_ok=True)
        lines = self.path.read_text("utf-8").splitlines() if self.path.exists() else []
        self.known: dict[str, dict[str, float]] = {
            self._key(each["run"], each["about"]): each["figures"]
            for each in map(json.loads, lines)
            if "about" in each
        }
        self.models: dict[str, moldiff.Model] = {}

    def model(self, name: str) -> moldiff.Model:
        if name not in self.models:
            self.models[name] = moldiff.load(name)
        return self.models[name]

    def figures(self, run: Run, settings: dict[str, Any], reference: str) -> dict[str, float]:
        about = self._about(run, settings, reference)
        key = self._key(run.name, about)
        if key not in self.known:
            found = self._measured(run, settings, reference)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"run": run.name, "about": about, "figures": found}) + "\n")
            self.known[key] = found
            print(run.name, {name: round(value, 4) for name, value in found.items()}, flush=True)
        return self.known[key]

    @staticmethod
    def _key(name: str, about: dict[str, Any]) -> str:
        return json.dumps([name, about], sort_keys=True)

    def _about(self, run: Run, settings: dict[str, Any], reference: str) -> dict[str, Any]:
        """What a figure depends on beside its run: with any of it changed it is measured again."""
        series = settings["series"][run.series]
        networks = [series["model"], *([settings["judge"]] if "judge" in settings else [])]
        return {
            "models": [self.model(name).card.sha256 for name in networks],
            "asked": {**settings.get("all", {}), **{key: series[key] for key in ASKED if key in series}},
            "options": series.get("options", {}),
            "samples": settings["tuning_samples" if run.seed in TUNING_SEEDS else "samples"],
            "reference": reference,
            "versions": versions(),
        }

    def _measured(self, run: Run, settings: dict[str, Any], reference: str) -> dict[str, float]:
        series = settings["series"][run.series]
        model, modality = self.model(series["model"]), settings["modality"]
        asked = {**settings.get("all", {}), **{key: series[key] for key in ASKED if key in series}}
        options = {**series.get("options", {}), **run.options}
        samples = settings["tuning_samples" if run.seed in TUNING_SEEDS else "samples"]
        if "kinds" in settings:
            asked["targets_from"] = read_targets(self._kinds(settings["kinds"], samples), 1)
        found = model.run(Request(samples, steps=run.steps, options=options, seed=run.seed, **asked))
        path = self.out / "samples" / f"{run.name}.csv"
        found.save(path)
        judged = {"judge": judge(self.model(settings["judge"]))} if "judge" in settings else {}
        measured = registry.build("evaluation", modality, path, reference=reference, **judged).summary
        noun = model.modality.noun
        figures = {name: _number(measured[name]) for name in settings["figures"]}
        for name, each in found.summary["properties"].items():
            figures[f"{name} agreement"] = float(each["share_in_class"])
        figures["novelty"] = float(found.summary["novelty"])
        figures["forwards"] = float(found.summary[f"forwards_per_{noun}"])
        figures["token_forwards"] = float(found.summary[f"token_forwards_per_{noun}"])
        return figures

    def _kinds(self, kinds: dict[str, int], samples: int) -> Path:
        """A file that asks for each category in turn."""
        ((name, count),) = kinds.items()
        path = self.out / f"asked-{samples}.csv"
        path.write_text(f"{name}\n" + "".join(f"{row % count}\n" for row in range(samples)), "utf-8")
        return path


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def steps_of(settings: dict[str, Any], series: dict[str, Any]) -> list[int | None]:
    return series.get("steps", settings["steps"]) or [None]


def chosen(tuned: dict[str, Any], name: str, steps: int | None) -> dict[str, Any]:
    """The options that tuning chose for a series at a number of steps, or at the one it looked at."""
    by_steps = tuned.get(name, {})
    found: dict[str, Any] = by_steps.get(steps, next(iter(by_steps.values()), {}))
    return found


def grid(series: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The settings to try of a series."""
    names = sorted(series.get("grid", {}))
    for values in itertools.product(*(series["grid"][name] for name in names)):
        yield dict(zip(names, values, strict=True))


def tune(book: Book, part: str, settings: dict[str, Any], reference: str) -> dict[str, dict[Any, Any]]:
    """By series and steps, the options that are best on the tuning seeds.

    The best has the lowest first figure of those that keep the share ``floor`` of the yardstick's figure.
    """
    rule = settings["best"]
    floor = -math.inf
    if "floor" in rule:
        yardstick = rule["yardstick"]
        least = [
            book.figures(Run(part, yardstick, None, seed, {}), settings, reference) for seed in TUNING_SEEDS
        ]
        floor = rule["floor"] * float(np.mean([each[rule["keeps"]] for each in least]))
    best: dict[str, dict[Any, Any]] = {}
    for name, series in settings["series"].items():
        tried_at = settings.get("tuned_at", steps_of(settings, series))
        for steps in tried_at if "grid" in series else []:
            tried = []
            for options in grid(series):
                runs = [Run(part, name, steps, seed, options) for seed in TUNING_SEEDS]
                found = [book.figures(run, settings, reference) for run in runs]
                mean = {key: float(np.mean([each[key] for each in found])) for key in found[0]}
                short = max(0.0, floor - mean[rule["keeps"]]) if "keeps" in rule else 0.0
                tried.append((short, mean[rule["lowest"]], json.dumps(options)))
            best.setdefault(name, {})[steps] = json.loads(min(tried)[2])
    return best


def measure(
    book: Book, part: str, settings: dict[str, Any], reference: str, tuned: dict[str, Any]
) -> dict[str, dict[int | None, list[dict[str, float]]]]:
    """The figures of every series by steps, one entry a seed."""
    out: dict[str, dict[int | None, list[dict[str, float]]]] = {}
    # A seed after the other, so that what is there early is a whole.
    for seed in range(settings.get("seeds", SEEDS)):
        for name, series in settings["series"].items():
            for steps in steps_of(settings, series):
                run = Run(part, name, steps, seed, chosen(tuned, name, steps))
                figures = book.figures(run, settings, reference)
                out.setdefault(name, {}).setdefault(steps, []).append(figures)
    return out


def spread(values: list[float]) -> tuple[float, float]:
    return float(np.mean(values)), float(np.std(values, ddof=1) / math.sqrt(len(values)))


def table(found: dict[str, Any], settings: dict[str, Any], tuned: dict[str, Any]) -> str:
    """One row a series and number of steps, mean ± standard error over seeds."""
    columns = [*settings["shown"], "forwards"]
    lines = [
        f"| sampler | T | {' | '.join(columns)} | setting |",
        "|---|---|" + "---|" * (len(columns) + 1),
    ]
    for name, by_steps in found.items():
        for steps, each in by_steps.items():
            cells = []
            for column in columns:
                mean, se = spread([figures[column] for figures in each])
                cells.append(f"{mean:.4g} ± {se:.2g}" if se else f"{mean:.4g}")
            options = {**settings["series"][name].get("options", {}), **chosen(tuned, name, steps)}
            spelt = ", ".join(f"{key} {value}" for key, value in options.items()) or "-"
            lines.append(f"| {name} | {steps or '-'} | {' | '.join(cells)} | {spelt} |")
    return "\n".join(lines)


def publish(found: dict[str, Any], settings: dict[str, Any], part: str) -> None:
    """Writes the figures at the most steps of each series to the card of the part's model."""
    source = Checkpoint.load(find(settings["card"]))
    text = " --text FILE" if "text" in part else ""
    command = f"python benchmarks/scaling.py --only {part}{text}"
    metrics = []
    for name, by_steps in found.items():
        if settings["series"][name]["model"] != settings["card"]:
            continue
        steps, each = list(by_steps.items())[-1]
        for column in [*settings["shown"], "forwards"]:
            mean, se = spread([figures[column] for figures in each])
            setting = f"{name}, T = {steps}"
            metrics.append(
                Metric(
                    name=column.replace("_", " "),
                    setting=setting,
                    mean=mean,
                    se=se,
                    seeds=tuple(range(len(each))),
                    samples=settings["samples"],
                    command=command,
                )
            )
    card = source.card.model_copy(update={"metrics": tuple(metrics)})
    Checkpoint(card, source.arrays).save(find(settings["card"]))


def picture(found: dict[str, Any], settings: dict[str, Any], path: Path) -> None:
    """The shown figures against the number of steps, with error bars."""
    mpl.use("Agg")
    from matplotlib import pyplot

    shown = settings["drawn"]
    figure, axes = pyplot.subplots(1, len(shown), figsize=(4.6 * len(shown), 3.6), squeeze=False)
    for axis, column in zip(axes[0], shown, strict=True):
        for name, by_steps in found.items():
            points = [
                (steps, *spread([each[column] for each in figures])) for steps, figures in by_steps.items()
            ]
            if points[0][0] is None:
                axis.axhspan(points[0][1] - points[0][2], points[0][1] + points[0][2], color="0.85")
                axis.axhline(points[0][1], color="0.3", linestyle="--", label=name)
                continue
            steps, mean, se = zip(*points, strict=True)
            axis.errorbar(steps, mean, se, marker="o", markersize=4, capsize=2, label=name)
        axis.set_xscale("log", base=2)
        ticks = [steps for steps in settings["steps"] if steps]
        axis.set_xticks(ticks, [str(steps) for steps in ticks])
        axis.set_xlabel("steps T")
        axis.set_ylabel(settings["labels"].get(column, column))
        axis.grid(alpha=0.3)
    figure.tight_layout()
    # Beside the panels: wherever it stood inside, it would cover a series.
    handles, labels = axes[0][-1].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(path, dpi=150, bbox_inches="tight")
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--text", help="what text is compared with: the corpus of the text models")
    parser.add_argument("--out", type=Path, default=Path("runs/scaling"))
    parser.add_argument("--tune", action="store_true")
    parser.add_argument("--card", action="store_true", help="writes the figures to the models' cards too")
    parts = yaml.safe_load((HERE / "scaling.yaml").read_text("utf-8"))
    parser.add_argument("--only", choices=tuple(parts))
    asked = parser.parse_args()
    tuned = yaml.safe_load(TUNED.read_text("utf-8")) if TUNED.exists() else {}
    book, pages = Book(asked.out), []
    for part, settings in parts.items():
        if asked.only not in (None, part):
            continue
        if asked.tune and "best" not in settings:
            print(f"{part}: nothing to tune")
            continue
        reference = asked.text if settings["modality"] == "text" else settings["reference"]
        if reference is None:
            parser.error("--text: name the corpus of the text models, or take --only images")
        if asked.tune:
            tuned[part] = tune(book, part, settings, reference)
            TUNED.write_text(yaml.safe_dump(tuned), "utf-8")
            continue
        found = measure(book, part, settings, reference, tuned.get(part, {}))
        pages.append(f"## {part}\n\n{table(found, settings, tuned.get(part, {}))}\n")
        if "drawn" in settings:
            picture(found, settings, asked.out / f"{part}.png")
        if asked.card and "card" in settings:
            publish(found, settings, part)
    if pages:
        (asked.out / "scaling.md").write_text("\n".join(pages), "utf-8")
        print("\n".join(pages))


if __name__ == "__main__":
    main()
