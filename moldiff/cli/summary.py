"""What `moldiff generate` prints of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moldiff.cli import output

if TYPE_CHECKING:
    from moldiff.generation.outcome import Outcome

#: The versions that are printed.
VERSIONS = ("moldiff", "torch", "rdkit")
#: Beyond this, in standard deviations, the training rows near a target are not near.
FAR = 0.5


def show(found: Outcome, files: Sequence[Path], grid: Path | None) -> None:
    """Prints the figures of a run and the files that it wrote; ``grid`` is not drawn of nothing."""
    facts, noun = found.summary, found.modality.noun
    output.table(_counts(facts, noun), ("", "count", ""))
    if facts["properties"]:
        _show_targets(facts)
    if "search" in facts:
        _show_search(facts, noun)
    for name, measured in facts.get("measured", {}).items():
        missing = f", {measured['missing']} without a value" if measured["missing"] else ""
        print(f"{name}: {output.spread(measured, 3)} over {measured['count']} valid{missing}")
    if facts["rejects"]:
        listed = sorted(facts["rejects"].items(), key=lambda item: -item[1])
        print("not sane: " + ", ".join(f"{reason} {count}" for reason, count in listed))
    _show_selected(facts)
    if facts.get("repaired", {}).get("by_fault"):
        faults = facts["repaired"]["by_fault"].items()
        listed = sorted(faults, key=lambda item: -item[1]["rows"])
        print("repaired: " + ", ".join(f"{kind} {n['mended']} of {n['rows']}" for kind, n in listed))
    if not facts.get("reference_matches_rdkit", True):
        ours, theirs = facts["versions"]["rdkit"], facts["reference_rdkit"]
        print(f"novelty: the reference was written by RDKit {theirs}, this is {ours}; counts may be off")
    versions = ", ".join(
        f"{name} {facts['versions'][name]}" for name in VERSIONS if name in facts["versions"]
    )
    print(
        f"model {facts['model']}, seed {facts['seed']}, {facts['precision']} on {facts['device']}, {versions}"
    )
    if not found.whole and not found.interrupted:
        print(
            f"the budget ended first: {facts['kept']} of {facts['requested']} distinct sane {noun}s "
            f"{'that pass ' if 'filtered' in facts else ''}"
            f"in {facts['drawn']} draws; allow more with --max-samples"
        )
    for path in files:
        if path == grid and not len(found.best):
            print(f"no sane {noun}, so {grid} was not drawn")
        else:
            print(f"wrote {path}")


def _counts(facts: dict[str, Any], noun: str) -> list[tuple[str, ...]]:
    novel, drawn, first = facts["novel"], facts["drawn"], ", first draws" if "repaired" in facts else ""
    whole = "requested" if drawn == facts["requested"] else "drawn"
    rows = [("requested", str(facts["requested"]), "")]
    if facts.get("distinct_only"):
        kept = "distinct and sane" + (", and pass" if "filtered" in facts else "")
        rows += [("drawn", str(drawn), f"at most {facts['max_samples']}"), ("kept", str(facts["kept"]), kept)]
    elif whole == "drawn":
        rows.append(("drawn", str(drawn), ""))
    return [
        *rows,
        ("valid", str(facts["valid"]), f"{output.percent(facts['validity'])} of {whole}{first}"),
        ("sane", str(facts["sane"]), f"{output.percent(facts['sanity'])} of {whole}"),
        *_passing(facts),
        ("unique", str(facts["unique"]), output.percent(facts["uniqueness"]) + " of valid"),
        (
            "novel",
            str(novel["canonical"]),
            output.percent(facts["novelty"]) + " of unique, canonical",
        ),
        *_upstream(novel),
        *_repaired(facts, whole, noun),
        (f"forwards {_a(noun)}", output.number(facts[f"forwards_per_{noun}"], 4), _setting(facts)),
        *_besides(facts, noun),
        (f"{noun}s a second", output.number(facts[f"{noun}s_per_second"]), "sampling alone"),
    ]


def _passing(facts: dict[str, Any]) -> list[tuple[str, ...]]:
    """The row of what passes the filters; none without them."""
    if "filtered" not in facts:
        return []
    passed, sane = facts["filtered"]["passed"], sum(facts["filtered"]["rejected"].values())
    sane += passed
    return [("pass", str(passed), f"{output.percent(passed / sane if sane else float('nan'))} of sane")]


def _a(noun: str) -> str:
    """The noun with its article."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _upstream(novel: dict[str, Any]) -> list[tuple[str, ...]]:
    """The row of novelty as the papers count it; none where items have one form alone."""
    if "upstream" not in novel:
        return []
    return [("novel (upstream)", str(novel["upstream"]), "distinct raw strings, as the papers count")]


def _repaired(facts: dict[str, Any], whole: str, noun: str) -> list[tuple[str, ...]]:
    """The rows of what there is after a repair; none without one."""
    if "repaired" not in facts:
        return []
    found = facts["repaired"]
    again = f"{output.number(found[f'forwards_per_{noun}'])} of the forwards"
    return [
        ("repaired", str(found["mended"]), f"of {found['redrawn']} drawn again, {again}"),
        ("valid, repaired", str(found["valid"]), f"{output.percent(found['validity'])} of {whole}"),
        ("unique, repaired", str(found["unique"]), output.percent(found["uniqueness"]) + " of valid"),
        (
            "novel, repaired",
            str(found["novel"]["canonical"]),
            output.percent(found["novelty"]) + " of unique, canonical",
        ),
    ]


def _besides(facts: dict[str, Any], noun: str) -> list[tuple[str, ...]]:
    """The row of a classifier's forwards; none without one."""
    if "classifier" not in facts:
        return []
    told = f", the model told at scale {facts['cfg_scale']:g}" if facts["cfg_scale"] else ""
    if facts["guidance"] == "fudge":
        form = "fudge" if facts["fudge_top_k"] is None else f"fudge, top-k {facts['fudge_top_k']}"
    else:
        form = f"{facts['cbg_form']} form" + (
            f", top-p {facts['cbg_top_p']:g}" if facts["cbg_top_p"] < 1 else ""
        )
    how = f"{facts['classifier']}, {form}{told}"
    return [("of the classifier", output.number(facts[f"classifier_forwards_per_{noun}"], 4), how)]


def _setting(facts: dict[str, Any]) -> str:
    setting = facts["setting"]
    options = "".join(
        f", {key} {value if isinstance(value, str) else format(value, 'g')}"
        for key, value in setting["options"].items()
    )
    steps = "" if setting["steps"] is None else f", {setting['steps']} steps"
    return (
        f"{setting['sampler']}{steps}{options}, temperature {setting['temperature']:g}, "
        f"top-p {setting['top_p']:g}, scale {setting['scale']:g}{', complete' if setting['complete'] else ''}"
    )


def _show_search(facts: dict[str, Any], noun: str) -> None:
    search = facts["search"]
    kept, plain = facts["rewards"].values()
    how = f"{search['method']} {search['size']}"
    if "tilt" in search:
        how += f", tilt {search['tilt']:g}, {search['looks']} looks, {search['draws']} draws"
    without = f", {kept['missing']} without one" if kept["missing"] else ""
    beside = "" if plain["mean"] is None else f"; unsteered {output.spread(plain, 3)}"
    calls = output.number(facts[f"oracle_calls_per_{noun}"], 4)
    print(f"reward {' + '.join(facts['sought'])}: {output.spread(kept, 3)}{without}{beside} ({how})")
    print(f"oracle calls {_a(noun)}: {calls}")


def _beside(together: dict[str, Any]) -> str:
    """The same of the training rows, in brackets."""
    share = together["training_share"]
    return "" if share is None else f" (of the training rows {output.percent(share)})"


def _show_selected(facts: dict[str, Any]) -> None:
    """Prints which filters have rejected how many, and how many diverse ones were picked."""
    if "filtered" in facts:
        told = [f"{name} {count}" for name, count in facts["filtered"]["rejected"].items() if count]
        print("filtered: " + (", ".join(told) or "none"))
    if "diverse" in facts:
        found, apart = facts["diverse"], facts["diverse"]["least_distance"]
        few = "; there are no more" if found["picked"] < found["asked"] else ""
        far = "" if apart is None else f", every two at least {output.number(apart)} apart"
        print(f"diverse: {found['picked']} of {found['asked']} from {found['candidates']} distinct{few}{far}")


def fit(found: dict[str, Any]) -> str:
    """How near rows are to what was asked of a property, in words."""
    said = []
    if "mean_absolute_error" in found:
        said.append(f"mean absolute error {output.number(found['mean_absolute_error'])}")
    if "share_inside" in found:
        said.append(output.percent(found["share_inside"]) + " inside")
    if "share_in_class" in found:
        said.append(output.percent(found["share_in_class"]) + " in the class")
    return ", ".join(said) or "-"


def _show_targets(facts: dict[str, Any]) -> None:
    rows = []
    for name, found in facts["properties"].items():
        mean, before = output.spread(found, 3), output.number(found["training_mean"])
        rows.append((name, found["asked"], mean, fit(found), before))
    output.table(rows, ("property", "asked", "mean ± s.e. of valid", "fit", "training mean"))
    together = facts["together"]
    if len(rows) > 1 and together["share"] is not None:
        print(f"all together: {output.percent(together['share'])} of valid{_beside(together)}")
    away = facts["nearest_rows_distance"]
    if away is not None and away > FAR:
        print(f"no training row is near all targets: the nearest are {away:.2g} standard deviations away")
