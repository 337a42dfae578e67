"""Which tokens of a SMILES string are to blame where RDKit refuses it, with the kind of fault."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, final

from rdkit import Chem, rdBase

from moldiff.chem import molecule
from moldiff.chem.notation import NEVER_AFTER, kind, label
from moldiff.types import Fault

KINDS = ("branch", "ring", "closure", "syntax", "valence", "kekulize", "other")
"""Every kind of fault; where a string has several, the first of them names it.

``branch`` is a parenthesis without its partner; ``ring``, a label without its partner; ``closure``, a ring
that bonds an atom to itself or twice to another; ``syntax``, tokens that may not stand side by side;
``valence``, an atom with too many bonds; ``kekulize``, aromatic atoms without a Kekulé form; ``other``,
whatever else RDKit refuses.
"""

WHOLE = 3
"""The reach at which the whole string is to blame."""


def fault(tokens: Sequence[str], reach: int = 0) -> Fault | None:
    """The faults of a string together, None where RDKit reads and sanitises it.

    Args:
        tokens: the string, cut as a SMILES tokenizer does.
        reach: 0 implicates the tokens at fault; 1 also those beside them; 2 all from the first to the last of
            these, which is the ring or the branch; 3 and more the whole string.
    """
    if molecule.parse("".join(tokens)) is not None:
        return None
    walk = _Walk(tokens)
    found = walk.faults or _chemical(walk)
    places = {place for each in found for place in each.places}
    first = min((each.kind for each in found), key=KINDS.index, default="other")
    return Fault(first, tuple(sorted(_widened(places, len(tokens), reach))))


def _widened(places: set[int], length: int, reach: int) -> set[int]:
    """Places widened by ``reach``; all where there is none to start from."""
    if reach >= WHOLE or not places:
        return set(range(length))
    if reach:
        places = {at + step for at in places for step in (-1, 0, 1) if 0 <= at + step < length}
    return set(range(min(places), max(places) + 1)) if reach > 1 else places


@final
@dataclass
class _Bond:
    """A bond between two atoms, by their numbers, and the tokens other than atoms that make it."""

    ends: tuple[int, int]
    tokens: tuple[int, ...]


@final
@dataclass
class _Walk:
    """A string read from left to right: its atoms, its bonds and what is wrong with its form."""

    tokens: Sequence[str]
    #: The place of each atom's token.
    atoms: list[int] = field(default_factory=list)
    bonds: list[_Bond] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    _last: int | None = None
    _pending: tuple[int, ...] = ()
    _branches: list[tuple[int, int | None]] = field(default_factory=list)
    _rings: dict[int, tuple[int | None, tuple[int, ...]]] = field(default_factory=dict)
    _partner: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        kinds = [kind(token) for token in self.tokens]
        steps = {
            "atom": self._atom,
            "ring": self._ring,
            "bond": self._bond,
            "(": self._open,
            ")": self._close,
            ".": self._dot,
        }
        for place, each in enumerate(kinds):
            steps[each](place)
        self.faults += [Fault("branch", (place,)) for place, _ in self._branches]
        self.faults += [Fault("ring", places) for _, places in self._rings.values()]
        self.faults += [Fault("syntax", places) for places in _misplaced(kinds)]

    def around(self, atom: int) -> set[int]:
        """The places of an atom, of its neighbours, and of all that binds them."""
        near = [bond for bond in self.bonds if atom in bond.ends]
        places = {self.atoms[end] for bond in near for end in bond.ends} | {self.atoms[atom]}
        for token in (token for bond in near for token in bond.tokens):
            places |= {token, self._partner.get(token, token)}
        return places

    def _atom(self, place: int) -> None:
        self.atoms.append(place)
        atom = len(self.atoms) - 1
        if self._last is not None:
            self.bonds.append(_Bond((self._last, atom), self._pending))
        self._last, self._pending = atom, ()

    def _bond(self, place: int) -> None:
        self._pending += (place,)

    def _ring(self, place: int) -> None:
        number, places = label(self.tokens[place]), (*self._pending, place)
        self._pending = ()
        if number not in self._rings:
            self._rings[number] = (self._last, places)
            return
        other, theirs = self._rings.pop(number)
        if other is None or self._last is None:
            return  # a label without an atom, which is a fault of syntax
        bond = _Bond((other, self._last), (*theirs, *places))
        if other == self._last or any(set(each.ends) == set(bond.ends) for each in self.bonds):
            self.faults.append(Fault("closure", bond.tokens))
        self.bonds.append(bond)

    def _open(self, place: int) -> None:
        self._branches.append((place, self._last))
        self._pending = (place,)

    def _close(self, place: int) -> None:
        if not self._branches:
            self.faults.append(Fault("branch", (place,)))
            return
        opening, self._last = self._branches.pop()
        self._partner[opening] = place
        self._pending = ()

    def _dot(self, place: int) -> None:
        self._last, self._pending = None, ()


def _misplaced(kinds: Sequence[str]) -> Iterator[tuple[int, ...]]:
    """The places of tokens that may not stand where they do."""
    if kinds and kinds[0] != "atom":
        yield (0,)
    for place, each in enumerate(kinds):
        after = kinds[place + 1] if place + 1 < len(kinds) else "pad"
        if after in NEVER_AFTER[each]:
            yield (place, place + 1) if place + 1 < len(kinds) else (place,)


def _chemical(walk: _Walk) -> list[Fault]:
    """What RDKit has against a string of the right form."""
    with rdBase.BlockLogs():
        mol = _unsanitised("".join(walk.tokens))
        problems = [] if mol is None else Chem.DetectChemistryProblems(mol)
    return [each for problem in problems for each in _blamed(problem, walk)]


def _blamed(problem: Any, walk: _Walk) -> Iterator[Fault]:
    """The fault that is one of RDKit's problems; none where that names no atom."""
    # Not the classes of the exceptions that it raises, but with the same names.
    name = problem.GetType()
    if name == "AtomValenceException":
        yield Fault("valence", tuple(walk.around(problem.GetAtomIdx())))
    elif name == "KekulizeException":
        yield Fault("kekulize", tuple(walk.atoms[atom] for atom in problem.GetAtomIndices()))
    elif name == "AtomKekulizeException":
        yield Fault("kekulize", (walk.atoms[problem.GetAtomIdx()],))


def _unsanitised(smiles: str) -> Chem.Mol | None:
    """RDKit's reading; a function of its own because RDKit's stubs leave out the None."""
    return Chem.MolFromSmiles(smiles, sanitize=False)
