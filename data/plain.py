"""What modalities share whose items have one form alone, by which they are told apart."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, ClassVar, NoReturn, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from moldiff.errors import MoldiffError, unknown
from moldiff.files import written
from moldiff.types import Fault, Given, Kept, Tokenizer, Writer

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Hashes = NDArray[np.int64]


def identity(spelt: str) -> int:
    """A stable signed 64-bit hash of an item as a table spells it."""
    return int.from_bytes(blake2b(spelt.encode(), digest_size=8).digest(), "little", signed=True)


def identities(spelt: Sequence[str]) -> Hashes:
    """Hashes (N,) of items as a table spells them."""
    return np.array([identity(each) for each in spelt], dtype=np.int64)


@final
@dataclass(frozen=True, eq=False)
class KnownItems:
    """A data set to be novel to.

    Args:
        hashes: ``identity`` of each item, (M,).
        in_train: which of them were trained on, (M,).
    """

    hashes: Hashes
    in_train: Flags

    def contains(self, ids: Hashes) -> Flags:
        """Whether each hash is that of an item, (N,)."""
        return np.isin(ids, self.hashes)


@final
class PlainTally:
    """The counts and rates of tables of items, and the means of their properties over the novel ones.

    Args:
        reference: what is known.
        properties: columns of the tables.
    """

    def __init__(self, reference: KnownItems, properties: Sequence[str]) -> None:
        self._reference, self._properties = reference, tuple(properties)
        self._seen: set[int] = set()
        self._rows: Counter[str] = Counter()
        self._rejected: Counter[str] = Counter()
        self._sums: Counter[str] = Counter()

    def add(self, frame: pd.DataFrame) -> Flags:
        """Whether each row (N,) is the first to show its valid item, among all rows so far."""
        valid = frame["valid"].to_numpy(dtype=bool)
        ids = identities(frame["raw"].tolist())
        first = np.zeros(len(frame), dtype=bool)
        for place in np.flatnonzero(valid):
            if int(ids[place]) not in self._seen:
                self._seen.add(int(ids[place]))
                first[place] = True
        novel = first & frame["novel"].to_numpy(dtype=bool)
        self._rows.update(requested=len(frame), valid=int(valid.sum()))
        self._rows.update(unique=int(first.sum()), novel=int(novel.sum()))
        self._rejected.update(str(reason) for reason in frame["reason"].dropna())
        for name in self._properties:
            values = frame[name].to_numpy(dtype=float)[novel]
            self._sums.update(
                {name: float(np.nansum(values)), f"{name} known": int((~np.isnan(values)).sum())}
            )
        return first

    def summary(self) -> dict[str, Any]:
        """The counts and rates; an item that is valid is sane too."""
        requested, valid, unique, novel = (
            self._rows[name] for name in ("requested", "valid", "unique", "novel")
        )
        means = {name: _ratio(self._sums[name], self._sums[f"{name} known"]) for name in self._properties}
        return {
            "requested": requested,
            "valid": valid,
            "sane": valid,
            "unique": unique,
            "validity": _ratio(valid, requested),
            "sanity": _ratio(valid, requested),
            "uniqueness": _ratio(unique, valid),
            "novel": {"canonical": novel},
            # To nothing known, nothing is new.
            "novelty": _ratio(novel, unique if len(self._reference.hashes) else 0),
            "rejects": dict(self._rejected),
            "novel_means": {name: {"novel_canonical": mean} for name, mean in means.items()},
        }


class PlainModality(ABC):
    """A modality whose items are told apart by how a table spells them, in its column raw.

    A subclass says how items are read, spelt, measured and drawn.
    """

    name: ClassVar[str]
    noun: ClassVar[str]
    properties: ClassVar[tuple[str, ...]]
    reading: ClassVar[tuple[str, ...]]
    shown: ClassVar[tuple[str, ...]]
    writers: ClassVar[Mapping[str, Callable[[Path], Writer]]]
    key: ClassVar[str] = "raw"

    @abstractmethod
    def spell(self, item: Any) -> str:
        """The item as one cell of a table."""

    def spelt(self, items: Sequence[Any]) -> list[str | None]:
        """Items as a table has them, None where there is none."""
        return [None if item is None else self.spell(item) for item in items]

    @abstractmethod
    def reason(self, item: Any) -> str | None:
        """Why an item is not valid, None where it is."""

    @abstractmethod
    def measured(self, items: Sequence[Any]) -> dict[str, Floats]:
        """By property the values (N,) of items, NaN where there is none."""

    @abstractmethod
    def kept(self, tokenizer: Any, given: Given) -> Kept:
        """The tokens that every row keeps; MoldiffError for what does not go with the modality."""

    def reference(self, arrays: Mapping[str, Any], versions: Mapping[str, str]) -> KnownItems:
        """The data set to be novel to, from a checkpoint's arrays ``hashes`` and ``in_train``."""
        if not {"hashes", "in_train"} <= set(arrays):
            raise MoldiffError("model: its reference lacks hashes or in_train")
        return KnownItems(np.asarray(arrays["hashes"], np.int64), np.asarray(arrays["in_train"], bool))

    def canonical(self, raw: Sequence[Any]) -> list[Any]:
        """Each item, None where it is not valid."""
        return [None if self.reason(item) else item for item in raw]

    def forbidden(self, tokenizer: Tokenizer[Any], names: Sequence[str]) -> NoReturn:
        """Refuses: tokens have names for molecules only."""
        raise MoldiffError(f"forbid: got {', '.join(names)}, but it takes molecules only, not {self.name}")

    def fault(self, tokenizer: Tokenizer[Any], ids: Sequence[int], reach: int = 0) -> Fault | None:
        """The whole row where the item that it spells is not valid, else None."""
        found = self.reason(tokenizer.decode(ids))
        return None if found is None else Fault(found, tuple(range(len(ids))))

    def evaluate(self, raw: Sequence[Any], reference: KnownItems, workers: int = 1) -> pd.DataFrame:
        """A table of one row an item, in order: raw, valid, sane, reason, novel and the properties.

        Properties are NaN where the item is not valid. One process does it all, whatever ``workers``.
        """
        spelt = [self.spell(item) for item in raw]
        reasons = [self.reason(item) for item in raw]
        valid = np.array([reason is None for reason in reasons], dtype=bool)
        good = np.flatnonzero(valid)
        found = self.measured([raw[int(place)] for place in good])
        columns: dict[str, Any] = {
            "raw": pd.array(spelt, dtype="str"),
            "valid": valid,
            "sane": valid,
            "reason": pd.array(reasons, dtype="str"),
            "novel": valid & ~reference.contains(identities(spelt)),
        }
        for name in self.properties:
            columns[name] = np.full(len(raw), np.nan)
            columns[name][good] = found[name]
        return pd.DataFrame(columns)

    def measure(self, oracles: Sequence[str], *, workers: int = 1, timeout: float | None = None) -> NoReturn:
        """Refuses: there are oracles for molecules only."""
        raise MoldiffError(f"oracle: got {', '.join(oracles)}, but there are none for {self.name}")

    def screen(self, filters: Sequence[str], patterns: Path | None, *, workers: int = 1) -> NoReturn:
        """Refuses: there are filters for molecules only."""
        got = ", ".join([*filters, *([] if patterns is None else [str(patterns)])])
        raise MoldiffError(f"filter: got {got}, but there are none for {self.name}")

    def picker(self) -> NoReturn:
        """Refuses: molecules alone have a distance."""
        raise MoldiffError(f"diverse: it takes molecules only, not {self.name}; leave it off")

    def summarise(self, frame: pd.DataFrame, reference: KnownItems) -> dict[str, Any]:
        """The counts and rates of a table."""
        tally = self.tally(reference)
        tally.add(frame)
        return tally.summary()

    def tally(self, reference: KnownItems) -> PlainTally:
        """What gives the same over a table that comes in pieces."""
        return PlainTally(reference, self.properties)

    def write(self, frame: pd.DataFrame, path: Path) -> None:
        """Writes a table in the format of the path's suffix, whole or not at all."""
        self.check_output(path)
        with written(path) as part, closing(self.writer(part, path.suffix)) as writer:
            writer.append(frame)

    def writer(self, path: Path, suffix: str) -> Writer:
        """Opens ``path`` in the format of ``suffix``, to write a table in pieces."""
        return self.writers[suffix](path)

    def check_output(self, path: Path, rows: int | None = None) -> None:
        """Refuses a path whose suffix no writer takes; of ``rows`` any number will do."""
        if path.suffix not in self.writers:
            raise unknown("kind of output file", path.suffix or path.name, self.writers)

    def check_picture(self, path: Path) -> None:
        """Refuses every path: no picture is drawn unless a subclass says so."""
        raise MoldiffError(f"picture: got {path}, but {self.name} are not drawn; leave it off")

    def picture(
        self, frame: pd.DataFrame, shown: Sequence[str], path: Path, notes: Mapping[str, str] | None = None
    ) -> None:
        """Draws nothing: ``check_picture`` refuses."""
        self.check_picture(path)

    def check_report(self, path: Path) -> None:
        """Refuses every path: there are pages about molecules only."""
        raise MoldiffError(f"report: got {path}, but there are pages about molecules only; leave it off")

    def report(
        self, frame: pd.DataFrame, facts: dict[str, Any], training: Mapping[str, NDArray[Any]], path: Path
    ) -> None:
        """Writes nothing: ``check_report`` refuses."""
        self.check_report(path)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
