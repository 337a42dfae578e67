"""Tune the settings of a study's methods, each over as many candidates, on seeds that are not reported.

    python benchmarks/study_tuning.py --out runs/study-tuning --write configs/study.yaml

For each method, property, guidance and number of steps the candidate with the largest hypervolume wins
(novel by canonical form; the mean over the seeds), and becomes an override of the settings file, for any
property, guidance or T where one alone was tried. Runs that are in OUT are not repeated. OUT/tuning.csv lists
every candidate; benchmarks/study-tuning.yaml has the grids, of which --methods and --guidance take a part.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from moldiff.errors import MoldiffError
from moldiff.files import make_folder, write_table
from moldiff.moments import mean_se
from moldiff.study import grid, settings, study
from moldiff.study.plan import Plan
from moldiff.study.sampling import sample
from moldiff.study.scoring import score, table
from moldiff.study.settings import Method, Settings
from moldiff.study.tables import Results

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Candidate:
    """One way for a method to sample: its name in the study, and what is set."""

    method: str
    number: int
    set: Mapping[str, Any]

    @property
    def name(self) -> str:
        return f"{self.method}.{self.number}"

    def of(self, base: Method) -> Method:
        """The method with this candidate's settings and no overrides."""
        said = base.model_dump() | {"overrides": ()}
        options = {**(base.options if "sampler" not in self.set else {}), **self.set.get("options", {})}
        return Method.model_validate(said | dict(self.set) | {"options": options})


def candidates(method: str, axes: Mapping[str, Sequence[Any]]) -> Iterator[Candidate]:
    """The product of a method's axes; an axis `options.NAME` sets one option of the sampler."""
    for number, values in enumerate(itertools.product(*axes.values())):
        found: dict[str, Any] = {}
        for name, value in zip(axes, values, strict=True):
            if name.startswith("options."):
                found.setdefault("options", {})[name.removeprefix("options.")] = value
            else:
                found[name] = value
        yield Candidate(method, number, found)


def check_equal(methods: Mapping[str, Mapping[str, Sequence[Any]]]) -> None:
    """Refuses grids of unequal size: a method that is tuned more looks better."""
    sizes = {name: math.prod(map(len, axes.values())) for name, axes in methods.items()}
    if len(set(sizes.values())) > 1:
        raise MoldiffError(f"tuning: got {sizes} candidates, all methods need as many")


def hypervolumes(plan: Plan, out: Path, device: str, workers: int) -> dict[tuple[str, int], list[float]]:
    """By candidate and number of steps, the hypervolume of each seed."""
    sample(plan, out, device, tell)
    assert plan.grid.property is not None
    name = plan.grid.property
    frame = table(score(plan, out, workers), [name])
    results = Results(frame, name, study.origin(plan, name), study.planned(plan))
    return {
        (method, steps): list(values.values())
        for steps in plan.grid.steps
        for method, values in results.hypervolumes("canonical", steps=steps).items()
    }


def tell(done: int, total: int, last: str, left: float) -> None:
    """One line a run on stderr."""
    if last:
        rest = "" if math.isnan(left) else f", about {left / 60:.1f} min left"
        print(f"{done} of {total} runs{rest} ({last})", file=sys.stderr, flush=True)


def tried(base: Settings, asked: Mapping[str, Any], options: argparse.Namespace) -> pd.DataFrame:
    """One row a candidate, property, guidance and number of steps: what is set and the hypervolume."""
    check_equal(asked["methods"])
    picked = {name: asked["methods"][name] for name in options.methods or asked["methods"]}
    known = {each.name: each for method, axes in picked.items() for each in candidates(method, axes)}
    trial = Settings(methods={name: each.of(base.methods[each.method]) for name, each in known.items()})
    seeds, scales, rows = grid.seeds(str(asked["seeds"])), grid.scales(str(asked["scales"])), []
    for name, kind in itertools.product(asked["properties"], options.guidance or asked["guidance"]):
        varied = grid.Grid(name, tuple(known), (kind,), scales, tuple(asked["steps"]), seeds, asked["num"])
        found = hypervolumes(Plan(trial, varied), options.out, options.device, options.workers)
        for (candidate, steps), values in found.items():
            mean, se = mean_se(values)
            point = {"property": name, "guidance": kind, "steps": steps, "method": known[candidate].method}
            said = json.dumps(dict(known[candidate].set))
            rows.append({**point, "set": said, "hypervolume": mean, "se": se})
    return pd.DataFrame(rows)


def tuned(base: Settings, frame: pd.DataFrame) -> Settings:
    """The settings with the best candidate of each method, property, guidance and steps as an override."""
    won: dict[str, list[Any]] = {}
    varied = [key for key in ("property", "guidance", "steps") if frame[key].nunique() > 1]
    for point, rows in frame.groupby(["method", "property", "guidance", "steps"], sort=False):
        method, *where = point
        best = json.loads(rows["set"].iloc[int(rows["hypervolume"].argmax())])
        when = dict(zip(("property", "guidance", "steps"), where, strict=True))
        when = {key: value for key, value in when.items() if key in varied}
        when |= {"steps": int(when["steps"])} if "steps" in when else {}
        won.setdefault(method, []).append({"when": when, **best})
    methods = {}
    for name, each in base.methods.items():
        new = won.get(name, [])
        kept = [old for old in each.model_dump()["overrides"] if _when(old) not in map(_when, new)]
        methods[name] = Method.model_validate(each.model_dump() | {"overrides": [*kept, *new]})
    return Settings(methods=methods)


def _when(override: Mapping[str, Any]) -> dict[str, Any]:
    """The runs that an override is about."""
    return {key: value for key, value in override["when"].items() if value is not None}


def main() -> None:
    """Writes OUT/tuning.csv and OUT/settings.yaml, and with --write the settings file itself."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--grid", type=Path, default=HERE / "study-tuning.yaml")
    parser.add_argument("--settings", type=Path, help="to start from; the shipped ones by default")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--write", type=Path, help="also write the tuned settings here")
    parser.add_argument("--methods", nargs="+", help="all of the grid by default")
    parser.add_argument("--guidance", nargs="+", help="likewise")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    try:
        make_folder(options.out)
        asked = yaml.safe_load(options.grid.read_text("utf-8"))
        base = settings.load(options.settings)
        frame = tried(base, asked, options)
        write_table(frame, options.out / "tuning.csv")
    except MoldiffError as error:
        sys.exit(f"study_tuning: {error}")
    text = settings.spelt(tuned(base, frame))
    for path in filter(None, (options.out / "settings.yaml", options.write)):
        path.write_text(f"# Tuned by benchmarks/study_tuning.py with {options.grid.name}.\n{text}", "utf-8")
    print(frame.to_string(index=False))


if __name__ == "__main__":
    main()
