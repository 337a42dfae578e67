"""The functions of a molecule behind the table of properties: alerts, scaffolds, similarity, scores."""

import gzip
import math
import pickle
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from rdkit import Chem, DataStructs, rdBase
from rdkit.Chem import FilterCatalog, rdFingerprintGenerator, rdMolDescriptors
from rdkit.Chem.Scaffolds import MurckoScaffold

from moldiff.chem.molecule import parse
from moldiff.errors import MoldiffError

ECFP4 = {"radius": 2, "fpSize": 2048}
"""Settings of the Morgan fingerprint that similarities are of, as bits."""

MOST_MATCHES = 1000
"""Places of a SMARTS pattern that are counted in one molecule."""


def logp(mol: Chem.Mol) -> float:
    """The Wildman-Crippen estimate of log P."""
    return float(rdMolDescriptors.CalcCrippenDescriptors(mol)[0])


def sa(mol: Chem.Mol) -> float:
    """The synthetic accessibility score, 1 (easy) to 10 (hard)."""
    # Deferred: loading the table of fragments takes about half a second.
    from rdkit.Contrib.SA_Score import sascorer

    value = sascorer.calculateScore(mol)
    return math.nan if value is None else float(value)


def np_score(mol: Chem.Mol) -> float:
    """The likeness to natural products by Ertl's fragments, about -5 to 5."""
    from rdkit.Contrib.NP_Score import npscorer

    return float(npscorer.scoreMol(mol, _np_fragments()))


def ring_count(mol: Chem.Mol) -> int:
    """The number of rings in the symmetrised smallest set, which for cages exceeds the rank."""
    return len(Chem.GetSymmSSSR(mol))


def heavy_atoms(mol: Chem.Mol) -> int:
    """The number of atoms that are neither hydrogen nor dummy."""
    return int(mol.GetNumHeavyAtoms())


def rotatable_bonds(mol: Chem.Mol) -> int:
    """The number of rotatable bonds by RDKit's strict definition, which leaves out amide C-N and the like."""
    return int(rdMolDescriptors.CalcNumRotatableBonds(mol))


def pains(mol: Chem.Mol) -> int:
    """The number of PAINS alerts, of all three classes, that match."""
    return len(_alerts("PAINS").GetMatches(mol))


def brenk(mol: Chem.Mol) -> int:
    """The number of Brenk's alerts that match."""
    return len(_alerts("BRENK").GetMatches(mol))


def nih(mol: Chem.Mol) -> int:
    """The number of NIH alerts that match."""
    return len(_alerts("NIH").GetMatches(mol))


def first_alert(catalogue: str, mol: Chem.Mol) -> str | None:
    """The name of the first alert of ``PAINS``, ``BRENK`` or ``NIH`` that matches; None where none does."""
    found = _alerts(catalogue).GetFirstMatch(mol)
    # RDKit numbers the PAINS in brackets behind their names.
    return None if found is None else str(found.GetDescription()).partition("(")[0]


def pattern(smarts: str) -> Chem.Mol | None:
    """The pattern that a SMARTS spells; None where RDKit reads none with an atom in it."""
    with rdBase.BlockLogs():
        query = Chem.MolFromSmarts(smarts)
    return query if query is not None and query.GetNumAtoms() else None


def scaffold(mol: Chem.Mol) -> str:
    """The Murcko scaffold as canonical SMILES; empty where there is no ring."""
    return str(Chem.MolToSmiles(MurckoScaffold.GetScaffoldForMol(mol)))


def similarity(smiles: str) -> Callable[[Chem.Mol], float]:
    """The Tanimoto similarity, 0 to 1, of Morgan fingerprints to those of a molecule.

    Raises:
        MoldiffError: the molecule is not valid.
    """
    make = rdFingerprintGenerator.GetMorganGenerator(**ECFP4)
    reference = make.GetFingerprint(_argument("similarity", smiles))

    def similar(mol: Chem.Mol) -> float:
        return float(DataStructs.TanimotoSimilarity(make.GetFingerprint(mol), reference))

    return similar


def matches(smarts: str) -> Callable[[Chem.Mol], float]:
    """The number of places, as sets of atoms, where a SMARTS pattern matches, at most `MOST_MATCHES`.

    Raises:
        MoldiffError: RDKit cannot read the pattern.
    """
    query = pattern(smarts)
    if query is None:
        raise MoldiffError(f"smarts: got {smarts!r}, which is not a SMARTS pattern")

    def count(mol: Chem.Mol) -> float:
        return len(mol.GetSubstructMatches(query, maxMatches=MOST_MATCHES))

    return count


def has_scaffold(smiles: str) -> Callable[[Chem.Mol], float]:
    """1 where the Murcko scaffold is that of a molecule, stereo aside, and 0 elsewhere.

    Raises:
        MoldiffError: the molecule is not valid or has no ring.
    """
    wanted = _flat_scaffold(_argument("scaffold", smiles))
    if not wanted:
        raise MoldiffError(f"scaffold: got {smiles!r}, which has no ring")

    def same(mol: Chem.Mol) -> float:
        return float(_flat_scaffold(mol) == wanted)

    return same


def _flat_scaffold(mol: Chem.Mol) -> str:
    return str(Chem.MolToSmiles(MurckoScaffold.GetScaffoldForMol(mol), isomericSmiles=False))


def _argument(name: str, smiles: str) -> Chem.Mol:
    """The molecule that a property is asked with."""
    mol = parse(smiles)
    if mol is None:
        raise MoldiffError(f"{name}: got {smiles!r}, which is not a valid SMILES")
    return mol


@cache
def _alerts(name: str) -> Any:
    """RDKit's catalogue of that name."""
    params = FilterCatalog.FilterCatalogParams()
    params.AddCatalog(getattr(FilterCatalog.FilterCatalogParams.FilterCatalogs, name))
    return FilterCatalog.FilterCatalog(params)


@cache
def _np_fragments() -> Any:
    """RDKit's own table of fragment contributions; its reader prints and leaves the file open."""
    from rdkit.Contrib.NP_Score import npscorer

    with gzip.open(Path(npscorer.__file__).with_name("publicnp.model.gz")) as file:
        return pickle.load(file)
