"""What a molecule is worth: an oracle's value, or several of them shaped and multiplied, from a goal file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self, final

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from moldiff.chem.modifiers import at_least, at_most, geometric_mean, near
from moldiff.chem.scoring import Scorer
from moldiff.config import explain
from moldiff.errors import MoldiffError
from moldiff.files import check_source

SUFFIXES = (".yaml", ".yml")
"""How the name of a goal file ends."""

NEGATIVE = "below 0"
"""Why a value is worth nothing that is a number."""

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Number = Annotated[float, Field(allow_inf_nan=False)]


@final
class Part(BaseModel):
    """One oracle of a goal, what is wanted of it, and what it counts.

    Without a wish the value itself is the worth, cut to 0..1. A wish that is met is worth 1; beside it the
    worth falls off as a Gaussian whose standard deviation is ``width``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    oracle: str
    weight: Positive = 1.0
    at_least: Number | None = None
    at_most: Number | None = None
    between: tuple[Number, Number] | None = None
    near: Number | None = None
    width: Positive | None = None

    @model_validator(mode="after")
    def _one_wish(self) -> Self:
        wishes = [
            name for name in ("at_least", "at_most", "between", "near") if getattr(self, name) is not None
        ]
        if len(wishes) > 1:
            raise ValueError(f"one wish an oracle, so {' or '.join(wishes)}")
        if bool(wishes) != (self.width is not None):
            raise ValueError("a wish (at_least, at_most, between, near) and its width go together")
        if self.between is not None and self.between[0] > self.between[1]:
            raise ValueError("between takes a lower and an upper end")
        return self

    def worth(self, value: float) -> float:
        """The worth of a value, 0 to 1."""
        width = self.width
        if width is None:
            return min(max(value, 0.0), 1.0)
        if self.at_least is not None:
            return at_least(value, self.at_least, width)
        if self.at_most is not None:
            return at_most(value, self.at_most, width)
        if self.between is not None:
            low, high = self.between
            return at_least(value, low, width) * at_most(value, high, width)
        assert self.near is not None
        return near(value, self.near, width)


@final
class Goal(BaseModel):
    """A goal file: several oracles, whose worths are multiplied."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    parts: Annotated[tuple[Part, ...], Field(min_length=1)]


@final
@dataclass(frozen=True)
class Worth:
    """What one molecule is worth.

    Args:
        value: a number, 0 or above; 0 where there is no value.
        parts: the oracles' values as they are, None where there is none.
        reason: why the worth is 0 without an oracle saying so; None otherwise.
    """

    value: float
    parts: tuple[float | None, ...]
    reason: str | None


@final
class Objective:
    """An oracle by name, or the product of those in a goal file, ready to be asked.

    A context, at whose end programs end.

    Args:
        spec: what names an oracle (docs/oracles.md), or a goal file (docs/optimize.md).
        workers: processes to share the work.
        timeout: seconds that an oracle may spend on a molecule; None for no limit.

    Raises:
        MoldiffError: an oracle that cannot be had, one of which less is better without a goal file that says
            how much, or a goal file that cannot be read.
    """

    def __init__(self, spec: str, workers: int = 1, timeout: float | None = None) -> None:
        self._goal = load_goal(Path(spec)) if spec.endswith(SUFFIXES) else None
        specs = [spec] if self._goal is None else [part.oracle for part in self._goal.parts]
        self._scorer = Scorer(specs, workers=workers, timeout=timeout)
        if self._goal is None and not self._scorer.maximize[0]:
            raise MoldiffError(
                f"oracle {spec}: less of it is better, so say how much is good enough: a goal file "
                "with at_most and width"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """The oracles that a worth has parts of."""
        return self._scorer.names

    def identity(self) -> dict[str, Any]:
        """What fixes a molecule's worth, as far as the objective knows; JSON."""
        if self._goal is None:
            return {"oracle": self.names[0]}
        return {"goal": self._goal.model_dump(mode="json", exclude_none=True)["parts"]}

    def __call__(self, molecules: Sequence[str]) -> list[Worth]:
        """The worths of N molecules, canonical SMILES; what an oracle cannot say is worth 0, with the reason.

        Raises:
            MoldiffError: an oracle that cannot be loaded.
            KeyboardInterrupt: Ctrl-C; nothing of this call counts.
        """
        scores = self._scorer(list(molecules), canonical=True)
        told = scores.told()
        rows = zip(*(scores.values[name].tolist() for name in self.names), strict=True)
        return [self._worth(row, why) for row, why in zip(rows, told, strict=True)]

    def _worth(self, row: tuple[float, ...], why: str | None) -> Worth:
        parts = tuple(None if math.isnan(value) else value for value in row)
        if why is not None or None in parts:
            return Worth(0.0, parts, why or "not defined")
        if self._goal is None:
            return Worth(row[0], parts, None) if row[0] >= 0 else Worth(0.0, parts, NEGATIVE)
        worths = [part.worth(value) for part, value in zip(self._goal.parts, row, strict=True)]
        return Worth(geometric_mean(worths, [part.weight for part in self._goal.parts]), parts, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        # Says so where a program has answered more often than it was asked, so that its values are not known.
        self._scorer.__exit__(*error)


def load_goal(path: Path) -> Goal:
    """The goal of a file; MoldiffError where it cannot be read."""
    check_source(path)
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise MoldiffError(f"goal {path}: cannot be read ({error})") from None
    try:
        found = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        line = " ".join(str(error).split())
        raise MoldiffError(f"goal {path}: not YAML ({line})") from None
    try:
        return Goal.model_validate(found)
    except ValidationError as error:
        raise MoldiffError(f"goal {path}: {explain(error)}") from None
