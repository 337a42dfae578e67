"""Rows of molecule files: text lines, tables and SDF records, plain or gzipped, each with its number."""

import csv
import gzip
import itertools
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TextIO

from moldiff.errors import MoldiffError, listed, unknown
from moldiff.files import check_source

COLUMNS = (
    "smiles",
    "canonical_smiles",
    "isomeric_smiles",
    "smiles_string",
    "smi",
    "mol",
    "molecule",
    "structure",
)
"""Column names that are taken for SMILES, the preferred one first; case does not matter."""

SEPARATORS = ",;\t"
"""What may part the cells of a .csv file: the first by which its header has the column."""

MAX_BLOCK = 1_000_000
"""Longest structure of an SDF record, in characters, that is kept: no molecule of use comes near it."""

MAX_LINE = 1 << 26
"""Longest line or cell of a text file, in characters, that is read; shorter ones are bad rows at worst."""

Row = tuple[int, str]
"""The number of a line, row or record, from 1, and the SMILES or the mol block it holds."""


@dataclass(frozen=True)
class Rows:
    """The rows of a file, in order; ``blocks`` where they hold mol blocks instead of SMILES."""

    rows: list[Row]
    blocks: bool


def read_rows(path: Path, column: str | None) -> Rows:
    """The rows of a file, whose kind is told by its suffix.

    Raises:
        MoldiffError: whatever keeps the file from being read, in one line.
    """
    suffixes = [each.lower() for each in path.suffixes]
    zipped = suffixes[-1:] == [".gz"]
    suffix = "".join((suffixes[:-1] if zipped else suffixes)[-1:])
    if suffix not in KINDS:
        raise unknown(f"kind of molecule file for {path.name}", suffix, KINDS)
    kind = KINDS[suffix]
    check_source(path)
    if column is not None and not kind.columns:
        tables = ", ".join(name for name, each in KINDS.items() if each.columns)
        raise MoldiffError(f"{path} has no columns: got column={column!r}, which is for {tables}")
    if kind.text is None:
        if zipped:
            raise MoldiffError(f"cannot read {path}: a {suffix} file is not read gzipped, unpack it first")
        return Rows(list(_parquet_rows(path, column)), kind.blocks)
    return Rows(_text(path, zipped, kind, column), kind.blocks)


def _text(path: Path, zipped: bool, kind: "Kind", column: str | None) -> list[Row]:
    """The rows of a text file."""
    assert kind.text is not None
    opener = gzip.open if zipped else open
    # Of an SDF record only the structure is used; the names beside it come in any encoding.
    errors = "replace" if kind.blocks else "strict"
    try:
        # "utf-8-sig" passes over the mark that some editors put at the start.
        with opener(path, "rt", encoding="utf-8-sig", errors=errors, newline="") as file:
            return list(kind.text(_lines(file, path), path, column))
    except UnicodeDecodeError as error:
        got = f"byte {error.object[error.start]:#04x}"
        raise MoldiffError(f"cannot read {path}: not UTF-8 text, got {got}; save it as UTF-8") from error
    except (EOFError, zlib.error) as error:
        raise MoldiffError(f"cannot read {path}: broken gzip file, {error}") from error
    except OSError as error:
        raise MoldiffError(f"cannot read {path}: {error.strerror or error}") from error


def _lines(file: TextIO, path: Path) -> Iterator[str]:
    """The lines of a file, none of which fills the memory."""
    for number, line in enumerate(iter(partial(file.readline, MAX_LINE), ""), start=1):
        if len(line) == MAX_LINE:
            raise MoldiffError(f"cannot read {path}: line {number} has {MAX_LINE:,} characters and more")
        yield line


def _line_rows(file: Iterator[str], path: Path, column: str | None) -> Iterator[Row]:
    """The first field of each line that is neither blank, comment nor header."""
    first = True
    for number, line in enumerate(file, start=1):
        fields = line.split(maxsplit=1)
        if not fields or fields[0].startswith("#"):
            continue
        if not (first and fields[0].casefold() == "smiles"):
            yield number, fields[0]
        first = False


def _csv_rows(file: Iterator[str], path: Path, column: str | None) -> Iterator[Row]:
    """The cells of the column of a table whose separator its header tells."""
    header = next(file, "")
    found = (each for each in SEPARATORS if _find(header.rstrip("\r\n").split(each), column) is not None)
    lines = itertools.chain([header] if header else [], file)
    return _cells(lines, next(found, SEPARATORS[0]), path, column)


def _tsv_rows(file: Iterator[str], path: Path, column: str | None) -> Iterator[Row]:
    """The cells of the column of a table parted by tabs."""
    return _cells(file, "\t", path, column)


def _cells(lines: Iterator[str], separator: str, path: Path, column: str | None) -> Iterator[Row]:
    """The cell of the column in each row; a row that is too short has an empty one."""
    reader = csv.reader(lines, delimiter=separator, strict=True)
    start = 1
    with _long_cells():
        try:
            place = _column(next(reader, []), path, column)
            start = reader.line_num + 1
            for cells in reader:
                if cells:
                    yield start, cells[place].strip() if place < len(cells) else ""
                # A quoted cell may run over several lines: a row is named by its first.
                start = reader.line_num + 1
        except csv.Error as error:
            raise MoldiffError(f"cannot read {path}: the row at line {start}: {error}") from error


@contextmanager
def _long_cells() -> Iterator[None]:
    """A block in which a cell may be of any length: one that is too long is one bad row, not a bad file."""
    limit = csv.field_size_limit(MAX_LINE)
    try:
        yield
    finally:
        csv.field_size_limit(limit)


def _column(header: Sequence[str], path: Path, column: str | None) -> int:
    """The place of the named column, or of the one that is called like SMILES.

    Raises:
        MoldiffError: the header has no such column.
    """
    names = [name.strip() for name in header]
    if not any(names):
        raise MoldiffError(f"no molecules in {path}: the file holds no header")
    place = _find(names, column)
    if place is not None:
        alike = [name for name in names if _alike(name, names[place], column)]
        if len(alike) > 1:
            got = f"{len(alike)} columns that may be meant: {listed(alike)}"
            raise MoldiffError(f"{path} has {got}; name one of them, or give it a name of its own")
        return place
    if column is not None:
        raise unknown(f"column of {path.name}", column, names)
    raise MoldiffError(f"no SMILES column in {path}: name one of {listed(names)}")


def _alike(name: str, chosen: str, column: str | None) -> bool:
    """Whether the choice could have fallen on a column of this name too: a guess knows no case."""
    return name == chosen if column is not None else name.casefold() == chosen.casefold()


def _find(header: Sequence[str], column: str | None) -> int | None:
    """The place of the named column, or else of the first of `COLUMNS` there is; None where it has none."""
    names = [name.strip().strip('"') for name in header]
    if column is not None:
        return names.index(column) if column in names else None
    folded = [name.casefold() for name in names]
    return next((folded.index(each) for each in COLUMNS if each in folded), None)


def _record_rows(file: Iterator[str], path: Path, column: str | None) -> Iterator[Row]:
    """The structure of each record of an SDF file, up to its end mark; data fields are passed over."""
    number, lines, size, inside = 1, list[str](), 0, True
    for line in file:
        if line.startswith("$$$$"):
            yield number, "".join(lines)
            number, lines, size, inside = number + 1, [], 0, True
            continue
        inside = inside and size <= MAX_BLOCK
        if inside:
            lines.append(line)
            size += len(line)
            inside = not line.startswith("M  END")
    # The last record may lack its end, but blank lines are none.
    if any(line.strip() for line in lines):
        yield number, "".join(lines)


def _parquet_rows(path: Path, column: str | None) -> Iterator[Row]:
    """The cells of the column of a parquet table; a missing value is an empty cell."""
    import pyarrow as pa  # here, because no other kind of file needs it
    from pyarrow import parquet

    try:
        # Opened by Python, whose words for what is wrong are plainer.
        with path.open("rb") as raw, parquet.ParquetFile(raw) as file:
            names = file.schema_arrow.names
            name = names[_column(names, path, column)]
            cells = (
                cell for batch in file.iter_batches(columns=[name]) for cell in batch.column(0).to_pylist()
            )
            for number, cell in enumerate(cells, start=1):
                if not isinstance(cell, str | None):
                    kind = file.schema_arrow.field(name).type
                    raise MoldiffError(f"cannot read {path}: column {name!r} holds {kind}, not text")
                yield number, (cell or "").strip()
    except OSError as error:
        raise MoldiffError(f"cannot read {path}: {error.strerror or error}") from error
    except pa.ArrowException as error:
        raise MoldiffError(f"cannot read {path}: {' '.join(str(error).split())}") from error


@dataclass(frozen=True)
class Kind:
    """A kind of file: how its text is read (None: it is no text), whether it has columns, what rows hold."""

    text: Callable[[Iterator[str], Path, str | None], Iterator[Row]] | None
    columns: bool = False
    blocks: bool = False


KINDS = {
    ".smi": Kind(_line_rows),
    ".txt": Kind(_line_rows),
    ".csv": Kind(_csv_rows, columns=True),
    ".tsv": Kind(_tsv_rows, columns=True),
    ".sdf": Kind(_record_rows, blocks=True),
    ".parquet": Kind(None, columns=True),
}
"""What a file's suffix says of it; all but .parquet may be gzipped."""
