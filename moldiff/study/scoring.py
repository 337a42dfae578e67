"""The second stage of a study: what the token files hold, decoded, checked and measured."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import pandas as pd

from moldiff.chem.fingerprints import MOSES_BITS, morgan
from moldiff.chem.molecule import rdkit_version
from moldiff.chem.similarity import internal_diversity, mean_similarities
from moldiff.errors import MoldiffError
from moldiff.files import written
from moldiff.generation.model import Model, load
from moldiff.study.plan import Plan, Planned, Run
from moldiff.study.tokens import Sampled, place

FOLDER = "scores"
#: Of a score's layout; a score of another one is made anew.
FORMAT = 1


@final
@dataclass(frozen=True, eq=False)
class Scored:
    """A run with its figures, all of them JSON; None where undefined.

    Args:
        run: its point of the grid.
        figures: counts, means and costs, as ``figures`` gives them.
    """

    run: Run
    figures: dict[str, Any]

    def mean(self, name: str, rows: str) -> float:
        """The mean of a property over ``valid``, ``novel`` or ``novel_upstream`` rows; NaN for none."""
        value = self.figures["means"].get(name, {}).get(rows)
        return float("nan") if value is None else float(value)


def score(plan: Plan, out: Path, workers: int = 1) -> list[Scored]:
    """The runs of a plan that have a token file, in its order, measured; a score that is there is read.

    Raises:
        MoldiffError: no token file at all, a damaged one, or a score that cannot be written.
    """
    ready = [each for each in plan.runs if place(out, each.name).exists()]
    if not ready:
        raise MoldiffError(f"study {out}: holds no run of these settings; sample first, --stage sample")
    models: dict[str, Model] = {}
    found = []
    for each in ready:
        found.append(Scored(each.run, _score(each, out, models, workers)))
    return found


def _score(each: Planned, out: Path, models: dict[str, Model], workers: int) -> dict[str, Any]:
    """The figures of one run, from its file where they are there already."""
    sampled = Sampled.load(place(out, each.name))
    if len(sampled.tokens) != each.request.n or sampled.facts.get("identity") != each.identity:
        raise MoldiffError(f"token file {place(out, each.name)}: it is not of run {each.run}; remove it")
    path = out / FOLDER / f"{each.name}.json"
    basis = {"format": FORMAT, "sha256": sampled.sha256, "rdkit": rdkit_version()}
    if path.exists():
        kept = _read(path)
        if kept.get("basis") == basis:
            figures_kept: dict[str, Any] = kept["figures"]
            return figures_kept
    if each.model not in models:
        # What is scored needs no accelerator.
        models[each.model] = load(each.model, "cpu")
    found = figures(models[each.model], sampled, workers)
    path.parent.mkdir(parents=True, exist_ok=True)
    with written(path) as part:
        part.write_text(json.dumps({"basis": basis, "figures": found}, indent=1) + "\n", encoding="utf-8")
    return found


def figures(model: Model, sampled: Sampled, workers: int = 1) -> dict[str, Any]:
    """Counts of a run's rows, its costs a row, its diversity, and means of properties by kind of row."""
    raw = [model.tokenizer.decode(row) for row in sampled.tokens]
    frame = model.modality.evaluate(raw, model.reference, workers)
    tally = model.modality.tally(model.reference)
    tally.add(frame)
    counts, n, facts = tally.summary(), len(frame), sampled.facts
    spent, valid = facts["spent"], frame[frame["valid"]]
    found: dict[str, Any] = {
        "samples": n,
        **{name: counts[name] for name in ("valid", "sane", "unique", "unique_upstream")},
        "novel": counts["novel"]["canonical"],
        "novel_upstream": counts["novel"]["upstream"],
        "intdiv": _diversity(valid),
        "forwards": spent["rows"] / n,
        "token_forwards": spent["tokens"] / n,
        "classifier_forwards": spent.get("classifier_rows", 0) / n,
        "gflop": facts["flop"] / n / 1e9,
        "seconds": spent["seconds"] / n,
        "device": facts["device"],
        "tokens": sum(map(len, sampled.tokens)) / n,
        "means": {
            name: {
                "valid": float(valid[name].mean()),
                "novel": means["novel_canonical"],
                "novel_upstream": means["novel_upstream"],
            }
            for name, means in counts["novel_means"].items()
        },
    }
    plain: dict[str, Any] = _plain(found)
    return plain


def _diversity(valid: pd.DataFrame) -> float:
    """MOSES's internal diversity of the valid rows."""
    smiles, weights = np.unique(valid["smiles"].astype(str), return_counts=True)
    share = weights.astype(np.float64)
    means = mean_similarities(morgan(list(smiles), MOSES_BITS), share)[0]
    return internal_diversity(means, share)


def _read(path: Path) -> dict[str, Any]:
    """What a score holds; nothing where it is damaged, so that it is made anew."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _plain(value: Any) -> Any:
    """The value with NaN as None, all the way down."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return None if isinstance(value, float) and not np.isfinite(value) else value


def table(scored: Sequence[Scored], properties: Sequence[str]) -> pd.DataFrame:
    """One row a run: its point of the grid, counts, means of the properties, and costs a molecule."""
    found = []
    for each in scored:
        facts = {key: value for key, value in each.figures.items() if key != "means"}
        means = {f"{name}_{rows}": each.mean(name, rows) for name in properties for rows in MEANS}
        found.append({**asdict(each.run), **{key: facts.pop(key) for key in COUNTS}, **means, **facts})
    frame = pd.DataFrame(found)
    frame["steps"] = frame["steps"].astype("Int64")
    return frame


#: The rows whose means are taken.
MEANS = ("novel", "novel_upstream", "valid")
COUNTS = ("samples", "valid", "sane", "unique", "unique_upstream", "novel", "novel_upstream")
