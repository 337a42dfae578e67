"""Comparisons: noise processes side by side, by what they make and by how likely they find held-out items."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import pandas as pd

from moldiff import registry
from moldiff.checkpoint import versions
from moldiff.errors import MoldiffError
from moldiff.files import make_folder, write_json, write_table
from moldiff.generation.model import load
from moldiff.moments import mean_se
from moldiff.study.plan import Plan
from moldiff.study.sampling import Tell, sample, silent
from moldiff.study.study import Options, notes
from moldiff.study.tables import COSTS, POINT

RUNS, MEANS, LIKELIHOODS, SUMMARY = "compare.csv", "compare-means.csv", "likelihood.csv", "summary.json"
PICTURES = ("compare.png", "compare.svg")
TOKEN_FILE = ".safetensors"
#: Shares that a table shows beside its counts: name -> of what, in columns.
SHARES = {
    "validity": ("valid", "samples"),
    "uniqueness": ("unique", "valid"),
    "novelty": ("novel", "unique"),
    "novelty_upstream": ("novel_upstream", "unique_upstream"),
}


@final
@dataclass(frozen=True)
class Heldout:
    """Items whose likelihood is asked for.

    Args:
        path: a molecule file, of which all rows count, or a token file, of which those held out do.
        items: how many at most, drawn at random; of fewer, all.
        times: forwards an item.
        seed: of the draw and of the estimate.
    """

    path: Path
    items: int = 1000
    times: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value, least in (("--items", self.items, 2), ("--times", self.times, 2)):
            if value < least:
                raise MoldiffError(f"{name}: got {value}, must be at least {least}")


@final
@dataclass(frozen=True)
class Compared:
    """What a comparison came to.

    Args:
        sampled: runs sampled by this call.
        means: one row a point of the grid, with standard errors; None where nothing was scored.
        likelihoods: one row a method; None where nothing was asked.
        summary: facts; empty where nothing was scored.
    """

    sampled: int
    means: pd.DataFrame | None
    likelihoods: pd.DataFrame | None
    summary: dict[str, Any]


def compare(
    plan: Plan, out: Path, options: Options, heldout: Heldout | None, tell: Tell = silent
) -> Compared:
    """Works a plan off into a folder; what is there already is not repeated.

    Raises:
        MoldiffError: what the plan's models cannot be asked, or files that cannot be read or written.
    """
    make_folder(out)
    items = None if heldout is None or options.stage == "sample" else held_out(plan, heldout)
    done = sample(plan, out, options.device, tell) if options.stage != "score" else 0
    if options.stage == "sample":
        return Compared(done, None, None, {})
    from moldiff.study import picture
    from moldiff.study.scoring import score, table

    properties = _properties(plan)
    frame = shares(table(score(plan, out, options.workers), properties))
    means = over_seeds(frame, properties)
    found = (
        None if heldout is None or items is None else likelihoods(plan, items, heldout, out, options.device)
    )
    write_table(frame, out / RUNS)
    write_table(means, out / MEANS)
    if found is not None:
        write_table(found, out / LIKELIHOODS)
    summary = _summary(plan, frame, found, heldout, options)
    write_json(summary, out / SUMMARY)
    labels = {name: plan.label(name) for name in plan.grid.methods}
    for name in PICTURES:
        figure = picture.comparison(means, labels, plan.grid.property)
        picture.save(figure, out / name, notes(options.command))
    return Compared(done, means, found, summary)


def shares(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with the shares of SHARES, NaN for 0 / 0."""
    columns = {
        name: frame[part].astype(float) / frame[whole].astype(float).where(frame[whole] > 0)
        for name, (part, whole) in SHARES.items()
    }
    return frame.assign(**columns)


def over_seeds(frame: pd.DataFrame, properties: Sequence[str]) -> pd.DataFrame:
    """One row a point of the grid: means over seeds, and standard errors in columns NAME_se."""
    names = [*SHARES, "novel", "novel_upstream", "intdiv", *COSTS]
    names += [f"{name}_{rows}" for name in properties for rows in ("valid", "novel")]
    found = []
    for point, rows in frame.groupby(POINT, dropna=False, sort=False):
        row: dict[str, Any] = {**dict(zip(POINT, point, strict=True)), "seeds": len(rows)}
        for name in names:
            row[name], row[f"{name}_se"] = mean_se(rows[name].astype(float))
        found.append(row)
    return pd.DataFrame(found).astype({"steps": "Int64"})


def held_out(plan: Plan, heldout: Heldout) -> list[Any]:
    """The items of a file, as the modality reads them; MoldiffError where it holds none."""
    card = plan.cards[plan.grid.methods[0]]
    modality = registry.build("modality", card.config.data.modality)
    if heldout.path.suffix == TOKEN_FILE:
        data = registry.resolve("data", "token-file").load(heldout.path)
        if data.info["modality"] != modality.name:
            raise MoldiffError(f"--heldout: got tokens of {data.info['modality']}, needs {modality.name}")
        tokenizer = modality.tokenizer(data.info["tokenizer"])
        each, distinct = data.rows(), np.sort(data.distinct())
        rows = [tokenizer.decode(each[i].tolist()) for i in distinct[data.heldout[distinct]]]
    else:
        frame = modality.read(heldout.path)
        rows = [item for item in frame[modality.key] if isinstance(item, str)]
    if len(rows) < 2:
        raise MoldiffError(f"--heldout: {heldout.path} holds {len(rows)} items that count, needs at least 2")
    if len(rows) <= heldout.items:
        return rows
    chosen = np.random.default_rng(heldout.seed).choice(len(rows), heldout.items, replace=False)
    return [rows[i] for i in sorted(chosen)]


def likelihoods(plan: Plan, items: Sequence[Any], heldout: Heldout, out: Path, device: str) -> pd.DataFrame:
    """A row a method: nats an item, of which for its length, over the items that every model reaches."""
    tables = {name: _bounds(plan, name, items, heldout, out, device) for name in plan.grid.methods}
    reached = np.all([frame["reason"].isna().to_numpy() for frame in tables.values()], axis=0)
    if not reached.any():
        raise MoldiffError(f"--heldout: of {len(items)} items the models reach none together")
    rows = []
    for name, frame in tables.items():
        kept = frame[reached]
        nll, se = mean_se(kept["nll"])
        # In the papers' unit: every token and the end of the item, the length's share included.
        per_token = float(kept["nll"].sum() / (kept["tokens"] + 1).sum())
        rows.append(
            {
                "method": name,
                "model": plan.cards[name].name,
                "items": int(reached.sum()),
                "out_of_reach": int((~reached).sum()),
                "nats": nll,
                "nats_se": se,
                "nats_length": float(kept["nll_length"].mean()),
                "estimate_se": float(np.sqrt((kept["se"] ** 2).sum()) / len(kept)),
                "nats_per_token": per_token,
                "perplexity": math.exp(per_token),
            }
        )
    return pd.DataFrame(rows)


def _bounds(
    plan: Plan, name: str, items: Sequence[Any], heldout: Heldout, out: Path, device: str
) -> pd.DataFrame:
    """The likelihood of each item under the model of a method; kept in a file, so asked for once."""
    from moldiff.evaluation.likelihood import bound

    card, model = plan.cards[name], plan.settings.methods[name].model
    basis = json.dumps([card.sha256, list(items), heldout.times, heldout.seed])
    path = out / "likelihood" / f"{card.name}-{hashlib.sha256(basis.encode()).hexdigest()[:10]}.csv"
    if not path.exists():
        found = bound(load(model, device), items, heldout.times, heldout.seed).to_pandas()
        path.parent.mkdir(parents=True, exist_ok=True)
        write_table(found, path)
    return pd.read_csv(path, dtype={"reason": object})


def _properties(plan: Plan) -> list[str]:
    """The properties that every model was trained beside, the asked one first."""
    tables = [card.table for card in plan.cards.values()]
    common = [name for name in tables[0] if all(name in each for each in tables)]
    asked = [plan.grid.property] if plan.grid.property is not None else []
    return list(dict.fromkeys([*asked, *common]))


def _summary(
    plan: Plan, frame: pd.DataFrame, found: pd.DataFrame | None, heldout: Heldout | None, options: Options
) -> dict[str, Any]:
    facts = None
    if found is not None and heldout is not None:
        rows = [{key: _known(value) for key, value in row.items()} for row in found.to_dict("records")]
        facts = {"file": heldout.path.name, "times": heldout.times, "seed": heldout.seed, "methods": rows}
    return {
        "runs": len(plan.runs),
        "scored": len(frame),
        "labels": {name: plan.label(name) for name in plan.grid.methods},
        "likelihood": facts,
        "plan": plan.facts(),
        "devices": sorted(set(frame["device"])),
        "versions": versions(),
        "command": options.command,
    }


def _known(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
