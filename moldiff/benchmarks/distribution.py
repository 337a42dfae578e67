"""The MOSES benchmark of distributions: how like held-out molecules generated ones are.

Polykovskiy et al., arXiv:1811.12823; docs/benchmark.md says what differs from their code.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from moldiff.benchmarks import chemnet
from moldiff.benchmarks.report import ERROR, Report
from moldiff.chem import distribution, metrics, moses
from moldiff.chem.molecule import Check
from moldiff.chem.work import HERE, Work
from moldiff.errors import MoldiffError
from moldiff.evaluation.evaluate import EXACT, Evaluation, evaluate
from moldiff.evaluation.reference import Known
from moldiff.moments import frechet

#: The k of unique@k.
FIRST = (1_000, 10_000)
#: By property of MOSES, what the rows of its Wasserstein-1 distances are called.
PROPERTIES = {"logp": "logP", "sa": "SA", "qed": "QED", "mw": "weight"}


@final
@dataclass(frozen=True)
class Chosen:
    """How the benchmark is worked.

    Args:
        fcd: whether the Fréchet ChemNet distance is wanted; None for where its package is installed.
        device: where its network runs.
        exact: molecules up to which internal diversities are exact.
        seed: of the draw where there are more.
    """

    fcd: bool | None = None
    device: str = "auto"
    exact: int = EXACT
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse a distance that is asked for and cannot be had, before any work is done."""
        if self.fcd and not chemnet.installed():
            raise MoldiffError(
                f"--fcd: it needs the package {chemnet.PACKAGE}, which is not installed: {chemnet.EXTRA}"
            )


def compare(
    name: str,
    raw: Sequence[str],
    test: Known,
    train: Known | None = None,
    chosen: Chosen | None = None,
    work: Work = HERE,
) -> Report:
    """MOSES's figures of generated strings beside a test set.

    Args:
        name: what the strings are called.
        raw: every string that was drawn, in order, valid or not, N.
        test: the molecules to be like, with structures.
        train: what is known, for novelty; None leaves that out.
        chosen: how it is worked.
        work: how it is done.

    Raises:
        MoldiffError: a test set that is known by hashes alone.
    """
    if test.smiles is None:
        raise MoldiffError(
            f"test set {test.name}: it is known by hashes alone, and this needs structures; name a file"
        )
    chosen = chosen or Chosen()
    found = evaluate(
        raw, test, workers=work.workers, exact=chosen.exact, seed=chosen.seed, stages=work.stages
    )
    rows = [*_counts(raw, found, train), *_likeness(found, test.smiles, work)]
    notes = [note for note in found.summary["notes"] if "estimated" in note]
    distance, said = _fcd(found, test.smiles, chosen, work)
    rows.append(_Row("FCD", distance, math.nan, "Fréchet ChemNet distance to the test set; 0 is best"))
    rows += _distances(found)
    notes += [*said, *_missing(found, train)]
    frame = pd.DataFrame([each.cells() for each in rows])
    config = {
        "file": name,
        "test": {"name": test.name, **test.facts},
        "train": None if train is None else {"name": train.name, **train.facts},
        "exact": chosen.exact,
        "seed": chosen.seed,
    }
    figures = {each.name: {"value": each.value, "se": each.se} for each in rows}
    return Report("distribution", frame, config, figures, (), notes)


@final
@dataclass(frozen=True)
class _Row:
    """A figure, its standard error where it is known, and what it is."""

    name: str
    value: float
    se: float
    what: str

    def cells(self) -> dict[str, Any]:
        return {"figure": self.name, "value": self.value, "value" + ERROR: self.se, "what": self.what}


def _row(name: str, value: float | None, se: float | None, what: str) -> _Row:
    known, error = (math.nan if each is None else float(each) for each in (value, se))
    return _Row(name, known, error, what)


def _counts(raw: Sequence[str], found: Evaluation, train: Known | None) -> Iterator[_Row]:
    """Figures of the strings alone, and novelty."""
    facts, diversity, checks = found.summary, found.summary["diversity"], _checks(found.frame)
    yield _row("valid", facts["validity"], facts["validity_se"], "of all strings")
    for k in FIRST:
        yield _row(f"unique@{k // 1000}k", metrics.unique_at(checks, k), None, f"of the first {k:,} valid")
    if train is not None:
        known = metrics.summarise(raw, checks, train.hashes)
        share, unique = float(str(known["novelty_train"])), int(str(known["unique"]))
        error = distribution.rate_se(share, unique)
        yield _row("novelty", share, error, "of distinct molecules, canonical, to the training set")
    yield _row("IntDiv", diversity["intdiv"], diversity["intdiv_se"], "all pairs of valid, 1,024 bits")
    yield _row("IntDiv2", diversity["intdiv2"], None, "the same with p = 2")


def _likeness(found: Evaluation, test: Sequence[str], work: Work) -> Iterator[_Row]:
    """How like the test set the valid rows are, and which of them pass the filter."""
    nearest = found.summary["nearest"]
    yield _row("SNN", nearest["snn"], nearest["snn_se"], "mean similarity to the nearest of the test set")
    smiles, weights = _distinct(found.frame)
    ours = moses.count_fragments(moses.fragments(smiles, work), weights.tolist())
    theirs = moses.count_fragments(moses.fragments(test, work), [1] * len(test))
    yield _row("Frag", distribution.cosine(ours, theirs), None, "cosine of BRICS fragment counts")
    scaf = found.summary["scaffolds"]["similarity"]
    yield _row("Scaf", scaf, None, "cosine of scaffold counts, two rings and more")
    passed = np.array(moses.passes(smiles, work), dtype=np.float64)
    n = int(weights.sum())
    share = float(passed @ weights / n) if n else math.nan
    what = "of valid: no PAINS, charge, ring of 8 and more, or other element"
    yield _row("Filters", share, distribution.rate_se(share, n), what)


def _distances(found: Evaluation) -> Iterator[_Row]:
    """The Wasserstein-1 distances of MOSES's properties."""
    for name, shown in PROPERTIES.items():
        distance = found.summary["properties"][name].get("wasserstein")
        yield _row(f"W1 {shown}", distance, None, "Wasserstein-1 distance to the test set, in its unit")


def _fcd(found: Evaluation, test: Sequence[str], chosen: Chosen, work: Work) -> tuple[float, tuple[str, ...]]:
    """The Fréchet ChemNet distance, and what there is to say of it; NaN where it was not computed."""
    if chosen.fcd is False:
        return math.nan, ("FCD: left out (--no-fcd)",)
    if not chemnet.installed():
        return math.nan, (f"FCD: needs the package {chemnet.PACKAGE}, not installed: {chemnet.EXTRA}",)
    smiles, weights = _distinct(found.frame)
    short = np.array([chemnet.fits(text) for text in smiles], dtype=bool)
    known = [text for text in test if chemnet.fits(text)]
    said = []
    if left := int(weights[~short].sum()) + len(test) - len(known):
        said.append(f"FCD: {left} molecules are longer than the network takes and left out")
    rows = np.repeat(np.arange(int(short.sum())), weights[short])
    if min(len(rows), len(known)) < 2:
        return math.nan, (*said, "FCD: needs two molecules on either side")
    ours = chemnet.activations([smiles[i] for i in np.flatnonzero(short)], chosen.device, work)
    theirs = chemnet.activations(known, chosen.device, work)
    said.append(f"FCD: of {len(rows):,} and {len(known):,} molecules; it falls with their number")
    return frechet(ours[rows], theirs), tuple(said)


def _missing(found: Evaluation, train: Known | None) -> Iterator[str]:
    """What has no figure, and why."""
    for k in FIRST:
        if found.summary["valid"] < k:
            yield f"unique@{k // 1000}k: there are only {found.summary['valid']:,} valid"
    if train is None:
        yield "novelty: name the training set with --train"


def _checks(frame: pd.DataFrame) -> list[Check]:
    """The verdicts that the table of an evaluation was made of."""
    columns = (frame[name].tolist() for name in ("smiles", "valid", "sane", "reason"))
    return [
        Check(smiles if valid else None, valid, sane, None if sane else reason)
        for smiles, valid, sane, reason in zip(*columns, strict=True)
    ]


def _distinct(frame: pd.DataFrame) -> tuple[list[str], NDArray[np.int64]]:
    """The distinct valid molecules in order, and how many rows each has."""
    counts = frame.loc[frame["valid"], "smiles"].value_counts(sort=False)
    return [str(text) for text in counts.index], counts.to_numpy(dtype=np.int64)
