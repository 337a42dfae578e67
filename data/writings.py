"""Writings: the several strings that spell one molecule, which a model may learn side by side."""

from collections.abc import Sequence
from functools import partial
from typing import cast

import numpy as np
from rdkit import Chem

from moldiff.chem import fragments
from moldiff.chem.molecule import canonical, map_chunks, parse
from moldiff.chem.notation import WRITINGS, Writing
from moldiff.errors import MoldiffError, unknown


def chosen(names: str) -> tuple[Writing, ...]:
    """The writings that a text names, ``all`` or some with commas; MoldiffError for no such list."""
    found = WRITINGS if names == "all" else tuple(name.strip() for name in names.split(","))
    for name in found:
        if name not in WRITINGS:
            raise unknown("writing", name, [*WRITINGS, "all"])
    if found[0] != WRITINGS[0] or len(set(found)) < len(found):
        raise MoldiffError(f"writings: got {names!r}, needs canonical first and each once")
    return cast(tuple[Writing, ...], found)


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
    mol = parse(smiles)
    assert mol is not None
    if writing == "random":
        found = Chem.MolToRandomSmilesVect(mol, 1, randomSeed=int(random.integers(2**31)))
        text = str(found[0])
    else:
        text = fragments.joined(fragments.cut(mol, random))
    return text if canonical(text) == smiles else None
