"""The search loop: proposals are checked and asked about, generation after generation, within a budget."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

from moldiff.chem.molecule import check
from moldiff.errors import MoldiffError
from moldiff.optimization.address import address
from moldiff.optimization.calls import Call, Journal, Mark
from moldiff.optimization.objective import Objective, Worth
from moldiff.optimization.population import best
from moldiff.optimization.proposer import Proposer

#: Generations in a row without a new molecule after which a search ends.
IDLE = 50
#: Seconds of an oracle's work that a kill may lose: molecules are asked about in pieces of about so long.
PIECE = 1.0

#: Is told of every piece of new calls: all worths so far.
Tell = Callable[[Sequence[float]], None]


def _silent(worths: Sequence[float]) -> None:
    """Tells no one."""


@final
class Judge:
    """What molecules are worth; each is asked about once, whichever search wants to know.

    Args:
        objective: what says so.
        known: what it has said before, by canonical SMILES.
    """

    def __init__(self, objective: Objective, known: Mapping[str, Worth]) -> None:
        self._objective, self._known = objective, dict(known)
        self._size = 1

    def ask(self, molecules: Sequence[str]) -> Iterator[list[Call]]:
        """Calls about N molecules in order, in pieces of which each takes the objective a second or so."""
        start = 0
        while start < len(molecules):
            part = molecules[start : start + self._size]
            new = [smiles for smiles in dict.fromkeys(part) if smiles not in self._known]
            began = time.monotonic()
            self._known |= zip(new, self._objective(new), strict=True) if new else ()
            seconds = time.monotonic() - began
            yield [Call(smiles, self._known[smiles]) for smiles in part]
            start += len(part)
            if new and seconds > 2 * PIECE:
                self._size = max(1, self._size // 2)
            elif new and seconds * len(part) < PIECE / 2 * len(new):
                self._size *= 2


@final
@dataclass(frozen=True)
class Ending:
    """How a search ended.

    Args:
        calls: what it asked, in order.
        last: its last whole generation.
        why: ``budget``, or ``idle`` where it found nothing new any more.
    """

    calls: list[Call]
    last: Mark
    why: str


@final
class Search:
    """One method's search with one seed.

    Args:
        proposer: the method; made when it is needed, which for a search that has ended already is never.
        judge: says what molecules are worth.
        journal: where the calls go; what it holds is not asked again.
        budget: distinct sane molecules that may be asked about.
        seed: of everything that is drawn.
        tell: hears of new calls.
    """

    def __init__(
        self, proposer: Proposer, judge: Judge, journal: Journal, budget: int, seed: int, tell: Tell = _silent
    ) -> None:
        if budget < 1:
            raise MoldiffError(f"budget: got {budget}, must be at least 1")
        self._proposer, self._judge, self._journal = proposer, judge, journal
        self._budget, self._seed, self._tell = budget, seed, tell

    def run(self, start: Sequence[str]) -> Ending:
        """Asks about the start set, then about one generation of proposals after another.

        The state between generations is what the journal holds, and generation g draws from (seed, g), so a
        search that was ended anyhow goes on to the same calls.
        """
        journal = self._journal
        self._tell([call.worth.value for call in journal.calls[: self._budget]])
        if not journal.marks:
            self._generation(_NOTHING, start)
            if not journal.calls:
                raise MoldiffError("start: got no sane molecule to start from")
        while len(journal.calls) < self._budget and journal.marks[-1].idle < IDLE:
            last = journal.marks[-1]
            self._generation(replace(last, generation=last.generation + 1), self._proposals(last))
        why = "budget" if len(journal.calls) >= self._budget else "idle"
        return Ending(journal.calls[: self._budget], journal.marks[-1] if journal.marks else _NOTHING, why)

    def _proposals(self, last: Mark) -> list[str]:
        proposer = self._proposer
        parents = best(self._journal.settled, proposer.population, proposer.alike)
        seed = address(self._seed, last.generation + 1)
        scores = [call.worth.value for call in parents]
        return proposer.propose([call.smiles for call in parents], scores, proposer.offspring, seed)

    def _generation(self, mark: Mark, strings: Sequence[str]) -> None:
        """Asks about what is new among strings; ends the generation unless the budget does."""
        journal = self._journal
        old = {call.smiles for call in journal.settled}
        pending = {call.smiles: call for call in journal.pending}
        checks = [check(text) for text in strings]
        sane = [found.canonical for found in checks if found.sane and found.canonical is not None]
        new = [smiles for smiles in dict.fromkeys(sane) if smiles not in old]
        room = max(0, self._budget - len(journal.calls))
        missing = [smiles for smiles in new if smiles not in pending]
        for calls in self._judge.ask(missing[:room]):
            journal.append(calls)
            self._tell([call.worth.value for call in journal.calls])
        if len(missing) > room:
            return
        journal.mark(
            replace(
                mark,
                calls=len(journal.calls),
                proposed=mark.proposed + len(strings),
                invalid=mark.invalid + len(strings) - len(sane),
                repeats=mark.repeats + len(sane) - len(new),
                idle=0 if new else mark.idle + 1,
            )
        )


_NOTHING = Mark(0, 0, 0, 0, 0, 0)
