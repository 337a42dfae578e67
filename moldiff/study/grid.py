"""Grids: what a study varies, spelt as lists and ranges."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from moldiff.errors import MoldiffError

#: The most values of one list; more is a slip.
MOST = 10_000


@final
@dataclass(frozen=True)
class Grid:
    """What a study varies.

    Args:
        property: of which ``high`` is asked; None where nothing is asked.
        methods: names in the settings.
        guidance: kinds of guidance; ``none`` asks for nothing.
        scales: of guidance.
        steps: reverse steps T.
        seeds: one run each.
        num: samples a run.
    """

    property: str | None
    methods: tuple[str, ...]
    guidance: tuple[str, ...]
    scales: tuple[float, ...]
    steps: tuple[int, ...]
    seeds: tuple[int, ...]
    num: int

    def __post_init__(self) -> None:
        if self.num < 1:
            raise MoldiffError(f"--num: got {self.num}, must be at least 1")
        if self.property is None and set(self.guidance) != {"none"}:
            kinds = ", ".join(kind for kind in self.guidance if kind != "none")
            raise MoldiffError(f"--guidance: got {kinds} but no property to ask for; name one")


def names(option: str, text: str) -> tuple[str, ...]:
    """The names in a comma-separated list, each once, in order."""
    found = [part.strip() for part in text.split(",")]
    if not all(found):
        raise MoldiffError(f"{option}: got {text!r}, write names separated by commas")
    return tuple(dict.fromkeys(found))


def scales(text: str) -> tuple[float, ...]:
    """Scales of guidance, each once: 1..5 for whole numbers, 1,1.5,2 for any."""
    found = _numbers("--scales", text, float)
    for scale in found:
        if not math.isfinite(scale) or scale < 0:
            raise MoldiffError(f"--scales: got {scale:g} in {text!r}, must be at least 0 and finite")
    return tuple(found)


def steps(text: str) -> tuple[int, ...]:
    """Numbers of steps, each once."""
    found = [int(each) for each in _numbers("--steps", text, int)]
    if min(found) < 1:
        raise MoldiffError(f"--steps: got {min(found)} in {text!r}, must be at least 1")
    return tuple(found)


def seeds(text: str) -> tuple[int, ...]:
    """Seeds: 5 for 0..4, or a list or range such as 0,1,2 or 100..102."""
    count = text.strip()
    if count.isdecimal() and int(count[:9]) < 1:
        raise MoldiffError(f"--seeds: got {text!r}, a number of seeds is at least 1; seed 0 alone is 0..0")
    found = [
        int(each) for each in _numbers("--seeds", f"0..{_less(count)}" if count.isdecimal() else text, int)
    ]
    if min(found) < 0:
        raise MoldiffError(f"--seeds: got {min(found)} in {text!r}, must be at least 0")
    return tuple(found)


def _less(count: str) -> int:
    # A number of more digits is refused as too long a list before anything is made of it.
    return int(count[:9]) - 1


def _numbers(option: str, text: str, kind: type[int] | type[float]) -> Sequence[float]:
    """The numbers in a list of numbers and ranges a..b of whole numbers, each once, in order."""
    found: dict[float, None] = {}
    try:
        for part in text.split(","):
            if ".." not in part:
                found[kind(part)] = None
                continue
            low, high = (int(end) for end in part.split(".."))
            if low > high:
                raise MoldiffError(f"{option}: got {part.strip()!r}, a range a..b needs a <= b")
            if high - low >= MOST:
                raise MoldiffError(f"{option}: got {part.strip()!r}, at most {MOST} values make sense")
            found |= dict.fromkeys(range(low, high + 1))
    except (ValueError, OverflowError) as error:
        if isinstance(error, MoldiffError):
            raise
        example = "1..5 or 1,1.5,2" if kind is float else "1..5 or 32,64,128"
        raise MoldiffError(f"{option}: got {text!r}, write numbers such as {example}") from None
    if kind is int and max(map(abs, found)) >= 2**63:
        raise MoldiffError(f"{option}: got {text!r}, numbers are below 2^63")
    return list(found)


def budgets(text: str) -> tuple[float, ...]:
    """Costs, each once."""
    found = _numbers("--budgets", text, float)
    for cost in found:
        if not math.isfinite(cost) or cost <= 0:
            raise MoldiffError(f"--budgets: got {cost:g} in {text!r}, must be above 0 and finite")
    return tuple(found)
