"""The goal-directed tasks of PMO that need nothing but RDKit: what a molecule is worth by each, 0 to 1.

PMO (Gao et al. 2022, "Sample efficiency matters") has 23 tasks, 20 of which need no trained model: those of
GuacaMol (Brown et al. 2019) below, and QED. The definitions are those that PMO calls today (TDC 1.1.14). In
TDC 0.3.6 four tasks were others: both isomer tasks, zaleplon and sitagliptin.
"""

import re
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any

from rdkit import Chem, DataStructs
from rdkit.Chem import GraphDescriptors, rdFingerprintGenerator, rdMolDescriptors

from moldiff.chem.modifiers import at_least, at_most, clipped, geometric_mean, near
from moldiff.chem.structure import logp

Value = Callable[[Chem.Mol], float]
"""A number for a sanitised molecule."""

DECO = "CCCOc1cc2ncnc(Nc3ccc4ncsc4c3)c2cc1S(=O)(=O)C(C)(C)C"
FEXOFENADINE = "CC(C)(C(=O)O)c1ccc(cc1)C(O)CCCN2CCC(CC2)C(O)(c3ccccc3)c4ccccc4"
OSIMERTINIB = "COc1cc(N(C)CCN(C)C)c(NC(=O)C=C)cc1Nc2nccc(n2)c3cn(C)c4ccccc34"
RANOLAZINE = "COc1ccccc1OCC(O)CN2CCN(CC(=O)Nc3c(C)cccc3C)CC2"
SITAGLIPTIN = "Fc1cc(c(F)cc1F)CC(N)CC(=O)N3Cc2nnc(n2CC3)C(F)(F)F"
"""The molecules that tasks are about."""

_SIMILAR = {
    "albuterol_similarity": ("FCFP4", "CC(C)(C)NCC(O)c1ccc(O)c(CO)c1", 0.75),
    "celecoxib_rediscovery": ("ECFP4", "CC1=CC=C(C=C1)C1=CC(=NN1C1=CC=C(C=C1)S(N)(=O)=O)C(F)(F)F", 1.0),
    "mestranol_similarity": ("AP", "COc1ccc2C3CCC4(C)C(CCC4(O)C#C)C3CCc2c1", 0.75),
    "thiothixene_rediscovery": ("ECFP4", "CN(C)S(=O)(=O)c1ccc2Sc3ccccc3C(=CCCN4CCN(C)CC4)c2c1", 1.0),
    "troglitazone_rediscovery": ("ECFP4", "Cc1c(C)c2OC(C)(COc3ccc(CC4SC(=O)NC4=O)cc3)CCc2c(C)c1O", 1.0),
}
"""By task the fingerprint, the molecule, and the similarity that is enough."""

_WARHEAD = "[#7]-c1ccc2ncsc2c1"
_SCAFFOLD = "[#7]-c1n[c;h1]nc2[c;h1]c(-[#8])[c;h0][c;h1]c12"
_TAIL = "[#6]-[#6]-[#6]-[#8]-[#6]~[#6]~[#6]~[#6]~[#6]-"

_ELEMENT = re.compile(r"([A-Z][a-z]?)(\d*)")


def goal(name: str) -> Value:
    """The worth by a task, a name of `GOALS`; what it needs is made when it is first asked."""

    def worth(mol: Chem.Mol) -> float:
        return _task(name)(mol)

    return worth


@cache
def _task(name: str) -> Value:
    if name in _SIMILAR:
        fingerprint, smiles, enough = _SIMILAR[name]
        similar = _similarity(fingerprint, smiles)
        return lambda mol: clipped(similar(mol), enough)
    return _MADE[name]()


def isomer(formula: str) -> Value:
    """How near a molecule comes to a formula, such as C7H8N2O2: by each element and by all atoms together."""
    wanted = {element: int(count or 1) for element, count in _ELEMENT.findall(formula)}
    total = sum(wanted.values())

    def worth(mol: Chem.Mol) -> float:
        found = Counter(atom.GetSymbol() for atom in mol.GetAtoms())
        found["H"] += sum(atom.GetTotalNumHs() for atom in mol.GetAtoms())
        parts = [near(found[element], count, 1) for element, count in wanted.items()]
        return geometric_mean([*parts, near(found.total(), total, 2)])

    return worth


def _similarity(fingerprint: str, smiles: str) -> Value:
    """The Tanimoto similarity to a molecule, 0 to 1: of counts, but for PHCO, which has bits."""
    make = _FINGERPRINTS[fingerprint]()
    reference = make(_molecule(smiles))

    def similar(mol: Chem.Mol) -> float:
        return float(DataStructs.TanimotoSimilarity(make(mol), reference))

    return similar


def _ecfp(radius: int) -> Callable[[Chem.Mol], Any]:
    made: Callable[[Chem.Mol], Any] = rdFingerprintGenerator.GetMorganGenerator(
        radius=radius
    ).GetSparseCountFingerprint
    return made


def _fcfp4() -> Callable[[Chem.Mol], Any]:
    features = rdFingerprintGenerator.GetMorganFeatureAtomInvGen()
    make = rdFingerprintGenerator.GetMorganGenerator(radius=2, atomInvariantsGenerator=features)
    made: Callable[[Chem.Mol], Any] = make.GetSparseCountFingerprint
    return made


def _atom_pairs() -> Callable[[Chem.Mol], Any]:
    made: Callable[[Chem.Mol], Any] = rdFingerprintGenerator.GetAtomPairGenerator(
        maxDistance=10
    ).GetSparseCountFingerprint
    return made


def _pharmacophore() -> Callable[[Chem.Mol], Any]:
    # Deferred: the factory of features is made at import.
    from rdkit.Chem.Pharm2D import Generate, Gobbi_Pharm2D

    return lambda mol: Generate.Gen2DFingerprint(mol, Gobbi_Pharm2D.factory)


_FINGERPRINTS: dict[str, Callable[[], Callable[[Chem.Mol], Any]]] = {
    "ECFP4": lambda: _ecfp(2),
    "ECFP6": lambda: _ecfp(3),
    "FCFP4": _fcfp4,
    "AP": _atom_pairs,
    "PHCO": _pharmacophore,
}


def _tpsa(mol: Chem.Mol) -> float:
    return float(rdMolDescriptors.CalcTPSA(mol))


def _fluorines(mol: Chem.Mol) -> int:
    return sum(atom.GetAtomicNum() == 9 for atom in mol.GetAtoms())


def _has(pattern: str) -> Value:
    """1 where a SMARTS pattern matches, else 0."""
    query = Chem.MolFromSmarts(pattern)
    return lambda mol: float(mol.HasSubstructMatch(query))


def _lacks(pattern: str) -> Value:
    has = _has(pattern)
    return lambda mol: 1.0 - has(mol)


def _product(*parts: Value) -> Value:
    return lambda mol: geometric_mean([part(mol) for part in parts])


def _mean(*parts: Value) -> Value:
    return lambda mol: sum(part(mol) for part in parts) / len(parts)


def _enough(similar: Value, enough: float) -> Value:
    return lambda mol: clipped(similar(mol), enough)


def _amlodipine() -> Value:
    similar = _similarity("ECFP4", "Clc1ccccc1C2C(=C(/N/C(=C2/C(=O)OCC)COCCN)C)\\C(=O)OC")
    return _product(similar, lambda mol: near(mol.GetRingInfo().NumRings(), 3, 0.5))


def _fexofenadine() -> Value:
    return _product(
        _enough(_similarity("AP", FEXOFENADINE), 0.8),
        lambda mol: at_least(_tpsa(mol), 90, 10),
        lambda mol: at_most(logp(mol), 4, 1),
    )


def _median1() -> Value:
    camphor, menthol = "CC1(C)C2CCC1(C)C(=O)C2", "CC(C)C1CCC(C)CC1O"
    return _product(_similarity("ECFP4", camphor), _similarity("ECFP4", menthol))


def _median2() -> Value:
    tadalafil = "O=C1N(CC(N2C1CC3=C(C2C4=CC5=C(OCO5)C=C4)NC6=C3C=CC=C6)=O)C"
    sildenafil = "CCCC1=NN(C2=C1N=C(NC2=O)C3=C(C=CC(=C3)S(=O)(=O)N4CCN(CC4)C)OCC)C"
    return _product(_similarity("ECFP6", tadalafil), _similarity("ECFP6", sildenafil))


def _osimertinib() -> Value:
    far = _similarity("ECFP6", OSIMERTINIB)
    return _product(
        _enough(_similarity("FCFP4", OSIMERTINIB), 0.8),
        lambda mol: at_most(far(mol), 0.85, 0.1),
        lambda mol: at_least(_tpsa(mol), 100, 10),
        lambda mol: at_most(logp(mol), 1, 1),
    )


def _perindopril() -> Value:
    similar = _similarity("ECFP4", "O=C(OCC)C(NC(C(=O)N1C(C(=O)O)CC2CCCCC12)C)CCC")
    return _product(similar, lambda mol: near(rdMolDescriptors.CalcNumAromaticRings(mol), 2, 0.5))


def _ranolazine() -> Value:
    return _product(
        _enough(_similarity("AP", RANOLAZINE), 0.7),
        lambda mol: at_least(logp(mol), 7, 1),
        lambda mol: at_least(_tpsa(mol), 95, 20),
        lambda mol: near(_fluorines(mol), 1, 1),
    )


def _sitagliptin() -> Value:
    wanted = _molecule(SITAGLIPTIN)
    lipophilicity, area = logp(wanted), _tpsa(wanted)
    similar = _similarity("ECFP4", SITAGLIPTIN)
    return _product(
        lambda mol: near(similar(mol), 0, 0.1),
        lambda mol: near(logp(mol), lipophilicity, 0.2),
        lambda mol: near(_tpsa(mol), area, 5),
        isomer("C16H15F6N5O"),
    )


def _valsartan() -> Value:
    # The properties wanted are those of sitagliptin.
    wanted = _molecule(SITAGLIPTIN)
    lipophilicity, area, complexity = logp(wanted), _tpsa(wanted), _bertz(wanted)
    has = _has("CN(C=O)Cc1ccc(c2ccccc2)cc1")
    return lambda mol: (
        has(mol)
        and geometric_mean(
            [
                1.0,
                near(logp(mol), lipophilicity, 0.2),
                near(_tpsa(mol), area, 5),
                near(_bertz(mol), complexity, 30),
            ]
        )
    )


def _zaleplon() -> Value:
    # Not zaleplon's own formula, which lacks two carbons and two hydrogens of it.
    similar = _similarity("ECFP4", "O=C(C)N(CC)C1=CC=CC(C2=CC=NC3=C(C=NN23)C#N)=C1")
    return _product(similar, isomer("C19H17N3O2"))


def _deco_hop() -> Value:
    parts = [_lacks("CS([#6])(=O)=O"), _lacks(_WARHEAD), _has(_SCAFFOLD)]
    return _mean(_enough(_similarity("PHCO", DECO), 0.85), *parts)


def _scaffold_hop() -> Value:
    similar = _enough(_similarity("PHCO", DECO), 0.75)
    return _mean(similar, _has(_TAIL + _WARHEAD), _lacks(_SCAFFOLD))


def _bertz(mol: Chem.Mol) -> float:
    return float(GraphDescriptors.BertzCT(mol))


def _molecule(smiles: str) -> Chem.Mol:
    return Chem.MolFromSmiles(smiles)


_MADE: dict[str, Callable[[], Value]] = {
    "amlodipine_mpo": _amlodipine,
    "deco_hop": _deco_hop,
    "fexofenadine_mpo": _fexofenadine,
    "isomers_c7h8n2o2": lambda: isomer("C7H8N2O2"),
    "isomers_c9h10n2o2pf2cl": lambda: isomer("C9H10N2O2PF2Cl"),
    "median1": _median1,
    "median2": _median2,
    "osimertinib_mpo": _osimertinib,
    "perindopril_mpo": _perindopril,
    "ranolazine_mpo": _ranolazine,
    "scaffold_hop": _scaffold_hop,
    "sitagliptin_mpo": _sitagliptin,
    "valsartan_smarts": _valsartan,
    "zaleplon_mpo": _zaleplon,
}

GOALS: tuple[str, ...] = tuple(sorted([*_SIMILAR, *_MADE]))
"""The 19 tasks that are no property of their own."""

TASKS: tuple[str, ...] = tuple(sorted([*GOALS, "qed"]))
"""All 20 tasks in alphabetical order."""


def described(name: str) -> str:
    """A task in one line, for a table."""
    return f"PMO task, 0 to 1: {_TEXTS[name]}"


_TEXTS = {
    "albuterol_similarity": "FCFP4 similarity to albuterol, 0.75 is enough",
    "amlodipine_mpo": "like amlodipine (ECFP4), with 3 rings",
    "celecoxib_rediscovery": "ECFP4 similarity to celecoxib",
    "deco_hop": "keeps a scaffold and its pharmacophores, without two decorations",
    "fexofenadine_mpo": "like fexofenadine (atom pairs), TPSA from 90, logP to 4",
    "isomers_c7h8n2o2": "an isomer of C7H8N2O2",
    "isomers_c9h10n2o2pf2cl": "an isomer of C9H10N2O2PF2Cl",
    "median1": "like camphor and like menthol (ECFP4)",
    "median2": "like tadalafil and like sildenafil (ECFP6)",
    "mestranol_similarity": "atom-pair similarity to mestranol, 0.75 is enough",
    "osimertinib_mpo": "like osimertinib (FCFP4), not too much so (ECFP6), TPSA from 100, logP to 1",
    "perindopril_mpo": "like perindopril (ECFP4), with 2 aromatic rings",
    "ranolazine_mpo": "like ranolazine (atom pairs), logP from 7, TPSA from 95, 1 fluorine",
    "scaffold_hop": "keeps the decorations and pharmacophores, without the scaffold",
    "sitagliptin_mpo": "sitagliptin's formula, logP and TPSA in another structure",
    "thiothixene_rediscovery": "ECFP4 similarity to thiothixene",
    "troglitazone_rediscovery": "ECFP4 similarity to troglitazone",
    "valsartan_smarts": "a part of valsartan with sitagliptin's logP, TPSA and complexity",
    "zaleplon_mpo": "like zaleplon (ECFP4), with the formula C19H17N3O2",
}
