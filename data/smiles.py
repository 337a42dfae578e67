"""SMILES text to atom-level tokens and back: bracket atoms, two-letter elements, ring labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

from moldiff.chem.notation import NEVER_AFTER, TOKEN, Atom, atom, kind
from moldiff.errors import MoldiffError
from moldiff.types import Balance

from .vocabulary import VocabularyTokenizer, shown


@final
@dataclass(frozen=True)
class SmilesTokenizer(VocabularyTokenizer):
    """Tokens of SMILES strings.

    No token is the beginning of a row of others, so `encode(decode(ids)) == ids` for all ids.
    """

    name: ClassVar[str] = "smiles"
    notation: ClassVar[str] = "SMILES"

    @classmethod
    def split(cls, smiles: str) -> list[str]:
        tokens: list[str] = TOKEN.findall(smiles)
        if sum(map(len, tokens)) != len(smiles):
            raise _not_smiles(smiles)
        return tokens

    @classmethod
    def join(cls, tokens: Sequence[str]) -> str:
        return "".join(tokens)

    @classmethod
    def is_token(cls, text: str) -> bool:
        return TOKEN.fullmatch(text) is not None

    @classmethod
    def atom(cls, token: str) -> Atom | None:
        return atom(token)

    def balance(self) -> Balance:
        """Rings and branches close, and neighbours are such as SMILES allows."""
        labels = tuple(self._ids[token] for token in self.vocab if kind(token) == "ring")
        branch = ((self._ids["("], self._ids[")"]),) if {"(", ")"} <= set(self.vocab) else ()
        kinds = {self._ids[token]: kind(token) for token in self.vocab}
        if self.pad_to is not None:
            kinds[len(self.vocab)] = "pad"
        follows = [(a, b) for a in kinds for b in kinds if kinds[b] in NEVER_AFTER[kinds[a]]]
        return Balance(
            even=labels,
            pairs=branch,
            # Twice the same label on one atom would bond it to itself.
            apart=(*follows, *((label, label) for label in labels)),
            never_first=tuple(i for i, each in kinds.items() if each not in {"atom", "pad"}),
            never_last=tuple(i for i, each in kinds.items() if "pad" in NEVER_AFTER[each]),
        )

    def unsupported(self, smiles: str) -> list[str]:
        """The distinct parts of a string that have no id, in order: tokens or lone characters."""
        parts = [part for part, _ in _parts(smiles)]
        return list(dict.fromkeys(part for part in parts if part not in self._ids))


def _parts(smiles: str) -> list[tuple[str, int]]:
    """Tokens and, between them, characters that are in none; each with its position."""
    parts: list[tuple[str, int]] = []
    position = 0
    while position < len(smiles):
        match = TOKEN.match(smiles, position)
        text = match.group() if match else smiles[position]
        parts.append((text, position))
        position += len(text)
    return parts


def _not_smiles(smiles: str) -> MoldiffError:
    """The error for the first character that is in no token."""
    parts = _parts(smiles)
    text, position = next(part for part in parts if not TOKEN.fullmatch(part[0]))
    where = f"at position {position} of {shown(smiles)}"
    return MoldiffError(f"unsupported token {text!r} {where}: not a SMILES token")
