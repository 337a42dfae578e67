"""Draws for the benchmark of design from fragments."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from moldiff.chem.cores import read
from moldiff.design.designer import Designer
from moldiff.design.verbs import Grow, Superstructure, Verb
from moldiff.generation.batches import Loaded


def drawer(model: Loaded) -> Callable[[str, str, int, int], Sequence[str]]:
    """What draws n strings of a model that are to keep a core, given the verb, the core, n and a seed.

    Morphing a scaffold keeps its side chains and draws the middle, so it is linking by another name.
    """

    def draw(verb: str, core: str, n: int, seed: int) -> list[str]:
        return Designer(model, verb_of(verb, core), seed=seed).draw(n)

    return draw


def verb_of(name: str, core: str) -> Verb:
    """The verb of that name around a core."""
    found = read(core, "core")
    if name == "superstructure":
        return Superstructure(found)
    return Grow(found, joined=name in ("link", "morph"))
