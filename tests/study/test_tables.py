"""Tables of a study of which every number was made up, so that each can be computed by hand."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from moldiff.files import write_json
from moldiff.study.tables import Results, summary

#: (method, scale, steps, seed) -> novel, mean, GFLOP a molecule; a forward is 1 GFLOP.
RUNS = {
    ("a", 1, 8, 0): (10, 3, 4),
    ("a", 1, 8, 1): (20, 3, 4),
    ("a", 1, 32, 0): (40, 2, 8),
    ("a", 1, 32, 1): (40, 2, 8),
    ("a", 2, 8, 0): (5, 2, 8),
    ("a", 2, 8, 1): (5, 2, 8),
    ("a", 2, 32, 0): (0, math.nan, 16),
    ("a", 2, 32, 1): (10, 5, 16),
    ("b", 1, None, 0): (30, 4, 20),
    ("b", 1, None, 1): (50, 4, 20),
    ("b", 2, None, 0): (10, 1.5, 40),
}


@pytest.fixture
def results() -> Results:
    rows = [
        {
            **dict(zip(("method", "scale", "steps", "seed"), point, strict=True)),
            "guidance": "cfg", "samples": 64, "valid": 50, "sane": 50, "unique": 50, "unique_upstream": 50,
            "novel": novel, "novel_upstream": novel + 1, "qed_novel": mean, "qed_novel_upstream": mean,
            "qed_valid": mean, "intdiv": 0.8, "forwards": cost, "token_forwards": 10 * cost,
            "classifier_forwards": 0, "gflop": cost, "seconds": 1, "tokens": 10, "device": "cpu",
        }
        for point, (novel, mean, cost) in RUNS.items()
    ]  # fmt: skip
    frame = pd.DataFrame(rows).astype({"steps": "Int64"})
    return Results(frame, "qed", 1.0, {"a": 4, "b": 2})


def test_points_are_means_over_seeds_with_their_errors(results: Results) -> None:
    point = results.points.iloc[0]
    assert (point["novel"], point["novel_se"], point["qed_novel"], point["seeds"]) == (15, 5, 3, 2)
    assert results.forward == 1
    assert point["cost"] == 4
    # A run without a novel row has no mean; the others' stands.
    last = results.points[(results.points["scale"] == 2) & (results.points["steps"] == 32)].iloc[0]
    assert (last["novel"], last["qed_novel"], math.isnan(last["qed_novel_se"])) == (5, 5, True)


def test_a_front_is_what_a_methods_own_points_do_not_dominate(results: Results) -> None:
    front = results.front()
    kept = front[front["protocol"] == "canonical"]
    own = kept.loc[kept["method"] == "a", ["scale", "steps"]].to_numpy().tolist()
    assert own == [[1, 32], [1, 8], [2, 32]]
    assert kept.loc[kept["method"] == "b", "scale"].tolist() == [1]


def test_hypervolumes_by_hand(results: Results) -> None:
    found = results.hypervolumes("canonical")
    # Seed 0: 40 x (2 - 1) + 10 x (3 - 2); seed 1: 40 x 1 + 20 x 1 + 10 x (5 - 3).
    assert found["a"] == {0: 50, 1: 80}
    # Seed 1 of b lacks a run.
    assert found["b"] == {0: 30 * 3}
    assert results.hypervolumes("upstream")["b"] == {0: 31 * 3}
    assert results.hypervolumes("canonical", steps=8)["a"] == {0: 20, 1: 40}
    # A sampler without steps counts at any number of them, and a cost shuts out what is dearer.
    assert results.hypervolumes("canonical", steps=8)["b"] == {0: 90}
    assert results.hypervolumes("canonical", cost=8) == {"a": {0: 50, 1: 60}, "b": {}}
    assert results.hypervolumes("canonical", guidance="cbg") == {"a": {}, "b": {}}


def test_budgets_buy_the_dearest_point_of_each_scale(results: Results) -> None:
    found = results.budgets([3, 8, 20])
    bought = found[["budget", "method", "scale", "gflop"]].to_numpy().tolist()
    assert bought == [[8, "a", 1, 8], [8, "a", 2, 8], [20, "a", 1, 8], [20, "a", 2, 16], [20, "b", 1, 20]]
    assert found["novel_per_gflop"].iloc[0] == pytest.approx(40 / 64 / 8)


def test_the_common_budget_is_what_all_with_steps_can_spend_at_every_scale(results: Results) -> None:
    assert results.common_budget("cfg") == 16
    assert set(results.bought()["gflop"]) == {8, 16}


def test_a_method_that_is_too_dear_at_any_steps_is_not_waited_for(results: Results) -> None:
    """The second method's fewest steps cost 20 and 40: within three times 16, and then beyond it."""
    for factor, budget in ((1, 40), (2, 16)):
        frame = results.frame.copy()
        second = frame["method"] == "b"
        frame.loc[second, "steps"] = 8
        frame.loc[second, ["gflop", "token_forwards"]] *= factor
        other = Results(frame, "qed", 1.0, {"a": 4, "b": 2})
        assert other.common_budget("cfg") == budget


def test_the_summary_is_json_and_holds_the_definition(results: Results, tmp_path) -> None:
    found = summary(results, [8.0])
    write_json(found, tmp_path / "s.json")
    assert found["reference"] == {"novel": 0, "mean": 1.0}
    assert found["hypervolume"]["a"] == {"mean": 65, "se": pytest.approx(15), "seeds": 2}
    assert found["hypervolume"]["b"] == {"mean": 90, "se": None, "seeds": 1}
    assert found["difference"] == {"a - b": {"mean": 50 - 90, "se": None, "seeds": 1}}
    assert found["by_steps_canonical"]["cfg"].keys() == {"8", "32"}
    assert found["by_budget_canonical"]["cfg"]["8"]["hypervolume"]["b"] == {
        "mean": None,
        "se": None,
        "seeds": 0,
    }
