"""Evaluation: what given molecules are like, alone and beside a reference."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from moldiff import __version__
from moldiff.chem import distribution, metrics
from moldiff.chem.fingerprints import MOSES_BITS, RADIUS, TDC_BITS, Fingerprints, morgan
from moldiff.chem.molecule import Check, check, identity, rdkit_version
from moldiff.chem.similarity import (
    internal_diversity,
    internal_diversity_se,
    mean_similarities,
    nearest,
    pairwise_diversity,
    pairwise_diversity_se,
)
from moldiff.chem.work import Stages, Work, silent
from moldiff.errors import MoldiffError
from moldiff.evaluation.reference import PROPERTIES, Floats, Known, known, scores
from moldiff.files import plain, written

#: Molecules up to which internal diversities are exact: their pairs are a matter of a minute.
EXACT = 50_000


@final
@dataclass(frozen=True)
class Evaluation:
    """What N strings are, one row each, and the figures of the whole.

    Args:
        frame: one row a string, in order: smiles (canonical), raw, valid, sane, reason, properties, scaffold,
            and with a reference novel, nearest and similarity as far as it allows.
        summary: figures and facts, all of them JSON; what is undefined, such as 0/0, is None.
    """

    frame: pd.DataFrame = field(repr=False)
    summary: dict[str, Any]

    def __len__(self) -> int:
        """The number of strings."""
        return len(self.frame)

    def to_pandas(self) -> pd.DataFrame:
        """One row a string, in order."""
        return self.frame.copy()

    def to_json(self) -> str:
        """The summary as one JSON object."""
        return json.dumps(self.summary, allow_nan=False)

    def save(self, path: str | Path) -> None:
        """Writes the table as .csv, whole or not at all.

        Raises:
            MoldiffError: another suffix, or a path that cannot be written.
        """
        path = Path(path)
        check_output(path)
        with written(path) as part:
            self.frame.to_csv(part, index=False)


def check_output(path: Path) -> None:
    """Refuses a path that `Evaluation.save` would not take."""
    if path.suffix != ".csv":
        raise MoldiffError(f"output: got {path}, a table of an evaluation ends in .csv")


def evaluate(
    smiles: Sequence[str | None],
    reference: str | Path | Sequence[str | None] | Known | None = None,
    *,
    reference_column: str | None = None,
    workers: int = 1,
    exact: int = EXACT,
    seed: int = 0,
    stages: Stages = silent,
) -> Evaluation:
    """What molecules are like, alone and beside a reference; docs/metrics.md defines every figure.

    Args:
        smiles: N strings as they were written or generated; what is not valid counts as such.
        reference: a bundled model's name or a model's folder (novelty and property distances), or a molecule
            file, a token file or a list of SMILES (everything); see `moldiff.evaluation.reference.known`.
        reference_column: the column of the reference where it is a table; guessed when None.
        workers: processes to share the work; a script that asks for more than one needs the usual
            ``if __name__ == "__main__":``.
        exact: molecules up to which internal diversities are exact; of more, this many are drawn.
        seed: of that draw.
        stages: shows progress.

    Raises:
        MoldiffError: one string instead of several, no such reference, or numbers out of range.
    """
    if isinstance(smiles, str | bytes):
        raise MoldiffError(f"evaluate: got one string {smiles!r}, needs a sequence of SMILES")
    if exact < 2:
        raise MoldiffError(f"exact: got {exact}, must be at least 2")
    if seed < 0:
        raise MoldiffError(f"seed: got {seed}, must be at least 0")
    work = Work(workers, stages)
    beside = None if reference is None else known(reference, reference_column, work)
    raw = [text if isinstance(text, str) else "" for text in smiles]
    checks = work.map("checking", _checks, raw)
    found = _Distinct.of(checks, beside, work)
    near = _nearest(found, beside, work)
    summary = {
        **_counts(raw, checks, found, beside),
        "diversity": _diversity(found, exact, seed, work),
        "scaffolds": _scaffolds(found, beside, work),
        "nearest": _nearness(found, near),
        "properties": {name: _property(name, found, beside) for name in found.values},
        **_facts(found, beside, exact, seed),
    }
    return Evaluation(_frame(raw, checks, found, near, beside), plain(summary))


@final
@dataclass(frozen=True, eq=False)
class _Distinct:
    """The D distinct valid molecules among N rows, in the order in which they appear.

    Args:
        smiles: D canonical SMILES.
        place: (N,) which of them a row is, -1 for a row that is not valid.
        weights: (D,) how many rows each has.
        values: name -> (D,) property values.
        scaffolds: D scaffolds, None without a ring.
        bits: D fingerprints of MOSES_BITS bits.
    """

    smiles: list[str]
    place: NDArray[np.int64]
    weights: Floats
    values: dict[str, Floats]
    scaffolds: list[distribution.Scaffold | None]
    bits: Fingerprints

    @classmethod
    def of(cls, checks: Sequence[Check], beside: Known | None, work: Work) -> _Distinct:
        """The distinct molecules of N verdicts, measured."""
        smiles = list(dict.fromkeys(each.canonical for each in checks if each.canonical is not None))
        number = {text: place for place, text in enumerate(smiles)}
        place = np.array([number.get(each.canonical or "", -1) for each in checks], dtype=np.int64)
        weights = np.bincount(place[place >= 0], minlength=len(smiles)).astype(np.float64)
        names = list(dict.fromkeys([*PROPERTIES, *([] if beside is None else beside.properties)]))
        values = scores(smiles, names, work)
        frames = distribution.scaffolds(smiles, work)
        return cls(smiles, place, weights, values, frames, morgan(smiles, MOSES_BITS, work))

    def rows(self, values: Floats) -> Floats:
        """The values (D,) of each row, (N,), NaN where not valid."""
        return np.append(values, np.nan)[self.place]


def _counts(
    raw: Sequence[str], checks: Sequence[Check], found: _Distinct, beside: Known | None
) -> dict[str, Any]:
    """Counts and rates with their binomial standard errors."""
    counts: dict[str, Any] = metrics.summarise(raw, checks, None if beside is None else beside.hashes)
    good = distribution.good_quality(found.values["qed"], found.values["sa"])
    n, unique = len(raw), len(found.smiles)
    counts["good"] = int(good.sum())
    counts["quality"] = counts["good"] / n if n else math.nan
    for rate, whole in (("validity", n), ("sanity", n), ("quality", n), *((r, unique) for r in _NOVELTIES)):
        if rate in counts:
            counts[rate + "_se"] = distribution.rate_se(counts[rate], whole)
    novel = {key.removeprefix("novel_"): counts.pop(key) for key in [*counts] if key.startswith("novel_")}
    rejects = counts.pop("rejected")
    return {**counts, "novel": novel or None, "rejects": rejects}


_NOVELTIES = ("novelty", "novelty_train")


def _diversity(found: _Distinct, exact: int, seed: int, work: Work) -> dict[str, Any]:
    """Internal diversities: MOSES's over all valid rows, TDC's over the distinct molecules."""
    random = np.random.default_rng(seed)
    rows, weights = _drawn_rows(found, exact, random)
    means = mean_similarities(found.bits[rows], weights, (1, 2), work)
    some = np.arange(len(found.smiles))
    if len(some) > exact:
        some = random.choice(some, exact, replace=False)
    bits = morgan([found.smiles[i] for i in some], TDC_BITS, work)
    alone = mean_similarities(bits, np.ones(len(some)), (1,), work)[0]
    return {
        "intdiv": internal_diversity(means[0], weights),
        "intdiv_se": internal_diversity_se(means[0], weights),
        "intdiv2": internal_diversity(means[1], weights, 2),
        "tdc": pairwise_diversity(alone),
        "tdc_se": pairwise_diversity_se(alone),
        "drawn": exact if len(found.smiles) > exact else None,
    }


def _drawn_rows(
    found: _Distinct, exact: int, random: np.random.Generator
) -> tuple[NDArray[np.int64], Floats]:
    """The distinct molecules to compare and how many rows each has: all, or those of ``exact`` rows drawn."""
    if len(found.smiles) <= exact:
        return np.arange(len(found.smiles)), found.weights
    valid = found.place[found.place >= 0]
    some, weights = np.unique(random.choice(valid, exact, replace=False), return_counts=True)
    return some, weights.astype(np.float64)


def _scaffolds(found: _Distinct, beside: Known | None, work: Work) -> dict[str, Any]:
    """How many scaffolds there are, and how like the reference's they are."""
    distinct = {each for each in found.scaffolds if each is not None}
    ringed = sum(each is not None for each in found.scaffolds)
    out: dict[str, Any] = {
        "distinct": len(distinct),
        "molecules": ringed,
        "diversity": len(distinct) / ringed if ringed else math.nan,
        "acyclic": len(found.smiles) - ringed,
    }
    if beside is None or beside.smiles is None:
        return out
    theirs = distribution.scaffolds(beside.smiles, work)
    known_counts = distribution.count_scaffolds(theirs, [1] * len(theirs))
    ours = distribution.count_scaffolds(found.scaffolds, found.weights.astype(int).tolist())
    novel = len(distinct - known_counts.keys())
    return out | {
        "novel": novel,
        "novelty": novel / len(distinct) if distinct else math.nan,
        "similarity": distribution.scaffold_similarity(ours, known_counts),
    }


def _nearest(found: _Distinct, beside: Known | None, work: Work) -> tuple[NDArray[np.int64], Floats] | None:
    """For each distinct molecule the number of the nearest of the reference, and their similarity."""
    if beside is None or beside.smiles is None:
        return None
    return nearest(found.bits, morgan(beside.smiles, MOSES_BITS, work), work)


def _nearness(found: _Distinct, near: tuple[NDArray[np.int64], Floats] | None) -> dict[str, Any] | None:
    """SNN: the mean similarity of a valid row to its nearest neighbour in the reference."""
    if near is None:
        return None
    rows = found.rows(near[1])[found.place >= 0]
    n = len(rows)
    return {
        "snn": float(rows.mean()) if n else math.nan,
        "snn_se": float(rows.std(ddof=1) / math.sqrt(n)) if n > 1 else math.nan,
        "median": float(np.median(rows)) if n else math.nan,
    }


def _property(name: str, found: _Distinct, beside: Known | None) -> dict[str, Any]:
    """A property over the valid rows, and how far its distribution is from the reference's."""
    rows = _finite(found.rows(found.values[name]))
    n = len(rows)
    out: dict[str, Any] = {
        "n": n,
        "mean": float(rows.mean()) if n else math.nan,
        "se": float(rows.std(ddof=1) / math.sqrt(n)) if n > 1 else math.nan,
    }
    theirs = _finite(beside.properties[name]) if beside is not None and name in beside.properties else None
    if theirs is None or not len(theirs):
        return out
    distance, spread = distribution.wasserstein(rows, theirs), float(theirs.std())
    return out | {
        "reference_mean": float(theirs.mean()),
        "wasserstein": distance,
        "wasserstein_sd": distance / spread if spread else math.nan,
    }


def _facts(found: _Distinct, beside: Known | None, exact: int, seed: int) -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "reference": None if beside is None else {"name": beside.name, **beside.facts},
        "notes": list(_notes(found, beside, exact, seed)),
        "fingerprints": {"kind": "Morgan", "radius": RADIUS, "bits": MOSES_BITS, "bits_tdc": TDC_BITS},
        "seed": seed,
        "versions": {"moldiff": __version__, "rdkit": rdkit_version()},
    }


def _notes(found: _Distinct, beside: Known | None, exact: int, seed: int) -> Iterator[str]:
    """What a reader of the figures has to know, a line each."""
    if len(found.smiles) > exact:
        yield (
            f"internal diversities are estimated from {exact:,} of {len(found.smiles):,} molecules, "
            f"drawn with seed {seed}"
        )
    if beside is None:
        yield "novelty, distances and nearest neighbours need a reference"
        return
    if beside.smiles is None:
        yield (
            f"{beside.name} is known by hashes and property values alone: "
            "SNN, nearest neighbours and scaffold comparisons need a file of its molecules"
        )
    if beside.hashes.rdkit != rdkit_version():
        yield (
            f"the reference was written by RDKit {beside.hashes.rdkit}, this is {rdkit_version()}: "
            "novelty may be off"
        )


def _frame(
    raw: Sequence[str],
    checks: Sequence[Check],
    found: _Distinct,
    near: tuple[NDArray[np.int64], Floats] | None,
    beside: Known | None,
) -> pd.DataFrame:
    """The table of one row a string."""
    columns: dict[str, Any] = {
        "smiles": [each.canonical for each in checks],
        "raw": list(raw),
        "valid": [each.valid for each in checks],
        "sane": [each.sane for each in checks],
        "reason": [each.reason for each in checks],
        **{name: found.rows(values) for name, values in found.values.items()},
        "scaffold": _of_rows(found, [each and each.smiles for each in found.scaffolds]),
    }
    if beside is not None:
        ids = np.array([identity(text) for text in found.smiles], dtype=np.int64)
        for name, known_ones in (
            ("novel", beside.hashes.contains),
            ("novel_train", beside.hashes.contains_train),
        ):
            columns[name] = np.append(~known_ones(ids), False)[found.place]
    if beside is not None and beside.smiles is not None and near is not None:
        columns["nearest"] = _of_rows(found, [beside.smiles[i] for i in near[0]])
        columns["similarity"] = found.rows(near[1])
    return pd.DataFrame(columns)


def _of_rows(found: _Distinct, texts: Sequence[str | None]) -> list[str | None]:
    """The texts (D) of each row, None where not valid."""
    return [texts[place] if place >= 0 else None for place in found.place.tolist()]


def _checks(texts: Sequence[str]) -> list[Check]:
    return [check(text) for text in texts]


def _finite(values: Floats) -> Floats:
    return values[np.isfinite(values)]
