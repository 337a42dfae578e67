"""Scoring: any number of oracles over any number of molecules, with a reason wherever there is no value."""

import math
from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext, suppress
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Self, final

from moldiff.chem import passes
from moldiff.chem.answers import Answer
from moldiff.chem.pool import STEADY, Failure, Interrupted, Pace, Pool, Progress, shared
from moldiff.chem.scores import Scores, Texts, column
from moldiff.chem.sources import BuiltIn, Command, Python, Source, source
from moldiff.chem.worker import NotReady, check_workers
from moldiff.errors import MoldiffError

if TYPE_CHECKING:
    import pandas as pd

Spec = str | Callable[[Sequence[str]], Any]
"""What names an oracle, see `sources.source`."""

Record = list[Any]
"""What is known of one molecule: the built-in properties, the scaffold where asked for, one's own oracles."""

RESERVED = ("line", "smiles", "valid", "scaffold", "reason")
"""Columns of a table of scores that are no oracle's."""

REMEMBERED = 100_000
"""Molecules whose values a scorer keeps, so that it does not ask for them again."""

_INSIDE = 512
"""Molecules at once where this process does the work itself."""


@final
class Stopped(KeyboardInterrupt):
    """An interrupt from the keyboard, with the ``scores`` so far; what is not scored says so."""

    def __init__(self, scores: Scores) -> None:
        super().__init__("interrupted")
        self.scores = scores


def score(
    smiles: Sequence[str | None],
    oracles: Sequence[Spec] | Mapping[str, Spec],
    *,
    workers: int = 1,
    timeout: float | None = None,
    scaffold: bool = False,
    progress: Progress | None = None,
) -> Scores:
    """The values of N molecules by each oracle; docs/oracles.md has the names and what can fail.

    More than one worker, or a timeout, starts processes: a script that asks for them needs the usual
    ``if __name__ == "__main__":``.

    Args:
        smiles: N strings.
        oracles: names or functions, see `sources.source`; a mapping names their columns.
        workers: processes to share the work.
        timeout: seconds that one molecule may take; None for no limit.
        scaffold: whether to find Murcko scaffolds too.
        progress: see `Scorer`.

    Raises:
        MoldiffError: an oracle that cannot be had, or a number out of range.
        Stopped: Ctrl-C; it holds the scores so far.
    """
    with Scorer(oracles, workers=workers, timeout=timeout, scaffold=scaffold) as scorer:
        return scorer(smiles, progress)


def add_columns(
    frame: "pd.DataFrame", scorer: "Scorer", *, key: str = "smiles", progress: Progress | None = None
) -> tuple["pd.DataFrame", Scores]:
    """A table with one more column for each oracle, and ``oracle_reason``; and the scores themselves.

    ``oracle_reason`` says why a row with a molecule lacks a value. A built-in property that the table has
    already stays as it is.

    Args:
        frame: N rows.
        scorer: the oracles.
        key: the column of canonical SMILES; a missing one is no molecule.
        progress: see `Scorer`.

    Raises:
        MoldiffError: an oracle of one's own has the name of a column, or see `Scorer`.
    """
    import pandas as pd

    taken = [name for name in scorer.names if name in frame.columns]
    for name in taken:
        if name not in scorer.unchanged:
            raise MoldiffError(f"oracle: got the name {name!r}, which is a column already; write NAME=ORACLE")
    scores = scorer(frame[key].tolist(), progress, canonical=True)
    new: dict[str, Any] = {name: each for name, each in scores.values.items() if name not in taken}
    told = [why if text is not None else None for why, text in zip(scores.told(), scores.smiles, strict=True)]
    texts: dict[str, Texts] = {} if scores.scaffolds is None else {"scaffold": scores.scaffolds}
    for name, each in {**texts, "oracle_reason": told}.items():
        new[name] = pd.Series(each, dtype=object, index=frame.index)
    return frame.assign(**new), scores


@final
class Scorer:
    """Oracles that are ready to score; several calls share its processes and what it remembers.

    Close it, or use it as a context, to end the programs of ``cmd:`` oracles.
    """

    def __init__(
        self,
        oracles: Sequence[Spec] | Mapping[str, Spec],
        *,
        workers: int = 1,
        timeout: float | None = None,
        scaffold: bool = False,
    ) -> None:
        """Finds out what the oracles are.

        Args:
            oracles: names or functions, see `sources.source`; a mapping names their columns.
            workers: processes to share the work.
            timeout: seconds that one molecule may take with all built-in properties, and with each other
                oracle. With one worker and no timeout Python oracles run in this process.
            scaffold: whether to find Murcko scaffolds too.

        Raises:
            MoldiffError: an oracle that cannot be had, the same name twice, or a number out of range.
        """
        check_workers(workers)
        if timeout is not None and not 0 < timeout < math.inf:
            raise MoldiffError(f"timeout: got {timeout}, needs seconds above 0, or None")
        self._workers, self._timeout, self._scaffold = workers, timeout, scaffold
        self._sources = _sources(oracles)
        # One pass for all that is built in, the others after it, in their order.
        self._built_in = [each for each in self._sources if isinstance(each, BuiltIn)]
        self._own = [each for each in self._sources if not isinstance(each, BuiltIn)]
        self._keys = tuple(each.key for each in self._built_in)
        self._known: dict[str, Record] = {}
        self._loaded, self._interrupted = False, False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        with nullcontext() if kind is None else suppress(MoldiffError):
            self.close()

    @property
    def names(self) -> tuple[str, ...]:
        """The columns, in the order of the oracles."""
        return tuple(each.name for each in self._sources)

    @property
    def maximize(self) -> tuple[bool, ...]:
        """Whether larger is better, in the order of the oracles."""
        return tuple(each.maximize for each in self._sources)

    @property
    def unchanged(self) -> tuple[str, ...]:
        """Those columns that are built-in properties under their own names."""
        return tuple(each.name for each in self._built_in if each.name == each.key)

    @property
    def stages(self) -> int:
        """Passes over the molecules: one for all that is built in, and one an oracle of one's own."""
        return 1 + len(self._own)

    def close(self) -> None:
        """Ends the programs; the processes of the shared pool stay for others.

        Raises:
            MoldiffError: a program has answered more often than it was asked, so its values are not known.
        """
        with ExitStack() as stack:
            for each in self._own:
                stack.callback(each.close)

    def __call__(
        self, smiles: Sequence[str | None], progress: Progress | None = None, *, canonical: bool = False
    ) -> Scores:
        """The scores of N strings; each distinct molecule is scored once, by its canonical spelling.

        Args:
            smiles: N strings; what is not text is no molecule.
            progress: is told how many of ``stages`` times N steps are done.
            canonical: whether the strings are known to be canonical, which saves finding out.

        Raises:
            MoldiffError: an oracle that cannot be loaded, or a process that cannot be started.
            Stopped: Ctrl-C while other processes were at work.
        """
        if isinstance(smiles, str):
            raise MoldiffError(f"score: got one string {smiles!r}, needs a sequence of SMILES")
        self._load()
        self._interrupted = False
        texts = [text if isinstance(text, str) else None for text in smiles]
        distinct = [text for text in dict.fromkeys(texts) if text is not None]
        rows, records = self._read(distinct, canonical, progress)
        for stage, own in enumerate(self._own, start=1):
            told = None if progress is None else partial(_onward, progress, stage * len(texts))
            for record, answer in zip(records.values(), self._ask(own, list(records), told), strict=True):
                record.append(answer)
        if progress is not None:
            progress(self.stages * len(texts))
        read = [(None, "missing") if text is None else rows[text] for text in texts]
        scores = self._scores(read, ChainMap(records, self._known))
        if self._interrupted:
            raise Stopped(scores)
        self._known.update(records)
        for text in list(islice(self._known, max(0, len(self._known) - REMEMBERED))):
            del self._known[text]
        return scores

    def _load(self) -> None:
        """Loads what is not built in, to fail before any work is done rather than after most of it."""
        if self._loaded:
            return
        for own in self._own:
            if isinstance(own, Command):
                own.pool.prepare(None)
            elif self._inside:
                own.function  # noqa: B018
            else:
                try:
                    own.pool.prepare(own.recipe)
                except NotReady as error:
                    raise MoldiffError(f"oracle {own.name}: {error}") from None
        self._loaded = True

    def _read(
        self, texts: list[str], canonical: bool, progress: Progress | None
    ) -> tuple[dict[str, tuple[str | None, str | None]], dict[str, Record]]:
        """By text its molecule or the reason for none; by molecule that is new its built-in properties."""
        new = [text for text in texts if text not in self._known]
        first = self._run(partial(passes.read, self._keys, self._scaffold, canonical), new, progress)
        failed = [text for text, row in zip(new, first, strict=True) if isinstance(row, Failure)]
        # A property may have hung or crashed, or the reading itself.
        second = dict(zip(failed, self._run(partial(passes.read, (), False, canonical), failed), strict=True))
        rows: dict[str, tuple[str | None, str | None]] = {text: (text, None) for text in texts}
        measured: dict[str, Any] = {}
        for text, row in zip(new, first, strict=True):
            read = second.get(text, row)
            rows[text] = (None, read.reason) if isinstance(read, Failure) else read[:2]
            molecule = rows[text][0]
            if molecule is not None and molecule not in self._known:
                found = row if isinstance(row, Failure) else row[2]
                measured[molecule] = measured.get(molecule) if found is None else found
        return rows, self._measured(measured)

    def _measured(self, measured: dict[str, Any]) -> dict[str, Record]:
        """The records of molecules that were measured, failed, or, where None, are still to be measured."""
        late = [text for text, found in measured.items() if found is None]
        rows = self._run(partial(passes.measure, self._keys, self._scaffold), late)
        measured.update(zip(late, rows, strict=True))
        failed = [text for text, found in measured.items() if isinstance(found, Failure)]
        # One by one, so that a property that fails takes no other with it.
        parts = [((key,), False) for key in self._keys] + [((), True)] * self._scaffold
        columns = [self._run(partial(passes.measure, *part), failed) for part in parts]
        for place, text in enumerate(failed):
            cells = [column[place] for column in columns]
            measured[text] = [cell if isinstance(cell, Failure) else cell[0] for cell in cells]
        return {text: list(found) for text, found in measured.items()}

    def _ask(self, own: Python | Command, molecules: list[str], progress: Progress | None) -> list[Answer]:
        """The answers of an oracle of one's own."""
        if isinstance(own, Python) and self._inside:
            return self._run(own.function, molecules, progress)
        recipe = own.recipe if isinstance(own, Python) else None
        return self._map(own.pool, recipe, molecules, own.pace(self._timeout), progress)

    @property
    def _inside(self) -> bool:
        """Whether this process does the work itself."""
        return self._workers == 1 and self._timeout is None

    def _run(self, function: Any, items: list[str], progress: Progress | None = None) -> list[Any]:
        """The results of all items, with a `Failure` where the work was ended."""
        if not self._inside:
            return self._map(shared(), function, items, STEADY, progress)
        results: list[Any] = []
        for first in range(0, len(items), _INSIDE):
            results += function(items[first : first + _INSIDE])
            if progress is not None:
                progress(len(results))
        return results

    def _map(
        self, pool: Pool, function: Any, items: list[str], pace: Pace, progress: Progress | None
    ) -> list[Any]:
        if self._interrupted:
            return [Failure("interrupted")] * len(items)
        try:
            return pool.map(
                function, items, workers=self._workers, limit=self._timeout, pace=pace, progress=progress
            )
        except Interrupted as stop:
            self._interrupted = True
            return stop.results

    def _scores(self, read: Sequence[tuple[str | None, str | None]], known: Mapping[str, Record]) -> Scores:
        """One row a string again."""
        records = [None if text is None else known[text] for text, _ in read]
        frame = [None] * self._scaffold
        order = [*(each.name for each in self._built_in), *frame, *(each.name for each in self._own)]
        cells = {
            name: [None if row is None else row[place] for row in records] for place, name in enumerate(order)
        }
        columns = {each.name: column(cells[each.name]) for each in self._sources}
        frames: Texts | None = None
        if self._scaffold:
            frames = [None if isinstance(cell, Failure) else cell for cell in cells[None]]
        return Scores(
            smiles=[text for text, _ in read],
            unread=[reason for _, reason in read],
            values={name: column[0] for name, column in columns.items()},
            reasons={name: column[1] for name, column in columns.items()},
            scaffolds=frames,
            units={each.name: each.unit for each in self._sources},
            maximize={each.name: each.maximize for each in self._sources},
            notes=tuple(dict.fromkeys(note for each in self._sources for note in each.notes)),
            interrupted=self._interrupted,
        )


def _sources(oracles: Sequence[Spec] | Mapping[str, Spec]) -> list[Source]:
    """What the oracles are, each once.

    Raises:
        MoldiffError: not a list of oracles, one that cannot be had, or two of the same name.
    """
    if isinstance(oracles, str) or callable(oracles):
        raise MoldiffError(f"oracles: got {oracles!r}, needs a list of them")
    if isinstance(oracles, Mapping):
        found = [source(spec, name) for name, spec in oracles.items()]
    else:
        asked = list(oracles)
        found = [source(spec) for place, spec in enumerate(asked) if spec not in asked[:place]]
    for each in found:
        if each.name in RESERVED:
            raise MoldiffError(f"oracles: got the name {each.name!r}, which is another column's")
        if sum(other.name == each.name for other in found) > 1:
            raise MoldiffError(f"oracles: got two of the name {each.name!r}; write NAME=ORACLE for one")
    return found


def _onward(progress: Progress, before: int, done: int) -> None:
    progress(before + done)
