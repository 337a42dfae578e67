"""A worker that is a command of the caller's: one JSON object a line in, one a line out."""

import json
import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import Any, final

from moldiff.chem.answers import Answer, number
from moldiff.chem.pool import Failure
from moldiff.chem.worker import Lost, ending
from moldiff.errors import MoldiffError

_GRACE = 1.0
"""Seconds that a command has to end by itself when its input is closed."""

_SHOWN = 80
"""Characters of a line that a reason repeats."""


@final
class CommandWorker:
    """Asks a running command for one molecule after the other, and starts it again when it ended.

    A molecule is sent when the one before is answered, so an answer can be for no other.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        self._arguments = list(arguments)
        self._process: subprocess.Popen[str] | None = None
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        self._reader: Thread | None = None
        self._answered = 0
        self._waiting, self._killed = False, False

    def begin(self, job: bytes) -> None:
        """Starts the command where it does not run; it has no other job.

        Raises:
            MoldiffError: it cannot be started.
        """
        if self._process is not None and self._process.poll() is None:
            return
        self.close()
        # Python would keep its answers back until it has many.
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        try:
            self._process = subprocess.Popen(
                self._arguments,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                encoding="utf-8",
                errors="replace",
                env=environment,
                # A group of its own: it is ended with all that it starts, and by nobody else's Ctrl-C.
                start_new_session=True,
            )
        except OSError as error:
            what = f"{self._arguments[0]!r} ({error.strerror or error})"
            raise MoldiffError(f"oracle cmd: cannot start {what}") from None
        self._lines, self._answered = SimpleQueue(), 0
        self._waiting, self._killed = False, False
        self._reader = Thread(target=_read, args=(self._process.stdout, self._lines), daemon=True)
        self._reader.start()

    def ask(self, items: Sequence[Any]) -> list[Answer]:
        """One answer a molecule.

        Raises:
            Lost: the command ended, or answered what is no answer.
            MoldiffError: it answered more often than it was asked.
        """
        return [self._one(item) for item in items]

    def place(self) -> int:
        """Not known: the pool is to ask for one molecule at a time."""
        return -1

    def kill(self) -> None:
        """Ends the command, and what it started, at once."""
        self._killed = True
        process = self._process
        if process is not None:
            with suppress(OSError):
                if hasattr(os, "killpg"):
                    os.killpg(process.pid, signal.SIGKILL)
                else:
                    process.kill()
        # Something that escaped may hold the output open.
        self._lines.put(None)

    def close(self) -> None:
        """Lets the command end, or ends it.

        Raises:
            MoldiffError: it has answered more often than it was asked.
        """
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(OSError):
            process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(0 if self._killed else _GRACE)
        with suppress(OSError):
            if hasattr(os, "killpg"):
                os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.wait()
        if self._reader is not None:
            self._reader.join(_GRACE)
        process.stdout.close()
        if not (self._waiting or self._killed):
            self._nothing_unasked()

    def _one(self, smiles: str) -> Answer:
        line = self._exchange(smiles)
        if line is None and self._answered and not self._killed:
            # It ended after an earlier answer, which need not be this molecule's fault.
            self.close()
            self.begin(b"")
            line = self._exchange(smiles)
        if line is None:
            raise Lost(self._ending())
        self._answered += 1
        found = _answer(line, smiles)
        self._waiting = False
        return found

    def _exchange(self, smiles: str) -> str | None:
        """The line that answers; None when the command ended.

        Raises:
            MoldiffError: there is a line already.
        """
        assert self._process is not None
        assert self._process.stdin is not None
        if self._nothing_unasked():
            return None
        self._waiting = True
        try:
            self._process.stdin.write(json.dumps({"smiles": smiles}) + "\n")
            self._process.stdin.flush()
        except OSError:
            return None
        return self._lines.get()

    def _nothing_unasked(self) -> bool:
        """Whether the command has ended, when no answer is due.

        Raises:
            MoldiffError: there is an answer all the same.
        """
        if self._lines.empty():
            return False
        line = self._lines.get()
        if line is None:
            return True
        # Nobody can say of which molecule the answers before it were.
        raise MoldiffError(f"oracle cmd: answered unasked, so its values are not known: {_short(line)}")

    def _ending(self) -> str:
        assert self._process is not None
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE)
        return ending(self._process.returncode)


def _read(output: Any, lines: "SimpleQueue[str | None]") -> None:
    """Hands on each line of the output, and None at its end."""
    with suppress(ValueError, OSError):  # closed under the reader's hands
        for line in output:
            lines.put(line)
    lines.put(None)


def _answer(line: str, smiles: str) -> Answer:
    """The value or the error of a line.

    Raises:
        Lost: the line is no answer, so the next one might be this molecule's.
    """
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not found.keys() & {"value", "error"}:
        raise Lost(f"answered no JSON object with a value or an error: {_short(line)}")
    if found.get("smiles", smiles) != smiles:
        raise Lost(f"answered for another molecule: {_short(line)}")
    if found.get("error") is not None:
        return Failure(f"error: {_short(str(found['error']))}")
    return number(found.get("value"))


def _short(line: str) -> str:
    line = " ".join(line.split())
    return line if len(line) <= _SHOWN else line[: _SHOWN - 3] + "..."
