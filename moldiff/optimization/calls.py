"""Calls of an oracle in the order of a search, in a file that survives whatever ends the search."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self, final

from moldiff.errors import MoldiffError
from moldiff.generation.journal import differences
from moldiff.optimization.objective import Worth

try:
    import fcntl
except ImportError:  # Windows, where a file open for writing is guarded less
    fcntl = None  # type: ignore[assignment]

#: What the first line begins with, so that a later version knows it.
FORMAT = 1


@final
@dataclass(frozen=True)
class Call:
    """A molecule that an oracle was asked about.

    Args:
        smiles: canonical.
        worth: what it is worth.
    """

    smiles: str
    worth: Worth


@final
@dataclass(frozen=True)
class Mark:
    """The end of a generation, of which nothing is left to ask.

    Args:
        generation: its number; 0 is the start set.
        calls: how many there are up to here.
        proposed: strings that the method proposed, in all generations.
        invalid: of them, those that are no sane molecule.
        repeats: of them, those that were asked before, by this search.
        idle: generations in a row, up to this one, that brought nothing new.
    """

    generation: int
    calls: int
    proposed: int
    invalid: int
    repeats: int
    idle: int


@final
class Journal:
    """The calls of one search, a line each, with a line at the end of each generation; a context.

    The first line says what fixes the search. What follows the last whole line does not count.

    Args:
        path: the file.
        identity: what fixes the calls; JSON.
        resume: whether to go on with what is there.

    Raises:
        MoldiffError: calls of another search, calls of this one and no ``resume``, a search that is still
            going on, a damaged file, or one that cannot be written.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any], *, resume: bool) -> None:
        self.path = path
        #: All calls so far, also those after the last mark.
        self.calls: list[Call] = []
        self.marks: list[Mark] = []
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._locked()
            try:
                self._open(json.loads(json.dumps(identity)), resume)
            except BaseException:
                self._file.close()
                raise
        except OSError as error:
            raise MoldiffError(f"cannot write {path}: {error.strerror or error}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def settled(self) -> list[Call]:
        """The calls up to the last mark."""
        return self.calls[: self.marks[-1].calls] if self.marks else []

    @property
    def pending(self) -> list[Call]:
        """The calls after the last mark: those of a generation that is not over."""
        return self.calls[len(self.settled) :]

    def append(self, calls: Sequence[Call]) -> None:
        """Adds calls; once back, they are on the disk."""
        self._write([{"smiles": call.smiles, **asdict(call.worth)} for call in calls])
        self.calls += calls

    def mark(self, mark: Mark) -> None:
        """Ends a generation."""
        self._write([asdict(mark)])
        self.marks.append(mark)

    def _write(self, lines: Sequence[Mapping[str, Any]]) -> None:
        try:
            self._file.write(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise MoldiffError(
                f"cannot write {self.path}: {error.strerror or error}; its {len(self.calls)} calls stay, "
                "make room and go on with --resume"
            ) from None

    def _locked(self) -> BinaryIO:
        file = self.path.open("a+b")
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.close()
                raise MoldiffError(f"output: {self.path} is being written by another run") from None
        return file

    def _open(self, identity: dict[str, Any], resume: bool) -> None:
        self._file.seek(0)
        head = _parsed(self._file.readline())
        if head is None:
            # Nothing, or no whole line; anything else is not ours to overwrite.
            if self._file.seek(0, os.SEEK_END) and self._whole():
                raise _damaged(self.path)
            self._file.truncate(0)
            self._write([{"format": FORMAT, "run": identity}])
            return
        if head.get("format") != FORMAT or not isinstance(head.get("run"), dict):
            raise _damaged(self.path)
        if not resume:
            raise MoldiffError(f"output: {self.path} has a run's calls; go on with --resume, or delete it")
        differing = differences(head["run"], identity)
        if differing:
            raise MoldiffError(f"--resume: {self.path} is of another run: {'; '.join(differing)}")
        self._read()

    def _whole(self) -> bool:
        self._file.seek(0)
        return b"\n" in self._file.read()

    def _read(self) -> None:
        """Takes in the lines after the first, up to a torn one, which goes."""
        end = self._file.tell()
        for line in self._file:
            found = _parsed(line)
            if found is None:
                break
            try:
                if "smiles" in found:
                    self.calls.append(_call(found))
                else:
                    self.marks.append(Mark(**found))
            except (TypeError, KeyError):
                raise _damaged(self.path) from None
            end += len(line)
        if end < self._file.seek(0, os.SEEK_END):
            self._file.truncate(end)


def known_calls(folder: Path, judged: Mapping[str, Any]) -> dict[str, Worth]:
    """What the journals below a folder say of molecules, read as far as they are whole.

    Args:
        folder: of several searches.
        judged: what fixes a molecule's worth, as it stands in what fixes a search.

    Raises:
        MoldiffError: a journal in which molecules were judged otherwise.
    """
    found: dict[str, Worth] = {}
    for path in sorted(folder.glob(f"*/{NAME}")):
        with path.open("rb") as file:
            head = _parsed(file.readline())
            if head is None:
                continue
            before = {name: head.get("run", {}).get(name) for name in judged}
            differing = differences(before, json.loads(json.dumps(judged)))
            if differing:
                raise MoldiffError(f"--resume: {path} is of another run: {'; '.join(differing)}")
            for line in file:
                facts = _parsed(line)
                if facts is None:
                    break
                if "smiles" in facts:
                    found.setdefault(facts["smiles"], _call(facts).worth)
    return found


#: The file of a search's calls, in its own folder.
NAME = "journal.jsonl"


def _call(found: Mapping[str, Any]) -> Call:
    return Call(found["smiles"], Worth(found["value"], tuple(found["parts"]), found["reason"]))


def _parsed(line: bytes) -> dict[str, Any] | None:
    """What a line says; None where it is torn."""
    try:
        found = json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _damaged(path: Path) -> MoldiffError:
    return MoldiffError(f"output: {path} is damaged or of another version; delete it to start again")
