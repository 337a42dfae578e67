"""The benchmark of design from fragments: five tasks on well-known drugs, of which a core has to be kept.

The tasks and their figures are those of SAFE-GPT (arXiv:2310.10773) and GenMol (arXiv:2501.06158); the ten
drugs and their cores are our own, so figures compare with the papers' only in kind.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from importlib import resources
from pathlib import Path
from typing import Any, final

import numpy as np
import pandas as pd

from moldiff.benchmarks.report import Report, averaged, claim, read_json
from moldiff.chem.cores import attachments, keeps
from moldiff.chem.fingerprints import MOSES_BITS, morgan
from moldiff.chem.molecule import parse
from moldiff.chem.similarity import nearest
from moldiff.chem.work import Stages, silent
from moldiff.errors import MoldiffError, short
from moldiff.evaluation.evaluate import evaluate
from moldiff.files import check_source, make_folder, write_json, write_table

#: Draws n raw strings that are to keep a core, given the verb of the task, the core, n and a seed.
Draw = Callable[[str, str, int, int], Sequence[str]]

#: The file of the shipped drugs.
SHIPPED = "fragments.csv"
#: In the folder of a run: the draws, one file each, and the figures of each drug.
DRAWS, DRUGS = "draws", "drugs.csv"
#: The figures, in the order of the table.
FIGURES = ("validity", "retained", "uniqueness", "quality", "diversity", "distance")


@final
@dataclass(frozen=True)
class Task:
    """A task.

    Args:
        name: of it.
        verb: of the command that does it.
        core: the column of what is kept.
        points: attachment points that the core has at least.
    """

    name: str
    verb: str
    core: str
    points: int


TASKS = (
    Task("linker design", "link", "linker_fragments", 2),
    Task("motif extension", "extend", "motif", 1),
    Task("scaffold decoration", "decorate", "scaffold", 1),
    Task("superstructure", "superstructure", "superstructure", 0),
    # What is replaced is the middle, so the same side chains stay as in linker design.
    Task("scaffold morphing", "morph", "linker_fragments", 2),
)


@final
@dataclass(frozen=True)
class Drug:
    """A molecule and its cores.

    Args:
        name: of it.
        smiles: the whole.
        linker_fragments: two ends, "A[*].B[*]", whose middle is asked for.
        motif: a part with one attachment point.
        scaffold: its rings and what links them, with the attachment points of what they carry.
        superstructure: a part that is grown anywhere.
    """

    name: str
    smiles: str
    linker_fragments: str
    motif: str
    scaffold: str
    superstructure: str


def drugs(path: Path | None = None) -> list[Drug]:
    """The drugs of a CSV table with a column for each field of `Drug`; the ten shipped ones by default.

    Raises:
        MoldiffError: a table that cannot be read, lacks a column or names a drug twice, or a core that is no
            part of its drug or has too few attachment points.
    """
    where = f"drugs in {SHIPPED if path is None else path}"
    names = [each.name for each in fields(Drug)]
    try:
        table = csv.DictReader(io.StringIO(_text(path), newline=""))
        rows, columns = list(table), table.fieldnames or ()
    except csv.Error as error:
        raise MoldiffError(f"{where}: it is no CSV table ({error})") from None
    if missing := [name for name in names if name not in columns]:
        raise MoldiffError(f"{where}: got no column {', '.join(missing)}; it needs {', '.join(names)}")
    found = [Drug(**{name: (row[name] or "").strip() for name in names}) for row in rows]
    if not found:
        raise MoldiffError(f"{where}: it has no row")
    for number, each in enumerate(found):
        if each.name in {other.name for other in found[:number]}:
            raise MoldiffError(
                f"{where}: got {short(repr(each.name))} twice; give each drug a name of its own"
            )
        _check(each, f"{where}, {short(repr(each.name))}")
    return found


def run(
    draw: Draw,
    molecules: Sequence[Drug],
    n: int,
    seeds: Sequence[int],
    out: Path,
    *,
    asked: Mapping[str, Any],
    progress: Stages = silent,
) -> Report:
    """The figures of the five tasks, mean and standard error over drugs.

    Each draw is kept in ``out``; what is there already is not drawn again.

    Args:
        draw: gives n raw strings for a verb, a core, n and a seed, valid or not.
        molecules: the drugs.
        n: strings a task, drug and seed, at least 1.
        seeds: at least one.
        out: the folder.
        asked: what else fixes the draws, such as the model and its setting; JSON.
        progress: shows how far it is.

    Raises:
        MoldiffError: n below 1, a folder with draws of something else, or another number of strings drawn.
    """
    if n < 1:
        raise MoldiffError(f"n: got {n}, must be at least 1")
    config = {"benchmark": "fragments", "n": n, **asked, "drugs": [asdict(each) for each in molecules]}
    claim(out, config)
    make_folder(out / DRAWS)
    rows: list[dict[str, Any]] = []
    with progress("fragments", len(TASKS) * len(molecules) * len(seeds)) as tell:
        for task in TASKS:
            for number, drug in enumerate(molecules, 1):
                core, found = str(getattr(drug, task.core)), []
                for seed in seeds:
                    path = out / DRAWS / f"{task.verb}-{number}-seed-{seed}.json"
                    found.append(figures(_drawn(draw, (task.verb, core, n, seed), path), core, drug.smiles))
                    tell(len(rows) * len(seeds) + len(found))
                means = {name: value for name, value in averaged(found, FIGURES).items() if name in FIGURES}
                rows.append({"task": task.name, "drug": drug.name, "core": core, **means})
    each = pd.DataFrame(rows)
    write_table(each, out / DRUGS)
    notes = [f"means and standard errors over {len(molecules)} drugs, {len(seeds)} seeds of {n} strings each"]
    return Report("fragments", _table(each, n * len(seeds)), config, each.to_dict("records"), seeds, notes)


def figures(raw: Sequence[str], core: str, drug: str) -> dict[str, float]:
    """The figures of N strings that were to keep a core; NaN for 0/0.

    Args:
        raw: the strings as they were drawn, valid or not, N.
        core: what they were to keep.
        drug: the molecule that the core is of.
    """
    kept, n = keeps(core), len(raw)
    drawn = evaluate(raw)
    sane = drawn.frame.loc[drawn.frame["sane"], "smiles"].tolist()
    found = evaluate([text for text in sane if kept(text)])
    facts, distinct = found.summary, found.frame["smiles"].unique().tolist()
    similar = nearest(morgan(distinct, MOSES_BITS), morgan([drug], MOSES_BITS))[1]
    known = {
        "validity": drawn.summary["validity"],
        "retained": len(found) / n if n else None,
        "uniqueness": facts["uniqueness"],
        "quality": facts["good"] / n if n else None,
        "diversity": facts["diversity"]["tdc"],
        "distance": 1 - float(np.mean(similar)) if len(similar) else None,
    }
    return {name: math.nan if value is None else float(value) for name, value in known.items()}


def _text(path: Path | None) -> str:
    """The text of a table."""
    if path is None:
        return resources.files("moldiff.benchmarks").joinpath(SHIPPED).read_text("utf-8")
    check_source(path)
    try:
        return path.read_text("utf-8-sig")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no UTF-8 text"
        raise MoldiffError(f"cannot read {path}: {reason}") from None


def _check(drug: Drug, where: str) -> None:
    """Refuses cores that are no part of their drug, or that nothing can be attached to."""
    if parse(drug.smiles) is None:
        raise MoldiffError(f"{where}: got smiles {short(drug.smiles)!r}, which is not a valid SMILES")
    for task in TASKS:
        core = str(getattr(drug, task.core))
        try:
            points, kept = attachments(core), keeps(core)(drug.smiles)
        except MoldiffError as error:
            raise MoldiffError(f"{where}: {task.core}: {error}") from None
        if not kept:
            raise MoldiffError(f"{where}: got {task.core} {short(core)!r}, which is no part of the molecule")
        if points < task.points:
            raise MoldiffError(
                f"{where}: got {task.core} {short(core)!r} with {points} attachment points, "
                f"{task.name} needs {task.points}"
            )


def _drawn(draw: Draw, asked: tuple[str, str, int, int], path: Path) -> list[str]:
    """The strings of one draw, drawn now unless they are there."""
    there = read_json(path)
    if there is not None and isinstance(there.get("raw"), list):
        return [str(text) for text in there["raw"]]
    raw, n = list(draw(*asked)), asked[2]
    if len(raw) != n:
        raise MoldiffError(f"{asked[0]}: got {len(raw)} strings for {asked[1]}, {n} were asked for")
    write_json({"raw": raw}, path)
    return raw


def _table(each: pd.DataFrame, drawn: int) -> pd.DataFrame:
    """One row a task: means over its drugs with their standard errors."""
    rows = []
    for name, group in each.groupby("task", sort=False):
        counts = {"task": name, "drugs": len(group), "drawn": drawn * len(group)}
        rows.append(
            {
                **counts,
                **averaged(
                    [{name: row[name] for name in FIGURES} for row in group.to_dict("records")], FIGURES
                ),
            }
        )
    return pd.DataFrame(rows)
