"""Work on many molecules: by how many processes, and who hears of its progress."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar, final

from moldiff.chem.pool import Failure, shared
from moldiff.chem.worker import check_workers
from moldiff.errors import MoldiffError

T = TypeVar("T")
R = TypeVar("R")

#: Is told how much of a stage is done.
Tell = Callable[[int], None]
#: Opens a stage of the work, given its name and its size.
Stages = Callable[[str, int], AbstractContextManager[Tell]]

#: Items between two words on the progress of this process.
STRIDE = 1000


@contextmanager
def silent(what: str, total: int) -> Iterator[Tell]:
    """A stage that tells no one."""
    yield lambda done: None


@final
@dataclass(frozen=True)
class Work:
    """How work is done.

    Args:
        workers: processes, at least 1; 1 is this process. More are started afresh (spawn): a script that asks
            for them needs the usual ``if __name__ == "__main__":``.
        stages: shows progress.
    """

    workers: int = 1
    stages: Stages = silent

    def __post_init__(self) -> None:
        """Refuse fewer than one worker."""
        check_workers(self.workers)

    def map(self, what: str, function: Callable[[Sequence[T]], Sequence[R]], items: Sequence[T]) -> list[R]:
        """`function` over chunks of the items, its results joined in order.

        Args:
            what: the name of the stage.
            function: an importable function of a chunk, giving one result an item.
            items: what to work on.

        Raises:
            MoldiffError: a process ended at its work.
        """
        with self.stages(what, len(items)) as tell:
            if self.workers == 1:
                results: list[R] = []
                for start in range(0, len(items), STRIDE):
                    results.extend(function(items[start : start + STRIDE]))
                    tell(len(results))
                return results
            found: list[Any] = shared().map(function, items, workers=self.workers, progress=tell)
        for item, result in zip(items, found, strict=True):
            if isinstance(result, Failure):
                raise MoldiffError(f"{what}: {item!r}: {result.reason}")
        return found


HERE = Work()
"""In this process, telling no one."""
