"""Verbs: what each way to design keeps of a molecule, row by row, and what it asks of the result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Protocol, final

import numpy as np
from rdkit import Chem

from moldiff.chem import cores
from moldiff.chem.cores import Core
from moldiff.chem.molecule import canonical, check, parse
from moldiff.chem.sketches import Sketch, count, renoised, strayed
from moldiff.chem.structure import similarity
from moldiff.errors import MoldiffError, short

#: Open ends that a core without any is given at random, at most.
MOST_ENDS = 3
#: Strengths that leave something to keep and something to draw.
LEAST_STRENGTH, MOST_STRENGTH = 0.01, 1.0


class Verb(Protocol):
    """A way to design."""

    @property
    def said(self) -> str:
        """What was understood, in words."""
        ...

    @property
    def core(self) -> Core:
        """The pieces to be shown as what stays."""
        ...

    @property
    def alike(self) -> bool:
        """Whether all rows keep the same."""
        ...

    def sketch(self, random: np.random.Generator) -> Sketch:
        """What a row keeps."""
        ...

    def fault(self, smiles: str, mol: Chem.Mol) -> str | None:
        """Why a sane molecule is no answer; None where it is one."""
        ...


@final
@dataclass(frozen=True)
class Grow:
    """Something at every open end of a core: decorations of a scaffold, or the rest of a motif's molecule."""

    core: Core
    joined: bool = False

    alike: ClassVar[bool] = True

    @property
    def said(self) -> str:
        ends = self.core.ends
        points = "1 attachment point" if ends == 1 else f"{ends} attachment points"
        return f"{' and '.join(self.core.shown)}, {points}"

    def sketch(self, random: np.random.Generator) -> Sketch:
        return Sketch(self.core, self.joined)

    def fault(self, smiles: str, mol: Chem.Mol) -> str | None:
        if not self.core.kept_in(mol):
            return "core"
        # Two decorations that are one would make a ring of the scaffold, often a strained one.
        return "bridged" if self.core.bridged_in(mol) else None


@final
@dataclass(frozen=True)
class Superstructure:
    """Molecules that hold a core, which grows at hydrogens drawn at random for each row."""

    core: Core

    alike: ClassVar[bool] = False

    @property
    def said(self) -> str:
        return f"{self.core.shown[0]}, growing at 1 to {MOST_ENDS} of its hydrogens"

    def sketch(self, random: np.random.Generator) -> Sketch:
        places = cores.growable(self.core)
        count = 1 + int(random.integers(min(MOST_ENDS, len(places))))
        chosen = random.permutation(len(places))[:count]
        return Sketch(cores.opened(self.core, [places[each] for each in chosen]))

    def fault(self, smiles: str, mol: Chem.Mol) -> str | None:
        if not self.core.kept_in(mol):
            return "core"
        return "bridged" if cores.strained(mol) else None


@final
@dataclass(frozen=True)
class Infill:
    """A molecule of which some atoms are drawn anew, about as many."""

    smiles: str
    core: Core
    size: int

    alike: ClassVar[bool] = True

    @property
    def said(self) -> str:
        return f"{' and '.join(self.core.shown)} of {self.smiles}, some {self.size} tokens drawn anew"

    def sketch(self, random: np.random.Generator) -> Sketch:
        return Sketch(self.core, joined=True, gap=strayed(self.size, random))

    def fault(self, smiles: str, mol: Chem.Mol) -> str | None:
        if not self.core.kept_in(mol):
            return "core"
        if smiles == self.smiles:
            return "unchanged"
        return "bridged" if cores.strained(mol) else None


@final
@dataclass(frozen=True)
class Morph:
    """A lead of which pieces are drawn anew, other ones in each row.

    Args:
        smiles: canonical SMILES of the lead.
        strength: about the share of its atoms that goes, in (0, 1].
        floor: the least Tanimoto similarity to the lead (Morgan, radius 2, 2048 bits) of an answer.
    """

    smiles: str
    strength: float
    floor: float = 0.0
    _mol: Chem.Mol = field(init=False, repr=False, compare=False)
    _similar: Callable[[Chem.Mol], float] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not LEAST_STRENGTH <= self.strength <= MOST_STRENGTH:
            span = f"{LEAST_STRENGTH} to {MOST_STRENGTH:g}"
            raise MoldiffError(f"strength: got {self.strength:g}, must be {span}, the share that goes")
        if not 0 <= self.floor < 1:
            raise MoldiffError(f"similarity: got {self.floor:g}, must be at least 0 and below 1")
        object.__setattr__(self, "_mol", parse(self.smiles))
        object.__setattr__(self, "_similar", similarity(self.smiles))

    alike: ClassVar[bool] = False

    @property
    def said(self) -> str:
        floor = f", at least {self.floor:g} similar to it" if self.floor else ""
        return f"{self.smiles}, some {100 * self.strength:.0f} % of its atoms drawn anew{floor}"

    @property
    def core(self) -> Core:
        return Core((self.smiles,), (self.smiles,))

    def sketch(self, random: np.random.Generator) -> Sketch:
        return renoised(self._mol, self.strength, random)

    def fault(self, smiles: str, mol: Chem.Mol) -> str | None:
        if smiles == self.smiles:
            return "unchanged"
        if self.floor and self._similar(mol) < self.floor:
            return "similarity"
        # One piece that closes two cuts of a benzene ring.
        return "bridged" if cores.strained(mol) else None


def infill(smiles: str, atoms: list[int]) -> Infill:
    """The infill of atoms by place; MoldiffError where they cannot be taken out."""
    core = cores.without(smiles, atoms, "smiles")
    mol = Chem.MolFromSmiles(smiles)
    taken = Chem.MolFragmentToSmiles(mol, sorted(set(atoms)))
    return Infill(str(canonical(smiles)), core, count(taken) + core.ends)


def lead(smiles: str) -> str:
    """The canonical SMILES of a lead; MoldiffError where it is none, or in several pieces."""
    found = check(smiles)
    if found.canonical is None or found.reason in ("fragments", "dummy"):
        raise MoldiffError(f"smiles: got {short(smiles)}, which is no molecule in one piece: {found.reason}")
    return found.canonical
