"""Items with one form: what is counted, in pieces as in one, and novelty to nothing."""

import math

import numpy as np
import pandas as pd
import pytest

from moldiff.data.plain import KnownItems, identities
from moldiff.data.text import Texts
from moldiff.errors import MoldiffError

TEXTS = Texts()
ITEMS = ["to be", "or not", "to be", " ", "that is", "or not"]


def known(*items: str) -> KnownItems:
    return KnownItems(identities(items), np.ones(len(items), dtype=bool))


def test_what_is_counted() -> None:
    frame = TEXTS.evaluate(ITEMS, known("to be"))
    assert frame["raw"].tolist() == ITEMS
    assert frame["novel"].tolist() == [False, True, False, False, True, True]
    facts = TEXTS.summarise(frame, known("to be"))
    counts = ("requested", "valid", "sane", "unique")
    assert [facts[name] for name in counts] == [6, 5, 5, 3]
    assert facts["novel"] == {"canonical": 2}
    assert facts["novelty"] == 2 / 3
    assert facts["rejects"] == {"blank": 1}
    means = frame["entropy"].iloc[[1, 4]].mean()
    assert facts["novel_means"]["entropy"]["novel_canonical"] == pytest.approx(means)


@pytest.mark.parametrize("cut", range(len(ITEMS) + 1))
def test_pieces_add_up(cut: int) -> None:
    reference = known("that is")
    frame = TEXTS.evaluate(ITEMS, reference)
    whole, pieces = TEXTS.tally(reference), TEXTS.tally(reference)
    first = whole.add(frame).tolist()
    assert [*pieces.add(frame.iloc[:cut]), *pieces.add(frame.iloc[cut:])] == first
    assert first == [True, True, False, False, True, False]
    assert pieces.summary() == whole.summary()


def test_to_nothing_known_nothing_is_new() -> None:
    facts = TEXTS.summarise(TEXTS.evaluate(ITEMS, known()), known())
    assert facts["novel"] == {"canonical": 3}
    assert math.isnan(facts["novelty"])


def test_no_rows_have_the_columns() -> None:
    frame = TEXTS.evaluate([], known())
    assert isinstance(frame, pd.DataFrame)
    assert list(frame) == ["raw", "valid", "sane", "reason", "novel", "entropy", "distinct_2"]
    assert TEXTS.summarise(frame, known())["requested"] == 0


def test_what_is_for_molecules_is_refused() -> None:
    for refused in (lambda: TEXTS.measure(["qed"]), lambda: TEXTS.reference({}, {})):
        with pytest.raises(MoldiffError):
            refused()
