"""Protocols and shape letters that every floor shares.

Shapes: B batch, L length, K data tokens, S states (K, or K + 1 with the mask, whose id is K), C conditions.
Time runs from t = 1 (noise) to t = 0 (data); ``alpha_t`` is the chance that a token is still intact at t.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from moldiff.errors import MoldiffError
from moldiff.frames import Measure as Measure
from moldiff.frames import Picker as Picker
from moldiff.frames import Screen as Screen
from moldiff.frames import Tally as Tally
from moldiff.frames import Writer as Writer
from moldiff.items import Balance as Balance
from moldiff.items import Fault as Fault
from moldiff.items import Given as Given
from moldiff.items import Judge as Judge
from moldiff.items import Kept as Kept
from moldiff.items import Template as Template

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray
    from torch import Tensor

T = TypeVar("T")

#: A rewriting of the rows' own conditions, (B, C) -> (B, C): what a guidance asks the network with.
#: A slot that is NaN is null: the network is not told that property.
Condition = Callable[["Tensor | None"], "Tensor | None"]

#: Asks the network, in one batched forward, with each of several conditions: one (B, L, S) a condition.
LogProbs = Callable[[Sequence[Condition]], "list[Tensor]"]


class Denoiser(Protocol):
    """What predicts clean tokens from noisy ones."""

    def __call__(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """Log p(x_0 | x_t) over the K data tokens, (B, L, K), for x_t (B, L), t (B,), cond (B, C)."""
        ...


class PrefixCache(Protocol):
    """What a causal network keeps of the rows that it has read."""

    @property
    def length(self) -> int:
        """The tokens of each row read so far."""
        ...

    def select(self, index: Tensor) -> None:
        """Keeps rows index (N,), in that order."""
        ...


class CausalDenoiser(Protocol):
    """What predicts the token after each beginning of a row."""

    @property
    def max_length(self) -> int:
        """The longest row that it reads."""
        ...

    def new_cache(self) -> Any:
        """A ``PrefixCache`` for rows that it is to read piece by piece."""
        ...

    def __call__(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None, cache: Any = None) -> Tensor:
        """Log p(next state | row up to here), (B, L, S), for x_t (B, L), t (B,) and cond (B, C).

        With ``cache``, x_t goes on where the rows that it has read end, and is added to it.
        """
        ...


class Guidance(Protocol):
    """A pure transform that turns several predictions into one."""

    def __call__(self, log_probs: LogProbs, x_t: Tensor, t: Tensor) -> Tensor:
        """Guided log-probabilities, normalised, with the shape of one prediction."""
        ...


@runtime_checkable
class TokenGuidance(Guidance, Protocol):
    """A guidance whose costly part can be left until it is known where tokens are drawn."""

    def choose(
        self, log_probs: LogProbs, x_t: Tensor, t: Tensor
    ) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """A prediction without that part, (B, L, K), and what adds it where a token is drawn.

        The second takes flags (B, L) and gives normalised log-probabilities (M, K) at the M that are true.
        """
        ...


class Classifier(Protocol):
    """What tells classes of clean rows from noisy rows."""

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Log p(y | x_t), (B, C, M), of the M classes of each of C labels, for t (B,).

        x_t are states (B, L) or weights over the S states, (B, L, S). A causal one answers at every prefix,
        (B, L, C, M). A label with fewer than M classes has -inf for the rest.
        """
        ...


class PrefixClassifier(Protocol):
    """What tells classes of rows from their beginnings."""

    def __call__(self, x_t: Tensor, t: Tensor, fork: int | None = None) -> Tensor:
        """Log p(y | beginning up to here), (B, L, C, M), for x_t (B, L).

        With ``fork`` the tokens from that place on are each the one that follows those before it.
        """
        ...


class Tokenizer(Protocol[T]):
    """A reversible map between an item (a string, a pixel array) and data tokens 0..K-1."""

    @property
    def vocab_size(self) -> int:
        """The number K of data tokens."""
        ...

    def balance(self) -> Balance:
        """What well-formed items keep to; nothing where any row of tokens is one."""
        ...

    def encode(self, item: T) -> list[int]:
        """The tokens of ``item``; MoldiffError where it holds what the vocabulary lacks."""
        ...

    def decode(self, ids: Sequence[int]) -> T:
        """The item that ``ids`` spell."""
        ...


class Modality(Protocol):
    """What items are: how they are read, spelt in tokens, checked, measured, drawn and written."""

    @property
    def name(self) -> str:
        """Its row in the registry."""
        ...

    @property
    def noun(self) -> str:
        """What one of its items is called."""
        ...

    @property
    def properties(self) -> tuple[str, ...]:
        """The properties that ``evaluate`` measures and a model can be told."""
        ...

    @property
    def reading(self) -> tuple[str, ...]:
        """The options of its reader, which ``prepare`` takes."""
        ...

    @property
    def shown(self) -> tuple[str, ...]:
        """The properties that a picture shows when none was asked for."""
        ...

    def read(self, path: Path, *, column: str | None = None) -> pd.DataFrame:
        """What a file holds, one row an entry, in order.

        Columns: line (from 1), the modality's ``key`` (the item in its canonical form, missing where there is
        none) and reason (why there is none).
        """
        ...

    def texts(self, path: Path, *, column: str | None = None) -> pd.DataFrame:
        """What a file holds as it stands there, one row an entry, in order: line and raw."""
        ...

    def prepare(
        self,
        path: Path,
        *,
        tokenizer: str,
        pad_to: int | None,
        heldout: float,
        left_out: Callable[[pd.DataFrame], None] | None = None,
        **reading: Any,
    ) -> Any:
        """A token file of the items in a file.

        ``left_out`` is told the rows that are not among them, with the reason; ``reading`` are options of the
        modality's reader, such as column.
        """
        ...

    def tokenizer(self, state: dict[str, Any]) -> Tokenizer[Any]:
        """The tokenizer with a stored state."""
        ...

    def reference(self, arrays: Mapping[str, Any], versions: Mapping[str, str]) -> Any:
        """The training set as far as ``evaluate`` needs it, from a checkpoint's arrays."""
        ...

    def spelt(self, items: Sequence[Any]) -> list[str | None]:
        """Items as a table has them, None where there is none."""
        ...

    @property
    def key(self) -> str:
        """The column of a table by which two rows are the same item."""
        ...

    def canonical(self, raw: Sequence[Any]) -> list[Any]:
        """Each of ``raw`` in its canonical form, None where it is not sane."""
        ...

    def kept(self, tokenizer: Tokenizer[Any], given: Given) -> Kept:
        """The tokens that every row keeps; MoldiffError for what does not go with the modality."""
        ...

    def forbidden(self, tokenizer: Tokenizer[Any], names: Sequence[str]) -> tuple[int, ...]:
        """The tokens that names forbid, increasing.

        Raises:
            MoldiffError: a name that is of no token, nothing left to make an item of, or a modality without.
        """
        ...

    def fault(self, tokenizer: Tokenizer[Any], ids: Sequence[int], reach: int = 0) -> Fault | None:
        """What is wrong with the item that a row of tokens spells, None where it is valid.

        Args:
            tokenizer: what spells it.
            ids: the row.
            reach: how far around the tokens at fault blame reaches, from 0; at 3 and above to the whole row.
        """
        ...

    def evaluate(self, raw: Sequence[Any], reference: Any, workers: int = 1) -> pd.DataFrame:
        """A table of one row an item, in order, with columns valid, sane, reason, novel and properties.

        ``workers`` are processes to share the work.
        """
        ...

    def measure(self, oracles: Sequence[str], *, workers: int = 1, timeout: float | None = None) -> Measure:
        """What adds a column for each oracle to such a table; MoldiffError where one cannot be had.

        Args:
            oracles: names, as the modality spells them.
            workers: processes to share the work.
            timeout: seconds that one item may take; None for no limit.
        """
        ...

    def screen(self, filters: Sequence[str], patterns: Path | None, *, workers: int = 1) -> Screen:
        """What lets the sane items of such a table pass or not.

        Args:
            filters: names and bounds, as the modality spells them.
            patterns: a file of patterns that no item may show.
            workers: processes to share the work.

        Raises:
            MoldiffError: a filter that there is not, filters that nothing passes, or a modality without.
        """
        ...

    def picker(self) -> Picker:
        """What picks items far from one another; MoldiffError for a modality without."""
        ...

    def summarise(self, frame: pd.DataFrame, reference: Any) -> dict[str, Any]:
        """The counts and rates of a table."""
        ...

    def tally(self, reference: Any) -> Tally:
        """What gives the same over a table that comes in pieces."""
        ...

    def check_output(self, path: Path, rows: int | None = None) -> None:
        """Refuses a path that ``write`` would not take, or not with as many ``rows``, if known."""
        ...

    def check_picture(self, path: Path) -> None:
        """Refuses a path that ``picture`` would not take."""
        ...

    def write(self, frame: pd.DataFrame, path: Path) -> None:
        """Writes a table, whole or not at all."""
        ...

    def writer(self, path: Path, suffix: str) -> Writer:
        """Opens ``path`` in the format of ``suffix``, one that ``check_output`` lets pass."""
        ...

    def picture(
        self, frame: pd.DataFrame, shown: Sequence[str], path: Path, notes: Mapping[str, str] | None = None
    ) -> None:
        """Draws the rows of a table with the named properties; ``notes`` go into the file, unseen."""
        ...

    def check_report(self, path: Path) -> None:
        """Refuses a path that ``report`` would not take."""
        ...

    def report(
        self, frame: pd.DataFrame, facts: dict[str, Any], training: Mapping[str, NDArray[Any]], path: Path
    ) -> None:
        """Writes a page about a run, whole or not at all.

        Args:
            frame: some of its rows: the best of all, and the first.
            facts: its summary.
            training: (N,) values of each property in the training rows.
            path: where to.
        """
        ...


@dataclass(frozen=True)
class Rows:
    """What is to be sampled: B rows of one length.

    Args:
        ids: (B,) int64, the rows' global numbers; with the seed they fix every random draw.
        length: L, tokens a row.
        cond: (B, C) float conditions, NaN where null; None for a model without conditions.
        tokens: (B, L) tokens to keep where ``frozen`` is true; None where nothing is given.
        frozen: (B, L) bool, true where a token is given and never changes.
    """

    ids: Tensor
    length: int
    cond: Tensor | None = None
    tokens: Tensor | None = None
    frozen: Tensor | None = None

    def __post_init__(self) -> None:
        """Refuse kept tokens without their places, and places without tokens."""
        if (self.tokens is None) != (self.frozen is None):
            raise MoldiffError("rows: tokens and frozen go together, got one of them")


@dataclass(frozen=True)
class Pause:
    """A sampler between two steps.

    Args:
        number: steps taken.
        of: steps that there are, or the most that there may be.
        x_t: (B, L) the rows as they are.
        complete: a number D -> D completions of each row, (D, B, L), drawn from the prediction for x_t.
    """

    number: int
    of: int
    x_t: Tensor
    complete: Callable[[int], Tensor]


#: Says which row goes on in the place of each, (B,), and None where all stay. Only rows that are asked the
#: same change places. A sampler that takes ``steer`` tells it of every step, and brings what it keeps of rows
#: into the new order.
Steer = Callable[[Pause], "Tensor | None"]
