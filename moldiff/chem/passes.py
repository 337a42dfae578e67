"""What a worker does with strings: reads them, and measures all that is built in, each parsed once."""

import math
from collections.abc import Sequence
from typing import Any

from rdkit import Chem, rdBase

from moldiff.chem.molecule import check, parse
from moldiff.chem.oracles import Oracle, oracle, values
from moldiff.chem.pool import Failure
from moldiff.chem.structure import scaffold
from moldiff.chem.worker import tick

Row = tuple[str | None, str | None, tuple[Any, ...] | None]
"""What reading a string gives: its molecule, or why there is none, and what was measured on the way."""


def read(keys: tuple[str, ...], frames: bool, canonical: bool, texts: Sequence[str]) -> list[Row]:
    """One row a string; what is not spelt canonically is not measured, lest a molecule be measured twice.

    Args:
        keys: the properties to measure.
        frames: whether to find the scaffold too.
        canonical: whether the strings are known to be canonical.
        texts: N strings.
    """
    oracles = [oracle(key) for key in keys]
    rows: list[Row] = []
    with rdBase.BlockLogs():
        for place, text in enumerate(texts):
            tick(place)
            mol = parse(text)
            if mol is None:
                rows.append((None, check(text).reason, None))
                continue
            molecule = text if canonical else str(Chem.MolToSmiles(mol))
            rows.append((molecule, None, _cells(oracles, frames, mol) if molecule == text else None))
    return rows


def measure(keys: tuple[str, ...], frames: bool, molecules: Sequence[str]) -> list[tuple[Any, ...]]:
    """The properties of each molecule, and its scaffold where asked for."""
    oracles = [oracle(key) for key in keys]
    rows = []
    with rdBase.BlockLogs():
        for place, text in enumerate(molecules):
            tick(place)
            mol = parse(text)
            # RDKit has written it, and nearly always reads that again.
            unread = (*(math.nan for _ in keys), *([Failure("parse")] if frames else []))
            rows.append(unread if mol is None else _cells(oracles, frames, mol))
    return rows


def _cells(oracles: Sequence[Oracle], frames: bool, mol: Chem.Mol) -> tuple[Any, ...]:
    found = values(oracles, mol)
    return (*found, scaffold(mol)) if frames else found
