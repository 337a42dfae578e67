"""Text as byte pairs: tokens are frequent runs of UTF-8 bytes, and every single byte."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self, final

from moldiff.errors import MoldiffError, short
from moldiff.types import Balance

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Definition

BYTES = 256
"""Tokens without which some text could not be spelt: the fewest that a vocabulary has."""

MOST = 1 << 16
"""The most tokens that a token file can tell apart."""

PROBE = "A  word, don't \t\r\n\n1234 é 世界 👩‍🔬 end. \u2028\x7f"
"""A text that a tokenizer has to give back: spaces, line ends, marks, characters of one to four bytes."""


@final
@dataclass(frozen=True)
class BytePairTokenizer:
    r"""Byte-level byte-pair encoding (Sennrich et al., 2016; over bytes: Radford et al., 2019).

    Every text can be encoded, and decoding gives it back as it was. A row of tokens that is no UTF-8 is
    decoded all the same, with U+FFFD for each byte or beginning of a character that spells none.

    Args:
        definition: the JSON of a tokenizer of Hugging Face's `tokenizers`, learnt here or published
            (``tokenizer.json`` of GPT-2, say).

    Raises:
        MoldiffError: the definition is damaged or no byte-level BPE that gives texts back, or `tokenizers` is
            not installed.
    """

    name: ClassVar[str] = "bpe"

    definition: str

    def __post_init__(self) -> None:
        """Refuse what would lose a text or spell nothing."""
        _check(_parsed(self.definition))
        if len(self._pieces) > MOST:
            raise _refused(f"got {len(self._pieces):,} tokens, a token file tells {MOST:,} apart")
        if self.decode(self.encode(PROBE)) != PROBE:
            raise _refused("it does not give a text back as it was")

    @classmethod
    def learn(cls, texts: Iterable[str], size: int) -> Self:
        """The tokenizer of at most ``size`` tokens, by merging the most frequent pairs in the texts.

        Raises:
            MoldiffError: a size out of range.
        """
        if type(size) is not int or not BYTES <= size <= MOST:
            raise MoldiffError(f"size: got {size!r}, must be {BYTES} to {MOST:,} tokens")
        library = _library()
        learner = library.Tokenizer(library.models.BPE())
        learner.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
        learner.decoder = library.decoders.ByteLevel()
        trainer = library.trainers.BpeTrainer(
            vocab_size=size, initial_alphabet=list(_alphabet()), special_tokens=[], show_progress=False
        )
        learner.train_from_iterator(list(texts), trainer)
        return cls(learner.to_str())

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """The tokenizer whose `state()` this is; MoldiffError where it is none."""
        rest = {key: value for key, value in state.items() if key != "name"}
        definition = rest.get("definition")
        if set(rest) != {"definition"} or not isinstance(definition, str):
            got = short(str(sorted(map(str, rest))))
            raise MoldiffError(f"a tokenizer's state has the key definition, a text: got {got}")
        return cls(definition)

    def state(self) -> dict[str, Any]:
        """What `from_state` needs, and the tokenizer's name, in types that JSON knows."""
        return {"name": self.name, "definition": self.definition}

    @property
    def vocab_size(self) -> int:
        """The number of ids."""
        return len(self._pieces)

    def balance(self) -> Balance:
        """Nothing: any row of tokens is a text."""
        return Balance()

    def pieces(self) -> list[bytes]:
        """What each token spells."""
        return list(self._pieces)

    def encode(self, item: str) -> list[int]:
        """The ids of a text.

        Raises:
            MoldiffError: half of a surrogate pair, which no UTF-8 spells, or a text that this tokenizer would
                not give back.
        """
        try:
            item.encode()
        except UnicodeEncodeError as error:
            got = f"{item[error.start]!r} at position {error.start}"
            raise MoldiffError(f"a text in UTF-8 holds no lone surrogate: got {got}") from None
        ids: list[int] = self._definition.encode(item, add_special_tokens=False).ids
        if self.decode(ids) != item:
            raise MoldiffError(f"the tokenizer does not give back {short(repr(item))}")
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text that ids spell, with U+FFFD for what is no UTF-8.

        Raises:
            MoldiffError: an id outside the vocabulary.
        """
        known = range(len(self._pieces))
        for each in ids:
            if each not in known:
                raise MoldiffError(f"a token id is 0 to {len(known) - 1}: got {each}")
        return b"".join(self._pieces[each] for each in ids).decode("utf-8", "replace")

    @cached_property
    def _definition(self) -> "Definition":
        try:
            found: Definition = _library().Tokenizer.from_str(self.definition)
        except MoldiffError:
            raise
        except Exception as error:  # the library raises nothing narrower
            raise _refused(str(error)) from None
        found.no_truncation()
        found.no_padding()
        return found

    @cached_property
    def _pieces(self) -> tuple[bytes, ...]:
        """By id the bytes that a token spells; every id from 0 has some."""
        alphabet = _alphabet()
        # Added tokens stand for themselves; they come first, because a vocabulary may list them too.
        found = {number: each.content.encode() for number, each in self._added().items()}
        for text, number in self._definition.get_vocab(with_added_tokens=False).items():
            if number not in found:
                if not set(text) <= alphabet.keys():
                    raise _refused(f"got the token {short(repr(text))}, which spells no bytes")
                found[number] = bytes(alphabet[each] for each in text)
        if sorted(found) != list(range(len(found))) or not all(found.values()):
            raise _refused("its ids are not 0, 1, 2, ..., each with a token that spells something")
        if missing := {bytes([each]) for each in range(BYTES)} - set(found.values()):
            raise _refused(f"{len(missing)} of the {BYTES} bytes have no token")
        return tuple(found[number] for number in range(len(found)))

    def _added(self) -> dict[int, Any]:
        return dict(self._definition.get_added_tokens_decoder())


def _library() -> Any:
    """The package `tokenizers`, which only this tokenizer needs."""
    try:
        import tokenizers
    except ModuleNotFoundError:
        raise MoldiffError("tokenizer bpe: needs tokenizers, pip install moldiff[text]") from None
    return tokenizers


def _parsed(definition: str) -> dict[str, Any]:
    """The definition as the object that it is in JSON."""
    try:
        found = json.loads(definition)
    except (ValueError, RecursionError) as error:
        raise _refused(f"not JSON, {error}") from None
    if not isinstance(found, dict):
        raise _refused(f"got {type(found).__name__}, needs an object")
    return found


def _check(found: dict[str, Any]) -> None:
    """Refuses what is not known to keep every byte, in its order."""
    model = found.get("model")
    kind = model.get("type", "BPE") if isinstance(model, dict) else None
    if not isinstance(model, dict) or kind != "BPE":
        raise _refused(f"got the model {short(repr(kind))}, needs BPE")
    if model.get("dropout"):
        raise _refused(f"got dropout {short(repr(model['dropout']))}, which splits a text by chance")
    if found.get("normalizer") is not None:
        raise _refused("got a normalizer, which changes texts")


def _refused(why: str) -> MoldiffError:
    return MoldiffError(f"tokenizer bpe: its definition is no byte-level BPE or is damaged: {short(why)}")


def _alphabet() -> dict[str, int]:
    """The byte that each character of a definition stands for.

    Printable Latin-1 characters stand for their own code; the other bytes have characters from 256 on.
    """
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), BYTES)]
    others = sorted(set(range(BYTES)) - set(printable))
    return {chr(code): code for code in printable} | {
        chr(BYTES + number): code for number, code in enumerate(others)
    }
