"""The table of molecular properties: name to RDKit function, direction and unit."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import final

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem, rdBase
from rdkit.Chem import QED, rdMolDescriptors

from moldiff.chem.molecule import map_chunks, parse
from moldiff.errors import unknown

_FAILURES = (ArithmeticError, RuntimeError, ValueError)
"""What RDKit raises when a property is not defined for a molecule."""


@final
@dataclass(frozen=True)
class Oracle:
    """One property: a function of a sanitised molecule, and how to read its value.

    Attributes:
        name: the key in `ORACLES`.
        function: the value of one molecule.
        maximize: whether larger is better when nothing else is asked for.
        unit: the unit, empty for a pure number.
        description: one line for a table.
    """

    name: str
    function: Callable[[Chem.Mol], float]
    maximize: bool
    unit: str
    description: str

    def __call__(self, smiles: Sequence[str | None]) -> NDArray[np.float64]:
        """The values, (N,); NaN where a string is None or unreadable or the property fails."""
        return np.array([row[0] for row in _values((self,), smiles)], dtype=np.float64)


def oracle(name: str) -> Oracle:
    """The property of that name.

    Raises:
        MoldiffError: no such property.
    """
    if name not in ORACLES:
        raise unknown("property", name, ORACLES)
    return ORACLES[name]


def score(
    smiles: Sequence[str | None], names: Sequence[str], workers: int = 1
) -> dict[str, NDArray[np.float64]]:
    """The values of each named property, (N,) each; every string is parsed once.

    NaN where a string is None or not valid, and where a property fails; validity is that of
    `molecule.check`, so a molecule of two fragments has values.

    Args:
        smiles: N strings.
        names: keys of `ORACLES`.
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


def _named_values(names: tuple[str, ...], smiles: Sequence[str | None]) -> list[tuple[float, ...]]:
    """One row of values a string; takes names, which travel to another process."""
    return _values(tuple(ORACLES[name] for name in names), smiles)


def _values(oracles: tuple[Oracle, ...], smiles: Sequence[str | None]) -> list[tuple[float, ...]]:
    """One row of values a string, in the order of the oracles."""
    rows = []
    with rdBase.BlockLogs():
        for text in smiles:
            mol = None if text is None else parse(text)
            rows.append(tuple(_value(each, mol) for each in oracles))
    return rows


def _value(one: Oracle, mol: Chem.Mol | None) -> float:
    """The value of one molecule, NaN when there is none."""
    if mol is None:
        return math.nan
    try:
        return float(one.function(mol))
    except _FAILURES:
        return math.nan


def _sa(mol: Chem.Mol) -> float:
    """The synthetic accessibility score, 1 (easy) to 10 (hard)."""
    # Deferred: loading the table of fragments takes about half a second.
    from rdkit.Contrib.SA_Score import sascorer

    value = sascorer.calculateScore(mol)
    return math.nan if value is None else float(value)


def _logp(mol: Chem.Mol) -> float:
    """The Wildman-Crippen estimate of log P."""
    return float(rdMolDescriptors.CalcCrippenDescriptors(mol)[0])


def _ring_count(mol: Chem.Mol) -> int:
    """The number of rings in the symmetrised smallest set, which for cages exceeds the rank."""
    return len(Chem.GetSymmSSSR(mol))


def _heavy_atoms(mol: Chem.Mol) -> int:
    """The number of atoms that are neither hydrogen nor dummy."""
    return int(mol.GetNumHeavyAtoms())


_ROWS = (
    Oracle("qed", QED.qed, True, "", "quantitative estimate of drug-likeness, 0 to 1"),
    Oracle("logp", _logp, True, "", "octanol-water partition, Wildman-Crippen log P"),
    Oracle("sa", _sa, False, "", "synthetic accessibility, 1 (easy) to 10 (hard)"),
    Oracle("tpsa", rdMolDescriptors.CalcTPSA, False, "A^2", "topological polar surface area, N and O"),
    Oracle("mw", rdMolDescriptors._CalcMolWt, False, "g/mol", "average molecular weight"),
    Oracle("ring_count", _ring_count, True, "", "rings, symmetrised smallest set (GetSymmSSSR)"),
    Oracle("heavy_atoms", _heavy_atoms, True, "", "atoms other than hydrogen"),
    Oracle("hbd", rdMolDescriptors.CalcNumHBD, False, "", "hydrogen-bond donors (RDKit CalcNumHBD)"),
    Oracle("hba", rdMolDescriptors.CalcNumHBA, False, "", "hydrogen-bond acceptors (RDKit CalcNumHBA)"),
)

ORACLES: dict[str, Oracle] = {row.name: row for row in _ROWS}
"""Every property by name."""
