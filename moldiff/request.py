"""Requests: what one call of ``generate`` asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict, final

from pydantic import ValidationError

from moldiff.config import Setting, explain
from moldiff.diffusion.process import Level
from moldiff.errors import MoldiffError, unknown

PRECISIONS = ("auto", "bf16", "fp32")


@final
@dataclass(frozen=True)
class Request:
    """What is asked of one call: how many rows, of which properties, by which sampler.

    None takes the model's own setting. ``options`` are the sampler's own, such as eta. ``precision`` is bf16,
    fp32, or auto for what the device is good at; the samples of two precisions differ.
    """

    n: int
    targets: tuple[str, ...] = ()
    sampler: str | None = None
    steps: int | None = None
    scale: float | None = None
    temperature: float | None = None
    top_p: float | None = None
    nucleus: Literal["standard", "inclusive"] | None = None
    complete: bool | None = None
    level: Level | None = None
    precision: str = "auto"
    options: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    batch_size: int | None = None

    def __post_init__(self) -> None:
        """Refuse counts below 1, and what is no count."""
        counts: dict[str, Any] = {
            "n": self.n,
            "batch size": 1 if self.batch_size is None else self.batch_size,
        }
        for name, count in counts.items():
            if not isinstance(count, int) or count < 1:
                raise MoldiffError(f"{name}: got {count!r}, must be a whole number of at least 1")
        if not isinstance(self.seed, int):
            raise MoldiffError(f"seed: got {self.seed!r}, must be a whole number")
        if self.scale is not None and not self.targets:
            raise MoldiffError(f"scale: got {self.scale} but no target; name one, for example qed=0.6")
        if self.precision not in PRECISIONS:
            raise unknown("precision", self.precision, PRECISIONS)

    def setting(self, default: Setting) -> Setting:
        """The full setting: what is asked, and the model's own for the rest.

        A sampler's own options belong to it, so the default's are kept only with the default sampler.
        """
        asked = {
            name: getattr(self, name)
            for name in ("sampler", "steps", "temperature", "top_p", "nucleus", "scale", "complete")
            if getattr(self, name) is not None
        }
        if not self.targets:
            asked["scale"] = 1.0  # nothing is asked, so there is nothing to sharpen
        inherit = self.sampler in (None, default.sampler)
        options = {**default.options, **self.options} if inherit else self.options
        try:
            return Setting.model_validate({**default.model_dump(), **asked, "options": options})
        except ValidationError as error:
            raise MoldiffError(explain(error)) from None


class Asked(TypedDict, total=False):
    """The keywords of ``Model.generate``."""

    targets: str | Sequence[str] | Mapping[str, Any]
    sampler: str
    steps: int
    scale: float
    eta: float
    temperature: float
    top_p: float
    nucleus: Literal["standard", "inclusive"]
    complete: bool
    level: Level
    precision: str
    options: Mapping[str, Any]
    seed: int
    batch_size: int


def spelt_targets(asked: str | Sequence[str] | Mapping[str, Any]) -> tuple[str, ...]:
    """Targets as ``name=value``, however they were given."""
    if isinstance(asked, str):
        return (asked,)
    if isinstance(asked, Mapping):
        return tuple(f"{name}={_spell(value)}" for name, value in asked.items())
    return tuple(asked)


def _spell(value: object) -> str:
    if isinstance(value, tuple | list) and len(value) == 2:
        return f"{value[0]}..{value[1]}"
    return str(value)
