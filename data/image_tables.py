"""Images as cells of a table: height x width:base64, as a column raw holds them."""

import base64
import binascii
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from moldiff.errors import MoldiffError, listed

from .pixels import MAX_SIDE, Image

COLUMN = "raw"
"""The column in which a table of generated images has them."""

SUFFIXES = (".csv", ".jsonl", ".parquet")
"""Of tables."""

_SIZE = re.compile(r"([1-9][0-9]{0,3})x([1-9][0-9]{0,3}):")


def spell(image: Image) -> str:
    """The image as a cell."""
    height, width = image.shape
    return f"{height}x{width}:" + base64.b64encode(np.ascontiguousarray(image).tobytes()).decode("ascii")


def unspelt(cell: Any) -> Image | None:
    """The image that a cell spells, None where it spells none."""
    size = _SIZE.match(cell) if isinstance(cell, str) else None
    if size is None:
        return None
    height, width = int(size[1]), int(size[2])
    try:
        data = base64.b64decode(cell[size.end() :], validate=True)
    except (ValueError, binascii.Error):
        return None
    if len(data) != height * width or max(height, width) > MAX_SIDE:
        return None
    return np.frombuffer(data, dtype=np.uint8).reshape(height, width)


def read_table(path: Path) -> pd.DataFrame:
    """A .csv, .jsonl or .parquet table; MoldiffError where it is none.

    The cells of a .csv file are text.
    """
    try:
        if path.suffix == ".csv":
            return pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        with path.open(encoding="utf-8-sig") as file:
            return pd.DataFrame([_record(line) for line in file if line.strip()])
    except UnicodeDecodeError:
        raise MoldiffError(f"cannot read {path}: not UTF-8 text") from None
    # Beside what pandas says, pyarrow's errors are ValueErrors or OSErrors.
    except (OSError, ValueError, pd.errors.ParserError, RecursionError) as error:
        text = getattr(error, "strerror", None) or str(error).strip().partition("\n")[0]
        raise MoldiffError(f"cannot read {path}: no table ({text})") from None


def read_column(path: Path, column: str | None = None) -> Iterator[tuple[int, Any]]:
    """The cells of a column, raw where none is named, each with the number of its row, from 1."""
    table, name = read_table(path), column or COLUMN
    if name not in table:
        raise MoldiffError(f"{path}: got no column {name!r}, it has {listed(table.columns) or 'none'}")
    if list(table.columns).count(name) > 1:
        raise MoldiffError(f"{path}: got several columns {name!r}, needs one")
    return iter(enumerate(table[name].tolist(), start=1))


def _record(line: str) -> dict[str, Any]:
    """The object of a line of JSON; ValueError where it is none."""
    found = json.loads(line)
    if not isinstance(found, dict):
        raise ValueError(f"a line holds {type(found).__name__}, needs an object")
    return found
