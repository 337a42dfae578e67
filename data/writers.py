"""Writers of molecule tables, by the suffix of the file: each takes a table in pieces."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, final

import pandas as pd
from rdkit import Chem
from rdkit.Chem import rdDepictor

from moldiff.chem.molecule import parse
from moldiff.frames import DIVERSE, PASSES
from moldiff.types import Writer

from .tables import TABLES


@final
class _Smi:
    """The valid molecules, one canonical SMILES a line; of filtered ones those that pass, of picks these.

    Picks stand in the order in which they were picked, so they are held until the end.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8", newline="")
        self._picks: list[tuple[int, str]] = []

    def append(self, frame: pd.DataFrame) -> None:
        if DIVERSE in frame:
            picks = frame[frame[DIVERSE].notna()]
            self._picks += zip(picks[DIVERSE].astype(int), picks["smiles"], strict=True)
            return
        flags = frame[PASSES if PASSES in frame else "valid"]
        self._file.write("".join(f"{line}\n" for line in frame.loc[flags, "smiles"]))

    def close(self) -> None:
        self._file.write("".join(f"{line}\n" for _, line in sorted(self._picks)))
        self._file.close()


@final
class _Sdf:
    """The valid molecules, of filtered ones those that pass, with 2-D coordinates.

    Their name is the row, and the other columns are data fields.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8", newline="")
        self._rows = 0

    def append(self, frame: pd.DataFrame) -> None:
        for row, record in enumerate(frame.to_dict("records"), start=self._rows):
            if record[PASSES if PASSES in frame else "valid"]:
                self._file.write(_block(row, record))
        self._rows += len(frame)

    def close(self) -> None:
        self._file.close()


def _block(row: int, record: dict[Any, Any]) -> str:
    """One entry of an SDF file."""
    mol = parse(record["smiles"])
    assert mol is not None
    # RDKit's plain layout: the clearer one of the pictures takes up to a hundred times as long.
    rdDepictor.Compute2DCoords(mol, useRingTemplates=True)
    mol.SetProp("_Name", str(row))
    for key, value in record.items():
        if not pd.isna(value):
            mol.SetProp(str(key), str(value))
    return str(Chem.SDWriter.GetText(mol))


WRITERS: dict[str, Callable[[Path], Writer]] = {**TABLES, ".smi": _Smi, ".sdf": _Sdf}
"""What opens a file of each suffix."""
