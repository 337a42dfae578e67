"""Targets: how they are read, which training rows stand for them, and what the network is told."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from moldiff.conditions import CategoryCondition, ClassCondition, ConditionSpec, NumericCondition
from moldiff.errors import MoldiffError
from moldiff.targets import MARGIN, NEAREST, WRONG_CLASS, Table, Target, TargetSampler, misses, parse

N = 1000
A = np.linspace(0.0, 10.0, N)
B = np.tile([0.0, 1.0, 2.0, 3.0], N // 4)
# Rows are told apart by their length, and a tenth of them does not know b.
TABLE = Table(np.arange(1, N + 1), {"a": A, "b": np.where(np.arange(N) % 10 == 9, np.nan, B)})
SPECS: tuple[ConditionSpec, ...] = (
    ClassCondition(name="b", quantile=0.7).fit(TABLE.properties["b"]),
    NumericCondition(name="a").fit(A),
    NumericCondition(name="b").fit(TABLE.properties["b"]),
    ClassCondition(name="a", quantile=0.9).fit(A),
)


def ask(*texts: str, table: Table = TABLE) -> TargetSampler:
    return TargetSampler(table, SPECS, [parse(text, SPECS, table) for text in texts])


def draw(sampler: TargetSampler, n: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    lengths, cond = sampler.draw(torch.arange(n), seed)
    assert cond is not None
    return lengths, cond.double().numpy()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=6", Target("a", "6", 6, 6)),
        (" a = 6.50 ", Target("a", "6.50", 6.5, 6.5)),
        ("a=1e0", Target("a", "1e0", 1, 1)),
        ("a=1..3", Target("a", "1..3", 1, 3)),
        ("a=-5..0.5", Target("a", "-5..0.5", -5, 0.5)),
        ("a=10..99", Target("a", "10..99", 10, 99)),
        ("a=4..4", Target("a", "4..4", 4, 4)),
        ("a=4..", Target("a", "4..", 4, 10)),
        ("a=..4", Target("a", "..4", 0, 4)),
        ("a=high", Target("a", "high", label=1)),
        ("b=low", Target("b", "low", label=0)),
        ("a=top5%", Target("a", "top5%", 9.5, 10)),
        ("a=bottom2.5%", Target("a", "bottom2.5%", 0, 0.25)),
        ("b=top20%", Target("b", "top20%", 3, 3)),
    ],
)
def test_what_is_written_is_understood(text: str, expected: Target) -> None:
    found = parse(text, SPECS, TABLE)
    assert (found.name, found.text, found.label) == (expected.name, expected.text, expected.label)
    np.testing.assert_allclose((found.low, found.high), (expected.low, expected.high))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "write it as name=value"),
        ("a", "write it as name=value"),
        ("a=", "write it as name=value"),
        ("=1", "got property ''"),
        ("c=1", "got property 'c', this model knows a, b"),
        ("A=1", r"got property 'A' \(a\?\), this model knows a, b"),
        ("a=x", "write a number, a..b, high, low, top5% or bottom5%"),
        ("a=..", "finite"),
        ("a=11..", "out of reach"),
        ("a=..-1", "out of reach"),
        ("a=1..2..3", "write a number"),
        ("a=1,2", "write a number"),
        ("a=top5", "write a number"),
        ("a=top%", "write a number"),
        ("a=top-5%", "write a number"),
        ("a=HIGH", "write a number"),
        ("a=top0%", "above 0 and below 100"),
        ("a=bottom100%", "above 0 and below 100"),
        ("a=nan", "finite"),
        ("a=inf", "finite"),
        ("a=-inf..3", "finite"),
        ("a=1..nan", "finite"),
        ("a=3..1", "a <= b"),
        ("a=10.01", r"out of reach, the training rows span 0..10"),
        ("a=-2..-1", "out of reach"),
        ("a=11..12", "out of reach"),
    ],
)
def test_nonsense_is_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(MoldiffError, match=message) as caught:
        parse(text, SPECS, TABLE)
    assert len(str(caught.value).splitlines()) == 1


def test_a_kind_that_the_model_does_not_know_is_refused() -> None:
    with pytest.raises(MoldiffError, match="ask for a number or a range"):
        parse("a=high", SPECS[1:3], TABLE)
    with pytest.raises(MoldiffError, match="ask for high or low"):
        parse("b=2", SPECS[:1], TABLE)
    with pytest.raises(MoldiffError, match="none: this model has no conditions"):
        parse("b=2", (), TABLE)


@given(st.text(max_size=12))
def test_no_text_raises_anything_but_the_error_for_callers(text: str) -> None:
    try:
        found = parse("a=" + text, SPECS, TABLE)
    except MoldiffError:
        return
    assert found.label is not None or (math.isfinite(found.low) and found.low <= found.high)


def test_one_property_is_asked_for_once() -> None:
    with pytest.raises(MoldiffError, match="ask one thing of a property"):
        ask("a=1", "a=high")


def test_nothing_asked_draws_every_row_and_tells_nothing() -> None:
    plan = ask()
    assert len(plan.rows) == N
    assert plan.distance == 0
    lengths, cond = draw(plan, 20_000)
    assert np.isnan(cond).all()
    assert len(np.unique(lengths)) == N
    assert abs(lengths.mean() - (N + 1) / 2) < 5 * N / math.sqrt(12 * 20_000)


def test_a_point_is_told_as_it_is_and_lengths_come_from_the_nearest_rows() -> None:
    plan = ask("a=6")
    nearest = np.argsort(np.abs(A - 6), kind="stable")[:NEAREST]
    assert set(nearest) <= set(plan.rows)
    assert len(plan.rows) <= NEAREST + 1  # a tie at the far end
    lengths, cond = draw(plan)
    assert set(lengths - 1) <= set(plan.rows)
    np.testing.assert_allclose(cond[:, 1], (6 - A.mean()) / A.std(), rtol=1e-6)


def test_a_large_table_gives_its_share_of_rows() -> None:
    rows = 100_000
    table = Table(np.ones(rows, dtype=np.int64), {"a": np.linspace(0, 10, rows), "b": np.zeros(rows)})
    assert len(ask("a=0", table=table).rows) == 500


def test_only_the_named_slot_of_the_named_kind_is_set() -> None:
    for text, slot in {"b=high": 0, "a=6": 1, "b=2": 2, "a=low": 3}.items():
        _, cond = draw(ask(text))
        assert not np.isnan(cond[:, slot]).any()
        assert np.isnan(np.delete(cond, slot, axis=1)).all()
    _, cond = draw(ask("b=high", "a=6"))
    assert np.isnan(cond[:, 2:]).all()
    assert not np.isnan(cond[:, :2]).any()


def test_a_range_takes_the_value_of_the_row_that_gives_the_length_moved_to_the_middle() -> None:
    lengths, cond = draw(ask("a=1..9"), 2000)
    values = cond[:, 1] * A.std() + A.mean()
    margin = MARGIN * A.std()
    away = A[lengths - 1] - 5
    np.testing.assert_allclose(values, 5 + np.sign(away) * np.maximum(abs(away) - margin, 0), atol=0.01)
    assert values.min() >= 1 + margin - 0.01
    assert values.max() <= 9 - margin + 0.01
    assert len(np.unique(lengths)) > 600  # all 800 rows inside may be drawn


def test_a_narrow_range_asks_for_the_median_of_the_rows_inside() -> None:
    # Of some 220 rows inside 200 are at 4.1.
    values = np.concatenate([np.linspace(0, 10, 300), np.full(200, 4.1)])
    table = Table(np.ones(500, dtype=np.int64), {"a": values, "b": np.zeros(500)})
    slot = SPECS[1]
    asked = draw(ask("a=4..4.8", table=table))[1][:, 1]
    np.testing.assert_allclose(asked, slot.encode(np.full(400, 4.1)), atol=1e-6)


def test_a_range_without_a_row_inside_asks_for_its_middle() -> None:
    table = Table(np.ones(4, dtype=np.int64), {"a": np.array([0.0, 1.5, 9.5, 10.0]), "b": np.zeros(4)})
    plan = ask("a=4..5", table=table)
    assert plan.distance > 0.5
    values = draw(plan)[1][:, 1] * A.std() + A.mean()
    assert set(np.round(values, 5)) == {4.5}


def test_a_range_of_counts_asks_for_each_of_them() -> None:
    _, cond = draw(ask("b=1..3"), 2000)
    spec = SPECS[2]
    known = spec.encode(np.array([1.0, 2.0, 3.0]))
    assert set(np.round(cond[:, 2], 5)) == set(np.round(known, 5))


def test_a_share_is_the_range_of_the_best_rows() -> None:
    lengths, cond = draw(ask("a=top30%"), 2000)
    assert lengths.min() >= 0.7 * N
    values = cond[:, 1] * A.std() + A.mean()
    assert values.min() >= 7 - 1e-4
    assert abs(values.mean() - 8.5) < 0.05
    lengths, _ = draw(ask("a=bottom30%"), 2000)
    assert lengths.max() <= 0.3 * N + 1


def test_a_class_is_told_by_its_number_and_keeps_its_rows() -> None:
    # Enough rows lie in each class, so that no other is drawn.
    for text, label in {"b=high": 1, "b=low": 0}.items():
        lengths, cond = draw(ask(text), 1000)
        assert (cond[:, 0] == label).all()
        values = TABLE.properties["b"][lengths - 1]
        assert ((values > SPECS[0].threshold) == label).all()
        assert not np.isnan(values).any()


def test_several_targets_are_weighed_together() -> None:
    plan = ask("a=6", "b=high")
    lengths, cond = draw(plan, 1000)
    spread = np.abs(A[plan.rows] - 6).max()
    in_class = TABLE.properties["b"] > SPECS[0].threshold
    # The rows are those of the class that are nearest in a, farther away than without the class.
    assert in_class[plan.rows].all()
    assert np.abs(A[in_class] - 6)[np.abs(A[in_class] - 6) < spread].size <= len(plan.rows)
    assert spread > np.abs(A[ask("a=6").rows] - 6).max()
    assert (cond[:, 0] == 1).all()
    np.testing.assert_allclose(cond[:, 1], (6 - A.mean()) / A.std(), rtol=1e-6)
    assert set(lengths - 1) <= set(plan.rows)


def test_targets_that_no_row_meets_together_say_how_far_the_nearest_are() -> None:
    # a and b are independent, so both at once is easy; a twice as far from any row is not.
    table = Table(np.arange(1, N + 1), {"a": A, "b": A})
    assert ask("a=1", "b=1", table=table).distance < 0.3
    assert ask("a=1", "b=3", table=table).distance > 0.4
    rare = Table(np.arange(1, N + 1), {"a": A, "b": np.zeros(N)})
    assert ask("b=high", table=rare).distance == WRONG_CLASS


def test_draws_depend_on_the_seed_and_the_row_alone() -> None:
    plan = ask("a=2..5", "b=high")
    lengths, cond = plan.draw(torch.arange(300), seed=4)
    assert cond is not None
    shuffled = torch.randperm(300, generator=torch.Generator().manual_seed(0))
    for ids in (torch.arange(7), torch.arange(100, 300), shuffled):
        some_lengths, some_cond = plan.draw(ids, seed=4)
        assert some_cond is not None
        np.testing.assert_array_equal(some_lengths, lengths[ids.numpy()])
        torch.testing.assert_close(some_cond, cond[ids], rtol=0, atol=0, equal_nan=True)
    assert (plan.draw(torch.arange(300), seed=5)[0] != lengths).mean() > 0.5


def test_a_model_without_conditions_still_draws_lengths() -> None:
    lengths, cond = TargetSampler(TABLE, ()).draw(torch.arange(50), seed=0)
    assert cond is None
    assert len(np.unique(lengths)) > 40


def test_misses_grow_with_the_distance_and_add_up() -> None:
    values = {"a": np.array([5.0, 6.0, 9.0]), "b": np.array([0.0, 3.0, 3.0])}
    b = TABLE.properties["b"]
    near = misses([parse("a=4..6", SPECS, TABLE)], values, TABLE)
    np.testing.assert_allclose(near, [0, 0, 3 / A.std()])
    both = misses([parse("a=4..6", SPECS, TABLE), parse("b=high", SPECS, TABLE)], values, TABLE)
    into = -(values["b"] - np.nanmean(b)) / np.nanstd(b)
    np.testing.assert_allclose(both, near + into)
    low = misses([parse("b=low", SPECS, TABLE)], values, TABLE)
    np.testing.assert_allclose(low, -into)


def test_a_class_with_few_rows_is_not_filled_up_with_the_other() -> None:
    values = np.r_[np.zeros(190), np.ones(10)]
    table = Table(np.arange(1, 201), {"c": values})
    specs = (ClassCondition(name="c", quantile=0.9).fit(values),)
    sampler = TargetSampler(table, specs, [parse("c=high", specs, table)])
    assert sampler.rows.tolist() == list(range(190, 200))
    assert sampler.distance == 0


# Rows that are told apart by their length, of five categories.
KINDS = Table(np.arange(1, N + 1), {"k": np.tile(np.arange(5.0), N // 5)})
KIND: tuple[ConditionSpec, ...] = (CategoryCondition(name="k").fit(KINDS.properties["k"]),)


def test_a_category_is_asked_for_by_its_number() -> None:
    found = parse("k=3", KIND, KINDS)
    assert (found.label, found.category) == (3, True)
    lengths, cond = draw(TargetSampler(KINDS, KIND, [found]))
    assert (KINDS.properties["k"][lengths - 1] == 3).all()
    np.testing.assert_array_equal(cond, np.full((400, 1), 3.0))


def test_of_a_category_there_is_no_more_and_no_less() -> None:
    away = misses([parse("k=3", KIND, KINDS)], {"k": np.array([0.0, 3.0, 4.0])}, KINDS)
    np.testing.assert_array_equal(away, [WRONG_CLASS, 0, WRONG_CLASS])


@pytest.mark.parametrize("value", ["5", "-1", "2.5", "high", "1..3", "top5%", "1e400", "nan"])
def test_other_categories_are_refused(value: str) -> None:
    with pytest.raises(MoldiffError, match="ask for") as caught:
        parse(f"k={value}", KIND, KINDS)
    assert "category" in str(caught.value)
