"""Filters: which molecules are let pass, by structural alerts, rules of thumb, patterns and bounds."""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, Self, final

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem, rdBase
from rdkit.Chem import rdMolDescriptors

from moldiff.chem import oracles, structure
from moldiff.chem.molecule import map_chunks, parse
from moldiff.chem.worker import tick
from moldiff.errors import MoldiffError, short, unknown
from moldiff.files import check_source

Verdicts = list[str | None]
"""Why each molecule is rejected, ``FILTER (detail)``; None where it passes."""

SMARTS = "smarts"
"""The filter of patterns of the caller's own."""

UNREADABLE = "not valid"
"""The verdict on what is no molecule."""

_BOUND = re.compile(r"\s*(\S+?)\s*(<=|>=|<|>)\s*(\S+)\s*", re.DOTALL)
#: A comma that parts two filters stands in no bracket atom of a SMARTS or SMILES.
_COMMA = re.compile(r",(?![^\[\]]*\])")


@final
@dataclass(frozen=True)
class Filter:
    """A named filter.

    Attributes:
        name: the key in `FILTERS`.
        why: what speaks against a sanitised molecule; None where nothing does.
        description: one line for a table.
    """

    name: str
    why: Callable[[Chem.Mol], str | None]
    description: str


@final
class Pattern(NamedTuple):
    """A SMARTS pattern, a match of which rejects, and what it is called."""

    name: str
    smarts: str


@final
@dataclass(frozen=True)
class Bound:
    """A limit to a property, ``sa<=4``.

    Args:
        name: an oracle of `oracles.oracle`.
        sign: one of < <= > >=.
        value: finite.
    """

    name: str
    sign: str
    value: float

    def __str__(self) -> str:
        return f"{self.name}{self.sign}{self.value:.12g}"

    @property
    def upper(self) -> bool:
        """Whether it is a limit from above."""
        return self.sign.startswith("<")

    @property
    def strict(self) -> bool:
        """Whether the limit itself is out."""
        return not self.sign.endswith("=")

    def holds(self, values: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which values (N,) keep to it; NaN does not."""
        compare = {"<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal}[self.sign]
        return np.asarray(compare(values, self.value), dtype=bool)


def bound(text: str) -> Bound | None:
    """The bound that ``PROPERTY<=NUMBER`` spells (also < > >=); None where a text has no such sign.

    Raises:
        MoldiffError: no number, or no such property.
    """
    found = _BOUND.fullmatch(text)
    if found is None:
        return None
    try:
        value = float(found[3])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise MoldiffError(f"filter: got {short(repr(text))}, write PROPERTY{found[2]}NUMBER")
    oracles.oracle(found[1])
    return Bound(found[1], found[2], value)


def read_patterns(path: Path) -> tuple[Pattern, ...]:
    """The patterns of a file: a SMARTS a line, and behind white space its name, else the SMARTS is the name.

    Blank lines and lines that begin with # are passed over, as is what stands behind # in a name.

    Raises:
        MoldiffError: a file that cannot be read or has no pattern; a line that is none, with its number.
    """
    what = "filter smarts"
    check_source(path)
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise MoldiffError(f"{what}: cannot read {path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise MoldiffError(f"{what}: {path} is not UTF-8 text: byte {error.start}") from None
    out = []
    for number, line in enumerate(text.split("\n"), 1):
        smarts, *rest = line.split(maxsplit=1) or [""]
        if not smarts or smarts.startswith("#"):
            continue
        if structure.pattern(smarts) is None:
            raise MoldiffError(
                f"{what}: {path} line {number}: got {short(repr(smarts))}, which is not a SMARTS pattern"
            )
        name = re.sub(r"(^|\s)#.*", "", rest[0]).strip() if rest else ""
        out.append(Pattern(name or smarts, smarts))
    if not out:
        raise MoldiffError(f"{what}: {path} has no pattern; write a SMARTS a line")
    return tuple(out)


@final
@dataclass(frozen=True)
class Filters:
    """What molecules have to pass; without anything, all do.

    Args:
        names: of `FILTERS`.
        patterns: a match of any rejects.
        bounds: limits to properties; a molecule for which one is not defined is rejected.

    Raises:
        MoldiffError: a name that is in no table, or bounds that nothing can meet.
    """

    names: tuple[str, ...] = ()
    patterns: tuple[Pattern, ...] = ()
    bounds: tuple[Bound, ...] = ()

    def __post_init__(self) -> None:
        for name in self.names:
            if name not in FILTERS:
                raise unknown("filter", name, [*FILTERS, "a bound such as sa<=4"])
        for name, smarts in self.patterns:
            if structure.pattern(smarts) is None:
                raise MoldiffError(f"filter smarts: got {smarts!r} ({name}), which is not a SMARTS pattern")
        for name in dict.fromkeys(each.name for each in self.bounds):
            _check_bounds([each for each in self.bounds if each.name == name])

    @classmethod
    def of(cls, texts: Sequence[str], smarts: Path | None = None) -> Self:
        """The filters that texts spell, names and bounds, several in one with commas; and a file of patterns.

        Raises:
            MoldiffError: what is neither, contradicting bounds, and what `read_patterns` refuses.
        """
        parts = [part.strip() for text in texts for part in _COMMA.split(text)]
        found = {part: bound(part) for part in parts}
        names = tuple(part for part, limit in found.items() if limit is None)
        bounds = tuple(dict.fromkeys(limit for limit in found.values() if limit is not None))
        return cls(names, () if smarts is None else read_patterns(smarts), bounds)

    @property
    def labels(self) -> list[str]:
        """What its verdicts begin with, in the order in which they are looked for."""
        return [*map(str, self.bounds), *self.names, *([SMARTS] if self.patterns else [])]

    def facts(self) -> dict[str, Any]:
        """What fixes it; JSON."""
        found: dict[str, Any] = {"filters": [*map(str, self.bounds), *self.names]}
        if self.patterns:
            whole = "\n".join(f"{name}\t{smarts}" for name, smarts in self.patterns)
            found["patterns"] = len(self.patterns)
            found["patterns_sha256"] = sha256(whole.encode()).hexdigest()
        return found

    def __call__(
        self,
        smiles: Sequence[str | None],
        known: Mapping[str, NDArray[np.float64]] | None = None,
        workers: int = 1,
    ) -> Verdicts:
        """The verdicts on N molecules: of what rejects one, the first in the order of ``labels``.

        Args:
            smiles: N strings; None, or what RDKit cannot read, is `UNREADABLE`.
            known: by property values (N,) that need not be computed again.
            workers: processes to share the work; see `molecule.map_chunks`.
        """
        values = dict(known or {})
        missing = [each.name for each in self.bounds if each.name not in values]
        if missing:
            values |= oracles.score(smiles, missing, workers)
        verdicts: Verdicts = [UNREADABLE if text is None else None for text in smiles]
        for each in self.bounds:
            of = values[each.name]
            for place in np.flatnonzero(~each.holds(of)).tolist():
                verdicts[place] = verdicts[place] or _outside(each, float(of[place]), smiles[place])
        left = [place for place, verdict in enumerate(verdicts) if verdict is None]
        texts = [smiles[place] for place in left]
        found = map_chunks(partial(_verdicts, self.names, self.patterns), texts, workers)
        for place, verdict in zip(left, found, strict=True):
            verdicts[place] = verdict
        return verdicts


def _outside(limit: Bound, value: float, smiles: str | None) -> str:
    """The verdict on a molecule whose value is beyond a limit, or that has none."""
    if not math.isnan(value):
        return f"{limit} ({value:.4g})"
    return UNREADABLE if parse(smiles or "") is None else f"{limit} (not defined)"


def counted(verdicts: Sequence[str | None]) -> dict[str, int]:
    """How many verdicts each filter has given, by its label; those that let pass do not count."""
    return dict(Counter(each.partition(" (")[0] for each in verdicts if each is not None))


def _check_bounds(bounds: Sequence[Bound]) -> None:
    """Refuses bounds to one property that no value meets."""
    about = oracles.oracle(bounds[0].name)
    low = max((b for b in bounds if not b.upper), key=lambda b: (b.value, b.strict), default=None)
    high = min((b for b in bounds if b.upper), key=lambda b: (b.value, not b.strict), default=None)
    least, most = Bound(about.name, ">=", about.least), Bound(about.name, "<=", about.most)
    for lower, upper in ((low, most), (least, high)):
        if lower is not None and upper is not None and _empty(lower, upper):
            got = lower if lower is low else upper
            span = (
                f"{about.least:g} to {about.most:g}"
                if math.isfinite(most.value)
                else f"{least.value:g} or more"
            )
            raise MoldiffError(f"filter: got {got}, which nothing passes: {about.name} is {span}")
    if low is not None and high is not None and _empty(low, high):
        raise MoldiffError(f"filter: got {low} and {high}, which nothing passes; leave one off")


def _empty(low: Bound, high: Bound) -> bool:
    """Whether no number keeps to both."""
    return low.value > high.value or (low.value == high.value and (low.strict or high.strict))


def _verdicts(
    names: tuple[str, ...], patterns: tuple[Pattern, ...], smiles: Sequence[str | None]
) -> Verdicts:
    """The verdicts of named filters and patterns; takes names, which travel to another process."""
    if not names and not patterns:
        return [None] * len(smiles)
    queries = _compiled(patterns)
    out: Verdicts = []
    with rdBase.BlockLogs():
        for place, text in enumerate(smiles):
            tick(place)
            mol = parse(text or "")
            out.append(UNREADABLE if mol is None else next(_against(mol, names, queries), None))
    return out


def _against(mol: Chem.Mol, names: tuple[str, ...], queries: tuple[tuple[str, Any], ...]) -> Iterator[str]:
    """What speaks against a molecule, looked for as far as it is asked for."""
    for name in names:
        why = FILTERS[name].why(mol)
        if why is not None:
            yield f"{name} ({why})"
    for name, query in queries:
        if mol.HasSubstructMatch(query):
            yield f"{SMARTS} ({name})"


@lru_cache(maxsize=8)
def _compiled(patterns: tuple[Pattern, ...]) -> tuple[tuple[str, Any], ...]:
    return tuple((name, structure.pattern(smarts)) for name, smarts in patterns)


def _beyond(mol: Chem.Mol, limits: Sequence[tuple[str, Callable[[Chem.Mol], float], float]]) -> list[str]:
    """The descriptors of a molecule that are above their limits, with their values."""
    found = [(name, float(function(mol)), most) for name, function, most in limits]
    return [f"{name} {value:.4g}" for name, value, most in found if value > most]


#: Lipinski et al., Adv. Drug Deliv. Rev. 23, 3 (1997): donors are N-H and O-H, acceptors N and O.
_LIPINSKI = (
    ("mw", rdMolDescriptors._CalcMolWt, 500.0),
    ("logp", structure.logp, 5.0),
    ("donors", rdMolDescriptors.CalcNumLipinskiHBD, 5.0),
    ("acceptors", rdMolDescriptors.CalcNumLipinskiHBA, 10.0),
)
#: Veber et al., J. Med. Chem. 45, 2615 (2002).
_VEBER = (
    ("rotatable_bonds", structure.rotatable_bonds, 10.0),
    ("tpsa", rdMolDescriptors.CalcTPSA, 140.0),
)


def lipinski(mol: Chem.Mol) -> str | None:
    """The limits of the rule of five that are exceeded, where they are two or more, as the paper has it."""
    found = _beyond(mol, _LIPINSKI)
    return ", ".join(found) if len(found) > 1 else None


def veber(mol: Chem.Mol) -> str | None:
    """The limits of Veber's rule that are exceeded, if any."""
    return ", ".join(_beyond(mol, _VEBER)) or None


_ROWS = (
    Filter("pains", partial(structure.first_alert, "PAINS"), "no PAINS alert: assay interference"),
    Filter(
        "brenk", partial(structure.first_alert, "BRENK"), "no alert of Brenk's: reactive, toxic, unstable"
    ),
    Filter("nih", partial(structure.first_alert, "NIH"), "no NIH alert: reactive, assay interference"),
    Filter("lipinski", lipinski, "at most one of: mw > 500, log P > 5, N-H and O-H > 5, N and O > 10"),
    Filter("veber", veber, "rotatable bonds <= 10 and tpsa <= 140"),
)

FILTERS: dict[str, Filter] = {row.name: row for row in _ROWS}
"""Every named filter."""
