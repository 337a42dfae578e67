"""Text as a modality: readers, tokenizers, check, properties and writers."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from moldiff.errors import MoldiffError, unknown
from moldiff.types import Given, Kept, Writer

from .bpe import BytePairTokenizer
from .characters import CharacterTokenizer
from .datasets import TokenFile
from .plain import PlainModality
from .text_files import read_source
from .text_measures import distinct, entropy, words
from .text_rows import Cut, LeftOut, Part, TextTokenizer, cut_rows, origin, parted
from .text_writers import WRITERS

LENGTH = 256
"""Tokens a row, where nothing is said."""

SIZE = 1024
"""Tokens of a learnt vocabulary of byte pairs, where nothing is said."""


def _characters(parts: Sequence[Part], size: int | None) -> CharacterTokenizer:
    """All characters that occur, the held-out ones too, or they could not be measured."""
    if size is not None:
        raise MoldiffError(f"size: got {size!r}, but every character is a token; leave it off")
    return CharacterTokenizer.learn(part.text for part in parts)


def _byte_pairs(parts: Sequence[Part], size: int | None) -> BytePairTokenizer:
    """Learnt from what is trained on; it can spell anything else."""
    return BytePairTokenizer.learn(
        [part.text for part in parts if not part.heldout], SIZE if size is None else size
    )


_LEARN: dict[str, Callable[[Sequence[Part], int | None], TextTokenizer]] = {
    CharacterTokenizer.name: _characters,
    BytePairTokenizer.name: _byte_pairs,
}
_TOKENIZERS: dict[str, type[TextTokenizer]] = {
    each.name: each for each in (CharacterTokenizer, BytePairTokenizer)
}


@final
class Texts(PlainModality):
    """Texts, as a rule of one length in tokens: stretches of a longer one."""

    name: ClassVar[str] = "text"
    noun: ClassVar[str] = "text"
    properties: ClassVar[tuple[str, ...]] = ("entropy", "distinct_2")
    reading: ClassVar[tuple[str, ...]] = ("column", "length", "stride", "size")
    shown: ClassVar[tuple[str, ...]] = ("entropy", "distinct_2")
    writers: ClassVar[Mapping[str, Callable[[Path], Writer]]] = WRITERS

    def spell(self, item: str) -> str:
        """The text itself."""
        return item

    def reason(self, item: str) -> str | None:
        """Why a text is not valid: ``blank``, ``bytes`` (no UTF-8 was spelt) or ``nul``; None where it is."""
        if not item.strip():
            return "blank"
        if "\N{REPLACEMENT CHARACTER}" in item:
            return "bytes"
        return "nul" if "\0" in item else None

    def measured(self, items: Sequence[str]) -> dict[str, NDArray[np.float64]]:
        """By text the entropy of its characters, in nats, and its share of distinct bigrams of words."""
        return {
            "entropy": np.array([entropy(item) for item in items], dtype=np.float64),
            "distinct_2": np.array([distinct(words(item), 2) for item in items], dtype=np.float64),
        }

    def read(self, path: Path, *, column: str | None = None) -> pd.DataFrame:
        """The texts of a file in order: line, raw (missing where a text is not valid) and reason."""
        found = read_source(path, column).entries
        reasons = [self.reason(text) for _, text in found]
        rows = [
            (line, None if reason else text, reason)
            for (line, text), reason in zip(found, reasons, strict=True)
        ]
        return pd.DataFrame(rows, columns=["line", self.key, "reason"], dtype=object)

    def texts(self, path: Path, *, column: str | None = None) -> pd.DataFrame:
        """The texts of a file in order, as they stand there: line and raw."""
        return pd.DataFrame(read_source(path, column).entries, columns=["line", "raw"])

    def prepare(
        self,
        path: Path,
        *,
        tokenizer: str = CharacterTokenizer.name,
        pad_to: int | None = None,
        heldout: float = 0.05,
        seed: int = 0,
        left_out: LeftOut | None = None,
        **reading: Any,
    ) -> TokenFile:
        """A token file of rows of one length, cut from the texts of a file, each text once.

        The held-out rows are from the last share ``heldout`` of all characters, of which no row to train on
        has any.

        Args:
            path: the file, or the name ``pydoc``.
            tokenizer: ``characters`` or ``bpe``.
            pad_to: refused unless None: rows are of one length.
            heldout: the share of the characters kept from training.
            seed: of nothing: no draw is made.
            left_out: is told the texts that are too short and the rows that repeat one.
            reading: ``column`` of a table (``raw``); ``length`` of a row in tokens (256); ``stride`` from row
                to row (a quarter of the length; of held-out rows the length); ``size`` of a vocabulary of
                byte pairs (1,024).
        """
        if pad_to is not None:
            raise MoldiffError(f"pad_to: got {pad_to}, but rows of text are of one length; set length")
        if tokenizer not in _LEARN:
            raise unknown("tokenizer", tokenizer, _LEARN)
        if extra := reading.keys() - set(self.reading):
            raise unknown("option of the text reader", min(extra), self.reading)
        length = reading.get("length", LENGTH)
        cut = Cut(length, reading.get("stride", max(1, length // 4) if type(length) is int else 1))
        source = read_source(path, reading.get("column"))
        parts = parted(source, heldout)
        chosen = _LEARN[tokenizer](parts, reading.get("size"))
        rows = cut_rows(parts, chosen, cut)
        if left_out is not None:
            left_out(rows.table)
        info = {"modality": self.name, "tokenizer": chosen.state(), **origin(source)}
        info["rows"] = {"length": cut.length, "stride": cut.stride}
        return rows.token_file(self.measured(rows.texts), info)

    def tokenizer(self, state: dict[str, Any]) -> TextTokenizer:
        """The tokenizer with a stored state."""
        name = state.get("name", CharacterTokenizer.name)
        if name not in _TOKENIZERS:
            raise unknown("tokenizer", name, _TOKENIZERS)
        return _TOKENIZERS[name].from_state(state)

    def kept(self, tokenizer: TextTokenizer, given: Given) -> Kept:
        """The tokens of how texts begin and end; MoldiffError for a picture or what cannot be spelt."""
        if given.picture is not None or given.mask is not None:
            raise MoldiffError("inpaint: got a picture, but this model writes text; leave it off")
        return Kept(_kept("prompt", tokenizer, given.prompt), _kept("ending", tokenizer, given.ending))


def _kept(what: str, tokenizer: TextTokenizer, text: str | None) -> tuple[int, ...]:
    try:
        return tuple(tokenizer.encode(text or ""))
    except MoldiffError as error:
        raise MoldiffError(f"{what}: {error}") from None
