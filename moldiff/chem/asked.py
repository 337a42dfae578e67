"""What was asked of the properties, read back from a summary, and the molecules by how near they came."""

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_numeric_dtype

from moldiff.chem.oracles import Oracle
from moldiff.frames import DIVERSE, PASSES, wanted

Floats = NDArray[np.float64]

Window = tuple[float, float]
"""The least and the largest value asked: equal for a point, one of them infinite for a class."""

PER_ROW = "target_"
"""Opens the name of a column that holds what was asked of each row."""

FIXED = ("smiles", "raw", "valid", "sane", "reason", "novel", PASSES)
"""The columns of a table that are no properties."""

_CLASS = re.compile(r"\((not )?above ([^()]+)\)")
_SHARE = re.compile(r"(top|bottom)([0-9.]+)%")


def window(text: str, known: Floats) -> Window | None:
    """The values that a target's text asks for; None where it does not say.

    Args:
        text: a number, ``a..b``, ``top5%`` or ``bottom5%``, or a class with its meaning, as in
            ``high (above 3)``.
        known: (N,) values of the training rows, of which a share is taken.
    """
    known = finite(known)
    try:
        if found := _CLASS.search(text):
            threshold = float(found[2])
            return (-math.inf, threshold) if found[1] else (threshold, math.inf)
        if found := _SHARE.fullmatch(text):
            share = float(found[2]) / 100
            if not known.size or not 0 < share < 1:
                return None
            if found[1] == "top":
                return float(np.quantile(known, 1 - share)), float(known.max())
            return float(known.min()), float(np.quantile(known, share))
        ends = [float(part) for part in text.split("..")]
    except ValueError:
        return None
    return (ends[0], ends[-1]) if len(ends) <= 2 and np.isfinite(ends).all() else None


def windows(
    frame: pd.DataFrame, targets: Mapping[str, Mapping[str, Any]], training: Mapping[str, Floats]
) -> dict[str, Floats]:
    """What was asked of each row, (N, 2) by property: least and largest value, NaN where nothing.

    Args:
        frame: N rows; a column ``target_NAME`` says what was asked of each row's property NAME.
        targets: by property, under ``asked``, what was asked of all rows.
        training: (M,) values of the training rows by property.
    """
    out: dict[str, Floats] = {}
    for name in properties(frame):
        known = training.get(name, np.empty(0))
        asked = str(targets.get(name, {}).get("asked", ""))
        one = window(asked, known)
        rows = np.full((len(frame), 2), one or (math.nan, math.nan))
        if PER_ROW + name in frame.columns:
            for number, text in enumerate(frame[PER_ROW + name]):
                rows[number] = window(str(text), known) or (math.nan, math.nan)
        if np.isfinite(rows).any():
            out[name] = rows
    return out


def order(
    frame: pd.DataFrame, asked: Mapping[str, Floats], training: Mapping[str, Floats], otherwise: Oracle | None
) -> list[int]:
    """The places of the rows: sane ones first, then novel ones, then the nearest to what was asked.

    Before sane ones go those that pass the filters too, and before these the picked ones, in their order.

    Nearness is summed over the properties in standard deviations of the training rows; of a class, the
    further into it the better. Where nothing was asked, ``otherwise`` counts in its place, in its own
    direction; without that, the order of the rows.
    """
    miss = np.zeros(len(frame))
    for name, rows in asked.items():
        miss += np.nan_to_num(_outside(frame[name].to_numpy(dtype=float), rows, training.get(name)))
    if not asked and otherwise is not None and otherwise.name in frame.columns:
        values = frame[otherwise.name].to_numpy(dtype=float)
        miss = np.nan_to_num(-values if otherwise.maximize else values, nan=np.inf)
    sane, novel = (frame[name].to_numpy(dtype=bool) for name in ("sane", "novel"))
    rank = np.full(len(frame), np.inf)
    if DIVERSE in frame:
        rank = frame[DIVERSE].to_numpy(dtype=float, na_value=np.inf)
    return [int(place) for place in np.lexsort((miss, ~novel, ~sane, ~wanted(frame), rank))]


def properties(frame: pd.DataFrame) -> list[str]:
    """The names of the columns that hold properties, numbers all of them, in order."""
    return [
        str(name)
        for name, values in frame.items()
        if name not in FIXED and not str(name).startswith(PER_ROW) and is_numeric_dtype(values)
    ]


def finite(values: Any) -> Floats:
    """The values as floats, (M,), those alone that are finite."""
    out = np.asarray(values, dtype=float)
    return np.asarray(out[np.isfinite(out)])


def _outside(values: Floats, rows: Floats, known: Floats | None) -> Floats:
    """How far values (N,) are from what was asked (N, 2), in standard deviations."""
    known = finite(values if known is None else known)
    spread, mean = (float(known.std()) or 1.0, float(known.mean())) if known.size else (1.0, 0.0)
    low, high = rows.T
    out = np.maximum(0.0, np.maximum(low - values, values - high))
    out = np.where(np.isposinf(high), mean - values, out)
    out = np.where(np.isneginf(low), values - mean, out)
    return np.asarray(out / spread)
