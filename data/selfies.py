"""SELFIES tokens of SMILES strings: any row of them spells a molecule."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, final

import selfies

from moldiff.chem.notation import Atom
from moldiff.errors import MoldiffError
from moldiff.types import Balance

from .vocabulary import VocabularyTokenizer, shown

# fmt: off
CONSTRAINTS = {
    "H": 1, "F": 1, "Cl": 1, "Br": 1, "I": 1, "B": 3, "B+1": 2, "B-1": 4, "O": 2, "O+1": 3, "O-1": 1,
    "N": 3, "N+1": 4, "N-1": 2, "C": 4, "C+1": 3, "C-1": 3, "P": 5, "P+1": 4, "P-1": 6,
    "S": 6, "S+1": 5, "S-1": 5, "?": 8,
}
# fmt: on
"""Bonds that an atom can have. What a row spells depends on them, so they are no setting: the library's
defaults, whatever a later version or another user of the library in this process makes of them."""

_ATOM = re.compile(r"\[[=#/\\]*[0-9]*(?P<element>[A-Z][a-z]?)@{0,2}(?:H[0-9]+)?(?P<charge>[+-][0-9]+)?\]")
"""A token of an atom, with its bond before it: those of branches, rings and nothing are of another form."""


@final
@dataclass(frozen=True)
class SelfiesTokenizer(VocabularyTokenizer):
    """Tokens of SELFIES strings; items are SMILES strings all the same.

    Any row of ids spells a molecule or nothing, so `decode(encode(item))` is the same molecule, in another
    spelling and without aromatic bonds. One molecule has many rows: `encode(decode(ids))` need not be `ids`.
    Krenn et al., Mach. Learn.: Sci. Technol. 1, 045024 (2020).
    """

    name: ClassVar[str] = "selfies"
    notation: ClassVar[str] = "SELFIES"

    @classmethod
    def split(cls, smiles: str) -> list[str]:
        if "*" in smiles:
            raise MoldiffError(
                f"SELFIES cannot write {shown(smiles)}: it has no wildcard *; take the smiles tokenizer"
            )
        if not smiles:
            return []
        with _constraints():
            try:
                return list(selfies.split_selfies(selfies.encoder(smiles)))
            # The library's own error for what it knows that it cannot write; KeyError, IndexError and others
            # for strings that it did not expect.
            except Exception as error:
                raise MoldiffError(f"SELFIES cannot write {shown(smiles)}: {_reason(error)}") from error

    @classmethod
    def join(cls, tokens: Sequence[str]) -> str:
        with _constraints():
            return str(selfies.decoder("".join(tokens)))

    @classmethod
    def is_token(cls, text: str) -> bool:
        if text == ".":
            return True
        with _constraints():
            try:
                selfies.decoder(text)
                return list(selfies.split_selfies(text)) == [text]
            except (selfies.DecoderError, ValueError):
                return False

    @classmethod
    def atom(cls, token: str) -> Atom | None:
        found = _ATOM.fullmatch(token)
        return None if found is None else Atom(found["element"], found["charge"] is not None)

    def balance(self) -> Balance:
        """None: no row lacks anything."""
        return Balance()


@contextmanager
def _constraints() -> Iterator[None]:
    """A block in which the library, whose constraints are one for the whole process, has ours."""
    theirs = selfies.get_semantic_constraints()
    if theirs == CONSTRAINTS:
        yield
        return
    selfies.set_semantic_constraints(CONSTRAINTS)
    try:
        yield
    finally:
        selfies.set_semantic_constraints(theirs)


def _reason(error: Exception) -> str:
    """What the library says is wrong, without the string, which it repeats on lines of its own."""
    if not isinstance(error, selfies.EncoderError):
        return "not understood"
    lines = [line.strip() for line in str(error).split("\n")]
    found = [line for line in lines if line and not line.startswith(("SMILES:", "Errors:"))]
    return ", ".join(found)
