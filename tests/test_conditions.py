"""Conditions: what their statistics are measured on, and what a network is shown."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from moldiff.conditions import (
    CategoryCondition,
    ClassCondition,
    ConditionSpec,
    NumericCondition,
    always_told,
    encode_all,
    fit_all,
    unasked,
)
from moldiff.errors import MoldiffError

VALUES = np.array([0.0, 1.0, 1.0, 2.0, 3.0, 3.0, 3.0, np.nan])
TRAIN = np.array([True, True, True, True, False, False, True, True])


def test_a_class_lies_strictly_above_its_quantile() -> None:
    # The median of the seven known values is 2, and 2 itself is not above it.
    fitted = ClassCondition(name="p", quantile=0.5).fit(VALUES)
    assert fitted.threshold == 2
    assert fitted.base_rate == 3 / 7
    np.testing.assert_array_equal(fitted.encode(VALUES), [0, 0, 0, 0, 1, 1, 1, np.nan])
    assert fitted.classes == 2


def test_a_class_above_the_most_common_largest_value_is_empty_and_says_so() -> None:
    fitted = ClassCondition(name="p", quantile=0.9).fit(VALUES)
    assert (fitted.threshold, fitted.base_rate) == (3, 0)


def test_a_number_is_standardised_by_what_it_was_fitted_on() -> None:
    fitted = NumericCondition(name="p").fit(VALUES)
    known = VALUES[:-1]
    assert (fitted.minimum, fitted.maximum) == (0, 3)
    np.testing.assert_allclose(fitted.encode(known).mean(), 0, atol=1e-15)
    np.testing.assert_allclose(fitted.encode(known).std(), 1)
    np.testing.assert_array_equal(np.isnan(fitted.encode(VALUES)), np.isnan(VALUES))
    assert fitted.classes == 0


def test_a_constant_property_is_encoded_as_zero() -> None:
    fitted = NumericCondition(name="p").fit(np.array([4.0, 4.0, np.nan]))
    np.testing.assert_array_equal(fitted.encode(np.array([4.0, 5.0])), [0, 1])


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30), st.floats(0.01, 0.99))
def test_the_base_rate_is_the_share_that_is_encoded_as_one(values: list[float], quantile: float) -> None:
    array = np.array(values)
    fitted = ClassCondition(name="p", quantile=quantile).fit(array)
    assert fitted.base_rate == fitted.encode(array).mean()
    # Interpolated between two of n values, the quantile leaves at most one more above it than its share.
    assert fitted.base_rate <= 1 - quantile + 1 / len(values) + 1e-9


def test_infinities_count_as_unknown() -> None:
    for condition in (ClassCondition(name="p", quantile=0.5), NumericCondition(name="p")):
        fitted = condition.fit(np.array([-np.inf, 1.0, 2.0, np.inf]))
        np.testing.assert_array_equal(np.isnan(fitted.encode(np.array([1.0, np.inf, -np.inf]))), [0, 1, 1])


def test_classes_are_fitted_on_all_rows_and_numbers_on_the_training_rows() -> None:
    specs = (ClassCondition(name="p", quantile=0.5), NumericCondition(name="p"))
    above, number = fit_all(specs, {"p": VALUES}, TRAIN)
    assert above == ClassCondition(name="p", quantile=0.5).fit(VALUES)
    assert number == NumericCondition(name="p").fit(VALUES[TRAIN])
    assert above != ClassCondition(name="p", quantile=0.5).fit(VALUES[TRAIN])
    assert number != NumericCondition(name="p").fit(VALUES)


def test_encoding_keeps_the_order_of_the_conditions() -> None:
    other = np.arange(8.0)
    specs: tuple[ConditionSpec, ...] = (NumericCondition(name="q"), ClassCondition(name="p", quantile=0.5))
    properties = {"p": VALUES, "q": other}
    fitted = fit_all(specs, properties, np.ones(8, dtype=bool))
    encoded = encode_all(fitted, properties, 8)
    assert encoded.shape == (8, 2)
    np.testing.assert_array_equal(encoded[:, 0], fitted[0].encode(other))
    np.testing.assert_array_equal(encoded[:, 1], fitted[1].encode(VALUES))
    assert encode_all((), properties, 8).shape == (8, 0)


def test_what_cannot_be_fitted_or_encoded_is_refused() -> None:
    with pytest.raises(MoldiffError, match="got 'nope', choose from p"):
        fit_all((NumericCondition(name="nope"),), {"p": VALUES}, TRAIN)
    with pytest.raises(MoldiffError, match="no training row"):
        fit_all((NumericCondition(name="p"),), {"p": np.where(TRAIN, np.nan, VALUES)}, TRAIN)
    for unfitted in (ClassCondition(name="p"), NumericCondition(name="p")):
        with pytest.raises(MoldiffError, match="without statistics"):
            unfitted.encode(VALUES)


@pytest.mark.parametrize("quantile", [0, 1, -0.1, float("nan")])
def test_a_quantile_lies_between_0_and_1(quantile: float) -> None:
    with pytest.raises(ValidationError):
        ClassCondition(name="p", quantile=quantile)


def test_a_category_is_a_whole_number_of_those_seen() -> None:
    fitted = CategoryCondition(name="p").fit(VALUES)
    assert fitted.classes == 4
    assert fitted.shares == pytest.approx((1 / 7, 2 / 7, 1 / 7, 3 / 7))
    asked = np.array([0.0, 3.0, 4.0, -1.0, 1.5, np.nan])
    np.testing.assert_array_equal(fitted.encode(asked), [0, 3, np.nan, np.nan, np.nan, np.nan])


@pytest.mark.parametrize("value", [0.5, -1.0, 1e9])
def test_what_is_no_category_is_refused(value: float) -> None:
    with pytest.raises(MoldiffError, match=r"condition 'p': got .*, categories are 0 to"):
        CategoryCondition(name="p").fit(np.array([0.0, value]))


def test_categories_are_those_of_all_rows() -> None:
    (fitted,) = fit_all([CategoryCondition(name="p")], {"p": VALUES}, TRAIN)
    assert fitted.classes == 4
    with pytest.raises(MoldiffError, match="fit it"):
        CategoryCondition(name="p").encode(VALUES)


def test_what_is_always_told_is_told_where_nothing_is_asked() -> None:
    specs: tuple[ConditionSpec, ...] = (
        NumericCondition(name="p"),
        CategoryCondition(name="kind", always=1),
        CategoryCondition(name="other"),
    )
    assert always_told(specs) == (1,)
    np.testing.assert_array_equal(unasked(specs, 2), [[np.nan, 1, np.nan]] * 2)
