"""Oracles that are fitted to measured values: Morgan fingerprints, a regressor, its error and its card."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, Self, final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from rdkit.Chem import rdFingerprintGenerator
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from moldiff.chem.estimators import ESTIMATORS, Estimator, Floats
from moldiff.chem.molecule import parse, rdkit_version
from moldiff.errors import MoldiffError, unknown
from moldiff.files import written

SUFFIX = ".safetensors"
"""How the file of a fitted oracle ends: it holds arrays and a JSON card, and nothing is unpickled."""

LARGEST = 1e100
"""The largest size of a value to be fitted: squares of it are finite."""

_KEY = "moldiff_oracle"


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Fingerprint(_Section):
    """Which Morgan fingerprint the regressor sees: counts of environments, folded to a length."""

    radius: int = Field(default=2, ge=0, le=6)
    size: int = Field(default=2048, ge=16, le=65536)

    def __call__(self, smiles: Sequence[str]) -> NDArray[np.float32]:
        """The counts, (N, size).

        Raises:
            MoldiffError: a string that is not a valid SMILES.
        """
        make = rdFingerprintGenerator.GetMorganGenerator(radius=self.radius, fpSize=self.size)
        rows = np.empty((len(smiles), self.size), dtype=np.float32)
        for row, text in zip(rows, smiles, strict=True):
            mol = parse(text)
            if mol is None:
                raise MoldiffError(f"fingerprint: got {text!r}, which is not a valid SMILES")
            row[:] = make.GetCountFingerprintAsNumPy(mol)
        return rows


ECFP4_COUNTS = Fingerprint()


class Errors(_Section):
    """Errors on molecules that were held out, k-fold: means over the folds and their standard errors.

    ``mae`` is the mean absolute error, ``mae_of_mean`` that of always saying the mean of the other folds;
    ``r2`` is None where the values of a fold are all the same.
    """

    folds: int
    seed: int
    mae: float
    mae_se: float
    r2: float | None
    r2_se: float | None
    mae_of_mean: float


class Card(_Section):
    """What is known of a fitted oracle."""

    format: Literal[1] = 1
    name: str
    target: str
    unit: str = ""
    maximize: bool = True
    source: str = ""
    molecules: int
    merged: int = 0
    left_out: dict[str, int] = Field(default_factory=dict)
    minimum: float
    maximum: float
    mean: float
    sd: float
    fingerprint: Fingerprint
    estimator: str
    settings: dict[str, Any]
    errors: Errors
    versions: dict[str, str]

    def notes(self) -> tuple[str, ...]:
        """What a reader of its values should know: other versions than it was fitted with."""
        fitted, here = self.versions.get("rdkit", "unknown"), rdkit_version()
        if fitted == here:
            return ()
        return (f"{self.name}: fitted with RDKit {fitted}, this is {here}; fingerprints may differ",)


@dataclass(frozen=True)
class Plan:
    """How an oracle is fitted.

    Args:
        name: what its column is called.
        target: what the values are called where they come from.
        unit: their unit.
        maximize: whether larger is better.
        estimator: a row of `estimators.ESTIMATORS`.
        fingerprint: what the regressor sees.
        folds: parts that are held out in turn, at least 2.
        seed: of the folds and of the regressor.
        source: where the values come from.
    """

    name: str
    target: str = ""
    unit: str = ""
    maximize: bool = True
    estimator: str = "ridge"
    fingerprint: Fingerprint = ECFP4_COUNTS
    folds: int = 5
    seed: int = 0
    source: str = ""


@final
@dataclass(frozen=True, eq=False)
class Fitted:
    """A fitted oracle: canonical SMILES in, values out."""

    card: Card
    estimator: Estimator

    def __call__(self, smiles: Sequence[str]) -> Floats:
        """The predicted values, (N,), of valid SMILES."""
        return self.estimator.predict(self.card.fingerprint(smiles))

    def save(self, path: Path) -> None:
        """Writes the file, whole or not at all.

        Raises:
            MoldiffError: another suffix, or a path that cannot be written.
        """
        check_path(path)
        card = self.card.model_dump_json()
        arrays = {name: np.ascontiguousarray(each) for name, each in self.estimator.arrays().items()}
        with written(path) as part:
            part.write_bytes(save(arrays, metadata={_KEY: card}))

    @classmethod
    def load(cls, path: Path) -> Self:
        """The oracle of a file.

        Raises:
            MoldiffError: no such file, or not one that `save` wrote.
        """
        card = read_card(path)
        try:
            with safe_open(path, framework="numpy") as file:
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            made = ESTIMATORS[card.estimator].restored(arrays, card.fingerprint.size)
        except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
            raise MoldiffError(f"oracle {path}: its arrays are damaged ({error})") from None
        return cls(card, made)


def fingerprint(radius: int, size: int) -> Fingerprint:
    """The Morgan fingerprint of that radius and length.

    Raises:
        MoldiffError: a number out of range.
    """
    try:
        return Fingerprint(radius=radius, size=size)
    except ValidationError as error:
        first = error.errors()[0]
        raise MoldiffError(f"fingerprint {first['loc'][0]}: got {first['input']}, {first['msg']}") from None


def check_path(path: Path) -> None:
    """Refuses a path whose suffix is not that of a fitted oracle."""
    if path.suffix != SUFFIX:
        raise MoldiffError(f"oracle file: got {path}, a fitted oracle ends in {SUFFIX}")


def read_card(path: Path) -> Card:
    """The card of a fitted oracle.

    Raises:
        MoldiffError: no such file, or not one that `Fitted.save` wrote.
    """
    if not path.is_file():
        raise MoldiffError(f"oracle {path}: there is no such file")
    try:
        with safe_open(path, framework="numpy") as file:
            stored = (file.metadata() or {}).get(_KEY)
        card = None if stored is None else Card.model_validate_json(stored)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "it"
        raise MoldiffError(f"oracle {path}: its card is damaged ({where}: {first['msg']})") from None
    except (OSError, SafetensorError) as error:
        raise MoldiffError(f"oracle {path}: cannot be read ({error})") from None
    if card is None:
        raise MoldiffError(f"oracle {path}: no oracle that moldiff fitted")
    if card.estimator not in ESTIMATORS:
        raise unknown(f"estimator in {path}", card.estimator, ESTIMATORS)
    return card


def fit(
    smiles: Sequence[str],
    values: Sequence[float] | Floats,
    plan: Plan,
    *,
    rejects: Mapping[str, int] | None = None,
    workers: int = 1,
    progress: Callable[[int], None] | None = None,
) -> Fitted:
    """An oracle fitted to measured values, with its error on molecules that were held out.

    Values of the same molecule are averaged, so that no molecule is in two folds.

    Args:
        smiles: N valid SMILES; canonical ones, where repeats are to be found.
        values: (N,) measured values; those that are not finite are left out.
        plan: how to fit.
        rejects: rows that were no molecules, by reason, for the card.
        workers: threads for a forest.
        progress: is told how many of the folds + 1 fits are done.

    Raises:
        MoldiffError: unequal lengths, too few molecules, or values that are all the same.
    """
    if plan.estimator not in ESTIMATORS:
        raise unknown("estimator", plan.estimator, ESTIMATORS)
    molecules, targets, lacking = _usable(smiles, values, plan)
    kind = ESTIMATORS[plan.estimator]
    features = plan.fingerprint(molecules)
    errors = _cross_validated(features, targets, plan, workers, progress)
    made = kind.fit(features, targets, plan.seed, workers)
    if progress is not None:
        progress(plan.folds + 1)
    left_out = {**(rejects or {}), **({"no value": lacking} if lacking else {})}
    card = Card(
        **{name: getattr(plan, name) for name in ("name", "target", "unit", "maximize", "source")},
        molecules=len(molecules),
        merged=len(smiles) - lacking - len(molecules),
        left_out=left_out,
        **_spread(targets),
        fingerprint=plan.fingerprint,
        estimator=plan.estimator,
        settings=dict(kind.settings),
        errors=errors,
        versions=versions(),
    )
    return Fitted(card, made)


def _spread(targets: Floats) -> dict[str, Any]:
    """The figures of the values that a card keeps."""
    low, high, sd = targets.min(), targets.max(), targets.std(ddof=1)
    return {"minimum": float(low), "maximum": float(high), "mean": float(targets.mean()), "sd": float(sd)}


def versions() -> dict[str, str]:
    """The versions that a fitted oracle depends on."""
    names = ("moldiff", "scikit-learn", "numpy")
    return {"rdkit": rdkit_version(), **{name: version(name) for name in names}}


def _usable(
    smiles: Sequence[str], values: Sequence[float] | Floats, plan: Plan
) -> tuple[list[str], Floats, int]:
    """The distinct molecules, their values, and how many of the given ones had none.

    Raises:
        MoldiffError: see `fit`.
    """
    measured = np.asarray(values, dtype=np.float64)
    if measured.shape != (len(smiles),):
        raise MoldiffError(f"oracle fit: got {len(smiles)} molecules and values of shape {measured.shape}")
    molecules, targets = _merged(smiles, measured)
    if plan.folds < 2 or len(molecules) < 2 * plan.folds:
        got = f"{len(molecules)} molecules with values and {plan.folds} folds"
        raise MoldiffError(f"oracle fit: got {got}, needs 2 folds or more and twice as many molecules")
    if np.abs(targets).max() > LARGEST:
        raise MoldiffError(f"oracle fit: got a value of {np.abs(targets).max():g}, at most {LARGEST:g}")
    if np.ptp(targets) == 0:
        raise MoldiffError(f"oracle fit: all values of {plan.target or plan.name} are {targets[0]:g}")
    return molecules, targets, int((~np.isfinite(measured)).sum())


def _merged(smiles: Sequence[str], measured: Floats) -> tuple[list[str], Floats]:
    """Each molecule once, with the mean of its finite values."""
    found: dict[str, list[float]] = {}
    for text, value in zip(smiles, measured.tolist(), strict=True):
        if np.isfinite(value):
            found.setdefault(text, []).append(value)
    return list(found), np.array([np.mean(each) for each in found.values()], dtype=np.float64)


def _cross_validated(
    features: NDArray[np.float32],
    targets: Floats,
    plan: Plan,
    workers: int,
    progress: Callable[[int], None] | None,
) -> Errors:
    """The errors on each fold of a regressor that was fitted to the others."""
    from sklearn.model_selection import KFold

    maes, r2s, of_mean = [], [], []
    parts = KFold(plan.folds, shuffle=True, random_state=plan.seed).split(features)
    for done, (kept, held) in enumerate(parts, start=1):
        made = ESTIMATORS[plan.estimator].fit(features[kept], targets[kept], plan.seed, workers)
        miss = targets[held] - made.predict(features[held])
        about_mean = targets[held] - targets[held].mean()
        spread = float(about_mean @ about_mean)
        maes.append(float(np.abs(miss).mean()))
        r2s.append(1 - float(miss @ miss) / spread if spread else None)
        of_mean.append(float(np.abs(targets[held] - targets[kept].mean()).mean()))
        if progress is not None:
            progress(done)
    known = [each for each in r2s if each is not None]
    whole = len(known) == plan.folds
    return Errors(
        folds=plan.folds,
        seed=plan.seed,
        mae=float(np.mean(maes)),
        mae_se=_se(maes),
        r2=float(np.mean(known)) if whole else None,
        r2_se=_se(known) if whole else None,
        mae_of_mean=float(np.mean(of_mean)),
    )


def _se(values: Sequence[float]) -> float:
    """The standard error of the mean of two values or more."""
    return float(np.std(values, ddof=1) / np.sqrt(len(values)))
