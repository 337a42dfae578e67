"""Molecule files to canonical SMILES: what is not read is listed by line with its reason."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple, TypedDict, get_args

from moldiff.chem.molecule import MAX_LENGTH, check, drop_stereo, from_block, largest_fragment, map_chunks
from moldiff.errors import MoldiffError, unknown

from .formats import Row, Rows, read_rows

Stereo = Literal["keep", "strip"]
Fragments = Literal["refuse", "largest"]


class Reading(TypedDict, total=False):
    """The options of `read_smiles` that other readers pass on."""

    column: str | None
    stereo: Stereo
    fragments: Fragments
    workers: int


@dataclass(frozen=True)
class Rejected:
    """A row that gave no molecule: its line, from 1, its text, a reason, and what more there is to say."""

    line: int
    text: str
    reason: str
    detail: str = ""


@dataclass(frozen=True)
class ReadResult:
    """What a file held.

    Attributes:
        smiles: canonical SMILES, in the order of the file.
        lines: the line of each, from 1; the row of a parquet table, the record of an SDF file.
        rejected: the rows that are unreadable or not sane, each with a reason of `chem.molecule`.
        repeats: the rows that repeat the molecule of an earlier row, which the detail names.
        altered: how many molecules are not what was written, by what was done to them.
    """

    smiles: list[str]
    lines: list[int]
    rejected: list[Rejected]
    repeats: list[Rejected] = field(default_factory=list)
    altered: dict[str, int] = field(default_factory=dict)

    @property
    def duplicates(self) -> int:
        """How many rows repeat the molecule of an earlier row."""
        return len(self.repeats)


def read_smiles(
    path: Path,
    *,
    column: str | None = None,
    stereo: Stereo = "keep",
    fragments: Fragments = "refuse",
    unique: bool = True,
    workers: int = 1,
) -> ReadResult:
    """The molecules of a file as canonical SMILES.

    A .smi or .txt file holds the SMILES in the first field of a line; blank lines, lines that start with #
    and a header line `smiles` are passed over. A .csv, .tsv or .parquet file has named columns. An .sdf file
    holds structures. All but .parquet may be gzipped (.gz). Text is UTF-8.

    Args:
        path: the file; its suffix tells its kind.
        column: the column of a table; by default the first of `formats.COLUMNS` that it has.
        stereo: `keep` keeps what is written, `strip` drops it (repeats are then counted without it).
        fragments: `refuse` rejects what is in several pieces, such as salts; `largest` takes the largest.
        unique: keep only the first row of each molecule; repeats are counted either way.
        workers: processes to share the work; see `moldiff.chem.molecule.map_chunks`.

    Raises:
        MoldiffError: a file that cannot be read or holds no row, an unknown kind of file, column or option.
    """
    for what, got, choices in (("stereo", stereo, Stereo), ("fragments", fragments, Fragments)):
        if got not in get_args(choices):
            raise unknown(f"{what} option", got, get_args(choices))
    found = read_rows(path, column)
    if not found.rows:
        raise MoldiffError(f"no molecules in {path}: the file holds no row")
    policy = _Policy(found.blocks, stereo == "strip", fragments == "largest")
    verdicts = map_chunks(partial(_read_chunk, policy=policy), [text for _, text in found.rows], workers)
    return _gather(found, verdicts, unique)


def read_texts(path: Path, *, column: str | None = None) -> list[Row]:
    """The rows of a file as they stand there, readable or not: line and SMILES.

    The structure of an SDF record is spelt as SMILES, empty where it cannot be read.

    Raises:
        MoldiffError: as `read_smiles`.
    """
    found = read_rows(path, column)
    if not found.rows:
        raise MoldiffError(f"no molecules in {path}: the file holds no row")
    if not found.blocks:
        return found.rows
    return [(line, from_block(block)[0] or "") for line, block in found.rows]


def _gather(found: Rows, verdicts: Sequence["_Verdict"], unique: bool) -> ReadResult:
    """The rows sorted into molecules, rejects and repeats."""
    result = ReadResult([], [], [])
    altered: Counter[str] = Counter()
    first: dict[str, int] = {}
    for (line, text), (smiles, reason, changes) in zip(found.rows, verdicts, strict=True):
        shown = _shown(text, found.blocks)
        if smiles is None:
            result.rejected.append(Rejected(line, shown, reason))
            continue
        repeated = first.setdefault(smiles, line) != line
        if repeated:
            result.repeats.append(Rejected(line, shown, "repeat", f"of line {first[smiles]}"))
        if not (unique and repeated):
            result.smiles.append(smiles)
            result.lines.append(line)
            altered.update(changes)
    return replace(result, altered=dict(altered))


class _Policy(NamedTuple):
    """How a text becomes a molecule: whether it is a mol block, and what is taken off."""

    block: bool
    flat: bool
    largest: bool


class _Verdict(NamedTuple):
    """The canonical SMILES of a row, or None and the reason; and what was done to it."""

    smiles: str | None
    reason: str
    altered: tuple[str, ...] = ()


def _read_chunk(texts: Sequence[str], *, policy: _Policy) -> list[_Verdict]:
    return [_read(text, policy) for text in texts]


def _read(text: str, policy: _Policy) -> _Verdict:
    altered: list[str] = []
    if policy.block:
        written, reason = from_block(text)
        if written is None:
            return _Verdict(None, reason or "")
        text = written
    verdict = check(text)
    if policy.largest and verdict.reason == "fragments" and verdict.canonical is not None:
        verdict = check(largest_fragment(verdict.canonical) or "")
        altered.append("largest fragment")
    found = verdict.canonical if verdict.sane else None
    # Only these characters carry stereo, so most molecules need not be parsed again.
    if found is not None and policy.flat and any(mark in found for mark in "@/\\"):
        found = drop_stereo(found)
        altered.append("stereo stripped")
    reason = verdict.reason or ("" if found else "sanitize")
    return _Verdict(found, reason, tuple(altered))


def _shown(text: str, block: bool) -> str:
    """What a list of rejects shows of a row: its SMILES, a record's title, cut where it is too long."""
    text = text.partition("\n")[0].strip() if block else text
    return text if len(text) <= MAX_LENGTH else text[:77] + "..."
