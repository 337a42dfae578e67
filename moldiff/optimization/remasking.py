"""The method moldiff: parts of good molecules are masked again and drawn anew, beside fresh samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, final

from moldiff.chem.crossover import crossover
from moldiff.chem.molecule import reordered
from moldiff.chem.notation import WRITING, WRITINGS
from moldiff.conditions import CategoryCondition
from moldiff.errors import MoldiffError
from moldiff.generation.batches import Batches, strings
from moldiff.generation.model import Model
from moldiff.generation.request import Request
from moldiff.optimization.address import address
from moldiff.optimization.population import by_rank
from moldiff.optimization.spans import spans
from moldiff.types import Template

#: About the longest piece that is put in where nothing is taken out; it may be a token more.
_INSERTED = 4
#: Rows of one generation have lengths that leave the same remainder by this number, drawn for the generation:
#: rows of a length are drawn together, and of fewer lengths more are. So as often a token fewer is drawn
#: than was taken out, as many, and one more; in place of a single token one to three.
_STRIDE = 3


@final
@dataclass(frozen=True)
class Remasking:
    """Proposals of a model: good molecules redrawn in part, and fresh samples.

    A part is a span of a molecule's tokens in which rings and branches close. The model sees all the rest and
    draws the span anew, with about as many tokens. Parents are chosen by rank; some molecules are made of
    parts of two, as GenMol (Lee et al. 2025) makes them of fragments, and proposed as they are or with a span
    masked.

    A model that reads from left to right does not see what stands behind a span. It gets the beginning of a
    molecule, written in random order where it was trained on that, and draws the rest, as long as it likes.

    How the defaults were chosen is in docs/results/goal.md.

    Args:
        model: gives the model, when it is first needed.
        facts: what fixes the model; JSON.
        population: how many of the best molecules may be parents.
        offspring: strings a generation.
        alike: how many of the parents may share a Murcko scaffold.
        fresh: the share of proposals that are samples of the model, of no parents.
        crossed: of the others, the share that comes of two parents.
        unmasked: of these, the share that is proposed as it is.
        largest: the longest span, as a share of the tokens.
        temperature: at which spans are drawn; above that of the products' own settings, for variety.
        targets: what the model is asked for in all that it draws, as ``Model.generate`` spells it.
    """

    model: Callable[[], Model]
    facts: tuple[tuple[str, str], ...]
    population: int = 120
    offspring: int = 70
    alike: int | None = 20
    fresh: float = 0.02
    crossed: float = 0.5
    unmasked: float = 0.5
    largest: float = 0.25
    temperature: float = 0.8
    targets: tuple[str, ...] = ()

    def identity(self) -> dict[str, Any]:
        names = ("population", "offspring", "alike", "fresh", "crossed", "unmasked", "largest", "temperature")
        told = {"targets": list(self.targets)} if self.targets else {}
        return {**dict(self.facts), **{name: getattr(self, name) for name in names}, **told}

    def propose(self, parents: Sequence[str], scores: Sequence[float], n: int, seed: int) -> list[str]:
        model, causal = self.model(), self.model().process.causal
        rows: list[Template] = []
        whole: list[str] = []
        for number in range(n):
            random = Random(address(seed, number))
            if random.random() < self.fresh:
                # Of a row that may end where it likes this is one more, drawn with the others.
                rows += [(None,)] if causal else []
                continue
            one, other = (parents[place] for place in by_rank(len(parents), 2, random))
            child = crossover(one, other, random) if random.random() < self.crossed else None
            if child is not None and random.random() < self.unmasked:
                whole.append(child)
            else:
                row = self._opened(child or one, random, seed % _STRIDE)
                rows += [] if row is None else [row]
        fresh = n - len(rows) - len(whole)
        told = (*self.targets, *self._order()) if causal else self.targets
        drawn = redrawn(model, rows, address(seed, "redrawn"), told, self.temperature)
        return whole + drawn + sampled(model, fresh, address(seed, "fresh"), self.targets)

    def _opened(self, smiles: str, random: Random, remainder: int) -> Template | None:
        """A molecule of which a part is to be drawn; None where the model cannot spell it."""
        model = self.model()
        if model.process.causal and self._order():
            smiles = reordered(smiles, random.getrandbits(31)) or smiles
        try:
            ids = [each for each in model.tokenizer.encode(smiles) if each != _pad(model)]
        except MoldiffError:
            return None
        row = self._begun(ids, random) if model.process.causal else self._masked(ids, random, remainder)
        return row if len(row) <= model.card.max_length else None

    def _order(self) -> tuple[str, ...]:
        """What tells the model to write in random order; nothing where it cannot, or is told how to write."""
        order = WRITINGS.index("random")
        if any(target.partition("=")[0].strip() == WRITING for target in self.targets):
            return ()
        return tuple(
            f"{WRITING}={order}"
            for each in self.model().card.conditions
            if isinstance(each, CategoryCondition) and each.name == WRITING and each.classes > order
        )

    def _begun(self, ids: Sequence[int], random: Random) -> Template:
        """The beginning of a molecule, open to its end."""
        return (*ids[: -random.randint(1, max(1, round(self.largest * len(ids))))], None)

    def _masked(self, ids: Sequence[int], random: Random, remainder: int) -> Template:
        """A molecule with a span masked; its length leaves the remainder by the stride."""
        tokens = tuple(self.model().tokenizer.tokens(ids))
        choices = spans(tokens, max(1, round(self.largest * len(tokens))))
        length = random.choice(list(choices))
        start = random.choice(choices[length])
        drawn = (length or random.randint(1, _INSERTED)) - 1
        drawn += (remainder - (len(ids) - length + drawn)) % _STRIDE
        return (*ids[:start], *[None] * (drawn or _STRIDE), *ids[start + length :])


def redrawn(
    model: Model,
    rows: Sequence[Template],
    seed: int,
    targets: tuple[str, ...] = (),
    temperature: float | None = None,
) -> list[str]:
    """What the model makes of N rows, as strings: where a token is None it draws one, the rest stays.

    Row i depends on (seed, i) alone. Only here does the method ask a model to keep tokens.
    """
    if not rows:
        return []
    pad, most = _pad(model), model.card.max_length
    full = [row if pad is None else (*row, *[pad] * (most - len(row))) for row in rows]
    asked = Request(len(full), targets, seed=seed, templates=tuple(full), temperature=temperature)
    return strings(model, asked)[0]


def sampled(model: Model, n: int, seed: int, targets: tuple[str, ...] = ()) -> list[str]:
    """n samples of the model as strings; row i depends on (seed, i) alone."""
    return strings(model, Request(n, targets, seed=seed))[0] if n else []


def check_targets(model: Model, targets: tuple[str, ...]) -> None:
    """Refuses what the model cannot be asked for."""
    Batches(model, Request(1, targets))


def _pad(model: Model) -> int | None:
    pad: int | None = model.tokenizer.pad_id
    return pad
