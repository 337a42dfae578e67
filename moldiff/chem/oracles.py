"""The table of molecular properties: name to RDKit function, direction and unit."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import final

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem, rdBase
from rdkit.Chem import QED, rdMolDescriptors

from moldiff.chem import goals, structure
from moldiff.chem.molecule import map_chunks, parse
from moldiff.chem.worker import tick
from moldiff.errors import unknown

_FAILURES = (ArithmeticError, RuntimeError, ValueError)
"""What RDKit raises when a property is not defined for a molecule."""


@final
@dataclass(frozen=True)
class Oracle:
    """One property: a function of a sanitised molecule, and how to read its value.

    Attributes:
        name: the key in `BUILT_IN`, or a family's name, a colon and its argument.
        function: the value of one molecule.
        maximize: whether larger is better when nothing else is asked for.
        unit: the unit, empty for a pure number.
        description: one line for a table.
        least: no value is below it.
        most: no value is above it.
    """

    name: str
    function: Callable[[Chem.Mol], float]
    maximize: bool
    unit: str
    description: str
    least: float = 0.0
    most: float = math.inf

    def __call__(self, smiles: Sequence[str | None]) -> NDArray[np.float64]:
        """The values, (N,); NaN where a string is None or unreadable or the property fails."""
        return np.array([row[0] for row in _values((self,), smiles)], dtype=np.float64)


@final
@dataclass(frozen=True)
class Family:
    """Properties that take an argument, written ``name:argument``.

    Attributes:
        name: what stands before the colon.
        argument: what the argument is.
        make: from the argument to the function of a molecule.
        maximize: as in `Oracle`.
        description: one line for a table.
        most: as in `Oracle`.
    """

    name: str
    argument: str
    make: Callable[[str], Callable[[Chem.Mol], float]]
    maximize: bool
    description: str
    most: float = math.inf

    def oracle(self, argument: str) -> Oracle:
        """The property for one argument; MoldiffError where RDKit cannot read that."""
        name = f"{self.name}:{argument}"
        return Oracle(name, self.make(argument), self.maximize, "", self.description, most=self.most)


def oracle(name: str) -> Oracle:
    """The property of that name, or of a family with its argument.

    Raises:
        MoldiffError: no such property, or an argument that RDKit cannot read.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]
    family, _, argument = name.partition(":")
    if family in FAMILIES:
        return _member(family, argument)
    raise unknown("property", name, choices())


@lru_cache(maxsize=1024)
def _member(family: str, argument: str) -> Oracle:
    """The property of a family; its pattern or its fingerprint is made once."""
    return FAMILIES[family].oracle(argument)


def choices() -> list[str]:
    """Every name that `oracle` takes, families with what their argument is."""
    return [*BUILT_IN, *(f"{each.name}:{each.argument}" for each in FAMILIES.values())]


def score(
    smiles: Sequence[str | None], names: Sequence[str], workers: int = 1
) -> dict[str, NDArray[np.float64]]:
    """The values of each named property, (N,) each; every string is parsed once.

    NaN where a string is None or not valid, and where a property fails; validity is that of
    `molecule.check`, so a molecule of two fragments has values. `scoring.score` says why a value is
    missing, and takes oracles of the caller's own.

    Args:
        smiles: N strings.
        names: what `oracle` takes.
        workers: processes to share the work; see `molecule.map_chunks`.

    Raises:
        MoldiffError: no such property, or fewer than one worker.
    """
    wanted = tuple(dict.fromkeys(names))
    for name in wanted:
        oracle(name)
    rows = map_chunks(partial(_named_values, wanted), smiles, workers)
    table = np.array(rows, dtype=np.float64).reshape(len(smiles), len(wanted))
    return {name: table[:, column].copy() for column, name in enumerate(wanted)}


def values(oracles: Sequence[Oracle], mol: Chem.Mol) -> tuple[float, ...]:
    """One value an oracle, NaN where the property is not defined for the molecule."""
    return tuple([_value(each.function, mol) for each in oracles])


def _named_values(names: tuple[str, ...], smiles: Sequence[str | None]) -> list[tuple[float, ...]]:
    """One row of values a string; takes names, which travel to another process."""
    return _values(tuple(oracle(name) for name in names), smiles)


def _values(oracles: tuple[Oracle, ...], smiles: Sequence[str | None]) -> list[tuple[float, ...]]:
    """One row of values a string, in the order of the oracles."""
    missing = (math.nan,) * len(oracles)
    rows = []
    with rdBase.BlockLogs():
        for place, text in enumerate(smiles):
            tick(place)
            mol = None if text is None else parse(text)
            rows.append(missing if mol is None else values(oracles, mol))
    return rows


def _value(function: Callable[[Chem.Mol], float], mol: Chem.Mol) -> float:
    """The value of one molecule, NaN when there is none."""
    try:
        return float(function(mol))
    except _FAILURES:
        return math.nan


# Their order is that of the columns in tables, models and token files.
_ALWAYS = (
    Oracle("qed", QED.qed, True, "", "quantitative estimate of drug-likeness, 0 to 1", most=1.0),
    Oracle("logp", structure.logp, True, "", "octanol-water partition, Wildman-Crippen log P", -math.inf),
    Oracle("sa", structure.sa, False, "", "synthetic accessibility, 1 (easy) to 10 (hard)", 1.0, 10.0),
    Oracle("tpsa", rdMolDescriptors.CalcTPSA, False, "A^2", "topological polar surface area, N and O"),
    Oracle("mw", rdMolDescriptors._CalcMolWt, False, "g/mol", "average molecular weight"),
    Oracle("ring_count", structure.ring_count, True, "", "rings, symmetrised smallest set (GetSymmSSSR)"),
    Oracle("heavy_atoms", structure.heavy_atoms, True, "", "atoms other than hydrogen"),
    Oracle("hbd", rdMolDescriptors.CalcNumHBD, False, "", "hydrogen-bond donors (RDKit CalcNumHBD)"),
    Oracle("hba", rdMolDescriptors.CalcNumHBA, False, "", "hydrogen-bond acceptors (RDKit CalcNumHBA)"),
)
_ON_REQUEST = (
    Oracle("rotatable_bonds", structure.rotatable_bonds, False, "", "rotatable bonds, amide C-N not counted"),
    Oracle(
        "fraction_csp3",
        rdMolDescriptors.CalcFractionCSP3,
        True,
        "",
        "sp3 share of the carbons, 0 to 1",
        most=1.0,
    ),
    Oracle(
        "np_score", structure.np_score, True, "", "natural-product likeness (Ertl), about -5 to 5", -math.inf
    ),
    Oracle("pains", structure.pains, False, "", "PAINS alerts that match: assay interference"),
    Oracle("brenk", structure.brenk, False, "", "Brenk's alerts that match: reactive, toxic, unstable"),
    Oracle("nih", structure.nih, False, "", "NIH alerts that match: reactive, assay interference"),
)
_GOALS = tuple(Oracle(name, goals.goal(name), True, "", goals.described(name)) for name in goals.GOALS)

BUILT_IN: dict[str, Oracle] = {row.name: row for row in (*_ALWAYS, *_ON_REQUEST, *_GOALS)}
"""Every property by name."""

ORACLES: dict[str, Oracle] = {row.name: row for row in _ALWAYS}
"""The properties that are computed for every molecule that is generated or stored, by name."""

_FAMILY_ROWS = (
    Family(
        "similarity",
        "SMILES",
        structure.similarity,
        True,
        "ECFP4 Tanimoto similarity to a molecule, 0 to 1",
        1.0,
    ),
    Family("smarts", "PATTERN", structure.matches, True, "places where a SMARTS pattern matches"),
    Family(
        "scaffold",
        "SMILES",
        structure.has_scaffold,
        True,
        "1 for the Murcko scaffold of a molecule, else 0",
        1.0,
    ),
)

FAMILIES: dict[str, Family] = {row.name: row for row in _FAMILY_ROWS}
"""The properties that take an argument, by name."""
