"""From a molecule file to a token file: read, written in tokens, measured; what is left out is told."""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Unpack, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from moldiff.chem import molecule, oracles
from moldiff.chem.notation import WRITING, Writing
from moldiff.errors import MoldiffError

from .datasets import TokenFile, hold_out
from .readers import Reading, ReadResult, Rejected, read_smiles
from .smiles import SmilesTokenizer
from .spelling import Notation, Spelled, spell
from .writings import number, written_as

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
        seed: of that draw, and of the writings.
        writings: how each molecule is written, an item each; canonical first. Each has the share of molecules
            that are written so, drawn with ``seed``.
    """

    notation: Notation
    properties: Sequence[str]
    pad_to: int | None = None
    heldout: float = 0.05
    seed: int = 0
    writings: Mapping[Writing, float] = field(default_factory=lambda: {"canonical": 1.0})

    def __post_init__(self) -> None:
        """Refuse a padding that no molecule needs, and writings in what has but one."""
        if len(self.writings) > 1 and self.notation is not SmilesTokenizer:
            got = f"got {', '.join(self.writings)} of {self.notation.notation} tokens"
            raise MoldiffError(f"writings: {got}, only SMILES has several; leave them off")
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
        items = self._items(spelled, workers)
        tokenizer = self.notation.of(items.rows, self.pad_to)
        ids = [tokenizer.ids(row) for row in items.rows]
        values = oracles.score(spelled.smiles, self.properties, workers)
        return TokenFile(
            np.fromiter((token for row in ids for token in row), dtype=np.uint16),
            np.array([len(row) for row in ids], dtype=np.int32),
            hold_out(len(spelled.smiles), self.heldout, self.seed)[items.molecule],
            np.array([molecule.identity(each) for each in spelled.smiles], dtype=np.int64)[items.molecule],
            {
                **{name: column.astype(np.float32)[items.molecule] for name, column in values.items()},
                **({WRITING: items.writing} if len(self.writings) > 1 else {}),
            },
            {"tokenizer": tokenizer.state(), **_origin(path, found, spelled, reading), **items.facts},
        )

    def _items(self, spelled: Spelled, workers: int) -> "_Items":
        """The molecules in every writing, one writing after the other."""
        rows, places = list(spelled.rows), list(range(len(spelled.smiles)))
        kinds = [number("canonical")] * len(rows)
        unwritten: dict[str, int] = {}
        for writing, share in list(self.writings.items())[1:]:
            random = np.random.default_rng([self.seed, number(writing)])
            most = max(1, round(share * len(spelled.smiles)))
            drawn = sorted(random.permutation(len(spelled.smiles))[:most].tolist())
            texts = written_as([spelled.smiles[place] for place in drawn], writing, self.seed, workers)
            tokens = [None if text is None else self.notation.split(text) for text in texts]
            fit = [
                (place, row)
                for place, row in zip(drawn, tokens, strict=True)
                if row is not None and (self.pad_to is None or len(row) <= self.pad_to)
            ]
            rows.extend(row for _, row in fit)
            places.extend(place for place, _ in fit)
            kinds.extend([number(writing)] * len(fit))
            unwritten[writing] = len(texts) - len(fit)
        facts = {} if len(self.writings) == 1 else {"writings": dict(self.writings), "unwritten": unwritten}
        return _Items(rows, np.array(places), np.array(kinds, dtype=np.float32), facts)


@dataclass(frozen=True)
class _Items:
    """Tokens of items; of each the number of its molecule and of its writing; and what to say of them."""

    rows: list[list[str]]
    molecule: NDArray[np.int64]
    writing: NDArray[np.float32]
    facts: dict[str, Any]


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
