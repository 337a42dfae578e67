"""The one exception that callers see: what was wrong, what was given, what would be accepted."""

from collections.abc import Iterable


class MoldiffError(ValueError):
    """A problem that the caller can mend; its message is one line."""


def unknown(what: str, got: object, choices: Iterable[object]) -> MoldiffError:
    """The error for a name that is in no table, listing the names that are."""
    listed = ", ".join(str(choice) for choice in choices)
    return MoldiffError(f"unknown {what}: got {got!r}, choose from {listed}")
