"""Diverse subsets of molecules by their Morgan fingerprints."""

from collections.abc import Sequence
from typing import Any, final

from rdkit import DataStructs
from rdkit.Chem import rdFingerprintGenerator
from rdkit.SimDivFilters import rdSimDivPickers

from moldiff.chem.molecule import parse
from moldiff.chem.structure import ECFP4
from moldiff.errors import MoldiffError


@final
class Picker:
    """Picks molecules far from one another, out of candidates that come in pieces; it holds their bits.

    The first pick is the first candidate. Each further one is the candidate whose nearest pick is the
    farthest, by the Tanimoto distance of Morgan fingerprints of radius 2 and 2048 bits; so the first M of N
    picks are the M that would be picked (MaxMin; Ashton et al., Quant. Struct.-Act. Relat. 21, 598, 2002).
    """

    def __init__(self) -> None:
        self._make = rdFingerprintGenerator.GetMorganGenerator(**ECFP4)
        self._bits: list[Any] = []

    def __len__(self) -> int:
        """The number of candidates."""
        return len(self._bits)

    def add(self, items: Sequence[str]) -> None:
        """Takes candidates, SMILES; MoldiffError for a string that is not valid."""
        for text in items:
            mol = parse(text)
            if mol is None:
                raise MoldiffError(f"diverse: got {text!r}, which is not a valid SMILES")
            self._bits.append(self._make.GetFingerprint(mol))

    def picks(self, count: int) -> list[int]:
        """The places of up to ``count`` candidates, in the order in which they were picked."""
        count = min(count, len(self._bits))
        if count < 2:
            return list(range(count))
        picker = rdSimDivPickers.MaxMinPicker()
        # With the first pick given, no random number is drawn.
        found = picker.LazyBitVectorPick(self._bits, len(self._bits), count, [0], 0)
        return [int(place) for place in found]

    def apart(self, picks: Sequence[int]) -> float | None:
        """The least Tanimoto distance of two picks, 0 to 1; None of fewer than two."""
        bits = [self._bits[place] for place in picks]
        pairs = (DataStructs.BulkTanimotoSimilarity(each, bits[:n]) for n, each in enumerate(bits) if n)
        return min((1 - max(row) for row in pairs), default=None)
