"""Molecules as a modality: reader, tokenizer, check, properties, picture and writers."""

from pathlib import Path
from typing import Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray

from moldiff.chem import molecule, oracles

from .datasets import TokenFile, hold_out
from .readers import read_smiles
from .smiles import SmilesTokenizer


@final
class Molecules:
    """Small organic molecules written as SMILES."""

    name: ClassVar[str] = "molecules"
    properties: ClassVar[tuple[str, ...]] = tuple(oracles.ORACLES)

    def prepare(
        self,
        path: Path,
        *,
        column: str | None = None,
        pad_to: int | None = None,
        heldout: float = 0.05,
        workers: int = 1,
        seed: int = 0,
    ) -> TokenFile:
        """A token file of the molecules in a file, canonical and each once, with all properties.

        ``heldout`` is the share of rows kept from training, drawn with ``seed``.
        """
        found = read_smiles(path, column=column, workers=workers)
        tokenizer = SmilesTokenizer.learn(found.smiles, pad_to)
        items = [tokenizer.encode(smiles) for smiles in found.smiles]
        values = oracles.score(found.smiles, self.properties, workers)
        reasons: dict[str, int] = {}
        for rejected in found.rejected:
            reasons[rejected.reason] = reasons.get(rejected.reason, 0) + 1
        return TokenFile(
            np.fromiter((t for item in items for t in item), dtype=np.uint16),
            np.array([len(item) for item in items], dtype=np.int32),
            hold_out(len(items), heldout, seed),
            self.identities(found.smiles),
            {name: column.astype(np.float32) for name, column in values.items()},
            {
                "modality": self.name,
                "tokenizer": tokenizer.state(),
                "source": path.name,
                "rejected": reasons,
                "duplicates": found.duplicates,
                "rdkit": molecule.rdkit_version(),
            },
        )

    def tokenizer(self, state: dict[str, Any]) -> SmilesTokenizer:
        """The tokenizer with a stored state."""
        return SmilesTokenizer.from_state(state)

    def identities(self, items: list[str]) -> NDArray[np.int64]:
        """Hashes (N,) by which an item is known again."""
        return np.array([molecule.identity(item) for item in items], dtype=np.int64)
