"""The one syntax in which an oracle is named, and what each form of it stands for."""

import re
import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from importlib import import_module
from multiprocessing import parent_process
from pathlib import Path
from typing import Any, final

from moldiff.chem.answers import Answer, answers
from moldiff.chem.command import CommandWorker
from moldiff.chem.oracles import BUILT_IN, FAMILIES, choices, oracle
from moldiff.chem.pool import Pace, Pool, shared
from moldiff.errors import MoldiffError, unknown

FORMS = {
    "package.module:function": "a function of your own: list of SMILES to list of numbers",
    "cmd:PROGRAM ARGUMENTS": "a program of your own that speaks JSON lines",
    "FILE.safetensors": "an oracle that `moldiff oracle fit` has written",
    "NAME=ORACLE": "any of them, its column called NAME",
}
"""How an oracle of the caller's own is named; a built-in one is named as in `oracles.choices`."""

SUFFIX = ".safetensors"
"""How the file of a fitted oracle ends, see `fitted`."""

_NAMED = re.compile(r"([A-Za-z_]\w*)=(.+)", re.DOTALL)
_FUNCTION = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_COMMAND = "cmd:"

_SHARE = 8
"""An answer of several molecules is to take at most this part of the time that one may take."""


@final
@dataclass(frozen=True)
class BuiltIn:
    """A property of the table; all that are asked for are computed in one pass over the molecules."""

    name: str
    key: str

    @property
    def maximize(self) -> bool:
        """Whether larger is better."""
        return oracle(self.key).maximize

    @property
    def unit(self) -> str:
        """The unit, empty for a pure number."""
        return oracle(self.key).unit

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the values should know."""
        return ()


@final
@dataclass(frozen=True)
class Recipe:
    """What is made where it is unpickled, by ``make(*arguments)``."""

    make: Callable[..., Any]
    arguments: tuple[Any, ...]

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.make, self.arguments


@final
@dataclass(frozen=True)
class Python:
    """An oracle in Python that is asked for several molecules at once: a function, or a fitted one.

    Args:
        name: what its column is called.
        recipe: makes the function of a list of molecules that gives a list of `Answer`.
        maximize: whether larger is better.
        unit: the unit, empty for a pure number.
        notes: what a reader of the values should know.
    """

    name: str
    recipe: Recipe
    maximize: bool = True
    unit: str = ""
    notes: tuple[str, ...] = ()

    @cached_property
    def function(self) -> Callable[[Sequence[str]], Sequence[Answer]]:
        """What this process calls; a worker makes its own."""
        found: Callable[[Sequence[str]], Sequence[Answer]] = self.recipe.make(*self.recipe.arguments)
        return found

    @property
    def pool(self) -> Pool:
        """Whose workers answer."""
        return shared()

    def pace(self, limit: float | None) -> Pace:
        """How many molecules it is asked for at once, when one may take ``limit`` seconds."""
        return Pace(first=1, most=1024, seconds=(limit or 60.0) / _SHARE)

    def close(self) -> None:
        """Leaves the shared pool to others."""


@final
@dataclass(frozen=True)
class Command:
    """A program that is sent one molecule at a time."""

    name: str
    arguments: tuple[str, ...]
    maximize: bool = True
    unit: str = ""
    notes: tuple[str, ...] = ()

    @cached_property
    def pool(self) -> Pool:
        """Whose workers answer."""
        return Pool(partial(CommandWorker, self.arguments))

    def pace(self, limit: float | None) -> Pace:
        """One molecule at a time."""
        return Pace(first=1, most=1, seconds=0.0)

    def close(self) -> None:
        """Ends the program."""
        self.pool.close()


Source = BuiltIn | Python | Command


def source(spec: str | Callable[[Sequence[str]], Any], name: str | None = None) -> Source:
    """What an oracle's name stands for; docs/oracles.md has the syntax.

    Args:
        spec: a built-in property, ``similarity:SMILES`` and the like, ``package.module:function``,
            ``cmd:PROGRAM ARGUMENTS``, or ``FILE.safetensors``; ``NAME=`` before any of them names its column.
            Or a function of a list of SMILES that gives a list of numbers.
        name: of its column, before all others.

    Raises:
        MoldiffError: nothing of that name, or an argument or a file that cannot be read. A module is not
            looked for before it is needed.
    """
    if callable(spec):
        called = name or str(getattr(spec, "__name__", type(spec).__name__))
        return Python(called, Recipe(partial, (answers, spec)))
    if not isinstance(spec, str):
        raise MoldiffError(f"oracle: got {spec!r}, needs a name or a function")
    named = _NAMED.fullmatch(spec)
    given, text = named.groups() if named else (None, spec)
    name = name or given
    if text in BUILT_IN or text.partition(":")[0] in FAMILIES:
        return BuiltIn(name or text, oracle(text).name)
    if text.startswith(_COMMAND):
        return _command(name or text, text.removeprefix(_COMMAND))
    if text.endswith(SUFFIX):
        return _fitted(name, text)
    if _FUNCTION.fullmatch(text):
        return Python(name or text, Recipe(load_function, (text, str(Path.cwd()))))
    raise unknown("oracle", spec, [*choices(), *FORMS])


def load_function(text: str, folder: str) -> Callable[[Sequence[str]], list[Answer]]:
    """The function of ``package.module:function``, so that it gives an `Answer` a molecule.

    A module is looked for among the installed ones, then in the folder.

    Raises:
        MoldiffError: no such module or function, or the module raises something.
    """
    module, _, names = text.partition(":")
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        found: Any = import_module(module)
    except BaseException as error:  # a stranger's module may raise anything
        if isinstance(error, KeyboardInterrupt) and parent_process() is None:
            raise  # somebody's, at the keyboard; a worker is not told
        what = f"{type(error).__name__}: {error}"
        raise MoldiffError(f"oracle {text}: cannot import {module} ({what})") from None
    for name in names.split("."):
        if not hasattr(found, name):
            where = getattr(found, "__file__", None) or module
            raise MoldiffError(f"oracle {text}: there is no {name} in {where}")
        found = getattr(found, name)
    if not callable(found):
        raise MoldiffError(f"oracle {text}: {names} is no function")
    return partial(answers, found)


def load_fitted(path: str) -> Callable[[Sequence[str]], list[Answer]]:
    """The fitted oracle of a file, so that it gives an `Answer` a molecule.

    Raises:
        MoldiffError: no such file, or not a fitted oracle.
    """
    from moldiff.chem.fitted import Fitted

    return partial(answers, Fitted.load(Path(path)))


def _fitted(name: str | None, path: str) -> Python:
    from moldiff.chem.fitted import read_card

    card = read_card(Path(path))
    recipe = Recipe(load_fitted, (str(Path(path).absolute()),))
    return Python(name or card.name, recipe, card.maximize, card.unit, card.notes())


def _command(name: str, text: str) -> Command:
    try:
        arguments = tuple(shlex.split(text))
    except ValueError as error:
        raise MoldiffError(f"oracle cmd: got {text!r}, {error}") from None
    if not arguments:
        raise MoldiffError("oracle cmd: got nothing to run, write cmd:PROGRAM ARGUMENTS")
    if shutil.which(arguments[0]) is None:
        raise MoldiffError(f"oracle cmd: there is no program {arguments[0]!r}")
    return Command(name, arguments)
