"""Charts as geometry: a histogram and a scatter of one property, in the units of a view box."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from moldiff.chem.asked import Floats, Window, finite

WIDTH, HEIGHT = 360, 230
LEFT, RIGHT, TOP, BOTTOM = 46, 348, 24, 186
"""The frame of the axes inside the view box."""

BINS = (12, 30)
"""The fewest and the most bars of a histogram, by how much there is to count, unless values are whole."""

_WHOLE = 40
"""Up to this span, whole numbers have a bar each."""


@final
@dataclass(frozen=True)
class Tick:
    """A mark on an axis: where it stands and what it says."""

    at: float
    text: str


@final
@dataclass(frozen=True)
class Bar:
    """One bar: its rectangle, and what it says when pointed at."""

    x: float
    y: float
    width: float
    height: float
    says: str


@final
@dataclass(frozen=True)
class Marker:
    """What was asked: a band from x to x + width, or a line where the width is 0; and its label."""

    x: float
    width: float
    text: str
    text_x: float
    anchor: str


@final
@dataclass(frozen=True)
class Histogram:
    """Two distributions of one property over the same bins, in percent of each.

    Args:
        bars: the generated molecules.
        outline: the training molecules, the path of a line in steps; empty where there are none.
        x_ticks: along the property.
        y_ticks: along the percentage.
        marker: what was asked, where it is one thing.
        generated: how many molecules the bars count.
        training: how many the outline counts.
    """

    bars: Sequence[Bar]
    outline: str
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    marker: Marker | None
    generated: int
    training: int


@final
@dataclass(frozen=True)
class Scatter:
    """Asked against achieved, a dot a row: the path of the dots, and the diagonal on which both agree."""

    dots: str
    diagonal: str
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    count: int


Counts = tuple[Floats, Floats, Floats]
"""Edges (B + 1,), and what lies between them of the generated and of the training values, (B,) each."""


def count(generated: Floats, training: Floats) -> Counts | None:
    """Both sets of values over common bins; None where no value is finite."""
    both = [finite(values) for values in (generated, training)]
    pooled = np.concatenate(both)
    if not pooled.size:
        return None
    low, high = float(pooled.min()), float(pooled.max())
    whole = bool((pooled == np.round(pooled)).all())
    if low == high:
        unit = 1.0 if whole else abs(low) / 10
        edges = low + unit * np.array([-1.5, -0.5, 0.5, 1.5])
    elif whole and high - low <= _WHOLE:
        edges = np.arange(low - 0.5, high + 1.0)
    else:
        bins = int(np.clip(2 * math.sqrt(len(both[0]) or len(both[1])), *BINS))
        edges = np.linspace(low, high, bins + 1)
    counts = [np.histogram(values, edges)[0].astype(float) for values in both]
    return edges, counts[0], counts[1]


def given(stored: Any) -> Counts | None:
    """The counts of a summary, under edges, generated and training; None where they do not fit together."""
    try:
        found = [np.asarray(stored[key], dtype=float) for key in ("edges", "generated", "training")]
    except (KeyError, TypeError, ValueError):
        return None
    edges, ours, theirs = found
    fits = ours.shape == theirs.shape == (len(edges) - 1,) and bool((np.diff(edges) > 0).all())
    return (edges, ours, theirs) if fits and np.isfinite(edges).all() else None


def histogram(counts: Counts, asked: Window | None, label: str = "") -> Histogram:
    """The chart of two distributions, its axis long enough for what was asked, which has that label."""
    edges, ours, theirs = _trimmed(counts)
    whole = bool(np.allclose(np.diff(edges), 1) and np.allclose(edges % 1, 0.5))
    asked = _around(asked) if whole and asked else asked
    ends = [end for end in asked or () if math.isfinite(end)]
    across = _Axis(min([edges[0], *ends]), max([edges[-1], *ends]), LEFT, RIGHT)
    shares = [100 * each / (each.sum() or 1.0) for each in (ours, theirs)]
    up = _Axis(0.0, 1.06 * float(max(map(np.max, shares))) or 1.0, BOTTOM, TOP)
    bars = []
    for low, high, mine, known in zip(edges[:-1], edges[1:], *shares, strict=True):
        left, right, top = across(low), across(high), up(mine)
        span = f"{low + 0.5:g}" if whole else f"{low:.4g} to {high:.4g}"
        says = f"{span}: generated {mine:.3g} %, training {known:.3g} %"
        bars.append(Bar(left, top, round(right - left, 2), round(BOTTOM - top, 2), says))
    return Histogram(
        bars,
        _steps([across(edge) for edge in edges], [up(share) for share in shares[1]]) if theirs.any() else "",
        across.ticks(6, whole=whole),
        up.ticks(5, unit=" %"),
        _marker(asked, across, label),
        int(ours.sum()),
        int(theirs.sum()),
    )


def scatter(asked: Floats, achieved: Floats, most: int = 400) -> Scatter | None:
    """Achieved against asked values, (N,) each, of the first ``most`` rows that have both; None without."""
    both = np.isfinite(asked) & np.isfinite(achieved)
    asked, achieved = asked[both][:most], achieved[both][:most]
    if not asked.size:
        return None
    across = _Axis(float(asked.min()), float(asked.max()), LEFT, RIGHT, margin=0.04)
    least, largest = min(asked.min(), achieved.min()), max(asked.max(), achieved.max())
    up = _Axis(float(least), float(largest), BOTTOM, TOP, margin=0.04)
    dots = "".join(f"M{across(x):g} {up(y):g}h0" for x, y in zip(asked, achieved, strict=True))
    # Both axes hold the range of what was asked, so the diagonal stays inside the frame.
    ends = float(asked.min()), float(asked.max())
    diagonal = "".join(f"{'ML'[n]}{across(end):g} {up(end):g}" for n, end in enumerate(ends))
    return Scatter(dots, diagonal, across.ticks(6), up.ticks(5), len(asked))


def _trimmed(counts: Counts) -> Counts:
    """The counts without the bins at both ends that hold nothing, but for one each."""
    edges, ours, theirs = counts
    held = np.flatnonzero(ours + theirs)
    if not held.size:
        return counts
    first, last = max(0, held[0] - 1), held[-1] + 2
    return edges[first : last + 1], ours[first:last], theirs[first:last]


def _around(asked: Window) -> Window:
    """The window with whole bars in it, each a whole number wide; a point stays one."""
    low, high = asked
    if low == high:
        return asked
    if math.isinf(high):
        # A class is strictly above its threshold, or not.
        return math.floor(low) + 0.5, high
    return (math.ceil(low) - 0.5 if math.isfinite(low) else low), math.floor(high) + 0.5


def mean(counts: Counts) -> float:
    """The mean of the generated values as far as the bins tell, NaN without any."""
    edges, ours, _ = counts
    total = float(ours.sum())
    return float(ours @ (edges[:-1] + edges[1:]) / 2 / total) if total else math.nan


def _steps(edges: Sequence[float], tops: Sequence[float]) -> str:
    """The path of a line in steps, from the axis and back to it."""
    path = f"M{edges[0]:g} {BOTTOM}"
    for right, top in zip(edges[1:], tops, strict=True):
        path += f"V{top:g}H{right:g}"
    return f"{path}V{BOTTOM}"


def _marker(asked: Window | None, across: "_Axis", label: str) -> Marker | None:
    """The marker of what was asked, a half-open band running to the end of the axis."""
    if asked is None:
        return None
    left, right = across(max(asked[0], across.low)), across(min(asked[1], across.high))
    middle = (left + right) / 2
    # A label that is near an edge stays inside the frame.
    reach = 3.4 * len(label)
    if middle + reach > RIGHT:
        return Marker(left, round(right - left, 2), label, RIGHT, "end")
    if middle - reach < LEFT:
        return Marker(left, round(right - left, 2), label, LEFT, "start")
    return Marker(left, round(right - left, 2), label, round(middle, 2), "middle")


@final
class _Axis:
    """A linear scale from values to places in the view box."""

    def __init__(self, low: float, high: float, start: float, end: float, margin: float = 0.0) -> None:
        room = margin * (high - low)
        if high <= low:
            room = 0.5 * abs(low) or 0.5
        self.low, self.high, self.start, self.end = low - room, high + room, start, end

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(float(self.start + share * (self.end - self.start)), 2)

    def ticks(self, about: int, unit: str = "", whole: bool = False) -> list[Tick]:
        """Round values along the axis, some ``about`` of them."""
        step = _round_step((self.high - self.low) / about)
        step = max(1.0, step) if whole else step
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        values = [number * step for number in range(first, last + 1)]
        return [Tick(self(value), f"{value:.6g}{unit}") for value in values]


def _round_step(step: float) -> float:
    """The least of 1, 2 and 5 times a power of ten that is not below the step."""
    power = 10.0 ** math.floor(math.log10(step))
    return next((m * power for m in (1.0, 2.0, 5.0) if step <= m * power * (1 + 1e-9)), 10.0 * power)
