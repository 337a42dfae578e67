"""Figures of images: how near a set of digits is to a reference, what it shows, and what of it is new."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from moldiff import __version__
from moldiff.errors import MoldiffError
from moldiff.moments import frechet

from .digit_features import SHAPE, shipped
from .figures import Figures, Row
from .image_files import DIGITS, ImageSet, read_images
from .image_tables import SUFFIXES, read_table, spell
from .plain import identities

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

NEIGHBOURS = 3
"""k of precision and recall."""

MOST = 10_000
"""Images of a set that precision and recall look at, at most; of more, this many are drawn."""

RESAMPLES = 200
"""Draws with replacement behind the standard error of the Fréchet distance."""

FEATURED = 50
"""The fewest images of which a Fréchet distance is given: fewer leave the covariance open."""


def evaluate(
    file: Path,
    *,
    reference: str | None = None,
    column: str | None = None,
    seed: int = 0,
    asked: int | None = None,
) -> Figures:
    """The figures of the images in a file; docs/metrics.md defines every one.

    Args:
        file: what `read_images` reads.
        reference: what else it reads; by default all bundled digits.
        column: the column of a table.
        seed: of the bootstrap, and of draws where there are very many images.
        asked: the class that all images are to be of. By default a table's column target_class says so by
            row, or else the summary that `moldiff generate` wrote beside the file.

    Raises:
        MoldiffError: a file that cannot be read, images of another shape than the reference's, or a seed
            below 0.
    """
    if seed < 0:
        raise MoldiffError(f"seed: got {seed}, must be at least 0")
    ours, theirs = read_images(file, column), read_images(Path(reference or DIGITS))
    if ours.images.shape[1:] != theirs.images.shape[1:]:
        mine, other = (" x ".join(map(str, each.images.shape[1:])) for each in (ours, theirs))
        raise MoldiffError(f"{file}: got {mine} pixels, the reference has {other}; name another --reference")
    goals = np.full(len(ours), math.nan if asked is None else float(asked))
    if asked is None:
        goals = _asked(file, len(ours))
    found = _Shown.of(ours, theirs, goals)
    summary: dict[str, Any] = {
        "images": len(ours),
        "shape": [int(side) for side in ours.images.shape[1:]],
        **found.counts(),
        **_near(ours, theirs, seed),
        "reference": {"name": reference or DIGITS, "images": len(theirs)},
        "seed": seed,
        "versions": {"moldiff": __version__},
    }
    return Figures(found.frame(ours), _plain(summary), _rows(summary))


@final
@dataclass(frozen=True, eq=False)
class _Shown:
    """What N images show, by row.

    Args:
        classes: what the classifier says, NaN where it does not know the shape.
        goals: the class asked, NaN where none was.
        novel: whether the reference lacks the image.
        first: whether it is the first of its kind.
    """

    classes: Floats
    goals: Floats
    novel: Flags
    first: Flags

    @classmethod
    def of(cls, ours: ImageSet, theirs: ImageSet, goals: Floats) -> "_Shown":
        ids, known = (identities([spell(image) for image in each.images]) for each in (ours, theirs))
        first = np.zeros(len(ids), dtype=bool)
        first[np.unique(ids, return_index=True)[1]] = True
        return cls(shipped().classes(ours.images), goals, ~np.isin(ids, known), first)

    def counts(self) -> dict[str, Any]:
        """Counts and rates with their binomial standard errors."""
        n, told = len(self.classes), ~np.isnan(self.goals) & ~np.isnan(self.classes)
        known = self.classes[~np.isnan(self.classes)].astype(np.int64)
        shares = np.bincount(known, minlength=10) / max(1, len(known))
        return {
            **_rate("uniqueness", self.first.sum() / n, n),
            **_rate("novelty", self.novel.sum() / n, n),
            "asked": int(told.sum()),
            **_rate("agreement", _mean(self.classes[told] == self.goals[told]), int(told.sum())),
            "classes": {
                str(kind): _rate("share", float(share), len(known)) for kind, share in enumerate(shares)
            }
            if len(known)
            else {},
        }

    def frame(self, ours: ImageSet) -> pd.DataFrame:
        """A row an image."""
        columns = {
            "line": ours.lines,
            "raw": [spell(image) for image in ours.images],
            "class": self.classes,
            "asked": self.goals,
            "brightness": ours.images.reshape(len(ours), -1).mean(1),
            "novel": self.novel,
            "first": self.first,
        }
        return pd.DataFrame(columns)


def _asked(file: Path, rows: int) -> Floats:
    """The class asked of each row, (N,), NaN where nothing says so."""
    if file.suffix in SUFFIXES:
        table = read_table(file)
        if "target_class" in table:
            return pd.to_numeric(table["target_class"], errors="coerce").to_numpy(dtype=np.float64)
    try:
        facts = json.loads(file.with_name(file.name + ".json").read_text("utf-8"))
        targets = dict(str(each).split("=", 1) for each in facts["targets"])
        return np.full(rows, float(targets["class"]))
    # No summary beside it, or one that says nothing of classes.
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return np.full(rows, math.nan)


def _near(ours: ImageSet, theirs: ImageSet, seed: int) -> dict[str, Any]:
    """Fréchet distance, precision and recall in the features of the classifier; None where it has none."""
    nothing = dict.fromkeys(("frechet_digits", "frechet_digits_se"))
    if ours.images.shape[1:] != SHAPE:
        return {**nothing, **_rate("precision", math.nan, 0), **_rate("recall", math.nan, 0)}
    first, second = (shipped().features(each.images) for each in (ours, theirs))
    random = np.random.default_rng(seed)
    found: dict[str, Any] = dict(nothing)
    if min(len(first), len(second)) >= FEATURED:
        found = {"frechet_digits": frechet(first, second), "frechet_digits_se": _se(first, second, random)}
    first, second = (_drawn(each, random) for each in (first, second))
    found |= _rate("precision", _covered(first, second), len(first))
    return found | _rate("recall", _covered(second, first), len(second))


def _se(first: Floats, second: Floats, random: np.random.Generator) -> float:
    """The standard error of the Fréchet distance: its spread over draws of the first set's rows."""
    draws = (random.integers(len(first), size=len(first)) for _ in range(RESAMPLES))
    return float(np.std([frechet(first[rows], second) for rows in draws], ddof=1))


def _covered(points: Floats, others: Floats) -> float:
    """The share of points no farther from some other than this other's k-th neighbour among its own.

    NaN where the others are too few to have that many (Kynkäänniemi et al., arXiv:1904.06991).
    """
    if len(others) <= NEIGHBOURS:
        return math.nan
    # The nearest of each is itself.
    radii = cKDTree(others).query(others, k=NEIGHBOURS + 1)[0][:, -1]
    tree = cKDTree(points)
    inside = np.zeros(len(points), dtype=bool)
    for centre, radius in zip(others, radii, strict=True):
        # A hair wider, so that a point at the radius itself is inside however the root is rounded.
        inside[tree.query_ball_point(centre, radius * (1 + 1e-12))] = True
    return float(inside.mean())


def _drawn(rows: Floats, random: np.random.Generator) -> Floats:
    if len(rows) <= MOST:
        return rows
    return rows[random.choice(len(rows), MOST, replace=False)]


def _rate(name: str, value: float, n: int) -> dict[str, float]:
    """A share of n with its binomial standard error."""
    se = math.sqrt(value * (1 - value) / n) if n else math.nan
    return {name: float(value), f"{name}_se": se}


def _mean(flags: Flags) -> float:
    return float(flags.mean()) if len(flags) else math.nan


def _plain(value: Any) -> Any:
    """The value with NaN as None, all the way down."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


_MEANINGS = {
    "frechet_digits": "Fréchet distance to the reference in the features of our classifier; 0 is best",
    "precision": "share of the images near the reference",
    "recall": "share of the reference near the images",
    "agreement": "share in the class that was asked, says the classifier",
    "uniqueness": "share that is different from all before",
    "novelty": "share that is not in the reference",
}


def _rows(summary: dict[str, Any]) -> list[Row]:
    """The figures as a terminal shows them."""
    beside = summary["reference"]
    rows = [
        ("images", str(summary["images"]), " x ".join(map(str, summary["shape"])) + " pixels"),
        ("reference", str(beside["images"]), beside["name"]),
    ]
    rows += [(name.replace("_", " "), _value(summary, name), meaning) for name, meaning in _MEANINGS.items()]
    shares = summary["classes"].items()
    return [*rows, *((f"class {kind}", _value(share, "share"), "of the images") for kind, share in shares)]


def _value(figures: dict[str, Any], name: str) -> str:
    value, se = figures[name], figures[f"{name}_se"]
    if value is None or math.isnan(value):
        return "-"
    return f"{value:.4g} ± {se:.2g}"
