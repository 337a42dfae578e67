"""Saving: a stream written to a file as it comes, so that an interrupted run can be gone on with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import final

import pandas as pd

from moldiff.files import written
from moldiff.generation.journal import Journal
from moldiff.generation.outcome import Outcome
from moldiff.generation.stream import Stream

#: The format of a journal's table, so that the table of a finished run need only be renamed.
JOURNAL = ".csv"


def drained(stream: Stream, command: str = "") -> Outcome:
    """What a stream comes to, none of whose rows are written; interrupted, what was drawn by then.

    Args:
        stream: the rows.
        command: what the summary says of where it came from.
    """
    try:
        for _ in stream.pieces():
            pass
    except KeyboardInterrupt:
        stream.interrupted = True
    outcome = stream.outcome()
    outcome.summary["command"] = command
    return outcome


@final
class Saving:
    """A stream that is written to ``out``, in the format of its suffix.

    The rows go to ``out.part`` as they come, all that are drawn; the end makes ``out`` of it.

    Args:
        stream: the rows.
        out: the file; its modality lets it pass.
        resume: whether to go on with the rows that an interrupted run has left; without, they are refused.

    Raises:
        MoldiffError: what ``Journal`` refuses.
    """

    def __init__(self, stream: Stream, out: Path, *, resume: bool = False) -> None:
        self._stream, self._out = stream, out
        self._journal = Journal(out, stream.identity(), resume=resume)
        #: Rows that were there already.
        self.resumed = self._journal.rows
        #: Rows that stay there for a run to go on with.
        self.left = 0
        #: Rows of an interrupted group, which the journal does not take: others before them are missing.
        self._beyond: list[pd.DataFrame] = []

    def run(self, command: str = "") -> Outcome:
        """Draws the rows that are missing and writes the file, with its summary beside it.

        Interrupted from the keyboard, the file has what was drawn by then; the journal stays, if it has rows.

        Args:
            command: what the summary says of where it came from.

        Raises:
            MoldiffError: something cannot be written; the journal stays.
        """
        with closing(self._journal), self._counting():
            for frame, state in self._journal.pieces():
                self._stream.replay(frame, state)
            try:
                for piece in self._stream.pieces():
                    if piece.state is not None:
                        self._journal.append(piece.frame, piece.state)
                    else:
                        self._beyond.append(piece.frame[piece.keep])
            except KeyboardInterrupt:
                if not self._stream.interrupted:
                    raise  # between two pieces: what the totals say need not be what the journal has
            outcome = self._stream.outcome()
            outcome.summary["command"] = command
            if self.resumed:
                outcome.summary["resumed_after"] = self.resumed
            self._publish(outcome)
        return outcome

    @contextmanager
    def _counting(self) -> Iterator[None]:
        """Finds out what is left in the journal, however the block ends."""
        try:
            yield
        finally:
            self.left = self._journal.rows
            if not self.left:
                self._journal.drop()

    def _publish(self, outcome: Outcome) -> None:
        """Makes the file, and its summary."""
        if self._out.suffix == JOURNAL and not self._stream.alters and not outcome.interrupted:
            outcome.save_summary(self._out)
            self._journal.become(self._out)
            return
        with written(self._out) as new, closing(outcome.modality.writer(new, self._out.suffix)) as writer:
            # So that a table without rows has its columns.
            writer.append(outcome.first.head(0))
            for frame in self._stream.selected(frame for frame, _ in self._journal.pieces()):
                writer.append(frame)
            for frame in self._beyond:
                writer.append(self._stream.ranked(frame))
        outcome.save_summary(self._out)
        if not outcome.interrupted:
            self._journal.drop()
