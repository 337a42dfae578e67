"""Journals: the rows of an unfinished run, in a file that survives whatever ends the run."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, final

import numpy as np
import pandas as pd

from moldiff.errors import MoldiffError

try:
    import fcntl
except ImportError:  # Windows, where a file open for writing is guarded less
    fcntl = None  # type: ignore[assignment]

#: What the second file begins with, so that a later version knows it.
FORMAT = 1
#: The one column of text that is never missing: what the model wrote, which may be empty.
WRITTEN = "raw"
#: What the lines of a log hold: the first, the second, and every further one.
_LINES: tuple[dict[str, type], ...] = (
    {"format": int, "run": dict},
    {"columns": dict},
    {"rows": int, "bytes": int, "state": dict},
)


@final
class Journal:
    """Every row of a run so far: ``FILE.part``, a CSV table, and ``FILE.part.log``, which says what is in it.

    The log begins with what fixes the run. Then, after every piece of rows, it has a line with how many rows
    and bytes are in the table, and what its stream needs to go on. What stands in the table beyond its last
    line, a torn row for example, does not count.

    Args:
        out: where the run's result will be.
        identity: what fixes the run's rows, as ``Stream.identity`` has it.
        resume: whether to go on with what is there.

    Raises:
        MoldiffError: rows of another run, rows of this one and no ``resume``, a run that is still going on,
            a damaged log, or files that cannot be written.
    """

    def __init__(self, out: Path, identity: Mapping[str, Any], *, resume: bool) -> None:
        self.part, self.log = (out.with_name(out.name + end) for end in (".part", ".part.log"))
        self._columns: dict[str, str] = {}
        self._marks: list[dict[str, Any]] = []
        try:
            self._log = self._locked()
            try:
                self._open(json.loads(json.dumps(identity)), resume)
            except BaseException:
                self._log.close()
                raise
        except OSError as error:
            raise MoldiffError(f"cannot write {self.part}: {error.strerror or error}") from None

    @property
    def rows(self) -> int:
        """The number of rows."""
        return int(self._marks[-1]["rows"]) if self._marks else 0

    def append(self, frame: pd.DataFrame, state: Mapping[str, Any]) -> None:
        """Adds the rows of a piece, with the state of its stream after them; what is in stays.

        Raises:
            MoldiffError: they cannot be written.
        """
        try:
            if not self._columns:
                self._columns = {str(name): kind.kind for name, kind in frame.dtypes.items()}
                self._line({"columns": self._columns})
                self._table.write(_csv(frame.head(0), header=True))
            self._table.write(_csv(frame, header=False))
            # The rows are on the disk before a line says so.
            self._table.flush()
            os.fsync(self._table.fileno())
            mark = {"rows": self.rows + len(frame), "bytes": self._table.tell(), "state": dict(state)}
            self._line(mark)
        except OSError as error:
            advice = (
                f"; its first {self.rows} rows stay, make room and go on with --resume" if self.rows else ""
            )
            raise MoldiffError(f"cannot write {self.part}: {error.strerror or error}{advice}") from None
        self._marks.append(mark)

    def pieces(self) -> Iterator[tuple[pd.DataFrame, dict[str, Any]]]:
        """The rows as they were added, with the states."""
        start = self._table.seek(0) + len(self._table.readline())
        for mark in self._marks:
            self._table.seek(start)
            data = self._table.read(mark["bytes"] - start)
            start = mark["bytes"]
            yield self._frame(data), mark["state"]
        self._table.seek(0, os.SEEK_END)

    def become(self, out: Path) -> None:
        """The table takes the name of the result, and the log goes."""
        self.close()
        try:
            self.part.replace(out)
        except OSError as error:
            raise MoldiffError(
                f"cannot write {out}: {error.strerror or error}; its rows are in {self.part}"
            ) from None
        self.log.unlink(missing_ok=True)
        self._marks = []

    def drop(self) -> None:
        """Both files go."""
        self.close()
        self.part.unlink(missing_ok=True)
        self.log.unlink(missing_ok=True)
        self._marks = []

    def close(self) -> None:
        """Both files stay as they are."""
        for file in (self._table, self._log):
            # A full disk may still refuse what is held back; nothing of it counts.
            with suppress(OSError):
                file.close()

    def _locked(self) -> BinaryIO:
        """The log, which this process alone may write."""
        log = self.log.open("a+b")
        if fcntl is not None:
            try:
                fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                log.close()
                raise MoldiffError(f"output: {self.part} is being written by another run") from None
        return log

    def _open(self, identity: dict[str, Any], resume: bool) -> None:
        """Opens the table after its last whole piece, or an empty one."""
        size = self.part.stat().st_size if self.part.exists() else 0
        lines, end = self._lines(size)
        if size and end == 0 and self._log.seek(0, os.SEEK_END):
            raise MoldiffError(
                f"output: {self.log} is damaged or of another version; "
                f"delete it and {self.part} to start again"
            )
        if not self._marks:
            self._table: BinaryIO = self.part.open("w+b")
            self._log.truncate(0)
            self._line({"format": FORMAT, "run": identity})
            return
        if not resume:
            raise MoldiffError(
                f"output: {self.part} has {self.rows} rows of an unfinished run; "
                "go on with --resume, or delete it"
            )
        differing = differences(lines[0]["run"], identity)
        if differing:
            raise MoldiffError(f"--resume: {self.part} is of another run: {'; '.join(differing)}")
        self._columns = lines[1]["columns"]
        self._table = self.part.open("r+b")
        self._table.truncate(self._marks[-1]["bytes"])
        self._table.seek(0, os.SEEK_END)
        self._log.truncate(end)

    def _lines(self, size: int) -> tuple[list[dict[str, Any]], int]:
        """The first two lines of the log and its length up to the last one about a table of this size.

        Takes in the lines about rows. A torn line ends what counts.
        """
        self._log.seek(0)
        head: list[dict[str, Any]] = []
        end = 0
        for line in self._log:
            found = _parsed(line, _LINES[min(len(head), 2)])
            if found is None or (len(head) == 2 and found["bytes"] > size):
                break
            end += len(line)
            if len(head) < 2:
                head.append(found)
            else:
                self._marks.append(found)
        return head, end

    def _line(self, facts: Mapping[str, Any]) -> None:
        self._log.write(json.dumps(facts).encode() + b"\n")
        self._log.flush()

    def _frame(self, data: bytes) -> pd.DataFrame:
        """The rows of a piece, exactly as they were."""
        cells = pd.read_csv(
            io.BytesIO(data), header=None, names=list(self._columns), dtype="str", keep_default_na=False
        )
        return pd.DataFrame({name: _read(cells[name], kind) for name, kind in self._columns.items()})


def _read(cells: pd.Series[str], kind: str) -> Any:
    """A column from its cells as text; ``kind`` is numpy's letter for what it was."""
    if kind == "b":
        return cells == "True"
    if kind in "fi":
        # Python's own reading, which gives back the very number that was written.
        return np.array([float(cell or "nan") for cell in cells]).astype(f"{kind}8")
    return cells if cells.name == WRITTEN else cells.where(cells != "")


def _csv(frame: pd.DataFrame, *, header: bool) -> bytes:
    return str(frame.to_csv(index=False, header=header, lineterminator="\n")).encode()


def _parsed(line: bytes, keys: Mapping[str, type]) -> dict[str, Any] | None:
    """What a line of the log says; None where it is torn, or not of this kind."""
    try:
        found = json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
    if not isinstance(found, dict) or found.get("format", FORMAT) != FORMAT:
        return None
    return found if all(isinstance(found.get(key), kind) for key, kind in keys.items()) else None


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What two runs differ in, as text."""
    before, after = _flat(old), _flat(new)
    return [
        f"{name} was {before.get(name)}, is {after.get(name)}"
        for name in dict.fromkeys([*before, *after])
        if before.get(name) != after.get(name)
    ]


def _flat(facts: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, value in facts.items():
        out |= _flat(value, f"{prefix}{name} ") if isinstance(value, dict) else {prefix + name: value}
    return out
