"""Text as characters: one token each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

from moldiff.types import Balance

from .vocabulary import VocabularyTokenizer


@final
@dataclass(frozen=True)
class CharacterTokenizer(VocabularyTokenizer):
    """Tokens that are Unicode characters; any row of them spells a text, and that text the row."""

    name: ClassVar[str] = "characters"
    notation: ClassVar[str] = "character"

    @classmethod
    def split(cls, text: str) -> list[str]:
        return list(text)

    @classmethod
    def join(cls, tokens: Sequence[str]) -> str:
        return "".join(tokens)

    @classmethod
    def is_token(cls, text: str) -> bool:
        return len(text) == 1

    @classmethod
    def atom(cls, token: str) -> None:
        """None: there are no atoms in text."""

    def balance(self) -> Balance:
        return Balance()

    def pieces(self) -> list[bytes]:
        """What each token spells, in UTF-8."""
        return [each.encode("utf-8", "surrogatepass") for each in self.vocab]
