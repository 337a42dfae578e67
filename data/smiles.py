"""SMILES text to atom-level tokens and back: bracket atoms, two-letter elements, ring labels."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self, final

from moldiff.errors import MoldiffError
from moldiff.types import Balance

_TOKEN = re.compile(
    r"\[[^\[\]]+\]"  # a bracket atom, with its isotope, charge, hydrogens and stereo
    r"|Br|Cl"
    r"|[BCNOPSFI]|[bcnops]|\*"
    r"|%\([0-9]+\)|%[0-9]{2}|[0-9]"  # ring labels
    r"|[-=#$:~/\\.()]"  # bonds, fragments, branches
)
_RING = re.compile(r"%\([0-9]+\)|%[0-9]{2}|[0-9]")


@final
@dataclass(frozen=True)
class SmilesTokenizer:
    """Tokens of SMILES strings; the id of a token is its place in the vocabulary.

    No token is the beginning of a row of others, so `encode(decode(ids)) == ids` for all ids.

    Attributes:
        vocab: the tokens, each a complete SMILES token.
        pad_to: None for one id a token; else the length L to which every string is filled up on
            the right with one more token, whose id is the last.
    """

    vocab: tuple[str, ...]
    pad_to: int | None = None

    def __post_init__(self) -> None:
        """Refuse a vocabulary whose tokens could not be told apart in a string.

        Raises:
            MoldiffError: an empty vocabulary, a repeat, something that is not one token, or a
                length to pad to below 1.
        """
        if not self.vocab:
            raise MoldiffError("a vocabulary needs at least one token: got none")
        for token in self.vocab:
            if not _TOKEN.fullmatch(token):
                raise MoldiffError(f"a vocabulary holds SMILES tokens: got {token!r}")
        if len(self._ids) < len(self.vocab):
            repeats = sorted({each for each in self.vocab if self.vocab.count(each) > 1})
            raise MoldiffError(f"a vocabulary holds each token once: got more of {repeats}")
        if self.pad_to is not None and (type(self.pad_to) is not int or self.pad_to < 1):
            raise MoldiffError(f"pad_to must be None or at least 1: got {self.pad_to!r}")

    @classmethod
    def learn(cls, smiles: Iterable[str], pad_to: int | None = None) -> Self:
        """The tokenizer of the tokens that occur in the strings, sorted.

        Raises:
            MoldiffError: a string that is not made of SMILES tokens, or no token at all.
        """
        found: set[str] = set()
        for text in smiles:
            found.update(_split(text))
        return cls(tuple(sorted(found)), pad_to)

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """The tokenizer whose `state()` this is.

        Raises:
            MoldiffError: a key is missing or unknown, or the vocabulary is refused.
        """
        if set(state) != {"vocab", "pad_to"}:
            got = sorted(map(str, state))
            raise MoldiffError(f"a tokenizer's state has the keys vocab and pad_to: got {got}")
        vocab = state["vocab"]
        if not isinstance(vocab, list | tuple):
            raise MoldiffError(f"a vocabulary is a list of tokens: got {type(vocab).__name__}")
        for token in vocab:
            if not isinstance(token, str):
                raise MoldiffError(f"a vocabulary holds SMILES tokens: got {token!r}")
        return cls(tuple(vocab), state["pad_to"])

    def state(self) -> dict[str, Any]:
        """What `from_state` needs, in types that JSON knows."""
        return {"vocab": list(self.vocab), "pad_to": self.pad_to}

    @property
    def vocab_size(self) -> int:
        """The number of ids, the padding's included."""
        return len(self.vocab) + (self.pad_to is not None)

    @property
    def pad_id(self) -> int | None:
        """The id of the padding; None when strings are not padded."""
        return None if self.pad_to is None else len(self.vocab)

    def encode(self, item: str) -> list[int]:
        """The ids of a string: one a token, or exactly `pad_to` of them.

        Raises:
            MoldiffError: a token outside the vocabulary, or a string longer than `pad_to`.
        """
        tokens = _TOKEN.findall(item)
        try:
            ids = [self._ids[token] for token in tokens]
        except KeyError:
            raise self._outside(item) from None
        if sum(map(len, tokens)) != len(item):
            raise _not_smiles(item)
        if self.pad_to is None:
            return ids
        if len(ids) > self.pad_to:
            got = f"{len(ids)} in {_shown(item)}"
            raise MoldiffError(f"at most {self.pad_to} tokens fit (pad_to): got {got}")
        return ids + [len(self.vocab)] * (self.pad_to - len(ids))

    def decode(self, ids: Iterable[int]) -> str:
        """The string of the ids; with padding, up to the first pad: what follows is ignored.

        Raises:
            MoldiffError: an id outside the vocabulary.
        """
        texts: list[str] = []
        for each in ids:
            text = self._texts.get(each)
            if text is None:
                if each == self.pad_id:
                    break
                raise MoldiffError(f"a token id is 0 to {self.vocab_size - 1}: got {each}")
            texts.append(text)
        return "".join(texts)

    def balance(self) -> Balance:
        """Ring labels occur an even number of times, branches open as often as they close."""
        labels = tuple(self._ids[token] for token in self.vocab if _RING.fullmatch(token))
        branch = ((self._ids["("], self._ids[")"]),) if {"(", ")"} <= set(self.vocab) else ()
        return Balance(labels, branch)

    def unsupported(self, smiles: str) -> list[str]:
        """The distinct parts of a string that have no id, in order: tokens or lone characters."""
        parts = [part for part, _ in _parts(smiles)]
        return list(dict.fromkeys(part for part in parts if part not in self._ids))

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {token: number for number, token in enumerate(self.vocab)}

    @cached_property
    def _texts(self) -> dict[int, str]:
        return dict(enumerate(self.vocab))

    def _outside(self, smiles: str) -> MoldiffError:
        """The error for the first token that has no id."""
        token, position = next(part for part in _parts(smiles) if part[0] not in self._ids)
        where = f"at position {position} of {_shown(smiles)}"
        return MoldiffError(
            f"unsupported token {token!r} {where}: not in the vocabulary of {len(self.vocab)}"
        )


def spellable(smiles: Sequence[str], longest: int | None = None) -> tuple[list[str], dict[str, int]]:
    """The strings made of tokens, at most ``longest`` each, and how many were not: token, longer."""
    counts = {"token": 0, "longer": 0}
    kept = []
    for text in smiles:
        tokens = _TOKEN.findall(text)
        if sum(map(len, tokens)) != len(text):
            counts["token"] += 1
        elif longest is not None and len(tokens) > longest:
            counts["longer"] += 1
        else:
            kept.append(text)
    return kept, {reason: count for reason, count in counts.items() if count}


def _split(smiles: str) -> Sequence[str]:
    """The tokens of a string.

    Raises:
        MoldiffError: something in it is no SMILES token.
    """
    tokens: list[str] = _TOKEN.findall(smiles)
    if sum(map(len, tokens)) != len(smiles):
        raise _not_smiles(smiles)
    return tokens


def _parts(smiles: str) -> list[tuple[str, int]]:
    """Tokens and, between them, characters that are in none; each with its position."""
    parts: list[tuple[str, int]] = []
    position = 0
    while position < len(smiles):
        match = _TOKEN.match(smiles, position)
        text = match.group() if match else smiles[position]
        parts.append((text, position))
        position += len(text)
    return parts


def _not_smiles(smiles: str) -> MoldiffError:
    """The error for the first character that is in no token."""
    parts = _parts(smiles)
    text, position = next(part for part in parts if not _TOKEN.fullmatch(part[0]))
    where = f"at position {position} of {_shown(smiles)}"
    return MoldiffError(f"unsupported token {text!r} {where}: not a SMILES token")


def _shown(smiles: str, limit: int = 80) -> str:
    """The string for a message: quoted, on one line, cut to the limit."""
    return repr(smiles if len(smiles) <= limit else smiles[: limit - 3] + "...")
