"""Sketches: what a row of the fragment writing keeps of a molecule, and noise at the level of pieces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from rdkit import Chem

from moldiff.chem import cores, fragments
from moldiff.chem.cores import Core

#: Of a piece that is drawn anew, how far its length may stray, as a share and in tokens.
STRAY, STRAY_TOKENS = 0.2, 1.0
#: How many cuts are looked at for one whose share of atoms is near the strength.
TRIES = 12


@final
@dataclass(frozen=True)
class Sketch:
    """What one row keeps.

    Args:
        core: the pieces that stay; none for a row that is drawn whole.
        joined: whether one piece has to hold all open ends together.
        gap: about how many tokens are drawn; None where the training rows say.
    """

    core: Core
    joined: bool = False
    gap: int | None = None

    @property
    def least(self) -> int:
        """The fewest tokens that close all open ends: a piece for each end, or one for all."""
        ends = self.core.ends
        if not ends:
            return 1
        return ends + 1 if self.joined else 3 * ends - 1


def renoised(mol: Chem.Mol, strength: float, random: np.random.Generator) -> Sketch:
    """A molecule cut at random, of whose pieces about a share ``strength`` of the atoms is drawn anew.

    This is noise at the level of pieces: a masked row in the fragment writing whose masks are whole pieces.
    """
    atoms = mol.GetNumAtoms()
    if strength >= 1:
        return Sketch(Core((), ()), gap=strayed(count(Chem.MolToSmiles(mol)), random))
    best: tuple[float, set[int], list[int]] | None = None
    for _ in range(TRIES):
        cuts = fragments.picked(mol, random)
        if not cuts:
            break
        pieces = fragments.atoms_of_pieces(mol, cuts)
        gone: set[int] = set()
        for place in random.permutation(len(pieces)):
            if abs(len(gone) + len(pieces[place]) - strength * atoms) < abs(len(gone) - strength * atoms):
                gone |= pieces[place]
        off = abs(len(gone) - strength * atoms) if 0 < len(gone) < atoms else atoms
        if best is None or off < best[0]:
            best = (off, gone, cuts)
    if best is None or best[0] >= atoms:
        return Sketch(Core((), ()), gap=strayed(count(Chem.MolToSmiles(mol)), random))
    core = cores.kept(mol, best[1], best[2])
    whole = fragments.joined(fragments.pieces(mol, best[2]))
    return Sketch(core, gap=strayed(count(whole) - count(core.text) - 1, random))


def count(text: str) -> int:
    """The tokens of a SMILES string."""
    return len(fragments.tokens(text))


def strayed(size: int, random: np.random.Generator) -> int:
    """A number of tokens near a size."""
    return max(1, size + round(random.normal(0, STRAY * size + STRAY_TOKENS)))
