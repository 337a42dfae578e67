"""Texts from files: plain ones, those that moldiff wrote, tables, and the text that comes with Python."""

import csv
import gzip
import io
import json
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import NamedTuple, final

from moldiff.errors import MoldiffError, unknown
from moldiff.files import check_source

PYDOC = "pydoc"
"""The name of the text that comes with Python itself: the prose behind its `help`."""

COLUMN = "raw"
"""The column of a table that holds its texts, where none is named."""

MARK = "----- text -----"
"""The line before each text of a .txt file that moldiff wrote."""

MOST_BYTES = 1 << 30
"""The largest file that is read, unpacked: it is held in memory."""

_BOM = b"\xef\xbb\xbf"


class Entry(NamedTuple):
    """A text of a file, and the line at which it stands, from 1; of a parquet table, the row."""

    line: int
    text: str


@final
@dataclass(frozen=True)
class Source:
    """What a file holds.

    Args:
        name: of the file.
        entries: its texts, in order; one where it is a plain text.
        data: its bytes as they lie on the disk.
    """

    name: str
    entries: list[Entry]
    data: bytes


def read_source(path: Path, column: str | None = None) -> Source:
    """The texts of a file, whose kind is told by its suffix, or the text with the name ``pydoc``.

    A .txt file is UTF-8 and holds one text, with line ends as on Unix; one that moldiff wrote holds several,
    each after a line ``----- text -----``. A .csv, .jsonl or .parquet table holds one in each row. All but
    .parquet may be gzipped.

    Raises:
        MoldiffError: whatever keeps the file from being read, or a file without any text, in one line.
    """
    if str(path) == PYDOC:
        return _pydoc(column)
    suffixes = path.suffixes
    zipped = suffixes[-1:] == [".gz"]
    suffix = "".join((suffixes[:-1] if zipped else suffixes)[-1:])
    if suffix not in KINDS:
        raise unknown(f"kind of text file for {path.name}", suffix or path.name, [*KINDS, PYDOC])
    kind = KINDS[suffix]
    if column is not None and not kind.columns:
        tables = ", ".join(name for name, each in KINDS.items() if each.columns)
        raise MoldiffError(f"{path} has no columns: got column={column!r}, which is for {tables}")
    if kind.split is None and zipped:
        raise MoldiffError(f"cannot read {path}: a {suffix} file is not read gzipped, unpack it first")
    data = _bytes(path)
    if kind.split is None:
        entries = list(_parquet(data, path, column or COLUMN))
    else:
        entries = list(kind.split(_decoded(_unzipped(data, path) if zipped else data, path), path, column))
    if not any(entry.text.strip() for entry in entries):
        got = "nothing" if not any(entry.text for entry in entries) else "nothing but white space"
        raise MoldiffError(f"no text in {path}: it holds {got}")
    return Source(path.name, entries, data)


def marked(text: str) -> str:
    """A text as an entry of a .txt file: the line that announces it, and the text with a line end.

    A line of the text that could be taken for that line is escaped by a backslash.
    """
    lines = ("\\" + line if _like_mark(line) else line for line in text.split("\n"))
    return f"{MARK}\n" + "\n".join(lines) + "\n"


def _like_mark(line: str) -> bool:
    return line.lstrip("\\") == MARK


def _pydoc(column: str | None) -> Source:
    """The topics of Python's own help one after the other, each paragraph once: topics quote one another."""
    if column is not None:
        raise MoldiffError(f"{PYDOC} has no columns: got column={column!r}")
    try:
        topics: dict[str, str] = import_module("pydoc_data.topics").topics
    except ModuleNotFoundError:
        version = ".".join(map(str, sys.version_info[:3]))
        raise MoldiffError(f"{PYDOC}: this Python ({version}) came without its help topics") from None
    paragraphs = (each.strip("\n") for name in sorted(topics) for each in topics[name].split("\n\n"))
    text = "\n\n".join(dict.fromkeys(filter(None, paragraphs))) + "\n"
    return Source(PYDOC, [Entry(1, text)], text.encode())


def _bytes(path: Path) -> bytes:
    check_source(path)
    try:
        with path.open("rb") as file:
            return _bounded(file.read(MOST_BYTES + 1), path)
    except OSError as error:
        raise MoldiffError(f"cannot read {path}: {error.strerror or error}") from None


def _unzipped(data: bytes, path: Path) -> bytes:
    try:
        with gzip.open(io.BytesIO(data)) as file:
            return _bounded(file.read(MOST_BYTES + 1), path)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise MoldiffError(f"cannot read {path}: broken gzip file, {error}") from None


def _bounded(data: bytes, path: Path) -> bytes:
    if len(data) > MOST_BYTES:
        raise MoldiffError(f"cannot read {path}: it holds more than {MOST_BYTES:,} bytes; take a part of it")
    return data


def _decoded(data: bytes, path: Path) -> str:
    """The text of bytes, without the mark that some editors put at the start."""
    start = len(_BOM) if data.startswith(_BOM) else 0
    try:
        return data[start:].decode()
    except UnicodeDecodeError as error:
        got = f"byte {error.object[error.start]:#04x} at offset {start + error.start:,}"
        raise MoldiffError(f"cannot read {path}: not UTF-8 text, got {got}; save it as UTF-8") from None


def _plain(text: str, path: Path, column: str | None) -> Iterator[Entry]:
    """The one text of a file, or those of a file that moldiff wrote."""
    if "\0" in text:
        offset = len(text[: text.index("\0")].encode())
        raise MoldiffError(f"cannot read {path}: it is no text, it holds a NUL at offset {offset:,}")
    lines = text.split("\n")
    if lines[0] != MARK:
        yield Entry(1, text.replace("\r\n", "\n"))
        return
    if not lines[-1]:
        lines.pop()  # the last line has an end
    marks = [number for number, line in enumerate(lines) if line == MARK]
    for place, following in zip(marks, [*marks[1:], len(lines)], strict=True):
        own = (line[1:] if _like_mark(line) else line for line in lines[place + 1 : following])
        yield Entry(place + 2, "\n".join(own))


def _csv(text: str, path: Path, column: str | None) -> Iterator[Entry]:
    """The cells of the column in a table parted by commas."""
    limit = csv.field_size_limit(max(len(text), 1))
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    line = 1
    try:
        header = next(reader, [])
        place = _place(header, path, column)
        line = reader.line_num + 1
        for cells in reader:
            yield Entry(line, cells[place] if place < len(cells) else "")
            line = reader.line_num + 1
    except csv.Error as error:
        raise MoldiffError(f"cannot read {path}: the row at line {line}: {error}") from None
    finally:
        csv.field_size_limit(limit)


def _place(names: list[str], path: Path, column: str | None) -> int:
    wanted = column or COLUMN
    if wanted not in names:
        raise unknown(f"column of {path.name}", wanted, names)
    return names.index(wanted)


def _jsonl(text: str, path: Path, column: str | None) -> Iterator[Entry]:
    """The entries under the column's name in lines of JSON; null is an empty text."""
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"cannot read {path}: line {number}"
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise MoldiffError(f"{where} is not JSON ({error})") from None
        if not isinstance(record, dict):
            raise MoldiffError(f"{where} holds {type(record).__name__}, not an object")
        cell = record[list(record)[_place(list(record), path, column)]]
        if not isinstance(cell, str | None):
            raise MoldiffError(f"{where}: {column or COLUMN} is {type(cell).__name__}, not text")
        yield Entry(number, cell or "")


def _parquet(data: bytes, path: Path, column: str) -> Iterator[Entry]:
    """The cells of the column of a parquet table; a missing value is an empty text."""
    import pyarrow as pa  # here, because no other kind of file needs it
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(io.BytesIO(data)) as file:
            _place(file.schema_arrow.names, path, column)
            kind = file.schema_arrow.field(column).type
            if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
                raise MoldiffError(f"cannot read {path}: column {column!r} holds {kind}, not text")
            batches = file.iter_batches(columns=[column])
            cells = (cell for batch in batches for cell in batch.column(0).to_pylist())
            for number, cell in enumerate(cells, start=1):
                yield Entry(number, cell or "")
    except pa.ArrowException as error:
        raise MoldiffError(f"cannot read {path}: {' '.join(str(error).split())}") from None


@dataclass(frozen=True)
class Kind:
    """A kind of file: what finds the texts in its own text (None: it is no text), whether it has columns."""

    split: Callable[[str, Path, str | None], Iterable[Entry]] | None
    columns: bool = False


KINDS = {
    ".txt": Kind(_plain),
    ".csv": Kind(_csv, columns=True),
    ".jsonl": Kind(_jsonl, columns=True),
    ".parquet": Kind(None, columns=True),
}
"""What a file's suffix says of it."""
