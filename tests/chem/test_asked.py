"""What was asked, read back from its text, and the order that follows from it."""

import math

import numpy as np
import pandas as pd
import pytest

from moldiff.chem import asked
from moldiff.chem.oracles import oracle

KNOWN = np.linspace(0.0, 1.0, 101)


def table(**columns: list[object]) -> pd.DataFrame:
    rows = len(next(iter(columns.values())))
    return pd.DataFrame({"sane": [True] * rows, "novel": [True] * rows, **columns})


@pytest.mark.parametrize(
    ("text", "window"),
    [
        ("0.55", (0.55, 0.55)),
        ("-1", (-1, -1)),
        ("0..1.5", (0, 1.5)),
        ("-2..-1", (-2, -1)),
        ("high (above 3)", (3, math.inf)),
        ("low (not above 2.5)", (-math.inf, 2.5)),
        ("top5%", (0.95, 1.0)),
        ("bottom25%", (0.0, 0.25)),
        ("high", None),
        ("", None),
        ("nan", None),
        ("1..2..3", None),
        ("top0%", None),
        ("top1.2.3%", None),
        ("high (above x)", None),
        ("a value for each row", None),
    ],
)
def test_a_targets_text_says_what_is_wanted(text: str, window: asked.Window | None) -> None:
    assert asked.window(text, KNOWN) == (None if window is None else pytest.approx(window))


def test_a_share_of_no_training_rows_is_unknown() -> None:
    assert asked.window("top5%", np.array([math.nan])) is None


def test_rows_may_be_asked_for_values_of_their_own() -> None:
    frame = table(qed=[0.1, 0.2, 0.3], logp=[1.0, 2.0, 3.0], target_logp=["1", "2..3", None])
    found = asked.windows(frame, {"qed": {"asked": "0.5"}, "absent": {"asked": "1"}}, {})
    assert set(found) == {"qed", "logp"}
    assert found["qed"].tolist() == [[0.5, 0.5]] * 3
    assert found["logp"][:2].tolist() == [[1, 1], [2, 3]]
    assert np.isnan(found["logp"][2]).all()
    assert asked.properties(frame) == ["qed", "logp"]


def test_sane_comes_before_novel_and_novel_before_near() -> None:
    frame = pd.DataFrame(
        {
            "sane": [False, True, True, True, True],
            "novel": [True, False, True, True, True],
            "qed": [0.5, 0.5, 0.9, 0.6, math.nan],
        }
    )
    wanted = asked.windows(frame, {"qed": {"asked": "0.5"}}, {"qed": KNOWN})
    # A row without the property cannot be said to be far, but the others come first by their values.
    assert [place for place in asked.order(frame, wanted, {"qed": KNOWN}, None) if place != 4] == [3, 2, 1, 0]


def test_distance_is_in_standard_deviations_of_the_training_rows() -> None:
    frame = table(qed=[0.6, 0.5], mw=[100.0, 102.0])
    training = {"qed": np.array([0.0, 1.0]), "mw": np.array([0.0, 200.0])}
    both = {"qed": {"asked": "0.5"}, "mw": {"asked": "100"}}
    # 0.1 of 0.5 is further than 2 of 100.
    assert asked.order(frame, asked.windows(frame, both, training), training, None) == [1, 0]


@pytest.mark.parametrize(
    ("text", "order"), [("high (above 1)", [2, 1, 0]), ("low (not above 1)", [0, 1, 2]), ("1..2", [1, 2, 0])]
)
def test_a_class_is_better_the_further_in_and_a_range_is_not(text: str, order: list[int]) -> None:
    frame = table(logp=[0.0, 1.5, 2.1])
    wanted = asked.windows(frame, {"logp": {"asked": text}}, {})
    assert asked.order(frame, wanted, {}, None) == order


def test_where_nothing_was_asked_another_property_counts_in_its_direction() -> None:
    frame = table(qed=[0.1, 0.3, math.nan], sa=[2.0, 3.0, 1.0])
    assert asked.order(frame, {}, {}, oracle("qed")) == [1, 0, 2]
    assert asked.order(frame, {}, {}, oracle("sa")) == [2, 0, 1]
    assert asked.order(frame, {}, {}, oracle("mw")) == [0, 1, 2]
    assert asked.order(frame, {}, {}, None) == [0, 1, 2]
