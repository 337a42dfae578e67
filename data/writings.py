"""Writings: the several strings that spell one molecule, which a model may learn side by side."""

import math
from collections.abc import Sequence
from functools import partial

import numpy as np

from moldiff.chem import fragments
from moldiff.chem.molecule import canonical, map_chunks, parse, reordered
from moldiff.chem.notation import WRITINGS, Writing
from moldiff.errors import MoldiffError, unknown


def chosen(names: str) -> dict[Writing, float]:
    """By writing the share of molecules that are written so too, of a text such as ``canonical,random:0.3``.

    Args:
        names: writings with commas, each with its share behind a colon where that is not 1; or ``all``.

    Raises:
        MoldiffError: no such writing or share, not canonical first and whole, or one twice.
    """
    parts = WRITINGS if names == "all" else tuple(part.strip() for part in names.split(","))
    found: dict[Writing, float] = {}
    for part in parts:
        name, colon, text = (each.strip() for each in part.partition(":"))
        if name not in WRITINGS:
            raise unknown("writing", name, [*WRITINGS, "all"])
        found[name] = _share(part, text) if colon else 1.0
    whole = WRITINGS[0]
    if len(found) < len(parts) or next(iter(found)) != whole or found[whole] < 1:
        raise MoldiffError(f"writings: got {names!r}, needs canonical first and whole, and each once")
    return found


def _share(part: str, text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not 0 < share <= 1:
        raise MoldiffError(f"writings: got {part!r}, the share must be above 0 and at most 1")
    return share


def number(writing: Writing) -> int:
    """The number by which a writing is known."""
    return WRITINGS.index(writing)


def written_as(smiles: Sequence[str], writing: Writing, seed: int, workers: int = 1) -> list[str | None]:
    """Molecules in a writing, a string each; None where the string would not be read back as the molecule.

    Args:
        smiles: canonical SMILES.
        writing: ``canonical`` leaves them as they are; ``random`` begins at any atom and turns anywhere;
            ``fragments`` is `moldiff.chem.fragments`, cut at random and in random order.
        seed: of what is random; a molecule's string depends on (seed, its place) alone.
        workers: processes to share the work.
    """
    if writing == "canonical":
        return list(smiles)
    return map_chunks(partial(_chunk, writing=writing, seed=seed), list(enumerate(smiles)), workers)


def _chunk(items: Sequence[tuple[int, str]], *, writing: Writing, seed: int) -> list[str | None]:
    return [_write(smiles, writing, np.random.default_rng([seed, place])) for place, smiles in items]


def _write(smiles: str, writing: Writing, random: np.random.Generator) -> str | None:
    if writing == "random":
        return reordered(smiles, int(random.integers(2**31)))
    mol = parse(smiles)
    assert mol is not None
    text = fragments.joined(fragments.cut(mol, random))
    return text if canonical(text) == smiles else None
