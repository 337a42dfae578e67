"""Coordinates in the plane for drawing: the clearest of several layouts, caged rings included."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem, rdBase
from rdkit.Chem import rdDepictor, rdDistGeom, rdMolDescriptors

Points = NDArray[np.float64]

_CAGE_ATOMS = 12
"""Up to this many heavy atoms a bridged molecule is also drawn as seen from several sides."""

_VIEWS = 60
"""How many sides a cage is looked at from."""

_SEED = 7
"""Fixes the three-dimensional shape, so that a picture can be drawn again."""


def place(mol: Chem.Mol) -> None:
    """Give the molecule the clearest of its layouts, with a bond of RDKit's usual length.

    The layouts are those of CoordGen, of RDKit with its ring templates, and, for small bridged
    molecules, whose rings do not fit in the plane, projections of a three-dimensional shape.
    """
    ends = np.array([(b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in mol.GetBonds()], dtype=int)
    ends = ends.reshape(-1, 2)
    best = min(_layouts(mol), key=lambda points: _clutter(points, ends))
    conformer = Chem.Conformer(mol.GetNumAtoms())
    conformer.SetPositions(np.column_stack([best, np.zeros(len(best))]))
    mol.RemoveAllConformers()
    mol.AddConformer(conformer)
    rdDepictor.NormalizeDepiction(mol)
    rdDepictor.StraightenDepiction(mol)


def _layouts(mol: Chem.Mol) -> Iterator[Points]:
    """Layouts of the atoms, (atoms, 2) each, the preferred one first."""
    for by_coordgen in (True, False):
        flat = Chem.Mol(mol)
        with rdDepictor.UsingCoordGen(by_coordgen):
            rdDepictor.Compute2DCoords(flat, useRingTemplates=True)
        yield flat.GetConformer().GetPositions()[:, :2]
    caged = rdMolDescriptors.CalcNumBridgeheadAtoms(mol) > 0
    if caged and mol.GetNumHeavyAtoms() <= _CAGE_ATOMS:
        yield from _projections(mol)


def _projections(mol: Chem.Mol) -> Iterator[Points]:
    """A three-dimensional shape seen from evenly spread sides, (atoms, 2) each; may be none."""
    # Distances alone, without hydrogens and torsions: quick, and good enough to look at.
    solid = Chem.Mol(mol)
    with rdBase.BlockLogs():
        failed = rdDistGeom.EmbedMolecule(
            solid,
            maxAttempts=100,
            randomSeed=_SEED,
            useRandomCoords=True,
            useExpTorsionAnglePrefs=False,
            useBasicKnowledge=False,
        )
    if failed:
        return
    points = solid.GetConformer().GetPositions()
    for side in range(_VIEWS):
        # Points of a spiral that covers half the sphere: opposite sides look alike.
        height, turn = (side + 0.5) / _VIEWS, side * np.pi * (3.0 - np.sqrt(5.0))
        radius = np.sqrt(1.0 - height**2)
        towards = np.array([radius * np.cos(turn), radius * np.sin(turn), height])
        right = np.cross(towards, np.eye(3)[np.abs(towards).argmin()])
        right /= np.linalg.norm(right)
        yield points @ np.column_stack([right, np.cross(towards, right)])


def _clutter(points: Points, ends: NDArray[np.int_]) -> float:
    """How hard a layout is to read: crossed bonds, uneven bonds, near or hidden atoms."""
    if len(ends) < 2:
        return 0.0
    start, stop = points[ends[:, 0]], points[ends[:, 1]]
    lengths = np.linalg.norm(stop - start, axis=1)
    unit = float(np.median(lengths))
    first, second = np.triu_indices(len(points), k=1)
    gaps = np.linalg.norm(points[first] - points[second], axis=1) / unit
    clashes = np.square(np.clip(0.6 - gaps, 0.0, None)).sum()
    # An atom that lies on a foreign bond reads as part of it.
    crowded = np.square(np.clip(0.3 - _atom_to_bond(points, start, stop, ends) / unit, 0.0, None))
    uneven = lengths.std() / unit
    hidden = _crossings(start, stop, ends) + _straight(points, ends)
    return float(hidden + 3.0 * uneven + 40.0 * (clashes + crowded.sum()))


def _atom_to_bond(points: Points, start: Points, stop: Points, ends: NDArray[np.int_]) -> NDArray[np.float64]:
    """The distance of each atom to each bond that is not its own, flat."""
    along = stop - start
    offset = points[:, None, :] - start[None, :, :]
    squared = np.maximum(np.square(along).sum(axis=1), 1e-12)
    share = np.clip((offset * along).sum(axis=2) / squared, 0.0, 1.0)
    distance = np.linalg.norm(offset - share[:, :, None] * along, axis=2)
    foreign = (np.arange(len(points))[:, None, None] != ends[None]).all(axis=2)
    return np.asarray(distance[foreign])


def _crossings(start: Points, stop: Points, ends: NDArray[np.int_]) -> int:
    """The number of pairs of bonds without a common atom that cross."""
    one, two = np.triu_indices(len(ends), k=1)
    apart = (ends[one][:, :, None] != ends[two][:, None, :]).all(axis=(1, 2))
    one, two = one[apart], two[apart]
    parted = _sides(start[one], stop[one], start[two]) != _sides(start[one], stop[one], stop[two])
    divided = _sides(start[two], stop[two], start[one]) != _sides(start[two], stop[two], stop[one])
    return int((parted & divided).sum())


def _straight(points: Points, ends: NDArray[np.int_]) -> int:
    """The number of atoms whose two bonds lie on one line, where a corner cannot be seen."""
    middle = np.flatnonzero(np.bincount(ends.ravel(), minlength=len(points)) == 2)
    pairs = np.concatenate([ends, ends[:, ::-1]])
    pairs = pairs[np.isin(pairs[:, 0], middle)]
    pairs = pairs[np.argsort(pairs[:, 0], kind="stable")]
    arms = points[pairs[:, 1]] - points[pairs[:, 0]]
    arms /= np.maximum(np.linalg.norm(arms, axis=1, keepdims=True), 1e-12)
    return int(((arms[::2] * arms[1::2]).sum(axis=1) < -0.97).sum())


def _sides(start: Points, stop: Points, point: Points) -> NDArray[np.bool_]:
    """Whether each point lies to the left of the line from start to stop."""
    along, across = stop - start, point - start
    return np.asarray(along[:, 0] * across[:, 1] > along[:, 1] * across[:, 0])
