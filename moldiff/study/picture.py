"""Pictures of a study: the fronts at equal steps and at equal compute, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from moldiff.errors import MoldiffError
from moldiff.files import written
from moldiff.study.published import SAMPLES, curves
from moldiff.study.tables import PROTOCOLS, Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg")
#: Okabe and Ito's colours, which the colour-blind can tell apart, in the order of the methods.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = {"cfg": "-", "cbg": "--"}
#: The share of novel rows from which a point is drawn; the papers' rule, 50 of 1,024.
LEAST = 50 / 1024
#: What marks the papers' curves.
PUBLISHED = "(published, by raw string)"
#: Units of properties that have one.
UNITS = {"heavy_atoms": "atoms", "mw": "Da", "tpsa": "Å²"}


def fronts(results: Results, labels: Mapping[str, str], protocol: str, published: bool) -> Figure:
    """Novel molecules against the property's mean: a curve a method and guidance, a point a scale.

    Left at the largest number of steps, right each at the largest cost within the common budget. Bars are
    standard errors over seeds; points with fewer than ``LEAST`` novel rows are left out, as in the papers.
    """
    figure = new_figure(11.5, 5.4)
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    points = results.points
    most = max(results.steps, default=None)
    at = points if most is None else points[points["steps"].isna() | (points["steps"] == most)]
    left.set_title("equal steps" + ("" if most is None else f": T = {most}"), fontsize=11)
    bought = results.bought()
    spent = {kind: f"{results.common_budget(kind):.3g}" for kind in results.kinds}
    each = ", ".join(f"{cost} ({kind.upper()})" if len(spent) > 1 else cost for kind, cost in spent.items())
    right.set_title(f"equal compute: at most {each} forwards", fontsize=11)
    for axes, rows in ((left, at), (right, bought)):
        _curves(axes, rows, results, labels, protocol)
        _axes(axes, results, protocol)
    if published:
        for kind in results.kinds:
            _published(left, results, kind, most)
    right.set_ylabel("")
    legend(figure, left, columns=4)
    _note(figure, results, labels, bought)
    return figure


def _curves(
    axes: Axes, rows: pd.DataFrame, results: Results, labels: Mapping[str, str], protocol: str
) -> None:
    """Draws a curve a method and kind of guidance."""
    x, y = PROTOCOLS[protocol], results.mean_of(protocol)
    least = LEAST * float(results.frame["samples"].iloc[0])
    for names, curve in rows.groupby(["method", "guidance"], sort=False):
        method, kind = map(str, names)
        style, shown = look(results.methods.index(method)), curve[curve[x] >= least].sort_values("scale")
        if shown.empty:
            continue
        axes.errorbar(
            shown[x],
            shown[y],
            xerr=shown[f"{x}_se"].fillna(0),
            yerr=shown[f"{y}_se"].fillna(0),
            label=labels.get(method, method) + (f", {kind.upper()}" if len(results.kinds) > 1 else ""),
            linestyle=LINES.get(kind, ":"),
            markersize=5,
            linewidth=1.4,
            elinewidth=0.9,
            capsize=2,
            **style,
        )
        for _, point in shown.iloc[[0, -1]].iterrows() if len(shown) > 1 else ():
            axes.annotate(
                f"{point['scale']:g}",
                (point[x], point[y]),
                (4, 4),
                textcoords="offset points",
                fontsize=7,
                color=style["color"],
            )


def _axes(axes: Axes, results: Results, protocol: str) -> None:
    samples = int(results.frame["samples"].iloc[0])
    counted = {"canonical": "by canonical form", "upstream": "by raw string, as the papers count"}[protocol]
    axes.set_xlabel(f"novel molecules of {samples:,} ({counted})")
    unit = UNITS.get(results.measure)
    axes.set_ylabel(f"mean {results.measure.replace('_', ' ')} of the novel" + (f" ({unit})" if unit else ""))
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def _published(axes: Axes, results: Results, kind: str, steps: int | None) -> None:
    """Adds the papers' points, in the count of this study's samples, as hollow grey marks."""
    share = float(results.frame["samples"].iloc[0]) / SAMPLES
    drawn = [each for each in curves(results.measure, kind) if each.steps in (None, steps)]
    for number, each in enumerate(drawn):
        x, y = zip(*((share * novel, mean) for novel, mean in each.points), strict=True)
        axes.plot(
            x,
            y,
            color="0.6",
            linestyle=LINES.get(kind, ":"),
            linewidth=0.7,
            markersize=5,
            marker=MARKERS[number % len(MARKERS)],
            markerfacecolor="none",
            zorder=1,
            label=f"{each.method}, {kind.upper()} {PUBLISHED}",
        )


def _note(figure: Figure, results: Results, labels: Mapping[str, str], bought: pd.DataFrame) -> None:
    seeds = results.frame["seed"].nunique()
    shown = set(zip(bought["method"], bought["guidance"], strict=True))
    points = dict.fromkeys(zip(results.points["method"], results.points["guidance"], strict=True))
    dear = [f"{labels.get(name, name)}, {kind.upper()}" for name, kind in points if (name, kind) not in shown]
    text = f"{seeds} seed{'s' * (seeds != 1)}, bars are standard errors. Numbers are scales. "
    text += f"A forward over a whole molecule is {results.forward:.3g} GFLOP."
    caption(figure, text + (f" Dearer than the budget at any T: {'; '.join(dear)}." if dear else ""))


def look(number: int) -> dict[str, Any]:
    """The colour and the mark of the method of this number."""
    return {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)]}


#: The panels of a comparison: column -> what the axis says; the property's mean comes last.
PANELS = {
    "validity": "valid (share)",
    "uniqueness": "unique of valid (share)",
    "novelty": "novel of unique (share)",
    "intdiv": "internal diversity",
}


def comparison(means: pd.DataFrame, labels: Mapping[str, str], name: str | None) -> Figure:
    """What methods make, against steps above and against compute below; a curve a method, guidance and scale.

    Args:
        means: one row a point of the grid, with standard errors.
        labels: by method.
        name: the property whose mean has a panel; None for no such panel.
    """
    panels = dict(PANELS)
    if name is not None:
        panels[f"{name}_valid"] = f"mean {name.replace('_', ' ')} of the valid"
    figure = new_figure(2.9 * len(panels), 5.8)
    grid = figure.subplots(2, len(panels), sharex="row", sharey="col", squeeze=False)
    methods = list(dict.fromkeys(means["method"]))
    for names, curve in means.groupby(["method", "guidance", "scale"], sort=False):
        method, kind, scale = (str(names[0]), str(names[1]), names[2])
        style = {**look(methods.index(method)), "linestyle": COMPARED.get(kind, ":"), "markersize": 4}
        told = "" if kind == "none" else f", {kind.upper()} {scale:g}"
        style |= {"linewidth": 1.3, "elinewidth": 0.8, "capsize": 2, "label": labels[method] + told}
        for column, panel in enumerate(panels):
            _lines(grid[0, column], grid[1, column], curve, panel, style)
    for column, text in enumerate(panels.values()):
        grid[0, column].set_title(text, fontsize=9)
        _scale(grid[0, column], "steps T")
        _scale(grid[1, column], "GFLOP a molecule")
    steps = sorted(int(each) for each in means["steps"].dropna().unique())
    grid[0, 0].set_xticks(steps, [str(each) for each in steps])
    legend(figure, grid[1, 0], columns=4)
    seeds = int(means["seeds"].max())
    caption(figure, f"{seeds} seed{'s' * (seeds != 1)}, bars are standard errors.")
    return figure


def _scale(axes: Axes, text: str) -> None:
    """A logarithmic axis of costs, its ticks powers of 2 in plain numbers."""
    axes.set_xlabel(text)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


#: Line styles of a comparison, by kind of guidance.
COMPARED = {"none": "-", "cfg": "--", "cbg": "-."}


def _lines(above: Axes, below: Axes, curve: pd.DataFrame, name: str, style: Mapping[str, Any]) -> None:
    """A curve against steps and against compute; a method without steps is a level line above."""
    rows = curve.sort_values("gflop")
    y, errors = rows[name], rows[f"{name}_se"].fillna(0)
    below.errorbar(rows["gflop"], y, yerr=errors, **style)
    if rows["steps"].isna().all():
        line = {key: style[key] for key in ("color", "linestyle", "linewidth")}
        above.axhline(float(y.mean()), **line)
        return
    rows = rows.sort_values("steps")
    above.errorbar(rows["steps"].astype(float), rows[name], yerr=rows[f"{name}_se"].fillna(0), **style)


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, inches, that belongs to no window."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def caption(figure: Figure, text: str) -> None:
    """A line of small print above all panels."""
    figure.suptitle(text, x=0.005, ha="left", fontsize=7, color="0.35")


def legend(figure: Figure, axes: Axes, columns: int) -> None:
    """One legend below all panels, the papers' curves last."""
    both = sorted(zip(*axes.get_legend_handles_labels(), strict=True), key=lambda each: PUBLISHED in each[1])
    if both:
        handles, texts = zip(*both, strict=True)
        figure.legend(handles, texts, loc="outside lower center", ncols=columns, fontsize=8, frameon=False)


def save(figure: Figure, path: Path, notes: Mapping[str, str]) -> None:
    """Writes a figure as PNG or SVG by the suffix, whole or not at all; ``notes`` go into it, unseen."""
    import matplotlib

    if path.suffix not in FORMATS:
        raise MoldiffError(f"picture: got {path}, its name ends in {' or '.join(FORMATS)}")
    kind = path.suffix.removeprefix(".")
    said = "; ".join(f"{name}: {note}" for name, note in notes.items())
    data = (
        dict(notes)
        if kind == "png"
        else {"Description": said, "Date": None, "Creator": notes.get("Software", "")}
    )
    # The same figure gives the same file: names in an SVG are hashes of what they name and of this.
    with matplotlib.rc_context({"svg.hashsalt": "moldiff"}), written(path) as part:
        figure.savefig(part, format=kind, dpi=160, metadata=data)
