"""Outcomes: the summary of a run, with its best and its first rows, and what is made of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from moldiff.files import plain, written
from moldiff.types import Modality


@final
@dataclass(frozen=True, eq=False)
class Outcome:
    """What a run came to.

    Args:
        summary: facts and figures, all of them JSON but for NaN.
        best: some of the distinct sane rows, the best first; their numbers are its index.
        first: the first rows.
        interrupted: whether the keyboard ended the run before its end.
        whole: whether there is all that was asked for.
        modality: what the rows are.
        training: (N,) values of each property in the training rows.
    """

    summary: dict[str, Any]
    best: pd.DataFrame = field(repr=False)
    first: pd.DataFrame = field(repr=False)
    interrupted: bool
    whole: bool
    modality: Modality = field(repr=False)
    training: Mapping[str, NDArray[np.float64]] = field(repr=False)

    def to_json(self) -> str:
        """The summary as one JSON object; what is undefined, such as 0/0, is null."""
        return json.dumps(plain(self.summary), allow_nan=False)

    def save_summary(self, path: Path) -> None:
        """Writes the summary alone, to PATH.json."""
        with written(path.with_name(path.name + ".json")) as part:
            part.write_text(self.to_json() + "\n", encoding="utf-8")

    def picture(self, path: Path, count: int = 20) -> None:
        """Draws up to ``count`` of the best rows with what was asked; the file says how it was made."""
        shown = list(self.summary["properties"]) or list(self.modality.shown)
        self.modality.picture(self.best.head(count), shown, path, self._notes())

    def report(self, path: Path) -> None:
        """Writes a page about the run: its summary, and the best and the first rows."""
        rows = pd.concat([self.best, self.first]) if len(self.best) else self.first
        frame = rows[~rows.index.duplicated()]
        self.modality.report(frame, plain(self.summary), self.training, path)

    def _notes(self) -> dict[str, str]:
        """Where a picture comes from."""
        facts = self.summary
        versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
        notes = {
            "Software": f"moldiff {facts['versions'].get('moldiff', '')}".strip(),
            "Model": f"{facts['model']} {facts['model_sha256']}",
            "Targets": ", ".join(facts["targets"]),
            "Seed": str(facts["seed"]),
            "Command": facts.get("command", ""),
            "Versions": versions,
        }
        return {name: note for name, note in notes.items() if note}
