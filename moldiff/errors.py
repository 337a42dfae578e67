"""The one exception that callers see: what was wrong, what was given, what would be accepted."""

import difflib
from collections.abc import Iterable

#: Characters of what was given, and how many choices, that a message repeats at most.
SHOWN, CHOICES = 100, 40
#: How like what was given a name has to be to be taken for what was meant, of 1.
LIKE = 0.8


class MoldiffError(ValueError):
    """A problem that the caller can mend; its message is one line."""


class Unfit(MoldiffError):
    """A policy that does not go with a process.

    Args:
        what: the policy.
        got: the process at hand, in a few words.
        takes: what the policy goes with, in a few words.
    """

    def __init__(self, what: str, got: str, takes: str) -> None:
        super().__init__(f"{what}: got {got}, it takes {takes}")
        self.takes = takes


def unknown(what: str, got: object, choices: Iterable[object]) -> MoldiffError:
    """The error for a name that is in no table, listing the names that are."""
    names = [str(choice) for choice in choices]
    meant = near(str(got), names)
    return MoldiffError(f"unknown {what}: got {short(repr(got))}{meant}, choose from {listed(names)}")


def near(got: str, names: Iterable[str]) -> str:
    """The name that may have been meant, in brackets with a question mark; nothing where none is like it."""
    plain = {name.lower(): name for name in names}
    found = difflib.get_close_matches(got.lower(), plain, 1, LIKE) if len(got) <= SHOWN else []
    return f" ({plain[found[0]]}?)" if found else ""


def listed(choices: Iterable[object]) -> str:
    """Names in a row, parted by commas: all of them, as long as a reader can take them in."""
    names = [short(str(choice)) for choice in choices]
    more = f" and {len(names) - CHOICES} more" if len(names) > CHOICES else ""
    return ", ".join(names[:CHOICES]) + more


def short(text: str) -> str:
    """The text, its middle left out where it is longer than anybody reads: a file may hold any name."""
    return text if len(text) <= SHOWN else f"{text[: SHOWN // 2]} ... {text[-SHOWN // 4 :]}"
