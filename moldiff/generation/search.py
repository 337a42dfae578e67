"""Searches: what is drawn of a model by a reward instead of a target, and the reward of what was drawn."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, final

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from moldiff.diffusion.steering import BestOf, Found, Particles
from moldiff.errors import MoldiffError
from moldiff.generation.totals import Moments
from moldiff.types import Measure, Modality

Floats = NDArray[np.float64]

#: How strongly the reward counts where nothing is said.
TILT = 10.0
#: The most particles of a row.
MOST = 10_000
#: The columns of what was kept, and of the sample that would have been drawn without the search.
REWARD, PLAIN = "reward", "reward_unsteered"

_WEIGHT = re.compile(r"\s*([-+]?[0-9.]+(?:[eE][+-]?[0-9]+)?)\s*\*\s*(.*)", re.DOTALL)
_GOAL = re.compile(r"(.+)=\s*(high|low|\S+\.\.\S+|[-+]?[0-9.]+(?:[eE][+-]?[0-9]+)?)\s*", re.DOTALL)
#: Oracles whose own argument may end in = and a number: it stays theirs.
_OPEN = re.compile(r"(?:\w+=)?(?:similarity|smarts|scaffold|cmd):")


@final
@dataclass(frozen=True)
class Wish:
    """What is sought of one oracle's value v.

    Args:
        oracle: as ``score`` spells it.
        weight: above 0; what the wish counts beside others.
        goal: ``high`` where the reward is v, ``low`` where it is -v, ``range`` where it is minus the distance
            to one, ``own`` where the oracle says whether larger is better.
        low: least value of the range.
        high: largest value of the range.
    """

    oracle: str
    weight: float = 1.0
    goal: Literal["high", "low", "range", "own"] = "own"
    low: float = math.nan
    high: float = math.nan

    def __call__(self, values: Floats, maximize: bool) -> Floats:
        """The rewards of values (N,), weighted; NaN where there is no value."""
        if self.goal == "range":
            away: Floats = np.maximum(self.low - values, values - self.high)
            return -self.weight * np.maximum(0.0, away)
        up = maximize if self.goal == "own" else self.goal == "high"
        return self.weight * (values if up else -values)

    def text(self, maximize: bool) -> str:
        """What it means, with the oracle's own direction written out."""
        weight = "" if self.weight == 1 else f"{self.weight:g}*"
        if self.goal == "range":
            asked = f"{self.low:g}" if self.low == self.high else f"{self.low:g}..{self.high:g}"
        else:
            asked = self.goal if self.goal != "own" else "high" if maximize else "low"
        return f"{weight}{self.oracle}={asked}"


def wish(text: str) -> Wish:
    """The wish that ``[WEIGHT*]ORACLE[=high|low|VALUE|A..B]`` spells; without a goal, the oracle's own.

    Raises:
        MoldiffError: no oracle, a weight that is not above 0, or no range.
    """
    weighed = _WEIGHT.fullmatch(text)
    try:
        weight = float(weighed[1]) if weighed else 1.0
    except ValueError:
        weight = math.nan
    if not 0 < weight < math.inf:
        raise MoldiffError(f"reward: got {text!r}, its weight must be above 0; for less of it write =low")
    rest = (weighed[2] if weighed else text).strip()
    found = _GOAL.fullmatch(rest)
    if found is None or (_OPEN.match(rest) and found[2] not in ("high", "low") and ".." not in found[2]):
        if not rest:
            raise MoldiffError(f"reward: got {text!r}, write an oracle, for example qed, sa=low or logp=1..3")
        return Wish(rest, weight)
    oracle, goal = found[1].strip(), found[2]
    if goal in ("high", "low"):
        return Wish(oracle, weight, "high" if goal == "high" else "low")
    try:
        low, high = (float(part) for part in (goal.split("..") if ".." in goal else (goal, goal)))
    except ValueError:
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise MoldiffError(f"reward: got {text!r}, write high, low, a number or a..b with a <= b after the =")
    return Wish(oracle, weight, "range", low, high)


@final
@dataclass(frozen=True)
class Search:
    """How each row is sought among ``size`` particles.

    Args:
        rewards: what is sought, as text; their weighted sum is the reward.
        size: K.
        tilt: of particles; None for the best of independent samples.
        options: of particles, see ``moldiff.diffusion.steering.Particles``.

    Raises:
        MoldiffError: a number out of range, an option that there is not, or no reward.
    """

    rewards: tuple[str, ...]
    size: int
    tilt: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        size: Any = self.size
        if not isinstance(size, int) or not 1 <= size <= MOST:
            raise MoldiffError(f"{self.method}: got {self.size!r}, must be a whole number from 1 to {MOST}")
        if not self.rewards:
            raise MoldiffError(f"{self.method}: got {self.size} but no reward; name one, for example qed")
        for text in self.rewards:
            wish(text)
        if self.tilt is None and self.options:
            raise MoldiffError("search option: best-of takes none, they go with particles")
        self._on(_nothing, _worthless, _ignored)

    @property
    def method(self) -> str:
        """Its name."""
        return "best-of" if self.tilt is None else "particles"

    @property
    def shows_plain(self) -> bool:
        """Whether the first particle is the sample that would have been drawn without the search."""
        found = {**options(), **self.options}
        return self.tilt is None or bool(found["control"]) or not found["looks"]

    def facts(self) -> dict[str, Any]:
        """What a summary says of it; JSON."""
        found: dict[str, Any] = {"method": self.method, "size": self.size, "rewards": list(self.rewards)}
        if self.tilt is not None:
            taken = self._on(_nothing, _worthless, _ignored)
            found |= {"tilt": self.tilt, **{name: getattr(taken, name) for name in options()}}
        return found

    def on(self, sampler: Any, reward: Reward, told: Callable[[Found], None]) -> BestOf | Particles:
        """The sampler with this search on top; MoldiffError where it cannot be steered."""
        return self._on(sampler, reward, told)

    def _on(self, sampler: Any, reward: Any, told: Any) -> BestOf | Particles:
        if self.tilt is None:
            return BestOf(sampler, reward, self.size, told)
        return Particles(sampler, reward, self.size, self.tilt, told=told, **_read(self.options))


def searched(
    best_of: int | None = None,
    particles: int | None = None,
    reward: str | Sequence[str] = (),
    tilt: float | None = None,
    search_options: Mapping[str, Any] | None = None,
) -> Search | None:
    """The search that the keywords of ``Model.generate`` ask for; None where they ask for none."""
    rewards = (reward,) if isinstance(reward, str) else tuple(reward)
    if best_of is not None and particles is not None:
        raise MoldiffError(f"search: got best-of {best_of} and particles {particles}; leave one off")
    if best_of is None and particles is None:
        given = {"reward": rewards, "tilt": tilt, "search options": search_options}
        for name, value in given.items():
            if value not in (None, (), {}):
                raise MoldiffError(f"{name}: got {value!r}, it goes with best-of or particles only")
        return None
    if best_of is not None:
        if tilt is not None:
            raise MoldiffError(f"tilt: got {tilt}, it goes with particles only")
        return Search(rewards, best_of, None, search_options or {})
    assert particles is not None
    return Search(rewards, particles, TILT if tilt is None else tilt, search_options or {})


def options() -> dict[str, Any]:
    """The options of particles with their defaults."""
    takes = inspect.signature(Particles).parameters
    fixed = ("sampler", "reward", "size", "tilt", "told")
    return {name: each.default for name, each in takes.items() if name not in fixed}


@final
class Gain:
    """The mean reward of what a search has kept, beside that of the samples without it."""

    def __init__(self) -> None:
        self._moments = {REWARD: Moments(), PLAIN: Moments()}
        self._missing = dict.fromkeys(self._moments, 0)

    def add(self, frame: pd.DataFrame) -> None:
        """Counts the rows of a table that has both columns."""
        for name, moments in self._moments.items():
            values = frame[name].to_numpy(dtype=float)
            known = np.isfinite(values)
            moments.add(values[known])
            self._missing[name] += int((~known).sum())

    def facts(self) -> dict[str, dict[str, Any]]:
        """By column mean, standard error, how many have a reward and how many have none."""
        return {
            name: {**moments.facts(), "count": moments.count, "missing": self._missing[name]}
            for name, moments in self._moments.items()
        }


@final
class Reward:
    """The reward of rows of tokens; it counts how often an oracle had to be asked.

    Args:
        modality: what the rows are.
        tokenizer: what spells them; from its ``vocab_size`` on, an id is no token and not read.
        rewards: what is sought; their weighted sum is the reward.
        workers: processes to share the work.
        timeout: seconds that one item may take; None for no limit.

    Raises:
        MoldiffError: an oracle that cannot be had.
    """

    def __init__(
        self,
        modality: Modality,
        tokenizer: Any,
        rewards: Sequence[str],
        workers: int = 1,
        timeout: float | None = None,
    ) -> None:
        self._modality, self._tokenizer = modality, tokenizer
        self._wishes = [wish(text) for text in rewards]
        asked = list(dict.fromkeys(each.oracle for each in self._wishes))
        self._measure: Measure = modality.measure(asked, workers=workers, timeout=timeout)
        self._column = dict(zip(asked, self._measure.names, strict=True))
        self._maximize = dict(zip(asked, self._measure.maximize, strict=True))
        #: Readable rows whose reward was asked for, repeats too.
        self.asked = 0

    def __call__(self, tokens: Tensor) -> Tensor:
        """The rewards (N,) of tokens (N, L), float64 on the CPU; NaN where an oracle has no value."""
        sizes = (tokens < self._tokenizer.vocab_size).sum(1).tolist()
        raw = [self._tokenizer.decode(row[:n]) for row, n in zip(tokens.tolist(), sizes, strict=True)]
        items = self._modality.canonical(raw)
        self.asked += sum(item is not None for item in items)
        frame = self._measure.add(pd.DataFrame({self._modality.key: pd.Series(items, dtype=object)}))
        total = np.zeros(len(items))
        for each in self._wishes:
            values = frame[self._column[each.oracle]].to_numpy(dtype=float)
            total += each(values, self._maximize[each.oracle])
        return torch.from_numpy(np.where(np.isfinite(total), total, np.nan))

    @property
    def texts(self) -> list[str]:
        """What is sought, with the oracles' own directions written out."""
        return [each.text(self._maximize[each.oracle]) for each in self._wishes]

    def close(self) -> None:
        """Ends what the oracles have started."""
        self._measure.close()


def _read(given: Mapping[str, Any]) -> dict[str, Any]:
    """Options as what they stand for; MoldiffError for one that there is not, or of another kind."""
    known, out = options(), {}
    for name, value in given.items():
        if name not in known:
            raise MoldiffError(f"search option: got {name!r}, particles take {', '.join(known)}")
        like, number = known[name], isinstance(value, int | float) and math.isfinite(value)
        if isinstance(like, str):
            kind, fits = "a name", isinstance(value, str)
        elif isinstance(like, bool):
            kind, fits = "0 or 1", value in (0, 1)
        elif isinstance(like, int):
            kind, fits = "a whole number", number and value == int(value)
        else:
            kind, fits = "a number", number
        if not fits:
            raise MoldiffError(f"search option {name}: got {value!r}, needs {kind}")
        out[name] = type(like)(value) if isinstance(like, int) else value
    return out


def _nothing(*_: Any, steer: Any = None) -> Tensor:
    """A sampler for the sake of checking options."""
    raise AssertionError


def _worthless(tokens: Tensor) -> Tensor:
    """A reward for the same."""
    raise AssertionError


def _ignored(found: Found) -> None:
    """A listener for the same."""
