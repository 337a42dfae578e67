"""Writers of tables of any items, by the suffix of the file: each takes a table in pieces."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import pandas as pd

from moldiff.types import Writer

if TYPE_CHECKING:
    import pyarrow as pa

ROW_GROUP = 65_536
"""Rows of a row group in a parquet file: what the writer holds, at most."""


@final
class _Csv:
    """Every row and column."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8", newline="")
        self._header = True

    def append(self, frame: pd.DataFrame) -> None:
        frame.to_csv(self._file, index=False, header=self._header, lineterminator="\n")
        self._header = False

    def close(self) -> None:
        self._file.close()


@final
class _Jsonl:
    """Every row as one JSON object a line; what is missing or infinite is null."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8", newline="")

    def append(self, frame: pd.DataFrame) -> None:
        finite = frame.replace([math.inf, -math.inf], math.nan)
        for record in finite.astype(object).where(finite.notna(), None).to_dict("records"):
            self._file.write(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")

    def close(self) -> None:
        self._file.close()


@final
class _Parquet:
    """Every row and column, text as text, with missing values."""

    def __init__(self, path: Path) -> None:
        # Deferred: only this format needs it.
        import pyarrow as pa
        from pyarrow import parquet

        self._path, self._pa, self._parquet = path, pa, parquet
        self._file: Any = None
        self._held: list[pa.Table] = []

    def append(self, frame: pd.DataFrame) -> None:
        if self._file is None:
            self._schema = _schema(frame)
            self._file = self._parquet.ParquetWriter(self._path, self._schema)
        table = self._pa.Table.from_pandas(frame, schema=self._schema, preserve_index=False)
        self._held.append(table.replace_schema_metadata(None))
        while sum(map(len, self._held)) >= ROW_GROUP:
            table = self._pa.concat_tables(self._held)
            self._file.write_table(table.slice(0, ROW_GROUP))
            # A copy: a slice would keep all of the table.
            rest = table.slice(ROW_GROUP)
            self._held = [rest.take(list(range(len(rest))))] if len(rest) else []

    def close(self) -> None:
        if self._file is not None:
            held, self._held = self._held, []
            if held:
                self._file.write_table(self._pa.concat_tables(held))
            self._file.close()


def _schema(frame: pd.DataFrame) -> "pa.Schema":
    """Truth, numbers and text: what a table has."""
    import pyarrow as pa

    types = {"b": pa.bool_(), "f": pa.float64(), "i": pa.int64()}
    return pa.schema([(str(name), types.get(kind.kind, pa.string())) for name, kind in frame.dtypes.items()])


TABLES: dict[str, Callable[[Path], Writer]] = {
    ".csv": _Csv,
    ".jsonl": _Jsonl,
    ".parquet": _Parquet,
}
"""What opens a file of each suffix."""
