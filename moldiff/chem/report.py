"""A report on generated molecules: one HTML page that loads nothing from elsewhere."""

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray

from moldiff.chem import asked, chart, drawing, report_facts
from moldiff.chem.asked import Floats
from moldiff.chem.report_facts import Facts
from moldiff.errors import MoldiffError, unknown
from moldiff.files import written
from moldiff.frames import DIVERSE, wanted

SUFFIXES = (".html", ".htm")

SHOWN = 12
"""How many molecules the gallery of the best and that of the typical ones show."""

ROOM = 600_000
"""How many characters the drawings in the table may take: its first rows have one until they are used up."""

KEY = ("qed", "logp", "sa", "tpsa", "mw", "ring_count")
"""The properties whose distributions stand beside those asked for, until there are this many charts."""

Places = NDArray[np.int64]
"""Rows of a table by where they stand in it."""

_LONGEST = 160
"""The longest text of a sample in the table, in characters."""


def check(path: Path) -> None:
    """Refuses a path whose suffix no report has.

    Raises:
        MoldiffError: the suffix is not one of `SUFFIXES`.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise unknown("kind of report", path.suffix or path.name, SUFFIXES)


def write(
    frame: pd.DataFrame,
    facts: Facts,
    training: Mapping[str, Floats],
    path: Path,
    shown: Sequence[str] = KEY[:2],
) -> None:
    """Writes the page of `render`, whole or not at all.

    Raises:
        MoldiffError: another suffix, or a file that cannot be written.
    """
    check(path)
    page = render(frame, facts, training, shown)
    with written(path) as part:
        # Half a surrogate pair, which UTF-8 cannot hold, becomes what browsers show as unreadable.
        part.write_text(page, encoding="utf-8", errors="xmlcharrefreplace", newline="\n")


def render(
    frame: pd.DataFrame, facts: Facts, training: Mapping[str, Floats], shown: Sequence[str] = KEY[:2]
) -> str:
    """The page, the same for the same input.

    Args:
        frame: N rows: smiles, raw, valid, sane, reason, novel, a column of numbers for each property, and
            ``target_NAME`` where rows were asked for values of their own.
        facts: the summary of the call, with ``histograms`` where more rows were counted than the table has.
            What it lacks is left out, or counted from the table.
        training: (M,) values of the training rows by property.
        shown: the properties that tell of a molecule when none was asked for; the first one ranks them.
    """
    targets = facts.get("properties") or {}
    wanted = asked.windows(frame, targets, training)
    ranked = shown[0] if shown and shown[0] in frame.columns else ""
    order = asked.order(frame, wanted, training, report_facts.built_in(ranked))
    first = _first(frame, facts)
    told = [name for name in dict.fromkeys((*targets, *wanted)) if name in frame.columns]
    told = told[:3] or [name for name in shown if name in frame.columns]
    view = {
        "facts": {"model": facts.get("model", "a model"), "requested": facts.get("requested", len(frame))},
        "version": (facts.get("versions") or {}).get("moldiff", ""),
        "chips": report_facts.chips(facts, list(wanted)),
        "notices": list(report_facts.notices(facts, len(frame))),
        "figures": report_facts.figures(facts),
        "targets": report_facts.targets(facts),
        "charts": _charts(frame.iloc[first], facts, training, wanted),
        "scatters": _scatters(frame, first, wanted),
        "ranked": None if wanted else ranked,
        "best": _gallery(frame, _distinct(frame, order), told),
        "passing": " that passes the filters" if facts.get("filtered") else "",
        "picked": bool(facts.get(DIVERSE)),
        "first": len(first) if len(first) < len(frame) else None,
        "typical": _gallery(frame, _sample(frame, first, facts.get("seed")), told),
        "rejects": report_facts.rejects(facts, frame),
        "table": _table(frame, order),
        "made": report_facts.made(facts),
    }
    return _environment().get_template("report.html.j2").render(**view, **_inlined())


@cache
def _environment() -> Environment:
    """The templates of this package; whatever they print is escaped."""
    return Environment(
        loader=PackageLoader("moldiff.chem"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_legible,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _legible(value: Any) -> Any:
    """The value, in a text that is data a replacement sign for each control character."""
    if type(value) is not str or value.isprintable():
        return value
    return "".join("\ufffd" if ord(sign) < 32 or 127 <= ord(sign) < 160 else sign for sign in value)


def _inlined() -> dict[str, str]:
    """Style and script of the page, and the policy that lets a browser use these and nothing else."""
    loader = _environment().loader
    assert loader is not None
    texts = {
        kind: loader.get_source(_environment(), name)[0]
        for kind, name in (("style", "report.css"), ("script", "report.js"))
    }
    digests = {kind: base64.b64encode(hashlib.sha256(text.encode()).digest()) for kind, text in texts.items()}
    allowed = "".join(f"; {kind}-src 'sha256-{digest.decode()}'" for kind, digest in digests.items())
    return {"policy": f"default-src 'none'{allowed}", **{k: Markup(text) for k, text in texts.items()}}


def _charts(
    frame: pd.DataFrame, facts: Facts, training: Mapping[str, Floats], wanted: Mapping[str, Floats]
) -> list[dict[str, Any]]:
    """The distributions: those of what was asked for first, then of key properties."""
    targets, stored = facts.get("properties") or {}, facts.get("histograms") or {}
    names = list(dict.fromkeys((*targets, *wanted, *(facts.get("measured") or ()))))
    # Those to compare with come first: a model need not keep every property of its training rows.
    more = [name for name in KEY if name not in names]
    more.sort(key=lambda name: name not in training and name not in stored)
    names += more[: max(0, len(KEY) - len(names))]
    valid = frame[frame["valid"].astype(bool)]
    out = []
    for name in names:
        ours = asked.finite(valid.get(name, ()))
        theirs = asked.finite(training.get(name, ()))
        # Bins chosen for the very rows show more; those of the summary count all rows.
        partial = len(frame) < facts.get("drawn", 0) or not theirs.size
        over_all = chart.given(stored.get(name)) if partial else None
        counts = over_all or chart.count(ours, theirs)
        if counts is None:
            continue
        windows = np.unique(wanted[name], axis=0) if name in wanted else np.empty((0, 2))
        window = (float(windows[0, 0]), float(windows[0, 1])) if len(windows) == 1 else None
        label = f"asked {targets[name].get('asked')}" if name in targets else "asked"
        out.append(
            {
                "name": name,
                "title": report_facts.named(name),
                "about": report_facts.about(name),
                "drawn": chart.histogram(counts, window, label),
                "stored": over_all is not None,
                "mean": report_facts.mean(facts, name) or _mean(None if over_all else ours, counts),
                "training": _mean(theirs, counts),
            }
        )
    return out


def _mean(values: Floats | None, counts: chart.Counts) -> str:
    """The mean of values (M,); without them, that of the generated ones as far as the bins tell."""
    if values is not None:
        return report_facts.number(float(values.mean()) if values.size else None, 3)
    found = report_facts.number(chart.mean(counts), 2)
    return found if found == report_facts.NONE else f"≈ {found}"


def _scatters(frame: pd.DataFrame, first: Places, wanted: Mapping[str, Floats]) -> list[dict[str, Any]]:
    """Asked against achieved, of the properties of which the rows were asked for different values."""
    out = []
    for name, rows in wanted.items():
        points = np.where(rows[:, 0] == rows[:, 1], rows[:, 0], math.nan)[first]
        if len(np.unique(asked.finite(points))) < 2:
            continue
        drawn = chart.scatter(points, frame[name].to_numpy(dtype=float)[first])
        if drawn is not None:
            out.append({"name": name, "title": report_facts.named(name), "drawn": drawn})
    return out


def _distinct(frame: pd.DataFrame, order: Sequence[int]) -> list[int]:
    """The places of the first distinct sane molecules in that order; of filtered ones, of those that pass."""
    good, smiles = wanted(frame), frame["smiles"].tolist()
    found: dict[str, int] = {}
    for place in order:
        if good[place]:
            found.setdefault(smiles[place], int(place))
    return list(found.values())[:SHOWN]


def _first(frame: pd.DataFrame, facts: Facts) -> Places:
    """The places of rows that are in the table whatever they are worth, which makes them a fair sample.

    Where the table is a part of all rows, it has the first and the best ones, not more of these than of
    those; so the half with the smaller numbers are first ones.
    """
    order = np.argsort(frame.index.to_numpy(), kind="stable")
    whole = len(frame) >= facts.get("kept", facts.get("drawn", 0))
    return order if whole else order[: (len(frame) + 1) // 2]


def _sample(frame: pd.DataFrame, places: Places, seed: Any) -> list[int]:
    """Some of the places whose rows are sane and pass, drawn without replacement, one way for each seed."""
    places = places[wanted(frame)[places]]
    rng = np.random.default_rng(abs(seed) if isinstance(seed, int) else 0)
    return sorted(int(place) for place in rng.choice(places, min(SHOWN, len(places)), replace=False))


def _gallery(frame: pd.DataFrame, places: Sequence[int], names: Sequence[str]) -> list[dict[str, Any]]:
    """A drawing and its caption for each place."""
    columns = {name: _column(frame[name]).cells for name in names}
    return [
        {
            "smiles": str(row["smiles"]),
            "drawing": _drawing(row["smiles"], 200, 150),
            "values": [(name, column[place], report_facts.unit(name)) for name, column in columns.items()],
            "novel": bool(row["novel"]),
            "number": frame.index[place],
        }
        for place, row in ((place, frame.iloc[place]) for place in places)
    ]


def _drawing(smiles: str, width: int, height: int) -> Markup | None:
    """The molecule as an element of the page; None where RDKit does not read its own SMILES again."""
    try:
        return Markup(drawing.inline(str(smiles), width, height))
    except MoldiffError:
        return None


def _table(frame: pd.DataFrame, order: Sequence[int]) -> dict[str, Any]:
    """The header and the rows of the table, in that order."""
    numbers = asked.properties(frame)
    names = [*numbers, *(c for c in frame.columns if c not in asked.FIXED and c not in numbers)]
    columns = [_column(frame[name]) for name in names]
    records = frame[["smiles", "raw", "sane", "reason", "novel"]].to_dict("records")
    rows: list[dict[str, Any]] = []
    room = ROOM
    for place in order:
        row = records[place]
        valid = not pd.isna(row["smiles"])
        text = str(row["smiles"] if valid else row["raw"])
        drawing = _drawing(text, 96, 72) if valid and room > 0 else None
        room -= len(drawing or "")
        rows.append(
            {
                "number": frame.index[place],
                "drawing": drawing,
                "text": text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…",
                "valid": valid,
                "state": "sane" if pd.isna(row["reason"]) else str(row["reason"]),
                "novel": bool(row["novel"]),
                "cells": [(column.cells[place], column.text) for column in columns],
            }
        )
    heads = [
        (report_facts.named(str(name)), report_facts.about(str(name)), column.text)
        for name, column in zip(names, columns, strict=True)
    ]
    drawn = sum(row["drawing"] is not None for row in rows)
    return {"heads": heads, "rows": rows, "drawn": drawn if room <= 0 else None}


class _Column(NamedTuple):
    """The entries of a column as they are shown, and whether they are text instead of numbers."""

    cells: list[str]
    text: bool


def _column(values: "pd.Series[Any]") -> _Column:
    """The entries of a column, numbers with as many decimals each, a dash where there is none."""
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=float)
    found = asked.finite(numbers)
    if len(found) < values.notna().sum() and not pd.api.types.is_numeric_dtype(values):
        return _Column([report_facts.NONE if pd.isna(value) else str(value) for value in values], True)
    decimals = 0
    if not bool((found == np.round(found)).all()):
        decimals = int(np.clip(2 - math.floor(math.log10(np.abs(found).max())), 1, 6))
    # Rounded first, so that nothing is printed as minus zero.
    texts = [
        f"{round(x, decimals) + 0.0:.{decimals}f}" if math.isfinite(x) else report_facts.NONE for x in numbers
    ]
    return _Column(texts, False)
