"""What a report says of a summary: its figures, targets, rejects and settings, as text."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from moldiff.chem.filters import FILTERS, SMARTS
from moldiff.chem.oracles import Oracle, oracle
from moldiff.errors import MoldiffError
from moldiff.frames import FILTERED

REASONS = {
    "empty": "no character",
    "length": "more than 512 characters",
    "parse": "not SMILES",
    "branch": "a branch that does not close",
    "ring": "a ring that does not close",
    "valence": "an atom with too many bonds",
    "kekulize": "an aromatic ring without a Kekulé form",
    "sanitize": "refused by RDKit for another reason",
    "fragments": "valid, but more than one fragment",
    "radical": "valid, but a radical",
    "dummy": "valid, but with a dummy atom",
}
"""What a reason for a reject means."""

FAR = 0.5
"""From this distance of the training rows to the targets, in standard deviations, the page says so."""

NONE = "–"
"""What stands where there is no figure."""

Facts = Mapping[str, Any]


def number(value: Any, digits: int = 4) -> str:
    """A figure as text, whole ones in full and others to that many significant digits; a dash for none."""
    if not known(value):
        return NONE
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:.{digits}g}"


def percent(share: Any) -> str:
    """A share as a percentage; a dash where it is not defined."""
    if not known(share):
        return NONE
    # The spaces do not break: a sign is never alone on a line.
    return "<\u00a00.1\u00a0%" if 0 < share < 0.0005 else f"{100 * share:.1f}\u00a0%"


def known(value: Any) -> bool:
    """Whether a figure of a summary is a number: None and NaN stand for what is not defined."""
    return isinstance(value, int | float) and math.isfinite(value)


def built_in(name: str) -> Oracle | None:
    """The oracle of that name; None for a property of the caller's own."""
    try:
        return oracle(name)
    except MoldiffError:
        return None


def about(name: str) -> str:
    """What a property is, in one line; empty for one that is not in the table of oracles."""
    found = built_in(name)
    return found.description if found else ""


def unit(name: str) -> str:
    """The unit of a property, as it is printed; empty for a pure number."""
    found = built_in(name)
    return found.unit.replace("A^2", "Å²") if found else ""


def named(name: str) -> str:
    """A property with its unit in brackets, where it has one."""
    return f"{name} ({unit(name)})" if unit(name) else name


def mean(facts: Facts, name: str) -> str:
    """The mean of a property as the summary has it; empty where it does not."""
    for rows in (facts.get("properties"), facts.get("measured")):
        found = (rows or {}).get(name, {}).get("mean")
        if known(found):
            return number(found, 3)
    return ""


def notices(facts: Facts, held: int) -> Iterator[str]:
    """What one has to know before reading the figures.

    Args:
        facts: the summary.
        held: how many rows the table has.
    """
    drawn = facts.get("drawn", held)
    if facts.get("interrupted"):
        requested = facts.get("requested", drawn)
        yield f"The call was interrupted: {drawn:,} of {requested:,} samples were drawn."
    kept = facts.get("kept", drawn)
    if kept < drawn:
        passing = "that pass the filters " if facts.get("filtered") else ""
        yield (
            f"The figures count all {drawn:,} samples, of which {kept:,} distinct sane ones "
            f"{passing}were kept."
        )
    if held < kept:
        yield f"The molecules shown and the table are taken from {held:,} of {kept:,} samples."
    found = facts.get("repaired") or {}
    if found.get("redrawn"):
        yield (
            "Counts of valid, sane, unique and novel samples are of the first draws. "
            f"{found['redrawn']:,} samples were drawn again in part, {found['mended']:,} of them to a valid "
            f"molecule: then {percent(found.get('validity'))} are valid."
        )
    distance = facts.get("nearest_rows_distance")
    if known(distance) and float(distance or 0) > FAR:
        yield (
            f"No training molecule is near all targets: the nearest are {number(distance, 2)} standard "
            "deviations away."
        )
    if facts.get("reference_matches_rdkit") is False:
        ours = (facts.get("versions") or {}).get("rdkit", "another version")
        yield (
            f"Novelty may be off: the reference was written by RDKit {facts.get('reference_rdkit')}, and "
            f"this is {ours}."
        )


def targets(facts: Facts) -> list[dict[str, str]]:
    """One row a property: what was asked, what was achieved and is usual, and how well it fits.

    Properties that were measured without being asked for follow.
    """
    asked, measured = facts.get("properties") or {}, facts.get("measured") or {}
    return [
        {
            "name": name,
            "title": named(name),
            "about": about(name),
            "asked": str(found.get("asked", "not asked")),
            "mean": number(found.get("mean")),
            "se": number(found.get("se"), 2),
            "training": number(found.get("training_mean")),
            "fit": _fit(found),
        }
        for name, found in {**asked, **measured, **asked}.items()
    ]


def _fit(found: Facts) -> str:
    """How well the valid samples meet a target: an error or a share."""
    if known(found.get("mean_absolute_error")):
        return f"mean absolute error {number(found['mean_absolute_error'], 3)}"
    if known(found.get("share_inside")):
        return f"{percent(found['share_inside'])} inside"
    if known(found.get("share_in_class")):
        return f"{percent(found['share_in_class'])} in the class"
    if found.get("missing"):
        return f"{number(found['missing'])} without a value"
    return NONE


def chips(facts: Facts, by_row: Sequence[str]) -> list[tuple[str, str]]:
    """What was asked, a property and a value each; of the properties ``by_row`` another value each row."""
    if facts.get("properties"):
        return [(name, str(found.get("asked", ""))) for name, found in facts["properties"].items()]
    texts = [str(text).partition("=") for text in facts.get("targets") or ()]
    return [(name, value) for name, _, value in texts] or [(name, "a value for each row") for name in by_row]


def figures(facts: Facts) -> list[dict[str, Any]]:
    """The headline counts, each with its share and its definition."""
    novel = facts.get("novel") or {}
    told = {"novel": novel.get("canonical")}
    rows = [
        {
            "name": name,
            "count": number(told.get(name, facts.get(name))),
            "part": percent(facts.get(key)),
            "of": of,
            "share": facts[key] if known(facts.get(key)) else 0.0,
            "about": meaning,
        }
        for name, key, of, meaning in _FIGURES
    ]
    drawn = facts.get("drawn")
    asked = {"name": "requested", "count": number(facts.get("requested")), "share": 1.0, "part": "", "of": ""}
    if known(drawn) and drawn != facts.get("requested"):
        asked |= {"part": number(drawn), "of": "drawn"}
    return [{**asked, "about": "Samples asked for. Failures are counted, not hidden."}, *rows]


_FIGURES = (
    ("valid", "validity", "of samples", "RDKit reads and sanitises it as a molecule."),
    ("sane", "sanity", "of samples", "Valid, in one piece, no radical, no dummy atom."),
    ("unique", "uniqueness", "of valid", "Distinct canonical SMILES among the valid."),
    ("novel", "novelty", "of unique", "Not in the model's data set, by canonical SMILES."),
)


def rejects(facts: Facts, frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The samples that are not sane or that a filter rejects, by reason, the most frequent first."""
    counts = facts.get("rejects")
    if counts is None:
        counts = frame["reason"].dropna().value_counts().to_dict()
    filtered = (facts.get("filtered") or {}).get("rejected", {})
    counts = counts | {FILTERED + name: count for name, count in filtered.items() if count}
    drawn, most = facts.get("drawn", len(frame)), max(counts.values(), default=0)
    return [
        {
            "reason": reason,
            "about": REASONS.get(reason, "") or _missed(reason),
            "count": number(count),
            "percent": percent(count / drawn) if drawn else NONE,
            "share": count / most if most else 0.0,
        }
        for reason, count in sorted(counts.items(), key=lambda item: (-item[1], str(item[0])))
    ]


def _missed(reason: str) -> str:
    """What a molecule that a filter rejects was to be; empty for another reason."""
    name = reason.removeprefix(FILTERED)
    if name == reason:
        return ""
    return f"sane, but not: {FILTERS[name].description if name in FILTERS else _ASKED.get(name, name)}"


_ASKED = {SMARTS: "no match of a pattern of the file"}


def made(facts: Facts) -> list[tuple[str, str, str]]:
    """How the molecules were made: a name, a text and a kind, which is ``code`` where it is not prose."""
    versions = facts.get("versions") or {}
    cost, tokens = facts.get("forwards_per_molecule"), facts.get("token_forwards_per_molecule")
    speed = facts.get("molecules_per_second")
    rows = [
        ("command", str(facts.get("command") or ""), "code"),
        ("seed", str(facts.get("seed", "")), "code"),
        ("model", str(facts.get("model", "")), "code"),
        ("model sha256", str(facts.get("model_sha256") or ""), "code"),
        ("setting", ", ".join(_flat(facts.get("setting") or {})), ""),
        ("guided at", str(facts.get("level") or ""), ""),
        ("cost", _cost(cost, tokens), ""),
        ("speed", f"{number(speed, 3)} molecules a second, sampling alone" if known(speed) else "", ""),
        ("device", ", ".join(str(facts[key]) for key in ("device", "precision") if facts.get(key)), ""),
        ("versions", ", ".join(f"{name} {version}" for name, version in versions.items()), ""),
    ]
    return [row for row in rows if row[1]]


def _cost(cost: Any, tokens: Any) -> str:
    """What a molecule cost in calls of the network."""
    if not known(cost):
        return ""
    over = f", over {number(tokens)} tokens" if known(tokens) else ""
    return f"{number(cost)} calls of the network a molecule{over}"


def _flat(setting: Mapping[str, Any]) -> Iterator[str]:
    """The entries of a setting as name and value; what is empty or off is left out."""
    for name, value in setting.items():
        if isinstance(value, Mapping):
            yield from _flat(value)
        elif value is True:
            yield str(name)
        elif value is not None and value is not False:
            yield f"{name} {number(value) if known(value) else value}"
