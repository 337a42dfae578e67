"""The bound on -log p of given items: exact parts, bounds from below, errors that are data."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from moldiff.errors import MoldiffError
from moldiff.evaluation.likelihood import bound
from moldiff.generation.model import Model, load

ITEMS = ["CCO", "C1CCCCC1", "CC(=O)O", "CCN"]


def test_the_length_term_is_the_share_of_training_rows_of_that_length(tiny_model: Model) -> None:
    found = bound(tiny_model, ITEMS, times=4)
    lengths = tiny_model.table.lengths
    for item, term in zip(ITEMS, found.length, strict=True):
        tokens = len(tiny_model.tokenizer.encode(item))
        assert term == pytest.approx(-math.log((lengths == tokens).mean()))
    assert (found.total > found.length).all()


def test_for_a_single_token_the_bound_is_the_probability(tiny_model: Model) -> None:
    # One masked position tells nothing but that it is there: -log p("C") = -log p(L = 1) - log p(C | mask).
    mask = torch.tensor([[tiny_model.process.num_tokens]])
    null = torch.full((1, len(tiny_model.card.conditions)), torch.nan)
    with torch.no_grad():
        log_x0 = tiny_model.network(mask, torch.ones(1), null)[0, 0]
    exact = -float(log_x0[tiny_model.tokenizer.encode("C")[0]])
    found = bound(tiny_model, ["C"] * 64, times=256)
    tokens = found.total - found.length
    assert abs(tokens.mean() - exact) < 5 * np.linalg.norm(found.se) / len(found.se)
    assert found.length == pytest.approx([-math.log((tiny_model.table.lengths == 1).mean())] * 64)


def test_an_estimate_depends_on_the_seed_and_the_place_alone(tiny_model: Model) -> None:
    whole = bound(tiny_model, ITEMS, times=8, seed=5)
    assert np.array_equal(bound(tiny_model, ITEMS[:2], times=8, seed=5).total, whole.total[:2])
    assert not np.array_equal(bound(tiny_model, ITEMS, times=8, seed=6).total, whole.total)


def test_estimates_of_many_and_of_few_times_agree_within_their_errors(tiny_model: Model) -> None:
    few, many = (bound(tiny_model, ITEMS * 40, times=times, seed=1) for times in (16, 256))
    off = few.total.mean() - many.total.mean()
    assert abs(off) < 5 * math.hypot(*(np.linalg.norm(f.se) / len(f.se) for f in (few, many)))


def test_items_out_of_reach_have_a_reason_and_no_bound(tiny_model: Model) -> None:
    found = bound(tiny_model, ["CCO", "C[Se]C", "C" * 300, None], times=2)
    assert found.reasons[0] is None
    assert "[Se]" in str(found.reasons[1])
    assert "300" in str(found.reasons[2])
    assert found.reasons[3] == "nothing"
    assert np.isnan(found.total).tolist() == [False, True, True, True]


def test_too_few_times_are_refused(tiny_model: Model) -> None:
    with pytest.raises(MoldiffError, match="times: got 1"):
        bound(tiny_model, ITEMS, times=1)


def test_command_writes_one_row_a_molecule(
    tiny: Path, textbook: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import json

    import pandas as pd

    from moldiff.cli.app import run

    out, file = tmp_path / "l.csv", tmp_path / "m.smi"
    file.write_text(textbook.read_text() + "CCO\nC1CC\n\nC.C\n")
    arguments = ["likelihood", str(file), str(tiny), "--times", "2", "--device", "cpu"]
    assert run([*arguments, "--out", str(out), "--json"]) == 0
    facts, table = json.loads(capsys.readouterr().out), pd.read_csv(out)
    assert facts["molecules"] == len(table)
    assert facts["nats_per_molecule"] == pytest.approx(table["nll"].mean())
    assert facts["out_of_reach"] == table["reason"].notna().sum()
    last = len(textbook.read_text().splitlines())
    assert facts["of_which_length"] == pytest.approx(table["nll_length"].mean())
    lengths = load(str(tiny), "cpu").table.lengths
    for _, row in table[table["reason"].isna()].iterrows():
        assert row["nll_length"] == pytest.approx(-math.log((lengths == row["tokens"]).mean()))
        assert row["nll"] >= row["nll_length"]
    tail = table[table["line"] > last]
    assert tail["line"].tolist() == [last + 1, last + 2, last + 4]
    assert tail["reason"].fillna("").tolist() == ["", "ring", "fragments"]
