"""Morgan fingerprints of molecules, as rows of a sparse matrix."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from rdkit.Chem import rdFingerprintGenerator
from scipy import sparse

from moldiff.chem.molecule import parse
from moldiff.chem.work import HERE, Work
from moldiff.errors import MoldiffError

#: Bits of a fingerprint where it is compared with others' figures: MOSES folds to 1024, TDC to 2048.
MOSES_BITS, TDC_BITS = 1024, 2048
#: Bonds around an atom that a bit can tell; both protocols use 2, which is called ECFP4.
RADIUS = 2

_WIDE = 255


@final
@dataclass(frozen=True, eq=False)
class Fingerprints:
    """The fingerprints of N molecules.

    Args:
        bits: (N, size) sparse rows, 1 where a bit is set; unsigned and wide enough to count them.
        counts: (N,) how many bits each row has, at least 1.
    """

    bits: Any
    counts: NDArray[np.int64]

    def __len__(self) -> int:
        """The number N of molecules."""
        return len(self.counts)

    def __getitem__(self, rows: NDArray[np.intp]) -> "Fingerprints":
        """The fingerprints of some rows, in their order."""
        return Fingerprints(self.bits[rows], self.counts[rows])


def morgan(smiles: Sequence[str], size: int = MOSES_BITS, work: Work = HERE) -> Fingerprints:
    """Morgan fingerprints of radius 2 folded to ``size`` bits, without counts, chirality or features.

    These are RDKit's defaults otherwise: bond types and ring membership count, redundant environments do not.

    Args:
        smiles: N valid SMILES.
        size: bits a fingerprint.
        work: how it is done.

    Raises:
        MoldiffError: a string that is not valid.
    """
    rows = work.map("fingerprints", partial(_set_bits, size), smiles)
    counts = np.array([len(row) for row in rows], dtype=np.int64)
    kind = np.uint8 if counts.max(initial=0) <= _WIDE else np.uint16
    places = np.concatenate([*rows, np.empty(0, dtype=np.int32)])
    edges = np.concatenate([[0], np.cumsum(counts)])
    bits = sparse.csr_array((np.ones(len(places), dtype=kind), places, edges), shape=(len(rows), size))
    return Fingerprints(bits, counts)


def _set_bits(size: int, smiles: Sequence[str]) -> list[NDArray[np.int32]]:
    """The numbers of the bits that each molecule sets."""
    make = rdFingerprintGenerator.GetMorganGenerator(radius=RADIUS, fpSize=size)
    rows = []
    for text in smiles:
        mol = parse(text)
        if mol is None:
            raise MoldiffError(f"fingerprint: got {text!r}, which is not a valid SMILES")
        rows.append(np.array(make.GetFingerprint(mol).GetOnBits(), dtype=np.int32))
    return rows
