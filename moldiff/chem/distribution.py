"""What a set of molecules is like, and how far it is from another: quality, scaffolds, properties."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar, final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance

from moldiff.chem import structure
from moldiff.chem.molecule import parse
from moldiff.chem.work import HERE, Work

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Kind = TypeVar("Kind")

#: What counts as a molecule of quality in the protocol of SAFE-GPT and GenMol.
LEAST_QED, LARGEST_SA = 0.6, 4.0
#: Rings a scaffold needs to enter MOSES's Scaf.
SCAF_RINGS = 2


@final
@dataclass(frozen=True)
class Scaffold:
    """The Bemis-Murcko scaffold of a molecule: its rings and what links them, as canonical SMILES."""

    smiles: str
    rings: int


def good_quality(qed: Floats, sa: Floats) -> Flags:
    """Whether QED >= 0.6 and SA <= 4, (N,); false where either is NaN."""
    good: Flags = (qed >= LEAST_QED) & (sa <= LARGEST_SA)
    return good


def scaffolds(smiles: Sequence[str], work: Work = HERE) -> list[Scaffold | None]:
    """The scaffold of each molecule; None for one without a ring, or for a string that is not valid.

    Args:
        smiles: N strings.
        work: how it is done.
    """
    return work.map("scaffolds", _scaffolds, smiles)


def scaffold_similarity(found: Mapping[Scaffold, int], known: Mapping[Scaffold, int]) -> float:
    """MOSES's Scaf: the cosine of the counts of scaffolds with at least two rings.

    NaN where either side has none.

    Args:
        found: how many molecules have each scaffold.
        known: the same for the other set.
    """
    ours, theirs = (
        {scaffold: count for scaffold, count in counts.items() if scaffold.rings >= SCAF_RINGS}
        for counts in (found, known)
    )
    return cosine(ours, theirs)


def cosine(ours: Mapping[Kind, int], theirs: Mapping[Kind, int]) -> float:
    """The cosine of two counts of kinds, 0 to 1: 1 for equal shares; NaN where either side has none.

    Args:
        ours: how many there are of each kind, above 0.
        theirs: the same for the other set.
    """
    if not ours or not theirs:
        return math.nan
    product = sum(count * theirs.get(kind, 0) for kind, count in ours.items())
    return product / (math.hypot(*ours.values()) * math.hypot(*theirs.values()))


def count_scaffolds(found: Sequence[Scaffold | None], weights: Sequence[int]) -> Counter[Scaffold]:
    """How many molecules have each scaffold, a molecule counted as often as its weight says."""
    counts: Counter[Scaffold] = Counter()
    for scaffold, weight in zip(found, weights, strict=True):
        if scaffold is not None:
            counts[scaffold] += weight
    return counts


def wasserstein(found: Floats, known: Floats) -> float:
    """The Wasserstein-1 distance of two sets of values, in their unit: the area between their distributions.

    NaN where either is empty. The order and a common multiple of all repeats do not matter.

    Args:
        found: (N,) finite values.
        known: (M,) finite values.
    """
    return float(wasserstein_distance(found, known)) if len(found) and len(known) else math.nan


def rate_se(rate: float, n: int) -> float:
    """The binomial standard error of a rate among n, sqrt(p (1 - p) / n); NaN for n = 0."""
    return math.sqrt(rate * (1 - rate) / n) if n else math.nan


def _scaffolds(smiles: Sequence[str]) -> list[Scaffold | None]:
    """The scaffolds of a chunk."""
    return [_scaffold(text) for text in smiles]


def _scaffold(smiles: str) -> Scaffold | None:
    mol = parse(smiles)
    if mol is None:
        return None
    # A scaffold has all the rings of its molecule.
    rings = structure.ring_count(mol)
    return Scaffold(structure.scaffold(mol), rings) if rings else None
