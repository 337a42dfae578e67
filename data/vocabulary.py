"""Tokenizers over a vocabulary of texts: ids, padding and the state on a card, whatever the notation."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any, ClassVar, Self

from moldiff.chem.notation import Atom
from moldiff.errors import MoldiffError, listed, short
from moldiff.types import Balance

CHARGES = "charges"
"""What `VocabularyTokenizer.forbidden` calls the tokens with a charged atom."""


@dataclass(frozen=True)
class VocabularyTokenizer(ABC):
    """Tokens of SMILES strings in some notation; the id of a token is its place in the vocabulary.

    Attributes:
        vocab: the tokens.
        pad_to: None for one id a token; else the length L to which every item is filled up on the right with
            one more token, whose id is the last.
    """

    name: ClassVar[str]
    """Its row in the registry."""
    notation: ClassVar[str]
    """What its tokens are called in messages."""

    vocab: tuple[str, ...]
    pad_to: int | None = None

    @classmethod
    @abstractmethod
    def split(cls, smiles: str) -> list[str]:
        """The tokens of a SMILES string, whatever the vocabulary; MoldiffError where it has none."""

    @classmethod
    @abstractmethod
    def join(cls, tokens: Sequence[str]) -> str:
        """The SMILES string that tokens spell."""

    @classmethod
    @abstractmethod
    def is_token(cls, text: str) -> bool:
        """Whether a text is one token of the notation."""

    @classmethod
    @abstractmethod
    def atom(cls, token: str) -> Atom | None:
        """The atom that a token stands for; None where it stands for none."""

    @abstractmethod
    def balance(self) -> Balance:
        """The tokens that come in pairs; none where no token does."""

    def __post_init__(self) -> None:
        """Refuse a vocabulary whose tokens could not be told apart.

        Raises:
            MoldiffError: an empty vocabulary, a repeat, something that is not one token, or a length to pad
                to below 1.
        """
        if not self.vocab:
            raise MoldiffError("a vocabulary needs at least one token: got none")
        for token in self.vocab:
            if not self.is_token(token):
                raise MoldiffError(f"a vocabulary holds {self.notation} tokens: got {token!r}")
        if len(self._ids) < len(self.vocab):
            repeats = sorted({each for each in self.vocab if self.vocab.count(each) > 1})
            raise MoldiffError(f"a vocabulary holds each token once: got more of {repeats}")
        if self.pad_to is not None and (type(self.pad_to) is not int or self.pad_to < 1):
            raise MoldiffError(f"pad_to must be None or at least 1: got {self.pad_to!r}")

    @classmethod
    def learn(cls, smiles: Iterable[str], pad_to: int | None = None) -> Self:
        """The tokenizer of the tokens that occur in the strings, sorted.

        Raises:
            MoldiffError: a string that cannot be written in tokens, or no token at all.
        """
        return cls.of(map(cls.split, smiles), pad_to)

    @classmethod
    def of(cls, rows: Iterable[Sequence[str]], pad_to: int | None = None) -> Self:
        """The tokenizer of the tokens that occur in rows of tokens, sorted."""
        return cls(tuple(sorted(set().union(*rows))), pad_to)

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """The tokenizer whose `state()` this is.

        Raises:
            MoldiffError: a key is missing or unknown, or the vocabulary is refused.
        """
        rest = {key: value for key, value in state.items() if key != "name"}
        keys = [each.name for each in fields(cls)]
        if set(rest) != set(keys):
            got = sorted(map(str, rest))
            raise MoldiffError(f"a tokenizer's state has the keys {' and '.join(keys)}: got {got}")
        vocab = rest.pop("vocab")
        if not isinstance(vocab, list | tuple):
            raise MoldiffError(f"a vocabulary is a list of tokens: got {type(vocab).__name__}")
        for token in vocab:
            if not isinstance(token, str):
                raise MoldiffError(f"a vocabulary holds {cls.notation} tokens: got {token!r}")
        return cls(vocab=tuple(vocab), **rest)

    def state(self) -> dict[str, Any]:
        """What `from_state` needs, and the tokenizer's name, in types that JSON knows."""
        return {"name": self.name, **asdict(self), "vocab": list(self.vocab)}

    @property
    def vocab_size(self) -> int:
        """The number of ids, the padding's included."""
        return len(self.vocab) + (self.pad_to is not None)

    @property
    def pad_id(self) -> int | None:
        """The id of the padding; None when strings are not padded."""
        return None if self.pad_to is None else len(self.vocab)

    def encode(self, item: str) -> list[int]:
        """The ids of a SMILES string: one a token, or exactly `pad_to` of them.

        Raises:
            MoldiffError: what cannot be written in the vocabulary, or a string longer than `pad_to`.
        """
        return self.ids(self.split(item))

    def decode(self, ids: Iterable[int]) -> str:
        """The SMILES string of the ids; with padding, up to the first pad: what follows is ignored.

        Raises:
            MoldiffError: an id outside the vocabulary.
        """
        return self.join(self.tokens(ids))

    def ids(self, tokens: Sequence[str]) -> list[int]:
        """The ids of tokens: one a token, or exactly `pad_to` of them.

        Raises:
            MoldiffError: a token outside the vocabulary, or more tokens than `pad_to`.
        """
        try:
            found = [self._ids[token] for token in tokens]
        except KeyError:
            raise self._outside(tokens) from None
        if self.pad_to is None:
            return found
        if len(found) > self.pad_to:
            got = f"{len(found)} in {shown(''.join(tokens))}"
            raise MoldiffError(f"at most {self.pad_to} tokens fit (pad_to): got {got}")
        return found + [len(self.vocab)] * (self.pad_to - len(found))

    def tokens(self, ids: Iterable[int]) -> list[str]:
        """The tokens of ids; with padding, those before the first pad.

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
        return texts

    def forbidden(self, names: Sequence[str]) -> tuple[int, ...]:
        """The ids that names forbid, increasing; the padding is never among them.

        A name is an element, which stands for every token with an atom of it; ``charges``, for every token
        with a charged atom; or a token as it is spelt, for that one alone.

        Raises:
            MoldiffError: a name of no token in the vocabulary, or no atom left to build of.
        """
        atoms = {token: self.atom(token) for token in self.vocab}
        out: set[str] = set()
        for name in names:
            found = {
                token
                for token, atom in atoms.items()
                if name == token or (atom and (name == atom.element or (name == CHARGES and atom.charged)))
            }
            if not found:
                elements = listed(dict.fromkeys(atom.element for atom in atoms.values() if atom))
                raise MoldiffError(
                    f"forbid: got {short(repr(name))}, which is in no token of this model; "
                    f"it has the elements {elements}, and {len(self.vocab)} tokens in all"
                )
            out |= found
        if all(token in out for token, atom in atoms.items() if atom):
            raise MoldiffError(f"forbid: got {', '.join(names)}, which leaves no atom to build of")
        return tuple(number for number, token in enumerate(self.vocab) if token in out)

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {token: number for number, token in enumerate(self.vocab)}

    @cached_property
    def _texts(self) -> dict[int, str]:
        return dict(enumerate(self.vocab))

    def _outside(self, tokens: Sequence[str]) -> MoldiffError:
        """The error for the first token that has no id."""
        place = next(number for number, token in enumerate(tokens) if token not in self._ids)
        where = f"at position {sum(map(len, tokens[:place]))} of {shown(''.join(tokens))}"
        return MoldiffError(
            f"unsupported token {tokens[place]!r} {where}: not in the vocabulary of {len(self.vocab)}"
        )


def shown(text: str, limit: int = 80) -> str:
    """The text for a message: quoted, on one line, cut to the limit."""
    return repr(text if len(text) <= limit else text[: limit - 3] + "...")
