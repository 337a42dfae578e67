"""Where a SMILES string may be rewritten without tearing a ring or a branch: spans of its tokens."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from moldiff.chem.notation import kind, label


@lru_cache(maxsize=4096)
def spans(tokens: tuple[str, ...], most: int) -> dict[int, tuple[int, ...]]:
    """By length the starts of spans that can be taken out whole: their rings and branches close within.

    A span ends where no ring label follows, which would belong to its last atom. Length 0 is a place where
    something may be put in.

    Args:
        tokens: of a SMILES string.
        most: the longest span that is looked for.
    """
    kinds = [kind(token) for token in tokens]
    found: dict[int, list[int]] = {}
    for start in range(len(tokens)):
        if kinds[start] in ("ring", ")"):
            continue
        for length in _lengths(tokens, kinds, start, most):
            end = start + length
            if end == len(tokens) or kinds[end] != "ring":
                found.setdefault(length, []).append(start)
    # At the very end something may be put in as well.
    found.setdefault(0, []).append(len(tokens))
    return {length: tuple(starts) for length, starts in found.items()}


def _lengths(tokens: Sequence[str], kinds: Sequence[str], start: int, most: int) -> list[int]:
    """Lengths, from 0 to ``most``, of spans from a start on in which all that opens closes."""
    found, depth = [0], 0
    open_: set[int] = set()
    for place in range(start, min(start + most, len(tokens))):
        if kinds[place] == "ring":
            open_ ^= {label(tokens[place])}
        depth += (kinds[place] == "(") - (kinds[place] == ")")
        if depth < 0:
            break
        # A bond leads to what follows it, and stays with that.
        if not depth and not open_ and kinds[place] != "bond":
            found.append(place + 1 - start)
    return found
