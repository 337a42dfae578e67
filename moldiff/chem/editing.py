"""Molecules as graphs to be changed: taken apart for editing, and put together where the result is sane."""

from rdkit import Chem, rdBase

SMALLEST, LARGEST, WIDEST = 3, 50, 6
"""Heavy atoms of an edited molecule, at least and at most, and atoms of its largest ring."""

ORDERS = {1: Chem.BondType.SINGLE, 2: Chem.BondType.DOUBLE, 3: Chem.BondType.TRIPLE}
"""Bond types by order; an editable molecule has no others."""

_STRAINED = ("[R]=[R]=[R]", "[R]#[R]", "[r3,r4]=[r3,r4]")
"""Bonds that no such ring can have: an allene or a triple bond, and a double bond in a small ring."""

_REFUSED = [Chem.MolFromSmarts(pattern) for pattern in _STRAINED]


def editable(smiles: str) -> Chem.RWMol | None:
    """The molecule, single and double bonds in place of aromatic ones; None where there is none."""
    with rdBase.BlockLogs():
        mol = _read(smiles)
        if mol is None or not mol.GetNumAtoms():
            return None
        try:
            Chem.Kekulize(mol, clearAromaticFlags=True)
        except Chem.KekulizeException:
            return None
    return Chem.RWMol(mol)


def loosen(mol: Chem.RWMol, *atoms: int) -> None:
    """Lets RDKit find anew how many hydrogens atoms have, whose bonds have changed; their stereo goes."""
    for index in atoms:
        atom = mol.GetAtomWithIdx(index)
        atom.SetNoImplicit(False)
        atom.SetNumExplicitHs(0)
        atom.SetChiralTag(Chem.ChiralType.CHI_UNSPECIFIED)


def spare(atom: Chem.Atom) -> int:
    """Hydrogens of an atom that a bond may take the place of."""
    return int(atom.GetTotalNumHs())


def finished(mol: Chem.Mol) -> str | None:
    """The canonical SMILES of an edited molecule; None where it is not sane, or of a size out of bounds.

    Its rings have at most `WIDEST` atoms, and no bond that strains them beyond what exists.
    """
    if not SMALLEST <= mol.GetNumHeavyAtoms() <= LARGEST:
        return None
    with rdBase.BlockLogs():
        try:
            text = Chem.MolToSmiles(mol)
        except (RuntimeError, ValueError):
            return None
        # Only a fresh molecule is sure to be what its SMILES says.
        fresh = _read(text)
        if fresh is None or not _sound(fresh):
            return None
        text = str(Chem.MolToSmiles(fresh))
    return None if "." in text or "*" in text else text


def _sound(mol: Chem.Mol) -> bool:
    if any(atom.GetNumRadicalElectrons() for atom in mol.GetAtoms()):
        return False
    if any(len(ring) > WIDEST for ring in mol.GetRingInfo().AtomRings()):
        return False
    return not any(mol.HasSubstructMatch(pattern) for pattern in _REFUSED)


def _read(smiles: str) -> Chem.Mol | None:
    """RDKit's reading, with the None that its stubs leave out."""
    return Chem.MolFromSmiles(smiles)
