"""From a SMILES string to a checked molecule: validity with a reason, canonical form, identity."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TypeVar

from rdkit import Chem, rdBase
from rdkit.Chem.MolStandardize import rdMolStandardize

from moldiff.chem.pool import Failure, Pace, shared
from moldiff.chem.worker import check_workers
from moldiff.errors import MoldiffError

MAX_LENGTH = 512
"""Longest string, in characters, that is handed to RDKit: deep nesting costs it seconds."""

MIN_CHUNK = 256
"""Fewest items worth sending to a worker process at once."""

REASONS = (
    "empty",
    "length",
    "parse",
    "branch",
    "ring",
    "valence",
    "kekulize",
    "sanitize",
    "fragments",
    "radical",
    "dummy",
)
"""Every reason a check can give, in the order in which they are looked for."""

_PACE = Pace(first=MIN_CHUNK, most=16 * MIN_CHUNK)

T = TypeVar("T")
R = TypeVar("R")

_NOT_PRINTABLE = re.compile(r"[^\x21-\x7e]")
_BRACKET_ATOM = re.compile(r"\[[^\[\]]*\]")
_RING_LABEL = re.compile(r"%\(([0-9]+)\)|%([0-9]{2})|([0-9])")


@dataclass(frozen=True)
class Check:
    """What RDKit makes of one string.

    Attributes:
        canonical: canonical SMILES; None when the string is not valid.
        valid: RDKit reads and sanitises the string to a molecule with at least one atom.
        sane: valid, and one fragment, no radical electron, no dummy atom.
        reason: None when sane, else one of `REASONS`.
    """

    canonical: str | None
    valid: bool
    sane: bool
    reason: str | None


def check(smiles: str) -> Check:
    """The verdict on a string, with its canonical SMILES or the first reason against it."""
    mol, reason = _read(smiles)
    if mol is None:
        return Check(canonical=None, valid=False, sane=False, reason=reason)
    text = str(Chem.MolToSmiles(mol))
    # Fragments, radicals and dummy atoms all show in the SMILES; to look at every atom takes as long again.
    reason = _oddity(mol) if any(mark in text for mark in ".[*") else None
    return Check(canonical=text, valid=True, sane=reason is None, reason=reason)


def parse(smiles: str) -> Chem.Mol | None:
    """The sanitised molecule, explicit hydrogens removed; None when the string is not valid."""
    return _read(smiles)[0]


def canonical(smiles: str) -> str | None:
    """The canonical SMILES by this RDKit version; None when the string is not valid."""
    mol = parse(smiles)
    return None if mol is None else str(Chem.MolToSmiles(mol))


def reordered(smiles: str, seed: int) -> str | None:
    """A molecule written from any atom on, turning anywhere; None where that is not read back as the same.

    Args:
        smiles: canonical SMILES.
        seed: of the order, 0 to 2**31 - 1.
    """
    mol = parse(smiles)
    if mol is None:
        return None
    text = str(Chem.MolToRandomSmilesVect(mol, 1, randomSeed=seed)[0])
    return text if canonical(text) == smiles else None


def drop_stereo(smiles: str) -> str | None:
    """The canonical SMILES without stereo marks (isotopes stay); None when not valid."""
    mol = parse(smiles)
    if mol is None:
        return None
    Chem.RemoveStereochemistry(mol)
    # Without stereo marks more atoms are equivalent; only a fresh molecule ranks them afresh.
    return canonical(Chem.MolToSmiles(mol))


def largest_fragment(smiles: str) -> str | None:
    """The canonical SMILES of the largest fragment; None when the string is not valid.

    Organic fragments go before others; then most atoms with their hydrogens, then weight, then SMILES.
    """
    mol = parse(smiles)
    if mol is None:
        return None
    with rdBase.BlockLogs():
        largest = rdMolStandardize.LargestFragmentChooser(preferOrganic=True).choose(mol)
    return canonical(Chem.MolToSmiles(largest))


def from_block(block: str) -> tuple[str | None, str | None]:
    """The SMILES of an SDF record's structure, a mol block, and None; or None and a reason of `REASONS`.

    Stereo comes from wedges and from 2-D or 3-D coordinates; hydrogens become implicit.
    """
    with rdBase.BlockLogs():
        mol = _from_block(block)
        if mol is None:
            raw = _from_block(block, sanitize=False)
            return None, "parse" if raw is None else _unsanitary(raw)
        # Its SMILES would be too long, as every such atom takes a letter, and finding it may take minutes.
        if mol.GetNumHeavyAtoms() > MAX_LENGTH:
            return None, "length"
        return str(Chem.MolToSmiles(mol)), None


def identity(smiles: str) -> int:
    """A stable signed 64-bit hash of the string, the same on every machine and version."""
    digest = blake2b(smiles.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def rdkit_version() -> str:
    """The version of RDKit in use; canonical SMILES are comparable within one version only."""
    return str(rdBase.rdkitVersion)


def map_chunks(function: Callable[[Sequence[T]], Sequence[R]], items: Sequence[T], workers: int) -> list[R]:
    """`function` over consecutive chunks of the items, the results joined in order.

    More than one worker starts fresh processes (spawn), once for all calls: a script that asks for
    them needs the usual `if __name__ == "__main__":`.

    Args:
        function: an importable function of a chunk, giving one result an item.
        items: what to work on.
        workers: number of processes, at least 1; 1 works in this process.

    Raises:
        MoldiffError: fewer than one worker, or an item that ends its worker's process.
    """
    check_workers(workers)
    if workers == 1 or len(items) <= MIN_CHUNK:
        return list(function(items))
    found = shared().map(function, items, workers=workers, pace=_PACE)
    for item, result in zip(items, found, strict=True):
        if isinstance(result, Failure):
            raise MoldiffError(f"a worker failed at {item!r:.200}: {result.reason}")
    return found


def _read(smiles: str) -> tuple[Chem.Mol | None, str | None]:
    """The molecule and None, or None and the reason it cannot be read."""
    if not smiles:
        return None, "empty"
    if len(smiles) > MAX_LENGTH:
        return None, "length"
    # RDKit would read "CCO foo" as ethanol with a name, and stop at some control characters.
    if _NOT_PRINTABLE.search(smiles):
        return None, "parse"
    with rdBase.BlockLogs():
        mol = _from_smiles(smiles)
        if mol is None:
            return None, _diagnose(smiles)
    return (mol, None) if mol.GetNumAtoms() else (None, "empty")


def _from_smiles(smiles: str, *, sanitize: bool = True) -> Chem.Mol | None:
    """RDKit's reading; a function of its own because RDKit's stubs leave out the None."""
    return Chem.MolFromSmiles(smiles, sanitize=sanitize)


def _from_block(block: str, *, sanitize: bool = True) -> Chem.Mol | None:
    """RDKit's reading, with the None that its stubs leave out."""
    return Chem.MolFromMolBlock(block, sanitize=sanitize)


def _diagnose(smiles: str) -> str:
    """The reason that RDKit refuses a string."""
    mol = _from_smiles(smiles, sanitize=False)
    return _syntax(smiles) if mol is None else _unsanitary(mol)


def _unsanitary(mol: Chem.Mol) -> str:
    """The reason that RDKit refuses to sanitise a molecule."""
    try:
        Chem.SanitizeMol(mol)
    except Chem.AtomValenceException:
        return "valence"
    except (Chem.KekulizeException, Chem.AtomKekulizeException):
        return "kekulize"
    except Chem.MolSanitizeException:
        pass
    return "sanitize"


def _syntax(smiles: str) -> str:
    """`branch` for unbalanced parentheses, `ring` for an unclosed ring, `parse` otherwise."""
    outside = _BRACKET_ATOM.sub("*", smiles)
    # Labels go first: the parentheses of a three-digit one, %(100), are not branches.
    skeleton = _RING_LABEL.sub("", outside)
    if any(character in skeleton for character in "[]%"):
        return "parse"
    depth = 0
    for character in skeleton:
        depth += (character == "(") - (character == ")")
        if depth < 0:
            return "branch"
    if depth:
        return "branch"
    labels = Counter(int("".join(found)) for found in _RING_LABEL.findall(outside))
    return "ring" if any(count % 2 for count in labels.values()) else "parse"


def _oddity(mol: Chem.Mol) -> str | None:
    """The reason that a readable molecule is not sane; None when it is."""
    if len(Chem.GetMolFrags(mol)) > 1:
        return "fragments"
    if any(atom.GetNumRadicalElectrons() for atom in mol.GetAtoms()):
        return "radical"
    if any(atom.GetAtomicNum() == 0 for atom in mol.GetAtoms()):
        return "dummy"
    return None
