"""The fragment writing: a molecule cut at single bonds, its pieces written one after the other.

The pieces stand side by side with `.` between them, and the two ends of a cut bond carry the same ring label,
from `%10` on, beyond those that the pieces use themselves. So the whole is a SMILES string of the molecule,
and a piece that has to stay is a beginning of it (Noutahi et al., SAFE, 2023, arXiv:2310.10773).
"""

import re
from collections.abc import Sequence
from itertools import count

import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem import BRICS

from moldiff.chem.notation import TOKEN, kind

#: The label of the first cut; smaller ones are the pieces' own.
FIRST_LABEL = 10
#: How often so many bonds are cut at random, from one on.
CUTS = (0.35, 0.3, 0.17, 0.1, 0.05, 0.03)
#: How often they are such as a synthesis would make, and not any single ones.
SYNTHETIC = 0.5
#: Of the last: a label has two digits.
LAST_LABEL = 99

_OPEN = re.compile(r"\[([0-9]+)\*\]")
_LABEL = re.compile(r"%[0-9]{2}")


def single_bonds(mol: Chem.Mol) -> list[int]:
    """The bonds that may be cut, by index: single, in no ring, and with no say in a double bond's stereo."""
    return [
        bond.GetIdx()
        for bond in mol.GetBonds()
        if bond.GetBondType() == Chem.BondType.SINGLE
        and not bond.IsInRing()
        and not _orients(bond.GetBeginAtom(), bond.GetEndAtom())
    ]


def brics_bonds(mol: Chem.Mol) -> list[int]:
    """Those of `single_bonds` that a synthesis would make: the rules of BRICS (Degen et al., 2008)."""
    found = {mol.GetBondBetweenAtoms(*ends).GetIdx() for ends, _ in BRICS.FindBRICSBonds(mol)}
    return [bond for bond in single_bonds(mol) if bond in found]


def pieces(mol: Chem.Mol, cuts: Sequence[int]) -> list[str]:
    """The pieces that are left when bonds are cut, each a SMILES whose open ends carry labels.

    Args:
        mol: a sanitised molecule.
        cuts: indices of bonds out of `single_bonds`; the i-th has the label ``FIRST_LABEL`` + i.

    Raises:
        ValueError: more cuts than there are labels.
    """
    if len(cuts) > LAST_LABEL - FIRST_LABEL + 1:
        raise ValueError(f"{len(cuts)} cuts")
    if not cuts:
        return [str(Chem.MolToSmiles(mol))]
    labels = [(FIRST_LABEL + number, FIRST_LABEL + number) for number in range(len(cuts))]
    open_ended = Chem.FragmentOnBonds(mol, list(cuts), dummyLabels=labels)
    with rdBase.BlockLogs():
        parts = Chem.GetMolFrags(open_ended, asMols=True, sanitizeFrags=False)
        return [labelled(Chem.MolToSmiles(part)) for part in parts]


def picked(mol: Chem.Mol, random: np.random.Generator) -> list[int]:
    """Bonds to cut, drawn at random as for training: a few of any single ones, or such as BRICS has."""
    bonds = brics_bonds(mol) if random.random() < SYNTHETIC else []
    bonds = bonds or single_bonds(mol)
    count = min(len(bonds), 1 + int(random.choice(len(CUTS), p=CUTS)))
    return [bonds[place] for place in random.permutation(len(bonds))[:count]]


def cut(mol: Chem.Mol, random: np.random.Generator) -> list[str]:
    """The pieces of a molecule cut at random, in random order; one piece where no bond can be cut."""
    parts = pieces(mol, picked(mol, random))
    return [parts[place] for place in random.permutation(len(parts))]


def atoms_of_pieces(mol: Chem.Mol, cuts: Sequence[int]) -> list[set[int]]:
    """The atoms of each piece that is left when bonds are cut."""
    return [set(each) for each in Chem.GetMolFrags(Chem.FragmentOnBonds(mol, list(cuts), addDummies=False))]


def joined(parts: Sequence[str]) -> str:
    """Pieces as one string, their labels numbered anew in the order in which they appear."""
    text = ".".join(parts)
    numbers = count(FIRST_LABEL)
    fresh = {label: f"%{next(numbers)}" for label in dict.fromkeys(_LABEL.findall(text))}
    return _LABEL.sub(lambda found: fresh[found.group()], text)


def labelled(smiles: str) -> str:
    """A piece with an open end as RDKit writes it, `[10*]`, with a ring label in its place, `%10`.

    The label stands behind the atom that carries it, so that the neighbours of that atom come in another
    order; where it is a centre of chirality, its mark is turned if the order is an odd one.

    Raises:
        ValueError: open ends at both sides of a bond, or two in place of one atom's chain.
    """
    found = tokens(smiles)
    while (place := next((i for i, token in enumerate(found) if _OPEN.fullmatch(token)), None)) is not None:
        _close(found, place)
    return "".join(found)


def tokens(smiles: str) -> list[str]:
    """A SMILES string in pieces: atoms, bonds, ring labels, brackets, dots."""
    found: list[str] = TOKEN.findall(smiles)
    return found


def _close(tokens: list[str], place: int) -> None:
    """Replaces the open end at a place by a label."""
    label = f"%{int(_number(tokens[place]))}"
    if place == 0:
        del tokens[0]
        if not tokens or kind(tokens[0]) != "atom" or _OPEN.fullmatch(tokens[0]):
            raise ValueError("an open end without an atom")
        # It was the first of the neighbours and still is, but for a hydrogen in the brackets.
        _turn(tokens, 0, odd="H" in tokens[0])
        tokens.insert(1, label)
        return
    owner, passed = _owner(tokens, place)
    if _OPEN.fullmatch(tokens[owner]):
        raise ValueError("an open end at an open end")
    if tokens[place - 1] == "(":
        del tokens[place - 1 : place + 2]
    else:
        del tokens[place]
        _unbranch(tokens, place - 1)
    _turn(tokens, owner, odd=passed % 2 == 1)
    behind = owner + 1
    while behind < len(tokens) and kind(tokens[behind]) == "ring":
        behind += 1
    tokens.insert(behind, label)


def _owner(tokens: Sequence[str], place: int) -> tuple[int, int]:
    """The atom that the token at a place is bonded to, and how many of its branches stand in between."""
    depth, passed = 0, 0
    at = place - 2 if tokens[place - 1] == "(" else place - 1
    for i in range(at, -1, -1):
        if tokens[i] == ")":
            depth += 1
        elif tokens[i] == "(":
            depth -= 1
            passed += depth == 0
        elif depth == 0 and kind(tokens[i]) == "atom":
            return i, passed
    raise ValueError("an open end without an atom")


def _unbranch(tokens: list[str], place: int) -> None:
    """Takes the brackets off a branch that ends at a place: nothing of its chain follows any more."""
    if tokens[place] != ")":
        return
    depth, start = 1, place
    while depth:
        start -= 1
        depth += (tokens[start] == ")") - (tokens[start] == "(")
    del tokens[place], tokens[start]


def _turn(tokens: list[str], place: int, odd: bool) -> None:
    """Turns the mark of a centre of chirality where the order of its neighbours changed by an odd one."""
    atom = tokens[place]
    if odd and "@@" in atom:
        tokens[place] = atom.replace("@@", "@")
    elif odd and "@" in atom:
        tokens[place] = atom.replace("@", "@@")


def _number(token: str) -> str:
    found = _OPEN.fullmatch(token)
    assert found is not None
    return found.group(1)


def _orients(*atoms: Chem.Atom) -> bool:
    """Whether a bond of these atoms is one to a double bond whose stereo is known."""
    return any(
        bond.GetStereo() != Chem.BondStereo.STEREONONE or bond.GetBondDir() != Chem.BondDir.NONE
        for atom in atoms
        for bond in atom.GetBonds()
    )
