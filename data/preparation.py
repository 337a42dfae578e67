"""From a molecule file to a token file: read, written in tokens, measured; what is left out is told."""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Unpack, final

import numpy as np
import pandas as pd

from moldiff.chem import molecule, oracles
from moldiff.errors import MoldiffError

from .datasets import TokenFile, hold_out
from .readers import Reading, ReadResult, Rejected, read_smiles
from .spelling import Notation, Spelled, spell

MOST_PADDING = 4096
"""The most tokens to which molecules are filled up: none has more than `molecule.MAX_LENGTH` characters."""

LeftOut = Callable[[pd.DataFrame], None]
"""Is told the rows of a file that are left out, in order: line, text, reason, detail."""


@final
@dataclass(frozen=True)
class Preparation:
    """How molecules become a token file.

    Args:
        notation: the tokenizer's class.
        properties: what is measured.
        pad_to: tokens to which every molecule is filled up; None for no padding.
        heldout: the share of molecules kept from training, drawn with ``seed``.
        seed: of that draw.
    """

    notation: Notation
    properties: Sequence[str]
    pad_to: int | None = None
    heldout: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse a padding that no molecule needs."""
        if self.pad_to is not None and not 1 <= self.pad_to <= MOST_PADDING:
            raise MoldiffError(f"pad_to: got {self.pad_to}, must be 1 to {MOST_PADDING} tokens")

    def run(self, path: Path, left_out: LeftOut | None = None, **reading: Unpack[Reading]) -> TokenFile:
        """The token file of a molecule file, each molecule canonical and once, with its properties.

        ``info`` holds the tokenizer's state and where the molecules are from.

        Raises:
            MoldiffError: a file that cannot be read, or all of whose rows are left out.
        """
        workers = reading.get("workers", 1)
        found = read_smiles(path, **reading)
        spelled = spell(found, self.notation, self.pad_to, workers)
        rejected = [*found.rejected, *spelled.rejected]
        if left_out is not None:
            left_out(_table([*rejected, *found.repeats]))
        if not spelled.smiles:
            reasons = dict(Counter(each.reason for each in rejected))
            raise MoldiffError(f"no molecules in {path}: all are left out ({reasons})")
        tokenizer = self.notation.of(spelled.rows, self.pad_to)
        items = [tokenizer.ids(row) for row in spelled.rows]
        values = oracles.score(spelled.smiles, self.properties, workers)
        return TokenFile(
            np.fromiter((token for item in items for token in item), dtype=np.uint16),
            np.array([len(item) for item in items], dtype=np.int32),
            hold_out(len(items), self.heldout, self.seed),
            np.array([molecule.identity(each) for each in spelled.smiles], dtype=np.int64),
            {name: column.astype(np.float32) for name, column in values.items()},
            {"tokenizer": tokenizer.state(), **_origin(path, found, spelled, reading)},
        )


def _origin(path: Path, found: ReadResult, spelled: Spelled, reading: Reading) -> dict[str, Any]:
    """Where molecules are from, how they were read and what was left out."""
    return {
        "source": path.name,
        "source_sha256": _sha256(path),
        "reading": {
            "stereo": reading.get("stereo", "keep"),
            "fragments": reading.get("fragments", "refuse"),
        },
        "rejected": dict(Counter(each.reason for each in [*found.rejected, *spelled.rejected])),
        "duplicates": found.duplicates,
        "altered": found.altered,
        "rdkit": molecule.rdkit_version(),
    }


def _sha256(path: Path) -> str:
    """The hash of a file as it lies on the disk."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _table(rows: Sequence[Rejected]) -> pd.DataFrame:
    """One row a rejected row, in the order of the file."""
    columns = ["line", "text", "reason", "detail"]
    ordered = sorted(rows, key=lambda row: row.line)
    return pd.DataFrame([asdict(row) for row in ordered], columns=columns)
