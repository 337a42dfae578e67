"""Requests: what one call of ``generate`` asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack, final

from pydantic import ValidationError

from moldiff.config import Setting, explain
from moldiff.diffusion.process import Level
from moldiff.errors import MoldiffError, unknown
from moldiff.plan import TargetFile, read_targets

PRECISIONS = ("auto", "bf16", "fp32")
#: For distinct samples, how many are drawn at most for each that is wanted.
DRAWS = 20


@final
@dataclass(frozen=True)
class Request:
    """What is asked of one call: how many rows, of which properties, by which sampler.

    None takes the model's own setting. ``options`` are the sampler's own, such as eta. ``precision`` is bf16,
    fp32, or auto for what the device is good at; the samples of two precisions differ.

    ``targets_from`` asks by the lines of a file instead of ``targets``; n is then the rows it asks for. With
    ``unique``, n is the number of distinct sane samples wanted, drawn until they are found or ``max_samples``
    are drawn, by default ``DRAWS`` n. ``oracles`` are asked about every sample, each for at most
    ``oracle_timeout`` seconds. ``workers`` processes share the scoring.
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
    targets_from: TargetFile | None = None
    unique: bool = False
    max_samples: int | None = None
    oracles: tuple[str, ...] = ()
    oracle_timeout: float | None = None
    workers: int = 1

    def __post_init__(self) -> None:
        """Refuse counts below 1, and what is no count."""
        counts: dict[str, Any] = {
            "n": self.n,
            "batch size": 1 if self.batch_size is None else self.batch_size,
            "max samples": 1 if self.max_samples is None else self.max_samples,
            "workers": self.workers,
        }
        for name, count in counts.items():
            if not isinstance(count, int) or count < 1:
                raise MoldiffError(f"{name}: got {count!r}, must be a whole number of at least 1")
        if not isinstance(self.seed, int):
            raise MoldiffError(f"seed: got {self.seed!r}, must be a whole number")
        if self.scale is not None and not self.asks:
            raise MoldiffError(f"scale: got {self.scale} but no target; name one, for example qed=0.6")
        self._check_selection()
        if self.precision not in PRECISIONS:
            raise unknown("precision", self.precision, PRECISIONS)

    def _check_selection(self) -> None:
        """Refuse ways of asking that do not go together."""
        if self.max_samples is not None and not self.unique:
            raise MoldiffError(f"max samples: got {self.max_samples}, it goes with unique only")
        if self.max_samples is not None and self.max_samples < self.n:
            raise MoldiffError(f"max samples: got {self.max_samples}, must be at least n, {self.n}")
        if self.targets_from is None:
            return
        for name, given in {"targets": self.targets, "unique": self.unique}.items():
            if given:
                raise MoldiffError(f"targets from {self.targets_from.path}: got {name} too; leave one off")
        if self.n != self.targets_from.rows:
            raise MoldiffError(
                f"n: got {self.n}, but {self.targets_from.path} asks for {self.targets_from.rows} rows; "
                "leave n off"
            )

    @property
    def asks(self) -> bool:
        """Whether anything is asked of the samples."""
        return bool(self.targets) or self.targets_from is not None

    @property
    def draws(self) -> int:
        """How many samples are drawn, at most."""
        if not self.unique:
            return self.n
        return DRAWS * self.n if self.max_samples is None else self.max_samples

    def identity(self) -> dict[str, Any]:
        """What fixes the samples, the setting aside; JSON."""
        return {"targets": list(self.targets), **self.facts()}

    def facts(self) -> dict[str, Any]:
        """What a summary says of the ways of asking that are not always there; JSON."""
        found: dict[str, Any] = {}
        if self.unique:
            found["distinct_only"], found["max_samples"] = True, self.draws
        if self.targets_from is not None:
            found["targets_from"] = self.targets_from.facts()
        if self.oracles:
            found["oracles"] = list(self.oracles)
        return found

    def setting(self, default: Setting) -> Setting:
        """The full setting: what is asked, and the model's own for the rest.

        A sampler's own options belong to it, so the default's are kept only with the default sampler.
        """
        asked = {
            name: getattr(self, name)
            for name in ("sampler", "steps", "temperature", "top_p", "nucleus", "scale", "complete")
            if getattr(self, name) is not None
        }
        if not self.asks:
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
    targets_from: str | Path | None
    per_target: int | None
    unique: bool
    max_samples: int | None
    sampler: str | None
    steps: int | None
    scale: float | None
    eta: float
    temperature: float | None
    top_p: float | None
    nucleus: Literal["standard", "inclusive"] | None
    complete: bool | None
    level: Level | None
    precision: str
    options: Mapping[str, Any]
    seed: int
    batch_size: int | None
    oracles: str | Sequence[str]
    oracle_timeout: float | None
    workers: int


def asked_for(n: int | None, **asked: Unpack[Asked]) -> Request:
    """The request that the keywords of ``Model.generate`` spell."""
    for name in asked:
        if name not in Asked.__annotations__:
            raise unknown("option of generate", name, Asked.__annotations__)
    rest: dict[str, Any] = dict(asked)
    options = {**rest.pop("options", {})}
    if "eta" in rest:
        options["eta"] = rest.pop("eta")
    targets = spelt_targets(rest.pop("targets", ()))
    if "oracles" in rest:
        given = rest["oracles"]
        rest["oracles"] = (given,) if isinstance(given, str) else tuple(given)
    file, per_target = rest.pop("targets_from", None), rest.pop("per_target", None)
    if file is not None:
        rest["targets_from"] = read_targets(Path(file), 1 if per_target is None else per_target)
        n = rest["targets_from"].rows if n is None else n
    elif per_target is not None:
        raise MoldiffError(f"per target: got {per_target}, it goes with targets from a file only")
    if n is None:
        raise MoldiffError("n: got nothing, must be a whole number of at least 1")
    return Request(n, targets, options=options, **rest)


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
