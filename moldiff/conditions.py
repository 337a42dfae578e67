"""Conditions: properties that a model can be told, as a class, a category or a number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from moldiff.errors import MoldiffError

Floats = NDArray[np.float64]

#: Categories of a property at most.
MOST_CATEGORIES = 10_000


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    #: Fields that need no value even where the condition is fitted.
    optional: ClassVar[tuple[str, ...]] = ()


class ClassCondition(_Frozen):
    """Whether a property lies strictly above a threshold; class 1 is above.

    The threshold is the quantile of all rows, the training rows and the held-out ones (the papers' rule).
    ``base_rate`` is the share of rows in class 1.
    """

    kind: Literal["class"] = "class"
    name: str
    quantile: float = Field(default=0.9, gt=0, lt=1)
    threshold: float | None = None
    base_rate: float | None = None

    @property
    def classes(self) -> int:
        """Two: not above, above."""
        return 2

    def fit(self, values: Floats) -> Self:
        """The condition with its threshold and base rate measured on values (N,)."""
        known = values[np.isfinite(values)]
        threshold = float(np.quantile(known, self.quantile))
        update = {"threshold": threshold, "base_rate": float((known > threshold).mean())}
        return self.model_copy(update=update)

    def encode(self, values: Floats) -> Floats:
        """Classes 0.0 and 1.0, NaN where the property is unknown, for values (N,)."""
        return np.where(np.isfinite(values), (values > _known(self.threshold)).astype(float), np.nan)


class NumericCondition(_Frozen):
    """The value of a property, standardised by the mean and standard deviation of the training rows."""

    kind: Literal["numeric"] = "numeric"
    name: str
    mean: float | None = None
    std: float | None = Field(default=None, gt=0)
    minimum: float | None = None
    maximum: float | None = None

    @property
    def classes(self) -> int:
        """None: it is a number."""
        return 0

    def fit(self, values: Floats) -> Self:
        """The condition with mean, standard deviation and range measured on values (N,)."""
        known = values[np.isfinite(values)]
        update = {
            "mean": float(known.mean()),
            "std": float(known.std()) or 1.0,
            "minimum": float(known.min()),
            "maximum": float(known.max()),
        }
        return self.model_copy(update=update)

    def encode(self, values: Floats) -> Floats:
        """Standardised values (N,), NaN where the property is unknown."""
        return (np.where(np.isfinite(values), values, np.nan) - _known(self.mean)) / _known(self.std)


class CategoryCondition(_Frozen):
    """Which of several kinds an item is of: a property in whole numbers from 0.

    ``shares`` are those of all rows, one a category. With ``always`` the network is told one in every row, in
    training too and where guidance takes the others away: the one that is asked for, or else this.
    """

    optional: ClassVar[tuple[str, ...]] = ("always",)
    kind: Literal["category"] = "category"
    name: str
    always: int | None = Field(default=None, ge=0)
    shares: tuple[float, ...] | None = None

    @property
    def classes(self) -> int:
        """As many as there are categories; 1 before any was seen."""
        return len(self.shares or (1.0,))

    def fit(self, values: Floats) -> Self:
        """The condition with the categories of values (N,) and their shares.

        Raises:
            MoldiffError: a value that is no category.
        """
        known = values[np.isfinite(values)]
        odd = known[(known != np.round(known)) | (known < 0) | (known >= MOST_CATEGORIES)]
        if len(odd):
            got = f"{odd[0]:g}, categories are 0 to {MOST_CATEGORIES - 1} at most"
            raise MoldiffError(f"condition {self.name!r}: got {got}")
        counts = np.bincount(known.astype(np.int64))
        return self.model_copy(update={"shares": tuple((counts / counts.sum()).tolist())})

    def encode(self, values: Floats) -> Floats:
        """Categories as numbers, NaN where the property is none of them, for values (N,)."""
        _known(None if self.shares is None else 0.0)
        whole = np.isfinite(values) & (values == np.round(values))
        return np.where(whole & (values >= 0) & (values < self.classes), values, np.nan)


ConditionSpec = Annotated[ClassCondition | CategoryCondition | NumericCondition, Field(discriminator="kind")]


def fit_all(
    specs: Sequence[ConditionSpec], properties: dict[str, Floats], train: NDArray[np.bool_]
) -> tuple[ConditionSpec, ...]:
    """The conditions with their statistics: of numbers over the training rows, else over all."""
    for spec in specs:
        if spec.name not in properties:
            raise MoldiffError(f"condition: got {spec.name!r}, choose from {', '.join(sorted(properties))}")
        if not np.isfinite(properties[spec.name][train]).any():
            raise MoldiffError(f"condition {spec.name!r}: no training row has this property")
    return tuple(
        spec.fit(properties[spec.name][train] if spec.kind == "numeric" else properties[spec.name])
        for spec in specs
    )


def encode_all(specs: Sequence[ConditionSpec], properties: dict[str, Floats], rows: int) -> Floats:
    """Conditions as a network sees them, (N, C), NaN where unknown."""
    columns = [spec.encode(properties[spec.name]) for spec in specs]
    return np.stack(columns, axis=1) if columns else np.empty((rows, 0))


def unasked(specs: Sequence[ConditionSpec], rows: int) -> Floats:
    """What the network is told of rows of which nothing is asked, (N, C): NaN, or what it always is."""
    told = [each.always if isinstance(each, CategoryCondition) else None for each in specs]
    return np.tile([math.nan if each is None else float(each) for each in told], (rows, 1))


def always_told(specs: Sequence[ConditionSpec]) -> tuple[int, ...]:
    """The slots of which the network is always told."""
    found = enumerate(specs)
    return tuple(i for i, c in found if isinstance(c, CategoryCondition) and c.always is not None)


def numbers_of(specs: Sequence[ConditionSpec]) -> tuple[int, ...]:
    """The slots that are numbers."""
    return tuple(i for i, spec in enumerate(specs) if spec.kind == "numeric")


def _known(statistic: float | None) -> float:
    if statistic is None or not math.isfinite(statistic):
        raise MoldiffError("a condition without statistics: fit it on a data set first")
    return statistic
