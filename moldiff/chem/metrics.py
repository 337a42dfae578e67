"""Counts and rates of valid, sane, unique and novel molecules, under two novelty protocols.

`upstream` is the rule of the published QM9 frontiers (UDLM, arXiv:2412.10193, `qm9_eval`; taken
over by ReMDM, arXiv:2503.00307): generated strings are compared as they were written, among
themselves and with the canonical strings of the data set, so "C(C)O" is novel beside "CCO".

`canonical` compares canonical SMILES on both sides, so only another molecule is novel.

Both published and canonical figures are against all rows of the data set; the forms named
`_train` are against the rows that the model was trained on.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Self, final

import numpy as np
from numpy.typing import NDArray

from moldiff.chem.molecule import Check, identity, rdkit_version
from moldiff.errors import MoldiffError

Hashes = NDArray[np.int64]
Flags = NDArray[np.bool_]


@final
@dataclass(frozen=True, eq=False)
class Reference:
    """A data set's canonical SMILES as hashes, to look up what is already known.

    Attributes:
        hashes: `molecule.identity` of each canonical SMILES, (M,) strictly increasing.
        in_train: whether that molecule is among the training rows, (M,).
        rdkit: the RDKit version that wrote the canonical SMILES; another version may spell a few
            molecules otherwise, which then look novel.
    """

    hashes: Hashes
    in_train: Flags
    rdkit: str

    def __post_init__(self) -> None:
        """Refuse arrays that the look-up would misread.

        Raises:
            MoldiffError: other types, unequal lengths, or hashes out of order.
        """
        if self.hashes.dtype != np.int64 or self.in_train.dtype != np.bool_:
            got = f"{self.hashes.dtype} and {self.in_train.dtype}"
            raise MoldiffError(f"a reference holds int64 hashes and bool marks: got {got}")
        if self.hashes.ndim != 1 or self.hashes.shape != self.in_train.shape:
            got = f"{self.hashes.shape} and {self.in_train.shape}"
            raise MoldiffError(f"a reference holds one mark a hash: got shapes {got}")
        if not (self.hashes[1:] > self.hashes[:-1]).all():
            raise MoldiffError("a reference holds strictly increasing hashes: got another order")

    @classmethod
    def of(cls, canonical: Sequence[str], in_train: Sequence[bool] | Flags) -> Self:
        """The reference of canonical SMILES written by this RDKit; repeats are merged.

        Args:
            canonical: M strings.
            in_train: M marks; a repeated molecule is in train when any of its rows is.

        Raises:
            MoldiffError: unequal lengths.
        """
        marks = np.asarray(in_train, dtype=np.bool_)
        if marks.shape != (len(canonical),):
            raise MoldiffError(f"got {len(canonical)} molecules and marks of shape {marks.shape}")
        hashes, row = np.unique(_identities(canonical), return_inverse=True)
        merged = np.zeros(len(hashes), dtype=np.bool_)
        np.logical_or.at(merged, row, marks)
        return cls(hashes=hashes, in_train=merged, rdkit=rdkit_version())

    def contains(self, ids: Hashes) -> Flags:
        """Whether each hash is that of any row, (N,)."""
        return self._find(ids)[0]

    def contains_train(self, ids: Hashes) -> Flags:
        """Whether each hash is that of a training row, (N,)."""
        found, place = self._find(ids)
        found[found] = self.in_train[place[found]]
        return found

    def _find(self, ids: Hashes) -> tuple[Flags, NDArray[np.intp]]:
        """Whether each hash is here, and the place where it is or would be."""
        place = np.searchsorted(self.hashes, ids)
        inside = place < len(self.hashes)
        found = np.zeros(len(ids), dtype=np.bool_)
        found[inside] = self.hashes[place[inside]] == ids[inside]
        return found, place


@final
@dataclass(frozen=True, eq=False)
class Novelty:
    """Marks, (N,) each, at the first of the N rows that shows a distinct valid item.

    So a sum is a count of distinct items, and a mean over marked rows weighs each item once.

    Attributes:
        unique_canonical: a canonical SMILES not seen in an earlier row.
        novel_canonical: of these, not in the reference.
        novel_canonical_train: of these, not among the training rows of the reference.
        unique_upstream: a raw string not seen in an earlier row.
        novel_upstream: of these, not among the canonical strings of the reference.
        novel_upstream_train: of these, not among those of its training rows.
    """

    unique_canonical: Flags
    novel_canonical: Flags
    novel_canonical_train: Flags
    unique_upstream: Flags
    novel_upstream: Flags
    novel_upstream_train: Flags


@final
class Seen:
    """Which items were met before, by their hashes: 8 bytes an item, whatever its size."""

    def __init__(self) -> None:
        self._hashes: Hashes = np.empty(0, dtype=np.int64)

    def __len__(self) -> int:
        """The number of distinct items."""
        return len(self._hashes)

    def add(self, ids: Hashes) -> Flags:
        """Whether each of ids (N,) is met here for the first time, (N,); from now on they are known."""
        fresh, first = np.unique(ids, return_index=True)
        place = np.searchsorted(self._hashes, fresh)
        known = np.zeros(len(fresh), dtype=np.bool_)
        inside = place < len(self._hashes)
        known[inside] = self._hashes[place[inside]] == fresh[inside]
        # One copy of the table a call: for chunks of a thousand that is less than their parsing.
        self._hashes = np.insert(self._hashes, place[~known], fresh[~known])
        flags = np.zeros(len(ids), dtype=np.bool_)
        flags[first[~known]] = True
        return flags


@final
class Tally:
    """Counts over rows that come in chunks; how they are cut changes no count.

    It holds two hashes a distinct molecule, 16 bytes, and no row.

    Args:
        reference: what is known; None leaves novelty out.
    """

    def __init__(self, reference: Reference | None = None) -> None:
        self._reference = reference
        self._canonical, self._upstream = Seen(), Seen()
        self._rows: Counter[str] = Counter()
        self._marked: Counter[str] = Counter()
        self._rejected: Counter[str] = Counter()
        self._means: dict[str, dict[str, _Mean]] = {}

    def add(
        self,
        raw: Sequence[str],
        checks: Sequence[Check],
        values: Mapping[str, NDArray[np.float64]] | None = None,
    ) -> Novelty:
        """The marks of these rows, in the light of all rows before them.

        Args:
            raw: N strings as they were generated.
            checks: their verdicts, N.
            values: properties whose means over novel items are wanted, (N,) each.

        Raises:
            MoldiffError: unequal lengths.
        """
        _same_length(raw, checks)
        known = _NOTHING if self._reference is None else self._reference
        canonical = [each.canonical for each in checks]
        written = [text if each.valid else None for text, each in zip(raw, checks, strict=True)]
        marks = Novelty(*_marks(canonical, known, self._canonical), *_marks(written, known, self._upstream))
        self._rows["requested"] += len(raw)
        self._rows["valid"] += sum(each.valid for each in checks)
        self._rows["sane"] += sum(each.sane for each in checks)
        self._rejected.update(each.reason for each in checks if each.reason is not None)
        for each in fields(marks):
            self._marked[each.name] += int(getattr(marks, each.name).sum())
        for name, column in (values or {}).items():
            means = self._means.setdefault(name, {mark: _Mean() for mark in _novel_marks()})
            for mark, mean in means.items():
                mean.add(column[getattr(marks, mark)])
        return marks

    def summary(self) -> dict[str, object]:
        """Counts and rates of all rows so far, as `summarise` describes them."""
        requested, valid, sane = (self._rows[key] for key in ("requested", "valid", "sane"))
        unique, unique_upstream = self._marked["unique_canonical"], self._marked["unique_upstream"]
        found: dict[str, object] = {
            "requested": requested,
            "valid": valid,
            "sane": sane,
            "unique": unique,
            "unique_upstream": unique_upstream,
            "validity": _ratio(valid, requested),
            "sanity": _ratio(sane, requested),
            "uniqueness": _ratio(unique, valid),
            "uniqueness_upstream": _ratio(unique_upstream, valid),
            "rejected": dict(self._rejected),
        }
        return found if self._reference is None else found | self._novel(self._reference)

    def novel_means(self) -> dict[str, dict[str, float]]:
        """By property, what `novel_mean` gives over all rows so far."""
        return {
            name: {mark: mean.value() for mark, mean in means.items()} for name, means in self._means.items()
        }

    def _novel(self, reference: Reference) -> dict[str, object]:
        """The part of the summary that needs a reference."""
        marked = self._marked
        return {
            **{mark: marked[mark] for mark in _novel_marks()},
            "novelty": _ratio(marked["novel_canonical"], marked["unique_canonical"]),
            "novelty_train": _ratio(marked["novel_canonical_train"], marked["unique_canonical"]),
            "novelty_upstream": _ratio(marked["novel_upstream"], marked["unique_upstream"]),
            "reference_rdkit": reference.rdkit,
            "reference_matches_rdkit": reference.rdkit == rdkit_version(),
        }


@final
class _Mean:
    """The mean of the values that are not NaN, over chunks."""

    def __init__(self) -> None:
        self._total, self._count = 0.0, 0

    def add(self, values: NDArray[np.float64]) -> None:
        kept = values[~np.isnan(values)]
        self._total += float(kept.sum())
        self._count += len(kept)

    def value(self) -> float:
        """NaN when there was none."""
        return _ratio(self._total, self._count)


def novelty_flags(raw: Sequence[str], checks: Sequence[Check], reference: Reference) -> Novelty:
    """The marks of distinct and of novel items under both protocols.

    Args:
        raw: N strings as they were generated.
        checks: their verdicts, N.
        reference: what is known.

    Raises:
        MoldiffError: unequal lengths.
    """
    return Tally(reference).add(raw, checks)


def novel_mean(values: NDArray[np.float64], novelty: Novelty) -> dict[str, float]:
    """The mean of a property over the novel items of each protocol, by the name of the mark.

    This is the second half of figures such as "348 @ 4.53"; the first is the count. A NaN value
    is left out; NaN when nothing is left. Under `upstream` a molecule counts once a spelling.

    Args:
        values: the property of each row, (N,).
        novelty: the marks of the same rows.

    Raises:
        MoldiffError: unequal lengths.
    """
    _same_length(values, novelty.novel_canonical)
    means = {mark: _Mean() for mark in _novel_marks()}
    for mark, mean in means.items():
        mean.add(values[getattr(novelty, mark)])
    return {mark: mean.value() for mark, mean in means.items()}


def unique_at(checks: Sequence[Check], k: int) -> float:
    """MOSES's unique@k: distinct canonical SMILES among the first k valid / k; NaN where fewer are valid.

    Args:
        checks: the verdicts in the order of the draws, N.
        k: at least 1.
    """
    first = [each.canonical for each in checks if each.valid][:k]
    return len(set(first)) / k if len(first) == k else float("nan")


def summarise(
    raw: Sequence[str], checks: Sequence[Check], reference: Reference | None = None
) -> dict[str, object]:
    """Counts (int) and rates (float, NaN for 0/0) of N generated strings.

    Counts: requested = N; valid and sane as in `molecule.Check`; `unique` and `novel_canonical`
    are distinct canonical SMILES among the valid, `unique_upstream` and `novel_upstream` distinct
    raw strings among the valid; the novel are those not in the reference, with `_train` not among
    its training rows; `rejected` is a dictionary of counts by reason.

    Rates, 0 to 1:

        validity         = valid / requested
        sanity           = sane / requested
        uniqueness       = unique / valid              uniqueness_upstream = unique_upstream / valid
        novelty          = novel_canonical / unique
        novelty_train    = novel_canonical_train / unique
        novelty_upstream = novel_upstream / unique_upstream

    Without a reference the keys with `novel` and `reference` in them are absent.

    Args:
        raw: N strings as they were generated.
        checks: their verdicts, N.
        reference: what is known.

    Raises:
        MoldiffError: unequal lengths.
    """
    tally = Tally(reference)
    tally.add(raw, checks)
    return tally.summary()


def _marks(texts: Sequence[str | None], reference: Reference, seen: Seen) -> tuple[Flags, Flags, Flags]:
    """First occurrence; of these novel to all rows; of these novel to the training rows."""
    rows = np.array([row for row, text in enumerate(texts) if text is not None], dtype=np.intp)
    ids = _identities([text for text in texts if text is not None])
    first, novel, novel_train = (np.zeros(len(texts), dtype=np.bool_) for _ in range(3))
    first[rows] = seen.add(ids)
    novel[rows] = first[rows] & ~reference.contains(ids)
    novel_train[rows] = first[rows] & ~reference.contains_train(ids)
    return first, novel, novel_train


def _novel_marks() -> list[str]:
    """The names of the marks of novel items."""
    return [each.name for each in fields(Novelty) if each.name.startswith("novel")]


def _identities(texts: Sequence[str]) -> Hashes:
    """The hash of each string, (N,)."""
    return np.fromiter(map(identity, texts), dtype=np.int64, count=len(texts))


def _same_length(first: Sequence[object] | np.ndarray, second: Sequence[object] | Flags) -> None:
    """Refuse two columns of unequal length."""
    if len(first) != len(second):
        raise MoldiffError(f"one entry a row is needed in both: got {len(first)} and {len(second)}")


def _ratio(part: float, whole: float) -> float:
    """Part over whole; NaN when the whole is zero."""
    return float(part / whole) if whole else float("nan")


_NOTHING = Reference.of([], [])
