"""Conditions: properties that a model can be told, as a class or as a number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from moldiff.errors import MoldiffError

Floats = NDArray[np.float64]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


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


ConditionSpec = Annotated[ClassCondition | NumericCondition, Field(discriminator="kind")]


def fit_all(
    specs: Sequence[ConditionSpec], properties: dict[str, Floats], train: NDArray[np.bool_]
) -> tuple[ConditionSpec, ...]:
    """The conditions with their statistics: classes over all rows, numbers over the training rows."""
    for spec in specs:
        if spec.name not in properties:
            raise MoldiffError(f"condition: got {spec.name!r}, choose from {', '.join(sorted(properties))}")
        if not np.isfinite(properties[spec.name][train]).any():
            raise MoldiffError(f"condition {spec.name!r}: no training row has this property")
    return tuple(
        spec.fit(properties[spec.name] if spec.kind == "class" else properties[spec.name][train])
        for spec in specs
    )


def encode_all(specs: Sequence[ConditionSpec], properties: dict[str, Floats], rows: int) -> Floats:
    """Conditions as a network sees them, (N, C), NaN where unknown."""
    columns = [spec.encode(properties[spec.name]) for spec in specs]
    return np.stack(columns, axis=1) if columns else np.empty((rows, 0))


def _known(statistic: float | None) -> float:
    if statistic is None or not math.isfinite(statistic):
        raise MoldiffError("a condition without statistics: fit it on a data set first")
    return statistic
