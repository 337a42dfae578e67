"""Writers of molecule tables, by the suffix of the file."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
from rdkit import Chem

from moldiff.chem.layout import place
from moldiff.chem.molecule import parse


def _csv(frame: pd.DataFrame, path: Path) -> None:
    """Every row and column."""
    frame.to_csv(path, index=False)


def _jsonl(frame: pd.DataFrame, path: Path) -> None:
    """Every row as one JSON object a line; what is missing is null."""
    frame.to_json(path, orient="records", lines=True, force_ascii=False)


def _smi(frame: pd.DataFrame, path: Path) -> None:
    """The valid molecules, one canonical SMILES a line."""
    lines = frame.loc[frame["valid"], "smiles"]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _sdf(frame: pd.DataFrame, path: Path) -> None:
    """The valid molecules with 2-D coordinates, their row as name, and the other columns as data fields."""
    valid = frame[frame["valid"]]
    with path.open("w", encoding="utf-8") as file, Chem.SDWriter(file) as writer:
        for row, record in zip(valid.index, valid.to_dict("records"), strict=True):
            mol = parse(record["smiles"])
            assert mol is not None
            place(mol)
            mol.SetProp("_Name", str(row))
            for key, value in record.items():
                if not pd.isna(value):
                    mol.SetProp(str(key), str(value))
            writer.write(mol)


WRITERS: dict[str, Callable[[pd.DataFrame, Path], None]] = {
    ".csv": _csv,
    ".jsonl": _jsonl,
    ".smi": _smi,
    ".sdf": _sdf,
}
"""A writer for each suffix."""
