"""`moldiff design` end to end, on the models that are shipped for it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rdkit import Chem

Command = Callable[..., Any]


@pytest.mark.parametrize("model", ["zinc250k", "zinc250k-ar"])
def test_linkers_join_both_ends(model: str, moldiff: Command, tmp_path: Path) -> None:
    given = ("--fragments", "c1ccccc1[*].C1CCNCC1[*]", "-n", 4, "--model", model)
    done = moldiff("design", "link", *given, "--out", "linked.csv", "--grid", "linked.png")
    assert done.code == 0, done.err
    linked = pd.read_csv(tmp_path / "linked.csv")["smiles"]
    assert linked.nunique() == 4
    for smiles in linked:
        mol = Chem.MolFromSmiles(smiles)
        for piece in ("c1ccccc1*", "C1CCNCC1*"):
            query = Chem.AdjustQueryParameters.NoAdjustments()
            query.makeDummiesQueries = True
            assert mol.HasSubstructMatch(Chem.AdjustQueryProperties(Chem.MolFromSmiles(piece), query))
    assert (tmp_path / "linked.png").read_bytes().startswith(b"\x89PNG")


def test_a_decoration_may_be_asked_for_a_property(moldiff: Command, tmp_path: Path) -> None:
    given = (
        "--scaffold",
        "c1ccc([*])cc1C(=O)N[*]",
        "-n",
        6,
        "--model",
        "zinc250k-ar",
        "--target",
        "qed=0.8..0.95",
    )
    done = moldiff("design", "decorate", *given, "--out", "decorated.smi")
    assert done.code == 0, done.err
    scaffold = Chem.MolFromSmarts("c1ccc(*)cc1C(=O)[NX3]*")
    (row,) = [line.split() for line in done.out.splitlines() if line.split()[:1] == ["qed"]]
    assert row[1] == "0.8..0.95"
    assert row[-1] == "inside"
    lines = (tmp_path / "decorated.smi").read_text("utf-8").splitlines()
    assert len(lines) == 6
    assert all(Chem.MolFromSmiles(line.split()[0]).HasSubstructMatch(scaffold) for line in lines)
