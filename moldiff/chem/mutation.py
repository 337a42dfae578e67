"""Small random changes of a molecule's graph, after Jensen (2019), graph GA."""

from collections.abc import Callable
from random import Random

from rdkit import Chem

from moldiff.chem.editing import ORDERS, editable, finished, loosen, spare

TRIES = 10
"""Changes that are tried for one mutation."""

_ELEMENTS = {"C": 6, "N": 7, "O": 8, "F": 9, "S": 16, "Cl": 17, "Br": 35}
_MANY = ("C", "N", "O", "S")
"""What can have more than one neighbour."""
_ORDERS = ((1, 0.6), (2, 0.35), (3, 0.05))
_RINGS = ((3, 0.05), (4, 0.05), (5, 0.45), (6, 0.45))
"""Orders of new bonds and sizes of new rings, with how often each is chosen."""

Change = Callable[[Chem.RWMol, Random], bool]
"""Changes a molecule, and says whether it could; what comes of it need not be sane."""


def mutated(smiles: str, random: Random) -> str | None:
    """The molecule after one change, as canonical SMILES; None where none was found.

    Args:
        smiles: a SMILES.
        random: where the choices come from.
    """
    mol = editable(smiles)
    if mol is None:
        return None
    for _ in range(TRIES):
        trial = Chem.RWMol(mol)
        change = random.choices(list(_CHANGES), list(_CHANGES.values()))[0]
        if change(trial, random):
            found = finished(trial)
            if found is not None and found != smiles:
                return found
    return None


def _append(mol: Chem.RWMol, random: Random) -> bool:
    """A new atom on one that has a hydrogen."""
    order = _drawn(_ORDERS, random)
    hosts = [atom.GetIdx() for atom in mol.GetAtoms() if spare(atom) >= order]
    if not hosts:
        return False
    host = random.choice(hosts)
    element = random.choice({1: tuple(_ELEMENTS), 2: ("C", "N", "O"), 3: ("C", "N")}[order])
    new = mol.AddAtom(Chem.Atom(_ELEMENTS[element]))
    loosen(mol, host)
    mol.AddBond(host, new, ORDERS[order])
    return True


def _insert(mol: Chem.RWMol, random: Random) -> bool:
    """A new atom between two that share a bond."""
    if not mol.GetNumBonds():
        return False
    bond = mol.GetBondWithIdx(random.randrange(mol.GetNumBonds()))
    ends = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
    mol.RemoveBond(*ends)
    loosen(mol, *ends)
    new = mol.AddAtom(Chem.Atom(_ELEMENTS[random.choice(_MANY)]))
    mol.AddBond(ends[0], new, ORDERS[1])
    mol.AddBond(new, ends[1], ORDERS[_drawn(_ORDERS, random)])
    return True


def _reorder(mol: Chem.RWMol, random: Random) -> bool:
    """A bond of another order."""
    if not mol.GetNumBonds():
        return False
    bond = mol.GetBondWithIdx(random.randrange(mol.GetNumBonds()))
    order = int(bond.GetBondTypeAsDouble())
    bond.SetBondType(ORDERS[random.choice([each for each in ORDERS if each != order])])
    bond.SetStereo(Chem.BondStereo.STEREONONE)
    loosen(mol, bond.GetBeginAtomIdx(), bond.GetEndAtomIdx())
    return True


def _open_ring(mol: Chem.RWMol, random: Random) -> bool:
    """A ring without one of its bonds."""
    Chem.FastFindRings(mol)
    bonds = [bond for bond in mol.GetBonds() if bond.IsInRing()]
    if not bonds:
        return False
    bond = random.choice(bonds)
    ends = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
    mol.RemoveBond(*ends)
    loosen(mol, *ends)
    return True


def _close_ring(mol: Chem.RWMol, random: Random) -> bool:
    """A new ring of 3 to 6 atoms, by a single bond between two that have a hydrogen each."""
    size = _drawn(_RINGS, random)
    away = Chem.GetDistanceMatrix(mol)
    open_ = [atom.GetIdx() for atom in mol.GetAtoms() if spare(atom)]
    pairs = [(a, b) for a in open_ for b in open_ if a < b and int(away[a, b]) == size - 1]
    if not pairs:
        return False
    pair = random.choice(pairs)
    mol.AddBond(*pair, ORDERS[1])
    loosen(mol, *pair)
    return True


def _delete(mol: Chem.RWMol, random: Random) -> bool:
    """One atom less; its neighbours, where it has two or more, are joined to the first of them."""
    index = random.randrange(mol.GetNumAtoms())
    neighbours = [atom.GetIdx() for atom in mol.GetAtomWithIdx(index).GetNeighbors()]
    random.shuffle(neighbours)
    loosen(mol, *neighbours)
    for other in neighbours[1:]:
        if mol.GetBondBetweenAtoms(neighbours[0], other) is None:
            mol.AddBond(neighbours[0], other, ORDERS[1])
    mol.RemoveAtom(index)
    return True


def _change_element(mol: Chem.RWMol, random: Random) -> bool:
    """An atom of another element, without a charge."""
    atom = mol.GetAtomWithIdx(random.randrange(mol.GetNumAtoms()))
    names = _MANY if atom.GetDegree() > 1 else tuple(_ELEMENTS)
    number = _ELEMENTS[random.choice([name for name in names if _ELEMENTS[name] != atom.GetAtomicNum()])]
    atom.SetAtomicNum(number)
    atom.SetFormalCharge(0)
    atom.SetIsotope(0)
    loosen(mol, atom.GetIdx())
    return True


_CHANGES: dict[Change, float] = {
    _insert: 0.15,
    _reorder: 0.14,
    _open_ring: 0.14,
    _close_ring: 0.14,
    _delete: 0.14,
    _change_element: 0.15,
    _append: 0.14,
}
"""The changes, with how often each is chosen."""


def _drawn(table: tuple[tuple[int, float], ...], random: Random) -> int:
    return random.choices([value for value, _ in table], [weight for _, weight in table])[0]
