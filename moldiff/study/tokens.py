"""Token files of a study: what one run sampled and what it cost, whole or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from moldiff.errors import MoldiffError
from moldiff.files import written

FOLDER, SUFFIX = "tokens", ".safetensors"


@final
@dataclass(frozen=True, eq=False)
class Sampled:
    """What a run sampled.

    Args:
        tokens: N rows of tokens.
        facts: its run and identity, what it cost in all and on what it ran; JSON.
        sha256: of the file, empty before it is one.
    """

    tokens: Sequence[Sequence[int]]
    facts: dict[str, Any]
    sha256: str = ""

    def save(self, path: Path) -> None:
        """Writes it: tokens (N, longest) uint16 with 0 behind a row's end, lengths (N,), and the facts."""
        lengths = np.array([len(row) for row in self.tokens], dtype=np.int32)
        filled = np.zeros((len(lengths), int(lengths.max(initial=1))), dtype=np.uint16)
        for place, row in zip(filled, self.tokens, strict=True):
            place[: len(row)] = row
        arrays: dict[str, NDArray[Any]] = {"tokens": filled, "lengths": lengths}
        data = save(arrays, {"facts": json.dumps(self.facts)})
        path.parent.mkdir(parents=True, exist_ok=True)
        with written(path) as part:
            part.write_bytes(data)

    @classmethod
    def load(cls, path: Path) -> Self:
        """The run in a file; MoldiffError where it cannot be read or is no such file."""
        try:
            with safe_open(path, framework="numpy") as file:
                facts = json.loads((file.metadata() or {})["facts"])
                filled, lengths = file.get_tensor("tokens"), file.get_tensor("lengths")
            sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
            rows = [row[:length].tolist() for row, length in zip(filled, lengths, strict=True)]
        except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
            raise MoldiffError(f"token file {path}: cannot be read ({error})") from None
        return cls(rows, facts, sha256)


def place(out: Path, name: str) -> Path:
    """Where the token file of a run lies."""
    return out / FOLDER / (name + SUFFIX)
