"""Molecule files to canonical SMILES: .smi, .txt and .csv, plain or gzipped, rejects reported."""

import csv
import gzip
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, TextIO

from moldiff.chem.molecule import check, drop_stereo, map_chunks
from moldiff.errors import MoldiffError, unknown

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

Row = tuple[int, str]
"""The number of a line, from 1, and the SMILES it holds."""


@dataclass(frozen=True)
class Rejected:
    """A row that gave no molecule: its line, from 1, its text, and a `chem.molecule` reason."""

    line: int
    text: str
    reason: str


@dataclass(frozen=True)
class ReadResult:
    """What a file held.

    Attributes:
        smiles: canonical SMILES, in the order of the file.
        lines: the line of each, from 1.
        rejected: the rows that are unreadable or not sane (fragments, radical, dummy).
        duplicates: how many rows repeat the molecule of an earlier row.
    """

    smiles: list[str]
    lines: list[int]
    rejected: list[Rejected]
    duplicates: int


def read_smiles(
    path: Path,
    *,
    column: str | None = None,
    stereo: Literal["keep", "strip"] = "keep",
    unique: bool = True,
    workers: int = 1,
) -> ReadResult:
    """The molecules of a file as canonical SMILES.

    A .smi or .txt file holds the SMILES in the first field of a line; blank lines, lines that
    start with # and a header line `smiles` are passed over. A .csv file has a header. Either may
    be gzipped (.gz). Text is UTF-8.

    Args:
        path: the file.
        column: the column of a .csv file; guessed from `COLUMNS` when None.
        stereo: "strip" drops stereo marks, so that stereoisomers become one molecule.
        unique: leave out a repeated molecule; with False it is kept, and still counted.
        workers: processes to share the work; see `moldiff.chem.molecule.map_chunks`.

    Raises:
        MoldiffError: no such file, another kind of file, text that is not UTF-8, broken gzip or
            csv, no such column, an unknown option, or a file without a row.
    """
    if stereo not in _READ:
        raise unknown("stereo option", stereo, _READ)
    rows = _rows(path, column)
    if not rows:
        raise MoldiffError(f"no molecules in {path}: the file holds no row")
    verdicts = map_chunks(_READ[stereo], [text for _, text in rows], workers)
    smiles: list[str] = []
    lines: list[int] = []
    rejected: list[Rejected] = []
    seen: set[str] = set()
    duplicates = 0
    for (line, text), (found, reason) in zip(rows, verdicts, strict=True):
        if found is None:
            rejected.append(Rejected(line, text, reason))
            continue
        duplicates += found in seen
        if not unique or found not in seen:
            smiles.append(found)
            lines.append(line)
        seen.add(found)
    return ReadResult(smiles, lines, rejected, duplicates)


def _read_chunk(texts: Sequence[str], *, strip: bool) -> list[tuple[str | None, str]]:
    """For each text its canonical SMILES and no reason, or None and the reason."""
    verdicts: list[tuple[str | None, str]] = []
    for text in texts:
        verdict = check(text)
        found = verdict.canonical if verdict.sane else None
        # Only these characters carry stereo, so most molecules need not be parsed again.
        if found is not None and strip and any(mark in found for mark in "@/\\"):
            found = drop_stereo(found)
        verdicts.append((found, verdict.reason or ""))
    return verdicts


_READ: dict[str, Callable[[Sequence[str]], list[tuple[str | None, str]]]] = {
    "keep": partial(_read_chunk, strip=False),
    "strip": partial(_read_chunk, strip=True),
}


def _rows(path: Path, column: str | None) -> list[Row]:
    """The rows of a file.

    Raises:
        MoldiffError: whatever keeps the file from being read, in one line.
    """
    suffixes = [each.lower() for each in path.suffixes]
    zipped = suffixes[-1:] == [".gz"]
    kind = "".join((suffixes[:-1] if zipped else suffixes)[-1:])
    if kind not in _KINDS:
        raise unknown(f"kind of molecule file for {path.name}", kind, _KINDS)
    opener = gzip.open if zipped else open
    try:
        # "utf-8-sig" passes over the mark that some editors put at the start.
        with opener(path, "rt", encoding="utf-8-sig", newline="") as file:
            return list(_KINDS[kind](file, path, column))
    except UnicodeDecodeError as error:
        got = f"byte {error.object[error.start]:#04x}"
        raise MoldiffError(f"cannot read {path}: not UTF-8 text, got {got}") from error
    except (EOFError, zlib.error) as error:
        raise MoldiffError(f"cannot read {path}: broken gzip file, {error}") from error
    except OSError as error:
        raise MoldiffError(f"cannot read {path}: {error.strerror or error}") from error


def _text_rows(file: TextIO, path: Path, column: str | None) -> Iterator[Row]:
    """The first field of each line that is neither blank, comment nor header."""
    if column is not None:
        raise MoldiffError(f"{path} has no columns: got column={column!r}, for .csv only")
    first = True
    for number, line in enumerate(file, start=1):
        fields = line.split(maxsplit=1)
        if not fields or fields[0].startswith("#"):
            continue
        if not (first and fields[0].casefold() == "smiles"):
            yield number, fields[0]
        first = False


def _csv_rows(file: TextIO, path: Path, column: str | None) -> Iterator[Row]:
    """The cell of the column in each row; a row that is too short has an empty one."""
    reader = csv.reader(file, strict=True)
    try:
        header = next(reader, [])
        place = _column(header, path, column)
        end = reader.line_num
        for cells in reader:
            # A quoted cell may run over several lines: a row is named by its first.
            start, end = end + 1, reader.line_num
            if cells:
                yield start, cells[place].strip() if place < len(cells) else ""
    except csv.Error as error:
        raise MoldiffError(f"cannot read {path}: line {reader.line_num}: {error}") from error


def _column(header: list[str], path: Path, column: str | None) -> int:
    """The place of the named column, or of the one that is called like SMILES.

    Raises:
        MoldiffError: the header has no such column.
    """
    names = [name.strip() for name in header]
    if not any(names):
        raise MoldiffError(f"no molecules in {path}: the file holds no header")
    if column is not None:
        if column not in names:
            raise unknown(f"column of {path.name}", column, names)
        return names.index(column)
    folded = [name.casefold() for name in names]
    for candidate in COLUMNS:
        if candidate in folded:
            return folded.index(candidate)
    raise MoldiffError(f"no SMILES column in {path}: name one of {', '.join(names)}")


_KINDS: dict[str, Callable[[TextIO, Path, str | None], Iterator[Row]]] = {
    ".smi": _text_rows,
    ".txt": _text_rows,
    ".csv": _csv_rows,
}
