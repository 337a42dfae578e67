"""Molecules to rows of tokens: each is checked to come back, and what cannot be written is listed."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from moldiff.chem.molecule import canonical, map_chunks
from moldiff.errors import MoldiffError

from .readers import ReadResult, Rejected
from .vocabulary import VocabularyTokenizer

Notation = type[VocabularyTokenizer]


@dataclass(frozen=True)
class Spelled:
    """Molecules in tokens.

    Attributes:
        smiles: canonical SMILES of those that can be written, in order.
        rows: the tokens of each.
        rejected: those that cannot, with the reason `token`, `round-trip` or `longer`.
    """

    smiles: list[str]
    rows: list[list[str]]
    rejected: list[Rejected]


def spell(found: ReadResult, notation: Notation, longest: int | None = None, workers: int = 1) -> Spelled:
    """The molecules of a file in the tokens of a notation, at most ``longest`` each."""
    verdicts = map_chunks(partial(_spell_chunk, notation=notation, longest=longest), found.smiles, workers)
    result = Spelled([], [], [])
    for line, smiles, (row, reason, detail) in zip(found.lines, found.smiles, verdicts, strict=True):
        if reason:
            result.rejected.append(Rejected(line, smiles, reason, detail))
        else:
            result.smiles.append(smiles)
            result.rows.append(row)
    return result


class _Verdict(NamedTuple):
    """The tokens of a molecule, or the reason why there are none and what more there is to say."""

    row: list[str]
    reason: str = ""
    detail: str = ""


def _spell_chunk(smiles: Sequence[str], *, notation: Notation, longest: int | None) -> list[_Verdict]:
    return [_spell(each, notation, longest) for each in smiles]


def _spell(smiles: str, notation: Notation, longest: int | None) -> _Verdict:
    try:
        row = notation.split(smiles)
    except MoldiffError as error:
        return _Verdict([], "token", str(error))
    if longest is not None and len(row) > longest:
        return _Verdict([], "longer", f"{len(row)} tokens, at most {longest} fit")
    back = notation.join(row)
    # Another spelling is as good as the same, as long as it is of the same molecule.
    if back != smiles and canonical(back) != smiles:
        return _Verdict([], "round-trip", f"comes back as {back}")
    return _Verdict(row)
