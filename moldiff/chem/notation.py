"""The kinds of token in a SMILES string and which may follow which; no RDKit, so that training can use it."""

import re
from typing import Literal, NamedTuple, get_args

Writing = Literal["canonical", "random", "fragments"]

#: How a molecule may be written, in the order of the numbers that the property ``writing`` holds.
WRITINGS: tuple[Writing, ...] = get_args(Writing)
#: The property's name, and that of the condition.
WRITING = "writing"

#: One token of a SMILES string.
TOKEN = re.compile(
    r"\[[^\[\]]+\]"  # a bracket atom, with its isotope, charge, hydrogens and stereo
    r"|Br|Cl"
    r"|[BCNOPSFI]|[bcnops]|\*"
    r"|%\([0-9]+\)|%[0-9]{2}|[0-9]"  # ring labels
    r"|[-=#$:~/\\.()]"  # bonds, fragments, branches
)

_BRACKET = re.compile(r"\[[0-9]*(?P<element>[A-Z][a-z]?|[a-z]{1,2}|\*)(?P<rest>[^\[\]]*)\]")
_RING = re.compile(r"%\(([0-9]+)\)|%([0-9]{2})|([0-9])")

#: The kinds of token that never follow a token of each kind.
NEVER_AFTER: dict[str, frozenset[str]] = {
    "atom": frozenset(),
    "ring": frozenset(),
    "bond": frozenset({"bond", "(", ")", ".", "pad"}),
    "(": frozenset({"ring", "(", ")", ".", "pad"}),
    ")": frozenset(),
    ".": frozenset({"bond", "ring", "(", ")", ".", "pad"}),
    "pad": frozenset({"atom", "ring", "bond", "(", ")", "."}),
}


class Atom(NamedTuple):
    """What a token says of the atom that it stands for: the element, and whether it carries a charge."""

    element: str
    charged: bool


def atom(token: str) -> Atom | None:
    """The atom of a SMILES token, aromatic or not; None for every other token."""
    if kind(token) != "atom":
        return None
    found = _BRACKET.fullmatch(token)
    if found is None:
        return Atom(token.capitalize(), False)
    return Atom(found["element"].capitalize(), "+" in found["rest"] or "-" in found["rest"])


def kind(token: str) -> str:
    """The kind of a SMILES token: atom, ring (a label), bond, or one of ( ) . itself."""
    if token in "().":
        return token
    if token in "-=#$:~/\\":
        return "bond"
    return "ring" if _RING.fullmatch(token) else "atom"


def label(token: str) -> int:
    """The number of a ring label; ``1`` and ``%01`` are the same."""
    found = _RING.fullmatch(token)
    if found is None:
        raise ValueError(f"not a ring label: {token!r}")
    return int("".join(group or "" for group in found.groups()))
