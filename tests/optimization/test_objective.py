"""What molecules are worth: goal files, their shapes and weights, and what an oracle cannot say."""

import math
from pathlib import Path

import pytest

from moldiff.errors import MoldiffError
from moldiff.optimization.objective import Objective, Worth

ETHANOL, BENZENE = "CCO", "c1ccccc1"


def worths(spec: str, *molecules: str) -> list[Worth]:
    with Objective(spec) as objective:
        return objective(molecules)


def goal(folder: Path, text: str) -> str:
    path = folder / "goal.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_the_worth_by_one_oracle_is_its_value() -> None:
    (found,) = worths("heavy_atoms", ETHANOL)
    assert found == Worth(3.0, (3.0,), None)


def test_a_value_below_zero_is_worth_nothing_and_is_kept() -> None:
    (found,) = worths("logp", "O")
    assert (found.value, found.reason) == (0.0, "below 0")
    assert found.parts[0] is not None
    assert found.parts[0] < 0


def test_a_goal_is_the_weighted_geometric_mean_of_its_parts(tmp_path: Path) -> None:
    spec = goal(
        tmp_path,
        "parts:\n"
        "  - {oracle: heavy_atoms, at_least: 5, width: 1}\n"
        "  - {oracle: ring_count, at_most: 0, width: 2, weight: 3}\n"
        "  - {oracle: atoms=heavy_atoms, between: [4, 8], width: 2}\n"
        "  - {oracle: again=heavy_atoms, near: 4, width: 1}\n",
    )
    ethanol, benzene = worths(spec, ETHANOL, BENZENE)
    # Squared distances in widths over 2, by their weights, over the sum of these.
    assert ethanol.value == pytest.approx(math.exp(-(2**2 + 3 * 0 + 0.5**2 + 1) / 2 / 6))
    assert benzene.value == pytest.approx(math.exp(-(0 + 3 * 0.5**2 + 0 + 2**2) / 2 / 6))
    assert benzene.parts == (6.0, 1.0, 6.0, 6.0)


def test_a_part_without_a_wish_is_cut_to_one_and_zero_ends_it_all(tmp_path: Path) -> None:
    spec = goal(tmp_path, "parts:\n  - oracle: heavy_atoms\n  - oracle: ring_count\n")
    assert [each.value for each in worths(spec, ETHANOL, BENZENE)] == [0.0, 1.0]


def test_a_part_without_a_value_is_worth_nothing_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "worthless_part.py").write_text(
        "def f(s): return [float('nan') if x == 'CCO' else 1 for x in s]"
    )
    spec = goal(tmp_path, "parts:\n  - oracle: worthless_part:f\n  - oracle: ring_count\n")
    ethanol, benzene = worths(spec, ETHANOL, BENZENE)
    assert ethanol == Worth(0.0, (None, 0.0), "worthless_part:f: returned nan")
    assert benzene.value == 1.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("parts: []", "parts"),
        ("parts:\n  - oracle: qed\n    at_least: 1\n", "parts.0: a wish .* and its width go together"),
        (
            "parts:\n  - {oracle: qed, at_least: 1, near: 2, width: 1}\n",
            "one wish an oracle, so at_least or near",
        ),
        ("parts:\n  - {oracle: qed, between: [2, 1], width: 1}\n", "a lower and an upper end"),
        ("parts:\n  - {oracle: qed, weight: 0}\n", "parts.0.weight: .* got 0"),
        ("parts:\n  - {oracle: qed, width: .nan, near: 1}\n", "parts.0.width"),
        ("parts:\n  - {oracle: qed, above: 1}\n", "parts.0.above"),
        ("parts:\n  - {oracle: nothing}\n", "unknown oracle: got 'nothing'"),
        ("parts: [", "not YAML"),
        ("3", "goal"),
    ],
)
def test_a_goal_file_that_says_nothing_clear_is_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(MoldiffError, match=message):
        Objective(goal(tmp_path, text))


def test_less_is_better_needs_a_goal_file(tmp_path: Path) -> None:
    with pytest.raises(MoldiffError, match=r"oracle sa: less of it is better, .* at_most"):
        Objective("sa")
    with pytest.raises(MoldiffError, match="cannot be read"):
        Objective(str(tmp_path / "nowhere.yaml"))
