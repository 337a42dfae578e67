"""What an oracle that is not ours answers: numbers, or the reason that there is none."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from moldiff.chem.pool import Failure
from moldiff.chem.worker import tick

Answer = float | Failure
"""A finite value, or why there is none."""

Batch = Callable[[Sequence[str]], Any]
"""A list of SMILES to a list of numbers, in order."""

_SHOWN = 120
"""Characters of a stranger's text that a reason repeats."""


def number(value: Any) -> Answer:
    """The value as a finite number, or what it is instead."""
    if value is None:
        return Failure("returned None")
    if isinstance(value, str | bytes):
        return Failure(f"returned text: {_short(repr(value))}")
    if getattr(value, "ndim", 0):
        return Failure(f"returned no number: an array of shape {tuple(value.shape)}")
    try:
        found = float(value)
    except Exception:  # `__float__` is a stranger's code
        return Failure(f"returned no number: {type(value).__name__}")
    if math.isfinite(found):
        return found
    return Failure("returned nan" if math.isnan(found) else "returned an infinite number")


def raised(error: BaseException) -> Failure:
    """The reason for what an oracle raised."""
    text = _short(str(error))
    return Failure(f"raised {type(error).__name__}" + (f": {text}" if text else ""))


def answers(function: Batch, smiles: Sequence[str]) -> list[Answer]:
    """One answer a molecule from a function of several.

    Where the function raises or does not give one entry a molecule, it is asked for each alone.
    """
    tick(-1)
    found = _asked(function, smiles)
    if isinstance(found, list):
        return found
    if len(smiles) == 1:
        return [found]
    each = []
    for place, text in enumerate(smiles):
        tick(place)
        found = _asked(function, [text])
        each.append(found[0] if isinstance(found, list) else found)
    return each


def _asked(function: Batch, smiles: Sequence[str]) -> list[Answer] | Failure:
    """The answers, or why they cannot be told apart."""
    try:
        return _entries(function(list(smiles)), len(smiles))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a stranger's code may raise anything
        return raised(error)


def _entries(returned: Any, count: int) -> list[Answer] | Failure:
    if isinstance(returned, str | bytes):
        return Failure(f"returned text: {_short(repr(returned))}")
    if isinstance(returned, Mapping) or not isinstance(returned, Iterable):
        return Failure(f"returned no list: {type(returned).__name__}")
    if getattr(returned, "ndim", 1) != 1:
        return Failure(f"returned no list: an array of shape {tuple(getattr(returned, 'shape', ()))}")
    entries = list(returned)
    if len(entries) != count:
        return Failure(f"returned {len(entries)} values for {count}")
    return [number(entry) for entry in entries]


def _short(text: str) -> str:
    """The text in one line, cut where it is long."""
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
