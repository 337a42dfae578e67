"""A pool of worker processes that goes on when an item hangs, crashes or ends its process."""

import atexit
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import ceil
from threading import Condition, Lock, RLock, Thread
from typing import Any, Final, Protocol, final

from moldiff.chem.worker import Lost, ProcessWorker, check_workers, packed
from moldiff.errors import MoldiffError

POLL = 0.05
"""Seconds between two looks at the clock of each worker."""

GIVE_UP = 20
"""Items in a row that cost a worker each, after which the rest is not tried."""

Progress = Callable[[int], None]
"""Is told how many items are settled."""

_OPEN: Final = object()
"""The place of an item that has no result yet."""


@final
@dataclass(frozen=True)
class Failure:
    """Why an item has no result; what comes after a colon is detail."""

    reason: str


class Interrupted(KeyboardInterrupt):
    """An interrupt from the keyboard, with the results so far and a `Failure` for each other item."""

    def __init__(self, results: list[Any]) -> None:
        super().__init__("interrupted")
        self.results = results


class Worker(Protocol):
    """One process that answers for items; one thread asks it, and any thread may kill it."""

    def begin(self, job: bytes) -> None:
        """Makes the process ready for a job, and starts it where there is none."""
        ...

    def ask(self, items: Sequence[Any]) -> list[Any]:
        """One result an item; `Lost` when the process ended first."""
        ...

    def place(self) -> int:
        """Which of the items it is at work on, or died at; -1 where that is not known."""
        ...

    def kill(self) -> None:
        """Ends the process at once."""
        ...

    def close(self) -> None:
        """Ends the process and lets go of all that belongs to it."""
        ...


@dataclass(frozen=True)
class Pace:
    """How many items a worker is asked for at once.

    Attributes:
        first: at the start.
        most: at most.
        seconds: the number grows as long as an answer takes less time than this.
    """

    first: int = 32
    most: int = 512
    seconds: float = 0.25


STEADY = Pace()
"""For a function that ticks."""


@final
class Pool:
    """Worker processes that are started when they are first needed and kept until `close`."""

    def __init__(self, make: Callable[[], Worker] = ProcessWorker) -> None:
        self._make = make
        self._workers: list[Worker] = []
        self._lock = Lock()
        self._owner = os.getpid()

    def map(
        self,
        function: Any,
        items: Sequence[Any],
        *,
        workers: int = 1,
        limit: float | None = None,
        pace: Pace = STEADY,
        progress: Progress | None = None,
    ) -> list[Any]:
        """The results of all items in order, with a `Failure` where the item cost a worker its process.

        Args:
            function: gives a list of results for a list of items, one each; it is pickled by name, and calls
                `worker.tick` before each item where it can, so that the right one is blamed. None where the
                workers need none.
            items: what to work on, each small and picklable.
            workers: processes, at least 1.
            limit: seconds for one item, from `tick` to `tick`, or for one call of a function that does not
                tick; None for no limit. A worker that is late is killed.
            pace: how many items go to a worker at once.
            progress: is told from time to time how many items are settled.

        Raises:
            MoldiffError: the function cannot be pickled, or a worker cannot be started.
            Interrupted: Ctrl-C; no worker is left.
            Exception: what the function itself raises.
        """
        check_workers(workers)
        if not items:
            return []
        job = b"" if function is None else packed(function)
        with self._lock:
            run = _Run(items, pace, min(workers, len(items)))
            lanes = [_Lane(worker, run, job, limit) for worker in self._hired(run.lanes)]
            try:
                _oversee(run, lanes, progress)
            except KeyboardInterrupt:
                run.stop("interrupted")
                self._dismiss(lanes)
                raise Interrupted(run.results) from None
            except BaseException:
                run.stop("stopped")
                self._dismiss(lanes)
                raise
            if run.error is not None:
                self._dismiss(lanes)
                raise run.error
            return run.results

    def prepare(self, function: Any) -> None:
        """Loads what `map` is to call in one worker.

        Raises:
            MoldiffError: the function cannot be pickled, or the worker cannot be started.
            Exception: what loading the function raises.
        """
        job = b"" if function is None else packed(function)
        with self._lock:
            try:
                self._hired(1)[0].begin(job)
            except BaseException:
                with suppress(MoldiffError):
                    self.close()
                raise

    def close(self) -> None:
        """Ends all workers; the next call of `map` starts new ones.

        Raises:
            MoldiffError: what a worker has to say at its end.
        """
        workers, self._workers = self._workers, []
        last: MoldiffError | None = None
        for worker in workers if self._owner == os.getpid() else ():
            try:
                worker.close()
            except MoldiffError as error:
                last = error
        if last is not None:
            raise last

    def _hired(self, count: int) -> list[Worker]:
        if self._owner != os.getpid():  # a fork: the workers are its parent's
            self._workers, self._owner = [], os.getpid()
        while len(self._workers) < count:
            self._workers.append(self._make())
        return self._workers[:count]

    def _dismiss(self, lanes: Sequence["_Lane"]) -> None:
        """Ends the workers and the lanes of a run that is stopped."""
        for lane in lanes:
            while lane.ident is not None and lane.is_alive():
                # Again and again: a lane may just have started another process.
                for worker in self._workers:
                    worker.kill()
                lane.join(POLL)
        with suppress(MoldiffError):  # what ended the run says more
            self.close()


def _oversee(run: "_Run", lanes: Sequence["_Lane"], progress: Progress | None) -> None:
    """Returns when every lane has ended; meanwhile kills the workers that are late."""
    for lane in lanes:
        lane.start()
    told = 0
    while not run.wait(POLL):
        now = time.monotonic()
        for lane in lanes:
            lane.watch(now)
        if progress is not None and run.settled > told:
            told = run.settled
            progress(told)
    for lane in lanes:
        lane.join()
    if progress is not None and run.error is None:
        progress(len(run.items))


@final
class _Run:
    """The state of one `map`: what is to do, what is done."""

    def __init__(self, items: Sequence[Any], pace: Pace, lanes: int) -> None:
        self.items = items
        self.lanes = lanes
        self.results: list[Any] = [_OPEN] * len(items)
        self.settled = 0
        self.error: BaseException | None = None
        self._pace = pace
        self._size = pace.first
        self._fresh = 0
        self._again: deque[list[int]] = deque()
        self._out = 0
        self._streak = 0
        self._stopped = False
        self._ended = 0
        self._turn = Condition()

    def take(self) -> list[int]:
        """The places of the next items; empty when there is nothing left."""
        with self._turn:
            # What another lane is at work on may come back.
            self._turn.wait_for(lambda: self._stopped or self._again or self._left() or not self._out)
            if self._stopped or not (self._again or self._left()):
                return []
            self._out += 1
            if self._again:
                return self._again.popleft()
            # Small chunks towards the end, so that the lanes end together.
            size = max(1, min(self._size, ceil(self._left() / (2 * self.lanes))))
            self._fresh += size
            return list(range(self._fresh - size, self._fresh))

    def settle(self, chunk: list[int], answers: list[Any], seconds: float) -> None:
        """Takes the answers for a chunk."""
        with self._turn:
            for place, answer in zip(chunk, answers, strict=True):
                self._put(place, answer)
            self._streak = 0
            if seconds > 4 * self._pace.seconds:
                self._size = max(1, self._size // 2)
            elif seconds < self._pace.seconds and len(chunk) >= self._size:
                self._size = min(2 * self._size, self._pace.most)
            self._back()

    def lost(self, chunk: list[int], place: int, reason: str) -> None:
        """Puts back a chunk that ended its worker, all but the item to blame."""
        with self._turn:
            blamed = 0 if len(chunk) == 1 else place
            if blamed < 0:
                self._again.extend([each] for each in chunk)
            else:
                self._put(chunk.pop(blamed), Failure(reason))
                self._streak += 1
                if chunk:
                    self._again.append(chunk)
            if self._streak >= GIVE_UP:
                self._abandon(f"not tried: {GIVE_UP} in a row failed, the last with {reason}")
            self._back()

    def fail(self, error: BaseException) -> None:
        """Ends the run with an error."""
        with self._turn:
            self.error = self.error or error
            self._stopped = True
            self._turn.notify_all()

    def stop(self, reason: str) -> None:
        """Ends the run; what is open has that reason."""
        with self._turn:
            self._stopped = True
            self._abandon(reason)
            self.results = [Failure(reason) if each is _OPEN else each for each in self.results]
            self._turn.notify_all()

    def end(self) -> None:
        """Counts a lane that has ended."""
        with self._turn:
            self._ended += 1
            self._turn.notify_all()

    def wait(self, seconds: float) -> bool:
        """Whether all lanes have ended within that time."""
        with self._turn:
            return self._turn.wait_for(lambda: self._ended == self.lanes, seconds)

    def _left(self) -> int:
        return len(self.items) - self._fresh

    def _put(self, place: int, answer: Any) -> None:
        if self.results[place] is _OPEN:
            self.results[place] = answer
            self.settled += 1

    def _abandon(self, reason: str) -> None:
        """Gives what no lane is at work on that reason."""
        waiting = [place for chunk in self._again for place in chunk]
        for place in (*waiting, *range(self._fresh, len(self.items))):
            self._put(place, Failure(reason))
        self._again.clear()
        self._fresh = len(self.items)

    def _back(self) -> None:
        self._out -= 1
        self._turn.notify_all()


@final
class _Lane(Thread):
    """A thread that asks one worker for one chunk after another."""

    def __init__(self, worker: Worker, run: _Run, job: bytes, limit: float | None) -> None:
        super().__init__(daemon=True)
        self._worker, self._run, self._job, self._limit = worker, run, job, limit
        self._guard = RLock()
        self._asked, self._late = False, False
        self._since, self._seen = 0.0, -1

    def run(self) -> None:
        try:
            while chunk := self._run.take():
                self._work(chunk)
        except BaseException as error:  # it is the caller's, who waits in another thread
            self._run.fail(error)
        finally:
            self._run.end()

    def watch(self, now: float) -> None:
        """Kills the worker when one item has taken longer than the limit."""
        with self._guard:
            if not self._asked or self._limit is None:
                return
            place = self._worker.place()
            if place != self._seen:
                self._seen, self._since = place, now
            self._late = self._late or now - self._since > self._limit
            if self._late:  # and once more at the next look, should it have been about to start again
                self._worker.kill()

    def _work(self, chunk: list[int]) -> None:
        self._worker.begin(self._job)
        start = time.monotonic()
        with self._guard:
            self._asked, self._late, self._since, self._seen = True, False, start, -1
        try:
            answers = self._worker.ask([self._run.items[place] for place in chunk])
        except Lost as lost:
            reason = self._verdict() or str(lost)
            place = self._worker.place()
            self._worker.close()
            self._run.lost(chunk, place, reason)
            return
        if self._verdict():  # killed after its last answer
            self._worker.close()
        self._run.settle(chunk, answers, time.monotonic() - start)

    def _verdict(self) -> str | None:
        """Why the worker was killed, if it was; from now on the clock does not run."""
        with self._guard:
            self._asked = False
            return f"no answer in {self._limit:g} s" if self._late else None


_shared = Pool()


def shared() -> Pool:
    """The pool that all calls of this process share; its workers end with the process."""
    return _shared


atexit.register(_shared.close)
