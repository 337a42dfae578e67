"""What oracles say of molecules: values, reasons where there is none, and the figures of the whole."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

from moldiff import __version__
from moldiff.chem.molecule import rdkit_version
from moldiff.chem.pool import Failure

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]
Texts = list[str | None]


@final
@dataclass(frozen=True, eq=False)
class Scores:
    """The values of N molecules, in order.

    Args:
        smiles: the canonical SMILES; None where a string is not valid.
        unread: why a string is not valid, a reason of `molecule`; None where it is.
        values: by oracle the values, (N,), NaN where there is none.
        reasons: by oracle why a valid molecule has no value; None elsewhere.
        scaffolds: the Murcko scaffold, empty without a ring, None where there is none to tell; None as a
            whole when not asked for.
        units: by oracle the unit, empty for a pure number.
        maximize: by oracle whether larger is better.
        notes: what a reader of the values should know.
        interrupted: whether the keyboard stopped the work before its end.
    """

    smiles: Texts
    unread: Texts
    values: dict[str, Floats]
    reasons: dict[str, Texts]
    scaffolds: Texts | None
    units: dict[str, str]
    maximize: dict[str, bool]
    notes: tuple[str, ...]
    interrupted: bool

    def __len__(self) -> int:
        """The number N of molecules."""
        return len(self.smiles)

    def told(self) -> Texts:
        """Why each row lacks a value, oracle by oracle; None where it has all of them."""
        rows: Texts = list(self.unread)
        for name, reasons in self.reasons.items():
            for row, reason in enumerate(reasons):
                if reason is not None:
                    rows[row] = f"{rows[row]}; {name}: {reason}" if rows[row] else f"{name}: {reason}"
        return rows

    def failures(self) -> dict[str, dict[str, int]]:
        """By oracle how many valid molecules have no value, by reason without its detail, commonest first."""
        return {name: counted(reasons) for name, reasons in self.reasons.items()}

    def summary(self) -> dict[str, Any]:
        """Counts and the figures of each oracle, all JSON; a mean of none and the like is None.

        An oracle has count, mean, se (of the mean over rows), min, max, unit, maximize and failures.
        """
        failures = self.failures()
        return {
            "molecules": len(self),
            "valid": sum(text is not None for text in self.smiles),
            "rejects": counted(self.unread),
            "oracles": {
                name: {
                    **_figures(values),
                    "unit": self.units[name],
                    "maximize": self.maximize[name],
                    "failures": failures[name],
                }
                for name, values in self.values.items()
            },
            "notes": list(self.notes),
            "interrupted": self.interrupted,
            "versions": {"moldiff": __version__, "rdkit": rdkit_version()},
        }

    def to_pandas(self) -> "pd.DataFrame":
        """One row a molecule: smiles, valid, scaffold where asked for, one column an oracle, and reason."""
        import pandas as pd

        columns: dict[str, Any] = {
            "smiles": pd.Series(self.smiles, dtype=object),
            "valid": np.array([text is not None for text in self.smiles], dtype=bool),
        }
        if self.scaffolds is not None:
            columns["scaffold"] = pd.Series(self.scaffolds, dtype=object)
        return pd.DataFrame({**columns, **self.values, "reason": pd.Series(self.told(), dtype=object)})

    def _repr_html_(self) -> str:
        """A table for notebooks: the figures of each oracle, and the first rows."""
        import pandas as pd

        figures = pd.DataFrame(self.summary()["oracles"]).T
        return figures.to_html() + self.to_pandas().head(20).to_html(index=False)


def column(cells: Sequence[Any]) -> tuple[Floats, Texts]:
    """The values of an oracle, and why there is none; None is a row without a molecule."""
    reasons: Texts = [cell.reason if isinstance(cell, Failure) else None for cell in cells]
    numbers = np.array(
        [np.nan if cell is None or isinstance(cell, Failure) else cell for cell in cells], dtype=np.float64
    )
    for row in np.flatnonzero(~np.isfinite(numbers)).tolist():
        if cells[row] is not None and reasons[row] is None:
            numbers[row], reasons[row] = np.nan, "not defined"
    return numbers, reasons


def counted(reasons: Sequence[str | None]) -> dict[str, int]:
    """How often each reason occurs, without what follows a colon, the commonest first."""
    found = Counter(reason.partition(":")[0] for reason in reasons if reason is not None)
    return dict(found.most_common())


def _figures(values: Floats) -> dict[str, Any]:
    """Count, mean, standard error, least and largest of the values that are there."""
    known = values[~np.isnan(values)]
    count = len(known)
    if not count:
        return {"count": 0, "mean": None, "se": None, "min": None, "max": None}
    # A mean of values near the largest float would overflow.
    scale = float(np.abs(known).max()) or 1.0
    se = float((known / scale).std(ddof=1) / np.sqrt(count) * scale) if count > 1 else None
    mean = float((known / scale).mean() * scale)
    return {"count": count, "mean": mean, "se": se, "min": float(known.min()), "max": float(known.max())}
