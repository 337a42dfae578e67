"""Cores: the part of a molecule that a design has to keep, with its attachment points marked."""

from __future__ import annotations

from collections.abc import Callable

from rdkit import Chem, rdBase

from moldiff.chem.molecule import parse
from moldiff.errors import MoldiffError


def attachments(core: str) -> int:
    """How many attachment points, dummy atoms such as [*], a core has.

    Raises:
        MoldiffError: it is not a valid SMILES.
    """
    return sum(atom.GetAtomicNum() == 0 for atom in _read(core).GetAtoms())


def keeps(core: str) -> Callable[[str], bool]:
    """What says of a SMILES whether it is a sane molecule that keeps a core.

    It does where every piece of the core is a substructure of it, at places of its own; attachment points may
    carry anything, hydrogen too, and stereo marks do not count.

    Args:
        core: one or more pieces as SMILES, parted by dots: "A[*].B[*]".

    Raises:
        MoldiffError: it is not a valid SMILES, or nothing but attachment points.
    """
    mol = _read(core)
    # Not sanitised again: an aromatic nitrogen that loses its neighbour has no Kekulé form of its own.
    query = Chem.DeleteSubstructs(mol, Chem.MolFromSmarts("[#0]"))
    if not query.GetNumAtoms():
        raise MoldiffError(f"core: got {core!r}, which is nothing but attachment points")

    def kept(smiles: str) -> bool:
        found = parse(smiles)
        return found is not None and found.HasSubstructMatch(query)

    return kept


def _read(core: str) -> Chem.Mol:
    with rdBase.BlockLogs():
        mol = parse(core)
    if mol is None:
        raise MoldiffError(f"core: got {core!r}, which is not a valid SMILES")
    return mol
