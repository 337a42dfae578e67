"""Cores: the pieces of molecules that a design keeps, read from SMILES with open ends."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import final

from rdkit import Chem, rdBase

from moldiff.chem import fragments
from moldiff.chem.molecule import check, parse
from moldiff.errors import MoldiffError, short

#: Open ends of a piece of which several may lie at one atom, at most; of more there are too many ways.
MOST_SHARED = 4
#: A ring of so many atoms can span an aromatic one, as in a cyclophane.
SPANNING = 10

_LABEL = re.compile(r"%[0-9]{2}")


@final
@dataclass(frozen=True)
class Core:
    """Pieces that stay.

    Args:
        parts: each piece as the fragment writing has it, its open ends ring labels.
        shown: each as SMILES with `*` at its open ends.
    """

    parts: tuple[str, ...]
    shown: tuple[str, ...]

    @property
    def ends(self) -> int:
        """How many open ends there are."""
        return sum(text.count("*") for text in self.shown)

    @property
    def text(self) -> str:
        """The beginning of a fragment writing that keeps the pieces."""
        return fragments.joined(self.parts)

    @cached_property
    def queries(self) -> list[list[Chem.Mol]]:
        """What each piece is looked for by: any atom at every open end, or one at several of them."""
        return [[_query(mol) for mol in _closed(part)] for part in self.parts]

    def kept_in(self, mol: Chem.Mol) -> bool:
        """Whether a molecule holds every piece, its stereo too where the piece has any; not apart, though."""
        return all(any(_holds(mol, query) for query in ways) for ways in self.queries)

    def bridged_in(self, mol: Chem.Mol) -> bool:
        """Whether, wherever a molecule holds a piece, something bridges its open ends to a ring."""
        return any(_bridged(ways[0], mol) for ways in self.queries)

    def places_in(self, mol: Chem.Mol) -> tuple[int, ...]:
        """The atoms of a molecule that are the pieces', open ends left out.

        Of several places a piece is where it has the fewest bonds that it was not asked with, off the pieces
        before it where that can be.
        """
        found: list[int] = []
        for ways in self.queries:
            places = [place for query in ways for place in _places(mol, query)]
            best = min(
                places, key=lambda place: (len(place.keys() & set(found)), sum(place.values())), default={}
            )
            found += best
        return tuple(dict.fromkeys(found))


def read(text: str, what: str) -> Core:
    """The pieces of a text, parted by `.`, with open ends `*`, `[*]`, `[*:1]` or `[1*]`.

    Args:
        text: SMILES.
        what: what it is called in messages.

    Raises:
        MoldiffError: not SMILES, or an open end that is not at the one end of a single bond.
    """
    mol = _read(text, what)
    for atom in mol.GetAtoms():
        if atom.GetAtomicNum():
            continue
        bonds = atom.GetBonds()
        if len(bonds) != 1 or bonds[0].GetBondType() != Chem.BondType.SINGLE:
            got = f"got {short(text)}, with a * that has {len(bonds)} bonds"
            hint = "one of them not single" if len(bonds) == 1 else "an attachment point has one single bond"
            raise MoldiffError(f"{what}: {got}, {hint}")
        if bonds[0].GetOtherAtom(atom).GetAtomicNum() == 0:
            raise MoldiffError(f"{what}: got {short(text)}, with a * at a *; give it an atom")
    return of(mol)


def of(mol: Chem.Mol) -> Core:
    """The pieces of a molecule whose dummy atoms are open ends."""
    mol = Chem.Mol(mol)
    label = fragments.FIRST_LABEL
    for atom in mol.GetAtoms():
        atom.SetAtomMapNum(0)
        if atom.GetAtomicNum() == 0:
            atom.SetIsotope(label)
            label += 1
    with rdBase.BlockLogs():
        parts = [str(Chem.MolToSmiles(part)) for part in Chem.GetMolFrags(mol, asMols=True)]
        shown = [str(Chem.MolToSmiles(_bare(_mol(part)))) for part in parts]
    return Core(tuple(fragments.labelled(part) for part in parts), tuple(shown))


def without(smiles: str, atoms: Sequence[int], what: str) -> Core:
    """What is left of a molecule when atoms are taken out, with open ends where they were bonded.

    Args:
        smiles: the molecule.
        atoms: places in it, from 0, as RDKit numbers them.
        what: what it is called in messages.

    Raises:
        MoldiffError: not SMILES, no such atoms, all of them, or atoms held by more than single bonds.
    """
    mol = _read(smiles, what)
    count, gone = mol.GetNumAtoms(), set(atoms)
    if not gone or min(gone) < 0 or max(gone) >= count:
        raise MoldiffError(f"atoms: got {_span(atoms)}, {short(smiles)} has atoms 0 to {count - 1}")
    if len(gone) == count:
        raise MoldiffError(f"atoms: got all {count} of {short(smiles)}, leave some to keep")
    broken = [
        bond for bond in mol.GetBonds() if (bond.GetBeginAtomIdx() in gone) != (bond.GetEndAtomIdx() in gone)
    ]
    for bond in broken:
        if bond.GetBondType() != Chem.BondType.SINGLE:
            ends = f"{bond.GetBeginAtomIdx()} and {bond.GetEndAtomIdx()}"
            kind = str(bond.GetBondType()).lower()
            raise MoldiffError(f"atoms: the bond of atoms {ends} would be cut and is {kind}, cut single ones")
    return kept(mol, gone, [bond.GetIdx() for bond in broken])


def kept(mol: Chem.Mol, gone: set[int], cuts: Sequence[int]) -> Core:
    """The pieces of a molecule, cut at bonds by index, that hold none of the atoms that are gone."""
    labels = [(fragments.FIRST_LABEL + number,) * 2 for number in range(len(cuts))]
    open_ended = Chem.FragmentOnBonds(mol, list(cuts), dummyLabels=labels) if cuts else Chem.Mol(mol)
    whole = [set(each) for each in Chem.GetMolFrags(open_ended)]
    staying = sorted(set().union(*(each for each in whole if not each & gone)))
    if not staying:
        return Core((), ())
    editable = Chem.RWMol(open_ended)
    for place in range(open_ended.GetNumAtoms() - 1, -1, -1):
        if place not in staying:
            editable.RemoveAtom(place)
    return of(editable.GetMol())


def opened(core: Core, places: Sequence[int]) -> Core:
    """A core of one piece with an open end more at each of the places, atoms with a hydrogen to give."""
    editable = Chem.RWMol(_mol(core.shown[0]))
    for place in places:
        atom = editable.GetAtomWithIdx(place)
        atom.SetNumExplicitHs(max(0, atom.GetNumExplicitHs() - 1))
        editable.AddBond(place, editable.AddAtom(Chem.Atom(0)), Chem.BondType.SINGLE)
    mol = editable.GetMol()
    Chem.SanitizeMol(mol)
    return of(mol)


def growable(core: Core) -> list[int]:
    """The atoms of a core of one piece that have a hydrogen to give, once for each of at most two."""
    atoms = _mol(core.shown[0]).GetAtoms()
    return [atom.GetIdx() for atom in atoms for _ in range(min(2, atom.GetTotalNumHs()))]


def _closed(part: str) -> list[Chem.Mol]:
    """A piece with its open ends closed by atoms of any kind: first one an end, then some shared."""
    ends = _LABEL.findall(part)
    ways = _partitions(ends) if len(ends) <= MOST_SHARED else [[[end] for end in ends]]
    texts = [".".join([part, *("*" + "".join(block) for block in way)]) for way in ways]
    # Two ends of one atom cannot lie at one other.
    return [mol for mol in map(parse, texts) if mol is not None]


def _partitions(items: Sequence[str]) -> list[list[list[str]]]:
    """All ways to put items into blocks, the one with a block for each first."""
    if not items:
        return [[]]
    rest = _partitions(items[1:])
    alone = [[[items[0]], *way] for way in rest]
    beside = [[*way[:i], [items[0], *block], *way[i + 1 :]] for way in rest for i, block in enumerate(way)]
    return [*alone, *beside]


def _query(mol: Chem.Mol) -> Chem.Mol:
    parameters = Chem.AdjustQueryParameters.NoAdjustments()
    parameters.makeDummiesQueries = True
    return Chem.AdjustQueryProperties(mol, parameters)


def _holds(mol: Chem.Mol, query: Chem.Mol) -> bool:
    return bool(mol.HasSubstructMatch(query, useChirality=True))


def _places(mol: Chem.Mol, query: Chem.Mol) -> list[dict[int, int]]:
    """Where a query is in a molecule: atoms, open ends left out, each with its bonds beyond the query's."""
    inner = [atom.GetIdx() for atom in query.GetAtoms() if atom.GetAtomicNum()]
    bonds = [query.GetAtomWithIdx(atom).GetDegree() for atom in inner]
    return [
        {
            match[atom]: mol.GetAtomWithIdx(match[atom]).GetDegree() - asked
            for atom, asked in zip(inner, bonds, strict=True)
        }
        for match in mol.GetSubstructMatches(query, useChirality=True)
    ]


def _bridged(query: Chem.Mol, mol: Chem.Mol) -> bool:
    """Whether in all places of a query a bond of an open end lies in a ring."""
    ends = [atom for atom in query.GetAtoms() if atom.GetAtomicNum() == 0]
    bonds = [(end.GetIdx(), end.GetNeighbors()[0].GetIdx()) for end in ends]
    matches = mol.GetSubstructMatches(query, uniquify=False, useChirality=True)
    return not any(
        all(not mol.GetBondBetweenAtoms(match[a], match[b]).IsInRing() for a, b in bonds) for match in matches
    )


def strained(mol: Chem.Mol) -> bool:
    """Whether a ring of fewer than ten atoms bridges an aromatic ring, as nothing that can be made does."""
    rings = [frozenset(ring) for ring in mol.GetRingInfo().AtomRings()]
    aromatic = [ring for ring in rings if all(mol.GetAtomWithIdx(atom).GetIsAromatic() for atom in ring)]
    return any(
        len(one & other) > 2 and len(other) < SPANNING for one in aromatic for other in rings if one != other
    )


def _read(text: str, what: str) -> Chem.Mol:
    mol = parse(text)
    if mol is None:
        raise MoldiffError(
            f"{what}: got {short(repr(text))}, which is not a valid SMILES: {check(text).reason}"
        )
    return mol


def _mol(smiles: str) -> Chem.Mol:
    with rdBase.BlockLogs():
        return Chem.MolFromSmiles(smiles)


def _bare(mol: Chem.Mol) -> Chem.Mol:
    """The molecule with open ends that are all alike."""
    for atom in mol.GetAtoms():
        if atom.GetAtomicNum() == 0:
            atom.SetIsotope(0)
    return mol


def _span(atoms: Sequence[int]) -> str:
    return "none" if not atoms else f"{min(atoms)} to {max(atoms)}"


def attachments(core: str) -> int:
    """How many attachment points, dummy atoms such as [*], a text of pieces has.

    Raises:
        MoldiffError: it is not a valid SMILES.
    """
    return sum(atom.GetAtomicNum() == 0 for atom in _read(core, "core").GetAtoms())


def keeps(core: str) -> Callable[[str], bool]:
    """What says of a SMILES whether it is a molecule that keeps a core, as the published benchmarks ask.

    It does where every piece of the core is a substructure of it, at places of its own; attachment points may
    carry anything, hydrogen too, and stereo marks do not count. `Core.kept_in` asks for more.

    Args:
        core: one or more pieces as SMILES, parted by dots: "A[*].B[*]".

    Raises:
        MoldiffError: it is not a valid SMILES, or nothing but attachment points.
    """
    # Not sanitised again: an aromatic nitrogen that loses its neighbour has no Kekulé form of its own.
    query = Chem.DeleteSubstructs(_read(core, "core"), Chem.MolFromSmarts("[#0]"))
    if not query.GetNumAtoms():
        raise MoldiffError(f"core: got {core!r}, which is nothing but attachment points")

    def kept(smiles: str) -> bool:
        found = parse(smiles)
        return found is not None and found.HasSubstructMatch(query)

    return kept
