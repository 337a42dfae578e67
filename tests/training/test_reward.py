"""What a network's own rows are worth, by hand."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from moldiff.chem import molecule
from moldiff.conditions import CategoryCondition, ClassCondition, NumericCondition
from moldiff.config import RewardConfig
from moldiff.data.molecules import Molecules
from moldiff.data.smiles import SmilesTokenizer
from moldiff.training.reward import Worth

NAN = math.nan
RINGS = ClassCondition(name="ring_count", quantile=0.5, threshold=0.5)
ATOMS = NumericCondition(name="heavy_atoms", mean=4.0, std=2.0)
WRITING = CategoryCondition(name="writing", always=0, shares=(0.5, 0.5))
#: Ethanol is known, cyclopropane and propane are not, the last is none.
ROWS = ["CCO", "C1CC1", "CCC", "C1CC"]


def worth(rows: list[str], cond: list[list[float]] | None, **config: Any) -> tuple[Any, dict[str, float]]:
    tokenizer = SmilesTokenizer.from_state({"name": "smiles", "vocab": ["1", "C", "O"], "pad_to": None})
    known = np.array([molecule.identity("CCO")], dtype=np.int64)
    modality = Molecules()
    reference = modality.reference({"hashes": known, "in_train": np.array([True])}, {})
    reward = RewardConfig(**config)
    measure = modality.measure(tuple(reward.oracles)) if reward.oracles else None
    judge = Worth(modality, tokenizer, reference, (RINGS, ATOMS, WRITING), reward, measure)
    found, means = zip(
        *[
            judge(torch.tensor([tokenizer.encode(row)]), None if cond is None else torch.tensor([told]))
            for row, told in zip(rows, cond or [[]] * len(rows), strict=True)
        ],
        strict=True,
    )
    return [row.item() for row in found], pd.DataFrame(means).to_dict("list")


def test_what_cannot_be_read_is_worth_nothing_and_what_is_new_more() -> None:
    assert worth(ROWS, None)[0] == [1, 1, 1, 0]
    found, means = worth(ROWS, None, novel=0.5)
    assert found == [1, 1.5, 1.5, 0]
    assert means == {"sane": [1, 1, 1, 0], "novel": [0, 1, 1, 0], "near": [0, 0, 0, 0]}


def test_what_is_as_asked_is_worth_more() -> None:
    # Three atoms are -0.5 standard deviations; they are asked for, or a half more, or nothing is.
    asked = [[NAN, -0.5, 1.0], [0.0, -0.5, 1.0], [NAN, 0.0, 0.0], [NAN, -0.5, 0.0]]
    near = [1.0, 0.5, math.exp(-0.5 / 0.25), 0.0]
    found, means = worth(ROWS, asked, asked=2.0, width=0.25)
    assert found == pytest.approx([1 + 2 * near[0], 1 + 2 * near[1], 1 + 2 * near[2], 0], rel=1e-6)
    assert means["near"] == pytest.approx(near)


def test_a_row_that_was_told_nothing_is_worth_what_it_is_besides() -> None:
    found, means = worth(["CCC"], [[NAN, NAN, 1.0]], asked=2.0)
    assert (found, means["near"]) == ([1.0], [0.0])


def test_an_oracle_of_the_callers_own_counts_as_its_value_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "liking.py").write_text(
        "def length(many): return [float('nan') if 'O' in each else len(each) / 4 for each in many]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    found, _ = worth(ROWS, None, oracles={"liking:length": 2.0})
    # Cut to 0..1: five letters are worth as much as four, and no value nothing.
    assert found == pytest.approx([1, 1 + 2, 1 + 2 * 0.75, 0])
    # Of how hard a molecule is to make less is better, and 1 as good as can be told from 0..1.
    assert worth(ROWS, None, oracles={"sa": 1.0})[0] == [1, 1, 1, 0]
