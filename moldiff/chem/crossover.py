"""Crossover of two molecules: a part of one joined to a part of the other, after Jensen (2019), graph GA."""

from dataclasses import dataclass
from itertools import combinations, product
from random import Random
from typing import final

from rdkit import Chem

from moldiff.chem.editing import ORDERS, editable, finished, loosen

TRIES = 10
"""Pairs of cuts that are tried by each kind of crossover."""


@final
@dataclass(frozen=True)
class Piece:
    """A part of a molecule.

    Args:
        mol: its atoms and bonds, without aromatic ones.
        ends: the atoms at which it was cut, with the order of the bond that was there.
    """

    mol: Chem.Mol
    ends: tuple[tuple[int, int], ...]


def crossover(one: str, other: str, random: Random) -> str | None:
    """A child of two molecules as canonical SMILES; None where none was found.

    Half of the children swap what hangs on an acyclic single bond, the other half parts of rings.

    Args:
        one: a SMILES.
        other: another, or the same.
        random: where the choices come from.
    """
    parents = [mol for mol in (editable(one), editable(other)) if mol is not None]
    if len(parents) < 2:
        return None
    kinds = [1, 2] if random.random() < 0.5 else [2, 1]
    for ends in kinds:
        cuts = [_acyclic(mol) if ends == 1 else _across_rings(mol) for mol in parents]
        if not all(cuts):
            continue
        for _ in range(TRIES):
            pieces = [_pieces(mol, random.choice(cut)) for mol, cut in zip(parents, cuts, strict=True)]
            children = _children(pieces, random)
            if children:
                return random.choice(children)
    return None


def _acyclic(mol: Chem.Mol) -> list[tuple[int, ...]]:
    """The single bonds outside of rings, each a cut of its own."""
    Chem.FastFindRings(mol)
    return [
        (bond.GetIdx(),)
        for bond in mol.GetBonds()
        if bond.GetBondType() == Chem.BondType.SINGLE and not bond.IsInRing()
    ]


def _across_rings(mol: Chem.Mol) -> list[tuple[int, ...]]:
    """The pairs of bonds of one ring that part a molecule in two."""
    found: dict[tuple[int, ...], None] = {}
    info = mol.GetRingInfo()
    for ring in info.BondRings():
        own = [bond for bond in ring if info.NumBondRings(bond) == 1]
        # With a bond of two rings between them, the ends of a cut would still hang together.
        for pair in combinations(sorted(own), 2):
            found[pair] = None
    return list(found)


def _pieces(mol: Chem.Mol, cut: tuple[int, ...]) -> list[Piece]:
    """The two parts that a cut leaves, with an end at each bond; none where it leaves no two."""
    rest = Chem.RWMol(mol)
    ends = []
    for index in cut:
        bond = mol.GetBondWithIdx(index)
        order = int(bond.GetBondTypeAsDouble())
        ends += [(bond.GetBeginAtomIdx(), order), (bond.GetEndAtomIdx(), order)]
        rest.RemoveBond(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx())
        loosen(rest, bond.GetBeginAtomIdx(), bond.GetEndAtomIdx())
    parts = Chem.GetMolFrags(rest)
    if len(parts) != 2:
        return []
    return [piece for part in parts if len((piece := _part(rest, part, ends)).ends) == len(cut)]


def _part(mol: Chem.Mol, atoms: tuple[int, ...], ends: list[tuple[int, int]]) -> Piece:
    place = {atom: number for number, atom in enumerate(sorted(atoms))}
    part = Chem.RWMol(mol)
    part.BeginBatchEdit()
    for atom in range(mol.GetNumAtoms()):
        if atom not in place:
            part.RemoveAtom(atom)
    part.CommitBatchEdit()
    return Piece(part.GetMol(), tuple((place[atom], order) for atom, order in ends if atom in place))


def _children(pieces: list[list[Piece]], random: Random) -> list[str]:
    """What comes of joining each part of one parent to each of the other, in every way; distinct."""
    found: dict[str, None] = {}
    for one, other in product(*pieces):
        turns = [other.ends] if len(other.ends) == 1 else [other.ends, other.ends[::-1]]
        for ends in turns:
            child = _joined(one, Piece(other.mol, ends), random)
            if child is not None:
                found[child] = None
    return list(found)


def _joined(one: Piece, other: Piece, random: Random) -> str | None:
    """Two parts joined end to end; a bond has the order that it had in either parent."""
    mol = Chem.RWMol(Chem.CombineMols(one.mol, other.mol))
    shift = one.mol.GetNumAtoms()
    for (left, first), (right, second) in zip(one.ends, other.ends, strict=True):
        if mol.GetBondBetweenAtoms(left, right + shift) is not None:
            return None
        mol.AddBond(left, right + shift, ORDERS[random.choice((first, second))])
    return finished(mol)
