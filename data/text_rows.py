"""From texts to a token file: the tokenizer learnt, long texts cut into rows, the last part held out."""

import hashlib
import platform
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from moldiff.errors import MoldiffError

from .bpe import BytePairTokenizer
from .characters import CharacterTokenizer
from .datasets import TokenFile
from .plain import identities
from .text_files import PYDOC, Source

TextTokenizer = CharacterTokenizer | BytePairTokenizer

LeftOut = Callable[[pd.DataFrame], None]
"""Is told the texts that are left out, in order: line, text, reason, detail."""

Places = NDArray[np.int64]
Flags = NDArray[np.bool_]


class Part(NamedTuple):
    """A stretch of a text: the line at which it begins, what comes before it there, itself, its use."""

    line: int
    before: str
    text: str
    heldout: bool


class Row(NamedTuple):
    """A row of tokens: the line at which it begins, the tokens, the text that they spell, its use."""

    line: int
    ids: Places
    text: str
    heldout: bool


def parted(source: Source, heldout: float) -> list[Part]:
    """The texts of a source, cut so that their last share ``heldout``, in characters, is apart."""
    if not 0 <= heldout < 1:
        raise MoldiffError(f"heldout: got {heldout}, must be a share from 0 to below 1")
    cut = int(sum(len(entry.text) for entry in source.entries) * (1 - heldout))
    parts = list[Part]()
    for line, text in source.entries:
        inside = min(max(cut, 0), len(text))
        cut -= len(text)
        first, rest = text[:inside], text[inside:]
        if first:
            parts.append(Part(line, "", first, False))
        if rest:
            parts.append(Part(line + first.count("\n"), first, rest, heldout > 0))
    return parts


@final
@dataclass(frozen=True)
class Cut:
    """How a long text becomes rows of tokens.

    Args:
        length: tokens a row.
        stride: tokens from one row to the next, about.

    Raises:
        MoldiffError: a length below 2 or a stride outside 1 to ``length``.
    """

    length: int
    stride: int

    def __post_init__(self) -> None:
        """Refuse numbers out of range."""
        if type(self.length) is not int or self.length < 2:
            raise MoldiffError(f"length: got {self.length!r}, must be a whole number of tokens from 2 on")
        if type(self.stride) is not int or not 1 <= self.stride <= self.length:
            raise MoldiffError(f"stride: got {self.stride!r}, must be 1 to {self.length} (length) tokens")

    def rows(self, part: Part, tokenizer: TextTokenizer) -> list[Row]:
        """The rows of a part; those of a held-out one lie about ``length`` apart."""
        ids = np.array(tokenizer.encode(part.text), dtype=np.int64)
        pieces = tokenizer.pieces()
        cut = Cut(self.length, self.length) if part.heldout else self
        ends = np.array([each.count(b"\n") for each in pieces], dtype=np.int64)[ids].cumsum()
        found = list[Row]()
        for start in cut.starts(ids, pieces, part.before):
            own = ids[start : start + self.length]
            line = part.line + (int(ends[start - 1]) if start else 0)
            found.append(Row(line, own, tokenizer.decode(own.tolist()), part.heldout))
        return found

    def starts(self, ids: Places, pieces: Sequence[bytes], before: str = "") -> Places:
        r"""Where the rows of a text begin, increasing, each once.

        Every ``stride`` tokens a row begins, at the first line start among the next ``stride`` tokens, else
        at the first word start, else at once; but never inside a character, and none ends inside one. Rows
        that would run over the end of the text are left out.

        Args:
            ids: the tokens of the text, (N,).
            pieces: the bytes that each token spells.
            before: what comes before the text; where nothing does, a line starts.
        """
        lines, words, sound = _breaks(ids, pieces, before)
        # A row beyond the end is dropped below, so how it would end does not matter.
        beyond = np.ones(min(self.length, len(sound)), dtype=bool)
        sound &= np.append(sound[self.length :], beyond)[: len(sound)]
        ats = np.arange(0, max(len(ids) - self.length + 1, 0), self.stride)
        found = np.full(len(ats), len(ids))
        for each in (sound, words & sound, lines & sound):
            following = _next(each)[ats]
            found = np.where(following < ats + self.stride, following, found)
        return np.unique(found[found + self.length <= len(ids)])


def _breaks(ids: Places, pieces: Sequence[bytes], before: str) -> tuple[Flags, Flags, Flags]:
    """Whether a line, a word or any character begins at each place (N + 1,); the last is the text's end."""

    def of(holds: Callable[[bytes], bool]) -> Flags:
        return np.array([holds(each) for each in pieces], dtype=bool)[ids]

    lines = np.append(not before or before.endswith("\n"), of(lambda each: each.endswith(b"\n")))
    words = np.append(before.endswith(" "), of(lambda each: each.endswith(b" ")))
    # Byte pairs put the space before a word into its token.
    words[:-1] |= of(lambda each: each.startswith(b" ") and len(each) > 1)
    sound = np.append(of(lambda each: not 0x80 <= each[0] < 0xC0), True)
    return lines, words, sound


def _next(flags: Flags) -> Places:
    """By place the first place from there on whose flag is true; beyond the end where there is none."""
    places = np.where(flags, np.arange(len(flags)), len(flags))
    return np.minimum.accumulate(places[::-1])[::-1]


@final
@dataclass(frozen=True)
class Rows:
    """The rows of a source, each text once, and what is left out.

    Args:
        kept: rows that differ, in order.
        table: what is left out: line, text, reason (``short`` or ``repeat``), detail.
    """

    kept: list[Row]
    table: pd.DataFrame

    @property
    def texts(self) -> list[str]:
        """What the rows spell."""
        return [row.text for row in self.kept]

    def token_file(self, properties: dict[str, NDArray[np.float64]], info: dict[str, Any]) -> TokenFile:
        """The token file of the rows; ``info`` gains what was left out."""
        reasons = Counter(self.table["reason"])
        repeats = reasons.pop("repeat", 0)
        return TokenFile(
            np.concatenate([row.ids for row in self.kept]).astype(np.uint16),
            np.array([len(row.ids) for row in self.kept], dtype=np.int32),
            np.array([row.heldout for row in self.kept], dtype=bool),
            identities(self.texts),
            {name: values.astype(np.float32) for name, values in properties.items()},
            {**info, "rejected": dict(reasons), "duplicates": repeats},
        )


def cut_rows(parts: Sequence[Part], tokenizer: TextTokenizer, cut: Cut) -> Rows:
    """The rows of parts of texts, the first of those that are equal.

    Parts shorter than a row give none: as long as others give some, they are left out.

    Raises:
        MoldiffError: no row to train on, or none held out where some part is.
    """
    first: dict[str, int] = {}
    kept, out = list[Row](), list[tuple[int, str, str, str]]()
    for part in parts:
        rows = cut.rows(part, tokenizer)
        if not rows:
            out.append((part.line, _shown(part.text), "short", f"less than a row of {cut.length} tokens"))
        for row in rows:
            if row.text in first:
                out.append((row.line, _shown(row.text), "repeat", f"of line {first[row.text]}"))
            else:
                first[row.text] = row.line
                kept.append(row)
    _refuse_few(parts, kept, cut)
    return Rows(kept, pd.DataFrame(sorted(out), columns=["line", "text", "reason", "detail"]))


def _refuse_few(parts: Sequence[Part], kept: Sequence[Row], cut: Cut) -> None:
    """Refuses parts without a row: training needs some, and so does what is measured on held-out rows."""
    for heldout in sorted({part.heldout for part in parts}):
        if not any(row.heldout is heldout for row in kept):
            size = sum(len(part.text) for part in parts if part.heldout is heldout)
            what = "the held-out part" if heldout else "the text"
            hint = "a shorter length, a larger share heldout, or 0" if heldout else "a shorter length"
            raise MoldiffError(
                f"{what} has {size:,} characters, which make no row of {cut.length} tokens; take {hint}"
            )


def origin(source: Source) -> dict[str, Any]:
    """Where texts are from."""
    found = {"source": source.name, "source_sha256": hashlib.sha256(source.data).hexdigest()}
    # Python's own text changes with its version.
    return found | ({"python": platform.python_version()} if source.name == PYDOC else {})


def _shown(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."
