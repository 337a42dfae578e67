"""Repair: rows that are no item get the tokens that are to blame masked and drawn again, some rounds long."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, final

import pandas as pd
import torch
from torch import Tensor

from moldiff.diffusion.process import Process
from moldiff.diffusion.random import RowRandom, Stream
from moldiff.errors import MoldiffError, Unfit
from moldiff.types import Fault, Modality, Rows

#: How far blame reaches in the first round and in those after it, as ``Modality.fault`` counts.
REACH = (2, 3)
#: The most rounds: what is still no item after so many whole draws never will be.
MOST = 1000
#: The columns: rounds taken, what the row was as first drawn, and the kind of its fault.
ROUNDS, FIRST, FAULT = "repaired", "first", "fault"

#: Draws the rows that are not frozen, with a seed; tokens (B, L) on the CPU.
Redraw = Callable[[Rows, int], Tensor]


@final
@dataclass(frozen=True)
class Mended:
    """What happened to a row.

    Args:
        rounds: how often it was drawn again; 0 where it was an item at once.
        first: what it was as first drawn; None where nothing was drawn again.
        fault: the kind of fault that it then had; None where it had none.
    """

    rounds: int = 0
    first: Any = None
    fault: str | None = None


@final
class Repair:
    """Draws rows again until they are items, for a number of rounds.

    In the first round the stretch around the tokens to blame is masked, later the whole row; all else is
    frozen. Row i of a round depends on (seed, i, round) and on the row itself alone.

    Args:
        modality: what the rows are.
        tokenizer: what spells them.
        process: what the sampler undoes.
        rounds: at least 1.

    Raises:
        MoldiffError: a process without masks.
    """

    def __init__(self, modality: Modality, tokenizer: Any, process: Any, rounds: int) -> None:
        if not isinstance(process, Process) or not process.events_first:
            raise Unfit("repair", "a process without masks", "masks only; leave it off")
        self._modality, self._tokenizer, self._rounds = modality, tokenizer, rounds
        #: By row that is not yet handed over, what happened to it.
        self.mended: dict[int, Mended] = {}

    def __call__(self, rows: Rows, tokens: Tensor, seed: int, redraw: Redraw) -> Tensor:
        """Tokens (B, L) of which those of ``rows`` that are no item have been drawn again."""
        tokens = tokens.clone()
        found: dict[int, Mended] = {}
        index = torch.arange(len(tokens))
        for number in range(1, self._rounds + 1):
            reach = REACH[min(number, len(REACH)) - 1]
            faults = [self._fault(tokens[at].tolist(), reach) for at in index.tolist()]
            index = index[torch.tensor([fault is not None for fault in faults], dtype=torch.bool)]
            if not len(index):
                break
            places = [fault for fault in faults if fault is not None]
            for at, fault in zip(index.tolist(), places, strict=True):
                if at not in found:
                    found[at] = Mended(0, self._decoded(tokens[at]), fault.kind)
                found[at] = replace(found[at], rounds=number)
            tokens[index] = redraw(_frozen(rows, tokens, index, places), round_seed(seed, number))
        for at, each in enumerate(rows.ids.tolist()):
            self.mended[each] = found.get(at, Mended())
        return tokens

    def _fault(self, ids: list[int], reach: int) -> Fault | None:
        return self._modality.fault(self._tokenizer, ids, reach)

    def _decoded(self, tokens: Tensor) -> Any:
        return self._tokenizer.decode(tokens.tolist())


def round_seed(seed: int, number: int) -> int:
    """The seed of a round from 1 on, a 64-bit integer that no two rounds share but by chance."""
    return int(RowRandom(seed).bits(torch.tensor([number]), 0, 1, Stream.REPAIR))


def check_rounds(rounds: object) -> None:
    """Refuses what is no number of rounds, from 0 on."""
    if not isinstance(rounds, int) or isinstance(rounds, bool) or not 0 <= rounds <= MOST:
        raise MoldiffError(f"repair: got {rounds!r}, must be a whole number from 0 to {MOST}")


@final
class Repairs:
    """Counts over the rows of a run with repair: the first draws by themselves, and what became of them.

    Args:
        modality: what the rows are.
        reference: the modality's data set to be novel to.
    """

    def __init__(self, modality: Modality, reference: Any) -> None:
        self._modality, self._reference = modality, reference
        self._tally = modality.tally(reference)
        self._rows: dict[str, Counter[str]] = {}
        self._rounds: Counter[int] = Counter()

    def add(self, frame: pd.DataFrame) -> None:
        """Counts the rows of a table that has the columns of a repair."""
        touched = frame[frame[ROUNDS].to_numpy(dtype=int) > 0]
        self._tally.add(frame.drop(index=touched.index))
        # A journal reads back an empty text as missing.
        first = [text if isinstance(text, str) else "" for text in touched[FIRST]]
        self._tally.add(self._modality.evaluate(first, self._reference))
        for kind, rounds, valid in zip(touched[FAULT], touched[ROUNDS], touched["valid"], strict=True):
            counts = self._rows.setdefault(str(kind), Counter())
            counts["rows"] += 1
            counts["mended"] += bool(valid)
            if valid:
                self._rounds[int(rounds)] += 1

    def facts(self, after: dict[str, Any], redrawn: float) -> dict[str, Any]:
        """What a summary says: the counts of the first draws, and under ``repaired`` those after the repair.

        Args:
            after: the counts of the rows as they are.
            redrawn: forwards that the repair took, per sample.
        """
        first = self._tally.summary()
        by_fault = {
            kind: {name: counts[name] for name in ("rows", "mended")}
            for kind, counts in sorted(self._rows.items())
        }
        return first | {
            "repaired": {
                "redrawn": sum(counts["rows"] for counts in by_fault.values()),
                "mended": sum(counts["mended"] for counts in by_fault.values()),
                "by_fault": by_fault,
                "by_round": {str(number): count for number, count in sorted(self._rounds.items())},
                f"forwards_per_{self._modality.noun}": redrawn,
                **{key: after[key] for key in first},
            }
        }


def columns(mended: list[Mended]) -> dict[str, Any]:
    """The columns of a table of these rows."""
    return {
        ROUNDS: [each.rounds for each in mended],
        FIRST: pd.array([each.first for each in mended], dtype="str"),
        FAULT: pd.array([each.fault for each in mended], dtype="str"),
    }


def _frozen(rows: Rows, tokens: Tensor, index: Tensor, faults: list[Fault]) -> Rows:
    """The rows ``index`` (N,), all of their tokens frozen but those to blame that are not frozen already."""
    frozen = torch.ones(len(index), tokens.shape[1], dtype=torch.bool)
    for row, fault in zip(frozen, faults, strict=True):
        row[list(fault.places)] = False
    if rows.frozen is not None:
        frozen |= rows.frozen[index]
    cond = None if rows.cond is None else rows.cond[index]
    return Rows(rows.ids[index], rows.length, cond, tokens[index], frozen)
