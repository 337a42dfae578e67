"""A worker process of a pool: both ends of its pipe."""

import os
import pickle
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing import connection, get_context, parent_process
from multiprocessing.connection import Connection
from threading import Thread
from typing import Any, final

from moldiff.errors import MoldiffError

START_LIMIT = 120.0
"""Seconds in which a process must start and load what its job needs."""

MOST_WORKERS = 1024
"""The most processes that are started: a slip of the pen must not bring a machine down."""

_place: Any = None
"""In a worker the number of the item at work, in memory that the pool sees."""


class Lost(Exception):
    """A worker's process ended before it answered; the message says how."""


class NotReady(MoldiffError):
    """A worker's process that does not get as far as its first item."""


def check_workers(count: object) -> None:
    """Refuses what is no number of processes, or one that no machine has."""
    if type(count) is not int:
        raise MoldiffError(f"workers must be a whole number: got {count!r}")
    if count < 1:
        raise MoldiffError(f"workers must be at least 1: got {count}")
    if count > MOST_WORKERS:
        raise MoldiffError(f"workers must be at most {MOST_WORKERS}: got {count}")


def tick(place: int) -> None:
    """Tells the pool, if this is a worker, which of its items it begins; -1 for several at once."""
    if _place is not None:
        _place.value = place


def packed(function: Any) -> bytes:
    """The function as a worker loads it.

    Raises:
        MoldiffError: it cannot be found by name in another process.
    """
    try:
        return pickle.dumps(function)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise MoldiffError(f"this function cannot go to another process: {error}") from None


def ending(code: int | None) -> str:
    """How a process ended, by its exit code."""
    if code is None:
        return "the process closed its output"
    if code >= 0:
        return f"the process ended with exit code {code}"
    try:
        return f"the process ended by signal {signal.Signals(-code).name}"
    except ValueError:
        return f"the process ended by signal {-code}"


@final
class ProcessWorker:
    """The pool's end: a fresh Python process (spawn) that applies a pickled function to items."""

    def __init__(self) -> None:
        self._context = get_context("spawn")
        self._process: Any = None
        self._pipe: Connection[Any, Any] | None = None
        self._job: bytes | None = None
        self._here: Any = None

    def begin(self, job: bytes) -> None:
        """Starts the process where there is none, and gives it the job where that is new.

        Raises:
            NotReady: it does not start, or not in time.
            Exception: what loading the job raises.
        """
        if self._process is None or not self._process.is_alive():
            self.close()
            self._start()
        if job == self._job:
            return
        try:
            self._send(True, job)
            self._receive(START_LIMIT)
        except Lost as lost:
            self.close()
            raise NotReady(
                f"a worker could not be made ready ({lost}); a script of its own "
                'does such work below `if __name__ == "__main__":`'
            ) from None
        self._job = job

    def ask(self, items: Sequence[Any]) -> list[Any]:
        """One result an item.

        Raises:
            Lost: the process ended first.
            Exception: what the function raises.
        """
        self._here.value = -1
        self._send(False, items)
        answers: list[Any] = self._receive(None)
        return answers

    def place(self) -> int:
        """The item that the function named last; -1 where it has named none."""
        return -1 if self._here is None else int(self._here.value)

    def kill(self) -> None:
        """Ends the process at once."""
        process = self._process
        if process is not None:
            with suppress(ValueError):  # closed meanwhile
                process.kill()

    def close(self) -> None:
        """Ends the process and closes the pipe."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process.close()
        if self._pipe is not None:
            self._pipe.close()
        self._process = self._pipe = self._job = None

    def _start(self) -> None:
        try:
            self._here = self._context.RawValue("q", -1)
            self._pipe, theirs = self._context.Pipe()
            process = self._context.Process(target=_serve, args=(theirs, self._here), daemon=True)
            process.start()
        except OSError as error:  # no memory, no room for what is shared, or too many processes
            raise NotReady(f"a worker could not be started ({error.strerror or error})") from None
        # Only now: another thread may kill what has started, and nothing else.
        self._process = process
        theirs.close()

    def _send(self, new: bool, content: Any) -> None:
        assert self._pipe is not None
        try:
            self._pipe.send((new, content))
        except (BrokenPipeError, ConnectionError):
            raise Lost(self._ending()) from None

    def _receive(self, limit: float | None) -> Any:
        """The answer; what was raised on the other side is raised here."""
        assert self._pipe is not None
        # The pipe alone would not do: a process that the worker forked may hold it open.
        ready = connection.wait([self._pipe, self._process.sentinel], limit)
        if not ready:
            raise Lost(f"not ready in {limit:g} s")
        try:
            if self._pipe not in ready and not self._pipe.poll():
                raise EOFError
            good, answer = self._pipe.recv()
        except (EOFError, OSError, pickle.UnpicklingError):
            raise Lost(self._ending()) from None
        if not good:
            raise answer
        return answer

    def _ending(self) -> str:
        self._process.join(5)
        return ending(self._process.exitcode)


def _serve(pipe: "Connection[Any, Any]", here: Any) -> None:
    """The worker's end: answers until the pipe is closed."""
    global _place
    _place = here
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the pool's process decides what Ctrl-C means
    os.dup2(2, 1)  # what a function prints is no result of the command that runs it
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    Thread(target=_end_with_parent, daemon=True).start()
    function: Callable[[Any], Sequence[Any]] = list
    while True:
        try:
            new, content = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            if new:
                function, answer = pickle.loads(content) if content else list, None
            else:
                answer = list(function(content))
                if len(answer) != len(content):
                    raise MoldiffError(f"one result an item is needed: got {len(answer)} of {len(content)}")
            message = pickle.dumps((True, answer))
        except Exception as error:  # the function is anyone's; what it raises is raised by the pool
            message = pickle.dumps((False, _portable(error)))
        pipe.send_bytes(message)


def _portable(error: Exception) -> Exception:
    """The error itself where it survives pickling, and its text where it does not."""
    try:
        again = pickle.loads(pickle.dumps(error))
    except Exception:  # pickling runs the error's own code
        again = None
    return error if type(again) is type(error) else RuntimeError(f"{type(error).__name__}: {error}")


def _end_with_parent() -> None:
    """Ends this process when the pool's is gone, so that none is left behind at work."""
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
