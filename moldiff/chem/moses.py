"""What MOSES looks at in a molecule and no other protocol does: its BRICS fragments and its filter.

Polykovskiy et al., Molecular Sets (MOSES), arXiv:1811.12823.
"""

from collections import Counter
from collections.abc import Sequence

from rdkit import Chem
from rdkit.Chem import rdmolops

from moldiff.chem import structure
from moldiff.chem.molecule import parse
from moldiff.chem.work import HERE, Work

#: What a molecule may be made of to pass the filter.
ELEMENTS = frozenset({"C", "N", "S", "O", "F", "Cl", "Br", "H"})
#: Atoms that a ring may have at most.
LARGEST_RING = 7


def fragments(smiles: Sequence[str], work: Work = HERE) -> list[tuple[str, ...]]:
    """The BRICS fragments of each molecule as canonical SMILES, repeats included, sorted.

    All breakable bonds are cut at once. The ends of a cut are dummy atoms that say of which kind it was,
    [4*]; a molecule without such a bond is its own fragment. A string that is not valid has none.

    Args:
        smiles: N strings.
        work: how it is done.
    """
    return work.map("fragments", _fragments, smiles)


def count_fragments(found: Sequence[Sequence[str]], weights: Sequence[int]) -> Counter[str]:
    """How often each fragment is there, those of a molecule counted as often as its weight says."""
    counts: Counter[str] = Counter()
    for each, weight in zip(found, weights, strict=True):
        for fragment in each:
            counts[fragment] += weight
    return counts


def passes(smiles: Sequence[str], work: Work = HERE) -> list[bool]:
    """Whether each molecule passes the filter; False for a string that is not valid.

    It passes without a ring of eight atoms or more, without a formal charge, made of `ELEMENTS` alone, and
    without a PAINS alert of RDKit's catalogue. MOSES itself has 22 more patterns, its medicinal chemistry
    filters, which RDKit does not ship.

    Args:
        smiles: N strings.
        work: how it is done.
    """
    return work.map("filters", _passes, smiles)


def _fragments(smiles: Sequence[str]) -> list[tuple[str, ...]]:
    """The fragments of a chunk."""
    return [_cut(text) for text in smiles]


def _cut(smiles: str) -> tuple[str, ...]:
    mol = parse(smiles)
    if mol is None:
        return ()
    return tuple(sorted(str(Chem.MolToSmiles(rdmolops.FragmentOnBRICSBonds(mol))).split(".")))


def _passes(smiles: Sequence[str]) -> list[bool]:
    """The verdicts on a chunk."""
    return [_clean(parse(text)) for text in smiles]


def _clean(mol: Chem.Mol | None) -> bool:
    if mol is None or any(len(ring) > LARGEST_RING for ring in mol.GetRingInfo().AtomRings()):
        return False
    if any(atom.GetFormalCharge() or atom.GetSymbol() not in ELEMENTS for atom in mol.GetAtoms()):
        return False
    return not structure.pains(mol)
