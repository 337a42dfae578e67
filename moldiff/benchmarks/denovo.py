"""The de novo benchmark of SAFE-GPT and GenMol: quality and diversity of molecules drawn from scratch.

Noutahi et al., arXiv:2310.10773; Lee et al., GenMol, arXiv:2501.06158.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import pandas as pd

from moldiff.benchmarks.report import ERROR, Report, averaged, claim, read_json
from moldiff.chem.work import Stages, silent
from moldiff.diffusion.process import Process
from moldiff.errors import MoldiffError
from moldiff.evaluation.evaluate import evaluate
from moldiff.evaluation.reference import COMPARED, Known, of_model
from moldiff.files import plain
from moldiff.generation.repair import FIRST, ROUNDS
from moldiff.generation.request import Request
from moldiff.generation.saving import Saving

if TYPE_CHECKING:
    from moldiff.generation.model import Model

#: The figures, in the order of the table.
FIGURES = ("validity", "uniqueness", "quality", "diversity", "intdiv", "novelty", "forwards", "seconds")
#: Rounds of repair where nothing is said and the model can be repaired.
REPAIR = 3


@final
@dataclass(frozen=True)
class Published:
    """Figures of a paper, none of them measured here.

    Args:
        name: the model.
        source: where they stand.
        quality: distinct molecules with QED >= 0.6 and SA <= 4, of 1,000 drawn, 0 to 1.
        diversity: the mean Tanimoto distance of pairs, 2,048 bits, 0 to 1.
        validity: NaN where it is not known; after the model's own repair where it has one.
    """

    name: str
    source: str
    quality: float
    diversity: float
    validity: float = math.nan

    def row(self) -> dict[str, Any]:
        """The row of the table."""
        figures = {"validity": self.validity, "quality": self.quality, "diversity": self.diversity}
        return {"molecules": self.name, "origin": f"published: {self.source}"} | figures


PUBLISHED = (
    Published("SAFE-GPT", "GenMol, arXiv:2501.06158", 0.547, 0.879, 0.940),
    Published("GenMol", "GenMol, arXiv:2501.06158", 0.846, 0.818),
    Published("GenMol V2", "README of GenMol", 0.897, 0.830),
)


@final
@dataclass(frozen=True, eq=False)
class Draws:
    """What is drawn from a model.

    Args:
        name: of the model, as it was asked for.
        model: that is loaded.
        request: of each seed; its own seed does not count.
        seeds: one run each, at least one.

    Raises:
        MoldiffError: a model of something other than molecules.
    """

    name: str
    model: Model
    request: Request
    seeds: Sequence[int]

    def __post_init__(self) -> None:
        """Refuse models of other items before anything is drawn."""
        modality = self.model.card.config.data.modality
        if modality != COMPARED:
            raise MoldiffError(f"model: got {self.name}, a model of {modality}; name one of {COMPARED}")


def rounds(model: Model, asked: int | None) -> int:
    """The rounds of repair: those asked for, else `REPAIR`, or none where a model has no masks."""
    if asked is not None:
        return asked
    return REPAIR if isinstance(model.process, Process) and model.process.events_first else 0


def from_model(
    draws: Draws, out: Path, *, command: str = "", progress: Stages = silent, stages: Stages = silent
) -> Report:
    """The figures of a model: mean and standard error over seeds, of first draws and after repair apart.

    Each seed's samples are in ``out`` as seed-K.csv; what is there already is not drawn again.

    Args:
        draws: what is drawn.
        out: the folder.
        command: what the samples' summaries say of where they came from.
        progress: shows how far the drawing is.
        stages: shows how far the scoring is.

    Raises:
        MoldiffError: what the model cannot be asked, or a folder with runs of something else.
        KeyboardInterrupt: the keyboard ended it; what was drawn stays.
    """
    request, known = draws.request, of_model(draws.name, draws.model)
    first = draws.model.start(replace(request, seed=draws.seeds[0])).identity()
    asked = {name: value for name, value in first.items() if name != "seed"}
    claim(out, {"benchmark": "denovo", **asked})
    found: dict[str, list[dict[str, float]]] = {}
    for seed in draws.seeds:
        table, cost = _drawn(draws, seed, out / f"seed-{seed}.csv", command, progress)
        for state, raw in _states(table, request.repair).items():
            figures = _figures(evaluate(raw, known, stages=stages).summary)
            found.setdefault(state, []).append(figures | _cost(state, cost, request.repair))
    rows = [_row(draws, state, each) for state, each in found.items()]
    by_seed = {
        state: {str(seed): each for seed, each in zip(draws.seeds, figures, strict=True)}
        for state, figures in found.items()
    }
    notes = [f"standard errors are over {len(draws.seeds)} seeds"]
    if request.repair:
        notes.append(
            "seconds are of drawing and repair together; forwards of first draws leave the repair out"
        )
    metrics = {"by_seed": by_seed, "means": {state: averaged(each, FIGURES) for state, each in found.items()}}
    return _report(rows, asked, metrics, draws.seeds, notes)


def from_file(
    name: str, raw: Sequence[str], reference: Known | None = None, *, stages: Stages = silent
) -> Report:
    """The same figures of strings that were drawn elsewhere, with standard errors within the sample.

    Args:
        name: what the table calls them.
        raw: every string that was drawn, valid or not, N.
        reference: what is known; None leaves novelty out.
        stages: shows progress.
    """
    summary = evaluate(raw, reference, stages=stages).summary
    figures = _figures(summary)
    errors = {
        "validity": summary["validity_se"],
        "quality": summary["quality_se"],
        "novelty": summary.get("novelty_se"),
        "diversity": summary["diversity"]["tdc_se"],
        "intdiv": summary["diversity"]["intdiv_se"],
    }
    row = {"molecules": name, "origin": "measured", "drawn": len(raw)} | figures
    row |= {key + ERROR: math.nan if value is None else value for key, value in errors.items()}
    notes = ["standard errors are within the sample: binomial of shares, jackknife of diversities"]
    config = {"file": name, "reference": None if reference is None else reference.name}
    return _report([row], config, figures, (), notes)


def _drawn(
    draws: Draws, seed: int, path: Path, command: str, progress: Stages
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The samples of a seed and what their summary says, drawn now unless they are there."""
    summary = read_json(path.with_name(path.name + ".json"))
    unfinished = path.with_name(path.name + ".part").exists()
    if summary is None or summary.get("interrupted") or unfinished or not path.exists():
        request = replace(draws.request, seed=seed)
        with progress(f"seed {seed}", request.n) as tell:
            outcome = Saving(draws.model.start(request, tell), path, resume=True).run(command)
        if outcome.interrupted:
            raise KeyboardInterrupt
        summary = plain(outcome.summary)
    # What is drawn may be empty, or look like a number or a missing value.
    return pd.read_csv(path, dtype={"raw": "str", FIRST: "str"}, keep_default_na=False), summary


def _states(table: pd.DataFrame, repair: int) -> dict[str, list[str]]:
    """By the state they are in, the strings of all samples."""
    last = table["raw"].tolist()
    if not repair:
        return {"first draws": last}
    mended = table[ROUNDS].to_numpy(dtype=int) > 0
    first = [text if again else kept for text, kept, again in zip(table[FIRST], last, mended, strict=True)]
    return {"first draws": first, f"repaired, {repair} rounds": last}


def _figures(summary: dict[str, Any]) -> dict[str, float]:
    """The figures of an evaluation by our names; NaN where undefined."""
    found = {
        "validity": summary["validity"],
        "uniqueness": summary["uniqueness"],
        "quality": summary["quality"],
        "diversity": summary["diversity"]["tdc"],
        "intdiv": summary["diversity"]["intdiv"],
        "novelty": summary.get("novelty"),
    }
    return {name: math.nan if value is None else float(value) for name, value in found.items()}


def _cost(state: str, summary: dict[str, Any], repair: int) -> dict[str, float]:
    """Forwards a molecule and seconds; a repair's seconds cannot be told from those of the drawing."""
    forwards, seconds = float(summary["forwards_per_molecule"]), float(summary["seconds"])
    if repair and state == "first draws":
        forwards, seconds = forwards - float(summary["repaired"]["forwards_per_molecule"]), math.nan
    return {"forwards": forwards, "seconds": seconds}


def _row(draws: Draws, state: str, figures: Sequence[dict[str, float]]) -> dict[str, Any]:
    counts = {"seeds": len(draws.seeds), "drawn": draws.request.n}
    name = f"{draws.name}, {state}"
    return {"molecules": name, "origin": "measured", **counts, **averaged(figures, FIGURES)}


def _report(
    rows: Sequence[dict[str, Any]],
    config: dict[str, Any],
    metrics: dict[str, Any],
    seeds: Sequence[int],
    notes: Sequence[str],
) -> Report:
    """The report, the published rows below the measured."""
    columns = ["molecules", "origin", "seeds", "drawn"]
    columns += [name + end for name in FIGURES for end in ("", ERROR)]
    frame = pd.DataFrame([*rows, *(each.row() for each in PUBLISHED)], columns=columns)
    frame = frame.astype({"seeds": "Int64", "drawn": "Int64"})
    published = {each.name: asdict(each) for each in PUBLISHED}
    return Report("denovo", frame, config, {"measured": metrics, "published": published}, seeds, notes)
